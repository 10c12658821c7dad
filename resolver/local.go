package resolver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/miekg/dns"

	"weir/resolver/wire"
)

// Local answers the names that this server has itself: configured zones, and
// names that must not leave the network. It is immutable; every answer is
// packed when it is built.
//
// The longest zone that holds a name answers for it. A forwarded zone leaves a
// hole: names at and below it are not local, though a shorter zone may be.
type Local struct {
	tops  map[string]depths     // by the last label of all zones, to settle most names at once
	zones map[string]*localZone // by wire name; nil is a hole
	root  *localZone            // of zones, for names in no other
}

// depths is a set of label counts, those of the zones under one top. Its last
// member stands for itself and all that are higher.
type depths uint64

func depth(labels int) depths { return 1 << min(labels, 63) }

// localZone is one zone. Its nodes include empty non-terminals and hold
// wildcards under their own name, "*" label first.
type localZone struct {
	apex     []byte
	nodes    map[string]*localNode
	nodata   *wire.Reply
	nxdomain *wire.Reply
}

// localNode is one owner name.
type localNode struct {
	replies map[uint16]*wire.Reply
	rest    *wire.Reply // for the types not in replies
	rrsets  []rrset
	alias   []byte // CNAME target, wire name
}

type rrset struct {
	typ  uint16
	ttl  uint32
	data [][]byte
}

// Zone is one zone to serve, as its records were read.
type Zone struct {
	Name    string // presentation form
	Records []dns.RR
}

// defaultSOA is used by a zone that brings no SOA of its own, in seconds:
// refresh, retry, expire, minimum, and the TTL of the record.
var defaultSOA = [...]uint32{3600, 600, 86400, 300, 3600}

// NewLocal builds the local data. private adds the empty reverse zones of
// private addresses (RFC 6303), special the names of RFC 6761 and its kin.
// forwarded are the wire names of zones that are asked elsewhere.
func NewLocal(zones []Zone, special, private bool, forwarded [][]byte) (*Local, error) {
	l := &Local{tops: map[string]depths{}, zones: map[string]*localZone{}}
	if special {
		zones = append(specialZones(), zones...)
	}
	if private {
		zones = append(privateZones(), zones...)
	}
	for _, name := range forwarded {
		l.zones[string(name)] = nil
	}
	// A configured zone replaces a built-in one of the same name, and is not
	// meant to be forwarded as well.
	built := map[string]Zone{}
	for _, z := range zones {
		name, err := wireName(z.Name)
		if err != nil {
			return nil, fmt.Errorf("zone %s: %w", z.Name, err)
		}
		if _, hole := l.zones[string(name)]; !hole {
			built[string(name)] = z
		}
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
	l.root = l.zones["\x00"]
	for name := range l.zones {
		last, labels := lastLabel([]byte(name))
		l.tops[name[last:]] |= depth(labels)
	}
	for _, name := range slices.Sorted(maps.Keys(l.zones)) {
		if z := l.zones[name]; z != nil {
			if err := z.pack(l); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return l, errors.Join(errs...)
}

// reply returns the local answer to q, or nil when its name is not local.
func (l *Local) reply(q *wire.Query) *wire.Reply {
	name := q.Name()
	z := l.asked(name, q.Type)
	if z == nil || q.Class != wire.ClassINET {
		return nil
	}
	n := z.lookup(name)
	if n == nil {
		if _, cut := l.zones[string(name)]; cut {
			return z.nodata // it exists, if only in the zone below
		}
		return z.nxdomain
	}
	if rep := unforwardable(q); rep != nil {
		return rep // nor does a zone have such types
	}
	if r, ok := n.replies[q.Type]; ok {
		return r
	}
	return n.rest
}

// asked returns the zone that answers a question about name: nil is none. DS records
// of a zone are its parent's (RFC 4035 §3.1.4.1), if that is local too: otherwise a
// zone has none, for nothing about local names leaves.
func (l *Local) asked(name []byte, qtype uint16) *localZone {
	if qtype == dns.TypeDS && len(name) > 1 {
		if _, cut := l.zones[string(name)]; cut {
			if parent := l.find(name[1+int(name[0]):]); parent != nil {
				return parent
			}
		}
	}
	return l.find(name)
}

// find returns the longest zone that holds name; nil is none, or a hole.
func (l *Local) find(name []byte) *localZone {
	last, labels := lastLabel(name)
	at := l.tops[string(name[last:])]
	for off := 0; off <= last && at != 0; off += 1 + int(name[off]) {
		if at&depth(labels) != 0 {
			if z, ok := l.zones[string(name[off:])]; ok {
				return z
			}
		}
		labels--
	}
	return l.root
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

// newZone sorts a zone's records into nodes and checks them.
func newZone(apex []byte, z Zone) (*localZone, error) {
	out := &localZone{apex: apex, nodes: map[string]*localNode{}}
	var errs []error
	for _, rr := range z.Records {
		if err := out.add(rr); err != nil {
			errs = append(errs, fmt.Errorf("zone %s: %s: %w", z.Name, brief(rr), err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(out.nodes)) {
		if n := out.nodes[name]; n.alias != nil && len(n.rrsets) > 1 {
			errs = append(errs, fmt.Errorf("zone %s: %s has a CNAME and other records (RFC 1034 §3.6.2)", z.Name, presentation([]byte(name))))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	top := out.node(apex)
	soa := top.set(dns.TypeSOA)
	if soa == nil {
		d := defaultSOA
		mailbox := append([]byte("\x0ahostmaster"), apex...)
		if len(mailbox) > 255 {
			mailbox = apex
		}
		top.rrsets = append(top.rrsets, rrset{dns.TypeSOA, d[4], [][]byte{soaData(apex, mailbox, 1, d[0], d[1], d[2], d[3])}})
		soa = top.set(dns.TypeSOA)
	}
	data := soa.data[0]
	ttl := min(soa.ttl, binary.BigEndian.Uint32(data[len(data)-4:])) // RFC 2308 §5
	out.nodata = negative(wire.RcodeSuccess, apex, data, ttl)
	out.nxdomain = negative(wire.RcodeNXDomain, apex, data, ttl)
	out.nodata.AA, out.nxdomain.AA = true, true
	return out, nil
}

// node returns the node for name, making it and those between it and the apex.
func (z *localZone) node(name []byte) *localNode {
	if n := z.nodes[string(name)]; n != nil {
		return n
	}
	n := new(localNode)
	z.nodes[string(name)] = n
	if len(name) > len(z.apex) {
		z.node(name[1+int(name[0]):])
	}
	return n
}

func (n *localNode) set(typ uint16) *rrset {
	for i := range n.rrsets {
		if n.rrsets[i].typ == typ {
			return &n.rrsets[i]
		}
	}
	return nil
}

// add puts one record in its place, or says why it cannot be served.
func (z *localZone) add(rr dns.RR) error {
	h := rr.Header()
	name, err := wireName(h.Name)
	if err != nil {
		return err
	}
	apex := len(name) == len(z.apex)
	switch {
	case !bytes.HasSuffix(name, z.apex) || !onLabel(name, len(name)-len(z.apex)):
		return errors.New("is not in the zone")
	case h.Class != dns.ClassINET:
		return errors.New("is not of class IN")
	case h.Rrtype == 0 || h.Rrtype == dns.TypeOPT || h.Rrtype >= 128 && h.Rrtype <= 255:
		return errors.New("has a type that no zone holds (RFC 6895 §3.1)")
	case h.Rrtype == dns.TypeNS && !apex:
		return errors.New("delegates, which a local zone cannot: name the servers in [[forward]] instead")
	case h.Rrtype == dns.TypeDNAME:
		return errors.New("DNAME is not served from a local zone: write the CNAMEs")
	case h.Rrtype == dns.TypeSOA && !apex:
		return errors.New("an SOA belongs at the top of the zone")
	}
	data, err := rdata(rr)
	if err != nil {
		return err
	}
	if rr.Header().Rdlength = uint16(len(data)); !whole(rr) {
		return errors.New("lacks data")
	}
	n := z.node(name)
	s := n.set(h.Rrtype)
	if s != nil {
		s.ttl = min(s.ttl, h.Ttl) // one TTL for an RRset (RFC 2181 §5.2)
	}
	switch {
	case s == nil:
		n.rrsets = append(n.rrsets, rrset{h.Rrtype, h.Ttl, [][]byte{data}})
	case slices.ContainsFunc(s.data, func(d []byte) bool { return bytes.Equal(d, data) }):
		return nil // said twice
	case h.Rrtype == dns.TypeSOA || h.Rrtype == dns.TypeCNAME:
		return fmt.Errorf("a second %s", dns.TypeToString[h.Rrtype])
	default:
		s.data = append(s.data, data)
	}
	if c, ok := rr.(*dns.CNAME); ok {
		n.alias, err = wireName(c.Target)
	}
	return err
}

// pack prepares every answer of the zone. All zones of l have their nodes by
// then, so that aliases can be followed from one to another.
func (z *localZone) pack(l *Local) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(z.nodes)) {
		n := z.nodes[name]
		n.replies, n.rest = map[uint16]*wire.Reply{}, z.nodata
		if n.alias == nil {
			for _, s := range n.rrsets {
				r := &wire.Reply{AA: true}
				s.appendTo(r, wire.SelfPointer)
				n.replies[s.typ] = r
			}
			continue
		}
		if err := n.packAlias(l); err != nil {
			errs = append(errs, fmt.Errorf("zone %s: %s: %w", presentation(z.apex), presentation([]byte(name)), err))
		}
	}
	return errors.Join(errs...)
}

// packAlias prepares the answers of a node with a CNAME: the chain as far as
// local data goes, then the records of the type asked for, or the negative
// answer for the last name (RFC 6604 §3).
func (n *localNode) packAlias(l *Local) error {
	head := &wire.Reply{AA: true}
	n.rrsets[0].appendTo(head, wire.SelfPointer)
	n.replies[dns.TypeCNAME] = clone(head)
	target := n.alias
	for hops := 0; ; hops++ {
		if hops == maxChain {
			return fmt.Errorf("more than %d aliases, or a loop of them", maxChain)
		}
		z := l.find(target)
		if z == nil { // the chain leaves local data
			n.rest = head
			return nil
		}
		end := z.lookup(target)
		if end == nil || end.alias == nil {
			tail := z.nodata
			if end == nil {
				tail = z.nxdomain
			} else {
				for _, s := range end.rrsets {
					r := clone(head)
					s.appendTo(r, target)
					n.replies[s.typ] = r
				}
			}
			n.rest = clone(head)
			n.rest.Rcode = tail.Rcode
			soa := z.node(z.apex).set(dns.TypeSOA)
			n.rest.AddRR(&n.rest.Ns, z.apex, wire.TypeSOA, tail.MinTTL, soa.data[0])
			return nil
		}
		end.rrsets[0].appendTo(head, target)
		target = end.alias
	}
}

func (s *rrset) appendTo(r *wire.Reply, owner []byte) {
	for _, d := range s.data {
		r.AddRR(&r.An, owner, s.typ, s.ttl, d)
	}
}

func clone(r *wire.Reply) *wire.Reply {
	c := *r
	c.Tail, c.TTLs = slices.Clone(r.Tail), slices.Clone(r.TTLs)
	return &c
}

// rdata packs a record's data without compression.
func rdata(rr dns.RR) ([]byte, error) {
	buf := make([]byte, dns.Len(rr)+256)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, err
	}
	_, owner, err := dns.UnpackDomainName(buf, 0)
	if err != nil {
		return nil, err
	}
	return slices.Clone(buf[owner+10 : end]), nil
}

// brief shows a record in an error.
func brief(rr dns.RR) string {
	s := rr.String()
	s = string(bytes.ReplaceAll([]byte(s), []byte("\t"), []byte(" ")))
	return s[:min(len(s), 120)]
}

// wireName turns presentation form into a wire name. Upper and lower case are
// one for ASCII letters alone (RFC 4343), so it is done on octets.
func wireName(text string) ([]byte, error) {
	var buf [256]byte
	n, err := dns.PackDomainName(dns.Fqdn(text), buf[:], 0, nil, false)
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", text, err)
	}
	if n > 255 {
		return nil, fmt.Errorf("name %q: longer than 255 octets", text)
	}
	name := bytes.Clone(buf[:n])
	for i, c := range name {
		if 'A' <= c && c <= 'Z' { // no length octet is
			name[i] = c | 0x20
		}
	}
	return name, nil
}

func presentation(name []byte) string {
	s, _, err := dns.UnpackDomainName(name, 0)
	if err != nil {
		return fmt.Sprintf("%q", name)
	}
	return s
}

// lastLabel returns where the label before the root begins, 0 for the root, and
// how many labels there are before the root.
func lastLabel(name []byte) (last, labels int) {
	for off := 0; name[off] != 0; off += 1 + int(name[off]) {
		last = off
		labels++
	}
	return last, labels
}

// onLabel reports whether a label of name begins at off.
func onLabel(name []byte, off int) bool {
	at := 0
	for at < off {
		at += 1 + int(name[at])
	}
	return at == off
}
