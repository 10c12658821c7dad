package resolver

import (
	"net/netip"
	"slices"
	"strings"

	"weir/blocklist"
	"weir/resolver/cache"
	"weir/resolver/wire"
)

// Account says what the query path does with a question, for people to read.
// It is derived without asking anyone, so what an alias or an address in an
// upstream's answer changes it can only tell of an answer that is in memory.
type Account struct {
	blocklist.Explanation
	Blocked  bool
	Fact     string       // the alias or address in the answer that decided; empty when none did
	Entry    string       // that covers Fact: "track.example", "192.0.2.0/24"
	Hops     []string     // aliases on the way to Fact
	Held     bool         // Fact is of an answer that memory holds
	Removed  bool         // addresses like Fact are taken out of the answer, which else goes its way
	Safe     string       // the host of a search engine that the answer leads to instead; empty for none
	DNS64    netip.Prefix // by which an answer without an IPv6 address is translated; the zero value is none
	Refused  bool         // the client is not in Access
	Answer   string       // that this server makes up: "NXDOMAIN", "0.0.0.0", "no answer at all"
	EDE      string       // text of the Extended DNS Error
	Zone     string       // the local zone that answers, as configured; empty is none
	Registry string       // what says that Zone is not asked elsewhere, if it is built in
	Hosts    string       // "FILE:LINE" of the hosts file that has the name
	Lease    string       // address of the lease that has the name
	Upstream string       // the group that is asked when memory has no answer; empty for a type that none is asked for
	Servers  []string     // of that group
}

// Explain follows the statements of the query path for one question. name is a
// wire name.
func (s *State) Explain(l *blocklist.Lookup) Account {
	name, qtype := l.Name, l.Type
	a := Account{Explanation: s.Policy.Explain(l)}
	a.Refused = !s.Access.Contains(a.Client)
	zone := s.Local.zoneFor(name, qtype)
	a.Blocked = !a.Refused && a.Outcome.Verdict == blocklist.Block && (zone == nil || a.Outcome.By != blocklist.ByDefault)
	switch {
	case a.Refused:
	case a.Blocked:
		a.sink(s, qtype)
	case zone != nil:
		a.local(zone, name)
		if a.Observed != nil && a.Observed.By == blocklist.ByDefault {
			a.Observed = nil // see answer
		}
	default:
		if rep := unforwardable(&wire.Query{Type: qtype, Class: wire.ClassINET}); rep != nil {
			a.Answer = rcodeName(int(rep.Rcode))
			break
		}
		q := wire.Query{Type: qtype, Class: wire.ClassINET}
		q.Set(name, 0)
		if rep := s.wellKnown(&q, a.Decision.PolicyIndex); rep != nil {
			a.Answer, a.DNS64 = describe(rep, qtype), s.translation(a.Decision.PolicyIndex).prefix
			break
		}
		by := detour{a.Decision.Rewrite, s.translates(&q, a.Decision.PolicyIndex)}
		name = by.askedFor(&q)
		if by.rewrite != 0 {
			a.Safe = blocklist.NameString(name)
		}
		if by.dns64 != nil {
			a.DNS64 = by.dns64.prefix
		}
		g := s.Routes.Route(routed(name, qtype))
		a.Upstream = g.Name()
		for _, st := range g.Stats().Servers {
			a.Servers = append(a.Servers, st.Server)
		}
	}
	return a
}

// local says why a name of zone is answered here.
func (a *Account) local(zone *localZone, name []byte) {
	a.Zone = strings.TrimSuffix(presentation(zone.apex), ".")
	if zone.builtin != nil {
		a.Registry = zone.builtin.ref
	}
	n := zone.lookup(name)
	if n == nil || n.from == "" {
		return
	}
	if _, err := netip.ParseAddr(n.from); err == nil {
		a.Lease = n.from
	} else {
		a.Hosts = n.from
	}
}

// sink says what a blocked client is told.
func (a *Account) sink(s *State, qtype uint16) {
	a.Answer = s.Sinkhole.describe(a.Outcome.Answer, qtype)
	a.EDE = blockedText(a.Outcome)
}

// Explain is s.Explain, and judges the answer to the question that memory holds.
func (r *Resolver) Explain(s *State, l *blocklist.Lookup) Account {
	a := s.Explain(l)
	if a.Upstream == "" {
		return a // no answer from elsewhere is given
	}
	if e := r.known(s, l, a.Decision); e != nil {
		a.Held = true
		a.judge(s, l, &e.Facts)
	}
	return a
}

// ExplainAnswer is Explain for an answer with these facts.
func (s *State) ExplainAnswer(l *blocklist.Lookup, f *blocklist.Facts) Account {
	a := s.Explain(l)
	if a.Upstream != "" {
		a.judge(s, l, f)
	}
	return a
}

// FactsOf returns the facts of an answer to a question of a type: wire names
// and addresses that it leads to. The names are aliases, or for the types whose
// records hold names, what those lead to.
func FactsOf(qtype uint16, names [][]byte, addrs []netip.Addr) *blocklist.Facts {
	f := &blocklist.Facts{Aliases: names}
	if slices.Contains(blocklist.TargetTypes, qtype) {
		f.Aliases, f.Targets = nil, names
	}
	for _, addr := range addrs {
		noteAddr(f, addr.AsSlice(), nil)
	}
	return f
}

// judge says what the answer makes of a question that was allowed.
func (a *Account) judge(s *State, l *blocklist.Lookup, f *blocklist.Facts) {
	d := s.Policy.DecideFacts(l, a.Decision, f)
	if d.Remove&blocklist.RemoveAddresses != 0 && s.bare(l, d, f) {
		d.Verdict = blocklist.Block
	}
	all := s.Policy.Outcomes()
	if d.Observed != 0 && d.Observed != a.Decision.Observed {
		a.Observed = &all[d.Observed]
		a.fact(f, d.ObservedOn, d.ObservedAlias, d.ObservedOff, d.ObservedScope)
	}
	a.Removed = d.Verdict != blocklist.Block && d.Remove&blocklist.RemoveAddresses != 0
	if d.Verdict == blocklist.Block || a.Removed {
		a.fact(f, d.On, d.Alias, d.Off, d.Scope)
	}
	a.Decision, a.Outcome = d, all[d.Outcome]
	if d.Verdict == blocklist.Block {
		a.Blocked, a.Upstream, a.Servers = true, "", nil
		a.sink(s, l.Type)
		switch d.On {
		case blocklist.OnAlias:
			a.Never = s.Policy.NeverExcepted(f.Name(int(d.Alias)), l.Type)
		case blocklist.OnAddress:
			a.Never = s.Policy.NeverExceptedAddr(f.Addrs[d.Alias])
		}
	}
}

// fact says which name or address of an answer decided, and by which entry.
func (a *Account) fact(f *blocklist.Facts, on blocklist.MatchedOn, which uint16, off uint8, scope blocklist.Scope) {
	switch on {
	case blocklist.OnAlias:
		alias := f.Name(int(which))
		a.Fact, a.Entry = blocklist.NameString(alias), blocklist.Entry(alias, off, scope)
		for i := range min(int(which), len(f.Aliases)) {
			a.Hops = append(a.Hops, blocklist.NameString(f.Aliases[i]))
		}
	case blocklist.OnAddress:
		addr := f.Addrs[which].Unmap()
		a.Fact, a.Entry = addr.String(), addr.String()
		if network, err := addr.Prefix(int(off)); err == nil && !network.IsSingleIP() {
			a.Entry = network.String()
		}
	}
}

// known returns an answer to the question that memory holds, whatever flags it
// was asked with.
func (r *Resolver) known(s *State, l *blocklist.Lookup, d blocklist.Decision) *cache.Entry {
	for flags := range 4 {
		q := wire.Query{Type: l.Type, Class: wire.ClassINET, DO: flags&1 != 0, CD: flags&2 != 0}
		q.Set(l.Name, 0)
		detour{d.Rewrite, s.translates(&q, d.PolicyIndex)}.mark(&q)
		if e := r.cache.Peek(q.Key(), r.mono()); e != nil {
			return e
		}
	}
	return nil
}

// describe says what reply would be.
func (s *Sinkhole) describe(k blocklist.Answer, t uint16) string {
	return describe(s.reply(k, t, wire.ClassINET), t)
}

// describe says what a reply is to a question of type t that was made up here.
func describe(r *wire.Reply, t uint16) string {
	switch {
	case r == nil:
		return "no answer at all"
	case r.Rcode == wire.RcodeNXDomain:
		return "NXDOMAIN"
	case r.Rcode == wire.RcodeRefused:
		return "REFUSED"
	case r.An == 0:
		return "NODATA"
	}
	var addrs []string
	size := 4
	if t == wire.TypeAAAA {
		size = 16
	}
	for _, off := range r.TTLs {
		addr, _ := netip.AddrFromSlice(r.Tail[int(off)+6:][:size])
		addrs = append(addrs, addr.String())
	}
	return strings.Join(addrs, ", ")
}
