package resolver

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/audit"
	"weir/blocklist"
)

// fickle is an upstream that answers as mood says at the time.
type fickle struct {
	*server
	mood atomic.Pointer[handler]
}

func newFickle(t testing.TB, h handler) *fickle {
	f := new(fickle)
	f.turn(h)
	f.server = newServer(t, map[string]handler{"*": func(q, m *dns.Msg) bool { return (*f.mood.Load())(q, m) }})
	return f
}

func (f *fickle) turn(h handler) { f.mood.Store(&h) }

// patient keeps stale answers for a day, and gives upstream its time.
func patient(c *Config) { c.Stale, c.StaleTimer = 24*time.Hour, 1800*time.Millisecond }

// addressed answers each question with an address for 60 seconds.
func addressed(q, m *dns.Msg) bool {
	return says(q.Question[0].Name+" 60 A 192.0.2.1")(q, m)
}

const (
	staleWWW = `NOERROR ede 3 "" www.example. 30 A 192.0.2.1;`
	day      = 24 * time.Hour
)

// landed waits until no flight is under way.
func (w *world) landed() {
	w.t.Helper()
	w.until(func() bool { return w.Stats().Inflight == 0 })
}

func (w *world) expect(question, want string, edit ...func(*dns.Msg)) {
	w.t.Helper()
	if got := w.ask(question, append(edit, edns)...); got != want {
		w.t.Errorf("%s: %s, want %s", question, got, want)
	}
}

// times is how often s was asked, not counting probes.
func (s *server) times() int { return len(s.questions()) }

func TestStaleWhenAskingAgainFails(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server, config: patient})
	w.expect(www, wwwA)
	s.turn(says("SERVFAIL"))
	w.clock.advance(60 * time.Second)
	w.expect(www, staleWWW)
	w.expect(www, staleWWW) // the failure is remembered for 30 s
	w.clock.advance(29 * time.Second)
	w.expect(www, staleWWW)
	if n := s.times(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
	w.clock.advance(2 * time.Second)
	w.expect(www, staleWWW)
	if n := s.times(); n != 3 {
		t.Errorf("asked %d times after the failure recheck timer, want 3", n)
	}
	s.turn(addressed)
	w.clock.advance(31 * time.Second)
	w.expect(www, wwwA)
	w.clock.advance(time.Second)
	w.expect(www, strings.Replace(wwwA, "60", "59", 1))
	s.turn(says("SERVFAIL"))
	w.clock.advance(59*time.Second + day)
	if got := w.ask(www, edns); !strings.HasPrefix(got, "SERVFAIL") {
		t.Errorf("a day after its end: %s", got)
	}
	if got := w.ask("never.example. A", edns); !strings.HasPrefix(got, "SERVFAIL") {
		t.Errorf("a name without a past: %s", got)
	}
	var sources []string
	for _, e := range w.events() {
		sources = append(sources, e.Source)
	}
	if want := []string{"upstream", "stale", "stale", "stale", "stale", "upstream", "cache", "error", "error"}; !slices.Equal(sources, want) {
		t.Errorf("sources %q, want %q", sources, want)
	}
}

// TestStaleWhenUpstreamTakesLong: who could have a stale answer does not wait for
// ever, and what comes later is for the next.
func TestStaleWhenUpstreamTakesLong(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server, config: patient})
	w.expect(www, wwwA)
	gate := make(chan struct{})
	s.turn(held(gate, says("www.example. 60 A 192.0.2.2")))
	w.clock.advance(61 * time.Second)
	room := make(mailbox, 3)
	w.begin(www, room, edns)
	w.begin(www, room, edns)
	w.clock.advance(1799 * time.Millisecond)
	if len(room) != 0 {
		t.Fatalf("before the timer: %s", show(t, <-room))
	}
	w.clock.advance(time.Millisecond)
	for range 2 {
		if got := w.await(room); got != staleWWW {
			t.Error(got)
		}
	}
	w.expect(www, staleWWW) // the question is late already
	if st := w.Stats(); st.Inflight != 1 || w.waiters() != 0 {
		t.Errorf("%d flights, %d waiters: want the one that goes on, for nobody", st.Inflight, w.waiters())
	}
	close(gate)
	w.landed()
	w.expect(www, "NOERROR www.example. 60 A 192.0.2.2;")
	if n := s.times(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

// TestFreshInTime: an answer that comes before the timer ends it.
func TestFreshInTime(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server, config: patient})
	w.expect(www, wwwA)
	w.clock.advance(60 * time.Second)
	w.expect(www, wwwA)
	w.landed()
	if n := len(w.clock.timers); n != 0 {
		t.Errorf("%d timers run, want none", n)
	}
}

// TestStaleAtOnceWhileUpstreamIsDead: only the first waits. When a server replies
// again, which the upstream sees by itself, all is fresh.
func TestStaleAtOnceWhileUpstreamIsDead(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server, config: patient, deadline: 100 * time.Millisecond})
	ask := func(i int, want string) {
		t.Helper()
		name := fmt.Sprintf("n%d.example.", i)
		w.expect(name+" A", strings.ReplaceAll(want, "www.example.", name))
	}
	for i := range 4 {
		ask(i, wwwA)
	}
	s.turn(silent)
	w.clock.advance(60 * time.Second)
	ask(0, staleWWW) // by the deadline of the real clock
	w.down()
	for range 2 {
		for i := range 4 {
			ask(i, staleWWW)
		}
		w.clock.advance(time.Minute)
	}
	if n := s.times(); n != 5 {
		t.Errorf("asked %d times while it is dead, want once", n-4)
	}
	s.turn(addressed)
	w.up()
	for i := range 4 {
		ask(i, wwwA)
	}
}

// down waits until the upstream has seen by itself that no server replies.
func (w *world) down() {
	w.t.Helper()
	w.until(func() bool { s := w.State().Groups[0].Stats(); return s.Down && s.Servers[0].Probes > 1 })
}

// up waits until it has seen that one does.
func (w *world) up() {
	w.t.Helper()
	w.until(func() bool { return !w.State().Groups[0].Down() })
}

func TestStaleNegativeAnswers(t *testing.T) {
	const soa = "example. 60 SOA ns.example. host.example. 1 2 3 4 60"
	s := newFickle(t, func(q, m *dns.Msg) bool {
		if q.Question[0].Qtype == dns.TypeA {
			m.Rcode = dns.RcodeNameError
		}
		return says("/", soa)(q, m)
	})
	w := newWorld(t, setup{upstream: s.server, config: patient})
	w.ask(www)
	w.ask("www.example. TXT")
	s.turn(says("REFUSED"))
	w.clock.advance(time.Minute)
	w.expect(www, `NXDOMAIN ede 19 "" / example. 30 SOA 60;`)
	w.expect("www.example. TXT", `NOERROR ede 3 "" / example. 30 SOA 60;`)
}

// TestStaleIsJudgedLikeAnyAnswer: by what is blocked when it is given, be it the
// name or what it leads to.
func TestStaleIsJudgedLikeAnyAnswer(t *testing.T) {
	s := newFickle(t, func(q, m *dns.Msg) bool {
		name := q.Question[0].Name
		return says(name+" 60 CNAME to."+name, "to."+name+" 60 A 192.0.2.1")(q, m)
	})
	w := newWorld(t, setup{upstream: s.server, config: patient, sinkhole: SinkholeConfig{TTL: 60}})
	names := []string{"a.example. A", "b.example. A", "c.example. A"}
	for _, q := range names {
		w.ask(q)
	}
	s.turn(says("SERVFAIL"))
	w.clock.advance(time.Minute)
	w.ask(names[0]) // stale already when it is blocked
	w.reload(func(set *setup) {
		set.policies = []blocklist.PolicyConfig{{Name: "p", Any: true, Rules: []blocklist.RuleConfig{
			{Action: blocklist.ActionBlock, Domains: []string{"=a.example", "=to.b.example"}},
		}}}
	})
	for _, q := range names[:2] {
		name, _, _ := strings.Cut(q, " ")
		w.expect(q, `NXDOMAIN ede 15 "p: rule 1" / `+name+` 60 SOA 60;`)
	}
	w.expect(names[2], `NOERROR ede 3 "" c.example. 30 CNAME to.c.example.; to.c.example. 30 A 192.0.2.1;`)
	for _, e := range w.events()[4:] {
		if stale := e.Name == "c.example"; (e.Source == "stale") != stale || (e.Source == "sinkhole") == stale {
			t.Errorf("%s: source %s", e.Name, e.Source)
		}
	}
}

// TestStaleIsOfTheSameUpstream: another server's word does not stand in.
func TestStaleIsOfTheSameUpstream(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server, config: patient})
	w.ask(www)
	w.clock.advance(time.Minute)
	next := w.set
	next.forward = map[string]*server{"example.": newServer(t, map[string]handler{"*": says("SERVFAIL")})}
	w.set = next
	w.Swap(w.state(2)) // not retired yet, so the entry is still held
	if got := w.ask(www, edns); !strings.HasPrefix(got, "SERVFAIL") {
		t.Errorf("of the old upstream: %s", got)
	}
}

func TestStaleWithoutRoom(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server, config: func(c *Config) { patient(c); c.MaxInflight = 1 }})
	w.expect(www, wwwA)
	w.clock.advance(time.Minute)
	gate := make(chan struct{})
	s.turn(held(gate, says("SERVFAIL")))
	w.begin("other.example. A", make(mailbox, 1))
	w.expect(www, staleWWW)
	close(gate)
}

func TestStaleOff(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server})
	w.expect(www, wwwA)
	s.turn(says("SERVFAIL"))
	w.clock.advance(time.Minute)
	if got := w.ask(www, edns); !strings.HasPrefix(got, "SERVFAIL") {
		t.Error(got)
	}
}

// TestStaleTimerOfZero gives the stale answer at once and asks behind it.
func TestStaleTimerOfZero(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server, config: func(c *Config) { c.Stale = day }})
	w.expect(www, wwwA)
	w.clock.advance(time.Minute)
	w.expect(www, staleWWW)
	w.landed()
	w.expect(www, wwwA)
}

// TestNothingLastsZeroSeconds: an answer that must not be kept takes away the one
// that it replaces, which is not true any more.
func TestNothingLastsZeroSeconds(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server, config: patient})
	w.expect(www, wwwA)
	s.turn(says("www.example. 0 A 192.0.2.2"))
	w.clock.advance(time.Minute)
	w.expect(www, "NOERROR www.example. 0 A 192.0.2.2;")
	s.turn(says("SERVFAIL"))
	if got := w.ask(www, edns); !strings.HasPrefix(got, "SERVFAIL") {
		t.Error(got)
	}
}

func TestStaleAllocatesNothing(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server, config: patient, audit: roomy})
	w.ask(www)
	s.turn(says("SERVFAIL"))
	w.clock.advance(time.Minute)
	w.ask(www)
	msg, sc := query(t, www, edns), newScratch()
	from := &origin{peer: w.peer, over: audit.UDP, back: make(mailbox)}
	if n := testing.AllocsPerRun(1000, func() {
		w.arrived(from)
		w.answer(sc, msg, from, nil)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if sc.event.Source != audit.SourceStale {
		t.Errorf("source %v", sc.event.Source)
	}
}
