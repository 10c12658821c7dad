package blocklist

import "math/bits"

// suffixes are a name and all that it lies below, looked for in both matchers of a Policy: from the one of the last label
// on, some at a time. First come the hashes of these, then for all of them at once the tags that may rule them out, which
// is the end of it for most names.
type suffixes struct {
	name   []byte
	labels int        // of name, without the root; -1 when it is no wire name
	offs   [128]uint8 // where each label begins, and the root
	first  int        // how many labels the first of those at hand has
	n      int        // how many are at hand
	hashes [8]uint64  // theirs
	lists  uint64     // which of them the lists may still have, the first by the lowest bit
	rules  uint64     // and which the rules' domains
}

// begin begins with another name.
func (s *suffixes) begin(name []byte) {
	s.name, s.labels = name, labels(name, &s.offs)
	s.first, s.n, s.lists, s.rules = 1, 0, 0, 0
}

// off returns where the parent with so many labels begins.
func (s *suffixes) off(labels int) int { return int(s.offs[(s.labels-labels)&127]) }

// next returns another node that covers the name, and whether it is of the rules' matcher. ok is false behind the last one.
func (t *tables) next(s *suffixes) (h hit, rules, ok bool) {
	for {
		m, left := t.lists.matcher, &s.lists
		if s.lists == 0 {
			m, left, rules = t.inline, &s.rules, true
			if s.rules == 0 {
				if !t.more(s) {
					return hit{}, false, false
				}
				rules = false
				continue
			}
		}
		i := bits.TrailingZeros64(*left)
		*left &= *left - 1
		off := s.off(s.first + i)
		v := m.find(s.hashes[i&7], s.name[off:])
		if set := m.values[v].at(off); set != 0 {
			return hit{value: v, set: set, off: uint8(off)}, rules, true
		}
	}
}

// more has the next parents at hand, as far as either matcher has names of so many labels. It is false when there are none.
func (t *tables) more(s *suffixes) bool {
	lists, rules := t.lists.matcher, t.inline
	h := lists.seed[0]
	if s.n > 0 {
		h = s.hashes[s.n-1]
		s.first += s.n
	}
	s.n = min(min(s.labels, max(lists.deep, rules.deep))-s.first+1, len(s.hashes))
	if s.n <= 0 {
		return false
	}
	end := s.off(s.first - 1)
	for i := range s.n {
		off := s.off(s.first + i)
		h = lists.seed.label(h, s.name, off, end)
		s.hashes[i&7], end = h, off
	}
	s.lists = lists.may(s.hashes[:s.n], s.first)
	own := s.n
	if s.first == 1 && s.n > 1 && !t.seconds.has(s.hashes[1]) {
		own = 1 // no rule's domain ends in these two labels
	}
	s.rules = rules.may(s.hashes[:own], s.first)
	return true
}
