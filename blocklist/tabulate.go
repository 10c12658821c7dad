package blocklist

import (
	"cmp"
	"encoding/binary"
	"slices"
)

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
			verdict: r.verdict,
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
