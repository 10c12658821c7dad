package resolver

import (
	"strings"
	"testing"
	"time"
)

// eager asks for popular answers anew before they end.
func eager(c *Config) {
	patient(c)
	c.Prefetch = true
}

func TestPopularAnswerIsAskedForAnew(t *testing.T) {
	s := newFickle(t, says("www.example. 100 A 192.0.2.1"))
	w := newWorld(t, setup{upstream: s.server, config: eager})
	at := func(ttl, address string) string { return "NOERROR www.example. " + ttl + " A 192.0.2." + address + ";" }
	w.expect(www, at("100", "1"))
	w.clock.advance(89 * time.Second)
	w.expect(www, at("11", "1"))
	w.expect(www, at("11", "1"))
	s.turn(says("www.example. 100 A 192.0.2.2"))
	if n := s.times(); n != 1 {
		t.Errorf("asked %d times before the last tenth, want 1", n)
	}
	w.clock.advance(time.Second)
	w.expect(www, at("10", "1")) // from memory, and asked for behind it
	w.landed()
	w.expect(www, at("100", "2"))
	if n := s.times(); n != 2 || w.Stats().Prefetch != 1 {
		t.Errorf("asked %d times, %+v", n, w.Stats())
	}
	w.clock.advance(99 * time.Second)
	w.expect(www, at("1", "2")) // the second hit of the newer one
	w.landed()
	if n := s.times(); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
	for _, e := range w.events()[1:] {
		if e.Source != "cache" {
			t.Errorf("source %s: somebody had to wait", e.Source)
		}
	}
}

func TestWhatIsNotAskedForAnew(t *testing.T) {
	const long = "www.example. 100 A 192.0.2.1"
	for _, c := range []struct {
		name   string
		config func(*Config)
		hits   int
	}{
		{"one hit", eager, 1},
		{"switched off", patient, 3},
		{"no room", func(c *Config) { eager(c); c.MaxInflight = 2 }, 3},
	} {
		gate := make(chan struct{})
		s := newServer(t, map[string]handler{www: says(long), "other.example. A": held(gate, says("NXDOMAIN"))})
		w := newWorld(t, setup{upstream: s, config: c.config})
		w.ask(www)
		w.begin("other.example. A", make(mailbox, 1))
		w.clock.advance(95 * time.Second)
		for range c.hits {
			if got := w.ask(www); got != strings.Replace("NOERROR "+long+";", "100", "5", 1) {
				t.Errorf("%s: %s", c.name, got)
			}
		}
		close(gate)
		w.landed()
		if n := w.Stats().Prefetch; n != 0 {
			t.Errorf("%s: asked for anew", c.name)
		}
	}
}

// TestFailedRefreshChangesNothing: what is there is good until its end, and then
// stale.
func TestFailedRefreshChangesNothing(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server, config: eager})
	w.expect(www, wwwA)
	w.expect(www, wwwA)
	s.turn(says("SERVFAIL"))
	w.clock.advance(55 * time.Second)
	for range 3 {
		w.expect(www, strings.Replace(wwwA, "60", "5", 1))
		w.landed()
	}
	if n := s.times(); n != 2 {
		t.Errorf("asked %d times, want once more only", n)
	}
	w.clock.advance(5 * time.Second)
	w.expect(www, staleWWW)
}

// TestRefreshIsJoined by who comes when the answer has ended meanwhile; it is then
// bound by the timer like any other flight.
func TestRefreshIsJoined(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server, config: eager})
	w.expect(www, wwwA)
	w.expect(www, wwwA)
	gate := make(chan struct{})
	s.turn(held(gate, addressed))
	w.clock.advance(58 * time.Second)
	w.expect(www, strings.Replace(wwwA, "60", "2", 1))
	w.clock.advance(2 * time.Second)
	box := make(mailbox, 1)
	w.begin(www, box, edns)
	w.clock.advance(1800 * time.Millisecond)
	if got := w.await(box); got != staleWWW {
		t.Error(got)
	}
	w.begin(www, box, edns)
	if got := w.await(box); got != staleWWW {
		t.Error(got)
	}
	close(gate)
	w.landed()
	w.expect(www, wwwA)
	if n := s.times(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

// TestFlushedWhileAskedForAnew: what comes back is from before the flush.
func TestFlushedWhileAskedForAnew(t *testing.T) {
	s := newFickle(t, addressed)
	w := newWorld(t, setup{upstream: s.server, config: eager})
	w.expect(www, wwwA)
	w.expect(www, wwwA)
	gate := make(chan struct{})
	s.turn(held(gate, addressed))
	w.clock.advance(58 * time.Second)
	w.expect(www, strings.Replace(wwwA, "60", "2", 1))
	if n := w.Flush(mustWire("www.example.")); n != 1 {
		t.Errorf("%d forgotten, want 1", n)
	}
	close(gate)
	w.landed()
	if n := w.Stats().Cache.Entries; n != 0 {
		t.Errorf("%d answers in the cache, want none", n)
	}
}
