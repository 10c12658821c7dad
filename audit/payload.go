package audit

import (
	"encoding/binary"
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
