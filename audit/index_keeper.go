package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"
)

const (
	keeperTurn  = 10 * time.Millisecond
	keeperRest  = 3           // turns of rest after each: a quarter of one core at most
	keeperRetry = time.Minute // after a disk that fails
)

// A keeper makes the index of a store and keeps it up with it. It reads the store
// as any reader does and is the only one that writes to the index's folder.
type keeper struct {
	reader *Reader
	index  *index
	logger *slog.Logger
	rest   time.Duration // turns of rest after each
	began  time.Time     // of the turn

	patient  bool // begins no run before there are records enough for one, so that nothing is held meanwhile
	gatherer *gatherer
	page     page
	passed   []interval // damaged segments, which questions are to come upon
}

// An interval is of sequence numbers, both ends in it.
type interval struct{ first, last uint64 }

func newKeeper(r *Reader, logger *slog.Logger, rest time.Duration) *keeper {
	return &keeper{reader: r, index: r.index, logger: logger, rest: rest, gatherer: newGatherer(r.index.sizes)}
}

// keepIndex keeps the running log's index until ctx ends.
func (l *Log) keepIndex(ctx context.Context) {
	k := newKeeper(l.Reader(), l.cfg.Logger, keeperRest)
	k.patient = true
	said := ""
	for begun := false; ctx.Err() == nil; {
		select {
		case <-l.over:
			return
		default:
		}
		var (
			idle bool
			err  error
		)
		select {
		case done := <-l.reindex:
			err = k.forget()
			close(done)
		default:
			if !begun {
				err = k.begin()
				begun = err == nil
			} else {
				idle, err = k.step(ctx)
			}
		}
		wait := l.stored
		var retry <-chan time.Time
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if err.Error() != said {
				l.cfg.Logger.Warn("the index of the audit log cannot be written, will try again", "error", err)
			}
			said = err.Error()
			wait, retry = nil, time.After(keeperRetry)
		case !idle:
			continue
		}
		select {
		case <-ctx.Done():
		case <-l.over:
		case <-wait:
		case <-retry:
		case done := <-l.reindex:
			if err := k.forget(); err != nil {
				l.cfg.Logger.Warn("the index of the audit log cannot be removed", "error", err)
			}
			close(done)
		}
	}
}

// BuildIndex brings the index of a stopped log up to the end of its store; with
// anew it removes first what there is. It is no matter if it ends early.
func BuildIndex(ctx context.Context, dir string, anew bool, logger *slog.Logger) (IndexStats, error) {
	return buildIndex(ctx, dir, anew, logger, defaultSizes)
}

func buildIndex(ctx context.Context, dir string, anew bool, logger *slog.Logger, sizes runSizes) (IndexStats, error) {
	r, err := OpenReader(dir)
	if err != nil {
		return IndexStats{}, err
	}
	defer r.Close()
	r.index.sizes = sizes
	k := newKeeper(r, logger, 0)
	if anew {
		if err := k.forget(); err != nil {
			return IndexStats{}, err
		}
	}
	r.index.once.Do(func() {})
	err = k.begin()
	for idle := false; !idle && err == nil; {
		idle, err = k.step(ctx)
	}
	if err == nil && k.gatherer.records > 0 {
		err = k.write()
	}
	for merged := err == nil; merged && err == nil; {
		merged, err = k.merge(ctx)
	}
	stats, serr := r.Index()
	return stats, errors.Join(err, serr)
}

// Reindex lets the running log's index be made anew, and returns when that begins.
func (l *Log) Reindex(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case l.reindex <- done:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.over:
		return ErrClosed
	}
	<-done
	return nil
}

// begin takes up what is there.
func (k *keeper) begin() error {
	runs, useless := k.index.load(k.reader)
	var errs error
	for path, err := range useless {
		if path == k.index.dir {
			return err
		}
		if !errors.Is(err, errUnfinished) && !errors.Is(err, errMerged) && !errors.Is(err, errNoRecord) {
			k.logger.Warn("a part of the audit log's index is of no use and is made again", "file", path, "error", err)
		}
		errs = errors.Join(errs, os.Remove(path))
	}
	k.index.runs.Store(&runs)
	return errs
}

// forget removes the index.
func (k *keeper) forget() error {
	k.index.runs.Store(new([]*run))
	k.gatherer.reset()
	k.passed = nil
	return os.RemoveAll(k.index.dir)
}

// publish makes runs those in use: without some of the old ones, with some new ones.
func (k *keeper) publish(without func(*run) bool, with ...*run) error {
	runs := make([]*run, 0, len(k.index.all())+len(with))
	var errs error
	var gone []*run
	for _, r := range k.index.all() {
		if without(r) {
			gone = append(gone, r)
		} else {
			runs = append(runs, r)
		}
	}
	runs = append(runs, with...)
	slices.SortFunc(runs, func(a, b *run) int { return cmp.Compare(a.first, b.first) })
	k.index.runs.Store(&runs)
	for _, r := range gone {
		errs = errors.Join(errs, os.Remove(r.path))
	}
	return errs
}

// step does a small part of what there is to do. idle says that there is nothing.
func (k *keeper) step(ctx context.Context) (idle bool, err error) {
	k.began = time.Now()
	if err := k.drop(); err != nil {
		return false, err
	}
	if merged, err := k.merge(ctx); merged || err != nil {
		return false, err
	}
	if idle, err = k.gather(); idle || err != nil {
		return idle, err
	}
	return false, k.turn(ctx)
}

// turn rests if it is time.
func (k *keeper) turn(ctx context.Context) error {
	worked := time.Since(k.began)
	if k.rest == 0 || worked < keeperTurn {
		return ctx.Err()
	}
	timer := time.NewTimer(k.rest * worked)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	k.began = time.Now()
	return ctx.Err()
}

// drop removes runs that cannot be read, and those whose records are gone.
func (k *keeper) drop() error {
	st, err := k.reader.store()
	if err != nil {
		return err
	}
	oldest, ok, err := k.reader.following(st, 0, nil, &k.page)
	for err != nil {
		at, on := st.beyond(err, true)
		if !on {
			return err
		}
		oldest, ok, err = k.reader.following(st, at, nil, &k.page)
	}
	if !ok {
		oldest = 0
	}
	k.index.oldest.Store(oldest)
	useless := func(r *run) bool { return r.bad.Load() || r.last < oldest }
	if !slices.ContainsFunc(k.index.all(), useless) {
		return nil
	}
	for _, r := range k.index.all() {
		if r.bad.Load() {
			k.logger.Warn("a part of the audit log's index was damaged and is made again", "file", r.path)
		}
	}
	return k.publish(useless)
}

// hole returns the first sequence numbers from from on that no run is about, and
// that are not to be passed over.
func (k *keeper) hole(from uint64) interval {
	covered := slices.Clone(k.passed)
	for _, r := range k.index.all() {
		covered = append(covered, interval{r.first, r.last})
	}
	slices.SortFunc(covered, func(a, b interval) int { return cmp.Compare(a.first, b.first) })
	for _, c := range covered {
		if c.first > from {
			return interval{from, c.first - 1}
		}
		from = max(from, c.last+1)
	}
	return interval{from, newest - 1}
}

// gather takes one segment, and writes a run if that makes enough for one.
func (k *keeper) gather() (idle bool, err error) {
	g, p := k.gatherer, &k.page
	h := k.hole(max(k.index.oldest.Load(), 1))
	if g.records > 0 {
		if h.first != g.first { // a run was dropped meanwhile
			g.reset()
			return false, nil
		}
		h.first = g.last + 1
	}
	st, err := k.reader.store()
	if err != nil {
		return false, err
	}
	key, ok, err := k.reader.following(st, h.first, nil, p)
	if err == nil && ok && k.patient && g.records == 0 && h.last == newest-1 && !k.enough(st, p) {
		k.page = page{}
		return true, nil
	}
	if err != nil {
		at, on := st.beyond(err, true)
		if !on || at <= h.first {
			return false, err
		}
		if g.records > 0 {
			if err := k.write(); err != nil {
				return false, err
			}
		}
		k.pass(interval{h.first, min(at-1, h.last)})
		return false, nil
	}
	if !ok || p.view != nil { // not in the store yet
		return true, nil
	}
	if p.open(k.reader.unpacker); p.err == nil && (p.header.first != key || p.header.last() < h.first) {
		p.err = errors.New("its records are not where they should be")
	}
	behind := p.after(key)
	if p.err == nil {
		from, to := max(h.first, key), min(p.header.last(), h.last)
		switch {
		case from > h.last: // the hole is one of the store's
			if g.records > 0 {
				return false, k.write()
			}
			k.pass(interval{h.first, h.last})
			return false, nil
		case from > h.first:
			if g.records > 0 {
				return false, k.write()
			}
			k.pass(interval{h.first, from - 1})
		}
		if err = g.add(p, from, to); err == nil {
			if g.full() || to == h.last {
				return false, k.write()
			}
			return false, nil
		}
	}
	if g.records > 0 {
		if err := k.write(); err != nil {
			return false, err
		}
	}
	k.pass(interval{h.first, min(behind-1, h.last)})
	return false, nil
}

// enough says whether there is a run's worth in the store from the page p on. Damage is
// for gather to find.
func (k *keeper) enough(st *store, p *page) bool {
	if p.view != nil {
		return false
	}
	first, err := readHeader(p.value)
	if err != nil {
		return true
	}
	var value []byte
	if _, ok, err := st.previous(newest, nil, &value); !ok || err != nil {
		return true
	}
	last, err := readHeader(value)
	sizes := &k.gatherer.sizes
	return err != nil || last.last()-first.first+1 >= uint64(sizes.records) || last.number-first.number+1 >= uint64(sizes.segments)
}

// pass leaves records out of the index.
func (k *keeper) pass(i interval) {
	if n := len(k.passed); n > 0 && k.passed[n-1].last+1 == i.first {
		k.passed[n-1].last = i.last
		return
	}
	k.passed = append(k.passed, i)
}

// write makes a run of what was gathered. If that fails, it is gathered again.
func (k *keeper) write() error {
	defer func() { k.gatherer, k.page = newGatherer(k.gatherer.sizes), page{} }()
	if err := os.MkdirAll(k.index.dir, filesPrivate); err != nil {
		return err
	}
	r, err := k.gatherer.write(k.index.dir, nil)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return k.publish(func(*run) bool { return false }, r)
}

// merge merges the first runs that are enough for that.
func (k *keeper) merge(ctx context.Context) (merged bool, err error) {
	runs := k.index.sizes.mergeable(k.index.all())
	if runs == nil {
		return false, nil
	}
	r, err := mergeRuns(k.index.dir, k.reader.unpacker, runs, func() error { return k.turn(ctx) })
	var damage *runError
	if errors.As(err, &damage) {
		damage.run.bad.Store(true)
		return true, k.drop()
	}
	if err != nil {
		return false, fmt.Errorf("index: %w", err)
	}
	return true, k.publish(func(r *run) bool { return slices.Contains(runs, r) }, r)
}

// mergeable returns runs of one kind that follow each other, if there are enough.
func (s *runSizes) mergeable(runs []*run) []*run {
	n, records := 0, uint64(0)
	for i, r := range runs {
		if n > 0 && (runs[i-1].last+1 != r.first || runs[i-1].merges != r.merges || runs[i-1].step != r.step) {
			n, records = 0, 0
		}
		n++
		if records += r.records(); n == s.width && records <= s.most {
			return runs[i+1-n : i+1]
		} else if n == s.width {
			n, records = 0, 0
		}
	}
	return nil
}
