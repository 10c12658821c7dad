package blocklist

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

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

// clients finds each client's binding: its policy, and apart from that its group, so that a group which only exceptions
// name changes no policy. A hardware address that a forwarder tells counts first, since the address is then the
// forwarder's. Else an address that the configuration names alone does, then the hardware address, then the host's name,
// then the longest prefix. So a name, which a machine may choose itself, takes it out of its network's policy only where a
// policy or a group asks for that name, and never out of one for its very address.
type clients struct {
	table    bart.Fast[binding]
	macs     map[MAC]claimed // that forwarders tell
	fallback binding         // of clients that nothing names
	groups   []*Group

	// lately holds what was found of IPv4 addresses: address << 32 | policy << 16 | group, in one word so that nobody sees
	// a part of it; 0 is nothing.
	lately [1 << 10]atomic.Uint64
}

// of returns the binding of a client.
func (c *clients) of(who *Client) binding {
	b := c.at(who.Addr.Unmap())
	if who.MAC != (MAC{}) {
		b = c.macs[who.MAC].on(b)
	}
	return b
}

// at returns what is bound to an address, which is unmapped.
func (c *clients) at(addr netip.Addr) binding {
	var word *atomic.Uint64
	var own uint64
	if addr.Is4() {
		a := addr.As4()
		own = uint64(binary.BigEndian.Uint32(a[:]))
		word = &c.lately[own*0x9e3779b97f4a7c15>>54]
		if w := word.Load(); w>>32 == own && w != 0 {
			return binding{policy: uint16(w >> 16), group: uint16(w)}
		}
	}
	b, ok := c.table.Lookup(addr.WithZone(""))
	if !ok {
		b = c.fallback
	}
	if word != nil {
		word.Store(own<<32 | uint64(b.policy)<<16 | uint64(b.group))
	}
	return b
}

// groupNumber returns the number of the group for bindings.
func (c *clients) groupNumber(g *Group) uint16 {
	if i := slices.Index(c.groups, g); i >= 0 {
		return uint16(i + 1)
	}
	c.groups = append(c.groups, g)
	return uint16(len(c.groups))
}

// claim says that a policy, a group, or a policy by a group is for some clients.
type claim struct {
	claimed
	members *Members
}

// claims returns all claims of the policies, then those of groups that no policy names. Of two for the same clients the
// first counts.
func (p *Policy) claims() []claim {
	var all []claim
	named := map[*Group]bool{}
	for i := range p.configs {
		all = append(all, claim{claimed{policy: uint32(i + 1)}, &p.configs[i].Clients})
		for _, g := range p.configs[i].Groups {
			named[g] = true
			all = append(all, claim{claimed{uint32(i + 1), p.clients.groupNumber(g)}, &g.Members})
		}
	}
	for _, g := range p.known.Groups {
		if !named[g] {
			all = append(all, claim{claimed{group: p.clients.groupNumber(g)}, &g.Members})
		}
	}
	return all
}

// claimed is what claims say of a client. Each is open while it is 0.
type claimed struct {
	policy uint32 // its index plus one
	group  uint16
}

// or adds what other says, where it is open.
func (c claimed) or(other claimed) claimed {
	if c.policy == 0 {
		c.policy = other.policy
	}
	if c.group == 0 {
		c.group = other.group
	}
	return c
}

// on returns the binding of the client, where b says what it else is.
func (c claimed) on(b binding) binding {
	if c.policy != 0 {
		b.policy = uint16(c.policy - 1)
	}
	if c.group != 0 {
		b.group = c.group
	}
	return b
}

// bind fills the client table by the configuration and by what is known of hosts.
func (p *Policy) bind() {
	c := &p.clients
	c.macs = map[MAC]claimed{}
	for i := range p.configs {
		if p.configs[i].Any {
			c.fallback.policy = uint16(i)
		}
	}
	prefixes := map[netip.Prefix]claimed{}
	named := hostNames{}
	for _, m := range p.claims() {
		for _, prefix := range m.members.Prefixes {
			if plain, ok := unmapped(prefix); ok {
				prefixes[plain] = prefixes[plain].or(m.claimed)
			}
		}
		for _, mac := range m.members.MACs {
			c.macs[mac] = c.macs[mac].or(m.claimed)
		}
		for _, pattern := range m.members.Hosts {
			named[pattern] = named[pattern].or(m.claimed)
		}
	}
	// Shorter prefixes come first: what a claim leaves open it takes from the prefix around it.
	for _, prefix := range slices.SortedFunc(maps.Keys(prefixes), func(a, b netip.Prefix) int { return cmp.Compare(a.Bits(), b.Bits()) }) {
		around, ok := c.table.LookupPrefix(prefix)
		if !ok {
			around = c.fallback
		}
		c.table.Insert(prefix, prefixes[prefix].on(around))
	}
	for _, h := range p.known.Hosts {
		addr := h.Addr.Unmap().WithZone("")
		if !addr.IsValid() {
			continue
		}
		host := netip.PrefixFrom(addr, addr.BitLen())
		alone := prefixes[host]
		of := alone
		if h.MAC != (MAC{}) {
			of = of.or(c.macs[h.MAC])
		}
		of = named.of(h.Name, of)
		if of == alone {
			continue
		}
		around, ok := c.table.Lookup(addr)
		if !ok {
			around = c.fallback
		}
		c.table.Insert(host, of.on(around))
	}
}

// hostNames are the claims on hosts by the patterns of their names.
type hostNames map[string]claimed

// of adds to c what is claimed of a host by its name: that of the name itself counts first, then of longer patterns.
func (n hostNames) of(host string, c claimed) claimed {
	if host == "" {
		return c
	}
	c = c.or(n[host])
	for end := len(host); end >= 0; end-- {
		c = c.or(n[host[:end]+"*"])
	}
	return c
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
