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
	listed    map[string]Scope // by wire name what major rules list
	excepted  map[string]Scope // and what they take out
}

// majorRule is a rule with $important.
type majorRule struct {
	key, name string
	scope     Scope
	exception bool
}

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
		r.ahead.major = append(r.ahead.major, majorRule{
			key: string(appendRuleKey(nil, line)), name: string(name), scope: rule.scope, exception: rule.exception,
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

// left returns what of scope an entry without $important keeps at name, in view of those with it.
func (a *adblockAhead) left(name []byte, scope Scope, exception bool) Scope {
	if a == nil {
		return scope
	}
	if !a.settled {
		a.settle()
	}
	over := a.excepted
	if exception {
		over = a.listed
	}
	if len(over) == 0 {
		return scope
	}
	scope &^= over[string(name)]
	for above := name[1+int(name[0]):]; above[0] != 0; above = above[1+int(above[0]):] {
		if over[string(above)]&Below != 0 {
			return 0
		}
	}
	return scope
}

// settle sorts the major rules by name, once it is known which of them are cancelled.
func (a *adblockAhead) settle() {
	a.settled = true
	a.listed, a.excepted = map[string]Scope{}, map[string]Scope{}
	for _, rule := range a.major {
		switch {
		case a.cancelled[rule.key]:
		case rule.exception:
			a.excepted[rule.name] |= rule.scope
		default:
			a.listed[rule.name] |= rule.scope
		}
	}
	a.major = nil
}
