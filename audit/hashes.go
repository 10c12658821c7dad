package audit

import (
	"crypto/sha256"
	"encoding/binary"
)

// shaBlock is how many octets SHA-256 takes at once.
const shaBlock = sha256.BlockSize

// appendPadding appends what pads the message that b has from from on (FIPS 180-4 §5.1.1).
func appendPadding(b []byte, from int) []byte {
	n := len(b) - from
	b = append(b, 0x80)
	end := len(b) + -(n+9)&(shaBlock-1)
	b = append(b, make([]byte, shaBlock)...)[:end] // so many, for a size that the compiler knows
	return binary.BigEndian.AppendUint64(b, uint64(n)*8)
}

// sumsPlain is sums by the standard library.
func sumsPlain(to []hash, messages [][]byte) {
	for i, m := range messages {
		to[i] = sha256.Sum256(m[:binary.BigEndian.Uint64(m[len(m)-8:])/8])
	}
}
