package resolver

import (
	"net/netip"
	"testing"
	"time"

	"weir/blocklist"
)

// searching is a setup whose one policy asks for safe search, and whose
// upstream knows the usual host and the one that stands in for it.
func searching(t *testing.T, handlers map[string]handler) setup {
	return setup{
		upstream: newServer(t, handlers),
		sinkhole: SinkholeConfig{TTL: 60},
		policies: []blocklist.PolicyConfig{{Name: "p", Any: true, SafeSearch: blocklist.SafeSearchStrict}},
	}
}

const (
	search = "www.google.com. A"
	usual  = "www.google.com. 60 A 192.0.2.1"
	safe   = "forcesafesearch.google.com. 60 A 192.0.2.2"
)

// TestSafeSearch: the answer leads to the host that stands in, whatever the
// type, and no upstream is asked for the name itself.
func TestSafeSearch(t *testing.T) {
	w := newWorld(t, searching(t, map[string]handler{
		"forcesafesearch.google.com. A":    says(safe),
		"forcesafesearch.google.com. AAAA": says("/", "google.com. 60 SOA ns.google.com. h.google.com. 1 1 1 1 60"),
		"safe.duckduckgo.com. A":           says("NXDOMAIN", "/", "duckduckgo.com. 60 SOA ns.duckduckgo.com. h.duckduckgo.com. 1 1 1 1 60"),
		"strict.bing.com. A":               says("SERVFAIL"),
		"restrict.youtube.com. A":          says("restrict.youtube.com. 60 CNAME a.youtube.com.", "a.youtube.com. 60 A 192.0.2.3"),
		"www.google.com. A":                says(usual),
		"*":                                says("REFUSED"),
	}))
	for _, c := range []struct{ question, want string }{
		{search, `NOERROR ede 4 "safe search" www.google.com. 300 CNAME forcesafesearch.google.com.; forcesafesearch.google.com. 60 A 192.0.2.2;`},
		{"WWW.Google.com. A", `NOERROR ede 4 "safe search" WWW.Google.com. 300 CNAME forcesafesearch.Google.com.; forcesafesearch.Google.com. 60 A 192.0.2.2;`},
		{"www.google.co.uk. A", `NOERROR ede 4 "safe search" www.google.co.uk. 300 CNAME forcesafesearch.google.com.; forcesafesearch.google.com. 60 A 192.0.2.2;`},
		{"www.google.com. AAAA", `NOERROR ede 4 "safe search" www.google.com. 300 CNAME forcesafesearch.google.com.; / google.com. 60 SOA 60;`},
		{"duckduckgo.com. A", `NXDOMAIN ede 4 "safe search" duckduckgo.com. 300 CNAME safe.duckduckgo.com.; / duckduckgo.com. 60 SOA 60;`},
		{"www.youtube.com. A", `NOERROR ede 4 "safe search" www.youtube.com. 300 CNAME restrict.youtube.com.; restrict.youtube.com. 60 CNAME a.youtube.com.; a.youtube.com. 60 A 192.0.2.3;`},
	} {
		for range 2 { // from upstream, from memory
			if got := show(t, w.exchange("", query(t, c.question, edns))); got != c.want {
				t.Errorf("%s:\n%s, want\n%s", c.question, got, c.want)
			}
		}
	}
	if got := w.ask("www.bing.com. A"); got != "SERVFAIL" {
		t.Errorf("a host that cannot be had: %s", got)
	}
	for _, e := range w.events() {
		if e.Name == "www.google.com" && e.Type == "A" && (e.Verdict != "allow" || e.EDE == nil || *e.EDE != 4 || len(e.Answers) != 2) {
			t.Errorf("recorded as %+v", e)
		}
	}
}

// TestSafeSearchIsJudged: the host that stands in is an alias like any.
func TestSafeSearchIsJudged(t *testing.T) {
	set := searching(t, map[string]handler{"forcesafesearch.google.com. A": says(safe)})
	set.policies[0].Rules = []blocklist.RuleConfig{{Action: blocklist.ActionBlock, Domains: []string{"=forcesafesearch.google.com"}}}
	w := newWorld(t, set)
	if got, want := w.ask(search), `NXDOMAIN / www.google.com. 60 SOA 60;`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestSafeSearchChangesInFlight: who asked while an exception let the real host
// through does not get it once that has ended, nor the other way round.
func TestSafeSearchChangesInFlight(t *testing.T) {
	excepted := func(until time.Time) blocklist.Known {
		return blocklist.Known{Exceptions: []blocklist.Exception{{ID: 1, Name: "www.google.com", Client: netip.MustParsePrefix("127.0.0.0/8"), Until: until.UnixNano()}}}
	}
	for _, c := range []struct {
		what          string
		before, after bool // excepted
		want          string
	}{
		{"the exception ends", true, false, "NOERROR www.google.com. 300 CNAME forcesafesearch.google.com.; forcesafesearch.google.com. 60 A 192.0.2.2;"},
		{"an exception comes", false, true, "NOERROR www.google.com. 60 A 192.0.2.1;"},
	} {
		gate := make(chan struct{})
		w := newWorld(t, searching(t, map[string]handler{
			"www.google.com. A":             held(gate, says(usual)),
			"forcesafesearch.google.com. A": held(gate, says(safe)),
		}))
		state := func(on bool) blocklist.Known {
			if on {
				return excepted(w.clock.now().Add(time.Hour))
			}
			return blocklist.Known{}
		}
		w.SetPolicy(w.State().Policy.With(state(c.before)), w.State().Local)
		box := make(mailbox, 1)
		w.begin(search, box)
		w.SetPolicy(w.State().Policy.With(state(c.after)), w.State().Local)
		close(gate)
		if got := w.await(box); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

// TestSafeSearchKeepsTheUsualAnswerApart: one client's safe answer is not the other's.
func TestSafeSearchKeepsTheUsualAnswerApart(t *testing.T) {
	set := searching(t, map[string]handler{"www.google.com. A": says(usual), "forcesafesearch.google.com. A": says(safe)})
	set.policies = append(set.policies, blocklist.PolicyConfig{Name: "free", Clients: blocklist.Members{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}})
	w := newWorld(t, set)
	for range 2 {
		if got := w.ask(search); got != "NOERROR www.google.com. 300 CNAME forcesafesearch.google.com.; forcesafesearch.google.com. 60 A 192.0.2.2;" {
			t.Errorf("safe: %s", got)
		}
		if got := w.askFrom("10.0.0.1", search); got != "NOERROR www.google.com. 60 A 192.0.2.1;" {
			t.Errorf("usual: %s", got)
		}
	}
	if hits := w.Stats().Cache.Hits; hits != 2 {
		t.Errorf("%d answers from memory, want 2", hits)
	}
	w.reload(func(s *setup) { // what is asked elsewhere from now on is forgotten by the name that was asked
		s.forward = map[string]*server{"forcesafesearch.google.com.": newServer(t, map[string]handler{"*": says("forcesafesearch.google.com. 60 A 192.0.2.9")})}
	})
	if got := w.ask(search); got != "NOERROR www.google.com. 300 CNAME forcesafesearch.google.com.; forcesafesearch.google.com. 60 A 192.0.2.9;" {
		t.Errorf("safe, from another upstream: %s", got)
	}
}
