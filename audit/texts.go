package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
)

const (
	textMagic  = "WEIRTEXT"
	textHeader = len(textMagic) + 2 + len(runID{}) + bootSize + 1

	textReason = 1
	textLabel  = 2
)

// A texts is the file that says what the numbers in events stand for, as long as
// these are not in the store. It grows with the log's tables; doc.go has its layout.
type texts struct {
	dir string

	mu              sync.Mutex // guards the rest; the writer lets go of it while it waits for the disk
	run             runID
	mapped          bool     // the run's slabs are in a file
	held            bool     // no file may be made: that of a run before is still needed
	file            *os.File // nil: it could not be made so far
	reasons, labels int      // that are in it
	dirty           bool     // some may not be on disk
	buf             []byte
}

// begin says which run the file is of, and that it may be made.
func (t *texts) begin(run runID, mapped bool) {
	t.mu.Lock()
	t.run, t.mapped, t.held = run, mapped, false
	t.mu.Unlock()
}

// make makes the file anew, with all entries. t.mu is held.
func (t *texts) make(reasons []Reason, labels []string) error {
	path := filepath.Join(t.dir, textFile)
	f, err := os.OpenFile(path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("make the file of texts: %w", err)
	}
	b := make([]byte, textHeader)
	copy(b, textMagic)
	binary.BigEndian.PutUint16(b[len(textMagic):], 1)
	copy(b[10:], t.run[:])
	copy(b[26:26+bootSize], bootID())
	if t.mapped {
		b[textHeader-1] = 1
	}
	_, err = f.Write(appendTables(b, reasons, labels))
	if err = errors.Join(err, f.Sync()); err == nil {
		err = os.Rename(path+newSuffix, path) // there is one run's file at any time, and it is whole
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("make the file of texts: %w", err)
	}
	t.file, t.reasons, t.labels, t.dirty = f, len(reasons), len(labels), false
	return syncDir(t.dir)
}

// resume goes on with the file that left was read from. t.mu is held.
func (t *texts) resume(left *leftTexts) error {
	path := filepath.Join(t.dir, textFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("go on with the file of texts: %w", err)
	}
	if err := f.Truncate(int64(left.size)); err != nil {
		f.Close()
		return fmt.Errorf("go on with the file of texts: %w", err)
	}
	t.run, t.mapped, t.held, t.file = left.run, left.mapped, false, f
	t.reasons, t.labels, t.dirty = len(left.reasons), len(left.labels), true
	return nil
}

func (t *texts) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// write adds what the tables have more than the file.
func (t *texts) write(reasons []Reason, labels []string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.add(reasons, labels)
}

// add is write with t.mu held.
func (t *texts) add(reasons []Reason, labels []string) error {
	switch {
	case t.held:
		return nil
	case t.file == nil:
		return t.make(reasons, labels)
	}
	// Who interns writes before the tables have it: they may be behind the file.
	t.buf = appendTables(t.buf[:0], reasons[min(t.reasons, len(reasons)):], labels[min(t.labels, len(labels)):])
	if len(t.buf) == 0 {
		return nil
	}
	info, err := t.file.Stat()
	if err != nil {
		return fmt.Errorf("write texts: %w", err)
	}
	if _, err := t.file.Write(t.buf); err != nil {
		_ = t.file.Truncate(info.Size()) // so that no half is in the way of what comes later
		return fmt.Errorf("write texts: %w", err)
	}
	t.reasons, t.labels, t.dirty = max(t.reasons, len(reasons)), max(t.labels, len(labels)), true
	return nil
}

// sync brings what was written to disk. It has one caller at a time.
func (t *texts) sync() error {
	t.mu.Lock()
	f, dirty := t.file, t.dirty
	t.dirty = false
	t.mu.Unlock()
	if !dirty {
		return nil
	}
	err := syncData(f)
	if err == nil {
		return nil
	}
	// What could not be written is forgotten by the system, and another sync of this
	// file would not fail: it is made anew.
	t.mu.Lock()
	defer t.mu.Unlock()
	t.file = nil
	return fmt.Errorf("write texts: %w", errors.Join(err, f.Close()))
}

// appendTables appends an entry for each reason and each label.
func appendTables(b []byte, reasons []Reason, labels []string) []byte {
	for _, r := range reasons {
		b = appendTexts(b, textReason, r.Group, r.Policy, r.Rule, r.Category, r.List)
	}
	for _, s := range labels {
		b = appendTexts(b, textLabel, s)
	}
	return b
}

// appendTexts appends one entry: its length, what it is, its texts and a checksum.
func appendTexts(b []byte, kind byte, values ...string) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, kind)
	for _, s := range values {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start+crc32.Size))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// leftTexts is what a file of texts held.
type leftTexts struct {
	run     runID
	boot    string
	mapped  bool
	reasons []Reason
	labels  []string
	size    int  // octets of what is whole
	broken  bool // something that is not whole stands behind that
}

// readTexts reads a file of texts up to the first entry that is not whole.
func readTexts(b []byte) (out leftTexts, err error) {
	be := binary.BigEndian
	if len(b) < textHeader || string(b[:len(textMagic)]) != textMagic {
		return out, errors.New("it does not begin like a file of texts")
	}
	if v := be.Uint16(b[len(textMagic):]); v != 1 {
		return out, fmt.Errorf("its format version is %d, this program reads 1", v)
	}
	out.run, out.boot, out.mapped, b = runID(b[10:]), string(b[26:26+bootSize]), b[textHeader-1] == 1, b[textHeader:]
	out.size = textHeader
	for len(b) >= 4 {
		n := int(be.Uint32(b))
		if n < 5+crc32.Size || n > len(b) || crc32.Checksum(b[:n-crc32.Size], castagnoli) != be.Uint32(b[n-crc32.Size:]) {
			break
		}
		c := cursor{b: b[5 : n-crc32.Size]}
		text := func() string { return string(c.bytes()) }
		switch b[4] {
		case textReason:
			out.reasons = append(out.reasons, Reason{text(), text(), text(), text(), text()})
		case textLabel:
			out.labels = append(out.labels, text())
		default:
			c.failed = true
		}
		if c.failed || len(c.b) > 0 {
			break
		}
		out.size += n
		b = b[n:]
	}
	out.broken = len(b) > 0
	return out, nil
}
