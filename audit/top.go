package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A Dimension is what Top counts records by.
type Dimension string

// The dimensions. A rule, and a category, is that of the verdict; where Query.Observed
// is set, that which would have blocked.
const (
	ByName     Dimension = "names"
	ByClient   Dimension = "clients"
	ByPair     Dimension = "pairs" // client and name; where Query.Observed is set, and the rule
	ByRule     Dimension = "rules" // policy, rule, category and list
	ByCategory Dimension = "categories"
)

// Dimensions returns all that there are.
func Dimensions() []Dimension { return []Dimension{ByName, ByClient, ByPair, ByRule, ByCategory} }

// Top says which keys of a dimension have the most records.
type Top struct {
	By       Dimension `json:"by"`
	Observed bool      `json:"observed,omitempty"` // rules are those that would have blocked
	Records  uint64    `json:"records"`            // queries that were asked for
	Keys     uint64    `json:"keys"`               // distinct ones that were counted to the end: all of them if Dropped is 0
	Rows     []TopRow  `json:"rows"`               // most records first; of equal ones, the latest first
	Others   uint64    `json:"others"`             // records that are in no row

	Over [][]uint64 `json:"over,omitempty"` // for each row, how many of its records came in each of equal spans of time
	From time.Time  `json:"from,omitzero"`  // where the first of these begins
	To   time.Time  `json:"to,omitzero"`    // where the last ends

	Dropped uint64 `json:"dropped,omitempty"` // of those, how many were counted for keys that then had to be dropped
	Missed  uint64 `json:"missed,omitempty"`  // a dropped key has at most so many records
}

// A TopRow is one key and how many records have it. What the dimension does not
// have is empty, and so is what the records do not have: a name where the packet
// held no question, a rule where none decided.
type TopRow struct {
	Count  uint64 `json:"count"`
	Missed uint64 `json:"missed,omitempty"` // at most so many more, from when the key had been dropped

	Client   Client `json:"client,omitzero"`
	Name     string `json:"name,omitempty"`
	Policy   string `json:"policy,omitempty"`
	Rule     string `json:"rule,omitempty"`
	Category string `json:"category,omitempty"`
	List     string `json:"list,omitempty"`

	First time.Time `json:"first"` // times of the earliest and the latest record that Count has
	Last  time.Time `json:"last"`
}

// Top counts the queries that q asks for, whose Limit and Oldest it leaves aside,
// and returns the limit keys that have the most; 0 is all. It reads as Search
// does, damage included, and with an error returns what was counted until then.
//
// Up to a million distinct keys the counts are exact. When there are more, or
// when they take more than 128 MiB, the rarer half of those so far is dropped, as
// often as it takes; Top.Dropped, Top.Missed and TopRow.Missed then say what can be
// amiss. Names made up at random can so not crowd out what is asked for often.
//
// With slots, each row also has its counts over as many equal spans of the time
// asked for, or where that is open, of the time in which the rows are. It takes
// reading the store twice, and is left out of more than a thousand rows.
func (r *Reader) Top(ctx context.Context, q Query, by Dimension, limit, slots int) (Top, error) {
	t := &topper{top: Top{By: by, Observed: q.Observed, Rows: []TopRow{}}, census: newCensus(topKeys, topOctets)}
	switch by {
	case ByName:
		t.has.name = true
	case ByClient:
		t.has.client = true
	case ByPair:
		t.has.client, t.has.name, t.has.rule = true, true, q.Observed
	case ByRule:
		t.has.rule = true
	case ByCategory:
		t.has.category = true
	default:
		return t.top, fmt.Errorf("nothing is counted by %q", by)
	}
	err := t.count(ctx, r, q)
	t.rank(limit)
	var damage *DamageError
	if slots > 0 && len(t.top.Rows) > 0 && len(t.top.Rows) <= maxTrends && (err == nil || errors.As(err, &damage)) && ctx.Err() == nil {
		if terr := t.trend(ctx, r, q, slots); terr != nil && err == nil {
			err = terr
		}
	}
	return t.top, err
}

// A topper is the state of Top.
type topper struct {
	top    Top
	has    keyParts
	census *census
	key    []byte
	ranked []uint32 // in the census, the keys of the rows
}

// keyParts says what a key is made of.
type keyParts struct{ client, name, rule, category bool }

// count counts all keys, of clients and names by the index as far as it has them.
func (t *topper) count(ctx context.Context, r *Reader, q Query) error {
	if t.has != (keyParts{client: true}) && t.has != (keyParts{name: true}) {
		return r.sweep(ctx, queriesOf(q), t.gather, t.merge)
	}
	return r.summed(ctx, q, counting{
		begin: func() { t.census, t.top.Records = newCensus(t.census.maxKeys, t.census.maxOctets), 0 },
		work:  t.gather,
		each:  t.merge,
		run: func(run *run) error {
			if t.has.client {
				return run.eachClient(ctx, r.unpacker, func(key []byte, k *runValue) error { return t.sum(key, k) })
			}
			return run.eachName(ctx, r.unpacker, func(name []byte, k *runValue) error {
				t.key = append(binary.AppendUvarint(t.key[:0], uint64(len(name))), name...)
				return t.sum(t.key, k)
			})
		},
		full: func() bool { return t.census.missed > 0 },
	})
}

// sum adds what a run has of a key.
func (t *topper) sum(key []byte, k *runValue) error {
	t.census.add(key, k.span)
	t.top.Records += k.count
	t.census.trim()
	if t.census.missed > 0 {
		return errTooMany
	}
	return nil
}

// gather counts the page's rows by their numbers.
func (t *topper) gather(p *page) { p.grouping.by(p, t.has, t.top.Observed) }

// merge adds what gather counted.
func (t *topper) merge(p *page) (done bool, err error) {
	for i := range p.grouping.groups {
		g := &p.grouping.groups[i]
		t.key = t.has.appendKey(t.key[:0], &p.block, g.key)
		t.census.add(t.key, g.span)
		t.top.Records += g.count
	}
	t.census.trim()
	return false, nil
}

// appendKey appends the octets of k, each part behind its length.
func (has keyParts) appendKey(dst []byte, b *block, k rowKey) []byte {
	if has.client {
		dst = appendAddr(dst, b.addrs[k.client])
	}
	if has.name {
		dst = binary.AppendUvarint(dst, uint64(len(b.names[k.name])))
		dst = append(dst, b.names[k.name]...)
	}
	if has.rule || has.category {
		why := b.reason(k.reason)
		texts := []string{why.Policy, why.Rule, why.Category, why.List}
		if !has.rule {
			texts = texts[2:3]
		}
		for _, s := range texts {
			dst = binary.AppendUvarint(dst, uint64(len(s)))
			dst = append(dst, s...)
		}
	}
	return dst
}

// row is the reverse of appendKey.
func (has keyParts) row(key []byte) (r TopRow) {
	c := cursor{b: key}
	if has.client {
		r.Client.kept, _ = netip.AddrFromSlice(c.bytes())
	}
	if has.name {
		r.Name = nameString(c.bytes())
	}
	if has.rule {
		r.Policy, r.Rule = string(c.bytes()), string(c.bytes())
	}
	if has.rule || has.category {
		r.Category = string(c.bytes())
	}
	if has.rule {
		r.List = string(c.bytes())
	}
	return r
}

// rank puts the keys with the most records in t.top.
func (t *topper) rank(limit int) {
	c := t.census
	t.top.Keys, t.top.Dropped, t.top.Missed = uint64(len(c.spans)), c.dropped, c.missed
	t.top.Others = t.top.Records
	t.ranked = c.most(limit)
	for _, i := range t.ranked {
		s, row := &c.spans[i], t.has.row(c.keys.entry(i))
		row.Count, row.Missed, row.First, row.Last = s.count, s.missed, instant(s.first), instant(s.last)
		t.top.Rows = append(t.top.Rows, row)
		t.top.Others -= s.count
	}
}

const (
	topKeys   = 1_000_000
	topOctets = 128 << 20
)

// A census counts how often keys come, in bounded memory. When there are too many
// it drops the rarer half: those for which the count, and what may have been missed
// of it before they were last taken up, make the least together. The largest such
// sum is what may have been missed of any key that is new from then on. This is
// lossy counting (Manku and Motwani, 2002) with the memory given, not the error.
type census struct {
	maxKeys, maxOctets int

	keys    dict
	spans   []span // by number of the key
	dropped uint64 // counts of keys that were dropped
	missed  uint64 // at most this many are a dropped key's
}

// A span is the count of one key, how many of those were blocked, and the times of its first and last record.
type span struct {
	count, blocked, missed uint64
	first, last            int64
}

func newCensus(maxKeys, maxOctets int) *census {
	return &census{maxKeys: maxKeys, maxOctets: maxOctets, keys: newDict()}
}

// add counts a key. Call trim now and then.
func (c *census) add(key []byte, s span) {
	i, fresh := c.keys.number(key)
	if fresh {
		s.missed = c.missed
		c.spans = append(c.spans, s)
		return
	}
	c.spans[i].add(s)
}

// trim makes room if there is too little.
func (c *census) trim() {
	for len(c.spans) > c.maxKeys || len(c.keys.arena) > c.maxOctets {
		c.drop()
	}
}

// drop drops the rarer half, of an odd number the larger one.
func (c *census) drop() {
	sums := make([]uint64, len(c.spans))
	for i, s := range c.spans {
		sums[i] = s.count + s.missed
	}
	slices.Sort(sums)
	half := (len(sums) + 1) / 2
	c.missed = sums[half-1]
	below, _ := slices.BinarySearch(sums, c.missed)
	ties := half - below // how many of those with just that sum go too
	kept := c.spans[:0]
	c.keys.keep(func(i uint32) bool {
		s := c.spans[i]
		sum := s.count + s.missed
		if sum == c.missed {
			ties--
		}
		if sum < c.missed || sum == c.missed && ties >= 0 {
			c.dropped += s.count
			return false
		}
		kept = append(kept, s)
		return true
	})
	c.spans = kept
}

// most returns the numbers of the limit keys that came most often, the most
// frequent first; of equal ones that which came last. 0 is all.
func (c *census) most(limit int) []uint32 {
	var least uint64
	if limit > 0 && limit < len(c.spans) { // else sorting by key would take longest for those that come once
		counts := make([]uint64, len(c.spans))
		for i, s := range c.spans {
			counts[i] = s.count
		}
		slices.Sort(counts)
		least = counts[len(counts)-limit]
	}
	var found []uint32
	for i, s := range c.spans {
		if s.count >= least {
			found = append(found, uint32(i))
		}
	}
	slices.SortFunc(found, func(a, b uint32) int {
		x, y := &c.spans[a], &c.spans[b]
		switch {
		case x.count != y.count:
			return cmp.Compare(y.count, x.count)
		case x.last != y.last:
			return cmp.Compare(y.last, x.last)
		}
		return bytes.Compare(c.keys.entry(a), c.keys.entry(b))
	})
	if limit > 0 {
		found = found[:min(limit, len(found))]
	}
	return found
}
