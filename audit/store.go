package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxOpen bounds how many of the older files are open at one time: a year has 366 of
// them, and each open one is a file and a memory map.
const maxOpen = 16

// A store is the files of a log, one for each period in which something was committed.
// Only the newest is written to; a file that another has followed never changes again.
// No transaction spans two files: what belongs to another period begins a file of its
// own, which appears with its first segments or not at all. What is asked of the store
// goes over its files as if they were one; one that is damaged says so and the others
// can be read all the same, see beyond.
type store struct {
	dir      string
	period   Period
	readOnly bool
	lock     *os.File // nil for a reader where no log ever was
	renamed  string   // what a former version's file is called now, if it was just taken in

	mu     sync.Mutex
	files  []*file // by number; the slice is replaced, never changed
	recent []*file // older ones that are open, the last used last
	closed bool

	// For the writer only.
	turn      bool   // the next commit begins a file
	unsettled bool   // what was committed may be in the system's memory only
	current   int64  // period of the newest segment in the newest file; 0 if it has none
	end       uint64 // sequence number of the last record in the store
}

// A file is one of a store's.
type file struct {
	path  string
	first uint64 // its records have this number at least

	opening sync.Mutex // held while it is being opened
	bolt    *boltFile  // nil unless it is open; guarded by store.mu, as the rest
	users   int        // reads that are under way
	former  *boltFile  // what was open before it was packed, for those reads that are under way
	writer  bool       // it is the newest, and stays open
	gone    bool       // not in the store any more
	facts   *facts     // for retention only
}

// openStore locks the store in dir for writing. Its files are not listed yet.
func openStore(dir string, period Period) (*store, error) {
	lock, err := lockStore(dir, false)
	if err != nil {
		return nil, err
	}
	return &store{dir: dir, period: period, lock: lock}, nil
}

// readStore opens the store in dir for reading, without changing anything. That the
// newest of several files is damaged is found when it is read.
func readStore(dir string) (*store, error) {
	lock, err := lockStore(dir, true)
	if err != nil {
		return nil, err
	}
	s := &store{dir: dir, readOnly: true, lock: lock}
	if err = s.list(); err == nil {
		switch n := len(s.files); {
		case n > 0:
			var damage *DamageError
			if _, err = s.use(s.files[n-1]); err == nil {
				s.leave(s.files[n-1])
			} else if errors.As(err, &damage) && n > 1 {
				err = nil
			}
		case lock == nil:
			err = fmt.Errorf("open audit store %s: %w", dir, fs.ErrNotExist)
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// list finds the store's files.
func (s *store) list() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("open audit store: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if whole, ok := strings.CutSuffix(e.Name(), newSuffix); ok && !s.readOnly {
			if _, ok := fileNumber(whole); ok { // left by a crash while it was being made
				if err := os.Remove(path); err != nil {
					return fmt.Errorf("open audit store: %w", err)
				}
			}
			continue
		}
		if first, ok := fileNumber(e.Name()); ok {
			s.files = append(s.files, &file{path: path, first: first})
		} else if e.Name() == formerFile {
			f, err := s.former(path)
			if err != nil {
				return err
			}
			s.files = append(s.files, f)
		}
	}
	slices.SortStableFunc(s.files, func(a, b *file) int {
		switch {
		case a.first < b.first:
			return -1
		case a.first > b.first:
			return 1
		}
		return 0
	})
	return nil
}

// former takes in the one file of a version that had no others. The log gives it a
// name as theirs, a reader takes it as it is.
func (s *store) former(path string) (*file, error) {
	b, err := openFile(path, s.readOnly)
	if err != nil {
		return nil, err
	}
	defer b.close()
	f := &file{path: path, first: 1}
	var value []byte
	key, ok, err := b.following(0, nil, &value)
	if err != nil || !ok {
		return f, err
	}
	f.first = key
	if s.readOnly {
		return f, nil
	}
	h, _ := readHeader(value) // that it is damaged is found when it is read
	s.renamed = fileName(key, s.period, h.max)
	f.path = filepath.Join(s.dir, s.renamed)
	if err := os.Rename(path, f.path); err != nil {
		return nil, fmt.Errorf("open audit store: %w", err)
	}
	return f, syncDir(s.dir)
}

// openNewest opens the newest file for writing.
func (s *store) openNewest() error {
	f := s.files[len(s.files)-1]
	b, err := openFile(f.path, false)
	if err != nil {
		return err
	}
	s.write(f, b)
	return nil
}

// write makes f the file that is written to. s.mu is held, or nobody else knows of s.
func (s *store) write(f *file, b *boltFile) {
	f.bolt, f.writer = b, true
	s.current, s.turn = 0, false
}

// begin makes an empty file for the records from first on.
func (s *store) begin(first uint64, now time.Time) error {
	if n := len(s.files); n > 0 {
		first = max(first, s.files[n-1].first+1)
	}
	return s.add(first, now.UnixNano(), nil, nil)
}

// add makes a file with those segments in it. It becomes the newest.
func (s *store) add(first uint64, nanoseconds int64, segments []sealed, hits *hitsUpdate) error {
	f := &file{path: filepath.Join(s.dir, fileName(first, s.period, nanoseconds)), first: first}
	b, err := makeFile(f.path, segments, hits)
	if err != nil {
		return err
	}
	if before := s.newest(); before != nil {
		before.shrink()
	}
	s.mu.Lock()
	if n := len(s.files); n > 0 {
		if before := s.files[n-1]; before.writer {
			before.writer = false
			s.recent = append(s.recent, before)
		}
	}
	s.write(f, b)
	s.files = append(slices.Clip(s.files), f)
	idle := s.idle()
	s.mu.Unlock()
	closeAll(idle)
	return nil
}

// discard takes the newest file, which is damaged, out of the store without waiting
// for anybody. Until the next begin or append there is none to be written to.
func (s *store) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.files) - 1
	if n < 0 || !s.files[n].writer {
		return
	}
	f := s.files[n]
	f.gone = true
	f.bolt.abandon()
	s.files = s.files[:n:n]
	s.current = 0
}

// newest returns the file that is written to, nil if there is none.
func (s *store) newest() *boltFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.files) - 1; n >= 0 && s.files[n].writer {
		return s.files[n].bolt
	}
	return nil
}

// append commits segments, all or none of those of one period, and syncs them to disk,
// with an update of the roll-up unless that is nil: then they must be of one period.
// Only a DamageError means that trying again is of no use; a hitsError that it may work
// without the update.
func (s *store) append(segments []sealed, hits *hitsUpdate) error {
	for len(segments) > 0 || hits != nil {
		run, begins := s.run(segments)
		var err error
		if begins {
			err = s.add(run[0].header.first, run[len(run)-1].header.max, run, hits)
		} else if b := s.newest(); b != nil {
			err = b.append(run, hits)
		}
		if err != nil {
			return err
		}
		if n := len(run); n > 0 {
			s.end, s.current = run[n-1].header.last(), s.period.number(run[n-1].header.max)
		}
		segments, hits = segments[len(run):], nil
	}
	return nil
}

// settle makes sure that a commit can come to disk, and that those before it have: the syncs of
// a file system that has become read-only do nothing and succeed.
func (s *store) settle() error {
	if err := writableDir(s.dir); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if b := s.newest(); b != nil && s.unsettled {
		if err := syncData(b.file); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	s.unsettled = false
	return nil
}

// unsettle finds out after a commit whether it could come to disk.
func (s *store) unsettle() error {
	if err := writableDir(s.dir); err != nil {
		s.unsettled = true
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// run returns the first of segments as far as they go to one file, and whether that is
// a new one. Where the clock was set back by less than a period the file stays the same.
func (s *store) run(segments []sealed) (run []sealed, begins bool) {
	current := s.current
	if s.turn && current != 0 && len(segments) > 0 {
		current, begins = s.period.number(segments[0].header.max), true
	}
	for i := range segments {
		n := s.period.number(segments[i].header.max)
		if current != 0 && (n > current || n < current-1) {
			if i > 0 {
				return segments[:i], begins
			}
			begins = true
		}
		if begins || i == 0 && current == 0 {
			current = n
		}
	}
	return segments, begins || s.newest() == nil && len(segments) > 0
}

// resume tells the store, which was just opened, what its last segment is.
func (s *store) resume(last header) {
	if last.number == 0 {
		return
	}
	s.end = last.last()
	if n := len(s.files); n > 0 && last.first >= s.files[n-1].first {
		s.current = s.period.number(last.max)
	}
}

// behind returns those of segments that are not in the store.
func (s *store) behind(segments []sealed) []sealed {
	for len(segments) > 0 && segments[0].header.last() <= s.end {
		segments = segments[1:]
	}
	return segments
}

// close closes the files and waits for read transactions to end.
func (s *store) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	idle := s.idle()
	if n := len(s.files) - 1; n >= 0 && s.files[n].writer {
		idle = append(idle, s.files[n].bolt)
	}
	s.mu.Unlock()
	err := closeAll(idle)
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}
