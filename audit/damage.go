package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrLocked is in the error of Open and OpenReader when another process has the
// store open.
var ErrLocked = errors.New("another process has the audit store open")

// ErrClosed is returned by readers and followers of a log that has ended.
var ErrClosed = errors.New("the audit log is closed")

// A DamageError says that the store does not hold what was written to it.
type DamageError struct {
	File   string // path of the store
	Place  string // "segment 1201" (its key), or what was being done
	Reason string // what is wrong there
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("audit store %s is damaged: %s: %s", e.File, e.Place, e.Reason)
}

func damaged(file, place string, reason any) error {
	return &DamageError{file, place, fmt.Sprint(reason)}
}

// guard runs f, which reads the store's memory map, and turns a panic of bbolt
// and a fault in the map (a file cut short, a device gone) into a DamageError.
func guard(file, doing string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(file, doing, p)
		}
	}()
	return f()
}

// openFailure sorts what bbolt.Open returned into locked, damaged and the rest,
// which an operator can mend: permissions, a full disk.
func openFailure(file string, err error) error {
	var (
		damage *DamageError
		path   *fs.PathError
		number syscall.Errno
	)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("open %s: %w", file, ErrLocked)
	case errors.As(err, &damage):
		return err
	case errors.As(err, &path), errors.As(err, &number):
		return fmt.Errorf("open audit store: %w", err)
	default:
		return damaged(file, "opening it", err)
	}
}

// letGo gives up a bbolt file whose handle cannot be closed, because bbolt
// panicked and may hold its own locks. Closing alone would not release the file's
// lock: the memory map, which stays, keeps the open file alive.
func letGo(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

const damagedInfix = ".damaged-" // in a name, before the time

// moveAside renames a damaged store so that a new one can take its place, and
// returns the new path. Nothing is ever overwritten.
func moveAside(file string, now time.Time) (string, error) {
	stamp := file + damagedInfix + now.UTC().Format("20060102T150405Z")
	to := stamp
	for i := 2; ; i++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = fmt.Sprintf("%s-%d", stamp, i)
	}
	if err := os.Rename(file, to); err != nil {
		return "", fmt.Errorf("move damaged audit store aside: %w", err)
	}
	return to, syncDir(filepath.Dir(file))
}

// syncDir makes renames in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
