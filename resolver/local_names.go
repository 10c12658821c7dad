package resolver

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"weir/resolver/wire"
)

// maxAddresses is how many addresses of a family one name has from hosts files,
// and maxLeased how many from leases.
const (
	maxAddresses = 256
	maxLeased    = 16
)

// notes are what could not be put into local data; most of them are kept.
type notes struct {
	lines []string
	more  int
}

const maxNotes = 50

func (n *notes) add(format string, args ...any) {
	if len(n.lines) == maxNotes {
		n.more++
		return
	}
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) all() []string {
	if n.more == 0 {
		return n.lines
	}
	return append(slices.Clip(n.lines), fmt.Sprintf("and %d more", n.more))
}

// Notes says, a line each, which names of hosts files are not answered because
// something above them says otherwise.
func (l *Local) Notes() []string { return l.notes.all() }

// addHosts puts the names of hosts files into the zones that hold them. A name
// in no zone is one of its own.
func (l *Local) addHosts(c *LocalConfig) {
	for _, f := range c.Hosts {
		for _, e := range f.Entries {
			from := fmt.Sprintf("%s:%d", f.Path, e.Line)
			var first []byte
			for _, text := range e.Names {
				names := []string{text}
				if c.HostsDomain != "" && !strings.Contains(text, ".") {
					names = []string{text + "." + c.HostsDomain, text}
				}
				for _, text := range names {
					name, err := wireName(text)
					if err != nil {
						l.notes.add("%s: %v", from, err)
						continue
					}
					if why := l.addHost(name, e.Addr, c.HostsTTL, from); why != "" {
						l.notes.add("%s: %s: %s", from, text, why)
					} else if first == nil {
						first = name
					}
				}
			}
			if rev := reverseName(e.Addr); first != nil && !e.Addr.IsUnspecified() {
				z, hole := l.holder(rev)
				l.addPointer(z, hole, rev, first, c.HostsTTL, from)
			}
		}
	}
}

// addHost gives a name an address, or says why not.
func (l *Local) addHost(name []byte, addr netip.Addr, ttl uint32, from string) (why string) {
	z, hole := l.holder(name)
	switch {
	case z == nil:
		z = l.loneZone(name, ttl, hole)
	case z.builtin != nil && z.builtin.zone == "localhost":
		if !addr.IsLoopback() {
			return "localhost is this machine (RFC 6761 §6.3)"
		}
		return ""
	}
	n := z.nodes[string(name)]
	if n != nil && n.from == "" && (n.alias != nil || n.set(dns.TypeA) != nil || n.set(dns.TypeAAAA) != nil) {
		return fmt.Sprintf("zone %s says what it is", presentation(z.apex))
	}
	n = z.node(name)
	if s := n.set(addrType(addr)); s != nil && len(s.data) >= maxAddresses {
		return fmt.Sprintf("has %d addresses already", maxAddresses)
	}
	n.from = cmp.Or(n.from, from)
	n.put(addrType(addr), ttl, addr.AsSlice())
	return ""
}

// addPointer gives an address, by its reverse name, a name unless it has one.
func (l *Local) addPointer(z *localZone, hole bool, rev, name []byte, ttl uint32, from string) {
	if z == nil {
		z = l.loneZone(rev, ttl, hole)
	}
	if n := z.nodes[string(rev)]; n != nil && (n.alias != nil || n.set(dns.TypePTR) != nil) {
		return
	}
	n := z.node(rev)
	n.from = cmp.Or(n.from, from)
	n.put(dns.TypePTR, ttl, name)
}

// loneZone returns the zone of a name that is in no other, made if need be.
func (l *Local) loneZone(name []byte, ttl uint32, hole bool) *localZone {
	if z := l.zones[string(name)]; z != nil {
		return z
	}
	z := &localZone{apex: name, nodes: map[string]*localNode{}, lone: true, inHole: hole}
	z.start(ttl)
	l.zones[string(name)] = z
	l.index(name)
	return z
}

func addrType(a netip.Addr) uint16 {
	if a.Is4() {
		return dns.TypeA
	}
	return dns.TypeAAAA
}

// A Lease is an address with the name that its host gave a DHCP server.
type Lease struct {
	Name string // one label
	Addr netip.Addr
}

// reservedNames lead many programs to a host without anybody's asking, so no
// lease may have them.
var reservedNames = []string{"isatap", "localhost", "wpad"}

// leaseName says why a lease cannot have that name, in lower case; "" if it can.
func leaseName(label string) (why string) {
	for i, c := range []byte(label) {
		switch edge := i == 0 || i == len(label)-1; {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
		case (c == '-' || c == '_') && !edge:
		default:
			return `wants letters and digits, with "-" and "_" between them`
		}
	}
	switch {
	case label == "" || len(label) > 63:
		return "wants 1 to 63 characters"
	case slices.Contains(reservedNames, label):
		return "is not for a host that calls itself so"
	}
	return ""
}

// An aliasRef names a node with a CNAME.
type aliasRef struct{ zone, name string }

// noteLoose notes an alias if leases may change what is at its end, a name of z
// or of no zone.
func (l *Local) noteLoose(end []byte, z *localZone, self aliasRef) {
	if l.leases != nil && (z == l.leases || inReverse(end)) {
		l.loose = append(l.loose, self)
	}
}

func inReverse(name []byte) bool {
	return bytes.HasSuffix(name, []byte("\x07in-addr\x04arpa\x00")) || bytes.HasSuffix(name, []byte("\x03ip6\x04arpa\x00"))
}

// With returns l with the names of leases beside its own: addresses below the
// lease domain, and pointers to these names. It shares all else with l. A name
// or a pointer that l answers already stays as it is, and what is forwarded
// stays so. A name that several leases have has all their addresses, the lowest
// first. l is of NewLocal itself. refused says, a line each, which leases have no name and why.
func (l *Local) With(leases []Lease) (next *Local, refused []string) {
	if l.leases == nil {
		return l, nil
	}
	o := overlay{base: l, Local: &Local{
		tops: maps.Clone(l.tops), zones: maps.Clone(l.zones), root: l.root, leases: l.leases, ttl: l.ttl, notes: l.notes,
	}, edited: map[*localZone]bool{}}
	leases = slices.Clone(leases)
	slices.SortFunc(leases, func(a, b Lease) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.Addr.Compare(b.Addr)) })
	for _, lease := range leases {
		if why := o.add(lease); why != "" {
			refused = append(refused, fmt.Sprintf("%q for %s: %s", lease.Name, lease.Addr, why))
		}
	}
	for _, at := range l.loose {
		z := o.edit(o.zones[at.zone])
		n := *z.nodes[at.name]
		n.rest = nil
		z.nodes[at.name] = &n
	}
	for z := range o.edited {
		_ = z.pack(o.Local) // leases make no alias, so none is longer than it was
	}
	return o.Local, refused
}

// An overlay is a Local under construction over another, of which it changes nothing.
type overlay struct {
	*Local
	base   *Local
	edited map[*localZone]bool // that are its own
}

// edit returns z as the overlay's own.
func (o *overlay) edit(z *localZone) *localZone {
	if o.edited[z] {
		return z
	}
	own := *z
	own.nodes = maps.Clone(z.nodes)
	o.zones[string(z.apex)] = &own
	if o.root == z {
		o.root = &own
	}
	if o.leases == z {
		o.leases = &own
	}
	o.edited[&own] = true
	return &own
}

// add puts one lease into the overlay, or says why not.
func (o *overlay) add(lease Lease) (why string) {
	if why := leaseName(lease.Name); why != "" {
		return why
	}
	name := append(append([]byte{byte(len(lease.Name))}, lease.Name...), o.leases.apex...)
	if len(name) > 255 {
		return "is too long below the domain"
	}
	if z, _ := o.base.holder(name); z != o.base.leases {
		return "is a zone"
	}
	if n := o.base.leases.lookup(name); n != nil && (len(n.rrsets) > 0 || n.alias != nil) {
		return "is configured already"
	}
	typ := addrType(lease.Addr)
	if n := o.leases.nodes[string(name)]; n != nil {
		if s := n.set(typ); s != nil && len(s.data) >= maxLeased {
			return fmt.Sprintf("has %d addresses already", maxLeased)
		}
	}
	o.put(o.edit(o.leases), name, typ, lease.Addr.AsSlice(), lease.Addr)

	rev := reverseName(lease.Addr)
	z, hole := o.holder(rev)
	switch {
	case hole || o.base.zones[string(rev)] != nil:
		return "" // somebody else says
	case z == nil:
		z = o.loneZone(rev, o.ttl, false)
		o.edited[z] = true
	default:
		if n := z.lookup(rev); n != nil && (n.alias != nil || n.set(dns.TypePTR) != nil) {
			return ""
		}
		z = o.edit(z)
	}
	o.put(z, rev, dns.TypePTR, name, lease.Addr)
	return ""
}

// put adds a record to a name of z, which is the overlay's own.
func (o *overlay) put(z *localZone, name []byte, typ uint16, data []byte, from netip.Addr) {
	n := z.node(name)
	if n.rest != nil { // an empty non-terminal of the base, or the apex of one
		own := *n
		own.rrsets, own.rest = slices.Clone(n.rrsets), (*wire.Reply)(nil)
		n = &own
		z.nodes[string(name)] = n
	}
	n.from = cmp.Or(n.from, from.String())
	n.put(typ, o.ttl, data)
}
