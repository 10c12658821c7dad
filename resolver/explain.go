package resolver

import (
	"net/netip"
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
	Fact     string   // the alias or address in the answer that decided; empty when none did
	Entry    string   // that covers Fact: "track.example", "192.0.2.0/24"
	Refused  bool     // the client is not in Access
	Answer   string   // that this server makes up: "NXDOMAIN", "0.0.0.0", "no answer at all"
	EDE      string   // text of the Extended DNS Error
	Zone     string   // the local zone that answers, as configured; empty is none
	Upstream string   // the group that is asked when memory has no answer; empty for a type that none is asked for
	Servers  []string // of that group
}

// Explain follows the statements of the query path for one question. name is a
// wire name.
func (s *State) Explain(name []byte, qtype uint16, client netip.Addr) Account {
	a := Account{Explanation: s.Policy.Explain(name, qtype, client)}
	a.Refused = !s.Access.Contains(a.Client)
	zone := s.Local.find(name)
	a.Blocked = !a.Refused && a.Outcome.Verdict == blocklist.Block && (zone == nil || a.Outcome.Rule > 0)
	switch {
	case a.Refused:
	case a.Blocked:
		a.sink(s, qtype)
	case zone != nil:
		a.Zone = strings.TrimSuffix(presentation(zone.apex), ".")
	default:
		if rep := unforwardable(&wire.Query{Type: qtype, Class: wire.ClassINET}); rep != nil {
			a.Answer = rcodeName(int(rep.Rcode))
			break
		}
		g := s.Routes.Route(routed(name, qtype))
		a.Upstream = g.Name()
		for _, st := range g.Stats() {
			a.Servers = append(a.Servers, st.Server)
		}
	}
	return a
}

// sink says what a blocked client is told.
func (a *Account) sink(s *State, qtype uint16) {
	a.Answer = s.Sinkhole.describe(a.Outcome.Answer, qtype)
	a.EDE = blockedText(a.Outcome)
}

// Explain is s.Explain, and judges the answer to the question that memory holds.
func (r *Resolver) Explain(s *State, name []byte, qtype uint16, client netip.Addr) Account {
	a := s.Explain(name, qtype, client)
	if a.Upstream == "" {
		return a // no answer from elsewhere is given
	}
	e := r.known(name, qtype)
	if e == nil {
		return a
	}
	d := s.Policy.DecideFacts(a.Decision, e.Aliases, e.Addrs, qtype)
	if d.Verdict != blocklist.Block {
		return a
	}
	switch d.On {
	case blocklist.OnAlias:
		alias := e.Aliases[d.Alias]
		a.Fact, a.Entry = blocklist.NameString(alias), blocklist.Entry(alias, d.Off, d.Scope)
	case blocklist.OnAddress:
		addr := e.Addrs[d.Alias].Unmap()
		a.Fact, a.Entry = addr.String(), addr.String()
		if network, err := addr.Prefix(int(d.Off)); err == nil && !network.IsSingleIP() {
			a.Entry = network.String()
		}
	}
	a.Decision, a.Outcome = d, s.Policy.Outcomes()[d.Outcome]
	a.Blocked, a.Upstream, a.Servers = true, "", nil
	a.sink(s, qtype)
	return a
}

// known returns an answer to the question that memory holds, whatever flags it
// was asked with.
func (r *Resolver) known(name []byte, qtype uint16) *cache.Entry {
	for flags := range 4 {
		q := wire.Query{Type: qtype, Class: wire.ClassINET, DO: flags&1 != 0, CD: flags&2 != 0}
		q.Set(name, 0)
		if e := r.cache.Peek(q.Key(), r.mono()); e != nil {
			return e
		}
	}
	return nil
}

// describe says what reply would be.
func (s *Sinkhole) describe(k blocklist.Answer, t uint16) string {
	r := s.reply(k, t, wire.ClassINET)
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
