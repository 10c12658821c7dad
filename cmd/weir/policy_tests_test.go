package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/pelletier/go-toml/v2"

	"weir/blocklist"
)

// TestTestProblems holds every problem of every file under testdata/tests against its golden text.
func TestTestProblems(t *testing.T) {
	cfg, _ := parseConfig("config.toml", []byte(testsFor))
	files, err := filepath.Glob("testdata/tests/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, problems := parseTests("config.test.toml", data, cfg)
			got := renderProblems(problems, "nothing was tested")
			golden := strings.TrimSuffix(file, ".toml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("problems differ (-want +got):\n%s", diff)
			}
		})
	}
}

// testsFor is the configuration that the files under testdata/tests are for.
const testsFor = `version = 1
[upstream.default]
servers = ["system"]
[category.ads]
sources = ["ads.txt"]
[[policy]]
name = "staff"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "allow"
domains = ["good.example"]
[[policy.rule]]
action = "block"
categories = ["ads"]
`

func TestTestValues(t *testing.T) {
	cfg, _ := parseConfig("config.toml", []byte(testsFor))
	data, err := os.ReadFile("testdata/tests/valid.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, problems := parseTests("config.test.toml", data, cfg)
	if len(problems) > 0 {
		t.Fatal(renderProblems(problems, ""))
	}
	want := []policyTest{{
		Pos: "config.test.toml:2", Name: "cdn.track.example", Type: dns.TypeHTTPS, Client: netip.MustParseAddr("2001:db8::17"),
		MAC: blocklist.MAC{2, 0, 0x5e, 0x10, 0, 1}, Host: "tablet-3", At: time.Date(2026, 12, 24, 22, 0, 0, 0, time.Local),
		Aliases:   []string{"x.track.example", "bücher.example."},
		Addresses: []answerAddr{{netip.MustParseAddr("10.0.0.1")}, {netip.MustParseAddr("::ffff:10.0.0.1")}},
		Verdict:   "block", Policy: "staff", Rule: "2", Category: "ads", Observed: "none", Answer: "nxdomain", Note: "why this test is there",
	}, {
		Pos: "config.test.toml:19", Name: ".", Type: 65280, Client: netip.MustParseAddr("127.0.0.1"),
		At: time.Date(2026, 12, 24, 21, 0, 0, 0, time.UTC), Verdict: "allow", Rule: "default",
	}}
	if diff := cmp.Diff(want, got.Tests, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("tests (-want +got):\n%s", diff)
	}
	for text, want := range map[string]string{
		"2026-12-24 22:00":              "2026-12-24T22:00:00",
		"2026-12-24T22:00":              "2026-12-24T22:00:00",
		"2026-12-24 22:00:01":           "2026-12-24T22:00:01",
		"2026-12-24 22:00Z":             "2026-12-24T22:00:00Z",
		"2026-12-24T22:00:01.5+02:00":   "2026-12-24T22:00:01+02:00",
		"2026-12-24":                    "",
		"2026-12-24 2:00":               "",
		"2026-12-24 22:00:00,5":         "",
		"22:00":                         "",
		"90m":                           "",
		"2026-02-30 00:00":              "",
		"9999-01-01 00:00":              "",
		"2026-12-24 22:00 Europe/Paris": "",
	} {
		got, err := parseMoment(text)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q is %v", text, got)
		case want == "":
		case err != nil:
			t.Errorf("%q: %v", text, err)
		case !strings.HasPrefix(got.Format(time.RFC3339), want):
			t.Errorf("%q is %v, want %s", text, got, want)
		}
	}
}

func TestTestFilesAreFound(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "weir.conf.toml")
	find := func() string {
		t.Helper()
		files, err := testFiles(config)
		if err != nil {
			t.Fatal(err)
		}
		for i := range files {
			files[i], _ = filepath.Rel(dir, files[i])
		}
		return strings.Join(files, " ")
	}
	write := func(names ...string) {
		t.Helper()
		for _, name := range names {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("config.test.toml", "weir.test.toml", "weir.conf.toml")
	if got := find(); got != "" {
		t.Errorf("found %q", got)
	}
	write("weir.conf.test.toml")
	if got := find(); got != "weir.conf.test.toml" {
		t.Errorf("found %q", got)
	}
	write("weir.conf.test/b.toml", "weir.conf.test/a.toml", "weir.conf.test/.#a.toml", "weir.conf.test/a.toml~", "weir.conf.test/README")
	if got := find(); got != "weir.conf.test.toml weir.conf.test/a.toml weir.conf.test/b.toml" {
		t.Errorf("found %q", got)
	}
}

// TestPolicyTestsDocument runs the example of docs/policy-tests.md as it stands there.
func TestPolicyTestsDocument(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root, "docs", "policy-tests.md"))
	if err != nil {
		t.Fatal(err)
	}
	sample := func(begin string) string {
		_, rest, found := strings.Cut(string(doc), "\n```"+begin)
		text, _, ended := strings.Cut(rest, "\n```\n")
		if !found || !ended {
			t.Fatalf("no sample that begins with %q", begin)
		}
		return begin[strings.Index(begin, "\n")+1:] + text + "\n"
	}
	t.Chdir(t.TempDir())
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := sample("toml\n# config.toml\n")
	write("config.toml", config)
	write("config.test.toml", sample("toml\n# config.test.toml\n"))
	var out, talk bytes.Buffer
	code := run([]string{"policy", "test", "--config", "config.toml", "--json", "-v"}, &out, &talk)
	var results []testResult
	if err := json.Unmarshal(out.Bytes(), &results); code != 0 || err != nil || len(results) == 0 {
		t.Errorf("exit code %d, %v:\n%s%s", code, err, &out, &talk)
	}
	write("config.toml", strings.Replace(config, `"stats.`, `"=stats.shop.`, 1))
	command, said, _ := strings.Cut(sample("console\n$ weir "), "\n")
	out.Reset()
	code = run(append(strings.Fields(command)[2:], "--config", "config.toml"), &out, &talk)
	if diff := cmp.Diff(said, out.String()); diff != "" || code != exitFailure {
		t.Errorf("exit code %d, -document +now:\n%s%s", code, diff, &talk)
	}
	for _, key := range keysOf(reflect.TypeFor[policyTest]()) {
		if !strings.Contains(string(doc), "\n| `"+key+"` |") {
			t.Errorf("the table does not say what %s is", key)
		}
	}
	for _, word := range deciders {
		if !strings.Contains(string(doc), fmt.Sprintf("`%q`", word)) {
			t.Errorf("the document does not say what rule = %q is", word)
		}
	}
}

// TestPolicyTestHelp asserts that the help names every key and every decider.
func TestPolicyTestHelp(t *testing.T) {
	var out bytes.Buffer
	if code := run([]string{"policy", "test", "--help"}, &out, io.Discard); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	words := strings.FieldsFunc(out.String(), func(r rune) bool { return strings.ContainsRune(" \n,\"", r) })
	for _, word := range slices.Concat(keysOf(reflect.TypeFor[policyTest]()), deciders) {
		if !slices.Contains(words, word) {
			t.Errorf("the help does not name %s", word)
		}
	}
}

// FuzzPolicyTests feeds any bytes. Problems must be placed and printable, as those of a configuration; a file without
// any is TOML, and each of its tests comes to something.
func FuzzPolicyTests(f *testing.F) {
	files, _ := filepath.Glob("testdata/tests/*.toml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(decisions))
	b := tested(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		file, problems := parseTests("config.test.toml", bytes.Clone(data), b.cfg)
		checkProblems(t, data, problems)
		if len(problems) > 0 {
			return
		}
		var all map[string]any
		if err := toml.Unmarshal(withoutMark(data), &all); err != nil {
			t.Fatalf("accepted, but it is not TOML: %v", err)
		}
		results, err := b.runTests([]*testFile{file}, time.Unix(1e9, 0), false)
		if err != nil || len(results) == 0 || len(results) != len(file.Tests) {
			t.Fatalf("%d results, %v", len(results), err)
		}
		var out bytes.Buffer
		if err := printTests(&out, results, false, true); err != nil || shownLines(out.String()) != strings.TrimRight(out.String(), "\n") {
			t.Fatalf("unprintable, %v: %q", err, &out)
		}
	})
}
