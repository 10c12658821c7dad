//go:build !linux

package resolver

import "net/netip"

// batch is one datagram: elsewhere than on Linux each takes a system call of
// its own, and so does each reply.
type batch struct {
	l      *udpListener
	room   [maxQuery]byte
	packet []byte // in room; nil when it was handled
	peer   netip.AddrPort
}

func newBatch(l *udpListener) *batch { return &batch{l: l} }

// receive waits for a datagram.
func (b *batch) receive() error {
	n, _, _, peer, err := b.l.conn.ReadMsgUDPAddrPort(b.room[:], nil)
	if err == nil {
		b.packet, b.peer = b.room[:n], peer
	}
	return err
}

// next returns the datagram received, and in from where it came from; nil is none.
func (b *batch) next(from *origin) (msg []byte) {
	msg, b.packet = b.packet, nil
	from.peer = b.peer
	return msg
}

// reply sends the reply to the datagram that next returned last.
func (b *batch) reply(from *origin, reply []byte) { b.l.send(from, reply) }

// empty says that no reply is kept back.
func (b *batch) empty() bool { return true }

// refuse has nothing to do.
func (b *batch) refuse([]byte) (withheld int) { return 0 }

// send has nothing left to do.
func (b *batch) send() (unsent int) { return 0 }
