package blocklist

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// precedence fixes what counts before what. A row is a policy, a question and its answer, in words that precedent.policy
// and precedent.ask turn into what they mean; an empty one is "not so".
var precedence = []precedent{
	// The asked name.
	// exception, never_except, rule above, rule below, default, mode, leads to, cname, on_address: verdict, by, recorded
	{"", "", "", "", "block", "", "", "", "", "block", "default", ""},
	{"", "", "allow name", "block name's parent", "block", "", "", "", "", "allow", "rule above", ""},
	{"", "", "block name", "allow name's parent", "allow", "", "", "", "", "block", "rule above", ""},
	{"", "", "block name, asleep", "", "allow", "", "", "", "", "allow", "default", ""},
	{"", "", "observe name", "block name", "allow", "", "", "", "", "block", "rule below", "rule above"},
	{"", "", "", "canary", "allow", "", "", "", "", "block", "canary", ""},
	{"", "", "allow name", "canary", "block", "", "", "", "", "allow", "rule above", ""},
	{"", "", "block name", "", "allow", "observe", "", "", "", "allow", "observe", "rule above"},
	{"", "", "observe name", "", "block", "observe", "", "", "", "allow", "observe", "default"},
	{"name", "", "block name", "", "block", "", "", "", "", "allow", "exception", ""},
	{"name, over", "", "block name", "", "allow", "", "", "", "", "block", "rule above", ""},
	{"name", "name", "block name", "", "allow", "", "", "", "", "block", "rule above", ""},

	// Aliases.
	{"", "", "block alias", "", "allow", "", "alias", "", "", "block", "rule above", ""},
	{"", "", "allow alias", "block alias's parent", "allow", "", "alias", "", "", "allow", "default", ""},
	{"", "", "allow name", "", "block", "", "alias", "", "", "allow", "rule above", ""},
	{"", "", "allow name", "block alias", "allow", "", "alias", "", "", "block", "rule below", ""},
	{"", "", "allow name", "block alias", "allow", "", "alias", "trust-allowed", "", "allow", "rule above", ""},
	{"", "", "block alias", "", "allow", "", "alias", "trust-allowed", "", "block", "rule above", ""},
	{"name", "", "block alias", "", "allow", "", "alias", "", "", "allow", "exception", ""},
	{"name", "alias", "block alias", "", "allow", "", "alias", "", "", "block", "rule above", ""},
	{"alias", "", "block alias", "", "allow", "", "alias", "", "", "allow", "default", ""},

	// Addresses.
	{"", "", "block network", "", "allow", "", "address", "", "", "block", "rule above", ""},
	{"", "", "block network", "", "allow", "", "address", "", "strip", "allow, without it", "rule above", ""},
	{"", "", "allow network", "block network", "allow", "", "address", "", "", "allow", "default", ""},
	{"", "", "allow name", "block network", "allow", "", "address", "trust-allowed", "", "allow", "rule above", ""},
	{"name", "", "block network", "", "allow", "", "address", "", "", "allow", "exception", ""},
	{"name", "address", "block network", "", "allow", "", "address", "", "", "block", "rule above", ""},
	{"", "", "", "", "allow", "", "private address", "", "", "block", "rebinding", ""},
	{"", "", "allow name", "", "block", "", "private address", "trust-allowed", "", "block", "rebinding", ""},
	{"", "", "allow network", "", "allow", "", "private address", "", "", "allow", "default", ""},
	{"", "", "", "", "allow", "", "private address, rebinding_allow", "", "", "allow", "default", ""},
	{"name", "", "", "", "allow", "", "private address", "", "", "allow", "exception", ""},

	// Targets.
	{"", "", "block target", "", "allow", "", "target", "", "", "allow", "default", ""},
	{"", "", "block target, targets", "", "allow", "", "target", "", "", "block", "rule above", ""},
	{"", "", "allow target", "block target, targets", "allow", "", "target", "", "", "allow", "default", ""},
}

type precedent struct {
	exception, never, above, below, otherwise, mode, leadsTo, cname, onAddress string
	verdict, by, recorded                                                      string
}

// columns are the heads of the table, with what stands under them.
var columns = []struct {
	head string
	cell func(p *precedent) string
}{
	{"exception", func(p *precedent) string { return p.exception }},
	{"`never_except`", func(p *precedent) string { return p.never }},
	{"rule above", func(p *precedent) string { return p.above }},
	{"rule below", func(p *precedent) string { return p.below }},
	{"`default`", func(p *precedent) string { return p.otherwise }},
	{"`mode`", func(p *precedent) string { return p.mode }},
	{"leads to", func(p *precedent) string { return p.leadsTo }},
	{"`cname`", func(p *precedent) string { return p.cname }},
	{"`on_address`", func(p *precedent) string { return p.onAddress }},
	{"**verdict**", func(p *precedent) string { return "**" + p.verdict + "**" }},
	{"decided by", func(p *precedent) string { return p.by }},
	{"recorded", func(p *precedent) string { return p.recorded }},
}

// objects are what rules, exceptions and categories name, and what an answer leads to.
var objects = map[string]string{
	"name": "www.shop.example", "name's parent": "shop.example", "alias": "a.cdn.example", "alias's parent": "cdn.example",
	"target": "mx.example", "address": "198.51.100.7", "private address": "192.168.1.7",
}

// policy compiles what the row says.
func (p *precedent) policy(t *testing.T) *Policy {
	t.Helper()
	held := objects[p.never]
	if p.never == "address" {
		held += "/32"
	}
	dir := lay(t, map[string]string{"never": held + "\n"})
	format := "domains"
	if p.never == "address" {
		format = "cidr"
	}
	lists := load(t, dir, CategoryConfig{Name: "never", NeverExcept: true, Sources: []SourceConfig{{From: "never", Format: format}}})
	cfg := PolicyConfig{
		Name: "p", Any: true, Observe: p.mode == "observe", TrustAllowed: p.cname == "trust-allowed", Strip: p.onAddress == "strip",
		Rebinding: true, Canaries: p.below == "canary",
	}
	if p.otherwise == "block" {
		cfg.Default = Block
	}
	if strings.HasSuffix(p.leadsTo, "rebinding_allow") {
		cfg.NotPublic = []string{objects["name's parent"]}
	}
	for pos, text := range map[string]string{"rule above": p.above, "rule below": p.below} {
		if text == "" || text == "canary" {
			continue
		}
		cfg.Rules = append(cfg.Rules, p.rule(t, text, pos))
	}
	slices.SortFunc(cfg.Rules, func(a, b RuleConfig) int { return strings.Compare(a.Pos, b.Pos) })
	policy, err := Compile([]PolicyConfig{cfg}, lists, precedentTime)
	must(t, err)
	known := Known{}
	if name, over := strings.CutSuffix(p.exception, ", over"); name != "" {
		e := Exception{ID: 1, Name: objects[name], Client: netip.PrefixFrom(anyone, 32), Until: precedentTime.UnixNano() + 1}
		if over {
			e.Until--
		}
		known.Exceptions = append(known.Exceptions, e)
	}
	return policy.With(known)
}

// precedentTime is a Sunday, on which rules that are asleep are.
var precedentTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rule reads "block name, asleep".
func (p *precedent) rule(t *testing.T, text, pos string) RuleConfig {
	t.Helper()
	text, condition, _ := strings.Cut(text, ", ")
	word, object, _ := strings.Cut(text, " ")
	action, err := ParseAction(word)
	must(t, err)
	r := RuleConfig{Action: action, Pos: pos}
	switch {
	case object == "network":
		r.Networks = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("192.168.0.0/16")}
	case object == "name" && p.below == "canary":
		r.Domains = canaries[:1]
	case objects[object] != "":
		r.Domains = []string{objects[object]}
	default:
		t.Fatalf("a rule on %q", object)
	}
	switch condition {
	case "":
	case "asleep":
		r.Schedule = scheduled(t, "UTC", "mon-fri")
	case "targets":
		r.Targets = []uint16{typeNames["MX"]}
	default:
		t.Fatalf("a rule with %q", condition)
	}
	return r
}

// ask asks the row's question, answers it, and returns verdict, what decided and what is recorded, in the table's words.
func (p *precedent) ask(t *testing.T, policy *Policy) (verdict, by, recorded string) {
	t.Helper()
	l := &Lookup{Name: wire(t, objects["name"]), Type: 1, Client: Client{Addr: anyone}, At: precedentTime.UnixNano()}
	if p.below == "canary" {
		l.Name = wire(t, canaries[0])
	}
	d := policy.Decide(l)
	f := &Facts{}
	switch leads, _, _ := strings.Cut(p.leadsTo, ","); leads {
	case "":
	case "alias":
		f.Aliases = [][]byte{wire(t, objects[leads])}
	case "address", "private address":
		f.Addrs = []netip.Addr{netip.MustParseAddr(objects[leads])}
	case "target":
		l.Type = typeNames["MX"]
		f.Targets = [][]byte{wire(t, objects[leads])}
	default:
		t.Fatalf("an answer that leads to %q", leads)
	}
	d = policy.DecideFacts(l, d, f)
	said := func(number uint32) string {
		o := policy.Outcomes()[number]
		if o.By == ByRule {
			return o.Pos
		}
		return o.By.String()
	}
	verdict, by = d.Verdict.String(), said(d.Outcome)
	if d.Remove&RemoveAddresses != 0 {
		verdict += ", without it"
	}
	if d.Observed != 0 {
		recorded = said(d.Observed)
	}
	return verdict, by, recorded
}

// TestPrecedence holds that each row of the table comes about, and that README shows the table.
func TestPrecedence(t *testing.T) {
	var b strings.Builder
	for i, c := range columns {
		fmt.Fprintf(&b, "| %s ", c.head)
		if i == len(columns)-1 {
			b.WriteString("|\n" + strings.Repeat("|---", len(columns)) + "|\n")
		}
	}
	for i := range precedence {
		row := &precedence[i]
		verdict, by, recorded := row.ask(t, row.policy(t))
		if verdict != row.verdict || by != row.by || recorded != row.recorded {
			t.Errorf("%+v: %s by %s, recorded %q", *row, verdict, by, recorded)
		}
		for _, c := range columns {
			b.WriteString("| ")
			if cell := c.cell(row); cell != "" {
				b.WriteString(cell + " ")
			}
		}
		b.WriteString("|\n")
	}
	const file, begin, end = "../README.md", "<!-- precedence -->\n", "<!-- /precedence -->\n"
	text, err := os.ReadFile(file)
	must(t, err)
	before, rest, ok := strings.Cut(string(text), begin)
	shown, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the table", file)
	}
	if *update {
		must(t, os.WriteFile(file, []byte(before+begin+b.String()+end+after), 0o644))
	} else if shown != b.String() {
		t.Errorf("%s shows another table; go test ./blocklist -run TestPrecedence -update writes this one:\n%s", file, b.String())
	}
}
