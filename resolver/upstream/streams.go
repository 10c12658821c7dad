package upstream

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// A server gets one connection, and another when all that it has carry
	// busyStream queries, up to maxStreams; none carries more than fullStream.
	maxStreams = 4
	busyStream = 32
	fullStream = 256

	maxGhosts   = 64 // replies that a stream may owe to nobody
	maxMessages = 3  // sends of one exchange (RFC 9520 §3.1)

	defaultIdle  = 20 * time.Second // RFC 7766 §6.2.3 leaves it to us
	dialTimeout  = 3 * time.Second
	stuckDial    = 400 * time.Millisecond // from then on a dial is not joined if there is room for another
	writeTimeout = 5 * time.Second
	maxSilence   = time.Second // of a stream on which a query came to its deadline

	// A connection on which replies are due may be silent for four times as long as
	// the server takes, within these bounds, before its queries are sent over another
	// one as well.
	leastPatience = 500 * time.Millisecond
	mostPatience  = time.Second
)

var (
	errClosed = errors.New("connection closed")
	errSilent = errors.New("connection closed: the server was silent")
	errBusy   = errors.New("too many queries wait for this server")
)

// streams are the connections to one server, opened as they are needed and
// closed when they have been idle (RFC 7766 §6.2). Each is a stream, whose
// goroutines it owns.
type streams struct {
	*server
	dial func(context.Context) (net.Conn, error)
	idle time.Duration

	wg     sync.WaitGroup
	mu     sync.Mutex
	open   []*stream // those that take queries, dialling or connected
	rtt    rtt       // of the replies over them
	serial int       // of the last one
	closed bool
}

func newStreams(s *server, opt Options, dial func(context.Context) (net.Conn, error)) *streams {
	p := &streams{server: s, dial: dial, idle: opt.Idle}
	if p.idle <= 0 {
		p.idle = defaultIdle
	}
	return p
}

// begin puts the query of w on a stream that carries no call of it yet and whose
// serial is above after, if it can be.
func (p *streams) begin(q *query, after int, w *asking) (*call, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	last := p.serial
	s := p.pick(after, w)
	if s == nil {
		return nil, errBusy
	}
	return s.add(q, s.serial <= last, time.Now(), w.said), nil
}

// pick returns the stream for the next query, a new one if need be, or nil if all
// are full. While one dials, no other is begun unless there is no room at all or
// that takes long: a server that was gone and is back is then noticed soon.
func (p *streams) pick(after int, w *asking) *stream {
	var best *stream
	dialling := false
	for _, s := range p.open {
		dialling = dialling || s.conn == nil && !s.stuck()
		if s.serial > after && !w.carries(s) && (best == nil || s.before(best)) {
			best = s
		}
	}
	if len(p.open) < maxStreams {
		switch {
		case best == nil || best.full() || best.stuck() || best.mute():
			return p.start()
		case len(best.calls) >= busyStream && !dialling:
			p.start() // for those to come
		}
	}
	switch {
	case best == nil && after > 0:
		return p.pick(0, w)
	case best == nil || best.full():
		return nil
	}
	return best
}

// before reports whether s is to be taken rather than t: it has room, is
// connected, or carries less.
func (s *stream) before(t *stream) bool {
	if s.full() != t.full() {
		return t.full()
	}
	if (s.conn == nil) != (t.conn == nil) {
		return t.conn == nil
	}
	if s.stuck() != t.stuck() {
		return t.stuck()
	}
	if s.mute() != t.mute() {
		return t.mute()
	}
	return len(s.calls) < len(t.calls)
}

func (s *stream) connects() bool {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	return s.conn != nil
}

// stuck says that the stream has been dialling for long.
func (s *stream) stuck() bool { return s.conn == nil && time.Since(s.began) >= stuckDial }

// mute says that the stream is connected and has been silent for too long, or was
// when it was overtaken.
func (s *stream) mute() bool {
	return s.conn != nil && (s.overtaken || s.live() > 0 && time.Since(s.quiet) >= s.of.patience())
}

// patience is how long a connection may be silent with replies due.
func (p *streams) patience() time.Duration {
	return min(max(4*p.rtt.mean, leastPatience), mostPatience)
}

func (s *stream) full() bool { return len(s.calls) >= fullStream }

// start begins to dial another stream. The dialling is the server's and not the
// query's: others join it, and the query may give up earlier.
func (p *streams) start() *stream {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	p.serial++
	s := &stream{of: p, serial: p.serial, began: time.Now(), idle: p.idle, cancel: cancel, wake: make(chan struct{}, 1), calls: map[uint16]*call{}}
	p.open = append(p.open, s)
	p.wg.Go(func() { s.run(ctx) })
	return s
}

// takes reports whether s is given queries.
func (p *streams) takes(s *stream) bool { return slices.Contains(p.open, s) }

// forget gives s no more queries.
func (p *streams) forget(s *stream) {
	if i := slices.Index(p.open, s); i >= 0 {
		p.open = slices.Delete(p.open, i, i+1)
	}
}

// Close closes every stream when its last query has ended, and waits for that.
func (p *streams) Close() error {
	p.mu.Lock()
	p.closed = true
	for _, s := range slices.Clone(p.open) {
		p.forget(s)
		s.rested()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return nil
}
