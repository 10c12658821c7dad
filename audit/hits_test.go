package audit

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// A bench is a log whose writer the test drives, with a clock that the test sets.
type bench struct {
	t   rapid.TB
	dir string
	now time.Time
	log *Log
	w   *writer
	ids []uint32 // of reasons: three name a list each, one a list that two others name, two name none
}

var benchReasons = []Reason{
	{Policy: "staff", Rule: "1", Category: "ads", List: "lists/ads.txt"},
	{Policy: "staff", Rule: "2", Category: "malware", List: "lists/ads.txt"}, // the same list in another category
	{Policy: "staff", Rule: "3", List: "lists/\x1b[2J.txt"},
	{Policy: "guests", Rule: "7", Category: "ads", List: "lists/ads.txt"},
	{Policy: "staff", Rule: "4", Category: "only a category"},
	{Policy: "staff", Rule: "default"},
}

func newBench(t testing.TB, dir string) *bench {
	b := &bench{t: t, dir: dir, now: epoch}
	b.open()
	t.Cleanup(func() { b.log.Close() })
	return b
}

func (b *bench) open() {
	l, err := Open(Config{Dir: b.dir, Now: func() time.Time { return b.now }, OnError: Fail, Slabs: 8})
	if err != nil {
		b.t.Fatal(err)
	}
	l.store.Load().newest().db.NoSync = true // nobody cuts the power of these tests
	b.log, b.w, b.ids = l, &writer{log: l, seen: b.now}, []uint32{0}
	for _, r := range benchReasons {
		b.ids = append(b.ids, l.Intern(r))
	}
}

func (b *bench) close() {
	if err := b.log.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// record takes an event of that time, with the places of its reasons in ids.
func (b *bench) record(at time.Time, reason, observed int) {
	e := query(0, "192.0.2.7", "www.example")
	e.Time, e.Reason, e.Observed = at.UnixNano(), b.ids[reason], b.ids[observed]
	if !b.log.Record(e) {
		b.t.Fatal("event not taken")
	}
}

func (b *bench) seal() {
	b.t.Helper()
	if err := b.w.seal(false); err != nil {
		b.t.Fatal(err)
	}
}

// recountAll does what Run does while no events come.
func (b *bench) recountAll() {
	b.w.roll(b.log.store.Load())
	for b.w.recounting() {
		b.w.recount()
	}
	if r := b.w.rollup.recount; r != nil { // nothing is left, only to be written
		if err := b.w.commitTo(b.log.store.Load(), nil); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) hits(since time.Time) map[ListRef]Hits {
	b.t.Helper()
	hits, err := b.log.Hits(since)
	if err != nil {
		b.t.Fatal(err)
	}
	return hits
}

// stoppedHits returns what a Reader of the stopped log says.
func stoppedHits(t rapid.TB, dir string, since time.Time) (kept, naive map[ListRef]Hits) {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if kept, err = r.Hits(since); err != nil {
		t.Fatal(err)
	}
	return kept, naiveHits(t, r, since)
}

// naiveHits counts what Search finds.
func naiveHits(t rapid.TB, r *Reader, since time.Time) map[ListRef]Hits {
	t.Helper()
	hits := make(map[ListRef]Hits)
	for _, rec := range search(t, r, Query{Kind: KindQuery, Since: since.UTC().Truncate(time.Hour)}) {
		if rec.List != "" {
			ref := ListRef{rec.Category, rec.List}
			hits[ref] = hits[ref].plus(Hits{Decided: 1})
		}
		if rec.Observed != nil && rec.Observed.List != "" {
			ref := ListRef{rec.Observed.Category, rec.Observed.List}
			hits[ref] = hits[ref].plus(Hits{Observed: 1})
		}
	}
	return hits
}

func same(t rapid.TB, what string, got, want map[ListRef]Hits) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

// rewriteHits changes the roll-up of a stopped store, as somebody with the disk would.
func rewriteHits(t rapid.TB, dir string, f func(tx *bbolt.Tx) error) {
	t.Helper()
	rewriteFile(t, storePath(t, dir), f)
}

func rewriteFile(t rapid.TB, path string, f func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func dropHits(tx *bbolt.Tx) error { return tx.DeleteBucket(newestHits(tx)) }

var (
	ads     = ListRef{"ads", "lists/ads.txt"}
	malware = ListRef{"malware", "lists/ads.txt"}
	odd     = ListRef{"", `lists/\027[2J.txt`}
)

func TestHitsAreCountedByListAndCategory(t *testing.T) {
	b := newBench(t, t.TempDir())
	same(t, "of an empty log", b.hits(b.now), map[ListRef]Hits{})
	b.record(b.now, 1, 0)
	b.record(b.now, 4, 2) // another policy's rule, the same list
	b.record(b.now, 1, 1) // decided and observed
	b.record(b.now, 3, 0)
	b.record(b.now, 5, 5)
	b.record(b.now, 6, 6)
	b.record(b.now, 0, 0)
	b.log.Record(&Event{Time: b.now.UnixNano(), Reason: 1000, Observed: 1001, EDE: -1}) // of no table
	same(t, "before the commit", b.hits(b.now), map[ListRef]Hits{})
	b.seal()
	want := map[ListRef]Hits{ads: {3, 1}, malware: {0, 1}, odd: {1, 0}}
	same(t, "after the commit", b.hits(b.now), want)
	same(t, "naive", naiveHits(t, b.log.Reader(), b.now), want)
}

// Every commit is whole: what a kill leaves counts exactly the records it leaves.
func TestHitsSurviveAKillAsSegmentsDo(t *testing.T) {
	b := newBench(t, t.TempDir())
	for i := range 5 {
		for j := range 10 * (i + 1) {
			b.record(b.now, 1+j%6, j%4)
		}
		b.seal()
		b.record(b.now, 1, 1) // never committed
		content, err := os.ReadFile(storePath(t, b.dir))
		if err != nil {
			t.Fatal(err)
		}
		left := copyStore(t, content, b.dir)
		kept, naive := stoppedHits(t, left, b.now)
		same(t, "in what is left", kept, naive)
		after := newBench(t, left)
		same(t, "after the restart", after.hits(b.now), naive)
		after.record(b.now, 1, 0)
		after.seal()
		naive[ads] = naive[ads].plus(Hits{Decided: 1})
		same(t, "going on", after.hits(b.now), naive)
	}
}

func TestHitsAreOfWholeHours(t *testing.T) {
	b := newBench(t, t.TempDir())
	noon := epoch
	b.now = noon.Add(time.Hour)
	b.record(noon.Add(-1), 1, 0)
	b.record(noon, 2, 0)
	b.record(noon.Add(time.Hour-1), 2, 0)
	b.record(noon.Add(time.Hour), 3, 0)
	b.seal() // one segment with three hours in it
	for since, want := range map[time.Time]map[ListRef]Hits{
		noon.Add(-time.Hour):    {ads: {1, 0}, malware: {2, 0}, odd: {1, 0}},
		noon.Add(-1):            {ads: {1, 0}, malware: {2, 0}, odd: {1, 0}},
		noon:                    {malware: {2, 0}, odd: {1, 0}},
		noon.Add(time.Hour - 1): {malware: {2, 0}, odd: {1, 0}},
		noon.Add(time.Hour):     {odd: {1, 0}},
		noon.Add(2 * time.Hour): {},
		{}:                      {ads: {1, 0}, malware: {2, 0}, odd: {1, 0}},
		time.Unix(-1<<60, 0):    {ads: {1, 0}, malware: {2, 0}, odd: {1, 0}},
		time.Unix(1<<60, 0):     {},
		noon.In(time.FixedZone("Nepal", 5*3600+45*60)): {malware: {2, 0}, odd: {1, 0}},
	} {
		same(t, since.String(), b.hits(since), want)
	}
}

// keptHours returns the hours in the store, relative to epoch's.
func (b *bench) keptHours() (hours []int64) {
	kept, err := b.log.store.Load().hits(0)
	if err != nil || kept.damage != nil {
		b.t.Fatal(err, kept.damage)
	}
	for _, h := range kept.hours {
		hours = append(hours, h.hour-hourOf(epoch.UnixNano()))
	}
	return hours
}

func TestOldHoursGoWhenANewOneBegins(t *testing.T) {
	b := newBench(t, t.TempDir())
	step := func(at time.Time, want ...int64) {
		t.Helper()
		b.now = at
		b.record(at, 1, 0)
		b.seal()
		if got := b.keptHours(); !cmp.Equal(got, want) {
			t.Fatalf("at %v the hours are %v, want %v", at, got, want)
		}
	}
	step(epoch, 0)
	step(epoch.Add(time.Hour), 0, 1)
	step(epoch.Add(8*24*time.Hour), 0, 1, 192)
	step(epoch.Add(8*24*time.Hour+time.Hour-1), 0, 1, 192)
	step(epoch.Add(8*24*time.Hour+time.Hour), 1, 192, 193)
	b.close()
	b.open()
	step(epoch.Add(20*24*time.Hour), 480)
	// A clock that was far ahead leaves nothing behind once it is set back.
	step(epoch.Add(1000*24*time.Hour), 24000)
	step(epoch.Add(20*24*time.Hour), 480)
	step(epoch.Add(21*24*time.Hour), 480, 504)
	b.now = epoch.Add(1000 * 24 * time.Hour)
	b.log.Change("the clock is ahead again")
	b.seal()
	step(epoch.Add(21*24*time.Hour), 504)
	same(t, "since the hours went", b.hits(time.Time{}), map[ListRef]Hits{ads: {1, 0}})
	// Events that are too old, or far ahead, are not counted.
	b.record(epoch, 1, 0)
	b.record(epoch.Add(365*24*time.Hour), 1, 0)
	step(b.now, 504)
}

func TestGapsHitNothing(t *testing.T) {
	b := newBench(t, t.TempDir())
	b.record(b.now, 1, 0)
	b.log.mu.Lock()
	for range 1000 {
		b.log.lose(b.now.UnixNano())
	}
	b.log.mu.Unlock()
	b.log.Change("reload")
	b.record(b.now, 1, 0)
	b.seal()
	if gaps := search(t, b.log.Reader(), Query{Kind: KindGap}); len(gaps) != 1 || gaps[0].Lost != 1000 {
		t.Fatalf("gaps: %+v", gaps)
	}
	same(t, "beside a gap", b.hits(b.now), map[ListRef]Hits{ads: {2, 0}})
}

// A commit that fails and is tried again counts once.
func TestAFailedCommitIsCountedOnce(t *testing.T) {
	b := newBench(t, t.TempDir())
	db := b.log.store.Load().newest().db
	failed := 0
	for i := range 400 {
		for j := range 50 {
			e := query(i, "192.0.2.7", fmt.Sprintf("host-%d-%d.example", i, j))
			e.Time, e.Reason = b.now.UnixNano(), b.ids[1+j%3]
			b.log.Record(e)
		}
		if db.MaxSize = 0; i%3 != 0 {
			db.MaxSize = 1
		}
		if err := b.w.seal(false); err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Fatal("no commit failed, which proves nothing")
	}
	db.MaxSize = 0
	b.seal()
	same(t, "in the end", b.hits(b.now), map[ListRef]Hits{ads: {400 * 17, 0}, malware: {400 * 17, 0}, odd: {400 * 16, 0}})
}

// So does one of which the disk said that it failed, though it did not.
func TestACommitThatOnlySeemedToFailIsCountedOnce(t *testing.T) {
	for _, first := range []bool{true, false} {
		b := newBench(t, t.TempDir())
		if !first {
			b.record(b.now, 1, 0)
			b.seal()
		}
		b.record(b.now.Add(-time.Hour), 2, 0)
		b.record(b.now, 1, 0)
		segments := closed(t, b.w)
		st := b.log.store.Load()
		u, err := b.w.roll(st).plan(segments, false)
		if err == nil {
			err = st.newest().append(segments, u)
		}
		if err != nil {
			t.Fatal(err)
		}
		b.seal()
		for range 2 {
			b.record(b.now, 2, 1)
			b.seal()
			b.now = b.now.Add(time.Hour)
		}
		b.recountAll()
		hits := b.hits(longAgo)
		same(t, "in the end", hits, naiveHits(t, b.log.Reader(), longAgo))
		if n := hits[malware].Decided; n != 3 {
			t.Errorf("%d events are there of 3", n)
		}
	}
}

func TestHitsBesideTheWriter(t *testing.T) {
	dir := t.TempDir()
	l, stop := start(t, Config{Dir: dir, Interval: time.Millisecond, Slabs: 4, SlabBytes: minSlabBytes})
	var ids []uint32
	for _, r := range benchReasons {
		ids = append(ids, l.Intern(r))
	}
	began := time.Now()
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			e := query(0, "192.0.2.7", "www.example")
			for i := range 5000 {
				e.Time, e.Reason, e.Observed = time.Now().UnixNano(), ids[(c+i)%len(ids)], ids[(c+i/7)%len(ids)]
				l.Record(e) // or it is lost
			}
		})
	}
	var seen Hits
	for l.Stats().Pending > 0 || seen.Decided == 0 {
		hits, err := l.Hits(began)
		if err != nil {
			t.Fatal(err)
		}
		if h := hits[ads]; h.Decided < seen.Decided || h.Observed < seen.Observed {
			t.Fatalf("hits fell from %v to %v", seen, h)
		}
		seen = hits[ads]
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Hits(began); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	kept, naive := stoppedHits(t, dir, began)
	same(t, "in the end", kept, naive)
	if kept[ads].Decided < seen.Decided {
		t.Errorf("%v in the end, %v before", kept[ads], seen)
	}
}

// Whatever happens to a log, the roll-up says what a count of its records says.
func TestHitsAgreeWithANaiveCount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		b := &bench{t: rt, dir: dir, now: epoch}
		b.open()
		defer func() { b.log.Close() }()
		since := func() time.Time {
			return b.now.Add(-time.Duration(rapid.IntRange(0, 24*daysKept).Draw(rt, "hours back")) * time.Hour)
		}
		reopen := func(meanwhile ...func()) {
			b.close()
			for _, f := range meanwhile {
				f()
			}
			b.open()
		}
		rt.Repeat(map[string]func(*rapid.T){
			"record": func(rt *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(rt, "events") {
					ago := time.Duration(rapid.Int64Range(-int64(time.Minute), int64(2*time.Hour)).Draw(rt, "ago"))
					b.record(b.now.Add(-ago), rapid.IntRange(0, 6).Draw(rt, "reason"), rapid.IntRange(0, 6).Draw(rt, "observed"))
				}
			},
			"seal": func(*rapid.T) { b.seal() },
			"lose": func(*rapid.T) {
				b.log.mu.Lock()
				b.log.lose(b.now.UnixNano())
				b.log.mu.Unlock()
			},
			"wait": func(rt *rapid.T) {
				b.now = b.now.Add(time.Duration(rapid.Int64Range(int64(time.Minute), int64(40*time.Hour)).Draw(rt, "time")))
			},
			"restart": func(*rapid.T) { reopen() },
			"forget":  func(*rapid.T) { reopen(func() { rewriteHits(rt, b.dir, dropIfThere) }) },
			"do not count": func(*rapid.T) { // as a version does that cannot
				if segments := closed(rt, b.w); len(segments) > 0 {
					if err := b.log.store.Load().append(segments, nil); err != nil {
						rt.Fatal(err)
					}
					b.log.sealer.committed()
					reopen()
				}
			},
			"recount a bit": func(*rapid.T) {
				b.w.roll(b.log.store.Load())
				if b.w.recounting() {
					if err := b.w.rollup.recount.step(b.log.store.Load(), b.log.unpacker); err != nil {
						rt.Fatal(err)
					}
				}
			},
			"compare": func(*rapid.T) {
				since := since()
				b.recountAll()
				same(rt, "running", b.hits(since), naiveHits(rt, b.log.Reader(), since))
			},
			"compare stopped": func(*rapid.T) {
				since := since()
				reopen(func() {
					kept, naive := stoppedHits(rt, b.dir, since)
					same(rt, "stopped", kept, naive)
				})
			},
			"compare early": func(*rapid.T) { // what is said to be exact is
				since := since()
				hits, err := b.log.Hits(since)
				switch {
				case err == nil:
					same(rt, "early", hits, naiveHits(rt, b.log.Reader(), since))
				case !errors.Is(err, ErrCounting):
					rt.Fatal(err)
				}
			},
		})
	})
}

func dropIfThere(tx *bbolt.Tx) error {
	if tx.Bucket(newestHits(tx)) == nil {
		return nil
	}
	return dropHits(tx)
}
