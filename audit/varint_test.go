package audit

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// TestVarintsAreThoseOfTheStandardLibrary tries each number of bits, and the numbers beside.
func TestVarintsAreThoseOfTheStandardLibrary(t *testing.T) {
	for bits := range 65 {
		for _, v := range [...]uint64{1<<bits - 1, 1 << bits, 1<<bits + 1, 1<<bits - 2, 0x5555555555555555 >> (64 - bits), 0xb6db6db6db6db6db >> (64 - bits)} {
			for _, b := range [][]byte{nil, {7}, append(make([]byte, 0, 4), 1, 2, 3), append(make([]byte, 0, 40), 9)} {
				want := binary.AppendUvarint(bytes.Clone(b), v)
				if got := appendVarint(b, v); !bytes.Equal(got, want) {
					t.Fatalf("%#x behind %x is %x, want %x", v, b, got, want)
				}
			}
		}
	}
}

// TestColumnsAndFieldsHaveVarints tries the shorter ways to write a column's number and a row's field.
func TestColumnsAndFieldsHaveVarints(t *testing.T) {
	for bits := range 64 {
		for _, v := range [...]uint64{1<<bits - 1, 1 << bits, 1<<bits + 1} {
			b := newBuilder()
			b.put(colDuration, v)
			if want := binary.AppendUvarint(nil, v); !bytes.Equal(b.cols[colDuration], want) {
				t.Errorf("%#x in a column is %x, want %x", v, b.cols[colDuration], want)
			}
			small := make([]byte, 4)
			got, want := small[:putSmall(small, tagPort<<1, uint16(v))], appendNumber(nil, tagPort<<1, uint64(uint16(v)))
			if !bytes.Equal(got, want) {
				t.Errorf("the field of %#x is %x, want %x", uint16(v), got, want)
			}
		}
	}
}
