package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir/blocklist"
)

const sourcesSample = `version = 1
[lists]
refresh = "12h"
max_shrink = "40%"
max_growth = "off"
[tsig.inline]
algorithm = "hmac-sha512"
secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ=="
[tsig.filed]
secret_file = "transfer.key"
[category.plain]
sources = ["lists/a.txt", { from = "lists/b.csv", name = "b", format = "hosts" }]
[category.far]
sources = [
  "https://user:word@feeds.example/c.txt", # the password is in no name
  { from = "https://feeds.example/d.txt.gz", name = "d", refresh = "6h",
    timeout = "10s", max_size = "64MiB", # over several lines
    sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    minisign = "RWQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ed25519 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" },
  { from = "axfr://192.0.2.53/rpz.example", tsig = "inline" },
]
on_error = "block-all"
max_shrink = "0%"
max_growth = "150%"
[[category.tables.sources]]
from = "axfr://192.0.2.54/rpz.example"
tsig = "filed"
[upstream.default]
servers = ["system"]
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "block"
categories = ["plain", "far", "tables"]
`

// TestCategories asserts what each source of a configuration becomes: what it does not say comes from [lists].
func TestCategories(t *testing.T) {
	dir := t.TempDir()
	cfg, problems := parseConfig(filepath.Join(dir, "config.toml"), []byte(sourcesSample))
	if len(problems) > 0 {
		t.Fatal(renderProblems(problems, ""))
	}
	key := filepath.Join(dir, "transfer.key")
	if err := os.WriteFile(key, []byte(" Zm9ydHktdHdvIG9jdGV0cyBhcmUgZW5vdWdoIGZvciBhIGtleQ==\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	faults := newFaults(cfg)
	got := categories(cfg, faults, slog.New(slog.NewTextHandler(&said, nil)))
	if len(faults.report.problems) > 0 || said.Len() > 0 {
		t.Errorf("faults %v, said %s", faults.report.problems, &said)
	}
	at := func(line string) string { return cfg.File + ":" + line }
	const far, wide, half = 12 * time.Hour, 256 << 20, 30 * time.Second
	want := []blocklist.CategoryConfig{
		{Name: "plain", MaxShrink: 0.4, Pos: at("12"), Sources: []blocklist.SourceConfig{
			{From: "lists/a.txt", Pos: at("12")},
			{From: "lists/b.csv", Name: "b", Format: "hosts", Pos: at("12")},
		}},
		{Name: "far", OnError: blocklist.BlockAll, MaxGrowth: 1.5, Pos: at("14"), Sources: []blocklist.SourceConfig{
			{From: "https://user:word@feeds.example/c.txt", Name: "https://feeds.example/c.txt", Refresh: far, Timeout: half, MaxSize: wide, Pos: at("15")},
			{
				From: "https://feeds.example/d.txt.gz", Name: "d", Refresh: 6 * time.Hour, Timeout: 10 * time.Second, MaxSize: 64 << 20, Pos: at("16"),
				SHA256:   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
				Minisign: "RWQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Ed25519: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
			},
			{
				From: "axfr://192.0.2.53/rpz.example", Timeout: half, MaxSize: wide, Pos: at("20"),
				TSIG: &blocklist.TSIG{Name: "inline", Algorithm: "hmac-sha512", Secret: "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ=="},
			},
		}},
		{Name: "tables", MaxShrink: 0.4, Pos: at("25"), Sources: []blocklist.SourceConfig{
			{
				From: "axfr://192.0.2.54/rpz.example", Timeout: half, MaxSize: wide, Pos: at("25"),
				TSIG: &blocklist.TSIG{Name: "filed", Algorithm: "hmac-sha256", Secret: "Zm9ydHktdHdvIG9jdGV0cyBhcmUgZW5vdWdoIGZvciBhIGtleQ=="},
			},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "lists/a.txt"), filepath.Join(dir, "lists/b.csv")}, localSources(cfg)); diff != "" {
		t.Errorf("local sources (-want +got):\n%s", diff)
	}

	// A key that others can read is used, and said.
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	categories(cfg, newFaults(cfg), slog.New(slog.NewTextHandler(&said, nil)))
	if !strings.Contains(said.String(), "level=WARN") || !strings.Contains(said.String(), "mode=0644") {
		t.Errorf("a key that others can read: %s", &said)
	}
	// One that is none is a fault at its place, and is not quoted.
	for text, hint := range map[string]string{"not base64 at all": "tsig-keygen", "": "tsig-keygen"} {
		if err := os.WriteFile(key, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		checkSecretFault(t, cfg, hint)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	checkSecretFault(t, cfg, "configuration's folder")
}

func checkSecretFault(t *testing.T, cfg *Config, hint string) {
	t.Helper()
	faults := newFaults(cfg)
	categories(cfg, faults, slog.New(slog.DiscardHandler))
	problems := faults.report.sorted()
	if len(problems) != 1 || problems[0].Pos().Line != 10 || !strings.Contains(problems[0].String(), hint) {
		t.Errorf("want one problem at line 10 that speaks of %q:\n%s", hint, renderProblems(problems, ""))
	}
}

// TestSecretsAreNotQuoted asserts that no secret of a configuration appears in what is said about it, then or later.
func TestSecretsAreNotQuoted(t *testing.T) {
	text := `version = 1
[limits]
cookie_secret = "00112233445566778899aabbccdd7777"
cookie_secret_also = "8888"
[tsig.k]
secret = "c2VjcmV0" # too short
[category.a]
sources = [ "http://user:hunter2@feeds.example/a", { from = "https://token@feeds.example:x/b" }, { from = "http://u:hun\u0074er2@feeds.example/c" }, 5 ]
`
	cfg, problems := parseConfig("config.toml", []byte(text))
	faults := newFaults(cfg)
	faults.at(&cfg.Limits.CookieSecret, "a mistake")
	faults.at(&cfg.Limits.CookieSecretAlso, "a mistake")
	faults.at(&cfg.TSIGs[0].Secret, "a mistake")
	faults.at(&cfg.Categories[0].Sources[0], "a mistake")
	for _, said := range []string{renderProblems(problems, ""), renderProblems(faults.report.sorted(), "")} {
		for _, secret := range []string{"hunter2", `hun\u0074er2`, "c2VjcmV0", "token@", "7777", "8888"} {
			if strings.Contains(said, secret) {
				t.Errorf("%q is quoted:\n%s", secret, said)
			}
		}
		if !strings.Contains(said, "******") {
			t.Errorf("nothing was hidden:\n%s", said)
		}
	}
}

func TestPercent(t *testing.T) {
	for text, want := range map[string]Percent{"50%": 0.5, "0%": 0, "100%": 1, "12.5%": 0.125, "7%": 0.07, "300%": 3, "off": noLimit} {
		if got, err := parsePercent(text); err != nil || got != want || got.String() != text {
			t.Errorf("parsePercent(%q) = %v, %v", text, got, err)
		}
	}
	for text, limit := range map[string]float64{"off": 0, "0%": 0, "50%": 0.5} {
		if p, err := parsePercent(text); err != nil || p.limit() != limit {
			t.Errorf("%q limits to %v, %v, want %v", text, p.limit(), err, limit)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[0-9.+\- ex]{0,8}%?`), rapid.String()).Draw(t, "text")
		got, err := parsePercent(text)
		if err != nil {
			return
		}
		if again, err := parsePercent(got.String()); err != nil || again.String() != got.String() || got != noLimit && (got < 0 || got > maxPercent) {
			t.Fatalf("%q is %v, and that is %v, %v", text, got, again, err)
		}
	})
}

// TestOnErrorWords asserts that the configuration takes the words that the lists take.
func TestOnErrorWords(t *testing.T) {
	f, _ := fieldOf(reflect.TypeFor[Lists](), "on_error")
	for _, text := range f.oneof {
		if e, err := blocklist.ParseOnError(text); err != nil || e.String() != text {
			t.Errorf("%q: %v, %v", text, e, err)
		}
	}
}

// TestWithoutUser asserts that a list's default name is its source, and never its password.
func TestWithoutUser(t *testing.T) {
	for from, want := range map[string]string{
		"lists/a@b.txt":                           "lists/a@b.txt",
		"https://feeds.example/a":                 "https://feeds.example/a",
		"https://user:word@feeds.example/a?b=c@d": "https://feeds.example/a?b=c@d",
		"https://user:w@rd@feeds.example":         "https://feeds.example",
		"https://token@feeds.example/@/a":         "https://feeds.example/@/a",
		"://":                                     "://",
	} {
		if got := (&Source{From: from}).ListName(); got != want {
			t.Errorf("%q is called %q, want %q", from, got, want)
		}
	}
	if got := (&Source{From: "https://user:word@feeds.example/a", Name: "a"}).ListName(); got != "a" {
		t.Errorf("a list with a name is called %q", got)
	}
}

// TestCategoryChanges asserts what a reload says of a category that is configured differently.
func TestCategoryChanges(t *testing.T) {
	parse := func(replace ...string) *built {
		t.Helper()
		cfg, problems := parseConfig("config.toml", []byte(strings.NewReplacer(replace...).Replace(sourcesSample)))
		if countErrors(problems) > 0 {
			t.Fatal(renderProblems(problems, ""))
		}
		lists, err := blocklist.Load(t.Context(), blocklist.LoadConfig{})
		if err != nil {
			t.Fatal(err)
		}
		return &built{cfg: cfg, lists: lists}
	}
	old := parse()
	if got := old.changes(parse()); len(got) > 0 {
		t.Errorf("nothing changed, but %q", got)
	}
	got := old.changes(parse(
		`"lists/a.txt"`, `{ from = "lists/a.txt", format = "hosts" }`, `refresh = "6h"`, `refresh = "7h"`, `refresh = "12h"`, `refresh = "13h"`,
		"max_shrink = \"0%\"\n", "", "c2VjcmV0IHNl", "b3RoZXIgb3Ro", "transfer.key", "other.key"))
	want := []string{
		"sources of far changed: https://feeds.example/c.txt, https://feeds.example/d.txt.gz name d refresh 7h0m0s timeout 10s max_size 64MiB" +
			" sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 minisign RWQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" +
			" ed25519 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=, axfr://192.0.2.53/rpz.example tsig inline, on_error block-all, max_growth 150%" +
			", was https://feeds.example/c.txt, https://feeds.example/d.txt.gz name d refresh 6h0m0s timeout 10s max_size 64MiB" +
			" sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 minisign RWQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" +
			" ed25519 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=, axfr://192.0.2.53/rpz.example tsig inline, on_error block-all, max_shrink 0%, max_growth 150%",
		"sources of plain changed: lists/a.txt format hosts, lists/b.csv name b format hosts, was lists/a.txt, lists/b.csv name b format hosts",
		"tsig filed changed: hmac-sha256, secret in other.key, was hmac-sha256, secret in transfer.key",
		"tsig inline changed: another secret",
		"setting lists.refresh changed: 13h0m0s, was 12h0m0s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
