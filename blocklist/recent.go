package blocklist

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// recent remembers names that a large matcher has found, with their values: of those that are listed few are asked for,
// and most often. It compares all octets of a name, like confirm, but where confirm decodes from a mapped file it reads a
// line of memory or two. It is safe for concurrent use: a reader that meets a writer finds nothing.
type recent struct{ slots []recentSlot }

// recentSlot has the size of two lines of memory, in the first of which most names end.
type recentSlot struct {
	turn   atomic.Uint64 // odd while the name is written
	head   atomic.Uint64 // value << 32 | octets of the name; 0 is no name
	wanted atomic.Uint64 // hash of the name that was found here last: the second time in a row takes the slot
	name   [recentWords]atomic.Uint64
}

const (
	recentWords = 13
	maxRecent   = 1 << 13 // slots of a matcher
)

// newRecent returns room for so many names, of some lengths.
func newRecent(slots int) recent { return recent{make([]recentSlot, 1<<bits.Len(uint(slots-1)))} }

// bytes returns the memory that it takes.
func (r *recent) bytes() int { return 8 * (3 + recentWords) * len(r.slots) }

// at returns the slot of a hash, nil for a name that is too long to be remembered.
func (r *recent) at(h uint64, name []byte) *recentSlot {
	if len(r.slots) == 0 || len(name) > 8*recentWords {
		return nil
	}
	return &r.slots[h&uint64(len(r.slots)-1)]
}

// get returns the value of a name, 0 when it is not remembered.
func (s *recentSlot) get(name []byte) uint32 {
	turn, head := s.turn.Load(), s.head.Load()
	if turn&1 != 0 || int(uint32(head)) != len(name) {
		return 0
	}
	words := s.name[:(len(name)+7)/8]
	for i := range words {
		if words[i].Load() != word(name, i) {
			return 0
		}
	}
	if s.turn.Load() != turn {
		return 0
	}
	return uint32(head >> 32)
}

// put remembers the value of a name.
func (s *recentSlot) put(h uint64, name []byte, value uint32) {
	if s.wanted.Load() != h {
		s.wanted.Store(h)
		return
	}
	turn := s.turn.Load()
	if turn&1 != 0 || !s.turn.CompareAndSwap(turn, turn+1) {
		return // another one is being written
	}
	s.head.Store(uint64(value)<<32 | uint64(len(name)))
	for i := range (len(name) + 7) / 8 {
		s.name[i].Store(word(name, i))
	}
	s.turn.Store(turn + 2)
}

// word returns eight octets of a name; the last ones overlap with those before, or a name of fewer is one number.
func word(name []byte, i int) uint64 {
	if len(name) >= 8 {
		return binary.LittleEndian.Uint64(name[min(8*i, len(name)-8):])
	}
	var w uint64
	for _, o := range name {
		w = w<<8 | uint64(o)
	}
	return w
}
