package main

import (
	"errors"
	"fmt"
	"strings"

	"weir/blocklist"
)

// A claims knows which policy each client was given to: there is one for each.
type claims struct {
	*checker
	everybody *Client
	whole     bool // all clients are known
	of        map[Client]claim
}

// A claim is a client of a policy, its own or by a group.
type claim struct {
	policy *Policy
	client *Client // in the policy
}

func newClaims(c *checker) *claims {
	return &claims{checker: c, whole: !c.broken(&c.Policies), of: map[Client]claim{}}
}

// add notes the clients of p, and reports those that another policy has.
func (c *claims) add(p *Policy) {
	c.whole = c.whole && !c.broken(&p.Clients)
	for j := range p.Clients {
		client := &p.Clients[j]
		if client.Any {
			c.any(p, client)
			continue
		}
		claimed := []Client{*client}
		if client.Group != "" {
			g := c.group(client.Group)
			if g == nil {
				continue // said with the groups
			}
			claimed = append(claimed, g.Clients...)
		}
		for _, one := range claimed {
			have, twice := c.of[one]
			if !twice || have.policy == p {
				c.of[one] = claim{p, client}
				continue
			}
			what := one.String()
			if one.Group != "" {
				what = fmt.Sprintf("group %q", one.Group)
			}
			c.clash(fmt.Sprintf("%s is in two policies", what), client, "in "+p.called(), have.client, "in "+have.policy.called(),
				"the longest prefix decides, so each client belongs to one policy")
			break
		}
	}
}

// any checks the word "any" among a policy's clients.
func (c *claims) any(p *Policy, client *Client) {
	if c.everybody != nil {
		c.clash(`two policies have clients = ["any"]`, client, "again here", c.everybody, "first here", "exactly one policy is for all other clients")
		return
	}
	c.everybody = client
	if len(p.Clients) > 1 {
		c.errorAt(c.At(client), `"any" is the only client of its policy`, "it already covers the others", "leave the others out")
	}
}

// end reports what no policy has said.
func (c *claims) end() {
	if c.everybody == nil && c.whole {
		c.errorAt(Pos{}, `no policy has clients = ["any"]`, "", "one policy must say what all other clients may ask")
	}
}

func (c *checker) group(name string) *Group {
	for i := range c.Groups {
		if c.Groups[i].Name == name {
			return &c.Groups[i]
		}
	}
	return nil
}

// groups checks the groups, and that policies name no others. Nobody needs to name a group: exceptions may.
func (c *checker) groups() {
	var names []string
	for i := range c.Groups {
		g := &c.Groups[i]
		names = append(names, g.Name)
		c.name(&g.Name, "group", g.Name)
		if c.group(g.Name) == g && (!isWord(g.Name) || g.Name[0] >= '0' && g.Name[0] <= '9' || g.Name == "any") {
			c.errorAt(c.At(&g.Name), fmt.Sprintf("%q cannot name a group", g.Name), "it could be taken for something else", `letters, digits, "-" and "_", with a letter first`)
		}
		c.missing(&g.Clients, c.At(&g.Name), "clients", fmt.Sprintf("group %q", g.Name), `for example clients = ["10.0.5.0/24", "host:tablet*", "02:00:5e:10:00:01"]`)
		for j := range g.Clients {
			if one := &g.Clients[j]; one.Any || one.Group != "" {
				c.errorAt(c.At(one), fmt.Sprintf("%q cannot be in a group", one), "not a network, a hardware address or a host", `a host is written "host:NAME"`)
			}
		}
	}
	for i := range c.Policies {
		for j := range c.Policies[i].Clients {
			if one := &c.Policies[i].Clients[j]; one.Group != "" && c.group(one.Group) == nil && !c.broken(&c.Groups) {
				c.unknown(one, "group", one.Group, names)
			}
		}
	}
	c.known()
}

// known checks that what is named by more than its address can be known, and that files of leases serve for something.
func (c *checker) known() {
	hosts, macs := false, false
	look := func(clients []Client) {
		for i := range clients {
			one := &clients[i]
			hosts, macs = hosts || one.Host != "", macs || one.MAC != blocklist.MAC{}
			if one.Host != "" && len(c.Clients.Leases) == 0 && !c.broken(&c.Clients) {
				c.errorAt(c.At(one), fmt.Sprintf("nothing says which address %q has", one), "the name of a host is known from leases", `name the DHCP server's file with leases in [clients]`)
			}
			if (one.MAC != blocklist.MAC{}) && len(c.Clients.Leases) == 0 && !c.Clients.Neighbours && len(c.Clients.MACFrom) == 0 && !c.broken(&c.Clients) {
				c.errorAt(c.At(one), fmt.Sprintf("nothing says which client has %s", one), "a hardware address is known from leases, neighbours or forwarders",
					"write leases, neighbours = true or mac_from in [clients]")
			}
		}
	}
	for i := range c.Groups {
		look(c.Groups[i].Clients)
	}
	for i := range c.Policies {
		look(c.Policies[i].Clients)
	}
	if len(c.Clients.Leases) > 0 && !hosts && !macs && c.absent(&c.Leases.Domain) && !c.broken(&c.Policies) && !c.broken(&c.Groups) {
		c.warnAt(c.At(&c.Clients.Leases), "leases are read for nothing", "no policy or group names a host or a hardware address, and there is no domain in [leases]")
	}
	for i := range c.Clients.Leases {
		l := &c.Clients.Leases[i]
		c.missing(&l.File, c.At(l), "file", "this element of leases")
	}
}

// schedules checks each schedule.
func (c *checker) schedules() {
	used := map[string]bool{}
	for i := range c.Policies {
		for j := range c.Policies[i].Rules {
			used[c.Policies[i].Rules[j].Schedule] = true
		}
	}
	for i := range c.Schedules {
		s := &c.Schedules[i]
		c.name(&s.Name, "schedule", s.Name)
		c.missing(&s.When, c.At(&s.Name), "when", fmt.Sprintf("schedule %q", s.Name), `for example when = ["mon-fri 08:00-17:30"]`)
		if len(s.When) > 0 && !c.broken(&s.Timezone) {
			c.schedule(s)
		}
		if !used[s.Name] && !c.broken(&c.Policies) {
			c.warnAt(c.At(&s.Name), fmt.Sprintf("schedule %q is never used", s.Name), "no rule names it")
		}
	}
}

// schedule reports the first mistake of the time zone and of each text.
func (c *checker) schedule(s *Schedule) {
	_, err := blocklist.ParseSchedule(s.Name, s.Timezone, s.When)
	for _, err := range split(err) {
		var e *blocklist.ScheduleError
		if !errors.As(err, &e) {
			continue
		}
		field, text := any(&s.Timezone), s.Timezone
		if e.Index >= 0 {
			field, text = &s.When[e.Index], s.When[e.Index]
		}
		at := c.At(field)
		if at.Line == 0 {
			at = c.At(&s.Name)
		}
		label := e.What
		if e.At > 0 && e.At < len(text) {
			label = strings.TrimSpace(fmt.Sprintf("%s, at %q", label, text[e.At:]))
		}
		c.errorAt(at, fmt.Sprintf("%q says no time", text), label, e.Hint)
	}
}
