package blocklist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// What a Store writes is first written under another name, a draft, made durable, and then given its own name, in the
// same folder, so that at each moment a name has the whole old file or the whole new one. Whoever
// writes a draft holds a lock on it (flock(2)); one without its lock was left behind by a crash.

const (
	stateFile   = "state.json"
	damagedFile = stateFile + ".damaged-" // and the time
	listSuffix  = ".list"
	draftBegin  = "new-"
	draftEnd    = ".tmp"
)

// draft is a file being written. It must be published or discarded.
type draft struct {
	*os.File
	err error // of the first Write that failed
}

// newDraft makes a draft in dir. s.lock is held.
func newDraft(dir string) (*draft, error) {
	file, err := os.CreateTemp(dir, draftBegin+"*"+draftEnd) // mode 0600
	if err != nil {
		return nil, err
	}
	if err := flock(file, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		os.Remove(file.Name())
		return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return &draft{File: file}, nil
}

// Write appends to the draft.
func (d *draft) Write(p []byte) (int, error) {
	n, err := d.File.Write(p)
	if err != nil && d.err == nil {
		d.err = err
	}
	return n, err
}

// publish makes the draft durable and gives it the name path, in its own folder. When it fails the draft is still to
// be discarded.
func (d *draft) publish(path string) error {
	if err := d.Sync(); err != nil {
		return err
	}
	if err := os.Rename(d.Name(), path); err != nil {
		return err
	}
	d.Close()
	d.File = nil
	return syncDir(filepath.Dir(path))
}

// discard removes the draft, unless it has been published.
func (d *draft) discard() {
	if d != nil && d.File != nil {
		os.Remove(d.Name())
		d.Close()
		d.File = nil
	}
}

// syncDir makes the names in a folder durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// flock locks a file or folder, until it is closed.
func flock(file *os.File, how int) error {
	for {
		err := syscall.Flock(int(file.Fd()), how)
		if err != syscall.EINTR {
			return err
		}
	}
}

// sweepDrafts removes the drafts in dir that nobody writes any more. s.lock is held.
func sweepDrafts(dir string, entries []fs.DirEntry) error {
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), draftBegin) || !strings.HasSuffix(e.Name(), draftEnd) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if flock(file, syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			err = os.Remove(path)
		}
		file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepLists removes the copies in dir that used does not name by their paths. What is no copy stays.
func sweepLists(dir string, entries []fs.DirEntry, used map[string]bool) error {
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		base, isList := strings.CutSuffix(e.Name(), listSuffix)
		if e.Type().IsRegular() && isList && isHash(base) && !used[path] {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// isHash says whether the base of a file or folder is one that a Store makes of a hash.
func isHash(base string) bool {
	return len(base) == 16 && strings.Trim(base, "0123456789abcdef") == ""
}

// effect adds to an error of the file system what to do about it, and what it leaves as it was.
func effect(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("%w; make room there; what was kept before stays in force", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; let the program's user write there; what was kept before stays in force", err)
	}
	return fmt.Errorf("%w; what was kept before stays in force", err)
}
