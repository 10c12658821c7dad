package audit

import (
	"encoding/binary"
	"math"
	"math/bits"
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
	for i, at := range s.picked {
		s.times[i] = sum.to(int(at.row) + 1)
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
	for len(z.planes) > 0 && z.next+8 <= n {
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
		v := uint64(0)
		for k, plane := range z.planes {
			v |= uint64(plane[i]) << (8 * k)
		}
		at += unzigzag(v)
	}
	return at
}

// fewAskers reads who asked the picked queries, likewise.
func (s *shelf) fewAskers() error {
	col, most := &s.columns[packAsker], len(s.client)
	if err := col.fits(packAsker, uint64(most)); err != nil {
		return err
	}
	planes, err := s.unpackColumn(packAsker)
	if err != nil {
		return err
	}
	zeros := zeroCount{planes: planes}
	s.askers = sized(s.askers, len(s.picked))
	for i, at := range s.picked {
		v := uint64(0)
		for k, plane := range planes {
			v |= uint64(plane[at.query]) << (8 * k)
		}
		if v == 0 { // one that asks for the first time
			v = uint64(zeros.to(int(at.query) + 1))
		}
		if v > uint64(most) {
			return tooLarge(packAsker, v, uint64(most))
		}
		s.askers[i] = uint32(v) - 1
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
