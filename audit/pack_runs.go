package audit

import (
	"encoding/binary"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

const (
	longRunFrame = 32 // octets that a frame of a run has at most
	blockHeader  = 3  // before a block in a frame
)

// unpackRun unpacks a frame that is one octet all along, or a few octets and then the last ones
// again and again, as whole planes are: of kinds, or of revisions. zstd would write octet by octet.
// It is false for any other frame, and leaves what is wrong with one to zstd. See RFC 8878, 3.1.1.
func unpackRun(dst, frame []byte) bool {
	var h zstd.Header
	if len(frame) > longRunFrame || len(dst) == 0 || h.Decode(frame) != nil {
		return false
	}
	b := &h.FirstBlock
	if !b.OK || !b.Last || !h.SingleSegment || h.FrameContentSize != uint64(len(dst)) || h.HasCheckSum || h.DictionaryID != 0 ||
		len(frame) != h.HeaderSize+blockHeader+b.CompressedSize {
		return false
	}
	block := frame[h.HeaderSize+blockHeader:]
	if b.CompressedSize == 1 && b.DecompressedSize == len(dst) {
		repeat(dst, block[0])
		return true
	}
	return b.Compressed && b.DecompressedSize == 0 && unpackSequence(dst, block)
}

// unpackSequence unpacks a block of up to 31 literals, which stand as they are, and one sequence,
// a long one whose codes stand as they are.
func unpackSequence(dst, block []byte) bool {
	if len(block) == 0 || block[0]&7 != 0 {
		return false
	}
	literals := int(block[0] >> 3)
	if len(block) < 1+literals {
		return false
	}
	text, rest := block[1:1+literals], block[1+literals:]
	if len(rest) < 6 || len(rest) > 5+8 || rest[0] != 1 || rest[1] != 0x54 {
		return false
	}
	before, offsetBits, code, stream := int(rest[2]), int(rest[3]), int(rest[4]), rest[5:]
	if before == 0 || before > min(15, literals) || offsetBits > 4 || code < 43 || code > 52 || stream[len(stream)-1] == 0 {
		return false
	}
	var eight [8]byte
	copy(eight[:], stream)
	v, lengthBits := binary.LittleEndian.Uint64(eight[:]), code-36
	if bits.Len64(v)-1 != offsetBits+lengthBits { // a 1, the offset, the length
		return false
	}
	length := 1<<lengthBits + 3 + int(v&(1<<lengthBits-1))
	offset := int(v>>lengthBits) - 3 // whose highest bit is that 1
	if offset < 1 {
		offset = [...]int{1, 4, 8}[offset+2]
	}
	end := before + length
	if offset > before || end+literals-before != len(dst) {
		return false
	}
	copy(dst, text[:before])
	for at := before; at < end; {
		at += copy(dst[at:end], dst[before-offset:at])
	}
	copy(dst[end:], text[before:])
	return true
}

// repeat sets all of dst.
func repeat[T any](dst []T, v T) {
	if len(dst) > 0 {
		dst[0] = v
	}
	for n := 1; n < len(dst); n *= 2 {
		copy(dst[n:], dst[:n])
	}
}
