package blocklist

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	anyone  = netip.MustParseAddr("203.0.113.9")
	staff   = netip.MustParsePrefix("10.0.4.0/22")
	oneHost = netip.MustParsePrefix("10.0.4.17/32")
)

func adsLists(t testing.TB) *Lists {
	return load(t, lay(t, someFiles),
		CategoryConfig{Name: "ads", Sources: Sources("ads.txt", "more")}, CategoryConfig{Name: "vpn", Sources: Sources("ut1/vpn")})
}

func TestCompileTellsMistakes(t *testing.T) {
	lists := adsLists(t)
	everybody := PolicyConfig{Name: "rest", Any: true, Pos: "c:9"}
	with := func(rules ...RuleConfig) []PolicyConfig {
		for i := range rules {
			rules[i].Pos = "c:" + string(rune('1'+i))
		}
		return []PolicyConfig{{Name: "p", Any: true, Rules: rules, Pos: "c:0"}}
	}
	ads, domain := []string{"ads"}, []string{"*.a.example"}
	for _, c := range []struct {
		cfg  []PolicyConfig
		want string // empty: no mistake
	}{
		{nil, `no policy is for any client (write clients = ["any"] in one policy)`},
		{[]PolicyConfig{everybody, {Name: "x", Any: true, Pos: "c:1"}}, `c:1: policies "rest" and "x" are both for any client`},
		{[]PolicyConfig{everybody, {Name: "rest", Clients: Members{Prefixes: []netip.Prefix{staff}}, Pos: "c:1"}}, `c:1: second policy named "rest", the first is at c:9`},
		{[]PolicyConfig{everybody, {Clients: Members{Prefixes: []netip.Prefix{staff}}, Pos: "c:1"}}, `c:1: policy without a name`},
		{[]PolicyConfig{everybody, {Name: "x", Pos: "c:1"}}, `c:1: policy "x" has no clients`},
		{[]PolicyConfig{everybody, {Name: "x", Clients: Members{Prefixes: []netip.Prefix{{}}}, ClientsPos: "c:2"}}, `c:2: policy "x": invalid Prefix is no client prefix`},
		{
			[]PolicyConfig{
				everybody,
				{Name: "x", Clients: Members{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.4.9/22")}}},
				{Name: "y", Clients: Members{Prefixes: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.4.0/118")}}, ClientsPos: "c:2"},
			},
			`c:2: clients 10.0.4.0/22 are in policy "x" and in policy "y"`,
		},
		{[]PolicyConfig{everybody, {Name: "x", Clients: Members{Prefixes: []netip.Prefix{staff}}}, {Name: "y", Clients: Members{Prefixes: []netip.Prefix{oneHost}}}}, ""},
		{with(RuleConfig{Action: ActionBlock}), `c:1: rule 1 of policy "p" has no condition (write default = "block" instead)`},
		{with(RuleConfig{Action: ActionObserve}), ""},
		{with(RuleConfig{Categories: ads, Answer: AnswerNull}), `c:1: rule 1 of policy "p" allows and has an answer`},
		{with(RuleConfig{Categories: []string{"adz"}}), `c:1: rule 1 of policy "p": no category "adz" (did you mean "ads"?)`},
		{with(RuleConfig{Categories: []string{"something"}}), `c:1: rule 1 of policy "p": no category "something"`},
		{with(RuleConfig{Domains: []string{"a b.example"}}), `c:1: rule 1 of policy "p": domain "a b.example", character 2: control character`},
		{with(RuleConfig{Domains: []string{"ads*.example"}}), `c:1: rule 1 of policy "p": domain "ads*.example", character 4: wildcard`},
		{with(RuleConfig{Domains: []string{"."}}), `c:1: rule 1 of policy "p": domain ".", character 1: the root`},
		{with(RuleConfig{Domains: []string{"zip", "*.xn--p1ai", "=a.example", `foo\.bar.example`, "bücher.example"}}), ""},

		{with(RuleConfig{Categories: ads}, RuleConfig{Categories: ads, Action: ActionBlock}), `c:2: rule 2 of policy "p" can never be read: rule 1`},
		{with(RuleConfig{Categories: ads}, RuleConfig{Categories: ads, Action: ActionObserve}), `c:2: rule 2 of policy "p" can never be read`},
		{with(RuleConfig{Categories: ads, Action: ActionObserve}, RuleConfig{Categories: ads}), ""},
		{with(RuleConfig{Categories: ads}, RuleConfig{Categories: []string{"ads", "vpn"}}), ""},
		{with(RuleConfig{Categories: ads}, RuleConfig{Categories: ads, Domains: domain}), ""},
		{with(RuleConfig{Categories: ads, Types: []uint16{1}}, RuleConfig{Categories: ads}), ""},
		{with(RuleConfig{Categories: ads, Types: []uint16{1}}, RuleConfig{Types: []uint16{28}}, RuleConfig{Categories: ads, Types: []uint16{28, 1}}), `c:3: rule 3`},
		{with(RuleConfig{Categories: ads, Types: []uint16{1}}, RuleConfig{Categories: ads, Types: []uint16{1, 28}}), ""},
		{with(RuleConfig{Domains: []string{"a.example"}}, RuleConfig{Domains: []string{"*.a.example", "=b.a.example", "a.example"}}), `c:2: rule 2`},
		{with(RuleConfig{Domains: domain}, RuleConfig{Domains: []string{"=a.example"}}), ""},
		{with(RuleConfig{Domains: domain}, RuleConfig{Domains: []string{"a.example"}}), ""},
		{with(RuleConfig{Domains: []string{"=a.example"}}, RuleConfig{Domains: []string{"b.a.example"}}), ""},
		{with(RuleConfig{Domains: []string{"=a.example", "*.a.example"}}, RuleConfig{Domains: []string{"a.example"}}), `c:2: rule 2`},
		{with(RuleConfig{Domains: []string{"a.example"}}, RuleConfig{Domains: []string{"ba.example"}}), ""},
	} {
		p, err := Compile(c.cfg, lists, time.Time{})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%v, want no mistake", err)
		case c.want != "" && (err == nil || p != nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%v, want only %q", err, c.want)
		}
	}
}

func TestCompileWithoutLists(t *testing.T) {
	p, err := Compile([]PolicyConfig{{Name: "p", Any: true, Rules: []RuleConfig{{Action: ActionBlock, Domains: []string{"a.example"}}}}}, nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if d := p.Decide(ask(wire(t, "www.a.example"), 1, anyone)); d.Verdict != Block || p.Outcomes()[d.Outcome].Rule != 1 {
		t.Errorf("%+v", d)
	}
	if d := p.Decide(ask(wire(t, "b.example"), 1, anyone)); d.Verdict != Allow {
		t.Errorf("%+v", d)
	}
}

// staffPolicies is the policy of the examples below.
func staffPolicies(t testing.TB) *Policy {
	p, err := Compile([]PolicyConfig{
		{
			Name: "staff", Clients: Members{Prefixes: []netip.Prefix{staff}}, Pos: "config.toml:40", ClientsPos: "config.toml:41", DefaultPos: "config.toml:42",
			Rules: []RuleConfig{
				{Action: ActionAllow, Domains: []string{"=proxy.ads.example"}, Pos: "config.toml:43"},
				{Action: ActionBlock, Categories: []string{"ads"}, Answer: AnswerNXDOMAIN, Pos: "config.toml:44"},
				{Action: ActionObserve, Categories: []string{"vpn"}, Domains: []string{"watch.example"}, Pos: "config.toml:45"},
				{Action: ActionBlock, Types: []uint16{10}, Pos: "config.toml:46"},
			},
		},
		{Name: "locked", Clients: Members{Prefixes: []netip.Prefix{oneHost, netip.MustParsePrefix("fe80::/10")}}, Default: Block, Rules: []RuleConfig{
			{Action: ActionAllow, Domains: []string{"good.example"}},
		}},
		{Name: "rest", Any: true},
	}, adsLists(t), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDecide(t *testing.T) {
	p := staffPolicies(t)
	for _, c := range []struct {
		client, name string
		qtype        uint16
		want         string // verdict policy rule category list entry answer observed
	}{
		{"10.0.4.1", "cdn.track.example", 1, "block staff 2 ads ads.txt track.example nxdomain 0"},
		{"::ffff:10.0.4.1", "cdn.track.example", 65, "block staff 2 ads ads.txt track.example nxdomain 0"},
		{"10.0.4.1", "proxy.ads.example", 1, "allow staff 1   =proxy.ads.example  0"},
		{"10.0.4.1", "x.proxy.ads.example", 1, "block staff 2 ads ads.txt ads.example nxdomain 0"},
		{"10.0.4.1", "shared.example", 1, "block staff 2 ads ads.txt shared.example nxdomain 0"},
		{"10.0.4.1", "a.banner.example", 1, "block staff 2 ads more/adblock.txt banner.example nxdomain 0"},
		{"10.0.4.1", "ok.banner.example", 1, "allow staff 0     0"},
		{"10.0.4.1", "x.ok.banner.example", 1, "block staff 2 ads more/adblock.txt x.ok.banner.example nxdomain 0"},
		{"10.0.4.1", "a.vpn.example", 1, "allow staff 0     3"},
		{"10.0.4.1", "a.vpn.example", 10, "block staff 4     3"},
		{"10.0.4.1", "a.example", 10, "block staff 4     0"},
		{"10.0.4.17", "ads.example", 1, "block locked 0     0"},
		{"10.0.4.17", "www.good.example", 1, "allow locked 1   good.example  0"},
		{"fe80::1%eth0", "a.example", 1, "block locked 0     0"},
		{"10.0.8.1", "ads.example", 1, "allow rest 0     0"},
		{"2001:db8::1", "ads.example", 1, "allow rest 0     0"},
		{"", "ads.example", 1, "allow rest 0     0"},
	} {
		var client netip.Addr
		if c.client != "" {
			client = netip.MustParseAddr(c.client)
		}
		name := wire(t, c.name)
		d := p.Decide(ask(name, c.qtype, client))
		o := p.Outcomes()[d.Outcome]
		got := strings.Join([]string{
			d.Verdict.String(), o.Policy, string(rune('0' + o.Rule)), o.Category, o.List, Entry(name, d.Off, d.Scope), o.Answer.String(),
			string(rune('0' + p.Outcomes()[d.Observed].Rule)),
		}, " ")
		if got != c.want {
			t.Errorf("%s for %s: %q, want %q", c.name, c.client, got, c.want)
		}
		if o.Verdict != d.Verdict {
			t.Errorf("%s: verdict %s, its outcome's %s", c.name, d.Verdict, o.Verdict)
		}
	}
	for _, bad := range []string{"", "\x00", "\x01", "\x03ads\x07example", "\xc0\x0c", strings.Repeat("\x01a", 127) + "\x00", strings.Repeat("\x01a", 200)} {
		if d := p.Decide(ask([]byte(bad), 1, netip.MustParseAddr("10.0.4.1"))); d.Verdict != Allow {
			t.Errorf("%q: %+v", bad, d)
		}
	}
}

func TestExplain(t *testing.T) {
	p := staffPolicies(t)
	e := p.Explain(ask(wire(t, "cdn.track.example"), 1, netip.MustParseAddr("::ffff:10.0.4.1")))
	if e.Policy != "staff" || e.Prefix != staff || e.ClientPos != "config.toml:41" || e.Outcome.Pos != "config.toml:44" || len(e.Rules) != 2 || len(e.Holdings) != 1 {
		t.Errorf("%+v", e)
	}
	want := RuleTrace{
		Rule: 2, Action: ActionBlock, Pos: "config.toml:44", Matched: true, Why: "the name is in one of its categories",
		Category: "ads", List: "ads.txt", Entry: "track.example", File: e.Rules[1].File, list: e.Rules[1].list,
	}
	if e.Rules[1] != want || e.Rules[0].Matched {
		t.Errorf("%+v", e.Rules)
	}
	want.Line = 3
	if e.Locate(); e.Rules[1] != want || e.Rules[0].Line != 0 {
		t.Errorf("located: %+v", e.Rules)
	}
	e = p.Explain(ask(wire(t, "a.watch.example"), 1, netip.MustParseAddr("10.0.4.1")))
	if e.Observed == nil || e.Observed.Rule != 3 || e.Outcome.Pos != "config.toml:42" || len(e.Rules) != 4 || e.Rules[2].Entry != "watch.example" {
		t.Errorf("%+v", e)
	}
	e = p.Explain(ask(wire(t, "a.watch.example"), 1, netip.Addr{}))
	if e.Policy != "rest" || e.Prefix.IsValid() || len(e.Rules) != 0 {
		t.Errorf("%+v", e)
	}
}

func TestDecideFacts(t *testing.T) {
	rules := []RuleConfig{
		{Action: ActionAllow, Domains: []string{"good.example", "=cdn.ads.example"}},
		{Action: ActionBlock, Categories: []string{"ads"}},
		{Action: ActionObserve, Categories: []string{"vpn"}},
	}
	p, err := Compile([]PolicyConfig{
		{Name: "check", Any: true, Default: Allow, Rules: rules},
		{Name: "trust", Clients: Members{Prefixes: []netip.Prefix{staff}}, TrustAllowed: true, Rules: rules},
		{Name: "closed", Clients: Members{Prefixes: []netip.Prefix{oneHost}}, Default: Block, Rules: rules},
	}, adsLists(t), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		client, name string
		aliases      []string
		want         string
	}{
		{"203.0.113.9", "www.shop.example", nil, "allow"},
		{"203.0.113.9", "www.shop.example", []string{"a.example", "b.example"}, "allow"},
		{"203.0.113.9", "www.shop.example", []string{"a.example", "x.ads.example"}, "block alias 1 ads.example"},
		{"203.0.113.9", "www.shop.example", []string{"cdn.ads.example"}, "allow"}, // rule 1 stands before rule 2
		{"203.0.113.9", "www.shop.example", []string{"a.vpn.example", "ads.example"}, "block alias 1 ads.example observed alias 0 vpn.example"},
		{"203.0.113.9", "good.example", []string{"ads.example"}, "block alias 0 ads.example"},
		{"10.0.4.1", "good.example", []string{"ads.example"}, "allow name"},
		{"10.0.4.1", "www.shop.example", []string{"ads.example"}, "block alias 0 ads.example"},
		{"10.0.4.17", "good.example", []string{"a.example"}, "allow name"}, // the default is not for aliases
		{"10.0.4.17", "good.example", []string{"ads.example"}, "block alias 0 ads.example"},
		{"203.0.113.9", "ads.example", []string{"x.banner.example"}, "block name"},
	} {
		var aliases [][]byte
		for _, a := range c.aliases {
			aliases = append(aliases, wire(t, a))
		}
		l := ask(wire(t, c.name), 1, netip.MustParseAddr(c.client))
		d := p.judged(p.Decide(l), l, aliases)
		got := d.Verdict.String()
		if d.On != OnNothing {
			got += " " + d.On.String()
		}
		if d.On == OnAlias {
			got += " " + string(rune('0'+d.Alias)) + " " + Entry(aliases[d.Alias], d.Off, d.Scope)
		}
		if d.Observed != 0 {
			got += " observed " + d.ObservedOn.String() + " " + string(rune('0'+d.ObservedAlias)) + " " + Entry(aliases[d.ObservedAlias], d.ObservedOff, d.ObservedScope)
		}
		if got != c.want {
			t.Errorf("%s to %v for %s: %q, want %q", c.name, c.aliases, c.client, got, c.want)
		}
	}
}
