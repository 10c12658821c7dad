package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A page is a segment of which only what a question needs is read: the
// dictionaries, and those columns of its rows that are asked for, each when it is
// first. That is several times as fast as reading whole rows, which decode does.
// A page is reused from one segment to the next.
//
// A column has a value for each row; that of a row which is no query is 0. Every
// number in it is within its table. After an error, which stays in err, columns
// have a value for each row all the same, but what that is says nothing.
type page struct {
	block
	value    []byte // the segment, as it is in the store
	view     *view  // what was found in place of value, if it is not in the store yet
	buf      []byte
	marks    marks
	chosen   []uint32 // rows that the filter wants, in order
	few      bool     // there are no rows but those
	from, to uint64   // the question has had rows beyond these, before they were packed; 0 is no limit
	err      error
	grouping grouping
	prey     prey
	local    []uint32 // of the question

	read    [columns]bool // by the number of a column
	pure    bool          // all rows are queries
	kind    []Kind
	time    []int64
	client  []uint32
	name    []uint32
	why     []uint32
	observe []uint32
	server  []uint32
	typ     []uint16
	rcode   []uint16
	flag    []uint8
	source  []uint8
	carrier []uint8
	alias   spread
	addr    spread
}

// A spread is a column with any number of references in each row.
type spread struct {
	ends []uint32 // where a row's end; they begin where the row before ends
	refs []uint32
}

func (s spread) of(row uint32) []uint32 {
	var from uint32
	if row > 0 {
		from = s.ends[row-1]
	}
	return s.refs[from:s.ends[row]]
}

// open reads the dictionaries of the segment in p.value.
func (p *page) open(u *unpacker) {
	p.read, p.err, p.chosen, p.pure, p.few = [columns]bool{}, nil, p.chosen[:0], false, false
	if p.view != nil && p.view.segment == nil {
		p.err = p.dictionaries(p.view.header, p.view.payload)
		return
	}
	segment := p.value
	if p.view != nil {
		segment = p.view.segment
	}
	var payload []byte
	payload, _, p.err = u.openBlock(&p.block, segment, p.buf)
	if cap(payload) > cap(p.buf) { // else it is p.buf, with less room to be seen
		p.buf = payload
	}
}

// after returns the sequence number behind the segment with that key.
func (p *page) after(key uint64) uint64 {
	if p.view != nil {
		return p.view.header.last() + 1
	}
	return after(p.value, key)
}

// whole reads all of the segment's rows, for record.
func (p *page) whole() {
	if p.err == nil && len(p.rows) == 0 {
		columns := p.columns // decode uses them up
		p.err = p.decode(true)
		p.columns = columns
	}
}

// size returns how many records there are in what was fetched.
func (p *page) size() int {
	if p.view != nil {
		return int(p.view.header.count)
	}
	h, _ := readHeader(p.value) // else it has none
	return int(h.count)
}

// recordOf returns the chosen row with that place among them, in out.
func (p *page) recordOf(out *reusable, k int) *Record {
	i := p.chosen[k]
	r := &p.rows[k]
	if !p.few {
		r = &p.rows[i]
	}
	p.describe(out, r, p.header.first+uint64(i))
	return &out.Record
}

// need reads parts of a pack, and says that they, and all else so far, could be read.
func (p *page) need(parts ...func() error) bool {
	for _, read := range parts {
		p.failed(read())
	}
	return p.err == nil
}

// failed keeps the first error.
func (p *page) failed(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *page) fail(col int) {
	if p.err == nil {
		p.err = fmt.Errorf("its column %d does not fit its records", col)
	}
}

// once says that a column has not been read before, and counts it as read.
func (p *page) once(col int) bool {
	if p.read[col] {
		return false
	}
	p.read[col] = true
	return true
}

// uvarint returns the first value in b and how many octets it takes; none if it
// is missing or malformed.
func uvarint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

func (p *page) kinds() []Kind {
	if !p.once(colKind) {
		return p.kind
	}
	p.kind = sized(p.kind, int(p.header.count))
	if p.header.packed {
		p.packedKinds()
		return p.kind
	}
	b := p.columns[colKind].b
	p.pure = true
	for i := range p.kind {
		k, n := uvarint(b)
		if n <= 0 || k < uint64(KindQuery) || k > uint64(KindGap) {
			p.fail(colKind)
			clear(p.kind[i:])
			p.pure = false
			return p.kind
		}
		b = b[n:]
		p.kind[i] = Kind(k)
		p.pure = p.pure && p.kind[i] == KindQuery
	}
	if len(b) != 0 {
		p.fail(colKind)
	}
	return p.kind
}

func (p *page) times() []int64 {
	if !p.once(colTime) {
		return p.time
	}
	p.time = sized(p.time, int(p.header.count))
	if p.header.packed {
		p.packedTimes()
		return p.time
	}
	b, at := p.columns[colTime].b, p.header.min
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range p.time {
		v, n := uvarint(b)
		if n <= 0 {
			p.fail(colTime)
			return p.time
		}
		b = b[n:]
		delta := int64(v)
		if p.header.version >= 2 {
			delta = unzigzag(v)
		} else if delta < 0 || at+delta < at {
			p.err = errors.New("its times are not in order")
			return p.time
		}
		at += delta
		first, last = min(first, at), max(last, at)
		p.time[i] = at
	}
	if len(b) != 0 || first != p.header.min || last != p.header.max {
		p.fail(colTime)
	}
	return p.time
}

func (p *page) types() []uint16  { return numbers(p, &p.typ, colType, math.MaxUint16) }
func (p *page) rcodes() []uint16 { return numbers(p, &p.rcode, colRcode, math.MaxUint16) }
func (p *page) flags() []uint8   { return numbers(p, &p.flag, colFlags, flagsKnown) }
func (p *page) sources() []uint8 { return numbers(p, &p.source, colSource, math.MaxUint8) }
func (p *page) transports() []uint8 {
	return numbers(p, &p.carrier, colTransport, math.MaxUint8)
}

func (p *page) whys() []uint32 {
	p.need(p.loadTexts)
	return numbers(p, &p.why, colReason, uint64(len(p.reasons)))
}

func (p *page) observations() []uint32 {
	p.need(p.loadTexts)
	return numbers(p, &p.observe, colObserved, uint64(len(p.reasons)))
}

func (p *page) upstreams() []uint32 {
	p.need(p.loadTexts)
	return numbers(p, &p.server, colUpstream, uint64(len(p.strings)))
}

// numbers reads a column of queries into *values.
func numbers[T uint8 | uint16 | uint32](p *page, values *[]T, col int, limit uint64) []T {
	if !p.once(col) {
		return *values
	}
	kinds := p.kinds()
	out := sized(*values, len(kinds))
	*values = out
	if p.header.packed {
		packedNumbers(p, out, col, limit)
		return out
	}
	b := p.columns[col].b
	for i := range out {
		if !p.pure && kinds[i] != KindQuery {
			out[i] = 0
			continue
		}
		v, n := uvarint(b)
		if n <= 0 || v > limit {
			p.fail(col)
			return out
		}
		out[i] = T(v)
		b = b[n:]
	}
	if len(b) != 0 {
		p.fail(col)
	}
	return out
}

// asked are the names asked for; aliases those in the answers.
func (p *page) asked() []uint32 {
	p.need(p.loadNames)
	p.references(&p.name, &p.alias, colName, colAliasCount, colAlias, len(p.names))
	return p.name
}

func (p *page) aliases() spread {
	p.asked()
	return p.alias
}

// clients are those who asked; answers the addresses that they got.
func (p *page) clients() []uint32 {
	p.need(p.loadAddrs)
	p.references(&p.client, &p.addr, colClient, colAddrCount, colAddr, len(p.addrs))
	return p.client
}

func (p *page) answers() spread {
	p.clients()
	return p.addr
}

// references reads a column with one reference for each query and that with as
// many as a third column says: both use the entries of one dictionary, in turns.
func (p *page) references(one *[]uint32, many *spread, colOne, colCount, colMany, size int) {
	if !p.once(colOne) {
		return
	}
	kinds := p.kinds()
	*one = sized(*one, len(kinds))
	many.ends, many.refs = sized(many.ends, len(kinds)), many.refs[:0]
	if p.header.packed {
		p.packedReferences(*one, many, colOne == colName)
		return
	}
	first, ends := *one, many.ends
	a, counts, b := p.columns[colOne].b, p.columns[colCount].b, p.columns[colMany].b
	next, limit := uint32(0), uint32(size)
	if !p.pure {
		clear(first)
		clear(ends)
	}
	for i := range first {
		if p.pure || kinds[i] == KindQuery {
			v, n := uvarint(a)
			more, m := uvarint(counts)
			if n <= 0 || v > uint64(next) || v == 0 && next == limit || m <= 0 || more > MaxAnswers {
				p.fail(colOne)
				clear(ends) // those of the rows left over may be of other segments
				return
			}
			a = a[n:]
			if v == 0 {
				next++
				v = uint64(next)
			}
			first[i] = uint32(v - 1)
			counts = counts[m:]
			for range more {
				v, n := uvarint(b)
				if n <= 0 || v > uint64(next) || v == 0 && next == limit {
					p.fail(colMany)
					clear(ends)
					return
				}
				b = b[n:]
				if v == 0 {
					next++
					v = uint64(next)
				}
				many.refs = append(many.refs, uint32(v-1))
			}
		}
		ends[i] = uint32(len(many.refs))
	}
	if len(a) != 0 || len(b) != 0 || len(counts) != 0 || next != limit {
		p.fail(colOne)
		clear(ends)
	}
}

// sized returns a slice of n values, in the memory of s if that is large enough.
// What is in it is left from before.
func sized[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }
