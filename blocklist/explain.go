package blocklist

import (
	"net/netip"
	"slices"
)

// Explanation tells how a verdict came about.
type Explanation struct {
	Decision Decision
	Outcome  Outcome  // of the decision
	Observed *Outcome // of the rule that would have blocked, if it were not for observing only; nil is none

	Policy    string
	Client    netip.Addr   // unmapped
	Prefix    netip.Prefix // of the policy or the group, that holds the client; the zero Prefix when none does
	Group     string       // the client's; empty for none
	ClientPos string
	Exception *Exception // that let the name pass; nil for none
	Never     string     // the category that holds what decided, or else the name, and is never excepted; empty for none

	Rules    []RuleTrace // the rules that were read, in order; the last one decided, or else the default did
	Holdings []Holding   // every entry of every list that covers the name, whether or not a rule asks for it

	lists *Lists
}

// RuleTrace tells how one rule was read.
type RuleTrace struct {
	Rule    int // 1-based within the policy; 0 is what is read after its rules
	Action  Action
	Pos     string
	Matched bool
	Why     string // why it matched or did not, as the end of a sentence that begins with the rule

	Schedule *Schedule // nil for none
	Asleep   bool      // the rule would have matched, but its schedule is not in force

	// Of a rule that matched by an entry:
	Category string // empty for a domain of the rule itself
	List     string
	Entry    string // "track.example", "=track.example" or "*.track.example"
	File     string // where the entry stands; empty for a domain of the rule
	Line     int    // 1-based; 0 before Locate, and when Problem says why it is not known
	Problem  string

	list *List // nil for a domain of the rule
}

// Explain tells how the verdict on a lookup comes about, but for the lines of entries, which Locate finds.
func (p *Policy) Explain(l *Lookup) Explanation {
	d := p.Decide(l)
	pol := &p.policies[d.PolicyIndex]
	e := Explanation{
		Decision:  d,
		Outcome:   p.outcomes[d.Outcome],
		Policy:    pol.cfg.Name,
		Client:    l.Client.Addr.Unmap(),
		ClientPos: pol.cfg.clientsPos(),
		Never:     p.NeverExcepted(l.Name, l.Type),
		Holdings:  p.lists.Find(l.Name),
		lists:     p.lists,
	}
	if d.Observed != 0 {
		e.Observed = &p.outcomes[d.Observed]
	}
	if d.Group != 0 {
		e.Group = p.clients.groups[d.Group-1].Name
	}
	if addr := e.Client.WithZone(""); addr.IsValid() {
		host := netip.PrefixFrom(addr, addr.BitLen())
		if prefix, _, ok := p.clients.table.LookupPrefixLPM(host); ok {
			e.Prefix = prefix
		}
	}
	if e.Outcome.By == ByException {
		for i := range p.known.Exceptions {
			if p.known.Exceptions[i].ID == e.Outcome.Exception {
				e.Exception = &p.known.Exceptions[i]
			}
		}
		return e
	}
	for i := range pol.rules {
		t := p.trace(&pol.rules[i], l.Name, l.Type, e.Holdings)
		if i < len(pol.cfg.Rules) {
			t.Rule = i + 1
		}
		e.Rules = append(e.Rules, t)
		if t.Matched && t.Action != ActionObserve {
			break
		}
	}
	return e
}

// Locate finds the lines of the entries by which rules matched. It reads list files again, so it may take long.
func (e *Explanation) Locate() {
	for i := range e.Rules {
		t := &e.Rules[i]
		if t.list == nil {
			continue
		}
		var err error
		if t.Line, err = e.lists.Locate(t.list, t.Entry); err != nil {
			t.Problem = err.Error()
		}
	}
}

// trace reads one rule for one name.
func (p *Policy) trace(r *rule, name []byte, qtype uint16, holdings []Holding) RuleTrace {
	t := p.traceAwake(r, name, qtype, holdings)
	if t.Asleep = r.asleep && t.Matched; r.asleep {
		t.Matched = false
	}
	return t
}

// traceAwake reads one rule for one name by its conditions, as they are written, but for its schedule.
func (p *Policy) traceAwake(r *rule, name []byte, qtype uint16, holdings []Holding) RuleTrace {
	t := RuleTrace{Action: r.cfg.Action, Pos: p.outcomes[r.inline].Pos, Schedule: r.cfg.Schedule}
	if len(r.cfg.Types) > 0 && !slices.Contains(r.cfg.Types, qtype) {
		t.Why = "the type is none of its types"
		return t
	}
	best := len(name)
	var offs [128]uint8
	whole := labels(name, &offs) >= 0 // else it is below nothing
	for _, d := range r.domains {
		off := len(name) - len(d.name)
		if whole && off >= 0 && off < best && (off == 0 && d.scope&Self != 0 && string(name) == string(d.name) ||
			d.scope&Below != 0 && isBelow(name, d.name)) {
			best = off
			t.Matched, t.Why, t.Entry = true, "the name is one of its domains", p.domainEntry(r, d.name)
		}
	}
	for _, category := range r.cfg.Categories {
		for _, l := range p.lists.category(category).Lists {
			h := effective(holdings, l, qtype)
			if h != nil && !h.Exception && h.Off < best {
				best = h.Off
				t.Matched, t.Why = true, "the name is in one of its categories"
				t.Category, t.List, t.Entry, t.File, t.list = category, l.Name, h.Entry, l.File, l
			}
		}
	}
	switch {
	case t.Matched:
	case r.always():
		t.Matched, t.Why = true, "it is for every name"
	case r.missing != 0:
		t.Matched, t.Category = true, p.outcomes[r.missing].Category
		t.Why = "it is for every name while a list of its category is missing"
	default:
		t.Why = "the name is neither in its categories nor one of its domains"
	}
	return t
}

// effective returns the entry by which a list counts for a type: the most specific one, the exception before others. It
// is nil for a list without any.
func effective(holdings []Holding, list *List, qtype uint16) (first *Holding) {
	for i := range holdings {
		h := &holdings[i]
		if h.List == list && h.part.has(qtype) && (first == nil || h.Off == first.Off && h.Exception && !first.Exception) {
			first = h
		}
	}
	return first
}

// domainEntry returns the rule's entry for the wire name, all scopes that the rule gives it together.
func (p *Policy) domainEntry(r *rule, name []byte) string {
	var scope Scope
	for _, d := range r.domains {
		if string(d.name) == string(name) {
			scope |= d.scope
		}
	}
	return Entry(name, 0, scope)
}
