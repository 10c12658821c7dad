package audit

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
)

// An addrDict numbers distinct addresses of one segment, as a dict does octet strings.
type addrDict struct {
	seed  [2]uint64 // so that nobody can choose addresses that get in each other's way
	addrs []addrKey
	laid  []byte   // the entries, each with its length in front
	slots []uint32 // number plus one; a power of two of them, at most half in use
}

// An addrKey is an address: its octets, of a short one the last, and how many they are.
type addrKey struct{ high, low, size uint64 }

func newAddrDict() addrDict {
	return addrDict{seed: [2]uint64{rand.Uint64(), rand.Uint64()}, slots: make([]uint32, 64)}
}

func (d *addrDict) reset() {
	d.addrs, d.laid = d.addrs[:0], d.laid[:0]
	clear(d.slots)
}

// ref returns how a column refers to a, as dict.ref does. A zone is dropped.
func (d *addrDict) ref(a netip.Addr) uint64 {
	k := addrKey{size: uint64(a.BitLen() / 8)}
	if octets := a.As16(); k.size > 0 {
		k.high, k.low = binary.BigEndian.Uint64(octets[:]), binary.BigEndian.Uint64(octets[8:])
	}
	s := d.find(&k)
	if *s != 0 {
		return uint64(*s)
	}
	d.addrs = append(d.addrs, k)
	d.laid = appendAddr(d.laid, a)
	*s = uint32(len(d.addrs))
	if 2*len(d.addrs) > len(d.slots) {
		d.grow()
	}
	return 0
}

// find returns the slot of k, or the free one that is to be.
func (d *addrDict) find(k *addrKey) *uint32 {
	high, low := bits.Mul64(k.low^d.seed[0], k.high^k.size<<56^d.seed[1])
	mask := uint64(len(d.slots) - 1)
	for at := (high ^ low) & mask; ; at = (at + 1) & mask {
		s := &d.slots[at]
		if *s == 0 || d.addrs[*s-1] == *k {
			return s
		}
	}
}

func (d *addrDict) grow() {
	d.slots = make([]uint32, 2*len(d.slots))
	for i := range d.addrs {
		*d.find(&d.addrs[i]) = uint32(i) + 1
	}
}

// append appends the dictionary as dict.append does.
func (d *addrDict) append(b []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(d.addrs))), d.laid...)
}
