package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
)

// Where slabs lie. A folder in memory is best: it has room when the disk has none, and
// writing to it never waits, while a write to a page of a mapped file on a disk that
// stalls does, and with it the query. Where that cannot be had they lie in the log's
// folder. Where there is not room enough for all, there are fewer and smaller ones;
// where there is room for none, slabs are plain memory, and a page of counters tells the
// next start how much was in them.

// plainSlab is the number of slabs that are in no file.
const plainSlab = math.MaxUint32

const (
	leastSlabs = 4        // for each shard
	fewBytes   = 32 << 10 // of a slab: first they become smaller down to here, then fewer, then smaller still
	memoryHome = "weir-"  // how a file of slabs in a memory folder begins, before the path of the log's folder
	maxNameLen = 255 - len(newSuffix)
)

// MemoryFolder returns a folder for Config.Memory, empty if none is known that outlives
// the process: a container's ends with it.
func MemoryFolder() string {
	const folder = "/dev/shm"
	inContainer := os.Getpid() == 1 || os.Getenv("container") != "" || os.Getenv("KUBERNETES_SERVICE_HOST") != ""
	for _, mark := range [...]string{"/.dockerenv", "/run/.containerenv"} {
		_, err := os.Stat(mark)
		inContainer = inContainer || err == nil
	}
	if inContainer || !memoryFolder(folder) {
		return ""
	}
	return folder
}

// smaller returns the next smaller shape that is of use with so many shards.
func (s slabsShape) smaller(shards int) (_ slabsShape, ok bool) {
	least := leastSlabs * shards
	switch {
	case s.size > fewBytes:
		s.size = max(s.size/2, fewBytes) &^ 3
	case s.slabs > least:
		s.slabs = max(s.slabs/2, least)
	case s.size > minSlabBytes:
		s.size = max(s.size/2, minSlabBytes) &^ 3
	default:
		return s, false
	}
	return s, true
}

// noRoom says that less would be had.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// shelter makes the file of slabs, or of counters, and returns why it is not the one
// that was wanted.
func (l *Log) shelter() (m *mapping, why error) {
	want := slabsShape{l.cfg.Slabs, l.cfg.SlabBytes, len(l.shards)}
	memory, err := memoryPath(l.cfg.Memory, l.cfg.Dir)
	if err != nil {
		why = err
	}
	own := filepath.Join(l.cfg.Dir, slabsFile)
	before, _ := os.Readlink(own) // to what is of use no more
	for _, counters := range [...]bool{false, true} {
		for _, path := range [...]string{memory, own} {
			shape, ok := want, path != ""
			if counters {
				shape.slabs, shape.size = 0, 0
			}
			for ok {
				if m, err = mapSlabs(path, l.run, shape, path == own); err == nil {
					if err = lead(own, path); err == nil {
						if before != "" && before != path {
							_ = os.Remove(before)
						}
						if path == own && memory != "" {
							l.cfg.Logger.Warn("audit records wait in the store's own folder: a disk that stalls will keep queries waiting", "reason", why)
						}
						return m, why
					}
					_ = m.close()
					_ = os.Remove(path)
				}
				if why == nil {
					why = err
				}
				if ok = noRoom(err) && !counters; ok {
					shape, ok = shape.smaller(len(l.shards))
				}
			}
		}
	}
	return nil, why
}

// memoryPath returns where in a memory folder the slabs of the log in dir are; nowhere
// if there is no such folder.
func memoryPath(memory, dir string) (string, error) {
	if memory == "" {
		return "", nil
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", err
	}
	name := memoryHome + url.PathEscape(dir)
	if len(name) > maxNameLen {
		return "", fmt.Errorf("%s is too long a path for a file in %s", dir, memory)
	}
	return filepath.Join(memory, name), nil
}

// lead has the file of slabs in the log's folder lead to path, unless that is it.
func lead(own, path string) error {
	if to, err := os.Readlink(own); path == own || err == nil && to == path {
		return nil
	}
	if err := os.Remove(own + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(path, own+newSuffix); err != nil {
		return err
	}
	return os.Rename(own+newSuffix, own)
}

// removeSlabs removes the file of slabs and what leads to it.
func removeSlabs(dir string) error {
	own := filepath.Join(dir, slabsFile)
	if to, err := os.Readlink(own); err == nil {
		if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(own); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// makeSlabs makes the slabs of a run, in shared memory if that can be had.
func (l *Log) makeSlabs() {
	m, why := l.shelter()
	l.useSlabs(m)
	l.sheltered(m, why)
}

// useSlabs gives out the slabs of m from now on, or plain ones, if it has none. What is
// in plain ones already is counted in m.
func (l *Log) useSlabs(m *mapping) {
	for i := range l.shards {
		l.shards[i].mu.Lock()
		defer l.shards[i].mu.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mapping = m
	if m != nil {
		l.excluded.note(m)
		var n uint64
		for i := range l.filled {
			n += countEvents(l.filled[i].b)
		}
		for i := range l.shards {
			n += countEvents(l.shards[i].slab.b)
		}
		*m.counter(0) = n
		for i := range l.changes {
			m.owe(l.changes[i].at, 1)
		}
		for i := range l.gaps {
			m.owe(l.gaps[i].from, 0)
			m.owe(l.gaps[i].to, l.gaps[i].lost)
		}
	}
	if m.holds() {
		for i := range l.shards {
			if s := &l.shards[i]; len(s.slab.b) > 0 {
				l.filled = append(l.filled, s.slab)
			}
			l.shards[i].slab = slab{}
		}
		l.slabs, l.free = m.slabs, make([]slab, m.slabs)
		for i := range l.free {
			l.free[i] = m.slab(i)
		}
	} else {
		if l.slabs == 0 {
			l.slabs, l.free = l.cfg.Slabs, make([]slab, l.cfg.Slabs)
			for i := range l.free {
				l.free[i] = slab{number: plainSlab, b: make([]byte, 0, l.cfg.SlabBytes)}
			}
		}
		for i := range l.shards {
			if m != nil {
				l.shards[i].counter = m.counter(i)
			}
		}
	}
	l.full.Store(len(l.free) == 0 || l.closed || l.shut.Load())
}

// countEvents returns how many events are in b.
func countEvents(b []byte) (n uint64) {
	for ; len(b) > 0; n++ {
		_, size := eventTime(b)
		b = b[size:]
	}
	return n
}

// sheltered tells the operator what a kill would cost, if it would cost anything, or if
// less can wait for the disk than was asked for.
func (l *Log) sheltered(m *mapping, why error) {
	text := ""
	switch {
	case m == nil:
		text = "records that are not on disk yet would not outlive a process that is killed, nor would their number"
	case !m.holds():
		text = "records that are not on disk yet would not outlive a process that is killed; their number would"
	case m.slabs*m.size < l.cfg.Slabs*l.cfg.SlabBytes:
		l.cfg.Logger.Warn("there is room for fewer records that are not on disk yet", "kib", m.slabs*m.size>>10, "of", l.cfg.Slabs*l.cfg.SlabBytes>>10, "reason", why)
	}
	if text != "" {
		l.cfg.Logger.Warn(text, "reason", why)
	}
	l.status.Lock()
	l.status.exposed = text
	l.status.Unlock()
}
