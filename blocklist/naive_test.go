package blocklist

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// world is what the naive model and the compiled policy are both made of.
type world struct {
	categories [][]int // per category its lists
	entries    []added
	policies   []PolicyConfig
}

func (w *world) compile(t testing.TB) (*Policy, error) {
	t.Helper()
	var lists []*List
	var categories []Category
	for i, numbers := range w.categories {
		c := Category{Name: fmt.Sprint("category", i)}
		for range numbers {
			l := &List{Name: fmt.Sprint("list", len(lists)), Category: c.Name}
			lists = append(lists, l)
			c.Lists = append(c.Lists, l)
		}
		categories = append(categories, c)
	}
	b := NewBuilder()
	for _, e := range w.entries {
		if err := b.Add(e.list, []byte(e.name), e.scope, e.exception); err != nil {
			t.Fatal(err)
		}
	}
	return Compile(w.policies, newLists(b.Build(), whole(lists), lists, categories), time.Time{})
}

// naiveMatch is how a rule matched.
type naiveMatch struct {
	rule           int // 0 is the default
	category, list string
	off            int
	scope          Scope
	named          bool // by an entry
}

// matches reads one rule's conditions for one name, as the documentation of RuleConfig says them.
func (w *world) matches(r *RuleConfig, name string, qtype uint16) (naiveMatch, bool) {
	if len(r.Types) > 0 && !slices.Contains(r.Types, qtype) {
		return naiveMatch{}, false
	}
	if len(r.Categories) == 0 && len(r.Domains) == 0 {
		return naiveMatch{}, true
	}
	best, found := naiveMatch{named: true, off: 1000}, false
	var own []added
	for _, text := range r.Domains {
		name, scope, _, _ := appendEntry(nil, []byte(text))
		own = append(own, added{name: string(name), scope: scope})
	}
	for _, l := range naiveLists(own, name) {
		if l.Off < best.off {
			best.off, best.scope, found = l.Off, l.Scope, true
		}
	}
	listed := naiveLists(w.entries, name)
	for _, category := range r.Categories {
		var i int
		fmt.Sscanf(category, "category%d", &i)
		for _, list := range w.categories[i] {
			for _, l := range listed {
				if l.List == list && l.Effective && !l.Exception && l.Off < best.off {
					best.off, best.scope, found = l.Off, l.Scope, true
					best.category, best.list = category, fmt.Sprint("list", list)
				}
			}
		}
	}
	return best, found
}

// read reads a policy's rules: the one that decides, and the first observe rule before it.
func (w *world) read(p *PolicyConfig, name string, qtype uint16) (decided, observed naiveMatch) {
	for i := range p.Rules {
		m, ok := w.matches(&p.Rules[i], name, qtype)
		if !ok {
			continue
		}
		m.rule = i + 1
		if p.Rules[i].Action != ActionObserve {
			return m, observed
		}
		if observed.rule == 0 {
			observed = m
		}
	}
	return naiveMatch{}, observed
}

// policyOf returns the index of the client's policy.
func (w *world) policyOf(client netip.Addr) int {
	best, bits := -1, -1
	for i, p := range w.policies {
		for _, prefix := range p.Clients.Prefixes {
			if prefix.Contains(client) && prefix.Bits() > bits {
				best, bits = i, prefix.Bits()
			}
		}
		if p.Any && best < 0 && bits < 0 {
			best = i
		}
	}
	if bits < 0 {
		return slices.IndexFunc(w.policies, func(p PolicyConfig) bool { return p.Any })
	}
	return best
}

// said is a decision with its numbers looked up.
type said struct {
	Policy            string
	Verdict           Verdict
	Rule              int
	Category, List    string
	On                MatchedOn
	Off               int
	Scope             Scope
	Alias             int
	ObservedRule      int
	ObservedList      string
	ObservedOff       int
	ObservedScope     Scope
	ObservedOn        MatchedOn
	ObservedAliasName int
}

func saidBy(p *Policy, d Decision) said {
	o := p.Outcomes()[d.Outcome]
	s := said{
		Policy: o.Policy, Verdict: d.Verdict, Rule: o.Rule, Category: o.Category, List: o.List, On: d.On, Off: int(d.Off), Scope: d.Scope,
		Alias: int(d.Alias), ObservedOff: int(d.ObservedOff), ObservedScope: d.ObservedScope, ObservedOn: d.ObservedOn,
		ObservedAliasName: int(d.ObservedAlias),
	}
	if d.Observed != 0 {
		s.ObservedRule, s.ObservedList = p.Outcomes()[d.Observed].Rule, p.Outcomes()[d.Observed].List
	}
	return s
}

func (s *said) observe(m naiveMatch, on MatchedOn) {
	if m.rule == 0 {
		return
	}
	s.ObservedRule, s.ObservedList = m.rule, m.list
	if m.named {
		s.ObservedOff, s.ObservedScope, s.ObservedOn = m.off, m.scope, on
	}
}

func (s *said) decide(p *PolicyConfig, m naiveMatch, on MatchedOn) {
	s.Rule, s.Category, s.List, s.Verdict = m.rule, m.category, m.list, p.Default
	s.On, s.Off, s.Scope = OnNothing, 0, 0
	if m.rule > 0 {
		s.Verdict = Allow
		if p.Rules[m.rule-1].Action == ActionBlock {
			s.Verdict = Block
		}
	}
	if m.named {
		s.On, s.Off, s.Scope = on, m.off, m.scope
	}
}

func (w *world) decide(name string, qtype uint16, client netip.Addr) said {
	p := &w.policies[w.policyOf(client)]
	s := said{Policy: p.Name}
	decided, observed := w.read(p, name, qtype)
	s.decide(p, decided, OnName)
	s.observe(observed, OnName)
	return s
}

func (w *world) decideFacts(s said, aliases []string, qtype uint16) said {
	i := slices.IndexFunc(w.policies, func(p PolicyConfig) bool { return p.Name == s.Policy })
	p := &w.policies[i]
	if s.Verdict == Block || p.TrustAllowed && s.On == OnName {
		return s
	}
	for i, alias := range aliases {
		decided, observed := w.read(p, alias, qtype)
		if s.ObservedRule == 0 && observed.named {
			s.observe(observed, OnAlias)
			s.ObservedAliasName = i
		}
		if decided.named && p.Rules[decided.rule-1].Action == ActionBlock {
			s.decide(p, decided, OnAlias)
			s.Alias = i
			return s
		}
	}
	return s
}

func drawWorld(t *rapid.T) *world {
	w := &world{}
	lists := 0
	for range rapid.IntRange(1, 3).Draw(t, "categories") {
		var c []int
		for range rapid.IntRange(1, 2).Draw(t, "lists") {
			c = append(c, lists)
			lists++
		}
		w.categories = append(w.categories, c)
	}
	w.entries = drawEntries(t, lists)
	rule := rapid.Custom(func(t *rapid.T) RuleConfig {
		r := RuleConfig{Action: Action(rapid.IntRange(0, 2).Draw(t, "action"))}
		for i := range w.categories {
			if rapid.Bool().Draw(t, "category") {
				r.Categories = append(r.Categories, fmt.Sprint("category", i))
			}
		}
		if rapid.Bool().Draw(t, "reverse") {
			slices.Reverse(r.Categories)
		}
		for range rapid.IntRange(0, 2).Draw(t, "domains") {
			prefix := rapid.SampledFrom([]string{"", "=", "*."}).Draw(t, "scope")
			r.Domains = append(r.Domains, prefix+NameString([]byte(drawName(t, "domain"))))
		}
		if rapid.IntRange(0, 2).Draw(t, "typed") == 0 || len(r.Categories)+len(r.Domains) == 0 {
			r.Types = rapid.SliceOfN(rapid.SampledFrom([]uint16{1, 28, 65, 65280}), 1, 3).Draw(t, "types")
		}
		return r
	})
	clients := []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.128/25"), netip.MustParsePrefix("2001:db8::/32"),
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "policies") {
		p := PolicyConfig{
			Name: fmt.Sprint("policy", i), Default: Verdict(rapid.IntRange(0, 1).Draw(t, "default")),
			TrustAllowed: rapid.Bool().Draw(t, "trust"), Rules: rapid.SliceOfN(rule, 0, 5).Draw(t, "rules"),
		}
		if i == 0 {
			p.Any = true
		} else {
			p.Clients.Prefixes = clients[:1]
			clients = clients[1:]
		}
		w.policies = append(w.policies, p)
	}
	return w
}

func TestPolicyAgreesWithModel(t *testing.T) {
	clients := []netip.Addr{
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.200"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("198.51.100.1"),
	}
	drawn, compiled := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		drawn++
		p, err := w.compile(t)
		if err != nil { // an unreachable rule
			return
		}
		compiled++
		for i, name := range worldNames {
			client := clients[i%len(clients)]
			qtype := []uint16{1, 65280, 16}[i%3]
			d := p.Decide(ask([]byte(name), qtype, client))
			want := w.decide(name, qtype, client)
			if diff := gocmp.Diff(want, saidBy(p, d)); diff != "" {
				rt.Fatalf("Decide %s type %d for %s: model and policy differ:\n%s", NameString([]byte(name)), qtype, client, diff)
			}
			checkExplanation(rt, p.Explain(ask([]byte(name), qtype, client)), want)
			aliases := []string{worldNames[i*7%len(worldNames)], worldNames[i*5%len(worldNames)]}
			wires := [][]byte{[]byte(aliases[0]), []byte(aliases[1])}
			got := saidBy(p, p.judged(d, ask([]byte(name), qtype, client), wires))
			if diff := gocmp.Diff(w.decideFacts(want, aliases, qtype), got); diff != "" {
				rt.Fatalf("DecideFacts %q: model and policy differ:\n%s", aliases, diff)
			}
		}
	})
	if 2*compiled < drawn {
		t.Fatalf("only %d of %d drawn policies compiled", compiled, drawn)
	}
}

// checkExplanation holds that the trace of the rules ends where the decision does.
func checkExplanation(t *rapid.T, e Explanation, want said) {
	last := RuleTrace{}
	for _, r := range e.Rules {
		if r.Matched && (r.Action != ActionObserve || r.Rule == want.ObservedRule) {
			last = r
		}
		if r.Matched && r.Action == ActionObserve {
			last = RuleTrace{}
		}
	}
	if last.Rule != want.Rule || last.Category != want.Category || last.List != want.List {
		t.Fatalf("trace ends at %+v, want %+v", last, want)
	}
	if want.Rule > 0 && want.Off == 0 && want.Scope == Self && last.Entry[0] != '=' {
		t.Fatalf("entry %q, want one of the name itself", last.Entry)
	}
}

// whole returns the holders of lists whose entries are for every type.
func whole(lists []*List) []holder {
	var all []holder
	for _, l := range lists {
		all = append(all, holder{l, everyType})
	}
	return all
}
