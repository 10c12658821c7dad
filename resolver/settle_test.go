package resolver

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weir/audit"
)

// TestNoAnswerBeforeItsRecord: with commit = "before-answer" whoever has an answer
// can read its record on disk, by whatever transport it came and from wherever.
func TestNoAnswerBeforeItsRecord(t *testing.T) {
	set := town(t)
	set.audit = func(c *audit.Config) { c.BeforeAnswer, c.OnFull, c.Interval = true, audit.Refuse, time.Hour }
	w := newWorld(t, set)
	w.listen()
	asked := 0
	for _, question := range []string{www, www, "x.track.example. A", "www.lab.example. A", "unknown.example. A"} {
		for _, over := range []func([]byte) []byte{w.overUDP, w.overTCP} {
			if got := over(query(t, question)); got == nil {
				t.Fatalf("%s: no answer", question)
			}
			asked++
			if n := onDisk(t, filepath.Join(w.dir, "audit")); n < asked {
				t.Fatalf("%s: %d of %d records are on disk", question, n, asked)
			}
		}
	}
	w.stopLog() // no record can come to disk any more
	for _, over := range []func([]byte) []byte{w.overUDP, w.overTCP} {
		for _, question := range []string{www, "another.example. A"} {
			if got := show(t, over(query(t, question))); got != "SERVFAIL" {
				t.Errorf("%s after the log's end: %s", question, got)
			}
		}
	}
}

// onDisk returns how many records of queries are in the folder of a running log,
// without those in memory.
func onDisk(t *testing.T, dir string) (n int) {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "audit.slabs" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, d.Name()), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.OpenReader(to)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = r.Search(context.Background(), audit.Query{Kind: audit.KindQuery}, func(*audit.Record) error {
		n++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
