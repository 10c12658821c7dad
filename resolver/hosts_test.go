package resolver

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// render shows what a hosts file says, a line for each line of it.
func (h *HostsFile) render() string {
	var out strings.Builder
	for _, e := range h.Entries {
		fmt.Fprintf(&out, "%d: %s %s\n", e.Line, e.Addr, strings.Join(e.Names, " "))
	}
	for _, p := range h.Problems {
		fmt.Fprintf(&out, "%d: problem: %s\n", p.Line, p.What)
	}
	fmt.Fprintf(&out, "%d bad\n", h.Bad)
	return out.String()
}

// TestHostsFile: the golden file shows what is read, and what is not.
func TestHostsFile(t *testing.T) {
	h, err := ReadHostsFile(filepath.Join("testdata", "hosts"))
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "hosts.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(h.render()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := h.render(); got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestHostsFileLimits: what is no hosts file is refused as a whole, a line that
// is none costs itself alone.
func TestHostsFileLimits(t *testing.T) {
	h, err := ParseHosts(strings.NewReader("\xef\xbb\xbf10.0.0.1 a\r\n10.0.0.2 "+strings.Repeat("x ", maxHostsLine)+"\r\n10.0.0.3 c"), "hosts")
	if err != nil || h.render() != "1: 10.0.0.1 a\n3: 10.0.0.3 c\n2: problem: is longer than 65536 octets\n1 bad\n" {
		t.Errorf("%v\n%s", err, h.render())
	}
	h, err = ParseHosts(strings.NewReader(strings.Repeat("no address\n", 100)), "hosts")
	if err != nil || h.Bad != 100 || len(h.Problems) != maxHostsProblems {
		t.Errorf("%v, %d bad, %d told", err, h.Bad, len(h.Problems))
	}
	for name, text := range map[string]string{"names": strings.Repeat("0.0.0.0 ads.example\n", maxHostsNames+1), "octets": strings.Repeat(strings.Repeat("#", 1023)+"\n", 16<<10+1)} {
		if _, err := ParseHosts(strings.NewReader(text), "hosts"); err == nil || !strings.Contains(err.Error(), "belongs into the sources of a category") {
			t.Errorf("too many %s: %v", name, err)
		}
	}
	if _, err := ReadHostsFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is no ordinary file") {
		t.Errorf("a folder: %v", err)
	}
}

var (
	plainName  = regexp.MustCompile(`^([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?$`)
	hostsSpace = regexp.MustCompile(`[ \t\v\f\r]+`)
)

// plainHosts reads a hosts file the short way: by regular expressions.
func plainHosts(text string) string {
	var out, problems strings.Builder
	bad := 0
	for i, line := range strings.Split(strings.TrimPrefix(text, "\xef\xbb\xbf"), "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := slices.DeleteFunc(hostsSpace.Split(line, -1), func(w string) bool { return w == "" })
		if len(words) == 0 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		var names []string
		wrong := err != nil || addr.Zone() != "" || len(words) == 1
		for _, w := range words[1:] {
			if plainName.MatchString(w) && len(strings.TrimSuffix(w, ".")) <= 253 {
				names = append(names, strings.ToLower(strings.TrimSuffix(w, ".")))
			} else {
				wrong = true
			}
		}
		if wrong {
			bad++
		}
		if err == nil && len(names) > 0 {
			fmt.Fprintf(&out, "%d: %s %s\n", i+1, addr.WithZone("").Unmap(), strings.Join(names, " "))
		}
	}
	return out.String() + problems.String() + fmt.Sprintf("%d bad\n", bad)
}

// FuzzHosts: every file is read as the oracle reads it, and what is read can be
// served: each name gives its address, and no other name gives any.
func FuzzHosts(f *testing.F) {
	if text, err := os.ReadFile(filepath.Join("testdata", "hosts")); err == nil {
		f.Add(string(text))
	}
	for _, text := range []string{"", "10.0.0.1 a a.", "::1%x a", "10.0.0.1 a..b . -", "\xef\xbb\xbf1.1.1.1 b\r\n", "::ffff:1.2.3.4 m\v\fn", "1.1.1.1 \xff\u00a0 \x00", "10.0.0.1 com x.com y.x.com lab.example www.lab.example LOCALHOST a.localhost"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<14 {
			return
		}
		h, err := ParseHosts(strings.NewReader(text), "hosts")
		if err != nil {
			t.Fatal(err)
		}
		told := h.Problems
		h.Problems = nil
		if got, want := h.render(), plainHosts(text); got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
		for _, p := range told {
			if !isShown(p.What) {
				t.Fatalf("a problem shows what a terminal would obey: %q", p.What)
			}
		}
		l, err := NewLocal(LocalConfig{
			Zones: []Zone{zoneOf(t, "lab.example\nwww 60 A 192.0.2.1")}, Special: true, // the private zones would take most of the time
			Hosts: []*HostsFile{h}, HostsDomain: "lan.example", HostsTTL: 60,
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Notes()) > 0 {
			return // some name is somebody else's
		}
		for _, e := range h.Entries {
			for _, name := range e.Names {
				qtype := map[bool]string{true: "A", false: "AAAA"}[e.Addr.Is4()]
				if got := l.says(t, name+". "+qtype); !strings.Contains(got, fmt.Sprintf(" 60 %s %s;", qtype, e.Addr)) && !strings.HasSuffix(name, "localhost") {
					t.Fatalf("%s is %s, which is not %s", name, got, e.Addr)
				}
			}
		}
	})
}

// isShown says whether text is of printable characters alone.
func isShown(text string) bool {
	return !slices.ContainsFunc([]byte(text), func(c byte) bool { return c < ' ' || c == 0x7f }) && !bytes.ContainsRune([]byte(text), '\u202e')
}
