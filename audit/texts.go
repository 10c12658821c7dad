package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
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
	dir             string
	run             runID
	mapped          bool     // the run's slabs are in a file
	file            *os.File // nil: it could not be made so far
	reasons, labels int      // that are in it
	dirty           bool     // some may not be on disk
	err             error    // of the last attempt
	buf             []byte
}

// make makes the file anew, without entries.
func (t *texts) make() error {
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
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = os.Rename(path+newSuffix, path) // there is one run's file at any time, and its header is whole
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("make the file of texts: %w", err)
	}
	t.file = f
	return syncDir(t.dir)
}

func (t *texts) close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// write adds what the tables have more than the file.
func (t *texts) write(reasons []Reason, labels []string) error {
	if t.file == nil {
		if err := t.make(); err != nil {
			return err
		}
	}
	b := t.buf[:0]
	for _, r := range reasons[t.reasons:] {
		b = appendTexts(b, textReason, r.Group, r.Policy, r.Rule, r.Category, r.List)
	}
	for _, s := range labels[t.labels:] {
		b = appendTexts(b, textLabel, s)
	}
	t.buf = b
	if len(b) == 0 {
		return nil
	}
	info, err := t.file.Stat()
	if err != nil {
		t.err = err
		return err
	}
	if _, err := t.file.Write(b); err != nil {
		_ = t.file.Truncate(info.Size()) // so that no half is in the way of what comes later
		t.err = fmt.Errorf("write texts: %w", err)
		return t.err
	}
	t.reasons, t.labels, t.dirty, t.err = len(reasons), len(labels), true, nil
	return nil
}

// sync brings what was written to disk.
func (t *texts) sync() error {
	if !t.dirty {
		return nil
	}
	if err := syncData(t.file); err != nil {
		return fmt.Errorf("write texts: %w", err)
	}
	t.dirty = false
	return nil
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
		b = b[n:]
	}
	return out, nil
}
