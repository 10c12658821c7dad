package resolver

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"weir/resolver/wire"
)

// batchSize is how many datagrams a system call takes or writes at most. Under
// load that saves most of the calls; the first of a batch waits for the answers
// to the others, some tens of microseconds. Where all wait for the disk, which takes
// longer, more wait together.
const (
	batchSize    = 32
	settlingSize = 128
)

// batch is the memory for one read of datagrams and for one write of the
// replies, with the two system calls. Headers point into it as long as it
// lives, so nothing is allocated after it is made. One goroutine uses it.
type batch struct {
	conn        syscall.RawConn
	read, write func(fd uintptr) (done bool) // recvmmsg and sendmmsg, for conn to call
	wild        bool                         // see udpListener

	inHead   []unix.Mmsghdr
	in       []incoming
	received int           // of in
	handled  int           // of received, those that next returned
	failed   syscall.Errno // the read

	outHead  []unix.Mmsghdr
	out      []outgoing
	replies  int // of out
	passed   int // of replies, those that need no more attempts
	rejected int // of passed, those that the network did not take
}

// incoming is where the kernel puts one datagram and what it knows of it.
type incoming struct {
	data   unix.Iovec
	oob    [oobSize]byte // aligned as control data must be
	sender unix.RawSockaddrInet6
	packet [maxQuery]byte
}

// outgoing is one reply. Its addressee is the sender of an incoming datagram.
type outgoing struct {
	data   unix.Iovec
	oob    [oobSize]byte // aligned as control data must be
	packet []byte
}

func newBatch(l *udpListener) *batch {
	conn, _ := l.conn.SyscallConn() // fails for no *UDPConn but nil
	size := batchSize
	if l.r.log.Settles() {
		size = settlingSize
	}
	return newBatchOn(conn, l.wild, size)
}

func newBatchOn(conn syscall.RawConn, wild bool, size int) *batch {
	b := &batch{
		conn: conn, wild: wild,
		inHead: make([]unix.Mmsghdr, size), in: make([]incoming, size),
		outHead: make([]unix.Mmsghdr, size), out: make([]outgoing, size),
	}
	b.read, b.write = b.recvmmsg, b.sendmmsg
	for i := range size {
		m := &b.in[i]
		m.data.Base = &m.packet[0]
		m.data.SetLen(len(m.packet))
		h := &b.inHead[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&m.sender))
		h.Iov = &m.data
		h.SetIovlen(1)
		if wild {
			h.Control = &m.oob[0]
		}

		r := &b.out[i]
		r.packet = make([]byte, 0, wire.MaxUDP)
		h = &b.outHead[i].Hdr
		h.Iov = &r.data
		h.SetIovlen(1)
	}
	b.received, b.handled = size, size // receive prepares the headers of what was handled
	return b
}

// receive waits for a datagram and takes it and those behind it. Those of
// before are gone then.
func (b *batch) receive() error {
	for i := range b.received { // the kernel left there how much of the room it used
		h := &b.inHead[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		if b.wild {
			h.SetControllen(oobSize)
		}
	}
	b.received, b.handled = 0, 0
	if err := b.conn.Read(b.read); err != nil {
		return err
	}
	if b.failed != 0 {
		return b.failed
	}
	return nil
}

// recvmmsg and sendmmsg never wait, so the Go runtime is not told of them. If it were, it
// would look for calls that take longer than some 20 microseconds, as one that delivers 32
// replies does, and have another thread take over from each: that costs more than the call.
func (b *batch) recvmmsg(fd uintptr) (done bool) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.inHead[0])), uintptr(len(b.inHead)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false // come back when there is something to read
		case 0:
			b.received = int(n)
		}
		b.failed = errno
		return true
	}
}

// next returns the next datagram of those received, and in from where it came
// from; nil is none. It is overwritten by receive.
func (b *batch) next(from *origin) []byte {
	if b.handled == b.received {
		return nil
	}
	h, m := &b.inHead[b.handled], &b.in[b.handled]
	b.handled++
	from.peer, from.ifindex = m.from()
	from.local = netip.Addr{}
	if b.wild {
		local, ifindex := parseOOB(m.oob[:h.Hdr.Controllen])
		from.local = local
		if ifindex != 0 {
			from.ifindex = ifindex
		}
	}
	return m.packet[:h.Len]
}

// from returns where the datagram came from. The zone of a link-local address
// is the interface beside it, by number: to name it would need a table.
func (m *incoming) from() (peer netip.AddrPort, ifindex uint32) {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&m.sender.Port))[:])
	switch m.sender.Family {
	case unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&m.sender))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), port), 0
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(m.sender.Addr), port), m.sender.Scope_id
	}
	return peer, 0
}

// reply puts a copy of the reply to the datagram that next returned last among
// those to send. It leaves from the address that was asked (RFC 2181 §4).
func (b *batch) reply(from *origin, reply []byte) {
	r, h, asker := &b.out[b.replies], &b.outHead[b.replies].Hdr, &b.inHead[b.handled-1].Hdr
	b.replies++
	r.packet = append(r.packet[:0], reply...)
	r.data.Base = unsafe.SliceData(r.packet)
	r.data.SetLen(len(r.packet))
	h.Name, h.Namelen = asker.Name, asker.Namelen
	if b.wild {
		oob := appendOOB(r.oob[:0], from.local, from.ifindex)
		h.Control = unsafe.SliceData(oob)
		h.SetControllen(len(oob))
	}
}

// empty says that there is no reply to send.
func (b *batch) empty() bool { return b.replies == 0 }

// refuse puts a refusal with the Extended DNS Error ede in the place of each reply, and
// returns how many answers are not given.
func (b *batch) refuse(ede []byte) (withheld int) {
	for i := range b.replies {
		r, n := &b.out[i], 0
		r.packet, n = refusal(r.packet, ede)
		r.data.SetLen(len(r.packet))
		withheld += n
	}
	return withheld
}

// send writes the replies, waits as long as the socket has no room for them,
// and returns how many the network did not take.
func (b *batch) send() (unsent int) {
	if b.replies == 0 {
		return 0
	}
	b.passed, b.rejected = 0, 0
	if b.conn.Write(b.write) != nil { // closed
		b.rejected += b.replies - b.passed
	}
	b.replies = 0
	return b.rejected
}

func (b *batch) sendmmsg(fd uintptr) (done bool) {
	for b.passed < b.replies {
		first, n := &b.outHead[b.passed], b.replies-b.passed
		sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(first)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.passed += int(sent) // up to the first that fails, which is then tried alone
		case unix.EINTR:
		case unix.EAGAIN:
			return false // come back when there is room
		default: // says something about the first
			b.passed++
			b.rejected++
		}
	}
	return true
}
