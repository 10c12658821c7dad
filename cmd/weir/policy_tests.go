package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"weir/blocklist"
)

// testFile is a file of tests for the policies of a configuration. Its tags are read as those of Config are.
type testFile struct {
	// Tests holds each [[test]].
	Tests []policyTest `toml:"test"`

	file   string // as it stands in messages
	places places
}

// policyTest is one [[test]]: a question, what would be answered, and what is to be decided.
type policyTest struct {
	// Pos is the place of its [[test]], "config.test.toml:12".
	Pos string `toml:"-"`
	// Name and Type are what is asked.
	Name string `toml:"name"`
	Type uint16 `toml:"type" default:"A"`
	// Client asks, with the hardware address MAC as a forwarder tells it, and the name Host as a lease gives it.
	Client netip.Addr    `toml:"client" default:"127.0.0.1"`
	MAC    blocklist.MAC `toml:"mac"`
	Host   string        `toml:"host"`
	// At is when it is asked; zero is now.
	At time.Time `toml:"at"`
	// Aliases and Addresses are what the answer leads to.
	Aliases   []string     `toml:"aliases"`
	Addresses []answerAddr `toml:"addresses"`

	// The rest is what is wanted. What is not written may be anything.
	Verdict  string   `toml:"verdict" oneof:"allow block"`
	Policy   string   `toml:"policy"`
	Rule     ruleName `toml:"rule"`
	Category string   `toml:"category"`
	Observed string   `toml:"observed" oneof:"block none"`
	Answer   string   `toml:"answer"`
	// Note is shown where the test fails.
	Note string `toml:"note"`
}

// ruleName is the number of a rule in its policy, from 1, or one of deciders.
type ruleName string

// What decides beside rules. The first five are as in records; byAccess is that the client may not ask at all, byZone that
// a local zone answers, which no default is about.
const (
	byAccess = "access"
	byZone   = "zone"
)

var deciders = []string{
	blocklist.ByDefault.String(), blocklist.ByRebinding.String(), blocklist.ByCanary.String(), blocklist.ByMode.String(), byAccess, byZone,
}

// answerAddr is an address in an answer, where an IPv4 address in IPv6 form is one as well.
type answerAddr struct{ netip.Addr }

func parseRuleName(text string) (ruleName, error) {
	n, err := parseInteger(text)
	switch {
	case err == nil && n > 0:
		return ruleName(fmt.Sprint(n)), nil
	case err == nil:
		return "", fault{label: "rules count from 1"}
	case slices.Contains(deciders, text):
		return ruleName(text), nil
	case text == blocklist.ByException.String():
		return "", fault{"no exception counts here", "tests are about the configuration alone"}
	}
	f := fault{label: "possible: a number, " + strings.Join(deciders, ", ")}
	if near := nearest(text, deciders); near != "" {
		f.note = fmt.Sprintf("did you mean %q?", near)
	}
	return "", f
}

func parseMAC(text string) (blocklist.MAC, error) {
	c, err := parseClient(text)
	if err != nil || c.MAC == (blocklist.MAC{}) {
		return blocklist.MAC{}, fault{"not six octets", `for example "02:00:5e:10:00:01"`}
	}
	return c.MAC, nil
}

func parseAnswerAddr(text string) (answerAddr, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Is4In6() && a.Zone() == "" {
		return answerAddr{a}, nil
	}
	a, err := parseAddr(text)
	return answerAddr{a}, err
}

var notMoment = fault{"not a date and time", `for example "2026-12-24 22:00", or "2026-12-24T22:00:00+01:00" for a zone of its own`}

// momentForm is RFC 3339 with the freedom that TOML 1.1 gives; time.Parse takes more.
var momentForm = regexp.MustCompile(`^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?$`)

// parseMoment reads a date and time, of this machine's zone if it names none (RFC 3339).
func parseMoment(text string) (time.Time, error) {
	if !momentForm.MatchString(text) {
		return time.Time{}, notMoment
	}
	text = strings.Replace(text, "T", " ", 1)
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02 15:04Z07:00", "2006-01-02 15:04:05Z07:00"} {
		t, err := time.ParseInLocation(layout, text, time.Local)
		if err != nil {
			continue
		}
		if y := t.Year(); y < 1970 || y > 2200 {
			return time.Time{}, fault{label: "not a year from 1970 to 2200"}
		}
		return t, nil
	}
	return time.Time{}, notMoment
}

// testFiles returns the files of tests that belong to a configuration: of config.toml those called config.test.toml and
// config.test/*.toml beside it.
func testFiles(config string) ([]string, error) {
	var files []string
	base := testBase(config)
	switch _, err := os.Stat(base + ".toml"); {
	case err == nil:
		files = append(files, base+".toml")
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("look for tests: %w", err)
	}
	if info, err := os.Stat(base); err != nil || !info.IsDir() {
		return files, nil
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, fmt.Errorf("look for tests: %w", err)
	}
	for _, e := range entries {
		if name := e.Name(); filepath.Ext(name) == ".toml" && !strings.HasPrefix(name, ".") {
			files = append(files, filepath.Join(base, name))
		}
	}
	return files, nil
}

// testBase is how the names of the files of tests begin.
func testBase(config string) string {
	return strings.TrimSuffix(config, filepath.Ext(config)) + ".test"
}

// loadTests reads files of tests for cfg. A *testError holds all that is wrong with them; another error is of files that
// cannot be read.
func loadTests(files []string, cfg *Config) ([]*testFile, error) {
	var out []*testFile
	var wrong testError
	var unread []error
	for _, path := range files {
		data, err := readConfig(path)
		if err != nil {
			unread = append(unread, fmt.Errorf("read tests: %w", err))
			continue
		}
		f, problems := parseTests(filepath.Clean(path), data, cfg)
		if len(problems) > 0 {
			wrong.files = append(wrong.files, problems)
		}
		out = append(out, f)
	}
	switch {
	case len(unread) > 0:
		return nil, errors.Join(unread...)
	case len(wrong.files) > 0:
		return nil, &wrong
	}
	return out, nil
}

// testError is files of tests that are wrong, with the problems of each.
type testError struct{ files [][]Problem }

// Error is all that is wrong, one problem a line.
func (e *testError) Error() string {
	var lines []string
	for _, problems := range e.files {
		lines = append(lines, (&configError{problems}).lines()...)
	}
	return strings.Join(lines, "\n")
}

// render is all problems as those of a configuration are told.
func (e *testError) render(outcome string) string {
	var files []string
	for _, problems := range e.files {
		files = append(files, renderProblems(problems, outcome))
	}
	return strings.Join(files, "\n")
}

// parseTests is loadTests for one file that was read; it returns what could be decoded even beside problems.
func parseTests(file string, data []byte, cfg *Config) (*testFile, []Problem) {
	f := &testFile{file: file}
	r := newReport(file, data)
	r.about = "test"
	if root, ok := parseTree(r); ok {
		f.places = decode(r, root, f)
		f.check(r, cfg)
	}
	return f, r.sorted()
}

// check reports what is missing, and what does not fit the configuration.
func (f *testFile) check(r *report, cfg *Config) {
	if f.places.absent(&f.Tests) {
		r.errorAt(Pos{}, "no [[test]]", "", "a file of tests has at least one")
	}
	for i := range f.Tests {
		t := &f.Tests[i]
		at := f.places[t].value
		if f.places.absent(&t.Name) {
			r.errorAt(at, `this [[test]] has no "name"`, "", `write the name that is asked for, as in name = "www.example.com"`)
		}
		if f.places.absent(&t.Verdict) {
			r.errorAt(at, `this [[test]] has no "verdict"`, "", `write verdict = "allow" or verdict = "block"`)
		}
		f.checkName(r, &t.Name)
		for j := range t.Aliases {
			f.checkName(r, &t.Aliases[j])
		}
		if t.Host != "" && !isWord(t.Host) {
			r.errorAt(f.places[&t.Host].value, fmt.Sprintf("%q is not the name of a host", t.Host), `letters, digits, "-" and "_", as DHCP clients give it`)
		}
		f.checkKnown(r, t, cfg)
	}
}

// checkName reports what is no domain name. The root is one.
func (f *testFile) checkName(r *report, name *string) {
	if *name == "" || *name == "." {
		return
	}
	_, err := checkName(*name)
	if err == nil {
		_, err = blocklistName(*name)
	}
	if err == nil {
		return
	}
	var why fault
	if !errors.As(err, &why) {
		why.label = err.Error()
	}
	if below, ok := strings.CutPrefix(*name, "*."); ok {
		why = fault{"an asterisk in a name", fmt.Sprintf("a test asks for one name, such as %q", "www."+below)}
	}
	r.errorAt(f.places[name].value, fmt.Sprintf("%q is not a name", *name), why.label, why.note)
}

// checkKnown reports what the configuration does not have.
func (f *testFile) checkKnown(r *report, t *policyTest, cfg *Config) {
	unknown := func(field *string, what, label string, names []string) {
		if *field == "" || slices.Contains(names, *field) {
			return
		}
		note := ""
		if near := nearest(*field, names); near != "" {
			note = fmt.Sprintf("did you mean %q?", near)
		}
		r.errorAt(f.places[field].value, fmt.Sprintf("unknown %s %q", what, *field), label+" in "+cfg.File, note)
	}
	var policies, categories []string
	for i := range cfg.Policies {
		p := &cfg.Policies[i]
		policies = append(policies, p.Name)
		n, err := parseInteger(string(t.Rule))
		if t.Policy == p.Name && err == nil && int(n) > len(p.Rules) {
			r.errorAt(f.places[&t.Rule].value, fmt.Sprintf("policy %q has no rule %d", p.Name, n), "it has "+plural(len(p.Rules), "rule")+", see "+p.Pos)
		}
	}
	for _, c := range cfg.Categories {
		categories = append(categories, c.Name)
	}
	unknown(&t.Policy, "policy", "no [[policy]] of that name", policies)
	unknown(&t.Category, "category", fmt.Sprintf("no [category.%s]", bareKey(t.Category)), categories)
}
