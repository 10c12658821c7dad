package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Retention removes whole files, the oldest first, from a goroutine beside the writer:
// those of which all records are older than Config.Keep, and, while all files together
// have more octets with the index than Config.KeepSize, the oldest. The newest file stays always, and so
// does every file with a record that is held. Before a file goes, a change record and a
// signed note that say so are on disk, so that Reader.Verify can tell it from one that
// somebody else has removed. A reader that is just reading the file may finish. The
// roll-up of hits counts what was removed too, for as long as it keeps an hour.

const retainEvery = time.Minute

// facts is what retention knows of a file that does not change any more.
type facts struct {
	records, segments [2]uint64
	last              [digestSize]byte // digest of the last segment
	from, to          int64            // of its records, nanoseconds
}

// A Retention says how what is kept compares with what was asked for.
type Retention struct {
	HeldFiles int    `json:"held_files,omitempty"` // files that would be removed, were there no holds
	HeldBytes int64  `json:"held_bytes,omitempty"` // their octets
	Error     string `json:"error,omitempty"`      // why nothing is removed
}

// keepOn removes what is due until ctx ends.
func (l *Log) keepOn(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-l.retain:
		}
		err := l.removeDue(ctx)
		if ctx.Err() != nil {
			return
		}
		l.status.Lock()
		was := l.status.retention.Error
		if l.status.retention.Error = ""; err != nil {
			l.status.retention.Error = err.Error()
		}
		now := l.status.retention.Error
		l.status.Unlock()
		switch {
		case now != "" && now != was:
			l.cfg.Logger.Error("old audit records are not removed, will try again", "error", err)
		case now == "" && was != "":
			l.cfg.Logger.Info("old audit records are removed again")
		}
		timer.Reset(retainEvery)
	}
}

// removeDue removes what is to be removed now.
func (l *Log) removeDue(ctx context.Context) error {
	l.retention.Lock()
	defer l.retention.Unlock()
	st := l.store.Load()
	if st == nil { // it could not be opened yet
		return nil
	}
	files := st.all()
	holds, _, err := readHolds(l.holds)
	if err != nil {
		return err
	}
	now, size, oldest := l.cfg.Now(), st.size(), uint64(0)
	var held Retention
	for i := 0; i+1 < len(files); i++ {
		f := files[i]
		over := l.cfg.KeepSize > 0 && size+l.index.room(oldest) > l.cfg.KeepSize
		if !over && l.cfg.Keep <= 0 {
			break
		}
		if err := st.learn(files, i); err != nil {
			return err
		}
		why := ""
		switch {
		case l.cfg.Keep > 0 && f.facts.to < now.Add(-l.cfg.Keep).UnixNano():
			why = RemovedByAge
		case over:
			why = RemovedBySize
		}
		if why == "" {
			break
		}
		info, err := os.Stat(f.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove audit records: %w", err)
		}
		if err != nil { // somebody else has removed it, which is for Verify to say
			continue
		}
		if isHeld(holds, f.facts) {
			held.HeldFiles++
			held.HeldBytes += info.Size()
			continue
		}
		if err := l.remove(ctx, st, f, why, info.Size()); err != nil {
			return err
		}
		size -= info.Size()
		if held.HeldFiles == 0 {
			oldest = files[i+1].first
		}
	}
	l.status.Lock()
	l.status.retention.HeldFiles, l.status.retention.HeldBytes = held.HeldFiles, held.HeldBytes
	l.status.Unlock()
	return nil
}

func isHeld(holds []Hold, f *facts) bool {
	for i := range holds {
		if holds[i].covers(f) {
			return true
		}
	}
	return false
}

// remove removes a file, after that is on record.
func (l *Log) remove(ctx context.Context, st *store, f *file, why string, size int64) error {
	r := Removal{
		File: filepath.Base(f.path), Why: why, Records: f.facts.records, Segments: f.facts.segments, Last: f.facts.last,
		From: instant(f.facts.from), To: instant(f.facts.to), Octets: size, Time: l.cfg.Now(),
	}
	limit := "all of them older than " + l.cfg.Keep.String()
	if why == RemovedBySize {
		limit = fmt.Sprintf("the store and its index have more than %d octets", l.cfg.KeepSize)
	}
	text := fmt.Sprintf("retention: removed %s, records %d to %d in %d segments, of %s to %s, %d octets: %s", r.File, r.Records[0], r.Records[1],
		r.Segments[1]-r.Segments[0]+1, r.From.Format(time.RFC3339), r.To.Format(time.RFC3339), size, limit)
	if !l.RecordChange(Change{Action: ActionRetention, Text: text}) {
		return errors.New("remove audit records: the log cannot take a record of it now")
	}
	if err := l.Flush(ctx); err != nil {
		return fmt.Errorf("remove audit records: %w", err)
	}
	if err := l.notary.tell(r); err != nil {
		return err
	}
	st.remove(f)
	if err := errors.Join(os.Remove(f.path), syncDir(l.cfg.Dir)); err != nil {
		return fmt.Errorf("remove audit records: %w", err)
	}
	l.cfg.Logger.Info("audit records were removed", "file", r.File, "records", fmt.Sprintf("%d to %d", r.Records[0], r.Records[1]),
		"from", r.From, "to", r.To, "bytes", size, "why", limit)
	l.surveyOldest(st)
	return nil
}

// surveyOldest notes where the store begins.
func (l *Log) surveyOldest(st *store) {
	h, _ := st.oldest()
	l.status.Lock()
	l.status.oldest, l.status.begins = h.number, h.min
	l.status.Unlock()
	signal(l.stored)
}

// learn finds out what there is to know of the file in that place, which another follows.
func (s *store) learn(files []*file, at int) error {
	f := files[at]
	if f.facts != nil {
		return nil
	}
	k := facts{from: int64(^uint64(0) >> 1), records: [2]uint64{f.first, files[at+1].first - 1}}
	found := false
	b, err := s.use(f)
	if err == nil {
		found, err = b.learn(&k)
		s.leave(f)
	}
	var damage *DamageError
	if err != nil && !errors.As(err, &damage) {
		return err
	}
	if err != nil || !found { // what the next file says of it
		var value []byte
		_, ok, err := s.following(files[at+1].first, nil, &value)
		if err != nil {
			return err
		}
		h, err := readHeader(value)
		if !ok || err != nil {
			return fmt.Errorf("%s cannot be read, nor the file behind it: it is not removed", f.path)
		}
		k.segments[1], k.last, k.to = h.number-1, h.prev, h.min
		if k.segments[0] == 0 {
			k.segments[0] = k.segments[1]
		}
		k.from = min(k.from, k.to)
	}
	f.facts = &k
	return nil
}

// learn adds what the file's headers say; found is that its last is good.
func (s *boltFile) learn(k *facts) (found bool, err error) {
	var value []byte
	for at := uint64(0); ; {
		key, ok, err := s.following(at, func(h *header) bool {
			if k.segments[0] == 0 {
				k.segments[0] = h.number
			}
			k.from, k.to = min(k.from, h.min), max(k.to, h.max)
			return false
		}, &value)
		if err != nil {
			return false, err
		}
		if !ok {
			break
		}
		at = key + 1 // behind one that cannot be read
	}
	if _, ok, err := s.previous(newest, nil, &value); err != nil || !ok {
		return false, err
	}
	h, digest, err := checkSegment(value)
	if err == nil && h.packed {
		h, digest, err = lastPacked(&h, value)
	}
	if err != nil {
		return false, nil
	}
	k.segments[1], k.records[1], k.last = h.number, h.last(), digest
	return true, nil
}

// remove takes a file out of the store. Who is reading it may finish.
func (s *store) remove(f *file) {
	s.mu.Lock()
	f.gone = true
	files := make([]*file, 0, len(s.files))
	for _, other := range s.files {
		if other != f {
			files = append(files, other)
		}
	}
	s.files = files
	idle := s.idle()
	s.mu.Unlock()
	closeAll(idle)
}
