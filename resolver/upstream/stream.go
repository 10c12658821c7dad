package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/miekg/dns"
)

// A stream is one connection of a server's streams, from the decision to dial to
// its end. Queries leave in the order in which they came; replies come in any
// order and find their query by its ID (RFC 7766 §6.2.1.1, §7).
type stream struct {
	of     *streams
	serial int           // counts the streams of a server, from 1
	began  time.Time     // dialling
	cancel func()        // ends dialling
	wake   chan struct{} // capacity 1: something is to be written, or the stream has ended

	// of.mu guards what follows.
	conn      net.Conn // nil while dialling
	err       error    // why it ended; nil before
	calls     map[uint16]*call
	ghosts    int       // of the calls, those that nobody waits for any more
	out       []byte    // framed queries to write
	queued    int       // how many these are
	quiet     time.Time // since when replies are due and none came
	overtaken bool      // while silent, by the reply to a query that was sent over another one later
	idle      time.Duration
	rest      *time.Timer
	wrong     int // messages in a row that were no replies; the reader's own
}

// A call is a query on its way through a stream. It holds a copy, for its asker may
// have given up when the reply comes.
type call struct {
	query
	on     *stream
	began  time.Time
	joined bool         // the stream was there before the call
	given  bool         // up: nobody waits; guarded by streams.mu
	done   chan outcome // its asking's, written once at most
}

// An outcome is how a call ended. It may be tried again elsewhere if the
// connection was lost.
type outcome struct {
	of    *call
	reply *dns.Msg
	found finding
	err   error
	lost  bool
}

var errGarbage = errors.New("connection closed: it carries no replies to what was asked")

// run dials, writes and reads until the stream ends, and closes the connection.
func (s *stream) run(ctx context.Context) {
	conn, err := s.of.dial(ctx)
	if err != nil {
		s.end(err)
		return
	}
	defer conn.Close()
	if !s.connected(conn) {
		return
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write()
	}()
	s.end(s.read())
	<-written
}

// connected notes the connection. It is false if the stream has ended before.
func (s *stream) connected(conn net.Conn) bool {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.err != nil {
		return false
	}
	s.conn = conn
	s.of.connections.Add(1)
	s.of.opened.Add(1)
	return true
}

// end ends the stream, unless it has ended: all calls on it are told why.
func (s *stream) end(why error) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.endLocked(why)
}

func (s *stream) endLocked(why error) {
	if s.err != nil {
		return
	}
	s.err = why
	s.of.forget(s)
	s.cancel()
	if s.rest != nil {
		s.rest.Stop()
	}
	if s.conn != nil {
		s.of.connections.Add(-1)
		s.conn.SetDeadline(time.Unix(1, 0)) // run closes it: that may block
	}
	for _, c := range s.calls {
		if !c.given {
			c.done <- outcome{of: c, err: why, lost: s.conn != nil}
		}
	}
	s.calls = nil
	s.nudge()
}

func (s *stream) nudge() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already
	}
}

// add puts a query on the stream.
func (s *stream) add(q *query, joined bool, now time.Time, done chan outcome) *call {
	c := &call{query: *q, on: s, began: now, joined: joined, done: done}
	c.exact = false // nobody forges replies from afar here
	for s.calls[c.id()] != nil {
		rand.Read(c.packet()[:2]) // never fails
	}
	if s.live() == 0 {
		s.quiet = now
		if s.rest != nil {
			s.rest.Stop()
		}
	}
	s.calls[c.id()] = c
	s.out = append(s.out, c.framed()...)
	s.queued++
	s.nudge()
	return c
}

func (s *stream) live() int { return len(s.calls) - s.ghosts }

// rested is to be called when a call has left: a stream without any is closed
// after a while, or at once if it takes no more.
func (s *stream) rested() {
	if s.err != nil || s.live() > 0 {
		return
	}
	if !s.of.takes(s) {
		s.endLocked(errClosed)
		return
	}
	if s.rest == nil {
		s.rest = time.AfterFunc(s.idle, func() {
			s.of.mu.Lock()
			defer s.of.mu.Unlock()
			if s.live() == 0 {
				s.endLocked(errClosed)
			}
		})
		return
	}
	s.rest.Reset(s.idle)
}

// write writes what is queued until the stream ends, all that there is at once.
func (s *stream) write() {
	var out []byte
	for range s.wake {
		s.of.mu.Lock()
		if s.err != nil {
			s.of.mu.Unlock()
			return
		}
		out, s.out = s.out, out[:0]
		s.of.sent.Add(uint64(s.queued))
		s.queued = 0
		err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		s.of.mu.Unlock()
		if err == nil {
			_, err = s.conn.Write(out)
		}
		if err != nil {
			s.end(err)
			return
		}
	}
}

// read hands out replies until the connection ends or carries nothing but
// garbage.
func (s *stream) read() error {
	in := bufio.NewReaderSize(s.conn, 4096)
	var buf []byte
	for {
		packet, err := readMessage(in, buf)
		if err != nil {
			return err
		}
		if s.take(packet); s.wrong >= maxWrong {
			return errGarbage
		}
		buf = packet
	}
}

// take gives a message to the call that it is the reply to, if there is one.
func (s *stream) take(packet []byte) {
	c := s.due(packet)
	found := foreign
	var q *query
	var o outcome
	if c != nil {
		q = &c.query
		o.reply, found = accept(q, packet, dns.MaxMsgSize)
	}
	switch found {
	case foreign, deadly:
		s.of.ignore(found, q, packet)
		s.wrong++
		return
	case cut:
		o.err = errors.New("reply by TCP is truncated")
	}
	o.of, o.found = c, found
	s.wrong = 0
	idle, told := keepalive(o.reply, packet)

	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.err != nil {
		return
	}
	if told {
		s.obey(idle)
	}
	delete(s.calls, c.id())
	s.quiet, s.overtaken = time.Now(), false
	if c.given {
		s.ghosts--
		return
	}
	s.of.rtt.add(s.quiet.Sub(c.began))
	c.done <- o
	s.rested()
}

// obey keeps the stream without queries for no longer than the server allows, and
// a little less, so that it is not the one to close it. If that is no time, no
// query more is sent (RFC 7828 §3.4).
func (s *stream) obey(idle time.Duration) {
	s.idle = min(s.of.idle, idle*7/8)
	if idle == 0 {
		s.of.forget(s)
	}
}

// keepalive is for how long a server lets a connection be idle, if it says so in
// the packet that m was made from. The decoder does not tell no time from an empty
// option, which is what comes from a server that echoes what it does not know.
func keepalive(m *dns.Msg, packet []byte) (idle time.Duration, told bool) {
	if m == nil {
		return 0, false
	}
	opt := m.IsEdns0()
	if opt == nil {
		return 0, false
	}
	for _, o := range opt.Option {
		if o, ok := o.(*dns.EDNS0_TCP_KEEPALIVE); ok {
			idle = time.Duration(o.Timeout) * 100 * time.Millisecond
			return idle, idle > 0 || bytes.Contains(packet, []byte{0, dns.EDNS0TCPKEEPALIVE, 0, 2, 0, 0})
		}
	}
	return 0, false
}

// due returns the call with the ID of packet, or nil.
func (s *stream) due(packet []byte) *call {
	if len(packet) < headerLen {
		return nil
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	return s.calls[binary.BigEndian.Uint16(packet)]
}

// giveUp leaves the call to itself, unless it has ended: its ID stays taken until
// the reply comes, so that no other query can be given that. A stream that owes too
// many such replies takes no more queries. One that was silent for long is taken for
// dead; or it has been overtaken, if the asker has a reply by winner, which is not nil
// then and may have been sent later.
func (c *call) giveUp(winner *call) {
	s := c.on
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.err != nil || s.calls[c.id()] != c {
		return
	}
	c.given = true
	s.ghosts++
	silence := time.Since(s.quiet)
	switch {
	case winner == nil && silence >= maxSilence:
		s.endLocked(errSilent)
		return
	case winner != nil && c.began.Before(winner.began) && s.conn != nil && silence >= s.of.patience():
		s.overtaken = true
	}
	if s.ghosts >= maxGhosts {
		s.of.forget(s)
	}
	s.rested()
}

// readMessage reads a message behind its length of two octets (RFC 1035 §4.2.2),
// in however many pieces it comes, into buf if that is large enough.
func readMessage(r io.Reader, buf []byte) ([]byte, error) {
	var length [prefixLen]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, unexpected(err)
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > cap(buf) {
		buf = make([]byte, n)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return nil, unexpected(err)
	}
	return buf[:n], nil
}

// unexpected makes plain that a connection which ended in good order did so too
// early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("connection closed before the reply was complete")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("connection closed in the middle of a reply")
	}
	return err
}
