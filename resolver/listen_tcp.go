package resolver

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"weir/audit"
)

const (
	tcpPipeline = 64              // misses in flight on one connection
	tcpWrite    = 5 * time.Second // for a client to take a reply
	acceptPause = 50 * time.Millisecond
)

// tcpListener accepts connections and owns them.
type tcpListener struct {
	r        *Resolver
	listener net.Listener

	mu    sync.Mutex
	conns map[*tcpConn]struct{}
	ended bool // no connection may be added
	wg    sync.WaitGroup
}

// run accepts until stopReading and returns when the last connection has ended.
func (l *tcpListener) run() {
	r := l.r
	defer l.wg.Wait()
	for {
		c, err := l.listener.Accept()
		if err != nil {
			if l.over() {
				return
			}
			// Out of file descriptors, most likely: wait for some to be freed.
			r.logger.Warn("connection not accepted", "address", l.listener.Addr(), "error", err)
			pause := time.NewTimer(acceptPause)
			<-pause.C
			continue
		}
		select {
		case r.tcpSlots <- struct{}{}:
		default: // full: the newcomer is turned away, those being served stay
			r.overload.Add(1)
			_ = c.Close()
			continue
		}
		conn := &tcpConn{r: r, conn: c, peer: c.RemoteAddr().(*net.TCPAddr).AddrPort(), flying: make(chan struct{}, tcpPipeline)}
		l.mu.Lock()
		if l.ended {
			l.mu.Unlock()
			<-r.tcpSlots
			_ = c.Close()
			return
		}
		l.conns[conn] = struct{}{}
		l.wg.Go(func() {
			conn.run()
			l.mu.Lock()
			delete(l.conns, conn)
			l.mu.Unlock()
			<-r.tcpSlots
		})
		l.mu.Unlock()
	}
}

func (l *tcpListener) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// stopReading accepts and reads no more; replies can still be sent.
func (l *tcpListener) stopReading() {
	l.mu.Lock()
	l.ended = true
	for c := range l.conns {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	}
	l.mu.Unlock()
	_ = l.listener.Close()
}

// closeConns ends the connections that are left.
func (l *tcpListener) closeConns() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.conn.Close()
	}
}

// tcpConn is one client's connection: messages with a length in front
// (RFC 1035 §4.2.2), answered as they are ready (RFC 7766 §6.2.1.1).
type tcpConn struct {
	r      *Resolver
	conn   net.Conn
	peer   netip.AddrPort
	flying chan struct{} // one slot for each miss in flight

	mu  sync.Mutex
	buf []byte // the reply being written, length first
}

// run reads messages until the client is done, idle too long, or sends what
// cannot be framed. It returns when the last miss in flight has been answered.
func (c *tcpConn) run() {
	defer c.conn.Close()
	catchFaults()
	s := newScratch()
	in := bufio.NewReader(c.conn)
	var msg []byte
	for {
		if err := c.conn.SetReadDeadline(time.Now().Add(c.r.cfg.TCPIdle)); err != nil || c.r.draining.Load() {
			break
		}
		var head [2]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			break
		}
		n := int(binary.BigEndian.Uint16(head[:]))
		if n < 12 {
			break // nothing that can be answered; the framing is lost
		}
		if cap(msg) < n {
			msg = make([]byte, n)
		}
		msg = msg[:n]
		if _, err := io.ReadFull(in, msg); err != nil {
			break
		}
		c.flying <- struct{}{}
		c.serve(s, msg)
	}
	for range tcpPipeline { // each slot taken is a miss that has landed
		c.flying <- struct{}{}
	}
}

// serve answers one message, now or when its flight lands.
func (c *tcpConn) serve(s *scratch, msg []byte) {
	from := &origin{peer: c.peer, over: audit.TCP, back: c}
	c.r.arrived(from)
	var out []byte
	defer func() {
		if v := recover(); v != nil {
			out = c.r.caught(v, s, msg, from)
		}
		if !s.waiting {
			c.write(out)
			<-c.flying
		}
	}()
	out = c.r.answer(s, msg, from, nil)
}

// send implements returner. It writes beside the flight, whose other waiters
// shall not wait for this client; the messages in flight bound how many writes
// there are, and run waits for them. It frees the message's place.
func (c *tcpConn) send(_ *origin, reply []byte) {
	reply = bytes.Clone(reply)
	c.r.inflight.Go(func() {
		c.write(reply)
		<-c.flying
	})
}

func (c *tcpConn) write(reply []byte) {
	if reply == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = binary.BigEndian.AppendUint16(c.buf[:0], uint16(len(reply)))
	c.buf = append(c.buf, reply...)
	_ = c.conn.SetWriteDeadline(time.Now().Add(tcpWrite))
	if _, err := c.conn.Write(c.buf); err != nil {
		_ = c.conn.Close() // half a reply may be out; the framing is lost
	}
}
