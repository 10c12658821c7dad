package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"
	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestConfigProblems holds every problem of every file under testdata/config against its golden text.
func TestConfigProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, problems := parseConfig("config.toml", data)
			got := renderProblems(problems, "nothing was started")
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

// TestShippedConfig asserts that the file in the repository's root is right and that it says what holds without it.
func TestShippedConfig(t *testing.T) {
	cfg, problems, err := Load("../../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(problems) > 0 {
		t.Fatalf("problems:\n%s", renderProblems(problems, "nothing was started"))
	}
	want := defaultConfig()
	want.File, want.Dir, want.Version = cfg.File, cfg.Dir, 1
	named := cmpopts.IgnoreFields(Config{}, "Upstreams", "Forwards", "Zones", "TSIGs", "Categories", "Policies")
	if diff := cmp.Diff(want, cfg, named, cmpopts.IgnoreUnexported(Config{}), cmp.Comparer(equalAddrPort), cmp.Comparer(equalPrefix)); diff != "" {
		t.Errorf("the shipped values differ from the defaults (-default +shipped):\n%s", diff)
	}
	if diff := cmp.Diff([]Upstream{{Name: "default", Servers: []string{"system"}, Strategy: "ordered", Timeout: time.Second}}, cfg.Upstreams); diff != "" {
		t.Errorf("upstreams (-want +got):\n%s", diff)
	}
	for _, f := range fieldsOf(reflect.TypeFor[Config]()) {
		section := f.in(reflect.ValueOf(cfg).Elem())
		if section.Kind() != reflect.Struct {
			continue
		}
		for _, key := range fieldsOf(section.Type()) {
			if p := key.in(section).Addr().Interface(); cfg.At(p).Line == 0 && key.initial != "" {
				t.Errorf("the shipped file does not write %s in [%s]", key.name, f.name)
			}
		}
	}
}

func equalAddrPort(a, b netip.AddrPort) bool { return a == b }

func equalPrefix(a, b netip.Prefix) bool { return a == b }

// TestShippedExamples asserts that what the shipped file shows in comments can be used as it is.
func TestShippedExamples(t *testing.T) {
	data, err := os.ReadFile("../../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	uncommented := regexp.MustCompile(`(?m)^# (\[|[a-z_]+ += )`).ReplaceAll(data, []byte("$1"))
	cfg, problems := parseConfig("config.toml", uncommented)
	if countErrors(problems) > 0 {
		t.Fatalf("problems:\n%s", renderProblems(problems, "nothing was started"))
	}
	last := cfg.Categories[len(cfg.Categories)-1]
	if len(last.Sources) != 3 || last.Sources[2].TSIG != "transfer-key" || last.OnError != "block-all" || len(cfg.TSIGs) != 1 {
		t.Errorf("got category %+v and %d TSIG keys", last, len(cfg.TSIGs))
	}
	if len(cfg.Policies) != 2 || len(cfg.Forwards) != 1 || len(cfg.Sinkhole.Addresses) != 2 {
		t.Errorf("got %d policies, %d forwards, %d addresses, want 2, 1, 2", len(cfg.Policies), len(cfg.Forwards), len(cfg.Sinkhole.Addresses))
	}
}

func TestConfigValues(t *testing.T) {
	cfg, problems, err := Load("testdata/config/valid.toml")
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	file := "testdata/config/valid.toml"
	want := []Policy{
		{
			Pos: file + ":15", Name: "a", Clients: []Client{{Any: true}}, Default: "allow", CNAME: "check",
			Mode: "enforce", OnAddress: "block", Rebinding: "check", SafeSearch: "off",
			Rules: []Rule{{Pos: file + ":19", Action: "block", Categories: []string{"ads", "games"}, Types: []uint16{dns.TypeHTTPS, 65280}}},
		},
		{
			Pos: file + ":23", Name: "b", Clients: []Client{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}, {Prefix: netip.MustParsePrefix("fd00::/8")}},
			Default: "block", CNAME: "trust-allowed", Mode: "enforce", OnAddress: "block", Rebinding: "check", SafeSearch: "off",
			Rules: []Rule{{Pos: file + ":28", Action: "allow", Domains: []string{"=ok.example"}}},
		},
	}
	if diff := cmp.Diff(want, cfg.Policies, cmp.Comparer(equalPrefix)); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Category{{Name: "ads", Sources: []Source{{From: "lists/ads.txt"}}}, {Name: "games", Sources: []Source{{From: "lists/games"}}}}, cfg.Categories); diff != "" {
		t.Errorf("categories (-want +got):\n%s", diff)
	}
	if cfg.Server.Drain != 3*time.Second || cfg.Cache.Size != 1<<30 || cfg.Server.TCPIdle != 10*time.Second {
		t.Errorf("drain %v, size %v, tcp_idle %v", cfg.Server.Drain, cfg.Cache.Size, cfg.Server.TCPIdle)
	}
	if everybody, prefixes := cfg.Policies[1].Any(), members(cfg.Policies[1].Clients).Prefixes; everybody || len(prefixes) != 2 || !cfg.Policies[0].Any() {
		t.Errorf("Any %v, Prefixes %v", everybody, prefixes)
	}
	p := &cfg.Policies[1]
	for _, at := range []struct {
		field any
		want  Pos
	}{
		{&cfg.Server.Drain, Pos{2, 16, 4}},
		{&cfg.Server.TCPIdle, Pos{}},
		{&cfg.Categories[0].Name, Pos{5, 1, 3}},
		{&cfg.Categories[1].Sources[0], Pos{7, 12, 13}},
		{p, Pos{23, 3, 6}},
		{&p.Clients, Pos{25, 11, 26}},
		{&p.Clients[1], Pos{25, 26, 10}},
		{&p.Rules[0], Pos{28, 10, 47}},
		{&p.Rules[0].Domains[0], Pos{28, 41, 13}},
	} {
		if got := cfg.At(at.field); got != at.want {
			t.Errorf("At(%T %v) = %v, want %v", at.field, reflect.Indirect(reflect.ValueOf(at.field)), got, at.want)
		}
	}
	if got := cfg.Where(&p.Default); got != file+":26" {
		t.Errorf("Where(&p.Default) = %q", got)
	}
	if got := cfg.Where(&cfg.Server.TCPIdle); got != "" {
		t.Errorf("Where of a default = %q", got)
	}
}

func TestResolve(t *testing.T) {
	cfg := &Config{Dir: "/etc/weir"}
	for path, want := range map[string]string{"lists/ads.txt": "/etc/weir/lists/ads.txt", "/var/lib/weir": "/var/lib/weir", "../x": "/etc/x"} {
		if got := cfg.Resolve(path); got != want {
			t.Errorf("Resolve(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestLoadUnreadable(t *testing.T) {
	_, _, err := Load(filepath.Join(t.TempDir(), "config.toml"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--config FILE") {
		t.Errorf("missing file: %v", err)
	}
	if _, _, err := Load(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
	large := filepath.Join(t.TempDir(), "large.toml")
	if err := os.WriteFile(large, make([]byte, maxConfigBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(large); err == nil || !strings.Contains(err.Error(), "8MiB") {
		t.Errorf("large file: %v", err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(pipe); err == nil || !strings.Contains(err.Error(), "is a pipe") {
		t.Errorf("a pipe that nobody writes into: %v", err)
	}
	cfg, problems, err := Load("testdata/config/types.toml")
	if cfg != nil || err != nil || len(problems) == 0 {
		t.Errorf("a file with errors gave %v, %v", cfg, err)
	}
}

// TestManyProblems asserts that of many problems the first are written out, errors before warnings, and all are counted.
func TestManyProblems(t *testing.T) {
	const many = 3000
	var text strings.Builder
	text.WriteString("version = 1\n[access]\nallow = [\"0.0.0.0/0\"]\n[x]\n")
	for i := range many {
		fmt.Fprintf(&text, "key%d = 1\n", i)
	}
	text.WriteString("[server]\nlisten = [")
	for i := range many {
		fmt.Fprintf(&text, "%d, ", i)
	}
	text.WriteString("]\n")
	_, problems := parseConfig("config.toml", []byte(text.String()))
	if len(problems) < many {
		t.Fatalf("%d problems", len(problems))
	}
	got := renderProblems(problems, "nothing was started")
	more := fmt.Sprintf("\nand %d more\n\n%d problems and 1 warning in config.toml; nothing was started\n", len(problems)-mostProblems, len(problems)-1)
	if n := strings.Count(got, "--> "); n != mostProblems || !strings.HasSuffix(got, more) || strings.Contains(got, "open resolver") {
		t.Errorf("%d problems written out, the end is %q", n, got[max(0, len(got)-200):])
	}
	lines := (&configError{problems}).lines()
	if n := len(lines); n != mostProblems+1 || lines[n-1] != fmt.Sprintf("and %d problems more", len(problems)-1-mostProblems) {
		t.Errorf("%d lines, the last is %q", n, lines[n-1])
	}
}

// TestConfigTags asserts that every field of Config, and of a file of tests, can be read and that its tags mean something.
func TestConfigTags(t *testing.T) {
	var walk func(reflect.Type)
	walk = func(s reflect.Type) {
		for i := range s.NumField() {
			if _, tagged := s.Field(i).Tag.Lookup("toml"); !tagged && s.Field(i).IsExported() {
				t.Errorf("%v.%s has no toml tag", s, s.Field(i).Name)
			}
		}
		for _, f := range fieldsOf(s) {
			typ := s.Field(f.number).Type
			if typ.Kind() == reflect.Slice {
				typ = typ.Elem()
			}
			if isTable(typ) {
				walk(typ)
				continue
			}
			texts := strings.Fields(f.initial)
			for _, limit := range []string{f.min, f.max} {
				if limit != "" {
					texts = append(texts, limit)
				}
			}
			for _, text := range texts {
				if _, err := scalarOf(typ).parse(text); err != nil {
					t.Errorf("%v.%s: tag value %q: %v", s, f.name, text, err)
				}
			}
			if len(f.oneof) > 0 && f.initial != "" && !slices.Contains(f.oneof, f.initial) {
				t.Errorf("%v.%s: default %q is not one of %q", s, f.name, f.initial, f.oneof)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
	walk(reflect.TypeFor[testFile]())
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"64MiB": 64 << 20, "1TiB": 1 << 40, "10B": 10, "3KiB": 3 << 10, "1GiB": 1 << 30, "0B": 0} {
		got, err := parseSize(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("parseSize(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "64", "MiB", "64 MiB", "64mb", "1.5GiB", "9999999999TiB", "0x10B", "64MiBs", "64MiBB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %v", text, got)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"listen", "drain", "tcp_connections", "tcp_idle", "udp_sockets"}
	for text, want := range map[string]string{
		"lsiten": "listen", "listne": "listen", "Listen": "listen", "tcp-idle": "tcp_idle", "tcpidle": "tcp_idle",
		"udp_socket": "udp_sockets", "ttl": "", "x": "", "": "", "upstream": "", strings.Repeat("listen", 100): "",
	} {
		if got := nearest(text, words); got != want {
			t.Errorf("nearest(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestNeverReached holds "never reached" against a naive reading of all earlier rules: for no name, in any combination
// of categories, and no type may a rule that is said to be settled be the first to match.
func TestNeverReached(t *testing.T) {
	names := []string{"a", "b.a", "c.b.a", "c.a", "d"}
	kinds := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT}
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom([]string{"", "=", "*."}).Draw(t, "form") + rapid.SampledFrom(names).Draw(t, "name")
		})
		rules := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *Rule {
			return &Rule{
				Action:     rapid.SampledFrom([]string{"allow", "block", "observe"}).Draw(t, "action"),
				Categories: rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y"}), 0, 2).Draw(t, "categories"),
				Domains:    rapid.SliceOfN(pattern, 0, 3).Draw(t, "domains"),
				Types:      rapid.SliceOfN(rapid.SampledFrom(kinds), 0, 2).Draw(t, "types"),
			}
		}), 1, 6).Draw(t, "rules")
		seen := newDecided()
		for i, r := range rules {
			settled := seen.all(r) != nil
			seen.add(r)
			if !settled {
				continue
			}
			for _, name := range append(names, "e.c.b.a", "e.d", "f") {
				for _, in := range [][]string{nil, {"x"}, {"y"}, {"x", "y"}} {
					for _, kind := range kinds {
						matches := func(r *Rule) bool { return matchesNaive(r, name, in, kind) }
						decides := func(r *Rule) bool { return r.Action != "observe" && matches(r) }
						if matches(r) && !slices.ContainsFunc(rules[:i], decides) {
							t.Fatalf("rule %d decides %s, type %d, in %q: %+v", i+1, name, kind, in, r)
						}
					}
				}
			}
		}
	})
}

func matchesNaive(r *Rule, name string, in []string, kind uint16) bool {
	if len(r.Types) > 0 && !slices.Contains(r.Types, kind) {
		return false
	}
	if len(r.Categories) == 0 && len(r.Domains) == 0 {
		return true
	}
	for _, category := range r.Categories {
		if slices.Contains(in, category) {
			return true
		}
	}
	for _, domain := range r.Domains {
		bare := strings.TrimPrefix(strings.TrimPrefix(domain, "="), "*.")
		below := strings.HasSuffix(name, "."+bare)
		switch {
		case strings.HasPrefix(domain, "=") && name == bare,
			strings.HasPrefix(domain, "*.") && below,
			domain == bare && (name == bare || below):
			return true
		}
	}
	return false
}

// FuzzConfig feeds any bytes. A problem must lie in the file and be printable, a file that a lenient reader cannot
// read must be refused, and one that it can read must be free of what is said about syntax and repeated keys.
func FuzzConfig(f *testing.F) {
	files, _ := filepath.Glob("testdata/config/*.toml")
	for _, file := range append(files, "../../config.toml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, problems := parseConfig("config.toml", bytes.Clone(data))
		checkProblems(t, data, problems)
		syntax := false
		for _, p := range problems {
			syntax = syntax || p.Message == notTOML || len(p.Marks) > 1 && p.Marks[0].Label == "again here" && strings.Contains(p.Message, "set twice")
		}
		var all map[string]any
		switch err := toml.Unmarshal(withoutMark(data), &all); {
		case err == nil && syntax:
			t.Fatalf("refused, but it is TOML: %v", problems)
		case err != nil && countErrors(problems) == 0:
			t.Fatalf("accepted, but it is not TOML: %v", err)
		}
	})
}

// checkProblems fails if a problem lies outside the file, is not printable, or stands before one that is earlier in the
// file.
func checkProblems(t *testing.T, data []byte, problems []Problem) {
	lines := bytes.Split(withoutMark(data), []byte("\n"))
	for i, p := range problems {
		for _, m := range p.Marks {
			at := m.Pos
			if at.Line < 1 || at.Line > len(lines) || at.Column < 1 || at.Width < 1 || at.Column+at.Width > utf8.RuneCount(lines[at.Line-1])+2 {
				t.Fatalf("%v lies outside the file: %v", at, p)
			}
		}
		if p.Message == "" || strings.ContainsFunc(p.String(), func(r rune) bool { return r != '\n' && shown(string(r)) != string(r) }) {
			t.Fatalf("unprintable: %q", p.String())
		}
		if before := problems[max(0, i-1)].Pos(); p.Pos().Line > 0 && (before.Line == 0 || before.Line > p.Pos().Line) {
			t.Fatalf("%v follows %v", p.Pos(), before)
		}
	}
}

// withoutMark is a file's text behind a byte order mark.
func withoutMark(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\ufeff")) }
