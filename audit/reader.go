package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// A Reader searches and proves a store. It is safe for concurrent use, beside
// the writer too: it copies one segment at a time out of the store, in read
// transactions of less than a millisecond, and never holds one while it decodes
// or hands out records.
type Reader struct {
	dir      string
	unpacker *unpacker
	own      *store // of a stopped log
	left     []view // of a stopped one that did not end
	log      *Log   // of a running one
}

// OpenReader opens the store of a stopped log in dir, without changing anything.
// What a run that did not end has left in its write-ahead file is read too.
// Other readers may have it open too. If a log is running on it the error has
// ErrLocked in it; a store that cannot be opened gives a *DamageError.
func OpenReader(dir string) (*Reader, error) {
	s, err := openFile(filepath.Join(dir, storeFile), true)
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
	return &Reader{dir: dir, unpacker: u, own: s, left: left}, nil
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
func (l *Log) Reader() *Reader { return &Reader{dir: l.cfg.Dir, unpacker: l.unpacker, log: l} }

// Close lets go of a store that OpenReader opened. The Reader of a running log needs none.
func (r *Reader) Close() error {
	if r.own == nil {
		return nil
	}
	r.unpacker.z.Close()
	return r.own.close()
}

// store returns the store to read from now: a running log may have replaced a damaged one.
func (r *Reader) store() (*store, error) {
	if r.own != nil {
		return r.own, nil
	}
	if s := r.log.store.Load(); s != nil {
		return s, nil
	}
	return nil, errors.New("the audit log has no store at the moment: the damaged one was moved aside and a new one could not be made yet")
}

// views returns what is not in the store yet, the oldest first.
func (r *Reader) views() []view {
	if r.own != nil {
		return r.left
	}
	return r.log.sealer.views()
}

// A scan is the state of one reader's walk over segments; it reuses its memory.
type scan struct {
	reader *Reader
	brief  bool // no details are wanted
	value  []byte
	open   *view // what was found in place of value, if it is not in the store yet
	buf    []byte
	block  block
	ended  bool  // the last segment and all behind it hold nothing
	damage error // of segments that were passed over
}

// previous is like that of the store, and following too, but they find what is not
// in the store yet as well.
func (s *scan) previous(st *store, before uint64, want func(*header) bool) (key uint64, ok bool, err error) {
	views := s.reader.views()
	for i := len(views) - 1; i >= 0; i-- {
		h := &views[i].header
		if h.first < before && (want == nil || want(h)) {
			s.open = &views[i]
			return h.first, true, nil
		}
		before = min(before, h.first)
	}
	s.open = nil
	return st.previous(before, want, &s.value)
}

func (s *scan) following(st *store, from uint64, want func(*header) bool) (key uint64, ok bool, err error) {
	views := s.reader.views() // before the store is looked at, which they go to
	s.open = nil
	if key, ok, err = st.following(from, want, &s.value); ok || err != nil {
		return key, ok, err
	}
	for i := range views {
		h := &views[i].header
		if h.last() >= from && (want == nil || want(h)) {
			s.open = &views[i]
			return h.first, true, nil
		}
	}
	return 0, false, nil
}

// after returns the sequence number behind the segment that was found.
func (s *scan) after(key uint64) uint64 {
	if s.open != nil {
		return s.open.header.last() + 1
	}
	return after(s.value, key)
}

// payload returns what was found as it was before compression.
func (s *scan) payload() (h header, payload []byte, err error) {
	value := s.value
	if s.open != nil {
		if s.open.segment == nil {
			return s.open.header, s.open.payload, nil
		}
		value = s.open.segment
	}
	h, _, payload, err = s.reader.unpacker.open(value, s.buf)
	if err == nil && cap(payload) > cap(s.buf) { // else it is s.buf, with less room to be seen
		s.buf = payload
	}
	return h, payload, err
}

// load decodes the segment that was found as far as f needs. ok is false when the
// segment holds nothing for f, or is damaged, which s.damage then says.
func (s *scan) load(st *store, key uint64, f *filter) (ok bool) {
	h, payload, err := s.payload()
	if err == nil {
		s.ended = f.ends(&h)
		if err = s.block.dictionaries(h, payload); err == nil {
			if !f.prepare(&s.block) {
				return false
			}
			err = s.block.decode(!s.brief)
		}
	}
	if err != nil {
		s.damage = errors.Join(s.damage, damaged(st.path, segmentPlace(key), err))
		return false
	}
	return true
}

// Search calls emit with the records that q asks for, newest first unless
// q.Oldest. Each call gets a Record of its own. Search ends early when emit
// returns an error, which it returns, when ctx ends, or at q.Limit. Damaged
// segments are passed over; when the rest has been searched Search returns a
// *DamageError for each of them, joined. Records that are sealed after the
// beginning may or may not be found.
func (r *Reader) Search(ctx context.Context, q Query, emit func(*Record) error) error {
	f, n := newFilter(q), 0
	s := scan{reader: r}
	return s.walk(ctx, f, func() (done bool, err error) { return s.emit(f, &n, 0, emit) })
}

// walk calls each with every segment in s.block that may hold something for f, in
// the order of f, until that is done.
func (s *scan) walk(ctx context.Context, f *filter, each func() (done bool, err error)) error {
	oldest, from, to := f.query.Oldest, f.query.SeqFrom, f.seqTo()
	at := to
	if at < newest {
		at++
	}
	if oldest {
		at = max(from, 1)
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if oldest && at > to || !oldest && at <= from {
			return s.damage
		}
		st, err := s.reader.store()
		if err != nil {
			return err
		}
		var (
			key uint64
			ok  bool
		)
		if oldest {
			key, ok, err = s.following(st, at, f.wantsOrEnds)
		} else {
			key, ok, err = s.previous(st, at, f.wantsOrEnds)
		}
		if err != nil || !ok {
			return errors.Join(s.damage, err)
		}
		if at = key; oldest {
			if key > to {
				return s.damage
			}
			at = s.after(key)
		}
		if s.load(st, key, f) {
			if done, err := each(); done || err != nil {
				return errors.Join(s.damage, err)
			}
		} else if s.ended {
			return s.damage
		}
	}
}

// after returns the sequence number behind a segment, which may be damaged.
func after(value []byte, key uint64) uint64 {
	if h, err := readHeader(value); err == nil && h.first == key {
		return h.last() + 1
	}
	return key + 1
}

// emit hands out the block's records that match, from sequence number from on.
// n counts them; done says that the limit is reached.
func (s *scan) emit(f *filter, n *int, from uint64, emit func(*Record) error) (done bool, err error) {
	rows := len(s.block.rows)
	for i := range rows {
		if !f.query.Oldest {
			i = rows - 1 - i
		}
		if s.block.header.first+uint64(i) < from || !f.matches(&s.block, i) {
			continue
		}
		if err := emit(s.block.record(i)); err != nil {
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
	q.Oldest = true
	f := newFilter(q)
	r := l.Reader()
	s := scan{reader: r}
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
		st, err := r.store()
		if err == nil {
			var (
				key uint64
				ok  bool
			)
			if key, ok, err = s.following(st, from, nil); err == nil && ok {
				if s.load(st, key, f) {
					if done, err := s.emit(f, &n, from, emit); done || err != nil {
						return err
					}
				}
				if s.damage != nil {
					return s.damage
				}
				from = s.after(key)
				continue
			}
		}
		if err != nil && r.replaced(st) {
			err = nil // go on in the new store
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

// replaced says that st, which may be nil, is not the store any more, or not yet.
func (r *Reader) replaced(st *store) bool { return st == nil || r.log.store.Load() != st }

// newest returns the sequence number of the last record on disk.
func (l *Log) newest() uint64 {
	l.status.Lock()
	defer l.status.Unlock()
	return l.status.newest
}
