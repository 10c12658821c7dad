package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

func (c *checker) policies() {
	names := make(map[string]*string)
	var everybody *Client
	whole := !c.broken(&c.Policies) // all clients are known
	clients := make(map[netip.Prefix]claim)
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
		whole = whole && !c.broken(&p.Clients)
		c.missing(&p.Default, c.At(p), "default", p.called(), `write default = "allow" or default = "block": always written, never implied`)
		c.missing(&p.Clients, c.At(p), "clients", p.called(), `write clients = ["any"], or networks such as "10.0.0.0/8"`)
		for j := range p.Clients {
			client := &p.Clients[j]
			if client.Any {
				everybody = c.anyClient(p, client, everybody)
				continue
			}
			if have, twice := clients[client.Prefix]; twice && have.policy != p {
				c.clash(fmt.Sprintf("%v is in two policies", client), client, "in "+p.called(), have.client, "in "+have.policy.called(),
					"the longest prefix decides, so each prefix belongs to one policy")
			} else {
				clients[client.Prefix] = claim{p, client}
			}
		}
		c.rules(p)
	}
	if everybody == nil && whole {
		c.errorAt(Pos{}, `no policy has clients = ["any"]`, "", "one policy must say what all other clients may ask")
	}
}

// A claim is a prefix in a policy.
type claim struct {
	policy *Policy
	client *Client
}

// anyClient checks the word "any" among a policy's clients and returns the first of them.
func (c *checker) anyClient(p *Policy, client, first *Client) *Client {
	if first != nil {
		c.clash(`two policies have clients = ["any"]`, client, "again here", first, "first here", "exactly one policy is for all other clients")
		return first
	}
	if len(p.Clients) > 1 {
		c.errorAt(c.At(client), `"any" is the only client of its policy`, "it already covers the others", "leave the others out")
	}
	return client
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
	seen := newDecided()
	for i := range p.Rules {
		r := &p.Rules[i]
		c.missing(&r.Action, c.At(r), "action", "this [[policy.rule]]", `write action = "allow", "block" or "observe"`)
		for j := range r.Categories {
			if name := &r.Categories[j]; !known[*name] && !c.broken(&c.Categories) {
				c.unknown(name, "category", *name, names)
			}
		}
		shaped := c.domains(r)
		if r.Answer != "" && r.Action == "allow" {
			c.errorAt(c.At(&r.Answer), "a rule that allows has no answer of its own", "what is allowed gets its real answer", `leave it out, or write action = "block"`)
		}
		if c.absent(&r.Categories) && c.absent(&r.Domains) && c.absent(&r.Types) {
			c.errorAt(c.At(r), "a rule without a condition matches everything", `no "categories", "domains" or "types"`,
				fmt.Sprintf("say what happens to all other names with default in %s", p.called()))
			continue
		}
		if c.broken(r) || !shaped {
			continue // what it is meant to match is not known
		}
		if by := seen.all(r); by != nil {
			c.clash("this rule is never reached", r, "all that it names is decided before it", by, "decided here", "move it up, or leave it out")
		}
		seen.add(r)
	}
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

// add settles what r decides. A rule that observes decides nothing; one for some types decides only these.
func (d *decided) add(r *Rule) {
	if r.Action != "allow" && r.Action != "block" {
		return
	}
	if len(r.Categories) == 0 && len(r.Domains) == 0 {
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
