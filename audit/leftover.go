package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A leftover is what a run that did not end has left beside the store.
type leftover struct {
	found     bool     // there was such a run
	segments  []sealed // of what it left, behind the store's own
	fromSlabs uint64   // events in them that had been written nowhere
	missing   string   // where records of it are missing that others stand behind
	wrong     string   // why reasons of its records may not be known
	whole     bool     // its slabs were there too, so that no event is missing
	excluded  string   // how many queries it had excluded that it had not said yet; empty for none

	unframed *frame // of the segments, what is in slabs only; nil is nothing
	end      int    // where it belongs in the write-ahead file
	secured  bool   // it is there

	texts   leftTexts
	memory  *leftSlabs // of this start of the machine; nil: none
	resumed bool       // the log goes on in it
	busy    []slab     // of it, until what is in them is in the store
}

// maxMissing is more records than a write-ahead file can have held: a number that says more
// is damaged.
const maxMissing = 1 << 32

// readLeftover reads what is left in dir for the sealer s to go on with, which
// then is behind it. It changes no file. Unless now is 0, what there is to be said
// of the run that did not end is among what it left.
func readLeftover(dir string, s *sealer, now int64) (out leftover, err error) {
	var content [3][]byte
	for i, name := range []string{walFile, textFile, slabsFile} {
		path, read := filepath.Join(dir, name), os.ReadFile
		if name == slabsFile {
			read = func(path string) ([]byte, error) { return readOwn(dir, path) }
		}
		switch content[i], err = read(path); {
		case err == nil:
			out.found = true
		case !errors.Is(err, fs.ErrNotExist):
			return out, fmt.Errorf("read what a run has left: %w", err)
		}
	}
	if _, err := os.Readlink(filepath.Join(dir, slabsFile)); err == nil {
		out.found = true // they were in memory, which is gone
	}
	if !out.found {
		return out, nil
	}
	frames, memory := content[0], content[2]
	slabs, noSlabs := readSlabs(memory)
	texts, err := readTexts(content[1])
	begun := err == nil
	if err != nil { // the run had not begun, unless there are frames
		texts = leftTexts{boot: slabs.boot, mapped: noSlabs == nil}
		if f, _, ferr := readFrame(frames); ferr == nil && f.first >= s.upcoming() {
			texts.run, begun = f.run, true
			out.wrong = fmt.Sprintf("%s: %v", textFile, err)
		}
	} else if texts.broken {
		out.wrong = fmt.Sprintf("%s: what is in it from octet %d on is not whole", textFile, texts.size)
	}
	r := replay{run: texts.run, follows: s.last.number, written: map[slabUse]bool{}}
	if begun {
		r.frames(s, frames, texts.reasons, texts.labels)
	}
	same := noSlabs == nil && slabs.boot != "" && slabs.boot == bootID()
	if next := s.upcoming(); same && slabs.run == texts.run && slabs.next > next && slabs.next-next < maxMissing {
		why := fmt.Sprintf("records %d to %d had been written ahead, and are not in %s", next, slabs.next-1, walFile)
		r.missing = strings.TrimPrefix(r.missing+"; "+why, "; ")
		s.close()
		s.next = slabs.next // the numbers are not given a second time
	}
	out.missing, out.end = r.missing, r.at
	f := frame{run: r.run, follows: r.follows, first: s.upcoming(), owed: r.owed}
	last := max(s.last.high, s.builder.max)
	switch {
	case same && begun && slabs.run == texts.run && texts.mapped:
		out.whole, out.memory = r.missing == "", &slabs
		r.unframed(&f, &slabs, last, now)
	case same && (!begun || slabs.run != texts.run): // of a run that had no file of texts yet, and so no frames
		out.whole, out.memory = true, &slabs
		r.unframed(&f, &slabs, last, now)
		texts.reasons, texts.labels = nil, nil
		if len(f.batch.slabs) > 0 {
			out.wrong = textFile + ": there was none of the last run yet"
		}
	}
	if out.memory != nil && slabs.excluded.Sum() > 0 {
		out.excluded = slabs.excluded.text(slabs.since)
	}
	out.texts = texts
	for i := range f.batch.slabs {
		out.fromSlabs += countEvents(f.batch.slabs[i].b)
	}
	if now > 0 {
		f.batch.note(&out, max(s.last.high, s.builder.max), now)
	}
	if !f.batch.empty() {
		s.sort(&f.batch)
		f.count = uint32(len(s.order))
		s.add(&f.batch, 0, texts.reasons, texts.labels)
		out.unframed = &f
	}
	s.close()
	out.segments = s.closed
	s.committed()
	return out, nil
}

// note adds what there is to be said of a run that did not end.
func (b *batch) note(left *leftover, last, now int64) {
	say := func(text string) { b.changes = append(b.changes, change{now, Change{Action: ActionStore, Text: text}}) }
	if left.whole {
		say(fmt.Sprintf("the run before did not end; what it had taken is on record, %d events of it from memory", left.fromSlabs))
	} else {
		b.gaps = append(b.gaps, gap{cause: CauseCrash, from: min(last, now), to: now})
	}
	if left.excluded != "" {
		b.changes = append(b.changes, change{now, Change{Action: ActionExcluded, Text: left.excluded}})
	}
	if left.missing != "" {
		say("records are missing: " + left.missing)
	}
	if left.wrong != "" {
		say("reasons and groups of records of the run before may be missing: " + left.wrong)
	}
}

// slabUse names what one batch took of a slab.
type slabUse struct {
	number     uint32
	generation uint64
}

// A replay goes through the frames of a run.
type replay struct {
	run     runID
	follows uint64
	at      int              // behind the last frame that counts
	written map[slabUse]bool // slabs that are in frames
	owed    uint64           // by the last frame
	missing string           // which records are missing, if others stand behind them
}

// frames adds to s the records that come next.
func (r *replay) frames(s *sealer, b []byte, reasons []Reason, labels []string) {
	var before uint64
	for at := 0; at < len(b); {
		f, size, err := readFrame(b[at:])
		if err != nil {
			n := laterFrame(b[at:], r.run, s.upcoming())
			if n == 0 {
				return // the end, or what the last write did not bring to disk
			}
			r.missing = fmt.Sprintf("%s at octet %d: %v; other records stand behind it", walFile, at, err)
			at, before = at+n, 0
			continue
		}
		if f.run != r.run {
			return
		}
		if at == 0 {
			r.follows = f.follows
		}
		if f.follows != r.follows || before != 0 && f.first != before {
			return // of before the file was begun again
		}
		at += size
		r.at, r.owed = at, f.owed
		for _, s := range f.batch.slabs {
			r.written[slabUse{s.number, s.generation}] = true
		}
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
}

// unframed adds to f what is in slabs but in no frame, and a gap for what is in neither:
// if nobody noted when, between the last record and now.
func (r *replay) unframed(f *frame, left *leftSlabs, last, now int64) {
	for _, slab := range left.slabs {
		if !r.written[slabUse{slab.number, slab.generation}] {
			f.batch.slabs = append(f.batch.slabs, slab)
		}
	}
	slices.SortFunc(f.batch.slabs, func(a, b slab) int { return cmp.Compare(a.generation, b.generation) }) // as they were filled
	if done := max(r.owed, left.accounted); left.owed > done {
		g := gap{CauseCrash, left.owed - done, max(min(left.from, left.to), 0), max(left.to, 0)}
		if left.shape.slabs == 0 { // events that were in plain memory came later, and earlier
			g.from, g.to = min(last, max(now, last)), max(now, last)
		}
		f.batch.gaps = append(f.batch.gaps, g)
	}
	f.owed = left.owed
}

// secure writes what is in slabs only to the write-ahead file, so that a start that
// is broken off does not take it over twice.
func (o *leftover) secure(dir string) error {
	if o.unframed == nil || o.secured {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(dir, walFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	w := wal{file: f, end: int64(o.end)}
	err = errors.Join(w.append(o.unframed), f.Close())
	o.secured = err == nil
	return err
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
