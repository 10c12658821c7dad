package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	walFile  = "audit.wal"
	walRoom  = 1 << 20 // octets that the disk is to set aside at once
	walKept  = 16 << 20
	textFile = "audit.texts"
)

// A wal is the write-ahead file: the frames of the records that are not in the
// store yet. It is written from its beginning again when they are.
type wal struct {
	file *os.File
	end  int64 // of the last frame
	buf  []byte
}

// openWAL makes the file anew.
func openWAL(dir string) (*wal, error) {
	f, err := os.OpenFile(filepath.Join(dir, walFile), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the write-ahead file: %w", err)
	}
	setAside(f, walRoom) // a disk that is full says so when a frame is written
	return &wal{file: f}, nil
}

// append writes the frame and returns when it is on disk. After an error it may be
// called again with the same frame, which goes to the same place.
func (w *wal) append(f *frame) error {
	w.buf = f.append(w.buf[:0])
	if _, err := w.file.WriteAt(w.buf, w.end); err != nil {
		return fmt.Errorf("write ahead: %w", err)
	}
	if err := syncData(w.file); err != nil {
		return fmt.Errorf("write ahead: %w", err)
	}
	w.end += int64(len(w.buf))
	if cap(w.buf) > walKept {
		w.buf = nil
	}
	return nil
}

// reset drops all frames, whose records are in the store. They need not go from
// the disk: who reads them finds records that he has.
func (w *wal) reset() {
	if w.end > walKept {
		_ = w.file.Truncate(walRoom)
	}
	w.end = 0
}

// removeAhead removes what a run that has ended in order leaves of its own.
func removeAhead(dir string) error {
	var errs []error
	for _, name := range []string{walFile, slabsFile, textFile, slabsFile + newSuffix, textFile + newSuffix} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
