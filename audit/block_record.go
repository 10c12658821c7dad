package audit

import (
	"math"
	"slices"
	"time"
)

// A reusable is a Record with room for what it points to, so that it can be used again for
// another row.
type reusable struct {
	Record
	observed Reason
	ede      int32
	packet   Packet
	edns     EDNS
	answers  []string
}

// record returns row i as a Record of its own.
func (b *block) record(i int) *Record {
	out := new(reusable)
	b.describe(out, &b.rows[i], b.header.first+uint64(i))
	return &out.Record
}

func (b *block) describe(out *reusable, r *row, seq uint64) {
	out.Record = Record{Seq: seq, Kind: r.kind.String(), Time: instant(r.time)}
	switch r.kind {
	case KindChange:
		c := b.changes[r.extra]
		out.Text, out.Action, out.Actor = b.text(c.text), b.text(c.action), b.text(c.actor)
		return
	case KindGap:
		g := b.gaps[r.extra]
		out.Cause, out.Lost, out.From, out.To = g.cause.String(), g.lost, instant(g.from), instant(g.to)
		return
	}
	why := b.reason(r.reason)
	out.Client = Client{b.addrs[r.client]}
	out.Group, out.Policy, out.Rule, out.Category, out.List = why.Group, why.Policy, why.Rule, why.Category, why.List
	out.Transport = r.transport.String()
	if out.Name = b.name(r.name); out.Name != "" { // else there was no question
		out.Type, out.Class = typeString(r.typ), classString(r.class)
	}
	if r.source != SourceIgnored { // else nothing was decided or said
		out.Verdict, out.Rcode = verdict(r.flags), rcodeString(r.rcode)
	}
	if r.observed != 0 {
		out.observed = b.reason(r.observed)
		out.Observed = &out.observed
	}
	out.Entry, out.MatchedOn = b.entry(r), word(matches[:], r.on)
	out.Source = r.source.String()
	if out.ede = r.ede; r.ede >= 0 {
		out.EDE = &out.ede
	}
	out.Dropped, out.Stripped = r.flags&flagDropped != 0, r.flags&flagStripped != 0
	out.Upstream = b.text(r.upstream)
	out.Duration, out.Revision = int64(min(r.duration, math.MaxInt64)), r.revision
	out.setPacket(r)
	if n := int(r.aliasCount) + int(r.addrCount); n > 0 {
		out.answers = slices.Grow(out.answers[:0], n)
		for _, a := range b.aliases(r) {
			out.answers = append(out.answers, aliasString(b.name(a)))
		}
		for _, a := range b.answers(r) {
			out.answers = append(out.answers, b.address(a))
		}
		out.Answers = out.answers
	}
}

// setPacket sets nothing if nothing is known of the packet.
func (t *reusable) setPacket(r *row) {
	if r.querySize == 0 {
		return
	}
	is := func(b Bits) bool { return r.bits&b != 0 }
	t.packet = Packet{
		Port: r.port, ID: r.id, QuerySize: r.querySize, AnswerSize: r.answerSize,
		RD: is(QueryRD), AD: is(QueryAD), CD: is(QueryCD), AA: is(AnswerAA), TC: is(AnswerTC),
	}
	t.Packet = &t.packet
	if !is(QueryEDNS) {
		return
	}
	t.edns = EDNS{Version: r.version, UDPSize: r.udpSize, DO: is(QueryDO), ECS: is(QueryECS)}
	switch {
	case is(CookieValid):
		t.edns.Cookie = "valid"
	case is(QueryCookie):
		t.edns.Cookie = "client"
	}
	t.packet.EDNS = &t.edns
}

// entry returns the list entry that decided, as an operator would write it.
func (b *block) entry(r *row) string {
	var name []byte
	switch {
	case r.on == OnAddress:
		a := b.answers(r)
		if int(r.alias) >= len(a) {
			return ""
		}
		addr := b.addrs[a[r.alias]]
		network, err := addr.Unmap().Prefix(int(r.off))
		if r.scope == 0 || err != nil || network.IsSingleIP() {
			return b.address(a[r.alias])
		}
		return network.String()
	case r.scope == 0:
		return ""
	case r.on == OnAlias:
		if a := b.aliases(r); int(r.alias) < len(a) {
			name = b.names[a[r.alias]]
		}
	default:
		name = b.names[r.name]
	}
	if int(r.off) >= len(name) {
		return ""
	}
	text := nameString(name[r.off:])
	switch r.scope {
	case ScopeSelf:
		return "=" + text
	case ScopeBelow:
		return "*." + text
	default:
		return text
	}
}

func verdict(flags uint8) string {
	if flags&flagBlocked != 0 {
		return "block"
	}
	return "allow"
}

func instant(ns int64) time.Time { return time.Unix(0, ns).UTC() }
