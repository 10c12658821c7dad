package audit

import (
	"crypto/sha256"
	"math/bits"
)

// A rowTree is the Merkle tree (RFC 6962 §2.1) over the canonical rows of one
// segment, as far as they have come: the roots of its full subtrees, the largest
// first. Its root stands in the segment, so a row is proven by the hashes on its way
// to the root and the segment's place in the log.
type rowTree struct {
	full []hash
	rows uint64
	row  []byte // room for a row, behind the octet that marks a leaf
}

type hash = [sha256.Size]byte

// What the octets of a leaf and of a node begin with (RFC 6962 §2.1).
const (
	leafPrefix = 0
	nodePrefix = 1
)

func (t *rowTree) reset() { t.full, t.rows = t.full[:0], 0 }

// begin returns the beginning of a row, to which its fields are to be appended.
func (t *rowTree) begin() []byte { return append(t.row[:0], leafPrefix) }

// add adds the row that begin began.
func (t *rowTree) add(row []byte) {
	t.row = row
	t.addHash(sha256.Sum256(row))
}

// addHash adds the row with that hash.
func (t *rowTree) addHash(h hash) {
	t.rows++
	for n := bits.TrailingZeros64(t.rows); n > 0; n-- {
		last := len(t.full) - 1
		h = nodeHash(&t.full[last], &h)
		t.full = t.full[:last]
	}
	t.full = append(t.full, h)
}

// root returns the root of the rows so far. There is one at least.
func (t *rowTree) root() hash {
	h := t.full[len(t.full)-1]
	for i := len(t.full) - 2; i >= 0; i-- {
		h = nodeHash(&t.full[i], &h)
	}
	return h
}

func nodeHash(left, right *hash) hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = nodePrefix
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// levels are all nodes of such a tree, the leaves first. The last node of a level with
// an odd number of them stands for itself in the next one.
type levels [][]hash

func newLevels(leaves []hash) levels {
	all := levels{leaves}
	for len(leaves) > 1 {
		next := make([]hash, 0, (len(leaves)+1)/2)
		for i := 0; i+1 < len(leaves); i += 2 {
			next = append(next, nodeHash(&leaves[i], &leaves[i+1]))
		}
		if len(leaves)%2 == 1 {
			next = append(next, leaves[len(leaves)-1])
		}
		all = append(all, next)
		leaves = next
	}
	return all
}

func (l levels) root() hash { return l[len(l)-1][0] }

// path returns the hashes that lead from leaf number i to the root, the lowest first
// (RFC 6962 §2.1.1).
func (l levels) path(i int) []hash {
	var path []hash
	for _, level := range l[:len(l)-1] {
		if sibling := i ^ 1; sibling < len(level) {
			path = append(path, level[sibling])
		}
		i /= 2
	}
	return path
}
