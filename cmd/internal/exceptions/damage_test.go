package exceptions

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// populated makes a file of n exceptions and two, and returns it and what is in it.
// With 80 or more it has branch pages.
func populated(t testing.TB, n int) (*world, []Exception) {
	t.Helper()
	w := newWorld(t, t.TempDir())
	fill(w, n, nil)
	e := w.add("shop.example", 3*time.Hour)
	w.add("b.example", time.Hour)
	_, err := w.s.Extend(e.ID, time.Hour, "bob", "more")
	must(t, err)
	_, err = w.s.Remove(e.ID+1, "bob", "done")
	must(t, err)
	all := w.s.All()
	w.kill()
	return w, all
}

// tryDamaged opens what may be damaged, in all ways. It is found to be damaged, or
// nothing is different.
func tryDamaged(t testing.TB, what, path string, cfg Config, want []Exception) (found bool) {
	t.Helper()
	var damage *DamageError
	for _, open := range []func() (*Store, error){
		func() (*Store, error) { return OpenReadOnly(path, cfg) },
		func() (*Store, error) { cfg.OnError = Fail; return Open(path, cfg) },
	} {
		s, err := open()
		if err != nil {
			found = true
			if !errors.As(err, &damage) || damage.Moved != "" || !strings.Contains(err.Error(), path) {
				t.Fatalf("%s: %v", what, err)
			}
			continue
		}
		if got := s.All(); found || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: not found, but there is %v", what, got)
		}
		if s.closed = true; s.file != nil { // Close would write the time down
			must(t, s.file.close())
		}
	}
	return found
}

// Each octet of a file, damaged, is found when the file is opened, unless nothing depends on it.
func TestEveryDamagedOctetIsFoundOrHarmless(t *testing.T) {
	for _, n := range []int{0, 80} {
		t.Run(fmt.Sprint(n+2), func(t *testing.T) {
			w, all := populated(t, n)
			content := readFile(t, w.path)
			f, err := os.OpenFile(w.path, os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			found := 0
			for at := range content {
				// Heads of pages are where bbolt is hurt, the rest of large files is much the same.
				if at%4096 >= 48 && at%389 != 0 && (n > 0 || content[at] == 0) {
					continue
				}
				bad := []byte{content[at] ^ byte(1<<(at%8)|1<<(at/8%8))}
				_, err := f.WriteAt(bad, int64(at))
				must(t, err)
				if tryDamaged(t, fmt.Sprintf("octet %d", at), w.path, w.cfg, all) {
					found++
				}
				_, err = f.WriteAt(content[at:at+1], int64(at))
				must(t, err)
			}
			if found < 400 {
				t.Errorf("only %d damaged octets were found", found)
			}
			if tryDamaged(t, "whole again", w.path, w.cfg, all) {
				t.Error("the file does not open whole again")
			}
		})
	}
}

// A damaged file is moved aside, said with its place, and a new one works, again
// and again.
func TestADamagedFileIsReplaced(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(content []byte) []byte
		place  string
		next   uint64 // ID
	}{
		"empty":    {func([]byte) []byte { return []byte{} }, "the file is empty", 1},
		"cut":      {func(b []byte) []byte { return b[:9000] }, "ends within its", 1003},
		"cut more": {func(b []byte) []byte { return b[:100] }, "page 1: read it", 1},
		"noise":    {func(b []byte) []byte { return bytes.Repeat([]byte("noise"), 10000) }, "page 0: it does not begin like one of bbolt", 1},
		"meta":     {func(b []byte) []byte { b[4096+20] ^= 1; return b }, "page 1: ", 1003},
		"value":    {func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("release today"), []byte("release todax")) }, "exception 1: its checksum does not match", 1003},
		"state": {func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte(newClock().id), []byte(strings.Replace(newClock().id, "2", "3", 1)))
		}, "its state: its checksum does not match", 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, all := populated(t, 0)
			whole := readFile(t, w.path)
			bad := c.damage(bytes.Clone(whole))
			must(t, os.WriteFile(w.path, bad, 0o600))
			if !tryDamaged(t, "Fail", w.path, w.cfg, all) {
				t.Fatal("Fail does not fail")
			}
			same(t, "the file after Fail", readFile(t, w.path), bad)
			var log bytes.Buffer
			w.cfg.Logger = logTo(&log)
			w.open()
			moved := w.path + ".damaged-20261001T120000Z"
			if d := w.s.Damage(); d == nil || d.Moved != moved || !strings.Contains(d.Error(), c.place) || !strings.Contains(log.String(), c.place) {
				t.Errorf("the damage is %v\nthe log %s", d, log.String())
			}
			same(t, "what was moved aside", readFile(t, moved), bad)
			var damage *DamageError
			if _, err := OpenReadOnly(moved, w.cfg); !errors.As(err, &damage) { // the lock is free
				t.Error(err)
			}
			if len(w.s.All()) != 0 {
				t.Errorf("there is %v", w.s.All())
			}
			if e := w.add("shop.example", time.Hour); e.ID != c.next {
				t.Errorf("the first ID is %d, want %d", e.ID, c.next)
			}
			w.restart()
			same(t, "after a restart", names(w.s.Active()), "shop.example")
			w.kill()
			must(t, os.WriteFile(w.path, bad, 0o600))
			w.open()
			same(t, "what was moved aside next", readFile(t, moved+"-2"), bad)
			same(t, "what was moved aside first", readFile(t, moved), bad)
			w.close()
		})
	}
}

// IDs go on behind those of a damaged file even if the new one could not be made at once.
func TestIDsGoOnAfterAStartThatFailed(t *testing.T) {
	w, _ := populated(t, 0)
	content := readFile(t, w.path)
	content[20] ^= 1
	must(t, os.WriteFile(w.path, content, 0o600))
	must(t, os.Mkdir(w.path+newSuffix, 0o700)) // in the way of the new file
	if s, err := Open(w.path, w.cfg); err == nil || !strings.Contains(err.Error(), "make exceptions file") {
		t.Fatalf("%v, %v", s, err)
	}
	must(t, os.Remove(w.path+newSuffix))
	w.open()
	if e := w.add("shop.example", time.Hour); e.ID != 1003 {
		t.Errorf("the ID is %d", e.ID)
	}
}

// Damage that bbolt does not survive: it is found before.
func TestPagesThatKillBbolt(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(f *boltFile)
		says   string
	}{
		"a branch that leads to itself": {func(f *boltFile) {
			id := f.root()
			order.PutUint64(f.page(id)[pageHead+8:], id)
		}, "it cannot be where it is looked for"},
		"a bucket that leads to a free page": {func(f *boltFile) {
			free := f.page(f.meta().free)
			order.PutUint64(f.bucket(), order.Uint64(free[pageHead:]))
		}, "page"},
		"free pages without number": {func(f *boltFile) {
			g := f.page(f.meta().free)
			order.PutUint16(g[10:], 0xffff)
			order.PutUint64(g[pageHead:], 1<<40)
		}, "it is no list of free pages"},
		"a free page in use": {func(f *boltFile) {
			order.PutUint64(f.page(f.meta().free)[pageHead:], f.root())
		}, "is free"},
		"a free page twice": {func(f *boltFile) {
			g := f.page(f.meta().free)
			copy(g[pageHead+8:], g[pageHead:pageHead+8])
		}, "is free"},
		"a page that reaches into the next": {func(f *boltFile) {
			g, met := newPage(0, f.page(f.root())), map[uint64]bool{f.root(): true}
			for i := range g.count {
				_, child, err := g.branch(i)
				must(f.t, err)
				if met[child+1] {
					order.PutUint32(f.page(child)[12:], 1)
					return
				}
				met[child] = true
			}
			f.t.Fatal("no page is before one that was met")
		}, "it is part of another"},
		"a page as long as the disk": {func(f *boltFile) {
			order.PutUint32(f.page(f.root())[12:], 1<<31)
		}, "with 2147483648 more"},
		"a key beyond its page": {func(f *boltFile) {
			g := f.page(f.root())
			order.PutUint32(g[pageHead:], 1<<31)
		}, "entry 0 points out of it"},
		"more entries than a page has": {func(f *boltFile) {
			order.PutUint16(f.page(f.root())[10:], 0xffff)
		}, "page"},
		"a branch without entries": {func(f *boltFile) {
			order.PutUint16(f.page(f.root())[10:], 0)
		}, "no page of its kind"},
		"no free list": {func(f *boltFile) { // bbolt would look for free pages in a goroutine that panics
			f.setMeta(32, ^uint64(0))
		}, "it cannot be where it is looked for"},
		"pages of no size":      {func(f *boltFile) { f.setMeta(8, 0) }, "pages of 0 octets"},
		"more pages than there": {func(f *boltFile) { f.setMeta(40, 1<<40) }, "it ends within its"},
		"a root beyond":         {func(f *boltFile) { f.setMeta(16, 1<<30) }, "it cannot be where it is looked for"},
		"two ages":              {func(f *boltFile) { f.setMeta(48, f.meta().tx+2) }, "they are of transactions"},
	} {
		t.Run(name, func(t *testing.T) {
			w, all := populated(t, 500)
			f := &boltFile{t, readFile(t, w.path)}
			c.damage(f)
			must(t, os.WriteFile(w.path, f.b, 0o600))
			if !tryDamaged(t, name, w.path, w.cfg, all) {
				t.Fatal("it is not found")
			}
			w.open()
			if d := w.s.Damage(); d == nil || !strings.Contains(d.Reason, c.says) {
				t.Errorf("the damage is %v, want %q", d, c.says)
			}
			w.close()
		})
	}
}

// A boltFile is the octets of one, to be damaged where it hurts.
type boltFile struct {
	t testing.TB
	b []byte
}

// meta returns the meta page in force.
func (f *boltFile) meta() meta {
	a, err := readMeta(bytes.NewReader(f.b), 0)
	must(f.t, err)
	b, err := readMeta(bytes.NewReader(f.b), int64(a.size))
	must(f.t, err)
	if b.tx > a.tx {
		return b
	}
	return a
}

// setMeta changes a number of the meta page in force, and its checksum.
func (f *boltFile) setMeta(at int, n uint64) {
	m := f.meta()
	g := f.b[m.tx%2*m.size+pageHead:]
	if at == 8 {
		order.PutUint32(g[at:], uint32(n))
	} else {
		order.PutUint64(g[at:], n)
	}
	sum := fnv.New64a()
	sum.Write(g[:metaSize-8])
	order.PutUint64(g[metaSize-8:], sum.Sum64())
}

func (f *boltFile) page(id uint64) []byte { return f.b[id*f.meta().size:] }

// bucket returns the head of the bucket.
func (f *boltFile) bucket() []byte {
	_, _, head, err := newPage(0, f.page(f.meta().root)).leaf(0)
	must(f.t, err)
	return head
}

// root returns the bucket's first page, a branch.
func (f *boltFile) root() uint64 {
	id := order.Uint64(f.bucket())
	if order.Uint16(f.page(id)[8:]) != branchPage {
		f.t.Fatal("the bucket does not begin with a branch")
	}
	return id
}

// What bbolt can read, but is not what we wrote.
func TestAnotherContent(t *testing.T) {
	for says, change := range map[string]func(b *bbolt.Bucket) error{
		"exception 2: it is exception 1":       func(b *bbolt.Bucket) error { return b.Put(key(2), bytes.Clone(b.Get(key(1)))) },
		"its state: it is not of these 1":      func(b *bbolt.Bucket) error { return b.Delete(key(1)) },
		"its state: it is missing":             func(b *bbolt.Bucket) error { return b.Delete([]byte(stateKey)) },
		"key 78: it cannot be an exception's":  func(b *bbolt.Bucket) error { return b.Put([]byte("x"), []byte("y")) },
		"exception 9: a value of 0 octets":     func(b *bbolt.Bucket) error { return b.Put(key(9), nil) },
		"its state: it is not of these 2":      func(b *bbolt.Bucket) error { r := sampleInForce(); r.ID = 2; return b.Put(key(2), r.encode()) },
		"its state: the next ID is 1, after 2": func(b *bbolt.Bucket) error { return putState(b, func(s *state) { s.next = 1 }) },
		"exception 2: its format version is 2": func(b *bbolt.Bucket) error {
			v := b.Get(key(2))
			return b.Put(key(2), seal(append([]byte("WEXC\x00\x02"), v[6:len(v)-sumSize]...)))
		},
		"its state: a number, a text or a time": func(b *bbolt.Bucket) error { return putState(b, func(s *state) { s.next = 0 }) },
		"its entry 0 cannot be there":           func(b *bbolt.Bucket) error { _, err := b.CreateBucket([]byte{0}); return err },
	} {
		t.Run(says, func(t *testing.T) {
			w, all := populated(t, 0)
			db, err := bbolt.Open(w.path, 0o600, nil)
			must(t, err)
			must(t, db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket([]byte(bucketName))) }))
			must(t, db.Close())
			if !tryDamaged(t, says, w.path, w.cfg, all) {
				t.Fatal("it is not found")
			}
			w.open()
			if d := w.s.Damage(); d == nil || !strings.Contains(d.Error(), says) {
				t.Errorf("the damage is %v", d)
			}
			w.close()
		})
	}
}

func putState(b *bbolt.Bucket, change func(*state)) error {
	s, err := decodeState(b.Get([]byte(stateKey)))
	if err != nil {
		return err
	}
	change(&s)
	return b.Put([]byte(stateKey), s.encode())
}

// A file cut short under the running program is an error of the next change, not its end.
func TestDamageWhileRunning(t *testing.T) {
	w, _ := populated(t, 500)
	w.open()
	must(t, os.Truncate(w.path, 4096))
	var damage *DamageError
	if _, err := w.s.Add(request("late.example", time.Hour)); !errors.As(err, &damage) {
		t.Fatalf("Add: %v", err)
	}
	before := len(w.s.Active())
	if e, err := w.s.Remove(1, "bob", "done"); !errors.As(err, &damage) || e.End != EndRemoved {
		t.Errorf("Remove: %+v, %v", e, err)
	}
	if n := len(w.s.Active()); n != before-1 {
		t.Errorf("%d in force, %d before", n, before)
	}
	w.clock.pass(5 * time.Hour)
	if n := len(w.s.Tick()); n != before-1 || len(w.s.Active()) != 0 {
		t.Errorf("%d have ended, %d are in force", n, len(w.s.Active()))
	}
	w.s.Close()
	w.open() // the lock is free
	if w.s.Damage() == nil || len(w.s.All()) != 0 {
		t.Error("the damage is not found")
	}
}

func TestSalvageLooksEverywhere(t *testing.T) {
	s := sampleState()
	b := make([]byte, 3<<20)
	for i, at := range []int{0, 1<<20 - 40, 2<<20 + 100, 3<<20 - len(s.encode())} {
		s.next = uint64(10 + i)
		copy(b[at:], s.encode())
		if got := salvage(bytes.NewReader(b)); got != s.next {
			t.Errorf("at %d: %d, want %d", at, got, s.next)
		}
	}
	s.next = idsSane
	copy(b[500:], s.encode())
	copy(b[1000:], s.encode()[:70])
	if got := salvage(bytes.NewReader(b)); got != 13 {
		t.Errorf("%d, want 13", got)
	}
	for n := range len(s.encode()) {
		if got := salvage(bytes.NewReader(s.encode()[:n])); got != 0 {
			t.Errorf("%d of a state cut to %d octets", got, n)
		}
	}
}

// FuzzFile damages a file in several places. It never crashes the program; a file
// that opens can be written to, and what is in force was so before.
func FuzzFile(f *testing.F) {
	w, all := populated(f, 80)
	content := readFile(f, w.path)
	dir := f.TempDir()
	patch := func(at uint32, octets ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, at), octets...)
	}
	f.Add(patch(20, 1), byte(1))
	f.Add(patch(8200, 0xff, 0xff, 0xff), byte(3))
	f.Add([]byte{}, byte(0))
	f.Fuzz(func(t *testing.T, patches []byte, size byte) {
		b := bytes.Clone(content)
		step := 4 + int(size%16)
		for ; len(patches) >= step; patches = patches[step:] {
			copy(b[int(binary.BigEndian.Uint32(patches))%len(b):], patches[4:step])
		}
		path := filepath.Join(dir, "exceptions.db")
		must(t, os.WriteFile(path, b, 0o600))
		if tryDamaged(t, "patched", path, w.cfg, all) {
			return
		}
		s, err := Open(path, w.cfg)
		must(t, err)
		s.file.db.NoSync = true
		_, err = s.Add(request("new.example", time.Hour))
		must(t, err)
		want := s.All()
		must(t, s.Close())
		s, err = Open(path, Config{Clock: w.clock, OnError: Fail})
		must(t, err)
		same(t, "after another", s.All(), want)
		must(t, s.Close())
	})
}
