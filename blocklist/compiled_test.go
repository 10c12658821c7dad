package blocklist

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// compiledSample writes a compiled form that never differs: of two small lists, under a fixed seed.
func compiledSample(t testing.TB, path string) {
	t.Helper()
	lists := []*List{
		{Name: "a.txt", Category: "ads", Format: "domains", Digest: sha256.Sum256([]byte("a")), from: "a.txt"},
		{Name: "b.txt", Category: "vpn", Format: "adblock", Digest: sha256.Sum256([]byte("b")), from: "b.txt", forced: "adblock", print: "p"},
	}
	holders := append(whole(lists), holder{lists[1], newPart([]uint16{1, 28}, false)})
	seed := seed{0x1122334455667788, 0x99aabbccddeeff01}
	b := newBuilder(seed)
	for i, name := range []string{"track.example", "ads.example", "www.shop.example", "a.b.c.co.uk", `odd\000.example`} {
		add := func(list int, scope Scope, exception bool) {
			if err := b.Add(list, wire(t, name), scope, exception); err != nil {
				t.Fatal(err)
			}
		}
		add(0, Self|Below, false)
		if i%2 == 0 {
			add(1, Below, false)
		}
		if i == 3 {
			add(2, Self, true)
		}
	}
	m := &merge{interner: newInterner()}
	if err := m.run(context.Background(), b.sorter.cursors()); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := &compiledWriter{file: file}
	matcher, err := layOut(m, seed, w)
	if err != nil {
		t.Fatal(err)
	}
	x := newLists(matcher, holders, lists, []Category{{Name: "ads", Lists: lists[:1]}, {Name: "vpn", Lists: lists[1:]}})
	if err := w.finish(x); err != nil {
		t.Fatal(err)
	}
}

const sampleSays = "ads/a.txt:track.example:true vpn/b.txt:*.track.example:true"

// TestCompiledGolden holds the format to the file in testdata: what was written once can be read for as long as the
// version is the same, and is written the same.
func TestCompiledGolden(t *testing.T) {
	golden := filepath.Join("testdata", fmt.Sprintf("names.v%d", compiledVersion))
	path := filepath.Join(t.TempDir(), "names")
	compiledSample(t, path)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the compiled form is another one: a new version is due")
	}
	x, err := openCompiled(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := says(x, "www.track.example"); got != sampleSays {
		t.Error(got)
	}
	if got := says(x, "a.b.c.co.uk"); got != "ads/a.txt:a.b.c.co.uk:true vpn/b.txt:@@=a.b.c.co.ukA AAAA:true" {
		t.Error(got)
	}
	if l := x.lists[1]; l.forced != "adblock" || l.print != "p" || l.Entries != 4 || x.categories[1].Names != 3 {
		t.Errorf("%+v, %+v", l, x.categories)
	}
}

// TestFormerCompiledIsMadeAgain holds that a file of a former version is told, and not read as one of this.
func TestFormerCompiledIsMadeAgain(t *testing.T) {
	for v := 1; v < compiledVersion; v++ {
		_, err := openCompiled(filepath.Join("testdata", fmt.Sprintf("names.v%d", v)))
		if want := fmt.Sprintf("is of version %d, not %d", v, compiledVersion); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("version %d: %v", v, err)
		}
	}
}

// seal gives a compiled form the digest that it ought to have.
func seal(data []byte) []byte {
	body := data[:len(data)-sha256.Size]
	sum := sha256.Sum256(body)
	return append(bytes.Clone(body), sum[:]...)
}

// FuzzCompiled opens files that are damaged but have the right digest: nothing panics, and what opens can be asked,
// walked through, and says a name only if it has it.
func FuzzCompiled(f *testing.F) {
	path := filepath.Join(f.TempDir(), "names")
	compiledSample(f, path)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[:len(whole)-sha256.Size], uint16(0), byte(0))
	f.Add(whole[:len(whole)-sha256.Size], uint16(3), byte(0xff))
	f.Add(whole[:footerSize], uint16(9), byte(1))
	names := [][]byte{wire(f, "www.track.example"), wire(f, "a.b.c.co.uk"), wire(f, `odd\000.example`), wire(f, "none.example")}
	f.Fuzz(func(t *testing.T, data []byte, at uint16, flip byte) {
		data = append(bytes.Clone(data), make([]byte, sha256.Size)...)
		data[int(at)%len(data)] ^= flip
		path := filepath.Join(t.TempDir(), "names")
		if err := os.WriteFile(path, seal(data), 0o600); err != nil {
			t.Fatal(err)
		}
		x, err := openCompiled(path)
		if err != nil {
			return
		}
		for _, name := range names {
			x.Find(name)
		}
		numbers := make([][]uint32, len(x.holders))
		for i := range numbers {
			numbers[i] = []uint32{uint32(i)}
		}
		c := &cursor{nodes: &nodeReader{m: x.matcher, says: x.matcher.sayings(numbers)}}
		for {
			more, err := c.next()
			if err != nil || !more {
				break
			}
			var offs [128]uint8
			if labels(c.name, &offs) < 1 {
				t.Fatalf("walked to %q", c.name)
			}
		}
		if p, err := Compile([]PolicyConfig{{Name: "all", Any: true, Rules: []RuleConfig{{Action: ActionBlock, Categories: []string{"ads"}}}}}, x, time.Time{}); err == nil {
			for _, name := range names {
				p.Decide(ask(name, 1, client))
			}
		}
	})
}

// TestMappingEndsWithItsMatcher reloads a hundred times: files that are no longer used are not kept mapped.
func TestMappingEndsWithItsMatcher(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks at /proc")
	}
	s := newState(t, map[string]string{"a.txt": "one.example\n"}, CategoryConfig{Name: "x", Sources: Sources("a.txt")})
	var lists *Lists
	for i := range 100 {
		s.write("a.txt", fmt.Sprintf("one.example\nn%d.example\n", i))
		lists = s.load(lists)
	}
	mapped := func() int {
		text, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), s.state)
	}
	for deadline := time.Now().Add(10 * time.Second); mapped() > 1; { // cleanups run some time after a collection
		if time.Now().After(deadline) {
			t.Fatalf("%d files are mapped", mapped())
		}
		runtime.GC()
		runtime.Gosched()
	}
	if got := says(lists, "n99.example"); got != "x/a.txt:n99.example:true" {
		t.Fatal(got)
	}
}

// TestLoadSurvivesFileCutShort cuts the mapped file under lists in force: the next load makes it anew.
func TestLoadSurvivesFileCutShort(t *testing.T) {
	s := newState(t, map[string]string{"a.txt": many(0, 2000), "b.txt": "b.example\n"}, CategoryConfig{Name: "x", Sources: Sources("a.txt", "b.txt")})
	s.now = s.now.Add(time.Hour)
	if runtime.GOOS != "linux" {
		t.Skip("other systems may not map files")
	}
	lists := s.load(nil)
	if lists.matcher.keep == nil {
		t.Fatal("the compiled form is not mapped")
	}
	if err := os.Truncate(filepath.Join(s.state, "names"), 0); err != nil {
		t.Fatal(err)
	}
	s.write("b.txt", "c.example\n")
	next := s.load(lists)
	if next.Compiled != "built" || !strings.Contains(next.Trouble, "damaged") {
		t.Errorf("%s, %q", next.Compiled, next.Trouble)
	}
	if got := says(next, "c.example") + says(next, "n1999.example"); got != "x/b.txt:c.example:truex/a.txt:n1999.example:true" {
		t.Error(got)
	}
}
