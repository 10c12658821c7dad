package resolver

import (
	"bytes"

	"github.com/miekg/dns"

	"weir/resolver/cache"
	"weir/resolver/wire"
)

// denied answers q, of which memory holds nothing, where it holds that a parent
// of the name does not exist: then the name does not either (RFC 8020). It must
// have been said by the upstream that q would go to; names of local zones do not
// come here. The answer is the parent's with q in the place of its question, made
// each time, for the cache has better use for its room. It is nil if there is none.
func (r *Resolver) denied(q *wire.Query, now int64) *cache.Entry {
	parent := r.cache.Denied(q.Key(), now)
	if parent == nil || parent.Group != r.State().Routes.Route(routed(q.Name(), q.Type)).Name() {
		return nil
	}
	var asked wire.Query
	msg := append(make([]byte, 12, 300), parent.Question()...)
	asked.Set(parent.Name(), len(msg))
	var m dns.Msg
	if m.Unpack(parent.Reply.Append(nil, msg, &asked, wire.Finish{Age: parent.Age(now), Limit: wire.MaxTCP})) != nil {
		return nil
	}
	m.AuthenticatedData = parent.Reply.AD // who proves that the parent is not there proves it of all below
	m.Question[0].Name, m.Question[0].Qtype, m.Compress = presentation(q.Name()), q.Type, true
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	rep, err := wire.Freeze(packed)
	if err != nil || rep.Partial {
		return nil
	}
	r.cache.Implied()
	return &cache.Entry{
		Key: bytes.Clone(q.Key()), Reply: rep, Stored: now, Expires: now,
		Upstream: parent.Upstream, Group: parent.Group, Implied: true,
	}
}
