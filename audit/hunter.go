package audit

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
)

// A hunter knows the indicators. It is not changed once it is made.
type hunter struct {
	names  map[string][]uint32 // by wire name: the indicators of that name
	scope  []uint8             // by indicator
	front  front               // hashes of the names; most names stop here
	ladder ladder              // of the names

	addrs     map[netip.Prefix][]uint32
	bits      []int     // lengths of the prefixes, of IPv4 and, from 1000 on, of IPv6
	addrFront front     // hashes of the prefixes
	ranges    keyRanges // of the networks
}

// A front says of a hash that it is not there, or that it may be: a bit for each,
// and sixteen times as many bits as hashes, so that it stays in the processor's cache.
type front []uint64

func newFront(n int) front {
	size := 1024
	for size < 16*n {
		size *= 2
	}
	return make(front, size/64)
}

func (f front) add(hash uint32)      { f[f.word(hash)] |= 1 << (hash & 63) }
func (f front) may(hash uint32) bool { return f[f.word(hash)]>>(hash&63)&1 != 0 }

func (f front) word(hash uint32) uint32 { return hash >> 6 & uint32(len(f)-1) }

func newHunter(indicators []Indicator) (*hunter, error) {
	if len(indicators) > MaxIndicators {
		return nil, fmt.Errorf("%d indicators are too many, %d are the most", len(indicators), MaxIndicators)
	}
	h := &hunter{
		names: map[string][]uint32{}, scope: make([]uint8, len(indicators)),
		addrs: map[netip.Prefix][]uint32{},
	}
	networks := 0
	for i := range indicators {
		if indicators[i].Network.IsValid() {
			networks++
		}
	}
	h.front, h.addrFront = newFront(len(indicators)-networks), newFront(networks)
	for i, ind := range indicators {
		h.scope[i] = ind.Scope
		if n := ind.Network; n.IsValid() {
			n = n.Masked()
			h.addrs[n] = append(h.addrs[n], uint32(i))
			h.addrFront.add(prefixHash(n.Addr(), n.Bits()))
			bits := n.Bits()
			if n.Addr().Is6() {
				bits += 1000
			}
			if !slices.Contains(h.bits, bits) {
				h.bits = append(h.bits, bits)
			}
			continue
		}
		name := lower(ind.Name)
		if !wireName(name) || ind.Scope == 0 || ind.Scope > ScopeSelf|ScopeBelow {
			return nil, fmt.Errorf("indicator %d is neither a name nor a network", i+1)
		}
		h.names[string(name)] = append(h.names[string(name)], uint32(i))
		h.front.add(suffixHash(name[:len(name)-1]))
	}
	h.ladder, h.ranges = newLadder(h.names), newKeyRanges(h.addrs)
	return h, nil
}

// wireName says that the octets are one wire name and nothing else.
func wireName(name []byte) bool {
	at := 0
	for at < len(name) && name[at] != 0 {
		if name[at] > 63 {
			return false
		}
		at += 1 + int(name[at])
	}
	return at == len(name)-1 && len(name) <= 255
}

// suffixHash hashes a name without its root from its end, so that the hashes of
// all its parents come on the way.
func suffixHash(name []byte) uint32 {
	var room [maxName]int
	starts, _ := labelsOf(append(name[:len(name):len(name)], 0), room[:0])
	h, end := uint64(hashBegin), len(name)
	for i := len(starts) - 1; i >= 0; i-- {
		h = onto(h, labelHash(name[starts[i]:end]))
		end = starts[i]
	}
	return fold(h)
}

const (
	hashBegin = 0xcbf29ce484222325
	hashPrime = 0x9e3779b97f4a7c15
)

// onto is the hash of a label before an end, by those of both.
func onto(end, label uint64) uint64 { return (bits.RotateLeft64(end, 29) ^ label) * hashPrime }

// labelHash hashes a label, with its length before it.
func labelHash(label []byte) (h uint64) {
	le, n := binary.LittleEndian, len(label)
	for rest := label; len(rest) > 8; rest = rest[8:] {
		h = (h ^ le.Uint64(rest)) * hashPrime
		h ^= h >> 29
	}
	var last uint64
	switch {
	case n >= 8:
		last = le.Uint64(label[n-8:])
	case n >= 4:
		last = uint64(le.Uint32(label)) | uint64(le.Uint32(label[n-4:]))<<32
	case n > 0:
		last = uint64(label[0]) | uint64(label[n/2])<<8 | uint64(label[n-1])<<16
	}
	return (h ^ last) * hashPrime
}

// fold mixes all of a hash into 32 bits.
func fold(h uint64) uint32 { return uint32(h * hashPrime >> 32) }

// covering appends the indicators that cover the wire name.
func (h *hunter) covering(dst []uint32, name []byte) []uint32 {
	if len(h.names) == 0 {
		return dst
	}
	var starts [128]uint8
	n, at := 0, 0
	for at < len(name) && name[at] != 0 {
		if name[at] > 63 || n == len(starts) || at > 254 {
			return dst
		}
		starts[n] = uint8(at)
		n++
		at += 1 + int(name[at])
	}
	if at != len(name)-1 { // no wire name
		return dst
	}
	hash := uint64(hashBegin)
	dst = h.under(dst, fold(hash), name, at)
	for n--; n >= 0; n-- {
		start := int(starts[n])
		hash = onto(hash, labelHash(name[start:at]))
		at = start
		dst = h.under(dst, fold(hash), name, start)
	}
	return dst
}

// under appends the indicators of the suffix that cover the name.
func (h *hunter) under(dst []uint32, hash uint32, name []byte, from int) []uint32 {
	if !h.front.may(hash) {
		return dst
	}
	scope := ScopeBelow
	if from == 0 {
		scope = ScopeSelf
	}
	for _, i := range h.names[string(name[from:])] {
		if h.scope[i]&scope != 0 {
			dst = append(dst, i)
		}
	}
	return dst
}

// holding appends the indicators of the networks that an address is in.
func (h *hunter) holding(dst []uint32, a netip.Addr) []uint32 {
	a = a.Unmap()
	for _, bits := range h.bits {
		if a.Is6() {
			bits -= 1000
		}
		if bits < 0 || bits > a.BitLen() {
			continue
		}
		if !h.addrFront.may(prefixHash(a, bits)) {
			continue
		}
		if p, err := a.Prefix(bits); err == nil {
			dst = append(dst, h.addrs[p]...)
		}
	}
	return dst
}

// prefixHash hashes the first so many bits of an address.
func prefixHash(a netip.Addr, bits int) uint32 {
	if a.Is4() {
		bits += 96
	}
	b := a.As16()
	hi, lo := binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])
	if bits < 64 {
		hi, lo = hi&^(^uint64(0)>>bits), 0
	} else if bits < 128 {
		lo &^= ^uint64(0) >> (bits - 64)
	}
	h := (hi*hashPrime ^ lo + uint64(bits)) * 0xd6e8feb86659fd93
	return uint32(h >> 32)
}
