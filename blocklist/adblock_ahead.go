package blocklist

import (
	"bytes"
	"fmt"
	"slices"
)

// adblockAhead is what has to be known of an adblock list before its first line is read: which rules are cancelled,
// and which names rules with $important speak of.
type adblockAhead struct {
	cancelled map[string]bool // rules, by their keys
	major     []majorRule
	settled   bool
	listed    map[string][]majorSay // by wire name what major rules list
	excepted  map[string][]majorSay // and what they take out
}

// majorRule is a rule with $important.
type majorRule struct {
	key, name string
	exception bool
	majorSay
}

// majorSay is what a rule with $important covers of its name.
type majorSay struct {
	scope Scope
	types part
}

func (m majorSay) same(n majorSay) bool { return m.scope == n.scope && m.types.equal(n.types) }

// maxAhead bounds the rules with $important or $badfilter of one list: they stay in memory while it is read.
const maxAhead = 1 << 20

// lookAheadAdblock takes notice of a line with $important or $badfilter.
func lookAheadAdblock(r *reader, line []byte) error {
	at := bytes.IndexByte(line, '$')
	if at < 0 || line[0] == '!' || line[0] == '[' || line[0] == '#' ||
		!bytes.Contains(line[at:], []byte("important")) && !bytes.Contains(line[at:], []byte("badfilter")) ||
		cosmetic(line) {
		return nil
	}
	rule := parseAdblock(line)
	if r.ahead == nil {
		r.ahead = &adblockAhead{cancelled: map[string]bool{}}
	}
	switch {
	case rule.cancels:
		r.ahead.cancelled[string(appendRuleKey(nil, line))] = true
	case rule.important && rule.reason == "":
		name, _, reason := appendName(r.buf[:0], rule.name, &strict)
		if reason != "" || address(rule.name) || int(name[0])+2 == len(name) {
			return nil // read has the reason
		}
		types := everyType
		if rule.typed {
			types = rule.types
		}
		r.ahead.major = append(r.ahead.major, majorRule{
			string(appendRuleKey(nil, line)), string(name), rule.exception, majorSay{rule.scope, types},
		})
	}
	if len(r.ahead.cancelled) > maxAhead || len(r.ahead.major) > maxAhead {
		return fmt.Errorf("has more than %d rules with $important or $badfilter; split it", maxAhead)
	}
	return nil
}

// appendRuleKey appends what two rules share that are the same but for badfilter: the pattern in lower case, then the
// other options in order.
func appendRuleKey(dst, line []byte) []byte {
	pattern, options, _ := bytes.Cut(line, []byte("$"))
	for _, c := range pattern {
		dst = append(dst, lower(c))
	}
	if len(options) == 0 {
		return dst
	}
	var all [][]byte
	for len(options) > 0 {
		var option []byte
		if option, options = cutOption(options); len(option) > 0 && string(option) != "badfilter" {
			all = append(all, option)
		}
	}
	slices.SortFunc(all, bytes.Compare)
	for _, option := range slices.CompactFunc(all, bytes.Equal) {
		dst = append(append(dst, ','), option...)
	}
	return dst
}

// cancels says whether the list cancels the rule on this line.
func (a *adblockAhead) cancels(line []byte) bool {
	if a == nil || len(a.cancelled) == 0 {
		return false
	}
	var room [128]byte
	return a.cancelled[string(appendRuleKey(room[:0], line))]
}

// ruleEntry is entry for a list of which something has to be known ahead, or for a rule with $important or $dnstype:
// the entry is made for what of its types, and of its scope, no important rule takes from it.
func (r *reader) ruleEntry(name []byte, scope Scope, exception bool) {
	types, important := everyType, false
	if r.rule != nil {
		important = r.rule.important
		if r.rule.typed {
			types = r.rule.types
		}
	}
	var self, below part
	if scope&Self != 0 {
		self = types
	}
	if scope&Below != 0 {
		below = types
	}
	if !important {
		self, below = r.ahead.left(name, self, below, exception)
	}
	switch {
	case self.none() && below.none():
		r.ignore(ignoredMinor)
	case self.equal(below):
		r.giveTypes(self, name, Self|Below, exception)
	default:
		r.giveTypes(self, name, Self, exception)
		r.giveTypes(below, name, Below, exception)
	}
}

// giveTypes gives an entry for these types, if there are any.
func (r *reader) giveTypes(types part, name []byte, scope Scope, exception bool) {
	if types.none() {
		return
	}
	if number, ok := r.partNumber(types); ok {
		r.give(number, name, scope, exception)
	} else {
		r.ignore(ignoredTypes)
	}
}

// left returns what of the types that an entry without $important is for, at name and below, it keeps in view of the
// rules with $important.
func (a *adblockAhead) left(name []byte, self, below part, exception bool) (part, part) {
	if a == nil {
		return self, below
	}
	if !a.settled {
		a.settle()
	}
	over := a.excepted
	if exception {
		over = a.listed
	}
	if len(over) == 0 {
		return self, below
	}
	for _, rule := range over[string(name)] {
		if rule.scope&Self != 0 {
			self = self.without(rule.types)
		}
		if rule.scope&Below != 0 {
			below = below.without(rule.types)
		}
	}
	for above := name[1+int(name[0]):]; above[0] != 0; above = above[1+int(above[0]):] {
		for _, rule := range over[string(above)] {
			if rule.scope&Below != 0 {
				self, below = self.without(rule.types), below.without(rule.types)
			}
		}
	}
	return self, below
}

// settle sorts the major rules by name, once it is known which of them are cancelled.
func (a *adblockAhead) settle() {
	a.settled = true
	a.listed, a.excepted = map[string][]majorSay{}, map[string][]majorSay{}
	for _, rule := range a.major {
		over := a.listed
		if rule.exception {
			over = a.excepted
		}
		if !a.cancelled[rule.key] && !slices.ContainsFunc(over[rule.name], rule.same) {
			over[rule.name] = append(over[rule.name], rule.majorSay)
		}
	}
	a.major = nil
}
