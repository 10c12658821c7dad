package blocklist

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// hashTrie keys each node of the tree of labels by its parent and its label. It walks a name from the right, and ends
// at the first label without a node, and at a node without children. Every listed name is a node, and so is every
// parent of one; those have the value 0. A node that has children has a family number, small for many children, and
// its children name it. The hash that finds a node is that of its suffix, and its tag says whether it has a value and
// whether it has children: so a first walk needs tags only, and the second one, which is exact, is only for a name on
// whose way something like a listed name stands.
//
// In arena a node is: one octet, of which the low six bits are the length of its label and the others flags; its value
// as a uvarint; its own family, four octets, if it has one; its parent's, one octet or four; its label.
type hashTrie struct {
	seed  seed
	table wideTags
	arena []byte
}

// Flags of tags.
const (
	tagValue    = 0x4000
	tagChildren = 0x2000
)

const (
	nodeFamily = 0x80 // it has children
	nodeFar    = 0x40 // its parent's family takes four octets
)

// nodeExtra is what the families of a node take, by its flags.
var nodeExtra = [4]int{0: 1, nodeFar >> 6: 4, nodeFamily >> 6: 5, (nodeFamily | nodeFar) >> 6: 8}

// trieNode is a node while the tree grows. Node 0 is the root.
type trieNode struct {
	hash     uint64
	parent   uint32
	children uint32
	value    uint32
	label    uint32 // its place in names[name], its length octet first
	name     uint32
	family   uint32
}

func buildHashTrie(names [][]byte, value func(i int) uint32, s seed) layout {
	nodes := growTrie(names, value, s)

	// Nodes with many children are asked for most, so they come first in their groups.
	order := make([]uint32, 0, len(nodes))
	for i := 1; i < len(nodes); i++ {
		if nodes[i].children > 0 {
			order = append(order, uint32(i))
		}
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(nodes[b].children, nodes[a].children), cmp.Compare(a, b))
	})
	for i, n := range order {
		nodes[n].family = uint32(i + 1)
	}
	size := 0
	for i := 1; i < len(nodes); i++ {
		if nodes[i].children == 0 {
			order = append(order, uint32(i))
		}
		size += nodes[i].size(names, nodes)
	}

	l := &hashTrie{seed: s}
	table, slots := newWideTags(len(order), func(i int) (hash, flags uint64) {
		n := &nodes[order[i]]
		if n.value != 0 {
			flags |= tagValue
		}
		if n.children != 0 {
			flags |= tagChildren
		}
		return n.hash, flags
	})
	l.table, l.arena = table, make([]byte, 0, size)
	for slot, i := range slots {
		if slot&7 == 0 {
			l.table.refs[slot>>3] = uint32(len(l.arena))
		}
		if i >= 0 {
			l.arena = nodes[order[i]].append(l.arena, names, nodes)
		}
	}
	return l
}

// growTrie returns the nodes of all names. Its table holds the numbers of nodes, by the low bits of their hashes.
func growTrie(names [][]byte, value func(i int) uint32, s seed) []trieNode {
	nodes := make([]trieNode, 1, len(names)+len(names)/4+16)
	nodes[0].hash = s.root
	index := make([]uint32, 1<<bits.Len(uint(2*len(names)+16)))
	var offs [128]uint8
	for i, name := range names {
		n, at := labels(name, &offs), uint32(0)
		for d := n - 1; d >= 0; d-- {
			off, end := int(offs[d]), int(offs[d+1])
			h := s.label(nodes[at].hash, name, off, end)
			mask := uint64(len(index) - 1)
			slot := h & mask
			for ; index[slot] != 0; slot = (slot + 1) & mask {
				c := &nodes[index[slot]]
				if c.hash == h && c.parent == at && string(c.labelIn(names)) == string(name[off:end]) {
					break
				}
			}
			if index[slot] == 0 {
				nodes[at].children++
				index[slot] = uint32(len(nodes))
				nodes = append(nodes, trieNode{hash: h, parent: at, name: uint32(i), label: uint32(off)})
				if 4*len(nodes) > 3*len(index) {
					index = indexTrie(nodes, 2*len(index))
					at = uint32(len(nodes) - 1)
					continue
				}
			}
			at = index[slot]
		}
		nodes[at].value = value(i)
	}
	return nodes
}

func indexTrie(nodes []trieNode, size int) []uint32 {
	index := make([]uint32, size)
	mask := uint64(size - 1)
	for i := 1; i < len(nodes); i++ {
		slot := nodes[i].hash & mask
		for index[slot] != 0 {
			slot = (slot + 1) & mask
		}
		index[slot] = uint32(i)
	}
	return index
}

// labelIn returns the label of n with its length octet.
func (n *trieNode) labelIn(names [][]byte) []byte {
	name := names[n.name]
	return name[n.label : n.label+1+uint32(name[n.label])]
}

// size returns how many octets append appends.
func (n *trieNode) size(names [][]byte, nodes []trieNode) int {
	size := 1 + uvarintLen(n.value) + 1 + int(names[n.name][n.label])
	if n.family > 0 {
		size += 4
	}
	if nodes[n.parent].family > 0xff {
		size += 3
	}
	return size
}

func (n *trieNode) append(dst []byte, names [][]byte, nodes []trieNode) []byte {
	label := n.labelIn(names)
	parent := nodes[n.parent].family
	head := label[0]
	if n.family > 0 {
		head |= nodeFamily
	}
	if parent > 0xff {
		head |= nodeFar
	}
	dst = append(dst, head)
	dst = binary.AppendUvarint(dst, uint64(n.value))
	if n.family > 0 {
		dst = binary.LittleEndian.AppendUint32(dst, n.family)
	}
	if parent > 0xff {
		dst = binary.LittleEndian.AppendUint32(dst, parent)
	} else {
		dst = append(dst, byte(parent))
	}
	return append(dst, label[1:]...)
}

// child finds the node of that label, its length octet included, below the node of family parent.
func (l *hashTrie) child(h uint64, parent uint32, label []byte) (v, family uint32, ok bool) {
	wanted := wideTag(h) * wideOnes
	for g := l.table.group(h); ; {
		low, high := l.table.tags[2*g], l.table.tags[2*g+1]
		for equal := wideEqual(low, wanted); equal != 0; equal &= equal - 1 {
			if v, family, ok = l.confirm(g, bits.TrailingZeros64(equal)>>4, parent, label); ok {
				return v, family, true
			}
		}
		for equal := wideEqual(high, wanted); equal != 0; equal &= equal - 1 {
			if v, family, ok = l.confirm(g, 4+bits.TrailingZeros64(equal)>>4, parent, label); ok {
				return v, family, true
			}
		}
		if high>>63 == 0 {
			return 0, 0, false
		}
		if g++; g == len(l.table.refs) {
			g = 0
		}
	}
}

func (l *hashTrie) confirm(group, slot int, parent uint32, label []byte) (v, family uint32, ok bool) {
	at := int(l.table.refs[group])
	for ; slot > 0; slot-- {
		head := l.arena[at]
		for at++; l.arena[at] >= 0x80; at++ {
		}
		at += 1 + nodeExtra[head>>6] + int(head&0x3f)
	}
	head := l.arena[at]
	if head&0x3f != label[0] {
		return 0, 0, false
	}
	v, size := wireNumber(l.arena[at+1:])
	at += 1 + size
	if head&nodeFamily != 0 {
		family = binary.LittleEndian.Uint32(l.arena[at:])
		at += 4
	}
	above := uint32(l.arena[at])
	if head&nodeFar != 0 {
		above = binary.LittleEndian.Uint32(l.arena[at:])
		at += 3
	}
	at++
	return v, family, above == parent && string(l.arena[at:at+len(label)-1]) == string(label[1:])
}

func (l *hashTrie) find(_ uint64, suffix []byte) uint32 {
	var offs [128]uint8
	_, own := l.walk(suffix, &offs, labels(suffix, &offs))
	return own
}

func (l *hashTrie) cover(name []byte) uint32 {
	var offs [128]uint8
	n := labels(name, &offs)
	h := l.seed.root
	var seen uint64
	for d := n - 1; d >= 0; d-- {
		h = l.seed.label(h, name, int(offs[d]), int(offs[d+1]))
		flags := l.table.flags(h)
		seen |= flags
		if flags&tagChildren == 0 {
			break
		}
	}
	if seen&tagValue == 0 {
		return 0
	}
	v, _ := l.walk(name, &offs, n)
	return v
}

// walk returns the values of the most specific listed name that covers name, and of name itself.
func (l *hashTrie) walk(name []byte, offs *[128]uint8, n int) (cover, own uint32) {
	h, family := l.seed.root, uint32(0)
	for d := n - 1; d >= 0; d-- {
		off, end := int(offs[d]), int(offs[d+1])
		h = l.seed.label(h, name, off, end)
		v, next, ok := l.child(h, family, name[off:end])
		switch {
		case !ok:
			return cover, 0
		case v != 0:
			cover = v
		}
		if d == 0 {
			return cover, v
		}
		if family = next; family == 0 {
			return cover, 0
		}
	}
	return cover, 0
}

func (l *hashTrie) hashSeed() seed { return l.seed }

func (l *hashTrie) size() (memory, mapped int) {
	return 8*cap(l.table.tags) + 4*cap(l.table.refs) + cap(l.arena), 0
}

func (l *hashTrie) close() {}
