package blocklist

import (
	"math"
	"net/netip"
)

// policy is one policy, compiled: per set of lists, and per set of rules with domains, the rules that such a hit
// makes candidates. A decision is then one probe per label and matcher, and a table read per hit.
type policy struct {
	cfg        *PolicyConfig
	rules      []rule
	candidates []candidate      // groups, each in order of rules and ended by a candidate with last
	always     uint32           // the group of rules without categories and domains
	byLists    []uint32         // per set of the lists' matcher its group; 0 is none
	byRules    []uint32         // per set of the rules' matcher
	byHolder   []uint32         // per holder the group of the set of it alone
	byNetworks []uint32         // per set of lists that hold an address
	byInline   []uint32         // per set of rules whose own networks hold it
	lists      bool             // some of byNetworks is not 0
	owns       bool             // some of byInline is not 0
	targets    []targets        // by which names that records lead to are judged
	types      []typeSet        // that candidates refer to, from 1
	typed      []part           // the same
	otherwise  uint32           // outcome of the default
	rebinding  uint32           // outcome of an address of a private network
	watching   uint32           // outcome of what is only observed
	harmless   []netip.Prefix   // private addresses that any name may have
	notPublic  map[string]Scope // by wire name, domains whose names may have private addresses
}

// targets says which policy, of rules with Targets of a type alone, judges the names in records of that type.
type targets struct {
	qtype  uint16
	policy uint16
}

// candidate is a rule that matches on a hit, if its types allow it.
type candidate struct {
	outcome uint32
	rule    uint16
	types   uint16 // the types that it is for; 0 is all
	verdict Verdict
	observe bool
	last    bool // of its group
}

// found is a rule that matched, and the entry by which it did.
type found struct {
	rule    uint32 // noRule is none
	outcome uint32
	verdict Verdict
	by      hit // its value is 0 when no entry matched
}

const (
	noRule  = math.MaxUint32
	noEntry = math.MaxUint8 // the off of a rule that matches every name: any entry of it is more specific
)

// before says whether a match of candidate c at off outranks f: an earlier rule does, then a more specific entry,
// then the list that comes first in the rule.
func (c *candidate) before(f *found, off uint8) bool {
	if r := uint32(c.rule); r != f.rule {
		return r < f.rule
	}
	if off != f.by.off {
		return off < f.by.off
	}
	return c.outcome < f.outcome
}

// reading is the state of reading one policy's rules for one name.
type reading struct {
	policy   *policy
	qtype    uint16
	decided  found
	observed found
}

// newReading begins to read.
func newReading(pol *policy, qtype uint16) reading {
	return reading{policy: pol, qtype: qtype, decided: found{rule: noRule}, observed: found{rule: noRule}}
}

// take reads one group of candidates; by says by which entry they match.
func (r *reading) take(group uint32, by hit) {
	for group != 0 {
		c := &r.policy.candidates[group]
		group++
		if c.types == 0 || r.policy.types[c.types-1].has(r.qtype) {
			f := &r.decided
			if c.observe {
				f = &r.observed
			}
			if c.before(f, by.off) {
				*f = found{uint32(c.rule), c.outcome, c.verdict, by}
			}
			if !c.observe {
				return
			}
		}
		if c.last {
			return
		}
	}
}

// Decide returns the verdict on a lookup. It does not allocate. Of a name that is none, only rules without categories
// and domains are read.
func (p *Policy) Decide(l *Lookup) (d Decision) {
	who := p.clients.of(&l.Client)
	pol := &p.policies[who.policy]
	d.PolicyIndex, d.Group = who.policy, who.group
	var s suffixes
	p.begin(&s, l.Name)
	if p.exceptions != nil && p.exceptions.endings.may(&s) {
		if e, off := p.excepted(&s, l); e != nil {
			d.Outcome = e.first + uint32(who.policy)
			d.On, d.Off, d.Scope = OnName, off, e.scope
			return d
		}
	}
	r := newReading(pol, l.Type)
	p.read(&r, &s)
	d.Outcome, d.Verdict = pol.otherwise, pol.cfg.Default
	if f := &r.decided; f.rule != noRule {
		d.Outcome, d.Verdict = f.outcome, f.verdict
		d.On, d.Off, d.Scope = p.entry(f, OnName)
	}
	if f := &r.observed; f.rule < r.decided.rule {
		d.Observed = f.outcome
		d.ObservedOn, d.ObservedOff, d.ObservedScope = p.entry(f, OnName)
	}
	switch {
	case d.Verdict == Block:
		pol.enforce(&d)
	case pol.cfg.SafeSearch != SafeSearchOff && !pol.cfg.Observe:
		d.Rewrite = pol.cfg.SafeSearch.host(l.Name)
	}
	return d
}

// enforce makes of the decision to block what the policy's mode has of it: the same, or what would have been.
func (pol *policy) enforce(d *Decision) {
	if !pol.cfg.Observe {
		return
	}
	d.Observed, d.ObservedOn, d.ObservedOff, d.ObservedScope, d.ObservedAlias = d.Outcome, d.On, d.Off, d.Scope, d.Alias
	d.Outcome, d.Verdict, d.On, d.Off, d.Scope, d.Alias, d.Remove = pol.watching, Allow, OnNothing, 0, 0, 0, 0
}

// read reads the rules of one policy for one name, with which s has begun. A hit with an exception needs to know which
// entry of its list is the most specific, and is left to readExceptions.
func (p *Policy) read(r *reading, s *suffixes) {
	pol := r.policy
	if pol.always != 0 {
		r.take(pol.always, hit{off: noEntry})
	}
	for {
		h, ok := p.next(s)
		switch {
		case !ok:
			return
		case h.bits&inline != 0:
			r.take(pol.byRules[h.set], h)
		case h.set&exceptional != 0:
			*r = newReading(pol, r.qtype)
			p.readExceptions(r, s.name)
			return
		default:
			r.take(pol.byLists[h.set], h)
		}
	}
}

// readExceptions is read for a name of which some list has an exception: each list counts by its most specific
// entry alone.
func (p *Policy) readExceptions(r *reading, name []byte) {
	pol, qtype := r.policy, r.qtype
	r.take(pol.always, hit{off: noEntry})

	var room [127]hit
	hits := p.lists.matcher.appendHits(room[:0], name)
	for i, h := range hits {
		for _, m := range p.lists.matcher.sets.of(h.set) {
			by := &p.lists.holders[m.list()]
			if !m.exception() && by.part.has(qtype) && !p.lists.excepted(h.set, by.list, qtype) && !p.lists.anyHas(hits[:i], by.list, qtype) {
				r.take(pol.byHolder[m.list()], h)
			}
		}
	}
	for _, h := range p.inline.appendHits(room[:0], name) {
		h.bits |= inline
		r.take(pol.byRules[h.set], h)
	}
}

// excepted says whether list has an exception for the type in a set. It wins over what the list has there for others.
func (l *Lists) excepted(set uint32, list *List, qtype uint16) bool {
	for _, m := range l.matcher.sets.of(set) {
		if by := &l.holders[m.list()]; m.exception() && by.list == list && by.part.has(qtype) {
			return true
		}
	}
	return false
}

// anyHas says whether list has an entry for the type, exception or not, at one of hits.
func (l *Lists) anyHas(hits []hit, list *List, qtype uint16) bool {
	for _, h := range hits {
		for _, m := range l.matcher.sets.of(h.set) {
			if by := &l.holders[m.list()]; by.list == list && by.part.has(qtype) {
				return true
			}
		}
	}
	return false
}

// entry returns where the entry of f lies, on being OnName or OnAlias, or OnNothing when there is none.
func (p *Policy) entry(f *found, on MatchedOn) (MatchedOn, uint8, Scope) {
	switch by := &f.by; {
	case by.value == 0:
		return OnNothing, 0, 0
	case by.bits&ofBoth != 0:
		return on, by.off, Self | Below
	case by.bits&inline != 0:
		return on, by.off, p.inline.scope(by.value, int(p.listOf[f.outcome]), false)
	default:
		return on, by.off, p.lists.matcher.scope(by.value, int(p.listOf[f.outcome]), false)
	}
}

// typeSet is a set of RR types.
type typeSet struct {
	low  [4]uint64 // the types below 256
	high []uint16
	not  bool // all but these
}

func newTypeSet(p part) typeSet {
	s := typeSet{not: p.not}
	for _, t := range p.types {
		if t < 256 {
			s.low[t>>6] |= 1 << (t & 63)
		} else {
			s.high = append(s.high, t)
		}
	}
	return s
}

func (s *typeSet) has(t uint16) bool {
	if t < 256 {
		return (s.low[t>>6]>>(t&63)&1 != 0) != s.not
	}
	for _, h := range s.high {
		if h == t {
			return !s.not
		}
	}
	return s.not
}
