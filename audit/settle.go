package audit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// stallPatience is how long an answer waits for the disk before the log counts as
// one that cannot write.
const stallPatience = time.Second

// settling is what Settle waits by. Batches are numbered as the writer begins to
// take them: what was recorded before a call is in the next one that begins, at
// the latest.
type settling struct {
	mu        sync.Mutex // held while these change together
	begun     atomic.Uint64
	written   atomic.Uint64 // the newest that is on disk, or had nothing in it
	now, next chan struct{} // of those who wait for the one that has begun, and for the next; closed when it is known what becomes of it

	stalled atomic.Bool // somebody has waited in vain since the last one

	withheld struct { // answers not given since the writer last looked, guarded by the log's mu
		answers  uint64
		from, to int64
	}
	withheldAll atomic.Uint64 // since Open
}

// Settles says that answers wait for their records (Config.BeforeAnswer).
func (l *Log) Settles() bool { return l.cfg.BeforeAnswer }

// Settle waits until every event that was taken before the call is on disk. Those
// who wait meanwhile are let go together. It returns at once unless
// Config.BeforeAnswer. It is false if the disk fails, or keeps the first to wait for
// longer than a second, or the log has ended, and Config.OnFull is Refuse: then the
// answer must not be given, though its record may be there in the end.
func (l *Log) Settle() bool {
	return !l.cfg.BeforeAnswer || l.settle() || l.cfg.OnFull == Serve
}

func (l *Log) settle() bool {
	s := &l.settling
	s.mu.Lock()
	goal, known := s.begun.Load()+1, s.next
	s.mu.Unlock()
	if l.failing.Load() || s.stalled.Load() { // after next was looked at: who fails later closes it
		return false
	}
	patience := time.NewTimer(stallPatience)
	defer patience.Stop()
	signal(l.kick)
	select {
	case <-known:
	case <-l.over:
	case <-patience.C:
		if s.written.Load() < goal && !s.stalled.Swap(true) {
			l.cfg.Logger.Error("answers waited too long for the audit log to write", "limit", stallPatience)
		}
	}
	return s.written.Load() >= goal
}

// begin notes that the writer begins to take a batch.
func (s *settling) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun.Add(1)
	s.now, s.next = s.next, make(chan struct{})
}

// end lets go those who wait for the batches that have begun. If it failed, nobody is to
// wait for the next one either.
func (s *settling) end(ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		s.written.Store(s.begun.Load())
		s.stalled.Store(false)
	} else {
		close(s.next)
		s.next = make(chan struct{})
	}
	if s.now != nil {
		close(s.now)
		s.now = nil
	}
}

// Withheld notes that so many answers were not given because Settle was false, though
// their records, which may come to the disk in the end, tell of them. A change record
// says how many there were, and from when to when: what a client got is on record so.
func (l *Log) Withheld(answers int) {
	if answers == 0 {
		return
	}
	l.settling.withheldAll.Add(uint64(answers))
	at := max(l.cfg.Now().UnixNano(), 0)
	l.mu.Lock()
	w := &l.settling.withheld
	if w.answers == 0 {
		w.from = at
		l.mapping.owe(at, 1) // the record of it
	}
	w.answers, w.to = w.answers+uint64(answers), at
	l.mu.Unlock()
	l.arm()
}

// tellWithheld adds the record of answers that were not given. l.mu is held.
func (l *Log) tellWithheld() {
	w := &l.settling.withheld
	if w.answers == 0 {
		return
	}
	l.changes = append(l.changes, change{w.to, Change{Action: ActionWithheld, Text: fmt.Sprintf(
		"%d answers were withheld from %s to %s: their records could not be written in time, and the clients got SERVFAIL instead of what these say",
		w.answers, instant(w.from).Format(time.RFC3339Nano), instant(w.to).Format(time.RFC3339Nano))}})
	l.taken++
	w.answers = 0
}

// settled lets go those who wait for the batches that have begun. A failure is told
// to them too.
func (w *writer) settled(ok bool) {
	l := w.log
	if !l.cfg.BeforeAnswer {
		return
	}
	l.settling.end(ok)
	if !ok {
		l.announce()
	}
}
