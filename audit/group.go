package audit

// A group is how many of a page's rows have the same numbers in its dictionaries:
// rows are first counted by these, so that a key's octets are looked at once in a
// segment.
type group struct {
	key      rowKey
	row, end uint32 // the earliest of them and the latest
	span
}

// A rowKey has the numbers of a segment's dictionaries for the parts of a key, 0
// for those that it is not made of.
type rowKey struct{ client, name, reason uint32 }

// A grouping makes groups and keeps its memory for the next page.
type grouping struct {
	groups []group
	of     []uint32 // by place in chosen: place in groups
	dense  []uint32 // by number in a dictionary: place in groups, counted from one
	pairs  pairTable
}

// by counts p's chosen rows by the parts of has, and with observed, by what would
// have blocked in place of what decided.
func (g *grouping) by(p *page, has keyParts, observed bool) {
	g.groups, g.of = g.groups[:0], sized(g.of, len(p.chosen))
	times, flags := p.times(), p.flags()
	var client, name, reason []uint32
	if has.client {
		client = p.clients()
	}
	if has.name {
		name = p.asked()
	}
	if has.rule || has.category {
		if reason = p.whys(); observed {
			reason = p.observations()
		}
	}
	if p.err != nil {
		return
	}
	switch {
	case client != nil && name != nil && reason != nil:
		triples := make(map[rowKey]uint32)
		for at, i := range p.chosen {
			k := rowKey{client[i], name[i], reason[i]}
			n := triples[k]
			if n == 0 {
				n = g.begin(k, i)
				triples[k] = n
			}
			g.of[at] = n - 1
			g.groups[n-1].see(i, times[i], flags[i])
		}
	case client != nil && name != nil:
		g.pairs.reset(len(p.chosen))
		for at, i := range p.chosen {
			n := g.pairs.slot(client[i], name[i])
			if *n == 0 {
				*n = g.begin(rowKey{client: client[i], name: name[i]}, i)
			}
			g.of[at] = *n - 1
			g.groups[*n-1].see(i, times[i], flags[i])
		}
	case client != nil:
		g.single(p, client, len(p.addrs), times, flags, func(n uint32) rowKey { return rowKey{client: n} })
	case name != nil:
		g.single(p, name, len(p.names), times, flags, func(n uint32) rowKey { return rowKey{name: n} })
	default:
		g.single(p, reason, len(p.reasons)+1, times, flags, func(n uint32) rowKey { return rowKey{reason: n} })
	}
}

func (g *grouping) single(p *page, numbers []uint32, size int, times []int64, flags []uint8, key func(uint32) rowKey) {
	g.dense = sized(g.dense, size)
	clear(g.dense)
	for at, i := range p.chosen {
		n := g.dense[numbers[i]]
		if n == 0 {
			n = g.begin(key(numbers[i]), i)
			g.dense[numbers[i]] = n
		}
		g.of[at] = n - 1
		g.groups[n-1].see(i, times[i], flags[i])
	}
}

func (g *grouping) begin(k rowKey, row uint32) uint32 {
	g.groups = append(g.groups, group{key: k, row: row})
	return uint32(len(g.groups))
}

// see counts one query. Rows need not be in order of their times.
func (g *group) see(row uint32, at int64, flags uint8) {
	if g.count == 0 || at < g.first {
		g.first, g.row = at, row
	}
	if g.count == 0 || at >= g.last {
		g.last, g.end = at, row
	}
	g.count++
	if flags&flagBlocked != 0 {
		g.blocked++
	}
}

// add counts what another span has.
func (s *span) add(more span) {
	s.count += more.count
	s.blocked += more.blocked
	s.first, s.last = min(s.first, more.first), max(s.last, more.last)
}

// A pairTable has a number for pairs of numbers: open addressing, at most half full.
type pairTable struct {
	keys  []uint64 // the pair plus one, so that 0 is none
	slots []uint32
}

// reset makes it empty, with room for n pairs.
func (t *pairTable) reset(n int) {
	size := 64
	for size < 2*n {
		size *= 2
	}
	t.keys, t.slots = sized(t.keys, size), sized(t.slots, size)
	clear(t.keys)
	clear(t.slots)
}

// slot returns where the pair's number stands; 0 means that it is new.
func (t *pairTable) slot(a, b uint32) *uint32 {
	key := uint64(a)<<32 | uint64(b) + 1
	mask := uint64(len(t.keys) - 1)
	at := key * 0x9e3779b97f4a7c15 >> 40 & mask // bits that all of the pair has to do with
	for t.keys[at] != 0 && t.keys[at] != key {
		at = (at + 1) & mask
	}
	t.keys[at] = key
	return &t.slots[at]
}
