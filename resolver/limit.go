package resolver

import (
	"hash/maphash"
	"net/netip"
	"time"

	"weir/audit"
	"weir/resolver/wire"
)

// Limits bounds what one client may have. Zero values are no limit.
//
// The rates are for addresses that may be forged: a connection or a cookie
// proves that a client is where it says, and what it may have in flight is
// bounded.
type Limits struct {
	Rate      int  // queries a second
	Burst     int  // at once after a silence; 0 means Rate
	Over      Over // what a query beyond Rate gets
	Responses int  // answers about one name and of one kind, a second

	// Amplification is how many octets a second answers may have beyond one and a
	// half times their queries, and four times as many at once.
	Amplification int

	// The length of the prefix that is one client, of each family; 0 means 32
	// and 64.
	PrefixV4, PrefixV6 int

	// Cookies gives cookies to those who ask for them (RFC 7873).
	// CookieSecrets are up to two secrets for them, of which the first makes new
	// ones; without any there is a new one each day.
	Cookies       bool
	CookieSecrets []wire.CookieSecret

	Waiting int           // queries that wait for upstreams
	Late    time.Duration // a UDP client gets no answer that has taken longer (CVE-2024-33655)
}

// Over is what a query beyond the rate gets.
type Over uint8

// OverTruncate is an empty answer with TC set: a client that is where it says
// comes back over TCP. OverRefuse is REFUSED, OverDrop silence.
const (
	OverTruncate Over = iota
	OverDrop
	OverRefuse
)

const amplificationBurst = 4 // seconds' worth at once

// limits is a Limits as the query path reads it. It refers to no state, which an
// idle goroutine would keep in memory.
type limits struct {
	Limits
	rate, responses, amplification       quota
	byRate, byResponses, byAmplification uint32 // reasons in the audit log
}

func newLimits(l Limits, log *audit.Log) *limits {
	if l.Burst == 0 {
		l.Burst = l.Rate
	}
	if l.PrefixV4 == 0 {
		l.PrefixV4 = 32
	}
	if l.PrefixV6 == 0 {
		l.PrefixV6 = 64
	}
	return &limits{
		Limits: l, rate: newQuota(l.Rate, l.Burst), responses: newQuota(l.Responses, l.Responses),
		amplification:   newQuota(l.Amplification, amplificationBurst*l.Amplification),
		byRate:          log.Intern(audit.Reason{Rule: "rate limit"}),
		byResponses:     log.Intern(audit.Reason{Rule: "response limit"}),
		byAmplification: log.Intern(audit.Reason{Rule: "amplification limit"}),
	}
}

// client is the first address of the prefix that counts as one client.
func (l *limits) client(a netip.Addr) netip.Addr {
	bits := l.PrefixV6
	if a.Is4() {
		bits = l.PrefixV4
	}
	p, _ := a.Prefix(bits) // fails for no length that the configuration lets pass
	return p.Addr()
}

// limiter is what the resolver remembers of its clients' rates.
type limiter struct {
	seed    maphash.Seed
	clients buckets // of queries, by client
	answers buckets // by client, name and kind
	excess  buckets // of octets beyond what amplifies nothing, by client
}

// key is what a client's buckets go by.
func (l *limiter) key(client netip.Addr) uint64 {
	a := client.As16()
	return maphash.Bytes(l.seed, a[:])
}

// slips is of how many answers beyond the limit one goes out, cut: a client
// whose address another one forges needs a way to be heard.
const slips = 2

// allowed says whether the client may ask once more.
func (r *Resolver) allowed(s *scratch, from *origin) bool {
	l := s.limits
	if s.proven || l.rate.each == 0 {
		return true
	}
	if r.limits.clients.take(r.limits.key(l.client(from.client)), from.mono, l.rate, 1) {
		return true
	}
	r.limited.Add(1)
	return false
}

// overRate answers a query beyond its client's rate, as configured, but with
// BADCOOKIE where the client can do something about it (RFC 7873 §5.2.3).
func (r *Resolver) overRate(s *scratch, msg []byte, from *origin) []byte {
	s.event.Source, s.event.Reason = audit.SourceRefused, s.limits.byRate
	if s.cookie != nil {
		return r.finish(s, msg, from, &replyEmpty, wire.Finish{Rcode: wire.RcodeBadCookie})
	}
	switch s.limits.Over {
	case OverDrop:
		return r.drop(s)
	case OverRefuse:
		return r.finish(s, msg, from, &replyRefused, wire.Finish{})
	}
	return r.finish(s, msg, from, &replyCut, wire.Finish{})
}

// drop records the query and says nothing.
func (r *Resolver) drop(s *scratch) []byte {
	s.event.Dropped = true
	r.record(s)
	return nil
}

// tooAlike says whether a client, or who forges its address, has been told the
// same too often of late. What is the same is a name with an answer or without
// one, and any failure, whatever the name.
func (r *Resolver) tooAlike(s *scratch, from *origin, rcode uint16) bool {
	l := s.limits
	if s.proven || l.responses.each == 0 {
		return false
	}
	key := r.limits.key(l.client(from.client)) + uint64(rcode)
	if rcode == wire.RcodeSuccess || rcode == wire.RcodeNXDomain {
		key ^= maphash.Bytes(r.limits.seed, s.query.Name())
	}
	return !r.limits.answers.take(key, from.mono, l.responses, 1)
}

// amplifies says whether the answer in s.out, to a query of so many octets, is more
// than may go to an address that another one may have given for its own. An answer
// that is at most half as long again as its query is no use to who does, and costs
// nothing here. The loopback addresses come from this machine alone.
func (r *Resolver) amplifies(s *scratch, query int, from *origin) bool {
	excess := len(s.out) - query - query/2
	l := s.limits
	if excess <= 0 || s.proven || l.amplification.each == 0 || from.client.IsLoopback() {
		return false
	}
	return !r.limits.excess.take(r.limits.key(l.client(from.client)), from.mono, l.amplification, excess)
}

// cutAmplified puts in the place of the answer in s.out what makes a client that is
// where it says come back over TCP. A verdict keeps its own reason.
func (r *Resolver) cutAmplified(s *scratch, msg []byte, f wire.Finish) {
	r.amplified.Add(1)
	f.EDE, f.Rcode = nil, 0
	s.out = replyCut.Append(s.out[:0], msg, &s.query, f)
	s.event.Source, s.event.Rcode, s.event.EDE = audit.SourceRefused, 0, -1
	if !s.event.Blocked {
		s.event.Reason = s.limits.byAmplification
	}
}

// tooLate says whether an answer from upstream has taken so long that its client
// asks again anyway: many of them, held back by a slow server and let go at
// once, would be a burst on whoever's address was forged. A failure is as small
// as its question, and said.
func (s *scratch) tooLate() bool {
	l := s.limits.Late
	return l > 0 && !s.proven && s.event.Duration > int64(l) && s.event.Source != audit.SourceError
}

// suppress records an answer that is not sent because it is too much like others.
// A verdict keeps its own reason.
func (r *Resolver) suppress(s *scratch) []byte {
	s.event.Source = audit.SourceRefused
	if !s.event.Blocked {
		s.event.Reason = s.limits.byResponses
	}
	return r.drop(s)
}

// replyCut tells a client to come back over TCP.
var replyCut = wire.Reply{Partial: true}
