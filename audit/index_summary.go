package audit

import (
	"context"
	"errors"
	"net/netip"
	"slices"
)

// A summary is what of a question's records runs can sum up, and the rest, of which
// the segments have to be read.
type summary struct {
	runs []*run
	rest []interval
}

// plain says that q asks for all queries of some time or some sequence numbers.
func (q *Query) plain() bool { return !q.wantsQueries() && q.Kind == 0 }

// summary returns the runs that fit, whose records the store has all, and f's sequence
// numbers too. Its other conditions are the caller's.
func (r *Reader) summary(ctx context.Context, f *filter, fit func(*run) bool) (summary, error) {
	whole := interval{max(f.query.SeqFrom, 1), f.seqTo()}
	out := summary{rest: []interval{whole}}
	runs := r.runs()
	if len(runs) == 0 {
		return out, nil
	}
	there, err := r.there(ctx)
	if err != nil {
		return out, err
	}
	next := whole.first
	out.rest = out.rest[:0]
	for _, run := range runs {
		for len(there) > 0 && there[0].last < run.first {
			there = there[1:]
		}
		if run.bad.Load() || run.first < next || run.last > whole.last || !fit(run) ||
			len(there) == 0 || there[0].first > run.first || there[0].last < run.last {
			continue
		}
		if run.first > next {
			out.rest = append(out.rest, interval{next, run.first - 1})
		}
		out.runs = append(out.runs, run)
		next = run.last + 1
	}
	if next <= whole.last {
		out.rest = append(out.rest, interval{next, whole.last})
	}
	return out, nil
}

// there returns the sequence numbers of the records that the store has, in order.
func (r *Reader) there(ctx context.Context) ([]interval, error) {
	var (
		p   page
		out []interval // the newest first
		at  = newest
	)
	see := func(h *header) bool {
		if n := len(out) - 1; n >= 0 && h.last()+1 == out[n].first {
			out[n].first = h.first
		} else {
			out = append(out, interval{h.first, h.last()})
		}
		return false
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		st, err := r.store()
		if err != nil {
			return nil, err
		}
		// What comes back has a header that cannot be read, and so is not there.
		key, ok, err := r.previous(st, at, see, &p)
		if err != nil {
			var on bool
			if at, on = st.beyond(err, false); !on {
				var damage *DamageError
				if errors.As(err, &damage) {
					break // of the first file
				}
				return nil, err
			}
			continue
		}
		if !ok {
			break
		}
		at = key
	}
	slices.Reverse(out)
	return out, nil
}

// A counting is how a question counts, by runs and by the segments of the rest.
type counting struct {
	begin func()                             // forget what was counted so far
	run   func(*run) error                   // counts a run; the error is the run's, or that of ctx
	work  func(*page)                        // as of a sweep
	each  func(*page) (done bool, err error) // as of a sweep; it is never done
	full  func() bool                        // something could not be counted for want of memory
}

// summed counts the queries that q asks for. When memory does not suffice it begins
// again without the index, for then it matters in which order things come.
func (r *Reader) summed(ctx context.Context, q Query, c counting) error {
	for {
		c.begin()
		f := queriesOf(q)
		s, err := r.summary(ctx, f, func(run *run) bool { return q.plain() && run.min >= f.since && run.max < f.until })
		if err != nil {
			return err
		}
		for _, run := range s.runs {
			if err = c.run(run); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if errors.Is(err, errTooMany) {
					c.begin()
					return r.sweep(ctx, f, c.work, c.each)
				}
				run.bad.Store(true) // the keeper makes it again
				break
			}
		}
		if err != nil {
			continue // without that one
		}
		if err = r.sweepRest(ctx, q, s.rest, c.work, c.each); len(s.runs) > 0 && c.full() && ctx.Err() == nil {
			c.begin()
			return r.sweep(ctx, queriesOf(q), c.work, c.each)
		}
		return err
	}
}

// sweepRest is like sweep, of records in some intervals alone.
func (r *Reader) sweepRest(ctx context.Context, q Query, rest []interval, work func(*page), each func(*page) (done bool, err error)) error {
	var errs error
	for i := len(rest) - 1; i >= 0; i-- { // as ever, the newest first
		q.SeqFrom, q.SeqTo = rest[i].first, rest[i].last
		if err := r.sweep(ctx, queriesOf(q), work, each); err != nil {
			var damage *DamageError
			if errs = errors.Join(errs, err); ctx.Err() != nil || !errors.As(err, &damage) {
				return errs
			}
		}
	}
	return errs
}

// eachName calls see with every name asked for in a run, in wire form and for the
// length of the call.
func (r *run) eachName(ctx context.Context, u *unpacker, see func(name []byte, k *runValue) error) error {
	in, err := r.reader(u)
	if err != nil {
		return err
	}
	defer in.close()
	var (
		k    runValue
		name []byte
	)
	n := 0
	for in.begin(byAsked, nil); in.step(byAsked); n++ {
		if err := in.value(byAsked, &k); err != nil {
			return err
		}
		name = appendForward(name[:0], in.key)
		if err := see(name, &k); err != nil {
			return err
		}
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return in.err
}

// addressOf is the address whose key this is.
func addressOf(key []byte) netip.Addr {
	if len(key) == 0 {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(key[1:])
	return a
}

// eachClient calls see with every client of a run, by its key, likewise.
func (r *run) eachClient(ctx context.Context, u *unpacker, see func(key []byte, k *runValue) error) error {
	in, err := r.reader(u)
	if err != nil {
		return err
	}
	defer in.close()
	var k runValue
	for in.begin(byClient, nil); in.step(byClient); {
		if err := in.value(byClient, &k); err != nil {
			return err
		}
		if err := see(in.key, &k); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return in.err
}

// clients returns the addresses of the run's clients by their numbers, as keys.
func (r *run) clients(u *unpacker) (keys [][]byte, err error) {
	in, err := r.reader(u)
	if err != nil {
		return nil, err
	}
	defer in.close()
	for in.begin(byClient, nil); in.step(byClient); {
		if len(in.key) == 0 {
			return nil, errNoClient
		}
		keys = append(keys, slices.Clone(in.key))
	}
	return keys, in.err
}

// clientKeys returns those of the clients with these numbers.
func (r *run) clientKeys(u *unpacker, numbers []uint32) (map[uint32][]byte, error) {
	in, err := r.reader(u)
	if err != nil {
		return nil, err
	}
	defer in.close()
	keys := make(map[uint32][]byte, len(numbers))
	slices.Sort(numbers)
	first := uint32(0) // of the block
	for i := r.sections[byClient]; i < r.sections[byClient+1] && len(numbers) > 0; i++ {
		end := first + r.blocks[i].entries
		if numbers[0] < end {
			in.only(i)
			for n := first; in.step(byClient); n++ {
				if len(in.key) == 0 {
					return nil, errNoClient
				}
				for len(numbers) > 0 && numbers[0] == n {
					keys[n], numbers = slices.Clone(in.key), numbers[1:]
				}
			}
			if in.err != nil {
				return nil, in.err
			}
		}
		first = end
	}
	if len(numbers) > 0 {
		return nil, errNoClient
	}
	return keys, nil
}

// errTooMany ends the counting of runs when memory does not suffice.
var errTooMany = errors.New("too many to be counted by the index")

var errNoClient = errors.New("it names a client that it does not have")
