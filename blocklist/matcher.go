package blocklist

import (
	"encoding/binary"
	"math/bits"
	"runtime"
)

// Matcher knows which lists hold a name. It is immutable, safe for concurrent use, and never wrong: a slot's tag
// may rule a name out, every yes is confirmed octet by octet.
//
// Each listed name (a node) stands once, whatever number of lists hold it. Nodes lie in the order of their hashes.
// Layout:
//
//	tags   two words per group of eight slots, 16 bits per slot: 15 bits of the hash, 0 is empty. The highest bit of
//	       a group's first slot says that it spills: a node of it or one before lies behind the next group
//	places per group five octets: where in nodes it begins, and how many octets later its fifth slot does, so that not
//	       all nodes before one have to be passed over; 0 when they are more than an octet can say
//	nodes  per node, in whole octets, how many octets follow, 255 for as many or more; then the number of its value and
//	       its wire name, as code writes them
//	values what the lists say of a node, interned: two sets of lists, for the node's own name and for those below
//
// A name's group is picked by the high bits of its hash, and full groups overflow into the next one, so a node is in its
// group or the next, but for one in a hundred groups that spill. So a miss touches one line of tags, now and then two, and
// nothing else. Only tags have to be in memory for that; places and nodes may be a file, mapped, of which hits touch a
// page each.
type Matcher struct {
	seed   seed
	tags   []uint64
	places []byte
	nodes  []byte // with codePad octets behind
	code   *code
	values []value // value 0 says nothing
	named  []int   // nodes per value
	sets   sets
	names  int
	groups uint64      // that hashes are spread over; tags has more, for what overflows
	depths [2]uint64   // bit by bit the numbers of labels that nodes have
	deep   int         // the greatest of them
	plain  *plainNames // the names once more; nil in a large matcher, which has recent
	recent recent      // what was found lately
	keep   *mapping    // the file that places and nodes are mapped from; nil when they are in memory
}

// value is what all lists together say of one node. Value 0 says nothing.
type value struct {
	self, below uint32 // set numbers, with the bit exceptional when the set has an exception
}

// at returns the set for a name of which the node's begins at off.
func (v value) at(off int) uint32 {
	if off == 0 {
		return v.self
	}
	return v.below
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

// newTags gives the matcher n empty words of tags.
func (m *Matcher) newTags(n int) {
	const large = 1 << 17 // words, from which on it is worth it
	if n < large {
		m.tags = make([]uint64, n, n+16)
		return
	}
	var free func()
	if m.tags, free = largePages(n); free != nil {
		runtime.AddCleanup(m, func(free func()) { free() }, free)
	}
}

// The four slots of a word.
const (
	tagBits = 0x7fff7fff7fff7fff
	tagOnes = 0x0001000100010001
	tagHigh = 0x8000800080008000
	spills  = 1 << 15
	// slotsFilled is how many of a hundred slots are filled: fewer make misses quicker, more make the table smaller.
	slotsFilled = 78
)

// tagOf returns the tag of a hash.
func tagOf(h uint64) uint64 { return max(h&0x7fff, 1) }

// unlike sets the high bit of each slot of a word that has another tag than the one of which wanted is four.
func unlike(word, wanted uint64) uint64 { return word&tagBits ^ wanted + tagBits }

// tagged sets the high bit of each slot of a word that has the tag, and no other bit.
func tagged(word, wanted uint64) uint64 { return ^unlike(word, wanted) & tagHigh }

// home returns the group of a hash, of so many.
func home(h, groups uint64) uint64 {
	high, _ := bits.Mul64(h, groups)
	return high
}

// find returns the number of the value of the node whose wire name is name and hash h, 0 when there is none.
//
// It always looks at two groups, though the second counts only if the first is full: whether it is cannot be foreseen,
// and a wrong guess costs more than the look. The last groups never spill.
func (m *Matcher) find(h uint64, name []byte) uint32 {
	wanted := tagOf(h) * tagOnes
	for g := home(h, m.groups); ; g += 2 {
		tags := m.tags[2*g : 2*g+4 : 2*g+4]
		a, b, c, d := tagged(tags[0], wanted), tagged(tags[1], wanted), tagged(tags[2], wanted), tagged(tags[3], wanted)
		if a|b|c|d != 0 {
			v := uint32(0)
			if marks := marks(a>>15 | b>>14 | c>>13 | d>>12); m.plain != nil {
				v = m.plain.confirm(g, marks, name)
			} else {
				v = m.confirm(g, marks, h, name)
			}
			if v != 0 {
				return v
			}
		}
		if tags[0]&spills == 0 {
			runtime.KeepAlive(m) // and what its tags lie in
			return 0
		}
	}
}

// may says of which of these hashes, of names with so many labels and with one more each, there may be a node: bits, the
// first one the lowest. Nothing in it has to be guessed, so that memory is asked for all at once.
func (m *Matcher) may(hashes []uint64, labels int) (all uint64) {
	for i, h := range hashes {
		if !m.has(labels + i) {
			continue
		}
		g, wanted := home(h, m.groups), tagOf(h)*tagOnes
		tags := m.tags[2*g : 2*g+4 : 2*g+4]
		others := unlike(tags[0], wanted) & unlike(tags[1], wanted) & unlike(tags[2], wanted) & unlike(tags[3], wanted)
		found := ^others&tagHigh | tags[0]&spills
		all |= (found | -found) >> 63 << (i & 63)
	}
	runtime.KeepAlive(m) // and what its tags lie in
	return all
}

// marks are slots of two groups: bit 16 i + w is slot i of their word w.
type marks uint64

// slot returns the lowest one's number among all sixteen.
func (m marks) slot() int {
	i := bits.TrailingZeros64(uint64(m))
	return (i<<2 | i>>4) & 15
}

// slots returns them bit by bit in the order of their numbers.
func (m marks) slots() (all uint64) {
	for w := range 4 {
		all |= uint64(m) >> w & tagOnes * (1<<48 | 1<<33 | 1<<18 | 1<<3) >> 48 & 15 << (4 * w)
	}
	return all
}

// whole is to be called once all of the matcher is there.
func (m *Matcher) whole() {
	if m.plain = newPlain(m); m.plain == nil {
		m.recent = newRecent(maxRecent)
	}
}

// confirm returns the value of the node whose name is name and hash h among the marked slots of group g and of the next
// one, else 0.
func (m *Matcher) confirm(g uint64, marked marks, h uint64, name []byte) uint32 {
	recent := m.recent.at(h, name)
	if recent != nil {
		if v := recent.get(name); v != 0 {
			return v
		}
	}
	slots := marked.slots()
	v := m.decode(g, slots&255, name)
	if v == 0 {
		v = m.decode(g+1, slots>>8, name)
	}
	if recent != nil && v != 0 {
		recent.put(h, name, v)
	}
	return v
}

// decode returns the value of the node whose name is name among the marked slots of group g, else 0.
func (m *Matcher) decode(g, marked uint64, name []byte) (found uint32) {
	if marked == 0 {
		return 0
	}
	at, half := m.place(g)
	if half > 0 && marked&15 == 0 {
		at += half
		marked >>= 4
	}
	for ; marked != 0; marked >>= 1 {
		r := bitReader{in: m.nodes, pos: at * 8}
		next := r.node(m.code)
		if marked&1 != 0 {
			v := r.number() + 1
			if r.matches(m.code, name) {
				if int(v) < len(m.values) { // a damaged file could say otherwise
					found = v
				}
				break
			}
		}
		at = next
	}
	runtime.KeepAlive(m) // and its mapping
	return found
}

// placeSize is the octets of places for each group.
const placeSize = 5

// place returns the octet of nodes at which the group begins, and how many octets later its second half does, 0 when
// it is not known.
func (m *Matcher) place(g uint64) (begin, half uint64) {
	p := m.places[placeSize*g:]
	return uint64(binary.LittleEndian.Uint32(p)), uint64(p[4])
}

// has says whether there may be nodes of d labels.
func (m *Matcher) has(d int) bool { return m.depths[d>>6&1]>>(d&63)&1 != 0 }

// hit is one node that covers a name: name[off:], and the set of lists that say so.
// With more fields than four it would be passed on in memory.
type hit struct {
	value uint32
	set   uint32
	off   uint8
	bits  hitBits
}

type hitBits uint8

const (
	ofBoth hitBits = 1 << iota // the set is that for the node's own name and for those below
	inline                     // the node is of the rules' matcher
)

// hit returns that of a node with such a value, of which the name begins at off.
func (m *Matcher) hit(value uint32, off int) hit {
	v := m.values[value]
	h := hit{value: value, set: v.at(off), off: uint8(off)}
	if v.self == v.below {
		h.bits = ofBoth
	}
	return h
}

// appendHits appends the nodes that cover name to dst, the most specific first. A malformed name is covered by none.
func (m *Matcher) appendHits(dst []hit, name []byte) []hit {
	var offs [128]uint8
	n := labels(name, &offs)
	first := len(dst)
	h := m.seed.root
	for d := 1; d <= min(n, m.deep); d++ {
		off := int(offs[n-d])
		h = m.seed.label(h, name, off, int(offs[n-d+1]))
		if !m.has(d) {
			continue
		}
		if at := m.hit(m.find(h, name[off:]), off); at.set != 0 {
			dst = append(dst, at)
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

// Bytes returns the memory that the matcher always takes, in octets: all but what of it is mapped.
func (m *Matcher) Bytes() int {
	n := 8*cap(m.tags) + 8*cap(m.values) + 8*cap(m.named) + 4*cap(m.sets.start) + 4*cap(m.sets.members) + m.code.bytes() + m.plain.bytes() + m.recent.bytes()
	if m.keep == nil {
		n += cap(m.places) + cap(m.nodes)
	}
	return n
}

// MappedBytes returns the octets of the matcher that are a file, of which only those that hits touch take memory.
func (m *Matcher) MappedBytes() int {
	if m.keep == nil {
		return 0
	}
	return len(m.places) + len(m.nodes)
}
