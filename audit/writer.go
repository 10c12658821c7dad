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

// Run writes and commits what was recorded until ctx ends, then once more, and
// closes the store. It is the store's only writer and must be called once. A
// write that fails is tried again at every interval, meanwhile events wait in
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
	return errors.Join(err, l.end(err == nil))
}

// Close ends a log whose Run was never called, and writes what it holds.
func (l *Log) Close() error {
	w := &writer{log: l, seen: l.cfg.Now()}
	err := w.step(true)
	w.closeHead()
	return errors.Join(err, l.end(err == nil))
}

// end closes the store and lets the followers go. If all is in the store, nothing
// stays beside it.
func (l *Log) end(whole bool) error {
	l.follow.Lock()
	ended := l.follow.ended
	if !ended {
		l.follow.ended = true
		close(l.over)
		close(l.follow.sealed)
	}
	l.follow.Unlock()
	if ended {
		return nil
	}
	l.tables.Lock()
	errs := []error{l.wal.file.Close(), l.texts.file.Close(), l.notary.close()}
	l.tables.Unlock()
	if whole {
		errs = append(errs, removeAhead(l.cfg.Dir)) // while the store's lock is held
	}
	l.mu.Lock()
	m := l.mapping
	l.mapping, l.free, l.filled = nil, nil, nil // no event is taken any more
	l.mu.Unlock()
	errs = append(errs, m.close())
	if s := l.store.Load(); s != nil {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// A writer is the state of Run.
type writer struct {
	log     *Log
	pending *batch    // taken and sorted but not written; nil is none
	events  uint64    // written, but not told of yet
	opened  time.Time // when the open block got its first record
	taken   time.Time // when the last batch was taken, by the monotonic clock
	seen    time.Time // Config.Now at the last batch
	warned  time.Time // when a loss was last logged
	head    *os.File
	rollup  *rollup       // of the store, nil at first
	rest    time.Duration // how long counting hits again is to pause
}

func (w *writer) run(ctx context.Context) error {
	l := w.log
	timer, block := time.NewTimer(0), time.NewTimer(0)
	<-timer.C
	<-block.C
	defer func() {
		timer.Stop()
		block.Stop()
		w.closeHead()
	}()
	if s := l.store.Load(); s != nil {
		w.roll(s) // finds out whether there is something to be counted again
	}
	var recount, sign <-chan time.Time
	// The last quarter of the interval is left to the commit.
	wait := l.cfg.Interval - l.cfg.Interval/4
	failed := false
	for {
		wake := l.wake
		if failed {
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
			return w.step(true)
		case <-sign:
			sign = nil
			l.notary.checkpoint(l.cfg.Now())
			continue
		case done := <-l.signing:
			if err := w.seal(false); err == nil {
				if _, ok := l.notary.due(time.Now()); ok {
					l.notary.checkpoint(l.cfg.Now())
				}
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
			if failed {
				continue // hurrying would only hammer a disk that fails
			}
		case <-block.C:
			if failed {
				continue
			}
		case <-timer.C:
		}
		err := w.step(false)
		if err != nil {
			w.settled(false)
		}
		var damage *DamageError
		switch failed = err != nil; {
		case errors.As(err, &damage) && l.cfg.OnError == Fail:
			return err
		case err != nil:
			timer.Reset(l.cfg.Interval)
			continue
		}
		if l.sealer.builder.rows > 0 {
			block.Reset(max(0, l.cfg.Block-time.Since(w.opened)))
		} else {
			block.Stop()
		}
		timer.Stop()
		select {
		case <-l.wake: // came while the batch was being committed
			timer.Reset(max(0, wait-time.Since(w.taken)))
		default:
		}
	}
}

// step writes what is left over from a step that failed and then one batch more,
// and commits the open block if it is time. final closes the log to events first,
// and leaves nothing open.
func (w *writer) step(final bool) error {
	s := w.log.sealer
	if len(s.closed) > 0 {
		if err := w.commit(); err != nil {
			return err
		}
	}
	if err := w.write(); err != nil {
		return err
	}
	w.take(final)
	if err := w.write(); err != nil {
		return err
	}
	w.settled(true) // what follows moves records that are on disk
	if len(s.closed) > 0 || w.due(final) {
		s.close()
		if err := w.commit(); err != nil {
			return err
		}
	}
	if !final {
		return nil
	}
	w.take(true) // what a store that had to be replaced just now says of itself
	if err := w.write(); err != nil {
		return err
	}
	if s.close(); len(s.closed) == 0 {
		return nil
	}
	return w.commit()
}

// seal is step, with nothing left open.
func (w *writer) seal(final bool) error {
	if err := w.step(final); err != nil {
		return err
	}
	if w.log.sealer.close(); len(w.log.sealer.closed) == 0 {
		return nil
	}
	return w.commit()
}

// due says that the open block is to be committed.
func (w *writer) due(final bool) bool {
	b := w.log.sealer.builder
	return b.rows > 0 && (final || b.size() >= blockBytes || time.Since(w.opened) >= w.log.cfg.Block)
}

// take makes all that the log holds pending.
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
	w.warn(b.gaps)
	if !b.empty() {
		l.sealer.sort(&b)
		w.pending = &b
	}
}

// write brings the pending batch to disk as one frame and puts it into the open
// block. Its records have their numbers then, and can be read.
func (w *writer) write() error {
	l, s := w.log, w.log.sealer
	if w.pending == nil {
		return nil
	}
	f := frame{run: l.run, follows: s.last.number, first: s.upcoming(), count: uint32(len(s.order)), owed: w.pending.owed, batch: *w.pending}
	reasons, labels, err := l.syncTexts()
	if err == nil {
		err = l.wal.append(&f)
	}
	if w.report(err) != nil {
		return err
	}
	if s.builder.rows == 0 {
		w.opened = time.Now()
	}
	s.add(w.pending, 0, reasons, labels)
	l.release(w.pending.slabs)
	l.mu.Lock()
	l.mapping.account(f.owed)
	l.mu.Unlock()
	w.events, w.pending = w.events+w.taking(), nil
	if l.cfg.Block >= 0 {
		w.publish()
	}
	return nil
}

// publish tells of what is on disk.
func (w *writer) publish() {
	l := w.log
	l.status.Lock()
	l.status.written += w.events
	l.status.newest = l.sealer.upcoming() - 1
	l.status.Unlock()
	w.events = 0
	l.announce()
}

// taking returns how many of the pending records are events that were taken.
func (w *writer) taking() uint64 {
	if w.pending == nil {
		return 0
	}
	return uint64(len(w.log.sealer.order) - len(w.pending.gaps))
}

// report notes how a write ended, tells the operator when that changes, and
// returns err.
func (w *writer) report(err error) error {
	l := w.log
	took := time.Since(w.taken)
	l.status.Lock()
	was := l.status.err
	l.status.err, l.status.lastSeal = err, took
	l.status.Unlock()
	l.failing.Store(err != nil)
	switch {
	case err != nil && (was == nil || was.Error() != err.Error()):
		l.cfg.Logger.Error("audit commit failed, will try again", "error", err)
	case err == nil && was != nil:
		l.cfg.Logger.Info("audit commit works again")
	case err == nil && took > slowCommit:
		l.cfg.Logger.Warn("audit commit was slow", "took", took)
	}
	return err
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
	l.settling.begun.Add(1) // before looking
	if final {
		l.mu.Lock()
		l.closed = true
		l.full.Store(true)
		l.mu.Unlock()
	}
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		if len(s.slab.b) > 0 {
			l.mu.Lock()
			l.filled = append(l.filled, s.slab)
			l.mu.Unlock()
			s.slab = slab{}
		} else if final {
			s.slab = slab{}
		}
		s.mu.Unlock()
	}
	l.mu.Lock()
	b.slabs = slices.Clone(l.filled)
	b.changes, b.gaps, b.owed = l.changes, l.gaps, l.mapping.owed()
	clear(l.filled)
	l.filled, l.changes, l.gaps = l.filled[:0], nil, nil
	l.mu.Unlock()
	return b
}

// release gives slabs back, empty.
func (l *Log) release(slabs []slab) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range slabs {
		retract(s.b)
		s.b = s.b[:0]
		l.free = append(l.free, s)
	}
	l.full.Store(len(l.free) == 0 || l.closed)
}

// commit writes the closed blocks to the store, and into a new one if that there
// turns out to be damaged. No block is open then, so the frames have done.
func (w *writer) commit() error {
	l := w.log
	err := w.try()
	var damage *DamageError
	if errors.As(err, &damage) && l.cfg.OnError == StartFresh {
		if err = l.replace(damage); err == nil {
			err = w.try()
		}
	}
	if w.report(err) != nil {
		return err
	}
	closed := l.sealer.closed
	l.status.Lock()
	l.status.last = closed[len(closed)-1].header
	if l.status.oldest == 0 {
		l.status.oldest = closed[0].header.number
	}
	l.status.Unlock()
	w.writeHead()
	l.notary.committed(closed)
	l.sealer.committed()
	l.wal.reset()
	w.publish()
	return nil
}

// try commits the closed blocks to the store, which it makes if a damaged one
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
	return w.commitTo(s, l.sealer.closed)
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
	last := &w.log.sealer.closed[len(w.log.sealer.closed)-1]
	if _, err := w.head.WriteAt(head{last.header.last(), last.header.number, last.digest}.bytes(), 0); err != nil {
		w.log.cfg.Logger.Warn("audit head file was not written", "error", err)
	}
}

func (w *writer) closeHead() {
	if w.head != nil {
		w.head.Close()
	}
}

// announce wakes the followers.
func (l *Log) announce() {
	l.follow.Lock()
	defer l.follow.Unlock()
	close(l.follow.sealed)
	l.follow.sealed = make(chan struct{})
}

// abandon counts as lost what was taken but will never be written. What was
// written ahead is for the next run to commit.
func (w *writer) abandon() {
	l := w.log
	w.publish()
	n := w.taking()
	w.pending = nil
	w.take(true)
	n += w.taking()
	l.status.Lock()
	defer l.status.Unlock()
	l.status.abandoned += n
}
