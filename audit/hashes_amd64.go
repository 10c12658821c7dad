package audit

import "encoding/binary"

// A shaState is a state of SHA-256 as the processor's instructions want it: the words
// F, E, B, A, H, G, D, C.
type shaState [8]uint32

// shaBegin is that before the first block (FIPS 180-4 §5.3.3).
var shaBegin = shaState{0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667, 0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372}

// put puts the hash that the state is into h.
func (s *shaState) put(h *hash) {
	be := binary.BigEndian
	be.PutUint32(h[0:], s[3])
	be.PutUint32(h[4:], s[2])
	be.PutUint32(h[8:], s[7])
	be.PutUint32(h[12:], s[6])
	be.PutUint32(h[16:], s[1])
	be.PutUint32(h[20:], s[0])
	be.PutUint32(h[24:], s[5])
	be.PutUint32(h[28:], s[4])
}

// compress2 takes so many blocks, one at least, from p on into a and from q on into b. Each
// step of the processor's instructions waits for the one before; those for the other
// message fill that time.
//
//go:noescape
func compress2(a, b *shaState, p, q *byte, blocks int)

// cpuid returns what the processor says of itself in the registers EAX, EBX and ECX.
//
//go:noescape
func cpuid(leaf uint32) (a, b, c uint32)

// twoAtOnce says that the processor has all instructions of compress2.
var twoAtOnce = func() bool {
	const ssse3, sse41, sha = 1 << 9, 1 << 19, 1 << 29
	if leaves, _, _ := cpuid(0); leaves < 7 {
		return false
	}
	_, _, c := cpuid(1)
	_, b, _ := cpuid(7)
	return c&ssse3 != 0 && c&sse41 != 0 && b&sha != 0
}()

// sums puts the hash of each message, which is padded, in its place in to.
func sums(to []hash, messages [][]byte) {
	if !twoAtOnce || len(messages) < 2 {
		sumsPlain(to, messages)
		return
	}
	p, q, next := 0, 1, 2 // the messages under way, and that which comes after
	a, b := shaBegin, shaBegin
	m, n := messages[p], messages[q] // what is left of them
	for {
		size := min(len(m), len(n))
		compress2(&a, &b, &m[0], &n[0], size/shaBlock)
		m, n = m[size:], n[size:]
		if len(m) == 0 {
			if a.put(&to[p]); next == len(messages) {
				break
			}
			p, m, a = next, messages[next], shaBegin
			next++
		}
		if len(n) == 0 {
			if b.put(&to[q]); next == len(messages) {
				q, n, b = p, m, a
				break
			}
			q, n, b = next, messages[next], shaBegin
			next++
		}
	}
	if len(n) > 0 { // no other is left to go beside it
		compress2(&b, &a, &n[0], &n[0], len(n)/shaBlock)
	}
	b.put(&to[q])
}
