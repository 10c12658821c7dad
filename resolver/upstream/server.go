package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// maxShown is how many octets of a packet go into the log at most.
const maxShown = 4096

// A server is what every transport is built on: the counters, and the frame of an
// exchange. A transport embeds it and adds ask.
type server struct {
	url     string
	addr    netip.AddrPort // the port alone if names finds the address
	names   *bootstrap     // nil if the address is given
	mixed   bool           // its queries are spelled at random
	padded  bool           // they are padded
	lasting bool           // they ask how long a connection may be idle
	trusty  bool           // AD in a reply is the server's own word
	logger  *slog.Logger   // nil says nothing

	sent, answered, timeouts, failures, ignored, panics, opened atomic.Uint64
	connections                                                 atomic.Int64

	lastError atomic.Pointer[string] // nil if the last exchange that ended had none

	attempts sync.Pool // of *attempt
}

// open sets the server up; host is text as parseHost reads it.
func (s *server) open(scheme, host string, opt Options) error {
	addr, err := parseHost(host, defaultPort)
	if err != nil {
		return fmt.Errorf("upstream \"%s://%s\": %w", scheme, host, err)
	}
	s.url = scheme + "://" + addr.String()
	s.addr = addr
	s.logger = opt.Logger
	s.attempts.New = func() any { return new(attempt) }
	return nil
}

func (s *server) String() string { return s.url }

func (s *server) Stats() Stats {
	lastError := ""
	if text := s.lastError.Load(); text != nil {
		lastError = *text
	}
	return Stats{
		Sent:     s.sent.Load(),
		Answered: s.answered.Load(),
		Timeouts: s.timeouts.Load(),
		Failures: s.failures.Load(),
		Ignored:  s.ignored.Load(),
		Panics:   s.panics.Load(),

		Connections: int(s.connections.Load()),
		Opened:      s.opened.Load(),
		LastError:   lastError,
	}
}

// An attempt is the working memory of one exchange.
type attempt struct {
	query
	deadline  time.Time // of the exchange, never zero
	datagrams int       // sent so far
	messages  int       // the same, over connections
	wrong     int       // datagrams that were no replies
	watcher   sync.WaitGroup
	in        [2048]byte // more than udpSize, so that what is too long is seen to be
}

// An asker sends the query of an attempt and waits for a reply to it. The finding
// is replied or noEDNS when there is no error.
type asker interface {
	ask(ctx context.Context, a *attempt) (*dns.Msg, finding, error)
}

// exchange asks m with EDNS and, of a server that refuses that, once without
// (RFC 6891 §7); it counts how that ended.
func (s *server) exchange(ctx context.Context, m *dns.Msg, by asker) (*dns.Msg, error) {
	a := s.attempts.Get().(*attempt)
	defer s.attempts.Put(a)

	start := time.Now()
	a.datagrams, a.messages, a.wrong = 0, 0, 0
	a.mixed, a.padded, a.lasting, a.authentic = s.mixed, s.padded, s.lasting, s.trusty
	a.deadline = start.Add(defaultDeadline)
	if d, ok := ctx.Deadline(); ok {
		a.deadline = d
	}
	reply, err := s.askTwice(ctx, m, a, by)
	if err != nil {
		return nil, s.failed(ctx, a, err)
	}
	s.answered.Add(1)
	if s.lastError.Load() != nil {
		s.lastError.Store(nil)
	}
	reply.Id = m.Id
	reply.AuthenticatedData = reply.AuthenticatedData && s.trusty
	return reply, nil
}

func (s *server) askTwice(ctx context.Context, m *dns.Msg, a *attempt, by asker) (*dns.Msg, error) {
	for _, edns := range [...]bool{true, false} {
		if err := a.pack(m, edns); err != nil {
			return nil, err
		}
		reply, found, err := by.ask(ctx, a)
		if err != nil || found == replied {
			return reply, err
		}
	}
	return nil, errors.New("refuses EDNS") // not reached: noEDNS answers EDNS only
}

// failed counts err and wraps it, so that callers need not know how each layer of
// the network tells a timeout.
func (s *server) failed(ctx context.Context, a *attempt, err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, errQuery):
	case errors.Is(ctx.Err(), context.Canceled):
		err = ctx.Err()
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		s.timeouts.Add(1)
		s.lastError.Store(nil) // the count says it
		err = fmt.Errorf("no reply: %w", context.DeadlineExceeded)
	default:
		s.failures.Add(1)
		text := err.Error()
		s.lastError.Store(&text)
	}
	if a.wrong > 0 {
		return fmt.Errorf("%s: %w, after %w", s.url, err, ErrNoReply)
	}
	return fmt.Errorf("%s: %w", s.url, err)
}

// ignore counts a packet that was no reply to q, and keeps one that panicked for
// who looks into it.
func (s *server) ignore(found finding, q *query, packet []byte) {
	s.ignored.Add(1)
	if found != deadly {
		return
	}
	s.panics.Add(1)
	if s.logger != nil {
		s.logger.Error("a reply could not be read", "server", s.url, "panic", q.fault.value,
			"packet", fmt.Sprintf("%x", packet[:min(len(packet), maxShown)]), "stack", string(q.fault.stack))
	}
}

// A watch ends the reads and writes of a connection when its context ends.
type watch struct {
	stop func() bool
	done *sync.WaitGroup
}

// watch begins to watch ctx for conn; the caller must call end before it gives the
// attempt back.
func (a *attempt) watch(ctx context.Context, conn net.Conn) watch {
	a.watcher.Add(1)
	return watch{done: &a.watcher, stop: context.AfterFunc(ctx, func() {
		defer a.watcher.Done()
		conn.SetDeadline(time.Unix(1, 0)) // fails on a closed connection only
	})}
}

// end stops watching and waits for what the watch may have begun.
func (w watch) end() {
	if w.stop() {
		w.done.Done()
	}
	w.done.Wait()
}
