package resolver

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weir/audit"
)

const (
	tcpPipeline = 64 // misses in flight on one connection

	// Where the system gives no more connections there is a pause, which doubles
	// from the first of these to the second.
	acceptPause     = 5 * time.Millisecond
	acceptPauseMost = time.Second
)

// tcpListener accepts connections and owns them.
type tcpListener struct {
	r        *Resolver
	listener net.Listener
	addr     netip.AddrPort

	mu    sync.Mutex
	conns map[*tcpConn]struct{}
	ended bool          // no connection may be added
	stop  chan struct{} // closed with ended
	wg    sync.WaitGroup
}

// run accepts until stopReading and returns when the last connection has ended.
// Clients that are not to be answered are turned away here and hold nothing.
func (l *tcpListener) run() {
	r := l.r
	defer l.wg.Wait()
	pause := acceptPause
	for {
		c, err := l.listener.Accept()
		if err != nil {
			if l.over() {
				return
			}
			// Out of file descriptors, most likely: those of an idle client are free.
			if pause == acceptPause {
				r.logger.Warn("connection not accepted", "address", l.addr, "error", err)
			}
			if idle := r.places.spare(); idle != nil {
				r.evicted.Add(1)
				_ = idle.conn.Close()
			}
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-l.stop:
			}
			timer.Stop()
			pause = min(2*pause, acceptPauseMost)
			continue
		}
		pause = acceptPause
		if !l.welcome(c) {
			_ = c.Close()
		}
	}
}

// welcome starts to serve c, or returns false if there is no place for it.
func (l *tcpListener) welcome(c net.Conn) bool {
	r, st := l.r, l.r.state.Load()
	conn := &tcpConn{r: r, conn: c, peer: c.RemoteAddr().(*net.TCPAddr).AddrPort(), flying: make(chan struct{}, tcpPipeline)}
	client := conn.peer.Addr().Unmap().WithZone("")
	if !st.Access.Contains(client) {
		r.outsiders.Add(1)
		return false
	}
	out, ok := r.places.take(conn, st.limits.client(client))
	if !ok {
		r.overload.Add(1)
		return false
	}
	if out != nil {
		r.evicted.Add(1)
		_ = out.conn.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		r.places.leave(conn)
		return false
	}
	l.conns[conn] = struct{}{}
	l.wg.Go(func() {
		conn.run()
		l.mu.Lock()
		delete(l.conns, conn)
		l.mu.Unlock()
		r.places.leave(conn)
	})
	return true
}

func (l *tcpListener) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// stopReading accepts and reads no more; replies can still be sent.
func (l *tcpListener) stopReading() {
	l.mu.Lock()
	if !l.ended {
		l.ended = true
		close(l.stop)
	}
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
	place  place
	flying chan struct{} // one slot for each miss in flight

	mu  sync.Mutex
	buf []byte // the reply being written, length first
}

// tcpRead is what one read takes, in octets; most queries are shorter. An idle
// connection keeps no more memory than that, beside its goroutine.
const tcpRead = 512

// run reads messages until the client is done, idle too long, or sends what
// cannot be framed. It returns when the last miss in flight has been answered.
func (c *tcpConn) run() {
	defer c.conn.Close()
	catchFaults()
	in := bufio.NewReaderSize(c.conn, tcpRead)
	if err := c.conn.SetReadDeadline(time.Now().Add(c.r.cfg.TCPFirst)); err != nil || c.r.draining.Load() {
		return
	}
	if _, err := in.Peek(1); err != nil {
		return
	}
	var msg []byte
	for {
		if err := c.conn.SetReadDeadline(time.Now().Add(c.r.cfg.TCPIdle)); err != nil || c.r.draining.Load() {
			break
		}
		var err error
		if msg, err = readMessage(in, msg[:0]); err != nil {
			break
		}
		c.flying <- struct{}{}
		c.r.places.asked(c)
		c.serve(msg)
		if len(msg) < 12 {
			break // nothing that could be answered: the framing is lost
		}
		if cap(msg) > maxQuery {
			msg = nil
		}
	}
	for range tcpPipeline { // each slot taken is a miss that has landed
		c.flying <- struct{}{}
	}
}

// readMessage appends the next message to msg. Memory grows with what has come:
// a length that is only announced takes none.
func readMessage(in *bufio.Reader, msg []byte) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return msg, err
	}
	for left := int(binary.BigEndian.Uint16(head[:])); left > 0; {
		n, at := min(left, max(tcpRead, len(msg))), len(msg)
		msg = slices.Grow(msg, n)[:at+n]
		if _, err := io.ReadFull(in, msg[at:]); err != nil {
			return msg, err
		}
		left -= n
	}
	return msg, nil
}

// serve answers one message, now or when its flight lands.
func (c *tcpConn) serve(msg []byte) {
	s := c.r.scratch()
	from := &origin{peer: c.peer, over: audit.TCP, back: c}
	c.r.arrived(from)
	var out []byte
	defer func() {
		if v := recover(); v != nil {
			out = c.r.caught(v, s, msg, from)
		}
		switch {
		case s.waiting:
		case out != nil && c.r.log.Settles() && !s.excluded: // the next message need not wait for the commit
			c.send(from, out)
		default:
			c.write(out)
			c.done()
		}
		c.r.scratches.Put(s)
	}()
	out = c.r.answer(s, msg, from, nil)
}

// send implements returner. It writes beside the flight, whose other waiters
// shall not wait for this client; the messages in flight bound how many writes
// there are, and run waits for them. It frees the message's place.
func (c *tcpConn) send(to *origin, reply []byte) {
	reply = bytes.Clone(reply)
	waits := !to.excluded
	c.r.inflight.Go(func() {
		if reply != nil && waits {
			reply = c.r.settled(reply)
		}
		c.write(reply)
		c.done()
	})
}

// done frees the place of a message that has its answer.
func (c *tcpConn) done() {
	c.r.places.answered(c)
	<-c.flying
}

func (c *tcpConn) write(reply []byte) {
	if reply == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = binary.BigEndian.AppendUint16(c.buf[:0], uint16(len(reply)))
	c.buf = append(c.buf, reply...)
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.r.cfg.TCPWrite))
	if _, err := c.conn.Write(c.buf); err != nil {
		_ = c.conn.Close() // half a reply may be out; the framing is lost
	}
}
