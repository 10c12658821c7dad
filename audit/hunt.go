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
	h, err := newHunter(indicators)
	if err != nil {
		return Hunt{Indicators: len(indicators), Rows: []HuntRow{}}, err
	}
	return r.hunt(ctx, q, h, limit, topKeys, true)
}

// hunt keeps up to most rows. tell says that the index may tell what is in them.
func (r *Reader) hunt(ctx context.Context, q Query, h *hunter, limit, most int, tell bool) (Hunt, error) {
	out := Hunt{Indicators: len(h.scope), Rows: []HuntRow{}}
	census := newCensus(most, topOctets)
	t := newTrail(h)
	s := &sweep{reader: r, filter: queriesOf(q), probe: t.probe, work: t.gather}
	if s.where = r.where(s.filter, t.steps); s.filter.err == nil {
		if err := s.filter.know(r.clientKeys()); err != nil {
			return out, err
		}
		if tell && q.plain() {
			f := s.filter
			sum, err := r.summary(ctx, f, func(run *run) bool { return run.min >= f.since && run.max < f.until })
			if err != nil {
				return out, err
			}
			t.tellOf(sum.runs)
		}
		if err := t.look(ctx, s.where, r.others()); err != nil {
			return out, err
		}
		s.where.all(ctx, r.others())
	}
	t.ready()
	for _, told := range t.told {
		out.Queries += told.queries
		for i, key := range told.keys {
			census.add(key, told.spans[i])
		}
	}
	census.trim()
	err := s.run(ctx, func(p *page) (bool, error) {
		out.Queries += p.prey.queries
		for _, s := range p.prey.found {
			census.add(s.key.append(nil, &p.block), s.span)
		}
		census.trim()
		return false, nil
	})
	if census.dropped > 0 && len(t.told) > 0 && ctx.Err() == nil {
		return r.hunt(ctx, q, h, limit, most, false) // what is dropped depends on the order
	}
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
	told         []*account // of runs with records of the page
	spans        map[preyKey]*preySpan
	found        []*preySpan // those, in the order of their first rows
	queries      uint64
}

type preySpan struct {
	key preyKey
	span
	row uint32 // the last one counted
}

type preyKey struct {
	indicator, client uint32
	on                uint8
	what              uint32 // in names or addresses
}

// A sought is what the dictionaries of a page are looked through for.
type sought struct {
	covering func(dst []uint32, name []byte) []uint32  // appends the indicators of a name; nil: of none
	front    front                                     // of the names that have any
	below    bool                                      // so do those below them
	holding  func(dst []uint32, a netip.Addr) []uint32 // appends those of an address; nil: of none
}

// probe looks the dictionaries through.
func (y *prey) probe(p *page, s *sought) bool {
	*y = prey{}
	var found []uint32
	see := func(i, of int, name []byte) {
		if found = s.covering(found[:0], name); len(found) > 0 {
			if y.names == nil {
				y.names, y.isName = map[uint32][]uint32{}, make([]bool, of)
			}
			y.names[uint32(i)], y.isName[i] = slices.Clone(found), true
		}
	}
	switch {
	case s.covering == nil:
	case p.header.packed:
		if !p.need(p.loadChain) {
			return false
		}
		p.failed(p.shelf.names.may(s, see))
	default:
		for i, name := range p.names {
			see(i, len(p.names), name)
		}
	}
	var addrs []netip.Addr
	if s.holding != nil {
		if !p.need(p.loadAddrs) {
			return false
		}
		addrs = p.addrs
	}
	for i, a := range addrs {
		if found = s.holding(found[:0], a); len(found) > 0 {
			if y.addrs == nil {
				y.addrs, y.isAddr = map[uint32][]uint32{}, make([]bool, len(p.addrs))
			}
			y.addrs[uint32(i)], y.isAddr[i] = slices.Clone(found), true
		}
	}
	if y.names == nil && y.addrs == nil {
		return false
	}
	p.marks.prey = y
	return true
}

// gather counts the rows that have something of it, but for the names of which it was told.
func (y *prey) gather(p *page) {
	y.spans, y.found = map[preyKey]*preySpan{}, nil
	sightOf := p.sights(y.isAddr != nil)
	if p.err != nil {
		return
	}
	kept := p.chosen[:0]
	for at, i := range p.chosen {
		in := sightOf(at)
		any, counted := false, false
		see := func(indicators []uint32, on uint8, what uint32) {
			any = true
			for _, n := range indicators {
				k := preyKey{n, in.client, on, what}
				s := y.spans[k]
				if s == nil {
					s = &preySpan{key: k, span: span{first: in.time, last: in.time}}
					y.spans[k], y.found = s, append(y.found, s)
				} else if s.row == i {
					continue // the same in one answer
				}
				s.count, s.row = s.count+1, i
				s.first, s.last = min(s.first, in.time), max(s.last, in.time)
				if in.blocked {
					s.blocked++
				}
			}
		}
		if y.isName != nil {
			if n := in.name; y.isName[n] {
				p.failed(p.nameThese(n))
				if counted = y.wasTold(p.header.first+uint64(i), p.names[n]); !counted {
					see(y.names[n], OnName, n)
				}
			}
			for _, n := range in.aliases {
				if y.isName[n] {
					p.failed(p.nameThese(n))
					see(y.names[n], OnAlias, n)
				}
			}
		}
		if y.isAddr != nil {
			for _, n := range in.answers {
				if y.isAddr[n] {
					see(y.addrs[n], OnAddress, n)
				}
			}
		}
		if any {
			kept = append(kept, i)
			if !counted {
				y.queries++
			}
		}
	}
	p.chosen = kept
	if p.header.packed {
		clients := p.local[:0]
		for _, s := range y.found {
			clients = append(clients, s.key.client)
		}
		p.local = clients
		p.failed(p.addressThese(clients))
	}
}

// A sight is who came upon what in a query.
type sight struct {
	time             int64
	blocked          bool
	client, name     uint32
	aliases, answers []uint32
}

// sights returns what tells the sight of a chosen row, by its place among them; answers says that it has these.
func (p *page) sights(answers bool) func(at int) sight {
	if p.header.packed {
		return p.packedSights(answers)
	}
	times, flags, clients, names := p.times(), p.flags(), p.clients(), p.asked()
	return func(at int) sight {
		i := p.chosen[at]
		return sight{times[i], flags[i]&flagBlocked != 0, clients[i], names[i], p.alias.of(i), p.addr.of(i)}
	}
}

// packedSights is sights, of a pack, of which it reads what is about these rows alone.
func (p *page) packedSights(answers bool) func(at int) sight {
	s := p.shelf
	if !p.need(p.asking, p.named) || answers && !p.need(p.questions) {
		return nil
	}
	s.pick(p.chosen)
	if !p.need(p.fewTimes, s.fewAskers, func() error { return s.readFew(packFlags, ofQuestion, flagsKnown) }) {
		return nil
	}
	return func(at int) sight {
		asker, question := s.picked[at].in[ofAsker], s.picked[at].in[ofQuestion]
		in := sight{
			time: s.times[at], blocked: s.wide[at]&flagBlocked != 0, client: s.client[asker], name: s.name[question],
			aliases: s.aliases.of(question),
		}
		if answers {
			in.answers = s.answers.of(question)
		}
		return in
	}
}

// append lays out a key of the census: indicator, on, client, what.
func (k preyKey) append(dst []byte, b *block) []byte {
	dst = preyFront(dst, k.indicator, k.on)
	dst = appendAddr(dst, b.addrs[k.client])
	if k.on == OnAddress {
		return append(dst, b.addrs[k.what].AsSlice()...)
	}
	return append(dst, b.names[k.what]...)
}

func preyFront(dst []byte, indicator uint32, on uint8) []byte {
	return append(binary.BigEndian.AppendUint32(dst, indicator), on)
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
