package blocklist

import (
	"encoding/binary"
	"math/bits"
)

// Matcher knows which lists hold a name. It is immutable, safe for concurrent use, and never wrong: a slot's tag
// may rule a name out, every yes is confirmed octet by octet.
//
// Each listed name (a node) stands once, whatever number of lists hold it. Layout:
//
//	tags   one word per group of eight slots, one tag octet per slot: 0x80 | 7 bits of the hash, 0 is empty
//	refs   per slot the node's place in arena
//	arena  per node the number of its value as a uvarint, then its wire name
//	values what the lists say of a node, interned: two sets of lists, for the node's own name and for those below
//
// A name's group is picked by the high bits of its hash, full groups overflow into the next one, and a group with an
// empty slot ends the search; so a miss touches one word of tags, rarely two.
type Matcher struct {
	seed     seed
	tags     []uint64
	refs     []uint32
	arena    []byte
	values   []value
	sets     sets
	names    int
	minDepth int // labels of the shallowest and the deepest node; nothing else is looked for
	maxDepth int
}

// value is what all lists together say of one node. Value 0 says nothing.
type value struct {
	self, below uint32 // set numbers, with the bit exceptional when the set has an exception
}

// exceptional marks the number of a set in which at least one list has an exception.
const exceptional = 1 << 31

// member is one list of a set: its number, and whether the entry is an exception.
type member uint32

func newMember(list int, exception bool) member {
	m := member(list << 1)
	if exception {
		m |= 1
	}
	return m
}

func (m member) list() int       { return int(m >> 1) }
func (m member) exception() bool { return m&1 != 0 }

// sets holds interned sets of members, each ordered by list. Set 0 is empty.
type sets struct {
	start   []uint32 // per set its first member; one more than there are sets
	members []member
}

func (s *sets) len() int { return len(s.start) - 1 }

func (s *sets) of(set uint32) []member {
	set &^= exceptional
	return s.members[s.start[set]:s.start[set+1]]
}

// has says whether list is in the set, and whether as an exception.
func (s *sets) has(set uint32, list int) (exception, ok bool) {
	for _, m := range s.of(set) {
		if m.list() == list {
			return m.exception(), true
		}
	}
	return false, false
}

const (
	tagUsed = 0x8080808080808080
	tagOnes = 0x0101010101010101
)

// find returns the number of the value of the node whose wire name is name and hash h, 0 when there is none.
func (m *Matcher) find(h uint64, name []byte) uint32 {
	wanted := (h&0x7f | 0x80) * tagOnes
	high, _ := bits.Mul64(h, uint64(len(m.tags)))
	for g := int(high); ; {
		tags := m.tags[g]
		// Every slot with the wanted tag gets its high bit, and now and then a slot after it: confirm tells.
		differ := tags ^ wanted
		for equal := (differ - tagOnes) &^ differ & tagUsed; equal != 0; equal &= equal - 1 {
			if v := m.confirm(m.refs[g<<3|bits.TrailingZeros64(equal)>>3], name); v != 0 {
				return v
			}
		}
		if tags&tagUsed != tagUsed {
			return 0
		}
		if g++; g == len(m.tags) {
			g = 0
		}
	}
}

// confirm returns the value of the node at ref if its name is name, else 0.
func (m *Matcher) confirm(ref uint32, name []byte) uint32 {
	node := m.arena[ref:]
	v := uint32(node[0])
	node = node[1:]
	if v >= 0x80 {
		long, n := binary.Uvarint(m.arena[ref:])
		v, node = uint32(long), m.arena[int(ref)+n:]
	}
	// Both are whole wire names, and no wire name begins another.
	if len(node) < len(name) || string(node[:len(name)]) != string(name) {
		return 0
	}
	return v
}

// hit is one node that covers a name: name[off:], and the set of lists that say so.
type hit struct {
	value uint32
	set   uint32
	off   uint8
}

// appendHits appends the nodes that cover name to dst, the most specific first. A malformed name is covered by none.
func (m *Matcher) appendHits(dst []hit, name []byte) []hit {
	var offs [128]uint8
	n := labels(name, &offs)
	first := len(dst)
	h := m.seed[0]
	for d := 1; d <= min(n, m.maxDepth); d++ {
		off := int(offs[n-d])
		h = m.seed.label(h, name, off, int(offs[n-d+1]))
		if d < m.minDepth {
			continue
		}
		v := m.find(h, name[off:])
		if v == 0 {
			continue
		}
		set := m.values[v].below
		if off == 0 {
			set = m.values[v].self
		}
		if set != 0 {
			dst = append(dst, hit{value: v, set: set, off: uint8(off)})
		}
	}
	for i, j := first, len(dst)-1; i < j; i, j = i+1, j-1 {
		dst[i], dst[j] = dst[j], dst[i]
	}
	return dst
}

// scope returns what the entries of list at a node with this value cover, when exception is as said.
func (m *Matcher) scope(v uint32, list int, exception bool) Scope {
	s := Scope(0)
	if e, ok := m.sets.has(m.values[v].self, list); ok && e == exception {
		s |= Self
	}
	if e, ok := m.sets.has(m.values[v].below, list); ok && e == exception {
		s |= Below
	}
	return s
}

// Listed is one list's say on a name: its number, and the entry that covers the name.
type Listed struct {
	List      int // as given to Builder.Add
	Off       int // the entry is name[Off:]
	Scope     Scope
	Exception bool
	Effective bool // the most specific entry of its list for the name: it alone counts there
}

// Lists returns all entries that cover name, the most specific first, and lists in order of their numbers.
func (m *Matcher) Lists(name []byte) []Listed {
	var all []Listed
	hits := m.appendHits(nil, name)
	for i, h := range hits {
		for _, member := range m.sets.of(h.set) {
			all = append(all, Listed{
				List:      member.list(),
				Off:       int(h.off),
				Scope:     m.scope(h.value, member.list(), member.exception()),
				Exception: member.exception(),
				Effective: !m.anyHas(hits[:i], member.list()),
			})
		}
	}
	return all
}

// anyHas says whether list has an entry, exception or not, at one of hits.
func (m *Matcher) anyHas(hits []hit, list int) bool {
	for _, h := range hits {
		if _, ok := m.sets.has(h.set, list); ok {
			return true
		}
	}
	return false
}

// Names returns the number of distinct names.
func (m *Matcher) Names() int { return m.names }

// Bytes returns the memory that the matcher takes, in octets.
func (m *Matcher) Bytes() int {
	return 8*cap(m.tags) + 4*cap(m.refs) + cap(m.arena) + 8*cap(m.values) + 4*cap(m.sets.start) + 4*cap(m.sets.members)
}
