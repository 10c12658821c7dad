//go:build realtools

package integration

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/audit"
)

// reading starts a verb that reads the audit log of w. Its output goes to nowhere.
func (w *weir) reading(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary, append(args, "--config", "config.toml")...)
	cmd.Dir = w.dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func killed(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
}

// exports exports all records again and again until end is called.
func (w *weir) exports(t *testing.T) (end func()) {
	var mu sync.Mutex
	ended, cmd, out := false, (*exec.Cmd)(nil), filepath.Join(t.TempDir(), "records")
	done := make(chan struct{})
	begin := func() bool {
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			cmd = w.reading(t, "audit", "export", "--force", "--format", "jsonl", "-o", out)
		}
		return !ended
	}
	begin()
	go func() {
		defer close(done)
		for {
			_ = cmd.Wait() // the last one is killed
			if !begin() {
				return
			}
		}
	}()
	return func() {
		mu.Lock()
		ended = true
		_ = cmd.Process.Kill()
		mu.Unlock()
		<-done
	}
}

// stopped starts readers and stops them (SIGSTOP) while they read; end kills them.
func (w *weir) stopped(t *testing.T) (end func()) {
	t.Helper()
	var all []*exec.Cmd
	for range 3 {
		all = append(all, w.reading(t, "audit", "tail", "--json", "--from", "1"),
			w.reading(t, "audit", "export", "--format", "jsonl", "-o", filepath.Join(t.TempDir(), "records")))
	}
	before := w.status(t).Audit.Changes
	for limit := time.Now().Add(patience); w.status(t).Audit.Changes == before; { // that somebody reads is recorded
		if time.Now().After(limit) {
			t.Fatal("nobody reads")
		}
	}
	for _, cmd := range all {
		if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	c := startPaced(t, w.addrs[0], 1000, labQueries()) // until the server has filled what their sockets hold
	c.more(t, 200)
	c.finish(t)
	return func() {
		for _, cmd := range all {
			killed(cmd)
		}
	}
}

// oldDays writes the store of days that are long over, each held by the hold of its number.
func oldDays(t *testing.T, dir string, days, records int) {
	t.Helper()
	var at atomic.Int64
	now := func() time.Time { return time.Unix(0, at.Load()) }
	noon := time.Now().Add(-500 * 24 * time.Hour).Truncate(24 * time.Hour).Add(12 * time.Hour)
	at.Store(noon.UnixNano())
	l, err := audit.Open(audit.Config{Dir: filepath.Join(dir, "audit"), Slabs: 512, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	e := audit.Event{Transport: audit.UDP, Type: 1, Class: 1, Source: audit.SourceUpstream, EDE: -1, Duration: 12_000_000, Revision: 1, Client: netip.MustParseAddr("192.0.2.7")}
	for day := range days {
		begin := noon.AddDate(0, 0, day)
		at.Store(begin.UnixNano())
		for i := range records {
			e.Name = fmt.Appendf(e.Name[:0], "\x0fhost-%010d\x0csome-service\x07example\x00", i)
			e.Time = begin.Add(time.Duration(i) * time.Millisecond).UnixNano()
			for !l.Record(&e) {
				if err := l.Flush(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := l.Sign(ctx); err != nil { // all is in the day's file
			t.Fatal(err)
		}
		if _, err := l.AddHold(audit.Hold{From: begin.Truncate(24 * time.Hour), To: begin.AddDate(0, 0, 1).Truncate(24 * time.Hour), Reason: "not yet", By: "the test"}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// deletes has retention delete the oldest day, by ending its hold; end waits until it is gone.
func (w *weir) deletes(t *testing.T) (end func()) {
	t.Helper()
	days := func() []string {
		files, err := filepath.Glob(filepath.Join(w.dir, "audit", "audit-*.db"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	before := days()
	holds := strings.Fields(w.run(t, "audit", "hold", "list"))
	cmd := w.reading(t, "audit", "hold", "remove", holds[0], "--reason", "now", "--by", "the test")
	return func() {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		for limit := time.Now().Add(patience); slices.Contains(days(), before[0]); {
			if time.Now().After(limit) {
				t.Fatalf("%s is still there", before[0])
			}
		}
	}
}

// disturbances are what may go on beside queries without their being slower: each begins
// something that goes on until what it returns is called.
var disturbances = []struct {
	name   string
	rounds int
	begin  func(w *weir, t *testing.T) (end func())
}{
	{"an export of everything", 15, (*weir).exports},
	{"readers that are stopped", oldDaysDeleted, (*weir).stopped},
	{"retention that deletes a day", oldDaysDeleted, (*weir).deletes},
}

// oldDaysDeleted is how often retention has a day to delete.
const oldDaysDeleted = 3

// TestRealReadersDisturbNoQuery holds that the slowest hundredth of answers is not kept
// waiting by those who read the audit log, in windows with and without them by turns, and
// that readers that are stopped cost the server no memory.
func TestRealReadersDisturbNoQuery(t *testing.T) {
	needTools(t)
	const records, each, dayRecords = 100_000, 200, 100_000
	dir := t.TempDir()
	oldDays(t, dir, oldDaysDeleted+1, dayRecords) // the last is not deleted: it is the newest when retention learns of it
	w := startWeir(t, dir, idleConfig)
	file := writeLines(t, filepath.Join(t.TempDir(), "queries"), 1000, func(i int) string { return fmt.Sprintf("h%d.host.lab.example A", i) })
	fill := func(n int) {
		if r := runDNSPerf(t, w.addrs[0], file, "-n", fmt.Sprint(n/1000), "-c", "4", "-q", "200"); r.lost > 0 {
			t.Fatalf("%+v", r)
		}
		w.settled(t)
	}
	fill(records)
	p99 := func() float64 {
		_, _, p99, _ := percentiles(askSteadily(t, w.addrs[0], 1000, each, labQueries()))
		return float64(p99) / float64(time.Millisecond)
	}
	p99() // not counted
	for _, d := range disturbances {
		var without, with, ratios []float64
		for range d.rounds {
			a := p99()
			end := d.begin(w, t)
			b := p99()
			end()
			without, with, ratios = append(without, a), append(with, b), append(ratios, b/a)
		}
		t.Logf("99 in 100 answers within %.2f ms, beside %s within %.2f ms (medians of %d), the median of the ratios %.2f",
			median(without), d.name, median(with), d.rounds, median(ratios))
		// They share the cores, which costs a time slice. One that waits for a reader waits for ever, or for a commit.
		if median(with) > 2*median(without)+5 {
			t.Errorf("beside %s answers take %.2f ms", d.name, median(with))
		}
	}

	before := w.status(t)
	end := w.stopped(t)
	fill(records / 3) // of which the readers see none
	st, m := w.status(t), memoryOf(t, w.cmd.Process.Pid)
	t.Logf("six readers stopped while %d records came: %d KiB in use, %d before; %d MiB resident at most", records/3, st.Process.Heap>>10, before.Process.Heap>>10, m.peak>>20)
	if st.Process.Heap > before.Process.Heap+32<<20 {
		t.Errorf("memory grows: %+v", st.Process)
	}
	end()
	for limit := time.Now().Add(patience); w.status(t).Process.Goroutines > before.Process.Goroutines+2; {
		if time.Now().After(limit) {
			t.Fatalf("those who left are still served: %+v", w.status(t).Process)
		}
	}
	w.stop(t)
}
