package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// A bundle is lines of JSON that prove records to somebody who has the log's key and
// nothing else: a checkpoint, then each segment with records in it and the path from
// its leaf to the checkpoint's root, and behind it each record's row and the path from
// there to the root of the segment's rows. Paths begin with the lowest hash; octets
// are in base64. docs/verify reads it.
type (
	bundleHead struct {
		Checkpoint string `json:"checkpoint"`
		Key        string `json:"key"` // for comparing; it proves nothing
	}
	bundleSegment struct {
		Leaf   []byte   `json:"leaf"`
		Number uint64   `json:"number"` // of the leaf in the tree, from 0
		Path   [][]byte `json:"path"`
	}
	bundleRow struct {
		Row    []byte   `json:"row"`
		Number uint64   `json:"number"` // of the row in its segment, from 0
		Path   [][]byte `json:"path"`   // where rows are grouped, the others' of its group first
	}
)

// ErrUnproven is in the error of Prove when records have no proof.
var ErrUnproven = errors.New("no checkpoint has signed these records")

// Prove writes a bundle of the records that q asks for, oldest first, as far as a
// checkpoint has signed them, and returns how many they are. Those beyond, and those
// of versions without proofs, are left out, which the error then says.
func (r *Reader) Prove(ctx context.Context, q Query, out io.Writer) (proven int, err error) {
	notes, _, err := readCheckpoints(r.dir)
	if err != nil {
		return 0, err
	}
	if len(notes) == 0 {
		return 0, fmt.Errorf("%w: there is none", ErrUnproven)
	}
	keys, err := PublicKeys(r.dir)
	if err != nil {
		return 0, err
	}
	signed := notes[len(notes)-1]
	c, err := OpenCheckpoint(signed, keys...)
	if err != nil {
		return 0, err
	}
	t, err := openMerkle(r.dir, true)
	if err != nil {
		return 0, err
	}
	defer t.file.Close()
	if t.before != c.Before || uint64(t.size) < c.Segments {
		return 0, fmt.Errorf("%w: the last one is about another tree", ErrUnproven)
	}

	lines := json.NewEncoder(out)
	if err := lines.Encode(bundleHead{string(signed), keys[len(keys)-1].String()}); err != nil {
		return 0, err
	}
	q.Oldest = true
	f := newFilter(q)
	left := 0
	err = r.sweep(ctx, f, (*page).whole, func(p *page) (done bool, err error) {
		wanted := p.chosen
		if q.Limit > 0 {
			wanted = wanted[:min(len(wanted), q.Limit-proven)]
		}
		h := &p.header
		if h.packed {
			n, unsigned, err := r.provePack(lines, t, c, p, wanted)
			proven, left = proven+n, left+unsigned
			return q.Limit > 0 && proven >= q.Limit, err
		}
		if p.view != nil || !h.proven || h.number <= c.Before || h.number > c.last() {
			left += len(wanted)
			return false, nil
		}
		tail := readTail(h, p.value)
		if err := proveSegment(lines, t, c, h.number, tail.leaf(p.value)); err != nil {
			return true, err
		}
		rows := newRowPaths(p.leaves(0, len(p.rows)), h.grouped)
		for _, i := range wanted {
			if err := lines.Encode(bundleRow{p.appendRow(nil, int(i)), uint64(i), octets(rows.path(int(i)))}); err != nil {
				return true, err
			}
			proven++
		}
		return q.Limit > 0 && proven >= q.Limit, nil
	})
	if err == nil && left > 0 {
		err = fmt.Errorf("%d records were left out: %w", left, ErrUnproven)
	}
	return proven, err
}

// provePack is what Prove does with the records of a pack.
func (r *Reader) provePack(lines *json.Encoder, t *merkleTree, c *Checkpoint, p *page, wanted []uint32) (proven, left int, err error) {
	fronts, err := r.unpacker.fronts(&p.header, p.value)
	if err != nil {
		p.failed(err)
		return 0, 0, nil
	}
	from := uint32(0)
	for i := range fronts {
		h := &fronts[i].header
		n := 0
		for n < len(wanted) && wanted[n] < from+h.count {
			n++
		}
		switch {
		case n == 0:
		case h.number <= c.Before || h.number > c.last():
			left += n
		default:
			if err := proveSegment(lines, t, c, h.number, fronts[i].leaf()); err != nil {
				return proven, left, err
			}
			rows := newRowPaths(p.leaves(int(from), int(h.count)), h.grouped)
			for _, row := range wanted[:n] {
				if err := lines.Encode(bundleRow{p.appendRow(nil, int(row)), uint64(row - from), octets(rows.path(int(row - from)))}); err != nil {
					return proven, left, err
				}
				proven++
			}
		}
		wanted = wanted[n:]
		from += h.count
	}
	return proven, left, nil
}

// proveSegment writes a segment's leaf and its path.
func proveSegment(lines *json.Encoder, t *merkleTree, c *Checkpoint, number uint64, leaf []byte) error {
	number -= c.Before + 1
	path, err := tlog.ProveRecord(int64(c.Segments), int64(number), t)
	if err != nil {
		return err
	}
	hashes := make([]hash, len(path))
	for i := range path {
		hashes[i] = hash(path[i])
	}
	return lines.Encode(bundleSegment{leaf, number, octets(hashes)})
}

func octets(hashes []hash) [][]byte {
	all := make([][]byte, len(hashes))
	for i := range hashes {
		all[i] = hashes[i][:]
	}
	return all
}
