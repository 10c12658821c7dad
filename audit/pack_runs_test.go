package audit

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// What unpackRun takes it unpacks like zstd, whatever octet or bit of the frame is another; and it
// takes those that it is there for.
func TestRunsAreUnpackedLikeByZstd(t *testing.T) {
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	same := func(frame []byte, n int) bool {
		t.Helper()
		got := bytes.Repeat([]byte{0xaa}, n)
		if !unpackRun(got, frame) {
			return false
		}
		want, err := u.z.DecodeAll(frame, make([]byte, 0, n+unpackSlack))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%x is taken for %x, zstd says %x, %v", frame, got[:min(n, 20)], want[:min(len(want), 20)], err)
		}
		return true
	}
	r := rand.New(rand.NewPCG(1, 2))
	taken, mutants := 0, 0
	for _, n := range []int{1, 5, 200, 300, 1000, 5000, 30_000, 60_000, maxRows} {
		for _, first := range []int{0, 1, 2, 5} {
			plane := bytes.Repeat([]byte{7}, n)
			for i := range min(first, n) {
				plane[i] = byte(9 + i)
			}
			if first == 5 && n > 5 { // and another period
				for i := range plane {
					plane[i] = byte(i % 3)
				}
				plane[0] = 99
			}
			frame := p.z.EncodeAll(plane, nil)
			switch {
			case same(frame, n):
				taken++
			case first < 2 && n >= 5000:
				t.Errorf("%d octets, of which %d are others: %x is left to zstd", n, first, frame)
			}
			if n > 5000 && first != 1 {
				continue
			}
			for range 3000 {
				other := bytes.Clone(frame)
				other[r.IntN(len(other))] = byte(r.Uint32())
				if r.IntN(2) == 0 {
					other[r.IntN(len(other))] ^= 1 << r.IntN(8)
				}
				if same(other, n) {
					mutants++
				}
			}
		}
	}
	for n := range 40 { // blocks of nothing, of a few octets, and with more said than there is
		frame := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 200, byte(n<<3 | 2<<1 | 1), 0, 0}, make([]byte, n)...)
		same(frame[:min(len(frame), longRunFrame)], 200)
	}
	if taken < 16 || mutants < 1000 {
		t.Errorf("%d frames and %d changed ones were taken", taken, mutants)
	}
}
