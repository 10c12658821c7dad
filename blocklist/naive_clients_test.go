package blocklist

import (
	"net/netip"
	"slices"
	"strings"
)

// hold says how well members hold a client, 0 for not at all. A hardware address that a forwarder told counts first, then
// an address that is named alone, the hardware address and the host's name as they are known, and the network; of each,
// what is more specific counts before what is less: the longer prefix, the longer pattern.
func (w *world) hold(m *Members, c Client) (rank int) {
	const told, alone, hardware, name, prefix = 5000, 4000, 3000, 2000, 1000
	addr := c.Addr.Unmap().WithZone("")
	if c.MAC != (MAC{}) && slices.Contains(m.MACs, c.MAC) {
		rank = max(rank, told)
	}
	for _, of := range m.Prefixes {
		if of, _ = unmapped(of); !addr.IsValid() || !of.Contains(addr) {
			continue
		}
		rank = max(rank, prefix+of.Bits())
		if of.IsSingleIP() {
			rank = max(rank, alone)
		}
	}
	for _, h := range w.known.Hosts {
		if !addr.IsValid() || h.Addr.Unmap().WithZone("") != addr {
			continue
		}
		if h.MAC != (MAC{}) && slices.Contains(m.MACs, h.MAC) {
			rank = max(rank, hardware)
		}
		for _, pattern := range m.Hosts {
			begin, open := strings.CutSuffix(pattern, "*")
			if h.Name != "" && open && strings.HasPrefix(h.Name, begin) {
				rank = max(rank, name+len(begin))
			}
			if h.Name != "" && h.Name == pattern {
				rank = max(rank, name+500)
			}
		}
	}
	return rank
}

// of returns the policy of a client, and its group. Each is found by itself: a group that no policy names, as
// exceptions may, never changes the policy.
func (w *world) of(c Client) (p *PolicyConfig, group string) {
	policyBy, groupBy := 0, 0
	for i := range w.policies {
		if w.policies[i].Any {
			p = &w.policies[i]
		}
	}
	groups := func(of []*Group) {
		for _, g := range of {
			if by := w.hold(&g.Members, c); by > groupBy {
				group, groupBy = g.Name, by
			}
		}
	}
	for i := range w.policies {
		members := []*Members{&w.policies[i].Clients}
		for _, g := range w.policies[i].Groups {
			members = append(members, &g.Members)
		}
		for _, m := range members {
			if by := w.hold(m, c); by > policyBy {
				p, policyBy = &w.policies[i], by
			}
		}
		groups(w.policies[i].Groups)
	}
	groups(w.known.Groups)
	return p, group
}

// granted is an exception that covers a name by its entry at off.
type granted struct {
	*Exception
	off   int
	scope Scope
}

// excepted returns the exception by which the asker of q may have name, whatever the rules say; nil is none.
func (w *world) excepted(q question, name string) *granted {
	if w.never(name, q.qtype) != "" {
		return nil
	}
	var best *granted
	for i := range w.known.Exceptions {
		e := &w.known.Exceptions[i]
		if !w.isFor(e, q.client) || q.at.UnixNano() >= e.Until {
			continue
		}
		wire, scope, _, _ := appendEntry(nil, []byte(e.Name))
		for _, l := range naiveLists([]added{{name: string(wire), scope: scope}}, name) {
			if best == nil || l.Off < best.off {
				best = &granted{e, l.Off, l.Scope}
			}
		}
	}
	return best
}

// isFor says whether a client is one of those whom an exception is for.
func (w *world) isFor(e *Exception, c Client) bool {
	if e.Client.IsValid() && w.hold(&Members{Prefixes: []netip.Prefix{e.Client}}, c) > 0 {
		return true
	}
	return slices.ContainsFunc(w.known.Groups, func(g *Group) bool {
		return g.Name == e.Group && w.hold(&g.Members, c) > 0
	})
}
