package blocklist

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is what the naive model and the compiled policy are both made of. Its lists hold their entries by numbers, of
// holders: an entry is for the types of its holder.
type world struct {
	categories []worldCategory
	holders    []worldHolder
	entries    []added   // by holder
	networks   []network // likewise
	policies   []PolicyConfig
	schedules  map[*Schedule]func(time.Time) bool // whether it is in force
	known      Known
	at         time.Time
}

type worldCategory struct {
	lists           []int
	never, blockAll bool
}

type worldHolder struct {
	list int
	part part
}

func (w *world) compile(t testing.TB) (*Policy, error) {
	t.Helper()
	var lists []*List
	var categories []Category
	for i, of := range w.categories {
		c := Category{Name: fmt.Sprint("category", i), NeverExcept: of.never, BlockAll: of.blockAll}
		for range of.lists {
			l := &List{Name: fmt.Sprint("list", len(lists)), Category: c.Name}
			lists = append(lists, l)
			c.Lists = append(c.Lists, l)
		}
		categories = append(categories, c)
	}
	var holders []holder
	for _, h := range w.holders {
		holders = append(holders, holder{lists[h.list], h.part})
	}
	b := NewBuilder()
	for _, e := range w.entries {
		if err := b.Add(e.list, []byte(e.name), e.scope, e.exception); err != nil {
			t.Fatal(err)
		}
	}
	all := newLists(b.Build(), holders, lists, categories)
	if err := all.addNetworks(w.networks); err != nil {
		t.Fatal(err)
	}
	p, err := Compile(w.policies, all, w.at)
	if err != nil {
		return nil, err
	}
	return p.With(w.known), nil
}

// naiveMatch is how a rule matched.
type naiveMatch struct {
	by             By // ByDefault: no rule
	rule           int
	action         Action
	category, list string
	off            int
	scope          Scope
	named          bool // by an entry
}

// naiveRule is a rule with what it is called.
type naiveRule struct {
	*RuleConfig
	by     By
	number int
}

// rules returns what is read of a policy for a name that is asked for, or that an alias leads to.
func (w *world) rules(p *PolicyConfig) (all []naiveRule) {
	for i := range p.Rules {
		all = append(all, naiveRule{&p.Rules[i], ByRule, i + 1})
	}
	if p.Canaries {
		all = append(all, naiveRule{&RuleConfig{Action: ActionBlock, Domains: canaries}, ByCanary, 0})
	}
	return all
}

// targetRules returns what is read for a name that a record of the type leads to: rules that judge these, and those that
// allow names.
func (w *world) targetRules(p *PolicyConfig, qtype uint16) []naiveRule {
	return slices.DeleteFunc(w.rules(p), func(r naiveRule) bool {
		return r.Action != ActionAllow && !slices.Contains(r.Targets, qtype)
	})
}

// awake says whether a rule's schedule and types are met.
func (w *world) awake(r naiveRule, qtype uint16) bool {
	if r.Schedule != nil && !w.schedules[r.Schedule](w.at) {
		return false
	}
	return len(r.Types) == 0 || slices.Contains(r.Types, qtype)
}

func (w *world) category(name string) *worldCategory {
	var i int
	fmt.Sscanf(name, "category%d", &i)
	return &w.categories[i]
}

// matches reads one rule's conditions for one name, as the documentation of RuleConfig says them.
func (w *world) matches(r naiveRule, name string, qtype uint16) (naiveMatch, bool) {
	best := naiveMatch{by: r.by, rule: r.number, action: r.Action, off: 1000}
	if !w.awake(r, qtype) {
		return best, false
	}
	for _, l := range naiveLists(ownEntries(r), name) {
		if l.Off < best.off {
			best.off, best.scope, best.named = l.Off, l.Scope, true
		}
	}
	for _, category := range r.Categories {
		for _, list := range w.category(category).lists {
			if off, scope := w.holds(list, name, qtype); scope != 0 && off < best.off {
				best.off, best.scope, best.named = off, scope, true
				best.category, best.list = category, fmt.Sprint("list", list)
			}
		}
	}
	return w.orEverything(r, best)
}

// orEverything lets a rule that has no entry match what it is if it is for every name.
func (w *world) orEverything(r naiveRule, m naiveMatch) (naiveMatch, bool) {
	if m.named || r.All || len(r.Categories)+len(r.Domains)+len(r.Networks) == 0 {
		return m, true
	}
	for _, category := range r.Categories {
		if w.category(category).blockAll && r.Action != ActionAllow {
			m.category = category
			return m, true
		}
	}
	return m, false
}

// ownEntries are a rule's domains.
func ownEntries(r naiveRule) (all []added) {
	for _, text := range r.Domains {
		name, scope, _, _ := appendEntry(nil, []byte(text))
		all = append(all, added{name: string(name), scope: scope})
	}
	return all
}

// holds says by which entry a list holds a name for a type: the list is as if it held only what is for that type. The
// scope is that of the entries for the same types as the entry.
func (w *world) holds(list int, name string, qtype uint16) (off int, scope Scope) {
	var entries, apart []added
	for _, e := range w.entries {
		if h := w.holders[e.list]; h.list == list && h.part.has(qtype) && strings.HasSuffix(name, e.name) {
			entries = append(entries, added{name: e.name, scope: e.scope, exception: e.exception})
			apart = append(apart, e)
		}
	}
	listed := naiveLists(entries, name)
	if len(listed) == 0 || listed[0].Exception {
		return 0, 0
	}
	for _, l := range naiveLists(apart, name) {
		if l.Off == listed[0].Off && !l.Exception {
			return l.Off, l.Scope
		}
	}
	panic("no holder")
}

// never says whether a category that is never excepted holds the name.
func (w *world) never(name string, qtype uint16) (category string) {
	for i, c := range w.categories {
		for _, list := range c.lists {
			if _, scope := w.holds(list, name, qtype); c.never && scope != 0 {
				return fmt.Sprint("category", i)
			}
		}
	}
	return ""
}

// read reads rules: the one that decides, and the first observe rule before it.
func (w *world) read(rules []naiveRule, name string, qtype uint16) (decided, observed naiveMatch) {
	for _, r := range rules {
		m, ok := w.matches(r, name, qtype)
		switch {
		case !ok:
		case r.Action != ActionObserve:
			return m, observed
		case observed.by == ByDefault:
			observed = m
		}
	}
	return naiveMatch{}, observed
}

// why is what a verdict goes back to.
type why struct {
	By             By
	Rule           int
	Exception      uint64
	Category, List string
	On             MatchedOn
	Off            int
	Scope          Scope
	Which          int // alias or address
}

func (m naiveMatch) why(on MatchedOn, which int) why {
	w := why{By: m.by, Rule: m.rule, Category: m.category, List: m.list}
	if m.named {
		w.On, w.Off, w.Scope, w.Which = on, m.off, m.scope, which
	}
	return w
}

// said is a decision with its numbers looked up.
type said struct {
	Policy, Group string
	Verdict       Verdict
	Why           why
	Observed      why // the zero why is none: a default has a policy that only observes, and then By is what it is of
	WouldBlock    bool
	Rewrite       uint8
	Remove        Remove
}

func saidBy(p *Policy, d Decision) said {
	tell := func(o *Outcome, on MatchedOn, off uint8, scope Scope, which uint16) why {
		return why{o.By, o.Rule, o.Exception, o.Category, o.List, on, int(off), scope, int(which)}
	}
	o := &p.Outcomes()[d.Outcome]
	s := said{
		Policy: o.Policy, Verdict: d.Verdict, Why: tell(o, d.On, d.Off, d.Scope, d.Alias),
		WouldBlock: d.Observed != 0, Rewrite: d.Rewrite, Remove: d.Remove,
	}
	if d.Group != 0 {
		s.Group = p.Groups()[d.Group-1].Name
	}
	if d.Observed != 0 {
		s.Observed = tell(&p.Outcomes()[d.Observed], d.ObservedOn, d.ObservedOff, d.ObservedScope, d.ObservedAlias)
	}
	return s
}

func (s *said) observe(by why) { s.Observed, s.WouldBlock = by, true }

// block blocks, or only says so where the policy observes.
func (s *said) block(p *PolicyConfig, by why) {
	s.Verdict, s.Why, s.Remove = Block, by, 0
	if p.Observe {
		s.Verdict, s.Why = Allow, why{By: ByMode}
		s.observe(by)
	}
}

// question is a lookup.
type question struct {
	name   string
	qtype  uint16
	client Client
	at     time.Time
}

func (q *question) lookup() *Lookup {
	return &Lookup{Name: []byte(q.name), Type: q.qtype, Client: q.client, At: q.at.UnixNano()}
}

func (q *question) String() string {
	return fmt.Sprintf("%s type %d for %s %s at %s", NameString([]byte(q.name)), q.qtype, q.client.Addr, q.client.MAC, q.at)
}

// decide is Policy.Decide by reading what is written.
func (w *world) decide(q question) said {
	p, group := w.of(q.client)
	s := said{Policy: p.Name, Group: group}
	if e := w.excepted(q, q.name); e != nil {
		s.Why = why{By: ByException, Exception: e.ID, On: OnName, Off: e.off, Scope: e.scope}
		return s
	}
	decided, observed := w.read(w.rules(p), q.name, q.qtype)
	if observed.by != ByDefault {
		s.observe(observed.why(OnName, 0))
	}
	switch {
	case decided.by != ByDefault && decided.action == ActionBlock, decided.by == ByDefault && p.Default == Block:
		s.block(p, decided.why(OnName, 0))
	default:
		s.Why = decided.why(OnName, 0)
	}
	if s.Verdict == Allow && s.Why.By != ByMode {
		s.Rewrite = naiveSafe(p, q.name)
	}
	return s
}

// naiveSafe returns the number of the search engine's host that stands in for a name.
func naiveSafe(p *PolicyConfig, name string) uint8 {
	for i, h := range safeHosts {
		fits := p.SafeSearch != SafeSearchOff && !p.Observe && (h.only == SafeSearchOff || h.only == p.SafeSearch)
		if fits && slices.Contains(h.names, strings.ToLower(NameString([]byte(name)))) {
			return uint8(i + 1)
		}
	}
	return 0
}

// whole returns the holders of lists whose entries are for every type.
func whole(lists []*List) []holder {
	var all []holder
	for _, l := range lists {
		all = append(all, holder{l, everyType})
	}
	return all
}
