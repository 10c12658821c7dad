package blocklist

import (
	"fmt"
	"net/netip"
	"slices"
)

// answered is an answer, as far as policies judge it.
type answered struct {
	aliases, targets []string
	addrs            []netip.Addr
	ech, hints       bool
}

func (a *answered) facts() *Facts {
	f := &Facts{Addrs: a.addrs, ECH: a.ech, Hints: a.hints}
	for _, alias := range a.aliases {
		f.Aliases = append(f.Aliases, []byte(alias))
	}
	for _, target := range a.targets {
		f.Targets = append(f.Targets, []byte(target))
	}
	return f
}

// decideFacts is Policy.DecideFacts by reading what is written.
func (w *world) decideFacts(q question, s said, a answered) said {
	p, _ := w.of(q.client)
	if s.Verdict == Block || s.Why.By == ByMode {
		return s // there is no answer, or would be none
	}
	names := slices.Concat(a.aliases, a.targets)
	for i, name := range names {
		rules := w.rules(p)
		if i >= len(a.aliases) {
			rules = w.targetRules(p, q.qtype)
		}
		if trusts(p, s) || s.Why.By == ByException && w.never(name, q.qtype) == "" || w.excepted(q, name) != nil {
			continue
		}
		decided, observed := w.read(rules, name, q.qtype)
		if !s.WouldBlock && observed.named {
			s.observe(observed.why(OnAlias, i))
		}
		if decided.named && decided.action == ActionBlock {
			s.block(p, decided.why(OnAlias, i))
			return s
		}
	}
	for i, addr := range a.addrs {
		by, observed := w.offence(q, s, addr)
		if !s.WouldBlock && observed.named {
			s.observe(observed.why(OnAddress, i))
		}
		if !by.named {
			continue
		}
		if p.Strip && !p.Observe {
			s.Why, s.Remove = by.why(OnAddress, i), s.Remove|RemoveAddresses
			break
		}
		s.block(p, by.why(OnAddress, i))
		return s
	}
	if p.StripECH && a.ech && !p.Observe {
		s.Remove |= RemoveECH
	}
	if p.StripHints && a.hints && !p.Observe {
		s.Remove |= RemoveHints
	}
	return s
}

// trusts says whether the policy trusts whatever the asked name leads to: a rule allows just that name.
func trusts(p *PolicyConfig, s said) bool {
	return p.TrustAllowed && s.Why.By == ByRule && s.Why.On == OnName
}

// offence says by what an address must not reach the client, when it is named, and which observe rule has it.
func (w *world) offence(q question, s said, addr netip.Addr) (by, observed naiveMatch) {
	p, _ := w.of(q.client)
	excepted := s.Why.By == ByException
	if excepted && !w.neverAddr(addr) {
		return by, observed
	}
	decided := naiveMatch{}
	for _, r := range w.rules(p) {
		m, ok := w.matchesAddr(r, addr, q.qtype)
		if ok && r.Action == ActionObserve && observed.by == ByDefault {
			observed = m
		}
		if ok && r.Action != ActionObserve {
			decided = m
			break
		}
	}
	if trusts(p, s) {
		observed = naiveMatch{}
	}
	switch {
	case decided.named && decided.action == ActionAllow:
		return by, observed
	case decided.named && !trusts(p, s):
		return decided, observed
	case !p.Rebinding || excepted || w.mayBePrivate(p, q.name, addr):
		return by, observed
	}
	if bits, ok := naivePrivate(addr); ok {
		by = naiveMatch{by: ByRebinding, off: bits, scope: Self, named: true}
	}
	return by, observed
}

// matchesAddr reads one rule's conditions for one address.
func (w *world) matchesAddr(r naiveRule, addr netip.Addr, qtype uint16) (naiveMatch, bool) {
	best := naiveMatch{by: r.by, rule: r.number, action: r.Action, off: -1, scope: Self}
	if !w.awake(r, qtype) {
		return best, false
	}
	for _, prefix := range r.Networks {
		if prefix, _ = unmapped(prefix); prefix.Contains(addr.Unmap()) && prefix.Bits() > best.off {
			best.off, best.named = prefix.Bits(), true
		}
	}
	covers := naiveCovering(w.networks, addr)
	if best.named {
		covers = nil // its own networks come first
	}
	for _, category := range r.Categories {
		for _, list := range w.category(category).lists {
			for _, cover := range covers {
				if w.holders[cover.list].list == list && int(cover.bits) > best.off {
					best.off, best.named = int(cover.bits), true
					best.category, best.list = category, fmt.Sprint("list", list)
				}
			}
		}
	}
	return w.orEverything(r, best)
}

// neverAddr says whether a category that is never excepted holds the address.
func (w *world) neverAddr(addr netip.Addr) bool {
	for _, cover := range naiveCovering(w.networks, addr) {
		for _, c := range w.categories {
			if c.never && slices.Contains(c.lists, w.holders[cover.list].list) {
				return true
			}
		}
	}
	return false
}

// naivePrivate returns how long the prefix of a private network is that holds addr.
func naivePrivate(addr netip.Addr) (bits int, ok bool) {
	for _, text := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
		"::/128", "::1/128", "fe80::/10", "fc00::/7",
	} {
		if prefix := netip.MustParsePrefix(text); prefix.Contains(addr.Unmap()) {
			return prefix.Bits(), true
		}
	}
	return 0, false
}

// mayBePrivate says whether a name may have an address although it is private.
func (w *world) mayBePrivate(p *PolicyConfig, name string, addr netip.Addr) bool {
	for _, prefix := range p.Harmless {
		if prefix, _ = unmapped(prefix); prefix.Contains(addr.Unmap()) {
			return true
		}
	}
	own := ownEntries(naiveRule{RuleConfig: &RuleConfig{Domains: p.NotPublic}})
	return len(naiveLists(own, name)) > 0
}
