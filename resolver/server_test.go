package resolver

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/resolver/upstream"
)

// handler answers q by filling in m, which is prepared as its reply, or
// returns false to stay silent. Handlers run beside each other.
type handler func(q, m *dns.Msg) bool

// server is an upstream: UDP and TCP on one loopback port, with an answer for
// each question "name. TYPE" of its script. It refuses all others.
type server struct {
	script map[string]handler
	addr   string

	mu       sync.Mutex
	asked    []string            // questions, in order, by UDP and TCP
	flags    []string            // "do", "cd", "do cd" or "" of each
	silences map[string][]func() // by question: what to call when it gets no answer
}

func newServer(t testing.TB, script map[string]handler) *server {
	t.Helper()
	s := &server{script: script}
	var pc *net.UDPConn
	var ln net.Listener
	for range 20 { // until a port is free for both
		var err error
		if pc, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			t.Fatal(err)
		}
		s.addr = pc.LocalAddr().String()
		if ln, err = net.Listen("tcp4", s.addr); err == nil {
			break
		}
		pc.Close()
	}
	if ln == nil {
		t.Fatal("no port is free for both UDP and TCP")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			s.note(q)
			wg.Go(func() {
				if b := s.answer(q, 1232); b != nil {
					_, _ = pc.WriteToUDPAddrPort(b, from)
				}
			})
		}
	})
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				for {
					b, err := unframe(c)
					q := new(dns.Msg)
					if err != nil || q.Unpack(b) != nil {
						return
					}
					s.note(q)
					if b := s.answer(q, 65535); b != nil {
						_, _ = c.Write(framed(b))
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		pc.Close()
		ln.Close()
		wg.Wait()
	})
	return s
}

func questionOf(q *dns.Msg) string {
	return q.Question[0].Name + " " + dns.Type(q.Question[0].Qtype).String()
}

func (s *server) note(q *dns.Msg) {
	if questionOf(q) == ". NS" {
		return // a probe
	}
	var flags []string
	if o := q.IsEdns0(); o != nil && o.Do() {
		flags = append(flags, "do")
	}
	if q.CheckingDisabled {
		flags = append(flags, "cd")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, questionOf(q))
	s.flags = append(s.flags, strings.Join(flags, " "))
}

// questions returns what was asked so far.
func (s *server) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// forget returns what was asked since it was last called, for tests that ask
// without end.
func (s *server) forget() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked, s.flags = nil, nil
	return asked
}

// play changes the script.
func (s *server) play(script map[string]handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

func (s *server) answer(q *dns.Msg, limit int) []byte {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	s.mu.Lock()
	script := s.script
	s.mu.Unlock()
	h, ok := script[questionOf(q)]
	if !ok {
		h, ok = script["*"]
	}
	if !ok {
		h = says("REFUSED")
	}
	if !h(q, m) {
		s.mu.Lock()
		told := s.silences[questionOf(q)]
		delete(s.silences, questionOf(q))
		s.mu.Unlock()
		for _, f := range told {
			f()
		}
		return nil
	}
	b, err := m.Pack()
	if err == nil && len(b) > limit {
		b, err = (&dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true, Truncated: true}, Question: q.Question}).Pack()
	}
	if err != nil {
		panic(err)
	}
	return b
}

// exchanger returns a way to ask s, which sends nothing twice and tells logger of
// panics.
func (s *server) exchanger(t testing.TB, logger *slog.Logger) upstream.Exchanger {
	return s.open(t, upstream.Options{Logger: logger})
}

func (s *server) open(t testing.TB, opt upstream.Options) upstream.Exchanger {
	t.Helper()
	opt.Resend = patience
	x, err := upstream.Open("udp://"+s.addr, opt)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// An unhurried server has time for an answer, however slow the machine is. The deadline
// of a question comes when the server has kept silent to it, and not before its time.
type unhurried struct {
	upstream.Exchanger
	of *server
}

func (u unhurried) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	until, _ := ctx.Deadline()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	e := &ending{Context: inner}
	u.of.mu.Lock()
	if u.of.silences == nil {
		u.of.silences = map[string][]func(){}
	}
	u.of.silences[questionOf(q)] = append(u.of.silences[questionOf(q)], func() {
		time.AfterFunc(time.Until(until), func() {
			e.over.Store(true)
			cancel()
		})
	})
	u.of.mu.Unlock()
	return u.Exchanger.Exchange(e, q)
}

// ending is a context whose deadline comes when over says so, with the end of the one in it.
type ending struct {
	context.Context
	over atomic.Bool
}

func (e *ending) Deadline() (time.Time, bool) { return time.Now().Add(patience), true }

func (e *ending) Err() error {
	if err := e.Context.Err(); err == nil || !e.over.Load() {
		return err
	}
	return context.DeadlineExceeded
}

// says is the reply with these records; "/" begins the next section, and the
// name of an rcode sets it.
func says(parts ...string) handler {
	return func(_, m *dns.Msg) bool {
		sections := []*[]dns.RR{&m.Answer, &m.Ns, &m.Extra}
		for _, p := range parts {
			if p == "/" {
				sections = sections[1:]
				continue
			}
			if code, ok := dns.StringToRcode[p]; ok {
				m.Rcode = code
				continue
			}
			*sections[0] = append(*sections[0], rr(p))
		}
		return true
	}
}

// rr reads a record of a test.
func rr(text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil || rr == nil {
		panic(text)
	}
	return rr
}

// silent never answers.
func silent(_, _ *dns.Msg) bool { return false }

// held is h once the gate was closed.
func held(gate <-chan struct{}, h handler) handler {
	return func(q, m *dns.Msg) bool {
		<-gate
		return h(q, m)
	}
}
