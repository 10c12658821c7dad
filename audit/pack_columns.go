package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

// The columns of a pack, in the order in which they are stored, which is part of the
// format; see packMagic.
const (
	packLabels = iota
	packOdd
	packFresh
	packEnd
	packLabel
	packClients
	packAnswers
	packShort
	packLong
	packTexts
	packReasons
	packClient
	packTransport
	packAskerBits
	packUDPSize
	packEDNSVersion
	packName
	packType
	packClass
	packFlags
	packOn
	packEntryOff
	packEntryScope
	packEntryAlias
	packRcode
	packEDE
	packAnswerSize
	packAnswerBits
	packAliasCount
	packAddrCount
	packAlias
	packAddr
	packKind
	packTime
	packAsker
	packQuestion
	packReason
	packObserved
	packSource
	packUpstream
	packDuration
	packRevision
	packID
	packPort
	packQuerySize
	packText
	packAction
	packActor
	packLost
	packFrom
	packCause
	packColumns
)

// A packWriter lays out columns.
type packWriter struct {
	z      *zstd.Encoder
	out    []byte
	size   int // octets before compression
	plane  []byte
	small  []byte
	pause  func() // after each column
	column int    // number of the next
	costs  *[packColumns]int
}

// column appends the next column of values, the number of which it is said to have.
func appendColumn[T ~uint8 | ~uint16 | ~uint32 | ~uint64](w *packWriter, column int, values []T) {
	if column != w.column {
		panic("audit: columns out of order") // the order is the format
	}
	w.column++
	before := len(w.out)
	var most T
	for _, v := range values {
		most |= v
	}
	width := (bits.Len64(uint64(most)) + 7) / 8
	w.out = binary.AppendUvarint(w.out, uint64(len(values)))
	w.out = append(w.out, byte(width))
	for k := range width {
		w.plane = w.plane[:0]
		for _, v := range values {
			w.plane = append(w.plane, byte(uint64(v)>>(8*k)))
		}
		w.size += len(w.plane)
		w.small = w.z.EncodeAll(w.plane, w.small[:0])
		kept, packed := w.plane, uint64(0)
		if len(w.small) < len(w.plane) {
			kept, packed = w.small, 1
		}
		w.out = binary.AppendUvarint(w.out, uint64(len(kept))<<1|packed)
		w.out = append(w.out, kept...)
	}
	w.pause()
	if w.costs != nil {
		w.costs[column] += len(w.out) - before
	}
}

// A shelf has the columns of a pack, each of which is unpacked when it is asked for. Its
// memory is used again for the next pack.
type shelf struct {
	z        *zstd.Decoder
	columns  [packColumns]shelved
	planes   [8][]byte // room for those of one column
	unpacked [8][]byte // those of the one that was unpacked last
	numbers  []uint32
	octets   []byte
	sizes    []uint8
	wide     []uint64
	names    nameShelf

	picked   []pickedRow
	few      bool      // they are all that there is a row for
	wanted   [2][]bool // room for which questions and which askers are
	times    []int64   // of those picked
	kinds    []uint8   // of each row
	when     []int64   // likewise
	queries  int       // of them
	loaded   [allParts]bool
	asker    []uint32 // of each query
	client   []uint32 // of each asker, among the block's addresses
	question []uint32 // of each query
	name     []uint32 // of each question
	aliases  spread   // of each question, as numbers of names
	answers  spread   // likewise, of the block's addresses
}

// A pickedRow is a query that is to be read: its place among the rows, and in tables: among the
// queries, and of its asker and its question.
type pickedRow struct {
	row uint32
	in  [tables]uint32
}

// A shelved column is as it is stored.
type shelved struct {
	values int
	width  int
	planes [8]plane
}

type plane struct {
	b      []byte
	packed bool
}

// lay finds the columns in b. size is the octets that they have in all when unpacked, which
// is proven.
func (s *shelf) lay(z *zstd.Decoder, b []byte, size uint32) error {
	s.z = z
	c := cursor{b: b}
	var sum uint64
	for i := range s.columns {
		col := &s.columns[i]
		values := c.upTo(maxPayload)
		*col = shelved{values: int(values)}
		if len(c.b) == 0 || c.failed {
			return fmt.Errorf("its column %d is cut short", i)
		}
		if col.width = int(c.b[0]); col.width > 8 {
			return fmt.Errorf("its column %d is %d octets wide", i, col.width)
		}
		c.b = c.b[1:]
		if col.width == 0 && values > maxRows*MaxAnswers {
			return fmt.Errorf("its column %d claims %d values", i, values)
		}
		for k := range col.width {
			n := c.next()
			col.planes[k] = plane{c.take(n >> 1), n&1 != 0}
			if sum += values; sum > uint64(size) || c.failed || n&1 == 0 && n>>1 != values {
				return fmt.Errorf("its column %d does not fit", i)
			}
		}
	}
	if len(c.b) != 0 || sum != uint64(size) {
		return errors.New("its columns are cut short or overlong")
	}
	return nil
}

// values says how many values a column has; fit whether so many.
func (s *shelf) values(column int) int { return s.columns[column].values }

func (s *shelf) fit(n int, columns ...int) error {
	for _, i := range columns {
		if s.columns[i].values != n {
			return fmt.Errorf("its column %d has %d values instead of %d", i, s.columns[i].values, n)
		}
	}
	return nil
}

// unpackPlane unpacks one plane of n values, into s.planes[k] unless it is stored as it is.
func (s *shelf) unpackPlane(k int, p *plane, n int) ([]byte, error) {
	if !p.packed {
		return p.b, nil
	}
	return s.unpackInto(&s.planes[k], p, n)
}

// unpackInto unpacks a plane of n values into the memory of dst, which it makes larger if need be.
func (s *shelf) unpackInto(dst *[]byte, p *plane, n int) ([]byte, error) {
	if cap(*dst) < n+unpackSlack {
		*dst = make([]byte, 0, n+unpackSlack)
	}
	if b := (*dst)[:n]; unpackRun(b, p.b) {
		return b, nil
	}
	b, err := s.z.DecodeAll(p.b, (*dst)[:0:n+unpackSlack])
	if err != nil {
		return nil, err
	}
	if len(b) != n {
		return nil, fmt.Errorf("%d values instead of %d", len(b), n)
	}
	return b, nil
}

// readColumn unpacks a column of up to 65,536 rows into the memory of dst. No value is above
// limit, which fits T.
func readColumn[T ~uint8 | ~uint16 | ~uint32 | ~uint64](s *shelf, column int, dst []T, limit uint64) ([]T, error) {
	col := &s.columns[column]
	if col.width > 0 {
		giveWay()
	}
	if err := col.fits(column, limit); err != nil {
		return sizedZero(dst, col.values), err
	}
	if octets, ok := any(&dst).(*[]byte); ok && col.width == 1 && col.planes[0].packed {
		b, err := s.unpackInto(octets, &col.planes[0], col.values)
		if err != nil {
			return sizedZero(dst, col.values), fmt.Errorf("its column %d: %w", column, err)
		}
		*octets = b
		var most byte
		if limit < math.MaxUint8 {
			for _, v := range b {
				most = max(most, v)
			}
		}
		if uint64(most) > limit {
			clear(dst)
			return dst, tooLarge(column, uint64(most), limit)
		}
		return dst, nil
	}
	dst = sized(dst, col.values)
	planes, err := s.unpackColumn(column)
	if err != nil {
		clear(dst)
		return dst, err
	}
	if most := uint64(join(dst, planes)); most > limit {
		clear(dst)
		return dst, tooLarge(column, most, limit)
	}
	return dst, nil
}

// unpackColumn returns a column's planes, which are good until the next are unpacked.
func (s *shelf) unpackColumn(column int) (planes [][]byte, err error) {
	col := &s.columns[column]
	for k := range col.width {
		if s.unpacked[k], err = s.unpackPlane(k, &col.planes[k], col.values); err != nil {
			return nil, fmt.Errorf("its column %d: %w", column, err)
		}
	}
	return s.unpacked[:col.width], nil
}

// join puts values together from their planes, and returns the greatest.
func join[T ~uint8 | ~uint16 | ~uint32 | ~uint64](dst []T, planes [][]byte) (most T) {
	n := len(dst)
	switch len(planes) {
	case 0:
		clear(dst)
	case 1:
		for i, a := range planes[0][:n] {
			dst[i] = T(a)
			most = max(most, T(a))
		}
	case 2:
		b := planes[1][:n]
		for i, a := range planes[0][:n] {
			v := T(uint64(a) | uint64(b[i])<<8)
			dst[i] = v
			most = max(most, v)
		}
	case 3:
		b, c := planes[1][:n], planes[2][:n]
		for i, a := range planes[0][:n] {
			v := T(uint64(a) | uint64(b[i])<<8 | uint64(c[i])<<16)
			dst[i] = v
			most = max(most, v)
		}
	default:
		b, c, d := planes[1][:n], planes[2][:n], planes[3][:n]
		for i, a := range planes[0][:n] {
			v := T(uint64(a) | uint64(b[i])<<8 | uint64(c[i])<<16 | uint64(d[i])<<24)
			for k, more := range planes[4:] {
				v |= T(uint64(more[i]) << (8*k + 32))
			}
			dst[i] = v
			most = max(most, v)
		}
	}
	return most
}

// fits says why a column with values up to limit cannot be as wide.
func (c *shelved) fits(column int, limit uint64) error {
	if c.width > 0 && 8*(c.width-1) >= bits.Len64(limit) {
		return fmt.Errorf("its column %d is too wide", column)
	}
	return nil
}

func tooLarge(column int, value, limit uint64) error {
	return fmt.Errorf("its column %d has a value of %d, at most %d can be", column, value, limit)
}

// readRefs unpacks a column of references to entries, of which next have been used so far and
// which are size in all, as numbers from 0.
func readRefs(s *shelf, column int, dst []uint32, next *uint32, size int) ([]uint32, error) {
	dst, err := readColumn(s, column, dst, uint64(size))
	if err != nil {
		return dst, err
	}
	to := numbering{next: *next}
	for i, v := range dst {
		dst[i] = to.number(v)
	}
	if !to.within(size) {
		clear(dst)
		return dst, fmt.Errorf("its column %d refers to what is not there", column)
	}
	*next = to.next
	return dst, nil
}

// A numbering makes numbers of references, which are below 1<<31.
type numbering struct {
	next uint32 // so many entries have been used
	odd  uint32 // the highest bit is set by a reference to one that had not been
}

// number has no branches: which of many thousand references is to a new entry cannot be foreseen.
func (n *numbering) number(v uint32) uint32 {
	fresh := (v - 1) >> 31 // 1 for 0
	n.next += fresh
	n.odd |= n.next - v
	return v + fresh*n.next - 1
}

// within says that all have been to one of size entries.
func (n *numbering) within(size int) bool { return n.odd>>31 == 0 && n.next <= uint32(size) }

// used says that all entries have been used that are referred to by a column.
func used(column int, next uint32, size int) error {
	if int(next) != size {
		return fmt.Errorf("its column %d refers to %d entries of %d", column, next, size)
	}
	return nil
}

func sizedZero[T any](s []T, n int) []T {
	s = sized(s, n)
	clear(s)
	return s
}
