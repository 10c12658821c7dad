package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// left returns a folder with what a process that is killed now would leave.
func left(t rapid.TB, dir, to string) string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		path, n := filepath.Join(to, f.Name()), len(b)
		if strings.HasSuffix(path, ".db") { // most of it is room for more
			b = bytes.TrimRight(b, "\x00")
		}
		if err := errors.Join(os.WriteFile(path, b, 0o600), os.Truncate(path, int64(n))); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func filtered(records []*Record, keep func(*Record) bool) iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		for _, r := range records {
			if keep(r) && !yield(r) {
				return
			}
		}
	}
}

func sameRecords(a, b []*Record) bool { return len(a)+len(b) == 0 || reflect.DeepEqual(a, b) }

// What is written ahead can be read at once, by every reader, and is no segment yet.
func TestWhatIsOpenCanBeRead(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(Config{Dir: dir, Block: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{log: l, seen: time.Now()}
	r := l.Reader()
	const rounds = 12
	for i := range rounds {
		l.Record(query(i, "192.0.2.7", fmt.Sprintf("name-%d.example", i)))
		l.Record(query(i, "192.0.2.8", "all.example"))
		if err := w.step(false); err != nil {
			t.Fatal(err)
		}
		if i == rounds/2 {
			if err := w.seal(false); err != nil {
				t.Fatal(err)
			}
		}
		n := 2 * (i + 1)
		for _, oldest := range []bool{false, true} {
			got := search(t, r, Query{Oldest: oldest})
			if len(got) != n || got[0].Seq != map[bool]uint64{true: 1, false: uint64(n)}[oldest] {
				t.Fatalf("round %d, oldest %v: %d records of %d", i, oldest, len(got), n)
			}
		}
		if got := search(t, r, Query{Name: wire("all.example")}); len(got) != i+1 {
			t.Fatalf("round %d: %d records of one name", i, len(got))
		}
		if got := search(t, r, Query{SeqFrom: uint64(n), SeqTo: uint64(n)}); len(got) != 1 || got[0].Seq != uint64(n) {
			t.Fatalf("round %d: the last is %+v", i, got)
		}
		top, err := r.Top(context.Background(), Query{}, ByClient, 0, 0)
		if err != nil || len(top.Rows) != 2 || top.Rows[0].Count != uint64(i+1) {
			t.Fatalf("round %d: %+v, %v", i, top, err)
		}
		report, err := r.Verify(context.Background(), Verification{}, nil)
		if err != nil || report.Problems != nil || report.Records != uint64(n) || report.Last != uint64(n) {
			t.Fatalf("round %d: %+v, %v", i, report, err)
		}
		wantOpen := n
		if i >= rounds/2 {
			wantOpen = n - 2*(rounds/2+1)
		}
		if report.Open != uint64(wantOpen) || l.Stats().Pending != 0 || l.Stats().LastSeq != uint64(n) {
			t.Fatalf("round %d: %+v, %+v", i, report, l.Stats())
		}
		seen := 0
		err = l.Follow(t.Context(), Query{SeqTo: uint64(n)}, 1, func(*Record) error { seen++; return nil })
		if err != nil || seen != n {
			t.Fatalf("round %d: followed %d of %d, %v", i, seen, n, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(all(t, dir)); n != 2*rounds {
		t.Fatalf("%d records in the end", n)
	}
	for _, name := range []string{walFile, textFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v after an end in order", name, err)
		}
	}
}

// Whenever a process is killed, what was written is there once, in the order in
// which it could be read before, for a reader and for the next run, and the run
// that did not end is on record.
func TestWhatWasWrittenOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		if runs++; runs > 25 { // each opens and syncs some tens of files
			return
		}
		dir, err := os.MkdirTemp(base, "")
		if err != nil {
			rt.Fatal(err)
		}
		cfg := Config{Dir: dir, Slabs: 8, SlabBytes: minSlabBytes, Block: time.Hour, Now: func() time.Time { return epoch }}
		var (
			l       *Log
			w       *writer
			ids     []uint32
			labels  []uint32
			known   []*Record // what could be read so far
			waiting int       // taken since
			changes int       // of them, those that are too long for a slab
			kills   int
		)
		open := func() {
			if l, err = Open(cfg); err != nil {
				rt.Fatal(err)
			}
			l.store.Load().newest().db.NoSync = true
			w, ids, labels, waiting = &writer{log: l, seen: epoch}, []uint32{0}, []uint32{0}, 0
			changes = 0
		}
		read := func(r *Reader) []*Record { return search(rt, r, Query{Oldest: true}) }
		step := func(step func(bool) error) {
			if err := step(false); err != nil {
				rt.Fatal(err)
			}
			now := read(l.Reader())
			if len(now) < len(known)+waiting || !sameRecords(now[:len(known)], known) {
				rt.Fatalf("%d records can be read, of %d known before and %d new ones", len(now), len(known), waiting)
			}
			known, waiting, changes = now, 0, 0
		}
		open()
		defer func() { l.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"record": func(rt *rapid.T) {
				e := query(rapid.IntRange(0, 1e6).Draw(rt, "at"), "192.0.2.7", "www.example")
				e.Name = wire(rapid.StringMatching(`[a-c]{1,9}`).Draw(rt, "name") + ".example")
				e.Reason = rapid.SampledFrom(ids).Draw(rt, "reason")
				e.Group = rapid.SampledFrom(labels).Draw(rt, "group")
				if rapid.Bool().Draw(rt, "answers") {
					e.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
				}
				if !l.Record(e) {
					rt.Skip("slabs are full")
				}
				waiting++
			},
			"change": func(*rapid.T) { l.RecordChange(Change{ActionReload, "uid 1", "reload"}); waiting++ },
			"long change": func(*rapid.T) {
				l.RecordChange(Change{ActionReload, "uid 1", strings.Repeat("x", maxEvent)})
				waiting++
				changes++
			},
			"intern": func(rt *rapid.T) {
				ids = append(ids, l.Intern(Reason{Policy: fmt.Sprint("policy-", rapid.IntRange(0, 9).Draw(rt, "n")), List: "a.txt"}))
				labels = append(labels, l.Label(fmt.Sprint("group-", len(labels))))
			},
			"write": func(*rapid.T) { step(w.step) },
			"seal":  func(*rapid.T) { step(w.seal) },
			"kill": func(rt *rapid.T) {
				to, err := os.MkdirTemp(base, "")
				if err != nil {
					rt.Fatal(err)
				}
				left(rt, dir, to)
				if err := l.Close(); err != nil {
					rt.Fatal(err)
				}
				cfg.Dir, dir = to, to
				r, err := OpenReader(to)
				if err != nil {
					rt.Fatal(err)
				}
				// What was known is as it was; what had been taken but not written comes behind it.
				want := len(known) + waiting - changes
				if changes > 0 {
					want++ // a gap
				}
				got := read(r)
				if len(got) != want || !sameRecords(got[:len(known)], known) {
					rt.Fatalf("of %d records, and %d taken, %d of them long changes, %d can be read", len(known), waiting, changes, len(got))
				}
				lost := 0
				for _, e := range got[len(known):] {
					lost += int(e.Lost)
				}
				if lost != changes {
					rt.Fatalf("%d changes are gone, gaps say %d", changes, lost)
				}
				if report, err := r.Verify(context.Background(), Verification{}, nil); err != nil || report.Problems != nil || report.Records != uint64(want) {
					rt.Fatalf("%+v, %v", report, err)
				}
				if err := r.Close(); err != nil {
					rt.Fatal(err)
				}
				open()
				known = read(l.Reader())
				waiting, changes = 0, 0
				names := func(records []*Record) (out []string) {
					for _, r := range records {
						if r.Action != ActionStore {
							out = append(out, r.Kind+r.Name)
						}
					}
					return out
				}
				if !slices.Equal(names(known), names(got)) {
					rt.Fatalf("the next run reads %q, a reader read %q", names(known), names(got))
				}
				told := func(r *Record) bool { return r.Action == ActionStore && strings.Contains(r.Text, "did not end") }
				if kills++; len(slices.Collect(filtered(known, told))) != kills {
					rt.Fatal("the run that did not end is not on record")
				}
			},
		})
	})
}

// A frame that is cut short, or was never whole on disk, is the last: what it held
// is gone, and what stands before it is there.
func TestTheEndOfFramesIsRecognised(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(Config{Dir: dir, Block: time.Hour, Slabs: 4, SlabBytes: minSlabBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := &writer{log: l, seen: time.Now()}
	var ends []int64
	for i := range 4 {
		l.Record(query(i, "192.0.2.7", fmt.Sprintf("name-%d.example", i)))
		if err := w.step(false); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, l.wal.end)
	}
	read := func(change func(b []byte) []byte) (n int, report Report) {
		t.Helper()
		to := left(t, dir, t.TempDir())
		file := filepath.Join(to, walFile)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, change(b), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := OpenReader(to)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if report, err = r.Verify(context.Background(), Verification{}, nil); err != nil {
			t.Fatal(err)
		}
		return len(search(t, r, Query{})), report
	}
	for at := range ends[3] {
		if at%29 != 0 && !slices.Contains(ends, at) && !slices.Contains(ends, at+1) {
			continue
		}
		whole := 0
		for _, end := range ends {
			if end <= at {
				whole++
			}
		}
		if n, report := read(func(b []byte) []byte { return b[:at] }); n != whole || report.Problems != nil {
			t.Fatalf("cut to %d octets: %d records of %d, %+v", at, n, whole, report)
		}
		// One octet turned: in the last frame that is its end, before it those behind are found, and that some are missing.
		n, report := read(func(b []byte) []byte { b[at] ^= 0x40; return b })
		if last := at >= ends[2]; n != 3 || (report.Problems == nil) != (last || at < ends[0]) {
			t.Fatalf("octet %d turned: %d records, %+v", at, n, report)
		}
	}
}

func TestAGoldenFrame(t *testing.T) {
	f := frame{run: runID{1, 2, 3}, follows: 7, first: 42, batch: packetSample()}
	f.count = uint32(len(f.batch.gaps) + len(f.batch.changes) + 6)
	b := f.append(nil)
	golden(t, "frame-v1.hex", []byte(hex.Dump(b)))
	got, n, err := readFrame(b)
	if err != nil || n != len(b) || !reflect.DeepEqual(got, f) {
		t.Errorf("%d of %d octets, %v\n%s", n, len(b), err, cmp.Diff(f.batch.changes, got.batch.changes, cmp.AllowUnexported(change{})))
	}
	entries := appendTexts(appendTexts(nil, textReason, "staff", "staff", "2", "ads", "lists/ads.txt"), textLabel, "guests")
	golden(t, "texts-v1.hex", []byte(hex.Dump(entries)))
}

// FuzzFrame: what a file holds never panics, and what is taken for a frame comes
// back octet by octet.
func FuzzFrame(f *testing.F) {
	good := frame{run: runID{1, 2, 3}, follows: 7, first: 42, count: 12, batch: packetSample()}
	f.Add(good.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, n, err := readFrame(b)
		if err != nil {
			return
		}
		if again := got.append(nil); hex.EncodeToString(again) != hex.EncodeToString(b[:n]) {
			t.Skip("laid out with longer numbers") // a varint may be written in more octets than it needs
		}
		s, err := newSealer(nil)
		if err != nil {
			t.Fatal(err)
		}
		s.next = got.first
		segments := s.seal(got.batch, nil, nil)
		for i := range segments {
			if _, err := openBlock(segments[i].bytes); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzEvents: octets of a slab that nobody vouches for are events or none.
func FuzzEvents(f *testing.F) {
	f.Add(packetSample().slabs[0].b)
	f.Fuzz(func(t *testing.T, b []byte) {
		n := wholeEvents(b)
		var e Event
		for at := 0; at < n; {
			size := readEvent(&e, b[at:])
			if at += size; at > n {
				t.Fatalf("an event ends at %d of %d", at, n)
			}
		}
	})
}
