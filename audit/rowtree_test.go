package audit

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// TestRowTreeIsRFC6962 holds that the tree built row by row, and the one built level by level with its paths, are those
// of RFC 6962, as another implementation has them, where rows are not grouped.
func TestRowTreeIsRFC6962(t *testing.T) {
	tree := rowTree{single: true}
	var leaves []hash
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(at []int64) (all []tlog.Hash, err error) {
		for _, i := range at {
			all = append(all, stored[i])
		}
		return all, nil
	})
	for n := int64(1); n <= 70; n++ {
		row := fmt.Appendf(nil, "row %d", n)
		tree.add(append(tree.begin(), row...))
		leaves = append(leaves, sha256.Sum256(append([]byte{leafPrefix}, row...)))
		more, err := tlog.StoredHashes(n-1, row, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
		want, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		all := newRowPaths(leaves, false)
		if got := tree.root(); got != hash(want) || all.above.root() != got {
			t.Fatalf("the root of %d rows is %x and %x, want %x", n, got, all.above.root(), want)
		}
		for i := range leaves {
			var proof tlog.RecordProof
			for _, h := range all.path(i) {
				proof = append(proof, tlog.Hash(h))
			}
			if err := tlog.CheckRecord(proof, n, want, int64(i), tlog.Hash(leaves[i])); err != nil {
				t.Fatalf("row %d of %d: %v", i, n, err)
			}
		}
	}
	tree.reset()
	if tree.add(append(tree.begin(), "row 1"...)); tree.root() != leaves[0] {
		t.Error("a tree begun anew knows of rows before")
	}
}

// TestRowsAreGrouped holds that the tree of any number of rows is that of its groups, each hashed in the plainest way,
// and that the paths to all rows are what leads from there to its root.
func TestRowsAreGrouped(t *testing.T) {
	var again rowTree
	for n := 1; n <= 70; n++ {
		again.reset()
		var rows, groups []hash
		var group []byte
		for i := range n {
			row := fmt.Appendf(nil, "row %d", i)
			again.add(append(again.begin(), row...))
			rows = append(rows, sha256Of(append([]byte{0}, row...)))
			if group = append(group, rows[i][:]...); i%8 == 7 || i == n-1 {
				groups = append(groups, sha256Of(append([]byte{2}, group...)))
				group = nil
			}
		}
		above := newLevels(groups)
		root := again.root()
		if root != above.root() {
			t.Fatalf("the root of %d rows is %x, want %x", n, root, above.root())
		}
		all := newRowPaths(rows, true)
		for i := range rows {
			path := all.path(i)
			others := min(8, n-i/8*8) - 1
			group := []byte{2}
			for _, h := range slices.Insert(slices.Clone(path[:others]), i%8, rows[i]) {
				group = append(group, h[:]...)
			}
			if sha256Of(group) != groups[i/8] || !slices.Equal(path[others:], above.path(i/8)) {
				t.Fatalf("row %d of %d: its path does not lead to the root", i, n)
			}
		}
	}
}

// BenchmarkRow is what it costs to prove one more row of ordinary length.
func BenchmarkRow(b *testing.B) {
	var tree rowTree
	e := Event{
		Time: epoch.UnixNano(), Client: netip.MustParseAddr("10.0.3.77"), Transport: UDP, Name: wire("host-1f.site-77.example"), Type: 1, Class: 1,
		Source: SourceCache, EDE: -1, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.9")}, Duration: 5000, Revision: 7,
	}
	why := appendWhy(nil, tagReason, [5]string{"staff", "staff", "7", "category-7", "lists/7.txt"})
	b.ReportAllocs()
	for b.Loop() {
		tree.add(appendQuery(tree.begin(), &e, false, why, nil, "", 5))
		if tree.above.leaves == sealRows/groupRows {
			tree.reset()
		}
	}
}
