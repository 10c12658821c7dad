package lists_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"
)

// labels are the lines that stand at the head of every list, in this order.
// A line that goes on is indented by three spaces after its #.
var labels = []string{"Title", "What", "Block", "Observe", "Breaks", "Names", "Date", "Licence"}

// fewest is the least number of names that makes a list worth shipping; test.txt is there to be read, not to cover a field.
const fewest, fewestInTest = 30, 12

// An entry is one name of a list as it is written and as it is sorted.
type entry struct {
	line  int
	text  string // with its = or *.
	name  string // without
	exact bool   // = : the name only
	below bool   // *. : what is below only
}

// reaches reports whether a makes b superfluous: b is the same entry, or all that b covers is covered by a.
func (a entry) reaches(b entry) bool {
	switch {
	case a.exact:
		return a.text == b.text
	case strings.HasSuffix(b.name, "."+a.name):
		return true
	case a.below:
		return a.text == b.text
	default:
		return a.name == b.name
	}
}

func TestListsBeginWithTheirHead(t *testing.T) {
	for file, text := range files(t) {
		head, _, _ := strings.Cut(text, "\n\n")
		var got []string
		for i, line := range strings.Split(head, "\n") {
			switch rest, ok := strings.CutPrefix(line, "# "); {
			case !ok:
				t.Errorf("%s:%d: %q is no comment", file, i+1, line)
			case strings.HasPrefix(rest, "  "):
			default:
				label, value, _ := strings.Cut(rest, ": ")
				if strings.TrimSpace(value) == "" {
					t.Errorf("%s:%d: %q says nothing", file, i+1, label)
				}
				got = append(got, label)
			}
		}
		if !slices.Equal(got, labels) {
			t.Errorf("%s: head has %q, want %q", file, got, labels)
		}
		if !regexp.MustCompile(`(?m)^# Date: \d{4}-\d\d-\d\d$`).MatchString(head) {
			t.Errorf("%s: date is not written as 2006-01-02", file)
		}
		if !strings.Contains(head, "\n# Licence: Apache-2.0, ") {
			t.Errorf("%s: licence is not Apache-2.0", file)
		}
	}
}

func TestListsHoldEnoughNames(t *testing.T) {
	for file, text := range files(t) {
		want := fewest
		if file == "test.txt" {
			want = fewestInTest
		}
		if n := len(entries(text)); n < want {
			t.Errorf("%s: %d names, want at least %d", file, n, want)
		}
	}
}

func TestNamesAreLowerCaseHostNames(t *testing.T) {
	label := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	for file, text := range files(t) {
		for _, e := range entries(text) {
			parts := strings.Split(e.name, ".")
			ok := len(parts) > 1 && len(e.name) <= 253
			for _, p := range parts {
				ok = ok && label.MatchString(p)
			}
			if !ok {
				t.Errorf("%s:%d: %q is not a host name of two labels or more, in lower case", file, e.line, e.text)
			}
		}
	}
}

func TestNamesAreSorted(t *testing.T) {
	for file, text := range files(t) {
		list := entries(text)
		for i := 1; i < len(list); i++ {
			if list[i-1].name > list[i].name {
				t.Errorf("%s:%d: %q must stand before %q", file, list[i].line, list[i].text, list[i-1].text)
			}
		}
	}
}

func TestNoNameIsCoveredByAnother(t *testing.T) {
	for file, text := range files(t) {
		list := entries(text)
		for i, a := range list {
			for j, b := range list {
				if i != j && a.reaches(b) {
					t.Errorf("%s:%d: %q is covered by %q on line %d", file, b.line, b.text, a.text, a.line)
				}
			}
		}
	}
}

// A zone of a registry belongs to everybody; one of a company, such as duckdns.org, may be listed.
func TestNoNameIsAPublicSuffix(t *testing.T) {
	for file, text := range files(t) {
		for _, e := range entries(text) {
			if suffix, icann := publicsuffix.PublicSuffix(e.name); icann && suffix == e.name {
				t.Errorf("%s:%d: %q is a public suffix", file, e.line, e.text)
			}
		}
	}
}

// A trial must not block anything real: RFC 2606 and RFC 6761 set these domains aside.
func TestTestNamesAreReserved(t *testing.T) {
	reserved := []string{"test", "invalid", "example", "example.com", "example.net", "example.org"}
	for _, e := range entries(files(t)["test.txt"]) {
		if !slices.ContainsFunc(reserved, func(zone string) bool { return strings.HasSuffix(e.name, "."+zone) }) {
			t.Errorf("test.txt:%d: %q is not under a reserved name", e.line, e.text)
		}
	}
}

func TestReadmeCountsEveryList(t *testing.T) {
	readme := read(t, "README.md")
	row := regexp.MustCompile(`(?m)^\| \[([a-z-]+\.txt)\]\(([a-z-]+\.txt)\) \|[^|]+\| +(\d+) \|`)
	stated := map[string]int{}
	for _, m := range row.FindAllStringSubmatch(readme, -1) {
		if m[1] != m[2] {
			t.Errorf("README.md: %s links to %s", m[1], m[2])
		}
		if _, again := stated[m[1]]; again {
			t.Errorf("README.md: %s stands in two rows", m[1])
		}
		stated[m[1]], _ = strconv.Atoi(m[3])
	}
	all := files(t)
	for file, text := range all {
		if got, ok := stated[file]; !ok {
			t.Errorf("README.md: no row for %s", file)
		} else if want := len(entries(text)); got != want {
			t.Errorf("README.md: %s has %d names, not %d", file, want, got)
		}
	}
	for file := range stated {
		if _, ok := all[file]; !ok {
			t.Errorf("README.md: %s does not exist", file)
		}
	}
}

// Every list is a source of the category of its name in the shipped configuration, and no source in lists/ is missing.
func TestConfigNamesEveryList(t *testing.T) {
	config := read(t, filepath.Join("..", "config.toml"))
	sources := map[string]string{} // category -> the text of its section
	section := ""
	for line := range strings.Lines(config) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		if m := regexp.MustCompile(`^\[category\."?([^\]"]+)"?\]`).FindStringSubmatch(line); m != nil {
			section = m[1]
		} else if regexp.MustCompile(`^\[\[?[a-z]`).MatchString(line) {
			section = ""
		} else if section != "" {
			sources[section] += line + "\n"
		}
	}
	all := files(t)
	for file := range all {
		category := strings.TrimSuffix(file, ".txt")
		if !strings.Contains(sources[category], `"lists/`+file+`"`) {
			t.Errorf("config.toml: [category.%s] has no source %q", category, "lists/"+file)
		}
	}
	for category, text := range sources {
		for _, m := range regexp.MustCompile(`"lists/([^"*]+\.txt)"`).FindAllStringSubmatch(text, -1) {
			if _, ok := all[m[1]]; !ok {
				t.Errorf("config.toml: [category.%s] names lists/%s, which does not exist", category, m[1])
			}
		}
	}
}

// files returns the text of every list by file name.
func files(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no lists here: %v", err)
	}
	all := make(map[string]string, len(names))
	for _, name := range names {
		all[name] = read(t, name)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// entries returns the names of a list in the order of the file. It takes only lines that begin a comment or are
// a name, so that anything else is reported as a bad name.
func entries(text string) []entry {
	var list []entry
	line := 0
	for s := range strings.Lines(text) {
		line++
		s = strings.TrimSuffix(s, "\n")
		if s == "" || strings.HasPrefix(s, "#") {
			continue
		}
		e := entry{line: line, text: s, name: s}
		if e.name, e.exact = strings.CutPrefix(s, "="); !e.exact {
			e.name, e.below = strings.CutPrefix(s, "*.")
		}
		list = append(list, e)
	}
	return list
}
