package audit

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// appendVarint appends v as binary.AppendUvarint does. It takes the same few steps
// whatever v is, for a processor cannot foresee how long the next duration, port or ID is.
func appendVarint(b []byte, v uint64) []byte {
	if v >= 1<<63 {
		return binary.AppendUvarint(b, v)
	}
	n := len(b)
	b = slices.Grow(b, binary.MaxVarintLen64)[:n+binary.MaxVarintLen64]
	// Seven bits to an octet: of 56 two halves, of each two halves, of each again.
	x := v & (1<<56 - 1)
	x = x&0x000000000fffffff | x&0x00fffffff0000000<<4
	x = x&0x00003fff00003fff | x&0x0fffc0000fffc000<<2
	x = x&0x007f007f007f007f | x&0x3f803f803f803f80<<1
	size := (bits.Len64(v|1)*9 + 64) / 64 // a seventh of the bits, rounded up
	more := uint64(1)<<(8*(size-1)) - 1   // all ones when there are nine octets, for a shift by 64 gives 0
	binary.LittleEndian.PutUint64(b[n:], x|more&0x8080808080808080)
	b[n+8] = byte(v >> 56)
	return b[:n+size]
}
