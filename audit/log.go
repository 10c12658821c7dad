package audit

import (
	"context"
	"errors"
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
	slabs   int    // how many there are
	free    []slab // empty ones; the last was used last
	filled  []slab // those that the writer has not taken yet
	given   uint64 // generation of the slab that was given out last
	changes []change
	gaps    []gap  // events lost since the writer last looked
	lost    uint64 // queries lost since Open
	taken   uint64 // changes taken since Open that were in no slab; the rest is counted in the shards
	missed  uint64 // changes lost since Open
	closed  bool
	shut    atomic.Bool // no query is taken until the store can be written
	failing atomic.Bool // the last commit failed
	stalled atomic.Bool // the one under way takes long

	interning sync.Mutex // held by who adds to the tables, while the file of texts is written
	tables    sync.RWMutex
	// Both tables only ever grow, so a copy of the slice header is a snapshot.
	reasons   []Reason
	reasonIDs map[Reason]uint32
	labels    []string
	labelIDs  map[string]uint32
	texts     *texts

	settling settling

	keys     *clientKeys // of clients; nil if there are none
	mask     *mask       // nil: addresses are kept
	excluded excluded

	run     runID
	mapping *mapping // of the slabs, or of counters for them; nil if they are plain memory and not counted
	wal     *wal     // used by the writer only

	begun   bool      // the store is open, and it is known what a run before has left; Open and the writer only
	waiting *leftover // what a run before has left and the store has not; Open and the writer only

	store    atomic.Pointer[store] // nil after damage, until a new one could be made
	unpacker *unpacker
	sealer   *sealer // used by the writer only, but for its counts
	notary   *notary // used by the writer only
	index    *index
	signing  chan chan struct{} // of those who wait for a checkpoint
	reindex  chan chan struct{} // of those who want the index made anew
	over     chan struct{}      // closed when the log ends
	asking   chan func(*writer) // what others want the writer to do between two steps
	retain   chan struct{}      // holds one token when retention is to look at once
	stored   chan struct{}      // holds one token when the store has other segments than the index's keeper has seen

	retention sync.Mutex // held while files are removed, and while holds change
	holds     *remembered
	removals  *remembered
	packRows  uint32 // records in a pack, at most

	status struct {
		sync.Mutex
		written   uint64 // events on disk since Open
		newest    uint64 // sequence number of the last record on disk, 0 is none
		next      uint64 // that the next record had when the log began to take records; 0 before
		abandoned uint64 // events taken that never reached the disk
		missing   uint64 // records that were on disk, in files that are gone
		last      header // newest segment on disk
		oldest    uint64 // number of the store's oldest segment; 0 is none
		begins    int64  // time of its earliest record
		retention Retention
		packed    uint64 // segments that are in packs
		lastSeal  time.Duration
		err       error
		writing   time.Time // when the step that is under way began; zero: none is
		exposed   string    // what a process that is killed would lose; empty is nothing
	}
	follow struct {
		sync.Mutex
		sealed chan struct{} // closed by the writer at the next commit, and when the log ends
		ended  bool
	}
}

// A shard is where some of the callers of Record append.
type shard struct {
	mu      sync.Mutex
	slab    slab   // its b is nil when it has none
	taken   uint64 // queries
	changes uint64
	counter *uint64        // in the mapping, of events in slabs that are not; nil: all are
	_       [128 - 72]byte // keeps shards off each other's cache lines
}

// A change is a Change with its time, in nanoseconds since 1970.
type change struct {
	at int64
	Change
}

const (
	maxChanges   = 1024     // changes waiting for the writer
	maxGaps      = 16       // gaps waiting for the writer; further events are counted in the last
	maxText      = 64 << 10 // octets of a change's text
	maxLabel     = 1 << 10  // octets of each text of a Reason, and of a Label
	filesPrivate = 0o700
)

// Open opens the store in cfg.Dir, or makes one, and proves its newest segments.
// A store that another process has open gives an error with ErrLocked in it. A
// damaged one gives a *DamageError if cfg.OnError is Fail; else it is moved
// aside, named in a change record, and a new one begins.
//
// What a run that did not end has left in its write-ahead file is committed to the
// store at once, and recorded. What is recorded from now on reaches the disk when
// Run is called.
//
// A disk that is full, read-only or broken is no error: Run tries again until it
// works, and until then Config.OnFull says what becomes of queries.
func Open(cfg Config) (*Log, error) {
	cfg = cfg.withDefaults()
	if cfg.Dir == "" {
		return nil, errors.New("open audit store: no folder given")
	}
	l := &Log{
		cfg:       cfg,
		shards:    make([]shard, shardCount(cfg.Slabs)),
		wake:      make(chan struct{}, 1),
		kick:      make(chan struct{}, 1),
		signing:   make(chan chan struct{}),
		asking:    make(chan func(*writer)),
		retain:    make(chan struct{}, 1),
		stored:    make(chan struct{}, 1),
		reindex:   make(chan chan struct{}),
		over:      make(chan struct{}),
		packRows:  packRows,
		reasonIDs: make(map[Reason]uint32),
		labelIDs:  make(map[string]uint32),
		index:     newIndex(cfg.Dir),
	}
	l.texts, l.wal = &texts{dir: cfg.Dir, held: true}, &wal{dir: cfg.Dir}
	l.holds, l.removals = &remembered{path: filepath.Join(cfg.Dir, holdFile)}, &remembered{path: filepath.Join(cfg.Dir, removalFile)}
	l.notary = newNotary(l)
	var turn atomic.Uint32
	l.near.New = func() any { return &l.shards[turn.Add(1)%uint32(len(l.shards))] }
	l.follow.sealed, l.settling.next = make(chan struct{}), make(chan struct{})
	l.excluded.set(cfg.Exclude)
	var err error
	if l.unpacker, err = newUnpacker(); err != nil {
		return nil, err
	}
	if l.sealer, err = newSealer(nil); err != nil {
		return nil, err
	}
	l.sealer.appender.light = cfg.Period == Day
	if err = l.open(); !passes(err) {
		return nil, errors.Join(err, l.end(false))
	}
	if kerr := l.openClients(err == nil); kerr != nil { // before the first event
		return nil, errors.Join(kerr, l.end(false))
	}
	if err != nil {
		l.cfg.Logger.Error("audit store cannot be opened yet, will try again", "error", err)
		l.postpone(err)
		l.useSlabs(nil)
		l.sheltered(nil, err)
	}
	return l, nil
}

// shardCount returns one shard for each core, but leaves most slabs free to take
// over from full ones.
func shardCount(slabs int) int { return max(1, min(runtime.GOMAXPROCS(0), slabs/4)) }

// Record takes a copy of e and returns true, or counts it as lost and returns
// false when every slab is full or the log has ended. It allocates nothing and
// never waits for the disk. The first query of a client in a month, where clients
// have pseudonyms, takes some microseconds for its key.
func (l *Log) Record(e *Event) bool {
	if l.mask != nil {
		l.mask.hide(e)
	}
	size := slabSize(e)
	s := l.shard()
	if cap(s.slab.b)-len(s.slab.b) < size && !l.nextSlab(s, e.Time, &l.lost) {
		s.mu.Unlock()
		return false
	}
	s.slab.b = appendEvent(s.slab.b, e)
	s.taken++
	if s.counter != nil {
		atomic.AddUint64(s.counter, 1)
	}
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
// counts the event of that time as lost, in lost too, and returns false.
func (l *Log) nextSlab(s *shard, at int64, lost *uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.free) == 0 || l.shut.Load() {
		l.lose(at)
		*lost++
		return false
	}
	if len(s.slab.b) > 0 {
		l.filled = append(l.filled, s.slab)
	}
	n := len(l.free) - 1
	s.slab, l.free = l.free[n], l.free[:n]
	l.given++
	s.slab.generation = l.given
	l.mapping.given(&s.slab)
	l.full.Store(n == 0)
	if n < l.slabs/2 {
		signal(l.kick)
	}
	return true
}

// lose counts an event that could not be taken. l.mu is held.
func (l *Log) lose(at int64) {
	at = max(at, 0)
	cause := CauseOverload
	if l.failing.Load() || l.stalled.Load() {
		cause = CauseDisk
	}
	n := len(l.gaps) - 1
	if n < 0 || l.gaps[n].cause != cause && n+1 < maxGaps {
		n = len(l.gaps)
		l.gaps = append(l.gaps, gap{cause: cause, from: at, to: at})
	}
	l.mapping.owe(at, 1)
	g := &l.gaps[n]
	g.lost++
	g.from, g.to = min(g.from, at), max(g.to, at)
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

// Change records text as a change of no action in particular; see RecordChange.
func (l *Log) Change(text string) { l.RecordChange(Change{Text: text}) }

// RecordChange records c as an event of its own, its text cut to 64 KiB. Like a
// query it is counted as lost if the log cannot take it, and then it is false.
func (l *Log) RecordChange(c Change) bool {
	at := max(l.cfg.Now().UnixNano(), 0)
	c.Action, c.Actor, c.Text = until(c.Action, maxLabel), until(c.Actor, maxLabel), until(c.Text, maxText)
	if size := changeSize(&c); size <= maxEvent && !l.shut.Load() {
		s := l.shard()
		defer l.arm()
		defer s.mu.Unlock()
		if cap(s.slab.b)-len(s.slab.b) < size && !l.nextSlab(s, at, &l.missed) {
			return false
		}
		s.slab.b = slabChange(s.slab.b, at, &c)
		s.changes++
		if s.counter != nil {
			atomic.AddUint64(s.counter, 1)
		}
		return true
	}
	l.mu.Lock() // it is too long for a slab, or slabs are not for use
	ok := !l.closed && len(l.changes) < maxChanges
	if ok {
		l.change(at, c)
	} else {
		l.lose(at)
		l.missed++
	}
	l.mu.Unlock()
	l.arm()
	return ok
}

// change takes a change. l.mu is held.
func (l *Log) change(at int64, c Change) {
	c.Action, c.Actor, c.Text = until(c.Action, maxLabel), until(c.Actor, maxLabel), until(c.Text, maxText)
	l.mapping.owe(max(at, 0), 1)
	l.changes = append(l.changes, change{max(at, 0), c})
	l.taken++
}

// note records what the log has to say of itself, which it takes always.
func (l *Log) note(text string) {
	at := l.cfg.Now().UnixNano()
	l.mu.Lock()
	l.change(at, Change{Action: ActionStore, Text: text})
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
	return intern(l, r, l.reasonIDs, &l.reasons, func(longer []Reason) error { return l.texts.write(longer, l.labels) })
}

// Label returns the number of name for Event.Upstream and Event.Group, as Intern does.
// Only for one that is new it may have to wait for the disk.
func (l *Log) Label(name string) uint32 {
	return intern(l, until(name, maxLabel), l.labelIDs, &l.labels, func(longer []string) error { return l.texts.write(l.reasons, longer) })
}

// intern returns the number of what stands in one of the log's tables, or from now on
// does: write brings the longer table to the file before.
func intern[T comparable](l *Log, what T, ids map[T]uint32, table *[]T, write func([]T) error) uint32 {
	l.tables.RLock()
	n, ok := ids[what]
	l.tables.RUnlock()
	if ok {
		return n
	}
	l.interning.Lock()
	defer l.interning.Unlock()
	if n, ok = ids[what]; ok {
		return n
	}
	longer := append(*table, what)
	_ = write(longer) // else the writer tries again, and says so
	l.tables.Lock()
	defer l.tables.Unlock()
	n = uint32(len(longer))
	*table, ids[what] = longer, n
	return n
}

// syncTexts returns the tables, which are on disk then.
func (l *Log) syncTexts() (reasons []Reason, labels []string, err error) {
	l.tables.RLock()
	reasons, labels = l.reasons, l.labels
	l.tables.RUnlock()
	if err := l.texts.write(reasons, labels); err != nil {
		return nil, nil, err
	}
	return reasons, labels, l.texts.sync()
}

// Flush makes the writer write now instead of at the interval, and returns when
// every event that was taken before the call can be found by a Reader. It needs
// Run; the error is that of ctx, of a commit that fails, or ErrClosed.
func (l *Log) Flush(ctx context.Context) error {
	goal := l.Stats().Recorded
	for {
		l.follow.Lock()
		sealed, ended := l.follow.sealed, l.follow.ended
		l.follow.Unlock()
		l.status.Lock()
		done, err := l.status.written >= goal, l.status.err
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
