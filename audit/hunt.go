package audit

import (
	"cmp"
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
)

// MaxIndicators is how many indicators one hunt takes.
const MaxIndicators = 100_000

// An Indicator is what a hunt looks for: a name or a network.
type Indicator struct {
	Name    []byte       `json:"name,omitempty"`   // wire name; letters in either case
	Scope   uint8        `json:"scope,omitempty"`  // ScopeSelf, ScopeBelow or both
	Network netip.Prefix `json:"network,omitzero"` // of addresses in answers; Name is then empty
}

// A Hunt tells which indicators stand in queries.
type Hunt struct {
	Indicators int       `json:"indicators"`        // looked for
	Found      int       `json:"found"`             // of those, seen in one query or more
	Queries    uint64    `json:"queries"`           // with any of them
	Rows       []HuntRow `json:"rows"`              // in the indicators' order; of each, most queries first
	More       uint64    `json:"more,omitempty"`    // rows beyond the limit
	Dropped    uint64    `json:"dropped,omitempty"` // sightings in rows that had to be dropped; Found does not count them
}

// A HuntRow is who came upon which indicator by what.
type HuntRow struct {
	Indicator int    `json:"indicator"` // its place, from 0
	Client    Client `json:"client,omitzero"`
	On        string `json:"on"`   // what it was found as: name, alias, address
	What      string `json:"what"` // the name or the address
	Sighting
}

// Hunt looks for indicators in the names asked for and in the aliases and
// addresses of answers, in the queries that q asks for, and returns limit of the
// rows; 0 is all. Up to a million rows it is exact; beyond, the rarer ones are
// dropped as by Top. It reads as Search does, damage included, and what holds
// none of the indicators costs no more than its dictionaries.
func (r *Reader) Hunt(ctx context.Context, q Query, indicators []Indicator, limit int) (Hunt, error) {
	out := Hunt{Indicators: len(indicators), Rows: []HuntRow{}}
	h, err := newHunter(indicators)
	if err != nil {
		return out, err
	}
	census := newCensus(topKeys, topOctets)
	t := &trail{hunter: h, names: make(map[string][]uint32), addrs: make(map[netip.Addr][]uint32)}
	s := &sweep{reader: r, filter: queriesOf(q), probe: t.probe, work: h.gather}
	if s.where = r.where(s.filter, t.steps); s.filter.err == nil {
		if err := s.filter.know(r.clientKeys()); err != nil {
			return out, err
		}
		s.where.all(ctx)
	}
	err = s.run(ctx, func(p *page) (bool, error) {
		out.Queries += p.prey.queries
		for k, s := range p.prey.spans {
			census.add(k.append(nil, &p.block), s.span)
		}
		census.trim()
		return false, nil
	})
	out.Dropped = census.dropped
	found := make([]uint32, len(census.spans))
	for i := range found {
		found[i] = uint32(i)
	}
	slices.SortFunc(found, func(a, b uint32) int {
		x, y := census.keys.entry(a), census.keys.entry(b)
		return cmp.Or(cmp.Compare(binary.BigEndian.Uint32(x), binary.BigEndian.Uint32(y)),
			cmp.Compare(census.spans[b].count, census.spans[a].count),
			cmp.Compare(census.spans[b].last, census.spans[a].last), slices.Compare(x, y))
	})
	last := -1
	for _, i := range found {
		if n := int(binary.BigEndian.Uint32(census.keys.entry(i))); n != last {
			out.Found++
			last = n
		}
	}
	shown := upTo(limit, found)
	out.More = uint64(len(found) - len(shown))
	for _, i := range shown {
		row := preyRow(census.keys.entry(i))
		row.Sighting = census.spans[i].sighting()
		out.Rows = append(out.Rows, row)
	}
	return out, err
}

// prey is what a hunter found in a page.
type prey struct {
	names, addrs map[uint32][]uint32 // by number in the dictionary: indicators
	isName       []bool              // by number: names has it
	isAddr       []bool
	spans        map[preyKey]*preySpan
	queries      uint64
}

type preySpan struct {
	span
	row uint32 // the last one counted
}

type preyKey struct {
	indicator, client uint32
	on                uint8
	what              uint32 // in names or addresses
}

// probe looks the dictionaries through.
func (h *hunter) probe(p *page) bool { return p.prey.probe(p, h.covering, h.holding) }

func (y *prey) probe(p *page, covering func(dst []uint32, name []byte) []uint32, holding func(dst []uint32, a netip.Addr) []uint32) bool {
	if *y = (prey{}); !p.need(p.loadNames, p.loadAddrs) {
		return false
	}
	var found []uint32
	for i, name := range p.names {
		if found = covering(found[:0], name); len(found) > 0 {
			if y.names == nil {
				y.names, y.isName = map[uint32][]uint32{}, make([]bool, len(p.names))
			}
			y.names[uint32(i)], y.isName[i] = slices.Clone(found), true
		}
	}
	for i, a := range p.addrs {
		if found = holding(found[:0], a); len(found) > 0 {
			if y.addrs == nil {
				y.addrs, y.isAddr = map[uint32][]uint32{}, make([]bool, len(p.addrs))
			}
			y.addrs[uint32(i)], y.isAddr[i] = slices.Clone(found), true
		}
	}
	return y.names != nil || y.addrs != nil
}

// gather counts the rows that have something of it.
func (h *hunter) gather(p *page) {
	y := &p.prey
	y.spans = map[preyKey]*preySpan{}
	times, flags, clients, names := p.times(), p.flags(), p.clients(), p.asked()
	if p.err != nil {
		return
	}
	kept := p.chosen[:0]
	for _, i := range p.chosen {
		any := false
		see := func(indicators []uint32, on uint8, what uint32) {
			any = true
			for _, n := range indicators {
				k := preyKey{n, clients[i], on, what}
				s := y.spans[k]
				if s == nil {
					s = &preySpan{span: span{first: times[i], last: times[i]}}
					y.spans[k] = s
				} else if s.row == i {
					continue // the same in one answer
				}
				s.count, s.row = s.count+1, i
				s.first, s.last = min(s.first, times[i]), max(s.last, times[i])
				if flags[i]&flagBlocked != 0 {
					s.blocked++
				}
			}
		}
		if y.isName != nil {
			if n := names[i]; y.isName[n] {
				see(y.names[n], OnName, n)
			}
			for _, n := range p.alias.of(i) {
				if y.isName[n] {
					see(y.names[n], OnAlias, n)
				}
			}
		}
		if y.isAddr != nil {
			for _, n := range p.addr.of(i) {
				if y.isAddr[n] {
					see(y.addrs[n], OnAddress, n)
				}
			}
		}
		if any {
			y.queries++
			kept = append(kept, i)
		}
	}
	p.chosen = kept
}

// append lays out a key of the census: indicator, on, client, what.
func (k preyKey) append(dst []byte, b *block) []byte {
	dst = binary.BigEndian.AppendUint32(dst, k.indicator)
	dst = append(dst, k.on)
	dst = appendAddr(dst, b.addrs[k.client])
	if k.on == OnAddress {
		return append(dst, b.addrs[k.what].AsSlice()...)
	}
	return append(dst, b.names[k.what]...)
}

// preyRow is the reverse of append.
func preyRow(key []byte) HuntRow {
	row := HuntRow{Indicator: int(binary.BigEndian.Uint32(key)), On: word(matches[:], key[4])}
	c := cursor{b: key[5:]}
	row.Client.kept, _ = netip.AddrFromSlice(c.bytes())
	if key[4] == OnAddress {
		a, _ := netip.AddrFromSlice(c.b)
		row.What = a.String()
	} else {
		row.What = nameString(c.b)
	}
	return row
}
