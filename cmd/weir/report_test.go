package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir/audit"
)

// sampleFindings has names and words of the kind that would act on a page.
func sampleFindings() *findings {
	from := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	seen := audit.Sighting{Count: 12, Blocked: 3, First: from.Add(time.Hour), Last: from.Add(2 * time.Hour)}
	a, b := audit.ClientOf(netip.MustParseAddr("192.0.2.1")), audit.ClientOf(netip.MustParseAddr("2001:db8::1"))
	f := &findings{
		Made: from.AddDate(0, 0, 7), Version: "1.2.3", Conditions: `only policy <b>"x"</b>`,
		Warnings: []string{`segment 7: </p><script>alert(1)</script>`},
		Timeline: audit.Timeline{From: from, To: from.AddDate(0, 0, 7), Allowed: make([]uint64, reportSlots), Blocked: make([]uint64, reportSlots)},
		New: audit.Names{Names: 60, Uncounted: 5, Rows: []audit.NameRow{
			{Name: `<script>alert("x")</script>.example`, Sighting: seen, Clients: []audit.Client{a}},
			{Name: `\027[2j\000.example`, Sighting: seen, Clients: []audit.Client{b}},
		}},
		Gaps: gaps{
			Totals: audit.Totals{Received: 2000, Recorded: 1990, Lost: 10, Gaps: 1, First: 17, Last: 2222},
			Gaps:   []gap{{"overload", 30, 10, from, from.Add(time.Second)}, {"crash", 40, 0, from.Add(time.Hour), from.Add(2 * time.Hour)}},
		},
	}
	for i := range reportSlots {
		f.Timeline.Allowed[i], f.Timeline.Blocked[i] = uint64(i*i%97), uint64(i%13)
	}
	f.Top[0] = audit.Top{By: audit.ByClient, Records: 1990, Keys: 2, Rows: []audit.TopRow{{Count: 1500, Client: a}, {Count: 490, Client: b}}}
	f.Top[1] = audit.Top{By: audit.ByName, Records: 1990, Keys: 5000, Others: 1000, Dropped: 4, Missed: 2, Rows: []audit.TopRow{
		{Count: 900, Name: `"onload="alert(1).example`}, {Count: 90, Name: "www.example"},
	}}
	f.Top[2] = audit.Top{By: audit.ByName}
	f.Top[3] = audit.Top{By: audit.ByCategory, Records: 10, Keys: 2, Rows: []audit.TopRow{{Count: 9, Category: `ads" style="x`}, {Count: 1}}}
	return f
}

func TestReportPage(t *testing.T) {
	var page bytes.Buffer
	if err := writePage(&page, sampleFindings(), time.UTC); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/report.golden.html", page.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/report.golden.html")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), page.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindSubmatch(page.Bytes())
	sum := sha256.Sum256(style[1])
	policy := regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]*)"`).FindSubmatch(page.Bytes())
	hash := strings.ReplaceAll(base64.StdEncoding.EncodeToString(sum[:]), "+", "&#43;")
	if want := "default-src 'none'; style-src 'sha256-" + hash + "'; base-uri 'none'; form-action 'none'"; string(policy[1]) != want {
		t.Errorf("policy %s, want %s", policy[1], want)
	}
}

var (
	tag       = regexp.MustCompile(`<[a-zA-Z/!][^>]*>`)
	attribute = regexp.MustCompile(`\s([a-zA-Z0-9:-]+)="[^"]*"`)
)

// tags are the elements and attributes of a page, in order. Values stand in double
// quotes, and "<", ">" and quotes in text are escaped, or a tag would come of them.
func tags(page string) (all []string) {
	page = page[strings.Index(page, "</style>"):]
	for _, m := range tag.FindAllString(page, -1) {
		name := strings.Fields(strings.Trim(m, "<>"))[0]
		for _, a := range attribute.FindAllStringSubmatch(m, -1) {
			name += " " + a[1]
		}
		all = append(all, name)
	}
	return all
}

// Whatever names and words are, the page has the same elements and attributes as
// of harmless ones, and nothing in it can steer a terminal or a reader's eye.
func TestReportPageHoldsAnyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hostile := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("<>\"'&`=/ \x1b\x00\u202ea"))))
		fill := func(text func() string) string {
			f := sampleFindings()
			f.Conditions, f.Warnings[0] = shown(text()), shown(text())
			f.New.Rows[0].Name, f.Top[1].Rows[0].Name, f.Top[3].Rows[0].Category = shown(text()), shown(text()), shown(text())
			f.Gaps.Gaps[0].Cause = shown(text())
			var page bytes.Buffer
			if err := writePage(&page, f, time.UTC); err != nil {
				t.Fatal(err)
			}
			return page.String()
		}
		page := fill(func() string { return "x" + hostile.Draw(t, "text") })
		if diff := cmp.Diff(tags(fill(func() string { return "x" })), tags(page)); diff != "" {
			t.Fatalf("the page's elements changed:\n%s", diff)
		}
		if strings.ContainsAny(page, "\x00\x1b\u202e") {
			t.Fatal("a control character stands in the page")
		}
	})
}

func TestPlotBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "slots")
		count := rapid.OneOf(rapid.Uint64Max(5), rapid.Uint64Max(1<<40))
		line := audit.Timeline{From: time.Unix(0, 0), To: time.Unix(86400, 0)}
		for range n {
			line.Allowed, line.Blocked = append(line.Allowed, count.Draw(t, "allowed")), append(line.Blocked, count.Draw(t, "blocked"))
		}
		p := newPlot(&line, time.UTC)
		for _, b := range p.Bars {
			var x, w, ay, ah, by, bh float64
			if _, err := fmt.Sscan(strings.Join([]string{b.X, b.Width, b.AllowY, b.Allow, b.BlockY, b.Block}, " "), &x, &w, &ay, &ah, &by, &bh); err != nil {
				t.Fatal(err)
			}
			if x < plotLeft-0.1 || x+w > plotRight+0.2 || by < plotTop-0.2 || ay+ah > plotBottom+0.2 || by+bh > ay+0.3 || by+bh < ay-0.3 {
				t.Fatalf("a bar is out of the plot: %+v", b)
			}
		}
	})
}

// A file is the old one or the new one, and nothing is left beside it.
func TestWriteAside(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "r.html")
	if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := writeAside(file, func(w io.Writer) error { _, _ = w.Write([]byte("half")); return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "old" {
		t.Errorf("%q, %v", b, err)
	}
	if err := writeAside(file, func(w io.Writer) error { _, err := w.Write([]byte("new")); return err }); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}

	link := filepath.Join(dir, "stdout")
	if err := os.Symlink(os.DevNull, link); err != nil {
		t.Fatal(err)
	}
	for _, special := range []string{link, dir} {
		err := writeAside(special, func(io.Writer) error { t.Error("written"); return nil })
		if err == nil || !strings.Contains(err.Error(), "is no regular file") {
			t.Errorf("%s: %v", special, err)
		}
	}
	if to, err := os.Readlink(link); err != nil || to != os.DevNull {
		t.Errorf("%q, %v", to, err)
	}
}
