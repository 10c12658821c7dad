package blocklist

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var storeEpoch = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

func openTestStore(t fataler, dir string) *Store {
	t.Helper()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Now = func() time.Time { return storeEpoch }
	return s
}

// fataler is of testing.TB what rapid.T has too.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

// version is a version of a list with that text.
func version(text string) *Copy {
	return &Copy{Digest: sha256.Sum256([]byte(text)), Bytes: int64(len(text)), Modified: storeEpoch.Add(-time.Hour), Taken: storeEpoch}
}

// fetchInto gives a store a text as an origin does.
func fetchInto(t fataler, s *Store, name, text string) (changed bool) {
	t.Helper()
	d, err := s.draft(name)
	if err != nil {
		t.Fatal(err)
	}
	defer d.discard()
	if _, err := d.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	changed, err = s.arrived(name, d, *version(text), originState{etag: `"` + text + `"`}, storeEpoch.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// must ends the test at an error.
func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refuses fails the test unless err says all of want.
func refuses(t testing.TB, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v; want %q", err, w)
		}
	}
}

// textOf returns the text of a version that the store has.
func textOf(t fataler, s *Store, c *Copy) string {
	t.Helper()
	if c == nil || c.File == "" {
		return ""
	}
	in, err := s.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	text, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// filesBelow returns the files below dir, by their paths from there.
func filesBelow(t fataler, dir string) []string {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			path, err = filepath.Rel(dir, path)
			all = append(all, path)
		}
		return err
	}))
	return all
}

func TestStoreLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lists")
	s := openTestStore(t, dir)
	const name = "../../../etc/passwd\x00\n"
	fetchInto(t, s, name, "a.example\n")
	folder := fmt.Sprintf("copies/%x", sha256.Sum256([]byte(name)))[:len("copies/")+16]
	list := folder + "/" + fmt.Sprintf("%x", sha256.Sum256([]byte("a.example\n")))[:16] + ".list"
	want := []string{list, folder + "/state.json"}
	if got := filesBelow(t, dir); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for path, mode := range map[string]os.FileMode{
		".": 0o700, "copies": 0o700, folder: 0o700, list: 0o600, folder + "/state.json": 0o600,
	} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %v", path, info, err, mode)
		}
	}
	if got := s.Kept(name); got.Latest == nil || got.Latest.File != filepath.Join(dir, list) || got.Name != name {
		t.Errorf("%+v", got)
	}
}

// The state file, to the octet.
func TestStateGolden(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	const name = "https://feeds.example/malware.txt"
	c := version("one.example\n")
	c.Entries = 1
	fetchInto(t, s, name, "one.example\n")
	must(t, s.Settle(name, c, nil, ""))
	c2 := version("two.example\n")
	c2.Entries = 1
	fetchInto(t, s, name, "two.example\n")
	must(t, s.Settle(name, c2, nil, ""))
	fetchInto(t, s, name, "\n")
	must(t, s.Settle(name, c2, version("\n"), "holds 0 names, and 1 are in force: less than 50%"))
	must(t, s.Approve(name))
	must(t, s.failed(name, "the server answers 503 \x1b[2J", storeEpoch.Add(time.Minute)))
	s.Now = func() time.Time { return storeEpoch.Add(time.Hour) }
	must(t, s.Forget(nil))
	path := filepath.Join(s.dir, folderOf(name), stateFile)
	got, err := os.ReadFile(path)
	must(t, err)
	const golden = "testdata/state.json"
	if *update {
		must(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if diff := gocmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
	again := openTestStore(t, filepath.Dir(s.dir))
	if diff := gocmp.Diff(s.state(name), again.state(name), gocmp.AllowUnexported(listState{}, originState{}, Copy{})); diff != "" {
		t.Error(diff)
	}
}

func TestStoreStates(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	const name = "list"
	one, two, three := version("one"), version("two"), version("three")
	for _, act := range []func(string) error{s.Approve, s.Reject, s.Rollback} {
		refuses(t, act(name), "list list", "nothing to")
	}
	if got := filesBelow(t, s.dir); len(got) > 0 || len(s.All()) > 0 {
		t.Errorf("what was refused left %q, %v", got, s.All())
	}
	check := func(what, inForce, previous, latest, held string) {
		t.Helper()
		k := s.Kept(name)
		got := [...]string{textOf(t, s, k.InForce), textOf(t, s, k.Previous), textOf(t, s, k.Latest), textOf(t, s, k.Held)}
		if want := [...]string{inForce, previous, latest, held}; got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	if !fetchInto(t, s, name, "one") || fetchInto(t, s, name, "one") {
		t.Error("a version is new more or less than once")
	}
	check("fetched", "", "", "one", "")
	must(t, s.Settle(name, one, nil, ""))
	must(t, s.Settle(name, one, nil, ""))
	check("settled twice", "one", "", "one", "")
	fetchInto(t, s, name, "two")
	must(t, s.Settle(name, two, nil, ""))
	check("next", "two", "one", "two", "")
	fetchInto(t, s, name, "three")
	must(t, s.Settle(name, two, three, "too small"))
	check("held", "two", "one", "three", "three")
	if k := s.Kept(name); k.Why != "too small" {
		t.Errorf("held because %q", k.Why)
	}
	must(t, s.Approve(name))
	if k := s.Kept(name); k.Approved != three.Digest || k.Held == nil {
		t.Errorf("approved: %+v", k)
	}
	must(t, s.Settle(name, three, nil, ""))
	check("approved and in force", "three", "two", "three", "")
	if k := s.Kept(name); k.Approved != none || k.Why != "" {
		t.Errorf("the approval outlives its use: %+v", k)
	}
	must(t, s.Rollback(name))
	check("rolled back", "two", "", "", "")
	if k := s.Kept(name); k.Refused != three.Digest || k.Latest == nil || k.Latest.Digest != three.Digest {
		t.Errorf("rolled back: %+v", k)
	}
	if fetchInto(t, s, name, "three") {
		t.Error("what was rolled back is new again")
	}
	check("the origin still has it", "two", "", "", "")
	refuses(t, s.Rollback(name), "before the one in force")
	fetchInto(t, s, name, "one")
	must(t, s.Settle(name, two, one, "too large"))
	must(t, s.Approve(name))
	must(t, s.Reject(name))
	check("rejected", "two", "", "", "")
	if k := s.Kept(name); k.Refused != one.Digest || k.Approved != none || k.Held != nil || k.Why != "" {
		t.Errorf("rejected: %+v", k)
	}
	if got := filesBelow(t, s.dir); len(got) != 2 {
		t.Errorf("%q is left of one version and its state", got)
	}
	must(t, s.Settle(name, nil, nil, ""))
	check("nothing", "", "two", "", "")
	must(t, s.Rollback(name))
	check("back from nothing", "two", "", "", "")
	if k := s.Kept(name); k.Refused != one.Digest {
		t.Errorf("nothing was refused: %+v", k)
	}
}

// A copy that is kept of a local list is what was loaded, whatever becomes of the list.
func TestKeepLocalList(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	text := hostsText(3000)
	plainCopy := version(text)
	must(t, s.Settle("plain", plainCopy, nil, ""))
	c := *plainCopy
	c.File = "/etc/passwd" // where it came from is not where it is kept
	must(t, s.Settle("plain", &c, nil, ""))
	if k := s.Kept("plain"); k.InForce.File != "" {
		t.Fatalf("nothing is kept yet: %+v", k.InForce)
	}
	must(t, s.Keep("plain", &c, strings.NewReader(text)))
	info, err := os.Stat(c.File)
	if err != nil || !c.Packed || info.Size() > int64(len(text))*7/10 {
		t.Errorf("%+v: %v, %v", c, info, err)
	}
	k := s.Kept("plain")
	if k.InForce.File != c.File || textOf(t, s, k.InForce) != text {
		t.Errorf("kept: %+v", k.InForce)
	}
	file, err := os.ReadFile(c.File)
	must(t, err)
	l, err := CheckFile(c.File, "", nil)
	if err != nil || l.Packing != "zstd" || l.Entries != 3000 || l.Bytes != int64(len(file)) {
		t.Errorf("the list reader finds %+v, %v", l, err)
	}
	must(t, s.Keep("plain", &c, failing{strings.NewReader("")})) // not even read

	for _, packing := range []string{"gzip", "zstd"} {
		packed := pack(t, packing, text)
		c := version(string(packed))
		must(t, s.Keep(packing, c, bytes.NewReader(packed))) // first kept, then settled
		must(t, s.Settle(packing, c, nil, ""))
		if k := s.Kept(packing); k.InForce.Packed || textOf(t, s, k.InForce) != string(packed) {
			t.Errorf("%s: %+v", packing, k.InForce)
		}
	}
	empty := version("")
	must(t, s.Settle("empty", empty, nil, ""))
	must(t, s.Keep("empty", empty, strings.NewReader("")))
	if k := s.Kept("empty"); k.InForce.File == "" || textOf(t, s, k.InForce) != "" {
		t.Errorf("empty: %+v", k.InForce)
	}
	again := openTestStore(t, filepath.Dir(s.dir))
	if diff := gocmp.Diff(s.All(), again.All(), cmpopts.IgnoreUnexported(Copy{})); diff != "" || len(again.Problems()) > 0 {
		t.Errorf("opened again: %s %q", diff, again.Problems())
	}

	for _, changed := range []string{text[1:], text + "x", "", strings.Replace(text, "0.0.0.0", "0.0.0.1", 1)} {
		before := filesBelow(t, s.dir)
		other := version(text)
		refuses(t, s.Keep("changed", other, strings.NewReader(changed)), "list changed", "changed while")
		if other.File != "" || !slices.Equal(filesBelow(t, s.dir), before) {
			t.Errorf("of a text that is another there is left %+v", other)
		}
	}
	refuses(t, s.Keep("broken", version(text), failing{strings.NewReader(text)}), "list broken", os.ErrDeadlineExceeded.Error())
}

// Of the texts that versions can have, one is longer than a sector.
var storeTexts = []string{"a", "b\n", strings.Repeat("c", 9999), "d", "e"}

// storeModel is a naive store of one list. A version is its text; empty is none.
type storeModel struct {
	inForce, previous, latest, held string
	approved, refused               string
	files                           map[string]bool // the texts of which there is a file
}

func (m *storeModel) slots() []string { return []string{m.inForce, m.previous, m.latest, m.held} }

func (m *storeModel) refuse(text string) {
	m.refused = text
	if m.approved == text {
		m.approved = ""
	}
	m.files[text] = m.files[text] && m.inForce == text
}

func (m *storeModel) settle(inForce, held string) {
	if m.inForce != inForce && m.inForce != "" {
		m.previous = m.inForce
	}
	m.inForce, m.held = inForce, held
	if m.approved == inForce {
		m.approved = ""
	}
}

// TestStoreAgreesWithModel plays with a store and a naive model of it, opens it anew now and then, and proves after each
// move that exactly the files are there that are needed, and that they are whole.
func TestStoreAgreesWithModel(t *testing.T) {
	memory := "/dev/shm" // where nothing is slow to be durable
	if _, err := os.Stat(memory); err != nil {
		memory = t.TempDir()
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(memory, "")
		must(rt, err)
		defer os.RemoveAll(dir)
		s := openTestStore(rt, dir)
		const name = "list"
		m := storeModel{files: map[string]bool{}}
		text := rapid.SampledFrom(storeTexts)
		maybe := rapid.SampledFrom(append([]string{""}, storeTexts...))
		at := func(text string) *Copy {
			if text == "" {
				return nil
			}
			return version(text)
		}
		fails := func(rt *rapid.T, err error, want bool) {
			if (err != nil) != want {
				rt.Fatalf("error %v, want one: %v", err, want)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"fetch": func(rt *rapid.T) {
				next := text.Draw(rt, "text")
				want := next != m.refused && (next != m.latest || !m.files[next])
				m.latest = next
				m.files[next] = next != m.refused || m.files[next] && slices.Contains([]string{m.inForce, m.previous, m.held}, next)
				if got := fetchInto(rt, s, name, next); got != want {
					rt.Fatalf("changed %v, want %v", got, want)
				}
			},
			"settle": func(rt *rapid.T) {
				inForce, held := maybe.Draw(rt, "in force"), maybe.Draw(rt, "held")
				must(rt, s.Settle(name, at(inForce), at(held), "why"))
				m.settle(inForce, held)
			},
			"keep": func(rt *rapid.T) {
				next := text.Draw(rt, "text")
				must(rt, s.Keep(name, version(next), strings.NewReader(next)))
				must(rt, s.Settle(name, at(m.inForce), at(m.held), "why"))
				m.settle(m.inForce, m.held)
				m.files[next] = true
			},
			"approve": func(rt *rapid.T) {
				fails(rt, s.Approve(name), m.held == "")
				if m.held != "" {
					m.approved = m.held
				}
				if m.approved == m.refused {
					m.refused = ""
				}
			},
			"reject": func(rt *rapid.T) {
				fails(rt, s.Reject(name), m.held == "")
				if m.held != "" {
					m.refuse(m.held)
					m.held = ""
				}
			},
			"rollback": func(rt *rapid.T) {
				possible := m.previous != "" && m.files[m.previous]
				fails(rt, s.Rollback(name), !possible)
				if old := m.inForce; possible {
					m.inForce, m.previous = m.previous, ""
					if old != "" && old != m.inForce {
						m.refuse(old)
					}
				}
			},
			"open": func(rt *rapid.T) { s = openTestStore(rt, dir) },
			"": func(rt *rapid.T) {
				files := 0
				for text := range m.files {
					m.files[text] = m.files[text] && slices.Contains(m.slots(), text)
					if m.files[text] {
						files++
					}
				}
				k := s.Kept(name)
				for i, c := range []*Copy{k.InForce, k.Previous, k.Latest, k.Held} {
					want := m.slots()[i]
					if c == nil && want != "" || c != nil && (c.Digest != version(want).Digest || (c.File != "") != m.files[want]) {
						rt.Fatalf("version %d: %+v, want %.10q, with a file: %v", i, c, want, m.files[want])
					}
					if m.files[want] && textOf(rt, s, c) != want {
						rt.Fatalf("version %d: %.10q, want %.10q", i, textOf(rt, s, c), want)
					}
				}
				for _, d := range [][2]any{{k.Approved, m.approved}, {k.Refused, m.refused}} {
					if want := d[1].(string); want == "" && d[0] != none || want != "" && d[0] != version(want).Digest {
						rt.Fatalf("digest %x, want that of %.10q", d[0], want)
					}
				}
				if got := filesBelow(rt, dir); len(got) != files+min(len(got), 1) || len(s.Problems()) > 0 {
					rt.Fatalf("%d versions, and files %q; %q", files, got, s.Problems())
				}
			},
		})
	})
}

// Several stores on one folder do not lose what the others write.
func TestStoresShareAFolder(t *testing.T) {
	dir := t.TempDir()
	const stores, rounds = 4, 20
	var wg sync.WaitGroup
	for i := range stores {
		s := openTestStore(t, dir)
		wg.Go(func() {
			own := fmt.Sprint("own ", i)
			for n := range rounds {
				text := fmt.Sprint(i, " ", n)
				fetchInto(t, s, own, text)
				if err := s.Settle(own, version(text), nil, ""); err != nil {
					t.Error(err)
				}
				if err := s.failed("all", "broken", storeEpoch); err != nil {
					t.Error(err)
				}
				openTestStore(t, dir) // sweeps beside the others
			}
		})
	}
	wg.Wait()
	s := openTestStore(t, dir)
	for i := range stores {
		k := s.Kept(fmt.Sprint("own ", i))
		if want := fmt.Sprint(i, " ", rounds-1); textOf(t, s, k.InForce) != want || k.Previous == nil {
			t.Errorf("store %d: %+v", i, k)
		}
	}
	if k := s.Kept("all"); k.Failures != stores*rounds {
		t.Errorf("%d failures were counted, want %d", k.Failures, stores*rounds)
	}
	if len(s.Problems()) > 0 || len(filesBelow(t, dir)) != 3*stores+1 {
		t.Errorf("%q, %q", s.Problems(), filesBelow(t, dir))
	}
}
