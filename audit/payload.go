package audit

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// The columns of a payload, in the order in which they are stored. The order is
// part of the format. Each is a run of uvarints; doc.go says which records
// have a value in which column.
const (
	colKind = iota
	colTime // zigzag, since the record before; of the first record, since the header's earliest
	colClient
	colTransport
	colName
	colType
	colClass
	colFlags
	colReason
	colObserved
	colOn
	colEntryOff
	colEntryScope
	colEntryAlias
	colSource
	colRcode
	colEDE // info code plus one
	colAliasCount
	colAddrCount
	colAlias
	colAddr
	colUpstream
	colDuration // microseconds
	colRevision // zigzag difference to the query before
	colText
	colLost
	colFrom // how long before the record's time, in nanoseconds, zigzag
	colID   // two octets
	colPort // two octets
	colQuerySize
	colAnswerSize
	colBits
	colUDPSize
	colVersion
	colAction
	colActor
	colCause
	columns

	columnsV1 = colFrom + 1
)

// A gap counts events that could not be taken.
type gap struct {
	cause    Cause
	lost     uint64
	from, to int64 // when the first and the last of them came, nanoseconds since 1970
}

// A builder gathers the records of one segment and lays out its payload. reset makes it ready for the next.
type builder struct {
	names   nameDict
	addrs   addrDict
	strings dict

	reasons    []byte // laid out: five string numbers each
	reasonN    uint32
	reasonOf   map[grouped]uint32 // number in this segment + 1
	why        []why              // by number in this segment
	upstreamOf []labelled         // by number in the log

	shapes   shapes // which queries have; their columns are laid out by payload
	cols     [columns][]byte
	rows     uint32
	gaps     uint32 // of rows
	answers  int    // octets in the columns that a row can have many of
	first    int64  // times of the first and the last row, and the earliest and latest of all
	last     int64
	min, max int64
	lost     uint64
	masked   bool // clients of rows are
	scratch  []byte

	rowTree rowTree
}

// why is a reason as fields of a row: as what decided, and as what was observed.
type why struct{ decided, observed []byte }

// labelled is a label: its number in this segment plus one, 0 when it has none yet, and
// the field of a row that names it as an upstream.
type labelled struct {
	number uint32
	field  []byte
}

// grouped is a reason and the label of the client's group, by their numbers in the log.
type grouped struct{ reason, group uint32 }

func newBuilder() *builder {
	b := &builder{names: newNameDict(), addrs: newAddrDict(), strings: newDict(), reasonOf: make(map[grouped]uint32), shapes: newShapes()}
	b.reset()
	return b
}

func (b *builder) reset() {
	b.names.reset()
	b.addrs.reset()
	b.strings.reset()
	b.reasons, b.reasonN, b.why = b.reasons[:0], 0, b.why[:0]
	clear(b.reasonOf)
	clear(b.upstreamOf)
	b.shapes.reset()
	b.rowTree.reset()
	for i := range b.cols {
		b.cols[i] = b.cols[i][:0]
	}
	b.rows, b.gaps, b.answers, b.lost, b.masked = 0, 0, 0, 0, false
}

// full says that the next record belongs in another segment.
func (b *builder) full() bool {
	return b.rows == sealRows ||
		b.names.octets+len(b.addrs.laid)+len(b.strings.arena)+len(b.reasons)+b.answers > sealBytes ||
		len(b.shapes.texts) > sealBytes
}

// size returns how many octets the payload has so far, or a few less.
func (b *builder) size() int {
	n := b.names.octets + len(b.addrs.laid) + len(b.strings.arena) + len(b.reasons)
	for i := range b.cols {
		if n += len(b.cols[i]); shaped[i] {
			n += len(b.shapes.of)
		}
	}
	return n
}

// put appends v to a column. It is small enough to be inlined.
func (b *builder) put(col int, v uint64) {
	if v < 0x80 {
		b.cols[col] = append(b.cols[col], byte(v))
		return
	}
	b.putLong(col, v)
}

//go:noinline
func (b *builder) putLong(col int, v uint64) {
	c := b.cols[col]
	if v >= 1<<21 {
		b.cols[col] = appendVarint(c, v)
		return
	}
	octets, size := uint32(v&0x7f|v&0x3f80<<1|v&0x1fc000<<2|0x80), 2
	if v >= 1<<14 { // nobody can foresee that: no jump
		octets, size = octets|0x8000, 3
	}
	b.cols[col] = binary.LittleEndian.AppendUint32(c, octets)[:len(c)+size]
}

// put16 appends two octets, for what no two records have in common.
func (b *builder) put16(col int, v uint16) { b.cols[col] = append(b.cols[col], byte(v>>8), byte(v)) }

// row begins a record.
func (b *builder) row(kind Kind, at int64) {
	b.put(colKind, uint64(kind))
	if b.rows == 0 {
		b.first, b.min, b.max = at, at, at // payload puts the first time in front of the others
	} else {
		b.put(colTime, zigzag(at-b.last))
		b.min, b.max = min(b.min, at), max(b.max, at)
	}
	b.last = at
	b.rows++
}

// query adds one event, which is in the form that it has in a slab. reasons and labels are
// the log's tables: number n stands at n-1. What goes into the columns goes into the row that
// is proven too, as appendQuery has it.
func (b *builder) query(p []byte, reasons []Reason, labels []string) {
	le := binary.LittleEndian
	p = p[:le.Uint32(p)]
	at := int64(le.Uint64(p[8:]))
	b.row(KindQuery, at)
	key := keyOf(p)
	s, fresh := b.shapes.find(&key)
	if fresh {
		b.shape(s, p, reasons, labels)
	}
	row := b.rowTree.begin()
	row = slices.Grow(row, len(p)+len(s.middle)+len(s.upstream)+rowRoom)
	r := row[len(row):cap(row)] // octets of the row are put there, n so far
	r[0], r[1] = tagKind<<1, byte(KindQuery)
	n := 2 + putNumber(r[2:], tagTime<<1, uint64(at))

	client := slabAddr(p[56:72], p[23])
	b.put(colClient, b.addrs.ref(client))
	standsIn := len(client) == 16 && client[0] == 0xff && masked(netip.AddrFrom16([16]byte(client)))
	b.masked = b.masked || standsIn
	if !standsIn {
		n += putAddress(r[n:], tagClient<<1|1, client)
	}
	n += s.transport.put(r[n:])
	name, rest := p[slabFixed:slabFixed+int(p[76])], p[slabFixed+int(p[76]):]
	b.put(colName, b.names.ref(name))
	n += putOctets(r[n:], tagName<<1|1, name)
	n += copy(r[n:], s.middle)
	for range p[77] {
		alias := rest[1 : 1+int(rest[0])]
		b.put(colAlias, b.names.ref(alias))
		n += putOctets(r[n:], tagAlias<<1|1, alias)
		rest = rest[1+len(alias):]
	}
	for range p[78] {
		addr := rest[1 : 1+int(rest[0])]
		b.put(colAddr, b.addrs.ref(addr))
		n += putAddress(r[n:], tagAddress<<1|1, addr)
		rest = rest[1+len(addr):]
	}
	b.answers = len(b.cols[colAlias]) + len(b.cols[colAddr])

	micros := (uint64(max(int64(le.Uint64(p[40:])), 0)) + 999) / 1000
	b.put(colDuration, micros)
	n += copy(r[n:], s.upstream)
	n += putNumber(r[n:], tagDuration<<1, micros)
	n += s.state.put(r[n:])

	port, id := le.Uint16(p[79:]), le.Uint16(p[81:])
	querySize, answerSize := le.Uint16(p[83:]), le.Uint16(p[85:])
	b.put16(colID, id)
	b.put16(colPort, port)
	b.put(colQuerySize, zigzag(int64(querySize)-plainSize(len(name), Bits(le.Uint16(p[89:])))))
	b.put(colAnswerSize, uint64(answerSize))
	n += putSmall(r[n:], tagPort<<1, port)
	n += putSmall(r[n:], tagID<<1, id)
	n += putSmall(r[n:], tagQuerySize<<1, querySize)
	n += putSmall(r[n:], tagAnswerSize<<1, answerSize)
	n += s.bits.put(r[n:])
	row = row[:len(row)+n]
	if standsIn {
		row = appendStandIn(row, netip.AddrFrom16([16]byte(client)))
	}
	b.rowTree.add(row)
}

// rowRoom is how many octets a row of a query takes at most that are not in the event: the
// tags, the numbers, and what of pieces is not used.
const rowRoom = 256

// putNumber puts a field at the beginning of b as appendNumber appends it, and returns how long it is.
func putNumber(b []byte, begin byte, v uint64) int {
	if v == 0 {
		return 0
	}
	b[0] = begin
	return len(appendVarint(b[:1], v))
}

// putSmall is putNumber without a jump, for numbers of which nobody can foresee how long they are.
func putSmall(b []byte, begin byte, v uint16) (size int) {
	w := uint32(v)
	field := uint32(begin) | w&0x7f<<8 | w&0x3f80<<9 | w>>14<<24
	if size = 2; w >= 1<<7 {
		field, size = field|0x8000, 3
	}
	if w >= 1<<14 {
		field, size = field|0x800000, 4
	}
	if w == 0 {
		size = 0
	}
	binary.LittleEndian.PutUint32(b, field)
	return size
}

// putOctets puts a field at the beginning of b as appendOctets appends it, and returns how long it is.
func putOctets(b []byte, begin byte, v []byte) int {
	if len(v) == 0 {
		return 0
	}
	b[0], b[1] = begin, byte(len(v))
	if len(v) < 0x80 {
		return 2 + copy(b[2:], v)
	}
	return 1 + len(append(binary.AppendUvarint(b[1:1], uint64(len(v))), v...))
}

// putAddress is putOctets for an address.
func putAddress(b []byte, begin byte, v []byte) int {
	if len(v) == 4 {
		b[0], b[1] = begin, 4
		*(*[4]byte)(b[2:]) = [4]byte(v)
		return 6
	}
	return putOctets(b, begin, v)
}

// shape makes a new shape of the event that has it first.
func (b *builder) shape(s *shape, p []byte, reasons []Reason, labels []string) {
	le := binary.LittleEndian
	v := &s.values
	field := func(fields *piece, tag, col int, value uint32) {
		fields.number(tag, uint64(value))
		v[col] = value
	}
	field(&s.transport, tagTransport, colTransport, uint32(p[92]))
	begin := len(b.shapes.texts)
	middle := func(tag, col int, value uint32) {
		b.shapes.texts = appendNumber(b.shapes.texts, byte(tag<<1), uint64(value))
		v[col] = value
	}
	middle(tagType, colType, uint32(le.Uint16(p[16:])))
	middle(tagClass, colClass, uint32(le.Uint16(p[18:])))
	middle(tagFlags, colFlags, uint32(p[93]&flagsKnown))

	group, by := le.Uint32(p[72:]), le.Uint32(p[32:])
	decided := b.reason(grouped{le.Uint32(p[28:]), group}, reasons, labels)
	var observed grouped // a group alone would look like something observed
	if by != 0 && int(by) <= len(reasons) {
		observed = grouped{by, group}
	}
	would := b.reason(observed, reasons, labels)
	v[colReason], v[colObserved] = uint32(decided), uint32(would)
	if decided != 0 {
		b.shapes.texts = append(b.shapes.texts, b.why[decided-1].decided...)
	}
	if would != 0 {
		b.shapes.texts = append(b.shapes.texts, b.why[would-1].observed...)
	}

	middle(tagOn, colOn, uint32(p[4]))
	middle(tagEntryOff, colEntryOff, uint32(p[5]))
	middle(tagEntryScope, colEntryScope, uint32(p[6]))
	middle(tagEntryAlias, colEntryAlias, uint32(p[7]))
	middle(tagSource, colSource, uint32(p[22]))
	middle(tagRcode, colRcode, uint32(le.Uint16(p[20:])))
	middle(tagEDE, colEDE, uint32(max(int64(int32(le.Uint32(p[24:]))), -1)+1))
	s.middle = b.shapes.texts[begin:]
	v[colAliasCount], v[colAddrCount] = uint32(p[77]), uint32(p[78])

	upstream := b.label(le.Uint32(p[36:]), labels)
	v[colUpstream], s.upstream = upstream.number, upstream.field
	s.revision = le.Uint64(p[48:])
	s.state.number(tagRevision, s.revision)
	bits := Bits(le.Uint16(p[89:])) & bitsKnown
	field(&s.bits, tagBits, colBits, uint32(bits))
	if s.edns = bits&QueryEDNS != 0; s.edns {
		field(&s.bits, tagUDPSize, colUDPSize, uint32(le.Uint16(p[87:])))
		field(&s.bits, tagVersion, colVersion, uint32(p[91]))
	}
}

// plainSize is how many octets a query of a name of that length takes that has no
// options, nor anything else beside the question and, by its bits, an OPT record.
func plainSize(name int, bits Bits) int64 {
	n := int64(12 + name + 4)
	if bits&QueryEDNS != 0 {
		n += 11
	}
	return n
}

func (b *builder) change(at int64, c Change) {
	b.row(KindChange, at)
	b.put(colText, b.text(c.Text))
	b.put(colAction, b.text(c.Action))
	b.put(colActor, b.text(c.Actor))
	b.rowTree.add(appendChange(b.rowTree.begin(), at, Change{Action: printable([]byte(c.Action)), Actor: printable([]byte(c.Actor)), Text: printable([]byte(c.Text))}))
}

func (b *builder) gap(g gap) {
	b.row(KindGap, g.to)
	b.put(colLost, g.lost)
	b.put(colFrom, zigzag(g.to-g.from))
	b.put(colCause, uint64(g.cause))
	b.lost += g.lost
	b.rowTree.add(appendGap(b.rowTree.begin(), g))
	b.gaps++
}

// text returns the number of s in this segment plus one; 0 is the empty text.
func (b *builder) text(s string) uint64 {
	if s == "" {
		return 0
	}
	b.scratch = append(b.scratch[:0], s...)
	i, _ := b.strings.number(b.scratch)
	return uint64(i) + 1
}

// reason returns the number of k in this segment plus one. A group without a
// reason is an entry too; neither is 0.
func (b *builder) reason(k grouped, reasons []Reason, labels []string) uint64 {
	if int(k.reason) > len(reasons) {
		k.reason = 0
	}
	if int(k.group) > len(labels) {
		k.group = 0
	}
	if k == (grouped{}) {
		return 0
	}
	n, ok := b.reasonOf[k]
	if !ok {
		var r Reason
		if k.reason != 0 {
			r = reasons[k.reason-1]
		}
		if k.group != 0 {
			r.Group = labels[k.group-1]
		}
		parts := [5]string{r.Group, r.Policy, r.Rule, r.Category, r.List}
		for i, s := range parts {
			b.reasons = binary.AppendUvarint(b.reasons, b.text(s))
			parts[i] = printable([]byte(s))
		}
		b.why = append(b.why, why{appendWhy(nil, tagReason, parts), appendWhy(nil, tagObserved, parts)})
		b.reasonN++
		n = b.reasonN
		b.reasonOf[k] = n
	}
	return uint64(n)
}

func (b *builder) label(n uint32, all []string) labelled {
	if n == 0 || int(n) > len(all) {
		return labelled{}
	}
	if int(n) >= len(b.upstreamOf) {
		b.upstreamOf = append(b.upstreamOf, make([]labelled, len(all)+1-len(b.upstreamOf))...)
	}
	if l := &b.upstreamOf[n]; l.number == 0 {
		*l = labelled{uint32(b.text(all[n-1])), appendOctets(nil, tagUpstream, printable([]byte(all[n-1])))}
	}
	return b.upstreamOf[n]
}

// payload appends the dictionaries and the columns.
func (b *builder) payload(p []byte) []byte {
	p = b.names.append(p)
	p = b.addrs.append(p)
	p = b.strings.append(p)
	p = binary.AppendUvarint(p, uint64(b.reasonN))
	p = append(p, b.reasons...)
	var first [binary.MaxVarintLen64]byte
	for i, c := range b.cols {
		n := 0
		switch {
		case shaped[i]:
			b.scratch = b.shapes.lay(b.scratch[:0], i)
			c = b.scratch
		case i == colTime:
			n = binary.PutUvarint(first[:], zigzag(b.first-b.min))
		}
		p = binary.AppendUvarint(p, uint64(n+len(c)))
		p = append(p, first[:n]...)
		p = append(p, c...)
	}
	return p
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
