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

// localZone is one zone. Its nodes include empty non-terminals and hold
// wildcards under their own name, "*" label first.
type localZone struct {
	apex     []byte
	nodes    map[string]*localNode
	nodata   *wire.Reply
	nxdomain *wire.Reply

	ede      []byte   // Extended DNS Error of its negative answers; nil for none
	builtin  *builtin // nil if it is configured
	parentDS bool     // its DS records are asked elsewhere
	lone     bool     // it is its apex alone: what is below is not local
	inHole   bool     // it is lone, and what is around it is forwarded
}

// localNode is one owner name.
type localNode struct {
	replies map[uint16]*wire.Reply
	rest    *wire.Reply // for the types not in replies
	rrsets  []rrset
	alias   []byte // CNAME target, wire name
	from    string // place in a hosts file, or the address of a lease; empty: a zone's own
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
	Files   []string // that it was read from

	places   []string // of the records, as "FILE:LINE"; nil if they have none
	builtin  *builtin
	parentDS bool   // as localZone has it
	fresh    uint32 // names come and go in it, with this TTL in seconds; 0: they do not
}

// defaultSOA is used by a zone that brings no SOA of its own, in seconds:
// refresh, retry, expire, minimum, and the TTL of the record.
var defaultSOA = [...]uint32{3600, 600, 86400, 300, 3600}

// newZone sorts a zone's records into nodes and checks them.
func newZone(apex []byte, z Zone) (*localZone, error) {
	out := &localZone{apex: apex, nodes: map[string]*localNode{}, builtin: z.builtin, parentDS: z.parentDS}
	var errs []error
	where := map[string]string{} // a record of each name stands
	for i, rr := range z.Records {
		err := out.add(rr)
		place := ""
		if i < len(z.places) {
			place = z.places[i] + ": "
			if name, err := wireName(rr.Header().Name); err == nil && (where[string(name)] == "" || rr.Header().Rrtype == dns.TypeCNAME) {
				where[string(name)] = place
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("zone %s: %s%s: %w", z.Name, place, brief(rr), err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(out.nodes)) {
		n := out.nodes[name]
		if n.alias != nil && len(n.rrsets) > 1 {
			errs = append(errs, fmt.Errorf("zone %s: %s%s has a CNAME and other records (RFC 1034 §3.6.2)", z.Name, where[name], presentation([]byte(name))))
		}
		for i := range n.rrsets {
			if n.rrsets[i].size() > maxRRset {
				errs = append(errs, fmt.Errorf("zone %s: %s%s has more %s records than fit into a message", z.Name, where[name], presentation([]byte(name)), dns.Type(n.rrsets[i].typ)))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if b := z.builtin; b != nil {
		out.ede = wire.AppendEDE(nil, edeOther, b.zone+" is not asked elsewhere: "+b.ref)
		out.parentDS = b.parentDS
		if b.all {
			out.node(append([]byte("\x01*"), apex...))
		}
	}
	if z.fresh > 0 && z.builtin != nil {
		soa := out.node(apex).set(dns.TypeSOA)
		soa.ttl = z.fresh
		binary.BigEndian.PutUint32(soa.data[0][len(soa.data[0])-4:], z.fresh)
	}
	out.start(z.fresh)
	return out, nil
}

// maxRRset leaves a message room for its header, a question and an OPT record,
// in octets.
const maxRRset = wire.MaxTCP - 512

// size is what the records take at most, in octets.
func (s *rrset) size() int {
	n := 0
	for _, d := range s.data {
		n += len(d) + 2 + 10
	}
	return n
}

// start gives the zone an SOA if it has none, and its negative answers. fresh,
// in seconds, is for how long these may be kept if names come and go; 0 if not.
func (z *localZone) start(fresh uint32) {
	top := z.node(z.apex)
	soa := top.set(dns.TypeSOA)
	if soa == nil {
		d := defaultSOA
		if fresh > 0 {
			d[3], d[4] = fresh, fresh
		}
		mailbox := append([]byte("\x0ahostmaster"), z.apex...)
		if len(mailbox) > 255 {
			mailbox = z.apex
		}
		top.rrsets = append(top.rrsets, rrset{dns.TypeSOA, d[4], [][]byte{soaData(z.apex, mailbox, 1, d[0], d[1], d[2], d[3])}})
		soa = top.set(dns.TypeSOA)
	}
	data := soa.data[0]
	ttl := min(soa.ttl, binary.BigEndian.Uint32(data[len(data)-4:])) // RFC 2308 §5
	z.nodata = negative(wire.RcodeSuccess, z.apex, data, ttl)
	z.nxdomain = negative(wire.RcodeNXDomain, z.apex, data, ttl)
	z.nodata.AA, z.nxdomain.AA = true, true
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

// put adds a record, unless it is there. All of its type have the lowest of
// their TTLs (RFC 2181 §5.2). It returns whether it was another's first.
func (n *localNode) put(typ uint16, ttl uint32, data []byte) (first, added bool) {
	s := n.set(typ)
	if s == nil {
		n.rrsets = append(n.rrsets, rrset{typ, ttl, [][]byte{data}})
		return true, true
	}
	s.ttl = min(s.ttl, ttl)
	if slices.ContainsFunc(s.data, func(d []byte) bool { return bytes.Equal(d, data) }) {
		return false, false
	}
	s.data = append(s.data, data)
	return false, true
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
		return errOutside
	case h.Class != dns.ClassINET:
		return errors.New("is not of class IN")
	case h.Rrtype == 0 || h.Rrtype == dns.TypeOPT || h.Rrtype >= 128 && h.Rrtype <= 255:
		return errors.New("has a type that no zone holds (RFC 6895 §3.1)")
	case h.Rrtype == dns.TypeNS && !apex:
		return errors.New("delegates, which a local zone cannot: name the servers in [[forward]] instead")
	case h.Rrtype == dns.TypeDNAME:
		return errors.New("DNAME is not served from a local zone: write the CNAMEs")
	case h.Rrtype == dns.TypeCNAME && apex:
		return errors.New("a CNAME cannot stand at the top of a zone, which has an SOA (RFC 1034 §3.6.2)")
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
	first, added := n.put(h.Rrtype, h.Ttl, data)
	if added && !first && (h.Rrtype == dns.TypeSOA || h.Rrtype == dns.TypeCNAME) {
		return fmt.Errorf("a second %s", dns.TypeToString[h.Rrtype])
	}
	if c, ok := rr.(*dns.CNAME); ok && added {
		n.alias, err = wireName(c.Target)
	}
	return err
}

var errOutside = errors.New("is not in the zone")

// pack prepares every answer of the zone that is not prepared. All zones of l
// have their nodes by then, so that aliases can be followed from one to another.
func (z *localZone) pack(l *Local) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(z.nodes)) {
		n := z.nodes[name]
		if n.rest != nil {
			continue
		}
		if n.alias == nil {
			n.pack(z)
			continue
		}
		if err := n.packAlias(l, aliasRef{string(z.apex), name}); err != nil {
			errs = append(errs, fmt.Errorf("zone %s: %s: %w", presentation(z.apex), presentation([]byte(name)), err))
		}
	}
	return errors.Join(errs...)
}

// pack prepares the answers of a node of z without a CNAME.
func (n *localNode) pack(z *localZone) {
	n.replies, n.rest = map[uint16]*wire.Reply{}, z.nodata
	for _, s := range n.rrsets {
		r := &wire.Reply{AA: true}
		s.appendTo(r, wire.SelfPointer)
		n.replies[s.typ] = r
	}
}

// packAlias prepares the answers of a node with a CNAME: the chain as far as
// local data goes, then the records of the type asked for, or the negative
// answer for the last name (RFC 6604 §3). Where leases may change these, it notes
// self, which is the node's place.
func (n *localNode) packAlias(l *Local, self aliasRef) error {
	n.replies = map[uint16]*wire.Reply{}
	head := &wire.Reply{AA: true}
	n.rrsets[0].appendTo(head, wire.SelfPointer)
	n.replies[dns.TypeCNAME] = clone(head)
	target := n.alias
	for hops := 0; ; hops++ {
		if hops == maxChain {
			n.rest = head
			return fmt.Errorf("more than %d aliases, or a loop of them", maxChain)
		}
		z := l.find(target)
		if z == nil { // the chain leaves local data
			n.rest = head
			l.noteLoose(target, nil, self)
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
			l.noteLoose(target, z, self)
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
