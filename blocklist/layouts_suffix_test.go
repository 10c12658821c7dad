package blocklist

import (
	"encoding/binary"
	"math/bits"
)

// suffixHash is open addressing on the hash of each suffix. Eight slots are a group with one word of tags, a tag being
// 0x80 | 7 bits of the hash, 0 an empty slot; the high bits of the hash choose the group, a full group overflows into
// the next one, and a group with an empty slot ends a search. A slot refers to value and whole wire name in arena.
type suffixHash struct {
	seed  seed
	depth depths
	tags  []uint64
	refs  []uint32
	arena []byte
}

// The eight slots of a word.
const (
	narrowOnes = 0x0101010101010101
	narrowUsed = 0x80 * narrowOnes
)

// depths are the numbers of labels of the shallowest and the deepest name; nothing else is looked for.
type depths struct{ min, max int }

func (d *depths) add(n int) {
	if d.min == 0 || n < d.min {
		d.min = n
	}
	d.max = max(d.max, n)
}

func buildSuffixHash(names [][]byte, value func(i int) uint32, s seed) layout {
	groups := len(names)*10/(8*7) + 1 // seven of ten slots are filled
	l := &suffixHash{seed: s, tags: make([]uint64, groups), refs: make([]uint32, 8*groups)}
	size := 0
	for i, name := range names {
		size += uvarintLen(value(i)) + len(name)
	}
	l.arena = make([]byte, 0, size)
	var offs [128]uint8
	for i, name := range names {
		n := labels(name, &offs)
		l.depth.add(n)
		h := s.name(name, &offs, n)
		high, _ := bits.Mul64(h, uint64(groups))
		g := int(high)
		for l.tags[g]&narrowUsed == narrowUsed {
			g = (g + 1) % groups
		}
		slot := bits.TrailingZeros64(^l.tags[g]&narrowUsed) >> 3
		l.tags[g] |= (h&0x7f | 0x80) << (8 * slot)
		l.refs[g<<3|slot] = uint32(len(l.arena))
		l.arena = append(binary.AppendUvarint(l.arena, uint64(value(i))), name...)
	}
	return l
}

func (l *suffixHash) find(h uint64, suffix []byte) uint32 {
	wanted := (h&0x7f | 0x80) * narrowOnes
	high, _ := bits.Mul64(h, uint64(len(l.tags)))
	for g := int(high); ; {
		tags := l.tags[g]
		differ := tags ^ wanted
		for equal := (differ - narrowOnes) &^ differ & narrowUsed; equal != 0; equal &= equal - 1 {
			at := int(l.refs[g<<3|bits.TrailingZeros64(equal)>>3])
			v, size := wireNumber(l.arena[at:])
			at += size
			if len(l.arena)-at >= len(suffix) && string(l.arena[at:at+len(suffix)]) == string(suffix) {
				return v
			}
		}
		if tags&narrowUsed != narrowUsed {
			return 0
		}
		if g++; g == len(l.tags) {
			g = 0
		}
	}
}

func (l *suffixHash) cover(name []byte) (v uint32) {
	var offs [128]uint8
	n := labels(name, &offs)
	h := l.seed.root
	for d := 1; d <= min(n, l.depth.max); d++ {
		off := int(offs[n-d])
		h = l.seed.label(h, name, off, int(offs[n-d+1]))
		if d < l.depth.min {
			continue
		}
		if found := l.find(h, name[off:]); found != 0 {
			v = found
		}
	}
	return v
}

func (l *suffixHash) hashSeed() seed { return l.seed }

func (l *suffixHash) size() (memory, mapped int) {
	return 8*cap(l.tags) + 4*cap(l.refs) + cap(l.arena), 0
}

func (l *suffixHash) close() {}

// suffixGroups is suffixHash with wider tags, and a reference for each group instead of each slot.
type suffixGroups struct {
	seed  seed
	depth depths
	table wideTags
	arena []byte // per name its value, its length in octets, and the wire name
}

func buildSuffixGroups(names [][]byte, value func(i int) uint32, s seed) layout {
	l := &suffixGroups{seed: s}
	hashes := make([]uint64, len(names))
	size := 0
	var offs [128]uint8
	for i, name := range names {
		n := labels(name, &offs)
		l.depth.add(n)
		hashes[i] = s.name(name, &offs, n)
		size += uvarintLen(value(i)) + 1 + len(name)
	}
	table, slots := newWideTags(len(names), func(i int) (hash, flags uint64) { return hashes[i], 0 })
	l.table, l.arena = table, make([]byte, 0, size)
	for slot, i := range slots {
		if slot&7 == 0 {
			l.table.refs[slot>>3] = uint32(len(l.arena))
		}
		if i >= 0 {
			l.arena = append(binary.AppendUvarint(l.arena, uint64(value(int(i)))), byte(len(names[i])))
			l.arena = append(l.arena, names[i]...)
		}
	}
	return l
}

func (l *suffixGroups) find(h uint64, suffix []byte) uint32 {
	wanted := wideTag(h) * wideOnes
	for g := l.table.group(h); ; {
		low, high := l.table.tags[2*g], l.table.tags[2*g+1]
		for equal := wideEqual(low, wanted); equal != 0; equal &= equal - 1 {
			if v := l.confirm(g, bits.TrailingZeros64(equal)>>4, suffix); v != 0 {
				return v
			}
		}
		for equal := wideEqual(high, wanted); equal != 0; equal &= equal - 1 {
			if v := l.confirm(g, 4+bits.TrailingZeros64(equal)>>4, suffix); v != 0 {
				return v
			}
		}
		if high>>63 == 0 {
			return 0
		}
		if g++; g == len(l.table.refs) {
			g = 0
		}
	}
}

func (l *suffixGroups) confirm(group, slot int, suffix []byte) uint32 {
	at := int(l.table.refs[group])
	for ; ; slot-- {
		v, size := wireNumber(l.arena[at:])
		at += size
		length := int(l.arena[at])
		at++
		if slot == 0 {
			if string(l.arena[at:at+length]) == string(suffix) {
				return v
			}
			return 0
		}
		at += length
	}
}

func (l *suffixGroups) cover(name []byte) (v uint32) {
	var offs [128]uint8
	n := labels(name, &offs)
	h := l.seed.root
	for d := 1; d <= min(n, l.depth.max); d++ {
		off := int(offs[n-d])
		h = l.seed.label(h, name, off, int(offs[n-d+1]))
		if d < l.depth.min {
			continue
		}
		if found := l.find(h, name[off:]); found != 0 {
			v = found
		}
	}
	return v
}

func (l *suffixGroups) hashSeed() seed { return l.seed }

func (l *suffixGroups) size() (memory, mapped int) {
	return 8*cap(l.table.tags) + 4*cap(l.table.refs) + cap(l.arena), 0
}

func (l *suffixGroups) close() {}

// uvarintLen returns the octets of v as a uvarint.
func uvarintLen(v uint32) int { return (bits.Len32(v|1) + 6) / 7 }
