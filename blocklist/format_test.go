package blocklist

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/netip"
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
	mark := func(exception bool) string {
		if exception {
			return exceptionMark
		}
		return ""
	}
	r := newReader(l, func(line int, part uint16, name []byte, scope Scope, exception bool) error {
		types := ""
		if part > 0 {
			types = " " + l.parts[part-1].text()
		}
		entries = append(entries, fmt.Sprintf("%d %s%s%s", line, mark(exception), Entry(name, 0, scope), types))
		return nil
	})
	r.network = func(line int, prefix netip.Prefix, exception bool) error {
		entries = append(entries, fmt.Sprintf("%d %s%s", line, mark(exception), prefix))
		return nil
	}
	err := readBytes(text, f, r)
	return l, entries, err
}

// text writes a part as $dnstype does, with numbers.
func (p part) text() string {
	var all []string
	for _, t := range p.types {
		word := fmt.Sprint("TYPE", t)
		for name, number := range typeNames {
			if number == t {
				word = name
			}
		}
		if p.not {
			word = "~" + word
		}
		all = append(all, word)
	}
	return strings.Join(all, "|")
}

// TestFormatsGolden reads testdata/*.list and compares what it makes of each with the .golden file beside it. Each tells
// its format by itself, but FORMAT-forced.list.
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
			base := filepath.Base(file)
			var forced *format
			if name, ok := strings.CutSuffix(base, "-forced.list"); ok {
				f, _ := formatNamed(name)
				forced = &f
			}
			l, entries, err := readEntries(text, forced)
			var b strings.Builder
			fmt.Fprintf(&b, "format %s, lines %d, comments %d, entries %d, networks %d, unreadable %d, error %v\n",
				l.Format, l.Lines, l.Comments, l.Entries, l.Networks, l.Unreadable, err)
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
			if name, _, _ := strings.Cut(base, "."); !strings.HasPrefix(name, l.Format) {
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
	for _, begin := range []string{"before.example\n", "||before.example^$important\n"} {
		for _, end := range []string{"\nafter.example\n", "\n", ""} {
			text := begin + strings.Repeat("x", 10<<20) + end
			l, entries, err := readEntries([]byte(text), nil)
			want := []string{"1 before.example"}
			if strings.Contains(end, "after") {
				want = append(want, map[string]string{"domains": "3 after.example", "adblock": "3 =after.example"}[l.Format])
			}
			if err != nil || !slices.Equal(entries, want) || l.Unreadable != 1 || l.Problems[0].Line != 2 {
				t.Errorf("end %q: %v, %v, %+v", end, entries, err, l.Problems)
			}
			if len(l.Problems[0].Text) > 2*maxProblemText {
				t.Errorf("%d octets kept of the line", len(l.Problems[0].Text))
			}
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
		newReader(l, func(int, uint16, []byte, Scope, bool) error { lines++; return errFull }))
	if err != errFull || lines != 1 {
		t.Errorf("%v after %d entries", err, lines)
	}
}

// fuzzFormat holds, of any text read as one format: nothing panics; every entry is a wire name in lower case of two labels or
// more, or a network; every line is accounted for; and what a line says does not depend on the lines around it, if the format is not one where it does.
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
		type entry struct {
			line      int
			types     string
			name      string
			scope     Scope
			network   netip.Prefix
			exception bool
		}
		gather := func(l *List, all *[]entry) *reader {
			r := newReader(l, func(line int, part uint16, name []byte, scope Scope, exception bool) error {
				e := entry{line: line, name: string(name), scope: scope, exception: exception}
				if part > 0 {
					e.types = l.parts[part-1].text()
				}
				*all = append(*all, e)
				return nil
			})
			r.network = func(line int, prefix netip.Prefix, exception bool) error {
				*all = append(*all, entry{line: line, network: prefix, exception: exception})
				return nil
			}
			return r
		}
		l := &List{File: "list"}
		var all []entry
		readErr := readBytes(text, &form, gather(l, &all))
		for _, e := range all {
			if e.name == "" {
				if !e.network.IsValid() || e.network != e.network.Masked() || e.network.Bits() == 0 || e.network.Addr().Is4In6() && e.network.Bits() >= 96 {
					t.Fatalf("line %d: network %s", e.line, e.network)
				}
				continue
			}
			var offs [128]uint8
			if labels([]byte(e.name), &offs) < 2 || e.scope == 0 || e.scope > Self|Below {
				t.Fatalf("line %d: entry %q scope %d", e.line, e.name, e.scope)
			}
			if again, err := AppendWireName(nil, NameString([]byte(e.name))); err != nil || string(again) != e.name {
				t.Fatalf("line %d: entry %q is not in lower case", e.line, e.name)
			}
		}
		ignored := 0
		for _, i := range l.Ignored {
			ignored += i.Count
		}
		if l.Comments+l.Entries+l.Networks+l.Unreadable+ignored < l.Lines || len(all) != l.Entries+l.Networks {
			t.Fatalf("%d lines: %d comments, %d entries, %d networks, %d unreadable, %d ignored",
				l.Lines, l.Comments, l.Entries, l.Networks, l.Unreadable, ignored)
		}
		if readErr != nil && len(all) > 0 {
			t.Fatal(readErr)
		}
		if form.finish != nil && form.ahead == nil {
			return // there lines do depend on each other
		}
		for _, word := range []string{"important", "badfilter", "denyallow"} {
			if form.ahead != nil && bytes.Contains(text, []byte(word)) {
				return // likewise
			}
		}
		var again []entry
		for i, line := range bytes.Split(bytes.TrimPrefix(text, bom), newline) {
			r := gather(&List{}, &again)
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
func FuzzCIDR(f *testing.F)    { fuzzFormat(f, "cidr") }
