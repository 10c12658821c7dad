package audit

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
)

// For how much a run is closed that is gathered from segments. Records that are in
// no run yet are searched themselves, so it is small; runs are merged later.
const (
	gatherOctets     = 32 << 20
	gatherCategories = 1 << 15
)

// runSizes say how large runs are.
type runSizes struct {
	step     uint64 // sequence numbers in a step
	records  int    // for which a run is closed that is gathered
	segments int    // likewise
	width    int    // how many runs of a kind, next to each other, become one
	most     uint64 // records of such a one
}

var defaultSizes = runSizes{step: 4096, records: 1 << 18, segments: 256, width: 8, most: 1 << 25}

// A gatherer makes a run of segments that follow each other.
type gatherer struct {
	runHead
	sizes             runSizes
	records, segments int

	clients, names, aliases, addrs dict
	ofClient, ofName               []span
	firstClient                    []uint32 // by name
	clientSteps, nameSteps         stepPairs
	aliasSteps, addrSteps          stepPairs
	asked                          pairCounts   // of a name and a client
	cells                          []clientCell // of the hours before
	hour                           int64        // the cells of which are in hourly
	hourly                         pairCounts   // of a client and a kind
	categories                     []string
	categoryOf                     map[string]uint32 // counted from one
	stepTimes                      []int64

	local struct{ clients, names, aliases, addrs, kinds []uint32 } // by number in the segment, counted from one
	key   []byte
}

// A clientCell is one of a client's cells.
type clientCell struct {
	client uint32
	cell
}

func newGatherer(sizes runSizes) *gatherer {
	g := &gatherer{sizes: sizes, clients: newDict(), names: newDict(), aliases: newDict(), addrs: newDict()}
	g.reset()
	return g
}

func (g *gatherer) reset() {
	g.runHead = runHead{step: g.sizes.step, min: math.MaxInt64, max: math.MinInt64}
	g.records, g.segments = 0, 0
	for _, d := range []*dict{&g.clients, &g.names, &g.aliases, &g.addrs} {
		d.reset()
	}
	for _, p := range []*stepPairs{&g.clientSteps, &g.nameSteps, &g.aliasSteps, &g.addrSteps} {
		p.newest, p.pairs = p.newest[:0], p.pairs[:0]
	}
	g.asked.reset()
	g.hourly.reset()
	g.ofClient, g.ofName, g.firstClient, g.stepTimes = g.ofClient[:0], g.ofName[:0], g.firstClient[:0], g.stepTimes[:0]
	g.cells, g.categories, g.categoryOf = g.cells[:0], nil, make(map[string]uint32)
}

// full says that it is time to write.
func (g *gatherer) full() bool {
	return g.records >= g.sizes.records || g.segments >= g.sizes.segments || len(g.categories) >= gatherCategories ||
		len(g.names.arena)+len(g.aliases.arena)+len(g.addrs.arena)+len(g.clients.arena) >= gatherOctets
}

// add takes a page's records with sequence numbers from from to to, which lie in it
// and follow those before. After an error, which is the page's, nothing is taken.
func (g *gatherer) add(p *page, from, to uint64) error {
	kinds, times, flags, asked, clients, whys := p.kinds(), p.times(), p.flags(), p.asked(), p.clients(), p.whys()
	if p.err != nil {
		return p.err
	}
	for _, name := range p.names {
		if len(name) > maxName {
			return fmt.Errorf("it holds a name of %d octets", len(name))
		}
	}
	l := &g.local
	for _, of := range []struct {
		numbers *[]uint32
		size    int
	}{{&l.clients, len(p.addrs)}, {&l.addrs, len(p.addrs)}, {&l.names, len(p.names)}, {&l.aliases, len(p.names)}, {&l.kinds, len(p.reasons) + 1}} {
		*of.numbers = sized(*of.numbers, of.size)
		clear(*of.numbers)
	}
	if g.records == 0 {
		g.first, g.firstTime = from, times[from-p.header.first]
	}
	g.last, g.lastTime = to, times[to-p.header.first]
	g.records += int(to - from + 1)
	g.segments++
	for seq := from; seq <= to; seq++ {
		i := uint32(seq - p.header.first)
		at := times[i]
		g.min, g.max = min(g.min, at), max(g.max, at)
		step := uint32(seq/g.step - g.base())
		if int(step) == len(g.stepTimes) {
			g.stepTimes = append(g.stepTimes, at)
		}
		g.stepTimes[step] = min(g.stepTimes[step], at)
		if kinds[i] != KindQuery {
			continue
		}
		c := g.client(p, clients[i])
		n := g.name(p, asked[i])
		blocked := flags[i]&flagBlocked != 0
		g.ofClient[c].see(at, blocked)
		if s := &g.ofName[n]; s.count == 0 || at < s.first {
			g.firstClient[n] = c
		}
		g.ofName[n].see(at, blocked)
		g.clientSteps.add(c, step)
		g.nameSteps.add(n, step)
		g.asked.add(n, c)
		if hour := floorHour(at); hour != g.hour {
			g.closeHour()
			g.hour = hour
		}
		g.hourly.add(c, g.kind(p, whys[i], blocked))
		for _, a := range p.alias.of(i) {
			g.aliasSteps.add(numberIn(&g.aliases, &l.aliases[a], p.names[a]), step)
		}
		for _, a := range p.addr.of(i) {
			if l.addrs[a] == 0 {
				g.key = appendAddr(g.key[:0], p.addrs[a])
			}
			g.addrSteps.add(numberIn(&g.addrs, &l.addrs[a], g.key), step)
		}
	}
	return nil
}

// numberIn returns the number in d of what has *local in the segment.
func numberIn(d *dict, local *uint32, v []byte) uint32 {
	if *local == 0 {
		n, _ := d.number(v)
		*local = n + 1
	}
	return *local - 1
}

func (g *gatherer) client(p *page, n uint32) uint32 {
	if g.local.clients[n] == 0 {
		g.key = appendAddr(g.key[:0], p.addrs[n])
	}
	c := numberIn(&g.clients, &g.local.clients[n], g.key)
	if int(c) == len(g.ofClient) {
		g.ofClient = append(g.ofClient, span{})
	}
	return c
}

func (g *gatherer) name(p *page, n uint32) uint32 {
	c := numberIn(&g.names, &g.local.names[n], p.names[n])
	if int(c) == len(g.ofName) {
		g.ofName, g.firstClient = append(g.ofName, span{}), append(g.firstClient, 0)
	}
	return c
}

// kind is that of a cell.
func (g *gatherer) kind(p *page, why uint32, blocked bool) uint32 {
	k := &g.local.kinds[why]
	if *k == 0 {
		n := uint32(0)
		if text := p.reason(why).Category; text != "" {
			var ok bool
			if n, ok = g.categoryOf[text]; !ok {
				g.categories = append(g.categories, text)
				n = uint32(len(g.categories))
				g.categoryOf[text] = n
			}
		}
		*k = n + 1
	}
	kind := (*k - 1) << 1
	if blocked {
		kind |= 1
	}
	return kind
}

// see counts one query.
func (s *span) see(at int64, blocked bool) {
	if s.count == 0 {
		s.first, s.last = at, at
	}
	s.count++
	s.first, s.last = min(s.first, at), max(s.last, at)
	if blocked {
		s.blocked++
	}
}

// floorHour returns the hour of a time before or after 1970.
func floorHour(at int64) int64 {
	hour := at / int64(time.Hour)
	if at%int64(time.Hour) < 0 {
		hour--
	}
	return hour
}

// closeHour puts the counts of the hour with those of hours before.
func (g *gatherer) closeHour() {
	for i, pair := range g.hourly.pairs {
		g.cells = append(g.cells, clientCell{uint32(pair >> 32), cell{g.hour, uint32(pair), g.hourly.counts[i]}})
	}
	g.hourly.reset()
}

// write writes the run.
func (g *gatherer) write(dir string, turn func() error) (*run, error) {
	w, err := newRunWriter(dir, g.runHead, g.categories, g.stepTimes, zstd.SpeedFastest, turn)
	if err != nil {
		return nil, err
	}
	clients := inOrder(&g.clients, nil)
	place := ranks(clients)
	g.closeHour()
	cells := inRank(g.cells, place, func(c clientCell) uint32 { return c.client })
	var k runValue
	steps := g.clientSteps.sorted(place)
	for i, c := range clients {
		k.span, k.steps = g.ofClient[c.number], steps.take(uint32(i), k.steps)
		k.cells = k.cells[:0]
		for ; len(cells) > 0 && cells[0].client == c.number; cells = cells[1:] {
			k.cells = append(k.cells, cells[0].cell)
		}
		k.cells = tidy(k.cells)
		w.add(byClient, c.key, &k)
	}
	names := inOrder(&g.names, appendReversed)
	rank := ranks(names)
	steps = g.nameSteps.sorted(rank)
	asked := pairRun{rankPairs(g.asked.pairs, rank)}
	for i, n := range names {
		k.span, k.steps = g.ofName[n.number], steps.take(uint32(i), k.steps)
		k.clients = asked.take(uint32(i), k.clients)
		for j, c := range k.clients {
			k.clients[j] = place[c]
		}
		slices.Sort(k.clients)
		k.firstClient = place[g.firstClient[n.number]]
		w.add(byAsked, n.key, &k)
	}
	for _, of := range []struct {
		section uint8
		dict    *dict
		key     func(dst, v []byte) []byte
		steps   *stepPairs
	}{{byAlias, &g.aliases, appendReversed, &g.aliasSteps}, {byAddress, &g.addrs, nil, &g.addrSteps}} {
		keys := inOrder(of.dict, of.key)
		steps := of.steps.sorted(ranks(keys))
		for i, n := range keys {
			k.steps = steps.take(uint32(i), k.steps)
			w.add(of.section, n.key, &k)
		}
	}
	return w.finish()
}

type ordered struct {
	key    []byte
	number uint32
}

// inOrder returns the entries of d in order of their keys, which key makes of them.
func inOrder(d *dict, key func(dst, v []byte) []byte) []ordered {
	out := make([]ordered, len(d.ends))
	arena := make([]byte, 0, len(d.arena)+len(d.ends))
	for i := range out {
		v := d.entry(uint32(i))
		if key != nil {
			start := len(arena)
			arena = key(arena, v)
			v = arena[start:]
		}
		out[i] = ordered{v, uint32(i)}
	}
	slices.SortFunc(out, func(a, b ordered) int { return bytes.Compare(a.key, b.key) })
	return out
}

// ranks returns the places in the order by number.
func ranks(in []ordered) []uint32 {
	out := make([]uint32, len(in))
	for i, o := range in {
		out[o.number] = uint32(i)
	}
	return out
}

// stepPairs are pairs of a number and a step in which it comes. Steps come in order.
type stepPairs struct {
	newest []uint32 // by number: the step after the last, so that 0 is none
	pairs  []uint64
}

func (s *stepPairs) add(n, step uint32) {
	for int(n) >= len(s.newest) {
		s.newest = append(s.newest, 0)
	}
	if s.newest[n] != step+1 {
		s.newest[n] = step + 1
		s.pairs = append(s.pairs, uint64(n)<<32|uint64(step))
	}
}

func (s *stepPairs) sorted(rank []uint32) *pairRun { return &pairRun{rankPairs(s.pairs, rank)} }

// rankPairs returns pairs in order of rank of their first number, which takes its
// place; those of one rank stay as they are.
func rankPairs(pairs []uint64, rank []uint32) []uint64 {
	out := inRank(pairs, rank, func(p uint64) uint32 { return uint32(p >> 32) })
	for i, p := range out {
		out[i] = uint64(rank[p>>32])<<32 | p&math.MaxUint32
	}
	return out
}

// inRank returns a copy of values in order of the rank of their numbers.
func inRank[T any](values []T, rank []uint32, number func(T) uint32) []T {
	ends := make([]uint32, len(rank)+1)
	for _, v := range values {
		ends[rank[number(v)]+1]++
	}
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	out := make([]T, len(values))
	for _, v := range values {
		n := &ends[rank[number(v)]]
		out[*n] = v
		*n++
	}
	return out
}

// A pairRun hands out pairs that are in order.
type pairRun struct{ pairs []uint64 }

// take returns the b of all pairs with that a, which are the next, in dst's memory.
func (r *pairRun) take(a uint32, dst []uint32) []uint32 {
	dst = dst[:0]
	for len(r.pairs) > 0 && uint32(r.pairs[0]>>32) == a {
		dst = append(dst, uint32(r.pairs[0]))
		r.pairs = r.pairs[1:]
	}
	return dst
}

// pairCounts counts pairs of numbers.
type pairCounts struct {
	table  pairTable
	pairs  []uint64
	counts []uint64
}

func (s *pairCounts) reset() {
	s.pairs, s.counts = s.pairs[:0], s.counts[:0]
	s.table.reset(1 << 10)
}

func (s *pairCounts) add(a, b uint32) {
	if 2*len(s.pairs) >= len(s.table.keys) {
		s.table.reset(len(s.table.keys))
		for i, p := range s.pairs {
			*s.table.slot(uint32(p>>32), uint32(p)) = uint32(i) + 1
		}
	}
	n := s.table.slot(a, b)
	if *n == 0 {
		s.pairs, s.counts = append(s.pairs, uint64(a)<<32|uint64(b)), append(s.counts, 0)
		*n = uint32(len(s.pairs))
	}
	s.counts[*n-1]++
}
