package resolver

import (
	"weir/audit"
	"weir/resolver/wire"
)

// notify answers a packet by which a primary tells that a zone of its has
// changed (RFC 1996). A primary need not be a client, so State.Notify alone
// says who is heard. Anybody else gets REFUSED, as from BIND (zone.c,
// "refused notify from non-primary") and NSD (query.c, answer_notify): RFC 1996
// §3.10 would ignore the packet, but who set up a wrong address should see it.
// Where nobody listens the answer is NOTIMP (§3.12).
func (r *Resolver) notify(s *scratch, msg []byte, from *origin) []byte {
	q, ev, st := &s.query, &s.event, r.state.Load()
	if st.Notify == nil {
		return r.reject(s, msg, from, wire.RcodeNotImp)
	}
	if decodeOdd(q, msg) != nil || q.Type != wire.TypeSOA {
		return r.reject(s, msg, from, wire.RcodeFormErr)
	}
	ev.Name, ev.Type, ev.Class = q.Name(), q.Type, q.Class
	noteEDNS(ev, q)
	if !r.allowed(s, from) {
		return r.overRate(s, msg, from)
	}
	if q.Class != wire.ClassINET || !st.Notify(q.Name(), from.client) {
		ev.Source = audit.SourceRefused
		return r.finish(s, msg, from, &replyRefused, wire.Finish{})
	}
	ev.Source = audit.SourceLocal
	return r.finish(s, msg, from, &replyNotify, wire.Finish{})
}

// replyNotify repeats the request (RFC 1996 §4), in which a primary sets AA.
var replyNotify = wire.Reply{AA: true}
