package audit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// afterPowerCut returns how many records of queries are in dir if only what is on
// disk counts, as far as a test can tell: the slabs do not.
func afterPowerCut(t testing.TB, dir string) int {
	t.Helper()
	to := left(t, dir, t.TempDir())
	if err := os.Remove(filepath.Join(to, slabsFile)); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	r, err := OpenReader(to)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return len(search(t, r, Query{Kind: KindQuery}))
}

// What was recorded before Settle is in the write-ahead file when it returns.
func TestSettleWaitsForTheDisk(t *testing.T) {
	l, stop := start(t, Config{BeforeAnswer: true, OnFull: Refuse, Interval: time.Hour, Block: time.Hour, Slabs: 4, SlabBytes: minSlabBytes})
	defer stop()
	for i := range 20 {
		l.Record(query(i, "192.0.2.7", "www.example"))
		if !l.Settle() {
			t.Fatal("a log that can write does not settle")
		}
		if n := afterPowerCut(t, l.cfg.Dir); n != i+1 {
			t.Fatalf("%d of %d records are on disk", n, i+1)
		}
	}
}

// Many who wait are let go together.
func TestSettleIsShared(t *testing.T) {
	l, stop := start(t, Config{BeforeAnswer: true, OnFull: Refuse, Interval: time.Hour, Block: time.Hour})
	defer stop()
	const callers, each = 64, 50
	var failed atomic.Int64
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			e := query(0, "192.0.2.7", fmt.Sprintf("caller-%d.example", c))
			for range each {
				if !l.Record(e) || !l.Settle() {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	batches := l.settling.begun.Load()
	if failed.Load() > 0 || batches > callers*each/4 {
		t.Fatalf("%d failed; %d commits for %d events of %d callers", failed.Load(), batches, callers*each, callers)
	}
	if n := afterPowerCut(t, l.cfg.Dir); n != callers*each {
		t.Fatalf("%d of %d records are on disk", n, callers*each)
	}
	t.Logf("%d commits for %d events", batches, callers*each)
}

// A disk that fails does what is configured, and it is over when it works again.
func TestSettleOnADiskThatFails(t *testing.T) {
	for _, onFull := range []OnFull{Serve, Refuse} {
		l, stop := start(t, Config{BeforeAnswer: true, OnFull: onFull, Interval: 20 * time.Millisecond, Block: time.Hour})
		l.Record(query(0, "192.0.2.7", "www.example"))
		if !l.Settle() {
			t.Fatal("a log that can write does not settle")
		}
		bad, err := os.Open(l.wal.file.Name()) // cannot be written to
		if err != nil {
			t.Fatal(err)
		}
		good := l.wal.file
		between := func(do func()) { // two steps of the writer
			done := make(chan struct{})
			l.asking <- func(*writer) {
				do()
				close(done)
			}
			<-done
		}
		swap := func(f *os.File) { between(func() { l.wal.file = f }) }
		swap(bad)
		l.Record(query(1, "192.0.2.7", "www.example"))
		if got := l.Settle(); got != (onFull == Serve) {
			t.Fatalf("on_full %d: settles %v on a disk that fails", onFull, got)
		}
		swap(good)
		for limit := time.Now().Add(time.Minute); l.failing.Load(); {
			if time.Now().After(limit) {
				t.Fatal("it does not recover")
			}
		}
		withheld := func() (n int) {
			for _, r := range search(t, l.Reader(), Query{Kind: KindChange}) {
				if r.Action == ActionWithheld && strings.HasPrefix(r.Text, "5 answers were withheld from ") {
					n++
				}
			}
			return n
		}
		if onFull == Refuse {
			between(func() { // else each may have a record of its own
				l.Withheld(2)
				l.Withheld(3)
			})
		}
		l.Record(query(2, "192.0.2.7", "www.example"))
		if !l.Settle() {
			t.Fatal("it does not settle again")
		}
		between(func() {}) // the step is over that tells readers of what is on disk
		if n := withheld(); n != map[OnFull]int{Serve: 0, Refuse: 1}[onFull] || l.Stats().Withheld != uint64(5*n) {
			t.Fatalf("on_full %d: %d records of answers that were withheld, %+v", onFull, n, l.Stats())
		}
		if n := afterPowerCut(t, l.cfg.Dir); n != 3 {
			t.Fatalf("%d of 3 records are on disk", n)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if l.Settle() != (onFull == Serve) {
			t.Errorf("on_full %d: a log that has ended settles", onFull)
		}
		bad.Close()
	}
}

// A disk that keeps the first answer waiting for a second keeps no other waiting,
// until it has written again.
func TestSettleOnADiskThatStalls(t *testing.T) {
	for _, onFull := range []OnFull{Serve, Refuse} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			l, err := Open(Config{Dir: dir, BeforeAnswer: true, OnFull: onFull, Block: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			settle := func(want bool, after time.Duration) {
				t.Helper()
				l.Record(query(0, "192.0.2.7", "www.example"))
				began := time.Now()
				if got := l.Settle(); got != want || time.Since(began) != after {
					t.Fatalf("on_full %d: settles %v after %v, want %v after %v", onFull, got, time.Since(began), want, after)
				}
			}
			settle(onFull == Serve, stallPatience) // nobody writes yet, as on a disk that hangs
			settle(onFull == Serve, 0)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- l.Run(ctx) }()
			time.Sleep(time.Second) // of the bubble's clock: the interval comes round
			synctest.Wait()
			settle(true, 0)
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		})
		if n := len(all(t, dir)); n != 3 {
			t.Errorf("%d records of 3", n)
		}
	}
}

// What answers wait for does not make others look at the open block, for that takes as
// long as the block is large.
func TestSettleMovesNobodyElse(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(Config{Dir: dir, BeforeAnswer: true, Block: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait() // the index's keeper has had its first look
		for range 3 {
			l.Record(query(0, "192.0.2.7", "www.example"))
			if !l.Settle() {
				t.Fatal("not settled")
			}
			synctest.Wait()
			l.sealer.mu.Lock()
			if l.sealer.shown != nil || l.sealer.builder.rows == 0 {
				t.Errorf("%d records, and somebody has looked at them: %v", l.sealer.builder.rows, l.sealer.shown != nil)
			}
			l.sealer.mu.Unlock()
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// BenchmarkSettle is what UDP sockets do: record a batch, then wait.
func BenchmarkSettle(b *testing.B) {
	for _, sockets := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("sockets=%d", sockets), func(b *testing.B) {
			l, stop := start(b, Config{BeforeAnswer: true, Interval: time.Second, Block: 10 * time.Second})
			events := traffic(l, 4096)
			b.ResetTimer()
			var wg sync.WaitGroup
			for range sockets {
				wg.Go(func() {
					for i := range b.N {
						for j := range 32 {
							l.Record(&events[(i*32+j)%len(events)])
						}
						if !l.Settle() {
							b.Error("not settled")
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			if err := stop(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N*sockets*32)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(l.Stats().Lost), "lost")
		})
	}
}
