package resolver

import (
	"net/netip"
	"strings"

	"weir/blocklist"
	"weir/resolver/wire"
)

// Account says what the query path does with a question, for people to read.
// It is derived without asking anyone, so it cannot tell what an alias in an
// upstream's answer would change.
type Account struct {
	blocklist.Explanation
	Blocked  bool
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
		a.Answer = s.Sinkhole.describe(a.Outcome.Answer, qtype)
		a.EDE = blockedText(a.Outcome)
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

// describe says what reply would be.
func (s *Sinkhole) describe(k blocklist.Answer, t uint16) string {
	r := s.reply(k, t)
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
