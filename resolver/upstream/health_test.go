package upstream

import (
	"context"
	"errors"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

// moody is a server that answers while it is up.
func moody() (*rogue, *atomic.Bool) {
	up := new(atomic.Bool)
	return &rogue{
		udp: func(_ int, query []byte, send func([]byte)) {
			if up.Load() {
				send(answer(query))
			}
		},
		answers: func(*dns.Msg) bool { return up.Load() },
	}, up
}

// probed answers probes alone.
func probed() *rogue {
	probe := func(q *dns.Msg) bool { return q.Question[0].Name == "." }
	return &rogue{
		udp: func(_ int, query []byte, send func([]byte)) {
			if probe(parseQuietly(query)) {
				send(answer(query))
			}
		},
		answers: probe,
	}
}

// asked is how often a client's question reached the server, not counting probes.
func (r *rogue) asked(t testing.TB) (n int) {
	t.Helper()
	for _, m := range r.seen(t) {
		if m.Question[0].Name != "." {
			n++
		}
	}
	return n
}

// TestNoQueryGoesToADeadServer while another works: probes find out when it is back.
func TestNoQueryGoesToADeadServer(t *testing.T) {
	first, up := moody()
	w := newWorld(t, quick, first, honest())
	check := func(when string, server int, failing bool) {
		t.Helper()
		if got, _ := w.ask(t); got != server {
			t.Errorf("%s: server %d answered, want %d", when, got, server)
		}
		if got := w.Stats().Servers[0].Failing; got != failing {
			t.Errorf("%s: failing is %v, want %v", when, got, failing)
		}
	}
	check("dead", 1, true)
	w.waitHeard(t, 0)
	spent := first.asked(t)
	w.clock.advance(0) // a probe at once, in case only that question went wrong
	for i, pause := range []time.Duration{1, 2, 4, 8, 10, 10} {
		pause *= time.Second
		if next := w.Stats().Servers[0].NextProbe.Sub(w.clock.now()); next != pause {
			t.Errorf("after %d probes the next comes in %v, want %v", i+1, next, pause)
		}
		w.clock.advance(pause - 1)
		if got := w.Stats().Servers[0].Probes; got != i+1 {
			t.Errorf("%d probes before the next is due, want %d", got, i+1)
		}
		check("probed in vain", 1, true)
		w.clock.advance(1)
	}
	w.waitHeard(t, 0)
	if got := first.asked(t); got != spent {
		t.Errorf("%d queries were spent on a dead server", got-spent)
	}
	up.Store(true)
	check("alive but not probed yet", 1, true)
	w.clock.advance(lastPause)
	check("alive again", 0, false)
	if n := len(w.clock.timers); n != 0 {
		t.Errorf("%d probes are to come of servers that all work", n)
	}
}

// TestDeadServerIsNoSecondOpinion: where another server has replied, be it that it
// cannot tell, one that is dead is not asked; where the other fails as well, it is.
func TestDeadServerIsNoSecondOpinion(t *testing.T) {
	for _, strategy := range Strategies {
		var gone atomic.Bool
		ctx, expire := ends()
		first := &rogue{udp: func(int, []byte, func([]byte)) { expire() }}
		second := &rogue{udp: func(_ int, query []byte, send func([]byte)) {
			if gone.Load() {
				send(reply(query, func(m *dns.Msg) { m.Truncated = true })) // and closes the connection
				return
			}
			send(coded(dns.RcodeServerFailure)(query))
		}}
		w := newWorld(t, GroupConfig{Strategy: strategy, Timeout: impatient / 4, Deadline: patient}, first, second)
		w.mu.Lock()
		w.lost(w.members[0], w.clock.now())
		w.mu.Unlock()
		if server, rcode := w.ask(t); server != 1 || rcode != "SERVFAIL" || first.asked(t) != 0 {
			t.Errorf("%s: server %d answered %s, the dead one was asked %d times", strategy, server, rcode, first.asked(t))
		}
		gone.Store(true)
		if _, _, err := w.Exchange(ctx, ask("www.example.test.")); err == nil || first.asked(t) == 0 {
			t.Errorf("%s: error %v, the dead one was asked %d times", strategy, err, first.asked(t))
		}
	}
}

// TestOneQuestionGoneWrong takes a server away for no longer than a probe takes, and
// for longer each time if it happens to one question after the other.
func TestOneQuestionGoneWrong(t *testing.T) {
	w := newWorld(t, quick, probed(), honest())
	for _, pause := range []time.Duration{0, 1, 2, 4, 8, 10} {
		pause *= time.Second
		if server, _ := w.ask(t); server != 1 {
			t.Fatalf("server %d answered", server)
		}
		if pause > 0 {
			w.clock.advance(pause - 1)
			if !w.Stats().Servers[0].Failing {
				t.Errorf("works again before %v", pause)
			}
			w.clock.advance(1)
		}
		w.clock.advance(0)
		if w.Stats().Servers[0].Failing {
			t.Errorf("still failing after %v", pause)
		}
	}
}

// TestOutage: while all servers are dead each is probed every half second, and the
// first reply ends it.
func TestOutage(t *testing.T) {
	first, _ := moody()
	second, up := moody()
	w := newWorld(t, GroupConfig{Timeout: impatient / 4, Deadline: patient}, first, second)
	if _, _, err := w.Exchange(within(t, patient), ask("www.example.test.")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if !w.Down() || w.Outage() != 1 || w.Over() != 0 {
		t.Fatalf("down %v, outage %d, over %d", w.Down(), w.Outage(), w.Over())
	}
	w.clock.advance(0)
	for i := range 20 {
		for _, s := range w.Stats().Servers {
			if wait := s.NextProbe.Sub(w.clock.now()); wait > outagePause || s.Probes != i+1 {
				t.Errorf("%s: %d probes, the next in %v", s.Server, s.Probes, wait)
			}
		}
		w.clock.advance(outagePause)
	}
	up.Store(true)
	w.clock.advance(outagePause)
	if w.Down() || w.Outage() != 0 || w.Over() != 1 {
		t.Errorf("down %v, outage %d, over %d", w.Down(), w.Outage(), w.Over())
	}
	if server, _ := w.ask(t); server != 1 {
		t.Errorf("server %d answered", server)
	}
}

// TestOutageOfAMoment was none: questions went wrong, and will again.
func TestOutageOfAMoment(t *testing.T) {
	w := newWorld(t, GroupConfig{Timeout: impatient / 4, Deadline: impatient}, probed())
	if _, _, err := w.Exchange(within(t, patient), ask("www.example.test.")); err == nil || w.Outage() != 1 {
		t.Fatalf("error %v, outage %d", err, w.Outage())
	}
	w.clock.advance(0)
	if w.Down() || w.Over() != 0 {
		t.Errorf("down %v, over %d", w.Down(), w.Over())
	}
}

// TestProbesEndWithTheGroup, those to come and those on their way.
func TestProbesEndWithTheGroup(t *testing.T) {
	heard := make(chan bool, 100)
	s := &rogue{udp: func(_ int, query []byte, _ func([]byte)) { heard <- parseQuietly(query).Question[0].Name == "." }}
	g, err := NewGroup(GroupConfig{Name: "a", Timeout: impatient / 4, Deadline: impatient, Servers: []Exchanger{s.start(t).open(t, "udp", Options{})}})
	if err != nil {
		t.Fatal(err)
	}
	g.look = patient
	if _, _, err := g.Exchange(within(t, patient), ask("www.example.test.")); err == nil {
		t.Fatal("answered")
	}
	for !<-heard { // until a probe is on its way, by the real clock
	}
	began := time.Now()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > patient/2 {
		t.Errorf("closing took %v", took)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.members[0]; m.flying != 0 || m.stop != nil {
		t.Errorf("%d probes fly, another to come: %v", m.flying, m.stop != nil)
	}
}

// TestProbesAreBounded: no more than three are on their way to one server.
func TestProbesAreBounded(t *testing.T) {
	s, _ := moody()
	w := newWorld(t, GroupConfig{}, s)
	w.mu.Lock()
	m := w.members[0]
	w.lost(m, w.clock.now())
	m.flying = maxProbes
	w.mu.Unlock()
	w.clock.advance(0)
	w.clock.advance(outagePause)
	if n := len(s.seen(t)); n != 0 || m.probes != 2 {
		t.Errorf("%d datagrams, %d probes", n, m.probes)
	}
}

// TestProbeAsksForTheZone that the group is for.
func TestProbeAsksForTheZone(t *testing.T) {
	s, _ := moody()
	w := newWorld(t, GroupConfig{Timeout: impatient / 4, Deadline: impatient, Probe: "corp.example"}, s)
	_, _, _ = w.Exchange(within(t, patient), ask("www.example.test."))
	w.clock.advance(0)
	w.waitHeard(t, 0)
	seen := s.seen(t)
	if q := seen[len(seen)-1].Question[0]; q.Name != "corp.example." || q.Qtype != dns.TypeNS {
		t.Errorf("probed by %v", q)
	}
}

// naive is what is known of a group's servers, told by all that ever happened.
type naive struct{ events []event }

type event struct {
	at   time.Time
	of   int
	what string // "died", "replied" to a query, "found" by a probe, "probed"
}

// dead says which servers are, by the last of what they did.
func (n *naive) dead(events []event, servers int) []bool {
	dead := make([]bool, servers)
	for _, e := range events {
		switch e.what {
		case "died":
			dead[e.of] = true
		case "replied", "found":
			dead[e.of] = false
		}
	}
	return dead
}

// outages walks over all moments and counts those at which the last server died,
// and says which of them is over.
func (n *naive) outages(servers int) (begun, over uint32) {
	down := false
	var since time.Time
	for i, e := range n.events {
		now := !slices.Contains(n.dead(n.events[:i+1], servers), false)
		switch {
		case now && !down:
			begun, since = begun+1, e.at
		case down && !now && e.at.Sub(since) >= time.Second/2:
			over = begun
		}
		down = now
	}
	return begun, over
}

// pause is from the last probe of a server to the next, or from its death.
func (n *naive) pause(of, servers int) time.Duration {
	failures, probes := 0, 0
	for _, e := range n.events {
		if e.of != of {
			continue
		}
		switch e.what {
		case "died":
			failures, probes = failures+1, 0
		case "replied":
			failures = 0
		case "probed":
			probes++
		}
	}
	pauses := []time.Duration{0, 1, 2, 4, 8, 10}
	pause := pauses[min(failures-1+probes, len(pauses)-1)] * time.Second
	if !slices.Contains(n.dead(n.events, servers), false) {
		pause = min(pause, time.Second/2)
	}
	return pause
}

// TestHealthIsThatOfTheModel drives a group without any network, by random events.
func TestHealthIsThatOfTheModel(t *testing.T) {
	urls := []string{"udp://127.0.0.1:1", "udp://127.0.0.1:2", "udp://127.0.0.1:3"}
	rapid.Check(t, func(t *rapid.T) {
		clock := newClock()
		servers := rapid.IntRange(1, 3).Draw(t, "servers")
		cfg := GroupConfig{Name: "a", Strategy: rapid.SampledFrom(Strategies).Draw(t, "strategy"), Now: clock.now, After: clock.after}
		for _, url := range urls[:servers] {
			x, err := Open(url, Options{})
			if err != nil {
				t.Fatal(err)
			}
			cfg.Servers = append(cfg.Servers, x)
		}
		g, err := NewGroup(cfg)
		if err != nil {
			t.Fatal(err)
		}
		n := &naive{}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			clock.mu.Lock()
			clock.time = clock.time.Add(time.Duration(rapid.IntRange(1, 2000).Draw(t, "ms")) * time.Millisecond)
			clock.mu.Unlock()
			at, of := clock.now(), rapid.IntRange(0, servers-1).Draw(t, "server")
			m, dead := g.members[of], n.dead(n.events, servers)[of]
			what := rapid.SampledFrom([]string{"died", "replied", "found", "probed"}).Draw(t, "what")
			began := at.Add(-time.Duration(rapid.IntRange(0, 3000).Draw(t, "before")) * time.Millisecond)
			g.mu.Lock()
			switch what {
			case "died":
				var last time.Time // when it died or was found to live
				for i, e := range n.events {
					if was := n.dead(n.events[:i], servers)[e.of]; e.of == of && (e.what == "died" || was && (e.what == "replied" || e.what == "found")) {
						last = e.at
					}
				}
				g.lost(m, began)
				if dead || began.Before(last) {
					what = "" // nothing new
				}
			case "replied":
				m.failures = 0
				g.found(m)
			case "found":
				g.found(m)
			case "probed":
				if !dead {
					what = ""
					break
				}
				m.probes++
				g.schedule(m)
			}
			g.mu.Unlock()
			if what != "" {
				n.events = append(n.events, event{at, of, what})
			}

			wantDead := n.dead(n.events, servers)
			begun, over := n.outages(servers)
			down := !slices.Contains(wantDead, false)
			if g.Down() != down || g.outage != begun || g.Over() != over || g.Outage() != begun && down || g.Outage() != 0 && !down {
				t.Fatalf("down %v, outage %d of %d, over %d; want %v, %d, %d", g.Down(), g.Outage(), g.outage, g.Over(), down, begun, over)
			}
			timers := 0
			for i, m := range g.members {
				if m.dead != wantDead[i] || m.dead == m.next.IsZero() {
					t.Fatalf("server %d: dead %v, want %v; next probe %v", i, m.dead, wantDead[i], m.next)
				}
				if m.dead {
					timers++
				}
				if wait := m.next.Sub(at); i == of && what == "died" && wait != n.pause(of, servers) {
					t.Fatalf("server %d: the next probe in %v, want %v", i, wait, n.pause(of, servers))
				}
				if down && m.next.Sub(at) > outagePause {
					t.Fatalf("server %d: the next probe in %v while all are dead", i, m.next.Sub(at))
				}
			}
			if len(clock.timers) != timers {
				t.Fatalf("%d timers for %d dead servers", len(clock.timers), timers)
			}
			p := g.plan()
			for i, index := range p.order[:p.n] {
				if g.members[index].dead != (i >= p.alive) {
					t.Fatalf("plan %v with %d alive, dead are %v", p.order[:p.n], p.alive, wantDead)
				}
			}
			if p.n != servers || p.width > max(p.alive, 1) && p.alive > 0 || p.width > raceWidth || p.width > 1 && cfg.Strategy != Race || p.hedge > 0 && (cfg.Strategy != Hedge || p.alive < 2) {
				t.Fatalf("%s: plan %+v", cfg.Strategy, p)
			}
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if len(clock.timers) != 0 {
			t.Fatal("a probe is to come of a closed group")
		}
	})
}

// TestBackWithinASecond, by the real clock: when all servers were dead and one is
// back, that is seen within a second, over each transport, and over TLS and HTTPS also
// of one that took connections and said nothing.
func TestBackWithinASecond(t *testing.T) {
	var up atomic.Bool
	speak := func(scheme string) Exchanger {
		r := &rogue{
			keep: true,
			udp: func(_ int, query []byte, send func([]byte)) {
				if up.Load() {
					send(answer(query))
				}
			},
			tcp: func(_ int, query []byte, conn net.Conn) {
				if up.Load() {
					conn.Write(frame(answer(query)))
				}
			},
		}
		return r.startFor(t, scheme).open(t, scheme, Options{})
	}
	v := newVoid(t, kind().start(t).Listener.Addr().String())
	quiet := newVoid(t, honest().startFor(t, "tls").addr)
	var wg sync.WaitGroup
	var groups []*Group
	for _, x := range []Exchanger{
		speak("udp"), speak("tcp"), speak("tls"),
		openURL(t, "https://"+v.Addr().String()+"/dns-query", Options{Roots: authority().roots}),
		openURL(t, "tls://"+quiet.Addr().String()+"#"+serverName, Options{Roots: authority().roots}),
	} {
		g, err := NewGroup(GroupConfig{Name: "a", Servers: []Exchanger{x}, Deadline: 1200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		groups = append(groups, g)
		wg.Go(func() {
			if _, _, err := g.Exchange(within(t, patient), ask("www.example.test.")); err == nil || !g.Down() {
				t.Errorf("error %v, down %v", err, g.Down())
			}
			for end := time.Now().Add(patient); g.Stats().Servers[0].Probes < 8 && time.Now().Before(end); runtime.Gosched() {
			}
		})
	}
	wg.Wait()
	back := time.Now()
	up.Store(true)
	v.speaks.Store(true)
	quiet.speaks.Store(true)
	for _, g := range groups {
		for g.Down() && time.Since(back) < patient {
			runtime.Gosched()
		}
		took := time.Since(back)
		t.Logf("%s: back %v after the return", g.members[0].url, took)
		if took > time.Second+2*impatient { // for what else the machine does
			t.Errorf("%s: back %v after the return, want a second at most", g.members[0].url, took)
		}
	}
}
