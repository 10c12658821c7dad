package audit

import (
	"crypto/sha256"
	"math/bits"
)

type hash = [sha256.Size]byte

// What the octets of a leaf, of a node (RFC 6962 §2.1) and of a group begin with.
const (
	leafPrefix  = 0
	nodePrefix  = 1
	groupPrefix = 2
)

// groupRows is how many rows a group has. A tree of two branches throughout takes two
// compressions of SHA-256 for each row beside those for the row itself; over groups of
// eight it takes seven for eight rows, and a proof has four hashes more.
const groupRows = 8

// A rowTree is the tree over the canonical rows of one segment, as far as they have
// come. The hashes of each eight rows (and of those left over at the end) together are
// hashed as a group, and the groups are the leaves of a Merkle tree. The root stands in
// the segment, so a row is proven by the hashes on its way to the root and the segment's
// place in the log. In segments without flagGrouped the rows are leaves themselves.
type rowTree struct {
	above    hashTree // of the groups, or of the rows
	single   bool     // rows are no groups
	rows     []byte   // of the group that is being gathered, each behind the octet that marks a leaf, and padded
	begins   [groupRows]int
	gathered int    // rows
	group    []byte // of the group before the hashes, behind the octet that marks one, and padded, until it is hashed
}

func (t *rowTree) reset() {
	t.above.reset()
	t.rows, t.gathered, t.group = t.rows[:0], 0, t.group[:0]
}

// begin returns the beginning of a row, to which its fields are to be appended.
func (t *rowTree) begin() []byte { return append(t.rows, leafPrefix) }

// add adds the row that begin began.
func (t *rowTree) add(row []byte) {
	t.begins[t.gathered] = len(t.rows)
	t.rows = appendPadding(row, len(t.rows))
	if t.gathered++; t.gathered == groupRows {
		t.close()
	}
}

// close hashes the rows that were gathered, and with them the group before.
func (t *rowTree) close() {
	var (
		messages [1 + groupRows][]byte
		hashes   [1 + groupRows]hash
		first    int
	)
	if len(t.group) > 0 {
		messages[0], first = t.group, 1
	}
	all := messages[:first+t.gathered]
	end := len(t.rows)
	for i := t.gathered - 1; i >= 0; i-- {
		all[first+i] = t.rows[t.begins[i]:end]
		end = t.begins[i]
	}
	sums(hashes[:], all)
	rows := hashes[first:len(all)]
	if first > 0 {
		t.above.add(hashes[0])
	}
	t.rows, t.gathered, t.group = t.rows[:0], 0, t.group[:0]
	if t.single {
		for _, h := range rows {
			t.above.add(h)
		}
		return
	}
	if len(rows) == 0 {
		return
	}
	t.group = append(t.group, groupPrefix)
	for i := range rows {
		t.group = append(t.group, rows[i][:]...)
	}
	t.group = appendPadding(t.group, 0)
}

// root returns the root of the rows. There is one at least, and none may come after.
func (t *rowTree) root() hash {
	for t.gathered > 0 || len(t.group) > 0 {
		t.close()
	}
	return t.above.root()
}

// A hashTree is a Merkle tree (RFC 6962 §2.1) as far as its leaves have come: the roots of
// its full subtrees, the largest first.
type hashTree struct {
	full   []hash
	leaves uint64
}

func (t *hashTree) reset() { t.full, t.leaves = t.full[:0], 0 }

// add adds the leaf with that hash.
func (t *hashTree) add(h hash) {
	t.leaves++
	for n := bits.TrailingZeros64(t.leaves); n > 0; n-- {
		last := len(t.full) - 1
		h = nodeHash(&t.full[last], &h)
		t.full = t.full[:last]
	}
	t.full = append(t.full, h)
}

// root returns the root of the leaves so far. There is one at least.
func (t *hashTree) root() hash {
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

// rowPaths are all hashes of a tree of rows, to prove each of them.
type rowPaths struct {
	rows  []hash
	above levels // of the groups, or of the rows
	size  int    // rows in a group
}

func newRowPaths(rows []hash, grouped bool) rowPaths {
	if !grouped {
		return rowPaths{rows, newLevels(rows), 1}
	}
	var groups []hash
	for from := 0; from < len(rows); from += groupRows {
		group := []byte{groupPrefix}
		for _, h := range rows[from:min(from+groupRows, len(rows))] {
			group = append(group, h[:]...)
		}
		groups = append(groups, sha256.Sum256(group))
	}
	return rowPaths{rows, newLevels(groups), groupRows}
}

// path returns the hashes that lead from row number i to the root: those of the others
// in its group in order, and then those from the group on.
func (p *rowPaths) path(i int) []hash {
	var path []hash
	from := i - i%p.size
	for j := from; j < min(from+p.size, len(p.rows)); j++ {
		if j != i {
			path = append(path, p.rows[j])
		}
	}
	return append(path, p.above.path(i/p.size)...)
}

// levels are all nodes of a Merkle tree, the leaves first. The last node of a level with
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
