package resolver

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"weir/audit"
)

// opened is a world whose sockets are open and read by nobody.
func opened(t *testing.T, listen string) *world {
	t.Helper()
	w := newWorld(t, setup{config: func(c *Config) {
		c.Listen = []netip.AddrPort{netip.MustParseAddrPort(listen)}
	}})
	if err := w.Listen(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// everyKind are addresses to listen on: of both families, one and all.
var everyKind = []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"}

// TestBatchTakesWhatIsThere: as many as a batch holds, with their askers, and
// one alone without waiting for a second.
func TestBatchTakesWhatIsThere(t *testing.T) {
	for _, listen := range everyKind {
		w := opened(t, listen)
		b, from := newBatch(w.udp[0]), new(origin)
		for _, sizes := range [][]int{{1}, {3}, {batchSize, 5}} {
			var conns []net.Conn
			for _, size := range sizes {
				for range size {
					c := w.dial("udp")
					conns = append(conns, c)
					if _, err := fmt.Fprintf(c, "from %d", len(conns)); err != nil {
						t.Fatal(err)
					}
				}
			}
			n := 0
			for _, size := range sizes {
				if err := b.receive(); err != nil || b.received != size {
					t.Fatalf("%s: received %d and %v, want %d", listen, b.received, err, size)
				}
				for msg := b.next(from); msg != nil; msg = b.next(from) {
					c := conns[n]
					n++
					if string(msg) != fmt.Sprintf("from %d", n) || from.peer.String() != c.LocalAddr().String() {
						t.Errorf("%s: %q from %s, want number %d from %s", listen, msg, from.peer, n, c.LocalAddr())
					}
					if want := c.RemoteAddr().(*net.UDPAddr).AddrPort().Addr(); w.udp[0].wild && from.local != want || !w.udp[0].wild && from.local.IsValid() {
						t.Errorf("%s: sent to %s, said to be to %s", listen, want, from.local)
					}
				}
			}
			if n != len(conns) {
				t.Errorf("%s: %d datagrams, want %d", listen, n, len(conns))
			}
		}
	}
}

// TestMoreWaitForTheDiskTogether: where answers wait for their records a core has more
// than one socket, and a batch is larger.
func TestMoreWaitForTheDiskTogether(t *testing.T) {
	w := newWorld(t, setup{
		audit:  func(c *audit.Config) { c.BeforeAnswer = true },
		config: func(c *Config) { c.Listen, c.UDPSockets = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, 0 },
	})
	if err := w.Listen(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	if n := len(w.udp); n != socketsWaiting*runtime.GOMAXPROCS(0) {
		t.Errorf("%d sockets for %d cores", n, runtime.GOMAXPROCS(0))
	}
	c := w.dial("udp")
	for range settlingSize + 5 {
		if _, err := fmt.Fprint(c, "x"); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan [2]int)
	for _, l := range w.udp { // the kernel gives all of one client to one
		go func() {
			b := newBatch(l)
			if b.receive() != nil { // closed at the end
				return
			}
			first := b.received
			if b.receive() == nil {
				got <- [2]int{first, b.received}
			}
		}()
	}
	if n := <-got; n != [2]int{settlingSize, 5} {
		t.Errorf("received %v, want %d and 5", n, settlingSize)
	}
}

// TestBatchAllocatesNothing, from one full read to the next.
func TestBatchAllocatesNothing(t *testing.T) {
	for _, listen := range everyKind {
		w := opened(t, listen)
		b, from, c := newBatch(w.udp[0]), new(origin), w.dial("udp")
		buf := make([]byte, 100)
		if n := testing.AllocsPerRun(100, func() {
			for range batchSize {
				if _, err := c.Write(buf); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.receive(); err != nil {
				t.Fatal(err)
			}
			for msg := b.next(from); msg != nil; msg = b.next(from) {
				b.reply(from, msg)
			}
			if n := b.send(); n != 0 {
				t.Fatalf("%d replies were not sent", n)
			}
			for range batchSize {
				if _, err := c.Read(buf); err != nil {
					t.Fatal(err)
				}
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations, want 0", listen, n)
		}
	}
}

// TestUnsendableReplies cost themselves alone, wherever in a batch they are.
func TestUnsendableReplies(t *testing.T) {
	for _, bad := range [][]int{{}, {0}, {2}, {4}, {0, 1, 3}, {0, 1, 2, 3, 4}} {
		w := opened(t, "127.0.0.1:0")
		b, from, c := newBatch(w.udp[0]), new(origin), w.dial("udp")
		const n = 5
		for i := range n {
			if _, err := c.Write([]byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.receive(); err != nil || b.received != n {
			t.Fatalf("received %d, %v", b.received, err)
		}
		good := map[byte]bool{0: true, 1: true, 2: true, 3: true, 4: true}
		for _, i := range bad {
			b.in[i].sender.Port = 0 // nobody has it
			delete(good, byte(i))
		}
		for msg := b.next(from); msg != nil; msg = b.next(from) {
			b.reply(from, msg)
		}
		if unsent := b.send(); unsent != len(bad) {
			t.Errorf("%v cannot be sent: %d unsent", bad, unsent)
		}
		for range len(good) {
			var buf [1]byte
			if _, err := c.Read(buf[:]); err != nil {
				t.Fatal(err)
			}
			if !good[buf[0]] {
				t.Errorf("%v cannot be sent: got %d", bad, buf[0])
			}
			delete(good, buf[0])
		}
	}
}

// TestBatchWaitsForRoom: the kernel takes a part of the replies, and the rest
// when there is room again. A pair of local sockets stands in for the
// network, for loopback is never full.
func TestBatchWaitsForRoom(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the least there is
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
	}
	conn, err := ends[0].SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	b, from := newBatchOn(conn, false, batchSize), new(origin)
	buf := make([]byte, 1000)
	for i := range batchSize {
		buf[0] = byte(i)
		if _, err := ends[1].Write(buf); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.receive(); err != nil || b.received != batchSize {
		t.Fatalf("received %d, %v", b.received, err)
	}
	for msg := b.next(from); msg != nil; msg = b.next(from) {
		b.reply(from, msg)
	}
	fd := -1
	if err := conn.Control(func(f uintptr) { fd = int(f) }); err != nil {
		t.Fatal(err)
	}
	if b.sendmmsg(uintptr(fd)) || b.passed == 0 || b.passed == batchSize {
		t.Fatalf("the kernel took %d of %d replies at once, which tries nothing", b.passed, batchSize)
	}
	for i := range b.passed { // and send begins anew
		if _, err := ends[1].Read(buf); err != nil || buf[0] != byte(i) {
			t.Fatalf("reply %d: %d, %v", i, buf[0], err)
		}
	}
	unsent := make(chan int)
	go func() { unsent <- b.send() }()
	for i := range batchSize {
		if _, err := ends[1].Read(buf); err != nil || buf[0] != byte(i) {
			t.Fatalf("reply %d: %d, %v", i, buf[0], err)
		}
	}
	if n := <-unsent; n != 0 {
		t.Errorf("%d unsent", n)
	}
}

// TestControlData: what is written can be read back, and the interface is kept
// where an address means something on one link only.
func TestControlData(t *testing.T) {
	for _, c := range []struct {
		local   string // "" is the routes' choice
		ifindex uint32
		want    uint32
	}{
		{"192.0.2.1", 0, 0},
		{"2001:db8::1", 0, 0},
		{"2001:db8::1", 7, 0}, // a link-local client; the address says nothing of the link
		{"fe80::1", 7, 7},
	} {
		room := make([]byte, oobSize)
		local, ifindex := parseOOB(appendOOB(room[:0], netip.MustParseAddr(c.local), c.ifindex))
		if local.String() != c.local || ifindex != c.want {
			t.Errorf("%v: read back %s, %d", c, local, ifindex)
		}
	}
	room := make([]byte, oobSize)
	if oob := appendOOB(room[:0], netip.Addr{}, 0); len(oob) != 0 {
		t.Errorf("control data % x for nothing", oob)
	}
	if oob := appendOOB(room[:0], netip.Addr{}, 7); len(oob) != unix.CmsgSpace(unix.SizeofInet6Pktinfo) {
		t.Errorf("control data % x for an interface", oob)
	}
	for n := range unix.CmsgSpace(unix.SizeofInet6Pktinfo) { // cut short
		parseOOB(room[:n])
	}
}

// TestBatchReplyComesFromTheAddressAsked: one client asks several addresses of
// a socket that is bound to all, and the questions are read together. Of each
// address one is answered from memory and one by a flight.
func TestBatchReplyComesFromTheAddressAsked(t *testing.T) {
	for listen, addrs := range map[string][]netip.Addr{
		"0.0.0.0:0": {
			netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"),
			netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.4"),
		},
		"[::]:0": ours6(t),
	} {
		set := town(t)
		set.access = []string{"::/0"} // the client asks from the address that it asks
		set.config = func(c *Config) { c.Listen = []netip.AddrPort{netip.MustParseAddrPort(listen)} }
		w := newWorld(t, set)
		w.ask(www)
		client := netip.MustParseAddrPort(listen)
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(client)) // not connected: takes replies of any
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		var asked []netip.AddrPort // by identifier
		w.gather(func() {
			for range 3 {
				for _, question := range []string{www, "watched.example. A"} {
					for _, a := range addrs {
						to := netip.AddrPortFrom(a, w.Addrs()[0].Port())
						msg := query(t, question, func(m *dns.Msg) { m.Id = uint16(len(asked)) })
						if _, err := c.WriteToUDPAddrPort(msg, to); err != nil {
							t.Fatalf("to %s: %v", to, err)
						}
						asked = append(asked, to)
					}
				}
			}
		})
		buf := make([]byte, 512)
		for n := range asked {
			size, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatalf("%s: %d replies of %d: %v, %+v", listen, n, len(asked), err, w.Stats())
			}
			to := asked[binary.BigEndian.Uint16(buf)]
			if from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()); from != to || buf[3]&0x0f != 0 {
				t.Errorf("reply %s came from %s, want %s", show(t, buf[:size]), from, to)
			}
		}
	}
}

// ours6 are the IPv6 addresses of this machine that it can reach itself by,
// link-local ones with their zones.
func ours6(t *testing.T) []netip.Addr {
	t.Helper()
	out := []netip.Addr{netip.IPv6Loopback()}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		addrs, err := link.Addrs()
		if err != nil || link.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || !p.Addr().Is6() || p.Addr().IsLoopback() {
				continue
			}
			addr := p.Addr()
			if addr.IsLinkLocalUnicast() {
				addr = addr.WithZone(link.Name)
			}
			c, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
			if err != nil {
				continue // not in use yet, say
			}
			c.Close()
			out = append(out, addr)
		}
	}
	return out
}

// TestNoPathMTUDiscovery: no ICMP message, which anybody can send, makes replies
// smaller or go out in pieces (RFC 9715 §3.1).
func TestNoPathMTUDiscovery(t *testing.T) {
	for listen, option := range map[string][3]int{
		"127.0.0.1:0": {unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT},
		"[::1]:0":     {unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT},
	} {
		raw, err := opened(t, listen).udp[0].conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var mode int
		var failed error
		if err := raw.Control(func(fd uintptr) { mode, failed = unix.GetsockoptInt(int(fd), option[0], option[1]) }); err != nil || failed != nil {
			t.Fatal(err, failed)
		}
		if mode != option[2] {
			t.Errorf("%s: mode %d, want %d", listen, mode, option[2])
		}
	}
}
