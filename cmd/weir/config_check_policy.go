package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weir/blocklist"
)

func (c *checker) policies() {
	names := make(map[string]*string)
	claims := newClaims(c)
	for i := range c.Policies {
		p := &c.Policies[i]
		c.missing(&p.Name, c.At(p), "name", "this [[policy]]", "its records and answers carry the name")
		if p.Name != "" {
			c.name(&p.Name, "policy", p.Name)
			if have := names[p.Name]; have != nil {
				c.clash(fmt.Sprintf("two policies are named %q", p.Name), &p.Name, "again here", have, "first here")
			} else {
				names[p.Name] = &p.Name
			}
		}
		c.missing(&p.Default, c.At(p), "default", p.called(), `write default = "allow" or default = "block": always written, never implied`)
		c.missing(&p.Clients, c.At(p), "clients", p.called(), `write clients = ["any"], or networks such as "10.0.0.0/8"`)
		claims.add(p)
		c.rebinding(p)
		c.dns64(p)
		c.rules(p)
	}
	claims.end()
}

// rebinding checks what may have addresses of private networks.
func (c *checker) rebinding(p *Policy) {
	for i := range p.RebindingAllow {
		text := &p.RebindingAllow[i]
		_, err := parsePrefix(*text)
		if _, noAddress := netip.ParseAddr(*text); err != nil && noAddress != nil && !strings.Contains(*text, "/") {
			_, err = parsePattern(*text)
		}
		var f fault
		if errors.As(err, &f) {
			c.errorAt(c.At(text), fmt.Sprintf("%q is neither a domain nor a network", *text), f.label, f.note)
		}
	}
	if p.Rebinding == "off" && len(p.RebindingAllow) > 0 {
		c.clash("rebinding_allow has no effect", &p.RebindingAllow, "these are exceptions", &p.Rebinding, "to what is off here")
	}
}

// dns64 checks that addresses can be put behind a prefix (RFC 6052 §2.2).
func (c *checker) dns64(p *Policy) {
	switch n := p.DNS64; {
	case c.absent(&p.DNS64):
		if !c.absent(&p.DNS64Exclude) {
			c.errorAt(c.At(&p.DNS64Exclude), "dns64_exclude has no effect", fmt.Sprintf("%s has no dns64", p.called()), `write dns64 = "64:ff9b::/96", or the translator's prefix, beside it`)
		}
	case c.broken(&p.DNS64):
	case n.Addr().Is4():
		c.errorAt(c.At(&p.DNS64), "the prefix of a translator is one of IPv6", "an IPv4 network", `often it is "64:ff9b::/96"`)
	case !slices.Contains([]int{32, 40, 48, 56, 64, 96}, n.Bits()):
		c.errorAt(c.At(&p.DNS64), fmt.Sprintf("the prefix of a translator cannot have %d bits", n.Bits()), "possible: 32, 40, 48, 56, 64, 96", "often it has 96: the IPv4 address is the rest")
	case n.Addr().As16()[8] != 0:
		c.errorAt(c.At(&p.DNS64), "bits 64 to 71 of a translator's prefix are zero", "the fifth group is below 100", "RFC 6052 §2.2")
	}
}

// called is how messages speak of a policy.
func (p *Policy) called() string {
	if p.Name == "" {
		return "this [[policy]]"
	}
	return fmt.Sprintf("policy %q", p.Name)
}

// rules checks each rule of p and that reading comes to it.
func (c *checker) rules(p *Policy) {
	var names []string
	for _, k := range c.Categories {
		names = append(names, k.Name)
	}
	known := make(map[string]bool)
	for _, name := range names {
		known[name] = true
	}
	var schedules []string
	for _, k := range c.Schedules {
		schedules = append(schedules, k.Name)
	}
	seen := newDecided()
	for i := range p.Rules {
		r := &p.Rules[i]
		c.missing(&r.Action, c.At(r), "action", "this [[policy.rule]]", `write action = "allow", "block" or "observe"`)
		for j := range r.Categories {
			if name := &r.Categories[j]; !known[*name] && !c.broken(&c.Categories) {
				c.unknown(name, "category", *name, names)
			}
		}
		if r.Schedule != "" && !slices.Contains(schedules, r.Schedule) && !c.broken(&c.Schedules) {
			c.unknown(&r.Schedule, "schedule", r.Schedule, schedules)
		}
		for j := range r.Targets {
			if t := &r.Targets[j]; !slices.Contains(blocklist.TargetTypes, *t) {
				c.errorAt(c.At(t), "records of this type lead to no name that could be judged", "possible: "+strings.Join(typeTexts(blocklist.TargetTypes), ", "),
					"CNAME, DNAME, SVCB and HTTPS targets are always judged")
			}
		}
		shaped := c.domains(r)
		if r.Answer != "" && r.Action == "allow" {
			c.errorAt(c.At(&r.Answer), "a rule that allows has no answer of its own", "what is allowed gets its real answer", `leave it out, or write action = "block"`)
		}
		if c.everything(p, r) || c.broken(r) || !shaped {
			continue // what it is meant to match is not known
		}
		if by := seen.all(r); by != nil {
			c.clash("this rule is never reached", r, "all that it names is decided before it", by, "decided here", "move it up, or leave it out")
		}
		seen.add(r)
	}
}

// everything reports a rule that matches all names at all times.
func (c *checker) everything(p *Policy, r *Rule) bool {
	narrow := !c.absent(&r.Categories) || !c.absent(&r.Domains) || !c.absent(&r.AnswerNetworks)
	sometimes := !c.absent(&r.Types) || !c.absent(&r.Schedule)
	instead := fmt.Sprintf("say what happens to all other names with default in %s", p.called())
	switch {
	case r.All && narrow:
		c.errorAt(c.At(&r.All), "a rule is for all names or for some", "it names some beside this", "leave one of them out")
	case r.All && !sometimes && r.Action != "observe":
		c.errorAt(c.At(&r.All), "a rule without a condition matches everything", `no "types" or "schedule"`, instead)
	case !r.All && !narrow && c.absent(&r.Types):
		label, note := `no "categories", "domains", "answer_networks" or "types"`, instead
		if !c.absent(&r.Schedule) || r.Action == "observe" {
			note = "write all = true if it is for every name"
		}
		c.errorAt(c.At(r), "a rule without a condition matches everything", label, note)
	default:
		return false
	}
	return true
}

// domains checks the shape of a rule's domains.
func (c *checker) domains(r *Rule) bool {
	ok := true
	for i := range r.Domains {
		text := &r.Domains[i]
		var f fault
		if _, err := parsePattern(*text); errors.As(err, &f) {
			c.errorAt(c.At(text), fmt.Sprintf("%q is not a domain", *text), f.label, f.note)
			ok = false
		}
	}
	return ok
}

// decided is what earlier rules of a policy have settled: names that come to no later rule.
// It keeps, for each, the rule that settled it.
type decided struct {
	categories map[string]*Rule
	self       map[string]*Rule // the name itself
	below      map[string]*Rule // everything below the name
	types      map[uint16]*Rule // every name, for a type
}

func newDecided() *decided {
	return &decided{make(map[string]*Rule), make(map[string]*Rule), make(map[string]*Rule), make(map[uint16]*Rule)}
}

// add settles what r decides. A rule that observes, or sometimes sleeps, decides nothing; one
// for some types decides only these.
func (d *decided) add(r *Rule) {
	if r.Action != "allow" && r.Action != "block" || r.Schedule != "" {
		return
	}
	if len(r.Categories)+len(r.Domains)+len(r.AnswerNetworks) == 0 {
		for _, t := range r.Types {
			keepFirst(d.types, t, r)
		}
	}
	if len(r.Types) > 0 {
		return
	}
	for _, name := range r.Categories {
		keepFirst(d.categories, name, r)
	}
	for _, text := range r.Domains {
		p, _ := parsePattern(text)
		if p.self {
			keepFirst(d.self, p.name, r)
		}
		if p.below {
			keepFirst(d.below, p.name, r)
		}
	}
}

func keepFirst[K comparable](m map[K]*Rule, key K, r *Rule) {
	if m[key] == nil {
		m[key] = r
	}
}

// all returns the last of the rules that together settled everything that r matches, or nil if something is left.
func (d *decided) all(r *Rule) *Rule {
	if len(r.AnswerNetworks)+len(r.Targets) > 0 {
		return nil // these are not of the names that are asked for
	}
	if by := settled(r.Types, func(t uint16) *Rule { return d.types[t] }); by != nil {
		return by
	}
	categories := settled(r.Categories, func(name string) *Rule { return d.categories[name] })
	domains := settled(r.Domains, d.domain)
	switch {
	case len(r.Categories) == 0:
		return domains
	case len(r.Domains) == 0:
		return categories
	case categories == nil || domains == nil:
		return nil
	}
	return domains
}

// settled returns the rule that settled the last of items, or nil if one is not settled or there are none.
func settled[T any](items []T, by func(T) *Rule) *Rule {
	var last *Rule
	for _, item := range items {
		if last = by(item); last == nil {
			return nil
		}
	}
	return last
}

// domain returns the rule that settled every name that an element of domains covers.
func (d *decided) domain(text string) *Rule {
	p, err := parsePattern(text)
	if err != nil {
		return nil
	}
	above := d.above(p.name)
	var by *Rule
	if p.self {
		if by = d.self[p.name]; by == nil {
			by = above
		}
		if by == nil {
			return nil
		}
	}
	if p.below {
		if by = d.below[p.name]; by == nil {
			by = above
		}
	}
	return by
}

// above returns the rule that settled everything below a parent of name.
func (d *decided) above(name string) *Rule {
	for {
		_, parent, more := strings.Cut(name, ".")
		if !more {
			return nil
		}
		if by := d.below[parent]; by != nil {
			return by
		}
		name = parent
	}
}
