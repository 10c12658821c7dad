package blocklist

import (
	"net/netip"
	"sync/atomic"
)

// Facts are what policies judge in an answer, beside the name that was asked for. They are the same for everybody, and
// must not be changed after the first decision on them.
type Facts struct {
	Aliases [][]byte     // wire names: CNAME, DNAME and SVCB/HTTPS targets
	Targets [][]byte     // wire names that records of the type asked for lead to, if it is one of TargetTypes
	Addrs   []netip.Addr // A, AAAA, and hints in SVCB and HTTPS records; after an IPv6 address the IPv4 one that it carries
	ECH     bool         // a record has "ech" (RFC 9848)
	Hints   bool         // a record has address hints (RFC 9460 §7.3)

	sight atomic.Pointer[sight] // what the tables asked last know of them
}

// Same returns the same facts, for an answer that is made of another.
func (f *Facts) Same() Facts {
	return Facts{Aliases: f.Aliases, Targets: f.Targets, Addrs: f.Addrs, ECH: f.ECH, Hints: f.Hints}
}

// Empty says whether there is nothing to judge.
func (f *Facts) Empty() bool { return len(f.Aliases)+len(f.Targets)+len(f.Addrs) == 0 && !f.ECH }

// Name returns alias i, counting the targets behind the aliases.
func (f *Facts) Name(i int) []byte {
	if i < len(f.Aliases) {
		return f.Aliases[i]
	}
	return f.Targets[i-len(f.Aliases)]
}

// TargetTypes are the types whose records lead to other names, which rules may ask to be judged: PTR, MX, SRV, NAPTR.
var TargetTypes = []uint16{12, 15, 33, 35}

// DecideFacts returns what becomes of d, the verdict of this Policy's Decide on l, in view of the answer. An allow
// becomes a block when a block rule names an alias or, with Targets, a target by category or domain, or an address by a
// network, and no allow rule before it covers that one; and when an address is one of a private network, which no allow
// rule names. With Strip such addresses are removed instead. The default never applies. With TrustAllowed an explicit
// allow of the asked name stands, but for private addresses. Where an exception let the name pass, only what is in a
// category with NeverExcept still counts. Decision.Alias counts targets behind the aliases. It does not allocate.
func (p *Policy) DecideFacts(l *Lookup, d Decision, f *Facts) Decision {
	if d.Verdict == Block || f.Empty() {
		return d
	}
	pol := &p.policies[d.PolicyIndex]
	if pol.cfg.Observe && d.Observed != 0 && d.Outcome == pol.watching {
		return d // it would not have come this far
	}
	if !p.unlisted(f) && p.judgeAll(pol, l, &d, f) {
		pol.enforce(&d)
		return d
	}
	if pol.cfg.StripECH && f.ECH && !pol.cfg.Observe {
		d.Remove |= RemoveECH
	}
	if pol.cfg.StripHints && f.Hints && !pol.cfg.Observe {
		d.Remove |= RemoveHints
	}
	return d
}

// judgeAll says whether pol blocks the answer for a name or an address in it, and writes that, or what is to be removed
// or was observed, into d.
func (p *Policy) judgeAll(pol *policy, l *Lookup, d *Decision, f *Facts) bool {
	excepted := p.outcomes[d.Outcome].By == ByException
	trusted := pol.cfg.TrustAllowed && d.On == OnName && !excepted
	if !trusted {
		for i, alias := range f.Aliases {
			if p.judge(pol, l, d, alias, i, excepted) {
				return true
			}
		}
		for _, t := range pol.targets {
			if t.qtype != l.Type {
				continue
			}
			for i, target := range f.Targets {
				if p.judge(&p.policies[t.policy], l, d, target, len(f.Aliases)+i, excepted) {
					return true
				}
			}
		}
	}
	for i, addr := range f.Addrs {
		o, bits := p.offence(pol, l, d, addr, i, excepted, trusted)
		if o == 0 {
			continue
		}
		strips := pol.cfg.Strip && !pol.cfg.Observe
		d.Outcome, d.Alias, d.On, d.Off, d.Scope = o, uint16(i), OnAddress, bits, Self
		if !strips {
			d.Verdict = Block
			return true
		}
		d.Remove |= RemoveAddresses
		break
	}
	return false
}

// judge says whether a rule of pol blocks a name that the answer leads to, number i of them, and writes that into d.
func (p *Policy) judge(pol *policy, l *Lookup, d *Decision, name []byte, i int, excepted bool) bool {
	if excepted && p.NeverExcepted(name, l.Type) == "" {
		return false
	}
	var s suffixes
	p.begin(&s, name)
	r := newReading(pol, l.Type)
	p.read(&r, &s)
	decided := &r.decided
	blocks := decided.by.value != 0 && decided.verdict == Block
	observes := d.Observed == 0 && r.observed.by.value != 0 && r.observed.rule < decided.rule
	if !blocks && !observes {
		return false
	}
	if p.exceptions != nil {
		if e, _ := p.excepted(&s, l); e != nil {
			return false
		}
	}
	if observes {
		d.Observed, d.ObservedAlias = r.observed.outcome, uint16(i)
		d.ObservedOn, d.ObservedOff, d.ObservedScope = p.entry(&r.observed, OnAlias)
	}
	if !blocks {
		return false
	}
	d.Outcome, d.Verdict, d.Alias = decided.outcome, Block, uint16(i)
	d.On, d.Off, d.Scope = p.entry(decided, OnAlias)
	return true
}

// offence returns the outcome by which address number i of the answer must not reach the client, and how long the
// prefix is that says so; 0 when it may. What an observe rule would say goes into d.
func (p *Policy) offence(pol *policy, l *Lookup, d *Decision, addr netip.Addr, i int, excepted, trusted bool) (outcome uint32, bits uint8) {
	if !p.blocks.has(addr) || excepted && p.NeverExceptedAddr(addr) == "" {
		return 0, 0
	}
	var set, own uint32
	if pol.lists {
		set = p.lists.networks.find(addr)
	}
	if pol.owns {
		own = p.addresses.find(addr)
	}
	if pol.byNetworks[set]|pol.byInline[own] != 0 {
		r := p.readAddr(pol, l.Type, set, own)
		if f := &r.observed; !trusted && d.Observed == 0 && f.by.value != 0 && f.rule < r.decided.rule {
			d.Observed, d.ObservedAlias = f.outcome, uint16(i)
			d.ObservedOn, d.ObservedOff, d.ObservedScope = OnAddress, f.by.off, Self
		}
		if f := &r.decided; f.by.value != 0 {
			if f.verdict == Allow {
				return 0, 0 // an allow rule names the network
			}
			if !trusted {
				return f.outcome, f.by.off
			}
		}
	}
	if !pol.cfg.Rebinding || excepted {
		return 0, 0
	}
	if bits = private(addr); bits == 0 || p.mayBePrivate(pol, l.Name, addr) {
		return 0, 0
	}
	return pol.rebinding, bits
}

// readAddr reads the rules of one policy for one address, by the sets that hold it. In what was found, off is the length of
// the prefix that matched, and value is not 0.
func (p *Policy) readAddr(pol *policy, qtype uint16, set, own uint32) reading {
	r := newReading(pol, qtype)
	r.take(pol.always, hit{off: noEntry})
	r.take(pol.byNetworks[set], hit{value: set})
	r.take(pol.byInline[own], hit{value: own, bits: inline})
	for _, f := range [...]*found{&r.decided, &r.observed} {
		if f.by.value != 0 {
			nets := p.lists.networks
			if f.by.bits&inline != 0 {
				nets = p.addresses
			}
			f.by.off = nets.bits(f.by.value, p.listOf[f.outcome])
		}
	}
	return r
}

// Offends says whether Strip removes the address from the answer to l, of which d is the decision.
func (p *Policy) Offends(l *Lookup, d Decision, addr netip.Addr) bool {
	pol := &p.policies[d.PolicyIndex]
	named := p.Decide(l)
	excepted := p.outcomes[named.Outcome].By == ByException
	trusted := pol.cfg.TrustAllowed && named.On == OnName && !excepted
	o, _ := p.offence(pol, l, &d, addr, 0, excepted, trusted)
	return o != 0
}

// privateNetworks are all that private knows.
var privateNetworks = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("fc00::/7"),
}

// private returns how long the prefix is of the network of loopback, private, link-local, unique local or unspecified
// addresses that holds addr, 0 when none does (RFC 1918, 3927, 4193, 4291, 6890).
func private(addr netip.Addr) uint8 {
	addr = addr.Unmap()
	if addr.Is4() {
		switch a := addr.As4(); {
		case a[0] == 10, a[0] == 127, a[0] == 0:
			return 8
		case a[0] == 192 && a[1] == 168, a[0] == 169 && a[1] == 254:
			return 16
		case a[0] == 172 && a[1]&0xf0 == 16:
			return 12
		}
		return 0
	}
	switch {
	case addr.IsLoopback(), addr.IsUnspecified():
		return 128
	case addr.IsLinkLocalUnicast():
		return 10
	case addr.IsPrivate():
		return 7
	}
	return 0
}

// mayBePrivate says whether the policy lets name have this private address.
func (p *Policy) mayBePrivate(pol *policy, name []byte, addr netip.Addr) bool {
	for _, prefix := range pol.harmless {
		if prefix.Contains(addr.Unmap()) {
			return true
		}
	}
	var offs [128]uint8
	for i := range max(labels(name, &offs), 0) {
		scope := Below
		if i == 0 {
			scope = Self
		}
		if pol.notPublic[string(name[offs[i]:])]&scope != 0 {
			return true
		}
	}
	return false
}
