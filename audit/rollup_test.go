package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
)

// manyHours makes a store whose roll-up fills several pages: n hours up to epoch.
func manyHours(t testing.TB, n int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	b := newBench(t, dir)
	for i := range 60 {
		b.ids = append(b.ids, b.log.Intern(Reason{Category: fmt.Sprint("category-", i%7), List: fmt.Sprintf("lists/list-%d.txt", i)}))
	}
	for hour := range n {
		b.now = epoch.Add(time.Duration(hour-n+1) * time.Hour)
		b.w.seen = b.now
		for i := range 100 {
			b.record(b.now, (hour+i)%len(b.ids), (hour+i*i)%len(b.ids))
		}
		b.seal()
	}
	if hours := len(b.keptHours()); hours != n {
		t.Fatalf("%d hours are kept of %d", hours, n)
	}
	b.close()
	trim(t, dir)
	return dir
}

var longAgo = epoch.Add(-daysKept * 24 * time.Hour)

// A store that was written before hits were counted, or lost their bucket, has
// them counted again, by Run and by the reader of a stopped log.
func TestHitsAreCountedAgainFromSegments(t *testing.T) {
	dir := manyHours(t, 60)
	want, naive := stoppedHits(t, dir, longAgo)
	same(t, "before", want, naive)
	rewriteHits(t, dir, dropHits)
	got, _ := stoppedHits(t, dir, longAgo)
	same(t, "stopped", got, want)
	later, naive := stoppedHits(t, dir, epoch.Add(-10*time.Hour))
	same(t, "stopped, the last hours", later, naive)

	synctest.Test(t, func(t *testing.T) {
		l, stop := start(t, Config{Dir: dir, Now: func() time.Time { return epoch }})
		synctest.Wait()
		got, err := l.Hits(longAgo)
		if err != nil {
			t.Error(err)
		}
		same(t, "running", got, want)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if kept, err := r.own.hits(0); err != nil || kept.left != 0 || len(kept.hours) != 60 {
		t.Errorf("on disk are %d hours, and records before %d are left: %v", len(kept.hours), kept.left, err)
	}
	got, _ = stoppedHits(t, dir, longAgo)
	same(t, "after it", got, want)
}

// Only what is kept is counted again: segments before that are not even read.
func TestCountingAgainEndsAfterEightDays(t *testing.T) {
	dir := manyHours(t, 190)
	rewriteHits(t, dir, dropHits)
	b := newBench(t, dir)
	b.close()
	b.now = epoch.Add(150 * time.Hour)
	b.open()
	r := b.w.roll(b.log.store.Load())
	steps := 0
	for r.recount.left > 0 {
		if err := r.recount.step(r.store, b.log.unpacker); err != nil {
			t.Fatal(err)
		}
		steps++
	}
	if hours := len(r.recount.counted); hours != 43 || steps != 44 {
		t.Errorf("counted %d hours in %d steps, want 43 in 44", hours, steps)
	}
}

// While it goes on, events are taken and committed, what is exact is known to be,
// and a restart does not begin at the beginning.
func TestCountingAgainGoesOnAfterARestart(t *testing.T) {
	dir := manyHours(t, 100)
	rewriteHits(t, dir, dropHits)
	b := newBench(t, dir)
	step := func() int {
		t.Helper()
		b.w.roll(b.log.store.Load())
		if !b.w.recounting() {
			return 0
		}
		if err := b.w.rollup.recount.step(b.log.store.Load(), b.log.unpacker); err != nil {
			t.Fatal(err)
		}
		return 1
	}
	steps := 0
	for hour := range 50 { // of the past
		steps += step()
		b.record(b.now, 1, 2)
		b.seal()
		known := epoch.Add(time.Duration(-hour) * time.Hour)
		hits, err := b.log.Hits(known)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "known hours", hits, naiveHits(t, b.log.Reader(), known))
		if _, err := b.log.Hits(known.Add(-time.Hour)); !errors.Is(err, ErrCounting) {
			t.Fatalf("hour %d, which is not counted: %v", -hour-1, err)
		}
		if hour%10 == 9 {
			b.close()
			kept, naive := stoppedHits(t, dir, longAgo)
			same(t, "stopped in the middle", kept, naive)
			b.open()
		}
	}
	for more := 1; more > 0; steps += more {
		more = step()
	}
	b.recountAll()
	if steps != 101 { // 100 segments, and to see that there is none before
		t.Errorf("it took %d steps, want 101", steps)
	}
	same(t, "in the end", b.hits(longAgo), naiveHits(t, b.log.Reader(), longAgo))
}

func TestRunEndsInTheMiddleOfCountingAgain(t *testing.T) {
	dir := manyHours(t, 30)
	want, _ := stoppedHits(t, dir, longAgo)
	rewriteHits(t, dir, dropHits)
	l, err := Open(Config{Dir: dir, Now: func() time.Time { return epoch }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	got, _ := stoppedHits(t, dir, longAgo)
	same(t, "after it", got, want)
}

// useDamaged proves that a log whose roll-up was damaged is none the worse for it:
// it opens, takes events, commits them in this hour and in later ones, and keeps
// every segment; and its hits are right again.
func useDamaged(t *testing.T, dir, what string) {
	t.Helper()
	b := newBench(t, dir)
	defer b.close()
	for i := range 3 {
		b.now = epoch.Add(time.Duration(i*70) * time.Hour) // the last makes the first hours too old
		b.w.seen = b.now
		for range 3 {
			b.record(b.now, 1, 2)
			if err := b.w.seal(false); err != nil {
				t.Fatalf("%s: commit %d: %v", what, i, err)
			}
		}
	}
	b.recountAll()
	if moved, err := filepath.Glob(filepath.Join(dir, "*.damaged-*")); err != nil || len(moved) > 0 {
		t.Errorf("%s: %q moved aside, %v", what, moved, err)
	}
	report, err := b.log.Reader().Verify(t.Context(), Verification{}, nil)
	if err != nil || report.Problems != nil || report.Lost != 0 {
		t.Errorf("%s: %v, %+v", what, err, report)
	}
	since := b.now.Add(-daysKept * 24 * time.Hour)
	same(t, what, b.hits(since), naiveHits(t, b.log.Reader(), since))
}

func TestDamagedHitsCostNothingElse(t *testing.T) {
	whole := manyHours(t, 40)
	content, err := os.ReadFile(storePath(t, whole))
	if err != nil {
		t.Fatal(err)
	}
	head, err := os.ReadFile(filepath.Join(whole, headFile))
	if err != nil {
		t.Fatal(err)
	}
	hour := hourOf(epoch.UnixNano()) - 20
	put := func(key, value []byte) func(b *bbolt.Bucket) error {
		return func(b *bbolt.Bucket) error { return b.Put(key, value) }
	}
	for what, f := range map[string]func(b *bbolt.Bucket) error{
		"a flipped octet": func(b *bbolt.Bucket) error {
			v := bytes.Clone(b.Get(hourKey(hour)))
			v[len(v)/2] ^= 1
			return b.Put(hourKey(hour), v)
		},
		"an empty value":      put(hourKey(hour), nil),
		"another hour's":      func(b *bbolt.Bucket) error { return b.Put(hourKey(hour), b.Get(hourKey(hour+1))) },
		"a newer version":     put(hourKey(hour), []byte("HITS\x00\x02 and all that is new in it")),
		"a foreign key":       put([]byte("x"), []byte("y")),
		"an hour beyond time": put(bytes.Repeat([]byte{0xff}, 8), []byte("y")),
		"a bucket inside": func(b *bbolt.Bucket) error {
			_, err := b.CreateBucket([]byte{0, 0, 0, 0, 0, 0, 0, 1})
			return err
		},
		"nothing counted":  func(b *bbolt.Bucket) error { return b.Delete([]byte(countedKey)) },
		"counted too far":  put([]byte(countedKey), counted{0, 1 << 40}.append(nil)),
		"counted too long": put([]byte(countedKey), sealHits(append(beginHits(nil, 0), make([]byte, 9)...))),
	} {
		dir := copyStore(t, content, whole)
		if err := os.WriteFile(filepath.Join(dir, headFile), head, 0o600); err != nil {
			t.Fatal(err)
		}
		rewriteHits(t, dir, func(tx *bbolt.Tx) error { return f(tx.Bucket([]byte(hitsBucket))) })
		kept, naive := stoppedHits(t, dir, longAgo)
		same(t, what+", stopped", kept, naive)
		b := newBench(t, dir)
		_, err := b.log.Hits(time.Time{}) // before the writer knows
		var damage *DamageError
		if !errors.Is(err, ErrCounting) || errors.As(err, &damage) != (what != "counted too far") {
			t.Errorf("%s: hits of a running log: %v", what, err)
		}
		b.close()
		damaged := storePath(t, dir)
		useDamaged(t, dir, what)
		rewriteFile(t, damaged, func(tx *bbolt.Tx) error {
			if got := string(newestHits(tx)); got != "hits.2" {
				t.Errorf("%s: the bucket in use is %s", what, got)
			}
			return nil
		})
		useDamaged(t, dir, what+", once more")
	}
}

// hitsPages returns where the pages of the roll-up are in a store.
func hitsPages(t *testing.T, content []byte, whole string) (offsets []int) {
	t.Helper()
	db, err := bbolt.Open(storePath(t, copyStore(t, content, whole)), 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	size := db.Info().PageSize
	err = db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(hitsBucket))
		offsets = append(offsets, int(b.Root())*size)
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			// Values lie in the pages as they are; those of pages that are free now too, which does no harm.
			if at := bytes.Index(content, v) / size * size; at != offsets[len(offsets)-1] {
				offsets = append(offsets, at)
			}
		}
		if s := b.Stats(); s.BranchPageN == 0 || s.LeafPageN < 5 {
			t.Fatalf("the roll-up is too small to prove anything: %+v", s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return offsets
}

// Octets flipped in bbolt's own pages of the roll-up harm no segment either.
func TestDamagedPagesOfHitsCostNothingElse(t *testing.T) {
	whole := manyHours(t, 40)
	content, err := os.ReadFile(storePath(t, whole))
	if err != nil {
		t.Fatal(err)
	}
	pages := hitsPages(t, content, whole)
	for _, page := range []int{pages[0], pages[1], pages[len(pages)-1]} { // the branch, the oldest and the newest leaf
		for _, off := range []int{0, 8, 10, 12, 15, 16, 20, 23, 24, 28, 31, 40} {
			for _, flip := range []byte{1, 0x40} {
				content[page+off] ^= flip
				useDamaged(t, copyStore(t, content, whole), fmt.Sprintf("page at %d, octet %d", page, off))
				content[page+off] ^= flip
			}
		}
	}
}

// Whatever octet is flipped in a page that the writer would rely on, it is found,
// or the tree is as good as before.
func TestEveryFlippedOctetOfHitsPagesIsFound(t *testing.T) {
	t.Parallel()
	const hours = 12 // as few as fill five leaves: all are read for each octet
	dir := manyHours(t, hours)
	path := storePath(t, dir)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	newest := r.own.files[len(r.own.files)-1]
	own, err := r.own.use(newest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.own.leave(newest)
	want, err := own.hits(0)
	if err != nil || len(want.hours) != hours {
		t.Fatal(err, len(want.hours))
	}
	good := func(b *bbolt.Bucket) bool {
		for _, h := range want.hours {
			if !bytes.Equal(b.Get(hourKey(h.hour)), h.append(nil)) {
				return false
			}
		}
		return true
	}
	found := 0
	try := func(what string, at int, octets []byte) {
		if _, err := file.WriteAt(octets, int64(at)); err != nil {
			t.Fatal(err)
		}
		p, err := own.proveHits(nil, window{0, lastHour})
		if err != nil {
			t.Fatal(err)
		}
		if p.damage != nil {
			found++
		} else if err := own.view("", func(c *bbolt.Cursor) error {
			if !good(c.Bucket().Tx().Bucket([]byte(hitsBucket))) {
				t.Errorf("%s: not found", what)
			}
			return nil
		}); err != nil {
			t.Errorf("%s: not found: %v", what, err)
		}
		if _, err := file.WriteAt(content[at:at+len(octets)], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	pages := hitsPages(t, content, dir)
	size := os.Getpagesize()
	for _, page := range []int{pages[0], pages[1], pages[len(pages)-1]} {
		for off := range size {
			flip := byte(1) << (off % 8)
			try(fmt.Sprintf("page at %d, octet %d, flip %d", page, off, flip), page+off, []byte{content[page+off] ^ flip})
		}
	}
	// bbolt would go down such a branch for ever.
	root := binary.NativeEndian.AppendUint64(nil, uint64(pages[0]/size))
	try("a branch that is its own child", pages[0]+pageHead+8, root)
	if found < size {
		t.Errorf("only %d flips were found", found)
	}
	if p, err := own.proveHits(nil, window{0, lastHour}); err != nil || p.damage != nil {
		t.Error("whole again:", err, p.damage)
	}
}

// What bbolt makes of a roll-up that is whole is never taken for damage, whether
// its values are small or larger than pages, while hours come and go.
func TestWholeHitsAreTakenAsTheyAre(t *testing.T) {
	b := newBench(t, t.TempDir())
	var ids []uint32
	intern := func() {
		ids = nil
		for i := range 700 {
			ids = append(ids, b.log.Intern(Reason{List: fmt.Sprintf("lists/%s/%d.txt", strings.Repeat("x", 50), i)}))
		}
	}
	intern()
	r := rand.New(rand.NewPCG(5, 6))
	most := 0
	for hour := range 500 {
		b.now = b.now.Add(time.Hour)
		b.w.seen = b.now
		lists := 1 << r.IntN(10)
		most = max(most, lists)
		for range 2 {
			e := query(0, "192.0.2.7", "www.example")
			for i := range lists {
				e.Time, e.Reason = b.now.UnixNano(), ids[(i*7+hour)%len(ids)]
				b.log.Record(e)
			}
			b.seal()
		}
		if hour%50 == 49 {
			b.close()
			b.open()
			intern()
		}
		if r := b.w.roll(b.log.store.Load()); string(r.bucket) != hitsBucket || r.recount != nil {
			t.Fatalf("hour %d: bucket %s, counted again: %v", hour, r.bucket, r.recount != nil)
		}
	}
	if hours := len(b.keptHours()); hours != 1+24*daysKept || most < 512 {
		t.Errorf("%d hours are kept, of up to %d lists", hours, most)
	}
	since := b.now.Add(-daysKept * 24 * time.Hour)
	same(t, "in the end", b.hits(since), naiveHits(t, b.log.Reader(), since))
}

// Pages that go bad under a running log are found when they are needed.
func TestHitsDamagedWhileRunning(t *testing.T) {
	dir := manyHours(t, 40)
	b := newBench(t, dir)
	b.record(b.now, 1, 0)
	b.seal()
	content, err := os.ReadFile(storePath(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(storePath(t, dir), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, page := range hitsPages(t, content, dir) {
		if _, err := file.WriteAt(make([]byte, 100), int64(page)); err != nil {
			t.Fatal(err)
		}
	}
	var damage *DamageError
	if _, err := b.log.Hits(longAgo); !errors.Is(err, ErrCounting) || !errors.As(err, &damage) {
		t.Errorf("hits from damaged pages: %v", err)
	}
	for i := range 4 {
		b.now = epoch.Add(time.Duration(i) * 30 * time.Minute)
		b.record(b.now, 1, 0)
		b.seal()
	}
	b.recountAll()
	since := epoch.Add(-time.Hour)
	same(t, "hours later", b.hits(since), naiveHits(t, b.log.Reader(), since))
	if report, err := b.log.Reader().Verify(t.Context(), Verification{}, nil); err != nil || report.Problems != nil {
		t.Error(err, report.Problems)
	}
}

// A bucket that vanishes under a running log is missed by the next commit.
func TestHitsDeletedWhileRunning(t *testing.T) {
	b := newBench(t, manyHours(t, 5))
	b.record(b.now, 1, 0)
	b.seal()
	for _, meanwhile := range []time.Duration{0, time.Hour} {
		if err := b.log.store.Load().newest().db.Update(dropHits); err != nil {
			t.Fatal(err)
		}
		b.now = b.now.Add(meanwhile)
		b.record(b.now, 1, 0)
		b.seal()
		if _, err := b.log.Hits(longAgo); !errors.Is(err, ErrCounting) {
			t.Errorf("hits without a roll-up: %v", err)
		}
		if meanwhile == 0 && !b.w.rollup.off {
			t.Error("the next commit will fail over it again")
		}
		b.now = b.now.Add(time.Hour)
		b.record(b.now, 1, 0)
		b.seal()
		b.recountAll()
		same(t, "an hour later", b.hits(longAgo), naiveHits(t, b.log.Reader(), longAgo))
	}
}

// Segments that cannot be read are left out, and that is said.
func TestDamagedSegmentsAreNotCounted(t *testing.T) {
	dir := manyHours(t, 20)
	rewriteHits(t, dir, dropHits)
	damaged := keys(t, dir)[1]
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		v := bytes.Clone(b.Get(damaged))
		v[len(v)/2] ^= 1
		return b.Put(damaged, v)
	})
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	hits, err := r.Hits(longAgo)
	var damage *DamageError
	if !errors.As(err, &damage) || damage.Place != keyPlace(damaged) {
		t.Errorf("got %v", err)
	}
	sum := make(map[ListRef]Hits)
	err = r.Search(t.Context(), Query{Kind: KindQuery}, func(rec *Record) error {
		if rec.List != "" {
			ref := ListRef{rec.Category, rec.List}
			sum[ref] = sum[ref].plus(Hits{Decided: 1})
		}
		return nil
	})
	if !errors.As(err, &damage) {
		t.Error(err)
	}
	for ref, h := range sum {
		if hits[ref].Decided != h.Decided {
			t.Errorf("%v: %d decided, want %d", ref, hits[ref].Decided, h.Decided)
		}
	}
}
