package blocklist

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// TestNine reads the same names in nine ways of writing, and compares nine.golden with what they list: first what
// domains.txt does, then of each other list the difference from that, as a diff. Hosts files speak of names and not of
// what is below, wildcards the other way round; there is no other difference.
func TestNine(t *testing.T) {
	const dir = "testdata/nine"
	var b strings.Builder
	var all map[string]Scope
	for _, file := range []string{
		"domains.txt", "domains.txt.gz", "domains.txt.zst", "domains.txt.xz", "wildcard.txt", "hosts.txt", "adblock.txt",
		"dnsmasq.conf", "unbound.conf", "rpz.zone", "ut1",
	} {
		l := &List{}
		listed := map[string]Scope{}
		path := filepath.Join(dir, file)
		err := readSource(context.Background(), source{path: path, ut1: isUT1(path)}, newReader(l,
			func(_ int, _ uint16, name []byte, scope Scope, exception bool) error {
				if exception {
					t.Errorf("%s: exception %s", file, NameString(name))
				}
				listed[string(name)] |= scope
				return nil
			}))
		if err != nil || l.Unreadable > 0 {
			t.Errorf("%s: %v, %v", file, err, l.Problems)
		}
		packing := ""
		if l.Packing != "" {
			packing = " packed by " + l.Packing
		}
		fmt.Fprintf(&b, "%s: %s%s, %d lines, %d names\n", file, l.Format, packing, l.Lines, len(listed))
		same := true
		for _, name := range slices.SortedFunc(maps.Keys(listed), func(a, b string) int { return strings.Compare(NameString([]byte(a)), NameString([]byte(b))) }) {
			entry := Entry([]byte(name), 0, listed[name])
			switch {
			case all == nil:
				fmt.Fprintf(&b, "    %s\n", entry)
			case all[name] != listed[name]:
				fmt.Fprintf(&b, "  - %s\n  + %s\n", Entry([]byte(name), 0, all[name]), entry)
			default:
				continue
			}
			same = false
		}
		for name, scope := range all {
			if listed[name] == 0 {
				t.Errorf("%s does not list %s", file, Entry([]byte(name), 0, scope))
			}
		}
		if same {
			fmt.Fprintln(&b, "    the same")
		}
		if all == nil {
			all = listed
		}
		wantScope := Self | Below
		switch file {
		case "wildcard.txt":
			wantScope = Below
		case "hosts.txt":
			wantScope = Self
		}
		for name, scope := range listed {
			if scope != wantScope {
				t.Errorf("%s lists %s", file, Entry([]byte(name), 0, scope))
			}
		}
	}
	golden := filepath.Join(dir, "nine.golden")
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
}
