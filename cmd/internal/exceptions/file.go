package exceptions

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrLocked is in the error of Open and OpenReadOnly when another process has the file open.
var ErrLocked = errors.New("another process has the exceptions file open")

const (
	bucketName = "exceptions"
	stateKey   = "state"
	newSuffix  = ".new" // of a file being made

	lockTimeout = 2 * time.Second
	lockEvery   = 20 * time.Millisecond
)

// A file is an open exceptions.db, proved and locked.
type file struct {
	path   string
	handle *os.File // bbolt's, to let go of the lock when db.Close would hang
	db     *bbolt.DB
	broken bool // bbolt panicked in it and may hold its own locks
}

// A content is all that a file holds.
type content struct {
	state   state
	records []*record
	sums    map[uint64]uint32 // checksum of each record's value, by ID
}

// openFile opens a file that is locked and reads all of it. When it fails the file
// is still to be closed, if there is one, or the handle let go.
func openFile(path string, handle *os.File, is fs.FileInfo, readOnly bool) (f *file, c content, err error) {
	if !is.Mode().IsRegular() {
		return nil, c, fmt.Errorf("open exceptions file: %s is not a file", path)
	}
	if is.Size() == 0 { // bbolt would quietly make it a new one
		return nil, c, damaged(path, "opening it", "the file is empty")
	}
	if err := checkPages(handle, is.Size()); err != nil {
		return nil, c, damaged(path, "checking its pages", err)
	}
	if f, err = openBolt(path, handle, readOnly); err != nil {
		return nil, c, err
	}
	c, err = f.load()
	return f, c, err
}

// makeFile makes a file with that state under another name and gives it its own
// only when it is whole on disk. If another process was faster the error is fs.ErrExist.
func makeFile(path string, first state) (f *file, err error) {
	temporary := path + newSuffix
	handle, _, err := lockedFile(temporary, false, os.O_CREATE)
	if err != nil {
		return nil, fmt.Errorf("make exceptions file: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(temporary)
			letGo(handle)
			err = fmt.Errorf("make exceptions file: %w", err)
		}
	}()
	if _, err := os.Lstat(path); err == nil {
		return nil, fs.ErrExist
	}
	if err := handle.Truncate(0); err != nil { // what a crash has left
		return nil, err
	}
	if f, err = openBolt(temporary, handle, false); err != nil {
		return nil, err
	}
	if err := f.write(nil, nil, first); err != nil {
		return nil, err
	}
	if err := handle.Sync(); err != nil {
		return nil, err
	}
	if err := os.Rename(temporary, path); err != nil {
		return nil, err
	}
	f.path = path
	return f, syncDir(filepath.Dir(path))
}

// openBolt gives bbolt a file that is locked.
func openBolt(path string, handle *os.File, readOnly bool) (*file, error) {
	f := &file{path: path, handle: handle}
	err := guard(path, "opening it", func() (err error) {
		f.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:      lockTimeout,
			FreelistType: bbolt.FreelistMapType,
			ReadOnly:     readOnly,
			NoStatistics: true,
			MaxSize:      maxFile,
			OpenFile:     func(string, int, os.FileMode) (*os.File, error) { return handle, nil },
		})
		return err
	})
	var (
		damage *DamageError
		inPath *fs.PathError
		number syscall.Errno
	)
	switch {
	case err == nil:
		return f, nil
	case errors.As(err, &damage):
		return nil, err
	case errors.As(err, &inPath), errors.As(err, &number):
		return nil, fmt.Errorf("open exceptions file: %w", err)
	}
	return nil, damaged(path, "opening it", err)
}

// load reads and proves every value.
func (f *file) load() (c content, err error) {
	f.broken = true // unless it comes back
	err = guard(f.path, "reading it", func() error {
		err := f.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(bucketName)).ForEach(func(k, v []byte) error { return c.take(f.path, k, v) })
		})
		f.broken = false
		return err
	})
	if err != nil {
		return c, err
	}
	var sum uint64
	for _, n := range c.sums {
		sum += uint64(n)
	}
	last := uint64(0)
	if n := len(c.records); n > 0 {
		last = c.records[n-1].ID
	}
	switch {
	case c.state.next == 0:
		return c, damaged(f.path, "its state", "it is missing")
	case c.state.count != uint64(len(c.records)) || c.state.sum != sum:
		return c, damaged(f.path, "its state", fmt.Sprintf("it is not of these %d exceptions", len(c.records)))
	case last >= c.state.next:
		return c, damaged(f.path, "its state", fmt.Sprintf("the next ID is %d, after %d", c.state.next, last))
	}
	return c, nil
}

// take reads one value.
func (c *content) take(path string, k, v []byte) (err error) {
	if string(k) == stateKey {
		if c.state, err = decodeState(v); err != nil {
			return damaged(path, "its state", err)
		}
		return nil
	}
	if len(k) != 8 {
		return damaged(path, fmt.Sprintf("key %x", k), "it cannot be an exception's")
	}
	id := binary.BigEndian.Uint64(k)
	place := fmt.Sprintf("exception %d", id)
	r, err := decodeRecord(v)
	switch {
	case err != nil:
		return damaged(path, place, err)
	case r.ID != id:
		return damaged(path, place, fmt.Sprintf("it is exception %d", r.ID))
	}
	if c.sums == nil {
		c.sums = make(map[uint64]uint32)
	}
	c.records, c.sums[id] = append(c.records, r), checksum(v)
	return nil
}

// write commits values, removals and the state, all or none, and syncs them to
// disk. After an error that is not from before the commit, the disk may hold them.
func (f *file) write(values map[uint64][]byte, removed []uint64, next state) error {
	if f.broken {
		return damaged(f.path, "writing to it", "an earlier write found it damaged")
	}
	err := guard(f.path, "writing to it", func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(bucketName))
			if err != nil {
				return err
			}
			for _, id := range slices.Sorted(maps.Keys(values)) { // in order bbolt is much faster
				if err := b.Put(key(id), values[id]); err != nil {
					return err
				}
			}
			for _, id := range removed {
				if err := b.Delete(key(id)); err != nil {
					return err
				}
			}
			return b.Put([]byte(stateKey), next.encode())
		})
	})
	var damage *DamageError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &damage):
		f.broken = true
		return err
	case errors.Is(err, bolterrors.ErrMaxSizeReached):
		return fmt.Errorf("write %s: it would be longer than %d octets", f.path, maxFile)
	}
	return fmt.Errorf("write %s: %w (is there room in %s?)", f.path, err, filepath.Dir(f.path))
}

func (f *file) close() error {
	if f.broken {
		return letGo(f.handle)
	}
	return guard(f.path, "closing it", f.db.Close)
}

func key(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// lockedFile opens a file and locks it, for others too if it is only to be read.
// What it returns is what path names while the lock is held.
func lockedFile(path string, readOnly bool, flag int) (*os.File, fs.FileInfo, error) {
	how := syscall.LOCK_SH
	if !readOnly {
		flag |= os.O_RDWR
		how = syscall.LOCK_EX
	}
	for until := time.Now().Add(lockTimeout); ; time.Sleep(lockEvery) {
		handle, err := os.OpenFile(path, flag, 0o600)
		if err != nil {
			return nil, nil, err
		}
		err = syscall.Flock(int(handle.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			is, err := handle.Stat()
			there, gone := os.Stat(path)
			if err == nil && gone == nil && os.SameFile(is, there) {
				return handle, is, nil
			}
		}
		handle.Close()
		switch {
		case err == nil, errors.Is(err, syscall.EINTR):
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if time.Now().After(until) {
			return nil, nil, fmt.Errorf("%s: %w", path, ErrLocked)
		}
	}
}

// letGo gives up a file whose bbolt cannot be closed. Closing alone would not
// release the lock: the memory map, which stays, keeps the open file alive.
func letGo(handle *os.File) error {
	return errors.Join(syscall.Flock(int(handle.Fd()), syscall.LOCK_UN), handle.Close())
}

// abandon lets go of what openFile left when it failed.
func abandon(f *file, handle *os.File) {
	if f != nil {
		f.close()
	} else {
		letGo(handle)
	}
}
