package resolver

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"weir/blocklist"
	"weir/resolver/cache"

	"github.com/miekg/dns"
)

// TestExplainAgreesWithThePath: what Explain says of a question is what
// becomes of it.
func TestExplainAgreesWithThePath(t *testing.T) {
	set := town(t)
	set.upstream = newServer(t, map[string]handler{"*": says("NXDOMAIN")})
	set.forward = map[string]*server{"corp.example.": newServer(t, map[string]handler{"*": says("NXDOMAIN")})}
	set.sinkhole.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	w := newWorld(t, set)
	for _, c := range []struct{ client, question, want string }{
		{"127.0.0.1", "www.example. A", "default"},
		{"127.0.0.1", "a.corp.example. A", "corp.example."},
		{"127.0.0.1", "corp.example. DS", "default"},
		{"127.0.0.1", "x.track.example. A", "NXDOMAIN everyone: ads"},
		{"127.0.0.1", "a.inline.example. AAAA", "NXDOMAIN everyone: rule 4"},
		{"127.0.0.1", "local-ad.lab.example. A", "NODATA everyone: rule 6"},
		{"127.0.0.1", "hole.example. A", "no answer at all everyone: rule 7"},
		{"127.0.0.1", "www.lab.example. A", "zone lab.example"},
		{"10.66.0.1", "www.lab.example. A", "zone lab.example"},
		{"10.66.0.1", "www.example. A", "default"},
		{"10.66.0.1", "other.example. A", "NXDOMAIN locked: default"},
		{"::ffff:10.66.0.1", "other.example. A", "NXDOMAIN locked: default"},
		{"192.0.2.99", "x.track.example. A", "refused"},
	} {
		name, typ, _ := strings.Cut(c.question, " ")
		a := w.State().Explain(lookup(mustWire(name), typeOf(t, typ), c.client))
		got := a.Upstream
		switch {
		case a.Refused:
			got = "refused"
		case a.Blocked:
			got = a.Answer + " " + a.EDE
		case a.Zone != "":
			got = "zone " + a.Zone
		case len(a.Servers) != 1:
			t.Errorf("%s goes to %q", c.question, a.Servers)
		}
		if got != c.want {
			t.Errorf("%s from %s: %s, want %s", c.question, c.client, got, c.want)
		}
		reply := w.askFrom(c.client, c.question)
		if strings.HasPrefix(reply, "REFUSED") != a.Refused || strings.Contains(reply, " ede 15 ") != (a.Blocked && a.EDE != "" && reply != "silence") ||
			strings.Contains(reply, " aa ") != (a.Zone != "") || !strings.Contains(reply, a.EDE) && reply != "silence" {
			t.Errorf("%s from %s: explained as %s, but answered %s", c.question, c.client, got, reply)
		}
	}
	asked := strings.Join(w.set.forward["corp.example."].questions(), " ")
	if asked != "a.corp.example. A" {
		t.Errorf("the forwarded zone was asked %q", asked)
	}
	for _, c := range []struct {
		answer, typ, want string
	}{{"null", "A", "0.0.0.0"}, {"null", "AAAA", "::"}, {"null", "TXT", "NODATA"}, {"address", "A", "192.0.2.1"}, {"address", "AAAA", "2001:db8::1"}, {"refused", "A", "REFUSED"}, {"nodata", "A", "NODATA"}} {
		if got := w.State().Sinkhole.describe(answerOf(t, c.answer), typeOf(t, c.typ)); got != c.want {
			t.Errorf("%s for %s: %s, want %s", c.answer, c.typ, got, c.want)
		}
	}
}

// TestExplainOfWhatIsObserved: what a policy that only observes would block, and
// that a default is not about local zones.
func TestExplainOfWhatIsObserved(t *testing.T) {
	set := town(t)
	set.policies = []blocklist.PolicyConfig{{
		Name: "trial", Any: true, Observe: true, Default: blocklist.Block,
		Rules: []blocklist.RuleConfig{{Action: blocklist.ActionBlock, Categories: []string{"ads"}}, {Action: blocklist.ActionBlock, Domains: []string{"=local-ad.lab.example"}}},
	}}
	w := newWorld(t, set)
	for _, c := range []struct {
		name string
		by   blocklist.By
		none bool
	}{
		{name: "x.track.example.", by: blocklist.ByRule},
		{name: "www.example.", by: blocklist.ByDefault},
		{name: "local-ad.lab.example.", by: blocklist.ByRule},
		{name: "www.lab.example.", none: true},
	} {
		a := w.State().Explain(lookup(mustWire(c.name), dns.TypeA, "127.0.0.1"))
		if a.Blocked || (a.Observed == nil) != c.none || a.Observed != nil && a.Observed.By != c.by {
			t.Errorf("%s: blocked %v, observed %+v", c.name, a.Blocked, a.Observed)
		}
		w.ask(c.name + " A")
	}
	for _, r := range w.events() {
		if (r.Observed == nil) != (r.Name == "www.lab.example") {
			t.Errorf("%s is recorded as observed: %v", r.Name, r.Observed)
		}
	}
}

// TestExplainSeesTheAnswerInMemory: what an alias in it changes, as far as it is known.
func TestExplainSeesTheAnswerInMemory(t *testing.T) {
	w := newWorld(t, town(t))
	for _, c := range []struct {
		question string
		edit     []func(*dns.Msg)
		want     string
	}{
		{"cloak.example. A", nil, "blocked NXDOMAIN everyone: ads by track.example for x.track.example"},
		{"svc.example. HTTPS", []func(*dns.Msg){dnssec}, "blocked NXDOMAIN everyone: ads by track.example for x.track.example"},
		{"fine.example. A", nil, "asks default"},
		{"www.example. A", nil, "asks default"},
		{"x.track.example. A", nil, "blocked NXDOMAIN everyone: ads by  for "},
	} {
		name, typ, _ := strings.Cut(c.question, " ")
		explain := func() string {
			a := w.Explain(w.State(), lookup(mustWire(name), typeOf(t, typ), "127.0.0.1"))
			if !a.Blocked {
				return "asks " + a.Upstream
			}
			return "blocked " + a.Answer + " " + a.EDE + " by " + a.Entry + " for " + a.Fact
		}
		if got := explain(); got != c.want && got != "asks default" {
			t.Errorf("%s before it was asked: %s", c.question, got)
		}
		w.ask(c.question, c.edit...)
		before := w.Stats().Cache
		if got := explain(); got != c.want {
			t.Errorf("%s: %s, want %s", c.question, got, c.want)
		}
		if after := w.Stats().Cache; after != before {
			t.Errorf("%s: explaining counted as asking: %+v, was %+v", c.question, after, before)
		}
	}
}

func lookup(name []byte, qtype uint16, client string) *blocklist.Lookup {
	return &blocklist.Lookup{Name: name, Type: qtype, Client: blocklist.Client{Addr: netip.MustParseAddr(client)}}
}

// TestFactsOf holds the facts of an answer that is only told against those that records like it leave in memory.
func TestFactsOf(t *testing.T) {
	for _, c := range []struct {
		qtype   uint16
		records []string
		names   []string
		addrs   []string
	}{
		{dns.TypeA, []string{"a. CNAME b.example.", "b.example. CNAME c.example.", "c.example. A 10.0.0.1"}, []string{"b.example.", "c.example."}, []string{"10.0.0.1"}},
		{dns.TypeAAAA, []string{"a. AAAA 64:ff9b::10.0.0.1", "a. AAAA ::ffff:10.0.0.1"}, nil, []string{"64:ff9b::10.0.0.1", "::ffff:10.0.0.1"}},
		{dns.TypeHTTPS, []string{"a. HTTPS 1 b.example. alpn=h2"}, []string{"b.example."}, nil},
		{dns.TypeMX, []string{"a. MX 1 b.example."}, []string{"b.example."}, nil},
		{dns.TypePTR, []string{"a. PTR b.example."}, []string{"b.example."}, nil},
		{dns.TypeSRV, []string{"a. SRV 1 1 1 b.example."}, []string{"b.example."}, nil},
		{dns.TypeNAPTR, []string{`a. NAPTR 1 1 "" "" "" b.example.`}, []string{"b.example."}, nil},
	} {
		var e cache.Entry
		for _, text := range c.records {
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := note(&e, rr, nil); err != nil {
				t.Fatal(err)
			}
		}
		var names [][]byte
		for _, name := range c.names {
			names = append(names, mustWire(name))
		}
		var addrs []netip.Addr
		for _, addr := range c.addrs {
			addrs = append(addrs, netip.MustParseAddr(addr))
		}
		if got := FactsOf(c.qtype, names, addrs); !reflect.DeepEqual(got, &e.Facts) {
			t.Errorf("%q: %+v, want %+v", c.records, got, &e.Facts)
		}
	}
}
