package audit

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// An addrDict numbers distinct addresses of one segment, as a dict does octet strings.
type addrDict struct {
	seed  [2]uint64 // so that nobody can choose addresses that get in each other's way
	addrs []addrKey
	laid  []byte // the entries, each with its length in front
	slots []slot // a power of two of them, at most half in use
}

// An addrKey is an address: its octets, of a short one the last, and how many they are.
type addrKey struct{ high, low, size uint64 }

func newAddrDict() addrDict {
	return addrDict{seed: [2]uint64{rand.Uint64(), rand.Uint64()}, slots: make([]slot, 64)}
}

func (d *addrDict) reset() {
	d.addrs, d.laid = d.addrs[:0], d.laid[:0]
	clear(d.slots)
}

// ref returns how a column refers to the address of these octets, as dict.ref does.
func (d *addrDict) ref(octets []byte) uint64 {
	var k addrKey
	switch len(octets) {
	case 4:
		k = addrKey{low: uint64(binary.BigEndian.Uint32(octets)), size: 4}
	case 16:
		k = addrKey{binary.BigEndian.Uint64(octets), binary.BigEndian.Uint64(octets[8:]), 16}
	}
	high, low := bits.Mul64(k.low^d.seed[0], k.high^k.size<<56^d.seed[1])
	h := uint32(high ^ low)
	mask := uint32(len(d.slots) - 1)
	at := h & mask
	for ; d.slots[at].number != 0; at = (at + 1) & mask {
		if s := d.slots[at]; s.hash == h && d.addrs[s.number-1] == k {
			return uint64(s.number)
		}
	}
	d.addrs = append(d.addrs, k)
	d.laid = append(append(d.laid, byte(k.size)), octets[:k.size]...)
	d.slots[at] = slot{h, uint32(len(d.addrs))}
	if 2*len(d.addrs) > len(d.slots) {
		d.slots = twice(d.slots)
	}
	return 0
}

// append appends the dictionary as dict.append does.
func (d *addrDict) append(b []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(d.addrs))), d.laid...)
}
