package blocklist

import (
	"bytes"
	"fmt"
	"slices"
)

// adblockAhead is what has to be known of an adblock list beyond the line at hand: which rules are cancelled, what rules
// with $important speak of, and, once the list has been read, what $denyallow leaves out.
type adblockAhead struct {
	cancelled map[string]bool // rules, by their keys
	important []importantRule // until settled
	settled   bool
	majors    adblockRules // the important ones that are not cancelled
	minors    adblockRules // the others, at names watched
	watched   map[string]bool
	dug       int // holes
	holes     []adblockHole
}

// importantRule is a rule with $important.
type importantRule struct {
	key, name string
	exception bool
	ruleCover
}

// maxAhead bounds the rules with $important or $badfilter of one list, and the names that $denyallow has it watch: they
// stay in memory while it is read.
const maxAhead = 1 << 20

func (r *reader) aheadOf() *adblockAhead {
	if r.ahead == nil {
		r.ahead = &adblockAhead{
			cancelled: map[string]bool{}, majors: adblockRules{}, minors: adblockRules{}, watched: map[string]bool{},
		}
	}
	return r.ahead
}

// lookAheadAdblock takes notice of a line with $important, $badfilter or $denyallow.
func lookAheadAdblock(r *reader, line []byte) error {
	at := bytes.IndexByte(line, '$')
	if at < 0 || line[0] == '!' || line[0] == '[' || line[0] == '#' ||
		!bytes.Contains(line[at:], []byte("important")) && !bytes.Contains(line[at:], []byte("badfilter")) &&
			!bytes.Contains(line[at:], []byte("denyallow")) ||
		cosmetic(line) {
		return nil
	}
	rule := parseAdblock(line)
	switch {
	case rule.cancels:
		r.aheadOf().cancelled[string(appendRuleKey(nil, line))] = true
	case rule.reason != "" || !rule.important && rule.denied == nil:
		return nil
	default:
		name, _, reason := appendName(r.buf[:0], rule.name, &strict)
		if reason != "" || address(rule.name) || int(name[0])+2 == len(name) {
			return nil // read has the reason
		}
		if _, _, reason := rule.dig(name); reason != "" {
			return nil // likewise
		}
		if _, ok := r.partNumber(rule.forTypes()); !ok {
			return nil // likewise
		}
		a := r.aheadOf()
		a.dug += len(rule.holes)
		for _, hole := range rule.holes {
			a.watch(hole)
		}
		if rule.important {
			a.important = append(a.important, importantRule{
				string(appendRuleKey(nil, line)), string(name), rule.exception, ruleCover{rule.scope, rule.forTypes(), rule.holes},
			})
		}
	}
	if a := r.ahead; a != nil && max(len(a.cancelled), len(a.important), len(a.watched), a.dug) > maxAhead {
		return fmt.Errorf("has more than %d rules with $important or $badfilter, or names after $denyallow; split it", maxAhead)
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

// mayCancel says whether the list cancels any rule.
func (a *adblockAhead) mayCancel() bool { return a != nil && len(a.cancelled) > 0 }

// cancels says whether the list cancels the rule on this line.
func (a *adblockAhead) cancels(line []byte) bool {
	if !a.mayCancel() {
		return false
	}
	var room [128]byte
	return a.cancelled[string(appendRuleKey(room[:0], line))]
}

// settle sorts the important rules by name, once it is known which of them are cancelled.
func (a *adblockAhead) settle() {
	if a.settled {
		return
	}
	a.settled = true
	for _, rule := range a.important {
		if !a.cancelled[rule.key] {
			a.majors.add(rule.name, rule.exception, rule.ruleCover)
		}
	}
	a.important = nil
}

// ruleEntry is entry for a list of which something has to be known ahead, or for a rule with $important, $dnstype or
// $denyallow: the entry is made for what of its types, and of its scope, no important rule takes from it.
func (r *reader) ruleEntry(name []byte, scope Scope, exception bool) {
	cover, important := ruleCover{scope: scope, types: everyType}, false
	if r.rule != nil {
		cover.types, cover.holes, important = r.rule.forTypes(), r.rule.holes, r.rule.important
	}
	var self, below part
	if scope&Self != 0 {
		self = cover.types
	}
	if scope&Below != 0 {
		below = cover.types
	}
	if a := r.ahead; a != nil {
		a.settle()
		if !important {
			if len(a.watched) > 0 && a.watched[string(name)] {
				a.minors.add(string(name), exception, cover)
			}
			self, below = a.left(name, self, below, exception)
		}
		for _, hole := range cover.holes {
			a.holes = append(a.holes, adblockHole{r.number, hole, cover.types, exception})
		}
	}
	if !r.giveTypes(name, self, below, exception) {
		r.ignore(ignoredMinor)
	}
}

// giveTypes gives an entry for some types at a name, and some below. It is false when there are none.
func (r *reader) giveTypes(name []byte, self, below part, exception bool) bool {
	give := func(types part, scope Scope) {
		if types.none() {
			return
		}
		if number, ok := r.partNumber(types); ok {
			r.give(number, name, scope, exception)
		} else {
			r.ignore(ignoredTypes)
		}
	}
	if self.equal(below) {
		give(self, Self|Below)
	} else {
		give(self, Self)
		give(below, Below)
	}
	return !self.none() || !below.none()
}

// left returns what of the types that an entry without $important is for, at name and below, it keeps in view of the
// rules with $important. What is below a name that $denyallow leaves out of one of them is left for finish.
func (a *adblockAhead) left(name []byte, self, below part, exception bool) (part, part) {
	if len(a.majors) == 0 {
		return self, below
	}
	for at := name; at[0] != 0; at = at[1+int(at[0]):] {
		for i := range a.majors[string(at)] {
			rule := &a.majors[string(at)][i]
			if rule.exception == exception || !rule.covers(name) {
				continue
			}
			if rule.scope&Self != 0 && len(at) == len(name) || rule.scope&Below != 0 && len(at) < len(name) {
				self = self.without(rule.types)
			}
			if rule.scope&Below != 0 {
				below = below.without(rule.types)
			}
		}
	}
	return self, below
}
