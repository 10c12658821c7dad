package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A leftover is what a run that did not end has left beside the store.
type leftover struct {
	found    bool     // there was such a run
	segments []sealed // of what it left, behind the store's own
	records  uint64   // in them
	cut      string   // where records of it are missing that others stand behind
}

// readLeftover reads what is left in dir for the sealer s to go on with, which
// then is behind it. It changes no file.
func readLeftover(dir string, s *sealer) (out leftover, err error) {
	read := func(name string) ([]byte, error) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		out.found = out.found || err == nil
		return b, err
	}
	frames, err := read(walFile)
	if err != nil {
		return out, fmt.Errorf("read the write-ahead file: %w", err)
	}
	tables, err := read(textFile)
	if err != nil {
		return out, fmt.Errorf("read the file of texts: %w", err)
	}
	if !out.found {
		return out, nil
	}
	run, reasons, labels, err := readTexts(tables)
	if err != nil {
		return out, nil // the run had not begun
	}
	out.cut = s.replay(frames, run, reasons, labels)
	s.close()
	out.segments = s.closed
	s.committed()
	for i := range out.segments {
		out.records += uint64(out.segments[i].header.count)
	}
	return out, nil
}

// replay adds the records of a run's frames that come next. It says which are
// missing, if others stand behind them.
func (s *sealer) replay(b []byte, run runID, reasons []Reason, labels []string) (missing string) {
	var follows, before uint64
	for at := 0; at < len(b); {
		f, size, err := readFrame(b[at:])
		if err != nil {
			n := laterFrame(b[at:], run, s.upcoming())
			if n == 0 {
				break // the end, or what the last write did not bring to disk
			}
			missing = fmt.Sprintf("%s at octet %d: %v; other records stand behind it", walFile, at, err)
			at, before = at+n, 0
			continue
		}
		if at == 0 {
			follows = f.follows
		}
		if f.run != run || f.follows != follows || before != 0 && f.first != before {
			break // of before the file was begun again
		}
		at += size
		before = f.first + uint64(f.count)
		next := s.upcoming()
		if before <= next {
			continue // in the store
		}
		if f.first > next { // the numbers between are not given a second time
			s.close()
			s.next, next = f.first, f.first
		}
		s.sort(&f.batch)
		s.add(&f.batch, int(next-f.first), reasons, labels)
	}
	return missing
}

// laterFrame returns where in b a frame of the run begins that has records from
// next on, 0 if there is none.
func laterFrame(b []byte, run runID, next uint64) int {
	for at := frameAlign; at < len(b); at += frameAlign {
		if f, _, err := readFrame(b[at:]); err == nil && f.run == run && f.first >= next {
			return at
		}
	}
	return 0
}

// views returns the segments as a reader sees them.
func (o *leftover) views() (out []view) {
	for i := range o.segments {
		out = append(out, view{header: o.segments[i].header, segment: o.segments[i].bytes})
	}
	return out
}
