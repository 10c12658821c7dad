package resolver

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"weir/blocklist"
	"weir/resolver/upstream"
	"weir/resolver/wire"
)

// TestEmbed holds the table of RFC 6052 §2.4, and that extract is the reverse.
func TestEmbed(t *testing.T) {
	v4 := netip.MustParseAddr("192.0.2.33")
	for _, c := range []struct{ prefix, want string }{
		{"2001:db8::/32", "2001:db8:c000:221::"},
		{"2001:db8:100::/40", "2001:db8:1c0:2:21::"},
		{"2001:db8:122::/48", "2001:db8:122:c000:2:2100::"},
		{"2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"},
		{"2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"},
		{"2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"},
		{"64:ff9b::/96", "64:ff9b::192.0.2.33"},
	} {
		d := NewDNS64(netip.MustParsePrefix(c.prefix), nil)
		got := d.embed(v4)
		if got != netip.MustParseAddr(c.want) {
			t.Errorf("%s: %s, want %s", c.prefix, got, c.want)
		}
		if back, ok := d.extract(got); !ok || back != v4 {
			t.Errorf("%s: %s, %v comes back", c.prefix, back, ok)
		}
		if _, ok := d.extract(netip.MustParseAddr("2001:db9::1")); ok {
			t.Errorf("%s: an address of another network is taken for its own", c.prefix)
		}
		name, _ := dns.ReverseAddr(got.String())
		if back := d.reverse(mustWire(name)); string(back) != string(mustWire("33.2.0.192.in-addr.arpa.")) {
			t.Errorf("%s: %s leads to %q", c.prefix, name, back)
		}
		for _, odd := range []string{name[2:], "a." + name, "g" + name[1:], "00." + name[4:], strings.Replace(name, "ip6", "ip7", 1)} {
			if back := d.reverse(mustWire(odd)); back != nil {
				t.Errorf("%s: %s leads to %q", c.prefix, odd, back)
			}
		}
	}
	for _, odd := range []string{"2001:db8:122:344:1c0:2:2100::", "2001:db8:122:345:c0:2:2100::"} {
		if v4, ok := NewDNS64(netip.MustParsePrefix("2001:db8:122:344::/64"), nil).extract(netip.MustParseAddr(odd)); ok {
			t.Errorf("%s leads to %s", odd, v4)
		}
	}
}

const negativeSOA = "example. 300 SOA ns.example. host.example. 1 2 3 4 40"

// translating is a setup whose clients have no IPv4 but for those of 10.0.0.0/8.
func translating(handlers map[string]handler, s *server) setup {
	s.play(handlers)
	return setup{
		upstream: s, sinkhole: SinkholeConfig{TTL: 60},
		policies: []blocklist.PolicyConfig{
			{Name: "six", Any: true},
			{Name: "four", Clients: blocklist.Members{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
			{Name: "own", Clients: blocklist.Members{Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.64/26")}}},
		},
		dns64: []*DNS64{NewDNS64(nat64, nil), nil, NewDNS64(netip.MustParsePrefix("2001:db8:64::/96"), []netip.Prefix{netip.MustParsePrefix("2001:db8:bad::/48")})},
	}
}

// TestDNS64: what RFC 6147 §5.1 says of each reply to the question for AAAA.
func TestDNS64(t *testing.T) {
	const (
		sigA    = "a.example. 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 example. aaaa"
		sigC    = "c.example. 60 RRSIG CNAME 8 2 60 20300101000000 20200101000000 1 example. aaaa"
		sigAAAA = "a.example. 60 RRSIG AAAA 8 2 60 20300101000000 20200101000000 1 example. aaaa"
	)
	a := says("a.example. 60 A 192.0.2.1", "a.example. 60 A 192.0.2.2")
	nodata := says("/", negativeSOA)
	made := func(ttl string) string {
		return "NOERROR a.example. " + ttl + " AAAA 64:ff9b::c000:201; a.example. " + ttl + " AAAA 64:ff9b::c000:202;"
	}
	for _, c := range []struct {
		name       string
		aaaa, a    handler // for a.example.
		edit       []func(*dns.Msg)
		want       string
		asked      int  // questions upstream; 0 means 2
		everywhere bool // want is also what who is not translated for gets
	}{
		{"made, with the life of the denial", nodata, a, nil, made("40"), 0, false},
		{"made, with the life of the address", says("/", "example. 300 SOA ns.example. host.example. 1 2 3 4 300"), a, nil, made("60"), 0, false},
		{"no SOA", says(), says("a.example. 900 A 192.0.2.1", "a.example. 900 A 192.0.2.2"), nil, made("600"), 0, false},
		{"of no life", nodata, says("a.example. 4294967295 A 192.0.2.1", "a.example. 0 A 192.0.2.2"), nil, made("0"), 0, false},
		{"an address of its own", says("a.example. 60 AAAA 2001:db8::1"), a, nil, "NOERROR a.example. 60 AAAA 2001:db8::1;", 1, true},
		{"no such name", says("NXDOMAIN", "/", negativeSOA), a, nil, "NXDOMAIN / example. 40 SOA 40;", 1, true},
		{"neither", nodata, says("/", negativeSOA), nil, "NOERROR / example. 40 SOA 40;", 0, true},
		{"no A either, but other records", nodata, says("a.example. 60 TXT x"), nil, "NOERROR / example. 40 SOA 40;", 0, true},
		{"A fails", nodata, says("SERVFAIL"), nil, "NOERROR / example. 40 SOA 40;", 0, true},
		{"A does not exist", nodata, says("NXDOMAIN", "/", negativeSOA), nil, "NOERROR / example. 40 SOA 40;", 0, true},
		{"AAAA fails", says("SERVFAIL"), a, nil, made("60"), 0, false},
		{"AAAA is refused", says("REFUSED"), a, nil, made("60"), 0, false},
		{"AAAA is not implemented", says("NOTIMP"), a, nil, made("60"), 3, false}, // asked again without EDNS
		{"both fail", says("SERVFAIL"), says("SERVFAIL"), nil, "SERVFAIL", 0, true},
		{"mapped addresses count as none", says("a.example. 60 AAAA ::ffff:192.0.2.9"), a, nil, made("60"), 0, false},
		{"a mapped address beside another", says("a.example. 60 AAAA ::ffff:192.0.2.9", "a.example. 60 AAAA 2001:db8::1", sigAAAA), a, []func(*dns.Msg){dnssec}, "NOERROR a.example. 60 AAAA 2001:db8::1;", 1, false},
		{"private addresses are not put behind the well-known prefix", nodata, says("a.example. 60 A 10.0.0.1", "a.example. 60 A 192.168.1.1", "a.example. 60 A 192.0.2.1", "a.example. 60 A 127.0.0.1", "a.example. 60 A 192.0.2.2"), nil, made("40"), 0, false},
		{"private addresses alone", nodata, says("a.example. 60 A 10.0.0.1"), nil, "NOERROR / example. 40 SOA 40;", 0, true},
		{"aliases stay", says("a.example. 50 CNAME c.example.", "/", negativeSOA), says("a.example. 50 CNAME c.example.", "c.example. 60 A 192.0.2.1"), nil, "NOERROR a.example. 50 CNAME c.example.; c.example. 40 AAAA 64:ff9b::c000:201;", 0, false},
		{"a DNAME stays", says("example. 50 DNAME other.", "a.example. 50 CNAME a.other.", "/", "other. 300 SOA ns.other. host.other. 1 2 3 4 30"), says("example. 50 DNAME other.", "a.example. 50 CNAME a.other.", "a.other. 60 A 192.0.2.1"), nil, "NOERROR example. 50 DNAME other.; a.example. 50 CNAME a.other.; a.other. 30 AAAA 64:ff9b::c000:201;", 0, false},
		{"signatures of A go", nodata, says("a.example. 60 A 192.0.2.1", sigA, "a.example. 60 A 192.0.2.2"), []func(*dns.Msg){dnssec}, made("40"), 0, false},
		{"signatures of aliases stay", nodata, says("a.example. 60 CNAME c.example.", strings.Replace(sigC, "c.", "a.", 1), "c.example. 60 A 192.0.2.1"), []func(*dns.Msg){dnssec}, "NOERROR a.example. 60 CNAME c.example.; " + strings.Replace(sigC, "c.", "a.", 1) + "; c.example. 40 AAAA 64:ff9b::c000:201;", 0, false},
		{"who validates sees what there is", nodata, a, []func(*dns.Msg){dnssec, checksIt}, "NOERROR / example. 40 SOA 40;", 1, true},
		{"CD alone is not validation", nodata, a, []func(*dns.Msg){checksIt}, made("40"), 0, false},
		{"foreign records are not taken", nodata, says("b.example. 60 A 192.0.2.66", "a.example. 60 A 192.0.2.1", "/", "/", "a.example. 60 A 192.0.2.67"), nil, "NOERROR a.example. 40 AAAA 64:ff9b::c000:201;", 0, false},
		{"a loop of aliases", says("a.example. 60 CNAME a.example."), a, nil, "SERVFAIL", 1, true},
		{"a loop of aliases for A", nodata, says("a.example. 60 CNAME a.example."), nil, "NOERROR / example. 40 SOA 40;", 0, true},
	} {
		s := newServer(t, nil)
		w := newWorld(t, translating(map[string]handler{"a.example. AAAA": c.aaaa, "a.example. A": c.a}, s))
		for range 2 {
			if got := w.ask("a.example. AAAA", c.edit...); got != c.want && !strings.Contains(c.want, "a.example. 0 ") {
				t.Errorf("%s:\n%s, want\n%s", c.name, got, c.want)
			}
		}
		want := c.asked
		if want == 0 {
			want = 2
		}
		if n := len(s.questions()); n != want && !strings.Contains(c.want, " 0 AAAA") {
			t.Errorf("%s: asked %q, want %d questions", c.name, s.questions(), want)
		}
		got := show(t, w.exchange("10.0.0.1", query(t, "a.example. AAAA", c.edit...)))
		if c.everywhere != (got == c.want) {
			t.Errorf("%s: who is not translated for gets %s", c.name, got)
		}
		if got := w.ask("a.example. A"); strings.Contains(got, "AAAA") {
			t.Errorf("%s: A is %s", c.name, got)
		}
	}
}

// TestDNS64Apart: each prefix has answers of its own, whatever reloads bring, and
// so has who is not translated for.
func TestDNS64Apart(t *testing.T) {
	s := newServer(t, nil)
	w := newWorld(t, translating(map[string]handler{
		"a.example. AAAA": says("/", negativeSOA), "a.example. A": says("a.example. 60 A 192.0.2.1"),
		"b.example. AAAA": says("b.example. 60 AAAA 2001:db8:bad::1"), "b.example. A": says("b.example. 60 A 192.0.2.2"),
	}, s))
	expect := func(who, question, want string) {
		t.Helper()
		for range 2 {
			if got := show(t, w.exchange(who, query(t, question))); got != want {
				t.Errorf("%s for %s: %s, want %s", question, who, got, want)
			}
		}
	}
	expect("", "a.example. AAAA", "NOERROR a.example. 40 AAAA 64:ff9b::c000:201;")
	expect("127.0.0.65", "a.example. AAAA", "NOERROR a.example. 40 AAAA 2001:db8:64::c000:201;")
	expect("10.0.0.1", "a.example. AAAA", "NOERROR / example. 40 SOA 40;")
	expect("", "b.example. AAAA", "NOERROR b.example. 60 AAAA 2001:db8:bad::1;")
	expect("127.0.0.65", "b.example. AAAA", "NOERROR b.example. 60 AAAA 2001:db8:64::c000:202;")
	if n := len(s.questions()); n != 2+2+1+1+2 {
		t.Errorf("asked %q", s.questions())
	}
	own := w.set.dns64[2]
	w.reload(func(set *setup) { set.dns64 = []*DNS64{NewDNS64(netip.MustParsePrefix("2001:db8:65::/96"), nil), own} })
	expect("", "a.example. AAAA", "NOERROR a.example. 40 AAAA 2001:db8:65::c000:201;")
	expect("10.0.0.1", "a.example. AAAA", "NOERROR a.example. 40 AAAA 2001:db8:64::c000:201;") // known from others
	expect("127.0.0.65", "a.example. AAAA", "NOERROR / example. 40 SOA 40;")
	if n := len(s.questions()); n != 8+2 {
		t.Errorf("asked %q after the reload", s.questions())
	}
	w.reload(func(set *setup) { set.dns64 = nil })
	expect("", "a.example. AAAA", "NOERROR / example. 40 SOA 40;")
}

// TestDNS64IsJudged: the IPv4 address within is an address of the answer, by
// whatever prefix, in what is made here and in what comes from elsewhere.
func TestDNS64IsJudged(t *testing.T) {
	s := newServer(t, nil)
	set := translating(map[string]handler{
		"bad.example. AAAA":    says("/", negativeSOA),
		"bad.example. A":       says("bad.example. 60 A 198.51.100.1"),
		"mixed.example. AAAA":  says("/", negativeSOA),
		"mixed.example. A":     says("mixed.example. 60 A 198.51.100.1", "mixed.example. 60 A 192.0.2.1"),
		"inside.example. AAAA": says("inside.example. 60 AAAA fd64::a00:1"), // somebody else knows the prefix
		"alias.example. AAAA":  says("alias.example. 60 CNAME x.track.example.", "/", negativeSOA),
		"alias.example. A":     says("alias.example. 60 CNAME x.track.example.", "x.track.example. 60 A 192.0.2.1"),
		"fine.example. AAAA":   says("/", negativeSOA),
		"fine.example. A":      says("fine.example. 60 A 192.0.2.1"),
	}, s)
	own := netip.MustParsePrefix("fd64::/96")
	for i := range set.policies {
		set.policies[i].Rules = []blocklist.RuleConfig{
			{Action: blocklist.ActionBlock, Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
			{Action: blocklist.ActionBlock, Domains: []string{"track.example"}},
		}
		set.policies[i].Rebinding, set.policies[i].Harmless = true, []netip.Prefix{own}
	}
	set.policies[1].Strip = true
	set.dns64 = []*DNS64{NewDNS64(own, nil), NewDNS64(own, nil)}
	w := newWorld(t, set)
	for question, want := range map[string][2]string{
		"bad.example. AAAA":    {"NXDOMAIN / bad.example. 60 SOA 60;", "NXDOMAIN / bad.example. 60 SOA 60;"},
		"mixed.example. AAAA":  {"NXDOMAIN / mixed.example. 60 SOA 60;", "NOERROR mixed.example. 40 AAAA fd64::c000:201;"},
		"inside.example. AAAA": {"NXDOMAIN / inside.example. 60 SOA 60;", "NXDOMAIN / inside.example. 60 SOA 60;"},
		"alias.example. AAAA":  {"NXDOMAIN / alias.example. 60 SOA 60;", "NXDOMAIN / alias.example. 60 SOA 60;"},
		"fine.example. AAAA":   {"NOERROR fine.example. 40 AAAA fd64::c000:201;", "NOERROR fine.example. 40 AAAA fd64::c000:201;"},
	} {
		for i, who := range []string{"", "10.0.0.1"} {
			for range 2 {
				if got := show(t, w.exchange(who, query(t, question))); got != want[i] {
					t.Errorf("%s for %q: %s, want %s", question, who, got, want[i])
				}
			}
		}
	}
	for _, e := range w.events() {
		if e.Name == "fine.example" && !slices.Equal(e.Answers, []string{"fd64::c000:201", "192.0.2.1"}) {
			t.Errorf("recorded as %+v", e)
		}
	}
}

// TestAddressesOfANewPrefix: an answer in memory is judged by a prefix that came
// later.
func TestAddressesOfANewPrefix(t *testing.T) {
	s := newServer(t, nil)
	set := translating(map[string]handler{"a.example. AAAA": says("a.example. 60 AAAA 2001:db8:64::c000:201")}, s)
	set.policies[0].Rules = []blocklist.RuleConfig{{Action: blocklist.ActionBlock, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}
	set.policies, set.dns64 = set.policies[:1], nil
	w := newWorld(t, set)
	if got := w.ask("a.example. AAAA"); got != "NOERROR a.example. 60 AAAA 2001:db8:64::c000:201;" {
		t.Errorf("before: %s", got)
	}
	w.reload(func(set *setup) { set.dns64 = []*DNS64{NewDNS64(netip.MustParsePrefix("2001:db8:64::/96"), nil)} })
	if got := w.ask("a.example. AAAA"); got != "NXDOMAIN / a.example. 60 SOA 60;" {
		t.Errorf("afterwards: %s", got)
	}
}

// TestDNS64Reverse: the name of an address behind the prefix is an alias of that of
// the IPv4 address (RFC 6147 §5.3.1), which is asked where it belongs.
func TestDNS64Reverse(t *testing.T) {
	reverse := func(addr string) string {
		name, err := dns.ReverseAddr(addr)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	known, unknown, private := reverse("64:ff9b::198.18.0.1"), reverse("64:ff9b::198.18.0.2"), reverse("2001:2:0:64::10.0.0.1")
	s := newServer(t, nil)
	set := translating(map[string]handler{
		"1.0.18.198.in-addr.arpa. PTR": says("1.0.18.198.in-addr.arpa. 60 PTR host.example."),
		"2.0.18.198.in-addr.arpa. PTR": says("NXDOMAIN", "/", "198.in-addr.arpa. 60 SOA ns.example. host.example. 1 2 3 4 60"),
		"*":                            says("NXDOMAIN", "/", "ip6.arpa. 60 SOA ns.example. host.example. 1 2 3 4 60"),
	}, s)
	set.private = true
	set.dns64[2] = NewDNS64(netip.MustParsePrefix("2001:2:0:64::/96"), nil)
	w := newWorld(t, set)
	for range 2 {
		for _, c := range []struct{ who, question, want string }{
			{"", "b.9.f.f.4.6.0.0.ip6.arpa. PTR", "NXDOMAIN / ip6.arpa. 60 SOA 60;"}, // what is said there is not about names below
			{"", known + " PTR", "NOERROR " + known + " 300 CNAME 1.0.18.198.in-addr.arpa.; 1.0.18.198.in-addr.arpa. 60 PTR host.example.;"},
			{"", unknown + " PTR", "NXDOMAIN " + unknown + " 300 CNAME 2.0.18.198.in-addr.arpa.; / 198.in-addr.arpa. 60 SOA 60;"},
			{"", known + " TXT", "NXDOMAIN / ip6.arpa. 60 SOA 60;"},
			{"10.0.0.1", known + " PTR", "NXDOMAIN / ip6.arpa. 60 SOA 60;"},
			{"127.0.0.65", known + " PTR", "NXDOMAIN / ip6.arpa. 60 SOA 60;"},
			{"127.0.0.65", private + " PTR", "NXDOMAIN / ip6.arpa. 60 SOA 60;"}, // 10.in-addr.arpa is answered here
		} {
			if got := show(t, w.exchange(c.who, query(t, c.question))); got != c.want {
				t.Errorf("%s for %q:\n%s, want\n%s", c.question, c.who, got, c.want)
			}
		}
	}
	if slices.Contains(s.questions(), "1.0.0.10.in-addr.arpa. PTR") {
		t.Error("the name of a private address has left")
	}
	corp := newServer(t, map[string]handler{"1.0.0.10.in-addr.arpa. PTR": says("1.0.0.10.in-addr.arpa. 60 PTR inside.example.")})
	w.reload(func(set *setup) { set.forward = map[string]*server{"10.in-addr.arpa.": corp} })
	if got, want := show(t, w.exchange("127.0.0.65", query(t, private+" PTR"))), "NOERROR "+private+" 300 CNAME 1.0.0.10.in-addr.arpa.; 1.0.0.10.in-addr.arpa. 60 PTR inside.example.;"; got != want {
		t.Errorf("forwarded: %s, want %s", got, want)
	}
	w.reload(func(set *setup) { set.forward = nil }) // the entry was of an upstream that is gone
	if got, want := show(t, w.exchange("127.0.0.65", query(t, private+" PTR"))), "NXDOMAIN / ip6.arpa. 60 SOA 60;"; got != want {
		t.Errorf("no longer forwarded: %s, want %s", got, want)
	}
}

// TestIPv4Only: clients find the prefix by a name that is never asked for elsewhere
// (RFC 7050, RFC 8880 §7.1), unless it is not translated for them.
func TestIPv4Only(t *testing.T) {
	s := newServer(t, nil)
	w := newWorld(t, translating(map[string]handler{"*": says("/", "ipv4only.arpa. 60 SOA ns.example. host.example. 1 2 3 4 60")}, s))
	const none = "NOERROR / ipv4only.arpa. 3600 SOA 3600;"
	for _, c := range []struct {
		who, question, want string
		edit                []func(*dns.Msg)
	}{
		{"", "ipv4only.arpa. AAAA", "NOERROR ipv4only.arpa. 3600 AAAA 64:ff9b::c000:aa; ipv4only.arpa. 3600 AAAA 64:ff9b::c000:ab;", nil},
		{"", "ipv4only.arpa. AAAA", "NOERROR ipv4only.arpa. 3600 AAAA 64:ff9b::c000:aa; ipv4only.arpa. 3600 AAAA 64:ff9b::c000:ab;", []func(*dns.Msg){dnssec, checksIt}},
		{"127.0.0.65", "IPv4Only.arpa. AAAA", "NOERROR IPv4Only.arpa. 3600 AAAA 2001:db8:64::c000:aa; IPv4Only.arpa. 3600 AAAA 2001:db8:64::c000:ab;", nil},
		{"", "ipv4only.arpa. A", "NOERROR ipv4only.arpa. 3600 A 192.0.0.170; ipv4only.arpa. 3600 A 192.0.0.171;", nil},
		{"", "ipv4only.arpa. TXT", none, nil},
	} {
		if got := show(t, w.exchange(c.who, query(t, c.question, c.edit...))); got != c.want {
			t.Errorf("%s for %q: %s, want %s", c.question, c.who, got, c.want)
		}
	}
	if asked := s.questions(); len(asked) != 0 {
		t.Errorf("asked %q", asked)
	}
	if got := show(t, w.exchange("10.0.0.1", query(t, "ipv4only.arpa. AAAA"))); got != "NOERROR / ipv4only.arpa. 60 SOA 60;" {
		t.Errorf("not translated: %s", got)
	}
}

// TestDNS64Silent: a server that is silent about AAAA costs time, no answer.
func TestDNS64Silent(t *testing.T) {
	s := newServer(t, nil)
	set := translating(map[string]handler{"a.example. AAAA": silent, "a.example. A": says("a.example. 60 A 192.0.2.1")}, s)
	set.deadline = 200 * time.Millisecond
	w := newWorld(t, set)
	if got, want := w.ask("a.example. AAAA"), "NOERROR a.example. 60 AAAA 64:ff9b::c000:201;"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestDNS64Vouched: an answer that is made is as authentic as the denial and the
// addresses that it is made of (RFC 6147 §5.5).
func TestDNS64Vouched(t *testing.T) {
	for _, c := range []struct {
		aaaa, a handler
		want    bool
	}{
		{vouching("/", negativeSOA), vouching("a.example. 60 A 192.0.2.1"), true},
		{says("/", negativeSOA), vouching("a.example. 60 A 192.0.2.1"), false},
		{vouching("/", negativeSOA), says("a.example. 60 A 192.0.2.1"), false},
		{vouching("a.example. 60 AAAA ::ffff:192.0.2.9", "a.example. 60 AAAA 2001:db8::1"), nil, false},
	} {
		s := newServer(t, nil)
		set := translating(map[string]handler{"a.example. AAAA": c.aaaa, "a.example. A": c.a}, s)
		set.trustAD = true
		m := unpack(t, newWorld(t, set).exchange("", query(t, "a.example. AAAA", wantsAD)))
		if m.AuthenticatedData != c.want || len(m.Answer) != 1 {
			t.Errorf("AD %v, want %v: %v", m.AuthenticatedData, c.want, m)
		}
	}
}

// TestDNS64LastsAsLong: stale, asked anew before its end, and below a name that
// does not exist it is like any answer.
func TestDNS64LastsAsLong(t *testing.T) {
	s := newServer(t, nil)
	set := translating(map[string]handler{
		"a.example. AAAA":    says("/", negativeSOA),
		"a.example. A":       says("a.example. 60 A 192.0.2.1"),
		"gone.example. AAAA": says("NXDOMAIN", "/", negativeSOA),
	}, s)
	set.config = func(c *Config) { c.Stale, c.Prefetch, c.DenyBelow = time.Hour, true, true }
	w := newWorld(t, set)
	for range 3 {
		w.ask("a.example. AAAA")
	}
	w.clock.advance(37 * time.Second)
	w.ask("a.example. AAAA")
	w.landed()
	w.clock.advance(30 * time.Second)
	if got := w.ask("a.example. AAAA"); got != "NOERROR a.example. 10 AAAA 64:ff9b::c000:201;" {
		t.Errorf("asked anew: %s", got)
	}
	if n := len(s.questions()); n != 4 {
		t.Errorf("asked %q", s.questions())
	}
	w.ask("gone.example. AAAA")
	if got := w.ask("x.gone.example. AAAA"); got != "NXDOMAIN / example. 40 SOA 40;" || len(s.questions()) != 5 {
		t.Errorf("below what is gone: %s, asked %q", got, s.questions())
	}
	s.play(map[string]handler{"*": says("SERVFAIL")})
	w.clock.advance(time.Minute)
	if got := w.ask("a.example. AAAA", edns); got != `NOERROR ede 3 "" a.example. 30 AAAA 64:ff9b::c000:201;` {
		t.Errorf("stale: %s", got)
	}
}

// TestDNS64WithAValidator: what translates stands before what validates, and does
// not make an address for a name whose denial is bogus.
func TestDNS64WithAValidator(t *testing.T) {
	s := newServer(t, nil)
	set := translating(map[string]handler{
		"a.example. AAAA": says("/", negativeSOA),
		"a.example. A":    says("a.example. 60 A 192.0.2.66", "a.example. 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 evil. aaaa"),
	}, s)
	set.exchanger = checker{s.open(t, upstream.Options{})}
	w := newWorld(t, set)
	if got := w.ask("a.example. AAAA"); got != "NOERROR / example. 40 SOA 40;" {
		t.Errorf("made of what is bogus: %s", got)
	}
}

// TestDNS64HitAllocatesNothing: an answer that was made costs no more than others.
func TestDNS64HitAllocatesNothing(t *testing.T) {
	s := newServer(t, nil)
	set := translating(map[string]handler{"a.example. AAAA": says("/", negativeSOA), "a.example. A": says("a.example. 60 A 192.0.2.1")}, s)
	set.audit = roomy
	w := newWorld(t, set)
	for _, question := range []string{"a.example. AAAA", "ipv4only.arpa. AAAA"} {
		msg := query(t, question, edns)
		w.exchange("", msg)
		sc := newScratch()
		from := &origin{peer: w.peer, back: make(mailbox)}
		if n := testing.AllocsPerRun(1000, func() {
			w.arrived(from)
			if w.answer(sc, msg, from, nil)[3]&0x0f != wire.RcodeSuccess {
				t.Fatal("no answer")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations, want 0", question, n)
		}
	}
}

// TestEmbedIsReversible for any prefix and address, and no address of another
// network is taken for one that embed makes.
func TestEmbedIsReversible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.SampledFrom([]int{32, 40, 48, 56, 64, 96}).Draw(t, "bits")
		var b [16]byte
		copy(b[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "prefix"))
		b[8] = 0
		d := NewDNS64(netip.PrefixFrom(netip.AddrFrom16(b), bits).Masked(), nil)
		v4 := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
		v6 := d.embed(v4)
		if back, ok := d.extract(v6); !ok || back != v4 || !d.prefix.Contains(v6) || v6.As16()[8] != 0 {
			t.Fatalf("%s in %s is %s, and that %s", v4, d.prefix, v6, back)
		}
		name, err := dns.ReverseAddr(v6.String())
		if err != nil {
			t.Fatal(err)
		}
		want, _ := dns.ReverseAddr(v4.String())
		if got := d.reverse(mustWire(name)); d.global(v4) && string(got) != string(mustWire(want)) {
			t.Fatalf("%s leads to %q, want %s", name, got, want)
		}
		other := v6.As16()
		other[rapid.IntRange(0, bits/8-1).Draw(t, "octet")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, ok := d.extract(netip.AddrFrom16(other)); ok {
			t.Fatalf("%s is taken for one of %s", netip.AddrFrom16(other), d.prefix)
		}
	})
}
