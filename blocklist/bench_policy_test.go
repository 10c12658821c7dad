package blocklist

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// estate is a large configuration: 50 policies of 40 rules over 20 lists in ten categories, 20 groups, hosts and
// exceptions, and names and addresses to ask for.
type estate struct {
	lists        *Lists
	configs      []PolicyConfig
	known        Known
	hits, misses queries
	addrs        []netip.Addr // of no network
	client       Client       // of policy 7
}

const (
	estatePolicies = 50
	estateRules    = 40
	estateGroups   = 20
	estateLists    = 20
	estateAsked    = 1 << 16 // more than the nearer caches keep of the matcher
)

// newEstate lists so many names, each in one to five lists, and so many networks; exceptions are for client.
func newEstate(t testing.TB, names, networks, hosts, exceptions int) *estate {
	t.Helper()
	r := rand.New(rand.NewPCG(5, uint64(names)))
	e := &estate{client: Client{Addr: netip.MustParseAddr("10.7.3.4")}}
	b := NewBuilder()
	for i := range names {
		name := randomName(r)
		for range 1 + r.IntN(5)*r.IntN(5)/4 {
			if err := b.Add(r.IntN(estateLists), name, Self|Below, false); err != nil {
				t.Fatal(err)
			}
		}
		if i%(1+names/estateAsked) == 0 {
			e.hits.add(append([]byte("\x03www"), name...))
		}
	}
	for range estateAsked {
		e.misses.add(fmt.Appendf(nil, "\x03www\x06h%05d\x0anot-t%05d\x04test\x00", r.IntN(100_000), r.IntN(100_000)))
	}
	var lists []*List
	var categories []Category
	for c := range estateLists / 2 {
		category := Category{Name: fmt.Sprint("c", c), NeverExcept: c == 0}
		for range 2 {
			lists = append(lists, &List{Name: fmt.Sprint("l", len(lists)), Category: category.Name})
		}
		category.Lists = lists[len(lists)-2:]
		categories = append(categories, category)
	}
	e.lists = newLists(b.Build(), whole(lists), lists, categories)
	var nets []network
	for range networks { // none is of 192.0.0.0/8 or 2001::/16
		addr := netip.AddrFrom4([4]byte{byte(193 + r.IntN(30)), byte(r.IntN(256)), byte(r.IntN(256)), 0})
		nets = append(nets, network{list: r.IntN(estateLists), prefix: netip.PrefixFrom(addr, 16+r.IntN(9)).Masked()})
	}
	must(t, e.lists.addNetworks(nets))
	for i := range 1024 {
		addr := netip.AddrFrom4([4]byte{192, 0, byte(r.IntN(256)), byte(r.IntN(256))})
		if i%2 == 1 {
			addr = netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: byte(r.IntN(256)), 15: byte(r.IntN(256))})
		}
		e.addrs = append(e.addrs, addr)
	}
	e.policies(t, networks > 0)
	for i := range hosts {
		e.known.Hosts = append(e.known.Hosts, Host{
			Addr: netip.AddrFrom4([4]byte{10, byte(i % 60), byte(i >> 8), byte(i)}), MAC: MAC{2, 1, byte(i >> 8), byte(i)}, Name: fmt.Sprintf("host-%d-%d", i%97, i),
		})
	}
	for i := range exceptions {
		x := Exception{ID: uint64(i + 1), Name: fmt.Sprintf("x%d.not-there.test", i), Until: 1, Client: netip.MustParsePrefix("10.7.0.0/16")}
		if i%2 == 1 {
			x.Client, x.Group = netip.Prefix{}, fmt.Sprint("g", i%estateGroups)
		}
		e.known.Exceptions = append(e.known.Exceptions, x)
	}
	return e
}

// policies writes the policies: each allows and blocks some names of its own, observes and blocks each category.
func (e *estate) policies(t testing.TB, networks bool) {
	groups := make([]*Group, estateGroups)
	for g := range groups {
		groups[g] = &Group{Name: fmt.Sprint("g", g), Members: Members{
			Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(100 + g), 0, 0}), 16)},
			Hosts:    []string{fmt.Sprintf("host-%d-*", g)},
		}}
		for m := range 5 {
			groups[g].MACs = append(groups[g].MACs, MAC{2, 1, byte(g), byte(m)})
		}
	}
	e.known.Groups = groups
	hours := scheduled(t, "UTC", "mon-fri 08:00-17:00")
	for i := range estatePolicies {
		p := PolicyConfig{
			Name: fmt.Sprint("p", i), Any: i == 0, Rebinding: true, NotPublic: []string{"corp.example", "lan.example"}, Canaries: true,
			Clients: Members{Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16)}},
		}
		if i < estateGroups {
			p.Groups = groups[i : i+1]
		}
		own := func(j, n int) (domains []string) {
			for k := range n {
				domains = append(domains, fmt.Sprintf("%sd%d.r%d.p%d.example", []string{"", "=", "*."}[k%3], k, j, i))
			}
			return domains
		}
		for j := range estateRules {
			category := []string{fmt.Sprint("c", j/4)}
			var r RuleConfig
			switch j % 4 {
			case 0:
				r = RuleConfig{Action: ActionAllow, Domains: own(j, 5)}
			case 1:
				r = RuleConfig{Action: ActionBlock, Domains: own(j, 3), Types: []uint16{1, 28}, Targets: TargetTypes[1:2]}
			case 2:
				r = RuleConfig{Action: ActionObserve, Categories: category, Schedule: hours}
			case 3:
				r = RuleConfig{Action: ActionBlock, Categories: category, Answer: AnswerNXDOMAIN}
				if networks {
					r.Networks = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{230, byte(i), byte(j), 0}), 24)}
				}
			}
			p.Rules = append(p.Rules, r)
		}
		e.configs = append(e.configs, p)
	}
}

// estateTime is when the rules with a schedule are awake.
var estateTime = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func (e *estate) policy(t testing.TB) *Policy {
	t.Helper()
	p, err := Compile(e.configs, e.lists, estateTime)
	must(t, err)
	return p.With(e.known)
}

// next returns the name at, and where the one after it is.
func (q queries) next(at int) (name []byte, then int) {
	then = at + 1 + int(q[at])
	name = q[at+1 : then]
	if then == len(q) {
		then = 0
	}
	return name, then
}

// TestEstateAllocatesNothing holds that neither decision allocates with all that there is in force.
func TestEstateAllocatesNothing(t *testing.T) {
	e := newEstate(t, 20_000, 2000, 500, 40)
	for i := range e.configs {
		c := &e.configs[i]
		c.Strip, c.TrustAllowed, c.StripECH, c.StripHints, c.SafeSearch = i%2 == 1, i%3 == 1, true, true, SafeSearchStrict
		c.Observe = i%5 == 4
	}
	e.known.Exceptions = append(e.known.Exceptions, Exception{ID: 1000, Name: "excepted.test", Until: 1, Client: netip.MustParsePrefix("10.0.0.0/8")})
	p := e.policy(t)
	seen := map[string]bool{}
	excepted := hostName("www.excepted.test")
	bad := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")}
	var f Facts
	hit, miss, turn := 0, 0, 0
	once := func() {
		l := Lookup{Type: []uint16{1, 15, 65}[turn%3], Client: e.client}
		l.Client.Addr = e.known.Hosts[turn%len(e.known.Hosts)].Addr
		if turn%7 == 0 {
			l.Client.MAC = MAC{2, 1, byte(turn % estateGroups), 1}
		}
		var alias []byte
		l.Name, miss = e.misses.next(miss)
		alias, hit = e.hits.next(hit)
		if turn%4 == 0 {
			l.Name = excepted
		}
		f.sight.Store(nil)
		f.Aliases, f.Targets, f.Addrs, f.ECH, f.Hints = append(f.Aliases[:0], l.Name, l.Name), append(f.Targets[:0], l.Name), e.addrs[:2], true, true
		switch turn % 5 {
		case 0:
			f.Aliases[1] = alias
		case 1:
			f.Addrs = bad
		}
		d := p.Decide(&l)
		then := p.DecideFacts(&l, d, &f)
		p.Offends(&l, then, bad[1])
		seen[byNames[p.outcomes[then.Outcome].By]] = true
		seen[matchedOnNames[then.On]] = true
		if then.Remove != 0 {
			seen["removes"] = true
		}
		if then.Observed != 0 {
			seen["observes"] = true
		}
		turn++
	}
	for range 3000 {
		once()
	}
	for _, what := range []string{"exception", "default", "rule", "observe", "rebinding", "alias", "address", "name", "removes", "observes"} {
		if !seen[what] {
			t.Errorf("nothing is decided by or on %q", what)
		}
	}
	if n := testing.AllocsPerRun(3000, once); n != 0 {
		t.Errorf("%v allocations for both decisions, want 0", n)
	}
}

// popular returns listed names as they are asked for: few of them most often (Zipf).
func (e *estate) popular() queries {
	var begins []int
	for at := 0; len(begins) == 0 || at > 0; {
		begins = append(begins, at)
		_, at = e.hits.next(at)
	}
	var q queries
	zipf := rand.NewZipf(rand.New(rand.NewPCG(6, 6)), 1.3, 1, uint64(len(begins)-1))
	for range estateAsked {
		name, _ := e.hits.next(begins[zipf.Uint64()])
		q.add(name)
	}
	return q
}

// BenchmarkDecide50x40 is a decision under 50 policies of 40 rules, over ten thousand and a million listed names, beside
// one under two policies of two rules: of names that are not listed, of listed ones that are all asked for equally often,
// of listed ones as clients ask for them, and of traffic of which a fifth, by chance, are such.
func BenchmarkDecide50x40(b *testing.B) {
	for _, size := range []int{10_000, 1_000_000} {
		e := newEstate(b, size, 0, 1000, 20)
		popular := e.popular()
		all := e.configs
		for _, few := range []bool{false, true} {
			what := "50x40"
			if few {
				what = "2x2"
				e.configs = slices.Clone(all[:2])
				for i := range e.configs {
					e.configs[i].Rules = e.configs[i].Rules[2:4]
				}
				e.client.Addr = netip.MustParseAddr("10.1.3.4")
			}
			p := e.policy(b)
			for _, c := range []struct {
				what  string
				names queries
			}{{"miss", e.misses}, {"hit", e.hits}, {"popular", popular}} {
				b.Run(fmt.Sprintf("names=%d/policies=%s/%s", size, what, c.what), func(b *testing.B) {
					b.ReportAllocs()
					l := Lookup{Type: 1, Client: e.client}
					at := 0
					for b.Loop() {
						l.Name, at = c.names.next(at)
						if d := p.Decide(&l); !few && (d.Verdict == Block) != (c.what != "miss") {
							b.Fatalf("wrong verdict on %s", NameString(l.Name))
						}
					}
				})
			}
			var listed [1 << 14]bool
			r := rand.New(rand.NewPCG(11, 12))
			for i := range listed {
				listed[i] = r.IntN(5) == 0
			}
			b.Run(fmt.Sprintf("names=%d/policies=%s/traffic", size, what), func(b *testing.B) {
				b.ReportAllocs()
				l := Lookup{Type: 1, Client: e.client}
				miss, hit := 0, 0
				for i := 0; b.Loop(); i++ {
					want := listed[i%len(listed)]
					if want {
						l.Name, hit = popular.next(hit)
					} else {
						l.Name, miss = e.misses.next(miss)
					}
					if d := p.Decide(&l); !few && (d.Verdict == Block) != want {
						b.Fatalf("wrong verdict on %s", NameString(l.Name))
					}
				}
			})
		}
	}
}

// BenchmarkDecideFacts is a decision on an answer with four aliases and eight addresses, none of which is on any list:
// the first on facts by these tables, and one on facts in memory.
func BenchmarkDecideFacts(b *testing.B) {
	e := newEstate(b, 1_000_000, 20_000, 1000, 20)
	p := e.policy(b)
	l := Lookup{Type: 1, Client: e.client}
	l.Name, _ = e.misses.next(0)
	d := p.Decide(&l)
	for _, c := range []struct{ aliases, addrs int }{{4, 8}, {1, 2}, {4, 0}, {0, 8}} {
		all := make([]Facts, 4096)
		at := 0
		for i := range all {
			all[i].Aliases = make([][]byte, c.aliases)
			for j := range all[i].Aliases {
				all[i].Aliases[j], at = e.misses.next(at)
			}
			j := i * 8 & 1023
			all[i].Addrs = e.addrs[j : j+c.addrs]
		}
		for _, first := range []bool{true, false} {
			b.Run(fmt.Sprintf("aliases=%d/addresses=%d/first=%v", c.aliases, c.addrs, first), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					f := &all[i&4095]
					if first {
						f.sight.Store(nil)
					}
					if p.DecideFacts(&l, d, f).Verdict != Allow {
						b.Fatal("wrong verdict")
					}
				}
			})
		}
	}
}

// BenchmarkCompile5M50 compiles 50 policies over five million names in 20 lists.
func BenchmarkCompile5M50(b *testing.B) {
	if testing.Short() {
		b.Skip("takes half a minute")
	}
	e := newEstate(b, 5_000_000, 20_000, 0, 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(e.configs, e.lists, estateTime); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(e.lists.matcher.sets.len()), "sets")
}

// BenchmarkWith is what it costs that a lease changes: 5,000 hosts are known, and 100 exceptions.
func BenchmarkWith(b *testing.B) {
	e := newEstate(b, 1000, 0, 5000, 100)
	p := e.policy(b)
	b.ReportAllocs()
	for b.Loop() {
		p.With(e.known)
	}
}
