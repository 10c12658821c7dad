package audit

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// Much of a query is as in many others: all but when it came, who asked for what, the answer's
// names and addresses, and the numbers of its packets. Each such combination, a shape, is
// numbered when it first comes in a segment, with its fields of the row that is proven already
// made; the columns that it says are laid out when the segment is.

// A shapeKey is all of an event, as it lies in a slab, that makes its shape.
type shapeKey [6]uint64

// of makes k that of the first event in p, a query.
func (k *shapeKey) of(p []byte) {
	le := binary.LittleEndian
	_ = p[slabFixed-1]
	k[0] = le.Uint64(p[16:])&(1<<56-1) | uint64(p[78])<<56          // type, class, rcode, source; addresses
	k[1] = le.Uint64(p[24:])                                        // EDE, reason
	k[2] = le.Uint64(p[32:])                                        // observed, upstream
	k[3] = le.Uint64(p[48:])                                        // revision
	k[4] = uint64(le.Uint32(p[4:])) | uint64(le.Uint32(p[72:]))<<32 // on, offset, scope, which; group
	k[5] = le.Uint64(p[87:])&(1<<56-1) | uint64(p[77])<<56          // UDP size, bits, version, transport, flags; aliases
}

// is says whether both are the same. It reads words as of writes them: a processor that was to
// read two of them at once would wait until they are out of its store buffer.
func (k *shapeKey) is(o *shapeKey) bool {
	return (k[0]^o[0])|(k[1]^o[1])|(k[2]^o[2])|(k[3]^o[3])|(k[4]^o[4])|(k[5]^o[5]) == 0
}

// A shape is one of those of a segment.
type shape struct {
	key shapeKey

	// Its fields of a row, in the order in which they stand there.
	transport piece
	middle    []byte // from the type to the EDE
	upstream  []byte
	state     piece // revision
	bits      piece // and with EDNS, UDP size and version
}

// shaped are the columns that a shape says. Every query has a value in them, but for the two
// of EDNS.
var shaped = [columns]bool{
	colTransport: true, colType: true, colClass: true, colFlags: true, colReason: true, colObserved: true, colOn: true,
	colEntryOff: true, colEntryScope: true, colEntryAlias: true, colSource: true, colRcode: true, colEDE: true,
	colAliasCount: true, colAddrCount: true, colUpstream: true, colRevision: true, colBits: true, colUDPSize: true, colVersion: true,
}

// A piece is a few fields of a row.
type piece struct {
	octets [16]byte
	size   uint8
}

// number adds a field as appendNumber does. Sixteen octets find room.
func (p *piece) number(tag int, v uint64) {
	if v > 0 {
		p.size = uint8(len(binary.AppendUvarint(append(p.octets[:p.size], byte(tag<<1)), v)))
	}
}

// put puts the piece at the beginning of b and returns how long it is. It moves all sixteen
// octets, which the compiler does in one step.
func (p *piece) put(b []byte) int {
	*(*[16]byte)(b) = p.octets
	return int(p.size)
}

// shapes numbers the shapes of one segment.
type shapes struct {
	seed  [6]uint64 // so that nobody can choose queries that get in each other's way
	all   []shape
	texts []byte         // what middles of shapes are in
	slots []uint32       // numbers plus one; a power of two of them, at most half in use
	of    []uint16       // by query
	laid  *[1 << 16]byte // by shape: for lay, the octet that each has in a column

	// By shape: what it has in those columns that it says, but for the revision, or none.
	values    [columns][]uint32
	revisions []uint64
}

// none is what a shape has in a column where its queries have nothing.
const none = math.MaxUint32

func newShapes() shapes {
	s := shapes{slots: make([]uint32, 64), laid: new([1 << 16]byte)}
	for i := range s.seed {
		s.seed[i] = rand.Uint64()
	}
	return s
}

func (s *shapes) reset() {
	s.all, s.of, s.texts, s.revisions = s.all[:0], s.of[:0], s.texts[:0], s.revisions[:0]
	for i := range s.values {
		s.values[i] = s.values[i][:0]
	}
	clear(s.slots)
}

func (s *shapes) hash(k *shapeKey) uint32 {
	h0, l0 := bits.Mul64(k[0]^s.seed[0], k[1]^s.seed[1])
	h1, l1 := bits.Mul64(k[2]^s.seed[2], k[3]^s.seed[3])
	h2, l2 := bits.Mul64(k[4]^s.seed[4], k[5]^s.seed[5])
	return uint32(h0 ^ l0 ^ h1 ^ l1 ^ h2 ^ l2)
}

// find returns the shape with that key, which the next query has; a new one has nothing but
// the key.
func (s *shapes) find(k *shapeKey) (_ *shape, fresh bool) {
	mask := uint32(len(s.slots) - 1)
	at := s.hash(k) & mask
	for ; s.slots[at] != 0; at = (at + 1) & mask {
		if n := s.slots[at] - 1; s.all[n].key.is(k) {
			s.of = append(s.of, uint16(n))
			return &s.all[n], false
		}
	}
	s.of = append(s.of, uint16(len(s.all)))
	s.all = append(s.all, shape{key: *k})
	s.slots[at] = uint32(len(s.all))
	if 2*len(s.all) > len(s.slots) {
		s.grow()
	}
	return &s.all[len(s.all)-1], true
}

func (s *shapes) grow() {
	s.slots = make([]uint32, 2*len(s.slots))
	mask := uint32(len(s.slots) - 1)
	for i := range s.all {
		at := s.hash(&s.all[i].key) & mask
		for s.slots[at] != 0 {
			at = (at + 1) & mask
		}
		s.slots[at] = uint32(i) + 1
	}
}

// shape makes a new shape of the event that has it first.
func (b *builder) shape(s *shape, p []byte, reasons []Reason, labels []string) {
	le := binary.LittleEndian
	values := &b.shapes.values
	says := func(col int, value uint32) { values[col] = append(values[col], value) }
	field := func(fields *piece, tag, col int, value uint32) {
		fields.number(tag, uint64(value))
		says(col, value)
	}
	field(&s.transport, tagTransport, colTransport, uint32(p[92]))

	texts := b.shapes.texts
	begin := len(texts)
	middle := func(tag, col int, value uint32) {
		texts = appendNumber(texts, byte(tag<<1), uint64(value))
		says(col, value)
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
	says(colReason, uint32(decided))
	says(colObserved, uint32(would))
	if decided != 0 {
		texts = append(texts, b.why[decided-1].decided...)
	}
	if would != 0 {
		texts = append(texts, b.why[would-1].observed...)
	}
	middle(tagOn, colOn, uint32(p[4]))
	middle(tagEntryOff, colEntryOff, uint32(p[5]))
	middle(tagEntryScope, colEntryScope, uint32(p[6]))
	middle(tagEntryAlias, colEntryAlias, uint32(p[7]))
	middle(tagSource, colSource, uint32(p[22]))
	middle(tagRcode, colRcode, uint32(le.Uint16(p[20:])))
	middle(tagEDE, colEDE, uint32(max(int64(int32(le.Uint32(p[24:]))), -1)+1))
	s.middle, b.shapes.texts = texts[begin:], texts

	says(colAliasCount, uint32(p[77]))
	says(colAddrCount, uint32(p[78]))
	upstream := b.label(le.Uint32(p[36:]), labels)
	says(colUpstream, upstream.number)
	s.upstream = upstream.field
	revision := le.Uint64(p[48:])
	s.state.number(tagRevision, revision)
	b.shapes.revisions = append(b.shapes.revisions, revision)

	bits := Bits(le.Uint16(p[89:])) & bitsKnown
	field(&s.bits, tagBits, colBits, uint32(bits))
	if bits&QueryEDNS == 0 {
		says(colUDPSize, none)
		says(colVersion, none)
		return
	}
	field(&s.bits, tagUDPSize, colUDPSize, uint32(le.Uint16(p[87:])))
	field(&s.bits, tagVersion, colVersion, uint32(p[91]))
}

// lay appends the octets of a column that shapes say.
func (s *shapes) lay(b []byte, col int) []byte {
	if col == colRevision {
		return s.layRevision(b)
	}
	values, laid, n := s.values[col], s.laid, len(b)
	single, same := true, true // each has one octet there; each has the same there
	for i, v := range values {
		laid[i] = byte(v)
		single, same = single && v < 0x80, same && v == values[0]
	}
	switch {
	case same:
		if len(values) > 0 {
			b = appendTimes(b, values[0], len(s.of))
		}
	case single:
		b = slices.Grow(b, len(s.of))[:n+len(s.of)]
		to := b[n:]
		for i, number := range s.of[:len(to)] {
			to[i] = laid[number]
		}
	default:
		for _, number := range s.of {
			switch v := values[number]; {
			case v < 0x80:
				b = append(b, byte(v))
			case v < 1<<14:
				b = append(b, byte(v)|0x80, byte(v>>7))
			case v != none:
				b = binary.AppendUvarint(b, uint64(v))
			}
		}
	}
	return b
}

// appendTimes appends v as a varint so many times, or nothing if it is none.
func appendTimes(b []byte, v uint32, times int) []byte {
	if v == none || times == 0 {
		return b
	}
	n := len(b)
	b = binary.AppendUvarint(b, uint64(v))
	size := times * (len(b) - n)
	done := len(b) - n
	for b = slices.Grow(b, size)[:n+size]; done < size; done *= 2 {
		copy(b[n+done:], b[n:n+done])
	}
	return b
}

// layRevision is lay for differences to the query before.
func (s *shapes) layRevision(b []byte) []byte {
	var before uint64
	for i, number := range s.of {
		now := s.revisions[number]
		if b = binary.AppendUvarint(b, zigzag(int64(now-before))); i == 0 && slices.Max(s.revisions) == slices.Min(s.revisions) {
			return appendTimes(b, 0, len(s.of)-1)
		}
		before = now
	}
	return b
}
