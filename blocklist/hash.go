package blocklist

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// seed keys the hash of names, so that nobody who writes names can aim at one slot of a table. Matchers of one seed
// agree on the hash of each name.
type seed struct{ root, key uint64 }

func randomSeed() seed {
	return seed{rand.Uint64(), rand.Uint64() | 1}
}

// label extends the hash of a parent by one label: name[off:end], its length octet included, end being where the
// parent's labels begin. The root's hash is s.root. It takes eight octets per step.
func (s seed) label(parent uint64, name []byte, off, end int) uint64 {
	for ; end-off > 8; off += 8 {
		parent = fold(parent^binary.LittleEndian.Uint64(name[off:]), s.key)
	}
	return fold(parent^upTo(name, off, end), s.key)
}

// upTo returns one to eight octets, name[off:end]: one load and a mask, from whichever side name has eight octets to load.
func upTo(name []byte, off, end int) (w uint64) {
	n := uint(end-off) * 8
	switch {
	case end >= 8:
		return binary.LittleEndian.Uint64(name[end-8:]) >> ((64 - n) & 63)
	case off+8 <= len(name):
		return binary.LittleEndian.Uint64(name[off:]) & (1<<(n&63) - 1)
	}
	for i := end - 1; i >= off; i-- {
		w = w<<8 | uint64(name[i])
	}
	return w
}

// fold multiplies to 128 bits and folds the halves together.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// suffixes writes the hashes of the suffixes of name that begin at offs[at-1] and before, h being that of the one at
// offs[at]. It is label over and over, but calls nothing, which takes a tenth off a decision.
func (s seed) suffixes(h uint64, name []byte, offs *[128]uint8, at int, hashes []uint64) {
	end := int(offs[at&127])
	for i := range hashes {
		at--
		begin := int(offs[at&127])
		off := begin
		for ; end-off > 8; off += 8 {
			h = fold(h^binary.LittleEndian.Uint64(name[off:]), s.key)
		}
		h = fold(h^upTo(name, off, end), s.key)
		hashes[i], end = h, begin
	}
}

// name hashes a whole wire name, whose n labels begin at offs.
func (s seed) name(name []byte, offs *[128]uint8, n int) uint64 {
	h := s.root
	for d := n - 1; d >= 0; d-- {
		h = s.label(h, name, int(offs[d]), int(offs[d+1]))
	}
	return h
}
