package blocklist

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"
)

// MAC is a client's hardware address (IEEE 802 MAC-48). The zero MAC is none.
type MAC [6]byte

// String returns "02:00:5e:10:00:01".
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Client is who asks.
type Client struct {
	Addr netip.Addr
	MAC  MAC // as a forwarder on the way told it; zero when none did
}

// Members are clients as the operator names them.
type Members struct {
	Prefixes []netip.Prefix
	MACs     []MAC
	Hosts    []string // names that DHCP clients gave, lower-case; a final "*" stands for any ending
}

// Group is a set of clients with a name of its own.
type Group struct {
	Name string
	Members
	Pos string // "config.toml:12", for messages
}

// Host is what is known of one address: from leases, from the neighbour table.
type Host struct {
	Addr netip.Addr
	MAC  MAC    // zero when it is not known
	Name string // lower-case; empty when it is not known
}

// Known is what a Policy goes by that is not configured: it changes from one minute to the next.
type Known struct {
	Hosts      []Host
	Groups     []*Group // that exceptions may name
	Exceptions []Exception
}

// binding is what is bound to a client: the policy that applies, and its group.
type binding struct {
	policy uint16
	group  uint16 // index in clients.groups plus one; 0 is none
}

// clients finds each client's binding. A hardware address that a forwarder told counts first, if anybody names it: the
// address is then the forwarder's. Else an address that the configuration names alone counts, then the hardware address
// that is known for the client's, then its host's name, then the longest prefix. So a name, which a machine may choose
// itself, takes it out of its network's policy only where a policy or a group asks for that name, and never out of one
// for its very address.
type clients struct {
	table    bart.Table[binding]
	macs     map[MAC]binding // that forwarders tell
	fallback binding         // of clients that nothing names
	groups   []*Group
}

// of returns the binding of a client.
func (c *clients) of(who Client) binding {
	addr := who.Addr.Unmap().WithZone("")
	if who.MAC != (MAC{}) {
		if b, ok := c.macs[who.MAC]; ok {
			return b
		}
	}
	if b, ok := c.table.Lookup(addr); ok {
		return b
	}
	return c.fallback
}

// groupNumber returns the number of the group for bindings, 0 for nil.
func (c *clients) groupNumber(g *Group) uint16 {
	if g == nil {
		return 0
	}
	if i := slices.Index(c.groups, g); i >= 0 {
		return uint16(i + 1)
	}
	c.groups = append(c.groups, g)
	return uint16(len(c.groups))
}

// claim says that a policy, a group, or a policy by a group is for some clients.
type claim struct {
	policy  int // -1: a group that the exceptions alone ask for
	group   *Group
	members Members
}

// claims returns all claims of the policies, then those of groups that no policy names.
func (p *Policy) claims() []claim {
	var all []claim
	named := map[*Group]bool{}
	for i := range p.configs {
		all = append(all, claim{i, nil, p.configs[i].Clients})
		for _, g := range p.configs[i].Groups {
			named[g] = true
			all = append(all, claim{i, g, g.Members})
		}
	}
	for _, g := range p.known.Groups {
		if !named[g] {
			all = append(all, claim{-1, g, g.Members})
		}
	}
	return all
}

// bind fills the client table by the configuration and by what is known of hosts.
func (p *Policy) bind() {
	c := &p.clients
	c.macs = map[MAC]binding{}
	all := p.claims()
	for i := range p.configs {
		if p.configs[i].Any {
			c.fallback.policy = uint16(i)
		}
	}
	// Shorter prefixes come first: what a claim leaves open it takes from the prefix around it.
	type prefixed struct {
		prefix netip.Prefix
		claim  *claim
	}
	var prefixes []prefixed
	for i := range all {
		for _, prefix := range all[i].members.Prefixes {
			if plain, ok := unmapped(prefix); ok {
				prefixes = append(prefixes, prefixed{plain, &all[i]})
			}
		}
	}
	slices.SortStableFunc(prefixes, func(a, b prefixed) int { return cmp.Compare(a.prefix.Bits(), b.prefix.Bits()) })
	whole := map[netip.Addr]bool{}
	for _, e := range prefixes {
		around, ok := c.table.LookupPrefix(e.prefix)
		if !ok {
			around = c.fallback
		}
		c.table.Insert(e.prefix, c.merge(around, e.claim))
		if e.prefix.IsSingleIP() {
			whole[e.prefix.Addr()] = true
		}
	}
	for i := range all {
		if all[i].policy < 0 {
			continue // the policy is that of the address
		}
		for _, mac := range all[i].members.MACs {
			around, ok := c.macs[mac]
			if !ok {
				around = c.fallback
			}
			c.macs[mac] = c.merge(around, &all[i])
		}
	}
	for _, h := range p.known.Hosts {
		addr := h.Addr.Unmap().WithZone("")
		if !addr.IsValid() || whole[addr] {
			continue
		}
		around, ok := c.table.Lookup(addr)
		if !ok {
			around = c.fallback
		}
		bound := false
		for _, by := range [...]func(*Members) bool{
			func(m *Members) bool { return h.MAC != MAC{} && slices.Contains(m.MACs, h.MAC) },
			func(m *Members) bool { return m.names(h.Name) },
		} {
			for i := range all {
				if by(&all[i].members) {
					around, bound = c.merge(around, &all[i]), true
				}
			}
			if bound {
				break
			}
		}
		if bound {
			c.table.Insert(netip.PrefixFrom(addr, addr.BitLen()), around)
		}
	}
}

// merge returns the binding of clients that claim is for, where around says what else they are.
func (c *clients) merge(around binding, by *claim) binding {
	if by.policy >= 0 {
		around.policy = uint16(by.policy)
	}
	if by.group != nil {
		around.group = c.groupNumber(by.group)
	}
	return around
}

// names says whether the members name a host so.
func (m *Members) names(host string) bool {
	if host == "" {
		return false
	}
	return slices.ContainsFunc(m.Hosts, func(pattern string) bool {
		if begin, open := strings.CutSuffix(pattern, "*"); open {
			return strings.HasPrefix(host, begin)
		}
		return pattern == host
	})
}

// checkClients reports what is wrong with the clients of policies: each client belongs to one.
func (c *compiler) checkClients(cfg []PolicyConfig) {
	anyOf := -1
	prefixes, macs, hosts := map[netip.Prefix]int{}, map[MAC]int{}, map[string]int{}
	groups := map[*Group]int{}
	for i := range cfg {
		p := &cfg[i]
		pos := or(p.ClientsPos, p.Pos)
		if p.Any && anyOf >= 0 {
			c.fail(pos, "exactly one policy is for any client", "policies %q and %q are both for any client", cfg[anyOf].Name, p.Name)
		} else if p.Any {
			anyOf = i
		}
		if !p.Any && p.Clients.empty() && len(p.Groups) == 0 {
			c.fail(pos, "", "policy %q has no clients", p.Name)
		}
		members := []Members{p.Clients}
		for _, g := range p.Groups {
			if other, ok := groups[g]; ok {
				c.fail(pos, "", "group %q is in policy %q and in policy %q", g.Name, cfg[other].Name, p.Name)
				continue
			}
			groups[g] = i
			members = append(members, g.Members)
		}
		for _, m := range members {
			for _, prefix := range m.Prefixes {
				plain, ok := unmapped(prefix)
				if !ok {
					c.fail(pos, "", "policy %q: %s is no client prefix", p.Name, prefix)
					continue
				}
				twice(c, cfg, prefixes, plain, i, "clients %v are")
			}
			for _, mac := range m.MACs {
				twice(c, cfg, macs, mac, i, "client %v is")
			}
			for _, host := range m.Hosts {
				twice(c, cfg, hosts, host, i, "host %v is")
			}
		}
	}
	if anyOf < 0 {
		c.fail("", `write clients = ["any"] in one policy`, "no policy is for any client")
	}
}

// twice notes that policy i has a client, or reports that another has it.
func twice[K comparable](c *compiler, cfg []PolicyConfig, of map[K]int, client K, i int, format string) {
	if other, ok := of[client]; ok && other != i {
		c.fail(or(cfg[i].ClientsPos, cfg[i].Pos), "", "%s in policy %q and in policy %q", fmt.Sprintf(format, client), cfg[other].Name, cfg[i].Name)
		return
	}
	of[client] = i
}

func (m *Members) empty() bool { return len(m.Prefixes)+len(m.MACs)+len(m.Hosts) == 0 }

// unmapped returns prefix without host bits and, of an IPv4-mapped one, its IPv4 form.
func unmapped(prefix netip.Prefix) (netip.Prefix, bool) {
	if !prefix.IsValid() {
		return prefix, false
	}
	if prefix.Addr().Is4In6() {
		if prefix.Bits() < 96 {
			return prefix, false
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), true
}
