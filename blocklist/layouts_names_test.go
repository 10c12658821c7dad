package blocklist

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNamesForAreLikeLists holds the figures that the comment of namer gives.
func TestNamesForAreLikeLists(t *testing.T) {
	t.Setenv("WEIR_NAMES", "")
	const n = 200_000
	names := namesFor(t, n)
	first := namesFor(t, 1000)
	seen, children := map[string]bool{}, map[string]int{}
	var octets, count, com int
	var offs [128]uint8
	for i, name := range names {
		if i < len(first) && string(first[i]) != string(name) {
			t.Fatalf("name %d is %s or %s", i, NameString(name), NameString(first[i]))
		}
		if text := NameString(name); seen[string(name)] || string(wire(t, text)) != string(name) || reasonFor(text) != "" {
			t.Fatalf("name %d, %s, is not new or not a name for lists", i, text)
		}
		seen[string(name)] = true
		depth := labels(name, &offs)
		octets += len(name)
		count += depth
		if strings.HasSuffix(string(name), "\x03com\x00") {
			com++
		}
		if depth > 2 {
			children[string(name[offs[1]:])]++
		}
	}
	nodes := map[string]bool{}
	shared := 0
	for _, name := range names {
		for _, p := range parents(string(name)) {
			nodes[p] = true
		}
	}
	for _, c := range children {
		if c > 1 {
			shared += c
		}
	}
	for _, f := range []struct {
		what          string
		got, min, max float64
	}{
		{"octets of a name", float64(octets) / n, 20, 22},
		{"labels of a name", float64(count) / n, 2.4, 2.7},
		{"share of com", float64(com) / n, 0.35, 0.45},
		{"share below shared parents", float64(shared) / n, 0.17, 0.28},
		{"nodes of a tree", float64(len(nodes)) / n, 1.1, 1.22},
	} {
		t.Logf("%s: %.3f", f.what, f.got)
		if f.got < f.min || f.got > f.max {
			t.Errorf("%s: %.3f, want %g to %g", f.what, f.got, f.min, f.max)
		}
	}
}

// reasonFor says why a line is no name for lists.
func reasonFor(text string) string {
	_, _, reason := appendName(nil, []byte(text), &strict)
	return reason
}

// TestNamesForBeginWithLists reads names back that writeNames wrote, from a folder that holds other things too.
func TestNamesForBeginWithLists(t *testing.T) {
	t.Setenv("WEIR_NAMES", "")
	dir := t.TempDir()
	writeNames(t, filepath.Join(dir, "a"), 1000)
	want := namesFor(t, 1000)
	other := "# no name\n\n192.0.2.1\nlocalhost\n||ads.example^\nads.example/x\n 0.0.0.0 ads.example\n*.below.example\n" + NameString(want[7]) + "\n"
	if err := os.WriteFile(filepath.Join(dir, "b"), []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEIR_NAMES", dir)
	want = append(want, wire(t, "below.example"))
	got := namesFor(t, 1500)
	seen := map[string]bool{}
	for i, name := range got {
		if i < len(want) && string(name) != string(want[i]) {
			t.Fatalf("name %d is %s, want %s", i, NameString(name), NameString(want[i]))
		}
		if seen[string(name)] {
			t.Fatalf("name %d, %s, is there twice", i, NameString(name))
		}
		seen[string(name)] = true
	}
	if len(got) != 1500 {
		t.Fatalf("%d names, want 1500", len(got))
	}
}
