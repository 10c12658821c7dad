package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testedConfig is a configuration with something for each decider.
const testedConfig = `version = 1
[upstream.default]
servers = ["udp://192.0.2.53"]
[access]
allow = ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"]
[[zone]]
name = "lab.example"
records = ["www A 192.0.2.10", "watched A 192.0.2.11", "secret A 192.0.2.12"]
[category.ads]
sources = ["ads.txt"]
[schedule.night]
when = ["daily 21:00-06:00"]
timezone = "Europe/Berlin"
[clients]
leases = ["dhcp.leases"]
mac_from = ["10.9.0.0/16"]
[group.tablets]
clients = ["host:tablet-*", "02:00:5e:10:00:01"]
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "observe"
domains = ["watched.example", "watched.lab.example", "watched.track.example"]
[[policy.rule]]
action = "block"
categories = ["ads"]
[[policy.rule]]
action = "block"
domains = ["games.example"]
schedule = "night"
answer = "null"
[[policy.rule]]
action = "block"
domains = ["mail.example"]
targets = ["MX"]
[[policy]]
name = "closed"
clients = ["10.1.0.0/16"]
default = "block"
safe_search = "strict"
[[policy.rule]]
action = "allow"
domains = ["google.com", "good.example"]
[[policy]]
name = "trial"
clients = ["10.2.0.0/16"]
default = "block"
mode = "observe"
[[policy.rule]]
action = "block"
categories = ["ads"]
[[policy]]
name = "kids"
clients = ["tablets"]
default = "allow"
on_address = "strip"
[[policy.rule]]
action = "block"
domains = ["games.example"]
[[policy.rule]]
action = "block"
answer_networks = ["198.51.100.0/24"]
`

// decisions are tests that pass, each with all that it can say.
const decisions = `
[[test]] # by no rule
name = "www.example"
verdict = "allow"
policy = "all"
rule = "default"
observed = "none"
[[test]] # by an entry of a list
name = "cdn.track.example"
type = "TYPE65280"
verdict = "block"
policy = "all"
rule = 2
category = "ads"
observed = "none"
answer = "nxdomain"
[[test]] # the alias
name = "www.example"
aliases = ["a.example", "x.track.example"]
verdict = "block"
policy = "all"
rule = 2
category = "ads"
answer = "NXDOMAIN"
[[test]] # the name in a record
name = "www.example"
type = "MX"
aliases = ["mail.example"]
verdict = "block"
rule = 4
[[test]] # which is no alias, and judged only where a rule says so
name = "www.example"
type = "PTR"
aliases = ["x.track.example"]
verdict = "allow"
rule = "default"
[[test]] # the schedule, summer and winter
name = "games.example"
at = "2026-07-01T19:00:00Z"
verdict = "block"
rule = 3
answer = "0.0.0.0"
[[test]]
name = "games.example"
at = "2026-12-01T19:59:59Z"
verdict = "allow"
rule = "default"
[[test]]
name = "games.example"
type = "AAAA"
at = 2026-12-01T20:00:00Z
verdict = "block"
rule = 3
answer = "::"
[[test]] # now, at noon
name = "games.example"
verdict = "allow"
rule = "default"
[[test]] # an address that has no business here
name = "www.example"
addresses = ["192.0.2.1", "10.0.0.1"]
verdict = "block"
rule = "rebinding"
answer = "NXDOMAIN"
[[test]] # in other forms
name = "www.example"
type = "AAAA"
addresses = ["::ffff:10.0.0.1"]
verdict = "block"
rule = "rebinding"
[[test]]
name = "www.example"
type = "AAAA"
addresses = ["64:ff9b::10.0.0.1"]
verdict = "block"
rule = "rebinding"
[[test]]
name = "use-application-dns.net"
verdict = "block"
policy = "all"
rule = "canary"
answer = "NXDOMAIN"
[[test]] # an observe rule, then the default
name = "watched.example"
verdict = "allow"
rule = "default"
observed = "block"
[[test]] # and then a rule with a category
name = "watched.track.example"
verdict = "block"
rule = 2
category = "ads"
observed = "block"
[[test]] # who may not ask
name = "www.example"
client = "203.0.113.9"
verdict = "block"
rule = "access"
observed = "none"
answer = "REFUSED"
[[test]] # what is answered here
name = "www.lab.example"
client = "10.1.0.1"
verdict = "allow"
policy = "closed"
rule = "zone"
observed = "none"
[[test]]
name = "watched.lab.example"
verdict = "allow"
policy = "all"
rule = "zone"
observed = "block"
[[test]]
name = "www.lab.example"
client = "10.2.0.1"
verdict = "allow"
policy = "trial"
rule = "zone"
observed = "none"
[[test]] # a default of block
name = "www.example"
client = "10.1.0.1"
verdict = "block"
policy = "closed"
rule = "default"
answer = "NXDOMAIN"
[[test]]
name = "www.google.com"
client = "10.1.0.1"
verdict = "allow"
rule = 1
answer = "forcesafesearch.google.com"
[[test]] # a type that no upstream is asked for
name = "good.example"
type = "AXFR"
client = "10.1.0.1"
verdict = "allow"
rule = 1
answer = "REFUSED"
[[test]] # a policy that only observes
name = "track.example"
client = "10.2.0.1"
verdict = "allow"
policy = "trial"
rule = "observe"
category = "ads"
observed = "block"
[[test]]
name = "www.example"
client = "10.2.0.1"
verdict = "allow"
rule = "observe"
observed = "block"
[[test]] # who asks, by the name of a lease
name = "games.example"
client = "10.1.0.9"
host = "Tablet-3"
verdict = "block"
policy = "kids"
rule = 1
[[test]] # which another test does not know
name = "games.example"
client = "10.1.0.9"
verdict = "block"
policy = "closed"
rule = "default"
[[test]] # by what a forwarder tells
name = "games.example"
client = "10.2.0.9"
mac = "02:00:5e:10:00:01"
verdict = "block"
policy = "kids"
rule = 1
[[test]] # addresses that are taken out
name = "www.example"
host = "tablet-3"
addresses = ["198.51.100.7", "192.0.2.1"]
verdict = "allow"
policy = "kids"
rule = 2
[[test]] # until none is left
name = "www.example"
host = "tablet-3"
addresses = ["198.51.100.7"]
verdict = "block"
policy = "kids"
rule = 2
answer = "NXDOMAIN"
`

// tested builds testedConfig.
func tested(t testing.TB) *built {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"config.toml": testedConfig, "ads.txt": "# ads\n\ntrack.example\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, problems, err := Load(filepath.Join(dir, "config.toml"))
	if err != nil || cfg == nil {
		t.Fatal(err, renderProblems(problems, ""))
	}
	b, err := build(context.Background(), cfg, site{logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

func parsed(t *testing.T, text string, cfg *Config) []*testFile {
	t.Helper()
	f, problems := parseTests("config.test.toml", []byte(text), cfg)
	if len(problems) > 0 {
		t.Fatal(renderProblems(problems, ""))
	}
	return []*testFile{f}
}

// TestDecisions asserts that each of decisions passes, and that with any one thing wanted otherwise it fails for that
// alone and is explained.
func TestDecisions(t *testing.T) {
	b := tested(t)
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	files := parsed(t, decisions, b.cfg)
	results, err := b.runTests(files, now, false)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range results {
		r, test := &results[i], files[0].Tests[i]
		if !r.Passed || r.Explanation != nil {
			t.Errorf("line %d, %s: %+v", r.Line, r.question(), r.differing())
			continue
		}
		seen[strings.TrimLeft(r.Got.Rule, "0123456789")] = true
		for _, other := range []struct {
			what string
			set  func(*policyTest)
		}{
			{"verdict", func(t *policyTest) { t.Verdict = map[string]string{"allow": "block", "block": "allow"}[t.Verdict] }},
			{"policy", func(t *policyTest) { t.Policy += "s" }},
			{"rule", func(t *policyTest) { t.Rule += "0" }},
			{"category", func(t *policyTest) { t.Category += "s" }},
			{"observed", func(t *policyTest) { t.Observed = map[string]string{"block": "none", "none": "block"}[r.Got.Observed] }},
			{"answer", func(t *policyTest) { t.Answer += " or so" }},
		} {
			wrong := test
			other.set(&wrong)
			again, err := b.runTests([]*testFile{{Tests: []policyTest{wrong}}}, now, false)
			if err != nil {
				t.Fatal(err)
			}
			got := again[0].differing()
			if again[0].Passed || len(got) != 1 || got[0].what != other.what || again[0].Explanation == nil || len(again[0].Explanation.Steps) == 0 {
				t.Errorf("line %d, %s, with another %s: passed %v, %+v", r.Line, r.question(), other.what, again[0].Passed, got)
			}
		}
	}
	for _, word := range deciders {
		if !seen[word] {
			t.Errorf("no test is decided by %q", word)
		}
	}
}

// TestTestsAreExplained asserts what goes with a failure, and that nothing is proposed that would not make it pass.
func TestTestsAreExplained(t *testing.T) {
	b := tested(t)
	results, err := b.runTests(parsed(t, `
[[test]]
name = "track.example"
verdict = "allow"
[[test]]
name = "track.example"
verdict = "block"
policy = "closed"
[[test]]
name = "track.example"
verdict = "block"
`, b.cfg), time.Now(), true)
	if err != nil {
		t.Fatal(err)
	}
	for i, remedies := range []string{"for good", "", ""} {
		e := results[i].Explanation
		var got []string
		for _, s := range e.Remedies {
			got = append(got, s.Subject)
		}
		if strings.Join(got, " ") != remedies || results[i].Passed != (i == 2) {
			t.Errorf("test %d: passed %v, remedies %q", i, results[i].Passed, got)
		}
		if e.Steps[1].Where != "ads.txt:3" {
			t.Errorf("test %d: %+v", i, e.Steps)
		}
	}
}
