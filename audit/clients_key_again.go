package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// where returns the path of the file; empty if there are no keys, or it could not be opened.
func (k *clientKeys) where() string {
	if k == nil {
		return ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		return ""
	}
	return k.path
}

// makeAgain writes the file again if somebody has removed it or put another in its place,
// which is moved aside: what is open is the only one with all keys, and goes when the
// process ends. anywhere says that its folder may be another than it was, and is no volume
// that is not there at the moment.
func (k *clientKeys) makeAgain(anywhere bool, now time.Time) (done bool, err error) {
	k.syncing.Lock()
	defer k.syncing.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if there(k.file, k.path) {
		return false, nil
	}
	folder, err := os.Stat(filepath.Dir(k.path))
	if err != nil {
		return false, err
	}
	if !anywhere && (k.folder == nil || !os.SameFile(folder, k.folder)) {
		return false, fmt.Errorf("%s is another folder than before: is its volume mounted?", filepath.Dir(k.path))
	}
	content := make([]byte, k.size)
	if _, err := k.file.ReadAt(content, 0); err != nil {
		return false, err
	}
	if _, err := os.Lstat(k.path); !errors.Is(err, fs.ErrNotExist) {
		if _, err := moveAside(k.path, now); err != nil {
			return false, err
		}
	}
	if err := writeWhole(k.path, content); err != nil {
		return false, err
	}
	was, size := k.file, k.size // who is just reading it may finish: the collector closes it
	if err := k.attach(); err != nil {
		k.file, k.size = was, size
		return false, errors.Join(err, os.Remove(k.path))
	}
	return true, nil
}
