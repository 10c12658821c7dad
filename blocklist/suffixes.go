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
	last   int        // how many labels the longest has that either matcher may have
	hashes [8]uint64  // of those at hand
	lists  uint64     // which of them the lists may still have, the first by the lowest bit
	rules  uint64     // and which the rules' domains
}

// begin begins with another name, and has its first suffixes at hand.
func (t *tables) begin(s *suffixes, name []byte) {
	s.name, s.labels = name, labels(name, &s.offs)
	s.first, s.n, s.last, s.lists, s.rules = 1, 0, min(s.labels, t.deep), 0, 0
	t.more(s)
}

// off returns where the suffix with so many labels begins.
func (s *suffixes) off(labels int) int { return int(s.offs[(s.labels-labels)&127]) }

// next returns another node that covers the name. ok is false behind the last one.
func (t *tables) next(s *suffixes) (h hit, ok bool) {
	for {
		for s.lists|s.rules == 0 {
			if !t.more(s) {
				return hit{}, false
			}
		}
		m, left := t.lists.matcher, &s.lists
		if s.lists == 0 {
			m, left = t.inline, &s.rules
		}
		i := bits.TrailingZeros64(*left)
		*left &= *left - 1
		off := s.off(s.first + i)
		if h := m.hit(m.find(s.hashes[i&7], s.name[off:]), off); h.set != 0 {
			if m == t.inline {
				h.bits |= inline
			}
			return h, true
		}
	}
}

// more has the next suffixes at hand. It is false when there are none.
func (t *tables) more(s *suffixes) bool {
	if s.first+s.n > s.last {
		return false
	}
	lists := t.lists.matcher
	h := lists.seed.root
	if s.n > 0 {
		h = s.hashes[s.n-1]
		s.first += s.n
	}
	s.n = min(s.last-s.first+1, len(s.hashes))
	lists.seed.suffixes(h, s.name, &s.offs, s.labels-s.first+1, s.hashes[:s.n])
	s.lists = lists.may(s.hashes[:s.n], s.first)
	if t.endings.may(s) {
		s.rules = t.inline.may(s.hashes[:s.n], s.first)
	}
	return true
}

// endings are the hashes of the last two labels of some names, and of those that have one: they rule most others out.
type endings struct{ mayHold }

// add takes in a name.
func (e endings) add(seed seed, name []byte) {
	var offs [128]uint8
	if n := labels(name, &offs); n > 2 {
		name = name[offs[n-2]:]
	}
	e.mayHold.add(seed.name(name, &offs, labels(name, &offs)))
}

// may says whether one of these names may cover that of s, of which the first suffixes are at hand or were.
func (e endings) may(s *suffixes) bool {
	return s.first > 1 || s.n < 2 || e.has(s.hashes[0]) || e.has(s.hashes[1])
}

// mayHold is a set of hashes that knows of most others that they are not in it.
type mayHold []uint64

// newMayHold returns a set for n hashes.
func newMayHold(n int) mayHold { return make(mayHold, 1<<bits.Len(uint(n/8))) }

func (m mayHold) add(h uint64)      { m[h>>6&uint64(len(m)-1)] |= 1 << (h & 63) }
func (m mayHold) has(h uint64) bool { return m[h>>6&uint64(len(m)-1)]>>(h&63)&1 != 0 }
