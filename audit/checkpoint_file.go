package audit

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

// checkpointFile keeps the signed checkpoints, each with an empty line behind it.
const checkpointFile = "audit.checkpoints"

const (
	checkpointEvery = 10 * time.Second // under load; and one at the end
	keepCheckpoints = 48 * time.Hour   // all of them; of older ones the last of each hour
	thinAt          = 8 << 20          // octets of the file, from which on older ones are left out
)

// keep appends a checkpoint to the file and waits for the disk.
func (n *notary) keep(signed []byte) error {
	if n.file == nil {
		f, err := os.OpenFile(filepath.Join(n.log.cfg.Dir, checkpointFile), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		file, err := io.ReadAll(f)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		_, rest := splitNotes(file) // what a crash has cut short is written over
		n.file, n.size = f, int64(len(file)-len(rest))
	}
	if _, err := n.file.WriteAt(append(signed[:len(signed):len(signed)], '\n'), n.size); err != nil {
		return err
	}
	if err := syncData(n.file); err != nil {
		return err
	}
	n.size += int64(len(signed)) + 1
	if n.size > thinAt {
		return n.thin()
	}
	return n.file.Truncate(n.size)
}

// thin leaves out old checkpoints, but for one an hour.
func (n *notary) thin() error {
	path := filepath.Join(n.log.cfg.Dir, checkpointFile)
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	kept := thinned(file, n.public, n.log.cfg.Now())
	if err := writeWhole(path, kept); err != nil {
		return err
	}
	err = n.file.Close()
	n.file = nil
	return err
}

// thinned returns the notes of a file without those of the same hour that are older than
// keepCheckpoints, of which the last stays; and without what is no note of this key's.
func thinned(file []byte, key *PublicKey, now time.Time) (kept []byte) {
	notes, _ := splitNotes(file)
	hour := time.Time{}
	for i := len(notes) - 1; i >= 0; i-- {
		c, err := OpenCheckpoint(notes[i], key)
		if err == nil && now.Sub(c.Time) > keepCheckpoints {
			if c.Time.Truncate(time.Hour).Equal(hour) {
				notes[i] = nil
				continue
			}
			hour = c.Time.Truncate(time.Hour)
		}
	}
	for _, note := range notes {
		if note != nil {
			kept = append(append(kept, note...), '\n')
		}
	}
	return kept
}
