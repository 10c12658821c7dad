package audit

import (
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
	l.status.Lock()
	if h, err := readHeader(oldest); err == nil {
		l.status.oldest = h.number
	}
	l.status.last = last
	l.status.Unlock()
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
