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
	walJoin  = 64 << 10 // octets of a frame that is written by one call
	textFile = "audit.texts"
)

// A wal is the write-ahead file: the frames of the records that are not in the
// store yet. It is written from its beginning again when they are.
type wal struct {
	dir  string
	file *os.File // nil: it could not be made so far
	end  int64    // of the last frame
	head []byte   // what of a frame is not in slabs
	buf  []byte   // a small frame in one piece
}

// make makes the file anew.
func (w *wal) make() error {
	f, err := os.OpenFile(filepath.Join(w.dir, walFile), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make the write-ahead file: %w", err)
	}
	setAside(f, walRoom) // a disk that is full says so when a frame is written
	w.file = f
	return syncDir(w.dir)
}

func (w *wal) close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// append writes the frame and returns when it is on disk. After an error it may be
// called again with the same frame, which goes to the same place.
func (w *wal) append(f *frame) error {
	if w.file == nil {
		if err := w.make(); err != nil {
			return err
		}
	}
	parts := f.parts(w.head)
	w.head = parts[0] // so that its memory is used again
	size := int64(0)
	for _, part := range parts {
		size += int64(len(part))
	}
	if size <= walJoin {
		w.buf = w.buf[:0]
		for _, part := range parts {
			w.buf = append(w.buf, part...)
		}
		parts = append(parts[:0], w.buf)
	}
	at := w.end
	for _, part := range parts {
		if _, err := w.file.WriteAt(part, at); err != nil {
			return fmt.Errorf("write ahead: %w", err)
		}
		at += int64(len(part))
	}
	if err := syncData(w.file); err != nil {
		return fmt.Errorf("write ahead: %w", err)
	}
	w.end = at
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
	errs = append(errs, removeSlabs(dir))
	for _, name := range []string{walFile, textFile, slabsFile + newSuffix, textFile + newSuffix} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
