package blocklist

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestPolicyAgreesWithModel holds that on random worlds compiled policies say what reading them naively says, of names,
// of answers and in explanations; and that each of their ways to say something was taken often.
func TestPolicyAgreesWithModel(t *testing.T) {
	drawn, compiled := 0, 0
	n := map[string]int{}
	var before *Policy // of another world
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		drawn++
		p, err := w.compile(t)
		if err != nil { // an unreachable rule
			return
		}
		compiled++
		checkUntil(rt, w, p, n)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		for _, name := range slices.Concat(modelNames, modelNames, w.named()) {
			q, a := w.ask(r, name)
			l := q.lookup()
			want := w.decide(q)
			d := p.Decide(l)
			if diff := gocmp.Diff(want, saidBy(p, d)); diff != "" {
				rt.Fatalf("%v: model and policy differ:\n%s", &q, diff)
			}
			checkExplanation(rt, w, p.Explain(l), q, want)
			f := a.facts()
			wantThen := w.decideFacts(q, want, a)
			if before != nil && r.IntN(2) == 0 { // has another say on the same facts
				before.DecideFacts(l, before.Decide(l), f)
			}
			var then Decision
			for _, turn := range []string{"first", "again"} {
				then = p.DecideFacts(l, d, f)
				if diff := gocmp.Diff(wantThen, saidBy(p, then)); diff != "" {
					rt.Fatalf("%v answered with %+v: model and policy differ when asked %s:\n%s", &q, a, turn, diff)
				}
			}
			n["facts: nothing known of them"] += int(bit(f.sight.Load() == p.none))
			if then.Remove&RemoveAddresses != 0 {
				for _, addr := range modelAddrs {
					by, _ := w.offence(q, want, addr)
					if got := p.Offends(l, then, addr); got != by.named {
						rt.Fatalf("%v: %s offends is %v", &q, addr, got)
					}
				}
			}
			count(n, w, q, want, wantThen, a)
		}
		before = p
	})
	if 2*compiled < drawn {
		t.Errorf("only %d of %d drawn policies compiled", compiled, drawn)
	}
	for what, least := range leastDrawn {
		if n[what] < least {
			t.Errorf("%s: %d times, want at least %d: the draw is too narrow", what, n[what], least)
		}
	}
}

// leastDrawn is how often each of these has to be seen; usually it is five times that and more.
var leastDrawn = map[string]int{
	"until": 10, "client: in a group": 2000,

	"name: by rule": 1000, "name: by exception": 80, "name: by default": 1500, "name: by canary": 10, "name: by observe": 150,
	"name: blocked": 800, "name: observed": 800, "name: default or canary only observed": 30, "name: safe search": 15,
	"name: never excepted": 400, "name: an exception for another kind of category": 10,

	"exception: instead of a block": 15, "exception: of an alias": 2, "exception: covers what the name leads to": 5,
	"exception: leads to what is never excepted": 1,

	"rule: all decided": 100, "rule: asleep": 1000, "rule: awake": 1000, "rule: scheduled decided": 150, "rule: a missing list decided": 20,

	"alias: blocked": 80, "alias: observed": 60, "target: blocked": 3, "target: observed": 3, "answer: block only observed": 80,
	"trust: instead of a block": 3, "ech: removed": 100, "hints: removed": 100,
	"facts: nothing known of them": 100,

	"address: blocked by a list's network": 5, "address: blocked by the rule's network": 2, "address: observed": 35,
	"address: rebinding blocked": 120, "address: rebinding blocked though trusted": 5, "address: private, and may be": 70,
	"address: private, and allowed by a rule": 50, "address: private, allowed by a rule, of a trusted name": 10,
	"address: removed by a rule": 10, "address: removed as rebinding": 100,
}

// count notes what a question and its answer have met.
func count(n map[string]int, w *world, q question, s, then said, a answered) {
	note := func(ok bool, what string) {
		if ok {
			n[what]++
		}
	}
	p, group := w.of(q.client)
	note(true, "name: by "+s.Why.By.String())
	note(s.Verdict == Block, "name: blocked")
	note(s.WouldBlock, "name: observed")
	note(s.Why.By == ByMode && s.Observed.By != ByRule, "name: default or canary only observed")
	note(s.Rewrite != 0, "name: safe search")
	note(group != "", "client: in a group")
	note(w.never(q.name, q.qtype) != "", "name: never excepted")
	exceptions := w.known.Exceptions
	for i := range w.categories {
		w.categories[i].never = !w.categories[i].never
	}
	note(w.excepted(q, q.name) != nil && s.Why.By != ByException, "name: an exception for another kind of category")
	for i := range w.categories {
		w.categories[i].never = !w.categories[i].never
	}
	w.known.Exceptions = nil
	bare := w.decide(q)
	barely := w.decideFacts(q, bare, a)
	w.known.Exceptions = exceptions
	note(s.Why.By == ByException && bare.Verdict == Block, "exception: instead of a block")
	note(s.Why.By == ByException && then.Verdict == Block, "exception: leads to what is never excepted")
	note(s.Why.By == ByException && then.Verdict == Allow && bare.Verdict == Allow && barely.Verdict == Block, "exception: covers what the name leads to")
	note(s.Why.By != ByException && then.Verdict == Allow && barely.Verdict == Block, "exception: of an alias")
	for _, rule := range w.rules(p) {
		note(rule.Schedule != nil && !w.schedules[rule.Schedule](w.at), "rule: asleep")
		note(rule.Schedule != nil && w.schedules[rule.Schedule](w.at), "rule: awake")
		note(s.Why.By == ByRule && s.Why.Rule == rule.number && rule.All, "rule: all decided")
		note(s.Why.By == ByRule && s.Why.Rule == rule.number && rule.Schedule != nil, "rule: scheduled decided")
	}
	note(s.Why.By == ByRule && s.Why.Category != "" && s.Why.List == "", "rule: a missing list decided")
	if s.Verdict == Block || s.Why.By == ByMode {
		return
	}
	trusted := trusts(p, s)
	note(then.Verdict == Block && then.Why.On == OnAlias && then.Why.Which < len(a.aliases), "alias: blocked")
	note(then.Verdict == Block && then.Why.On == OnAlias && then.Why.Which >= len(a.aliases), "target: blocked")
	note(!s.WouldBlock && then.WouldBlock && then.Observed.On == OnAlias && then.Observed.Which < len(a.aliases), "alias: observed")
	note(!s.WouldBlock && then.WouldBlock && then.Observed.On == OnAlias && then.Observed.Which >= len(a.aliases), "target: observed")
	note(then.Why.By == ByMode, "answer: block only observed")
	note(then.Verdict == Block && then.Why.By == ByRule && then.Why.On == OnAddress && then.Why.Category == "", "address: blocked by the rule's network")
	note(then.Verdict == Block && then.Why.By == ByRule && then.Why.On == OnAddress && then.Why.Category != "", "address: blocked by a list's network")
	note(!s.WouldBlock && then.WouldBlock && then.Observed.On == OnAddress && then.Observed.By == ByRule, "address: observed")
	note(then.Verdict == Block && then.Why.By == ByRebinding, "address: rebinding blocked")
	note(then.Verdict == Block && then.Why.By == ByRebinding && trusted, "address: rebinding blocked though trusted")
	note(then.Remove&RemoveAddresses != 0 && then.Why.By == ByRule, "address: removed by a rule")
	note(then.Remove&RemoveAddresses != 0 && then.Why.By == ByRebinding, "address: removed as rebinding")
	note(then.Remove&RemoveECH != 0, "ech: removed")
	note(then.Remove&RemoveHints != 0, "hints: removed")
	if trusted && len(a.aliases) > 0 && then.Verdict == Allow {
		p.TrustAllowed = false
		note(w.decideFacts(q, s, a).Verdict == Block, "trust: instead of a block")
		p.TrustAllowed = true
	}
	for _, addr := range a.addrs {
		if _, private := naivePrivate(addr); !private || !p.Rebinding || s.Why.By == ByException {
			continue
		}
		by, _ := w.offence(q, s, addr)
		note(!by.named && w.mayBePrivate(p, q.name, addr), "address: private, and may be")
		note(!by.named && !w.mayBePrivate(p, q.name, addr), "address: private, and allowed by a rule")
		note(!by.named && !w.mayBePrivate(p, q.name, addr) && trusted, "address: private, allowed by a rule, of a trusted name")
	}
}

// checkUntil holds that a policy is to be compiled anew when a schedule changes, minute by minute.
func checkUntil(t *rapid.T, w *world, p *Policy, n map[string]int) {
	var used []func(time.Time) bool
	for i := range w.policies {
		for _, r := range w.policies[i].Rules {
			if r.Schedule != nil {
				used = append(used, w.schedules[r.Schedule])
			}
		}
	}
	var want time.Time
	for m := 1; m <= 7*24*60 && want.IsZero(); m++ {
		at := w.at.Truncate(time.Minute).Add(time.Duration(m) * time.Minute)
		if slices.ContainsFunc(used, func(in func(time.Time) bool) bool { return in(at) != in(w.at) }) {
			want = at
		}
	}
	if !p.Until().Equal(want) {
		t.Fatalf("at %v until %v, want %v", w.at, p.Until(), want)
	}
	if !want.IsZero() {
		n["until"]++
	}
}

// checkExplanation holds that an explanation says what was decided, and that the trace of the rules ends where the
// decision does.
func checkExplanation(t *rapid.T, w *world, e Explanation, q question, want said) {
	if e.Policy != want.Policy || e.Group != want.Group || e.Never != w.never(q.name, q.qtype) && (e.Never == "" || !w.category(e.Never).never) {
		t.Fatalf("%v: explained as %+v, want %+v", &q, e, want)
	}
	if want.Why.By == ByException {
		if e.Exception == nil || e.Exception.ID != want.Why.Exception || len(e.Rules) != 0 {
			t.Fatalf("%v: explained as %+v, want %+v", &q, e, want)
		}
		return
	}
	by := want.Why
	if by.By == ByMode {
		by = want.Observed
	}
	last := RuleTrace{}
	for _, r := range e.Rules {
		if r.Matched && r.Action != ActionObserve {
			last = r
		}
		if asleep := r.Schedule != nil && !w.schedules[r.Schedule](w.at); r.Asleep && !asleep || r.Matched && asleep {
			t.Fatalf("%v: rule %d is asleep: %v, want %v", &q, r.Rule, r.Asleep, asleep)
		}
	}
	decided := by.By == ByRule || by.By == ByCanary
	if last.Matched != decided || last.Rule != by.Rule || last.Category != by.Category || last.List != by.List {
		t.Fatalf("%v: the trace ends at %+v, want %+v", &q, last, by)
	}
	if decided && by.On == OnName && last.Entry != Entry([]byte(q.name), uint8(by.Off), by.Scope) {
		t.Fatalf("%v: entry %q, want %q", &q, last.Entry, Entry([]byte(q.name), uint8(by.Off), by.Scope))
	}
}
