package audit

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// An addrDict numbers distinct addresses of one segment, as a dict does octet strings.
type addrDict struct {
	seed  [2]uint64 // so that nobody can choose addresses that get in each other's way
	laid  []byte    // the entries, each with its length in front
	count uint32    // of them

	// Tables of a power of two of slots, at most half in use.
	four  []slot // addresses of four octets, each the hash of itself
	fours int
	other []slot
	long  []longAddr // what others there are
}

// A longAddr is an address that is not of four octets: 16, or none.
type longAddr struct {
	high, low, size uint64
	number          uint32
}

func newAddrDict() addrDict {
	return addrDict{seed: [2]uint64{rand.Uint64(), rand.Uint64() | 1}, four: make([]slot, 64), other: make([]slot, 64)}
}

func (d *addrDict) reset() {
	d.laid, d.count, d.fours, d.long = d.laid[:0], 0, 0, d.long[:0]
	clear(d.four)
	clear(d.other)
}

// ref returns how a column refers to the address of these octets, as dict.ref does.
func (d *addrDict) ref(octets []byte) uint64 {
	if len(octets) == 4 {
		return d.refFour(octets)
	}
	return d.refOther(octets)
}

// placeFour is where to look for an address first, but for the bits that are too many.
func (d *addrDict) placeFour(a uint32) uint32 {
	return uint32((uint64(a) ^ d.seed[0]) * d.seed[1] >> 32)
}

func (d *addrDict) refFour(octets []byte) uint64 {
	a := binary.BigEndian.Uint32(octets)
	mask := uint32(len(d.four) - 1)
	at := d.placeFour(a) & mask
	for ; d.four[at].number != 0; at = (at + 1) & mask {
		if s := d.four[at]; s.hash == a {
			return uint64(s.number)
		}
	}
	d.four[at] = slot{a, d.lay(octets)}
	if d.fours++; 2*d.fours > len(d.four) {
		d.four = twice(d.four, d.placeFour)
	}
	return 0
}

func (d *addrDict) refOther(octets []byte) uint64 {
	var k longAddr
	if len(octets) == 16 {
		k = longAddr{high: binary.BigEndian.Uint64(octets), low: binary.BigEndian.Uint64(octets[8:]), size: 16}
	}
	high, low := bits.Mul64(k.low^d.seed[0], k.high^k.size<<56^d.seed[1])
	h := uint32(high ^ low)
	mask := uint32(len(d.other) - 1)
	at := h & mask
	for ; d.other[at].number != 0; at = (at + 1) & mask {
		if s := d.other[at]; s.hash == h {
			if l := &d.long[s.number-1]; l.high == k.high && l.low == k.low && l.size == k.size {
				return uint64(l.number)
			}
		}
	}
	k.number = d.lay(octets[:k.size])
	d.long = append(d.long, k)
	d.other[at] = slot{h, uint32(len(d.long))}
	if 2*len(d.long) > len(d.other) {
		d.other = twice(d.other, itself)
	}
	return 0
}

// lay takes an entry and returns its number, counted from one.
func (d *addrDict) lay(octets []byte) uint32 {
	d.laid = append(append(d.laid, byte(len(octets))), octets...)
	d.count++
	return d.count
}

// append appends the dictionary as dict.append does.
func (d *addrDict) append(b []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(d.count)), d.laid...)
}

// A slot is an entry's hash and its number plus one; 0 is a free slot.
type slot struct{ hash, number uint32 }

// itself is where entries stand whose hash says that.
func itself(hash uint32) uint32 { return hash }

// twice returns a table of twice as many slots that holds what all holds. place says where an
// entry with a hash belongs, but for the bits that are too many.
func twice(all []slot, place func(hash uint32) uint32) []slot {
	more := make([]slot, 2*len(all))
	mask := uint32(len(more) - 1)
	for _, s := range all {
		if s.number == 0 {
			continue
		}
		at := place(s.hash) & mask
		for more[at].number != 0 {
			at = (at + 1) & mask
		}
		more[at] = s
	}
	return more
}
