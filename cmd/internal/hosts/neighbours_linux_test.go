package hosts

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNeighbours asserts what is known of real neighbours, in a network of its own, where it may make them.
func TestNeighbours(t *testing.T) {
	const child = "WEIR_TEST_NEIGHBOURS"
	if os.Getenv(child) != "" {
		neighboursInNamespace(t)
		return
	}
	run := exec.Command(os.Args[0], "-test.run=^TestNeighbours$", "-test.v")
	run.Env = append(os.Environ(), child+"=1")
	run.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if os.Getuid() != 0 {
		run.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		run.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		run.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := run.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit) && os.Getuid() != 0:
		t.Skip("this user may not make a network namespace: ", err)
	case err != nil || !strings.Contains(string(out), "--- PASS: TestNeighbours"):
		t.Fatalf("%v\n%s", err, out)
	}
}

func neighboursInNamespace(t *testing.T) {
	k := openKernel(t)
	one, two := k.pair("one", "two")
	k.add(one, "10.0.0.1", mac(9), unix.NUD_STALE)
	k.add(one, "10.0.0.3", mac(3), unix.NUD_PERMANENT)
	k.add(one, "fd00::3", mac(3), unix.NUD_REACHABLE)
	k.add(one, "fe80::3", mac(3), unix.NUD_DELAY)
	k.add(one, "10.0.0.4", MAC{}, unix.NUD_INCOMPLETE)
	k.add(one, "10.0.0.5", mac(5), unix.NUD_FAILED)
	k.add(one, "10.0.0.6", mac(6), unix.NUD_NOARP)
	k.add(one, "224.0.0.251", mac(7), unix.NUD_PERMANENT)
	k.add(one, "10.0.0.7", MAC{0x01, 0, 0x5e, 0, 0, 1}, unix.NUD_PERMANENT)
	k.proxy(one, "10.0.0.8")

	w := newWorld(t, "a")
	w.w.c.Neighbours = true
	w.do("write a " + laptop)
	w.run()
	table := "10.0.0.1 9 laptop 2h\n10.0.0.3 3 - -\nfd00::3 3 - -\nfe80::3 3 - -"
	w.shows(table)

	// Changes are told without a look.
	k.add(one, "10.0.0.10", mac(10), unix.NUD_REACHABLE)
	w.shows("10.0.0.1 9 laptop 2h\n10.0.0.3 3 - -\n10.0.0.10 a - -\nfd00::3 3 - -\nfe80::3 3 - -")
	k.add(one, "10.0.0.10", mac(11), unix.NUD_REACHABLE) // another machine has the address
	w.shows("10.0.0.1 9 laptop 2h\n10.0.0.3 3 - -\n10.0.0.10 b - -\nfd00::3 3 - -\nfe80::3 3 - -")
	k.add(two, "10.0.0.10", mac(12), unix.NUD_REACHABLE) // on another network too
	w.shows(table)
	k.remove(two, "10.0.0.10")
	k.add(one, "fd00::1", mac(1), unix.NUD_STALE)
	w.shows("10.0.0.1 9 laptop 2h\n10.0.0.3 3 - -\n10.0.0.10 b - -\nfd00::1 1 - -\nfd00::3 3 - -\nfe80::3 3 - -")

	// The lease's machine comes back: its name goes with its MAC address.
	k.add(one, "10.0.0.1", mac(1), unix.NUD_REACHABLE)
	table = "10.0.0.1 1 laptop 2h\n10.0.0.3 3 - -\n10.0.0.10 b - -\nfd00::1 1 laptop -\nfd00::3 3 - -\nfe80::3 3 - -"
	w.shows(table)

	// What the kernel forgets is known for an hour more: it went before the first look that does not see it.
	k.remove(one, "10.0.0.3")
	k.add(one, "fd00::3", mac(3), unix.NUD_FAILED)
	k.down(one) // and with it all others
	w.looks()
	w.looks()
	w.is(w.tells, table)
	gone := w.now
	w.await("the end of it", watchLook, func() bool { return len(w.w.Hosts()) == 1 })
	w.shows("10.0.0.1 1 laptop 2h")
	if d := w.now.Sub(gone); d < neighbourMemory-3*watchLook || d > neighbourMemory+watchLook {
		t.Errorf("forgotten after %v", d)
	}
	if n := w.count("WARN"); n != 0 {
		t.Errorf("said:\n%s", strings.Join(w.log, "\n"))
	}

	// A flood overflows the socket's room while nobody takes what is told; nothing stays unknown.
	k.up(one)
	lost := w.count("changes of neighbours may have been missed")
	w.w.table.mu.Lock()
	const flood, rounds = 900, 8 // fewer than the 1024 that the kernel keeps
	for round := range byte(rounds) {
		for i := range flood {
			k.add(one, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String(), MAC{2, round, 0, 0, byte(i >> 8), byte(i)}, unix.NUD_REACHABLE)
		}
	}
	w.w.table.mu.Unlock()
	w.await("the flood", soon, func() bool {
		hosts := w.w.Hosts()
		return w.count("changes of neighbours may have been missed") > lost && len(hosts) == flood+1 &&
			!slices.ContainsFunc(hosts[1:], func(h Host) bool { return h.MAC[1] != rounds-1 })
	})
}

// TestOwnNeighbours asserts that the table of this machine can be read by whoever runs the test, and that following it
// ends.
func TestOwnNeighbours(t *testing.T) {
	table, err := dumpNeighbours()
	if err != nil {
		t.Fatal(err)
	}
	for l, m := range table {
		checkHost(t, Host{Addr: l.addr, MAC: m})
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := followNeighbours(ctx, newNeighbours(), time.Now, cancel, func() {}); err != nil {
		t.Error(err)
	}
}

// A kernel makes interfaces and neighbours, by rtnetlink(7).
type kernel struct {
	t  *testing.T
	fd int
}

func openKernel(t *testing.T) kernel {
	t.Helper()
	fd, err := netlinkSocket(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return kernel{t, fd}
}

// request sends a message and waits until it is done.
func (k kernel) request(kind, flags uint16, body []byte) {
	k.t.Helper()
	if err := unix.Sendto(k.fd, message(kind, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK, body), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		k.t.Fatal(err)
	}
	buf := make([]byte, netlinkBuffer)
	n, _, err := unix.Recvfrom(k.fd, buf, 0)
	if err == nil {
		err = eachMessage(buf[:n], func(m netlinkMessage) error { return m.failure() })
	}
	if err != nil {
		k.t.Fatalf("message of type %d: %v", kind, err)
	}
}

func message(kind, flags uint16, body []byte) []byte {
	m := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	binary.NativeEndian.PutUint32(m, uint32(cap(m)))
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], flags)
	return append(m, body...)
}

// attribute returns an rtattr.
func attribute(kind uint16, value []byte) []byte {
	a := make([]byte, aligned(unix.SizeofRtAttr+len(value)))
	binary.NativeEndian.PutUint16(a, uint16(unix.SizeofRtAttr+len(value)))
	binary.NativeEndian.PutUint16(a[2:], kind)
	copy(a[unix.SizeofRtAttr:], value)
	return a
}

// pair makes two interfaces that are one cable, and returns their numbers.
func (k kernel) pair(a, b string) (one, two int) {
	k.t.Helper()
	const peer = 1 // VETH_INFO_PEER
	info := make([]byte, unix.SizeofIfInfomsg)
	kind := attribute(unix.IFLA_INFO_KIND, []byte("veth"))
	data := attribute(unix.IFLA_INFO_DATA, attribute(peer, append(info[:len(info):len(info)], attribute(unix.IFLA_IFNAME, []byte(b+"\x00"))...)))
	body := append(info, attribute(unix.IFLA_IFNAME, []byte(a+"\x00"))...)
	body = append(body, attribute(unix.IFLA_LINKINFO, append(kind, data...))...)
	k.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
	var numbers [2]int
	for i, name := range []string{a, b} {
		at, err := net.InterfaceByName(name)
		if err != nil {
			k.t.Fatal(err)
		}
		numbers[i] = at.Index
		k.up(at.Index)
	}
	return numbers[0], numbers[1]
}

func (k kernel) up(index int)   { k.flags(index, unix.IFF_UP) }
func (k kernel) down(index int) { k.flags(index, 0) }

func (k kernel) flags(index int, flags uint32) {
	k.t.Helper()
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	binary.NativeEndian.PutUint32(body[8:], flags)
	binary.NativeEndian.PutUint32(body[12:], unix.IFF_UP)
	k.request(unix.RTM_NEWLINK, 0, body)
}

// entry returns the body of a message about a neighbour.
func entry(index int, addr string, mac MAC, state uint16, flags byte) []byte {
	a := netip.MustParseAddr(addr)
	body := make([]byte, unix.SizeofNdMsg)
	if body[0] = unix.AF_INET; a.Is6() {
		body[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	binary.NativeEndian.PutUint16(body[8:], state)
	body[10] = flags
	body = append(body, attribute(unix.NDA_DST, a.AsSlice())...)
	if mac != (MAC{}) {
		body = append(body, attribute(unix.NDA_LLADDR, mac[:])...)
	}
	return body
}

func (k kernel) add(index int, addr string, mac MAC, state uint16) {
	k.t.Helper()
	k.request(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, entry(index, addr, mac, state, 0))
}

func (k kernel) proxy(index int, addr string) {
	k.t.Helper()
	k.request(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE, entry(index, addr, MAC{}, unix.NUD_PERMANENT, unix.NTF_PROXY))
}

func (k kernel) remove(index int, addr string) {
	k.t.Helper()
	k.request(unix.RTM_DELNEIGH, 0, entry(index, addr, MAC{}, 0, 0))
}

// FuzzNeighbour feeds what the kernel might say. It asserts that what is written is read, and that nothing else is taken
// for a client.
func FuzzNeighbour(f *testing.F) {
	f.Add(message(unix.RTM_NEWNEIGH, 0, entry(1, "10.0.0.1", mac(1), unix.NUD_REACHABLE, 0)))
	f.Add(message(unix.RTM_DELNEIGH, 0, entry(2, "fe80::1", mac(2), unix.NUD_STALE, 0)))
	f.Add(append(message(unix.RTM_NEWNEIGH, 0, entry(3, "fd00::1", MAC{}, unix.NUD_FAILED, 0)), message(unix.NLMSG_DONE, 0, make([]byte, 4))...))
	f.Add(message(unix.NLMSG_ERROR, 0, []byte{0xff, 0xff, 0xff, 0xff}))
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		err := eachMessage(data, func(m netlinkMessage) error {
			total += aligned(unix.SizeofNlMsghdr + len(m.body))
			l, mac, ok := readNeighbour(m.body)
			_ = m.failure()
			if !ok {
				return nil
			}
			checkHost(t, Host{Addr: l.addr, MAC: mac})
			state := uint16(unix.NUD_NONE)
			if mac != (MAC{}) {
				state = unix.NUD_STALE
			}
			l2, mac2, ok := readNeighbour(entry(l.index, l.addr.String(), mac, state, 0))
			if !ok || l != l2 || mac != mac2 {
				t.Errorf("%v %v is read as %v %v", l, mac, l2, mac2)
			}
			return nil
		})
		if err == nil && total < len(data) {
			t.Errorf("%d of %d octets are read", total, len(data))
		}
	})
}
