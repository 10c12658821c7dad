package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/audit"
)

// indicatorsText is what was read, a line each, for comparison.
func indicatorsText(f *indicators) string {
	var b strings.Builder
	for i, ind := range f.list {
		fmt.Fprintf(&b, "%d %q: ", f.line[i], f.text[i])
		if ind.Network.IsValid() {
			fmt.Fprintln(&b, ind.Network)
		} else {
			fmt.Fprintf(&b, "%q scope %d\n", ind.Name, ind.Scope)
		}
	}
	for _, p := range f.problems {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}

func TestReadIndicators(t *testing.T) {
	in, err := os.ReadFile("testdata/indicators.txt")
	if err != nil {
		t.Fatal(err)
	}
	found, err := readIndicators(strings.NewReader(string(in)), "list.txt")
	if err != nil {
		t.Fatal(err)
	}
	got := indicatorsText(found)
	if *update {
		if err := os.WriteFile("testdata/indicators.golden", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/indicators.golden")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	many := strings.Repeat("a.example\n", audit.MaxIndicators)
	if found, err := readIndicators(strings.NewReader(many), "x"); err != nil || len(found.list) != audit.MaxIndicators {
		t.Errorf("%d indicators, %v", audit.MaxIndicators, err)
	}
	if _, err := readIndicators(strings.NewReader(many+"\n#\nb\n"), "x"); err == nil || err.Error() != "x:100003: there are more than 100000 indicators: split the file" {
		t.Error(err)
	}
	long := strings.Repeat("x", 3*indicatorLine)
	if found, err := readIndicators(strings.NewReader(long+"\nb\n"), "x"); err != nil || found.bad != 1 || len(found.list) != 1 || found.line[0] != 2 {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := readIndicators(broken{}, "x"); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

// A line without an end, as a device or a file of another kind may have, takes no more
// memory the longer it is.
func TestALongLineTakesNoMemory(t *testing.T) {
	long := strings.Repeat("x", 16<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	found, err := readIndicators(strings.NewReader(long), "x")
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; err != nil || found.bad != 1 || took > 1<<20 {
		t.Errorf("%d octets for %d lines, %v", took, found.bad, err)
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

// FuzzReadIndicators asserts that each line is an indicator, a comment, or told, and that what
// is read is what a hunt takes.
func FuzzReadIndicators(f *testing.F) {
	f.Add("a.example\n=b\n*.c # why\n192.0.2.1\n2001:db8::/32\n;\n")
	f.Add("\ufeffa[.]b\r\nhttp://x/\n..\n\\000\n")
	f.Fuzz(func(t *testing.T, text string) {
		found, err := readIndicators(strings.NewReader(text), "x")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Count(text, "\n") + 1
		if len(found.list)+found.bad > lines || len(found.problems) != min(found.bad, maxProblems) {
			t.Fatalf("%d and %d of %d lines", len(found.list), found.bad, lines)
		}
		for i, ind := range found.list {
			word := strings.ReplaceAll(found.text[i], "[.]", ".")
			if _, err := netip.ParsePrefix(word); err == nil != ind.Network.IsValid() {
				if _, err := netip.ParseAddr(word); err == nil != ind.Network.IsValid() {
					t.Fatalf("%q is %+v", word, ind)
				}
			}
			if !ind.Network.IsValid() && (len(ind.Name) < 1 || len(ind.Name) > 255 || ind.Name[len(ind.Name)-1] != 0 || ind.Scope < 1 || ind.Scope > 3) {
				t.Fatalf("%q is %+v", word, ind)
			}
		}
	})
}

// endless is a device that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestIndicatorsEnd(t *testing.T) {
	if _, err := readIndicators(endless{}, "zero"); err == nil || !strings.Contains(err.Error(), "zero is larger than 64MiB") {
		t.Errorf("a device that never ends: %v", err)
	}
}
