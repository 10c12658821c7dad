package resolver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"weir/blocklist"
	"weir/resolver/cache"
	"weir/resolver/upstream"
	"weir/resolver/wire"
)

// TTL bounds what a reply's TTLs may be, in seconds.
type TTL struct {
	Min, Max    uint32 // of records in answers
	MaxNegative uint32 // of NXDOMAIN and NODATA
}

// clamp returns ttl within the bounds. One with its top bit set counts as zero
// (RFC 2181 §8).
func (b TTL) clamp(ttl uint32) uint32 {
	if ttl > 1<<31-1 {
		ttl = 0
	}
	return min(max(ttl, b.Min), b.Max)
}

const (
	maxChain   = 16  // aliases from one name to the next in one answer
	maxTargets = 64  // names in one answer that policy has to judge, at each hit
	aliasTTL   = 300 // seconds, of an alias that this server makes
)

// inspect reads m, a reply to the question of q, as hostile data. It keeps
// what answers that question and nothing else: the chain of aliases from the
// name asked and the records at its end, for a negative answer the SOA, and
// the proofs if DNSSEC records were asked for. Other authority and additional
// records are left out, so one question's reply can say nothing about another
// name. The entry's Expires is a life span in nanoseconds, zero if it must not
// be kept. With alias the entry answers that name, of which it makes the name
// asked for the target. own are the translations by which addresses lead to IPv4.
// inspect changes m and may use room to pack in.
func inspect(q, m *dns.Msg, alias string, own []*DNS64, bounds TTL, room []byte) (*cache.Entry, error) {
	question := q.Question[0]
	opt := q.IsEdns0()
	do := opt != nil && opt.Do()
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeYXDomain:
	default:
		return nil, fmt.Errorf("rcode %s", rcodeName(m.Rcode))
	}
	if upstream.Referral(m) {
		return nil, errors.New("it names other servers to ask")
	}
	e := new(cache.Entry)
	answer, end, err := chain(question, m.Answer, do)
	if err != nil {
		return nil, err
	}
	asked := question
	if alias != "" {
		asked.Name = alias
		cname := &dns.CNAME{Hdr: dns.RR_Header{Name: alias, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: aliasTTL, Rdlength: 1}, Target: question.Name}
		answer = append([]dns.RR{cname}, answer...)
	}
	found := alias != "" && asked.Qtype == dns.TypeCNAME // records of the type asked for at the end of the chain
	life, shortest := bounds.Max, bounds.Max
	asks := func(h *dns.RR_Header) bool { return h.Rrtype == question.Qtype && sameName(h.Name, end) }
	for _, rr := range answer {
		h := rr.Header()
		if !whole(rr) {
			return nil, fmt.Errorf("a %s record lacks data", dns.Type(h.Rrtype))
		}
		h.Ttl = bounds.clamp(h.Ttl)
		life = min(life, h.Ttl)
		if err := note(e, rr, own); err != nil {
			return nil, err
		}
		if asks(h) {
			found, shortest = true, min(shortest, h.Ttl)
		}
	}
	for _, rr := range answer { // a set has one TTL, its lowest (RFC 2181 §5.2)
		if h := rr.Header(); asks(h) && h.Rrtype != dns.TypeRRSIG {
			h.Ttl = shortest
		}
	}
	noted(e)
	out := dns.Msg{Question: []dns.Question{asked}, Answer: answer, Compress: true}
	out.Response, out.Rcode = true, m.Rcode
	out.AuthenticatedData = m.AuthenticatedData && alias == "" // an exchanger vouches for it
	if !found || m.Rcode != dns.RcodeSuccess {
		negative := min(bareTTL, bounds.MaxNegative)
		if soa := authority(end, m.Ns, bounds); soa != nil {
			negative = soa.Hdr.Ttl
			out.Ns = append(out.Ns, soa)
		}
		life = min(life, negative)
	}
	if do {
		for _, rr := range proofs(answer, out.Ns, m.Ns) {
			h := rr.Header()
			h.Ttl = min(bounds.clamp(h.Ttl), life)
			out.Ns = append(out.Ns, rr)
		}
	}
	packed, err := out.PackBuffer(room)
	if err != nil {
		return nil, fmt.Errorf("records do not pack: %w", err)
	}
	if e.Reply, err = wire.Freeze(packed); err != nil {
		return nil, err
	}
	e.Expires = int64(life) * 1e9
	return e, nil
}

// chain returns the records of an answer section that answer question, in
// their place, and the name at the end of the aliases. Each alias stands before
// what it leads to, wherever it stood: resolvers in C libraries read an answer
// once, from the front (RFC 1034 §4.3.1).
func chain(question dns.Question, records []dns.RR, do bool) (out []dns.RR, end string, err error) {
	end = question.Name
	var room [32]uint8
	kept := append(room[:0], make([]uint8, len(records))...) // by which name of the chain, counted from 1; 0 is not
	hop := uint8(1)
	for ; ; hop++ {
		if hop > maxChain+1 {
			return nil, "", fmt.Errorf("more than %d aliases, or a loop of them", maxChain)
		}
		next := ""
		for i, rr := range records {
			if c, ok := rr.(*dns.CNAME); ok && c.Hdr.Class == dns.ClassINET && sameName(c.Hdr.Name, end) {
				kept[i] = hop
				if question.Qtype != dns.TypeCNAME {
					next = c.Target
				}
				break // a name has one alias at most (RFC 2181 §10.1)
			}
		}
		for i, rr := range records {
			h := rr.Header()
			if h.Class != dns.ClassINET {
				continue
			}
			own := sameName(h.Name, end)
			asked := own && next == "" && h.Rrtype == question.Qtype
			ours := asked
			switch rr := rr.(type) {
			case *dns.CNAME:
				continue // done
			case *dns.DNAME:
				ours = asked || makes(rr, end, next)
			case *dns.RRSIG:
				above := rr.TypeCovered == dns.TypeDNAME && next != "" && below(end, h.Name)
				ours = asked || do && (own || above)
			}
			if ours && kept[i] == 0 {
				kept[i] = hop
			}
		}
		if next == "" {
			break
		}
		end = next
	}
	var copied [32]dns.RR
	all := append(copied[:0], records...)
	out = records[:0]
	for at := range hop {
		for i, rr := range all {
			if kept[i] == at+1 {
				out = append(out, rr)
			}
		}
	}
	return out, end, nil
}

// whole reports whether rr has its data. The library reads records that end
// early, as RFC 2136 has them, and packs what is missing as nothing.
func whole(rr dns.RR) bool {
	switch rr := rr.(type) {
	case *dns.RFC3597, *dns.NULL, *dns.APL, *dns.TXT:
		return true // may be empty, TXT because it happens
	case *dns.SOA:
		return rr.Ns != "" && rr.Mbox != ""
	case *dns.MX:
		return rr.Mx != ""
	case *dns.SRV:
		return rr.Target != ""
	case *dns.SVCB:
		return rr.Target != ""
	case *dns.HTTPS:
		return rr.Target != ""
	}
	return rr.Header().Rdlength > 0
}

// makes reports whether the alias from name to target is the one that d stands
// for (RFC 6672 §2.2). A DNAME that does not explain the alias beside it says
// something about other names, and is not for this answer.
func makes(d *dns.DNAME, name, target string) bool {
	zone, to := d.Hdr.Name, d.Target
	if target == "" || !below(name, zone) {
		return false
	}
	front := name // up to and with the dot before zone
	if zone != "." {
		front = name[:len(name)-len(zone)]
	}
	if to == "." {
		to = ""
	}
	return sameName(target, front+to)
}

// authority returns the SOA that a negative answer for name needs, its TTL set
// to how long the answer may be kept: the lower of that TTL and the minimum
// field (RFC 2308 §5), within bounds. It is nil when none stands at or above
// name.
func authority(name string, records []dns.RR, bounds TTL) *dns.SOA {
	for _, rr := range records {
		soa, ok := rr.(*dns.SOA)
		if ok && soa.Hdr.Class == dns.ClassINET && whole(soa) && dns.IsSubDomain(soa.Hdr.Name, name) {
			if soa.Hdr.Ttl > 1<<31-1 {
				soa.Hdr.Ttl = 0
			}
			soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl, bounds.MaxNegative)
			return soa
		}
	}
	return nil
}

// proofs returns the records of an authority section that a validator needs
// beside answer and soa: signed denials of existence, which come with negative
// answers and with those made from a wildcard (RFC 4035 §3.1.3). They lie in
// the zones that the SOA and the answer's signatures name.
func proofs(answer, soa, records []dns.RR) (out []dns.RR) {
	var zones []string
	for _, rr := range answer {
		if sig, ok := rr.(*dns.RRSIG); ok && !slices.Contains(zones, sig.SignerName) {
			zones = append(zones, sig.SignerName)
		}
	}
	for _, rr := range soa {
		zones = append(zones, rr.Header().Name)
	}
	zones = zones[:min(len(zones), maxChain)]
	for _, rr := range records {
		h := rr.Header()
		covered := h.Rrtype
		if sig, ok := rr.(*dns.RRSIG); ok {
			covered = sig.TypeCovered
		}
		switch {
		case h.Class != dns.ClassINET:
		case covered == dns.TypeNSEC, covered == dns.TypeNSEC3, h.Rrtype == dns.TypeRRSIG && covered == dns.TypeSOA && soa != nil:
			if whole(rr) && slices.ContainsFunc(zones, func(z string) bool { return dns.IsSubDomain(z, h.Name) }) {
				out = append(out, rr)
			}
		}
	}
	return out
}

// note adds to e the facts in rr that policy judges.
func note(e *cache.Entry, rr dns.RR, own []*DNS64) error {
	f := &e.Facts
	switch rr := rr.(type) {
	case *dns.CNAME:
		return noteName(f, &f.Aliases, rr.Target)
	case *dns.DNAME:
		return noteName(f, &f.Aliases, rr.Target)
	case *dns.A:
		noteAddr(f, rr.A.To4(), own)
	case *dns.AAAA:
		noteAddr(f, rr.AAAA.To16(), own)
	case *dns.SVCB:
		return noteSVCB(f, rr, own)
	case *dns.HTTPS:
		return noteSVCB(f, &rr.SVCB, own)
	case *dns.PTR:
		return noteName(f, &f.Targets, rr.Ptr)
	case *dns.MX:
		return noteName(f, &f.Targets, rr.Mx)
	case *dns.SRV:
		return noteName(f, &f.Targets, rr.Target)
	case *dns.NAPTR:
		return noteName(f, &f.Targets, rr.Replacement)
	}
	return nil
}

// noted puts the names that note has found behind each other.
func noted(e *cache.Entry) {
	e.Names = append(e.Facts.Aliases, e.Facts.Targets...)
	n := len(e.Facts.Aliases)
	e.Facts.Aliases, e.Facts.Targets = e.Names[:n:n], e.Names[n:]
}

// noteName adds a name that a record leads to to those in all, which are of f.
func noteName(f *blocklist.Facts, all *[][]byte, target string) error {
	w, err := wireName(target)
	if err != nil {
		return fmt.Errorf("alias target: %w", err)
	}
	if len(w) == 1 || slices.ContainsFunc(*all, func(a []byte) bool { return string(a) == string(w) }) {
		return nil
	}
	if len(f.Aliases)+len(f.Targets) == maxTargets {
		return fmt.Errorf("more than %d alias targets", maxTargets)
	}
	*all = append(*all, w)
	return nil
}

// noteAddr notes an address, and after it the one that it carries.
func noteAddr(f *blocklist.Facts, ip []byte, own []*DNS64) {
	if a, ok := netip.AddrFromSlice(ip); ok {
		f.Addrs = append(f.Addrs, a)
		if v4, ok := carried(a, own); ok {
			f.Addrs = append(f.Addrs, v4)
		}
	}
}

// noteSVCB notes the target, the address hints and whether there is "ech" (RFC
// 9460, RFC 9848); the target "." is the owner itself.
func noteSVCB(f *blocklist.Facts, rr *dns.SVCB, own []*DNS64) error {
	for _, v := range rr.Value {
		switch v := v.(type) {
		case *dns.SVCBIPv4Hint:
			f.Hints = true
			for _, ip := range v.Hint {
				noteAddr(f, ip.To4(), own)
			}
		case *dns.SVCBIPv6Hint:
			f.Hints = true
			for _, ip := range v.Hint {
				noteAddr(f, ip.To16(), own)
			}
		case *dns.SVCBECHConfig:
			f.ECH = true
		}
	}
	return noteName(f, &f.Aliases, rr.Target)
}

// sameName compares two names in presentation form, as miekg/dns writes them:
// escapes are canonical there, so only the case of ASCII letters may differ.
func sameName(a, b string) bool {
	return len(a) == len(b) && strings.EqualFold(a, b)
}

// below reports whether name is a proper descendant of zone.
func below(name, zone string) bool {
	return dns.IsSubDomain(zone, name) && !sameName(name, zone)
}

func rcodeName(rcode int) string {
	if rcode == dns.RcodeBadVers {
		return "BADVERS" // the library has a signature's meaning of 16
	}
	if s, ok := dns.RcodeToString[rcode]; ok {
		return s
	}
	return fmt.Sprint(rcode)
}
