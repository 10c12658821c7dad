package blocklist

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// Exception lets some clients ask for a name until a moment, whatever the rules say. The name is never one that a
// category with NeverExcept holds.
type Exception struct {
	ID     uint64
	Name   string       // "example.com", "=example.com" or "*.example.com"
	Client netip.Prefix // whom it is for; the zero Prefix when it is for Group
	Group  string       // whom it is for; not both
	Until  int64        // nanoseconds since 1970 UTC
}

// exceptions finds what is excepted. There are few, so a name costs a look in a map for those of its parents that are as
// long as one that is excepted.
type exceptions struct {
	byName  map[string][]uint16 // by wire name, indexes in all
	lengths [4]uint64           // bit by bit the lengths of these names
	endings endings             // of these names
	all     []*excepted
}

// excepted is one exception, ready to be looked up.
type excepted struct {
	first uint32 // outcome with the first policy; the others follow in order
	scope Scope
	until int64
	*audience
}

// audience is whom exceptions are for.
type audience struct {
	clients bart.Lite
	macs    []MAC
}

// except takes the exceptions that are known. One whose name is none or whose group is unknown is left out: it would
// be for nobody.
func (p *Policy) except() {
	p.outcomes = p.compiled
	if len(p.known.Exceptions) == 0 {
		return
	}
	x := &exceptions{byName: map[string][]uint16{}, endings: endings{newMayHold(len(p.known.Exceptions))}}
	p.outcomes = slices.Grow(slices.Clone(p.compiled), len(p.configs)*len(p.known.Exceptions))
	groups := map[string]*audience{}
	for _, e := range p.known.Exceptions {
		name, scope, _, reason := appendEntry(nil, []byte(e.Name))
		if reason != "" || len(x.all) == 1<<16 {
			continue
		}
		own := &excepted{first: uint32(len(p.outcomes)), scope: scope, until: e.Until, audience: groups[e.Group]}
		if prefix, ok := unmapped(e.Client); ok {
			own.audience = &audience{}
			own.clients.Insert(prefix)
		}
		if own.audience == nil {
			own.audience = &audience{}
			for _, g := range p.known.Groups {
				if g.Name == e.Group {
					own.take(&g.Members, p.known.Hosts)
				}
			}
			groups[e.Group] = own.audience
		}
		for i := range p.configs {
			p.outcomes = append(p.outcomes, Outcome{
				Verdict: Allow, Action: ActionAllow, Policy: p.configs[i].Name, By: ByException, Exception: e.ID, ClientPos: p.configs[i].clientsPos(),
			})
		}
		x.endings.add(p.lists.matcher.seed, name)
		x.lengths[len(name)>>6] |= 1 << (len(name) & 63)
		x.byName[string(name)] = append(x.byName[string(name)], uint16(len(x.all)))
		x.all = append(x.all, own)
	}
	p.exceptions = x
}

// take makes members part of it.
func (a *audience) take(members *Members, hosts []Host) {
	for _, prefix := range members.Prefixes {
		if plain, ok := unmapped(prefix); ok {
			a.clients.Insert(plain)
		}
	}
	a.macs = append(a.macs, members.MACs...)
	for _, h := range hosts {
		if h.MAC != (MAC{}) && slices.Contains(members.MACs, h.MAC) || members.names(h.Name) {
			if addr := h.Addr.Unmap().WithZone(""); addr.IsValid() {
				a.clients.Insert(netip.PrefixFrom(addr, addr.BitLen()))
			}
		}
	}
}

// excepted returns the exception in force that covers the name of s, and where its entry begins; nil when there is none.
// The most specific entry counts.
func (p *Policy) excepted(s *suffixes, l *Lookup) (*excepted, uint8) {
	x, name := p.exceptions, s.name
	for i := range max(s.labels, 0) {
		off := s.offs[i]
		if length := len(name) - int(off); x.lengths[length>>6]>>(length&63)&1 == 0 {
			continue
		}
		for _, index := range x.byName[string(name[off:])] {
			e := x.all[index]
			scope := Below
			if off == 0 {
				scope = Self
			}
			if e.scope&scope == 0 || l.At >= e.until {
				continue
			}
			if e.clients.Contains(l.Client.Addr.Unmap().WithZone("")) || l.Client.MAC != (MAC{}) && slices.Contains(e.macs, l.Client.MAC) {
				if p.NeverExcepted(name, l.Type) != "" {
					return nil, 0
				}
				return e, off
			}
		}
	}
	return nil, 0
}

// NeverExcepted returns the category with NeverExcept that holds the name for a type, "" when none does.
func (p *Policy) NeverExcepted(name []byte, qtype uint16) string {
	if !slices.Contains(p.never, true) {
		return ""
	}
	var room [127]hit
	hits := p.lists.matcher.appendHits(room[:0], name)
	for i, h := range hits {
		for _, m := range p.lists.matcher.sets.of(h.set) {
			by := &p.lists.holders[m.list()]
			if p.never[m.list()] && !m.exception() && by.part.has(qtype) &&
				!p.lists.excepted(h.set, by.list, qtype) && !p.lists.anyHas(hits[:i], by.list, qtype) {
				return by.list.Category
			}
		}
	}
	return ""
}

// NeverExceptedAddr returns the category with NeverExcept that holds the address, "" when none does.
func (p *Policy) NeverExceptedAddr(addr netip.Addr) string {
	for _, by := range p.lists.networks.of(p.lists.networks.find(addr)) {
		if p.never[by.list] {
			return p.lists.holders[by.list].list.Category
		}
	}
	return ""
}
