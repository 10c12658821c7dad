package blocklist

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

// small is a list of two names in each format, of which the first line that is content lists the first.
var small = map[string]string{
	"adblock": "[Adblock]\n||a.example^\n||b.example^\n",
	"dnsmasq": "address=/a.example/#\nlocal=/b.example/\n",
	"unbound": "server:\nlocal-zone: \"a.example.\" always_null\nlocal-zone: \"b.example\" refuse\n",
	"cidr":    "192.0.2.0/24\n2001:db8::/32\n",
	"hosts":   "0.0.0.0 a.example\n:: b.example\n",
	"rpz":     "$TTL 60\na.example CNAME .\nb.example CNAME *.\n",
	"domains": "a.example\n=b.example\n",
}

// TestLineEnds holds that a byte-order mark, CRLF, blanks at the ends of lines, and a missing last line end say
// nothing, in every format.
func TestLineEnds(t *testing.T) {
	for i := range formats {
		name := formats[i].name
		text := small[name]
		l, want, err := readEntries([]byte(text), nil)
		if err != nil || l.Format != name || len(want) != 2 || l.Unreadable > 0 {
			t.Fatalf("%s: %v, %v, %+v", name, want, err, l)
		}
		for what, text := range map[string]string{
			"BOM":           string(bom) + text,
			"CRLF":          strings.ReplaceAll(text, "\n", "\r\n"),
			"BOM and CRLF":  string(bom) + strings.ReplaceAll(text, "\n", "\r\n"),
			"blanks":        strings.ReplaceAll(text, "\n", " \t\n"),
			"no line end":   strings.TrimRight(text, "\n"),
			"one CR at end": strings.TrimRight(text, "\n") + "\r",
		} {
			l, got, err := readEntries([]byte(text), nil)
			if err != nil || l.Format != name || !slices.Equal(got, want) || l.Unreadable > 0 {
				t.Errorf("%s with %s: %s, %v, %v, %v; want %v", name, what, l.Format, got, err, l.Problems, want)
			}
		}
	}
}

// TestNUL holds that a line with a NUL octet is told with its place, wherever it stands in it, and that the lines
// around it are read.
func TestNUL(t *testing.T) {
	for i := range formats {
		form := &formats[i]
		text := small[form.name]
		_, want, err := readEntries([]byte(text), form)
		if err != nil {
			t.Fatal(err)
		}
		last := text[strings.LastIndex(strings.TrimSuffix(text, "\n"), "\n")+1:]
		number := strings.Count(text, "\n") + 1
		for at := 1; at < len(last)-1; at++ {
			broken := last[:at] + "\x00" + last[at:]
			l, got, err := readEntries([]byte(text+broken+last), form)
			_, entry, _ := strings.Cut(want[1], " ")
			if err != nil || len(got) < 3 || !slices.Equal(got[:2], want) || got[len(got)-1] != fmt.Sprint(number+1, " ", entry) {
				t.Errorf("%s: %q: %v, %v", form.name, broken, got, err)
			}
			for _, entry := range got {
				if strings.Contains(entry, `\000`) {
					t.Errorf("%s: %q lists %s", form.name, broken, entry)
				}
			}
			if l.Unreadable == 0 && len(l.Ignored) == 0 && len(got) < 4 {
				t.Errorf("%s: %q is nowhere", form.name, broken)
			}
			for _, p := range l.Problems {
				if p.Line != number || strings.Contains(p.Text, "\x00") {
					t.Errorf("%s: %q: %s", form.name, broken, p)
				}
			}
		}
	}
	l, got, err := readEntries(append([]byte("a.example\n"), make([]byte, 1<<20)...), nil)
	if err != nil || len(got) != 1 || l.Unreadable != 1 {
		t.Errorf("a megabyte of NUL: %v, %v, %+v", got, err, l)
	}
}

// garbage gives lines that no format understands, without holding them.
type garbage struct {
	lines int
	r     *rand.Rand
	line  []byte
	rest  []byte // of line, not given yet
}

func newGarbage(lines int) *garbage { return &garbage{lines: lines, r: rand.New(rand.NewPCG(8, 9))} }

func (g *garbage) Read(p []byte) (int, error) {
	const alphabet = "abc.\x00\x01\x7f\x80\xff[](){}|^$#!;:/\\\"'=*@%&<> \t~?-_09"
	for n := 0; ; {
		if len(g.rest) == 0 {
			if g.lines == 0 {
				if n == 0 {
					return 0, io.EOF
				}
				return n, nil
			}
			g.lines--
			g.line = append(g.line[:0], "\x02 "...)
			for range g.r.IntN(30) {
				g.line = append(g.line, alphabet[g.r.IntN(len(alphabet))])
			}
			g.line = append(g.line, '\n')
			g.rest = g.line
		}
		copied := copy(p[n:], g.rest)
		g.rest = g.rest[copied:]
		if n += copied; n == len(p) {
			return n, nil
		}
	}
}

func readGarbage(f *format, lines int) (*List, int, error) {
	l, entries := &List{File: "list"}, 0
	r := newReader(l, func(int, uint16, []byte, Scope, bool) error { entries++; return nil })
	err := readText(context.Background(), func() (io.Reader, error) { return newGarbage(lines), nil }, f, r)
	return l, entries, err
}

// TestGarbageIsBounded holds that a long file of garbage takes no memory that grows with it, and time as its length.
func TestGarbageIsBounded(t *testing.T) {
	lines := 1_000_000
	if testing.Short() {
		lines /= 10
	}
	var before, after runtime.MemStats
	form, _ := formatNamed("domains")
	runtime.GC()
	runtime.ReadMemStats(&before)
	begin := time.Now()
	l, entries, err := readGarbage(&form, lines)
	took := time.Since(begin)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "holds no readable line as domains list: list:1:1: control character or blank in a name: ") {
		t.Errorf("%.200v", err)
	}
	if entries > 0 || l.Lines != lines || l.Unreadable != lines || len(l.Problems) != maxProblems {
		t.Errorf("%d entries, %+v", entries, l)
	}
	if took > 30*time.Second { // where time goes with the square, it is hours
		t.Errorf("%d lines in %v", lines, took)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("%d octets of memory were taken", grown)
	}
	runtime.KeepAlive(l)
}

// TestGarbageIsRefused holds that no format finds a name in garbage, and that a list of nothing else is refused with
// the place of its first mistake, or is all of kinds that the format knows and passes over.
func TestGarbageIsRefused(t *testing.T) {
	place := regexp.MustCompile(`^holds no readable line as [a-z]+ list: list:\d+:\d+: `)
	for i := range formats {
		l, entries, err := readGarbage(&formats[i], 20_000)
		ignored := 0
		for _, i := range l.Ignored {
			ignored += i.Count
		}
		if entries > 0 || l.Comments+ignored+l.Unreadable < 20_000 || len(l.Ignored) > 20 {
			t.Errorf("%s: %d entries, %+v", formats[i].name, entries, l)
		}
		if l.Unreadable > 0 && (err == nil || !place.MatchString(err.Error())) {
			t.Errorf("%s: %.200v", formats[i].name, err)
		}
	}
	if _, err := detect([]byte("\x02 garbage\n"), true); err != nil {
		t.Error(err)
	}
	if _, _, err := readEntries(bytes.Repeat([]byte("\x02 garbage\n"), 10), nil); err == nil || !strings.Contains(err.Error(), "list:1:1: ") {
		t.Error(err)
	}
}

// BenchmarkGarbage reads ten million lines that say nothing.
func BenchmarkGarbage(b *testing.B) {
	form, _ := formatNamed("domains")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := readGarbage(&form, 10_000_000); err == nil {
			b.Fatal("garbage is a list")
		}
	}
}

// TestEachLineWith holds that it gives the lines with the mark that eachLine gives, however the text comes.
func TestEachLineWith(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("a$\n")), 0, 100, -1).Draw(t, "text")
		text += rapid.SampledFrom([]string{"", strings.Repeat("x", 40), strings.Repeat("x", 40) + "$\n$", "\n"}).Draw(t, "end")
		open := func() *bufio.Reader {
			return bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(text)), 16)
		}
		if rapid.Bool().Draw(t, "blocks") {
			open = func() *bufio.Reader { return bufio.NewReaderSize(strings.NewReader(text), 16) }
		}
		var want, got []string
		err := eachLine(context.Background(), open(), func(_ int, line []byte, long bool) error {
			if !long && bytes.IndexByte(line, '$') >= 0 {
				want = append(want, string(line))
			}
			return nil
		})
		err2 := eachLineWith(context.Background(), open(), '$', func(line []byte) error { got = append(got, string(line)); return nil })
		if err != nil || err2 != nil || !slices.Equal(got, want) {
			t.Fatalf("%q: %q, want %q; %v, %v", text, got, want, err, err2)
		}
	})
}
