package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

var quiet = slog.New(slog.DiscardHandler)

// small makes many runs of few records, and merges them once.
var small = runSizes{step: 16, records: 150, segments: 4, width: 3, most: 700}

// indexed is a store of random events, and its index of small runs.
func indexed(t *testing.T, n, per int) (dir string, records []*Record) {
	t.Helper()
	dir = t.TempDir()
	records = fill(t, dir, n, per)
	build(t, dir, small)
	return dir, records
}

func build(t *testing.T, dir string, sizes runSizes) IndexStats {
	t.Helper()
	s, err := buildIndex(t.Context(), dir, true, quiet, sizes)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func runFiles(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, indexDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// answers is what every question says of the store in dir, by question and query; few
// are of some queries.
func answers(t *testing.T, dir string, few bool) map[string]string {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out := make(map[string]string)
	say := func(q Query, what string, a any, err error) {
		t.Helper()
		var damage *DamageError
		if err != nil && !errors.As(err, &damage) {
			t.Fatalf("%s of %+v: %v", what, q, err)
		}
		b, jerr := json.Marshal(a)
		if jerr != nil {
			t.Fatal(jerr)
		}
		out[fmt.Sprintf("%s %+v", what, q)] = string(b)
		if err != nil {
			out[fmt.Sprintf("%s %+v error", what, q)] = err.Error()
		}
	}
	at := func(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
	indicators := []Indicator{
		{Name: wire("SHOP.example"), Scope: ScopeBelow},
		{Name: wire("absent.test"), Scope: 3},
		{Name: wire("example.test"), Scope: 3},
		{Network: netip.MustParsePrefix("198.51.100.7/32")},
		{Network: netip.MustParsePrefix("2001:db8::4/127")},
	}
	queries := append(someQueries(),
		Query{Name: wire("example.test")},
		Query{Name: wire("Shop.example"), ExactName: true, Client: netip.MustParsePrefix("2001:db8::2/128")},
		Query{Alias: wire("shop.example"), Answer: netip.MustParsePrefix("198.51.100.9/32")},
		Query{Name: wire("only.once.test")},
		Query{Name: []byte{0}},
		Query{Client: netip.MustParsePrefix("192.0.2.200/29"), Since: at(200), Until: at(1200)},
		Query{Client: netip.MustParsePrefix("0.0.0.0/0"), SeqFrom: 77, SeqTo: 777},
	)
	if few {
		queries = []Query{queries[0], queries[2], queries[5], queries[len(queries)-1]}
	}
	for _, q := range queries {
		for _, oldest := range []bool{false, true} {
			for _, limit := range []int{0, 7} {
				q := q
				q.Oldest, q.Limit = oldest, limit
				found := []*Record{}
				err := r.Search(t.Context(), q, func(rec *Record) error { found = append(found, rec); return nil })
				say(q, "search", found, err)
			}
		}
		trace, err := r.Trace(t.Context(), q, 0)
		say(q, "trace", trace, err)
		clients, err := r.Clients(t.Context(), q, 0)
		say(q, "clients", clients, err)
		for _, by := range Dimensions() {
			top, err := r.Top(t.Context(), q, by, 3, 5)
			say(q, fmt.Sprint("top ", by), top, err)
		}
		hunt, err := r.Hunt(t.Context(), q, indicators, 0)
		say(q, "hunt", hunt, err)
		for _, most := range []int{1, 5, MostRare} {
			rare, err := r.Rare(t.Context(), q, most, 0)
			say(q, fmt.Sprint("rare ", most), rare, err)
		}
		few, err := r.rare(t.Context(), q, 5, 0, 3)
		say(q, "rare of 3", few, err)
		if !q.Since.IsZero() && !q.Until.IsZero() {
			line, err := r.Timeline(t.Context(), q, 6)
			say(q, "timeline", line, err)
		}
		for _, ms := range []int{7, 300} {
			q.Since = at(ms)
			fresh, err := r.New(t.Context(), q, 0)
			say(q, "new", fresh, err)
		}
	}
	return out
}

// With and without an index, with a part of one and with a damaged one, every
// question has the same answer.
func TestAnswersAreTheSameWithAnIndex(t *testing.T) {
	dir, _ := indexed(t, 1000, 25)
	files := runFiles(t, dir)
	if len(files) < 4 {
		t.Fatalf("%d runs show little", len(files))
	}
	same := func(what string, want map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, answers(t, dir, false)); diff != "" {
			t.Fatalf("%s, - is without:\n%s", what, diff)
		}
	}
	hidden := filepath.Join(dir, indexDir+".hidden")
	if err := os.Rename(filepath.Join(dir, indexDir), hidden); err != nil {
		t.Fatal(err)
	}
	want := answers(t, dir, false)
	if err := os.Rename(hidden, filepath.Join(dir, indexDir)); err != nil {
		t.Fatal(err)
	}
	same("with an index", want)
	for i, file := range files {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		switch i % 4 {
		case 0: // of which its checksums are right
			continue
		case 1:
			err = os.Remove(file)
		case 2: // in its blocks
			b := slices.Clone(whole)
			for at := 0; at < len(b)/2; at += 7 {
				b[at] ^= 0x10
			}
			err = os.WriteFile(file, b, 0o600)
		case 3:
			err = os.WriteFile(file, whole[:len(whole)-9], 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	same("with a damaged index", want)
}

// follow brings the index in dir up to its store, as a running log does.
func follow(t *testing.T, dir string) IndexStats {
	t.Helper()
	s, err := buildIndex(t.Context(), dir, false, quiet, small)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sameWithout holds the answers against those without the index.
func sameWithout(t *testing.T, dir string) {
	t.Helper()
	got := answers(t, dir, true)
	hidden := filepath.Join(dir, "hidden")
	if err := os.Rename(filepath.Join(dir, indexDir), hidden); err != nil {
		t.Fatal(err)
	}
	want := answers(t, dir, true)
	if err := os.Rename(hidden, filepath.Join(dir, indexDir)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("- is without:\n%s", diff)
	}
}

// Records go from the beginning of a store, and from its middle, and segments are
// damaged: the index says nothing of what is not there, and what is in no run is
// searched. Runs without any record left are removed, damaged ones made again.
func TestIndexFollowsItsStore(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 1000, 40)
	all := keys(t, dir)
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		bad := slices.Clone(b.Get(all[18]))
		bad[len(bad)/2] ^= 1
		return b.Put(all[18], bad)
	})
	if s := build(t, dir, small); s.Behind < 40 {
		t.Errorf("%+v: the damaged segment cannot be in it", s)
	}
	before := len(runFiles(t, dir))
	sameWithout(t, dir)
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		errs := []error{b.Delete(all[20])}
		for _, k := range all[:13] {
			errs = append(errs, b.Delete(k))
		}
		return errors.Join(errs...)
	})
	sameWithout(t, dir)
	s := follow(t, dir)
	if after := len(runFiles(t, dir)); after >= before || s.Damaged != 0 {
		t.Errorf("%d runs of %d are left, %+v", after, before, s)
	}
	sameWithout(t, dir)
	last := runFiles(t, dir)
	if err := os.WriteFile(last[len(last)-1], []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again := follow(t, dir); again.Damaged != 0 || again.Behind != s.Behind || again.Records != s.Records {
		t.Errorf("%+v after damage, %+v before", again, s)
	}
	sameWithout(t, dir)
}

// Over hours and days, and with many records of one time, counts from the roll-up by
// the hour and from runs are those of the segments.
func TestCountsOverTimeAreTheSameWithAnIndex(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{log: l, seen: time.Now()}
	r := rand.New(rand.NewPCG(9, 9))
	reasons := []uint32{0, l.Intern(Reason{Policy: "p", Category: "one"}), l.Intern(Reason{Policy: "p", Category: "two"})}
	const n = 900
	for i := range n {
		e := query(i/3*5*60*1000, fmt.Sprintf("192.0.2.%d", r.IntN(5)), fmt.Sprintf("n%d.example", r.IntN(i/4+2)))
		e.Blocked, e.Reason = r.IntN(3) == 0, reasons[r.IntN(3)]
		l.Record(e)
		if i%20 == 19 {
			if err := w.seal(false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	at := func(minutes int) time.Time { return epoch.Add(time.Duration(minutes) * time.Minute) }
	ask := func() (said []string) {
		r, err := OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		say := func(a any, err error) {
			t.Helper()
			b, jerr := json.Marshal(a)
			if err != nil || jerr != nil {
				t.Fatal(err, jerr)
			}
			said = append(said, string(b))
		}
		for _, q := range []Query{
			{Since: at(0), Until: at(25 * 60)},
			{Since: at(61), Until: at(1333)},
			{Since: at(-100), Until: at(3000), SeqFrom: 101, SeqTo: 800},
			{Since: at(30), Until: at(1400), Client: netip.MustParsePrefix("192.0.2.2/31")},
			{Since: at(0), Until: at(1400), Verdict: "block"},
			{Since: at(0), Until: at(1440), Category: "one", Verdict: "allow"},
			{Since: at(0), Until: at(1400), Name: wire("n1.example")},
		} {
			for _, slots := range []int{1, 5, 25, 200} {
				line, err := r.Timeline(t.Context(), q, slots)
				say(line, err)
				for _, by := range []Dimension{ByClient, ByCategory, ByName} {
					top, err := r.Top(t.Context(), q, by, 4, slots)
					say(top, err)
				}
			}
			fresh, err := r.New(t.Context(), q, 0)
			say(fresh, err)
			rare, err := r.Rare(t.Context(), q, 2, 0)
			say(rare, err)
		}
		top, err := r.Top(t.Context(), Query{}, ByClient, 4, 6)
		say(top, err)
		return said
	}
	want := ask()
	build(t, dir, small)
	if diff := cmp.Diff(want, ask()); diff != "" {
		t.Fatalf("- is without:\n%s", diff)
	}
	reader, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	ticks := uint64(0)
	for _, run := range reader.runs() {
		if err := run.ticks(reader.unpacker, queriesOf(Query{}), slots{at(0).UnixNano(), at(1500).UnixNano(), 25}, func(c tick) { ticks += c.queries }); err != nil {
			t.Fatal(err)
		}
	}
	if ticks != n {
		t.Errorf("whole hours have %d queries of %d", ticks, n)
	}
}

// Runs of another store are of no use, though their numbers are the same.
func TestIndexOfAnotherStore(t *testing.T) {
	dir, _ := indexed(t, 600, 40)
	other := t.TempDir()
	fill(t, other, 600, 41)
	if err := os.Rename(filepath.Join(dir, indexDir), filepath.Join(other, indexDir)); err != nil {
		t.Fatal(err)
	}
	sameWithout(t, other)
	r, err := OpenReader(other)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if s, err := r.Index(); err != nil || s.Runs != 0 || s.Behind == 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// A running log makes its index as it writes, and again when it is told to, while it
// is asked.
func TestRunningLogKeepsItsIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, err := Open(Config{Dir: dir, Block: -1})
		if err != nil {
			t.Fatal(err)
		}
		l.index.sizes = runSizes{step: 4, records: 20, segments: 4, width: 2, most: 200}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		write := func(n int) {
			for i := range n {
				for j := range 5 {
					l.Record(query(i*10+j, fmt.Sprintf("192.0.2.%d", j), fmt.Sprintf("n%d.example", i)))
				}
				if err := l.Flush(ctx); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Hour) // of the test's own time
			synctest.Wait()
		}
		write(33)
		s := l.Stats().Index
		if s.Behind > 20 || s.Records < 140 || s.Runs == 0 || s.Runs > 6 {
			t.Errorf("%+v of 165 records", s)
		}
		rare := func() string {
			names, err := l.Reader().Rare(ctx, Query{}, MostRare, 0)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(names)
		}
		want := rare()
		files := runFiles(t, dir)
		if err := l.Reindex(ctx); err != nil {
			t.Fatal(err)
		}
		if got := rare(); got != want {
			t.Errorf("without an index %s, with one %s", got, want)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if again := runFiles(t, dir); !slices.Equal(again, files) {
			t.Errorf("%v, made again %v", files, again)
		}
		if got := rare(); got != want {
			t.Errorf("after making it again %s, before %s", got, want)
		}
		for _, file := range runFiles(t, dir) { // which a question finds, and the next commit mends
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i := range b[:len(b)-runTrailer] {
				b[i] ^= 0x55
			}
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := rare(); got != want {
			t.Errorf("of a damaged index %s, before %s", got, want)
		}
		if s := l.Stats().Index; s.Damaged == 0 {
			t.Errorf("%+v: damage was not noticed", s)
		}
		write(1)
		if s := l.Stats().Index; s.Damaged != 0 || s.Behind > 20 {
			t.Errorf("%+v: it was not mended", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
