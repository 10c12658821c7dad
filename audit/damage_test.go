package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// stopped makes a store of some segments and returns its folder.
func stopped(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	fill(t, dir, 400, 20)
	return dir
}

// copyStore returns a folder with that content as its store and the keys of another
// folder's, and no head file.
func copyStore(t testing.TB, content []byte, keysOf string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{keyFile, publicFile} {
		key, err := os.ReadFile(filepath.Join(keysOf, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), key, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, fileName(1, Day, epoch.UnixNano())), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// storePath returns the path of the store's newest file.
func storePath(t rapid.TB, dir string) string {
	t.Helper()
	s := &store{dir: dir, readOnly: true}
	if err := s.list(); err != nil {
		t.Fatal(err)
	}
	if len(s.files) == 0 {
		t.Fatal("the store has no file")
	}
	return s.files[len(s.files)-1].path
}

// rewrite changes a stopped store through bbolt, as somebody with the disk would.
func rewrite(t *testing.T, dir string, f func(b *bbolt.Bucket) error) {
	t.Helper()
	db, err := bbolt.Open(storePath(t, dir), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return f(tx.Bucket(segmentBucket)) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func verify(t *testing.T, dir string) Report {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := r.Verify(context.Background(), Verification{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func keys(t *testing.T, dir string) (keys [][]byte) {
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		return b.ForEach(func(k, _ []byte) error {
			keys = append(keys, bytes.Clone(k))
			return nil
		})
	})
	return keys
}

func TestVerifyFindsEveryDamagedOctet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fill(t, dir, 100, 20) // few segments: all are read for each octet
	content, err := os.ReadFile(storePath(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var segment []byte
	if _, ok, err := r.own.following(50, nil, &segment); err != nil || !ok {
		t.Fatal(err)
	}
	at := bytes.Index(content, segment)
	if at < 0 {
		t.Fatal("the segment is not in the file")
	}
	file := storePath(t, copyStore(t, content, dir))
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	damagedReader, err := OpenReader(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	defer damagedReader.Close()
	for i := range segment {
		if _, err := f.WriteAt([]byte{segment[i] ^ 0x10}, int64(at+i)); err != nil {
			t.Fatal(err)
		}
		report, err := damagedReader.Verify(context.Background(), Verification{}, nil)
		if err != nil || len(report.Problems) == 0 {
			t.Fatalf("octet %d of %d: %v, no problem found", i, len(segment), err)
		}
		if _, err := f.WriteAt(segment[i:i+1], int64(at+i)); err != nil {
			t.Fatal(err)
		}
	}
	if report, err := damagedReader.Verify(context.Background(), Verification{}, nil); err != nil || report.Problems != nil {
		t.Fatalf("whole again: %v %q", err, report.Problems)
	}
}

func TestVerifyNamesTheDamage(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(keys [][]byte, b *bbolt.Bucket) error
		want string
	}{
		{"removed", func(keys [][]byte, b *bbolt.Bucket) error { return b.Delete(keys[4]) }, "are missing before it"},
		{"removed last", func(keys [][]byte, b *bbolt.Bucket) error { return b.Delete(keys[len(keys)-1]) }, "its head file at record"},
		{"swapped", func(keys [][]byte, b *bbolt.Bucket) error {
			x, y := bytes.Clone(b.Get(keys[3])), bytes.Clone(b.Get(keys[4]))
			return errors.Join(b.Put(keys[3], y), b.Put(keys[4], x))
		}, "it holds the segment of key"},
		{"cut", func(keys [][]byte, b *bbolt.Bucket) error { return b.Put(keys[3], b.Get(keys[3])[:150]) }, "150 octets are too few"},
		{"empty", func(keys [][]byte, b *bbolt.Bucket) error { return b.Put(keys[3], nil) }, "are too few for a segment"},
		{"foreign key", func(keys [][]byte, b *bbolt.Bucket) error { return b.Put([]byte("x"), []byte("y")) }, "it cannot be a segment's"},
		{"forged", func(keys [][]byte, b *bbolt.Bucket) error { // well made, but by somebody else
			s, err := newSealer(testKey(t))
			if err != nil {
				return err
			}
			h, err := readHeader(b.Get(keys[3]))
			if err != nil {
				return err
			}
			s.next, s.last.number, s.last.high = h.first, h.number-1, h.high
			var slab []byte
			for range h.count {
				slab = append(slab, appendEvent(make([]byte, 0, maxEvent), query(0, "192.0.2.1", "innocent.example"))...)
			}
			return b.Put(keys[3], s.seal(batch{slabs: inMemory(slab)}, nil, nil)[0].bytes)
		}, "its link is to another"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := stopped(t)
			keys := keys(t, dir)
			rewrite(t, dir, func(b *bbolt.Bucket) error { return c.f(keys, b) })
			problems := strings.Join(verify(t, dir).Problems, "\n")
			if !strings.Contains(problems, c.want) {
				t.Errorf("problems are\n%s\nwant one with %q", problems, c.want)
			}
		})
	}
}

// A file that is there twice is whole, signed and linked within itself; its records are
// told to be here again, wherever the copy stands.
func TestVerifyFindsAFileTwice(t *testing.T) {
	for _, as := range []uint64{2, 4, 7} {
		d := newDays(t, Config{})
		for _, name := range []string{"one.example", "two.example", "three.example"} {
			d.record(name)
			d.record(name)
			d.now = d.now.Add(aDay)
		}
		d.close()
		if r := verify(t, d.dir); r.Problems != nil || r.Records != 6 {
			t.Fatalf("%+v", r)
		}
		content, err := os.ReadFile(filepath.Join(d.dir, d.files()[0]))
		if err == nil {
			err = os.WriteFile(filepath.Join(d.dir, fileName(as, Day, d.now.UnixNano())), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		problems := strings.Join(verify(t, d.dir).Problems, "\n")
		if !strings.Contains(problems, "segment 1: its records begin at 1, though record ") {
			t.Errorf("as the file of record %d: problems are\n%s", as, problems)
		}
	}
}

// What was cut off at the end is found by the tree alone too, and when a new store has begun
// whose first segment is not sealed yet.
func TestVerifyFindsACutByTheTree(t *testing.T) {
	d := startDays(t, Config{})
	for range 3 {
		d.record(4)
		d.forward(aDay)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, d.dir); r.Problems != nil || r.Segments < 3 {
		t.Fatalf("%+v", r)
	}
	kept := map[string][]byte{treeFile: nil, headFile: nil}
	for name := range kept {
		content, err := os.ReadFile(filepath.Join(d.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		kept[name] = content
	}
	files := d.files()
	for _, name := range []string{files[len(files)-1], headFile, checkpointFile} {
		if err := os.Remove(filepath.Join(d.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if problems := strings.Join(verify(t, d.dir).Problems, "\n"); !strings.HasPrefix(problems, "the store ends at segment number ") || strings.Contains(problems, "\n") {
		t.Errorf("without the last file: problems are\n%s", problems)
	}
	if err := os.Remove(filepath.Join(d.dir, treeFile)); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, d.dir); r.Problems != nil { // nothing is left to tell by
		t.Errorf("%+v", r)
	}

	for _, name := range files[:len(files)-1] {
		if err := os.Remove(filepath.Join(d.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range kept {
		if err := os.WriteFile(filepath.Join(d.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.start(Config{Block: time.Hour})
	d.log.Record(query(0, "192.0.2.7", "after.example"))
	if err := d.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := d.report(); r.Segments != 0 || r.Open == 0 || r.Problems == nil {
		t.Errorf("a new store: %+v", r)
	}
}

func TestSearchPassesOverADamagedSegment(t *testing.T) {
	dir := stopped(t)
	keys := keys(t, dir)
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		v := bytes.Clone(b.Get(keys[5]))
		v[len(v)/2] ^= 1
		return b.Put(keys[5], v)
	})
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, oldest := range []bool{true, false} {
		n := 0
		err = r.Search(context.Background(), Query{Kind: KindQuery, Oldest: oldest}, func(*Record) error { n++; return nil })
		var damage *DamageError
		if !errors.As(err, &damage) || damage.Place != keyPlace(keys[5]) || n != 380 {
			t.Errorf("oldest %v: %d records and %v", oldest, n, err)
		}
	}
}

// However the file is cut, nothing crashes: it opens, or is moved aside and a
// fresh store says so, or with Fail the damage comes back and nothing is touched.
func TestATruncatedStoreNeverCrashes(t *testing.T) {
	dir := stopped(t)
	whole, err := os.ReadFile(storePath(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(whole, "\x00"))
	cuts := []int{0, 1, 100, 4095, 4096, 5000, 8192, 12288, 16384}
	for cut := 20000; cut < used+4096; cut += 4096 {
		cuts = append(cuts, cut, cut+77)
	}
	replaced := 0
	for _, cut := range cuts {
		dir := copyStore(t, whole[:cut], dir)
		openAndUse(t, dir, fmt.Sprintf("cut to %d", cut), &replaced)
	}
	if replaced < 5 {
		t.Errorf("only %d of %d cuts were taken for damage", replaced, len(cuts))
	}
}

// openAndUse reads the store in dir, opens it with Fail, then with StartFresh,
// and proves that the log works after that.
func openAndUse(t *testing.T, dir, what string, replaced *int) {
	t.Helper()
	if r, err := OpenReader(dir); err == nil {
		r.Search(context.Background(), Query{}, func(*Record) error { return nil })
		r.Verify(context.Background(), Verification{}, nil)
		r.Close()
	}
	l, err := Open(Config{Dir: dir, OnError: Fail})
	var damage *DamageError
	switch {
	case err == nil:
		l.Close()
	case !errors.As(err, &damage):
		t.Errorf("%s: Open: %v", what, err)
	}
	l, err = Open(Config{Dir: dir})
	if err != nil {
		t.Errorf("%s: Open: %v", what, err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.Record(query(0, "192.0.2.7", "after.example"))
	if err := l.Run(ctx); err != nil {
		t.Errorf("%s: Run: %v", what, err)
		return
	}
	moved, err := filepath.Glob(filepath.Join(dir, "*.damaged-*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(moved) == 0 {
		return
	}
	*replaced++
	records := all(t, dir)
	last := records[len(records)-1]
	if len(records) != 2 || last.Kind != "change" || !strings.Contains(last.Text, ".db.damaged-") {
		t.Errorf("%s: the fresh store says %+v", what, records)
	}
}

// Octets flipped in bbolt's own pages, which carry no checksum, never crash either.
func TestAFlippedPageNeverCrashes(t *testing.T) {
	dir := stopped(t)
	whole, err := os.ReadFile(storePath(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	whole = bytes.TrimRight(whole, "\x00")
	replaced := 0
	for page := 0; page*4096 < len(whole); page += 1 + page/6 {
		for _, off := range []int{0, 8, 10, 12, 16, 20, 24, 28, 40, 60} {
			at := page*4096 + off
			if at >= len(whole) {
				break
			}
			content := append(bytes.Clone(whole), make([]byte, 8192)...)
			content[at] ^= 0x41
			openAndUse(t, copyStore(t, content, dir), fmt.Sprintf("page %d octet %d", page, off), &replaced)
		}
	}
}

func TestDamageAtTheTailIsFoundOnOpen(t *testing.T) {
	dir := stopped(t)
	keys := keys(t, dir)
	last := keys[len(keys)-2]
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		v := bytes.Clone(b.Get(last))
		v[20] ^= 1
		return b.Put(last, v)
	})
	_, err := Open(Config{Dir: dir, OnError: Fail})
	var damage *DamageError
	if !errors.As(err, &damage) || !strings.HasPrefix(damage.Place, "segment ") {
		t.Fatalf("Open: %v", err)
	}
	before := verify(t, dir)
	l, stop := start(t, Config{Dir: dir})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	records := all(t, dir)
	if len(records) != 1 || records[0].Seq <= before.Last || l.Stats().Segments != 1 {
		t.Errorf("the fresh store begins with %+v, the old ended at %d", records[0], before.Last)
	}
	moved, _ := filepath.Glob(filepath.Join(dir, "*.damaged-*"))
	if len(moved) != 1 {
		t.Errorf("moved aside: %q", moved)
	}
}

func TestAnOlderStoreIsNoticed(t *testing.T) {
	dir := t.TempDir()
	run := func() {
		l, stop := start(t, Config{Dir: dir, Interval: time.Hour}) // one batch a run
		for i := range 10 {
			l.Record(query(i, "192.0.2.7", "www.example"))
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	run()
	old, err := os.ReadFile(storePath(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	run()
	if err := os.WriteFile(storePath(t, dir), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if p := verify(t, dir).Problems; len(p) != 2 || p[0] != "the store ends at record 10, its head file at record 20" ||
		p[1] != "the store ends at record 10, a checkpoint has signed record 20" {
		t.Errorf("before: %q", p)
	}
	run()
	p := verify(t, dir).Problems
	if len(p) != 1 || p[0] != "segment 21: records 11 to 20 are missing before it" {
		t.Errorf("after: %q", p)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if p := verify(t, dir).Problems; len(p) != 1 || !strings.HasPrefix(p[0], "segment 33: records 1 to 32 are missing before it, and nothing that the log has signed") {
		t.Errorf("gone: %q", p)
	}
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	records := search(t, r, Query{Oldest: true})
	if records[0].Seq != 33 || !strings.HasPrefix(records[len(records)-1].Text, "the store was gone") {
		t.Errorf("a store that was removed begins again with %+v", records[0])
	}
}

// A store that is cut short under a running log is replaced, and no event is lost.
func TestAStoreCutWhileRunning(t *testing.T) {
	for _, policy := range []OnError{StartFresh, Fail} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			l, err := Open(Config{Dir: dir, OnError: policy, Block: -1})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- l.Run(ctx) }()
			for i := range 50 {
				l.Record(query(i, "192.0.2.7", hex.EncodeToString([]byte{byte(i)})+".example"))
				time.Sleep(300 * time.Millisecond)
			}
			synctest.Wait()
			if err := os.Truncate(storePath(t, dir), 0); err != nil {
				t.Fatal(err)
			}
			err = l.Reader().Search(ctx, Query{}, func(*Record) error { return nil })
			var damage *DamageError
			if !errors.As(err, &damage) {
				t.Errorf("Search: %v", err)
			}
			l.Record(query(50, "192.0.2.7", "later.example"))
			time.Sleep(time.Second)
			l.Record(query(51, "192.0.2.7", "latest.example"))
			time.Sleep(time.Second)
			if policy == StartFresh {
				cancel()
			}
			err = <-done
			if policy == Fail {
				if s := l.Stats(); !errors.As(err, &damage) || s.Recorded != 51 || s.Lost != 1 {
					t.Errorf("Run: %v, %+v", err, s)
				}
				return
			}
			if err != nil {
				t.Error(err)
			}
			if s := l.Stats(); s.Lost != 0 || s.Recorded != 53 || s.Pending != 0 {
				t.Errorf("%+v", s)
			}
		})
		if policy == StartFresh {
			records := all(t, dir)
			if len(records) != 3 || records[0].Seq != 51 || records[0].Name != "later.example" {
				t.Errorf("the new store holds %+v", records)
			}
		}
	}
}

func TestNoStoreToRead(t *testing.T) {
	if _, err := OpenReader(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestNothingIsMovedOver(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		file := filepath.Join(dir, fileName(1, Day, 0))
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := moveAside(file, epoch); err != nil {
			t.Fatal(err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 3 {
		t.Errorf("%d files of 3 are left", len(files))
	}
}

// That a file was set aside as damaged does not hide that somebody removed it then.
func TestWhatWasSetAsideIsAskedFor(t *testing.T) {
	dir := stopped(t)
	path := newestFile(t, dir)
	before := verify(t, dir)
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	l, stop := start(t, Config{Dir: dir})
	var archive bytes.Buffer
	if err := l.Backup(t.Context(), &archive, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	copied, _ := unpackBackup(t, &archive)
	for _, dir := range []string{dir, copied} {
		if r := verify(t, dir); r.Problems != nil || r.Aside != before.Records || len(r.Removed) != 1 || r.Removed[0].Gone {
			t.Errorf("set aside: %+v", r)
		}
	}
	aside, err := filepath.Glob(path + ".damaged-*")
	if err != nil || len(aside) != 1 {
		t.Fatal(aside, err)
	}
	if err := os.Remove(aside[0]); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir); len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "what was set aside is not there any more") || !r.Removed[0].Gone {
		t.Errorf("gone: %+v", r)
	}
}

// The number in a file's name is what questions find it by.
func TestVerifyReadsNames(t *testing.T) {
	for name, want := range map[string]string{
		"audit-0000000000000005-20260302.db": "audit-0000000000000005-20260302.db: its records begin at 1, by its name at 5: questions do not find all of them",
		"audit-0000000000000001-20260302.db": "",
	} {
		dir := stopped(t)
		if err := os.Rename(newestFile(t, dir), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if p := strings.Join(verify(t, dir).Problems, "; "); p != want {
			t.Errorf("%s: %q", name, p)
		}
	}
	d := startDays(t, Config{})
	for range 3 {
		d.record(3)
		d.forward(aDay)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if p := verify(t, d.dir).Problems; p != nil {
		t.Fatal(p)
	}
	names := d.files()
	lower := "audit-0000000000000002-20240502.db"
	if err := os.Rename(filepath.Join(d.dir, names[1]), filepath.Join(d.dir, lower)); err != nil {
		t.Fatal(err)
	}
	if p := verify(t, d.dir).Problems; len(p) != 1 || !strings.HasPrefix(p[0], lower+": its records begin at 4, by its name at 2, which is in the file before") {
		t.Errorf("%q", p)
	}
}
