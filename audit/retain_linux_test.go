package audit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a file took comes back to the disk, while somebody reads it or not.
func TestRetentionBySizeGivesRoomBack(t *testing.T) {
	d := startDays(t, Config{})
	for range 8 {
		d.record(2000)
		d.forward(aDay)
	}
	st := d.log.store.Load()
	if _, err := names(t, d.log.Reader(), Query{}); err != nil { // all have been opened
		t.Fatal(err)
	}
	before, allocated := st.size(), blocksOf(t, d.dir)
	d.log.cfg.KeepSize = before / 2
	largest := int64(0)
	for _, f := range st.all() {
		info, err := os.Stat(f.path)
		if err != nil {
			t.Fatal(err)
		}
		if f.bolt != st.newest() {
			largest = max(largest, info.Size())
		}
	}
	for range 2 { // what the first has to say begins a file
		if err := d.log.removeDue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if after := st.size(); after > before/2 || after <= before/2-2*largest { // no more goes than must
		t.Errorf("%d octets in %d files, of %d", after, len(st.all()), before)
	}
	if after := blocksOf(t, d.dir); after > allocated*6/10 {
		t.Errorf("%d octets of disk are taken, %d were", after, allocated)
	}
	if kept := keptByUse(t, d.dir); len(kept) > 0 {
		t.Errorf("%q", kept)
	}
	if r := d.report(); r.Problems != nil || r.Removed[0].Why != RemovedBySize {
		t.Errorf("%+v", r)
	}
	d.log.cfg.KeepSize = 1 // the newest stays all the same
	if err := d.log.removeDue(t.Context()); err != nil || len(st.all()) != 1 {
		t.Error(err, len(st.all()))
	}
}

// The index takes room too: as much more goes as it needs, and no more.
func TestRetentionBySizeCountsTheIndex(t *testing.T) {
	d := startDays(t, Config{})
	for range 5 {
		d.record(2000)
		d.forward(aDay)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	index := build(t, d.dir, runSizes{step: 16, records: 2000, segments: 64, width: 8, most: 2000}).Bytes
	d.start(Config{})
	for limit := time.Now().Add(10 * time.Second); d.log.index.room(0) == 0 && time.Now().Before(limit); {
		runtime.Gosched()
	}
	if got := d.log.index.room(0); got != index || index == 0 {
		t.Fatalf("%d octets of index, of %d", got, index)
	}
	st := d.log.store.Load()
	removes := func(keep int64, want int) {
		t.Helper()
		before := d.files()
		d.log.cfg.KeepSize = keep
		if err := d.log.removeDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		after := d.files()
		if n := slices.Index(before, after[0]); n != want { // the oldest go first
			t.Errorf("%d files are removed, want %d", n, want)
		}
	}
	behindFirst := func() int64 { return d.log.index.room(st.all()[1].first) }
	removes(st.size()+index, 0) // that is just enough
	removes(st.size()+behindFirst(), 1)
	// What goes of the index with a file counts as gone at once.
	first, err := os.Stat(st.all()[0].path)
	if err != nil {
		t.Fatal(err)
	}
	removes(st.size()-first.Size()+behindFirst(), 1)
}

// blocksOf returns how many octets of disk the store's files take.
func blocksOf(t testing.TB, dir string) (n int64) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		n += info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	return n
}

// keptByUse returns what this process still has open, or mapped, of files in dir that were
// removed: the disk gets their room back only when nobody has.
func keptByUse(t testing.TB, dir string) (found []string) {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			found = append(found, to)
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	found = append(found, strings.Split(string(maps), "\n")...)
	return slices.DeleteFunc(found, func(s string) bool { return !strings.Contains(s, dir) || !strings.Contains(s, "(deleted)") })
}

// BenchmarkRecordBesideRetention measures how long Record takes while retention removes a
// file of so many MiB as WEIR_AUDIT_REMOVE says, 256 if nothing does, and while it does not.
func BenchmarkRecordBesideRetention(b *testing.B) {
	size := 256
	if text := os.Getenv("WEIR_AUDIT_REMOVE"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	var quiet, busy, removing []time.Duration
	for b.Loop() {
		d := startDays(b, Config{Slabs: 256})
		for range 2 {
			d.record(100)
			d.forward(aDay)
		}
		f, err := os.OpenFile(filepath.Join(d.dir, d.files()[0]), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			b.Fatal(err)
		}
		for range size {
			if _, err := f.Write(bytes.Repeat([]byte{1}, 1<<20)); err != nil {
				b.Fatal(err)
			}
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			b.Fatal(err)
		}
		d.log.cfg.Keep = aDay + 12*time.Hour
		e := query(0, "192.0.2.7", "www.example")
		e.Time = d.clock().UnixNano()
		took := func(until func() bool) (all []time.Duration) {
			for !until() {
				began := time.Now()
				d.log.Record(e)
				all = append(all, time.Since(began))
				for time.Since(began) < 5*time.Microsecond { // a server's pace, so that the disk keeps up
				}
			}
			return all
		}
		end := time.Now().Add(100 * time.Millisecond)
		quiet = append(quiet, took(func() bool { return time.Now().After(end) })...)
		done := make(chan error, 1)
		began := time.Now()
		go func() { done <- d.log.removeDue(context.Background()) }()
		busy = append(busy, took(func() bool { return len(done) > 0 })...)
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		removing = append(removing, time.Since(began))
		if err := d.stop(); err != nil {
			b.Fatal(err)
		}
	}
	for name, all := range map[string][]time.Duration{"quiet": quiet, "removing": busy} {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds()), name+"-p99-ns")
		b.ReportMetric(float64(all[len(all)/2].Nanoseconds()), name+"-p50-ns")
	}
	slices.Sort(removing)
	b.ReportMetric(float64(removing[len(removing)/2].Milliseconds()), "ms/removal")
}
