package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// slowCommit is how long a commit may take before the operator hears of it.
const slowCommit = time.Second

// clockStep is how far wall clock and monotonic clock may part between two seals
// before a change record says so.
const clockStep = 2 * time.Second

// witnessPatience is how long the end of the log waits for witnesses.
const witnessPatience = 2 * time.Second

// lossTold is how often at most the operator hears of losses.
const lossTold = time.Minute

// Run seals and commits what was recorded until ctx ends, then once more, and
// closes the store. It is the store's only writer and must be called once. A
// commit that fails is tried again at every interval, meanwhile events wait in
// the slabs. Run returns an error if events could not be written at the end, or
// if the store is damaged and Config.OnError is Fail.
func (l *Log) Run(ctx context.Context) error {
	w := &writer{log: l, seen: l.cfg.Now()}
	witnesses, stop := context.WithCancel(context.WithoutCancel(ctx))
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		l.notary.watch(witnesses)
	}()
	err := w.run(ctx)
	if err != nil {
		w.abandon()
	}
	if _, ok := l.notary.due(time.Now()); ok {
		l.notary.checkpoint(l.cfg.Now())
	}
	stop()
	select {
	case <-watched:
	case <-time.After(witnessPatience):
		l.cfg.Logger.Error("a witness did not take the last audit checkpoint in time")
	}
	return errors.Join(err, l.end())
}

// Close closes the store of a log whose Run was never called.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	l.full.Store(true)
	l.mu.Unlock()
	return l.end()
}

// end closes the store and lets the followers go.
func (l *Log) end() error {
	l.follow.Lock()
	if !l.follow.ended {
		l.follow.ended = true
		close(l.over)
		close(l.follow.sealed)
	}
	l.follow.Unlock()
	err := l.notary.close()
	if s := l.store.Load(); s != nil {
		err = errors.Join(err, s.close())
	}
	return err
}

// A writer is the state of Run.
type writer struct {
	log     *Log
	pending []sealed  // made but not committed; the next batch waits for them
	taken   time.Time // when the last batch was taken, by the monotonic clock
	seen    time.Time // Config.Now at the last batch
	warned  time.Time // when a loss was last logged
	head    *os.File
	rollup  *rollup       // of the store, nil at first
	rest    time.Duration // how long counting hits again is to pause
}

func (w *writer) run(ctx context.Context) error {
	l := w.log
	timer := time.NewTimer(0)
	<-timer.C
	defer func() {
		timer.Stop()
		if w.head != nil {
			w.head.Close()
		}
	}()
	if s := l.store.Load(); s != nil {
		w.roll(s) // finds out whether there is something to be counted again
	}
	var recount, sign <-chan time.Time
	// The last quarter of the interval is left to the commit.
	wait := l.cfg.Interval - l.cfg.Interval/4
	for {
		wake := l.wake
		if len(w.pending) > 0 {
			wake = nil // a retry is due anyway
		}
		if recount == nil && w.recounting() {
			recount = time.After(w.rest)
		}
		if wait, ok := l.notary.due(time.Now()); ok && sign == nil {
			sign = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return w.seal(true)
		case <-sign:
			sign = nil
			l.notary.checkpoint(l.cfg.Now())
			continue
		case done := <-l.signing:
			if _, ok := l.notary.due(time.Now()); ok {
				l.notary.checkpoint(l.cfg.Now())
			}
			close(done)
			continue
		case <-recount:
			recount = nil
			w.recount()
			continue
		case <-wake:
			timer.Reset(wait)
			continue
		case <-l.kick:
			if len(w.pending) > 0 {
				continue // hurrying would only hammer a disk that fails
			}
		case <-timer.C:
		}
		err := w.seal(false)
		var damage *DamageError
		switch {
		case errors.As(err, &damage) && l.cfg.OnError == Fail:
			return err
		case err != nil:
			timer.Reset(l.cfg.Interval)
			continue
		}
		timer.Stop()
		select {
		case <-l.wake: // came while the batch was being committed
			timer.Reset(max(0, wait-time.Since(w.taken)))
		default:
		}
	}
}

// seal commits what is pending and then one batch more. final closes the log to
// events first.
func (w *writer) seal(final bool) error {
	if len(w.pending) > 0 {
		if err := w.commit(); err != nil {
			return err
		}
	}
	w.take(final)
	if len(w.pending) > 0 {
		if err := w.commit(); err != nil {
			return err
		}
	}
	if !final {
		return nil
	}
	w.take(true) // what a store that had to be replaced just now says of itself
	if len(w.pending) == 0 {
		return nil
	}
	return w.commit()
}

// take makes segments of all that the log holds and frees its slabs.
func (w *writer) take(final bool) {
	l := w.log
	w.taken = time.Now()
	l.armed.Store(false) // before looking: what comes later arms again
	b := l.collect(final)
	now := l.cfg.Now()
	if step := clockStepped(w.seen, now); step != 0 {
		if len(b.slabs)+len(b.changes) > 0 {
			to := max(now.UnixNano(), 0)
			b.gaps = append(b.gaps, gap{cause: CauseClock, from: to - int64(step), to: to})
			w.seen = now
		}
	} else {
		w.seen = now
	}
	l.tables.RLock()
	reasons, labels := l.reasons, l.labels
	l.tables.RUnlock()
	w.pending = append(w.pending, l.sealer.seal(b, reasons, labels)...)
	l.release(b.slabs)
	w.warn(b.gaps)
}

// warn tells the operator of losses.
func (w *writer) warn(gaps []gap) {
	for _, g := range gaps {
		if g.lost > 0 && (w.warned.IsZero() || w.taken.Sub(w.warned) >= lossTold) {
			w.warned = w.taken
			w.log.cfg.Logger.Error("audit events were lost, gap records say how many", "lost", g.lost, "cause", g.cause,
				"from", instant(g.from), "to", instant(g.to))
		}
	}
}

// clockStepped returns by how much the wall clock was set between two readings,
// or 0 if that is less than clockStep. Readings without a monotonic part can
// only show a step back.
func clockStepped(before, now time.Time) time.Duration {
	wall := now.Round(0).Sub(before.Round(0))
	step := wall - now.Sub(before)
	if step == 0 && wall < 0 {
		step = wall
	}
	if step.Abs() < clockStep {
		return 0
	}
	return step.Round(time.Millisecond)
}

// collect takes all that was recorded so far. The slabs of one shard come in the
// order in which they were filled.
func (l *Log) collect(final bool) (b batch) {
	if final {
		l.mu.Lock()
		l.closed = true
		l.full.Store(true)
		l.mu.Unlock()
	}
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		if len(s.slab) > 0 {
			l.mu.Lock()
			l.filled = append(l.filled, s.slab)
			l.mu.Unlock()
			s.slab = nil
		} else if final {
			s.slab = nil
		}
		s.mu.Unlock()
	}
	l.mu.Lock()
	b.slabs = slices.Clone(l.filled)
	b.changes, b.gaps = l.changes, l.gaps
	clear(l.filled)
	l.filled, l.changes, l.gaps = l.filled[:0], nil, nil
	l.mu.Unlock()
	return b
}

// release gives slabs back, empty.
func (l *Log) release(slabs [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range slabs {
		l.free = append(l.free, s[:0])
	}
	l.full.Store(len(l.free) == 0 || l.closed)
}

// commit writes the pending segments, and into a new store if the one there is
// turns out to be damaged.
func (w *writer) commit() error {
	l := w.log
	err := w.try()
	var damage *DamageError
	if errors.As(err, &damage) && l.cfg.OnError == StartFresh {
		if err = l.replace(damage); err == nil {
			err = w.try()
		}
	}
	took := time.Since(w.taken)
	l.status.Lock()
	was := l.status.err
	l.status.err = err
	l.failing.Store(err != nil)
	l.status.lastSeal = took
	if err == nil {
		for i := range w.pending {
			l.status.sealed += w.pending[i].taken
		}
		l.status.last = w.pending[len(w.pending)-1].header
		if l.status.oldest == 0 {
			l.status.oldest = w.pending[0].header.number
		}
	}
	l.status.Unlock()
	if err != nil {
		if was == nil || was.Error() != err.Error() {
			l.cfg.Logger.Error("audit commit failed, will try again", "error", err)
		}
		return err
	}
	switch {
	case was != nil:
		l.cfg.Logger.Info("audit commit works again")
	case took > slowCommit:
		l.cfg.Logger.Warn("audit commit was slow", "took", took)
	}
	w.writeHead()
	l.notary.committed(w.pending)
	w.pending = w.pending[:0]
	l.announce()
	return nil
}

// try commits the pending segments to the store, which it makes if a damaged one
// had to be left without a successor.
func (w *writer) try() error {
	l := w.log
	s := l.store.Load()
	if s == nil {
		var err error
		if s, _, err = openStore(l.cfg.Dir); err != nil {
			return err
		}
		l.store.Store(s)
	}
	return w.commitTo(s, w.pending)
}

// writeHead notes the last segment beside the store. That it fails costs nothing
// but the proof that it would have given.
func (w *writer) writeHead() {
	if w.head == nil {
		f, err := os.OpenFile(filepath.Join(w.log.cfg.Dir, headFile), os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			w.log.cfg.Logger.Warn("audit head file was not written", "error", err)
			return
		}
		w.head = f
	}
	last := &w.pending[len(w.pending)-1]
	if _, err := w.head.WriteAt(head{last.header.last(), last.header.number, last.digest}.bytes(), 0); err != nil {
		w.log.cfg.Logger.Warn("audit head file was not written", "error", err)
	}
}

// announce wakes the followers.
func (l *Log) announce() {
	l.follow.Lock()
	defer l.follow.Unlock()
	close(l.follow.sealed)
	l.follow.sealed = make(chan struct{})
}

// abandon counts as lost what was taken but will never be written.
func (w *writer) abandon() {
	l := w.log
	w.take(true)
	l.status.Lock()
	defer l.status.Unlock()
	for i := range w.pending {
		l.status.abandoned += w.pending[i].taken
	}
}
