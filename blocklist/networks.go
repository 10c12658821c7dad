package blocklist

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// network is one entry of a list for addresses in answers: the list holds those of prefix, or, with exception, does not.
type network struct {
	list      int
	prefix    netip.Prefix
	exception bool
}

// networks knows which lists hold an address. It is immutable and safe for concurrent use.
//
// Within one list the longest prefix that covers an address counts alone, and the exception where a list has both. What
// that comes to is worked out once for each prefix, so an address takes one lookup, of the longest prefix of any list.
type networks struct {
	table  bart.Table[uint32] // per prefix the set for the addresses of which it is the longest
	start  []uint32           // per set its first covering; one more than there are sets
	covers []covering
}

// covering says that a list holds an address, and how long the prefix is by which it does.
type covering struct {
	list uint32
	bits uint8
}

// newNetworks builds the table; the order of entries does not matter. The error is about a list's number or a prefix.
func newNetworks(entries []network) (*networks, error) {
	n := &networks{start: []uint32{0, 0}} // set 0 is empty
	entries = slices.Clone(entries)
	for i := range entries {
		e := &entries[i]
		prefix, ok := unmapped(e.prefix)
		if !ok || e.list < 0 || e.list >= maxLists {
			return nil, fmt.Errorf("network %s of list %d cannot be held", e.prefix, e.list)
		}
		e.prefix = prefix
	}
	// Shorter prefixes come before those within them, and of one list the exception first.
	slices.SortFunc(entries, func(a, b network) int {
		return cmp.Or(
			cmp.Compare(a.prefix.Bits(), b.prefix.Bits()), a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.list, b.list),
			cmp.Compare(bit(b.exception), bit(a.exception)),
		)
	})
	sets := map[string]uint32{"": 0}
	var set []covering
	var key []byte
	for len(entries) > 0 {
		prefix := entries[0].prefix
		own := entries
		if end := slices.IndexFunc(entries, func(e network) bool { return e.prefix != prefix }); end >= 0 {
			own = entries[:end]
		}
		entries = entries[len(own):]

		set = n.resolve(set[:0], own)
		key = key[:0]
		for _, c := range set {
			key = append(binary.LittleEndian.AppendUint32(key, c.list), c.bits)
		}
		number, ok := sets[string(key)]
		if !ok {
			number = uint32(n.len())
			n.covers = append(n.covers, set...)
			n.start = append(n.start, uint32(len(n.covers)))
			sets[string(key)] = number
		}
		n.table.Insert(prefix, number)
	}
	return n, nil
}

// resolve appends the set of the prefix of own, which are all entries with it: those, and what the next shorter prefix
// has of other lists.
func (n *networks) resolve(set []covering, own []network) []covering {
	prefix := own[0].prefix
	for i, e := range own {
		if !e.exception && (i == 0 || own[i-1].list != e.list) {
			set = append(set, covering{uint32(e.list), uint8(prefix.Bits())})
		}
	}
	wider, _ := n.table.LookupPrefix(prefix)
	for _, c := range n.of(wider) {
		_, overruled := slices.BinarySearchFunc(own, int(c.list), func(e network, list int) int { return cmp.Compare(e.list, list) })
		if !overruled {
			set = append(set, c)
		}
	}
	return set
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// find returns the number of the set of lists that hold addr, 0 when none does. An IPv4 address in IPv6 form is the
// IPv4 address. It does not allocate.
func (n *networks) find(addr netip.Addr) uint32 {
	set, _ := n.table.Lookup(addr.Unmap())
	return set
}

// of returns the lists of a set, those with the longer prefix first, and then in order of their numbers.
func (n *networks) of(set uint32) []covering { return n.covers[n.start[set]:n.start[set+1]] }

// len returns the number of sets; it is 1 when no list holds any address.
func (n *networks) len() int { return len(n.start) - 1 }

// bits returns how long the prefix is by which a list holds the addresses of a set.
func (n *networks) bits(set, list uint32) uint8 {
	for _, by := range n.of(set) {
		if by.list == list {
			return by.bits
		}
	}
	return 0
}

// blocks are the blocks of addresses, those of the same first 16 bits, in which something is held: most addresses are of
// others, and need not be looked up.
type blocks struct{ v4, v6 [1 << 10]uint64 }

// add takes in the blocks of a prefix, which is unmapped.
func (b *blocks) add(prefix netip.Prefix) {
	in, at := b.of(prefix.Addr())
	for end := at + 1<<max(0, 16-prefix.Bits()); at < end; at++ {
		in[at>>6] |= 1 << (at & 63)
	}
}

// has says whether something may be held of the address.
func (b *blocks) has(addr netip.Addr) bool {
	in, at := b.of(addr)
	return in[at>>6]>>(at&63)&1 != 0
}

// of returns the number of the block of an address, and where its bit is. Two octets are quicker read one by one than from
// a copy of all.
func (b *blocks) of(addr netip.Addr) (in *[1 << 10]uint64, number uint) {
	if addr.Is4() || addr.Is4In6() {
		return &b.v4, uint(addr.As4()[0])<<8 | uint(addr.As4()[1])
	}
	return &b.v6, uint(addr.As16()[0])<<8 | uint(addr.As16()[1])
}
