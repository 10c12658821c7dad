package audit

import (
	"fmt"
	"net/netip"
	"slices"
)

// A hunter knows the indicators. It is not changed once it is made.
type hunter struct {
	names map[string][]uint32 // by wire name: the indicators of that name
	scope []uint8             // by indicator
	front []uint64            // a bit for each hash of a name; most names stop here

	addrs map[netip.Prefix][]uint32
	bits  []int // lengths of the prefixes, of IPv4 and, from 1000 on, of IPv6
}

const frontBits = 22

func newHunter(indicators []Indicator) (*hunter, error) {
	if len(indicators) > MaxIndicators {
		return nil, fmt.Errorf("%d indicators are too many, %d are the most", len(indicators), MaxIndicators)
	}
	h := &hunter{
		names: map[string][]uint32{}, scope: make([]uint8, len(indicators)),
		front: make([]uint64, 1<<frontBits/64), addrs: map[netip.Prefix][]uint32{},
	}
	for i, ind := range indicators {
		h.scope[i] = ind.Scope
		if n := ind.Network; n.IsValid() {
			n = n.Masked()
			h.addrs[n] = append(h.addrs[n], uint32(i))
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
		hash := suffixHash(name[:len(name)-1])
		h.front[hash>>6] |= 1 << (hash & 63)
	}
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
	h := uint64(hashBegin)
	for i := len(name) - 1; i >= 0; i-- {
		h = (h ^ uint64(name[i])) * hashPrime
	}
	return fold(h)
}

const (
	hashBegin = 0xcbf29ce484222325 // FNV-1a
	hashPrime = 0x100000001b3
)

func fold(h uint64) uint32 { return uint32((h ^ h>>32) * 0x9e3779b1 & (1<<frontBits - 1)) }

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
		for at--; at >= start; at-- {
			hash = (hash ^ uint64(name[at])) * hashPrime
		}
		at = start
		dst = h.under(dst, fold(hash), name, start)
	}
	return dst
}

// under appends the indicators of the suffix that cover the name.
func (h *hunter) under(dst []uint32, hash uint32, name []byte, from int) []uint32 {
	if h.front[hash>>6]>>(hash&63)&1 == 0 {
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

func (h *hunter) holding(dst []uint32, a netip.Addr) []uint32 {
	a = a.Unmap()
	for _, bits := range h.bits {
		if a.Is6() {
			bits -= 1000
		}
		if bits >= 0 && bits <= a.BitLen() {
			if p, err := a.Prefix(bits); err == nil {
				dst = append(dst, h.addrs[p]...)
			}
		}
	}
	return dst
}
