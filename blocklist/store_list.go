package blocklist

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// storedList is a list as the Store knows it.
type storedList struct {
	dir   string
	state *listState
	text  []byte           // of the state as the file has it; nil when there is none
	file  fs.FileInfo      // when it was read or written
	fresh map[string]*Copy // kept since the last Settle, by path; no state need name them yet
}

// makeFolder makes the folder of the list.
func (l *storedList) makeFolder() error {
	err := os.Mkdir(l.dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(l.dir))
}

// write makes next the state of the list.
func (l *storedList) write(next *listState) error {
	text, err := next.encode()
	if err != nil {
		return err
	}
	if bytes.Equal(text, l.text) {
		l.state = next
		return nil
	}
	if err := l.makeFolder(); err != nil {
		return err
	}
	d, err := newDraft(l.dir)
	if err != nil {
		return err
	}
	defer d.discard()
	if _, err := d.Write(text); err != nil {
		return err
	}
	path := filepath.Join(l.dir, stateFile)
	if err := d.publish(path); err != nil {
		return err
	}
	l.state, l.text = next, text
	l.file, err = os.Stat(path)
	return err
}

// publish gives the draft of a version its name. The store is locked.
func (l *storedList) publish(d *draft, c *Copy) error {
	path := fileOf(l.dir, c.Digest)
	for _, other := range l.state.copies() {
		if (*other).File == path && (*other).Digest != c.Digest {
			return fmt.Errorf("%s is another version whose digest begins the same, which only an attack achieves", path)
		}
	}
	info, err := d.Stat()
	if err != nil {
		return err
	}
	if err := d.publish(path); err != nil {
		return err
	}
	c.File, c.size = path, info.Size()
	return nil
}

// sweep removes the files that nothing names.
func (l *storedList) sweep() error {
	used := map[string]bool{}
	for _, c := range l.state.copies() {
		used[(*c).File] = true
	}
	for path := range l.fresh {
		used[path] = true
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	return sweepLists(l.dir, entries, used)
}
