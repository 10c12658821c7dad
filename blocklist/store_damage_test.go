package blocklist

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a crash can leave behind is removed, and nothing else is.
func TestOpenStoreCleans(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir)
	const name = "list"
	fetchInto(t, s, name, "one")
	must(t, s.Settle(name, version("one"), nil, ""))
	folder := filepath.Join(s.dir, folderOf(name))
	before := filesBelow(t, dir)
	lay := func(path, text string) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(folder, path), []byte(text), 0o600))
	}
	lay("new-123.tmp", "half of a")                // killed before the rename of a version or of a state
	lay("0123456789abcdef.list", "two")            // killed between the rename of a version and that of the state
	lay("README", "mine")                          // somebody's
	lay("0123456789ABCDEF.list", "not our naming") // likewise
	must(t, os.WriteFile(filepath.Join(dir, "names"), []byte("matcher"), 0o600))
	must(t, os.Symlink(dir, filepath.Join(folder, "0000000000000000.list")))
	must(t, os.Mkdir(filepath.Join(s.dir, "new-1.tmp"), 0o700))
	writing, err := s.draft(name) // of a process that lives
	must(t, err)
	defer writing.discard()

	again := openTestStore(t, dir)
	var left []string
	for _, path := range filesBelow(t, dir) {
		if !slices.Contains(before, path) {
			left = append(left, filepath.Base(path))
		}
	}
	want := []string{"0000000000000000.list", "0123456789ABCDEF.list", "README", filepath.Base(writing.Name()), "names"}
	if !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
	if k := again.Kept(name); textOf(t, again, k.InForce) != "one" || len(again.Problems()) > 0 {
		t.Errorf("%+v, %q", k, again.Problems())
	}
}

func TestDamagedStates(t *testing.T) {
	const name = "list"
	for what, c := range map[string]struct {
		damage func(state string) string
		want   string
	}{
		"cut off":       {func(s string) string { return s[:len(s)/2] }, "unexpected end of JSON"},
		"empty":         {func(string) string { return "" }, "unexpected end of JSON"},
		"octets":        {func(s string) string { return "\x00\xff" + s }, "invalid character"},
		"another list":  {func(s string) string { return strings.Replace(s, `"list"`, `"other"`, 1) }, "another list"},
		"later version": {func(s string) string { return strings.Replace(s, `"version": 1`, `"version": 2`, 1) }, "version 2; this program reads version 1"},
		"digest":        {func(s string) string { return strings.Replace(s, `"digest": "`, `"digest": "ff`, 1) }, "digest of 66 digits"},
		"negative":      {func(s string) string { return strings.Replace(s, `"size": `, `"size": -`, 1) }, "out of its range"},
		"time":          {func(s string) string { return strings.Replace(s, `12:00:00Z`, `12:00`, 1) }, "parsing time"},
		"time before us": {func(s string) string {
			return strings.ReplaceAll(s, `"2024-05-01T12:00:00Z"`, `"0001-01-01T00:00:00+23:00"`)
		}, "out of its range"},
		"endless": {func(s string) string { return s + strings.Repeat(" ", maxState) }, "longer than"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			s := openTestStore(t, dir)
			fetchInto(t, s, name, "one")
			fetchInto(t, s, "fine", "two")
			path := filepath.Join(s.dir, folderOf(name), stateFile)
			text, err := os.ReadFile(path)
			must(t, err)
			damaged := c.damage(string(text))
			must(t, os.WriteFile(path, []byte(damaged), 0o600))

			s = openTestStore(t, dir)
			problems := s.Problems()
			if len(problems) != 1 || !strings.Contains(problems[0], path) || !strings.Contains(problems[0], c.want) || !strings.Contains(problems[0], "set aside") {
				t.Errorf("%q, want one with %q and %s", problems, c.want, path)
			}
			if k := s.Kept(name); k.Latest != nil || len(s.All()) != 1 {
				t.Errorf("it is known: %+v", s.All())
			}
			aside, err := filepath.Glob(path + ".damaged-*")
			if err != nil || len(aside) != 1 {
				t.Fatalf("%q, %v", aside, err)
			}
			if text, err := os.ReadFile(aside[0]); err != nil || string(text) != damaged {
				t.Errorf("set aside is %.100q, %v", text, err)
			}
			if lists, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.list")); len(lists) != 1 {
				t.Errorf("versions left: %q", lists)
			}
			fetchInto(t, s, name, "three")
			s = openTestStore(t, dir)
			if k := s.Kept(name); textOf(t, s, k.Latest) != "three" || len(s.Problems()) > 0 {
				t.Errorf("after a new one: %+v, %q", k, s.Problems())
			}
			if lists, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.list")); len(lists) != 1 {
				t.Errorf("versions left: %q", lists)
			}
		})
	}
}

// A version whose file is gone or cut off is as if not kept, and that is told.
func TestMissingVersions(t *testing.T) {
	for what, damage := range map[string]func(path string) error{
		"gone":    os.Remove,
		"cut off": func(path string) error { return os.Truncate(path, 1) },
		"folder":  func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			s := openTestStore(t, dir)
			fetchInto(t, s, "list", "one")
			must(t, damage(s.Kept("list").Latest.File))
			s = openTestStore(t, dir)
			k := s.Kept("list")
			if k.Latest == nil || k.Latest.File != "" || k.Latest.Digest != version("one").Digest || len(s.Problems()) != 1 {
				t.Errorf("%+v, %q", k.Latest, s.Problems())
			}
			if what != "folder" {
				if !fetchInto(t, s, "list", "one") || textOf(t, s, s.Kept("list").Latest) != "one" {
					t.Errorf("fetched again: %+v", s.Kept("list").Latest)
				}
			}
		})
	}
}

// Two versions whose digests begin the same have one file name.
func TestDigestsThatBeginTheSame(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	fetchInto(t, s, "list", "one")
	d, err := s.draft("list")
	must(t, err)
	defer d.discard()
	evil := *version("one")
	evil.Digest[31] ^= 1
	_, err = s.arrived("list", d, evil, originState{}, storeEpoch)
	refuses(t, err, "begins the same", "attack")
	if k := s.Kept("list"); textOf(t, s, k.Latest) != "one" {
		t.Errorf("%+v", k.Latest)
	}
}

func TestForget(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir)
	now := storeEpoch
	s.Now = func() time.Time { return now }
	for _, name := range []string{"kept", "dropped", "back"} {
		fetchInto(t, s, name, name)
	}
	left := func(want ...string) {
		t.Helper()
		var got []string
		for _, k := range openTestStore(t, dir).All() {
			got = append(got, k.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("left are %q, want %q", got, want)
		}
	}
	must(t, s.Forget(map[string]bool{"kept": true, "never seen": true}))
	now = now.Add(6 * 24 * time.Hour)
	must(t, s.Forget(map[string]bool{"kept": true}))
	must(t, s.Forget(map[string]bool{"kept": true, "back": true}))
	left("back", "dropped", "kept")
	folder := filepath.Join(s.dir, folderOf("dropped"))
	must(t, os.WriteFile(filepath.Join(folder, damagedFile+"x"), nil, 0o600))
	now = now.Add(24 * time.Hour)
	must(t, s.Forget(map[string]bool{"kept": true}))
	left("back", "kept")
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the folder is there: %v", err)
	}
	if got := s.All(); len(got) != 2 {
		t.Errorf("%+v", got)
	}
	now = now.Add(6 * 24 * time.Hour)
	must(t, s.Forget(map[string]bool{"kept": true}))
	left("back", "kept")
	now = now.Add(24 * time.Hour)
	must(t, os.WriteFile(filepath.Join(s.dir, folderOf("back"), "README"), nil, 0o600))
	must(t, s.Forget(map[string]bool{"kept": true}))
	left("kept")
	if got, err := os.ReadDir(filepath.Join(s.dir, folderOf("back"))); err != nil || len(got) != 1 {
		t.Errorf("what somebody put there: %v, %v", got, err)
	}

	// A clock that was wrong does not make it longer.
	fetchInto(t, s, "late", "late")
	now = now.Add(1000 * 24 * time.Hour)
	must(t, s.Forget(map[string]bool{"kept": true}))
	now = now.Add(-1000 * 24 * time.Hour)
	must(t, s.Forget(map[string]bool{"kept": true}))
	now = now.Add(forgotten)
	must(t, s.Forget(map[string]bool{"kept": true}))
	left("kept")

	// A folder without a state goes when it is old and no list's.
	fetchInto(t, s, "orphan", "orphan")
	must(t, os.Remove(filepath.Join(s.dir, folderOf("orphan"), stateFile)))
	s = openTestStore(t, dir)
	s.Now = time.Now
	must(t, s.Forget(map[string]bool{"kept": true}))
	orphan := filepath.Join(s.dir, folderOf("orphan"))
	if _, err := os.Stat(orphan); err != nil {
		t.Error(err)
	}
	s.Now = func() time.Time { return time.Now().Add(forgotten + time.Minute) }
	must(t, s.Forget(map[string]bool{"kept": true, "orphan": true}))
	if _, err := os.Stat(orphan); err != nil {
		t.Error(err)
	}
	must(t, s.Forget(map[string]bool{"kept": true}))
	if _, err := os.Stat(orphan); !os.IsNotExist(err) {
		t.Errorf("the folder is there: %v", err)
	}
	left("kept")
}

func TestOpenStoreRefuses(t *testing.T) {
	_, err := OpenStore("")
	refuses(t, err, "store of lists", "no folder")
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	_, err = OpenStore(file)
	refuses(t, err, file)
}

// FuzzState holds: any text is a state or refused, and a state that was read is written and read the same again.
func FuzzState(f *testing.F) {
	golden, err := os.ReadFile("testdata/state.json")
	if err != nil {
		f.Fatal(err)
	}
	var name struct{ Name string }
	must(f, json.Unmarshal(golden, &name))
	dir := "/copies/" + folderOf(name.Name)
	f.Add(golden)
	f.Add([]byte(`{"version":1,"name":"` + name.Name + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		st, err := decodeState(text, dir)
		if err != nil {
			return
		}
		for _, c := range st.copies() {
			if (*c).File != "" && (filepath.Dir((*c).File) != dir || !isHash(strings.TrimSuffix(filepath.Base((*c).File), listSuffix))) {
				t.Errorf("a version is at %s", (*c).File)
			}
		}
		once, err := st.encode()
		must(t, err)
		again, err := decodeState(once, dir)
		must(t, err)
		twice, err := again.encode()
		must(t, err)
		if string(once) != string(twice) {
			t.Errorf("%s\nis not\n%s", once, twice)
		}
	})
}
