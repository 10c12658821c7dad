package audit

import (
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

// TestSumsAreThoseOfTheStandardLibrary hashes messages of all lengths up to some blocks, so many of them together as
// may come, short ones beside long ones.
func TestSumsAreThoseOfTheStandardLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	message := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	check := func(plain ...[]byte) {
		t.Helper()
		padded := make([][]byte, len(plain))
		for i, m := range plain {
			front := message(r.IntN(20))
			padded[i] = appendPadding(append(front, m...), len(front))[len(front):]
		}
		for _, f := range []func([]hash, [][]byte){sums, sumsPlain} {
			got := make([]hash, len(plain))
			f(got, padded)
			for i, m := range plain {
				if got[i] != sha256.Sum256(m) {
					t.Fatalf("the hash of message %d of %d, of %d octets, is %x, want %x", i, len(plain), len(m), got[i], sha256.Sum256(m))
				}
			}
		}
	}
	for n := range 300 {
		check(message(n))
		check(message(n), message(r.IntN(300)))
	}
	for range 300 {
		all := make([][]byte, r.IntN(12))
		for i := range all {
			all[i] = message(r.IntN(1 << r.IntN(12)))
		}
		check(all...)
	}
}
