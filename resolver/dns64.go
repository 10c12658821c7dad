package resolver

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"weir/resolver/wire"
)

// A DNS64 says how clients without IPv4 reach what has no IPv6: by addresses that a
// translator (NAT64) behind a prefix takes for IPv4 ones (RFC 6147). A question for
// AAAA that has none gets those made of A, and the reverse name of such an address
// leads to that of the IPv4 address.
//
// The answer made is an entry of the cache like any other, under a key of its own,
// so a hit costs what any hit does, and policy judges the IPv4 address in it.
type DNS64 struct {
	prefix   netip.Prefix // of 32, 40, 48, 56, 64 or 96 bits (RFC 6052 §2.2)
	exclude  []netip.Prefix
	ipv4only map[uint16]*wire.Reply // by type
	number   uint16                 // in keys, the same for as long as the process runs
}

const (
	noSOATTL    = 600 // seconds that an answer may last if a negative one for AAAA brought no SOA (RFC 6147 §5.1.7)
	ipv4onlyTTL = 3600
)

var (
	// ipv4only is the name by which clients find the prefix, and its addresses
	// (RFC 7050 §8).
	ipv4only      = mustName("ipv4only.arpa.")
	ipv4onlyAddrs = [...]netip.Addr{netip.MustParseAddr("192.0.0.170"), netip.MustParseAddr("192.0.0.171")}

	// notGlobal are networks whose addresses the well-known prefix must not be put
	// before (RFC 6052 §3.1).
	notGlobal = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
	}
)

// mustName is wireName for a name in this package.
func mustName(text string) []byte {
	name, err := wireName(text)
	if err != nil {
		panic(err) // a mistake in this package, met by every test
	}
	return name
}

// embed returns the IPv6 address that stands for an IPv4 one: its octets behind
// the prefix, but for octet 8, which is always zero (RFC 6052 §2.2).
func (d *DNS64) embed(v4 netip.Addr) netip.Addr {
	b := d.prefix.Addr().As16()
	at := d.prefix.Bits() / 8
	for _, octet := range v4.As4() {
		if at == 8 {
			at++
		}
		b[at] = octet
		at++
	}
	return netip.AddrFrom16(b)
}

// extract is the reverse of embed. It is false for an address that embed does not
// make; what follows the IPv4 address is not looked at.
func (d *DNS64) extract(addr netip.Addr) (v4 netip.Addr, ok bool) {
	b := addr.As16()
	if !d.prefix.Contains(addr) || d.prefix.Bits() < 96 && b[8] != 0 {
		return v4, false
	}
	var octets [4]byte
	at := d.prefix.Bits() / 8
	for i := range octets {
		if at == 8 {
			at++
		}
		octets[i] = b[at]
		at++
	}
	return netip.AddrFrom4(octets), true
}

// global says whether an IPv4 address may be embedded.
func (d *DNS64) global(v4 netip.Addr) bool {
	return d.prefix != nat64 || !slices.ContainsFunc(notGlobal, func(p netip.Prefix) bool { return p.Contains(v4) })
}

// translates returns how the answer to q is translated for the clients of a
// policy, nil if it is not: who sets DO and CD validates, and must see what there
// is (RFC 6147 §5.5).
func (st *State) translates(q *wire.Query, policy uint16) *DNS64 {
	if q.Type != wire.TypeAAAA && q.Type != wire.TypePTR {
		return nil
	}
	d := st.translation(policy)
	if d == nil || q.Type == wire.TypeAAAA && q.DO && q.CD {
		return nil
	}
	if q.Type == wire.TypePTR {
		name := d.reverse(q.Name())
		if name == nil || st.Local.find(name) != nil {
			return nil // what is answered here does not lead out
		}
	}
	return d
}

// wellKnown returns the answer to a question about ipv4only.arpa, of which a DNS64
// knows all there is (RFC 8880 §7.1), or nil for another name.
func (st *State) wellKnown(q *wire.Query, policy uint16) *wire.Reply {
	d := st.translation(policy)
	if d == nil || string(q.Name()) != string(ipv4only) {
		return nil
	}
	if rep := d.ipv4only[q.Type]; rep != nil {
		return rep
	}
	return d.ipv4only[0]
}

// translation returns a policy's DNS64, nil for none. That of a state which was
// never in force has no number.
func (st *State) translation(policy uint16) *DNS64 {
	all := st.dns64
	if all == nil {
		all = st.DNS64
	}
	if int(policy) >= len(all) {
		return nil
	}
	return all[policy]
}

// NewDNS64 returns the DNS64 for a prefix, and for networks of AAAA records that
// count as none beside ::ffff:0:0/96 (RFC 6147 §5.1.4).
func NewDNS64(prefix netip.Prefix, exclude []netip.Prefix) *DNS64 {
	d := &DNS64{prefix: prefix, exclude: exclude}
	var a, aaaa wire.Reply
	for _, v4 := range ipv4onlyAddrs {
		a.AddRR(&a.An, wire.SelfPointer, wire.TypeA, ipv4onlyTTL, v4.AsSlice())
		aaaa.AddRR(&aaaa.An, wire.SelfPointer, wire.TypeAAAA, ipv4onlyTTL, d.embed(v4).AsSlice())
	}
	d.ipv4only = map[uint16]*wire.Reply{
		wire.TypeA: &a, wire.TypeAAAA: &aaaa,
		0: negative(wire.RcodeSuccess, wire.SelfPointer, sinkholeSOA(ipv4onlyTTL), ipv4onlyTTL), // of all other types
	}
	return d
}

// translate gives each policy of st its DNS64, with the number of one that says the
// same if there was one before, and the query path what addresses lead to
// IPv4. r.mu is held, or r is new.
func (r *Resolver) translate(st *State) {
	st.dns64, st.prefixes = make([]*DNS64, len(st.DNS64)), nil
	for i, d := range st.DNS64 {
		if d == nil {
			continue
		}
		text := fmt.Sprint(d.prefix, d.exclude)
		if r.dns64[text] == nil {
			if len(r.dns64) == math.MaxUint16 {
				r.logger.Error("DNS64 is off: too many prefixes since the start", "prefix", d.prefix)
				continue
			}
			numbered := *d
			numbered.number = uint16(len(r.dns64) + 1)
			r.dns64[text] = &numbered
		}
		st.dns64[i] = r.dns64[text]
		if !slices.Contains(st.prefixes, st.dns64[i]) {
			st.prefixes = append(st.prefixes, st.dns64[i])
		}
	}
}

// reverse returns the wire name below in-addr.arpa that stands for one below
// ip6.arpa, nil for one that is of no address of the prefix.
func (d *DNS64) reverse(name []byte) []byte {
	const nibbles, ending = 32, "\x03ip6\x04arpa\x00"
	if len(name) != 2*nibbles+len(ending) || string(name[2*nibbles:]) != ending {
		return nil
	}
	var b [16]byte
	for i := range nibbles { // the lowest comes first
		c := name[2*i+1]
		switch {
		case name[2*i] != 1:
			return nil
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return nil
		}
		b[15-i/2] |= c << (4 * (i % 2))
	}
	v4, ok := d.extract(netip.AddrFrom16(b))
	if !ok || !d.global(v4) {
		return nil
	}
	text, err := dns.ReverseAddr(v4.String())
	if err != nil {
		return nil // not reached: it is an address
	}
	return mustName(text)
}

// synthesise returns what f's question for AAAA gets: m, the reply to it, or if
// that has no address the one made from a reply to the question for A. A name that
// does not exist has neither; any failure counts as no address (RFC 6147 §5.1).
func (f *flight) synthesise(ctx context.Context, m *dns.Msg, server string, err error, bounds TTL) (*dns.Msg, string, error) {
	question, d := f.ask.Question[0], f.dns64
	if err == nil {
		if m.Rcode == dns.RcodeNameError {
			return m, server, nil
		}
		answer, _, bad := chain(question, slices.Clone(m.Answer), false)
		if bad != nil || d.permit(m, answer) {
			return m, server, nil // one that is bad will be refused
		}
	}
	ask := f.ask
	question.Qtype = dns.TypeA
	ask.Question = []dns.Question{question}
	m4, server4, err4 := f.group.Exchange(ctx, &ask)
	if err4 != nil || m4.Rcode != dns.RcodeSuccess {
		return m, server, err
	}
	do := ask.IsEdns0() != nil
	answer, end, bad := chain(question, m4.Answer, do)
	if bad != nil {
		return m, server, err
	}
	life := uint32(noSOATTL)
	if err == nil {
		if soa := authority(end, m.Ns, bounds); soa != nil {
			life = soa.Hdr.Ttl
		}
	}
	out := &dns.Msg{MsgHdr: m4.MsgHdr, Question: f.ask.Question}
	out.AuthenticatedData = err == nil && m.AuthenticatedData && m4.AuthenticatedData
	found := false
	for _, rr := range answer {
		switch rr := rr.(type) {
		case *dns.A:
			v4, ok := netip.AddrFromSlice(rr.A.To4())
			if !ok || !d.global(v4) {
				continue
			}
			ttl := rr.Hdr.Ttl
			if ttl > 1<<31-1 {
				ttl = 0 // RFC 2181 §8
			}
			h := dns.RR_Header{Name: rr.Hdr.Name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: min(ttl, life), Rdlength: 16}
			out.Answer = append(out.Answer, &dns.AAAA{Hdr: h, AAAA: d.embed(v4).AsSlice()})
			found = true
		case *dns.RRSIG:
			if rr.TypeCovered != dns.TypeA {
				out.Answer = append(out.Answer, rr)
			}
		default:
			out.Answer = append(out.Answer, rr)
		}
	}
	if !found {
		return m, server, err
	}
	return out, server4, nil
}

// mapped are IPv4 addresses in IPv6 form, which lead nowhere on the wire.
var mapped = netip.MustParsePrefix("::ffff:0:0/96")

func (d *DNS64) excludes(ip net.IP) bool {
	addr, ok := netip.AddrFromSlice(ip.To16())
	return ok && (mapped.Contains(addr) || slices.ContainsFunc(d.exclude, func(p netip.Prefix) bool { return p.Contains(addr) }))
}

// permit says whether a reply, of which answer is the part that answers the
// question, holds an address that is not excluded. Those that are are taken out then,
// and with them what is signed as a whole.
func (d *DNS64) permit(m *dns.Msg, answer []dns.RR) bool {
	excluded := func(rr dns.RR) bool {
		aaaa, ok := rr.(*dns.AAAA)
		return ok && d.excludes(aaaa.AAAA)
	}
	good := slices.ContainsFunc(answer, func(rr dns.RR) bool {
		return rr.Header().Rrtype == dns.TypeAAAA && !excluded(rr)
	})
	if good && slices.ContainsFunc(answer, excluded) {
		m.AuthenticatedData = false
		m.Answer = slices.DeleteFunc(m.Answer, func(rr dns.RR) bool {
			sig, ok := rr.(*dns.RRSIG)
			return excluded(rr) || ok && sig.TypeCovered == dns.TypeAAAA
		})
	}
	return good
}
