package audit

import (
	"net/netip"
	"time"
)

// A Query says which records are wanted: those for which every field that is set
// holds. The zero Query wants all. Fields that only queries have (all but Kind
// and those below it) leave out changes and gaps.
type Query struct {
	Client    netip.Prefix // the client lies in it
	Name      []byte       // wire name: this name and all below it
	ExactName bool         // Name itself only
	Type      uint16
	Verdict   string // allow or block
	Group     string
	Policy    string
	Category  string
	Observed  bool // an observe rule would have blocked it

	Kind  Kind
	Since time.Time // at this time or later
	Until time.Time // before this time

	SeqFrom uint64 // with this sequence number or above; they begin at 1
	SeqTo   uint64 // with this one or below; 0 is no limit. Only segments that hold some are read

	Limit  int  // end after so many; 0 is no limit
	Oldest bool // oldest first; else newest first
}

// A filter is a Query made ready: per segment it knows which entries of the
// dictionaries match, so that a row costs a few table reads.
type filter struct {
	query        Query
	name         []byte // Query.Name in lower case
	since, until int64  // nanoseconds since 1970; until is exclusive
	hasUntil     bool
	kind         Kind

	names, clients, reasons []bool // by number; nil when that field is not asked for
}

func newFilter(q Query) *filter {
	f := &filter{query: q, kind: q.Kind, since: -1 << 63}
	if len(q.Name) > 0 {
		f.name = make([]byte, len(q.Name))
		for i, c := range q.Name {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			f.name[i] = c
		}
	}
	if q.Client.IsValid() {
		f.query.Client = q.Client.Masked()
	}
	if !q.Since.IsZero() {
		f.since = q.Since.UnixNano()
	}
	if !q.Until.IsZero() {
		f.until, f.hasUntil = q.Until.UnixNano(), true
	}
	return f
}

// queriesOnly says that a field is set which only queries have.
func (f *filter) queriesOnly() bool {
	q := &f.query
	return f.name != nil || q.Client.IsValid() || q.Type != 0 || q.Verdict != "" || q.Observed || f.asksReason()
}

func (f *filter) asksReason() bool {
	q := &f.query
	return q.Group != "" || q.Policy != "" || q.Category != ""
}

// wants says that a segment's times and numbers may hold something.
func (f *filter) wants(h *header) bool {
	return h.max >= f.since && (!f.hasUntil || h.min < f.until) &&
		h.last() >= f.query.SeqFrom && h.first <= f.seqTo()
}

// ends says that this segment and all behind it in the query's order hold nothing:
// newest first they are too old. Times may fall again later, so oldest first
// only numbers tell.
func (f *filter) ends(h *header) bool {
	if f.query.Oldest {
		return h.first > f.seqTo()
	}
	return h.high < f.since || h.last() < f.query.SeqFrom
}

// seqTo is the last sequence number wanted.
func (f *filter) seqTo() uint64 {
	if f.query.SeqTo == 0 {
		return newest
	}
	return f.query.SeqTo
}

func (f *filter) wantsOrEnds(h *header) bool { return f.wants(h) || f.ends(h) }

// prepare looks up what the query asks for in the block's dictionaries and says
// whether any of its rows may match.
func (f *filter) prepare(b *block) bool {
	if !f.wants(&b.header) {
		return false
	}
	q := &f.query
	f.names, f.clients, f.reasons = nil, nil, nil
	found := true
	if f.name != nil {
		f.names, found = mark(b.names, func(name []byte) bool {
			return string(name) == string(f.name) || !q.ExactName && below(name, f.name)
		})
	}
	if found && q.Client.IsValid() {
		f.clients, found = mark(b.addrs, q.Client.Contains)
	}
	if found && f.asksReason() {
		f.reasons, found = mark(b.reasons, func(r reason) bool {
			return (q.Group == "" || b.text(r.group) == q.Group) &&
				(q.Policy == "" || b.text(r.policy) == q.Policy) &&
				(q.Category == "" || b.text(r.category) == q.Category)
		})
	}
	return found
}

// mark returns which entries are wanted, and whether any is.
func mark[T any](entries []T, wanted func(T) bool) (marks []bool, found bool) {
	marks = make([]bool, len(entries))
	for i, e := range entries {
		marks[i] = wanted(e)
		found = found || marks[i]
	}
	return marks, found
}

// matches says whether row i of the block that prepare saw is wanted.
func (f *filter) matches(b *block, i int) bool {
	r := &b.rows[i]
	if seq := b.header.first + uint64(i); seq < f.query.SeqFrom || seq > f.seqTo() {
		return false
	}
	if r.time < f.since || f.hasUntil && r.time >= f.until || f.kind != 0 && r.kind != f.kind {
		return false
	}
	if r.kind != KindQuery {
		return !f.queriesOnly()
	}
	q := &f.query
	switch {
	case f.names != nil && !f.names[r.name],
		f.clients != nil && !f.clients[r.client],
		f.reasons != nil && (r.reason == 0 || !f.reasons[r.reason-1]),
		q.Type != 0 && q.Type != r.typ,
		q.Verdict != "" && q.Verdict != verdict(r.flags),
		q.Observed && r.observed == 0:
		return false
	}
	return true
}
