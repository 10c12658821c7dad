package blocklist

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestCheckFile(t *testing.T) {
	dir := lay(t, map[string]string{
		"list":        "a.example\na.example\nb.example\n" + strings.Repeat("c d\n", 1000) + "192.0.2.1\n",
		"packed":      string(pack(t, "zstd", "a.example\nb c\n")),
		"cut":         string(pack(t, "gzip", "a.example\n")[:20]),
		"page":        "<html>",
		"prose":       "one two\nthree four\n",
		"ut1/domains": "a.example\n\x01\n", "ut1/urls": "a.example/x\n", "ut1/usage": "black\n",
		"folder/list": "a.example\n",
	})
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		path, format    string
		want            string // the list, in short; or part of the error
		problems        int
		line, firstFrom int // of the last problem, and the first
	}{
		{"list", "", "domains: 2 entries, 1 duplicate, 1000 unreadable, [{IP address: DNS names only 1}]", 1000, 1003, 4},
		{"list", "domains", "domains: 2 entries, 1 duplicate, 1000 unreadable, [{IP address: DNS names only 1}]", 1000, 1003, 4},
		{"list", "adblock", "adblock: 2 entries, 1 duplicate, 0 unreadable, [{pattern that is not ||name^ 1000} {IP address: DNS names only 1}]", 0, 0, 0},
		{"list", "hosts", "holds no readable line as hosts list", 1004, 1004, 1},
		{"list", "html", `format "html" is none of adblock, dnsmasq, unbound, cidr, hosts, rpz, domains, ut1`, 0, 0, 0},
		{"packed", "", "domains: 1 entries, 0 duplicate, 1 unreadable, []", 1, 2, 2},
		{"cut", "", "is gzip data that is cut off at octet 20", 0, 0, 0},
		{"page", "domains", "is a web page and no list", 0, 0, 0},
		{"prose", "", "holds no readable line as domains list", 2, 2, 1},
		{"ut1", "", "ut1: 1 entries, 0 duplicate, 1 unreadable, [{line of urls: not enforceable in DNS 1}]", 1, 2, 2},
		{"ut1", "ut1", "ut1: 1 entries, 0 duplicate, 1 unreadable, [{line of urls: not enforceable in DNS 1}]", 1, 2, 2},
		{"ut1/domains", "ut1", "ut1: 1 entries, 0 duplicate, 1 unreadable, []", 1, 2, 2},
		{"ut1", "hosts", "is a UT1 directory and no hosts list", 0, 0, 0},
		{"folder", "", "is a directory; name the files in it", 0, 0, 0},
	} {
		var problems []Problem
		l, err := CheckFile(at(c.path), c.format, func(p Problem) { problems = append(problems, p) })
		got := ""
		if err != nil {
			got = err.Error()
			if l != nil || !strings.HasPrefix(got, "list "+at(c.path)+": ") {
				t.Errorf("%s as %q: %v, %+v", c.path, c.format, err, l)
			}
		} else {
			got = fmt.Sprintf("%s: %d entries, %d duplicate, %d unreadable, %v", l.Format, l.Entries, l.Duplicates, l.Unreadable, l.Ignored)
			if l.Unreadable != len(problems) || !slices.Equal(l.Problems, problems[:min(len(problems), maxProblems)]) || l.Name != at(c.path) {
				t.Errorf("%s as %q: list does not go with its %d problems: %+v", c.path, c.format, len(problems), l)
			}
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s as %q: %s, want %s", c.path, c.format, got, c.want)
		}
		if len(problems) != c.problems || len(problems) > 0 && (problems[0].Line != c.firstFrom || problems[len(problems)-1].Line != c.line) {
			t.Errorf("%s as %q: %d problems, want %d", c.path, c.format, len(problems), c.problems)
		}
	}
	if _, err := CheckFile(at("missing"), "", nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if l, err := CheckFile(at("list"), "", nil); err != nil || len(l.Problems) != maxProblems {
		t.Error(err, l)
	}
}

// TestCheckFileAgreesWithLoad holds that what CheckFile says of a list is what Load makes of it.
func TestCheckFileAgreesWithLoad(t *testing.T) {
	files, err := filepath.Glob("testdata/*.list")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		file, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		checked, err := CheckFile(file, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		loaded := load(t, "", CategoryConfig{Name: "a", Sources: Sources(file)}).All()[0]
		// What only lists of a configuration have:
		checked.Category, checked.Origin, checked.Since = "a", loaded.Origin, loaded.Since
		checked.from, checked.print = loaded.from, loaded.print
		if !reflect.DeepEqual(checked, loaded) {
			t.Errorf("%s: checked %+v, loaded %+v", file, checked, loaded)
		}
		for _, name := range Formats() { // as any other format it is read without harm
			if l, err := CheckFile(file, name, nil); err == nil && l.Format != name {
				t.Errorf("%s as %s: %+v", file, name, l)
			}
		}
	}
}
