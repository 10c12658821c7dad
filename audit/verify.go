package audit

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"runtime"
	"time"
)

// maxProblems bounds Report.Problems; the last of them says that there are more.
const maxProblems = 1000

// maxExaminers bounds how many goroutines examine segments, each of which has some
// megabytes of memory for it.
const maxExaminers = 8

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
	Aside    uint64    `json:"aside,omitempty"`    // records of files that were set aside as damaged: they are among Removed, and not in the store
	Removed  []Removed `json:"removed,omitempty"`  // records that are not in the store any more, with the log's own word for it
	Problems []string  `json:"problems,omitempty"` // the place, by segment key, and what is wrong there
}

// Removed are records that the log itself has taken out of the store, one behind the
// other and for one reason.
type Removed struct {
	Why   string    `json:"why"` // age, size, damage, astray or former, see Removal
	First uint64    `json:"first"`
	Last  uint64    `json:"last"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Files int       `json:"files"`
	Gone  bool      `json:"gone,omitempty"` // of damage: what was set aside is not in the folder any more
	Bytes int64     `json:"bytes"`
}

// Verify reads every segment and checks its checksum, its content, its signature,
// its link to the segment before, its place in the log's tree and that no sequence
// number is missing; and the tree by the signed checkpoints. After each segment
// it calls progress, if not nil, with the report so far. Damage is told in the
// report; the error is that of ctx or of a store that cannot be read at all.
func (r *Reader) Verify(ctx context.Context, how Verification, progress func(Report)) (Report, error) {
	examiners := min(runtime.GOMAXPROCS(0), maxExaminers)
	if r.log != nil {
		examiners = 0 // as for other questions
	}
	return r.verify(ctx, how, examiners, progress)
}

// verify is Verify with so many goroutines beside the caller's, or none.
func (r *Reader) verify(ctx context.Context, how Verification, examiners int, progress func(Report)) (Report, error) {
	v := verifier{dir: r.dir, unpacker: r.unpacker, quick: how.Quick}
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
	l := newLine(&v, examiners, func() {
		if progress != nil {
			progress(v.report)
		}
	})
	defer l.close()
	var in *file // of the segment before
	for at := (position{}); ; {
		if err := ctx.Err(); err != nil {
			return v.report, err
		}
		x := l.next()
		ok, err := st.step(&at)
		if ok && err == nil {
			x.key = append(x.key[:0], at.key...)
			x.value, at.value = at.value, x.value
			if x.begins = nil; at.file != in {
				x.begins, in = at.file, at.file
			}
			l.push(x)
			continue
		}
		l.drop(x)
		l.drain()
		switch _, isDamage := err.(*DamageError); {
		case isDamage:
			v.problem("%v; what lies behind in that file cannot be read", err)
			continue
		case err != nil:
			return v.report, err
		default:
			switch more, err := v.open(r.views()); {
			case err != nil:
				v.problem("%v", err)
			case more: // what was open is in the store meanwhile
				at.over = false
				continue
			}
			v.tellUnsigned()
			end := v.report.Last
			if end < known.seq {
				if _, missing := v.gone(end+1, known.seq+1); len(missing) == 0 {
					end = known.seq
				}
			}
			told := len(v.report.Problems)
			if known.seq > end {
				v.problem("the store ends at record %d, its head file at record %d", v.report.Last, known.seq)
			}
			if c := v.proof.last; c != nil && c.Sequence > end {
				v.problem("the store ends at record %d, a checkpoint has signed record %d", v.report.Last, c.Sequence)
			}
			if len(v.report.Problems) == told {
				v.tellCut(r.views())
			}
			return v.report, nil
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

// A verifier checks segments one after the other. What each says by itself may be found
// out before, by examine.
type verifier struct {
	dir      string
	unpacker *unpacker // this and the next two never change
	proof    *proof
	quick    bool
	unsigned [2]uint64 // first and last record of segments that were not signed
	report   Report
	buf      []byte
	block    block
	before   header // of the segment before; its number is 0 when that was damaged or there was none
	digest   [digestSize]byte
	high     int64
	key      uint64 // that was looked at last
	behind   uint64 // sequence number of the last record there
	again    bool   // the store was looked at once more for what had been open
}

func (v *verifier) problem(format string, args ...any) {
	switch n := len(v.report.Problems); {
	case n < maxProblems-1:
		v.report.Problems = append(v.report.Problems, fmt.Sprintf(format, args...))
	case n == maxProblems-1:
		v.report.Problems = append(v.report.Problems, "there are more problems than can be listed")
	}
}

// examine finds out what a segment says by itself. Several goroutines may call it, each
// with a segment of its own.
func (v *verifier) examine(x *exam) {
	if x.pack = nil; isPack(x.value) {
		v.examinePack(x)
		return
	}
	x.header, x.digest, x.err = v.read(x)
	x.astray, x.signed = nil, false
	if x.err == nil {
		t := readTail(&x.header, x.value)
		leaf := leafHash(t.leaf(x.value))
		x.astray, x.signed = v.prove(&x.header, leaf), v.signed(&x.header, leaf, t.signature)
	}
}

// follow tells what was found out about a segment, and checks that it follows the one
// before it.
func (v *verifier) follow(x *exam) {
	place := keyPlace(x.key)
	v.report.Segments++
	if len(x.key) != 8 {
		v.problem("%s: it cannot be a segment's", place)
		return
	}
	seen, first := v.behind, binary.BigEndian.Uint64(x.key)
	v.behind = after(x.value, first) - 1
	if first > v.key {
		seen = 0 // it comes behind, as all do but what was packed meanwhile
	}
	v.key = first
	v.named(x.begins, first)
	if x.pack != nil {
		v.followPack(x, place, seen)
		return
	}
	before := v.before
	v.before = header{}
	if x.err != nil {
		v.problem("%s: %v", place, x.err)
		return
	}
	if x.astray != nil {
		v.problem("%s: %v", place, x.astray)
	}
	h, digest := x.header, x.digest
	v.countUnsigned(&h, x.signed)
	if h.first != first {
		v.problem("%s: it holds the segment of key %d", place, h.first)
		return
	}
	v.link(place, before, h, digest)
}

// named checks that a file, which begins with that record, has the number in its name that
// questions find it by: no record of it is lower, and all those before it are.
func (v *verifier) named(f *file, first uint64) {
	switch {
	case f == nil:
	case first < f.first:
		v.problem("%s: its records begin at %d, by its name at %d: questions do not find all of them", filepath.Base(f.path), first, f.first)
	case f.first <= v.report.Last && first > v.report.Last:
		v.problem("%s: its records begin at %d, by its name at %d, which is in the file before: questions do not find all of that",
			filepath.Base(f.path), first, f.first)
	}
}

// link checks that a segment follows the one before it, unless that is damaged, and counts it.
func (v *verifier) link(place string, before, h header, digest [digestSize]byte) {
	switch next := v.report.Last + 1; {
	case h.first < next:
		v.problem("%s: its records begin at %d, though record %d came before", place, h.first, v.report.Last)
	case h.first > next:
		removed, missing := v.gone(next, h.first)
		v.missing(place, missing, &h)
		if n := len(removed) - 1; n >= 0 && removed[n].Records[1]+1 == h.first {
			before = header{number: removed[n].Segments[1]}
			v.digest, v.high = removed[n].Last, -1
		}
	}
	if v.report.First == 0 {
		v.report.First = h.first
	}
	if before.number != 0 {
		if h.prev != v.digest {
			v.problem("%s: it does not follow the segment before it: its link is to another", place)
		}
		if h.number != before.number+1 {
			v.problem("%s: it is segment number %d and comes after number %d", place, h.number, before.number)
		}
		if v.high >= 0 && h.high != max(h.max, v.high) {
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
func (v *verifier) read(x *exam) (h header, digest [digestSize]byte, err error) {
	if v.quick {
		return checkSegment(x.value)
	}
	h, digest, payload, err := v.unpacker.open(x.value, x.buf)
	if err != nil {
		return h, digest, err
	}
	x.buf = payload
	if err = x.block.dictionaries(h, payload); err == nil {
		err = x.block.decode(true)
	}
	if err != nil || !h.proven {
		return h, digest, err
	}
	rows := rowTree{single: !h.grouped}
	for i := range x.block.rows {
		rows.add(x.block.appendRow(rows.begin(), i))
	}
	if root := rows.root(); string(root[:]) != string(readTail(&h, x.value).root) {
		err = errUnlike
	}
	return h, digest, err
}

// prove checks the segment's place in the log's tree.
func (v *verifier) prove(h *header, leaf hash) error {
	if known, ok := v.proof.leaf(h.number); ok && known != leaf {
		return fmt.Errorf("it is not the segment number %d of the log's tree", h.number)
	}
	return nil
}

// signed checks the segment's signature, if it is to have one.
func (v *verifier) signed(h *header, leaf hash, signature []byte) bool {
	signed := !h.proven || len(v.proof.keys) == 0
	for i := len(v.proof.keys) - 1; i >= 0 && !signed; i-- {
		signed = v.proof.keys[i].signed(leaf, signature)
	}
	return signed
}

// countUnsigned takes note of whether a segment is signed. Those that are not and lie one
// behind the other are one problem: they may be a whole log of another key.
func (v *verifier) countUnsigned(h *header, signed bool) {
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
			v.problem("what is not sealed: records %d to %d are missing before it", v.report.Last+1, h.first-1)
		}
		v.report.Records += uint64(h.count)
		v.report.Open += uint64(h.count)
		v.report.Lost += h.lost
		v.report.Last = h.last()
	}
	return false, nil
}
