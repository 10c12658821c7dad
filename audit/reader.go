package audit

import (
	"context"
	"errors"
	"fmt"
)

// A Reader searches and proves a store. It is safe for concurrent use, beside
// the writer too: it copies one segment at a time out of the store, in read
// transactions of less than a millisecond, and never holds one while it decodes
// or hands out records.
type Reader struct {
	dir      string
	unpacker *unpacker
	own      *store      // of a stopped log
	left     []view      // of a stopped one that did not end
	log      *Log        // of a running one
	keys     *clientKeys // of a stopped one's clients; nil if they were not asked for
	index    *index
}

// OpenReader opens the store of a stopped log in dir, without changing anything.
// What a run that did not end has left in its write-ahead file is read too.
// Other readers may have it open too. If a log is running on it the error has
// ErrLocked in it; a store that cannot be opened gives a *DamageError.
func OpenReader(dir string) (*Reader, error) {
	s, err := readStore(dir)
	if err != nil {
		return nil, err
	}
	u, err := newUnpacker()
	if err != nil {
		s.close()
		return nil, err
	}
	left, err := leftBehind(dir, s)
	if err != nil {
		s.close()
		return nil, err
	}
	return &Reader{dir: dir, unpacker: u, own: s, left: left, index: newIndex(dir)}, nil
}

// leftBehind returns what is left of a run behind the store's segments, if their
// newest are whole.
func leftBehind(dir string, st *store) ([]view, error) {
	last, digest, err := st.tail()
	if err != nil {
		return nil, nil // whoever reads the store will find it
	}
	s, err := newSealer(nil)
	if err != nil {
		return nil, err
	}
	s.follow(last, digest, readHead(dir))
	left, err := readLeftover(dir, s, 0)
	return left.views(), err
}

// Reader returns a reader of the running log's store. After the log's end it
// returns ErrClosed.
func (l *Log) Reader() *Reader {
	return &Reader{dir: l.cfg.Dir, unpacker: l.unpacker, log: l, index: l.index}
}

// Close lets go of a store that OpenReader opened. The Reader of a running log needs none.
func (r *Reader) Close() error {
	if r.own == nil {
		return nil
	}
	r.unpacker.z.Close()
	return errors.Join(r.own.close(), r.keys.close())
}

// store returns the store to read from.
func (r *Reader) store() (*store, error) {
	if r.own != nil {
		return r.own, nil
	}
	if s := r.log.store.Load(); s != nil {
		return s, nil
	}
	return nil, errors.New("the audit log has no store at the moment: none could be opened or made yet")
}

// views returns what is not in the store yet, the oldest first.
func (r *Reader) views() []view {
	if r.own != nil {
		return r.left
	}
	return r.log.sealer.views()
}

// previous finds for p the newest segment with a record before a sequence number
// that want accepts, whether it is in the store or not yet, and returns its key.
func (r *Reader) previous(st *store, before uint64, want func(*header) bool, p *page) (key uint64, ok bool, err error) {
	views := r.views()
	for i := len(views) - 1; i >= 0; i-- {
		h := &views[i].header
		if h.first < before && (want == nil || want(h)) {
			p.view = &views[i]
			return h.first, true, nil
		}
		before = min(before, h.first)
	}
	p.view = nil
	return st.previous(before, want, &p.value)
}

// following is like previous for the oldest segment with a record at or above from.
func (r *Reader) following(st *store, from uint64, want func(*header) bool, p *page) (key uint64, ok bool, err error) {
	views := r.views() // before the store is looked at, which they go to
	p.view = nil
	if key, ok, err = st.following(from, want, &p.value); ok || err != nil {
		return key, ok, err
	}
	for i := range views {
		h := &views[i].header
		if h.last() >= from && (want == nil || want(h)) {
			p.view = &views[i]
			return h.first, true, nil
		}
	}
	return 0, false, nil
}

// Search calls emit with the records that q asks for, newest first unless
// q.Oldest. Each call gets a Record of its own. Search ends early when emit
// returns an error, which it returns, when ctx ends, or at q.Limit. Damaged
// segments are passed over; when the rest has been searched Search returns a
// *DamageError for each of them, joined. Records that are sealed after the
// beginning may or may not be found.
func (r *Reader) Search(ctx context.Context, q Query, emit func(*Record) error) error {
	return r.search(ctx, q, func() *reusable { return new(reusable) }, emit)
}

// Each is like Search, but a Record is its caller's until emit returns, and then the next
// one: they cost no memory.
func (r *Reader) Each(ctx context.Context, q Query, emit func(*Record) error) error {
	out := new(reusable)
	return r.search(ctx, q, func() *reusable { return out }, emit)
}

func (r *Reader) search(ctx context.Context, q Query, room func() *reusable, emit func(*Record) error) error {
	f, n := newFilter(q), 0
	var rows []row // of one pack at a time, for they are most of what a page takes
	return r.sweep(ctx, f, func(p *page) {
		p.upTo(&f.query)
		p.detailsOfFew()
	}, func(p *page) (done bool, err error) {
		if p.header.packed && !p.few {
			p.rows = rows[:0]
			p.details()
			rows = p.rows
			defer func() { p.rows = nil }()
		}
		if p.err != nil {
			return false, nil
		}
		return p.emit(f, &n, 0, room, emit)
	})
}

// after returns the sequence number behind a segment, which may be damaged.
func after(value []byte, key uint64) uint64 {
	if h, err := readHeader(value); err == nil && h.first == key {
		return h.last() + 1
	}
	return key + 1
}

// emit hands out the page's chosen records, from sequence number from on, after
// whole, each in what room returns. n counts them; done says that the limit is reached.
func (p *page) emit(f *filter, n *int, from uint64, room func() *reusable, emit func(*Record) error) (done bool, err error) {
	for k := range p.chosen {
		if !f.query.Oldest {
			k = len(p.chosen) - 1 - k
		}
		i := p.chosen[k]
		if p.header.first+uint64(i) < from {
			continue
		}
		if k&(politeRecords-1) == 0 {
			giveWay()
		}
		if err := emit(p.recordOf(room(), k)); err != nil {
			return true, err
		}
		if *n++; f.query.Limit > 0 && *n >= f.query.Limit {
			return true, nil
		}
	}
	return false, nil
}

// Follow calls emit with the records that q asks for as they are committed,
// oldest first, beginning with sequence number from; with 0 it begins behind the
// newest. It returns when ctx ends, when emit returns an error, at q.Limit, behind
// q.SeqTo, or with ErrClosed when the log ends, which may be before the last records were
// handed out. A slow emit delays nobody else: Follow reads what it missed from the
// store. A damaged segment ends it with a *DamageError.
func (l *Log) Follow(ctx context.Context, q Query, from uint64, emit func(*Record) error) error {
	return l.Tail(ctx, q, from, emit, Lag{})
}

// A Lag says what becomes of a tail that cannot keep up. The zero Lag passes over
// nothing.
type Lag struct {
	Most    uint64               // more records than this behind the newest, and those between are passed over; 0 is no limit
	Skipped func(n uint64) error // is told how many those were, whether the query asks for them or not
}

// Tail is like Follow, but one that falls behind passes over records as lag says
// and goes on with the newest.
func (l *Log) Tail(ctx context.Context, q Query, from uint64, emit func(*Record) error, lag Lag) error {
	q.Oldest = true
	f := newFilter(q)
	if f.err != nil {
		return f.err
	}
	r := l.Reader()
	p := &page{}
	if from == 0 {
		from = l.newest() + 1
	}
	from = max(from, q.SeqFrom)
	for n := 0; ; {
		if err := ctx.Err(); err != nil || from > f.seqTo() {
			return err
		}
		l.follow.Lock()
		sealed, ended := l.follow.sealed, l.follow.ended
		l.follow.Unlock()
		if ended {
			return ErrClosed
		}
		if last := l.newest(); lag.Most > 0 && last > from && last-from > lag.Most {
			if err := lag.Skipped(last - from); err != nil {
				return err
			}
			from = last
		}
		st, err := r.store()
		if err == nil {
			var (
				key uint64
				ok  bool
			)
			if key, ok, err = r.following(st, from, nil, p); err == nil && ok {
				// Who is in a segment has had its key for longer than it is sealed.
				if err := f.know(r.clientKeys()); err != nil {
					return err
				}
				done, err := p.follow(r.unpacker, f, &n, from, emit)
				if p.err != nil {
					return damaged(st.path(key), segmentPlace(key), p.err)
				}
				if done || err != nil {
					return err
				}
				from = p.after(key)
				continue
			}
		}
		if err != nil && !st.has(err) {
			err = nil // go on in the file that took its place
		}
		if err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-sealed:
		}
	}
}

// follow hands out the records of the segment in p.value that f wants.
func (p *page) follow(u *unpacker, f *filter, n *int, from uint64, emit func(*Record) error) (done bool, err error) {
	if p.open(u); p.err != nil || !f.mark(p) {
		return false, nil
	}
	if f.choose(p); p.err != nil || len(p.chosen) == 0 {
		return false, nil
	}
	if p.details(); p.err != nil {
		return false, nil
	}
	return p.emit(f, n, from, func() *reusable { return new(reusable) }, emit)
}

// newest returns the sequence number of the last record on disk.
func (l *Log) newest() uint64 {
	l.status.Lock()
	defer l.status.Unlock()
	return l.status.newest
}
