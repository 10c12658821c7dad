package audit

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recordAll records so many queries and waits until they are on disk.
func recordAll(t *testing.T, l *Log, n int) {
	t.Helper()
	for i := range n {
		if !l.Record(query(i, "192.0.2.1", "a.example")) {
			t.Fatal("not taken")
		}
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// newestFile returns the path of the newest of the store's files.
func newestFile(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "audit-*.db"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	return names[len(names)-1]
}

// What somebody takes away from under a running log is counted and told, and all that
// comes behind is kept.
func TestFilesThatAreRemovedWhileOpen(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, dir string) error
		open bool // most records are in no segment yet
		lost uint64
	}{
		{"the folder", func(_ *testing.T, dir string) error { return os.RemoveAll(dir) }, false, 5},
		{"the folder, moved", func(_ *testing.T, dir string) error { return os.Rename(dir, dir+".away") }, false, 5},
		{"the folder, with records in no segment", func(_ *testing.T, dir string) error { return os.RemoveAll(dir) }, true, 0},
		{"the store's file", func(t *testing.T, dir string) error { return os.Remove(newestFile(t, dir)) }, false, 5},
		{"the store's file, for a copy", func(t *testing.T, dir string) error {
			path := newestFile(t, dir)
			content, err := os.ReadFile(path)
			if err == nil {
				err = os.Remove(path)
			}
			if err != nil {
				return err
			}
			return os.WriteFile(path, content, 0o600)
		}, false, 5},
		{"the write-ahead file", func(_ *testing.T, dir string) error { return os.Remove(filepath.Join(dir, walFile)) }, true, 0},
		{"the lock", func(_ *testing.T, dir string) error { return os.Remove(filepath.Join(dir, lockFile)) }, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "audit")
			var said bytes.Buffer
			cfg := Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&said, nil))}
			if c.open {
				cfg.Block = 1 << 40
			}
			l, stop := start(t, cfg)
			recordAll(t, l, 5)
			if !c.open {
				if err := l.Sign(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.do(t, dir); err != nil {
				t.Fatal(err)
			}
			recordAll(t, l, 3)
			if s := l.Stats(); s.Missing != c.lost || s.Lost != c.lost || s.LastError != "" {
				t.Errorf("%+v", s)
			}
			rep, err := l.Reader().Verify(t.Context(), Verification{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			records := search(t, l.Reader(), Query{Oldest: true})
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			for _, rep := range []Report{rep, verify(t, dir)} {
				problems := strings.Join(rep.Problems, "\n")
				if c.lost == 0 && problems != "" || c.lost > 0 && (len(rep.Problems) != 1 || !strings.Contains(problems, "records 1 to 5 are lost: somebody removed or replaced audit-")) {
					t.Errorf("lost %d, verify says %q", c.lost, problems)
				}
				if rep.Lost != c.lost {
					t.Errorf("gaps of %d, want %d", rep.Lost, c.lost)
				}
			}
			var queries, told uint64
			for _, r := range records {
				switch {
				case r.Kind == "query":
					queries++
				case r.Kind == "change" && strings.Contains(r.Text, whyAstray):
					told++
				}
			}
			if queries != 8-c.lost || told != 1 {
				t.Errorf("%d queries are kept of 8, %d changes tell of it", queries, told)
			}
			if !strings.Contains(said.String(), whyAstray) || strings.Contains(said.String(), "records are not") {
				t.Errorf("the operator reads %s", &said)
			}
			// The next start goes on as ever.
			l, stop = start(t, Config{Dir: dir})
			recordAll(t, l, 1)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if now := verify(t, dir); len(now.Problems) != len(rep.Problems) {
				t.Errorf("after another start: %q", now.Problems)
			}
		})
	}
}

// It is found within lookEvery when there is nothing to be written.
func TestAFolderThatIsRemovedWhileOpenAndIdle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	synctest.Test(t, func(t *testing.T) {
		l, stop := start(t, Config{Dir: dir})
		recordAll(t, l, 5)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery)
		synctest.Wait()
		if s := l.Stats(); s.Missing != 5 {
			t.Errorf("%+v", s)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// Where damage is to end the service, so does this.
func TestAFileThatIsRemovedWhileOpenMayEndTheLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l, stop := start(t, Config{Dir: dir, OnError: Fail})
	recordAll(t, l, 5)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l.Record(query(6, "192.0.2.1", "a.example"))
	if err := l.Flush(t.Context()); err == nil {
		t.Error("it is written all the same")
	}
	if err := stop(); err == nil || !strings.Contains(err.Error(), whyAstray) {
		t.Errorf("it ends with %v", err)
	}
	if s := l.Stats(); s.Missing != 5 {
		t.Errorf("%+v", s)
	}
}

// While the folder cannot be made again the log fails, and says so.
func TestAFolderThatCannotBeMadeAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l, stop := start(t, Config{Dir: dir, OnFull: Refuse})
	recordAll(t, l, 5)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.Record(query(6, "192.0.2.1", "a.example"))
	if err := l.Flush(t.Context()); err == nil {
		t.Error("it is written all the same")
	}
	if s := l.Stats(); s.Missing != 5 || !strings.Contains(s.LastError, whyAstray) {
		t.Errorf("%+v", s)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// 1 to 5 are gone, 6 is what was asked meanwhile; a gap and a change tell of it.
	if r := verify(t, dir); len(r.Problems) != 1 || r.First != 6 || r.Records != 3 || r.Lost != 5 {
		t.Errorf("%+v", r)
	}
}

// So with a file that has nothing in it yet, and another in its place.
func TestAnEmptyFileIsReplacedWhileOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l, stop := start(t, Config{Dir: dir, Block: 1 << 40})
	recordAll(t, l, 5)
	path := newestFile(t, dir)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	recordAll(t, l, 3)
	if s := l.Stats(); s.Missing != 0 || s.LastError != "" {
		t.Errorf("%+v", s)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir); r.Problems != nil || r.First != 1 || r.Records < 9 {
		t.Errorf("%+v", r)
	}
}

// What is small beside the store is written again as it was, told, and read as it was until
// then: a hold that nobody sees for a second holds.
func TestSmallFilesThatAreRemovedWhileTheLogRuns(t *testing.T) {
	for _, name := range []string{holdFile, removalFile, ClientKeysFile} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "audit")
			path := filepath.Join(dir, name)
			var said bytes.Buffer
			synctest.Test(t, func(t *testing.T) {
				l, stop := start(t, Config{Dir: dir, Privacy: ClientPrivacy{How: KeyedClients}, Logger: slog.New(slog.NewTextHandler(&said, nil))})
				if _, err := l.AddHold(Hold{SeqFrom: 1, SeqTo: 9, Reason: "the case", By: "us"}); err != nil {
					t.Fatal(err)
				}
				if err := l.notary.tell(Removal{File: "audit-0000000000000001-20260301.db", Why: RemovedByAge}); err != nil {
					t.Fatal(err)
				}
				recordAll(t, l, 3)
				look := func() {
					time.Sleep(lookEvery)
					synctest.Wait()
				}
				look()
				before, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
					if holds, err := l.Holds(); err != nil || len(holds) != 1 {
						t.Errorf("%v are held, %v", holds, err)
					}
					look()
					if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
						t.Errorf("%q, %v; before %q", after, err, before)
					}
				}
				if _, err := l.AddHold(Hold{SeqFrom: 11, SeqTo: 19, Reason: "another", By: "us"}); err != nil {
					t.Fatal(err)
				}
				recordAll(t, l, 1)
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				look() // the folder is made again, and what tells that records are lost with it
				look()
				recordAll(t, l, 1)
				times := 3
				if name == removalFile {
					times = 2
				}
				if after, err := os.ReadFile(path); err != nil || name != holdFile && !bytes.HasPrefix(after, before) {
					t.Errorf("%q, %v; before %q", after, err, before)
				}
				if holds, err := ReadHolds(dir); err != nil || len(holds) != 2 {
					t.Errorf("%v are held, %v", holds, err)
				}
				told := 0
				for _, r := range search(t, l.Reader(), Query{Kind: KindChange}) {
					if strings.HasPrefix(r.Text, name+" was removed or replaced while weir runs") {
						told++
					}
				}
				if told != times-2 { // two are gone with the store
					t.Errorf("%d changes tell of it", told)
				}
				if n := strings.Count(said.String(), "level=WARN msg=\"a file beside the audit store was removed or replaced while weir runs, and is written again from memory\" file="+path); n != times {
					t.Errorf("the operator reads it %d times: %s", n, &said)
				}
				if err := stop(); err != nil {
					t.Fatal(err)
				}
			})
			keys, err := readClientKeys(filepath.Join(dir, ClientKeysFile))
			if err != nil {
				t.Fatal(err)
			}
			defer keys.close()
			n := 0
			if err := keys.each(func(k *clientKey) {
				if k.sound() {
					n++
				}
			}); err != nil || n != 1 {
				t.Errorf("%d keys, %v", n, err)
			}
		})
	}
}

// Keys in a folder of their own are not written into another, which is there while their
// volume is not; and what is put in their place is kept beside them.
func TestKeysThatAreReplacedWhileTheLogRuns(t *testing.T) {
	dir, folder := filepath.Join(t.TempDir(), "audit"), filepath.Join(t.TempDir(), "volume")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "keys")
	var said bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		l, stop := start(t, Config{Dir: dir, Privacy: ClientPrivacy{How: KeyedClients, Keys: path}, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		recordAll(t, l, 1)
		look := func() {
			time.Sleep(lookEvery)
			synctest.Wait()
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(folder, folder+".away"); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		look()
		look()
		if files, err := os.ReadDir(folder); err != nil || len(files) != 0 {
			t.Errorf("%v, %v", files, err)
		}
		if n := strings.Count(said.String(), "is another folder than before: is its volume mounted?"); n != 1 {
			t.Errorf("the operator reads it %d times: %s", n, &said)
		}
		if err := os.Remove(folder); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(folder+".away", folder); err != nil {
			t.Fatal(err)
		}
		other := path + ".other"
		if err := os.WriteFile(other, []byte("another's"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(other, path); err != nil {
			t.Fatal(err)
		}
		look()
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%q, %v; before %q", after, err, before)
		}
		aside, err := filepath.Glob(path + damagedInfix + "*")
		if err != nil || len(aside) != 1 {
			t.Fatal(aside, err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}
