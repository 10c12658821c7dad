package audit

import (
	"time"
)

// Stats tells how the log is doing. Every call of Record and RecordChange since
// Open is in Recorded or in Lost, and so is what the log says of itself. In both is
// only what was on disk first and lost then: Recorded + Lost - Missing - Changes is
// how many calls of Record there were.
type Stats struct {
	Recorded  uint64        // events taken, on disk or pending
	Excluded  ExcludedCount // queries that were not to be recorded (Config.Exclude): they are in none of the others
	Lost      uint64        // events that could not be taken, were pending when the log ended in failure, or are missing: what gaps count
	Missing   uint64        // of Lost, those that were on disk, in files that somebody removed or replaced since Open
	Changes   uint64        // of Recorded and Lost together, those that are no queries
	Pending   uint64        // events taken that are not on disk yet
	Segments  uint64        // segments in the store
	Packed    uint64        // of them, those that are in packs; known a little after Run begins
	LastSeq   uint64        // sequence number of the last record on disk
	Bytes     int64         // size of the store's files
	Files     int           // in the store
	Oldest    time.Time     // earliest record of the store's oldest segment; zero is none
	Retention Retention     // what is kept in spite of it
	LastSeal  time.Duration // how long the last commit took, with all before it
	Index     IndexStats    // what the index has
	Refusing  bool          // what Log.Refusing says
	LastError string        // why the last commit failed; empty if it did not
	Stalled   time.Duration // how long the writer has been waiting for the disk, if that is more than a second
	Withheld  uint64        // answers that were not given because their records could not be written in time
	Exposed   string        // what a process that is killed would lose; empty is nothing
}

// NextSeq returns the sequence number of the record that comes behind those on disk. It is not one more than that of the
// last where the store was moved aside: numbers go on.
func (l *Log) NextSeq() uint64 {
	l.status.Lock()
	defer l.status.Unlock()
	return max(l.status.next, l.status.newest+1)
}

// Stats returns the counts as they are now. While events are being recorded the
// numbers may be a few events apart from each other.
func (l *Log) Stats() Stats {
	var s Stats
	for i := range l.shards {
		sh := &l.shards[i]
		sh.mu.Lock()
		s.Recorded += sh.taken + sh.changes
		s.Changes += sh.changes
		sh.mu.Unlock()
	}
	l.mu.Lock()
	s.Recorded += l.taken
	s.Lost = l.lost + l.missed
	s.Changes += l.taken + l.missed
	s.Excluded = l.excluded.total
	l.mu.Unlock()

	l.status.Lock()
	s.Recorded -= l.status.abandoned
	s.Lost += l.status.abandoned
	s.Pending = s.Recorded - min(l.status.written, s.Recorded)
	if l.status.oldest != 0 {
		s.Segments = l.status.last.number - l.status.oldest + 1
	}
	s.Packed, s.Missing = l.status.packed, l.status.missing
	s.Lost += s.Missing
	s.LastSeq = l.status.newest
	if l.status.oldest != 0 {
		s.Oldest = instant(l.status.begins)
	}
	s.Retention = l.status.retention
	s.LastSeal, s.Exposed = l.status.lastSeal, l.status.exposed
	if l.status.err != nil {
		s.LastError = l.status.err.Error()
	}
	if since := l.status.writing; !since.IsZero() {
		if took := time.Since(since); took > slowCommit {
			s.Stalled = took
		}
	}
	l.status.Unlock()
	s.Withheld = l.settling.withheldAll.Load()
	if st := l.store.Load(); st != nil {
		s.Files, s.Bytes = len(st.all()), st.size()
	}
	s.Index = l.index.stats(s.LastSeq)
	s.Refusing = l.Refusing()
	return s
}
