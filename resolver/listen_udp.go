package resolver

import (
	"bytes"
	"errors"
	"net"
	"os"
	"time"

	"weir/audit"
)

// udpListener is one UDP socket with the goroutine that reads it. Several
// share a port, and the kernel spreads clients over them.
type udpListener struct {
	r    *Resolver
	conn *net.UDPConn
	wild bool // bound to no address, so each packet says which was asked
}

const maxQuery = 4096 // octets read of a datagram; no query that is taken is longer

// socketsWaiting is how many sockets a core has where answers wait for the disk:
// while the batch of one waits, the other is read.
const socketsWaiting = 2

// run reads, answers and writes until stopReading. A panic costs the packet
// that caused it.
func (l *udpListener) run() {
	catchFaults()
	s, b := newScratch(), newBatch(l)
	for l.loop(s, b) {
	}
}

// loop handles packets until reading ends, and then returns false, or until
// one panics, and then returns true; run again, it goes on with the next. The
// replies to a batch leave together, but no packet waits for another to arrive:
// a batch is what has arrived.
func (l *udpListener) loop(s *scratch, b *batch) (again bool) {
	from := &origin{over: audit.UDP, back: l}
	var msg []byte
	again = true
	defer func() {
		if v := recover(); v != nil {
			b.reply(from, l.r.caught(v, s, msg, from))
		}
	}()
	for {
		for msg = b.next(from); msg != nil; msg = b.next(from) {
			l.r.arrived(from)
			if out := l.r.answer(s, msg, from, nil); out != nil {
				if s.excluded && l.r.log.Settles() { // it does not wait with the others of the batch
					l.write(from, out)
				} else {
					b.reply(from, out)
				}
			}
		}
		if !b.empty() && !l.r.log.Settle() {
			l.r.log.Withheld(b.refuse(l.r.auditFull))
		}
		if n := b.send(); n > 0 {
			l.r.unsent.Add(uint64(n))
		}
		if err := b.receive(); errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			again = false
			return again
		} // any other is an ICMP error about an earlier reply
	}
}

// send implements returner, for the replies of flights. The reply leaves from
// the address that was asked (RFC 2181 §4).
func (l *udpListener) send(to *origin, reply []byte) {
	if reply == nil {
		return
	}
	if l.r.log.Settles() && !to.excluded { // others of the flight shall not wait for each other's commits
		reply, to := bytes.Clone(reply), *to
		l.r.inflight.Go(func() {
			l.write(&to, l.r.settled(reply))
		})
		return
	}
	l.write(to, reply)
}

func (l *udpListener) write(to *origin, reply []byte) {
	var buf [oobSize]byte
	if _, _, err := l.conn.WriteMsgUDPAddrPort(reply, appendOOB(buf[:0], to.local, to.ifindex), to.peer); err != nil {
		l.r.unsent.Add(1)
	}
}

// stopReading ends run; replies can still be sent.
func (l *udpListener) stopReading() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) }
