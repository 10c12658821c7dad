package resolver

import (
	"math/rand/v2"
	"net/netip"

	"weir/audit"
	"weir/blocklist"
	"weir/resolver/cache"
	"weir/resolver/wire"
)

// origin is where a query came from and how its reply gets back.
type origin struct {
	peer    netip.AddrPort // as the socket knows it
	client  netip.Addr     // its address without zone, IPv4 in IPv4 form
	local   netip.Addr     // the address asked; set where the socket has several
	ifindex uint32         // IPv6: the interface that replies leave by; 0 leaves it to the routes
	over    audit.Transport
	back    returner
	wall    int64 // arrival, nanoseconds since 1970 UTC
	mono    int64 // arrival on the resolver's own clock, nanoseconds

	excluded bool // the query is not to be recorded: a reply that a flight sends does not wait for that
}

// A returner sends the reply of a flight to where the query came from; a nil
// reply means that there will be none. It may be called from any goroutine,
// must not keep reply and must not wait for the client, for others wait behind
// it; errors are its own to count.
type returner interface {
	send(to *origin, reply []byte)
}

// scratch is what one goroutine needs to answer a query without allocating.
type scratch struct {
	query wire.Query
	event audit.Event
	out   []byte

	limits *limits // in force for the query
	cookie []byte  // option for the reply, in room; nil is none
	room   [wire.CookieSize]byte
	good   bool // the query's server cookie is one of ours
	proven bool // the client is at the address it seems to be at

	waiting  bool // the reply will be sent by a flight
	recorded bool // the log was told of the query
	excluded bool // and does not keep it
}

// answer is the query path. It returns the reply to msg, in s.out, or nil when
// none is to be sent now: the packet deserves none, or a flight will send it.
// got is the answer from elsewhere when the path is run again, for a flight that
// has landed or with one that is stale; a query that has just arrived has none.
func (r *Resolver) answer(s *scratch, msg []byte, from *origin, got *cache.Entry) []byte {
	q, ev := &s.query, &s.event
	*ev = audit.Event{Time: from.wall, Client: from.client, Transport: from.over, EDE: -1}
	st := r.state.Load()
	s.limits, s.cookie, s.good, s.proven = st.limits, nil, false, from.over != audit.UDP
	s.waiting, s.recorded, s.excluded = false, false, false
	ev.Revision = st.Revision
	noteArrival(ev, msg, from)
	admission := wire.Admit(msg)
	switch admission {
	case wire.Ignore:
		return r.ignore(s)
	case wire.Malformed:
		return r.reject(s, msg, from, wire.RcodeFormErr)
	case wire.Unsupported:
		return r.reject(s, msg, from, wire.RcodeNotImp)
	case wire.Notify:
		return r.notify(s, msg, from)
	case wire.Bare:
		if !s.limits.Cookies || !q.ParseBare(msg) {
			return r.reject(s, msg, from, wire.RcodeFormErr)
		}
	case wire.Accept:
		if q.Parse(msg) != nil && decodeOdd(q, msg) != nil {
			return r.reject(s, msg, from, wire.RcodeFormErr)
		}
		ev.Name, ev.Type, ev.Class = q.Name(), q.Type, q.Class
	}
	noteEDNS(ev, q)
	if !r.cookie(s, from) {
		return r.reject(s, msg, from, wire.RcodeFormErr)
	}
	if got == nil && !r.allowed(s, from) {
		return r.overRate(s, msg, from)
	}
	if !st.Access.Contains(from.client) {
		ev.Source = audit.SourceRefused
		return r.finish(s, msg, from, &replyRefused, wire.Finish{})
	}
	if q.Version > 0 {
		ev.Source = audit.SourceError
		return r.finish(s, msg, from, &replyEmpty, wire.Finish{Rcode: wire.RcodeBadVers})
	}
	if admission == wire.Bare {
		return r.bare(s, msg, from)
	}

	l := blocklist.Lookup{Name: q.Name(), Type: q.Type, Client: st.client(q, from), At: from.wall}
	d := st.Policy.Decide(&l)
	why := st.note(ev, d)
	if d.Verdict == blocklist.Block && !why.byDefault {
		return r.sink(s, msg, from, st, why)
	}
	if rep, ede := st.Local.reply(q); rep != nil {
		// What a local zone answers does not leave the network, so a default of
		// "block" does not concern it.
		ev.Blocked, ev.Source = false, audit.SourceLocal
		if st.outcomes[d.Observed].byDefault {
			ev.Observed = 0
		}
		if ede != nil {
			ev.EDE = edeOther
		}
		return r.finish(s, msg, from, rep, wire.Finish{EDE: ede})
	}
	if d.Verdict == blocklist.Block {
		return r.sink(s, msg, from, st, why)
	}
	if rep := unforwardable(q); rep != nil {
		ev.Source = audit.SourceRefused
		return r.finish(s, msg, from, rep, wire.Finish{})
	}
	if rep := st.wellKnown(q, d.PolicyIndex); rep != nil {
		ev.Source = audit.SourceLocal
		return r.finish(s, msg, from, rep, wire.Finish{})
	}
	by := detour{d.Rewrite, st.translates(q, d.PolicyIndex)}
	by.mark(q)
	if got != nil && !by.made(got) {
		got = nil // what stands in for the name has changed meanwhile
	}
	due := false
	if got != nil {
		ev.Source, ev.Duration = audit.SourceUpstream, r.mono()-from.mono
	} else {
		if got, due = r.cache.Get(q.Key(), from.mono); got == nil || got.Outage != 0 && st.outlived(q, got, by) {
			return r.miss(s, msg, from, by)
		}
		ev.Source = audit.SourceCache
	}
	switch {
	case got.Stale:
		r.outdated.Add(1)
		ev.Source = audit.SourceStale
	case got.Implied:
		ev.Source = audit.SourceCache
	}
	ev.Aliases, ev.Addrs, ev.Upstream = got.Names, got.Facts.Addrs, got.Upstream
	d = st.Policy.DecideFacts(&l, d, &got.Facts)
	if n := int(d.Alias); n >= audit.MaxAnswers { // the one that decided is kept
		if d.On == blocklist.OnAddress {
			ev.Addrs = ev.Addrs[n:]
		} else {
			ev.Aliases = got.Names[n:]
		}
		d.Alias = 0
	}
	if why = st.note(ev, d); d.Verdict == blocklist.Block {
		return r.sink(s, msg, from, st, why)
	}
	if due {
		r.refresh(q, by)
	}
	if d.Remove != 0 {
		return r.strip(s, msg, from, st, got, &l, d)
	}
	f := wire.Finish{Age: got.Age(from.mono)}
	if d.Rewrite != 0 {
		ev.EDE, f.EDE = edeForged, st.forged
	}
	if got.Failed {
		ev.Source = audit.SourceError
	}
	if got.EDE != nil {
		ev.EDE, f.EDE = got.EDECode, got.EDE
	}
	return r.finish(s, msg, from, &got.Reply, f)
}

// client is who asked q: an address, and the hardware address if one told it
// whose word counts.
func (st *State) client(q *wire.Query, from *origin) blocklist.Client {
	who := blocklist.Client{Addr: from.client}
	if st.Tellers != nil && q.EDNS && st.Tellers.Contains(from.client) {
		who.MAC = q.MAC
	}
	return who
}

// note writes the decision d into the event and returns its outcome.
func (st *State) note(ev *audit.Event, d blocklist.Decision) *outcome {
	why := &st.outcomes[d.Outcome]
	ev.Blocked, ev.Group = d.Verdict == blocklist.Block, st.groups[d.Group]
	ev.Reason = why.reason
	ev.Observed = st.outcomes[d.Observed].reason
	ev.On, ev.EntryOff, ev.EntryScope, ev.EntryAlias = uint8(d.On), d.Off, uint8(d.Scope), uint8(d.Alias)
	return why
}

// sink answers a blocked question.
func (r *Resolver) sink(s *scratch, msg []byte, from *origin, st *State, why *outcome) []byte {
	s.event.Source = audit.SourceSinkhole
	rep := st.Sinkhole.reply(why.answer, s.query.Type, s.query.Class)
	if rep == nil {
		return r.drop(s)
	}
	s.event.EDE = edeBlocked
	return r.finish(s, msg, from, rep, wire.Finish{EDE: why.ede})
}

// finish joins a reply with what the asker sent, records the query and returns
// the packet, or nil if it is too late or the client has been told the same too
// often. It is cut where it would be more than may go to an address that may be
// forged. Where the log must be complete and cannot be, the answer is SERVFAIL
// instead.
func (r *Resolver) finish(s *scratch, msg []byte, from *origin, rep *wire.Reply, f wire.Finish) []byte {
	f.Limit, f.Cookie = wire.MaxTCP, s.cookie
	if r.cfg.Rotate {
		f.Turn = rand.Uint32()
	}
	if from.over == audit.UDP {
		f.Limit = s.query.Limit()
	} else if s.query.Keepalive {
		f.Alive = r.keepalive
	}
	s.event.Rcode = uint16(rep.Rcode)
	if f.Rcode != 0 {
		s.event.Rcode = f.Rcode
	}
	if s.tooLate() {
		r.tooLate.Add(1)
		return r.drop(s)
	}
	if rep != &replyCut && r.tooAlike(s, from, s.event.Rcode) {
		if r.alike.Add(1)%slips != 0 {
			return r.suppress(s)
		}
		rep, f.EDE, f.Rcode = &replyCut, nil, 0
	}
	s.out = rep.Append(s.out[:0], msg, &s.query, f)
	if r.amplifies(s, len(msg), from) {
		r.cutAmplified(s, msg, f)
	}
	noteAnswer(&s.event, s.out)
	if !r.record(s) {
		f.EDE, f.Rcode = r.auditFull, 0
		s.out = replyServFail.Append(s.out[:0], msg, &s.query, f)
	}
	return s.out
}

// ignore records a packet that is no query.
func (r *Resolver) ignore(s *scratch) []byte {
	r.ignored.Add(1)
	s.event.Source, s.event.Dropped, s.recorded = audit.SourceIgnored, true, true
	if !r.log.Exclude(&s.event) {
		r.log.Record(&s.event)
	}
	return nil
}

// reject answers a packet that holds no question to speak of.
func (r *Resolver) reject(s *scratch, msg []byte, from *origin, rcode uint8) []byte {
	s.event.Source, s.event.Rcode = audit.SourceError, uint16(rcode)
	if !r.allowed(s, from) {
		s.event.Source, s.event.Reason = audit.SourceRefused, s.limits.byRate
		return r.drop(s)
	}
	s.out = wire.AppendError(s.out[:0], msg, rcode)
	noteAnswer(&s.event, s.out)
	if !r.record(s) {
		s.out = wire.AppendError(s.out[:0], msg, wire.RcodeServFail)
	}
	return s.out
}

// record hands the event to the log, which may be told not to keep it. It is false when the event was lost and
// the configuration wants no answer without a record.
func (r *Resolver) record(s *scratch) bool {
	s.recorded = true
	r.answered.Add(1)
	if s.excluded = r.log.Exclude(&s.event); s.excluded {
		return true
	}
	return r.log.Record(&s.event) || !r.log.Refusing()
}

// refusal turns a reply whose record could not be brought to disk into SERVFAIL, in its
// place, unless it is that; withheld is how many answers are not given then.
func refusal(reply, ede []byte) (_ []byte, withheld int) {
	if reply[3]&0xf == wire.RcodeServFail {
		return reply, 0
	}
	if cap(reply)-len(reply) < len(ede) {
		ede = nil
	}
	return wire.AppendRefusal(reply[:0], reply, wire.RcodeServFail, ede), 1
}

// settled waits until the record of a reply is on disk, and returns the reply, or a
// refusal if it may not be given.
func (r *Resolver) settled(reply []byte) []byte {
	if r.log.Settle() {
		return reply
	}
	reply, withheld := refusal(reply, r.auditFull)
	r.log.Withheld(withheld)
	return reply
}

// unforwardable returns the reply to a question that no upstream is asked:
// classes other than the Internet's, zone transfers and the other meta types,
// and ANY, which gets the minimal answer of RFC 8482.
func unforwardable(q *wire.Query) *wire.Reply {
	switch {
	case q.Class != wire.ClassINET:
		return &replyRefused
	case q.Type == wire.TypeANY:
		return &replyANY
	case q.Type == 0 || q.Type == wire.TypeOPT:
		return &replyFormErr
	case q.Type == 251 || q.Type == 252: // IXFR, AXFR
		return &replyRefused
	case q.Type >= 128 && q.Type <= 254: // meta types, RFC 6895 §3.1
		return &replyNotImp
	}
	return nil
}

// The replies that depend on nothing; none of them ever changes.
var (
	replyEmpty    = wire.Reply{}
	replyFormErr  = wire.Reply{Rcode: wire.RcodeFormErr}
	replyServFail = wire.Reply{Rcode: wire.RcodeServFail}
	replyNotImp   = wire.Reply{Rcode: wire.RcodeNotImp}
	replyRefused  = wire.Reply{Rcode: wire.RcodeRefused}
	replyANY      = func() (r wire.Reply) {
		r.AddRR(&r.An, wire.SelfPointer, wire.TypeHINFO, 3600, []byte("\x07RFC8482\x00"))
		return r
	}()
)

// mono reads the resolver's monotonic clock, in nanoseconds.
func (r *Resolver) mono() int64 { return r.now().Sub(r.base).Nanoseconds() }

// arrived counts and stamps a packet from from.peer; it is the one clock reading of its path.
func (r *Resolver) arrived(from *origin) {
	r.received.Add(1)
	t := r.now()
	from.wall, from.mono = t.UnixNano(), t.Sub(r.base).Nanoseconds()
	from.client = from.peer.Addr().Unmap().WithZone("")
}
