package audit

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// unended returns a folder with what a run leaves that is killed: of its events, which all
// have a reason, some are in frames and as many in slabs only.
func unended(t *testing.T, events int) (dir string) {
	t.Helper()
	l, err := Open(Config{Dir: t.TempDir(), Block: time.Hour, Slabs: 8, SlabBytes: 32 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := &writer{log: l, seen: time.Now()}
	for i := range events {
		if i == events/2 {
			if err := w.step(false); err != nil {
				t.Fatal(err)
			}
		}
		e := query(i, "192.0.2.7", fmt.Sprintf("name-%d.example", i))
		e.Reason = l.Intern(Reason{Policy: fmt.Sprint("policy-", i)})
		if !l.Record(e) {
			t.Fatal("slabs are full")
		}
	}
	return left(t, l.cfg.Dir, t.TempDir())
}

// takenOver opens what is left in dir and returns what is on record then: how many of
// the events, how many of those with their reason, how many are lost by count, and what
// the log says of itself.
func takenOver(t *testing.T, cfg Config) (events, reasons int, lost uint64, says string) {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	records := all(t, cfg.Dir)
	for i, r := range records {
		if i > 0 && r.Seq != records[i-1].Seq+1 && !strings.Contains(says, "missing") {
			says += fmt.Sprintf("missing: %d is followed by %d; ", records[i-1].Seq, r.Seq)
		}
		switch {
		case r.Kind == "query":
			if seen[r.Name] {
				t.Fatalf("%s is there twice", r.Name)
			}
			seen[r.Name] = true
			if events++; r.Policy != "" {
				reasons++
			}
		case r.Kind == "gap" && r.Lost == 0:
			says += "a gap that nobody counted; "
		case r.Kind == "gap":
			lost += r.Lost
		default:
			says += r.Text + "; "
		}
	}
	return events, reasons, lost, says
}

// What a run has left that was killed is counted as it is taken over: the hits of lists
// are whole then, and nothing is said of damage.
func TestALeftoverIsCounted(t *testing.T) {
	t.Parallel()
	dir, said := t.TempDir(), new(bytes.Buffer)
	cfg := Config{Dir: dir, Block: time.Hour, Logger: slog.New(slog.NewTextHandler(said, nil)), Now: func() time.Time { return epoch }}
	for range 3 {
		said.Reset()
		l, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.Hits(epoch)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "taken over", got, naiveHits(t, l.Reader(), epoch))
		if got := said.String(); strings.Contains(got, "hits") {
			t.Error(got)
		}
		w := &writer{log: l, seen: epoch}
		for i := range 100 {
			e := query(i, "192.0.2.7", fmt.Sprintf("name-%d.example", i))
			e.Reason = l.Intern(Reason{Policy: "all", Category: "ads", List: fmt.Sprint("list-", i%3)})
			if !l.Record(e) {
				t.Fatal("slabs are full")
			}
			if i == 50 {
				if err := w.step(false); err != nil {
					t.Fatal(err)
				}
			}
		}
		cfg.Dir = left(t, l.cfg.Dir, t.TempDir())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if kept, want := stoppedHits(t, dir, epoch); kept[ListRef{"ads", "list-0"}].Decided == 0 {
		t.Fatalf("%v of %v", kept, want)
	}
}

// What is beside the store may have suffered too. Whatever is whole of it is taken over,
// once, and what is not is said.
func TestALeftoverThatHasSuffered(t *testing.T) {
	const events = 100
	from := unended(t, events)
	change := func(name string, how func(b []byte) []byte) func(dir string) error {
		return func(dir string) error {
			path := filepath.Join(dir, name)
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, how(b), 0o600)
		}
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	half := func(b []byte) []byte { return b[:len(b)/2] }
	boot := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], strings.Repeat("x", bootSize)); return b }
	}
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
	}
	for _, c := range []struct {
		name            string
		how             func(dir string) error
		events, reasons int // at least
		says            string
	}{
		{"nothing", func(string) error { return nil }, events, events, "the run before did not end; what it had taken is on record, 50 events of it from memory"},
		{"texts cut short", change(textFile, half), events, events / 3, "reasons and groups of records of the run before may be missing"},
		{"texts without a whole header", change(textFile, cut(20)), events, 0, "reasons and groups"},
		{"texts that are empty", change(textFile, cut(0)), events, 0, "reasons and groups"},
		{"no texts", remove(textFile), events, 0, "reasons and groups"},
		{"another machine's slabs", change(slabsFile, boot(offBoot)), events / 2, events / 2, "a gap that nobody counted"},
		{"another machine", func(dir string) error {
			return errors.Join(change(slabsFile, boot(offBoot))(dir), change(textFile, boot(26))(dir))
		}, events / 2, events / 2, "a gap that nobody counted"},
		{"slabs cut short", change(slabsFile, half), events / 2, events / 2, "a gap that nobody counted"},
		{"no slabs", remove(slabsFile), events / 2, events / 2, "a gap that nobody counted"},
		{"no frames", remove(walFile), events / 2, events / 2, "records 1 to 50 had been written ahead"},
		{"a frame that is not whole", change(walFile, cut(200)), events / 2, events / 2, "records 1 to 50 had been written ahead"},
		{"half files in the way", func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, slabsFile+newSuffix), []byte("x"), 0o600),
				os.WriteFile(filepath.Join(dir, textFile+newSuffix), []byte("x"), 0o600))
		}, events, events, "the run before did not end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copied(t, from)
			if err := c.how(dir); err != nil {
				t.Fatal(err)
			}
			got, reasons, _, says := takenOver(t, Config{Dir: dir})
			if got != c.events || reasons < c.reasons || !strings.Contains(says, c.says) {
				t.Errorf("%d events, %d with their reason; want %d and %d, and %q in %q", got, reasons, c.events, c.reasons, c.says, says)
			}
			if report := verified(t, dir); report.Problems != nil { // the store itself has not suffered
				t.Errorf("%q", report.Problems)
			}
		})
	}
}

// A clock that was set while nobody ran makes no record impossible.
func TestALeftoverAndAClockThatWasSet(t *testing.T) {
	from := unended(t, 10)
	for _, now := range []time.Time{epoch.AddDate(-40, 0, 0), time.Unix(0, 0), epoch.AddDate(100, 0, 0)} {
		for _, cut := range []bool{false, true} {
			dir := copied(t, from)
			if cut {
				if err := os.Remove(filepath.Join(dir, slabsFile)); err != nil {
					t.Fatal(err)
				}
			}
			if n, _, _, says := takenOver(t, Config{Dir: dir, Now: func() time.Time { return now }}); n < 5 || says == "" {
				t.Errorf("%v: %d events, %q", now, n, says)
			}
			if report := verified(t, dir); report.Problems != nil {
				t.Errorf("%v: %q", now, report.Problems)
			}
		}
	}
}

// A start that is broken off between writing what was in slabs ahead and committing it, or
// behind that, takes nothing over twice.
func TestATakeOverThatIsBrokenOff(t *testing.T) {
	const events = 100
	for _, committed := range []bool{false, true} {
		dir := copied(t, unended(t, events))
		key, _, err := openKey(dir)
		if err != nil {
			t.Fatal(err)
		}
		store, err := openStore(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.list(); err != nil {
			t.Fatal(err)
		}
		if err := store.openNewest(); err != nil {
			t.Fatal(err)
		}
		s, err := newSealer(key)
		if err != nil {
			t.Fatal(err)
		}
		leftover, err := readLeftover(dir, s, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := leftover.secure(dir); err != nil {
			t.Fatal(err)
		}
		if committed {
			if err := store.append(leftover.segments, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.close(); err != nil {
			t.Fatal(err)
		}
		if n, reasons, lost, says := takenOver(t, Config{Dir: dir}); n != events || reasons != events || lost != 0 {
			t.Errorf("committed %v: %d events, %d with reasons, %d lost, %q", committed, n, reasons, lost, says)
		}
	}
}

// Octets that turn anywhere beside the store never keep a log from beginning, and no
// event comes twice.
func TestAnyOctetBesideTheStoreMayTurn(t *testing.T) {
	from := unended(t, 20)
	r := rand.New(rand.NewPCG(1, 2))
	outcomes := map[int]int{}
	for i := range 24 {
		dir := copied(t, from)
		path := filepath.Join(dir, []string{walFile, textFile, slabsFile}[i%3])
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n := len(b)
		if i%3 == 2 && i%2 == 0 { // of which the beginning is what counts
			n = 4096
		} else if i%3 == 0 {
			n = slices.IndexFunc(b, func(byte) bool { return true }) + 8<<10
		}
		for range 1 + i%4 {
			b[r.IntN(min(n, len(b)))] ^= 1 << r.IntN(8)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, _, _, _ := takenOver(t, Config{Dir: dir})
		if outcomes[got]++; got > 20 {
			t.Errorf("%d events", got)
		}
	}
	t.Logf("events taken over, and how often: %v of %v", outcomes, slices.Sorted(maps.Keys(outcomes)))
}

func verified(t *testing.T, dir string) Report {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := r.Verify(t.Context(), Verification{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}
