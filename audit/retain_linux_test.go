package audit

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// What a file took comes back to the disk, while somebody reads it or not.
func TestRetentionBySizeGivesRoomBack(t *testing.T) {
	d := startDays(t, Config{})
	for range 4 {
		d.record(2000)
		d.forward(aDay)
	}
	st := d.log.store.Load()
	if _, err := names(t, d.log.Reader(), Query{}); err != nil { // all have been opened
		t.Fatal(err)
	}
	before, allocated := st.size(), blocksOf(t, d.dir)
	d.log.cfg.KeepSize = before / 2
	for range 2 { // what the first has to say begins a file
		if err := d.log.removeDue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if after := st.size(); after > before/2 || len(st.all()) < 2 {
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
