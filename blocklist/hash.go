package blocklist

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// seed keys the hash of names, so that nobody who writes names can aim at one slot of a table. Matchers of one seed
// agree on the hash of each name.
type seed [2]uint64

func randomSeed() seed {
	return seed{rand.Uint64(), rand.Uint64() | 1}
}

// label extends the hash of a parent by one label: name[off:end], its length octet included, end being where the
// parent's labels begin. The root's hash is s[0]. It takes eight octets per step.
func (s seed) label(parent uint64, name []byte, off, end int) uint64 {
	h := parent
	for ; end-off > 8; off += 8 {
		h = fold(h^binary.LittleEndian.Uint64(name[off:]), s[1])
	}
	// One to eight octets are left: one load and a mask, from whichever side name has eight octets to load.
	n := uint(end-off) * 8
	var w uint64
	switch {
	case end >= 8:
		w = binary.LittleEndian.Uint64(name[end-8:]) >> (64 - n)
	case off+8 <= len(name):
		w = binary.LittleEndian.Uint64(name[off:]) & (1<<n - 1)
	default:
		for i := end - 1; i >= off; i-- {
			w = w<<8 | uint64(name[i])
		}
	}
	return fold(h^w, s[1])
}

// fold multiplies to 128 bits and folds the halves together.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// name hashes a whole wire name, whose n labels begin at offs.
func (s seed) name(name []byte, offs *[128]uint8, n int) uint64 {
	h := s[0]
	for d := n - 1; d >= 0; d-- {
		h = s.label(h, name, int(offs[d]), int(offs[d+1]))
	}
	return h
}
