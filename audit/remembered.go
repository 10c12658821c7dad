package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// A remembered is a small file that is always written as a whole, and that the log has in
// memory too. So it can be written again when somebody has removed it while the log runs,
// and until then is read as it was.
type remembered struct {
	path string

	mu      sync.Mutex
	content []byte      // as it was last read or written; nil: there was no file
	seen    fs.FileInfo // of the file that it was read from
}

// read returns what is in the file, or was. If there was none the error has
// fs.ErrNotExist in it.
func (r *remembered) read() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	content, err := os.ReadFile(r.path)
	switch {
	case err == nil:
		r.content = content
	case errors.Is(err, fs.ErrNotExist) && r.content != nil:
		return r.content, nil
	}
	return content, err
}

func (r *remembered) write(content []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := writeWhole(r.path, content)
	if err == nil {
		r.content = content
	}
	return err
}

// makeAgain reads the file if it is another than before, and writes it again if it is gone.
func (r *remembered) makeAgain() (done bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Lstat(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if r.content == nil {
			return false, nil
		}
		return true, writeWhole(r.path, r.content)
	case err != nil || r.seen != nil && os.SameFile(info, r.seen) && info.Size() == r.seen.Size() && info.ModTime().Equal(r.seen.ModTime()):
		return false, nil // a disk that fails says nothing of it
	}
	if content, err := os.ReadFile(r.path); err == nil {
		r.content, r.seen = content, info
	}
	return false, nil
}

// remember makes again the files beside the store that somebody has removed: the holds,
// what tells of the store's files that are gone, and the keys of clients.
func (w *writer) remember() {
	l := w.log
	if w.gone == nil {
		w.gone = make(map[string]string)
	}
	for _, file := range []struct {
		path string
		make func() (bool, error)
	}{
		{l.holds.path, l.holds.makeAgain},
		{l.removals.path, l.removals.makeAgain},
		{l.keys.where(), func() (bool, error) {
			return l.keys.makeAgain(filepath.Dir(l.keys.path) == filepath.Clean(l.cfg.Dir), l.cfg.Now())
		}},
	} {
		if file.path == "" {
			continue
		}
		done, err := file.make()
		switch {
		case err != nil && w.gone[file.path] != err.Error():
			w.gone[file.path] = err.Error()
			l.cfg.Logger.Error("a file beside the audit store was removed or replaced and cannot be written again yet", "file", file.path, "error", err)
		case err == nil && done:
			delete(w.gone, file.path)
			l.cfg.Logger.Warn("a file beside the audit store was removed or replaced while weir runs, and is written again from memory", "file", file.path)
			l.note(filepath.Base(file.path) + " was removed or replaced while weir runs; it was written again as it was")
		}
	}
}
