package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
)

// A block is a decoded segment: its dictionaries and its rows. It is reused from
// one segment to the next.
type block struct {
	header header

	names   [][]byte // share the payload
	addrs   []netip.Addr
	strings []string // made printable
	reasons []reason

	rows    []row
	refs    []uint32 // aliases of all rows, then addresses, as each row's span says
	gaps    []gap
	changes []changeRow

	columns [columns]cursor
	shelf   *shelf   // of a pack; its columns are not among those
	shown   []string // presentation form of names, made when first asked for
	written []string // and of addresses

	decided, observed [][]byte // reasons as fields of canonical rows, likewise
	event             Event    // room for one
}

// A reason holds numbers of strings, counted from one; 0 is the empty text.
type reason struct{ group, policy, rule, category, list uint32 }

// A changeRow holds numbers of strings, counted from one; 0 is the empty text.
type changeRow struct{ text, action, actor uint32 }

// A row is one record with numbers in place of what the dictionaries hold.
type row struct {
	time                           int64
	duration                       uint64
	revision                       uint64
	client                         uint32
	name                           uint32
	reason                         uint32 // counted from one
	observed                       uint32 // counted from one
	upstream                       uint32 // counted from one
	refs                           uint32 // where its aliases begin
	extra                          uint32 // change, gap: its place in changes or gaps
	ede                            int32
	typ                            uint16
	class                          uint16
	rcode                          uint16
	id                             uint16
	port                           uint16
	querySize, answerSize, udpSize uint16 // see Event
	bits                           Bits

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
	version    uint8
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

// next16 returns the next two octets.
func (c *cursor) next16() uint16 {
	if len(c.b) < 2 {
		c.b, c.failed = nil, true
		return 0
	}
	v := binary.BigEndian.Uint16(c.b)
	c.b = c.b[2:]
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

// take returns the next n octets, nil if there are not so many.
func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.b, c.failed = nil, true
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
	b.rows, b.refs, b.gaps, b.changes = b.rows[:0], b.refs[:0], b.gaps[:0], b.changes[:0]
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
	b.columns = [columns]cursor{}
	for i := range b.columns[:columnsOf(h.version)] {
		b.columns[i] = cursor{b: c.bytes()}
	}
	if c.failed || len(c.b) != 0 {
		return errors.New("its dictionaries or columns are cut short or overlong")
	}
	b.shown, b.written = sizedZero(b.shown, len(b.names)), sizedZero(b.written, len(b.addrs))
	b.decided, b.observed = b.decided[:0], b.observed[:0]
	return nil
}

// columnsOf says how many columns a payload of that version has.
func columnsOf(version uint16) int {
	if version < 2 {
		return columnsV1
	}
	return columns
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
	colID: true, colPort: true, colQuerySize: true, colAnswerSize: true, colBits: true, colUDPSize: true, colVersion: true,
}

// decode reads the rows, after dictionaries, with or without the details. Every
// number in what was read is then within its table, and the header's count, lost,
// min and max are proven.
func (b *block) decode(detailed bool) error {
	if b.header.packed {
		return b.decodePacked(detailed, nil)
	}
	var (
		col      = &b.columns
		names    = seen{size: uint32(len(b.names))}
		addrs    = seen{size: uint32(len(b.addrs))}
		at       = b.header.min
		first    = int64(math.MaxInt64)
		last     = int64(math.MinInt64)
		revision uint64
		lost     uint64
		old      = b.header.version < 2
	)
	for i := range b.header.count {
		if i&(politeRows-1) == politeRows-1 {
			giveWay()
		}
		r := row{kind: Kind(col[colKind].upTo(math.MaxUint8))}
		delta := int64(col[colTime].next())
		if old {
			if delta < 0 || at+delta < at {
				return errors.New("its times are not in order")
			}
		} else {
			delta = unzigzag(uint64(delta))
		}
		at += delta
		first, last = min(first, at), max(last, at)
		r.time = at
		switch r.kind {
		case KindQuery:
			b.query(&r, &names, &addrs)
			if detailed {
				b.details(&r)
				revision += uint64(unzigzag(col[colRevision].next()))
				r.revision = revision
				if !old {
					b.packet(&r)
				}
			}
		case KindChange:
			text := func(i int) uint32 { return uint32(col[i].upTo(uint64(len(b.strings)))) }
			c := changeRow{text: text(colText)}
			if !old {
				c.action, c.actor = text(colAction), text(colActor)
			}
			r.extra = uint32(len(b.changes))
			b.changes = append(b.changes, c)
		case KindGap:
			g := gap{lost: col[colLost].next(), to: at, from: at - unzigzag(col[colFrom].next())}
			if !old {
				g.cause = Cause(col[colCause].upTo(math.MaxUint8))
			}
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
	case first != b.header.min || last != b.header.max || lost != b.header.lost:
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

// packet reads what version 2 has of a query's packets, after its name.
func (b *block) packet(r *row) {
	col := &b.columns
	r.id, r.port = col[colID].next16(), col[colPort].next16()
	r.answerSize = uint16(col[colAnswerSize].upTo(math.MaxUint16))
	r.bits = Bits(col[colBits].upTo(bitsKnown))
	size := unzigzag(col[colQuerySize].next())
	var name int
	if int(r.name) < len(b.names) { // else the segment is refused in the end
		name = len(b.names[r.name])
	}
	if size += plainSize(name, r.bits); size < 0 || size > math.MaxUint16 {
		col[colQuerySize].failed = true
	}
	r.querySize = uint16(size)
	if r.bits&QueryEDNS != 0 {
		r.udpSize = uint16(col[colUDPSize].upTo(math.MaxUint16))
		r.version = uint8(col[colVersion].upTo(math.MaxUint8))
	}
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

func (b *block) address(n uint32) string {
	if b.written[n] == "" {
		b.written[n] = b.addrs[n].String()
	}
	return b.written[n]
}

func (b *block) reason(n uint32) Reason {
	if n == 0 {
		return Reason{}
	}
	r := b.reasons[n-1]
	return Reason{b.text(r.group), b.text(r.policy), b.text(r.rule), b.text(r.category), b.text(r.list)}
}
