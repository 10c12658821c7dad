package blocklist

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// state is a folder with lists, and one for what is made of them.
type state struct {
	t          rapid.TB
	dir, state string
	categories []CategoryConfig
	policies   []PolicyConfig
	store      *Store
	now        time.Time
}

func newState(t testing.TB, files map[string]string, categories ...CategoryConfig) *state {
	return &state{t: t, dir: lay(t, files), state: t.TempDir(), categories: categories, now: time.Now()}
}

func (s *state) load(old *Lists) *Lists {
	s.t.Helper()
	lists, err := Load(context.Background(), LoadConfig{
		Categories: s.categories, Dir: s.dir, State: s.state, Store: s.store, Old: old, Policies: s.policies, Now: func() time.Time { return s.now },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := lists.Commit(); err != nil {
		s.t.Fatal(err)
	}
	if s.store != nil {
		if err := lists.KeepCopies(context.Background(), s.store); err != nil {
			s.t.Fatal(err)
		}
	}
	return lists
}

// write replaces a file; it is old enough to be recognised by its times.
func (s *state) write(file, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, file)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.now = s.now.Add(time.Hour)
	if err := os.Chtimes(path+".new", s.now.Add(-time.Minute), s.now.Add(-time.Minute)); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

// says writes what the lists say of a name.
func says(lists *Lists, name string) string {
	w, err := AppendWireName(nil, name)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, h := range lists.Find(w) {
		all = append(all, fmt.Sprintf("%s/%s:%s%s:%v", h.List.Category, h.List.Name, h.Entry, h.Types, h.Effective))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestLoadTakesWhatHasNotChanged(t *testing.T) {
	s := newState(t, map[string]string{
		"a.txt": "one.example\nboth.example\n",
		"b.txt": "||two.example^\n@@||ok.two.example^\n||both.example^$dnstype=A\n",
	}, CategoryConfig{Name: "x", Sources: Sources("a.txt", "b.txt")}, CategoryConfig{Name: "y", Sources: Sources("b.txt")})
	s.now = s.now.Add(time.Hour)
	first := s.load(nil)
	if first.Compiled != "built" {
		t.Fatal(first.Compiled)
	}
	names := []string{"one.example", "www.both.example", "two.example", "x.ok.two.example", "three.example", "other.example"}
	before := map[string]string{}
	for _, n := range names {
		before[n] = says(first, n)
	}
	if want := "x/a.txt:both.example:true x/b.txt:both.exampleA:true y/b.txt:both.exampleA:true"; before["www.both.example"] != want {
		t.Fatal(before["www.both.example"])
	}

	// A second start maps what the first has made, and reads no list: it cannot be read.
	if err := os.Chmod(filepath.Join(s.dir, "a.txt"), 0); err != nil {
		t.Fatal(err)
	}
	again := s.load(nil)
	if again.Compiled != "mapped" || again.matcher.keep == nil {
		t.Fatal(again.Compiled)
	}
	for _, n := range names {
		if got := says(again, n); got != before[n] {
			t.Errorf("%s: %s, was %s", n, got, before[n])
		}
	}

	// One list changes: the other is taken over.
	s.write("b.txt", "||two.example^\n||three.example^\n")
	next := s.load(again)
	b := next.lists[1]
	if next.Compiled != "built" || b.Added != 1 || b.Removed != 2 || next.lists[0].Entries != 2 || next.lists[0].Shared != 0 {
		t.Errorf("%s, %+v", next.Compiled, b)
	}
	for name, want := range map[string]string{
		"one.example":      "x/a.txt:one.example:true",
		"www.both.example": "x/a.txt:both.example:true",
		"three.example":    "x/b.txt:three.example:true y/b.txt:three.example:true",
		"ok.two.example":   "x/b.txt:two.example:true y/b.txt:two.example:true",
	} {
		if got := says(next, name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	// The lists that were in force are as they were.
	for _, n := range names {
		if got := says(again, n); got != before[n] {
			t.Errorf("%s: %s, was %s", n, got, before[n])
		}
	}

	// A category goes.
	s.categories = s.categories[:1]
	last := s.load(next)
	if got := says(last, "three.example"); got != "x/b.txt:three.example:true" || len(last.All()) != 2 {
		t.Error(got)
	}
	entries, err := os.ReadDir(s.state)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestLoadKeepsWhatCannotBeRead has lists go bad in every way: each stays as it was, and says why.
func TestLoadKeepsWhatCannotBeRead(t *testing.T) {
	s := newState(t, map[string]string{"a.txt": "one.example\n", "b.txt": "two.example\n", "d/c.txt": "three.example\n"},
		CategoryConfig{Name: "x", Sources: Sources("a.txt", "b.txt", "d")})
	s.now = s.now.Add(time.Hour)
	lists := s.load(nil)
	check := func(what, why string) {
		t.Helper()
		lists = s.load(lists)
		if l := lists.lists[0]; !strings.Contains(l.Kept, why) || says(lists, "one.example") != "x/a.txt:one.example:true" {
			t.Errorf("%s: kept %q, says %q", what, l.Kept, says(lists, "one.example"))
		}
		if got := says(lists, "two.example") + says(lists, "three.example"); got != "x/b.txt:two.example:truex/d/c.txt:three.example:true" {
			t.Errorf("%s: %s", what, got)
		}
		again := s.load(nil) // a start
		if got := says(again, "one.example"); got != "x/a.txt:one.example:true" {
			t.Errorf("%s, restarted: %s", what, got)
		}
	}
	s.write("a.txt", "<html>\n")
	check("a web page", "web page")
	s.write("a.txt", "not a list\nat all, really\n")
	check("prose", "no readable line")
	s.write("a.txt", "\x1f\x8b\x08\x00\x00")
	check("half a gzip file", "cut off")
	if err := os.Remove(filepath.Join(s.dir, "a.txt")); err != nil {
		t.Fatal(err)
	}
	check("nothing", "does not exist")
	for _, loop := range [][2]string{{"a.txt", "loop"}, {"loop", "a.txt"}} {
		if err := os.Symlink(loop[0], filepath.Join(s.dir, loop[1])); err != nil {
			t.Fatal(err)
		}
	}
	check("a loop of symbolic links", "too many")
	if err := os.Remove(filepath.Join(s.dir, "a.txt")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "d")); err != nil {
		t.Fatal(err)
	}
	check("a folder that is gone too", "does not exist")
	s.write("a.txt", "one.example\nfour.example\n")
	lists = s.load(lists)
	if l := lists.lists[0]; l.Kept != "" || l.Added != 1 || says(lists, "four.example") == "" {
		t.Errorf("%+v", l)
	}
}

// TestLoadRejectsDamagedCompiledForm cuts, flips and swaps the file: it is made anew each time.
func TestLoadRejectsDamagedCompiledForm(t *testing.T) {
	s := newState(t, map[string]string{"a.txt": "one.example\n"}, CategoryConfig{Name: "x", Sources: Sources("a.txt")})
	s.now = s.now.Add(time.Hour)
	s.load(nil)
	path := filepath.Join(s.state, "names")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, data []byte, ok bool) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		lists := s.load(nil)
		if got := says(lists, "one.example"); got != "x/a.txt:one.example:true" {
			t.Fatalf("%s: %s", what, got)
		}
		if rebuilt := lists.Compiled == "built" && lists.Trouble != ""; rebuilt == ok {
			t.Fatalf("%s: %s, %s", what, lists.Compiled, lists.Trouble)
		}
	}
	try("as it was", whole, true)
	for at := range whole {
		data := slices.Clone(whole)
		data[at] ^= 0x20
		try(fmt.Sprint("octet ", at), data, false)
	}
	for _, n := range []int{0, 1, footerSize - 1, footerSize, len(whole) / 2, len(whole) - 1} {
		try(fmt.Sprint("cut to ", n), whole[:n], false)
	}
	try("longer", append(slices.Clone(whole), 0), false)
}

// TestLoadSteps compares lists that are changed step by step with lists that are read afresh.
func TestLoadSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "steps")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		s := &state{t: t, dir: dir, state: filepath.Join(dir, "state"), now: time.Now()}
		lines := rapid.SampledFrom([]string{
			"||a.example^", "||b.a.example^", "@@||b.a.example^", "|a.example^", "||c.example^$dnstype=A", "@@||c.example^$dnstype=~AAAA",
			"||d.c.example^", "*.a.example^", "||e.example^$important", "||f.e.example^", "@@||f.e.example^",
		})
		files := []string{"l0", "l1", "l2"}
		for _, f := range files {
			s.write(f, "||a.example^\n")
		}
		s.categories = []CategoryConfig{{Name: "x", Sources: Sources(files[:2]...)}, {Name: "y", Sources: Sources(files[1:]...)}}
		var lists *Lists
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			for _, f := range files {
				if rapid.Bool().Draw(t, "change") {
					s.write(f, strings.Join(append(rapid.SliceOfN(lines, 0, 6).Draw(t, f), "||a.example^"), "\n"))
				}
			}
			if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				lists = nil
			}
			lists = s.load(lists)
			fresh, err := Load(context.Background(), LoadConfig{Categories: s.categories, Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"a.example", "b.a.example", "x.b.a.example", "c.example", "d.c.example", "x.c.example", "e.example", "f.e.example", "x.f.e.example", "none.example"} {
				if got, want := says(lists, name), says(fresh, name); got != want {
					t.Fatalf("%s: %s, want %s", name, got, want)
				}
			}
			for i, l := range lists.lists {
				if w := fresh.lists[i]; l.Entries != w.Entries || l.Shared != w.Shared || l.Duplicates != w.Duplicates {
					t.Fatalf("%+v\nwant\n%+v", l, w)
				}
			}
			for i, c := range lists.categories {
				if c.Names != fresh.categories[i].Names {
					t.Fatal(c.Names, fresh.categories[i].Names)
				}
			}
		}
	})
}

// TestListVanishesBetweenStatAndOpen takes the file away once it was decided to read it.
func TestListVanishesBetweenStatAndOpen(t *testing.T) {
	s := newState(t, map[string]string{"a.txt": "one.example\n"}, CategoryConfig{Name: "x", Sources: Sources("a.txt")})
	s.now = s.now.Add(time.Hour)
	lists := s.load(nil)
	s.write("a.txt", "two.example\n")
	l := &loader{LoadConfig: LoadConfig{Categories: s.categories, Dir: s.dir, Old: lists, Now: func() time.Time { return s.now }}, seed: lists.matcher.seed}
	l.category(&l.Categories[0], nil)
	in := l.intakes[0]
	if in.use != fromFile {
		t.Fatal("the new file would not be read")
	}
	if err := os.Remove(in.path); err != nil {
		t.Fatal(err)
	}
	if err := l.read(t.Context()); err != nil || len(l.errs) > 0 {
		t.Fatal(err, l.errs)
	}
	if in.use != fromOld || !strings.Contains(in.list.Kept, "no such file") {
		t.Fatalf("%d, kept %q", in.use, in.list.Kept)
	}
	x, err := l.build(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := says(x, "one.example"); got != "x/a.txt:one.example:true" {
		t.Error(got)
	}
}
