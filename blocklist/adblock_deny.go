package blocklist

import (
	"bytes"
	"slices"
)

// What $denyallow leaves out of a rule, a hole in it, is as if the rule were not there: other rules of the list may
// cover it. So a hole is made an exception, or in an exception an entry, only as far as the rest of the list makes it
// one, which is known after the last line. Names below a hole that have rules of their own are more specific than it.

// adblockHole is one name that $denyallow leaves out of a rule.
type adblockHole struct {
	line      int // of the rule
	name      string
	types     part // of the rule
	exception bool // likewise
}

// ruleCover is what a rule covers beside its name.
type ruleCover struct {
	scope Scope
	types part
	holes []string // wire names below the rule's, none below another
}

// adblockRules are rules by their wire names.
type adblockRules map[string][]ruleGroup

// ruleGroup are the rules of one name that differ in nothing but their holes.
type ruleGroup struct {
	exception bool
	scope     Scope
	types     part
	whole     bool           // one of them has no holes
	others    int            // have
	holes     map[string]int // how many of the others have this hole
}

func (all adblockRules) add(name string, exception bool, cover ruleCover) {
	groups := all[name]
	i := slices.IndexFunc(groups, func(g ruleGroup) bool {
		return g.exception == exception && g.scope == cover.scope && g.types.equal(cover.types)
	})
	if i < 0 {
		i = len(groups)
		groups = append(groups, ruleGroup{exception: exception, scope: cover.scope, types: cover.types})
		all[name] = groups
	}
	g := &groups[i]
	if len(cover.holes) == 0 {
		g.whole = true
		return
	}
	if g.holes == nil {
		g.holes = map[string]int{}
	}
	g.others++
	for _, hole := range cover.holes {
		g.holes[hole]++
	}
}

// covers says whether one of the rules does not leave out name, which is theirs or below.
func (g *ruleGroup) covers(name []byte) bool {
	if g.whole {
		return true
	}
	without := 0
	for at := name; at[0] != 0; at = at[1+int(at[0]):] {
		without += g.holes[string(at)]
	}
	return without < g.others
}

// dig finds the holes of a rule for the wire name. When reason is not empty, nothing is left of the rule, or, where wrong
// is not nil, that word of its $denyallow is no name because of what stands at offset at.
func (a *adblockRule) dig(name []byte) (wrong []byte, at int, reason string) {
	var holes []string
	for rest, more := a.denied, a.denied != nil; more; {
		var word []byte
		word, rest, more = bytes.Cut(rest, []byte("|"))
		hole, at, reason := appendName(nil, word, &strict)
		switch {
		case reason != "":
			return word, at, reason
		case string(name) == string(hole) || isBelow(name, hole):
			return nil, 0, ignoredDenyAll
		case a.scope&Below != 0 && isBelow(hole, name):
			holes = append(holes, string(hole))
		}
	}
	slices.Sort(holes)
	holes = slices.Compact(holes)
	a.holes = slices.DeleteFunc(slices.Clone(holes), func(hole string) bool { // that are in another
		for above := hole[1+int(hole[0]):]; len(above) > len(name); above = above[1+int(above[0]):] {
			if _, found := slices.BinarySearch(holes, above); found {
				return true
			}
		}
		return false
	})
	return nil, 0, ""
}

// watch has the rules of a name, and of the names above it, kept.
func (a *adblockAhead) watch(name string) {
	for ; name[0] != 0 && !a.watched[name]; name = name[1+int(name[0]):] {
		a.watched[name] = true
	}
}

// finishAdblock fills the holes.
func finishAdblock(r *reader) {
	a := r.ahead
	if a == nil {
		return
	}
	last := r.number
	for _, hole := range a.holes {
		r.number = hole.line
		name := append(r.buf[:0], hole.name...)
		self, below := a.listed(name, Self, hole.types), a.listed(name, Below, hole.types)
		if !hole.exception {
			self, below = hole.types.without(self), hole.types.without(below)
		}
		r.giveTypes(name, self, below, !hole.exception)
	}
	r.number = last
}

// listed returns for which of types the rules of the list that cover name, or what is below it, list that: important
// rules come before others, those of longer names before those of shorter ones, and exceptions before the others.
func (a *adblockAhead) listed(name []byte, scope Scope, types part) part {
	var listed part
	for _, rules := range [...]adblockRules{a.majors, a.minors} {
		for at := name; at[0] != 0; at = at[1+int(at[0]):] {
			groups, wanted := rules[string(at)], scope
			if len(at) < len(name) {
				wanted = Below
			}
			for _, exception := range [...]bool{true, false} {
				for i := range groups {
					g := &groups[i]
					if g.exception != exception || g.scope&wanted == 0 || !g.covers(name) {
						continue
					}
					if !exception {
						listed = listed.with(types.and(g.types))
					}
					types = types.without(g.types)
				}
			}
			if types.none() {
				return listed
			}
		}
	}
	return listed
}
