package audit

import (
	"math/rand/v2"
	"testing"
)

// Sums and counts that go over the octets of many values at once are those of a loop over the values.
func TestSumsOfPlanesAreThoseOfALoop(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var (
			n        = r.IntN(3000)
			width    = r.IntN(9)
			planes   = make([][]byte, width)
			negative = []int{0, 1, n/50 + 1, n/2 + 1}[r.IntN(4)] // of that many values one is odd, as those below 0 are
			zeros    = r.IntN(2) == 0
			values   = make([]uint64, n)
		)
		for i := range values {
			if v := r.Uint64() &^ 1; width > 0 && !(zeros && r.IntN(3) == 0) {
				if values[i] = v >> (64 - 8*width) &^ 1; negative > 0 && r.IntN(negative) == 0 {
					values[i] |= 1
				}
			}
			if r.IntN(9) == 0 && width > 0 {
				values[i] = 1<<(8*width-1)<<1 - 1 // all octets are ones
			}
		}
		for k := range planes {
			planes[k] = make([]byte, n)
			for i, v := range values {
				planes[k][i] = byte(v >> (8 * k))
			}
		}
		first := r.Int64()
		sum, count := zigzagSum{planes: planes, at: first}, zeroCount{planes: planes}
		wantSum, wantZeros := first, 0
		every := 1 + r.IntN(1+n)
		for i, v := range values {
			if wantSum += unzigzag(v); v == 0 {
				wantZeros++
			}
			if r.IntN(every) != 0 && i != n-1 {
				continue
			}
			if got := sum.to(i + 1); got != wantSum {
				t.Fatalf("the sum of %d values of %d octets is %d, want %d", i+1, width, got, wantSum)
			}
			if got := count.to(i + 1); got != wantZeros {
				t.Fatalf("%d of %d values of %d octets are zero, want %d", got, i+1, width, wantZeros)
			}
		}
	}
}
