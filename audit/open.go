package audit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
)

// openStore opens the store that is there, makes one, or deals with its damage.
func (l *Log) openStore() error {
	s, fresh, err := openStore(l.cfg.Dir)
	if err == nil {
		if err = l.adopt(s, fresh); err != nil {
			s.close()
		}
	}
	var damage *DamageError
	if errors.As(err, &damage) && l.cfg.OnError == StartFresh {
		l.sealer.follow(header{}, [digestSize]byte{}, readHead(l.cfg.Dir))
		return l.replace(damage)
	}
	return err
}

// begin commits what a run that did not end has left, and begins a run.
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
	l.sealer.last, l.sealer.digest, l.sealer.next = s.last, s.digest, s.next
	if len(left.segments) > 0 {
		if err := left.secure(l.cfg.Dir); err != nil {
			return fmt.Errorf("open audit store: %w", err)
		}
		if err := l.store.Load().append(left.segments, nil); err != nil { // their hits are counted from them
			return fmt.Errorf("open audit store: records of a run that did not end are still to be written to it: %w", err)
		}
		l.status.last = left.segments[len(left.segments)-1].header
		if l.status.oldest == 0 {
			l.status.oldest = left.segments[0].header.number
		}
	}
	if l.status.oldest != 0 {
		l.status.newest = l.status.last.last()
	}
	_, _ = rand.Read(l.run[:]) // does not fail, see crypto/rand
	l.makeSlabs()
	l.texts = &texts{dir: l.cfg.Dir, run: l.run, mapped: l.mapping != nil, dirty: true}
	l.wal = &wal{dir: l.cfg.Dir}
	if err := errors.Join(l.texts.make(), l.wal.make()); err != nil { // a full disk, which is no reason not to start
		l.cfg.Logger.Error("audit records cannot be written, will try again", "error", err)
	}
	if left.found {
		l.cfg.Logger.Warn("the run before did not end", "from_memory", left.fromSlabs, "nothing_missing", left.whole)
	}
	if left.missing != "" {
		l.cfg.Logger.Error("audit records are missing", "error", left.missing)
	}
	return nil
}

// adopt proves the store's newest segments and makes the log go on behind them.
func (l *Log) adopt(s *store, fresh bool) error {
	last, digest, err := s.tail()
	if err != nil {
		return err
	}
	var oldest []byte
	if _, _, err := s.following(0, nil, &oldest); err != nil {
		return err
	}
	if h, err := readHeader(oldest); err == nil {
		l.status.oldest = h.number
	}
	l.status.last = last
	l.store.Store(s)

	known := readHead(l.cfg.Dir)
	l.sealer.follow(last, digest, known)
	var have uint64
	if last.number > 0 {
		have = last.last()
	}
	if have >= known.seq {
		return nil
	}
	text := fmt.Sprintf("the store ends at record %d, its head file at record %d: the records between are missing", have, known.seq)
	if fresh {
		text = fmt.Sprintf("the store was gone, its head file ends at record %d: a new store begins", known.seq)
	}
	l.cfg.Logger.Error("audit records are missing", "error", text)
	l.note(text)
	return nil
}

// replace moves a damaged store aside and begins a new one, which says so in a
// change record. The numbers of records and of segments go on.
func (l *Log) replace(damage *DamageError) error {
	if s := l.store.Swap(nil); s != nil {
		s.abandon()
	}
	moved, err := moveAside(damage.File, l.cfg.Now())
	if err != nil {
		return errors.Join(damage, err)
	}
	l.cfg.Logger.Error("audit store was damaged and has been moved aside", "error", damage, "moved", moved)
	l.note(fmt.Sprintf("%v; it was moved to %s and a new store begins", damage, filepath.Base(moved)))
	l.status.Lock()
	l.status.last, l.status.oldest = header{}, 0
	l.status.Unlock()
	s, _, err := openStore(l.cfg.Dir)
	if err != nil {
		return err
	}
	l.store.Store(s)
	return nil
}

// makeSlabs makes the slabs, in shared memory if that can be had.
func (l *Log) makeSlabs() {
	n, size := l.cfg.Slabs, l.cfg.SlabBytes
	l.free = make([]slab, n)
	m, err := mapSlabs(l.cfg.Dir, l.run, n, size)
	if err != nil {
		l.cfg.Logger.Warn("records that are not on disk yet would not outlive a process that is killed", "reason", err)
		for i := range l.free {
			l.free[i] = slab{number: uint32(i), b: make([]byte, 0, size)}
		}
		return
	}
	l.mapping = m
	for i := range l.free {
		l.free[i] = m.slab(i, n)
	}
}
