package resolver

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/miekg/dns"

	"weir/resolver/wire"
)

// Local answers the names that this server has itself: configured zones, names
// of hosts files and leases, and names that must not leave the network. It is
// immutable; every answer is packed when it is built.
//
// The longest zone that holds a name answers for it. A forwarded zone leaves a
// hole: names at and below it are not local, though a shorter zone may be.
type Local struct {
	tops  map[string]depths     // by the last label of all zones, to settle most names at once
	zones map[string]*localZone // by wire name; nil is a hole
	root  *localZone            // of zones, for names in no other

	leases *localZone // that With puts names into; nil is none
	ttl    uint32     // of those names
	loose  []aliasRef // whose answers change with leases
	notes  notes
}

// depths is a set of label counts, those of the zones under one top. Its last
// member stands for itself and all that are higher.
type depths uint64

func depth(labels int) depths { return 1 << min(labels, 63) }

// LocalConfig is what a Local is made of.
type LocalConfig struct {
	Zones     []Zone
	Special   bool     // answers the names of RFC 6761 and its kin
	Private   bool     // answers the reverse zones of private addresses (RFC 6303)
	Except    []string // those of Builtins that are not answered after all
	Forwarded [][]byte // wire names of zones that are asked elsewhere

	// Hosts are names with addresses; what is told first stands first. Those
	// without a dot are also names below HostsDomain, if there is one.
	Hosts       []*HostsFile
	HostsDomain string
	HostsTTL    uint32 // seconds

	// LeaseDomain is the zone that Local.With puts names into; empty for none.
	LeaseDomain string
	LeaseTTL    uint32 // seconds
}

// NewLocal builds the local data.
func NewLocal(c LocalConfig) (*Local, error) {
	l := &Local{tops: map[string]depths{}, zones: map[string]*localZone{}, ttl: c.LeaseTTL}
	for _, name := range c.Forwarded {
		l.zones[string(name)] = nil
	}
	// A configured zone replaces a built-in one of the same name, and is not
	// meant to be forwarded as well.
	built := map[string]Zone{}
	for _, z := range slices.Concat(builtinZones(&c), c.Zones) {
		name, err := wireName(z.Name)
		if err != nil {
			return nil, fmt.Errorf("zone %s: %w", z.Name, err)
		}
		if _, hole := l.zones[string(name)]; hole {
			continue
		}
		if b := built[string(name)].builtin; b != nil {
			z.parentDS = b.parentDS
		}
		built[string(name)] = z
	}
	domain, err := l.domains(&c, built)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(built)) {
		zone, err := newZone([]byte(name), built[name])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l.zones[name] = zone
	}
	if domain != nil {
		l.leases = l.zones[string(domain)]
	}
	l.root = l.zones["\x00"]
	for name := range l.zones {
		l.index([]byte(name))
	}
	l.addHosts(&c)
	for _, name := range slices.Sorted(maps.Keys(l.zones)) {
		if z := l.zones[name]; z != nil {
			if err := z.pack(l); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return l, errors.Join(errs...)
}

// domains adds the zones of hosts and leases to those that are to be built, and
// returns the wire name of the latter, nil for none. Where names come and go,
// that there are none is not kept for longer than names are.
func (l *Local) domains(c *LocalConfig, built map[string]Zone) (leases []byte, err error) {
	for _, d := range []struct {
		domain string
		ttl    uint32
	}{{c.HostsDomain, c.HostsTTL}, {c.LeaseDomain, c.LeaseTTL}} {
		if leases = nil; d.domain == "" {
			continue
		}
		name, err := wireName(d.domain)
		if err != nil {
			return nil, err
		}
		if _, hole := l.zones[string(name)]; hole {
			return nil, fmt.Errorf("domain %s is forwarded: its names are not answered here", d.domain)
		}
		z, is := built[string(name)]
		if !is {
			z = Zone{Name: dns.Fqdn(d.domain)}
		}
		z.fresh = max(d.ttl, 1)
		built[string(name)], leases = z, name
	}
	if c.LeaseDomain != "" {
		for name, z := range built {
			if z.builtin != nil && z.builtin.private {
				z.fresh = max(c.LeaseTTL, 1)
				built[name] = z
			}
		}
	}
	return leases, nil
}

// index has find look for a zone of that name.
func (l *Local) index(name []byte) {
	last, labels := lastLabel(name)
	l.tops[string(name[last:])] |= depth(labels)
}

// reply returns the local answer to q, or nil when its name is not local, and
// the Extended DNS Error that goes with it, nil for none.
func (l *Local) reply(q *wire.Query) (rep *wire.Reply, ede []byte) {
	name := q.Name()
	z := l.zoneFor(name, q.Type)
	if z == nil || q.Class != wire.ClassINET {
		return nil, nil
	}
	n := z.lookup(name)
	if n == nil {
		return z.nxdomain, z.ede
	}
	if rep := unforwardable(q); rep != nil {
		return rep, nil // nor does a zone have such types
	}
	if r, ok := n.replies[q.Type]; ok {
		return r, nil
	}
	if n.rest == z.nodata {
		return n.rest, z.ede
	}
	return n.rest, nil
}

// zoneFor returns the zone that answers questions of a type for name; nil is
// none. A zone that hangs below the public tree leaves it to its parent to prove
// that it is not signed (RFC 8375 §4).
func (l *Local) zoneFor(name []byte, qtype uint16) *localZone {
	z := l.find(name)
	if z != nil && qtype == dns.TypeDS && z.parentDS && len(name) == len(z.apex) {
		return nil
	}
	return z
}

// find returns the longest zone that holds name; nil is none, or a hole.
func (l *Local) find(name []byte) *localZone {
	last, labels := lastLabel(name)
	at := l.tops[string(name[last:])]
	for off := 0; off <= last && at != 0; off += 1 + int(name[off]) {
		if at&depth(labels) != 0 {
			if z, ok := l.zones[string(name[off:])]; ok {
				if z != nil && z.lone && off > 0 {
					return nil
				}
				return z
			}
		}
		labels--
	}
	return l.root
}

// holder returns the zone that a name belongs into; nil is none, or a hole,
// which is told apart.
func (l *Local) holder(name []byte) (z *localZone, hole bool) {
	for off := 0; ; off += 1 + int(name[off]) {
		z, ok := l.zones[string(name[off:])]
		switch {
		case ok && z == nil:
			return nil, true
		case ok && z.lone && z.inHole:
			return nil, true
		case ok && !z.lone:
			return z, false
		case name[off] == 0:
			return nil, false
		}
	}
}

// lookup returns the node that answers for name: its own, or the wildcard of
// its closest encloser (RFC 4592 §3.3.1). It is nil when the name does not exist.
func (z *localZone) lookup(name []byte) *localNode {
	if n := z.nodes[string(name)]; n != nil {
		return n
	}
	var buf [2 + 256]byte
	for off := 1 + int(name[0]); len(name)-off >= len(z.apex); off += 1 + int(name[off]) {
		if z.nodes[string(name[off:])] != nil {
			star := append(append(buf[:0], 1, '*'), name[off:]...)
			return z.nodes[string(star)]
		}
	}
	return nil
}
