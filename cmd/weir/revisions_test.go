package main

import (
	"os"
	"strings"
	"testing"
)

// What is kept of a revision holds no secret, however it is written, and is the same file else.
func TestPublicText(t *testing.T) {
	const rest = `
[upstream.default]
servers = ["udp://192.0.2.53"]
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
`
	const secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ=="
	for _, c := range []struct {
		text string
		want string // empty: nothing is kept
	}{
		{"version = 1", "version = 1"},
		{
			"version = 1\n[tsig.k]\nsecret = \"" + secret + "\" # kept",
			"version = 1\n[tsig.k]\nsecret = \"" + strings.Repeat("A", len(secret)) + "\" # kept",
		},
		{
			"version = 1\n[tsig]\nk = { secret = '" + secret + "', algorithm = \"hmac-sha512\" }",
			"version = 1\n[tsig]\nk = { secret = '" + strings.Repeat("A", len(secret)) + "', algorithm = \"hmac-sha512\" }",
		},
		{
			"version = 1\n[tsig.k]\nsecret = \"\\u00632" + secret[2:] + "\"",
			"version = 1\n[tsig.k]\nsecret = \"" + strings.Repeat("A", len(secret)+5) + "\"",
		},
		{"version = 1\n[tsig.k]\nsecret = \"\"\"\n" + secret + "\n\"\"\"", ""},
		{
			"version = 1\n[tsig.k]\nsecret = \"" + secret + "\"\n# was " + secret,
			"version = 1\n[tsig.k]\nsecret = \"" + strings.Repeat("A", len(secret)) + "\"\n# was " + strings.Repeat("A", len(secret)),
		},
		{
			"version = 1\n[category.a]\nsources = [\"https://user:hunter2@feeds.example/a\", { from = \"https://tökn@feeds.example/b\", name = \"b\" }, \"https://feeds.example/@c\"]",
			"version = 1\n[category.a]\nsources = [\"https://AAAAAAAAAAAA@feeds.example/a\", { from = \"https://AAAA@feeds.example/b\", name = \"b\" }, \"https://feeds.example/@c\"]",
		},
		{
			"version = 1\n[category.a]\nsources = [\"https://u:hun\\u0074er2@feeds.example/a\"]",
			"version = 1\n[category.a]\nsources = [\"https://AAAAAAAAAAAAAA@feeds.example/a\"]",
		},
	} {
		cfg, _ := parseConfig("config.toml", []byte(c.text+rest))
		want := c.want
		if want != "" {
			want += rest
		}
		got := string(cfg.publicText())
		if got != want {
			t.Errorf("of\n%s\nis kept\n%s, want\n%s", c.text+rest, got, want)
		}
		for _, leak := range []string{secret, secret[2:], "hunter2", `hun\u0074er2`, "tökn"} {
			if strings.Contains(got, leak) {
				t.Errorf("%q is kept", leak)
			}
		}
	}
}

// What the folder of revisions holds after a start and after a reload.
func TestRevisionsHoldNoSecret(t *testing.T) {
	const secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ=="
	policy := attendedZone + "[[policy]]\nname = \"all\"\nclients = [\"any\"]\ndefault = \"allow\"\n"
	w := newAttended(t, "2026-03-02T09:00:00Z", policy+`
[category.feeds]
sources = ["http://user:hunter2@127.0.0.1:1/feed.txt", { from = "axfr://127.0.0.1:1/rpz.example", tsig = "key" }]
[tsig.key]
secret = "`+secret+`"
`, nil)
	w.keepRevision(w.current())
	first := w.current().state.Revision
	text, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	w.write("config.toml", strings.ReplaceAll(string(text), "allow", "block"))
	if _, err := w.Reload(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for n := first; n <= first+1; n++ {
		r, err := w.history.Get(n)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(r.Text, secret) || strings.Contains(r.Text, "hunter2") || !strings.Contains(r.Text, "AAAA@127.0.0.1:1/feed.txt") {
			t.Errorf("revision %d is kept as\n%s", n, r.Text)
		}
	}
}
