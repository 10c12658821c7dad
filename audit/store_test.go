package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// days is a log that is driven by hand through time.
type days struct {
	t   rapid.TB
	dir string
	now time.Time
	log *Log
	w   *writer
	cfg Config
}

func newDays(t testing.TB, cfg Config) *days {
	d := &days{t: t, dir: t.TempDir(), now: epoch, cfg: cfg}
	d.open()
	t.Cleanup(func() { d.log.Close() })
	return d
}

func (d *days) open() {
	d.t.Helper()
	d.cfg.Dir, d.cfg.Now = d.dir, func() time.Time { return d.now }
	l, err := Open(d.cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	d.log, d.w = l, &writer{log: l, seen: d.now}
}

// record commits a segment with one query of the time that it is.
func (d *days) record(name string) {
	d.t.Helper()
	e := query(0, "192.0.2.7", name)
	e.Time = d.now.UnixNano()
	d.w.seen = d.now
	if !d.log.Record(e) {
		d.t.Fatal("not taken")
	}
	if err := d.w.seal(false); err != nil {
		d.t.Fatal(err)
	}
}

func (d *days) close() {
	d.t.Helper()
	d.w.closeHead()
	if err := d.log.Close(); err != nil {
		d.t.Fatal(err)
	}
}

// removeDue does what retention does, and meanwhile what the writer does.
func (d *days) removeDue() {
	d.t.Helper()
	done := make(chan error, 1)
	go func() { done <- d.log.removeDue(context.Background()) }()
	for {
		select {
		case err := <-done:
			if err != nil {
				d.t.Fatal(err)
			}
			return
		case <-d.log.kick:
			d.w.seen = d.now
			if err := d.w.seal(false); err != nil {
				d.t.Fatal(err)
			}
		}
	}
}

// files returns the names of the store's files.
func (d *days) files() (names []string) {
	d.t.Helper()
	paths, err := filepath.Glob(filepath.Join(d.dir, "*.db"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	return names
}

func equalNames(t rapid.TB, what string, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// names returns the names asked for, in the order of the query.
func names(t rapid.TB, r *Reader, q Query) (out []string, err error) {
	q.Kind = KindQuery
	err = r.Search(context.Background(), q, func(rec *Record) error {
		out = append(out, rec.Name)
		return nil
	})
	return out, err
}

const aDay = 24 * time.Hour

func TestEachDayHasAFile(t *testing.T) {
	d := newDays(t, Config{})
	d.record("one.example")
	d.record("two.example")
	d.now = d.now.Add(aDay)
	d.record("three.example")
	d.now = d.now.Add(-13 * time.Hour) // it is yesterday again, but not for a day
	d.record("four.example")
	d.now = d.now.Add(-10 * aDay)
	d.record("five.example")
	d.now = epoch.Add(2 * aDay)
	d.record("six.example")
	want := []string{
		"audit-0000000000000001-20240501.db", "audit-0000000000000003-20240502.db",
		"audit-0000000000000005-20240421.db", "audit-0000000000000006-20240503.db",
	}
	equalNames(t, "files", d.files(), want...)
	check := func(what string, r *Reader) {
		t.Helper()
		for _, oldest := range []bool{true, false} {
			got, err := names(t, r, Query{Oldest: oldest})
			want := []string{"one.example", "two.example", "three.example", "four.example", "five.example", "six.example"}
			if !oldest {
				want = []string{"six.example", "five.example", "four.example", "three.example", "two.example", "one.example"}
			}
			if err != nil {
				t.Error(what, err)
			}
			equalNames(t, what, got, want...)
		}
		report, err := r.Verify(t.Context(), Verification{}, nil)
		if err != nil || report.Problems != nil || report.First != 1 {
			t.Errorf("%s: %v %+v", what, err, report)
		}
	}
	check("running", d.log.Reader())
	if s := d.log.Stats(); s.Segments != 6 {
		t.Errorf("%+v", s)
	}
	d.close()
	all(t, d.dir)
	d.open()
	d.record("seven.example")
	d.close()
	equalNames(t, "the same day goes on", d.files(), want...)
}

func TestPeriodsHaveNames(t *testing.T) {
	at := epoch.Add(90 * time.Minute).UnixNano()
	for p, want := range map[Period]string{
		Day: "audit-0000000000000012-20240501.db", Hour: "audit-0000000000000012-20240501T13.db", Month: "audit-0000000000000012-202405.db",
	} {
		if got := fileName(12, p, at); got != want {
			t.Error(got)
		}
		if first, ok := fileNumber(want); !ok || first != 12 {
			t.Error(want, first, ok)
		}
		if p.number(at) == p.number(at+int64(32*aDay)) || p.number(at) != p.number(at+int64(20*time.Minute)) {
			t.Errorf("%s: %d", want, p.number(at))
		}
	}
	for _, no := range []string{
		"audit.db", "audit.head", "audit-12-20240501.db", "audit-0000000000000012.db", "audit-0000000000000012-2024.db",
		"audit-0000000000000012-20240501.db.new", "audit-0000000000000012-20240501.db.damaged-20240501T000000Z",
		"audit-+000000000000012-20240501.db", "audit-000000000000001x-20240501.db", "audit-0000000000000012-2024-501.db",
	} {
		if _, ok := fileNumber(no); ok {
			t.Errorf("%s is taken for a file of the store", no)
		}
	}
}

// An old file that is damaged, cut or gone is said by its name, and nothing else suffers.
func TestADamagedOldFileStopsNothing(t *testing.T) {
	for what, damage := range map[string]func(path string) error{
		"garbage": func(path string) error { return os.WriteFile(path, []byte("This was a store once."), 0o600) },
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"cut":     func(path string) error { return os.Truncate(path, 8192) },
		"gone":    os.Remove,
	} {
		for at := range 3 {
			d := newDays(t, Config{OnError: Fail})
			for i := range 4 {
				d.record(fmt.Sprintf("%d.example", i))
				d.now = d.now.Add(aDay)
			}
			d.close()
			path := filepath.Join(d.dir, d.files()[at])
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			what := fmt.Sprintf("%s, file %d", what, at)
			check := func(r *Reader, more ...string) {
				t.Helper()
				var want []string
				for i := range 4 {
					if i != at {
						want = append(want, fmt.Sprintf("%d.example", i))
					}
				}
				want = append(want, more...)
				got, err := names(t, r, Query{Oldest: true})
				var damage *DamageError
				if found := errors.As(err, &damage); found != !strings.HasPrefix(what, "gone") || found && damage.File != path {
					t.Errorf("%s: %v", what, err)
				}
				equalNames(t, what, got, want...)
				back, _ := names(t, r, Query{})
				if len(back) != len(want) || back[0] != want[len(want)-1] {
					t.Errorf("%s: %q", what, back)
				}
				report, err := r.Verify(t.Context(), Verification{}, nil)
				if err != nil || at > 0 && !strings.Contains(strings.Join(report.Problems, "\n"), "are missing before it") {
					t.Errorf("%s: %v %q", what, err, report.Problems)
				}
			}
			r, err := OpenReader(d.dir)
			if err != nil {
				t.Fatal(what, err)
			}
			check(r)
			r.Close()
			d.open()
			d.record("after.example")
			check(d.log.Reader(), "after.example")
			d.close()
		}
	}
}

// The file that older versions kept all in becomes the first of the store.
func TestAFormerStoreGoesOn(t *testing.T) {
	d := newDays(t, Config{})
	d.record("one.example")
	d.record("two.example")
	d.close()
	if err := os.Rename(filepath.Join(d.dir, d.files()[0]), filepath.Join(d.dir, formerFile)); err != nil {
		t.Fatal(err)
	}
	if records := all(t, d.dir); len(records) != 2 {
		t.Fatalf("%d records", len(records))
	}
	equalNames(t, "read only", d.files(), formerFile)
	d.now = d.now.Add(aDay)
	d.open()
	d.record("three.example")
	d.close()
	equalNames(t, "taken in", d.files(), "audit-0000000000000001-20240501.db", "audit-0000000000000003-20240502.db")
	records := all(t, d.dir)
	if len(records) != 4 || !strings.Contains(records[2].Text+records[3].Text, "the store, which was one file audit.db, goes on") {
		t.Errorf("%+v", records)
	}
}

// Few of many files are open at one time, and all can be read.
func TestFewFilesAreOpen(t *testing.T) {
	d := newDays(t, Config{Period: Hour})
	for i := range 3 * maxOpen {
		d.record(fmt.Sprintf("%d.example", i))
		d.now = d.now.Add(time.Hour)
	}
	got, err := names(t, d.log.Reader(), Query{})
	if err != nil || len(got) != 3*maxOpen {
		t.Fatal(err, len(got))
	}
	open := 0
	for _, f := range d.log.store.Load().all() {
		if f.bolt != nil {
			open++
		}
	}
	if open != maxOpen+1 {
		t.Errorf("%d files are open, want %d and the newest", open, maxOpen)
	}
}

// The number in a file's name is the key of its first segment.
func TestAFileBeginsWithItsSegments(t *testing.T) {
	d := newDays(t, Config{})
	d.record("one.example")
	d.now = d.now.Add(aDay)
	d.record("two.example")
	d.close()
	for i, name := range d.files() {
		first, _ := fileNumber(name)
		db, err := bbolt.Open(filepath.Join(d.dir, name), 0o600, &bbolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		db.View(func(tx *bbolt.Tx) error {
			if k, _ := tx.Bucket(segmentBucket).Cursor().First(); string(k) != string(segmentKey(first)) {
				t.Errorf("file %d, %s, begins with key %x", i, name, k)
			}
			return nil
		})
		db.Close()
	}
}

// Whatever happens to a store, a naive list of what was recorded agrees with it: through
// days, clocks set back, restarts, old files that are lost, and retention with holds.
func TestStoreAgreesWithAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "weir-days")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		d := &days{t: t, dir: dir, now: epoch, cfg: Config{OnError: Fail, Period: Period(rapid.IntRange(0, 2).Draw(t, "period"))}}
		d.open()
		defer func() { d.log.Close() }()
		d.log.store.Load().newest().db.NoSync = true
		type entry struct {
			name, file string
			at         time.Time
		}
		var model []entry
		lost, held := map[string]bool{}, map[string]bool{}
		var removed []string
		for i := range rapid.IntRange(1, 14).Draw(t, "steps") {
			switch rapid.IntRange(0, 11).Draw(t, "step") {
			case 0, 1:
				hours := rapid.IntRange(-60, 40*24).Draw(t, "hours")
				d.now = d.now.Add(time.Duration(hours) * time.Hour)
			case 2:
				d.close()
				d.open()
				d.log.store.Load().newest().db.NoSync = true
			case 3: // an old file is lost
				files := d.files()
				if len(files) < 2 {
					continue
				}
				name := files[rapid.IntRange(0, len(files)-2).Draw(t, "file")]
				d.close()
				if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
				lost[name] = true
				d.open()
				d.log.store.Load().newest().db.NoSync = true
			case 4: // the oldest files that can be read go, up to one that is young enough
				d.log.cfg.Keep = time.Duration(rapid.IntRange(1, 90).Draw(t, "keep")) * aDay
				files := d.files()
				d.removeDue()
				due := d.now.Add(-d.log.cfg.Keep)
				for _, name := range files[:len(files)-1] {
					young := lost[name] // what is in it is told by the next
					for _, e := range model {
						young = young || e.file == name && !e.at.Before(due)
					}
					_, err := os.Stat(filepath.Join(dir, name))
					if gone := err != nil; gone && !lost[name] && (young || held[name]) {
						t.Fatalf("%s was removed", name)
					} else if !gone && !lost[name] && !young && !held[name] {
						if slices.ContainsFunc(files[:slices.Index(files, name)], func(before string) bool {
							_, err := os.Stat(filepath.Join(dir, before))
							return err == nil && !held[before]
						}) {
							continue // one before it is young, for the clock was set back
						}
						t.Fatalf("%s was not removed", name)
					} else if gone {
						model = slices.DeleteFunc(model, func(e entry) bool { return e.file == name })
						delete(lost, name)
						removed = append(removed, name)
					}
				}
			case 5:
				if len(model) == 0 {
					continue
				}
				e := model[rapid.IntRange(0, len(model)-1).Draw(t, "held")]
				first, _ := fileNumber(e.file)
				if _, err := d.log.AddHold(Hold{SeqFrom: first, SeqTo: first, Reason: "x", By: "y"}); err != nil {
					t.Fatal(err)
				}
				held[e.file] = true
			default:
				name := fmt.Sprintf("%d.example", i)
				d.record(name)
				files := d.files()
				model = append(model, entry{name, files[len(files)-1], d.now})
			}
		}
		var want, found []string
		for _, e := range model {
			if !lost[e.file] {
				want = append(want, e.name)
			}
		}
		got, err := names(t, d.log.Reader(), Query{Oldest: true})
		equalNames(t, "records", got, want...)
		back, _ := names(t, d.log.Reader(), Query{})
		slices.Reverse(back)
		equalNames(t, "records, newest first", back, want...)
		for e := range strings.SplitSeq(fmt.Sprint(err), "\n") {
			if name, _, ok := strings.Cut(strings.TrimPrefix(e, "audit store "+dir+"/"), " is damaged"); ok {
				found = append(found, name)
			}
		}
		equalNames(t, "damaged files", found, slices.Sorted(maps.Keys(lost))...)
		report, err := d.log.Reader().Verify(context.Background(), Verification{}, nil)
		switch {
		case err != nil, (len(lost) == 0) != (report.Problems == nil):
			t.Fatalf("lost %v: %v %+v", lost, err, report)
		case (removed != nil) != (report.Removed != nil): // each removal is told by its own note
			t.Fatalf("removed %v, lost %v: %+v", removed, lost, report)
		}
	})
}
