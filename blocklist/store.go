package blocklist

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Store is the folder in which copies of lists outlive the program:
//
//	copies/<16 hex of the SHA-256 of the list's name>/state.json       its state: which version is what
//	copies/<the same>/<16 hex of the SHA-256 of the text>.list         a version
//
// The state names versions, and a version that no state names is removed. A change first writes what it adds, then
// the state, then removes what the state names no more; so whatever fails, and whenever the program dies, a state and
// the versions that it names are whole. Nothing outside copies is touched.
//
// A Store is safe for concurrent use, and so are several on one folder, also in several processes: they take turns by
// a lock on the folder (flock(2)), and before a change each reads what another may have written.
type Store struct {
	Now func() time.Time // nil is time.Now; to be set before any use

	dir string // of copies, absolute

	mu       sync.Mutex
	lists    map[string]*storedList // by name
	problems []string
}

// OpenStore opens the store in dir and makes what is missing of it. It removes what a crash left behind. A
// state that cannot be understood is set aside, beside where it was, and told in Problems; its list is then
// unknown, while the versions of it stay until the list has a state again.
func OpenStore(dir string) (*Store, error) {
	s, err := openStore(dir)
	if err != nil {
		return nil, fmt.Errorf("open the store of lists in %s: %w", dir, hinted(err))
	}
	return s, nil
}

func openStore(dir string) (*Store, error) {
	if dir == "" {
		return nil, errors.New("no folder is named")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: filepath.Join(dir, "copies"), lists: map[string]*storedList{}}
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	folders, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, folder := range folders {
		if !folder.IsDir() || !isHash(folder.Name()) {
			continue
		}
		l := &storedList{dir: filepath.Join(s.dir, folder.Name())}
		entries, err := os.ReadDir(l.dir)
		if err != nil {
			return nil, err
		}
		if err := sweepDrafts(l.dir, entries); err != nil {
			return nil, err
		}
		if err := s.read(l); err != nil {
			return nil, err
		}
		if l.text == nil {
			continue
		}
		s.lists[l.state.Name] = l
		if err := l.sweep(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// lock locks the store against its like, and makes its folder if there is none. The mutex is held, except in openStore.
func (s *Store) lock() (unlock func(), err error) {
	dir, err := os.Open(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(s.dir, 0o700); err == nil {
			dir, err = os.Open(s.dir)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := flock(dir, syscall.LOCK_EX); err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock %s: %w", s.dir, err)
	}
	return func() { dir.Close() }, nil
}

// read reads the state of l from its folder, unless it has it already. A list without a readable one has a zero state.
func (s *Store) read(l *storedList) error {
	path := filepath.Join(l.dir, stateFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if l.text != nil || l.state == nil {
			l.state, l.text, l.file = &listState{}, nil, nil
		}
		return nil
	}
	if err != nil {
		return err
	}
	if l.file != nil && os.SameFile(l.file, info) && l.file.ModTime().Equal(info.ModTime()) && l.file.Size() == info.Size() {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxState+1))
	if err != nil {
		return err
	}
	st, err := decodeState(text, l.dir)
	if err == nil && len(text) > maxState {
		err = fmt.Errorf("longer than %d octets", maxState)
	}
	if err != nil {
		aside := filepath.Join(l.dir, damagedFile+s.now().UTC().Format("20060102T150405.000000000Z"))
		if err := os.Rename(path, aside); err != nil {
			return err
		}
		s.problem("%s is damaged: %s; it was set aside as %s, and its list is as if never seen", path, plain(err.Error()), filepath.Base(aside))
		l.state, l.text, l.file = &listState{}, nil, nil
		return syncDir(l.dir)
	}
	l.state, l.text, l.file = st, text, info
	s.inspect(l)
	return nil
}

// inspect compares the versions that a state names with the files that are there.
func (s *Store) inspect(l *storedList) {
	for _, c := range l.state.copies() {
		if (*c).File == "" {
			continue
		}
		info, err := os.Lstat((*c).File)
		if err == nil && info.Mode().IsRegular() && info.Size() == (*c).size {
			continue
		}
		what := fmt.Sprintf("is not of %d octets", (*c).size)
		if err != nil {
			what = "cannot be read: " + err.Error()
		}
		s.problem("%s, a version of list %s, %s; it is as if not kept", (*c).File, Redacted(l.state.Name), what)
		l.state.drop((*c).Digest)
	}
}

func (s *Store) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// problem takes note of a problem, once.
func (s *Store) problem(format string, args ...any) {
	const most = 100
	if text := fmt.Sprintf(format, args...); len(s.problems) < most && !slices.Contains(s.problems, text) {
		s.problems = append(s.problems, text)
	}
}

// Problems returns what was found damaged, each in a line of text.
func (s *Store) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}

// Kept returns what is known of a list; of one never seen that is its name.
func (s *Store) Kept(name string) Kept {
	return s.state(name).Kept
}

// state returns a copy of a list's state.
func (s *Store) state(name string) *listState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lists[name]; l != nil {
		return l.state.clone()
	}
	return &listState{Kept: Kept{Name: name}}
}

// All returns what is known of all lists, in order of their names.
func (s *Store) All() []Kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Kept
	for _, l := range s.lists {
		all = append(all, l.state.clone().Kept)
	}
	slices.SortFunc(all, func(a, b Kept) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// list returns the list with that name as it is now. The store is locked.
func (s *Store) list(name string) (*storedList, error) {
	if name == "" {
		return nil, errors.New("list without a name")
	}
	l := s.lists[name]
	if l == nil {
		l = &storedList{dir: filepath.Join(s.dir, folderOf(name))}
	}
	if err := s.read(l); err != nil {
		return nil, err
	}
	l.state.Name = name
	return l, nil
}

// draft makes a draft of a version of a list.
func (s *Store) draft(name string) (*draft, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := s.lock()
	if err != nil {
		return nil, effect(err)
	}
	defer unlock()
	l, err := s.list(name)
	if err != nil {
		return nil, effect(err)
	}
	if err := l.makeFolder(); err != nil {
		return nil, effect(err)
	}
	d, err := newDraft(l.dir)
	return d, effect(err)
}

// change lets do change the state of a list, and makes that durable. What do returns as error, or the disk, leaves the
// state as it was. do may publish versions in the list's folder; those that no state names in the end go.
func (s *Store) change(name string, do func(l *storedList, st *listState) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := s.lock()
	if err != nil {
		return effect(err)
	}
	defer unlock()
	l, err := s.list(name)
	if err != nil {
		return effect(err)
	}
	next := l.state.clone()
	if err = do(l, next); err == nil {
		next.share()
		err = effect(l.write(next))
	}
	if l.text != nil {
		s.lists[name] = l
		if swept := l.sweep(); swept != nil && err == nil {
			s.problem("a version of list %s that nothing needs is left: %v", Redacted(name), swept)
		}
	}
	return err
}
