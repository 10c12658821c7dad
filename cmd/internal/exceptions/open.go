package exceptions

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A Store is the exceptions of one file. It may be used concurrently; a call waits
// for the disk while another writes.
type Store struct {
	cfg    Config
	bootID string

	mu     sync.Mutex
	file   *file  // nil if the store is only to be read
	late   string // path of a file that the disk would not have at the start; empty: it is open
	closed bool
	damage *DamageError // of the file that was there before

	next  uint64 // ID
	force map[uint64]*record
	ended map[uint64]*record
	sums  map[uint64]uint32 // checksums of their values, but for those in dirty

	dirty  map[uint64]bool // where file and memory may differ
	untold map[uint64]bool // those ended whose untold is set; true: returned by the last Tick
	saved  reading         // when the file was last written
	looked reading         // when old ones were last looked for
	failed reading         // when the log was last told that the file cannot be written; zero: it can
}

const (
	tolerance   = 2 * time.Second // how far the wall clock may be behind after a reboot
	saveEvery   = time.Minute
	lookEvery   = time.Hour
	repeatEvery = time.Minute // of what the log is told
)

// Open opens the file at path, and makes one if there is none. What ran out while
// it was closed has ended when it returns. A damaged file is dealt with as
// Config.OnError says; other errors are ErrLocked and those of the file system.
//
// A disk that is full, read-only or broken is no error: what is in the file is in force,
// nothing can be changed, and Tick tries again until the disk works.
func Open(path string, cfg Config) (*Store, error) {
	s, err := openToWrite(path, cfg.withDefaults())
	if !passes(err) {
		return s, err
	}
	why := err
	if s, err = OpenReadOnly(path, cfg); errors.Is(err, fs.ErrNotExist) {
		s, err = newStore(cfg.withDefaults()), nil
	}
	if err != nil {
		return nil, errors.Join(why, err)
	}
	s.late = path
	s.cfg.Logger.Error("exceptions cannot be written yet, so that none can be made; will try again", "error", why)
	return s, nil
}

func openToWrite(path string, cfg Config) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make exceptions file: %w", err)
	}
	s := newStore(cfg)
	c, err := s.open(path)
	if errors.Is(err, fs.ErrExist) { // another process was faster
		c, err = s.open(path)
	}
	if err != nil {
		return nil, err
	}
	s.adopt(c)
	return s, nil
}

// passes says that an error of the disk may be over some day.
func passes(err error) bool {
	for _, e := range [...]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS, syscall.EIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// again opens the file that could not be opened at the start, if it is time for that.
// Nobody waits for the disk meanwhile.
func (s *Store) again() {
	s.mu.Lock()
	path := s.late
	s.mu.Unlock()
	if path == "" {
		return
	}
	now, err := openToWrite(path, s.cfg)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = now.Close()
		return
	}
	s.late, s.file, s.damage, s.next = "", now.file, now.damage, now.next
	s.force, s.ended, s.sums, s.dirty, s.untold = now.force, now.ended, now.sums, now.dirty, now.untold
	s.saved, s.looked = now.saved, now.looked
	s.cfg.Logger.Info("exceptions can be written again")
}

// OpenReadOnly reads the file at path of a server that is stopped. It changes
// nothing there, not even a damaged file; what has run out ends in memory only.
// If there is no file the error is fs.ErrNotExist.
func OpenReadOnly(path string, cfg Config) (*Store, error) {
	s := newStore(cfg.withDefaults())
	handle, is, err := lockedFile(path, true, 0)
	if err != nil {
		return nil, fmt.Errorf("open exceptions file: %w", err)
	}
	f, c, err := openFile(path, handle, is, true)
	if err != nil {
		abandon(f, handle)
		return nil, err
	}
	if err := f.close(); err != nil {
		return nil, err
	}
	s.adopt(c)
	return s, nil
}

func newStore(cfg Config) *Store {
	return &Store{
		cfg: cfg, bootID: bootID(cfg.Clock), next: 1,
		force: make(map[uint64]*record), ended: make(map[uint64]*record), sums: make(map[uint64]uint32),
		dirty: make(map[uint64]bool), untold: make(map[uint64]bool),
	}
}

// open opens the file or makes one, and returns what is in it.
func (s *Store) open(path string) (c content, err error) {
	handle, is, err := lockedFile(path, false, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return s.make(path)
	}
	if err != nil {
		return c, fmt.Errorf("open exceptions file: %w", err)
	}
	f, c, err := openFile(path, handle, is, false)
	if err == nil {
		s.file = f
		return c, nil
	}
	var damage *DamageError
	if !errors.As(err, &damage) || s.cfg.OnError == Fail {
		abandon(f, handle)
		return c, err
	}
	damage.Moved, err = moveAside(path, is, read(s.cfg.Clock).wall)
	abandon(f, handle) // not before it is out of the way of others
	if err != nil {
		return c, errors.Join(damage, err)
	}
	s.damage = damage
	s.cfg.Logger.Error("exceptions file was damaged and has been moved aside; no exception is in force", "error", damage, "moved", damage.Moved)
	return s.make(path)
}

// make makes a file without exceptions.
func (s *Store) make(path string) (c content, err error) {
	c.state = state{next: unusedID(path), seen: read(s.cfg.Clock), bootID: s.bootID}
	s.file, err = makeFile(path, c.state)
	return c, err
}

// adopt takes over what the file holds, and ends what has run out since.
func (s *Store) adopt(c content) {
	s.next = max(s.next, c.state.next)
	if c.sums != nil {
		s.sums = c.sums
	}
	for _, r := range c.records {
		if r.InForce() {
			s.force[r.ID] = r
		} else {
			s.ended[r.ID] = r
		}
		if r.untold {
			s.untold[r.ID] = false
		}
	}
	now, seen := read(s.cfg.Clock), c.state.seen
	s.saved, s.looked = seen, now
	// A boot clock that went back is of another machine, whatever its ID.
	if s.bootID == "" || s.bootID != c.state.bootID || now.boot < seen.boot {
		s.saved = now
		s.reboot(seen, now)
	}
	s.settle(now)
	if len(s.dirty) > 0 {
		s.save(now)
	}
}

// reboot makes what was left of each exception go on by the clock of this boot,
// unless the wall clock is not to be believed.
func (s *Store) reboot(seen, now reading) {
	behind := now.wall.Before(seen.wall.Add(-tolerance))
	for _, r := range s.force {
		if behind || now.wall.Before(r.Created.Add(-tolerance)) {
			s.end(r, now.wall, EndClock)
			continue
		}
		next := *r
		next.deadline = now.boot + (r.deadline - seen.boot)
		s.force[r.ID] = &next
		s.dirty[r.ID] = true
	}
}

// Damage tells of the damaged file that Open moved aside, nil if there was none.
func (s *Store) Damage() *DamageError { return s.damage }

// Close writes down what is not on disk yet, closes the file and lets go of its
// lock. Nothing can be changed then; what there was can still be read.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.file == nil {
		s.closed = true
		return nil
	}
	s.closed = true
	s.told()
	var err error
	if len(s.dirty) > 0 || len(s.force) > 0 {
		err = s.commit(read(s.cfg.Clock), nil)
	}
	return errors.Join(err, s.file.close())
}
