package audit

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"sort"
	"time"
)

// hourly says that q's conditions are such that the cells of clients tell of them.
func (q *Query) hourly() bool {
	rest := *q
	rest.Client, rest.Category, rest.Verdict = netip.Prefix{}, "", ""
	return rest.plain()
}

// A tick is some queries that the index counts together, all of one slot of time.
type tick struct {
	client   []byte // its key
	category string
	slot     int
	blocked  bool
	queries  uint64
}

// overTime counts the queries that q asks for in slots of time. Hours that lie in one slot
// are taken from the index, as far as it has them, and told to see; the rest are swept,
// with work and each as sweep has them. An error of the index begins anew, with begin.
func (r *Reader) overTime(ctx context.Context, q Query, when slots, begin func(), see func(tick), work func(*page), each func(*page) (bool, error)) error {
	for {
		begin()
		f := queriesOf(q)
		if err := cmp.Or(f.err, f.know(r.clientKeys())); err != nil {
			return err
		}
		s := summary{rest: []interval{{max(f.query.SeqFrom, 1), f.seqTo()}}}
		if q.hourly() {
			var err error
			if s, err = r.summary(ctx, f, func(*run) bool { return true }); err != nil {
				return err
			}
		}
		damaged := false
		for _, run := range s.runs {
			if err := run.ticks(r.unpacker, f, when, see); err != nil {
				run.bad.Store(true) // the keeper makes it again
				damaged = true
				break
			}
		}
		if damaged {
			continue
		}
		errs := r.sweepRest(ctx, q, s.rest, work, each)
		for i := len(s.runs) - 1; i >= 0 && goesOn(ctx, errs); i-- {
			run := s.runs[i]
			q := q
			q.SeqFrom, q.SeqTo = run.first, run.last
			f := queriesOf(q)
			if f.parts = when.split(max(run.min, f.since), min(run.max, f.until-1)); len(f.parts) > 0 {
				errs = errors.Join(errs, r.sweep(ctx, f, work, each))
			}
		}
		return errs
	}
}

// goesOn says that a question that met err is not at its end.
func goesOn(ctx context.Context, err error) bool {
	var damage *DamageError
	return ctx.Err() == nil && (err == nil || errors.As(err, &damage))
}

// whole says in which slot all of an hour lies.
func (s slots) whole(hour int64) (slot int, ok bool) {
	const hourLong = int64(time.Hour)
	if hour < s.from/hourLong || hour >= s.to/hourLong { // before it is multiplied
		return 0, false
	}
	from, to := hour*hourLong, hour*hourLong+hourLong-1
	if from < s.from || to >= s.to {
		return 0, false
	}
	slot = s.place(from)
	return slot, s.place(to) == slot
}

// A stretch is some time, to exclusive.
type stretch struct{ from, to int64 }

// within says that a time between from and to, which may be equal, is in one of parts,
// which are in order.
func within(parts []stretch, from, to int64) bool {
	i := sort.Search(len(parts), func(i int) bool { return parts[i].to > from })
	return i < len(parts) && parts[i].from <= to
}

// split returns the time from from to to, that in it, of hours that do not lie in one slot.
func (s slots) split(from, to int64) (parts []stretch) {
	from, to = max(from, s.from), min(to, s.to-1)
	if from > to {
		return nil
	}
	for hour := floorHour(from); hour <= floorHour(to); hour++ {
		if _, ok := s.whole(hour); ok {
			continue
		}
		p := stretch{max(from, hour*int64(time.Hour)), min(to, hour*int64(time.Hour)+int64(time.Hour)-1) + 1}
		if n := len(parts) - 1; n >= 0 && parts[n].to == p.from {
			parts[n].to = p.to
		} else {
			parts = append(parts, p)
		}
	}
	return parts
}

// ticks calls see with what the run counted of f's queries in hours that lie in one slot.
func (r *run) ticks(u *unpacker, f *filter, when slots, see func(tick)) error {
	in, err := r.reader(u)
	if err != nil {
		return err
	}
	defer in.close()
	var k runValue
	for in.begin(byClient, nil); in.step(byClient); {
		if f.query.Client.IsValid() && !f.asks(addressOf(in.key)) {
			continue
		}
		if err := in.value(byClient, &k); err != nil {
			return err
		}
		hour, slot, ok := int64(0), 0, false
		for i, c := range k.cells {
			if i == 0 || c.hour != hour {
				hour = c.hour
				slot, ok = when.whole(hour)
			}
			if !ok {
				continue
			}
			t := tick{client: in.key, slot: slot, blocked: c.kind&1 != 0, queries: c.queries}
			if n := c.kind >> 1; n > 0 {
				t.category = r.categories[n-1]
			}
			if f.query.Category != "" && t.category != f.query.Category || f.query.Verdict != "" && t.blocked != (f.query.Verdict == "block") {
				continue
			}
			see(t)
		}
	}
	return in.err
}
