package audit

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// A filter is a Query made ready. It is not changed once it is made, so several
// goroutines may use it; what it finds out about a segment stands in the page.
type filter struct {
	query        Query
	name, alias  []byte // Query.Name and Query.Alias in lower case
	glob         *Glob
	since, until int64     // nanoseconds since 1970; until is exclusive
	parts        []stretch // of that time, in order; nil is all of it
	queries      bool      // only queries are wanted
	rcode        uint16
	source       Source
	transport    Transport
	err          error // the query asks for what no record can be

	pseudonyms map[netip.Addr]bool // what stands for the clients that are asked for; see know
	known      uint64              // when they were looked up
}

func newFilter(q Query) *filter {
	f := &filter{query: q, since: math.MinInt64, until: math.MaxInt64, queries: q.wantsQueries()}
	f.name, f.alias = lower(q.Name), lower(q.Alias)
	if f.err = q.Check(); f.err != nil {
		return f
	}
	if q.Glob != "" {
		f.glob, _ = NewGlob(q.Glob)
	}
	if q.Client.IsValid() {
		f.query.Client = q.Client.Masked()
	}
	if q.Answer.IsValid() {
		f.query.Answer = q.Answer.Masked()
	}
	if !q.Since.IsZero() {
		f.since = q.Since.UnixNano()
	}
	if !q.Until.IsZero() {
		f.until = q.Until.UnixNano()
	}
	f.rcode, _ = rcodeNumber(q.Rcode)
	f.source = Source(wordNumber(sources[:], q.Source))
	f.transport = Transport(wordNumber(transports[:], q.Transport))
	return f
}

// queriesOf is newFilter for questions that count: of the queries alone, whatever
// q.Limit, and the newest first.
func queriesOf(q Query) *filter {
	q.Limit, q.Oldest = 0, false
	f := newFilter(q)
	f.queries = true
	return f
}

// lower returns a copy of the wire name with its letters in lower case. Length
// octets are no letters: they are below 64.
func lower(name []byte) []byte {
	if len(name) == 0 {
		return nil
	}
	out := make([]byte, len(name))
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		out[i] = c
	}
	return out
}

// wordNumber is the reverse of word; what is not there is 0.
func wordNumber(words []string, text string) uint8 {
	for i, w := range words {
		if w == text {
			return uint8(i)
		}
	}
	return 0
}

// wants says that a segment may hold something, by what its header tells.
func (f *filter) wants(h *header) bool {
	return h.max >= f.since && h.min < f.until && h.last() >= f.query.SeqFrom && h.first <= f.seqTo() &&
		(f.parts == nil || within(f.parts, h.min, h.max))
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

// marks says which entries of a segment's dictionaries a filter wants. Those of
// a field that is not asked for are nil.
type marks struct {
	names, aliases, clients, answers, reasons []bool
	upstream                                  uint32 // counted from one; 0 is any
	prey                                      *prey  // a row has something of it; a segment's rows are left to who hunts
}

// any says that there is a mark in a dictionary that questions or askers refer to.
func (m *marks) any() bool {
	return m.names != nil || m.aliases != nil || m.clients != nil || m.answers != nil || m.prey != nil
}

// mark looks up what f asks for in the page's dictionaries and says whether any of
// its rows may match.
func (f *filter) mark(p *page) bool {
	q, m := &f.query, &p.marks
	*m = marks{}
	if !f.wants(&p.header) {
		return false
	}
	alone := p.header.packed && f.glob == nil // names of the pack are found without making all of them
	if alone && (f.name != nil || f.alias != nil) && !p.need(p.loadChain) || !alone && (f.name != nil || f.glob != nil || f.alias != nil) && !p.need(p.loadNames) ||
		(q.Client.IsValid() || q.Answer.IsValid()) && !p.need(p.loadAddrs) || (q.wantsReason() || q.Upstream != "") && !p.need(p.loadTexts) {
		return false
	}
	found := true
	switch {
	case alone && f.name != nil:
		m.names, found = p.shelf.names.mark(f.name, !q.ExactName)
	case f.name != nil || f.glob != nil:
		m.names, found = mark(p.names, func(name []byte) bool {
			return (f.name == nil || string(name) == string(f.name) || !q.ExactName && below(name, f.name)) &&
				(f.glob == nil || f.glob.matches(name))
		})
	}
	switch {
	case !found || f.alias == nil:
	case alone:
		m.aliases, found = p.shelf.names.mark(f.alias, true)
	default:
		m.aliases, found = mark(p.names, func(name []byte) bool { return below(name, f.alias) })
	}
	if found && q.Client.IsValid() {
		m.clients, found = mark(p.addrs, f.asks)
	}
	if found && q.Answer.IsValid() {
		m.answers, found = mark(p.addrs, q.Answer.Contains)
	}
	if found && q.wantsReason() {
		m.reasons, found = mark(p.reasons, func(r reason) bool {
			return (q.Group == "" || p.text(r.group) == q.Group) &&
				(q.Policy == "" || p.text(r.policy) == q.Policy) &&
				(q.Rule == "" || p.text(r.rule) == q.Rule) &&
				(q.Category == "" || p.text(r.category) == q.Category) &&
				(q.List == "" || p.text(r.list) == q.List)
		})
	}
	if found && q.Upstream != "" {
		found = false
		for i, s := range p.strings {
			if s == q.Upstream {
				m.upstream, found = uint32(i)+1, true
			}
		}
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

// choose puts into p.chosen which rows of the page that mark saw are wanted. It
// reads as few columns as it takes. Damage is in p.err.
func (f *filter) choose(p *page) {
	q, m, h := &f.query, &p.marks, &p.header
	p.chosen = p.chosen[:0]
	from, to := h.first, h.last()
	if q.SeqFrom > from {
		from = q.SeqFrom
	}
	if f.seqTo() < to {
		to = f.seqTo()
	}
	if from = max(from, p.from); p.to != 0 {
		to = min(to, p.to)
	}
	kinds := p.kinds()
	if h.packed && f.queries && q.Kind != KindChange && q.Kind != KindGap && m.any() {
		p.chooseByTables(int(from-h.first), int(min(to-h.first+1, uint64(len(kinds)))))
		m.names, m.clients, m.aliases, m.answers = nil, nil, nil, nil
	} else {
		for i := from - h.first; i <= to-h.first && i < uint64(len(kinds)); i++ {
			if k := kinds[i]; (q.Kind == 0 || k == q.Kind) && (!f.queries || k == KindQuery) {
				p.chosen = append(p.chosen, uint32(i))
			}
		}
	}
	if m.names != nil {
		narrow(p, p.asked, func(n uint32) bool { return m.names[n] })
	}
	if m.clients != nil {
		narrow(p, p.clients, func(n uint32) bool { return m.clients[n] })
	}
	if m.reasons != nil {
		narrow(p, p.whys, func(n uint32) bool { return n != 0 && m.reasons[n-1] })
	}
	if q.Observed {
		narrow(p, p.observations, func(n uint32) bool { return n != 0 })
	}
	if q.Verdict != "" {
		blocked := q.Verdict == "block"
		narrow(p, p.flags, func(n uint8) bool { return n&flagBlocked != 0 == blocked })
	}
	if q.Type != 0 {
		narrow(p, p.types, func(n uint16) bool { return n == q.Type })
	}
	if q.Rcode != "" {
		narrow(p, p.rcodes, func(n uint16) bool { return n == f.rcode })
	}
	if q.Source != "" {
		narrow(p, p.sources, func(n uint8) bool { return Source(n) == f.source })
	}
	if q.Transport != "" {
		narrow(p, p.transports, func(n uint8) bool { return Transport(n) == f.transport })
	}
	if m.upstream != 0 {
		narrow(p, p.upstreams, func(n uint32) bool { return n == m.upstream })
	}
	if f.since > h.min || f.until <= h.max {
		narrow(p, p.times, func(t int64) bool { return t >= f.since && t < f.until })
	}
	if f.parts != nil {
		narrow(p, p.times, func(t int64) bool { return within(f.parts, t, t) })
	}
	if m.aliases != nil {
		narrowAny(p, p.aliases, m.aliases)
	}
	if m.answers != nil {
		narrowAny(p, p.answers, m.answers)
	}
}

// narrow leaves those of p's chosen rows whose value in a column is wanted. The
// column is not read when there are none.
func narrow[T any](p *page, column func() []T, wanted func(T) bool) {
	if len(p.chosen) == 0 {
		return
	}
	values := column()
	if p.err != nil {
		p.chosen = p.chosen[:0]
		return
	}
	kept := p.chosen[:0]
	for _, i := range p.chosen {
		if wanted(values[i]) {
			kept = append(kept, i)
		}
	}
	p.chosen = kept
}

// narrowAny leaves those that have any marked one among several references.
func narrowAny(p *page, column func() spread, wanted []bool) {
	if len(p.chosen) == 0 {
		return
	}
	values := column()
	if p.err != nil {
		p.chosen = p.chosen[:0]
		return
	}
	kept := p.chosen[:0]
	for _, i := range p.chosen {
		for _, n := range values.of(i) {
			if wanted[n] {
				kept = append(kept, i)
				break
			}
		}
	}
	p.chosen = kept
}

// rcodeNumber is the reverse of rcodeString, whatever the case of the letters.
func rcodeNumber(text string) (uint16, bool) {
	return unregistered(rcodes, strings.ToUpper(text), "RCODE")
}

// unregistered is the reverse of registered.
func unregistered(names map[uint16]string, text, prefix string) (uint16, bool) {
	for n, s := range names {
		if s == text {
			return n, true
		}
	}
	if digits, ok := strings.CutPrefix(text, prefix); ok {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
			return uint16(n), true
		}
	}
	return 0, false
}
