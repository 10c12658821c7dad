package blocklist

import "math/bits"

// wideTags is a table of groups with eight tags of 16 bits each, in two words, and one reference per group: the
// entries of a group stand one after the other in arena, in the order of its slots, which fill from the first.
// A tag is wideUsed, two flags, and 13 bits of the hash; 0 is an empty slot.
type wideTags struct {
	tags []uint64
	refs []uint32
}

const (
	wideOnes  = 0x0001000100010001
	wideUsed  = 0x8000 * wideOnes
	wideFlags = 0x6000 * wideOnes
	wideHash  = 0x1fff
)

// wideFilled is how many of ten slots are filled: at eight, a third of the groups overflow, and processors guess wrong.
const wideFilled = 6

// newWideTags places n entries of those hashes and flags, the first ones in the first slots of their groups, and
// returns the entry of each slot, or -1.
func newWideTags(n int, entry func(i int) (hash, flags uint64)) (t wideTags, slots []int32) {
	groups := n*10/(8*wideFilled) + 1
	t = wideTags{tags: make([]uint64, 2*groups), refs: make([]uint32, groups)}
	slots = make([]int32, 8*groups)
	for i := range slots {
		slots[i] = -1
	}
	for i := range n {
		h, flags := entry(i)
		g := t.group(h)
		for slots[8*g+7] >= 0 {
			g = (g + 1) % groups
		}
		slot := 0
		for slots[8*g+slot] >= 0 {
			slot++
		}
		slots[8*g+slot] = int32(i)
		t.tags[2*g+slot>>2] |= (wideTag(h) | flags) << (16 * (slot & 3))
	}
	return t, slots
}

func (t *wideTags) group(h uint64) int {
	high, _ := bits.Mul64(h, uint64(len(t.refs)))
	return int(high)
}

func wideTag(h uint64) uint64 { return h&wideHash | 0x8000 }

// wideEqual returns a word with a bit set for each slot of half a group with the wanted tag, whatever its flags, and
// now and then for one after it. wanted is the tag in all four places.
func wideEqual(tags, wanted uint64) uint64 {
	differ := (tags ^ wanted) &^ wideFlags
	return (differ - wideOnes) &^ differ & wideUsed
}

// flags returns what the tags of that hash have in common with or: 0 says that no entry has the hash, each flag that
// one may have it.
func (t *wideTags) flags(h uint64) (or uint64) {
	wanted := wideTag(h) * wideOnes
	for g := t.group(h); ; {
		low, high := t.tags[2*g], t.tags[2*g+1]
		for equal := wideEqual(low, wanted); equal != 0; equal &= equal - 1 {
			or |= low >> (bits.TrailingZeros64(equal) &^ 15)
		}
		for equal := wideEqual(high, wanted); equal != 0; equal &= equal - 1 {
			or |= high >> (bits.TrailingZeros64(equal) &^ 15)
		}
		if high>>63 == 0 {
			return or & 0xffff
		}
		if g++; g == len(t.refs) {
			g = 0
		}
	}
}
