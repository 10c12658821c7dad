package blocklist

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// readBytes reads a list from memory.
func readBytes(text []byte, f *format, r *reader) error {
	return readText(context.Background(), func() (io.Reader, error) { return bytes.NewReader(text), nil }, f, r)
}

// readEntries reads a list from memory and returns its entries, each as "line entry".
func readEntries(text []byte, f *format) (*List, []string, error) {
	l := &List{File: "list"}
	var entries []string
	err := readBytes(text, f, newReader(l, func(line int, name []byte, scope Scope, exception bool) error {
		mark := ""
		if exception {
			mark = exceptionMark
		}
		entries = append(entries, fmt.Sprintf("%d %s%s", line, mark, Entry(name, 0, scope)))
		return nil
	}))
	return l, entries, err
}

// TestFormatsGolden reads testdata/*.list and compares what it makes of each with the .golden file beside it.
func TestFormatsGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.list")
	if err != nil || len(files) < len(formats) {
		t.Fatalf("%d lists in testdata, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			l, entries, err := readEntries(text, nil)
			var b strings.Builder
			fmt.Fprintf(&b, "format %s, lines %d, comments %d, entries %d, unreadable %d, error %v\n",
				l.Format, l.Lines, l.Comments, l.Entries, l.Unreadable, err)
			for _, e := range entries {
				fmt.Fprintln(&b, "entry", e)
			}
			for _, i := range l.Ignored {
				fmt.Fprintf(&b, "ignored %d %s\n", i.Count, i.Reason)
			}
			for _, n := range l.Notes {
				fmt.Fprintf(&b, "note %d %s\n", n.Count, n.Text)
			}
			for _, p := range l.Problems {
				fmt.Fprintln(&b, "problem", p)
			}
			golden := strings.TrimSuffix(file, ".list") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(string(want), b.String()); diff != "" {
				t.Error(diff)
			}
			if name, _, _ := strings.Cut(filepath.Base(file), "."); !strings.HasPrefix(name, l.Format) {
				t.Errorf("taken for %s", l.Format)
			}
		})
	}
}

func TestFilesThatAreNoLists(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"\n\t <!DOCTYPE html>\n<p>", "web page"},
		{"\xef\xbb\xbf<html>", "web page"},
		{`{"domains": []}`, "JSON"},
		{"\xff\xfea\x00", "UTF-16"},
		{"\x1f\x8b\x08", "gzip"},
		{"this is\nnot a list\n", "no readable line"},
	} {
		if _, _, err := readEntries([]byte(c.text), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want an error with %q", c.text, err, c.want)
		}
	}
	for _, text := range []string{"", "\n\n", "# nothing yet\n", "\xef\xbb\xbf"} {
		if l, entries, err := readEntries([]byte(text), nil); err != nil || len(entries) > 0 || l.Unreadable > 0 {
			t.Errorf("%q: %v, %v, %d unreadable", text, entries, err, l.Unreadable)
		}
	}
}

func TestVeryLongLine(t *testing.T) {
	for _, end := range []string{"\nafter.example\n", "\n", ""} {
		text := "before.example\n" + strings.Repeat("x", 10<<20) + end
		l, entries, err := readEntries([]byte(text), nil)
		want := []string{"1 before.example"}
		if strings.Contains(end, "after") {
			want = append(want, "3 after.example")
		}
		if err != nil || !slices.Equal(entries, want) || l.Unreadable != 1 || l.Problems[0].Line != 2 {
			t.Errorf("end %q: %v, %v, %+v", end, entries, err, l.Problems)
		}
		if len(l.Problems[0].Text) > 2*maxProblemText {
			t.Errorf("%d octets kept of the line", len(l.Problems[0].Text))
		}
	}
}

func TestProblemsAreCapped(t *testing.T) {
	l, _, err := readEntries([]byte("a.example\n"+strings.Repeat("b\x1b[2Jad name\n", 1000)), nil)
	if err != nil || l.Unreadable != 1000 || len(l.Problems) != maxProblems {
		t.Fatalf("%v: %d unreadable, %d kept", err, l.Unreadable, len(l.Problems))
	}
	if got, want := l.Problems[0].String(), `list:2:2: control character or blank in a name: b\x1b[2Jad name`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestEntryErrorEndsReading(t *testing.T) {
	l, lines := &List{}, 0
	err := readBytes([]byte("a.example\nb.example\n"), nil,
		newReader(l, func(int, []byte, Scope, bool) error { lines++; return errFull }))
	if err != errFull || lines != 1 {
		t.Errorf("%v after %d entries", err, lines)
	}
}

// fuzzFormat holds, of any text read as one format: nothing panics; every entry is a wire name in lower case of two labels or
// more; every line is accounted for; and what a line says does not depend on the lines around it, if the format is not one where it does.
func fuzzFormat(f *testing.F, name string) {
	files, err := filepath.Glob("testdata/*.list")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	form, ok := formatNamed(name)
	if !ok {
		f.Fatal("no such format")
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if refuse(text) != nil || len(text) > sampleSize {
			return
		}
		detect(text, true)
		l := &List{File: "list"}
		type entry struct {
			line      int
			name      string
			scope     Scope
			exception bool
		}
		var all []entry
		readErr := readBytes(text, &form, newReader(l,
			func(line int, name []byte, scope Scope, exception bool) error {
				all = append(all, entry{line, string(name), scope, exception})
				var offs [128]uint8
				if labels(name, &offs) < 2 || scope == 0 || scope > Self|Below {
					t.Fatalf("line %d: entry %q scope %d", line, name, scope)
				}
				if again, err := AppendWireName(nil, NameString(name)); err != nil || string(again) != string(name) {
					t.Fatalf("line %d: entry %q is not in lower case", line, name)
				}
				return nil
			}))
		ignored := 0
		for _, i := range l.Ignored {
			ignored += i.Count
		}
		if l.Comments+l.Entries+l.Unreadable+ignored < l.Lines || len(all) != l.Entries {
			t.Fatalf("%d lines: %d comments, %d entries, %d unreadable, %d ignored", l.Lines, l.Comments, l.Entries, l.Unreadable, ignored)
		}
		if readErr != nil && l.Entries > 0 {
			t.Fatal(readErr)
		}
		if form.finish != nil || form.ahead != nil && (bytes.Contains(text, []byte("important")) || bytes.Contains(text, []byte("badfilter"))) {
			return // there lines do depend on each other
		}
		var again []entry
		for i, line := range bytes.Split(bytes.TrimPrefix(text, bom), newline) {
			r := newReader(&List{}, func(at int, name []byte, scope Scope, exception bool) error {
				again = append(again, entry{at, string(name), scope, exception})
				return nil
			})
			r.line, r.number = line, i+1
			form.read(r, bytes.TrimSpace(line))
		}
		if !slices.Equal(all, again) {
			t.Fatalf("read whole: %v, line by line: %v", all, again)
		}
	})
}

func FuzzAdblock(f *testing.F) { fuzzFormat(f, "adblock") }
func FuzzDnsmasq(f *testing.F) { fuzzFormat(f, "dnsmasq") }
func FuzzUnbound(f *testing.F) { fuzzFormat(f, "unbound") }
func FuzzHosts(f *testing.F)   { fuzzFormat(f, "hosts") }
func FuzzRPZ(f *testing.F)     { fuzzFormat(f, "rpz") }
func FuzzDomains(f *testing.F) { fuzzFormat(f, "domains") }
