package blocklist

import (
	"net/netip"
	"testing"
	"time"
)

// fullPolicies has a policy for each of fuzzClients: one with everything that a policy may have, the same only observing,
// and the same whose default is to block and which trusts. An exception is in force in each.
func fullPolicies(t testing.TB) *Policy {
	t.Helper()
	lists := load(t, lay(t, map[string]string{
		"ads.txt":   "[AdGuard]\n||ads.example^\n@@||ok.ads.example^$dnstype=A\n||typed.example^$dnstype=~A\n||deny.example^$denyallow=ok.deny.example\n",
		"never.txt": "never.example\n=only.never.test\n", "never.cidr": "203.0.113.0/24\n2001:db8:bad::/48\n",
		"gone.txt": "gone.example\n",
	}), CategoryConfig{Name: "ads", Sources: Sources("ads.txt")}, CategoryConfig{Name: "gone", Sources: Sources("gone.txt")},
		CategoryConfig{
			Name: "never", NeverExcept: true,
			Sources: []SourceConfig{{From: "never.txt", Format: "domains"}, {From: "never.cidr", Format: "cidr"}},
		})
	for i := range lists.categories {
		lists.categories[i].BlockAll = lists.categories[i].Name == "gone"
	}
	full := PolicyConfig{
		Strip: true, Rebinding: true, NotPublic: []string{"corp.example"}, Harmless: []netip.Prefix{netip.MustParsePrefix("192.168.178.0/24")},
		StripECH: true, StripHints: true, SafeSearch: SafeSearchModerate, Canaries: true,
		Rules: []RuleConfig{
			{Action: ActionObserve, Categories: []string{"gone"}, Types: []uint16{16}},
			{Action: ActionAllow, Domains: []string{"*.good.example", "=one.example"}},
			{Action: ActionAllow, Networks: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}},
			{Action: ActionObserve, All: true, Types: []uint16{28}, Schedule: scheduled(t, "UTC", "mon")},
			{Action: ActionBlock, All: true, Schedule: scheduled(t, "UTC", "tue")},
			{Action: ActionBlock, Categories: []string{"ads"}, Domains: []string{"evil.example"}, Types: []uint16{1, 28, 15}, Targets: TargetTypes},
			{Action: ActionObserve, Domains: []string{"watch.example"}, Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
			{Action: ActionBlock, Categories: []string{"never", "ads"}, Networks: []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/48")}},
			{Action: ActionBlock, Types: []uint16{10}},
		},
	}
	observing, trusting := full, full
	observing.Observe, observing.Clients.MACs = true, []MAC{fuzzClients[1].MAC}
	trusting.TrustAllowed, trusting.Strip, trusting.Default = true, false, Block
	trusting.Groups = []*Group{{Name: "g", Members: Members{Hosts: []string{"tv*"}}}}
	full.Name, observing.Name, trusting.Name, full.Any = "full", "observing", "trusting", true
	p, err := Compile([]PolicyConfig{full, observing, trusting}, lists, time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)) // a Monday
	must(t, err)
	return p.With(Known{
		Hosts: []Host{{Addr: fuzzClients[2].Addr, Name: "tv-1"}}, Groups: trusting.Groups,
		Exceptions: []Exception{
			{ID: 1, Name: "excepted.example", Client: netip.MustParsePrefix("0.0.0.0/0"), Until: 1},
			{ID: 2, Name: "*.ads.example", Group: "g", Until: 1},
			{ID: 3, Name: "=never.example", Client: netip.MustParsePrefix("0.0.0.0/0"), Until: 1},
		},
	})
}

var fuzzClients = []Client{
	{Addr: netip.MustParseAddr("203.0.113.9")},
	{Addr: netip.MustParseAddr("203.0.113.9"), MAC: MAC{2, 0, 0, 0, 0, 1}},
	{Addr: netip.MustParseAddr("203.0.113.10")},
	{},
}

// FuzzDecide holds that whatever octets are asked for, and lead to whatever octets, nothing panics, the explanation ends
// where the decision does, and decisions say what can be shown.
func FuzzDecide(f *testing.F) {
	policies := []*Policy{staffPolicies(f), fullPolicies(f)}
	for i, name := range []string{
		"cdn.track.example", "x.ok.banner.example", "proxy.ads.example", "a.watch.example", "x.ok.ads.example", "a.typed.example", "ok.deny.example",
		"a.excepted.example", "never.example", "only.never.test", "a.good.example", "one.example", "www.google.com", "use-application-dns.net",
		"gone.example", "a.corp.example", "evil.example",
	} {
		f.Add(wire(f, name), wire(f, "a.evil.example"), []byte{10, 9, 0, 1}, uint16(1), uint8(i))
		f.Add(wire(f, "www.shop.example"), wire(f, name), []byte{192, 168, 1, 1}, TargetTypes[i%4], uint8(i))
	}
	f.Add([]byte("\x3f"), []byte(""), []byte{203, 0, 113, 1}, uint16(10), uint8(0))
	f.Add([]byte("\x05watch\x07example"), []byte("\x00"), []byte("\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"), uint16(16), uint8(1))
	f.Fuzz(func(t *testing.T, name, alias, ip []byte, qtype uint16, who uint8) {
		addr, _ := netip.AddrFromSlice(ip)
		l := &Lookup{Name: name, Type: qtype, Client: fuzzClients[int(who)%len(fuzzClients)]}
		facts := &Facts{Aliases: [][]byte{nil, alias}, Targets: [][]byte{alias, name}, Addrs: []netip.Addr{addr, addr}, ECH: true, Hints: true}
		for _, p := range policies {
			d := p.Decide(l)
			fuzzTrace(t, p, l, d)
			then := p.DecideFacts(l, d, facts)
			observes := p.configs[then.PolicyIndex].Observe
			if o := &p.Outcomes()[then.Outcome]; then.Verdict == Block && (observes || o.Verdict != Block) || o.Policy != p.configs[then.PolicyIndex].Name {
				t.Fatalf("%q leads to %q, %v: %+v by %+v", name, alias, addr, then, o)
			}
			if then.Remove&RemoveAddresses != 0 && (!p.Offends(l, then, addr) || observes || then.Verdict == Block) {
				t.Fatalf("%q leads to %v: %+v", name, addr, then)
			}
			if d.Verdict == Block && then != d {
				t.Fatalf("%q is blocked, and its answer makes %+v of %+v", name, then, d)
			}
			for _, on := range []struct {
				what  MatchedOn
				which uint16
				off   uint8
				scope Scope
			}{{then.On, then.Alias, then.Off, then.Scope}, {then.ObservedOn, then.ObservedAlias, then.ObservedOff, then.ObservedScope}} {
				switch on.what {
				case OnName:
					Entry(name, on.off, on.scope)
				case OnAlias:
					Entry(facts.Name(int(on.which)), on.off, on.scope)
				case OnAddress:
					if _, err := addr.Unmap().Prefix(int(on.off)); err != nil || int(on.which) >= len(facts.Addrs) {
						t.Fatalf("%v by %+v: %v", addr, on, err)
					}
				}
			}
		}
	})
}

// fuzzTrace holds that the explanation of a lookup ends where its decision does.
func fuzzTrace(t *testing.T, p *Policy, l *Lookup, d Decision) {
	t.Helper()
	e := p.Explain(l)
	by, off, scope := e.Outcome, d.Off, d.Scope
	if by.By == ByMode {
		by, off, scope = *e.Observed, d.ObservedOff, d.ObservedScope
	}
	last := RuleTrace{}
	if n := len(e.Rules); n > 0 && e.Rules[n-1].Matched && e.Rules[n-1].Action != ActionObserve {
		last = e.Rules[n-1]
	}
	decided := by.By == ByRule || by.By == ByCanary
	excepted := e.Exception != nil && e.Exception.ID == by.Exception
	if e.Decision != d || last.Matched != decided || last.Rule != by.Rule || last.Category != by.Category || (by.By == ByException) != excepted {
		t.Fatalf("%q type %d: decided %+v, explained %+v", l.Name, l.Type, d, e)
	}
	if decided && last.Entry != Entry(l.Name, off, scope) {
		t.Fatalf("%q type %d: entry %q decided, %q explained", l.Name, l.Type, Entry(l.Name, off, scope), last.Entry)
	}
}
