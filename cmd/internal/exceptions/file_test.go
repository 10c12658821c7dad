package exceptions

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func logTo(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func TestTheFileIsPrivate(t *testing.T) {
	w := newWorld(t, filepath.Join(t.TempDir(), "weir-data", "audit"))
	for path, want := range map[string]os.FileMode{w.path: 0o600, filepath.Dir(w.path): 0o700} {
		info, err := os.Stat(path)
		must(t, err)
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
	if left, _ := filepath.Glob(w.path + ".*"); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

func TestAnotherProcessHasIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, t.TempDir())
	w.add("shop.example", time.Hour)
	for what, open := range map[string]func() (*Store, error){
		"Open":         func() (*Store, error) { return Open(w.path, w.cfg) },
		"OpenReadOnly": func() (*Store, error) { return OpenReadOnly(w.path, w.cfg) },
	} {
		start := time.Now()
		_, err := open()
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), w.path+": another process has the exceptions file open") {
			t.Errorf("%s: %v", what, err)
		}
		if took := time.Since(start); took < lockTimeout || took > 10*lockTimeout {
			t.Errorf("%s: %s", what, took)
		}
	}
	w.restart()
	same(t, "still there", names(w.s.Active()), "shop.example")
	if moved, _ := filepath.Glob(w.path + movedInfix + "*"); moved != nil {
		t.Errorf("moved aside: %q", moved)
	}
}

// Two that start at once get one store: one waits, or is told that the other has it.
func TestTwoStartAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "exceptions.db")
	stores, failures := make(chan *Store), make(chan error)
	for range 4 {
		go func() {
			s, err := Open(path, Config{})
			if err != nil {
				failures <- err
				return
			}
			stores <- s
		}()
	}
	s := <-stores
	for range 3 {
		select {
		case err := <-failures:
			if !errors.Is(err, ErrLocked) {
				t.Error(err)
			}
		case <-stores:
			t.Error("two have it")
		}
	}
	must(t, s.Close())
}

// However far the first initialisation came before a crash, the next start works.
func TestATornInitialisation(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.close()
	whole := readFile(t, w.path)
	for cut := 0; cut <= len(whole); cut += 1024 {
		for _, left := range [][]byte{whole[:cut], append(make([]byte, cut), whole[cut:]...)} {
			must(t, os.Remove(w.path))
			must(t, os.WriteFile(w.path+newSuffix, left, 0o600))
			w.open()
			if e := w.add("shop.example", time.Hour); e.ID != 1 || w.s.Damage() != nil {
				t.Fatalf("cut to %d: ID %d, damage %v", cut, e.ID, w.s.Damage())
			}
			w.restart()
			same(t, "after a restart", names(w.s.Active()), "shop.example")
			w.close()
			if _, err := os.Lstat(w.path + newSuffix); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("cut to %d: it is still there", cut)
			}
		}
	}
}

// A power cut while a change is written leaves what was before or what is after,
// in whatever order the pages came to the disk, as long as the disk syncs when it is told to.
func TestAPowerCutIsAllOrNothing(t *testing.T) {
	w, before := populated(t, 500)
	old := readFile(t, w.path)
	w.open()
	fill(w, 200, nil) // by one commit of many pages
	after := w.s.All()
	w.kill()
	next := readFile(t, w.path)
	const page = 4096
	var data []int
	meta := -1
	for at := 0; at < len(next); at += page {
		if at < len(old) && bytes.Equal(old[at:at+page], next[at:at+page]) {
			continue
		}
		if at < 2*page {
			meta = at
		} else {
			data = append(data, at)
		}
	}
	if meta < 0 || len(data) < 8 || len(after) != len(before)+200 {
		t.Fatalf("meta page at %d, data at %d", meta, data)
	}
	check := func(what string, content []byte, want []Exception) {
		t.Helper()
		must(t, os.WriteFile(w.path, content, 0o600))
		if tryDamaged(t, what, w.path, w.cfg, want) {
			t.Fatalf("%s: it is damaged", what)
		}
	}
	for set := range 1 << min(len(data), 8) { // the file grows before all else
		torn := append(bytes.Clone(old), make([]byte, max(len(next)-len(old), 0))...)
		for i, at := range data {
			if set>>(i%8)&1 == 1 {
				copy(torn[at:at+page/2], next[at:]) // half a page
			}
		}
		check("without its meta page", torn, before)
	}
	torn := bytes.Clone(next)
	copy(torn[meta:meta+page], old[meta:])
	check("all but its meta page", torn, before)
	for sector := 512; sector <= page; sector += 512 {
		torn := bytes.Clone(next)
		copy(torn[meta+sector:meta+page], old[meta+sector:meta+page])
		check("with the beginning of its meta page", torn, after)
	}
}

func TestOtherTroubleIsNoDamage(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "exceptions.db"), 0o700))
	_, err := Open(filepath.Join(dir, "exceptions.db"), Config{})
	var damage *DamageError
	if err == nil || errors.As(err, &damage) || !strings.Contains(err.Error(), "exceptions.db") {
		t.Error(err)
	}
	if _, err = OpenReadOnly(filepath.Join(dir, "exceptions.db"), Config{}); err == nil || errors.As(err, &damage) {
		t.Error(err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	if _, err = Open(filepath.Join(dir, "file", "exceptions.db"), Config{}); err == nil || errors.As(err, &damage) {
		t.Error(err)
	}
}
