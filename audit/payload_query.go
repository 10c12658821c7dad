package audit

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// query adds one event, which is in the form that it has in a slab. reasons and labels are
// the log's tables: number n stands at n-1. What goes into the columns goes into the row that
// is proven too, as appendQuery has it.
func (b *builder) query(p []byte, reasons []Reason, labels []string) {
	le := binary.LittleEndian
	p = p[:le.Uint32(p)]
	at := int64(le.Uint64(p[8:]))
	b.row(KindQuery, at)
	var key shapeKey
	key.of(p)
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
