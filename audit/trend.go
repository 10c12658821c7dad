package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"math/bits"
	"time"
)

// maxTrends is of how many rows it is counted when their records came, and
// maxSlots in how many spans of time.
const (
	maxTrends = 1000
	maxSlots  = 1000
)

// slots divides time into equal spans.
type slots struct {
	from, to int64 // nanoseconds since 1970; to is exclusive
	n        int
}

// place returns in which slot a time between from and to is.
func (s slots) place(at int64) int {
	hi, lo := bits.Mul64(uint64(at-s.from), uint64(s.n))
	i, _ := bits.Div64(hi, lo, uint64(s.to-s.from))
	return int(i)
}

// slotsOf makes n slots of the time that f asks for, or where that is open, of that between first and last.
func slotsOf(f *filter, first, last int64, n int) slots {
	s := slots{f.since, f.until, min(max(n, 1), maxSlots)}
	if f.query.Since.IsZero() {
		s.from = first
	}
	if f.query.Until.IsZero() {
		s.to = last + 1
	}
	s.to = max(s.to, s.from+1)
	return s
}

// trend counts when the records of the rows came.
func (t *topper) trend(ctx context.Context, r *Reader, q Query, n int) error {
	rows := make(map[string]uint32, len(t.ranked)) // by key
	first, last := t.census.spans[t.ranked[0]].first, t.census.spans[t.ranked[0]].last
	for at, i := range t.ranked {
		rows[string(t.census.keys.entry(i))] = uint32(at)
		first, last = min(first, t.census.spans[i].first), max(last, t.census.spans[i].last)
		t.top.Over = append(t.top.Over, make([]uint64, min(n, maxSlots)))
	}
	f := queriesOf(q)
	when := slotsOf(f, first, last, n)
	t.top.From, t.top.To = instant(when.from), instant(when.to)
	var key []byte
	begin := func() {
		for i := range t.top.Over {
			clear(t.top.Over[i])
		}
	}
	see := func(c tick) {
		switch {
		case t.has.category:
			key = append(binary.AppendUvarint(key[:0], uint64(len(c.category))), c.category...)
		default:
			key = append(key[:0], c.client...)
		}
		if at, ok := rows[string(key)]; ok {
			t.top.Over[at][c.slot] += c.queries
		}
	}
	work := func(p *page) {
		p.grouping.by(p, t.has, t.top.Observed)
		p.local = p.local[:0] // by group: its row, counted from one
		var key []byte
		for i := range p.grouping.groups {
			key = t.has.appendKey(key[:0], &p.block, p.grouping.groups[i].key)
			at, ok := rows[string(key)]
			if !ok {
				p.local = append(p.local, 0)
				continue
			}
			p.local = append(p.local, at+1)
		}
	}
	each := func(p *page) (bool, error) {
		for k, i := range p.chosen {
			if at := p.local[p.grouping.of[k]]; at != 0 && p.time[i] >= when.from && p.time[i] < when.to {
				t.top.Over[at-1][when.place(p.time[i])]++
			}
		}
		return false, nil
	}
	if t.has != (keyParts{client: true}) && t.has != (keyParts{category: true}) {
		return r.sweep(ctx, f, work, each)
	}
	return r.overTime(ctx, q, when, begin, see, work, each)
}

// A Timeline is how many queries came when.
type Timeline struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Allowed []uint64  `json:"allowed"` // in each of equal spans of that time
	Blocked []uint64  `json:"blocked"`
}

// Timeline counts the queries that q asks for, in n spans of the time from q.Since
// to q.Until, which must be given. It reads as Search does, damage included.
func (r *Reader) Timeline(ctx context.Context, q Query, n int) (Timeline, error) {
	f := queriesOf(q)
	when := slotsOf(f, f.since, f.until-1, n)
	if q.Since.IsZero() || q.Until.IsZero() || f.until <= f.since || n < 1 || n > maxSlots {
		return Timeline{}, errors.New("a timeline is from which time to which, in how many spans?")
	}
	t := Timeline{instant(when.from), instant(when.to), make([]uint64, n), make([]uint64, n)}
	err := r.overTime(ctx, q, when, func() {
		clear(t.Allowed)
		clear(t.Blocked)
	}, func(c tick) {
		if c.blocked {
			t.Blocked[c.slot] += c.queries
		} else {
			t.Allowed[c.slot] += c.queries
		}
	}, func(p *page) {
		p.flags()
		p.times()
	}, func(p *page) (bool, error) {
		for _, i := range p.chosen {
			if at := when.place(p.time[i]); p.flag[i]&flagBlocked != 0 {
				t.Blocked[at]++
			} else {
				t.Allowed[at]++
			}
		}
		return false, nil
	})
	return t, err
}

// Totals is what a store holds.
type Totals struct {
	Received uint64 `json:"received"` // queries: those recorded, lost and excluded
	Recorded uint64 `json:"recorded"`
	Lost     uint64 `json:"lost"`               // by the gaps' count
	Excluded uint64 `json:"excluded,omitempty"` // by changes of that action: those since the last of them are not in it
	Gaps     uint64 `json:"gap_records"`
	Changes  uint64 `json:"changes"`
	First    uint64 `json:"first"` // sequence numbers; 0 when there is none
	Last     uint64 `json:"last"`
}

// Totals counts the records that q asks for, whose Limit and Oldest it leaves
// aside. It reads as Search does, damage included.
func (r *Reader) Totals(ctx context.Context, q Query) (Totals, error) {
	var t Totals
	q.Limit, q.Oldest = 0, false
	err := r.sweep(ctx, newFilter(q), func(p *page) {
		if !p.pure {
			p.whole() // for its gaps
		}
	}, func(p *page) (bool, error) {
		seq := func(i uint32) uint64 { return p.header.first + uint64(i) }
		if t.First = seq(p.chosen[0]); t.Last == 0 {
			t.Last = seq(p.chosen[len(p.chosen)-1])
		}
		if p.pure {
			t.Recorded += uint64(len(p.chosen))
			return false, nil
		}
		for _, i := range p.chosen {
			switch p.kind[i] {
			case KindQuery:
				t.Recorded++
			case KindChange:
				t.Changes++
				c := p.changes[p.rows[i].extra]
				if p.text(c.action) == ActionExcluded {
					n, _ := parseExcluded(p.text(c.text))
					t.Excluded += n.Sum()
				}
			case KindGap:
				t.Gaps++
				t.Lost += p.gaps[p.rows[i].extra].lost
			}
		}
		return false, nil
	})
	t.Received = t.Recorded + t.Lost + t.Excluded
	return t, err
}
