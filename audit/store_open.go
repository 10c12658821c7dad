package audit

import (
	"errors"
	"io/fs"
	"os"
	"slices"
)

// Which of a store's files are open: the newest, those that are being read, and of the
// others the last few that were.

// use returns the open file, which stays open until leave.
func (s *store) use(f *file) (*boltFile, error) {
	s.mu.Lock()
	b := s.open(f)
	s.mu.Unlock()
	if b != nil {
		return b, nil
	}
	f.opening.Lock()
	defer f.opening.Unlock()
	s.mu.Lock()
	b = s.open(f)
	err := s.lost(f)
	s.mu.Unlock()
	if b != nil || err != nil {
		return b, err
	}
	b, err = openFile(f.path, true)
	s.mu.Lock()
	if lost := s.lost(f); lost != nil {
		s.mu.Unlock()
		if err == nil {
			b.close()
		}
		return nil, lost
	}
	if err != nil {
		s.mu.Unlock()
		if errors.Is(err, fs.ErrNotExist) {
			err = damaged(f.path, "opening it", "it is gone")
		}
		return nil, err
	}
	f.bolt = b
	s.recent = append(s.recent, f)
	s.open(f)
	idle := s.idle()
	s.mu.Unlock()
	closeAll(idle)
	return b, nil
}

// errGone says that a file is not in the store any more.
var errGone = errors.New("the file is not in the audit store any more")

// lost says why f is not to be opened. s.mu is held.
func (s *store) lost(f *file) error {
	switch {
	case s.closed:
		return ErrClosed
	case f.gone:
		return errGone
	}
	return nil
}

// open returns f's file, with one user more, if it is open. s.mu is held.
func (s *store) open(f *file) *boltFile {
	if f.bolt == nil {
		return nil
	}
	f.users++
	if i := slices.Index(s.recent, f); i >= 0 {
		s.recent = append(slices.Delete(s.recent, i, i+1), f)
	}
	return f.bolt
}

func (s *store) leave(f *file) {
	s.mu.Lock()
	f.users--
	idle := s.idle()
	s.mu.Unlock()
	closeAll(idle)
}

// idle takes those files out of recent that are to be closed. s.mu is held.
func (s *store) idle() (idle []*boltFile) {
	over := len(s.recent) - maxOpen
	for _, f := range s.files {
		if f.former != nil && f.users == 0 {
			idle = append(idle, f.former)
			f.former = nil
		}
	}
	s.recent = slices.DeleteFunc(s.recent, func(f *file) bool {
		if f.users > 0 || over <= 0 && !f.gone && !s.closed {
			return false
		}
		over--
		idle = append(idle, f.bolt)
		f.bolt = nil
		return true
	})
	return idle
}

// replace gives what was made of a file, under a name of its own, the file's name, unless
// the file is not in the store any more. Reads that are under way go on in what was there.
func (s *store) replace(f *file, made string) error {
	s.mu.Lock()
	if err := s.lost(f); err != nil {
		s.mu.Unlock()
		return err
	}
	if err := os.Rename(made, f.path); err != nil {
		s.mu.Unlock()
		return err
	}
	f.former, f.bolt = f.bolt, nil // a file is packed once, so that there is no other
	s.recent = slices.DeleteFunc(s.recent, func(other *file) bool { return other == f })
	idle := s.idle()
	s.mu.Unlock()
	return errors.Join(closeAll(idle), syncDir(s.dir))
}

func closeAll(files []*boltFile) (err error) {
	for _, b := range files {
		err = errors.Join(err, b.close())
	}
	return err
}
