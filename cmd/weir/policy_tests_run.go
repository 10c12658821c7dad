package main

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"weir/blocklist"
	"weir/cmd/internal/admin"
	"weir/resolver"
)

// judgement is what a test wants, or gets, of a decision; what is empty is not wanted, or not there.
type judgement struct {
	Verdict  string `json:"verdict,omitempty"` // allow, block
	Policy   string `json:"policy,omitempty"`
	Rule     string `json:"rule,omitempty"` // a number, or one of deciders
	Category string `json:"category,omitempty"`
	Observed string `json:"observed,omitempty"` // block, none
	Answer   string `json:"answer,omitempty"`
}

// testResult is what came of a test.
type testResult struct {
	File      string    `json:"file"`
	Line      int       `json:"line"`
	Name      string    `json:"name"`
	Type      string    `json:"type"`
	Client    string    `json:"client"`
	MAC       string    `json:"mac,omitempty"`
	Host      string    `json:"host,omitempty"`
	At        time.Time `json:"at,omitzero"`
	Aliases   []string  `json:"aliases,omitempty"`
	Addresses []string  `json:"addresses,omitempty"`
	Note      string    `json:"note,omitempty"`

	Passed      bool               `json:"passed"`
	Wanted      judgement          `json:"wanted"`
	Got         judgement          `json:"got"`
	Explanation *admin.Explanation `json:"explanation,omitempty"`
}

// runTests holds each test against what b decides; now is when those are that do not say. What failed is explained, and
// with all, what passed too.
func (b *built) runTests(files []*testFile, now time.Time, all bool) ([]testResult, error) {
	compiled := map[int64]*blocklist.Policy{} // by moment, nanoseconds since 1970
	results := []testResult{}
	for _, f := range files {
		for i := range f.Tests {
			t := &f.Tests[i]
			moment := t.At
			if moment.IsZero() {
				moment = now
			}
			p := compiled[moment.UnixNano()]
			if p == nil {
				var err error
				if p, err = b.at(moment, blocklist.Known{Groups: b.groupList()}); err != nil {
					return nil, err
				}
				compiled[moment.UnixNano()] = p
			}
			if t.Host != "" {
				leased := []blocklist.Host{{Addr: t.Client, Name: strings.ToLower(t.Host)}}
				p = p.With(blocklist.Known{Hosts: leased, Groups: b.groupList()})
			}
			r, err := b.runTest(t, p, moment, all)
			if err != nil {
				return nil, err
			}
			r.File, r.Line = f.file, f.places[t].value.Line
			results = append(results, r)
		}
	}
	return results, nil
}

// runTest holds one test against p, the policy of its moment.
func (b *built) runTest(t *policyTest, p *blocklist.Policy, moment time.Time, all bool) (testResult, error) {
	l := &blocklist.Lookup{Type: t.Type, Client: blocklist.Client{Addr: t.Client, MAC: t.MAC}, At: moment.UnixNano()}
	var err error
	if l.Name, err = blocklistName(t.Name); err != nil {
		return testResult{}, err
	}
	var aliases [][]byte
	for _, text := range t.Aliases {
		alias, err := blocklistName(text)
		if err != nil {
			return testResult{}, err
		}
		aliases = append(aliases, alias)
	}
	r := testResult{
		Name: blocklist.NameString(l.Name), Type: typeText(t.Type), Client: t.Client.String(), Host: t.Host, At: t.At, Aliases: t.Aliases, Note: t.Note,
		Wanted: judgement{t.Verdict, t.Policy, string(t.Rule), t.Category, t.Observed, t.Answer},
	}
	if t.MAC != (blocklist.MAC{}) {
		r.MAC = t.MAC.String()
	}
	var addrs []netip.Addr
	for _, a := range t.Addresses {
		addrs = append(addrs, a.Addr)
		r.Addresses = append(r.Addresses, a.String())
	}
	a := b.state.With(p).ExplainAnswer(l, resolver.FactsOf(t.Type, aliases, addrs))
	r.Got = judged(&a)
	r.Passed = len(r.differing()) == 0
	if r.Passed && !all {
		return r, nil
	}
	e := b.explained(l, &a, nil)
	if t.Verdict != "allow" {
		e.Remedies = nil // nothing is to be allowed
	}
	e.Remedies = slices.DeleteFunc(e.Remedies, func(s admin.Step) bool { return s.Subject == "for a time" }) // it would not count
	r.Explanation = &e
	return r, nil
}

// judged is what an account comes to.
func judged(a *resolver.Account) judgement {
	if a.Refused {
		return judgement{Verdict: "block", Rule: byAccess, Observed: "none", Answer: "REFUSED"}
	}
	o := &a.Outcome
	d := judgement{Verdict: "allow", Policy: a.Policy, Rule: decidedBy(o), Category: o.Category, Observed: "none", Answer: a.Answer}
	if a.Blocked {
		d.Verdict = "block"
	}
	if would := a.Observed; would != nil {
		d.Observed = "block"
		if d.Category == "" {
			d.Category = would.Category
		}
	}
	if a.Zone != "" && (o.By == blocklist.ByDefault || o.By == blocklist.ByMode && d.Observed == "none") {
		d.Rule = byZone
	}
	if a.Safe != "" {
		d.Answer = a.Safe
	}
	return d
}

// difference is one thing that is not as it is wanted.
type difference struct{ what, wanted, got string }

// differing is all that is not as the test wants it.
func (r *testResult) differing() []difference {
	var out []difference
	for _, d := range []difference{
		{"verdict", r.Wanted.Verdict, r.Got.Verdict},
		{"policy", r.Wanted.Policy, r.Got.Policy},
		{"rule", r.Wanted.Rule, r.Got.Rule},
		{"category", r.Wanted.Category, r.Got.Category},
		{"observed", r.Wanted.Observed, r.Got.Observed},
		{"answer", r.Wanted.Answer, r.Got.Answer},
	} {
		if same := d.wanted == d.got || d.what == "answer" && strings.EqualFold(d.wanted, d.got); d.wanted != "" && !same {
			out = append(out, d)
		}
	}
	return out
}

func countFailed(results []testResult) int {
	n := 0
	for i := range results {
		if !results[i].Passed {
			n++
		}
	}
	return n
}
