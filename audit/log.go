package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Log takes events from the query path and keeps them in a store on disk. All
// its methods are safe for concurrent use.
type Log struct {
	cfg    Config
	shards []shard
	near   sync.Pool // of *shard: hands each core the shard that it used last
	armed  atomic.Bool
	wake   chan struct{} // holds one token when an event came into an empty log
	kick   chan struct{} // holds one token when slabs are running out
	full   atomic.Bool   // no slab is free, or the log has ended

	mu      sync.Mutex
	free    [][]byte // empty slabs; the last was used last
	filled  [][]byte // slabs that the writer has not taken yet
	changes []change
	gap     gap    // events lost since the writer last looked
	lost    uint64 // events lost since Open
	taken   uint64 // changes taken since Open; queries are counted in the shards
	closed  bool

	tables sync.RWMutex
	// Both tables only ever grow, so a copy of the slice header is a snapshot.
	reasons   []Reason
	reasonIDs map[Reason]uint32
	labels    []string
	labelIDs  map[string]uint32

	store    atomic.Pointer[store] // nil after damage, until a new one could be made
	unpacker *unpacker
	sealer   *sealer // used by the writer only, but for its counts

	status struct {
		sync.Mutex
		sealed    uint64 // events on disk since Open
		abandoned uint64 // events taken that never reached the disk
		last      header // newest segment on disk
		oldest    uint64 // number of the store's oldest segment; 0 is none
		lastSeal  time.Duration
		err       error
	}
	follow struct {
		sync.Mutex
		sealed chan struct{} // closed by the writer at the next commit, and when the log ends
		ended  bool
	}
}

// A shard is where some of the callers of Record append.
type shard struct {
	mu    sync.Mutex
	slab  []byte // nil when it has none
	taken uint64
	_     [128 - 40]byte // keeps shards off each other's cache lines
}

// A change is an event with a text of its own.
type change struct {
	at   int64
	text string
}

const (
	maxChanges   = 1024     // changes waiting for the writer
	maxText      = 64 << 10 // octets of a change's text
	maxLabel     = 1 << 10  // octets of each text of a Reason, and of a Label
	filesPrivate = 0o700
)

// Open opens the store in cfg.Dir, or makes one, and proves its newest segments.
// A store that another process has open gives an error with ErrLocked in it. A
// damaged one gives a *DamageError if cfg.OnError is Fail; else it is moved
// aside, named in a change record, and a new one begins.
//
// Nothing reaches the disk until Run is called.
func Open(cfg Config) (*Log, error) {
	cfg = cfg.withDefaults()
	if cfg.Dir == "" {
		return nil, errors.New("open audit store: no folder given")
	}
	if err := os.MkdirAll(cfg.Dir, filesPrivate); err != nil {
		return nil, fmt.Errorf("open audit store: %w", err)
	}
	l := &Log{
		cfg:       cfg,
		shards:    make([]shard, shardCount(cfg.Slabs)),
		wake:      make(chan struct{}, 1),
		kick:      make(chan struct{}, 1),
		free:      make([][]byte, cfg.Slabs),
		reasonIDs: make(map[Reason]uint32),
		labelIDs:  make(map[string]uint32),
	}
	for i := range l.free {
		l.free[i] = make([]byte, 0, cfg.SlabBytes)
	}
	var turn atomic.Uint32
	l.near.New = func() any { return &l.shards[turn.Add(1)%uint32(len(l.shards))] }
	l.follow.sealed = make(chan struct{})
	var err error
	if l.unpacker, err = newUnpacker(); err != nil {
		return nil, err
	}
	if l.sealer, err = newSealer(); err != nil {
		return nil, err
	}
	if err := l.openStore(); err != nil {
		return nil, err
	}
	return l, nil
}

// shardCount returns one shard for each core, but leaves most slabs free to take
// over from full ones.
func shardCount(slabs int) int { return max(1, min(runtime.GOMAXPROCS(0), slabs/4)) }

// Record takes a copy of e and returns true, or counts it as lost and returns
// false when every slab is full or the log has ended. It allocates nothing and
// never waits for the disk.
func (l *Log) Record(e *Event) bool {
	size := slabSize(e)
	s := l.shard()
	if cap(s.slab)-len(s.slab) < size && !l.nextSlab(s, e.Time) {
		s.mu.Unlock()
		return false
	}
	s.slab = appendEvent(s.slab, e)
	s.taken++
	s.mu.Unlock()
	if !l.armed.Load() {
		l.arm()
	}
	return true
}

// shard returns a locked shard: the one that this core used last if there is
// one, so that a shard's memory stays in one core's cache.
func (l *Log) shard() *shard {
	s := l.near.Get().(*shard)
	s.mu.Lock()
	l.near.Put(s)
	return s
}

// nextSlab gives the shard, which is locked, an empty slab. If there is none it
// counts the event of that time as lost and returns false.
func (l *Log) nextSlab(s *shard, at int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.free) == 0 {
		l.lose(at)
		return false
	}
	if len(s.slab) > 0 {
		l.filled = append(l.filled, s.slab)
	}
	n := len(l.free) - 1
	s.slab, l.free = l.free[n], l.free[:n]
	l.full.Store(n == 0)
	if n < l.cfg.Slabs/2 {
		signal(l.kick)
	}
	return true
}

// lose counts an event that could not be taken. l.mu is held.
func (l *Log) lose(at int64) {
	at = max(at, 0)
	if l.gap.lost == 0 {
		l.gap.from, l.gap.to = at, at
	}
	l.gap.lost++
	l.gap.from, l.gap.to = min(l.gap.from, at), max(l.gap.to, at)
	l.lost++
}

// arm tells the writer that there is something to seal.
func (l *Log) arm() {
	if l.armed.CompareAndSwap(false, true) {
		signal(l.wake)
	}
}

// signal leaves a token in c unless it holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Change records text, cut to 64 KiB, as an event of its own: a start, a stop, a
// reload. Like an event it is counted as lost if the log cannot take it.
func (l *Log) Change(text string) {
	at := l.cfg.Now().UnixNano()
	l.mu.Lock()
	if l.closed || len(l.changes) >= maxChanges {
		l.lose(at)
	} else {
		l.change(at, text)
	}
	l.mu.Unlock()
	l.arm()
}

// change takes a change. l.mu is held.
func (l *Log) change(at int64, text string) {
	l.changes = append(l.changes, change{max(at, 0), until(text, maxText)})
	l.taken++
}

// note is Change for what the log has to say of itself, which it takes always.
func (l *Log) note(text string) {
	at := l.cfg.Now().UnixNano()
	l.mu.Lock()
	l.change(at, text)
	l.mu.Unlock()
	l.arm()
}

// Refusing says that the server should turn queries away: the log is to be
// complete (Config.OnFull is Refuse) and has no free slab left, or has ended.
// What the slabs in use still hold is for queries already on their way.
func (l *Log) Refusing() bool { return l.cfg.OnFull == Refuse && l.full.Load() }

// Intern returns the number of r for Event.Reason and Event.Observed, the same
// for equal reasons and valid for the life of the log. Texts are cut to 1 KiB
// each. It is not for the hot path.
func (l *Log) Intern(r Reason) uint32 {
	for _, s := range [...]*string{&r.Group, &r.Policy, &r.Rule, &r.Category, &r.List} {
		*s = until(*s, maxLabel)
	}
	l.tables.Lock()
	defer l.tables.Unlock()
	n, ok := l.reasonIDs[r]
	if !ok {
		l.reasons = append(l.reasons, r)
		n = uint32(len(l.reasons))
		l.reasonIDs[r] = n
	}
	return n
}

// Label returns the number of name for Event.Upstream and Event.Group, as Intern does.
func (l *Log) Label(name string) uint32 {
	name = until(name, maxLabel)
	l.tables.Lock()
	defer l.tables.Unlock()
	n, ok := l.labelIDs[name]
	if !ok {
		l.labels = append(l.labels, name)
		n = uint32(len(l.labels))
		l.labelIDs[name] = n
	}
	return n
}

// Flush makes the writer commit now instead of at the interval, and returns when
// every event that was taken before the call can be found by a Reader. It needs
// Run; the error is that of ctx, of a commit that fails, or ErrClosed.
func (l *Log) Flush(ctx context.Context) error {
	goal := l.Stats().Recorded
	for {
		l.follow.Lock()
		sealed, ended := l.follow.sealed, l.follow.ended
		l.follow.Unlock()
		l.status.Lock()
		done, err := l.status.sealed >= goal, l.status.err
		l.status.Unlock()
		switch {
		case done:
			return nil
		case ended:
			return ErrClosed
		case err != nil:
			return err
		}
		signal(l.kick)
		select {
		case <-sealed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Stats tells how the log is doing. Every call of Record and Change since Open
// is in Recorded or in Lost, never in both.
type Stats struct {
	Recorded  uint64        // events taken, on disk or pending
	Lost      uint64        // events that could not be taken, or were pending when the log ended in failure
	Pending   uint64        // events taken that are not on disk yet
	Segments  uint64        // segments in the store
	LastSeq   uint64        // sequence number of the last record on disk
	Bytes     int64         // size of the store's file
	LastSeal  time.Duration // how long the last commit took, with all before it
	Refusing  bool          // what Log.Refusing says
	LastError string        // why the last commit failed; empty if it did not
}

// Stats returns the counts as they are now. While events are being recorded the
// numbers may be a few events apart from each other.
func (l *Log) Stats() Stats {
	var s Stats
	for i := range l.shards {
		sh := &l.shards[i]
		sh.mu.Lock()
		s.Recorded += sh.taken
		sh.mu.Unlock()
	}
	l.mu.Lock()
	s.Recorded += l.taken
	s.Lost = l.lost
	l.mu.Unlock()

	l.status.Lock()
	s.Recorded -= l.status.abandoned
	s.Lost += l.status.abandoned
	s.Pending = s.Recorded - min(l.status.sealed, s.Recorded)
	if l.status.oldest != 0 {
		s.Segments = l.status.last.number - l.status.oldest + 1
		s.LastSeq = l.status.last.last()
	}
	s.LastSeal = l.status.lastSeal
	if l.status.err != nil {
		s.LastError = l.status.err.Error()
	}
	l.status.Unlock()
	if info, err := os.Stat(filepath.Join(l.cfg.Dir, storeFile)); err == nil {
		s.Bytes = info.Size()
	}
	s.Refusing = l.Refusing()
	return s
}
