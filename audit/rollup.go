package audit

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// The roll-up is a convenience and the segments beside it are evidence, so no
// damage to it may reach them. Its bucket is proven whole before the first write
// and again at the beginning of each hour, before old hours are removed. One that
// is not whole is never touched again, not even to be deleted, because bbolt would
// free pages that need not be its own: another bucket takes its place, and what it
// lacks is counted again from the segments. A commit that fails over the roll-up
// is done once more without it.

// A rollup is the writer's side of the hits kept in one store.
type rollup struct {
	store   *store
	file    *boltFile // that it was last in; it moves to the newest with the first commit to that
	bucket  []byte
	made    bool     // the bucket is in the store
	last    uint64   // sequence number of the last record that was counted
	recount *recount // nil when no records before it are left to be counted
	checked int64    // hour in which the bucket was last proven
	drop    []int64  // hours to be removed by the next commit
	current hourHits // the newest hour as it was last written, to spare reading it again
	off     bool     // until the next hour
}

// openRollup finds the store's roll-up or begins one. The error says why what was
// there is not used; the rollup is good all the same.
func openRollup(st *store, hour int64) (*rollup, error) {
	r := &rollup{store: st, off: true}
	return r, r.check(hour)
}

// check proves the bucket, and begins another one if it is not whole.
func (r *rollup) check(hour int64) error {
	begin := r.off
	r.checked, r.off, r.current, r.drop = hour, false, hourHits{}, nil
	if file := r.store.newest(); file != r.file && begin {
		r.file, r.bucket, r.made = file, nil, false
	}
	if r.file == nil {
		r.off = true // until the store has a file
		return nil
	}
	p, err := r.file.proveHits(r.bucket, around(hour))
	if err == nil && !p.some {
		p.last = r.store.end
	}
	if err != nil { // of the store, which the next commit has to deal with
		r.off = true
		return err
	}
	lost := r.made && !p.found
	r.bucket, r.made = p.bucket, p.found
	switch {
	case p.damage != nil:
		r.bucket, r.made = nextHits(p.bucket), false
		r.begin(p.last)
	case p.found && begin:
		r.last, r.drop, r.recount = p.last, p.drop, nil
		if p.left > 0 {
			r.recount = newRecount(p.left, around(hour))
		}
	case p.found:
		r.drop = p.drop
	case begin, lost:
		r.begin(p.last)
	}
	return p.damage
}

// begin makes r count behind the record last, and again what is before.
func (r *rollup) begin(last uint64) {
	r.last, r.current, r.drop, r.recount = last, hourHits{}, nil, nil
	if last > 0 {
		r.recount = newRecount(last+1, around(r.checked))
	}
}

// giveUp leaves the bucket as it is; another is begun in the next hour.
func (r *rollup) giveUp() {
	r.off, r.bucket, r.made, r.recount = true, nextHits(r.bucket), false, nil
}

// A hitsUpdate is what one commit does to the roll-up.
type hitsUpdate struct {
	bucket  []byte
	fresh   bool   // the bucket is to be made
	behind  uint64 // the last record that it counts so far
	drop    []int64
	add     []hourHits
	counted counted
	current hourHits // of the rollup; write replaces it by the newest hour
}

// plan returns what a commit of the segments, maybe none, does to the roll-up; of the
// first ones of a file, with what the one before has counted.
func (r *rollup) plan(segments []sealed, begins bool) (u *hitsUpdate, err error) {
	var before []hourHits
	if begins {
		if before, err = r.carry(); err != nil {
			r.begin(r.last)
		}
	}
	keep := around(r.checked)
	byHour := make(map[int64][]listHits)
	add := func(hours []hourHits) {
		for _, h := range hours {
			if keep.has(h.hour) {
				byHour[h.hour] = merge(byHour[h.hour], h.lists)
			}
		}
	}
	u = &hitsUpdate{bucket: r.bucket, fresh: !r.made, behind: r.last, drop: r.drop, counted: counted{last: r.last}, current: r.current}
	if begins {
		u.bucket, u.fresh, u.drop, u.current = hitsName(1), true, nil, hourHits{}
		add(before)
	}
	for i := range segments {
		add(segments[i].hits)
		u.counted.last = segments[i].header.last()
	}
	if r.recount != nil {
		add(r.recount.hours())
		u.counted.left = r.recount.left
	}
	for hour, lists := range byHour {
		u.add = append(u.add, hourHits{hour, lists})
	}
	slices.SortFunc(u.add, func(a, b hourHits) int { return int(a.hour - b.hour) })
	return u, err
}

// carry returns the hours that the file which is to be followed has counted.
func (r *rollup) carry() (hours []hourHits, err error) {
	if !r.made {
		return nil, nil
	}
	err = r.file.view("reading the hits of lists", func(c *bbolt.Cursor) error {
		b := c.Bucket().Tx().Bucket(r.bucket)
		if b == nil {
			return errors.New("their bucket is gone")
		}
		var done counted
		done, hours, err = r.file.readHits(b, around(r.checked).from)
		if err == nil && done.last != r.last {
			err = fmt.Errorf("they end at record %d instead of %d", done.last, r.last)
		}
		return err
	})
	return hours, err
}

// committed tells r that the update is on disk.
func (r *rollup) committed(u *hitsUpdate) {
	r.file, r.bucket = r.store.newest(), u.bucket
	r.made, r.last, r.drop, r.current = true, u.counted.last, nil, u.current
	if r.recount == nil {
		return
	}
	clear(r.recount.counted)
	if r.recount.left == 0 {
		r.recount = nil
	}
}

// roll returns the roll-up of the writer's store, or nil while it is given up.
func (w *writer) roll(s *store) *rollup {
	hour := hourOf(max(w.log.cfg.Now().UnixNano(), 0))
	var err error
	switch {
	case w.rollup == nil || w.rollup.file != s.newest():
		w.rollup, err = openRollup(s, hour)
	case w.rollup.checked != hour:
		err = w.rollup.check(hour)
	}
	if err != nil {
		w.log.cfg.Logger.Warn("hits of lists are not whole and are counted again from the audit segments", "error", err)
	}
	if w.rollup.off {
		return nil
	}
	return w.rollup
}

// commitTo commits segments, maybe none, with their hits, or without if these
// stand in the way.
func (w *writer) commitTo(s *store, segments []sealed) (err error) {
	if err := s.settle(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.unsettle()) }()
	segments = s.behind(segments)
	for {
		run, begins := s.run(segments)
		if err := w.commitRun(s, run, begins); err != nil {
			return err
		}
		if segments = segments[len(run):]; len(segments) == 0 {
			return nil
		}
	}
}

// commitRun commits segments of one period.
func (w *writer) commitRun(s *store, run []sealed, begins bool) error {
	r := w.roll(s)
	if r == nil {
		return s.append(run, nil)
	}
	u, err := r.plan(run, begins)
	if err != nil {
		w.log.cfg.Logger.Warn("hits of lists are not whole and are counted again from the audit segments", "error", err)
	}
	err = s.append(run, u)
	var inHits *hitsError
	switch {
	case err == nil:
		r.committed(u)
	case errors.As(err, &inHits):
		r.giveUp()
		w.log.cfg.Logger.Warn("hits of lists were not written and are counted again from the audit segments", "error", err)
		if len(run) == 0 {
			return nil
		}
		return s.append(run, nil)
	}
	return err
}

const (
	recountTurn = 10 * time.Millisecond // at most, and one segment: what a commit may have to wait
	recountRest = 3                     // turns of rest after each
)

// recounting says that there are records left to be counted.
func (w *writer) recounting() bool {
	if s := w.log.store.Load(); s != nil && s.turn { // the newest file is not to change any more
		return false
	}
	return w.rollup != nil && !w.rollup.off && w.rollup.recount != nil && w.rollup.recount.left > 0
}

// recount counts some of the records that are left. What it counted goes with the
// next commit; the last of it makes one of its own.
func (w *writer) recount() {
	began := time.Now()
	r := w.rollup
	for c := r.recount; c.left > 0 && time.Since(began) < recountTurn; {
		if err := c.step(r.store, w.log.unpacker); err != nil { // the store's own, which the next commit has to deal with
			w.log.cfg.Logger.Warn("hits of lists cannot be counted", "error", err)
			r.giveUp()
			return
		}
		if c.left > 0 {
			continue
		}
		if c.damage != nil {
			w.log.cfg.Logger.Warn("damaged audit segments were left out of the hits of lists", "error", c.damage)
		}
		if err := w.commitTo(r.store, nil); err != nil {
			w.log.cfg.Logger.Warn("hits of lists were not written, they will be with the next commit", "error", err)
		}
	}
	w.rest = recountRest * time.Since(began)
}

// A hitsError says that the roll-up kept a commit from being made.
type hitsError struct{ error }

func (e *hitsError) Unwrap() error { return e.error }

// write adds the update to the transaction, which is of no use after an error.
func (u *hitsUpdate) write(tx *bbolt.Tx) error {
	b, err := u.open(tx)
	if err != nil {
		return err
	}
	for _, hour := range u.drop {
		if err := b.Delete(hourKey(hour)); err != nil {
			return err
		}
	}
	for _, add := range u.add {
		var have hourHits
		if add.hour == u.current.hour && u.current.lists != nil {
			have = u.current
		} else if v := b.Get(hourKey(add.hour)); v != nil {
			if have, err = readHour(add.hour, v); err != nil {
				return err
			}
		}
		sum := hourHits{add.hour, merge(have.lists, add.lists)}
		if err := b.Put(hourKey(add.hour), sum.append(nil)); err != nil {
			return err
		}
		u.current = sum // the last is the newest
	}
	return b.Put([]byte(countedKey), u.counted.append(nil))
}

func (u *hitsUpdate) open(tx *bbolt.Tx) (*bbolt.Bucket, error) {
	if u.fresh {
		return tx.CreateBucket(u.bucket)
	}
	b := tx.Bucket(u.bucket)
	if b == nil {
		return nil, errors.New("their bucket is gone")
	}
	done, err := readCounted(b.Get([]byte(countedKey)))
	if err == nil && done.last != u.behind {
		// A commit that said it had failed, but whose pages are there all the same.
		err = fmt.Errorf("they end at record %d instead of %d", done.last, u.behind)
	}
	return b, err
}
