package resolver

import (
	"encoding/binary"
	"net/netip"

	"weir/blocklist"
	"weir/resolver/wire"
)

// SinkholeConfig says what a blocked client gets.
type SinkholeConfig struct {
	Answer    blocklist.Answer // for rules that name none; AnswerDefault means nxdomain
	TTL       uint32           // of every sinkhole record, in seconds; clients cache for so long
	Addresses []netip.Addr     // for "address"; a family without one gets NODATA
}

// Sinkhole holds the prepared answers to blocked questions.
type Sinkhole struct {
	fallback blocklist.Answer
	replies  [blocklist.AnswerDrop + 1]struct{ a, aaaa, other *wire.Reply }
}

// NewSinkhole prepares an answer of each kind.
func NewSinkhole(cfg SinkholeConfig) *Sinkhole {
	s := &Sinkhole{fallback: cfg.Answer}
	if s.fallback == blocklist.AnswerDefault {
		s.fallback = blocklist.AnswerNXDOMAIN
	}
	set := func(k blocklist.Answer, a, aaaa, other *wire.Reply) {
		s.replies[k].a, s.replies[k].aaaa, s.replies[k].other = a, aaaa, other
	}
	same := func(k blocklist.Answer, r *wire.Reply) { set(k, r, r, r) }

	nodata := negative(wire.RcodeSuccess, wire.SelfPointer, sinkholeSOA(cfg.TTL), cfg.TTL)
	same(blocklist.AnswerNXDOMAIN, negative(wire.RcodeNXDomain, wire.SelfPointer, sinkholeSOA(cfg.TTL), cfg.TTL))
	same(blocklist.AnswerNodata, nodata)
	same(blocklist.AnswerRefused, &wire.Reply{Rcode: wire.RcodeRefused})
	addresses := func(addrs []netip.Addr) (a, aaaa *wire.Reply) {
		a, aaaa = nodata, nodata
		v4, v6 := new(wire.Reply), new(wire.Reply)
		for _, addr := range addrs {
			if addr.Is4() {
				v4.AddRR(&v4.An, wire.SelfPointer, wire.TypeA, cfg.TTL, addr.AsSlice())
				a = v4
			} else {
				v6.AddRR(&v6.An, wire.SelfPointer, wire.TypeAAAA, cfg.TTL, addr.AsSlice())
				aaaa = v6
			}
		}
		return a, aaaa
	}
	a, aaaa := addresses([]netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()})
	set(blocklist.AnswerNull, a, aaaa, nodata)
	a, aaaa = addresses(cfg.Addresses)
	set(blocklist.AnswerAddress, a, aaaa, nodata)
	return s
}

// reply returns the answer of kind k to a question of this type and class, or
// nil where silence is the answer. Addresses are of the Internet's class: other
// questions get none.
func (s *Sinkhole) reply(k blocklist.Answer, qtype, class uint16) *wire.Reply {
	if k == blocklist.AnswerDefault {
		k = s.fallback
	}
	r := &s.replies[k]
	if class != wire.ClassINET {
		return r.other
	}
	switch qtype {
	case wire.TypeA:
		return r.a
	case wire.TypeAAAA:
		return r.aaaa
	default:
		return r.other
	}
}

// sinkholeSOA is the SOA data of a blocked name: it exists to be cached for
// ttl seconds (RFC 2308 §3).
func sinkholeSOA(ttl uint32) []byte {
	return soaData([]byte("\x04weir\x07invalid\x00"), []byte("\x0ahostmaster\x04weir\x07invalid\x00"), 1, 3600, 600, 86400, ttl)
}

// soaData packs SOA record data: server and mailbox as wire names, then serial,
// refresh, retry, expire and minimum (RFC 1035 §3.3.13).
func soaData(server, mailbox []byte, numbers ...uint32) []byte {
	out := append(append([]byte(nil), server...), mailbox...)
	for _, n := range numbers {
		out = binary.BigEndian.AppendUint32(out, n)
	}
	return out
}

// negative is a reply without an answer that may be cached for ttl seconds.
func negative(rcode uint8, owner, soa []byte, ttl uint32) *wire.Reply {
	r := &wire.Reply{Rcode: rcode}
	r.AddRR(&r.Ns, owner, wire.TypeSOA, ttl, soa)
	return r
}
