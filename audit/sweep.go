package audit

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// unpackers is how many goroutines unpack segments for one question to a stopped log:
// enough for a store's disk.
const unpackers = 2

// others returns how many goroutines work for one question beside the caller's. Beside the
// query path there are none: each would be one more that keeps a packet waiting.
func (r *Reader) others() int {
	if r.log != nil {
		return 0
	}
	return min(unpackers, runtime.GOMAXPROCS(0))
}

// maxInFlight is how many records are being unpacked when no more are fetched: those of
// two packs or so; four segments are less.
const maxInFlight = 2 * packRows

// A sweep is one question's way over the segments. The goroutine that called
// copies them out of the store, some others unpack them, and the caller gets them
// in order. As many pages as are in flight are all the memory that it takes.
type sweep struct {
	reader *Reader
	filter *filter
	where  *where           // says by the index where it may hold something; nil is anywhere
	probe  func(*page) bool // says by the dictionaries whether a page may hold something; nil is yes
	work   func(*page)      // what the other goroutines do to a page with chosen rows; nil is nothing
	damage error            // of segments that were passed over

	at      uint64 // where to go on
	done    bool   // nothing is left to fetch
	stopped atomic.Bool
}

// sweep calls each with every segment of which f wants rows, in the order of f,
// until each is done or gives an error. Before, work has been called with it, on
// another goroutine. Neither may keep the page. Damaged segments are passed over;
// a *DamageError for each of them is joined to the error in the end.
func (r *Reader) sweep(ctx context.Context, f *filter, work func(*page), each func(*page) (done bool, err error)) error {
	return (&sweep{reader: r, filter: f, where: r.where(f, nil), work: work}).run(ctx, each)
}

func (s *sweep) run(ctx context.Context, each func(*page) (bool, error)) error {
	f := s.filter
	if f.err != nil {
		return f.err
	}
	if err := f.know(s.reader.clientKeys()); err != nil {
		return err
	}
	if s.at = f.seqTo(); s.at < newest {
		s.at++
	}
	if f.query.Oldest {
		s.at = max(f.query.SeqFrom, 1)
	}
	n := s.reader.others()
	ahead := n + 2
	if n == 0 {
		ahead = 1
	}
	var (
		wg      sync.WaitGroup
		queue   = make(chan *ticket, ahead)
		line    []*ticket // being unpacked, in order
		free    = make([]*ticket, 0, ahead)
		tickets []*ticket // all there are
		rows    int       // of those in line
		fault   error     // of the store; what was fetched before it is still handed out
	)
	defer func() {
		for _, t := range tickets { // which nobody uses any more
			s.reader.unpacker.leave(t.page)
		}
	}()
	defer wg.Wait()
	defer close(queue)
	defer s.stopped.Store(true)
	for range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for t := range queue {
				if !s.stopped.Load() {
					s.unpack(t.page)
				}
				t.ready <- struct{}{}
			}
		}()
	}
	for range cap(free) {
		free = append(free, &ticket{page: s.reader.unpacker.page(), ready: make(chan struct{}, 1)})
	}
	tickets = slices.Clone(free)
	for {
		for len(free) > 0 && !s.done && rows < maxInFlight {
			t := free[len(free)-1]
			ok, err := s.fetch(t.page, &t.key, &t.path)
			if err != nil {
				fault, s.done = err, true
				break
			}
			if !ok {
				s.done = true
				break
			}
			free = free[:len(free)-1]
			line = append(line, t)
			t.rows = t.page.size()
			rows += t.rows
			if n > 0 {
				queue <- t
				continue
			}
			giveWay()
			s.unpack(t.page)
			t.ready <- struct{}{}
		}
		if len(line) == 0 {
			return errors.Join(s.damage, fault)
		}
		t := line[0]
		line = line[1:]
		rows -= t.rows
		select {
		case <-t.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		p := t.page
		switch {
		case p.err != nil:
			s.damage = errors.Join(s.damage, damaged(t.path, segmentPlace(t.key), p.err))
		case s.filter.ends(&p.header):
			return s.damage
		case len(p.chosen) > 0:
			done, err := each(p)
			if p.err != nil {
				s.damage = errors.Join(s.damage, damaged(t.path, segmentPlace(t.key), p.err))
			}
			if done || err != nil {
				return errors.Join(s.damage, err)
			}
		}
		free = append(free, t)
	}
}

// A ticket is a page on its way.
type ticket struct {
	page  *page
	key   uint64
	path  string
	rows  int // in the page
	ready chan struct{}
}

// fetch copies the next segment that may hold something out of the store.
func (s *sweep) fetch(p *page, key *uint64, path *string) (ok bool, err error) {
	f := s.filter
	oldest, from, to := f.query.Oldest, f.query.SeqFrom, f.seqTo()
	if oldest {
		s.at = s.where.from(s.at)
	} else {
		s.at = s.where.before(s.at)
	}
	if oldest && s.at > to || !oldest && s.at <= from {
		return false, nil
	}
	st, err := s.reader.store()
	if err != nil {
		return false, err
	}
	next := s.reader.previous
	p.from, p.to = 0, s.at-1
	if oldest {
		next = s.reader.following
		p.from, p.to = s.at, 0
	}
	for {
		*key, ok, err = next(st, s.at, f.wantsOrEnds, p)
		at, on := st.beyond(err, oldest)
		if !on {
			break
		}
		s.damage = errors.Join(s.damage, err) // of a whole file
		s.at = at
	}
	if err != nil || !ok {
		return false, err
	}
	*path = st.path(*key)
	if s.at = *key; oldest {
		if *key > to {
			return false, nil
		}
		s.at = p.after(*key)
	}
	return true, nil
}

// unpack reads what is needed to say which rows of a page are wanted.
func (s *sweep) unpack(p *page) {
	p.open(s.reader.unpacker)
	if p.err != nil || !s.filter.mark(p) || s.probe != nil && !s.probe(p) {
		return
	}
	s.filter.choose(p)
	if p.err == nil && len(p.chosen) > 0 && s.work != nil {
		s.work(p)
	}
}
