package audit

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// maxProblems bounds Report.Problems; the last of them says that there are more.
const maxProblems = 1000

// A Report is what Verify found. A store without Problems holds every record
// from First to Last exactly as it was committed; Lost of the events before
// them were never taken, which gap records say.
type Report struct {
	Segments uint64    `json:"segments"`
	Records  uint64    `json:"records"`        // in segments that are whole, and those not sealed
	Open     uint64    `json:"open,omitempty"` // of them, those that are in no segment yet but in the write-ahead file
	Lost     uint64    `json:"lost"`           // sum of the gap records
	First    uint64    `json:"first"`          // sequence number of the first record, 0 in an empty store
	Last     uint64    `json:"last"`
	Digest   string    `json:"digest"`             // SHA-256 of the last segment, in hexadecimal: it stands for all before it
	Keys     []string  `json:"keys,omitempty"`     // that the segments and checkpoints were checked by
	Signed   uint64    `json:"signed"`             // number of the last segment that a checkpoint has signed
	Until    time.Time `json:"until,omitzero"`     // when it did
	Problems []string  `json:"problems,omitempty"` // the place, by segment key, and what is wrong there
}

// Verify reads every segment and checks its checksum, its content, its signature,
// its link to the segment before, its place in the log's tree and that no sequence
// number is missing; and the tree by the signed checkpoints. After each segment
// it calls progress, if not nil, with the report so far. Damage is told in the
// report; the error is that of ctx or of a store that cannot be read at all.
func (r *Reader) Verify(ctx context.Context, how Verification, progress func(Report)) (Report, error) {
	v := verifier{unpacker: r.unpacker, quick: how.Quick}
	var err error
	if v.proof, err = readProof(r.dir, how, v.problem); err != nil {
		return v.report, err
	}
	v.report.Signed = v.proof.signed
	if v.proof.last != nil {
		v.report.Until = v.proof.last.Time
	}
	for _, key := range v.proof.keys {
		v.report.Keys = append(v.report.Keys, key.String())
	}
	known := readHead(r.dir) // before the segments: a running log writes it after them
	st, err := r.store()
	if err != nil {
		return v.report, err
	}
	for at := (position{}); ; {
		if err := ctx.Err(); err != nil {
			return v.report, err
		}
		ok, err := st.step(&at)
		switch _, isDamage := err.(*DamageError); {
		case isDamage:
			v.problem("%v; what lies behind in that file cannot be read", err)
			continue
		case err != nil:
			return v.report, err
		case !ok:
			switch more, err := v.open(r.views()); {
			case err != nil:
				v.problem("%v", err)
			case more: // what was open is in the store meanwhile
				at.over = false
				continue
			}
			v.tellUnsigned()
			if known.seq > v.report.Last {
				v.problem("the store ends at record %d, its head file at record %d", v.report.Last, known.seq)
			}
			if c := v.proof.last; c != nil && c.Sequence > v.report.Last {
				v.problem("the store ends at record %d, a checkpoint has signed record %d", v.report.Last, c.Sequence)
			}
			return v.report, nil
		}
		v.segment(at.key, at.value)
		if progress != nil {
			progress(v.report)
		}
	}
}

func keyPlace(key []byte) string {
	switch len(key) {
	case 0:
		return "its beginning"
	case 8:
		return segmentPlace(binary.BigEndian.Uint64(key))
	default:
		return fmt.Sprintf("key %x", key)
	}
}

// A verifier checks segments one after the other.
type verifier struct {
	unpacker *unpacker
	proof    *proof
	quick    bool
	unsigned [2]uint64 // first and last record of segments that were not signed
	report   Report
	buf      []byte
	block    block
	before   header // of the segment before; its number is 0 when that was damaged or there was none
	digest   [digestSize]byte
	high     int64
	again    bool // the store was looked at once more for what had been open
}

func (v *verifier) problem(format string, args ...any) {
	switch n := len(v.report.Problems); {
	case n < maxProblems-1:
		v.report.Problems = append(v.report.Problems, fmt.Sprintf(format, args...))
	case n == maxProblems-1:
		v.report.Problems = append(v.report.Problems, "there are more problems than can be listed")
	}
}

func (v *verifier) segment(key, value []byte) {
	place := keyPlace(key)
	v.report.Segments++
	if len(key) != 8 {
		v.problem("%s: it cannot be a segment's", place)
		return
	}
	before := v.before
	v.before = header{}
	h, digest, err := v.read(value)
	if err != nil {
		v.problem("%s: %v", place, err)
		return
	}
	if err := v.prove(&h, value); err != nil {
		v.problem("%s: %v", place, err)
	}
	v.countUnsigned(&h, value)
	if h.first != binary.BigEndian.Uint64(key) {
		v.problem("%s: it holds the segment of key %d", place, h.first)
		return
	}
	if v.report.First == 0 {
		v.report.First = h.first
	} else if h.first != v.report.Last+1 {
		v.missing(place, h.first)
	}
	if before.number != 0 {
		if h.prev != v.digest {
			v.problem("%s: it does not follow the segment before it: its link is to another", place)
		}
		if h.number != before.number+1 {
			v.problem("%s: it is segment number %d and comes after number %d", place, h.number, before.number)
		}
		if h.high != max(h.max, v.high) {
			v.problem("%s: its highest time does not follow from those before", place)
		}
	}
	v.report.Records += uint64(h.count)
	v.report.Lost += h.lost
	v.report.Last = h.last()
	v.report.Digest = hex.EncodeToString(digest[:])
	v.before, v.digest, v.high = h, digest, h.high
}

// read checks what a segment says of itself.
func (v *verifier) read(value []byte) (h header, digest [digestSize]byte, err error) {
	if v.quick {
		return checkSegment(value)
	}
	h, digest, payload, err := v.unpacker.open(value, v.buf)
	if err != nil {
		return h, digest, err
	}
	v.buf = payload
	if err = v.block.dictionaries(h, payload); err == nil {
		err = v.block.decode(true)
	}
	if err != nil || !h.proven {
		return h, digest, err
	}
	rows := rowTree{single: !h.grouped}
	for i := range v.block.rows {
		rows.add(v.block.appendRow(rows.begin(), i))
	}
	if root := rows.root(); string(root[:]) != string(readTail(&h, value).root) {
		err = errors.New("its records are not those that it was signed for")
	}
	return h, digest, err
}

// prove checks the segment's place in the log's tree.
func (v *verifier) prove(h *header, value []byte) error {
	t := readTail(h, value)
	if known, ok := v.proof.leaf(h.number); ok && known != leafHash(t.leaf(value)) {
		return fmt.Errorf("it is not the segment number %d of the log's tree", h.number)
	}
	return nil
}

// countUnsigned checks the segment's signature. Those without a good one that lie one
// behind the other are one problem: they may be a whole log of another key.
func (v *verifier) countUnsigned(h *header, value []byte) {
	t := readTail(h, value)
	signed := !h.proven || len(v.proof.keys) == 0
	for i := len(v.proof.keys) - 1; i >= 0 && !signed; i-- {
		signed = v.proof.keys[i].signed(leafHash(t.leaf(value)), t.signature)
	}
	if signed {
		v.tellUnsigned()
		return
	}
	if v.unsigned[0] == 0 {
		v.unsigned[0] = h.first
	}
	v.unsigned[1] = h.last()
}

// tellUnsigned reports the segments that were not signed.
func (v *verifier) tellUnsigned() {
	if v.unsigned[0] != 0 {
		v.problem("segment %d: no key of this log has signed it, nor what follows up to record %d", v.unsigned[0], v.unsigned[1])
	}
	v.unsigned = [2]uint64{}
}

// open checks what is behind the store. more says that it does not follow, for the
// store has grown.
func (v *verifier) open(views []view) (more bool, err error) {
	for i := range views {
		w := &views[i]
		h, payload := w.header, w.payload
		if h.last() <= v.report.Last {
			continue
		}
		if v.report.Last != 0 && h.first > v.report.Last+1 && !v.again {
			v.again = true
			return true, nil
		}
		if w.segment != nil {
			if h, _, payload, err = v.unpacker.open(w.segment, v.buf); err != nil {
				return false, err
			}
			v.buf = payload
		}
		if err := v.block.dictionaries(h, payload); err != nil {
			return false, err
		}
		if err := v.block.decode(true); err != nil {
			return false, err
		}
		if v.report.First == 0 {
			v.report.First = h.first
		} else if h.first != v.report.Last+1 {
			v.missing("what is not sealed", h.first)
		}
		v.report.Records += uint64(h.count)
		v.report.Open += uint64(h.count)
		v.report.Lost += h.lost
		v.report.Last = h.last()
	}
	return false, nil
}

// missing reports the sequence numbers that no whole segment holds.
func (v *verifier) missing(place string, first uint64) {
	if first <= v.report.Last {
		v.problem("%s: its records begin at %d, though record %d came before", place, first, v.report.Last)
		return
	}
	v.problem("%s: records %d to %d are missing before it", place, v.report.Last+1, first-1)
}
