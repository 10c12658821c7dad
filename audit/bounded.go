package audit

import (
	"bytes"
	"hash/maphash"
	"time"
)

// What a question that must remember keys may keep of them: exact up to here, and
// beyond, the answer says so.
const (
	maxNames      = 4_000_000
	maxNameOctets = 256 << 20
	maxClients    = 1_000_000
	maxPairs      = 8_000_000 // of a client and a name
)

// A bounded is a dict that takes no more than so many keys.
type bounded struct {
	dict
	keys, octets int
}

func newBounded(keys, octets int) *bounded { return &bounded{newDict(), keys, octets} }

// number returns the number of v; ok is false when v is new and there is no room.
func (b *bounded) number(v []byte) (i uint32, ok bool) {
	if len(b.ends) >= b.keys || len(b.arena)+len(v) > b.octets {
		return b.find(v)
	}
	i, _ = b.dict.number(v)
	return i, true
}

func (b *bounded) len() int { return len(b.ends) }

// find is like number, but takes nothing up. Several goroutines may call it.
func (d *dict) find(v []byte) (i uint32, ok bool) {
	h := uint32(maphash.Bytes(d.seed, v))
	mask := uint32(len(d.slots) - 1)
	for at := h & mask; d.slots[at] != 0; at = (at + 1) & mask {
		if i := d.slots[at] - 1; d.hashes[i] == h && bytes.Equal(d.entry(i), v) {
			return i, true
		}
	}
	return 0, false
}

// A pairSet holds pairs of numbers, up to a limit.
type pairSet struct {
	keys  []uint64 // the pair plus one, so that 0 is none; at most half of them in use
	n     int
	limit int
}

// add says whether the pair is new, and ok that it is known or there was room.
func (s *pairSet) add(a, b uint32) (fresh, ok bool) {
	if 2*s.n >= len(s.keys) {
		s.grow()
	}
	key := uint64(a)<<32 | uint64(b) + 1
	at := s.place(key)
	if s.keys[at] == key {
		return false, true
	}
	if s.n == s.limit {
		return false, false
	}
	s.keys[at] = key
	s.n++
	return true, true
}

func (s *pairSet) place(key uint64) uint64 {
	mask := uint64(len(s.keys) - 1)
	at := key * 0x9e3779b97f4a7c15 >> 20 & mask
	for s.keys[at] != 0 && s.keys[at] != key {
		at = (at + 1) & mask
	}
	return at
}

func (s *pairSet) grow() {
	old := s.keys
	s.keys = make([]uint64, max(64, 2*len(old)))
	for _, key := range old {
		if key != 0 {
			s.keys[s.place(key)] = key
		}
	}
}

// A Sighting says how often something came in queries, and when.
type Sighting struct {
	Count   uint64    `json:"count"`
	Blocked uint64    `json:"blocked"` // of those
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

func (s *span) sighting() Sighting {
	return Sighting{s.count, s.blocked, instant(s.first), instant(s.last)}
}
