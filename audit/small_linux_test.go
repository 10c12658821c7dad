package audit

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// incompressible is query for the i-th of names that take their room on disk.
func incompressible(i int) *Event {
	return query(i, "192.0.2.7", fmt.Sprintf("%x.example", sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)}))[:60])
}

// leave makes all of a disk full but for so many octets.
func leave(t *testing.T, dir string, octets int64) {
	t.Helper()
	f := filepath.Join(dir, "filler")
	fillDisk(t, dir)
	info, err := os.Stat(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(f, info.Size()-octets); err != nil {
		t.Fatal(err)
	}
}

// TestADiskThatIsSmall: where there is no room for all slabs there are fewer, and where
// there is room for none, the number of events that a kill costs outlives it.
func TestADiskThatIsSmall(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	for _, c := range []struct {
		name, size string
		left       int64 // beside the store, 0 is all of it
		kib        int   // of slabs, at least; -1: there are counters only; -2: nothing
		memory     bool  // there is room in memory
	}{
		{"much", "300m", 0, 32 << 10, false},
		{"fewer", "24m", 0, 2 << 10, false},
		{"smallest", "3m", 300 << 10, 64, false},
		{"counters", "3m", 24 << 10, -1, false},
		{"nothing", "3m", 0, -2, false},
		{"memory", "3m", 24 << 10, 32 << 10, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := smallDisk(t, c.size)
			cfg := Config{Dir: filepath.Join(dir, "audit"), Interval: time.Hour}
			l, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if c.left > 0 {
				leave(t, dir, c.left)
			} else if c.kib < 0 {
				fillDisk(t, dir)
			}
			if c.memory {
				cfg.Memory = smallDisk(t, "40m")
			}
			if l, err = Open(cfg); err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			kib := -2
			if l.mapping != nil {
				if kib = l.mapping.slabs * l.mapping.size >> 10; kib == 0 {
					kib = -1
				}
			}
			if kib < c.kib || c.kib < 0 && kib != c.kib {
				t.Fatalf("%d KiB of slabs, want %d", kib, c.kib)
			}
			if exposed := l.Stats().Exposed; exposed == "" != (c.kib > 0) || strings.Contains(exposed, "nor would") != (c.kib == -2) {
				t.Errorf("it says %q", exposed)
			}
			const events = 500
			for i := range events {
				if !l.Record(query(i, "192.0.2.7", "www.example")) {
					t.Fatalf("event %d is not taken", i)
				}
			}
			l.RecordChange(Change{Text: "reload"})
			to := left(t, cfg.Dir, t.TempDir()) // it is killed
			_, stop := start(t, Config{Dir: to})
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			var got, lost, unknown uint64
			for _, r := range all(t, to) {
				switch {
				case r.Kind == "gap" && r.Cause == "crash" && r.Lost == 0:
					unknown++
				case r.Kind == "gap" && r.Cause == "crash":
					lost += r.Lost
				case r.Kind == "query", r.Text == "reload":
					got++
				}
			}
			want := [3]uint64{events + 1, 0, 0}
			if c.kib == -1 {
				want = [3]uint64{0, events + 1, 0}
			} else if c.kib == -2 {
				want = [3]uint64{0, 0, 1}
			}
			if have := [3]uint64{got, lost, unknown}; have != want {
				t.Errorf("recorded, lost and uncounted gaps: %v, want %v", have, want)
			}
		})
	}
}

// TestCountersAgreeWithFrames: what was written before a kill is not in its gap, with
// slabs in plain memory and counters in a file.
func TestCountersAgreeWithFrames(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := smallDisk(t, "3m")
	cfg := Config{Dir: filepath.Join(dir, "audit"), Block: time.Hour}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	leave(t, dir, 24<<10)
	if l, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := &writer{log: l, seen: time.Now()}
	for round := range 4 {
		for i := range 10 {
			l.Record(query(i, "192.0.2.7", "www.example"))
		}
		l.Change(strings.Repeat("x", maxText/64))
		if round == 3 {
			break
		}
		if err := w.step(false); err != nil {
			t.Fatal(err)
		}
	}
	to := left(t, cfg.Dir, t.TempDir())
	_, stop := start(t, Config{Dir: to})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	proveComplete(t, all(t, to), 3*11+1, 11)
}

// TestALeftoverOnAFullDisk: a log starts though the store has no room for what a run
// before has left. It keeps that, lets it be read, does as configured, and takes it over
// when there is room, or the next one does.
func TestALeftoverOnAFullDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	const before, after = 6_000, 300
	for _, c := range []struct {
		name    string
		onFull  OnFull
		reboot  bool // nothing but what is on disk is left
		again   bool // it is killed while it waits
		answers bool // commit before-answer
	}{
		{"serve", Serve, false, false, false},
		{"refuse", Refuse, false, false, false},
		{"serve before-answer", Serve, false, false, true},
		{"refuse before-answer", Refuse, false, false, true},
		{"serve, killed again", Serve, false, true, false},
		{"refuse, killed again", Refuse, false, true, false},
		{"serve after a power cut", Serve, true, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, err := Open(Config{Dir: t.TempDir(), Block: time.Hour, Slabs: 16, SlabBytes: 256 << 10})
			if err != nil {
				t.Fatal(err)
			}
			defer first.Close()
			w := &writer{log: first, seen: time.Now()}
			for i := range before {
				e := incompressible(i)
				e.Reason = first.Intern(Reason{Policy: fmt.Sprint("policy-", i%3)})
				first.Record(e)
				if i == before/2 {
					if err := w.step(false); err != nil {
						t.Fatal(err)
					}
				}
			}
			dir := smallDisk(t, "30m")
			audit := filepath.Join(dir, "audit")
			if err := os.Mkdir(audit, 0o700); err != nil {
				t.Fatal(err)
			}
			left(t, first.cfg.Dir, audit)
			taken := before
			if c.reboot {
				taken = before/2 + 1
				if err := os.Remove(filepath.Join(audit, slabsFile)); err != nil {
					t.Fatal(err)
				}
			}
			clear := fillDisk(t, dir)
			l, stop := start(t, Config{Dir: audit, OnFull: c.onFull, BeforeAnswer: c.answers, Interval: 5 * time.Millisecond})
			if s := l.Stats(); !strings.Contains(s.LastError, "no space left") || s.Refusing != (c.onFull == Refuse) {
				t.Fatalf("%+v", s)
			}
			for i := range after {
				ok := l.Record(query(i, "192.0.2.8", "later.example"))
				if ok != (c.onFull == Serve) || l.Settle() != (!c.answers || c.onFull == Serve) {
					t.Fatalf("event %d of a log that cannot write: taken %v", i, ok)
				}
			}
			l.RecordChange(Change{Text: "reload"})
			if n := len(search(t, l.Reader(), Query{Kind: KindQuery})); n != taken {
				t.Fatalf("%d records can be read meanwhile, of %d", n, taken)
			}
			if c.again {
				to := left(t, audit, t.TempDir())
				clear()
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				audit = to
				l, stop = start(t, Config{Dir: audit})
			} else {
				clear()
			}
			for limit := time.Now().Add(time.Minute); l.Stats().LastError != "" || l.Stats().Pending > 0; {
				if time.Now().After(limit) {
					t.Fatalf("it does not recover: %+v", l.Stats())
				}
			}
			if !l.Record(query(0, "192.0.2.8", "later.example")) || l.Stats().Refusing {
				t.Fatal("it refuses after it recovered")
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if s := l.Stats(); s.Exposed != "" {
				t.Errorf("it says %q", s.Exposed)
			}
			records := all(t, audit)
			proved := map[string]int{}
			for i, r := range records {
				if r.Seq != records[0].Seq+uint64(i) {
					t.Fatalf("record %d has number %d", records[0].Seq+uint64(i), r.Seq)
				}
				switch {
				case r.Kind == "gap":
					proved[r.Cause] += int(r.Lost)
				case r.Kind == "query":
					proved[r.Client.String()]++
					if r.Client.String() == "192.0.2.7" && !strings.HasPrefix(r.Policy, "policy-") {
						t.Fatalf("record %d has lost its reason: %+v", r.Seq, r)
					}
				case r.Text == "reload":
					proved["changes"]++
				}
			}
			want := map[string]int{"192.0.2.7": taken, "192.0.2.8": 1, "changes": 1}
			switch {
			case c.onFull == Serve:
				want["192.0.2.8"] += after
			case c.again:
				want["crash"], want["changes"] = after+1, 0 // the change was in no slab
			default:
				want["disk"] = after
			}
			keys := []string{"192.0.2.7", "192.0.2.8", "changes", "disk", "overload", "crash"}
			if slices.ContainsFunc(keys, func(k string) bool { return proved[k] != want[k] }) {
				t.Errorf("on record: %v, want %v", proved, want)
			}
			if report := verified(t, audit); report.Problems != nil {
				t.Errorf("%q", report.Problems)
			}
		})
	}
}

// TestADiskThatIsReadOnly: a log starts on one, or where no store can be made, and
// writes what it took when it can.
func TestADiskThatIsReadOnly(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	for _, c := range []struct {
		name   string
		onFull OnFull
		store  bool // there is one
		killed bool // and a run that did not end
	}{
		{"no store, serve", Serve, false, false},
		{"no store, refuse", Refuse, false, false},
		{"serve", Serve, true, false},
		{"refuse", Refuse, true, false},
		{"serve, after a kill", Serve, true, true},
		{"refuse, after a kill", Refuse, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := smallDisk(t, "100m")
			cfg := Config{Dir: filepath.Join(dir, "audit"), Interval: 5 * time.Millisecond, OnFull: c.onFull, Slabs: 8, SlabBytes: 32 << 10}
			const before, after = 20, 300
			recorded := 0
			if c.store {
				first, stop := start(t, Config{Dir: t.TempDir(), Interval: time.Hour, Slabs: 4, SlabBytes: 32 << 10})
				for i := range before {
					first.Record(query(i, "192.0.2.7", "www.example"))
				}
				from := first.cfg.Dir
				if recorded = before; c.killed {
					from = left(t, from, t.TempDir())
					recorded++ // the run that did not end
				}
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
					t.Fatal(err)
				}
				left(t, from, cfg.Dir)
			}
			if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			said := &lines{}
			cfg.Logger = slog.New(slog.NewTextHandler(said, nil))
			l, stop := start(t, cfg)
			for i := range after {
				if ok := l.Record(query(i, "192.0.2.8", "later.example")); ok != (c.onFull == Serve) {
					t.Fatalf("event %d of a log that cannot write: taken %v", i, ok)
				}
			}
			if s := l.Stats(); !strings.Contains(s.LastError, "read-only") || s.Refusing != (c.onFull == Refuse) || s.Exposed == "" {
				t.Fatalf("%+v", s)
			}
			for limit := time.Now().Add(50 * time.Millisecond); time.Now().Before(limit); { // some attempts, which are not to be told of
				l.Stats()
			}
			if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT, "size=100m"); err != nil {
				t.Fatal(err)
			}
			for limit := time.Now().Add(time.Minute); l.Stats().LastError != "" || l.Stats().Pending > 0; {
				if time.Now().After(limit) {
					t.Fatalf("it does not recover: %+v", l.Stats())
				}
			}
			if !l.Record(query(0, "192.0.2.8", "later.example")) {
				t.Fatal("it refuses after it recovered")
			}
			if s := l.Stats(); s.Exposed != "" || s.Refusing {
				t.Errorf("%+v", s)
			}
			if n := strings.Count(said.String(), "level=ERROR"); n > 2 { // that it cannot be opened, and what was lost
				t.Errorf("it said:\n%s", said)
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			lost := uint64(0)
			if recorded += after + 1; c.onFull == Refuse {
				lost, recorded = after, recorded-after
			}
			proveComplete(t, all(t, cfg.Dir), uint64(recorded), lost)
			if report := verified(t, cfg.Dir); report.Problems != nil {
				t.Errorf("%q", report.Problems)
			}
		})
	}
}

// lines is what a log has said.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
