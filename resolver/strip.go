package resolver

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"weir/audit"
	"weir/blocklist"
	"weir/resolver/cache"
	"weir/resolver/wire"
)

// strip answers with e but for what d says must not reach the client: addresses
// that the policy minds, "ech", hints. Where no address would be left it blocks.
// The answer is decoded and packed anew each time, for what memory keeps is the
// same for everybody.
func (r *Resolver) strip(s *scratch, msg []byte, from *origin, st *State, e *cache.Entry, l *blocklist.Lookup, d blocklist.Decision) []byte {
	plain := s.query
	plain.EDNS = false
	var m dns.Msg
	err := m.Unpack(e.Reply.Append(nil, msg, &plain, wire.Finish{Limit: wire.MaxTCP}))
	c := cutter{st: st, lookup: l, decision: d}
	if err == nil {
		m.Answer = c.cut(m.Answer)
		m.AuthenticatedData = false
	}
	if err == nil && c.bare {
		d.Verdict = blocklist.Block
		return r.sink(s, msg, from, st, st.note(&s.event, d))
	}
	var rep wire.Reply
	if err == nil {
		m.Compress = true
		var packed []byte
		if packed, err = m.Pack(); err == nil {
			rep, err = wire.Freeze(packed)
		}
	}
	if err != nil {
		r.logger.Error("an answer could not be stripped", "name", blocklist.NameString(l.Name), "type", dns.Type(l.Type), "error", err)
		s.event.Source, s.event.EDE = audit.SourceError, edeOther
		return r.finish(s, msg, from, &replyServFail, wire.Finish{})
	}
	s.event.EDE, s.event.Stripped = edeForged, true
	text := st.Policy.Outcomes()[d.Outcome].Policy + ": " + c.told()
	return r.finish(s, msg, from, &rep, wire.Finish{Age: e.Age(from.mono), EDE: wire.AppendEDE(nil, edeForged, text)})
}

// cutter takes out of an answer what must not reach the client.
type cutter struct {
	st       *State
	lookup   *blocklist.Lookup
	decision blocklist.Decision

	addresses, ech, hints int  // that were taken out
	bare                  bool // no address is left of those asked for
}

// cut returns what is left of an answer section. Signatures of what has changed
// go too, since they are wrong from then on.
func (c *cutter) cut(section []dns.RR) []dns.RR {
	type set struct {
		owner string
		typ   uint16
	}
	var changed []set
	var left []dns.RR
	addresses := 0
	for _, rr := range section {
		before := c.addresses + c.ech + c.hints
		gone := false
		switch rr := rr.(type) {
		case *dns.A:
			gone = c.offends(rr.A)
		case *dns.AAAA:
			gone = c.offends(rr.AAAA)
		case *dns.SVCB:
			c.cutSVCB(rr)
		case *dns.HTTPS:
			c.cutSVCB(&rr.SVCB)
		}
		if h := rr.Header(); before != c.addresses+c.ech+c.hints {
			changed = append(changed, set{strings.ToLower(h.Name), h.Rrtype})
		}
		if gone {
			continue
		}
		if t := rr.Header().Rrtype; t == dns.TypeA || t == dns.TypeAAAA {
			addresses++
		}
		left = append(left, rr)
	}
	asked := c.lookup.Type == dns.TypeA || c.lookup.Type == dns.TypeAAAA
	c.bare = asked && c.addresses > 0 && addresses == 0
	return slices.DeleteFunc(left, func(rr dns.RR) bool {
		sig, ok := rr.(*dns.RRSIG)
		return ok && slices.Contains(changed, set{strings.ToLower(sig.Hdr.Name), sig.TypeCovered})
	})
}

// offends says whether an address is one to take out, and counts it.
func (c *cutter) offends(ip net.IP) bool {
	if c.decision.Remove&blocklist.RemoveAddresses == 0 {
		return false
	}
	addr, ok := netip.AddrFromSlice(ip)
	if !ok || !c.st.offends(c.lookup, c.decision, addr) {
		return false
	}
	c.addresses++
	return true
}

// offends says whether the policy minds an address, or the one that it carries,
// in the answer to l, of which d is the decision.
func (s *State) offends(l *blocklist.Lookup, d blocklist.Decision, addr netip.Addr) bool {
	v4, carries := s.carried(addr)
	return s.Policy.Offends(l, d, addr) || carries && s.Policy.Offends(l, d, v4)
}

// bare says whether strip leaves no address of those asked for.
func (s *State) bare(l *blocklist.Lookup, d blocklist.Decision, f *blocklist.Facts) bool {
	if l.Type != dns.TypeA && l.Type != dns.TypeAAAA {
		return false
	}
	return !slices.ContainsFunc(f.Addrs, func(addr netip.Addr) bool {
		carriedOne := addr.Is4() && l.Type == dns.TypeAAAA
		return !carriedOne && !s.offends(l, d, addr)
	})
}

// cutSVCB takes parameters, or addresses in them, out of a record. "mandatory"
// then names only what is still there (RFC 9460 §8).
func (c *cutter) cutSVCB(rr *dns.SVCB) {
	var gone []dns.SVCBKey
	rr.Value = slices.DeleteFunc(rr.Value, func(v dns.SVCBKeyValue) bool {
		out := false
		switch v := v.(type) {
		case *dns.SVCBECHConfig:
			if out = c.decision.Remove&blocklist.RemoveECH != 0; out {
				c.ech++
			}
		case *dns.SVCBIPv4Hint:
			v.Hint, out = c.cutHints(v.Hint)
		case *dns.SVCBIPv6Hint:
			v.Hint, out = c.cutHints(v.Hint)
		}
		if out {
			gone = append(gone, v.Key())
		}
		return out
	})
	rr.Value = slices.DeleteFunc(rr.Value, func(v dns.SVCBKeyValue) bool {
		mandatory, ok := v.(*dns.SVCBMandatory)
		if !ok {
			return false
		}
		mandatory.Code = slices.DeleteFunc(mandatory.Code, func(k dns.SVCBKey) bool { return slices.Contains(gone, k) })
		return len(mandatory.Code) == 0
	})
}

// cutHints returns the addresses that are left, and whether none is.
func (c *cutter) cutHints(hints []net.IP) ([]net.IP, bool) {
	if c.decision.Remove&blocklist.RemoveHints != 0 {
		c.hints++
		return nil, true
	}
	left := slices.DeleteFunc(hints, c.offends)
	return left, len(left) == 0
}

// told says in words what is missing.
func (c *cutter) told() string {
	var parts []string
	if c.addresses > 0 {
		parts = append(parts, "addresses")
	}
	if c.ech > 0 {
		parts = append(parts, "ech")
	}
	if c.hints > 0 {
		parts = append(parts, "hints")
	}
	return strings.Join(parts, ", ") + " removed"
}
