package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

const (
	newSuffix   = ".new" // of a file being made
	lockTimeout = 2 * time.Second
	tailChecked = 16 // newest segments that opening proves

	// While the file is smaller than the map, growing it never waits for a reader.
	mapSize = 1 << (20 + 10*(bits.UintSize/64))
)

var segmentBucket = []byte("segments")

// A boltFile is one open file of the store. Its one writer calls append; reads may
// run beside it. After a panic inside a write it is broken: it answers nothing more
// and must be replaced.
type boltFile struct {
	path string

	db   *bbolt.DB
	file *os.File // bbolt's, to let go of the lock when db.Close would hang

	mu     sync.Mutex // held while a transaction begins, so that none begins on a broken file
	broken bool
	closed bool
}

// makeFile makes an empty file, with segments in it if there are any, under another
// name, and gives it its own only when it is whole on disk.
func makeFile(path string, segments []sealed, hits *hitsUpdate) (*boltFile, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("make audit store %s: %w", path, fs.ErrExist)
	}
	if err := os.Remove(path + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) { // left by a crash
		return nil, fmt.Errorf("make audit store: %w", err)
	}
	s, err := openBolt(path+newSuffix, false)
	if err != nil {
		return nil, fmt.Errorf("make audit store: %w", err)
	}
	err = guard(path, "making it", func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(segmentBucket)
			return err
		})
	})
	if err == nil && len(segments) > 0 {
		err = s.append(segments, hits)
	}
	if err == nil {
		err = errors.Join(os.Rename(path+newSuffix, path), syncDir(filepath.Dir(path)))
	}
	if err != nil {
		os.Remove(path + newSuffix)
		os.Remove(path) // nobody has seen it: what it holds is still in the write-ahead file
		s.close()
		var damage *DamageError
		if errors.As(err, &damage) { // it is gone, so there is nothing to be moved aside
			return nil, fmt.Errorf("make audit store: %v", err)
		}
		return nil, fmt.Errorf("make audit store: %w", err)
	}
	s.path = path
	return s, nil
}

// openFile opens a file that exists and checks that it is one of a store.
func openFile(path string, readOnly bool) (*boltFile, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("open audit store: %w", err)
	case info.Size() == 0: // bbolt would quietly make it a new one
		return nil, damaged(path, "opening it", "the file is empty")
	}
	s, err := openBolt(path, readOnly)
	if err != nil {
		return nil, err
	}
	if err := s.view("opening it", func(*bbolt.Cursor) error { return nil }); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func openBolt(path string, readOnly bool) (*boltFile, error) {
	s := &boltFile{path: path}
	size := mapSize
	if readOnly {
		size = 0 // as large as it is
	}
	err := guard(path, "opening it", func() (err error) {
		s.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:         lockTimeout,
			FreelistType:    bbolt.FreelistMapType,
			InitialMmapSize: size,
			ReadOnly:        readOnly,
			NoStatistics:    true,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag, mode)
				s.file = f
				return f, err
			},
		})
		return err
	})
	if err != nil {
		if s.file != nil {
			letGo(s.file) // bbolt has closed it, unless it panicked
		}
		return nil, openFailure(path, err)
	}
	return s, nil
}

// begin starts a transaction, unless the file is broken or closed.
func (s *boltFile) begin(writable bool) (*bbolt.Tx, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.broken {
		return nil, damaged(s.path, "using it", "an earlier write found it damaged")
	}
	ok := false
	defer func() { s.broken = s.broken || !ok }() // a panic here leaves bbolt's locks held
	tx, err := s.db.Begin(writable)
	ok = true
	return tx, err
}

// view gives f a cursor over the segments for the length of one read
// transaction, which f must keep short: a held one stops the file's pages from
// being used again, and the writer when the memory map must grow.
func (s *boltFile) view(doing string, f func(c *bbolt.Cursor) error) error {
	return guard(s.path, doing, func() error {
		tx, err := s.begin(false)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		b := tx.Bucket(segmentBucket)
		if b == nil {
			return damaged(s.path, doing, "it has no bucket of segments")
		}
		return f(b.Cursor())
	})
}

// append commits segments, all or none, and syncs them to disk, with an update
// of the roll-up unless that is nil. Only a DamageError means that trying again is
// of no use; a hitsError that it may work without the update.
func (s *boltFile) append(segments []sealed, hits *hitsUpdate) error {
	var inHits, ended bool
	err := guard(s.path, "writing to it", func() error {
		tx, err := s.begin(true)
		if err != nil {
			return err
		}
		defer func() {
			tx.Rollback()
			ended = true // else bbolt's locks are still held
		}()
		b := tx.Bucket(segmentBucket)
		if b == nil {
			return damaged(s.path, "writing to it", "it has no bucket of segments")
		}
		b.FillPercent = 0.95 // keys only ever grow
		for i := range segments {
			if err := b.Put(segmentKey(segments[i].header.first), segments[i].bytes); err != nil {
				return err
			}
		}
		if hits != nil {
			inHits = true
			if err := hits.write(tx); err != nil {
				return &hitsError{err}
			}
		}
		return tx.Commit()
	})
	var (
		damage *DamageError
		failed *hitsError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed):
		return err
	case errors.As(err, &damage):
		if inHits && ended {
			return &hitsError{err}
		}
		s.mu.Lock()
		s.broken = true
		s.mu.Unlock()
		return err
	}
	return fmt.Errorf("commit to %s: %w", s.path, err)
}

// shrink cuts off what bbolt has made the file larger for writes to come, of which there
// are none. That it fails costs nothing but the room.
func (s *boltFile) shrink() {
	_ = s.view("cutting it to its size", func(c *bbolt.Cursor) error {
		return os.Truncate(s.path, c.Bucket().Tx().Size())
	})
}

// tail proves the file's newest segments and returns the last one's header and digest.
func (s *boltFile) tail() (h header, digest [digestSize]byte, err error) {
	before := newest
	var value []byte
	for i := range tailChecked {
		key, ok, err := s.previous(before, nil, &value)
		if err != nil || !ok {
			return h, digest, err
		}
		place := segmentPlace(key)
		got, sum, err := checkSegment(value)
		first := got.first
		if err == nil && got.packed {
			got, sum, err = lastPacked(&got, value)
		}
		switch {
		case err != nil:
			return h, digest, damaged(s.path, place, err)
		case first != key:
			return h, digest, damaged(s.path, place, fmt.Sprintf("it holds the segment of key %d", first))
		}
		if i == 0 {
			h, digest = got, sum
		}
		before = key
	}
	return h, digest, nil
}

// newest is above every key.
const newest = ^uint64(0)

// How many segments one read transaction may pass over before it ends.
const maxSkipped = 1000

// previous copies to value, whose memory it reuses, the newest segment whose key
// is below before and that want accepts (nil accepts all), and returns its key.
// ok is false when there is none. A header that cannot be read is accepted, so
// that its damage is found.
func (s *boltFile) previous(before uint64, want func(*header) bool, value *[]byte) (key uint64, ok bool, err error) {
	return s.walk(before, want, value, func(c *bbolt.Cursor, from uint64) (k, v []byte) {
		if k, _ = c.Seek(segmentKey(from)); k == nil { // bbolt then stands on the last
			return c.Last()
		}
		return c.Prev()
	}, (*bbolt.Cursor).Prev)
}

// following is like previous for the oldest segment that has a record at or
// above from.
func (s *boltFile) following(from uint64, want func(*header) bool, value *[]byte) (key uint64, ok bool, err error) {
	return s.walk(from, want, value, func(c *bbolt.Cursor, from uint64) (k, v []byte) {
		k, v = c.Seek(segmentKey(from))
		switch {
		case k == nil:
			k, v = c.Last()
		case string(k) != string(segmentKey(from)):
			k, v = c.Prev()
		default:
			return k, v
		}
		if k != nil {
			if h, err := readHeader(v); err == nil && h.last() >= from {
				return k, v
			}
		}
		return c.Seek(segmentKey(from))
	}, (*bbolt.Cursor).Next)
}

// step copies to at what is behind its key.
func (s *boltFile) step(at *position) (ok bool, err error) {
	place := "reading it behind " + keyPlace(at.key)
	err = s.view(place, func(c *bbolt.Cursor) error {
		k, v := c.First()
		if len(at.key) > 0 {
			k, v = at.next(c)
		}
		if ok = k != nil; ok {
			at.key = append(at.key[:0], k...)
			at.value = append(at.value[:0], v[:min(len(v), maxSegment+1)]...)
			if len(k) == 8 {
				at.last = max(at.last, after(v, binary.BigEndian.Uint64(k))-1)
			}
		}
		return nil
	})
	return ok, err
}

// next finds what is behind the position. What was there may have been packed with others
// meanwhile, and then the rest of the pack is.
func (at *position) next(c *bbolt.Cursor) (k, v []byte) {
	k, v = c.Seek(at.key)
	there := k != nil && string(k) == string(at.key)
	switch {
	case there:
	case k == nil:
		k, v = c.Last()
	default:
		k, v = c.Prev()
	}
	if h, err := readHeader(v); err == nil && h.packed && string(k) == string(segmentKey(h.first)) && h.first <= at.last && h.last() > at.last {
		return k, v
	}
	if k, v = c.Seek(at.key); there {
		return c.Next()
	}
	return k, v
}

func (s *boltFile) walk(at uint64, want func(*header) bool, value *[]byte,
	start func(*bbolt.Cursor, uint64) (k, v []byte), step func(*bbolt.Cursor) (k, v []byte),
) (key uint64, ok bool, err error) {
	for more := true; more; {
		more = false
		err := s.view("reading it near "+segmentPlace(at), func(c *bbolt.Cursor) error {
			k, v := start(c, at)
			for n := 0; k != nil; k, v = step(c) {
				if len(k) != 8 || len(v) > maxSegment {
					return damaged(s.path, fmt.Sprintf("key %x", k), "it cannot be a segment's")
				}
				key = binary.BigEndian.Uint64(k)
				if h, err := readHeader(v); err != nil || want == nil || want(&h) {
					*value, ok = append((*value)[:0], v...), true
					return nil
				}
				if n++; n == maxSkipped {
					at, more = key, true
					return nil
				}
			}
			return nil
		})
		if err != nil {
			return key, false, err
		}
	}
	return key, ok, nil
}

// close closes the file and waits for read transactions to end.
func (s *boltFile) close() error {
	s.mu.Lock()
	broken, closed := s.broken, s.closed
	s.closed = true
	s.mu.Unlock()
	switch {
	case closed:
		return nil
	case broken:
		return letGo(s.file)
	}
	return guard(s.path, "closing it", s.db.Close)
}

// abandon closes a damaged file without waiting for anybody: bbolt may hold its
// own locks. Its memory map is given up until the process ends.
func (s *boltFile) abandon() {
	s.mu.Lock()
	s.broken = true
	s.mu.Unlock()
	s.close()
}

func segmentKey(first uint64) []byte { return binary.BigEndian.AppendUint64(nil, first) }

func segmentPlace(key uint64) string {
	if key == newest {
		return "the newest segment"
	}
	return fmt.Sprintf("segment %d", key)
}
