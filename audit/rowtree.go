package audit

import (
	"crypto/sha256"
	"slices"
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
	node     []byte // likewise, that is being hashed
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

// close hashes the rows that were gathered, and with them the group before and one node
// above groups. That is as many as groups come, so few are left for the end.
func (t *rowTree) close() {
	var (
		messages [2 + groupRows][]byte
		hashes   [2 + groupRows]hash
	)
	all := messages[:0]
	ripe := t.above.ripe()
	if ripe >= 0 {
		t.node = append(t.node[:0], nodePrefix)
		t.node = append(append(t.node, t.above.full[ripe].root[:]...), t.above.full[ripe+1].root[:]...)
		t.node = appendPadding(t.node, 0)
		all = append(all, t.node)
	}
	grouped := len(t.group) > 0
	if grouped {
		all = append(all, t.group)
	}
	for i := range t.gathered {
		end := len(t.rows)
		if i+1 < t.gathered {
			end = t.begins[i+1]
		}
		all = append(all, t.rows[t.begins[i]:end])
	}
	sums(hashes[:], all)
	rows := hashes[len(all)-t.gathered : len(all)]
	if ripe >= 0 {
		t.above.join(ripe, hashes[0])
	}
	if grouped {
		t.above.push(hashes[len(all)-t.gathered-1])
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
// full subtrees, from the left. Two that are equally high, beside each other and left of all
// others that are so, are to be joined.
type hashTree struct {
	full   []subtree
	leaves uint64
}

type subtree struct {
	root   hash
	height int
}

func (t *hashTree) reset() { t.full, t.leaves = t.full[:0], 0 }

// push adds the leaf with that hash, and leaves joining to others.
func (t *hashTree) push(h hash) {
	t.full = append(t.full, subtree{h, 0})
	t.leaves++
}

// ripe returns the first of the two that are to be joined, less than 0 if there are none.
func (t *hashTree) ripe() int {
	for i := 1; i < len(t.full); i++ {
		if t.full[i-1].height == t.full[i].height {
			return i - 1
		}
	}
	return -1
}

// join puts the hash of the node over subtree i and the next in their place.
func (t *hashTree) join(i int, h hash) {
	t.full[i] = subtree{h, t.full[i].height + 1}
	t.full = slices.Delete(t.full, i+1, i+2)
}

// add adds the leaf with that hash.
func (t *hashTree) add(h hash) {
	t.push(h)
	t.joinAll()
}

func (t *hashTree) joinAll() {
	for i := t.ripe(); i >= 0; i = t.ripe() {
		t.join(i, nodeHash(&t.full[i].root, &t.full[i+1].root))
	}
}

// root returns the root of the leaves so far. There is one at least.
func (t *hashTree) root() hash {
	t.joinAll()
	h := t.full[len(t.full)-1].root
	for i := len(t.full) - 2; i >= 0; i-- {
		h = nodeHash(&t.full[i].root, &h)
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
