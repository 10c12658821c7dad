package audit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// How a log begins: it opens the store, takes over what a run that did not end has
// left, and begins a run of its own. A disk that is full, read-only or broken is no
// reason for a server not to start. What cannot be done then the writer tries again,
// until it works; records wait in slabs meanwhile, and Config.OnFull says what becomes
// of queries.
//
// What is left beside the store stays as it is until it is in the store. If it can be,
// the log goes on with that run as if the process had never ended: in the same file of
// slabs, which holds what the earlier process had taken and has room for more.

// passes says that an error of the disk may be over some day, or that there is none.
func passes(err error) bool {
	for _, e := range [...]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS, syscall.EIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return err == nil
}

// open opens the store, or goes on with what is left to be done of that.
func (l *Log) open() error {
	if err := os.MkdirAll(l.cfg.Dir, filesPrivate); err != nil {
		return fmt.Errorf("open audit store: %w", err)
	}
	if err := l.notary.open(); err != nil {
		return err
	}
	l.sealer.key = l.notary.key
	if l.store.Load() == nil {
		if err := l.openStore(); err != nil {
			return err
		}
	}
	inStore := l.sealer.last.number
	if err := l.begin(); err != nil {
		return err
	}
	l.begun = true
	err := l.notary.adopt(inStore)
	if passes(err) {
		l.notary.say(err)
		return nil
	}
	return err
}

// begin takes over what a run that did not end has left, and begins a run.
func (l *Log) begin() error {
	s, err := newSealer(l.sealer.key) // one of its own, for the numbers in what is left are not ours
	if err != nil {
		return err
	}
	s.last, s.digest, s.next = l.sealer.last, l.sealer.digest, l.sealer.next
	left, err := readLeftover(l.cfg.Dir, s, max(l.cfg.Now().UnixNano(), 1))
	if err != nil {
		return fmt.Errorf("open audit store: %w", err)
	}
	if left.memory == nil { // it is of no use, and its room may be
		if err := removeSlabs(l.cfg.Dir); err != nil {
			return fmt.Errorf("open audit store: %w", err)
		}
	}
	l.status.Lock()
	if l.status.oldest != 0 {
		l.status.newest = l.status.last.last()
	}
	l.status.Unlock()
	l.sealer.continues(s, left.segments)
	if left.found {
		l.cfg.Logger.Warn("the run before did not end", "from_memory", left.fromSlabs, "nothing_missing", left.whole)
	}
	if left.missing != "" {
		l.cfg.Logger.Error("audit records are missing", "error", left.missing)
	}
	if left.wrong != "" {
		l.cfg.Logger.Error("reasons of audit records are missing", "error", left.wrong)
	}
	if len(left.segments) > 0 {
		l.waiting = &left
		if err := l.takeOver(); !passes(err) {
			return err
		} else if err != nil {
			l.resume(err)
			return nil
		}
	}
	l.beginRun()
	return nil
}

// beginRun begins a run. Nothing is left of another.
func (l *Log) beginRun() {
	_, _ = rand.Read(l.run[:]) // does not fail, see crypto/rand
	l.status.Lock()
	l.status.next = l.sealer.upcoming()
	l.status.Unlock()
	l.makeSlabs()
	l.texts.begin(l.run, l.mapping != nil)
	l.tables.RLock()
	reasons, labels := l.reasons, l.labels
	l.tables.RUnlock()
	if err := errors.Join(l.texts.write(reasons, labels), l.wal.make()); err != nil { // a full disk, which is no reason not to start
		l.cfg.Logger.Error("audit records cannot be written, will try again", "error", err)
	}
}

// takeOver commits what a run before has left. After an error it may be called again.
func (l *Log) takeOver() error {
	left := l.waiting
	if err := left.secure(l.cfg.Dir); err != nil {
		return fmt.Errorf("write what a run that did not end has left: %w", err)
	}
	if err := (&writer{log: l}).commitTo(l.store.Load(), left.segments); err != nil {
		return fmt.Errorf("records of a run that did not end are still to be written: %w", err)
	}
	l.status.Lock()
	l.status.last = left.segments[len(left.segments)-1].header
	l.status.newest = l.status.last.last()
	if l.status.oldest == 0 {
		l.status.oldest, l.status.begins = left.segments[0].header.number, left.segments[0].header.min
	}
	l.status.Unlock()
	l.sealer.committed()
	if l.begun {
		l.notary.committed(left.segments)
	}
	l.waiting = nil
	return nil
}

// resume makes the log go on in what a run before has left, for it cannot be taken over.
func (l *Log) resume(why error) {
	l.cfg.Logger.Error("what a run before has left cannot be written to the audit store yet, will try again", "error", why)
	l.postpone(why)
	left := l.waiting
	if left.memory == nil || left.wrong != "" || len(l.reasons)+len(l.labels) > 0 { // its numbers are not known, or others are in use
		l.useSlabs(nil)
		l.sheltered(nil, why)
		return
	}
	m, err := mapAgain(filepath.Join(l.cfg.Dir, slabsFile), left.memory.shape)
	if err == nil {
		if err = l.texts.resume(&left.texts); err != nil {
			_ = m.close()
		}
	}
	if err != nil {
		l.useSlabs(nil)
		l.sheltered(nil, err)
		return
	}
	l.run, l.reasons, l.labels = left.texts.run, left.texts.reasons, left.texts.labels
	for i, r := range l.reasons {
		l.reasonIDs[r] = uint32(i + 1)
	}
	for i, name := range l.labels {
		l.labelIDs[name] = uint32(i + 1)
	}
	l.mu.Lock()
	l.excluded.left = left.memory.excluded
	l.mu.Unlock()
	l.useSlabs(m)
	l.given = left.memory.given
	l.free = slices.DeleteFunc(l.free, func(s slab) bool {
		if !slices.ContainsFunc(left.memory.slabs, func(used slab) bool { return used.number == s.number }) {
			return false
		}
		left.busy = append(left.busy, s)
		return true
	})
	l.full.Store(len(l.free) == 0 || l.shut.Load())
	left.resumed = true
	l.sheltered(m, nil)
}

// postpone notes that the store cannot be written yet.
func (l *Log) postpone(why error) {
	if l.cfg.OnFull == Refuse {
		l.shut.Store(true)
		l.full.Store(true)
	}
	l.failing.Store(true)
	l.status.Lock()
	l.status.err = why
	l.status.Unlock()
}

// ready says that nothing is left to be done of the beginning.
func (l *Log) ready() bool { return l.begun && l.waiting == nil }

// prepare does what is left to be done of the beginning.
func (w *writer) prepare() error {
	l := w.log
	if l.ready() {
		return nil
	}
	w.taken = time.Now()
	var err error
	if !l.begun {
		err = l.open()
	}
	if err == nil && l.waiting != nil {
		left := l.waiting
		if err = l.takeOver(); err == nil {
			if left.resumed {
				w.plain = left.memory.plain
				l.release(left.busy)
				l.mu.Lock()
				l.mapping.account(left.memory.owed, l.sealer.upcoming())
				l.excluded.left = ExcludedCount{}
				l.excluded.note(l.mapping)
				l.mu.Unlock()
			} else {
				l.beginRun()
			}
		}
	}
	if err == nil {
		w.rollup = nil // it does not know of what was taken over
		l.shut.Store(false)
		l.release(nil)
	}
	if w.report(err) != nil {
		return err
	}
	l.announce()
	return nil
}
