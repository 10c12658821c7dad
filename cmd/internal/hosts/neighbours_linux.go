package hosts

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The neighbour tables of Linux, by rtnetlink(7). Neither reading them nor being told of changes needs a privilege.

// canSeeNeighbours returns why this system's neighbour table cannot be read.
func canSeeNeighbours() error { return nil }

// Sizes of buffers, in octets. The kernel makes no message of a dump longer than 32 KiB.
const (
	netlinkBuffer  = 64 << 10
	netlinkBacklog = 1 << 20 // of changes not taken yet; more are lost, which is told
)

// netlinkPatience is how long the kernel may take for a piece of a dump; it is there at once.
const netlinkPatience = 5 * time.Second

// netlinkSocket opens a socket that is told of groups.
func netlinkSocket(kind int, groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|kind, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, fmt.Errorf("open netlink: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind netlink: %w", err)
	}
	return fd, nil
}

// followNeighbours takes changes of the kernel's table to ours until ctx ends. It calls lost when the whole table is to be
// read, since changes were missed: first when it begins to be told of them. It calls changed after some.
func followNeighbours(ctx context.Context, table *neighbours, now func() time.Time, lost, changed func()) error {
	fd, err := netlinkSocket(unix.SOCK_NONBLOCK, 1<<(unix.RTNLGRP_NEIGH-1))
	if err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, netlinkBacklog) // a smaller one loses changes sooner
	file := os.NewFile(uintptr(fd), "netlink")
	defer file.Close()
	conn, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("read netlink: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })()
	missed := true
	buf := make([]byte, netlinkBuffer)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			for failed = unix.EINTR; failed == unix.EINTR; {
				n, from, failed = unix.Recvfrom(int(fd), buf, 0)
			}
			return failed != unix.EAGAIN || missed
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("read netlink: %w", err)
		case failed == unix.ENOBUFS:
			missed = true
			continue
		case failed == unix.EAGAIN: // not before: what still waited is older than what was lost, and must not come after it
			missed = false
			lost()
			continue
		case failed != nil:
			return fmt.Errorf("read netlink: %w", failed)
		case !fromKernel(from):
			continue
		}
		differs := false
		err = eachMessage(buf[:n], func(m netlinkMessage) error {
			at, mac, ok := readNeighbour(m.body)
			switch {
			case !ok:
			case m.kind == unix.RTM_NEWNEIGH && mac != MAC{}:
				differs = table.learn(at, mac) || differs
			case m.kind == unix.RTM_NEWNEIGH || m.kind == unix.RTM_DELNEIGH:
				differs = table.forget(at, now()) || differs
			}
			return nil
		})
		missed = missed || err != nil
		if differs {
			changed()
		}
	}
}

// dumpNeighbours reads the tables for IPv4 and IPv6.
func dumpNeighbours() (map[link]MAC, error) {
	fd, err := netlinkSocket(0, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	patience := unix.NsecToTimeval(netlinkPatience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return nil, fmt.Errorf("read netlink: %w", err)
	}
	table := make(map[link]MAC)
	for i, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		for tries := 1; ; tries++ {
			whole, err := dumpFamily(fd, uint32(i*10+tries), family, table)
			if err != nil {
				return nil, fmt.Errorf("read the neighbour table: %w", err)
			}
			if whole || tries == 3 { // a change that was missed is told, too
				break
			}
		}
	}
	return table, nil
}

// dumpFamily adds one table, and returns whether it did not change meanwhile.
func dumpFamily(fd int, seq uint32, family byte, table map[link]MAC) (whole bool, err error) {
	request := make([]byte, unix.SizeofNlMsghdr+unix.SizeofNdMsg)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], unix.RTM_GETNEIGH)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(request[8:], seq)
	request[unix.SizeofNlMsghdr] = family
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, err
	}
	whole = true
	buf := make([]byte, netlinkBuffer)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR || err == nil && !fromKernel(from) {
			continue
		}
		if err != nil {
			return false, err
		}
		done := false
		err = eachMessage(buf[:n], func(m netlinkMessage) error {
			if m.seq != seq {
				return nil
			}
			whole = whole && m.flags&unix.NLM_F_DUMP_INTR == 0
			switch m.kind {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				done = true
				return m.failure()
			case unix.RTM_NEWNEIGH:
				if at, mac, ok := readNeighbour(m.body); ok && mac != (MAC{}) {
					table[at] = mac
				}
			}
			return nil
		})
		if err != nil || done {
			return whole, err
		}
	}
}

// fromKernel says whether a message is the kernel's and not another program's.
func fromKernel(from unix.Sockaddr) bool {
	sa, ok := from.(*unix.SockaddrNetlink)
	return ok && sa.Pid == 0
}

// A netlinkMessage is one of those in what a socket receives (nlmsghdr).
type netlinkMessage struct {
	kind, flags uint16
	seq         uint32
	body        []byte
}

// failure returns the error in the body of a message that may hold one.
func (m netlinkMessage) failure() error {
	if len(m.body) < 4 {
		return nil
	}
	if code := int32(binary.NativeEndian.Uint32(m.body)); code < 0 {
		return unix.Errno(-code)
	}
	return nil
}

var errNetlinkShort = errors.New("netlink message is cut short")

// eachMessage calls do for every message in what was received, until it fails.
func eachMessage(data []byte, do func(netlinkMessage) error) error {
	for len(data) > 0 {
		if len(data) < unix.SizeofNlMsghdr {
			return errNetlinkShort
		}
		n := binary.NativeEndian.Uint32(data)
		if n < unix.SizeofNlMsghdr || n > uint32(len(data)) {
			return errNetlinkShort
		}
		m := netlinkMessage{
			kind:  binary.NativeEndian.Uint16(data[4:]),
			flags: binary.NativeEndian.Uint16(data[6:]),
			seq:   binary.NativeEndian.Uint32(data[8:]),
			body:  data[unix.SizeofNlMsghdr:n],
		}
		if err := do(m); err != nil {
			return err
		}
		data = data[min(aligned(int(n)), len(data)):]
	}
	return nil
}

// aligned rounds up as messages and attributes are laid out.
func aligned(n int) int { return (n + 3) &^ 3 }

// neighbourKnown are the states in which a neighbour's MAC address is known.
const neighbourKnown = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT

// readNeighbour reads an entry (ndmsg and attributes). mac is zero if it is not known; not ok is an entry that is of no
// client.
func readNeighbour(body []byte) (at link, mac MAC, ok bool) {
	if len(body) < unix.SizeofNdMsg {
		return at, mac, false
	}
	family := body[0]
	at.index = int(int32(binary.NativeEndian.Uint32(body[4:])))
	known := binary.NativeEndian.Uint16(body[8:])&neighbourKnown != 0
	if (family != unix.AF_INET && family != unix.AF_INET6) || body[10]&unix.NTF_PROXY != 0 {
		return at, mac, false
	}
	for rest := body[unix.SizeofNdMsg:]; len(rest) >= unix.SizeofRtAttr; {
		n := int(binary.NativeEndian.Uint16(rest))
		if n < unix.SizeofRtAttr || n > len(rest) {
			return at, mac, false
		}
		value := rest[unix.SizeofRtAttr:n]
		switch binary.NativeEndian.Uint16(rest[2:]) {
		case unix.NDA_DST:
			addr, whole := netip.AddrFromSlice(value)
			if !whole || addr.Is4() != (family == unix.AF_INET) {
				return at, mac, false
			}
			at.addr, ok = clientAddr(addr)
		case unix.NDA_LLADDR:
			if known && len(value) == len(mac) && MAC(value).single() {
				mac = MAC(value)
			}
		}
		rest = rest[min(aligned(n), len(rest)):]
	}
	return at, mac, ok
}
