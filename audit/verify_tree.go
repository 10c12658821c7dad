package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// A Verification says what a log is to be proven by.
type Verification struct {
	Keys  []*PublicKey // the log's, as the operator knows them; none takes the word of the log's own folder
	From  [][]byte     // checkpoints that witnesses have kept, signed notes
	Quick bool         // take records for what the signed segments say they are, without reading them
}

// A proof is what a log's folder has to prove its segments by. Its parts are read in
// this order, so that a log which goes on meanwhile is never behind it: checkpoints,
// tree, segments.
type proof struct {
	keys   []*PublicKey
	before uint64 // segments in front of the tree
	leaves []hash // of the segments from number before+1 on
	signed uint64 // number of the last segment in a checkpoint
	last   *Checkpoint

	removed []Removal
}

// covers says whether the tree has the segment with that number, and its leaf.
func (p *proof) leaf(number uint64) (leaf hash, ok bool) {
	if number <= p.before || number-p.before > uint64(len(p.leaves)) {
		return hash{}, false
	}
	return p.leaves[number-p.before-1], true
}

// readProof reads what is in dir and reports what in it contradicts itself.
func readProof(dir string, how Verification, problem func(string, ...any)) (*proof, error) {
	p := &proof{keys: how.Keys}
	if len(p.keys) == 0 {
		keys, err := PublicKeys(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problem("%v", err)
		}
		p.keys = keys
	}
	notes, rest, err := readCheckpoints(dir)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		problem("%s: what stands behind checkpoint %d is none", checkpointFile, len(notes))
	}
	if err := p.readTree(dir, problem); err != nil {
		return nil, err
	}
	if p.removed, err = readRemovals(dir, p.keys, problem); err != nil {
		return nil, err
	}
	if len(p.keys) == 0 {
		if len(notes)+len(how.From) > 0 {
			problem("there is no key, so no checkpoint can be checked")
		}
		return p, nil
	}
	p.check(notes, "", problem)
	p.check(how.From, "a witness's ", problem)
	return p, nil
}

// readCheckpoints reads the checkpoints in dir, and what is none at their end. A log
// that is just writing one is waited for by reading again.
func readCheckpoints(dir string) (notes [][]byte, rest []byte, err error) {
	for range 3 {
		file, err := os.ReadFile(filepath.Join(dir, checkpointFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("read audit checkpoints: %w", err)
		}
		if notes, rest = splitNotes(file); len(rest) == 0 {
			break
		}
	}
	return notes, rest, nil
}

// readTree reads the leaves and makes the tree of them again, to see whether the file
// says the same.
func (p *proof) readTree(dir string, problem func(string, ...any)) error {
	t, err := openMerkle(dir, true)
	var damage *DamageError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.As(err, &damage):
		problem("%v", err)
		return nil
	case err != nil:
		return err
	}
	defer t.file.Close()
	p.before = t.before
	told := false
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(at []int64) (all []tlog.Hash, err error) {
		for _, i := range at {
			all = append(all, stored[i])
		}
		return all, nil
	})
	for n := range t.size {
		leaf, err := t.leaf(t.before + uint64(n) + 1)
		if err != nil {
			return err
		}
		p.leaves = append(p.leaves, leaf)
		made, err := tlog.StoredHashesForRecordHash(n, tlog.Hash(leaf), reader)
		if err != nil {
			return err
		}
		indexes := make([]int64, len(made))
		for i := range made {
			indexes[i] = int64(len(stored) + i)
		}
		stored = append(stored, made...)
		if has, err := t.ReadHashes(indexes); err != nil {
			return err
		} else if !told && !equal(has, made) {
			problem("%s: its hashes do not fit its leaves at segment number %d", treeFile, t.before+uint64(n)+1)
			told = true
		}
	}
	return nil
}

func equal(a, b []tlog.Hash) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// check compares checkpoints with the tree. Where one does not fit, what was changed
// lies behind the last that did.
func (p *proof) check(notes [][]byte, whose string, problem func(string, ...any)) {
	good := p.before
	var t hashTree
	for i, signed := range notes {
		c, err := OpenCheckpoint(signed, p.keys...)
		if err != nil {
			problem("%scheckpoint %d: %v", whose, i+1, err)
			continue
		}
		at := c.Time.UTC().Format(time.RFC3339)
		switch {
		case c.Before != p.before:
			if c.last() > p.before { // else it is about a tree that has ended
				problem("%scheckpoint of %s is about another tree, which began behind segment number %d", whose, at, c.Before)
			}
			continue
		case c.Segments > uint64(len(p.leaves)):
			problem("%scheckpoint of %s has signed segments up to number %d, the tree ends at %d: what came after was cut off",
				whose, at, c.last(), p.before+uint64(len(p.leaves)))
			continue
		}
		if c.Segments < t.leaves {
			t.reset()
		}
		for t.leaves < c.Segments {
			t.add(p.leaves[t.leaves])
		}
		if c.Segments > 0 && t.root() != c.Root {
			problem("segments number %d to %d are not those that %scheckpoint of %s has signed", good+1, c.last(), whose, at)
			continue
		}
		good = max(good, c.last())
		if p.last == nil || c.Segments >= p.last.Segments {
			p.last = c
		}
		p.signed = max(p.signed, c.last())
	}
}

// tellCut reports segments at the end that the tree has, and that are neither in the
// store nor behind it, unless the log says that it removed them.
func (v *verifier) tellCut(views []view) {
	number, last := v.before.number, v.proof.before+uint64(len(v.proof.leaves))
	if number == 0 && v.report.Segments > 0 {
		return // the last cannot be read, which was told
	}
	for i := range v.proof.removed {
		number = max(number, v.proof.removed[i].Segments[1])
	}
	for i := range views {
		if views[i].header.number == number+1 {
			number++
		}
	}
	if number < last {
		v.problem("the store ends at segment number %d, its tree at number %d", number, last)
	}
}
