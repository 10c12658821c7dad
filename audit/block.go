package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"
)

// A block is a decoded segment: its dictionaries and its rows. It is reused from
// one segment to the next.
type block struct {
	header header

	names   [][]byte // share the payload
	addrs   []netip.Addr
	strings []string // made printable
	reasons []reason

	rows []row
	refs []uint32 // aliases of all rows, then addresses, as each row's span says
	gaps []gap

	columns [columns]cursor
	shown   []string // presentation form of names, made when first asked for
}

// A reason holds numbers of strings, counted from one; 0 is the empty text.
type reason struct{ group, policy, rule, category, list uint32 }

// A row is one record with numbers in place of what the dictionaries hold.
type row struct {
	time     int64
	duration uint64
	revision uint64
	client   uint32
	name     uint32
	reason   uint32 // counted from one
	observed uint32 // counted from one
	upstream uint32 // counted from one
	refs     uint32 // where its aliases begin
	extra    uint32 // change: its text, counted from one; gap: its place in gaps
	ede      int32
	typ      uint16
	class    uint16
	rcode    uint16

	kind       Kind
	transport  Transport
	source     Source
	flags      uint8
	on         uint8
	off        uint8
	scope      uint8
	alias      uint8
	aliasCount uint8
	addrCount  uint8
}

// A cursor reads uvarints. After the first that is missing or malformed it is
// failed and returns zeros.
type cursor struct {
	b      []byte
	failed bool
}

func (c *cursor) next() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		v := c.b[0]
		c.b = c.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.b, c.failed = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// upTo returns the next value, which must be at most limit.
func (c *cursor) upTo(limit uint64) uint64 {
	v := c.next()
	if v > limit {
		c.failed = true
		return 0
	}
	return v
}

// bytes returns the next n octets with n in front of them.
func (c *cursor) bytes() []byte {
	n := c.upTo(uint64(len(c.b)))
	if n > uint64(len(c.b)) {
		c.failed = true
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// count reads how many entries follow, each of which takes at least one octet.
func (c *cursor) count() int {
	n := c.next()
	if n > uint64(len(c.b)) {
		c.failed = true
		return 0
	}
	return int(n)
}

// dictionaries reads all that stands before the rows, and finds the columns.
// The payload must stay as it is while the block is in use.
func (b *block) dictionaries(h header, payload []byte) error {
	b.header = h
	c := cursor{b: payload}
	b.names, b.addrs, b.strings, b.reasons = b.names[:0], b.addrs[:0], b.strings[:0], b.reasons[:0]
	b.rows, b.refs, b.gaps = b.rows[:0], b.refs[:0], b.gaps[:0]
	for range c.count() {
		b.names = append(b.names, c.bytes())
	}
	for range c.count() {
		v := c.bytes()
		a, ok := netip.AddrFromSlice(v)
		if !ok && len(v) != 0 {
			return fmt.Errorf("it holds an address of %d octets", len(v))
		}
		b.addrs = append(b.addrs, a)
	}
	for range c.count() {
		b.strings = append(b.strings, printable(c.bytes()))
	}
	text := func() uint32 { return uint32(c.upTo(uint64(len(b.strings)))) }
	for range c.count() {
		b.reasons = append(b.reasons, reason{text(), text(), text(), text(), text()})
	}
	for i := range b.columns {
		b.columns[i] = cursor{b: c.bytes()}
	}
	if c.failed || len(c.b) != 0 {
		return errors.New("its dictionaries or columns are cut short or overlong")
	}
	b.shown = slices.Grow(b.shown[:0], len(b.names))[:len(b.names)]
	clear(b.shown)
	return nil
}

// A seen resolves the references that dict.ref made.
type seen struct{ next, size uint32 }

func (s *seen) ref(c *cursor) uint32 {
	v := c.upTo(uint64(s.next))
	if v > 0 {
		return uint32(v - 1)
	}
	if s.next == s.size {
		c.failed = true
		return 0
	}
	s.next++
	return s.next - 1
}

// details are the columns that nothing but a Record needs.
var details = [columns]bool{
	colTransport: true, colClass: true, colOn: true, colEntryOff: true, colEntryScope: true, colEntryAlias: true, colSource: true,
	colRcode: true, colEDE: true, colUpstream: true, colDuration: true, colRevision: true,
}

// decode reads the rows, after dictionaries, with or without the details. Every
// number in what was read is then within its table, and the header's count, lost,
// min and max are proven.
func (b *block) decode(detailed bool) error {
	var (
		col      = &b.columns
		names    = seen{size: uint32(len(b.names))}
		addrs    = seen{size: uint32(len(b.addrs))}
		at       = b.header.min
		revision uint64
		lost     uint64
	)
	for range b.header.count {
		r := row{kind: Kind(col[colKind].upTo(math.MaxUint8))}
		delta := int64(col[colTime].next())
		if at += delta; at < b.header.min || delta < 0 {
			return errors.New("its times are not in order")
		}
		r.time = at
		switch r.kind {
		case KindQuery:
			b.query(&r, &names, &addrs)
			if detailed {
				b.details(&r)
				revision += uint64(unzigzag(col[colRevision].next()))
				r.revision = revision
			}
		case KindChange:
			r.extra = uint32(col[colText].upTo(uint64(len(b.strings))))
		case KindGap:
			g := gap{lost: col[colLost].next(), to: at, from: at - unzigzag(col[colFrom].next())}
			lost += g.lost
			r.extra = uint32(len(b.gaps))
			b.gaps = append(b.gaps, g)
		default:
			return fmt.Errorf("it holds a record of unknown kind %d", r.kind)
		}
		b.rows = append(b.rows, r)
	}
	for i := range col {
		if (detailed || !details[i]) && (col[i].failed || len(col[i].b) != 0) {
			return fmt.Errorf("its column %d does not fit its records", i)
		}
	}
	switch {
	case names.next != names.size || addrs.next != addrs.size:
		return errors.New("its dictionaries hold entries that no record uses")
	case at != b.header.max || lost != b.header.lost:
		return errors.New("its header does not fit its records")
	}
	return nil
}

func (b *block) query(r *row, names, addrs *seen) {
	col := &b.columns
	r.client = addrs.ref(&col[colClient])
	r.name = names.ref(&col[colName])
	r.typ = uint16(col[colType].upTo(math.MaxUint16))
	r.flags = uint8(col[colFlags].upTo(flagsKnown))
	r.reason = uint32(col[colReason].upTo(uint64(len(b.reasons))))
	r.observed = uint32(col[colObserved].upTo(uint64(len(b.reasons))))
	r.aliasCount = uint8(col[colAliasCount].upTo(MaxAnswers))
	r.addrCount = uint8(col[colAddrCount].upTo(MaxAnswers))
	r.refs = uint32(len(b.refs))
	for range r.aliasCount {
		b.refs = append(b.refs, names.ref(&col[colAlias]))
	}
	for range r.addrCount {
		b.refs = append(b.refs, addrs.ref(&col[colAddr]))
	}
}

func (b *block) details(r *row) {
	col := &b.columns
	r.transport = Transport(col[colTransport].upTo(math.MaxUint8))
	r.class = uint16(col[colClass].upTo(math.MaxUint16))
	r.on = uint8(col[colOn].upTo(math.MaxUint8))
	r.off = uint8(col[colEntryOff].upTo(math.MaxUint8))
	r.scope = uint8(col[colEntryScope].upTo(math.MaxUint8))
	r.alias = uint8(col[colEntryAlias].upTo(math.MaxUint8))
	r.source = Source(col[colSource].upTo(math.MaxUint8))
	r.rcode = uint16(col[colRcode].upTo(math.MaxUint16))
	r.ede = int32(int64(col[colEDE].upTo(math.MaxInt32+1)) - 1)
	r.upstream = uint32(col[colUpstream].upTo(uint64(len(b.strings))))
	r.duration = col[colDuration].next()
}

// aliases and answers return the numbers of a row's aliases and addresses.
func (b *block) aliases(r *row) []uint32 { return b.refs[r.refs:][:r.aliasCount] }

func (b *block) answers(r *row) []uint32 {
	return b.refs[r.refs+uint32(r.aliasCount):][:r.addrCount]
}

func (b *block) text(n uint32) string {
	if n == 0 {
		return ""
	}
	return b.strings[n-1]
}

func (b *block) name(n uint32) string {
	if b.shown[n] == "" {
		b.shown[n] = nameString(b.names[n])
	}
	return b.shown[n]
}

func (b *block) reason(n uint32) Reason {
	if n == 0 {
		return Reason{}
	}
	r := b.reasons[n-1]
	return Reason{b.text(r.group), b.text(r.policy), b.text(r.rule), b.text(r.category), b.text(r.list)}
}

// record returns row i as a Record of its own.
func (b *block) record(i int) *Record {
	r := &b.rows[i]
	out := &Record{Seq: b.header.first + uint64(i), Kind: r.kind.String(), Time: instant(r.time)}
	switch r.kind {
	case KindChange:
		out.Text = b.text(r.extra)
		return out
	case KindGap:
		g := b.gaps[r.extra]
		out.Lost, out.From, out.To = g.lost, instant(g.from), instant(g.to)
		return out
	}
	why := b.reason(r.reason)
	out.Client = b.addrs[r.client]
	out.Group, out.Policy, out.Rule, out.Category, out.List = why.Group, why.Policy, why.Rule, why.Category, why.List
	out.Transport = r.transport.String()
	if out.Name = b.name(r.name); out.Name != "" { // else there was no question
		out.Type, out.Class = typeString(r.typ), classString(r.class)
	}
	out.Verdict = verdict(r.flags)
	if r.observed != 0 {
		o := b.reason(r.observed)
		out.Observed = &o
	}
	out.Entry, out.MatchedOn = b.entry(r), word(matches[:], r.on)
	out.Source, out.Rcode = r.source.String(), rcodeString(r.rcode)
	if ede := r.ede; ede >= 0 {
		out.EDE = &ede
	}
	out.Dropped, out.Stripped = r.flags&flagDropped != 0, r.flags&flagStripped != 0
	out.Upstream = b.text(r.upstream)
	out.Duration, out.Revision = int64(min(r.duration, math.MaxInt64)), r.revision
	if n := int(r.aliasCount) + int(r.addrCount); n > 0 {
		out.Answers = make([]string, 0, n)
		for _, a := range b.aliases(r) {
			out.Answers = append(out.Answers, aliasString(b.name(a)))
		}
		for _, a := range b.answers(r) {
			out.Answers = append(out.Answers, b.addrs[a].String())
		}
	}
	return out
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
			return addr.String()
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
