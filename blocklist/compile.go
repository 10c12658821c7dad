package blocklist

import (
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
			none:     new(sight),
			some:     new(sight),
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
	c.deep = max(lists.matcher.deep, c.inline.deep)
	c.noteEndings()
	var err error
	if c.addresses, err = newNetworks(c.nets); err != nil {
		return nil, &ConfigError{What: err.Error()}
	}
	c.noteBlocks()
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

// noteEndings notes how the rules' domains end, by which Decide sees that none covers a name.
func (c *compiler) noteEndings() {
	c.endings = endings{newMayHold(c.inline.Names())}
	for i := range c.policies {
		for _, r := range c.policies[i].rules {
			for _, d := range r.domains {
				c.endings.add(c.lists.matcher.seed, d.name)
			}
		}
	}
}

// noteBlocks notes where the networks of lists and rules lie, and the private ones, by which DecideFacts sees that none
// holds an address.
func (c *compiler) noteBlocks() {
	for _, prefix := range privateNetworks {
		c.blocks.add(prefix)
	}
	for _, nets := range [][]network{c.lists.nets, c.nets} {
		for _, n := range nets {
			if prefix, ok := unmapped(n.prefix); ok {
				c.blocks.add(prefix)
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
