package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("WEIR_AUDIT_VICTIM"); dir != "" { // see TestKilledAtAnyInstant
		victim(dir, os.Getenv("WEIR_AUDIT_ROUND"))
	}
	goleak.VerifyTestMain(m)
}

// start opens a log with that configuration, of which each commit makes a segment
// unless it says otherwise, and runs it. stop ends it and returns what Run returned; it is called at the test's end if not before.
func start(t testing.TB, cfg Config) (l *Log, stop func() error) {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Block == 0 {
		cfg.Block = -1
	}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { stop() })
	return l, stop
}

// closed takes what the log holds and closes the block with it, which is not
// committed yet.
func closed(t rapid.TB, w *writer) []sealed {
	t.Helper()
	w.take(false)
	if err := w.write(); err != nil {
		t.Fatal(err)
	}
	w.log.sealer.close()
	return w.log.sealer.closed
}

// inMemory makes slabs of events that appendEvent has laid out.
func inMemory(events ...[]byte) (out []slab) {
	for i, b := range events {
		out = append(out, slab{number: uint32(i), generation: 1, b: b})
	}
	return out
}

// seal makes segments of one batch.
func (s *sealer) seal(b batch, reasons []Reason, labels []string) []sealed {
	s.sort(&b)
	s.add(&b, 0, reasons, labels)
	s.close()
	out := s.closed
	s.committed()
	return out
}

// wire returns the wire form of a name of plain labels.
func wire(name string) []byte {
	var b []byte
	for len(name) > 0 {
		n := 0
		for n < len(name) && name[n] != '.' {
			n++
		}
		b = append(append(b, byte(n)), name[:n]...)
		name = name[min(n+1, len(name)):]
	}
	return append(b, 0)
}

var epoch = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// query is an event i milliseconds after epoch.
func query(i int, client, name string) *Event {
	return &Event{
		Time: epoch.Add(time.Duration(i) * time.Millisecond).UnixNano(), Client: netip.MustParseAddr(client),
		Transport: UDP, Name: wire(name), Type: 1, Class: 1, Source: SourceCache, EDE: -1, Duration: 4200, Revision: 3,
	}
}

// all returns the records of a stopped store, oldest first, after proving it.
func all(t testing.TB, dir string) []*Record {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := r.Verify(context.Background(), Verification{}, nil)
	if err != nil || report.Problems != nil {
		t.Fatalf("Verify: %v %q", err, report.Problems)
	}
	records := search(t, r, Query{Oldest: true})
	if uint64(len(records)) != report.Records {
		t.Fatalf("found %d records, Verify counted %d", len(records), report.Records)
	}
	return records
}

func search(t rapid.TB, r *Reader, q Query) (records []*Record) {
	t.Helper()
	err := r.Search(context.Background(), q, func(rec *Record) error {
		records = append(records, rec)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// proveComplete checks the law of the log: every event is in the store or in a
// recorded gap, and sequence numbers have no holes.
func proveComplete(t testing.TB, records []*Record, recorded, lost uint64) {
	t.Helper()
	var events, gaps uint64
	for i, r := range records {
		if want := records[0].Seq + uint64(i); r.Seq != want {
			t.Fatalf("record %d has sequence number %d", want, r.Seq)
		}
		if r.Kind == "gap" {
			gaps += r.Lost
		} else {
			events++
		}
	}
	if events != recorded || gaps != lost {
		t.Fatalf("store holds %d events and gaps of %d, want %d and %d", events, gaps, recorded, lost)
	}
}

func TestNothingIsLostSilentlyUnderLoad(t *testing.T) {
	for _, small := range []bool{false, true} {
		t.Run(fmt.Sprintf("small=%v", small), func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), Interval: 20 * time.Millisecond}
			if small {
				cfg.Slabs, cfg.SlabBytes = 4, 1
			}
			l, stop := start(t, cfg)
			const callers, each = 8, 5000
			var taken, refused atomic.Uint64
			var wg sync.WaitGroup
			for c := range callers {
				wg.Go(func() {
					e := query(0, "192.0.2.7", fmt.Sprintf("host-%d.example", c))
					for i := range each {
						e.Time = epoch.UnixNano() + int64(i)
						if l.Record(e) {
							taken.Add(1)
						} else {
							refused.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			s := l.Stats()
			if s.Recorded != taken.Load() || s.Lost != refused.Load() || s.Recorded+s.Lost != callers*each {
				t.Fatalf("Stats says %d and %d, callers saw %d and %d of %d",
					s.Recorded, s.Lost, taken.Load(), refused.Load(), callers*each)
			}
			if s.Pending != 0 {
				t.Fatalf("%d pending after the end", s.Pending)
			}
			if small && s.Lost == 0 {
				t.Error("slabs too small lost nothing: this test shows nothing")
			}
			proveComplete(t, all(t, cfg.Dir), s.Recorded, s.Lost)
			if l.Record(query(0, "192.0.2.7", "late.example")) {
				t.Error("an ended log took an event")
			}
		})
	}
}

func TestSealedWithinTheInterval(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, stop := start(t, Config{Dir: dir})
		for i, pause := range []time.Duration{0, time.Hour, 10 * time.Millisecond, 300 * time.Millisecond} {
			time.Sleep(pause) // of the bubble's clock
			l.Record(query(i, "192.0.2.7", "www.example"))
			time.Sleep(100 * time.Millisecond)
			l.Record(query(i, "192.0.2.7", "www.example"))
			if s := l.Stats(); s.Pending != 2 {
				t.Fatalf("round %d: %d pending after 100ms, want 2: sealed too early", i, s.Pending)
			}
			time.Sleep(100 * time.Millisecond) // makes 200ms
			synctest.Wait()
			if s := l.Stats(); s.Pending != 0 || s.LastSeq != uint64(2*i+2) {
				t.Fatalf("round %d: %d pending 200ms after the first event", i, s.Pending)
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAnEmptyLogWritesNothing(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, stop := start(t, Config{Dir: dir})
		time.Sleep(time.Hour)
		if err := stop(); err != nil || l.Stats().Segments != 0 {
			t.Fatalf("%v, %d segments", err, l.Stats().Segments)
		}
	})
}

// limitSize makes bbolt refuse to grow its file, as on a full disk, or lets it
// grow again. A write transaction keeps the log's writer out meanwhile.
func limitSize(t *testing.T, db *bbolt.DB, size int) {
	t.Helper()
	tx, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	db.MaxSize = size
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
}

func TestCommitFailureRecoversAndRecordsTheGap(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, stop := start(t, Config{Dir: dir, OnFull: Refuse, Slabs: 4, SlabBytes: minSlabBytes})
		db := l.store.Load().newest().db
		synctest.Wait()
		limitSize(t, db, 1)
		var taken, refused uint64
		for i := 0; refused < 100; i++ {
			if l.Record(query(i, "192.0.2.7", fmt.Sprintf("host-%d.example", i))) {
				taken++
			} else {
				refused++
			}
			if i%50 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
			if i > 1e6 {
				t.Fatal("the slabs never fill")
			}
		}
		s := l.Stats()
		if !l.Refusing() || !s.Refusing || s.LastError == "" || s.Pending == 0 || s.Recorded != taken {
			t.Fatalf("while failing: refusing %v, %+v", l.Refusing(), s)
		}
		limitSize(t, db, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		s = l.Stats()
		if l.Refusing() || s.LastError != "" || s.Pending != 0 {
			t.Fatalf("after it: refusing %v, %+v", l.Refusing(), s)
		}
		if !l.Record(query(0, "192.0.2.7", "again.example")) {
			t.Fatal("an event was refused after recovery")
		}
		taken++
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		records := all(t, dir)
		proveComplete(t, records, taken, refused)
		for _, r := range records {
			if r.Kind == "gap" && (r.Cause != "disk" || r.From.Before(epoch) || r.To.Before(r.From)) {
				t.Errorf("gap of cause %q from %v to %v", r.Cause, r.From, r.To)
			}
		}
	})
}

func TestAFailingEndCountsWhatIsLost(t *testing.T) {
	l, stop := start(t, Config{Interval: time.Hour})
	const events = 20000
	for i := range events { // more than the new file's free pages hold
		l.Record(query(i, "192.0.2.7", fmt.Sprintf("%x.example", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))[:60]))
	}
	limitSize(t, l.store.Load().newest().db, 1)
	if err := stop(); err == nil {
		t.Fatal("Run hid that events did not come into the store")
	}
	if s := l.Stats(); s.Recorded != events || s.Lost != 0 || s.Pending != 0 {
		t.Fatalf("they were written ahead: %+v", s)
	}
	if n := len(all(t, l.cfg.Dir)); n != events {
		t.Fatalf("%d records can be read, want %d", n, events)
	}
	_, stop = start(t, Config{Dir: l.cfg.Dir}) // with room again
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	records := all(t, l.cfg.Dir)
	if last := records[len(records)-1]; len(records) != events+1 || last.Action != ActionStore {
		t.Errorf("%d records, the last is %+v", len(records), last)
	}
}

// What is taken but cannot be written at the end is left to the next start, or counted
// as lost where it cannot be.
func TestAnEndWithoutAWriteAheadFile(t *testing.T) {
	l, stop := start(t, Config{Interval: time.Hour})
	const events = 100
	for i := range events {
		l.Record(query(i, "192.0.2.7", "www.example"))
	}
	l.Change(strings.Repeat("x", maxText)) // in no slab
	l.wal.file.Close()
	kept := l.mapping.holds()
	if err := stop(); err == nil {
		t.Fatal("Run hid that events were not written")
	}
	s := l.Stats()
	if !kept {
		if s.Recorded != 0 || s.Lost != events+1 || s.Pending != 0 {
			t.Fatalf("%+v", s)
		}
		return
	}
	if s.Recorded != events || s.Lost != 1 || s.Pending != events {
		t.Fatalf("%+v", s)
	}
	next, stop := start(t, Config{Dir: l.cfg.Dir})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	proveComplete(t, all(t, next.cfg.Dir), events+1, 1) // and that the run had not ended
}

func TestRecordAllocatesNothing(t *testing.T) {
	l, stop := start(t, Config{Interval: time.Hour, Slabs: 64})
	defer stop()
	e := query(0, "2001:db8::7", "www.shop.example")
	e.Aliases = [][]byte{wire("cdn.example"), wire("edge.cdn.example")}
	e.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	e.Group = l.Label("guests")
	if n := testing.AllocsPerRun(10000, func() { l.Record(e) }); n != 0 {
		t.Fatalf("%v allocations per event, want 0", n)
	}
}

func TestOrderIsByTimeWithinASegment(t *testing.T) {
	dir := t.TempDir()
	l, stop := start(t, Config{Dir: dir, Interval: time.Hour})
	for _, i := range []int{5, 1, 4, 2, 3} {
		l.Record(query(i, "192.0.2.7", "www.example"))
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for i, r := range all(t, dir) {
		if want := epoch.Add(time.Duration(i+1) * time.Millisecond); !r.Time.Equal(want) {
			t.Errorf("record %d is of %v, want %v", i, r.Time, want)
		}
	}
}

func TestAClockStepIsRecordedAndBreaksNoOrder(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Int64
		now.Store(epoch.UnixNano())
		l, stop := start(t, Config{Dir: dir, Now: func() time.Time { return time.Unix(0, now.Load()) }})
		for _, at := range []int{1000, -1000} {
			l.Record(query(at, "192.0.2.7", "www.example"))
			time.Sleep(time.Second)
			synctest.Wait()
			now.Add(-int64(time.Hour))
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
	records := all(t, dir)
	proveComplete(t, records, 2, 0)
	if r := records[1]; r.Kind != "gap" || r.Cause != "clock" || r.Lost != 0 || !r.From.Equal(epoch) || !r.To.Equal(epoch.Add(-time.Hour)) {
		t.Errorf("no record of the clock's step: %+v", r)
	}
	if r := records[2]; !r.Time.Equal(epoch.Add(-time.Second)) {
		t.Errorf("the event's own time became %v", r.Time)
	}
}

func TestSequenceGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		l, stop := start(t, Config{Dir: dir})
		l.Change("start")
		l.Record(query(i, "192.0.2.7", "www.example"))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	records := all(t, dir)
	proveComplete(t, records, 6, 0)
	if records[0].Seq != 1 {
		t.Errorf("the first record has number %d", records[0].Seq)
	}
}

func TestASecondProcessIsToldSo(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrLocked) {
			t.Errorf("Open: %v", err)
		}
		if _, err := OpenReader(dir); !errors.Is(err, ErrLocked) {
			t.Errorf("OpenReader: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestIncompleteCreationIsMadeAgain(t *testing.T) {
	for _, left := range []string{"", "torn"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName(1, Day, epoch.UnixNano())+newSuffix), []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		all(t, dir)
	}
}

func TestInternIsStable(t *testing.T) {
	l, stop := start(t, Config{})
	defer stop()
	a, b := Reason{Policy: "staff", Rule: "1"}, Reason{Policy: "staff", Rule: "default"}
	na, nb := l.Intern(a), l.Intern(b)
	x, y, again := l.Label("x"), l.Label("y"), l.Label("x")
	if na == 0 || nb == 0 || na == nb || l.Intern(a) != na || x != again || x == y {
		t.Error("numbers are not those of equal reasons")
	}
}

func TestSlabsHoldAnyEvent(t *testing.T) {
	long := make([]byte, 300)
	e := &Event{Client: netip.MustParseAddr("2001:db8::1"), Name: long, EDE: -1}
	for range 40 {
		e.Aliases = append(e.Aliases, long)
		e.Addrs = append(e.Addrs, e.Client)
	}
	n := slabSize(e)
	if n != maxEvent || n > minSlabBytes {
		t.Fatalf("slabSize %d, maxEvent %d, smallest slab %d", n, maxEvent, minSlabBytes)
	}
	b := appendEvent(make([]byte, 0, n), e)
	if len(b) != n || int(binary.LittleEndian.Uint32(b)) != n {
		t.Fatalf("appended %d, promised %d", len(b), n)
	}
	var got Event
	if readEvent(&got, b) != n || len(got.Name) != maxName || len(got.Aliases) != MaxAnswers || len(got.Addrs) != MaxAnswers {
		t.Errorf("read back %+v", got)
	}
}
