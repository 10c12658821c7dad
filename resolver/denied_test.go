package resolver

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/blocklist"
)

func logical(c *Config) { c.DenyBelow = true }

// absent says NXDOMAIN to everything, by the SOA of example.
var absent = says("NXDOMAIN", "/", "example. 100 SOA ns.example. host.example. 1 2 3 4 100")

func TestNothingBelowWhatDoesNotExist(t *testing.T) {
	s := newServer(t, map[string]handler{"*": absent})
	w := newWorld(t, setup{upstream: s, config: logical})
	cd := func(m *dns.Msg) { m.CheckingDisabled = true }
	const gone = "NXDOMAIN / example. 100 SOA 100;"
	for _, c := range []struct {
		question string
		asked    int
		edit     func(*dns.Msg)
	}{
		{"gone.example. A", 1, edns},
		{"a.gone.example. A", 0, edns},
		{"A.B.C.GONE.example. TXT", 0, edns},
		{`\.\000.gone.example. HTTPS`, 0, edns},
		{strings.Repeat("a.", 100) + "gone.example. A", 0, edns},
		{"a.gone.example. A", 1, cd},       // CD and DO are other questions
		{"a.gone.example. A", 1, dnssec},   //
		{"b.a.gone.example. A", 0, dnssec}, //
		{"gone.example. AAAA", 1, edns},    // below, not the name itself
		{"agone.example. A", 1, edns},      // nor beside it
		{"example. A", 1, edns},            // nor above
		{"sub.example. A", 0, edns},        // but this one
	} {
		before := s.times()
		if got := w.ask(c.question, c.edit); got != gone {
			t.Errorf("%s: %s", c.question, got)
		}
		if n := s.times() - before; n != c.asked {
			t.Errorf("%s: asked %d times, want %d", c.question, n, c.asked)
		}
	}
	for _, e := range w.events()[1:5] {
		if e.Source != "cache" || e.Rcode != "NXDOMAIN" || e.Upstream == "" {
			t.Errorf("%s: %s from %s, upstream %q", e.Name, e.Rcode, e.Source, e.Upstream)
		}
	}
}

func TestWhatDeniesNothing(t *testing.T) {
	s := newServer(t, map[string]handler{
		"alias.example. A": says("NXDOMAIN", "alias.example. 60 CNAME gone.example.", "/", "example. 60 SOA ns.example. host.example. 1 2 3 4 60"),
		"empty.example. A": says("/", "example. 60 SOA ns.example. host.example. 1 2 3 4 60"),
		"lame.example. A":  says("SERVFAIL"),
		"*":                addressed,
	})
	w := newWorld(t, setup{upstream: s, config: logical})
	for _, name := range []string{"alias.example.", "empty.example.", "lame.example."} {
		w.ask(name + " A")
		if got, want := w.ask("a."+name+" A"), "NOERROR a."+name+" 60 A 192.0.2.1;"; got != want {
			t.Errorf("below %s: %s", name, got)
		}
	}
	if w.Stats().Cache.Implied != 0 {
		t.Errorf("%+v", w.Stats().Cache)
	}
}

// TestDenialEnds with the answer that it is drawn from, and counts down with it.
func TestDenialEnds(t *testing.T) {
	s := newFickle(t, absent)
	w := newWorld(t, setup{upstream: s.server, config: logical})
	w.ask("gone.example. A")
	w.clock.advance(99 * time.Second)
	w.expect("a.gone.example. A", "NXDOMAIN / example. 1 SOA 100;")
	s.turn(addressed)
	w.clock.advance(time.Second)
	w.expect("a.gone.example. A", "NOERROR a.gone.example. 60 A 192.0.2.1;")
	w.expect("gone.example. A", "NOERROR gone.example. 60 A 192.0.2.1;")
	w.expect("b.gone.example. A", "NOERROR b.gone.example. 60 A 192.0.2.1;")
}

// TestDenialStaysInItsPlace: policy decides first, local zones and zones of other
// upstreams are their own, and a flush takes it away.
func TestDenialStaysInItsPlace(t *testing.T) {
	s := newServer(t, map[string]handler{"*": absent})
	corp := newServer(t, map[string]handler{"*": addressed})
	w := newWorld(t, setup{
		upstream: s, forward: map[string]*server{"corp.gone.example.": corp}, config: logical, sinkhole: SinkholeConfig{TTL: 60},
		zones: []Zone{{Name: "lab.gone.example.", Records: []dns.RR{rr("www.lab.gone.example. 300 A 192.0.2.10")}}},
		policies: []blocklist.PolicyConfig{{Name: "p", Any: true, Rules: []blocklist.RuleConfig{
			{Action: blocklist.ActionBlock, Domains: []string{"ads.gone.example"}},
		}}},
	})
	w.ask("gone.example. A")
	w.expect("www.lab.gone.example. A", "NOERROR aa www.lab.gone.example. 300 A 192.0.2.10;")
	w.expect("www.corp.gone.example. A", "NOERROR www.corp.gone.example. 60 A 192.0.2.1;")
	w.expect("x.ads.gone.example. A", `NXDOMAIN ede 15 "p: rule 1" / x.ads.gone.example. 60 SOA 60;`)
	w.expect("corp.gone.example. DS", "NXDOMAIN / example. 100 SOA 100;") // the parent's
	if n := s.times(); n != 1 {
		t.Errorf("asked %q", s.questions())
	}
	w.Flush(mustWire("gone.example."))
	w.ask("x.gone.example. A")
	if want := []string{"gone.example. A", "x.gone.example. A"}; !slices.Equal(s.questions(), want) {
		t.Errorf("asked %q, want %q", s.questions(), want)
	}
}

func TestDenialCanBeSwitchedOff(t *testing.T) {
	s := newServer(t, map[string]handler{"*": absent})
	w := newWorld(t, setup{upstream: s})
	w.ask("gone.example. A")
	w.ask("a.gone.example. A")
	if n := s.times(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

// TestDenialKeepsProofs: what a validator needs to believe the parent's answer it
// needs here too.
func TestDenialKeepsProofs(t *testing.T) {
	s := newServer(t, map[string]handler{"*": says("NXDOMAIN", "/", "example. 100 SOA ns.example. host.example. 1 2 3 4 100",
		"example. 100 RRSIG SOA 8 1 100 20300101000000 20200101000000 1 example. aaaa",
		"f.example. 100 NSEC h.example. A RRSIG NSEC",
		"f.example. 100 RRSIG NSEC 8 2 100 20300101000000 20200101000000 1 example. aaaa")})
	w := newWorld(t, setup{upstream: s, config: logical})
	direct := w.ask("gone.example. A", dnssec)
	if below := w.ask("a.b.gone.example. A", dnssec); below != direct || strings.Count(below, "RRSIG") < 2 {
		t.Errorf("below\n%s, the name itself\n%s", below, direct)
	}
}

func BenchmarkDenied(b *testing.B) {
	w := newWorld(b, setup{upstream: newServer(b, map[string]handler{"*": absent}), config: logical, audit: roomy})
	w.ask("gone.example. A")
	msg := query(b, "a.b.gone.example. A")
	s := newScratch()
	b.ReportAllocs()
	for b.Loop() {
		from := &origin{peer: w.peer}
		w.arrived(from)
		w.answer(s, msg, from, nil)
	}
}
