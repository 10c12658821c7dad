package exceptions

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

// A DamageError says that the file does not hold what was written to it.
type DamageError struct {
	File   string // path
	Place  string // "exception 12", or what was being done
	Reason string // what is wrong there
	Moved  string // path of the damaged file after it was moved aside; empty if it was left
}

func (e *DamageError) Error() string {
	text := fmt.Sprintf("exceptions file %s is damaged: %s: %s", e.File, e.Place, e.Reason)
	if e.Moved != "" {
		text += "; it was moved to " + e.Moved
	}
	return text
}

func damaged(file, place string, reason any) error {
	return &DamageError{File: file, Place: place, Reason: fmt.Sprint(reason)}
}

// guard runs f, which reads bbolt's memory map, and turns a panic of bbolt and a
// fault in the map (a file cut short, a device gone) into a DamageError.
func guard(file, doing string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(file, doing, p)
		}
	}()
	return f()
}

// movedInfix comes before the time in the name of a file that was moved aside.
const movedInfix = ".damaged-"

// moveAside renames the damaged file, whose lock the caller holds, so that a new
// one can take its place, and returns its new path. Nothing is ever overwritten,
// and nothing moved but that file.
func moveAside(path string, is fs.FileInfo, now time.Time) (string, error) {
	if there, err := os.Stat(path); err != nil || !os.SameFile(is, there) {
		return "", fmt.Errorf("move damaged %s aside: another process has put something else there: %w", path, errors.Join(err, fs.ErrExist))
	}
	stamp := path + movedInfix + now.UTC().Format("20060102T150405Z")
	to := stamp
	for i := 2; ; i++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = fmt.Sprintf("%s-%d", stamp, i)
	}
	if err := os.Rename(path, to); err != nil {
		return "", fmt.Errorf("move damaged exceptions file aside: %w", err)
	}
	return to, syncDir(filepath.Dir(path))
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

const (
	// idsLeft is how many IDs a new file leaves unused after the highest found in a damaged one, whose newest state may be lost.
	idsLeft = 1000

	// idsSane is beyond any ID that was given. A text may look like a state, on purpose too.
	idsSane = 1 << 48

	// stateOctets is the most that a state takes.
	stateOctets = stateFixed + 1 + maxBootID + sumSize
	stateFixed  = headSize + 5*8
)

// unusedID returns an ID for the first exception of a new file that no damaged
// file of that path, moved aside now or earlier, has given away, as far as they
// can be read.
func unusedID(path string) uint64 {
	dir, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return 1
	}
	next := uint64(1)
	for _, e := range dir {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), filepath.Base(path)+movedInfix) {
			continue
		}
		f, err := os.Open(filepath.Join(filepath.Dir(path), e.Name()))
		if err != nil {
			continue
		}
		if n := salvage(f); n > 0 {
			next = max(next, n+idsLeft)
		}
		f.Close()
	}
	return next
}

// salvage returns the highest next ID of all states found anywhere in a damaged
// file, old ones too, or 0.
func salvage(file io.ReaderAt) (next uint64) {
	const step = 1 << 20
	window := make([]byte, step+stateOctets)
	for at := int64(0); at < maxFile; at += step {
		n, err := file.ReadAt(window, at)
		for b := window[:n]; ; b = b[1:] {
			i := bytes.Index(b, []byte(stateMagic))
			if i < 0 {
				break
			}
			b = b[i:]
			if s, err := decodeState(stateAt(b)); err == nil && s.next < idsSane {
				next = max(next, s.next)
			}
		}
		if err != nil {
			break
		}
	}
	return next
}

// stateAt returns the octets at the beginning of b that are a state, if they are one.
func stateAt(b []byte) []byte {
	if len(b) <= stateFixed {
		return nil
	}
	return b[:min(len(b), stateFixed+1+int(b[stateFixed])+sumSize)] // no text of a state is so long that its length takes two octets
}
