package cache

import (
	"math/bits"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// segment is a part of a shard: a least-recently-used list and its octets.
type segment struct {
	lru          *simplelru.LRU[uint64, *Entry]
	used, budget int64
}

func newSegment(budget int64) segment {
	// The byte budget ends the list long before this count does; it is a bound
	// that the list needs, not one that is met.
	l, _ := simplelru.NewLRU[uint64, *Entry](1<<30, nil)
	return segment{lru: l, budget: budget}
}

func (s *segment) add(h uint64, e *Entry, size int64) {
	s.lru.Add(h, e)
	s.used += size
}

// remove reports whether there was an entry.
func (s *segment) remove(h uint64) bool {
	e, ok := s.lru.Peek(h)
	if ok {
		s.used -= e.size()
		s.lru.Remove(h)
	}
	return ok
}

func (s *segment) removeOldest() (uint64, *Entry) {
	h, e, _ := s.lru.RemoveOldest()
	s.used -= e.size()
	return h, e
}

// memory holds a tag for each of the hashes that were added last: each has one
// place, and takes it from the one before. It may take one hash for another, one
// in 65,000, which then gets room that it does not deserve.
type memory []uint16

// octetsPerTag is how much of a shard's budget there is to a tag, so that four or
// more are there for each entry.
const octetsPerTag = 128

func newMemory(budget int64) memory {
	return make(memory, 1<<bits.Len64(uint64(max(budget/octetsPerTag, 64)-1)))
}

// place returns where the tag of h is, and the tag. The lowest bits of h are the
// same in all of a shard.
func (m memory) place(h uint64) (*uint16, uint16) {
	return &m[h/shards&uint64(len(m)-1)], uint16(h>>48) | 1
}

func (m memory) add(h uint64) {
	at, tag := m.place(h)
	*at = tag
}

func (m memory) has(h uint64) bool {
	at, tag := m.place(h)
	return *at == tag
}
