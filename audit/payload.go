package audit

import "encoding/binary"

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
	names, strings dict
	addrs          addrDict

	reasons    []byte // laid out: five string numbers each
	reasonN    uint32
	reasonOf   map[grouped]uint32 // number in this segment + 1
	reasonNow  []latest           // by number in the log: what reasonOf had for it last
	why        []why              // by number in this segment
	upstreamOf []labelled         // by number in the log

	cols     [columns][]byte
	rows     uint32
	gaps     uint32 // of rows
	answers  int    // octets in the columns that a row can have many of
	first    int64  // times of the first and the last row, and the earliest and latest of all
	last     int64
	min, max int64
	lost     uint64
	revision uint64
	masked   bool // clients of rows are
	scratch  []byte

	rowTree rowTree
}

// why is a reason as fields of a row: as what decided, and as what was observed.
type why struct{ decided, observed []byte }

// labelled is a label: its number in this segment plus one, 0 when it has none yet, and
// its printable form.
type labelled struct {
	number uint32
	text   string
}

// latest is a reason's number in this segment plus one, 0 when it has none yet, for
// clients of that group.
type latest struct{ group, number uint32 }

// grouped is a reason and the label of the client's group, by their numbers in the log.
type grouped struct{ reason, group uint32 }

func newBuilder() *builder {
	b := &builder{names: newDict(), addrs: newAddrDict(), strings: newDict(), reasonOf: make(map[grouped]uint32)}
	b.reset()
	return b
}

func (b *builder) reset() {
	b.names.reset()
	b.addrs.reset()
	b.strings.reset()
	b.reasons, b.reasonN, b.why = b.reasons[:0], 0, b.why[:0]
	clear(b.reasonOf)
	clear(b.reasonNow)
	clear(b.upstreamOf)
	b.rowTree.reset()
	for i := range b.cols {
		b.cols[i] = b.cols[i][:0]
	}
	b.rows, b.gaps, b.answers, b.lost, b.revision, b.masked = 0, 0, 0, 0, 0, false
}

// full says that the next record belongs in another segment.
func (b *builder) full() bool {
	return b.rows == sealRows ||
		len(b.names.arena)+len(b.addrs.laid)+len(b.strings.arena)+len(b.reasons)+b.answers > sealBytes
}

// size returns how many octets the payload has so far, or a few less.
func (b *builder) size() int {
	n := len(b.names.arena) + len(b.addrs.laid) + len(b.strings.arena) + len(b.reasons)
	for i := range b.cols {
		n += len(b.cols[i])
	}
	return n
}

func (b *builder) put(col int, v uint64) {
	if v < 0x80 {
		b.cols[col] = append(b.cols[col], byte(v))
		return
	}
	b.cols[col] = binary.AppendUvarint(b.cols[col], v)
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

// query adds one event. reasons and labels are the log's tables: number n stands at n-1.
func (b *builder) query(e *Event, reasons []Reason, labels []string) {
	b.row(KindQuery, e.Time)
	b.put(colClient, b.addrs.ref(e.Client))
	b.put(colTransport, uint64(e.Transport))
	b.put(colName, b.names.ref(e.Name))
	b.put(colType, uint64(e.Type))
	b.put(colClass, uint64(e.Class))
	b.put(colFlags, uint64(e.flags()))
	decided := b.reason(grouped{e.Reason, e.Group}, reasons, labels)
	b.put(colReason, decided)
	var observed grouped // a group alone would look like something observed
	if e.Observed != 0 && int(e.Observed) <= len(reasons) {
		observed = grouped{e.Observed, e.Group}
	}
	would := b.reason(observed, reasons, labels)
	b.put(colObserved, would)
	b.put(colOn, uint64(e.On))
	b.put(colEntryOff, uint64(e.EntryOff))
	b.put(colEntryScope, uint64(e.EntryScope))
	b.put(colEntryAlias, uint64(e.EntryAlias))
	b.put(colSource, uint64(e.Source))
	b.put(colRcode, uint64(e.Rcode))
	b.put(colEDE, uint64(max(int64(e.EDE), -1)+1))
	b.put(colAliasCount, uint64(len(e.Aliases)))
	b.put(colAddrCount, uint64(len(e.Addrs)))
	for _, a := range e.Aliases {
		b.put(colAlias, b.names.ref(a))
	}
	for _, a := range e.Addrs {
		b.put(colAddr, b.addrs.ref(a))
	}
	b.answers = len(b.cols[colAlias]) + len(b.cols[colAddr])
	upstream := b.label(e.Upstream, labels)
	b.put(colUpstream, uint64(upstream.number))
	micros := (uint64(max(e.Duration, 0)) + 999) / 1000
	b.put(colDuration, micros)
	b.put(colRevision, zigzag(int64(e.Revision-b.revision)))
	b.revision = e.Revision
	b.packet(e)
	standsIn := masked(e.Client)
	b.masked = b.masked || standsIn
	b.rowTree.add(appendQuery(b.rowTree.begin(), e, standsIn, b.reasonFields(decided).decided, b.reasonFields(would).observed, upstream.text, micros))
}

// reasonFields returns the fields of a row for the reason that a column refers to so.
func (b *builder) reasonFields(column uint64) why {
	if column == 0 {
		return why{}
	}
	return b.why[column-1]
}

func (b *builder) packet(e *Event) {
	b.put16(colID, e.ID)
	b.put16(colPort, e.Port)
	b.put(colQuerySize, zigzag(int64(e.QuerySize)-plainSize(len(e.Name), e.Bits)))
	b.put(colAnswerSize, uint64(e.AnswerSize))
	b.put(colBits, uint64(e.Bits&bitsKnown))
	if e.Bits&QueryEDNS != 0 {
		b.put(colUDPSize, uint64(e.UDPSize))
		b.put(colVersion, uint64(e.Version))
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
	if int(k.reason) >= len(b.reasonNow) {
		b.reasonNow = append(b.reasonNow, make([]latest, len(reasons)+1-len(b.reasonNow))...)
	}
	now := &b.reasonNow[k.reason]
	if now.group == k.group && now.number != 0 {
		return uint64(now.number)
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
	*now = latest{k.group, n}
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
		*l = labelled{uint32(b.text(all[n-1])), printable([]byte(all[n-1]))}
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
		if i == colTime {
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
