package blocklist

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
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
	types     typeSet
	domains   []domain
	inline    uint32   // outcome of the rule's own domains; of a rule that has no other condition, its outcome
	outcomeOf []uint32 // per holder; 0 is none
	missing   uint32   // outcome for every name, while a list of a category that then blocks all is missing; 0 is none
}

// domain is one of a rule's own domains.
type domain struct {
	name  []byte
	scope Scope
}

// always says whether the rule matches every name.
func (r *rule) always() bool { return len(r.cfg.Categories) == 0 && len(r.cfg.Domains) == 0 }

// compiler turns configurations into a Policy, gathering all mistakes.
type compiler struct {
	*Policy
	builder *Builder // of the rules' domains
	nextPID int      // the next pseudo-list
	rulesOf []ruleID // per pseudo-list
	errs    []error
}

type ruleID struct{ policy, rule int }

// Compile builds the policies of cfg over lists; nil lists are none. It reports all mistakes at once, joined, each a
// *ConfigError: no policy or several for any client, the same client prefix twice, unknown categories,
// domains that are no names, rules that can never be read, and answers that no client would get. The Policy keeps what
// cfg refers to, which the caller must not change afterwards.
func Compile(cfg []PolicyConfig, lists *Lists) (*Policy, error) {
	if lists == nil {
		lists = newLists(NewBuilder().Build(), nil, nil, nil)
	}
	c := &compiler{
		Policy: &Policy{
			lists:    lists,
			policies: make([]policy, len(cfg)),
			outcomes: make([]Outcome, 1),
			listOf:   make([]uint32, 1),
		},
		builder: newBuilder(lists.matcher.seed),
	}
	if len(cfg) > math.MaxUint16 {
		return nil, &ConfigError{What: fmt.Sprintf("%d policies, at most %d can be", len(cfg), math.MaxUint16)}
	}
	cfg = slices.Clone(cfg)
	c.checkNames(cfg)
	c.bindClients(cfg)
	for i := range cfg {
		c.compileRules(i, &cfg[i])
	}
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	c.inline = c.builder.Build()
	for i := range c.policies {
		c.tabulate(i)
	}
	return c.Policy, nil
}

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

func (c *compiler) bindClients(cfg []PolicyConfig) {
	anyOf := -1
	for i := range cfg {
		p := &cfg[i]
		pos := or(p.ClientsPos, p.Pos)
		if p.Any && anyOf >= 0 {
			c.fail(pos, "exactly one policy is for any client", "policies %q and %q are both for any client", cfg[anyOf].Name, p.Name)
		} else if p.Any {
			anyOf, c.fallback = i, uint16(i)
		}
		if !p.Any && len(p.Clients) == 0 {
			c.fail(pos, "", "policy %q has no clients", p.Name)
		}
		for _, prefix := range p.Clients {
			plain, ok := unmapped(prefix)
			if !ok {
				c.fail(pos, "", "policy %q: %s is no client prefix", p.Name, prefix)
				continue
			}
			if other, ok := c.clients.Get(plain); ok {
				c.fail(pos, "", "clients %s are in policy %q and in policy %q", plain, cfg[other].Name, p.Name)
				continue
			}
			c.clients.Insert(plain, uint16(i))
		}
	}
	if anyOf < 0 {
		c.fail("", `write clients = ["any"] in one policy`, "no policy is for any client")
	}
}

// unmapped returns prefix without host bits and, of an IPv4-mapped one, its IPv4 form.
func unmapped(prefix netip.Prefix) (netip.Prefix, bool) {
	if !prefix.IsValid() {
		return prefix, false
	}
	if prefix.Addr().Is4In6() {
		if prefix.Bits() < 96 {
			return prefix, false
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), true
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
	pol.rules = make([]rule, len(cfg.Rules))
	if len(cfg.Rules) > math.MaxUint16 {
		c.fail(cfg.Pos, "", "policy %q has %d rules, at most %d can be", cfg.Name, len(cfg.Rules), math.MaxUint16)
		return
	}
	for i := range pol.rules {
		r := &pol.rules[i]
		r.cfg = &cfg.Rules[i]
		r.types = newTypeSet(newPart(slices.Clone(r.cfg.Types), false))
		if r.cfg.Action == ActionBlock {
			r.verdict = Block
		}
		c.compileRule(cfg, i, r, ruleID{index, i})
		c.checkReachable(pol.rules[:i], r, i, cfg.Name)
	}
	pol.otherwise = c.outcome(Outcome{
		Verdict: cfg.Default, Action: Action(cfg.Default), Policy: cfg.Name,
		Pos: or(cfg.DefaultPos, cfg.Pos), ClientPos: or(cfg.ClientsPos, cfg.Pos),
	}, 0)
}

func (c *compiler) compileRule(cfg *PolicyConfig, i int, r *rule, id ruleID) {
	pos := or(r.cfg.Pos, cfg.Pos)
	if r.always() && len(r.cfg.Types) == 0 && r.cfg.Action != ActionObserve {
		c.fail(pos, fmt.Sprintf("write default = %q instead", r.cfg.Action), "rule %d of policy %q has no condition", i+1, cfg.Name)
	}
	if r.cfg.Answer != AnswerDefault && r.cfg.Action == ActionAllow {
		c.fail(pos, "only a blocked client gets it", "rule %d of policy %q allows and has an answer", i+1, cfg.Name)
	}
	o := Outcome{
		Verdict: Block, Action: r.cfg.Action, Policy: cfg.Name, Rule: i + 1,
		Answer: r.cfg.Answer, Pos: pos, ClientPos: or(cfg.ClientsPos, cfg.Pos),
	}
	if r.cfg.Action == ActionAllow {
		o.Verdict = Allow
	}
	r.inline = c.outcome(o, uint32(c.nextPID))
	for _, text := range r.cfg.Domains {
		name, scope, at, reason := appendEntry(nil, []byte(text))
		if reason != "" {
			c.fail(pos, `write "example.com", "=example.com" or "*.example.com"`,
				"rule %d of policy %q: domain %q, character %d: %s", i+1, cfg.Name, text, at+1, reason)
			continue
		}
		r.domains = append(r.domains, domain{name, scope})
		if err := c.builder.Add(c.nextPID, name, scope, false); err != nil {
			c.fail(pos, "", "rule %d of policy %q: %v", i+1, cfg.Name, err)
		}
	}
	if len(r.cfg.Domains) > 0 {
		c.rulesOf = append(c.rulesOf, id)
		c.nextPID++
	}
	r.outcomeOf = make([]uint32, len(c.lists.holders))
	for _, name := range r.cfg.Categories {
		category := c.lists.category(name)
		if category == nil {
			c.fail(pos, c.lists.nearest(name), "rule %d of policy %q: no category %q", i+1, cfg.Name, name)
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

// outcome adds o, which list, in the matcher that it comes from, leads to.
func (c *compiler) outcome(o Outcome, list uint32) uint32 {
	c.outcomes = append(c.outcomes, o)
	c.listOf = append(c.listOf, list)
	return uint32(len(c.outcomes) - 1)
}

// tabulate fills the tables from sets to candidates.
func (c *compiler) tabulate(index int) {
	pol := &c.policies[index]
	pol.candidates = make([]candidate, 1)
	groups := map[string]uint32{"": 0}

	pol.always = pol.group(groups, func(_ int, r *rule) []choice {
		if r.always() {
			return []choice{{r.inline, everyType}}
		}
		if r.missing != 0 {
			return []choice{{r.missing, everyType}}
		}
		return nil
	})
	lists := &c.lists.matcher.sets
	pol.byLists = make([]uint32, lists.len())
	for set := range pol.byLists {
		pol.byLists[set] = pol.group(groups, func(_ int, r *rule) []choice { return c.choices(r, lists.of(uint32(set))) })
	}
	pol.byHolder = make([]uint32, len(c.lists.holders))
	for number := range pol.byHolder {
		pol.byHolder[number] = pol.group(groups, func(_ int, r *rule) []choice {
			return c.choices(r, []member{newMember(number, false)})
		})
	}
	pol.byNetworks = make([]uint32, c.lists.networks.len())
	for set := range pol.byNetworks {
		pol.byNetworks[set] = pol.group(groups, func(_ int, r *rule) []choice { return r.firstNetwork(c.lists.networks.of(uint32(set))) })
	}
	pol.byRules = make([]uint32, c.inline.sets.len())
	for set := range pol.byRules {
		named := make([]bool, len(pol.rules))
		for _, m := range c.inline.sets.of(uint32(set)) {
			if id := c.rulesOf[m.list()]; id.policy == index {
				named[id.rule] = true
			}
		}
		pol.byRules[set] = pol.group(groups, func(i int, r *rule) []choice {
			if named[i] {
				return []choice{{r.inline, everyType}}
			}
			return nil
		})
	}
	pol.candidates = slices.Clip(pol.candidates)
}

// firstNetwork returns the outcome of the rule on an address that these lists hold: that of the longest prefix, then of
// the list that comes first in the rule.
func (r *rule) firstNetwork(covers []covering) (first []choice) {
	bits := uint8(0)
	for _, by := range covers {
		o := r.outcomeOf[by.list]
		if o != 0 && (first == nil || by.bits == bits && o < first[0].outcome) {
			first, bits = []choice{{o, everyType}}, by.bits
		}
	}
	return first
}

// choice is an outcome that a rule has for a name, for some types.
type choice struct {
	outcome uint32
	part    part
}

// choices returns the outcomes of the rule on a name that these holders have, the preferred first.
func (c *compiler) choices(r *rule, members []member) []choice {
	var all []choice
	for _, m := range members {
		if o := r.outcomeOf[m.list()]; !m.exception() && o != 0 {
			all = append(all, choice{o, c.lists.holders[m.list()].part})
		}
	}
	slices.SortFunc(all, func(a, b choice) int { return cmp.Compare(a.outcome, b.outcome) })
	return all
}

// group adds the group of the rules that choices gives something for, in order, up to the first that always decides.
// Equal groups stand once.
func (p *policy) group(groups map[string]uint32, choices func(int, *rule) []choice) uint32 {
	var group []candidate
	var key []byte
rules:
	for i := range p.rules {
		r := &p.rules[i]
		wanted := everyType
		if len(r.cfg.Types) > 0 {
			wanted = newPart(slices.Clone(r.cfg.Types), false)
		}
		for _, c := range choices(i, r) {
			types := wanted.and(c.part)
			if types.none() {
				continue
			}
			group = append(group, candidate{
				outcome: c.outcome,
				rule:    uint16(i),
				types:   p.typesOf(types),
				observe: r.cfg.Action == ActionObserve,
			})
			key = binary.LittleEndian.AppendUint32(key, c.outcome)
			if types.every() && r.cfg.Action != ActionObserve {
				break rules
			}
			if c.part.every() {
				break // the rule's other choices are for no other type
			}
		}
	}
	number, ok := groups[string(key)]
	if !ok {
		group[len(group)-1].last = true
		number = uint32(len(p.candidates))
		p.candidates = append(p.candidates, group...)
		groups[string(key)] = number
	}
	return number
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
