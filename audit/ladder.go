package audit

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"sort"
)

// A ladder has the names that are hunted for in the form and the order of a run's keys, so that a
// run is held against all of them by going through both once, and only those blocks of it are
// unpacked in which one may be.
type ladder []rung

type rung struct {
	key        []byte
	indicators []uint32
	up         int // the longest of the others with which its key begins; -1 is none
	least      int // octets of the shortest with which it begins, be it its own
}

func newLadder(names map[string][]uint32) ladder {
	l := make(ladder, 0, len(names))
	for name, indicators := range names {
		l = append(l, rung{key: appendReversed(nil, []byte(name)), indicators: indicators})
	}
	slices.SortFunc(l, func(a, b rung) int { return bytes.Compare(a.key, b.key) })
	for i := range l {
		up := i - 1
		for up >= 0 && !bytes.HasPrefix(l[i].key, l[up].key) {
			up = l[up].up
		}
		if l[i].up, l[i].least = up, len(l[i].key); up >= 0 {
			l[i].least = l[up].least
		}
	}
	return l
}

// A climb goes up a ladder beside keys that come in order.
type climb struct {
	ladder
	at    int // the last rung up to the key; -1 before the first
	below int // octets that it shares with the key
	above int // octets that the next rung shares with it; -1 if there is none
}

func (l ladder) climb() climb { return climb{ladder: l, at: -1} }

// next goes on to a key, of which so many octets are those of the one before.
func (c *climb) next(key []byte, shared int) {
	switch {
	case shared > c.above: // then it is before the next rung as that one was
		c.below = min(c.below, shared)
	default:
		c.to(key)
	}
}

// to goes on to a key, whatever the one before.
func (c *climb) to(key []byte) {
	from, n := c.at+1, 1 // all rungs before from are up to the key
	for from+n <= len(c.ladder) && bytes.Compare(c.ladder[from+n-1].key, key) <= 0 {
		from += n
		n *= 2
	}
	n = min(n, len(c.ladder)-from)
	c.at = from + sort.Search(n, func(i int) bool { return bytes.Compare(c.ladder[from+i].key, key) > 0 }) - 1
	if c.below, c.above = 0, -1; c.at >= 0 {
		c.below = commonOctets(c.ladder[c.at].key, key)
	}
	if c.at+1 < len(c.ladder) {
		c.above = commonOctets(c.ladder[c.at+1].key, key)
	}
}

func commonOctets(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// covered says that the key is a rung or begins with one: that is then one of those that the
// rung before it begins with.
func (c *climb) covered() bool { return c.at >= 0 && c.ladder[c.at].least <= c.below }

// covering appends the indicators that cover the key, the shortest first.
func (c *climb) covering(dst []uint32, scope []uint8, key []byte) []uint32 {
	if !c.covered() {
		return dst
	}
	return c.from(dst, c.at, scope, len(key))
}

func (c *climb) from(dst []uint32, at int, scope []uint8, octets int) []uint32 {
	g := &c.ladder[at]
	if g.up >= 0 {
		dst = c.from(dst, g.up, scope, octets)
	}
	want := ScopeBelow
	switch {
	case len(g.key) > c.below:
		return dst
	case len(g.key) == octets:
		want = ScopeSelf
	}
	for _, n := range g.indicators {
		if scope[n]&want != 0 {
			dst = append(dst, n)
		}
	}
	return dst
}

// blocks returns those of a run's blocks, all of one section of names, that have a key which is
// covered or may be.
func (l ladder) blocks(r *run, section uint8) (wanted []int) {
	c := l.climb()
	for i := r.sections[section]; i < r.sections[section+1]; i++ {
		c.to(r.blocks[i].key)
		next := c.at + 1
		if c.covered() || next < len(l) && (i+1 == r.sections[section+1] || bytes.Compare(l[next].key, r.blocks[i+1].key) < 0) {
			wanted = append(wanted, i)
		}
	}
	return wanted
}

// keyRanges are ranges of keys of addresses, in order, none of which touches another.
type keyRanges [][2][]byte

// newKeyRanges returns the keys of the addresses that the networks have. An IPv4 address stands
// for itself in IPv6, too.
func newKeyRanges(networks map[netip.Prefix][]uint32) keyRanges {
	var all keyRanges
	for p := range networks {
		low, high := addressRange(p)
		if all = append(all, [2][]byte{low, high}); p.Addr().Is4() {
			low, high = addressRange(netip.PrefixFrom(netip.AddrFrom16(p.Addr().As16()), 96+p.Bits()))
			all = append(all, [2][]byte{low, high})
		}
	}
	slices.SortFunc(all, func(a, b [2][]byte) int { return cmp.Or(bytes.Compare(a[0], b[0]), bytes.Compare(a[1], b[1])) })
	kept := all[:0]
	for _, next := range all {
		if n := len(kept) - 1; n >= 0 && bytes.Compare(next[0], kept[n][1]) <= 0 {
			if bytes.Compare(next[1], kept[n][1]) > 0 {
				kept[n][1] = next[1]
			}
			continue
		}
		kept = append(kept, next)
	}
	return kept
}

// blocks returns those of a run's blocks that may have a key in a range.
func (k keyRanges) blocks(r *run) (wanted []int) {
	for i := r.sections[byAddress]; i < r.sections[byAddress+1]; i++ {
		n := sort.Search(len(k), func(n int) bool { return bytes.Compare(k[n][1], r.blocks[i].key) >= 0 })
		if n < len(k) && (i+1 == r.sections[byAddress+1] || bytes.Compare(k[n][0], r.blocks[i+1].key) < 0) {
			wanted = append(wanted, i)
		}
	}
	return wanted
}
