package resolver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/audit"
)

// slow is a world whose questions wait for their answers, and the way to let them
// come. One zone is of another upstream, which answers at once.
func slow(t *testing.T, l Limits, config func(*Config)) (w *world, answer func()) {
	gate := make(chan struct{})
	w = newWorld(t, setup{
		upstream: newServer(t, map[string]handler{
			"*": held(gate, func(q, m *dns.Msg) bool {
				return says(q.Question[0].Name+" 60 A 192.0.2.1")(q, m)
			}),
		}),
		forward: map[string]*server{"other.example": newServer(t, map[string]handler{"x.other.example. A": says("x.other.example. 60 A 192.0.2.2")})},
		limits:  l, config: config, audit: roomy,
	})
	open := false
	answer = func() {
		if !open {
			open = true
			close(gate)
		}
	}
	t.Cleanup(answer)
	return w, answer
}

// TestLateAnswersAreKept in memory, and not sent over UDP (CVE-2024-33655).
func TestLateAnswersAreKept(t *testing.T) {
	const name = "www.example. A"
	for _, c := range []struct {
		over  audit.Transport
		after time.Duration
		late  time.Duration
		sent  bool
	}{
		{audit.UDP, 1899 * time.Millisecond, 1900 * time.Millisecond, true},
		{audit.UDP, 1901 * time.Millisecond, 1900 * time.Millisecond, false},
		{audit.TCP, 10 * time.Second, 1900 * time.Millisecond, true},
		{audit.UDP, 10 * time.Second, 0, true},
	} {
		w, answer := slow(t, Limits{Late: c.late}, nil)
		box := make(mailbox, 1)
		s := newScratch()
		if _, waiting := w.start(s, c.over, "", query(t, name), box); !waiting {
			t.Fatal("it did not wait")
		}
		w.clock.advance(c.after)
		answer()
		if got := <-box; (len(got) > 0) != c.sent {
			t.Errorf("over %d after %v: %d octets", c.over, c.after, len(got))
		}
		if got := w.ask(name); got != "NOERROR www.example. 60 A 192.0.2.1;" {
			t.Errorf("asked again: %s", got)
		}
		st, events := w.Stats(), w.events()
		if len(events) != 2 || events[0].Dropped == c.sent || events[1].Source != "cache" || (st.Late == 1) == c.sent {
			t.Errorf("late %d, events %+v %+v", st.Late, events[0], events[1])
		}
	}
}

// TestLateFailureIsTold, since it is as small as its question.
func TestLateFailureIsTold(t *testing.T) {
	gate := make(chan struct{})
	w := newWorld(t, setup{upstream: newServer(t, map[string]handler{"*": held(gate, says("SERVFAIL"))}), limits: Limits{Late: time.Second}})
	box := make(mailbox, 1)
	w.start(newScratch(), audit.UDP, "", query(t, "www.example. A"), box)
	w.clock.advance(5 * time.Second)
	close(gate)
	if got := show(t, <-box); !strings.HasPrefix(got, "SERVFAIL") {
		t.Errorf("got %s", got)
	}
}

// TestLateAnswersToTheProven: an address with a cookie is nobody else's.
func TestLateAnswersToTheProven(t *testing.T) {
	w, answer := slow(t, Limits{Late: time.Second, Cookies: true}, nil)
	cookie := cookieIn(t, w.exchange("10.0.0.1", query(t, "x.other.example. A", withCookie(clientCookie))))
	box := make(mailbox, 1)
	w.start(newScratch(), audit.UDP, "10.0.0.1", query(t, "www.example. A", withCookie(cookie)), box)
	w.clock.advance(10 * time.Second)
	answer()
	if got := show(t, <-box); !strings.HasPrefix(got, "NOERROR") {
		t.Errorf("got %s", got)
	}
}

// TestWaitersOfOneClient leave room for those of others, and what is counted
// goes back to nothing.
func TestWaitersOfOneClient(t *testing.T) {
	w, answer := slow(t, Limits{Waiting: 5}, nil)
	const more = 3
	box, full := make(mailbox, 20), `SERVFAIL ede 23 "too many questions in flight"`
	ask := func(client, name string, waits bool) {
		t.Helper()
		out, waiting := w.start(newScratch(), audit.UDP, client, query(t, name+" A", edns), box)
		if waiting != waits || !waits && show(t, out) != full {
			t.Errorf("%s asks for %s: waits %v, %s", client, name, waiting, show(t, out))
		}
	}
	for i := range 5 + more {
		name := fmt.Sprintf("n%d.example.", i)
		if i%2 == 0 {
			name = "same.example."
		}
		ask("10.0.0.1", name, i < 5)
	}
	ask("10.0.0.2", "same.example.", true)
	answer()
	for range 6 {
		if got := show(t, <-box); !strings.HasPrefix(got, "NOERROR") {
			t.Errorf("who waited got %s", got)
		}
	}
	w.until(func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.flights)+len(w.flightsTo)+len(w.waitingBy)+w.waiting == 0
	})
	if n := w.Stats().Overload; n != more {
		t.Errorf("%d turned away, want %d", n, more)
	}
}

// TestOneUpstreamLeavesRoom: questions to one that does not answer take at most
// three quarters of the room, and the other is asked all the same.
func TestOneUpstreamLeavesRoom(t *testing.T) {
	w, answer := slow(t, Limits{}, func(c *Config) { c.MaxInflight = 8 })
	box := make(mailbox, 20)
	for i := range 8 {
		out, waiting := w.start(newScratch(), audit.UDP, "", query(t, fmt.Sprintf("n%d.example. A", i), edns), box)
		if waiting != (i < 6) || !waiting && !strings.HasPrefix(show(t, out), "SERVFAIL ede 23") {
			t.Errorf("question %d: waits %v, %s", i, waiting, show(t, out))
		}
	}
	if got := w.ask("x.other.example. A"); got != "NOERROR x.other.example. 60 A 192.0.2.2;" {
		t.Errorf("the other upstream: %s", got)
	}
	answer()
	for range 6 {
		<-box
	}
}
