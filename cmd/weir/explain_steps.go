package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"weir/blocklist"
	"weir/cmd/internal/admin"
	"weir/cmd/internal/exceptions"
	"weir/resolver"
)

// steps tells what the query path does with a question, in its order, and at last what would let through what it blocks.
func (b *built) steps(e *admin.Explanation, l *blocklist.Lookup, a *resolver.Account, granted *exceptions.Store) {
	step := func(kind, subject, where, format string, args ...any) {
		e.Steps = append(e.Steps, admin.Step{Kind: kind, Subject: subject, Detail: fmt.Sprintf(format, args...), Where: where})
	}
	if a.Refused {
		e.Verdict = "refused"
		step("access", "refused", b.cfg.Where(&b.cfg.Access.Allow), "client %s is in none of the networks that are answered", a.Client)
		return
	}
	a.Locate()
	step("policy", a.Policy, a.ClientPos, "%s", who(l, a))
	if x := a.Exception; x != nil {
		step("exception", fmt.Sprint(x.ID), "", "entry %s, %s", entryText(x.Name), exceptionReason(x, granted))
	}
	for i := range a.Rules {
		b.ruleStep(step, &a.Rules[i], l, a)
	}
	switch o := &a.Outcome; {
	case a.Fact != "" && o.By == blocklist.ByRebinding:
		step("rebinding", a.Entry, o.Pos, "%s%s, to a public name%s", a.Fact, where(a), removed(a))
	case a.Fact != "" && (a.Blocked || a.Removed):
		step("rule", strings.TrimSpace(o.Action.String()+" "+o.Category), o.Pos, "entry %s, for %s%s%s", entryText(a.Entry), a.Fact, where(a), removed(a))
	case o.By == blocklist.ByDefault && a.Zone == "":
		step("default", o.Verdict.String(), o.Pos, "no rule decides")
	}
	if len(a.Hops) > 0 {
		step("alias", count(len(a.Hops)+1, "hop", "hops"), "", "%s", strings.Join(append(append([]string{e.Name}, a.Hops...), a.Fact), " → "))
	}
	if o := a.Observed; o != nil && a.Outcome.By == blocklist.ByMode {
		by := o.By.String()
		if o.By == blocklist.ByRule {
			by = fmt.Sprintf("rule %d", o.Rule)
		}
		if a.Fact != "" {
			by += fmt.Sprintf(", entry %s, for %s%s", entryText(a.Entry), a.Fact, where(a))
		}
		step("mode", "observe", a.Outcome.Pos, "%s would block, and does not", by)
	}
	switch {
	case a.Blocked:
		e.Verdict = "blocked"
		at := b.cfg.Where(&b.cfg.Sinkhole.Answer)
		if at == "" {
			at = "the default of [sinkhole] answer"
		}
		if a.Outcome.Answer != blocklist.AnswerDefault {
			at = a.Outcome.Pos
		}
		step("answer", a.Answer, at, "EDE 15 %q", a.EDE)
		b.remedies(e, a)
	case a.Zone != "":
		detail := "answered here"
		if a.Outcome.Verdict == blocklist.Block {
			detail += "; a default of \"block\" is about names that leave"
		}
		switch {
		case a.Hosts != "":
			step("hosts", e.Name, b.shortPath(a.Hosts), "%s", detail)
		case a.Lease != "":
			step("lease", e.Name, b.cfg.Where(&b.cfg.Leases.Domain), "%s: the lease of %s", detail, a.Lease)
		case a.Registry != "":
			step("zone", a.Zone, "built in", "%s, %s", detail, a.Registry)
		default:
			step("zone", a.Zone, b.zonePos(a.Zone), "%s", detail)
		}
	case a.Upstream == "" && a.DNS64.IsValid():
		step("dns64", a.DNS64.String(), b.dns64Pos(a.Policy), "answered here: %s", a.Answer)
	case a.Upstream == "":
		step("answer", a.Answer, "built in", "no upstream is asked for this type")
	default:
		if a.Safe != "" {
			step("safe search", a.Safe, b.safePos(a.Policy), "stands in for %s", e.Name)
		}
		if a.DNS64.IsValid() {
			what := "stands before its IPv4 addresses if it has no other"
			if l.Type == dns.TypePTR {
				what = "stands before an IPv4 address, whose name is asked for"
			}
			step("dns64", a.DNS64.String(), b.dns64Pos(a.Policy), "%s", what)
		}
		step("upstream", a.Upstream, b.upstreamPos(a.Upstream), "asks %s when memory has no answer", b.asked(a.Upstream, a.Servers))
	}
}

// who says why the policy is the client's.
func who(l *blocklist.Lookup, a *resolver.Account) string {
	text := fmt.Sprintf("any client; %s is in no other policy", a.Client)
	switch {
	case l.Client.MAC != blocklist.MAC{}:
		text = fmt.Sprintf("client %s with %s", a.Client, l.Client.MAC)
	case a.Prefix.IsSingleIP():
		text = fmt.Sprintf("client %s", a.Client)
	case a.Prefix.IsValid():
		text = fmt.Sprintf("client %s in %s", a.Client, a.Prefix)
	}
	if a.Group != "" {
		text += ", group " + a.Group
	}
	return text
}

// ruleStep tells of a rule that matched, or would have at another hour.
func (b *built) ruleStep(step func(kind, subject, where, format string, args ...any), r *blocklist.RuleTrace, l *blocklist.Lookup, a *resolver.Account) {
	if !r.Matched && !r.Asleep || a.Zone != "" && r.Action == blocklist.ActionObserve {
		return
	}
	kind, subject, detail, where := "rule", r.Action.String(), r.Why, r.Pos
	switch {
	case r.Asleep:
		kind = "asleep"
	case r.Rule == 0:
		kind = "canary"
	}
	if r.Category != "" {
		subject += " " + r.Category
	}
	if r.Entry != "" {
		detail = "entry " + entryText(r.Entry)
	}
	if r.Line > 0 {
		where = fmt.Sprintf("%s:%d", b.shortPath(r.File), r.Line)
	}
	if r.Problem != "" {
		detail += " (" + r.Problem + ")"
	}
	if r.Matched && r.Action == blocklist.ActionObserve {
		detail += ": would block"
	}
	if s := r.Schedule; s != nil {
		now := time.Unix(0, l.At)
		state := "in force"
		if r.Asleep {
			state = "not in force"
		}
		detail += fmt.Sprintf(", schedule %s (%s) %s", s.Name, s, state)
		if next := s.Next(now); !next.IsZero() {
			detail += " until " + next.Format("Mon 2006-01-02 15:04 MST")
		}
	}
	step(kind, subject, where, "%s", detail)
}

// where is where the fact that decided was found.
func where(a *resolver.Account) string {
	if a.Held {
		return " in the answer that memory holds"
	}
	return " in the answer"
}

func removed(a *resolver.Account) string {
	if a.Removed {
		return ": it is taken out"
	}
	return ""
}

// exceptionReason says until when an exception lasts, and who answers for it.
func exceptionReason(x *blocklist.Exception, granted *exceptions.Store) string {
	text := "until " + time.Unix(0, x.Until).Local().Format("2006-01-02 15:04:05")
	if granted == nil {
		return text
	}
	for _, e := range granted.All() {
		if e.ID == x.ID {
			text += fmt.Sprintf(", by %s: %s", e.By, e.Reason)
		}
	}
	return text
}

// remedies tells what would let through what is blocked.
func (b *built) remedies(e *admin.Explanation, a *resolver.Account) {
	remedy := func(subject, where, format string, args ...any) {
		e.Remedies = append(e.Remedies, admin.Step{Kind: "allow", Subject: subject, Detail: fmt.Sprintf(format, args...), Where: where})
	}
	if a.Never != "" {
		remedy("no exception", b.categoryPos(a.Never), "%s is in %s, which has never_except: only its lists can let it go", cmp.Or(a.Fact, e.Name), a.Never)
		return
	}
	remedy("for a time", "", "weir exception add %s --client %s --for 1h --reason WHY", shellName(e.Name), a.Client)
	switch o := &a.Outcome; {
	case o.By == blocklist.ByRebinding:
		remedy("for good", o.Pos, "rebinding_allow = [%q] in policy %q", e.Name, a.Policy)
	case o.By == blocklist.ByRule && a.Decision.On == blocklist.OnAddress:
		remedy("for good", o.Pos, "an allow rule with answer_networks = [%q] before rule %d of policy %q", a.Entry, o.Rule, a.Policy)
	case o.By == blocklist.ByRule && a.Fact != "":
		remedy("for good", o.Pos, "an allow rule with domains = [%q] before rule %d of policy %q", "="+a.Fact, o.Rule, a.Policy)
	case o.By == blocklist.ByRule:
		remedy("for good", o.Pos, "an allow rule with domains = [%q] before rule %d of policy %q", "="+e.Name, o.Rule, a.Policy)
	default:
		remedy("for good", o.Pos, "an allow rule with domains = [%q] in policy %q", "="+e.Name, a.Policy)
	}
}

// shellName is a name as an exception for it alone is typed.
func shellName(name string) string {
	if strings.ContainsAny(name, `\'"$`) {
		return "'=" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	return "=" + name
}

// dns64Pos is where a policy translates.
func (b *built) dns64Pos(policy string) string {
	for i := range b.cfg.Policies {
		if p := &b.cfg.Policies[i]; p.Name == policy {
			return b.cfg.Where(&p.DNS64)
		}
	}
	return ""
}

// safePos is where a policy asks for safe search.
func (b *built) safePos(policy string) string {
	for i := range b.cfg.Policies {
		if p := &b.cfg.Policies[i]; p.Name == policy {
			return b.cfg.Where(&p.SafeSearch)
		}
	}
	return ""
}
