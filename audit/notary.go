package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// A notary keeps the tree of the log's segments and signs it. The log's writer is its
// only caller. What it cannot write costs proofs, never records: it says so and tries
// again.
type notary struct {
	log    *Log
	key    *signingKey
	public *PublicKey
	fresh  bool // the key was made just now
	tree   *merkleTree

	file   *os.File  // of checkpoints
	size   int64     // of that file, as far as its notes are whole
	signed uint64    // number of the last segment in a checkpoint
	at     time.Time // when that was made
	failed string    // what was last said to be wrong

	witnesses []*watchedWitness
	telling   sync.Mutex // held while the file of removals is written
}

func newNotary(l *Log) *notary {
	n := &notary{log: l}
	for _, w := range l.cfg.Witnesses {
		n.witnesses = append(n.witnesses, &watchedWitness{Witness: w, wake: make(chan struct{}, 1)})
	}
	return n
}

// open opens or makes the key in the log's folder.
func (n *notary) open() error {
	l := n.log
	if n.key != nil {
		return nil
	}
	key, fresh, err := openKey(l.cfg.Dir)
	var damage *DamageError
	if errors.As(err, &damage) && l.cfg.OnError == StartFresh {
		moved, merr := moveAside(damage.File, l.cfg.Now())
		if merr != nil {
			return errors.Join(err, merr)
		}
		l.cfg.Logger.Error("audit key was damaged and has been moved aside", "error", damage, "moved", moved)
		l.note(fmt.Sprintf("%v; it was moved to %s and a new key signs from now on", damage, filepath.Base(moved)))
		key, fresh, err = openKey(l.cfg.Dir)
	}
	if err != nil {
		return err
	}
	n.at, n.fresh = time.Now(), fresh
	if n.public, err = ParsePublicKey(key.public); err != nil {
		return err
	}
	n.key = key
	return nil
}

// adopt makes the tree go on behind the store's segments, the last of which has that
// number: it takes in those that a crash has kept from it, and begins anew where that
// cannot be done.
func (n *notary) adopt(last uint64) error {
	dir, now := n.log.cfg.Dir, n.log.cfg.Now()
	t, err := openMerkle(dir, false)
	var damage *DamageError
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.As(err, &damage):
		moved, merr := moveAside(damage.File, now)
		if merr != nil {
			return errors.Join(err, merr)
		}
		n.log.note(fmt.Sprintf("%v; it was moved to %s and a new one begins", damage, filepath.Base(moved)))
	case err != nil:
		return err
	}
	first := uint64(1) // of the segments that are to be taken in
	if t != nil {
		first = t.last() + 1
	}
	leaves, err := n.log.Reader().leavesFrom(first)
	if err != nil {
		return err
	}
	begins := last + 1 // the number of the first of them, or of the next to be sealed
	if len(leaves) > 0 {
		begins = leaves[0].number
	}
	if t != nil && begins != first {
		suffix := ".ended-" + now.UTC().Format("20060102T150405Z")
		n.log.note(fmt.Sprintf("the tree of segments ends at number %d and cannot go on at %d: it and its checkpoints got %s behind their names, and new ones begin",
			first-1, begins, suffix))
		if err := t.retire(dir, suffix); err != nil {
			return err
		}
		t = nil
	}
	if t == nil {
		if t, err = createMerkle(dir, begins-1); err != nil {
			return err
		}
	}
	n.tree = t
	if n.fresh && last > 0 {
		n.log.note("the key of the audit log was gone: from now on another one signs, " + n.key.public)
	}
	n.fresh = false
	for _, l := range leaves {
		if err := t.append(l.leaf); err != nil {
			n.leave()
			return err
		}
	}
	return nil
}

// leave closes a tree that lacks segments, which adopt takes in later.
func (n *notary) leave() {
	_ = n.tree.file.Close()
	n.tree = nil
}

// numbered is the leaf of a segment with that number.
type numbered struct {
	number uint64
	leaf   hash
}

// leavesFrom returns the leaves of the store's newest segments, down to number first or
// to where one is missing or cannot be read.
func (r *Reader) leavesFrom(first uint64) ([]numbered, error) {
	s, err := r.store()
	if err != nil {
		return nil, err
	}
	var leaves []numbered
	var value []byte
	for at := newest; ; {
		key, ok, err := s.previous(at, nil, &value)
		var damage *DamageError
		if errors.As(err, &damage) {
			break // who reads there will say so
		}
		if err != nil {
			return nil, err
		}
		h, err := readHeader(value)
		if !ok || err != nil || h.lastNumber() < first || len(leaves) > 0 && h.lastNumber()+1 != leaves[len(leaves)-1].number {
			break
		}
		at = key
		if !h.packed {
			t := readTail(&h, value)
			leaves = append(leaves, numbered{h.number, leafHash(t.leaf(value))})
			continue
		}
		fronts, err := r.unpacker.fronts(&h, value)
		if err != nil {
			break
		}
		for i := len(fronts) - 1; i >= 0 && fronts[i].header.number >= first; i-- {
			leaves = append(leaves, numbered{fronts[i].header.number, leafHash(fronts[i].leaf())})
		}
	}
	slices.Reverse(leaves)
	return leaves, nil
}

// committed takes segments that are on disk into the tree.
func (n *notary) committed(segments []sealed) {
	if n.tree == nil { // the disk would not have it
		n.say(n.adopt(segments[len(segments)-1].header.number))
		return
	}
	for i := range segments {
		s := &segments[i]
		if s.header.number != n.tree.last()+1 {
			n.say(fmt.Errorf("segment number %d does not follow on the tree's last, %d", s.header.number, n.tree.last()))
			n.leave()
			return
		}
		if err := n.tree.append(s.leaf); err != nil {
			n.say(err)
			n.leave()
			return
		}
	}
	n.say(nil)
}

// say tells the operator once of each thing that goes wrong, and that it works again.
func (n *notary) say(err error) {
	switch {
	case err == nil && n.failed != "":
		n.failed = ""
		n.log.cfg.Logger.Info("audit proofs work again")
	case err != nil && n.failed != err.Error():
		n.failed = err.Error()
		n.log.cfg.Logger.Error("audit proofs are behind, will try again", "error", err)
	}
}

// due says how long it is until a checkpoint is to be made; ok is false when there is
// nothing new.
func (n *notary) due(now time.Time) (wait time.Duration, ok bool) {
	if n.tree == nil || n.tree.size == 0 || n.tree.last() == n.signed {
		return 0, false
	}
	return max(0, checkpointEvery-now.Sub(n.at)), true
}

// checkpoint signs the tree as it is and hands the note to the witnesses.
func (n *notary) checkpoint(now time.Time) {
	root, err := n.tree.root(n.tree.size)
	if err != nil {
		n.say(err)
		return
	}
	stats := n.log.Stats()
	stats.Lost -= stats.Missing // which are among those recorded
	n.log.status.Lock()
	sequence := n.log.status.last.last()
	n.log.status.Unlock()
	c := Checkpoint{
		Log: n.key.Name(), Segments: uint64(n.tree.size), Root: root, Before: n.tree.before, Sequence: sequence,
		Received: stats.Recorded - stats.Pending + stats.Lost + stats.Excluded.Sum(), Recorded: stats.Recorded - stats.Pending,
		Lost: stats.Lost, Excluded: stats.Excluded.Sum(), Time: now,
	}
	signed, err := c.sign(n.key)
	if err == nil {
		err = n.keep(signed)
	}
	n.say(err)
	if err != nil {
		return
	}
	n.signed, n.at = n.tree.last(), now
	for _, w := range n.witnesses {
		w.mu.Lock()
		w.next = signed
		w.mu.Unlock()
		signal(w.wake)
	}
}

// Sign seals what is open, and makes a checkpoint unless there is one of all that is
// sealed. It needs Run; the error is that of ctx, or ErrClosed. A disk that fails leaves
// things as they are.
func (l *Log) Sign(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case l.signing <- done:
	case <-l.over:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-l.over:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *notary) close() error {
	var errs []error
	if n.tree != nil {
		errs = append(errs, n.tree.file.Close())
	}
	if n.file != nil {
		errs = append(errs, n.file.Close())
	}
	return errors.Join(errs...)
}
