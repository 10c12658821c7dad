package resolver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/audit"
)

// limited is a town with limits.
func limited(t testing.TB, l Limits) setup {
	set := town(t)
	set.audit, set.limits = roomy, l
	return set
}

// shares asks n times and counts the replies.
func (w *world) shares(over audit.Transport, client string, n int, question string) map[string]int {
	w.t.Helper()
	out := map[string]int{}
	for range n {
		got, _, _ := strings.Cut(show(w.t, w.exchangeOver(over, client, query(w.t, question, edns))), " www")
		out[got]++
	}
	return out
}

func TestRateLimit(t *testing.T) {
	for over, want := range map[Over]string{OverTruncate: "NOERROR tc", OverDrop: "silence", OverRefuse: "REFUSED"} {
		w := newWorld(t, limited(t, Limits{Rate: 10, Burst: 5, Over: over}))
		const local = "www.lab.example. A"
		expect := func(client string, n int, want ...any) {
			t.Helper()
			if got := w.shares(audit.UDP, client, n, local); fmt.Sprint(got) != fmt.Sprint(want...) {
				t.Errorf("over %d, %s: %v, want %v", over, client, got, fmt.Sprint(want...))
			}
		}
		expect("10.0.0.1", 8, map[string]int{"NOERROR aa": 5, want: 3})
		expect("10.0.0.2", 5, map[string]int{"NOERROR aa": 5}) // another client
		if got := w.shares(audit.TCP, "10.0.0.1", 20, local); got["NOERROR aa"] != 20 {
			t.Errorf("over TCP: %v", got)
		}
		w.clock.advance(100 * time.Millisecond)
		expect("10.0.0.1", 2, map[string]int{"NOERROR aa": 1, want: 1})
		w.clock.advance(time.Hour)
		expect("10.0.0.1", 6, map[string]int{"NOERROR aa": 5, want: 1})
		// What holds no question counts, and gets silence.
		for range 5 {
			w.exchange("10.0.0.3", []byte{1, 2, 0x28, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		}
		if got := w.exchange("10.0.0.3", []byte{1, 2, 0x28, 0, 0, 1, 0, 0, 0, 0, 0, 0}); got != nil {
			t.Errorf("the sixth UPDATE got %x", got)
		}
		if n := w.Stats().Limited; n != 6 {
			t.Errorf("%d counted, want 6", n)
		}
		recorded := 0
		for _, e := range w.events() {
			if e.Rule == "rate limit" {
				recorded++
				if e.Source != "refused" || e.Dropped != (over == OverDrop || e.Name == "") {
					t.Errorf("record %+v", e)
				}
			}
		}
		if recorded != 6 {
			t.Errorf("%d recorded, want 6", recorded)
		}
	}
}

// TestOneClientIsOnePrefix: an IPv6 host has a network to itself.
func TestOneClientIsOnePrefix(t *testing.T) {
	set := limited(t, Limits{Rate: 1, Over: OverRefuse, PrefixV4: 24})
	set.access = []string{"2001:db8::/32"}
	w := newWorld(t, set)
	for _, c := range []struct {
		client string
		want   string
	}{
		{"10.0.0.1", "NOERROR"},
		{"10.0.0.2", "REFUSED"},
		{"10.0.1.1", "NOERROR"},
		{"::ffff:10.0.1.2", "REFUSED"}, // as a socket for both families has it
		{"2001:db8::1", "NOERROR"},
		{"2001:db8::ffff:0:0:1", "REFUSED"},
		{"2001:db8:0:1::1", "NOERROR"},
	} {
		if got := w.askFrom(c.client, "www.lab.example. A"); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s", c.client, got, c.want)
		}
	}
}

// TestResponseLimit: of what is the same, every second one is cut and the
// others are not sent.
func TestResponseLimit(t *testing.T) {
	w := newWorld(t, limited(t, Limits{Responses: 4}))
	w.ask("www.example. A") // by a flight, and for another client
	if got := w.shares(audit.UDP, "10.0.0.1", 10, "www.example. A"); got["NOERROR"] != 4 || got["NOERROR tc"] != 3 || got["silence"] != 3 {
		t.Errorf("the same answer: %v", got)
	}
	if got := w.shares(audit.UDP, "10.0.0.1", 3, "www.example. ANY"); got["NOERROR tc"]+got["silence"] != 3 {
		t.Errorf("another type of the same name: %v", got)
	}
	if got := w.shares(audit.UDP, "10.0.0.1", 4, "www.lab.example. A"); got["NOERROR aa"] != 4 {
		t.Errorf("another name: %v", got)
	}
	if got := w.shares(audit.UDP, "10.0.0.2", 4, "www.example. A"); got["NOERROR"] != 4 {
		t.Errorf("another client: %v", got)
	}
	if got := w.shares(audit.TCP, "10.0.0.1", 9, "www.example. A"); got["NOERROR"] != 9 {
		t.Errorf("over TCP: %v", got)
	}
	errors := map[string]int{}
	for i := range 8 {
		errors[w.askFrom("10.0.0.1", fmt.Sprintf("n%d.example. AXFR", i))]++
	}
	if errors["REFUSED"] != 4 || errors["NOERROR tc"] != 2 || errors["silence"] != 2 {
		t.Errorf("failures of different names: %v", errors)
	}
	w.clock.advance(time.Second)
	if got := w.shares(audit.UDP, "10.0.0.1", 4, "www.example. A"); got["NOERROR"] != 4 {
		t.Errorf("a second later: %v", got)
	}
	dropped := 0
	for _, e := range w.events() {
		if e.Dropped {
			dropped++
			if e.Rule != "response limit" || e.Source != "refused" {
				t.Errorf("record %+v", e)
			}
		}
	}
	if n := w.Stats().Alike; n != 13 || dropped != 6 && dropped != 7 {
		t.Errorf("%d beyond the limit, of which %d recorded as dropped", n, dropped)
	}
}

// TestBlockedStaysBlocked: a verdict on an answer that is not sent is kept.
func TestBlockedStaysBlocked(t *testing.T) {
	w := newWorld(t, limited(t, Limits{Responses: 1}))
	for range 3 {
		w.askFrom("10.0.0.1", "track.example. A")
	}
	for _, e := range w.events() {
		if e.Verdict != "block" || e.Policy != "everyone" || e.Category != "ads" {
			t.Errorf("record %+v", e)
		}
	}
}

// TestReloadChangesLimits: from the next packet on, and what is used up stays so.
func TestReloadChangesLimits(t *testing.T) {
	w := newWorld(t, limited(t, Limits{}))
	if got := w.shares(audit.UDP, "10.0.0.1", 50, "www.lab.example. A"); got["NOERROR aa"] != 50 {
		t.Fatalf("without limits: %v", got)
	}
	w.reload(func(s *setup) { s.limits = Limits{Rate: 1, Burst: 2, Over: OverRefuse} })
	if got := w.shares(audit.UDP, "10.0.0.1", 3, "www.lab.example. A"); got["NOERROR aa"] != 2 {
		t.Errorf("with a limit: %v", got)
	}
	w.reload(func(s *setup) { s.limits.Burst = 1 })
	if got := w.shares(audit.UDP, "10.0.0.1", 1, "www.lab.example. A"); got["REFUSED"] != 1 {
		t.Errorf("after another reload: %v", got)
	}
}
