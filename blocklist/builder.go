package blocklist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Builder collects the entries of lists and lays them out as a Matcher. The order of Add does not matter, and an
// entry that is added twice counts once. A Builder is for one goroutine; it must come from NewBuilder.
//
// While it grows, each distinct name stands once in arena; what lists say of it is a number into interned values,
// and an Add moves the name from one value to another, by way of a memo, since few distinct moves exist.
type Builder struct {
	seed   seed
	arena  []byte
	nodes  []node
	index  []uint32 // open addressing: 1 + number of the node, by the low bits of its hash; 0 is empty
	depths [2]int

	values  []value
	valueOf map[value]uint32
	moves   map[move]uint32
	last    lastMove
	members [][]member // per set
	setOf   map[string]uint32
}

type node struct {
	hash  uint64
	ref   uint32 // of its wire name in the builder's arena
	value uint32
}

type move struct {
	from      uint32
	list      int
	scope     Scope
	exception bool
}

// lastMove spares the memo for runs of new names of one list.
type lastMove struct {
	move
	to uint32
}

// maxLists bounds the numbers that Add takes as a list, so that a member and its flags fit in 32 bits.
const maxLists = 1 << 29

var (
	errSpent = errors.New("builder has built its matcher, or does not come from NewBuilder")
	errFull  = errors.New("names take more than 4 GiB; leave out lists")
)

// NewBuilder returns an empty Builder with a random seed.
func NewBuilder() *Builder { return newBuilder(randomSeed()) }

func newBuilder(s seed) *Builder {
	return &Builder{
		seed:    s,
		index:   make([]uint32, 64),
		values:  make([]value, 1),
		valueOf: map[value]uint32{{}: 0},
		moves:   map[move]uint32{},
		members: make([][]member, 1),
		setOf:   map[string]uint32{"": 0},
	}
}

// Add says that list holds an entry for the wire name with that scope, or, with exception, that the name is taken out
// of the list. An exception wins over an entry of its own list with the same name and scope. name is copied.
func (b *Builder) Add(list int, name []byte, scope Scope, exception bool) error {
	var offs [128]uint8
	n := labels(name, &offs)
	switch {
	case b.index == nil:
		return errSpent
	case n <= 0:
		return fmt.Errorf("entry %s: not a wire name, or the root", NameString(name))
	case scope == 0 || scope > Self|Below:
		return fmt.Errorf("entry %s: no scope %d", NameString(name), scope)
	case list < 0 || list >= maxLists:
		return fmt.Errorf("entry %s: no list %d", NameString(name), list)
	}
	node, err := b.node(name, b.seed.name(name, &offs, n))
	if err != nil {
		return err
	}
	if n > b.depths[1] {
		b.depths[1] = n
	}
	if n < b.depths[0] || b.depths[0] == 0 {
		b.depths[0] = n
	}
	node.value = b.moved(move{node.value, list, scope, exception})
	return nil
}

// node finds the node of name, or makes one. The pointer is good until the next call.
func (b *Builder) node(name []byte, hash uint64) (*node, error) {
	mask := uint64(len(b.index) - 1)
	slot := hash & mask
	for ; b.index[slot] != 0; slot = (slot + 1) & mask {
		n := &b.nodes[b.index[slot]-1]
		if n.hash == hash && len(b.arena)-int(n.ref) >= len(name) && string(b.arena[n.ref:int(n.ref)+len(name)]) == string(name) {
			return n, nil
		}
	}
	// The final arena has up to five octets more per name.
	if uint64(len(b.arena))+6*uint64(len(b.nodes))+2*maxName > math.MaxUint32 {
		return nil, errFull
	}
	b.nodes = append(b.nodes, node{hash: hash, ref: uint32(len(b.arena))})
	b.arena = append(b.arena, name...)
	b.index[slot] = uint32(len(b.nodes))
	if 4*len(b.nodes) > 3*len(b.index) {
		b.grow()
	}
	return &b.nodes[len(b.nodes)-1], nil
}

func (b *Builder) grow() {
	b.index = make([]uint32, 2*len(b.index))
	mask := uint64(len(b.index) - 1)
	for i := range b.nodes {
		slot := b.nodes[i].hash & mask
		for b.index[slot] != 0 {
			slot = (slot + 1) & mask
		}
		b.index[slot] = uint32(i + 1)
	}
}

// moved returns the value that m makes of m.from.
func (b *Builder) moved(m move) uint32 {
	if m == b.last.move {
		return b.last.to
	}
	to, ok := b.moves[m]
	if !ok {
		v := b.values[m.from]
		if m.scope&Self != 0 {
			v.self = b.with(v.self, m.list, m.exception)
		}
		if m.scope&Below != 0 {
			v.below = b.with(v.below, m.list, m.exception)
		}
		if to, ok = b.valueOf[v]; !ok {
			to = uint32(len(b.values))
			b.values = append(b.values, v)
			b.valueOf[v] = to
		}
		b.moves[m] = to
	}
	b.last = lastMove{m, to}
	return to
}

// with returns the number of the set that has list besides what set has.
func (b *Builder) with(set uint32, list int, exception bool) uint32 {
	old := b.members[set&^exceptional]
	at, found := slices.BinarySearchFunc(old, list, func(m member, list int) int { return m.list() - list })
	next := slices.Clone(old)
	switch {
	case !found:
		next = slices.Insert(next, at, newMember(list, exception))
	case exception:
		next[at] = newMember(list, true)
	}
	key := make([]byte, 0, 4*len(next))
	flag := uint32(0)
	for _, m := range next {
		key = binary.LittleEndian.AppendUint32(key, uint32(m))
		if m.exception() {
			flag = exceptional
		}
	}
	number, ok := b.setOf[string(key)]
	if !ok {
		number = uint32(len(b.members)) | flag
		b.members = append(b.members, next)
		b.setOf[string(key)] = number
	}
	return number
}

// Build returns the Matcher of all that was added. Add then refuses more.
func (b *Builder) Build() *Matcher {
	m := &Matcher{
		seed:     b.seed,
		values:   slices.Clip(b.values),
		names:    len(b.nodes),
		minDepth: b.depths[0],
		maxDepth: b.depths[1],
	}
	b.index, b.moves, b.valueOf, b.setOf = nil, nil, nil, nil

	m.sets.start = make([]uint32, 1, len(b.members)+1)
	for _, set := range b.members {
		m.sets.members = append(m.sets.members, set...)
		m.sets.start = append(m.sets.start, uint32(len(m.sets.members)))
	}
	m.sets.members = slices.Clip(m.sets.members)

	size := len(b.arena)
	for _, n := range b.nodes {
		size += uvarintLen(n.value)
	}
	m.arena = make([]byte, 0, size)
	groups := len(b.nodes)*10/(8*slotsFilled) + 1
	m.tags = make([]uint64, groups)
	m.refs = make([]uint32, 8*groups)
	for i, n := range b.nodes {
		end := len(b.arena)
		if i+1 < len(b.nodes) {
			end = int(b.nodes[i+1].ref)
		}
		m.insert(n.hash, uint32(len(m.arena)))
		m.arena = binary.AppendUvarint(m.arena, uint64(n.value))
		m.arena = append(m.arena, b.arena[n.ref:end]...)
	}
	b.nodes, b.arena = nil, nil
	return m
}

// slotsFilled is how many of ten slots are filled: fewer make misses quicker, more make the table smaller.
const slotsFilled = 7

func (m *Matcher) insert(hash uint64, ref uint32) {
	high, _ := bits.Mul64(hash, uint64(len(m.tags)))
	for g := int(high); ; g = (g + 1) % len(m.tags) {
		empty := ^m.tags[g] & tagUsed
		if empty == 0 {
			continue
		}
		slot := bits.TrailingZeros64(empty) >> 3
		m.tags[g] |= (hash&0x7f | 0x80) << (8 * slot)
		m.refs[g<<3|slot] = ref
		return
	}
}

func uvarintLen(v uint32) int {
	return (bits.Len32(v|1) + 6) / 7
}
