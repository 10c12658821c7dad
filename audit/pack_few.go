package audit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
)

// fewTimes reads the times of the picked rows into the shelf, without making those of the others:
// that these fit the header is then not known.
func (p *page) fewTimes() error {
	s := p.shelf
	planes, err := s.unpackColumn(packTime)
	if err != nil {
		return err
	}
	sum := zigzagSum{planes: planes, at: p.header.min}
	s.times = sized(s.times, len(s.picked))
	for i := range s.picked {
		s.times[i] = sum.to(int(s.picked[i].row) + 1)
	}
	return nil
}

// A zigzagSum adds up zigzag numbers whose octets are in planes, eight at a time where none of
// them is negative.
type zigzagSum struct {
	planes [][]byte
	at     int64 // sum of those before next
	next   int
}

// to returns the sum of the first n, which are no fewer than before.
func (z *zigzagSum) to(n int) int64 {
	const (
		signs  = 0x0101010101010101
		second = 0x00ff00ff00ff00ff
		most   = 256 / 2 // words until the sum of pairs may not fit 16 bits
	)
	if len(z.planes) == 0 { // all are 0
		return z.at
	}
	for z.next+8 <= n {
		var (
			sums  [8]uint64 // by plane, in four parts
			words = min((n-z.next)/8, most)
			w     = 0
		)
		low := z.planes[0][z.next:]
		for ; w < words && binary.LittleEndian.Uint64(low[8*w:])&signs == 0; w++ {
		}
		for k, plane := range z.planes {
			b, sum := plane[z.next:][:8*w], uint64(0)
			for ; len(b) >= 8; b = b[8:] {
				v := binary.LittleEndian.Uint64(b)
				sum += v&second + v>>8&second
			}
			sums[k] = sum
		}
		for k := range z.planes {
			parts := sums[k]&0x0000ffff0000ffff + sums[k]>>16&0x0000ffff0000ffff
			if sum := parts&math.MaxUint32 + parts>>32; k == 0 {
				z.at += int64(sum / 2)
			} else {
				z.at += int64(sum << (8*k - 1))
			}
		}
		if z.next += 8 * w; w < words { // there are negative ones among the next
			z.at, z.next = z.slowly(z.next+8), z.next+8
		}
	}
	return z.slowly(n)
}

func (z *zigzagSum) slowly(n int) int64 {
	at := z.at
	for i := z.next; i < n; i++ {
		at += unzigzag(joined(z.planes, uint32(i)))
	}
	return at
}

// fewAskers reads which asker and which question each of the picked queries has, likewise.
func (s *shelf) fewAskers() error {
	if s.loaded[askersPart] {
		s.placePicked()
		return nil
	}
	planes, err := s.unpackColumn(packAsker)
	if err != nil {
		return err
	}
	zeros, most := zeroCount{planes: planes}, uint64(len(s.client))
	for i := range s.picked {
		in := &s.picked[i].in
		v := joined(planes, in[ofQuery])
		if v == 0 { // one that asks for the first time
			v = uint64(zeros.to(int(in[ofQuery]) + 1))
		}
		if v > most {
			return tooLarge(packAsker, v, most)
		}
		in[ofAsker], in[ofQuestion] = uint32(v-1), s.question[in[ofQuery]]
	}
	return nil
}

// placePicked is fewAskers where those of all are there.
func (s *shelf) placePicked() {
	for i := range s.picked {
		in := &s.picked[i].in
		in[ofAsker], in[ofQuestion] = s.asker[in[ofQuery]], s.question[in[ofQuery]]
	}
}

// readFew puts into s.wide what a column of a table says of the picked queries.
func (s *shelf) readFew(column, table int, limit uint64) error {
	if err := s.columns[column].fits(column, limit); err != nil {
		return err
	}
	planes, err := s.unpackColumn(column)
	if err != nil {
		return err
	}
	s.wide = sized(s.wide, len(s.picked))
	for i := range s.picked {
		v := joined(planes, s.picked[i].in[table])
		if v > limit {
			return tooLarge(column, v, limit)
		}
		s.wide[i] = v
	}
	return nil
}

// joined is one value of a column.
func joined(planes [][]byte, at uint32) (v uint64) {
	for k, plane := range planes {
		v |= uint64(plane[at]) << (8 * k)
	}
	return v
}

const fewAddresses = 128 // to look up; for more it takes less to read all

// addressThese makes sure that the block has these of its addresses.
func (b *block) addressThese(numbers []uint32) (err error) {
	s := b.shelf
	switch {
	case s.loaded[addrsPart]:
		return nil
	case len(numbers) > fewAddresses:
		return b.loadAddrs()
	}
	if s.sizes, err = readColumn(s, packClients, s.sizes, 16); err != nil {
		return err
	}
	if s.octets, err = readColumn(s, packAnswers, s.octets, 16); err != nil {
		return err
	}
	s.sizes = append(s.sizes, s.octets...)
	b.addrs, b.written = sized(b.addrs, len(s.sizes)), sized(b.written, len(s.sizes))
	are := func(size uint8) func(uint32) bool { return func(n uint32) bool { return s.sizes[n] == size } }
	if slices.ContainsFunc(numbers, are(16)) {
		if s.octets, err = readColumn(s, packLong, s.octets, 0xff); err != nil {
			return err
		}
	}
	var short [][]byte // last, for these are good until the next column is unpacked
	if slices.ContainsFunc(numbers, are(4)) {
		if short, err = s.unpackColumn(packShort); err != nil {
			return err
		}
	}
	for _, n := range numbers {
		size := s.sizes[n]
		b.written[n] = ""
		at := bytes.Count(s.sizes[:n], []byte{size})
		switch {
		case size == 0:
			b.addrs[n] = netip.Addr{}
		case size == 4 && at < s.values(packShort):
			var octets [4]byte
			binary.BigEndian.PutUint32(octets[:], uint32(joined(short, uint32(at))))
			b.addrs[n] = netip.AddrFrom4(octets)
		case size == 16 && at < len(s.octets)/16:
			b.addrs[n] = netip.AddrFrom16([16]byte(s.octets[16*at:]))
		default:
			return fmt.Errorf("it holds an address of %d octets", size)
		}
	}
	return nil
}

// A zeroCount counts the zeros among numbers whose octets are in planes.
type zeroCount struct {
	planes [][]byte
	zeros  int // before next
	next   int
}

// to returns how many of the first n are zero, which are no fewer than before.
func (z *zeroCount) to(n int) int {
	const low = 0x7f7f7f7f7f7f7f7f
	for ; z.next+8 <= n; z.next += 8 {
		v := uint64(0)
		for _, plane := range z.planes {
			v |= binary.LittleEndian.Uint64(plane[z.next:])
		}
		z.zeros += bits.OnesCount64(^((v&low + low) | v | low))
	}
	for ; z.next < n; z.next++ {
		v := byte(0)
		for _, plane := range z.planes {
			v |= plane[z.next]
		}
		if v == 0 {
			z.zeros++
		}
	}
	return z.zeros
}
