package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockFile is locked (flock) by whoever has the store open: the log that writes alone,
// readers of a stopped one together. It is empty, and made when a log is first opened.
const lockFile = "audit.lock"

const lockRetry = 50 * time.Millisecond

// lockStore takes the lock of the store in dir, which is let go of by closing the file.
// A reader gets none where there never was a log, as in a backup that was unpacked.
func lockStore(dir string, readOnly bool) (*os.File, error) {
	flag, how := os.O_RDWR|os.O_CREATE, syscall.LOCK_EX
	if readOnly {
		flag, how = os.O_RDONLY, syscall.LOCK_SH
	}
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, flag, 0o600)
	switch {
	case readOnly && errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("open audit store: %w", err)
	}
	for began := time.Now(); ; time.Sleep(lockRetry) {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		case time.Since(began) > lockTimeout:
			f.Close()
			return nil, fmt.Errorf("open %s: %w", path, ErrLocked)
		}
	}
}
