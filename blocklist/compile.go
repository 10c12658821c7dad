package blocklist

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// ConfigError is one mistake in categories or policies: where it stands, what it is, and what to do about it.
type ConfigError struct {
	Pos  string // "config.toml:41"; empty when the configuration has none
	What string
	Hint string // empty when What says it all
}

// Error returns "pos: what (hint)".
func (e *ConfigError) Error() string {
	text := e.What
	if e.Pos != "" {
		text = e.Pos + ": " + text
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// rule is one rule of a policy while and after compiling.
type rule struct {
	cfg       *RuleConfig
	verdict   Verdict // of ActionAllow and ActionBlock
	wanted    part    // its types
	types     typeSet
	domains   []domain
	number    int      // of the rule in its policy, from 0; len(cfg.Rules) is what is read after them
	asleep    bool     // its schedule is not in force
	inline    uint32   // outcome of the rule's own domains and networks; of a rule for every name, its outcome
	outcomeOf []uint32 // per holder; 0 is none
	missing   uint32   // outcome for every name, while a list of a category that then blocks all is missing; 0 is none
}

// domain is one of a rule's own domains.
type domain struct {
	name  []byte
	scope Scope
}

// always says whether the rule matches every name.
func (r *rule) always() bool {
	return r.cfg.All || len(r.cfg.Categories) == 0 && len(r.cfg.Domains) == 0 && len(r.cfg.Networks) == 0
}

// own says whether the rule has domains or networks of its own.
func (r *rule) own() bool { return len(r.cfg.Domains)+len(r.cfg.Networks) > 0 }

// compiler turns configurations into a Policy, gathering all mistakes.
type compiler struct {
	*tables
	at      time.Time
	builder *Builder  // of the rules' domains
	nets    []network // of the rules
	nextPID int       // the next pseudo-list
	rulesOf []ruleID  // per pseudo-list
	owners  []int     // of the policies behind those of configs, the one whose rules they have
	errs    []error
}

type ruleID struct{ policy, rule int }

// Compile builds the policies of cfg over lists as they hold at a moment; nil lists are none. It reports all mistakes at
// once, joined, each a *ConfigError: no policy or several for any client, the same client twice, unknown categories,
// domains that are no names, rules that can never be read, and answers that no client would get. The Policy keeps what
// cfg refers to, which the caller must not change afterwards. It holds until Policy.Until.
func Compile(cfg []PolicyConfig, lists *Lists, at time.Time) (*Policy, error) {
	if lists == nil {
		lists = newLists(NewBuilder().Build(), nil, nil, nil)
	}
	c := &compiler{
		tables: &tables{
			lists:    lists,
			configs:  slices.Clone(cfg),
			policies: make([]policy, len(cfg)),
			compiled: make([]Outcome, 1),
			listOf:   make([]uint32, 1),
		},
		at:      at,
		builder: newBuilder(lists.matcher.seed),
	}
	if len(cfg) > math.MaxUint16 {
		return nil, &ConfigError{What: fmt.Sprintf("%d policies, at most %d can be", len(cfg), math.MaxUint16)}
	}
	c.checkNames(c.configs)
	c.checkClients(c.configs)
	for i := range c.configs {
		c.compileRules(i, &c.configs[i])
	}
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	c.inline = c.builder.Build()
	c.noteSeconds()
	var err error
	if c.addresses, err = newNetworks(c.nets); err != nil {
		return nil, &ConfigError{What: err.Error()}
	}
	for _, h := range lists.holders {
		category := lists.category(h.list.Category)
		c.never = append(c.never, category != nil && category.NeverExcept)
	}
	for i := range c.configs {
		c.compileTargets(i)
	}
	for i := range c.policies {
		c.tabulate(i)
	}
	return (&Policy{tables: c.tables}).With(Known{}), nil
}

// noteSeconds notes the last two labels of the rules' domains, by which Decide sees that none covers a name.
func (c *compiler) noteSeconds() {
	c.seconds = newMayHold(c.inline.Names())
	seed := c.lists.matcher.seed
	var offs [128]uint8
	for i := range c.policies {
		for _, r := range c.policies[i].rules {
			for _, d := range r.domains {
				if n := labels(d.name, &offs); n > 1 {
					name := d.name[offs[n-2]:]
					c.seconds.add(seed.name(name, &offs, labels(name, &offs)))
				}
			}
		}
	}
}

// With returns the policy as it is with what is known now.
func (p *Policy) With(known Known) *Policy {
	next := &Policy{tables: p.tables, known: known}
	next.bind()
	next.except()
	return next
}

// Groups returns the client groups that a Decision's numbers refer to. The caller must not change the slice.
func (p *Policy) Groups() []*Group { return p.clients.groups }

func (c *compiler) fail(pos, hint, format string, args ...any) {
	c.errs = append(c.errs, &ConfigError{Pos: pos, What: fmt.Sprintf(format, args...), Hint: hint})
}

func (c *compiler) checkNames(cfg []PolicyConfig) {
	first := map[string]string{}
	for i := range cfg {
		p := &cfg[i]
		if p.Name == "" {
			c.fail(p.Pos, "", "policy without a name")
			continue
		}
		if pos, ok := first[p.Name]; ok {
			c.fail(p.Pos, "", "second policy named %q, the first is at %s", p.Name, pos)
		}
		first[p.Name] = p.Pos
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// compileRules checks the rules of one policy, and gives each rule, list of a rule and default its outcome. Outcomes
// are numbered in order of rules, and within one in order of preference.
func (c *compiler) compileRules(index int, cfg *PolicyConfig) {
	pol := &c.policies[index]
	pol.cfg = cfg
	configs := make([]*RuleConfig, 0, len(cfg.Rules)+1)
	for i := range cfg.Rules {
		configs = append(configs, &cfg.Rules[i])
	}
	if cfg.Canaries {
		configs = append(configs, &canaryRule)
	}
	if len(configs) > math.MaxUint16 {
		c.fail(cfg.Pos, "", "policy %q has %d rules, at most %d can be", cfg.Name, len(cfg.Rules), math.MaxUint16)
		return
	}
	pol.rules = make([]rule, len(configs))
	for i := range pol.rules {
		r := &pol.rules[i]
		r.cfg, r.number = configs[i], i
		r.wanted = newPart(slices.Clone(r.cfg.Types), len(r.cfg.Types) == 0)
		r.types = newTypeSet(newPart(slices.Clone(r.cfg.Types), false))
		if r.cfg.Action == ActionBlock {
			r.verdict = Block
		}
		if s := r.cfg.Schedule; s != nil {
			r.asleep = !s.Active(c.at)
			if next := s.Next(c.at); !next.IsZero() && (c.until.IsZero() || next.Before(c.until)) {
				c.until = next
			}
		}
		c.compileRule(cfg, r, ruleID{index, i})
		if i < len(cfg.Rules) {
			c.checkReachable(pol.rules[:i], r, i, cfg.Name)
		}
	}
	special := func(by By, v Verdict, pos string) uint32 {
		return c.outcome(Outcome{Verdict: v, Action: Action(v), Policy: cfg.Name, By: by, Pos: or(pos, cfg.Pos), ClientPos: cfg.clientsPos()}, 0)
	}
	pol.otherwise = special(ByDefault, cfg.Default, cfg.DefaultPos)
	pol.rebinding = special(ByRebinding, Block, cfg.RebindingPos)
	pol.watching = special(ByMode, Allow, cfg.ModePos)
	for _, prefix := range cfg.Harmless {
		plain, ok := unmapped(prefix)
		if !ok {
			c.fail(or(cfg.RebindingPos, cfg.Pos), "", "policy %q: %s is no network of addresses", cfg.Name, prefix)
			continue
		}
		pol.harmless = append(pol.harmless, plain)
	}
	pol.notPublic = map[string]Scope{}
	for _, text := range cfg.NotPublic {
		name, scope, at, reason := appendEntry(nil, []byte(text))
		if reason != "" {
			c.fail(or(cfg.RebindingPos, cfg.Pos), domainHint, "policy %q: domain %q, character %d: %s", cfg.Name, text, at+1, reason)
			continue
		}
		pol.notPublic[string(name)] |= scope
	}
}

const domainHint = `write "example.com", "=example.com" or "*.example.com"`

func (c *compiler) compileRule(cfg *PolicyConfig, r *rule, id ruleID) {
	pos := or(r.cfg.Pos, cfg.Pos)
	if r.always() && len(r.cfg.Types) == 0 && r.cfg.Schedule == nil && r.cfg.Action != ActionObserve {
		c.fail(pos, fmt.Sprintf("write default = %q instead", r.cfg.Action), "rule %d of policy %q has no condition", id.rule+1, cfg.Name)
	}
	if r.cfg.Answer != AnswerDefault && r.cfg.Action == ActionAllow {
		c.fail(pos, "only a blocked client gets it", "rule %d of policy %q allows and has an answer", id.rule+1, cfg.Name)
	}
	o := Outcome{
		Verdict: Block, Action: r.cfg.Action, Policy: cfg.Name, By: ByRule, Rule: id.rule + 1,
		Answer: r.cfg.Answer, Pos: pos, ClientPos: cfg.clientsPos(),
	}
	if id.rule == len(cfg.Rules) {
		o.By, o.Rule, o.Pos = ByCanary, 0, or(cfg.CanariesPos, cfg.Pos)
	}
	if r.cfg.Action == ActionAllow {
		o.Verdict = Allow
	}
	r.inline = c.outcome(o, uint32(c.nextPID))
	for _, text := range r.cfg.Domains {
		name, scope, at, reason := appendEntry(nil, []byte(text))
		if reason != "" {
			c.fail(pos, domainHint, "rule %d of policy %q: domain %q, character %d: %s", id.rule+1, cfg.Name, text, at+1, reason)
			continue
		}
		r.domains = append(r.domains, domain{name, scope})
		if err := c.builder.Add(c.nextPID, name, scope, false); err != nil {
			c.fail(pos, "", "rule %d of policy %q: %v", id.rule+1, cfg.Name, err)
		}
	}
	for _, prefix := range r.cfg.Networks {
		if _, ok := unmapped(prefix); !ok {
			c.fail(pos, "", "rule %d of policy %q: %s is no network of addresses", id.rule+1, cfg.Name, prefix)
			continue
		}
		c.nets = append(c.nets, network{list: c.nextPID, prefix: prefix})
	}
	if r.own() {
		c.rulesOf = append(c.rulesOf, id)
		c.nextPID++
	}
	for _, t := range r.cfg.Targets {
		if !slices.Contains(TargetTypes, t) {
			c.fail(pos, "", "rule %d of policy %q: records of type %d lead to no name", id.rule+1, cfg.Name, t)
		}
	}
	r.outcomeOf = make([]uint32, len(c.lists.holders))
	for _, name := range r.cfg.Categories {
		category := c.lists.category(name)
		if category == nil {
			c.fail(pos, c.lists.nearest(name), "rule %d of policy %q: no category %q", id.rule+1, cfg.Name, name)
			continue
		}
		o.Category = category.Name
		if category.BlockAll && r.cfg.Action != ActionAllow && r.missing == 0 {
			o.List = ""
			r.missing = c.outcome(o, 0)
		}
		for _, l := range category.Lists {
			o.List = l.Name
			for number, h := range c.lists.holders {
				if h.list == l && r.outcomeOf[number] == 0 {
					r.outcomeOf[number] = c.outcome(o, uint32(number))
				}
			}
		}
	}
}

// compileTargets makes a policy of those rules of policy index that judge the names in records of a type, and of those
// that allow names, for each such type that is asked for.
func (c *compiler) compileTargets(index int) {
	for _, qtype := range TargetTypes {
		from := &c.policies[index]
		only := policy{cfg: from.cfg, otherwise: from.otherwise, rebinding: from.rebinding, watching: from.watching}
		judges := false
		for i := range from.rules {
			judging := from.rules[i].cfg.Action != ActionAllow && slices.Contains(from.rules[i].cfg.Targets, qtype)
			if judging || from.rules[i].cfg.Action == ActionAllow {
				only.rules = append(only.rules, from.rules[i])
			}
			judges = judges || judging
		}
		if judges {
			from.targets = append(from.targets, targets{qtype, uint16(len(c.policies))})
			c.policies = append(c.policies, only)
			c.owners = append(c.owners, index)
		}
	}
}

// outcome adds o, which list, in the matcher that it comes from, leads to.
func (c *compiler) outcome(o Outcome, list uint32) uint32 {
	c.compiled = append(c.compiled, o)
	c.listOf = append(c.listOf, list)
	return uint32(len(c.compiled) - 1)
}

// table gathers the candidates of one policy. Rules that match are told by their outcomes, which are numbered in order of
// rules and within one in order of preference.
type table struct {
	*policy
	first  uint32  // of its outcomes
	of     []match // per outcome, from first
	groups map[string]uint32
	all    []uint32 // outcomes of rules that match, being gathered
}

// match is a rule that matches, and for which types.
type match struct {
	rule int
	part part
}

// add says that a rule matches.
func (t *table) add(rule int, outcome uint32, part part) {
	for int(outcome-t.first) >= len(t.of) {
		t.of = append(t.of, match{})
	}
	t.of[outcome-t.first] = match{rule, part}
	t.all = append(t.all, outcome)
}

// tabulate fills the tables from sets to candidates.
func (c *compiler) tabulate(index int) {
	pol := &c.policies[index]
	pol.candidates = make([]candidate, 1)
	t := table{policy: pol, groups: map[string]uint32{"": 0}}
	if len(pol.rules) > 0 {
		t.first = pol.rules[0].inline
	}
	for i := range pol.rules {
		if r := &pol.rules[i]; r.always() {
			t.add(i, r.inline, everyType)
		} else if r.missing != 0 {
			t.add(i, r.missing, everyType)
		}
	}
	pol.always = t.group()

	pol.byHolder = make([]uint32, len(c.lists.holders))
	ofHolder := make([][]uint32, len(c.lists.holders))
	for number, h := range c.lists.holders {
		for i := range pol.rules {
			if o := pol.rules[i].outcomeOf[number]; o != 0 {
				t.add(i, o, h.part)
			}
		}
		ofHolder[number] = slices.Clone(t.all)
		pol.byHolder[number] = t.group()
	}
	lists := &c.lists.matcher.sets
	pol.byLists = make([]uint32, lists.len())
	for set := range pol.byLists {
		for _, m := range lists.of(uint32(set)) {
			if !m.exception() {
				t.all = append(t.all, ofHolder[m.list()]...)
			}
		}
		pol.byLists[set] = t.group()
	}
	pol.byNetworks = make([]uint32, c.lists.networks.len())
	for set := range pol.byNetworks {
		for i := range pol.rules {
			if o := pol.rules[i].firstNetwork(c.lists.networks.of(uint32(set))); o != 0 {
				t.add(i, o, everyType)
			}
		}
		pol.byNetworks[set] = t.group()
	}
	pol.byRules = make([]uint32, c.inline.sets.len())
	for set := range pol.byRules {
		for _, m := range c.inline.sets.of(uint32(set)) {
			c.addOwn(&t, index, m.list())
		}
		pol.byRules[set] = t.group()
	}
	pol.byInline = make([]uint32, c.addresses.len())
	for set := range pol.byInline {
		for _, by := range c.addresses.of(uint32(set)) {
			c.addOwn(&t, index, int(by.list))
		}
		pol.byInline[set] = t.group()
	}
	any := func(group uint32) bool { return group != 0 }
	pol.lists, pol.owns = slices.ContainsFunc(pol.byNetworks, any), slices.ContainsFunc(pol.byInline, any)
	pol.candidates = slices.Clip(pol.candidates)
}

// addOwn says that the rule matches whose domains or networks a pseudo-list is, if it is one of the policy.
func (c *compiler) addOwn(t *table, index, list int) {
	owner := index
	if index >= len(c.configs) {
		owner = c.owners[index-len(c.configs)]
	}
	id := c.rulesOf[list]
	if id.policy != owner {
		return
	}
	i, ok := slices.BinarySearchFunc(t.rules, id.rule, func(r rule, number int) int { return cmp.Compare(r.number, number) })
	if ok { // or it judges no targets
		t.add(i, t.rules[i].inline, everyType)
	}
}

// firstNetwork returns the outcome of the rule on an address that these lists hold: that of the longest prefix, then of
// the list that comes first in the rule. It is 0 for none.
func (r *rule) firstNetwork(covers []covering) (first uint32) {
	bits := uint8(0)
	for _, by := range covers {
		if o := r.outcomeOf[by.list]; o != 0 && (first == 0 || by.bits == bits && o < first) {
			first, bits = o, by.bits
		}
	}
	return first
}

// group adds the group of the rules that match, in order, up to the first that always decides, and begins to gather
// anew. Equal groups stand once.
func (t *table) group() uint32 {
	slices.Sort(t.all)
	begin := len(t.candidates)
	var room [64]byte
	key := room[:0]
	done := -1 // the rule whose other outcomes are for no other type
	for _, outcome := range t.all {
		m := &t.of[outcome-t.first]
		r := &t.rules[m.rule]
		if r.asleep || m.rule == done {
			continue
		}
		if m.part.every() {
			done = m.rule
		}
		types := r.wanted.and(m.part)
		if types.none() {
			continue
		}
		t.candidates = append(t.candidates, candidate{
			outcome: outcome,
			rule:    uint16(m.rule),
			types:   t.typesOf(types),
			observe: r.cfg.Action == ActionObserve,
		})
		key = binary.LittleEndian.AppendUint32(key, outcome)
		if types.every() && r.cfg.Action != ActionObserve {
			break
		}
	}
	t.all = t.all[:0]
	number, ok := t.groups[string(key)]
	if ok {
		t.candidates = t.candidates[:begin]
		return number
	}
	t.candidates[len(t.candidates)-1].last = true
	t.groups[string(key)] = uint32(begin)
	return uint32(begin)
}

// typesOf returns the number of a set of types, 0 for all.
func (p *policy) typesOf(types part) uint16 {
	if types.every() {
		return 0
	}
	for i, have := range p.typed {
		if have.equal(types) {
			return uint16(i + 1)
		}
	}
	p.typed = append(p.typed, types)
	p.types = append(p.types, newTypeSet(types))
	return uint16(len(p.typed))
}
