package audit

import (
	"errors"
	"fmt"
	"path/filepath"
)

// openStore opens the store that is there, makes one, or deals with its damage.
func (l *Log) openStore() error {
	s, err := openStore(l.cfg.Dir, l.cfg.Period)
	if err != nil {
		return err
	}
	if err = s.list(); err == nil {
		err = l.adopt(s)
	}
	var damage *DamageError
	if errors.As(err, &damage) && l.cfg.OnError == StartFresh {
		err = l.replaceUnopened(s, damage)
	}
	if err != nil {
		return errors.Join(err, s.close())
	}
	l.store.Store(s)
	if s.renamed != "" {
		text := fmt.Sprintf("the store, which was one file %s, goes on in files of a period each, the first of which it is now: %s", formerFile, s.renamed)
		l.cfg.Logger.Info(text)
		l.note(text)
		l.tellFormer(s)
	}
	return nil
}

// tellFormer signs that records before the oldest were gone when files began to be
// accounted for.
func (l *Log) tellFormer(s *store) {
	h, ok := s.oldest()
	if !ok || h.first <= 1 {
		return
	}
	now := l.cfg.Now()
	l.tell(Removal{
		File: formerFile, Why: BeforeFiles, Records: [2]uint64{1, h.first - 1}, Segments: [2]uint64{1, h.number - 1},
		Last: h.prev, From: now, To: now, Time: now,
	})
}

// tell signs what became of records. That it fails costs the proof of that.
func (l *Log) tell(r Removal) {
	if err := l.notary.tell(r); err != nil {
		l.cfg.Logger.Error("which audit records are not here is not in the file that proves it", "error", err)
	}
}

// adopt proves the newest segments of the store's newest file and makes the log go on
// behind them.
func (l *Log) adopt(s *store) error {
	known := readHead(l.cfg.Dir)
	fresh := len(s.files) == 0
	if fresh {
		if err := s.begin(known.seq+1, l.cfg.Now()); err != nil {
			return err
		}
	} else if err := s.openNewest(); err != nil {
		return err
	}
	last, digest, err := s.newest().tail()
	if err != nil {
		return err
	}
	have := l.goOn(s, last, digest, known)
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

// goOn makes the log go on behind the last segment of the newest file, which may have
// none: then behind that of those before it or of the head file, whichever is later. It
// returns the number of the store's last record.
func (l *Log) goOn(s *store, last header, digest [digestSize]byte, known head) (have uint64) {
	if last.number == 0 {
		last, digest = s.lastWhole()
		if last.number > 0 && last.number <= known.number {
			l.sealer.follow(header{}, [digestSize]byte{}, known)
		} else {
			l.sealer.follow(last, digest, known)
		}
	} else {
		l.sealer.follow(last, digest, known)
	}
	if last.number > 0 {
		have = last.last()
	}
	if n := len(s.files); n > 0 { // the records of a file that cannot be read have numbers too
		l.sealer.next = max(l.sealer.next, s.files[n-1].first)
	}
	s.resume(last)
	l.status.Lock()
	l.status.last = last
	l.status.Unlock()
	l.surveyOldest(s)
	return have
}

// replace moves the damaged newest file aside and begins a new one, which says so in a
// change record. The numbers of records and of segments go on.
func (l *Log) replace(damage *DamageError) error {
	s := l.store.Load()
	s.discard()
	if err := l.moveAside(damage); err != nil {
		return err
	}
	first := l.sealer.next
	if closed := l.sealer.closed; len(closed) > 0 {
		first = closed[0].header.first
	}
	l.surveyOldest(s)
	l.tellAside(s, damage.File, first, l.sealer.closed)
	return s.begin(first, l.cfg.Now())
}

// replaceUnopened is replace for a file that could not even be opened.
func (l *Log) replaceUnopened(s *store, damage *DamageError) error {
	s.discard()
	if err := l.moveAside(damage); err != nil {
		return err
	}
	s.files = nil
	if err := s.list(); err != nil {
		return err
	}
	l.goOn(s, header{}, [digestSize]byte{}, readHead(l.cfg.Dir))
	l.tellAside(s, damage.File, l.sealer.next, nil)
	return s.begin(l.sealer.next, l.cfg.Now())
}

// tellAside signs that the file was set aside, with its records up to the one before next;
// closed are the segments that were to follow.
func (l *Log) tellAside(s *store, path string, next uint64, closed []sealed) {
	if r, ok := l.removal(s, path, SetAside, next, closed); ok {
		l.tell(r)
	}
}

// removal says what is missing behind the store, from the file at path up to the record
// before next; ok is false if nothing is known to be.
func (l *Log) removal(s *store, path, why string, next uint64, closed []sealed) (r Removal, ok bool) {
	number, last := l.sealer.last.number, l.sealer.digest
	if len(closed) > 0 {
		number, last = closed[0].header.number-1, closed[0].header.prev
	}
	first, _ := fileNumber(filepath.Base(path))
	before, _ := s.lastWhole()
	now := l.cfg.Now()
	r = Removal{
		File: filepath.Base(path), Why: why, Records: [2]uint64{max(first, 1), next - 1},
		Segments: [2]uint64{before.number + 1, number}, Last: last, From: now, To: now, Time: now,
	}
	return r, r.Records[1] >= r.Records[0] && number > before.number
}

func (l *Log) moveAside(damage *DamageError) error {
	moved, err := moveAside(damage.File, l.cfg.Now())
	if err != nil {
		return errors.Join(damage, err)
	}
	l.cfg.Logger.Error("audit store was damaged and has been moved aside", "error", damage, "moved", moved)
	l.note(fmt.Sprintf("%v; it was moved to %s and a new store begins", damage, filepath.Base(moved)))
	return nil
}
