package resolver

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/blocklist"
	"weir/resolver/upstream"
)

// vouching is says, with AD set.
func vouching(parts ...string) handler {
	return func(q, m *dns.Msg) bool {
		m.AuthenticatedData = true
		return says(parts...)(q, m)
	}
}

func wantsAD(m *dns.Msg)  { m.AuthenticatedData = true }
func checksIt(m *dns.Msg) { m.CheckingDisabled = true }

// TestAuthenticityIsHandedOn to those who ask for it with AD or DO (RFC 6840
// §5.7, §5.8), from a server whose word counts, and from no other.
func TestAuthenticityIsHandedOn(t *testing.T) {
	s := newServer(t, map[string]handler{
		"*":                             vouching("www.example. 60 A 192.0.2.1"),
		"forcesafesearch.google.com. A": vouching(safe),
	})
	set := setup{upstream: s, trustAD: true, config: func(c *Config) { c.Stale = time.Hour }}
	set.policies = []blocklist.PolicyConfig{{Name: "p", Any: true, SafeSearch: blocklist.SafeSearchStrict}}
	w := newWorld(t, set)
	for range 2 { // from upstream, from memory
		for _, c := range []struct {
			question string
			edit     []func(*dns.Msg)
			want     bool
		}{
			{www, nil, false},
			{www, []func(*dns.Msg){edns}, false},
			{www, []func(*dns.Msg){wantsAD}, true},
			{www, []func(*dns.Msg){wantsAD, edns}, true},
			{www, []func(*dns.Msg){dnssec}, true},
			{search, []func(*dns.Msg){wantsAD}, false}, // in part our own words
		} {
			if got := unpack(t, w.exchange("", query(t, c.question, c.edit...))); got.AuthenticatedData != c.want || len(got.Answer) == 0 {
				t.Errorf("%s: AD %v, want %v", c.question, got.AuthenticatedData, c.want)
			}
		}
	}
	w.reload(func(set *setup) { set.trustAD = false }) // the same server, whose word does not count any more
	if got := w.ask(www, wantsAD); got != wwwA {
		t.Errorf("not trusted any more: %s", got)
	}
}

// TestAuthenticityHasAnEnd: nobody vouches for a stale answer, for one that was
// changed, nor for what a file says.
func TestAuthenticityHasAnEnd(t *testing.T) {
	turned := newFickle(t, vouching("www.example. 60 A 192.0.2.1", "www.example. 60 A 10.0.0.1"))
	set := setup{
		upstream: turned.server, trustAD: true,
		config:   func(c *Config) { c.Stale = time.Hour },
		policies: []blocklist.PolicyConfig{{Name: "p", Any: true}},
	}
	w := newWorld(t, set)
	const both = "NOERROR ad www.example. 60 A 192.0.2.1; www.example. 60 A 10.0.0.1;"
	if got := w.ask(www, wantsAD); got != both {
		t.Errorf("%s, want %s", got, both)
	}
	file := filepath.Join(w.dir, "cache")
	if _, err := w.SaveCache(file); err != nil {
		t.Fatal(err)
	}
	stripping := blocklist.PolicyConfig{Name: "p", Any: true, Strip: true, Rebinding: true}
	p, err := blocklist.Compile([]blocklist.PolicyConfig{stripping}, nil, w.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	whole := w.State().Policy
	w.SetPolicy(p, w.State().Local)
	if got := w.ask(www, wantsAD); got != wwwA {
		t.Errorf("stripped: %s", got)
	}
	w.SetPolicy(whole, w.State().Local)
	turned.turn(says("SERVFAIL"))
	w.clock.advance(2 * time.Minute)
	if got, want := w.ask(www, wantsAD), strings.ReplaceAll(strings.Replace(both, " ad", "", 1), "60", "30"); got != want {
		t.Errorf("stale: %s, want %s", got, want)
	}
	again := newWorld(t, setup{upstream: turned.server, trustAD: true})
	again.clock = w.clock
	if n, err := again.LoadCache(file); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got := again.ask(www, wantsAD); got != strings.Replace(both, " ad", "", 1) {
		t.Errorf("from a file: %s", got)
	}
}

// TestDenialBelowIsAsAuthentic: the proof that a name does not exist is one for all
// below it.
func TestDenialBelowIsAsAuthentic(t *testing.T) {
	for _, trust := range []bool{true, false} {
		s := newServer(t, map[string]handler{"gone.example. A": vouching("NXDOMAIN", "/", negativeSOA)})
		w := newWorld(t, setup{upstream: s, trustAD: trust, config: func(c *Config) { c.DenyBelow = true }})
		w.ask("gone.example. A")
		for _, question := range []string{"gone.example. A", "x.gone.example. A", "a.b.gone.example. AAAA"} {
			m := unpack(t, w.exchange("", query(t, question, wantsAD)))
			if m.Rcode != dns.RcodeNameError || m.AuthenticatedData != trust {
				t.Errorf("%s: %v, AD %v, want %v", question, rcodeName(m.Rcode), m.AuthenticatedData, trust)
			}
			if m := unpack(t, w.exchange("", query(t, question))); m.AuthenticatedData {
				t.Errorf("%s: AD without being asked for", question)
			}
		}
		if n := len(s.questions()); n != 1 {
			t.Errorf("asked %q", s.questions())
		}
	}
}

// TestCheckingDisabledIsApart: what came for CD is never given to who wants
// checks, nor a failure the other way round (RFC 4035 §3.2.2).
func TestCheckingDisabledIsApart(t *testing.T) {
	s := newServer(t, map[string]handler{"*": func(q, m *dns.Msg) bool {
		if !q.CheckingDisabled { // bogus, as a validator has it
			return says("SERVFAIL")(q, m)
		}
		return says("www.example. 60 A 192.0.2.66")(q, m)
	}})
	w := newWorld(t, setup{upstream: s})
	for range 2 {
		for _, c := range []struct {
			edit []func(*dns.Msg)
			want string
		}{
			{[]func(*dns.Msg){checksIt}, "NOERROR www.example. 60 A 192.0.2.66;"},
			{nil, "SERVFAIL"},
			{[]func(*dns.Msg){checksIt, dnssec}, "NOERROR www.example. 60 A 192.0.2.66;"},
			{[]func(*dns.Msg){wantsAD}, "SERVFAIL"},
		} {
			b := w.exchange("", query(t, www, c.edit...))
			if got := show(t, b); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if m, q := unpack(t, b), unpack(t, query(t, www, c.edit...)); m.CheckingDisabled != q.CheckingDisabled {
				t.Error("CD was not copied")
			}
		}
	}
}

// A checker validates, in its own simple way, what another exchanger says: a
// signature makes an answer authentic, and one by "evil." makes it bogus.
type checker struct{ upstream.Exchanger }

func (c checker) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	signed := q.Copy() // it must not modify q
	signed.SetEdns0(1232, true)
	m, err := c.Exchanger.Exchange(ctx, signed)
	if err != nil {
		return nil, err
	}
	m.Id = q.Id
	for _, rr := range m.Answer {
		sig, ok := rr.(*dns.RRSIG)
		switch {
		case !ok:
		case sig.SignerName != "evil.":
			m.AuthenticatedData = !q.CheckingDisabled
		case !q.CheckingDisabled:
			return &dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true, Rcode: dns.RcodeServerFailure}, Question: q.Question}, nil
		}
	}
	return m, nil
}

// TestValidatorFits: an exchanger around another is all that validation needs. What
// it says of AD is believed, of DNSSEC records only those who ask get any, and the
// cache keeps CD apart.
func TestValidatorFits(t *testing.T) {
	const sig = "www.example. 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 "
	s := newServer(t, map[string]handler{
		"www.example. A": says("www.example. 60 A 192.0.2.1", sig+"example. aaaa"),
		"bad.example. A": says("bad.example. 60 A 192.0.2.66", "bad.example. 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 evil. aaaa"),
		"old.example. A": says("old.example. 60 A 192.0.2.3"),
	})
	w := newWorld(t, setup{upstream: s, exchanger: checker{s.open(t, upstream.Options{})}})
	for range 2 {
		for _, c := range []struct {
			question string
			edit     []func(*dns.Msg)
			want     string
		}{
			{www, nil, wwwA},
			{www, []func(*dns.Msg){wantsAD}, strings.Replace(wwwA, "NOERROR", "NOERROR ad", 1)},
			{www, []func(*dns.Msg){dnssec}, "NOERROR ad www.example. 60 A 192.0.2.1; " + sig + "example. aaaa;"},
			{"bad.example. A", []func(*dns.Msg){edns}, `SERVFAIL ede 0 "upstream reply refused: rcode SERVFAIL"`},
			{"bad.example. A", []func(*dns.Msg){checksIt}, "NOERROR bad.example. 60 A 192.0.2.66;"},
			{"old.example. A", []func(*dns.Msg){wantsAD}, "NOERROR old.example. 60 A 192.0.2.3;"},
		} {
			if got := w.ask(c.question, c.edit...); got != c.want {
				t.Errorf("%s: %s, want %s", c.question, got, c.want)
			}
		}
	}
	if st := w.State().Groups[0].Stats(); st.Servers[0].Server != "udp://"+s.addr || st.Servers[0].Sent == 0 {
		t.Errorf("the counters are not those of what is within: %+v", st)
	}
}
