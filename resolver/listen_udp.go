package resolver

import (
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

// run reads, answers and writes until stopReading. A panic costs the packet
// that caused it.
func (l *udpListener) run() {
	s, msg := newScratch(), make([]byte, maxQuery)
	for l.loop(s, msg) {
	}
}

// loop handles packets until reading ends, and then returns false, or until
// one panics, and then returns true.
func (l *udpListener) loop(s *scratch, msg []byte) (again bool) {
	var oob []byte
	if l.wild {
		oob = make([]byte, oobSize)
	}
	from := &origin{over: audit.UDP, back: l}
	n := 0
	again = true
	defer func() {
		if v := recover(); v != nil {
			l.send(from, l.r.caught(v, s, msg[:n], from))
		}
	}()
	for {
		var err error
		var o int
		n, o, _, from.peer, err = l.conn.ReadMsgUDPAddrPort(msg, oob)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
				again = false
				return again
			}
			continue // an ICMP error about an earlier reply
		}
		l.r.arrived(from)
		if l.wild {
			from.local, from.ifindex = parseOOB(oob[:o])
		}
		if out := l.r.answer(s, msg[:n], from, nil); out != nil {
			l.send(from, out)
		}
	}
}

// send implements returner. The reply leaves from the address that was asked
// (RFC 2181 §4).
func (l *udpListener) send(to *origin, reply []byte) {
	if reply == nil {
		return
	}
	var oob []byte
	if to.local.IsValid() {
		var buf [oobSize]byte
		oob = appendOOB(buf[:0], to.local, to.ifindex)
	}
	if _, _, err := l.conn.WriteMsgUDPAddrPort(reply, oob, to.peer); err != nil {
		l.r.unsent.Add(1)
	}
}

// stopReading ends run; replies can still be sent.
func (l *udpListener) stopReading() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) }
