package audit

import (
	"context"
	"errors"
	"os"
	"runtime"
	"time"
)

// slowCommit is how long a commit may take before the operator hears of it.
const slowCommit = time.Second

// witnessPatience is how long the end of the log waits for witnesses.
const witnessPatience = 2 * time.Second

// Run writes and commits what was recorded until ctx ends, then once more, and
// closes the store. It is the store's only writer and must be called once. A
// write that fails is tried again at every interval, meanwhile events wait in
// the slabs. Run returns an error if events could not be written at the end, or
// if the store is damaged and Config.OnError is Fail.
func (l *Log) Run(ctx context.Context) error {
	w := &writer{log: l, seen: l.cfg.Now()}
	witnesses, stop := context.WithCancel(context.WithoutCancel(ctx))
	watched, indexed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		l.notary.watch(witnesses)
	}()
	indexing, stopIndexing := context.WithCancel(ctx)
	defer stopIndexing()
	go func() {
		defer close(indexed)
		l.keepIndex(indexing)
	}()
	keeping, stopKeeping := context.WithCancel(ctx)
	kept := make(chan struct{})
	if l.cfg.Keep > 0 || l.cfg.KeepSize > 0 {
		go func() {
			defer close(kept)
			l.keepOn(keeping)
		}()
	} else {
		close(kept)
	}
	packed := make(chan struct{})
	packing, end := context.WithCancel(ctx)
	go func() {
		defer close(packed)
		l.pack(packing)
	}()
	err := w.run(ctx)
	stopIndexing()
	stopKeeping()
	<-kept
	if err != nil {
		w.abandon()
	}
	end()
	<-packed
	if _, ok := l.notary.due(time.Now()); ok {
		l.notary.checkpoint(l.cfg.Now())
	}
	stop()
	select {
	case <-watched:
	case <-time.After(witnessPatience):
		l.cfg.Logger.Error("a witness did not take the last audit checkpoint in time")
	}
	<-indexed
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
	errs := []error{l.wal.close(), l.texts.close(), l.notary.close(), l.keys.close()}
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
	plain   uint64    // of those written, how many were in slabs that are in no file
	opened  time.Time // when the open block got its first record
	taken   time.Time // when the last batch was taken, by the monotonic clock
	seen    time.Time // Config.Now at the last batch
	warned  time.Time // when a loss was last logged
	slow    time.Time // when a slow step was
	failed  time.Time // when a failure was
	head    *os.File
	astray  *astray           // a file is not there; nil: all are
	gone    map[string]string // files beside the store that cannot be written again yet, and why
	rollup  *rollup           // of the store, nil at first
	rest    time.Duration     // how long counting hits again is to pause
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
	if !l.ready() {
		signal(l.kick)
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
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
		case <-look.C:
			if failed || !w.looks() {
				w.remember()
				continue
			}
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
		case do := <-l.asking:
			do(w)
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
			runtime.Gosched() // so that those who run next are in the same batch
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
	defer w.watch()()
	s := w.log.sealer
	if err := w.prepare(); err != nil {
		return err
	}
	if err := w.mend(); err != nil {
		return err
	}
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
	w.settled(true) // there may have been nothing to write
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

// watch notes that a step is under way, until what it returns is called, and tells the
// operator of one that takes long.
func (w *writer) watch() (done func()) {
	l := w.log
	l.status.Lock()
	l.status.writing = time.Now()
	l.status.Unlock()
	tell := w.slow.IsZero() || time.Since(w.slow) >= lossTold
	long := time.AfterFunc(slowCommit, func() {
		l.stalled.Store(true)
		if tell {
			l.cfg.Logger.Warn("the disk keeps the audit log waiting, records wait in memory", "limit", slowCommit)
		}
	})
	return func() {
		if !long.Stop() {
			took := time.Since(l.status.writing) // only we change it
			if tell {
				w.slow = time.Now()
				l.cfg.Logger.Warn("audit commit was slow", "took", took)
			}
			l.stalled.Store(false)
		}
		l.status.Lock()
		l.status.writing = time.Time{}
		l.status.Unlock()
	}
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

// write brings the pending batch to disk as one frame and puts it into the open
// block. Its records have their numbers then, and can be read.
func (w *writer) write() error {
	l, s := w.log, w.log.sealer
	if w.pending == nil {
		return nil
	}
	plain := w.plain // events in frames that were in slabs of no file
	for i := range w.pending.slabs {
		if w.pending.slabs[i].number == plainSlab {
			plain += countEvents(w.pending.slabs[i].b)
		}
	}
	f := frame{run: l.run, follows: s.last.number, first: s.upcoming(), count: uint32(len(s.order)), owed: w.pending.owed + plain, batch: *w.pending}
	reasons, labels, err := l.syncTexts()
	if err == nil {
		err = l.mask.sync()
	}
	if err == nil {
		err = l.wal.append(&f)
	}
	if w.report(err) != nil {
		return err
	}
	w.settled(true) // nobody waits for what follows, which takes as long as that
	if s.builder.rows == 0 {
		w.opened = time.Now()
	}
	s.add(w.pending, 0, reasons, labels)
	l.release(w.pending.slabs)
	l.mu.Lock()
	l.mapping.account(f.owed, s.upcoming())
	l.mu.Unlock()
	w.plain = plain
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
	case err != nil && (was == nil || was.Error() != err.Error() && time.Since(w.failed) >= lossTold):
		w.failed = time.Now()
		l.cfg.Logger.Error("audit commit failed, will try again", "error", err)
	case err == nil && was != nil:
		l.cfg.Logger.Info("audit commit works again")
	}
	return err
}

// announce wakes the followers.
func (l *Log) announce() {
	l.follow.Lock()
	defer l.follow.Unlock()
	close(l.follow.sealed)
	l.follow.sealed = make(chan struct{})
}

// abandon counts as lost what was taken but will never be written. What was
// written ahead, or is in slabs of a file, is for the next run to commit.
func (w *writer) abandon() {
	l := w.log
	w.publish()
	l.mu.Lock()
	kept := l.mapping.holds()
	l.mu.Unlock()
	count := func() (n uint64) {
		n = w.taking()
		if w.pending == nil || !kept {
			return n
		}
		for _, s := range w.pending.slabs {
			if s.number != plainSlab { // the next start finds it
				n -= countEvents(s.b)
			}
		}
		return n
	}
	n := count()
	w.pending = nil
	w.take(true)
	n += count()
	l.status.Lock()
	defer l.status.Unlock()
	l.status.abandoned += n
}
