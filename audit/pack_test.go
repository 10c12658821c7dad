package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// inPacks packs the segments of a stopped log: of each run of neighbours as many as most says,
// which are left as they are if that is less than two.
func inPacks(t testing.TB, dir string, most func() int) {
	t.Helper()
	s := &store{dir: dir, readOnly: true}
	if err := s.list(); err != nil || len(s.files) == 0 {
		t.Fatal("the store has no file", err)
	}
	for _, f := range s.files {
		fileInPacks(t, dir, f.path, most)
	}
}

func fileInPacks(t testing.TB, dir, path string, most func() int) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := openKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(segmentBucket)
		var segments [][]byte
		if err := b.ForEach(func(_, v []byte) error {
			segments = append(segments, bytes.Clone(v))
			return nil
		}); err != nil {
			return err
		}
		for len(segments) > 0 {
			n := min(most(), len(segments))
			if n < 2 {
				segments = segments[1:]
				continue
			}
			pack := packed(t, p, key, segments[:n]...)
			if err := provePacked(u, pack, p.fronts, func() {}); err != nil {
				t.Fatal(err)
			}
			for i := range p.fronts {
				if err := b.Delete(segmentKey(p.fronts[i].header.first)); err != nil {
					return err
				}
			}
			if err := b.Put(segmentKey(p.header.first), pack); err != nil {
				return err
			}
			segments = segments[len(p.fronts):]
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// packed returns a pack of the first of some segments, as many as go into one.
func packed(t testing.TB, p *packer, key *signingKey, segments ...[]byte) []byte {
	t.Helper()
	p.reset()
	for _, s := range segments {
		b, err := openBlock(s)
		if err != nil {
			t.Fatal(err)
		}
		if !p.takes(&b.header) {
			break
		}
		p.add(b, frontOf(&b.header, s))
	}
	return p.value(key)
}

// answersOf are those to every question, and all that can be proven.
func answersOf(t *testing.T, dir string) (out []string) {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx := t.Context()
	note := func(what string, answer any, err error) {
		text, jerr := json.Marshal(answer)
		if err != nil || jerr != nil {
			t.Fatalf("%s: %v, %v", what, err, jerr)
		}
		out = append(out, what+" "+string(text))
	}
	for _, quick := range []bool{false, true} {
		report, err := r.Verify(ctx, Verification{Quick: quick}, nil)
		note("verify", report, err)
	}
	name := wire("shop.example")
	for i, q := range []Query{
		{},
		{Oldest: true},
		{Client: netip.MustParsePrefix("192.0.2.3/32")},
		{Name: name},
		{Name: name, ExactName: true, Oldest: true},
		{Glob: "w*.shop.*"},
		{Verdict: "block", Limit: 40},
		{Type: 28, Source: "upstream"},
		{Rcode: "NXDOMAIN", Transport: "tcp"},
		{Upstream: "udp://192.0.2.53:53"},
		{Answer: netip.MustParsePrefix("198.51.100.8/29")},
		{Alias: name},
		{Category: "category-3"},
		{Observed: true},
		{Kind: KindChange},
		{SeqFrom: 300, SeqTo: 700},
		{Since: epoch.Add(500 * time.Millisecond), Until: epoch.Add(900 * time.Millisecond)},
		{Group: "group-1", Oldest: true, Limit: 30},
	} {
		note("search", search(t, r, q), nil)
		q.Limit, q.Oldest = 0, false
		trace, err := r.Trace(ctx, q, 10)
		note("trace", trace, err)
		clients, err := r.Clients(ctx, q, 100)
		note("clients", clients, err)
		top, err := r.Top(ctx, q, Dimensions()[i%len(Dimensions())], 20, 5)
		note("top", top, err)
		rare, err := r.Rare(ctx, q, 16, 10)
		note("rare", rare, err)
		q.Since, q.Until = epoch, epoch.Add(2*time.Second)
		line, err := r.Timeline(ctx, q, 7)
		note("timeline", line, err)
		totals, err := r.Totals(ctx, q)
		note("totals", totals, err)
	}
	fresh, err := r.New(ctx, Query{Since: epoch.Add(700 * time.Millisecond)}, 10)
	note("new", fresh, err)
	hunt, err := r.Hunt(ctx, Query{}, []Indicator{{Name: name, Scope: ScopeBelow}, {Network: netip.MustParsePrefix("198.51.100.7/32")}}, 0)
	note("hunt", hunt, err)
	return append(out, bundled(t, r, Query{Client: netip.MustParsePrefix("192.0.2.3/32")}))
}

// bundled is the bundle of the records that q asks for.
func bundled(t *testing.T, r *Reader, q Query) string {
	t.Helper()
	var bundle bytes.Buffer
	if n, err := r.Prove(t.Context(), q, &bundle); err != nil || n == 0 {
		t.Fatalf("%d, %v", n, err)
	}
	return bundle.String()
}

// A store in which any neighbours are packed answers every question as it did before, verifies
// with the same report, and proves the same records with the same octets.
func TestPacksAnswerAsSegmentsDo(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 800, 17)
	want := answersOf(t, dir)
	r := rand.New(rand.NewPCG(12, 13))
	for _, most := range []func() int{
		func() int { return 1000 },
		func() int { return r.IntN(20) },
	} {
		to := copied(t, dir)
		inPacks(t, to, most)
		if d := cmp.Diff(want, answersOf(t, to)); d != "" {
			t.Fatalf("answers differ (-segments +packs):\n%s", d)
		}
		if _, err := BuildIndex(t.Context(), to, false, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, answersOf(t, to)); d != "" {
			t.Fatalf("answers differ with an index of packs (-segments +packs):\n%s", d)
		}
		fill(t, to, 40, 20) // a log goes on behind packs
		if report := verify(t, to); len(report.Problems) > 0 {
			t.Fatalf("%q", report.Problems)
		}
	}
}

// A tree that is lost is made again from the fronts.
func TestTheTreeIsMadeOfPacks(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 400, 20)
	inPacks(t, dir, func() int { return 7 })
	if err := errors.Join(os.Remove(filepath.Join(dir, treeFile)), os.Remove(filepath.Join(dir, checkpointFile))); err != nil {
		t.Fatal(err)
	}
	fill(t, dir, 20, 20)
	if report := verify(t, dir); len(report.Problems) > 0 || report.Signed != report.Segments {
		t.Fatalf("%+v", report)
	}
}

// packMutations change a pack as somebody with the disk and without the key could. The second
// result is the key of the segment that must be named, 0 for any of the pack's.
var packMutations = []struct {
	what string
	do   func(t *testing.T, r *rand.Rand, pack []byte, segments [][]byte) (_ []byte, where uint64)
}{
	{"a bit", func(_ *testing.T, r *rand.Rand, pack []byte, _ [][]byte) ([]byte, uint64) { return flipped(r, pack), 0 }},
	{"a bit, and the checksum made again", func(_ *testing.T, r *rand.Rand, pack []byte, _ [][]byte) ([]byte, uint64) {
		pack = bytes.Clone(pack)
		at := r.IntN(len(pack) - packTail)
		pack[at] ^= 1 << r.IntN(8)
		return summed(pack), 0
	}},
	{"cut", func(_ *testing.T, r *rand.Rand, pack []byte, _ [][]byte) ([]byte, uint64) {
		return pack[:r.IntN(len(pack))], 0
	}},
	{"a record changed, and packed again with another key", func(t *testing.T, r *rand.Rand, _ []byte, segments [][]byte) ([]byte, uint64) {
		return packedWith(t, segments, r.IntN(len(segments)), func(b *block) {
			row := &b.rows[r.IntN(len(b.rows))]
			switch r.IntN(3) {
			case 0:
				row.time++
				if row.time > b.header.max {
					row.time -= 2
				}
			case 1:
				if row.kind == KindQuery {
					row.id ^= 0x40
				} else {
					b.changes[row.extra].actor = b.changes[row.extra].text
				}
			case 2:
				if row.kind == KindQuery {
					row.name = (row.name + 1) % uint32(len(b.names))
				} else {
					b.changes[row.extra].actor = b.changes[row.extra].text
				}
			}
		})
	}},
	{"two records swapped, and packed again with another key", func(t *testing.T, r *rand.Rand, _ []byte, segments [][]byte) ([]byte, uint64) {
		return packedWith(t, segments, r.IntN(len(segments)), func(b *block) { b.rows[3], b.rows[4] = b.rows[4], b.rows[3] })
	}},
	{"a segment left out", func(t *testing.T, r *rand.Rand, _ []byte, segments [][]byte) ([]byte, uint64) {
		p, err := newPacker()
		if err != nil {
			t.Fatal(err)
		}
		n := 1 + r.IntN(len(segments)-1)
		return packed(t, p, testKey(t), segments[:n]...), firstAfter(t, segments[len(segments)-1])
	}},
}

// packedWith packs segments, of which one is changed first, with a key that is not the log's.
func packedWith(t *testing.T, segments [][]byte, i int, change func(b *block)) ([]byte, uint64) {
	t.Helper()
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	var where uint64
	for j, s := range segments {
		b, err := openBlock(s)
		if err != nil {
			t.Fatal(err)
		}
		f := frontOf(&b.header, s)
		if j == i {
			where = b.header.first
			change(b)
		}
		p.add(b, f)
	}
	return p.value(testKey(t)), where
}

func firstAfter(t *testing.T, segment []byte) uint64 {
	t.Helper()
	h, err := readHeader(segment)
	if err != nil {
		t.Fatal(err)
	}
	return h.last() + 1
}

// summed makes the checksum of a pack fit.
func summed(pack []byte) []byte {
	end := len(pack) - digestSize
	sum := sha256.Sum256(pack[:end])
	copy(pack[end:], sum[:])
	return pack
}

// TestEveryMutationOfAPackIsFound holds that what is done to a pack is found, with and without
// reading all, and that it is said which segment it is in where that is one.
func TestEveryMutationOfAPackIsFound(t *testing.T) {
	n := mutationsWanted(t, 6*len(packMutations))
	dir := proven(t, 14)
	var segments [][]byte
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		return b.ForEach(func(_, v []byte) error {
			segments = append(segments, bytes.Clone(v))
			return nil
		})
	})
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := openKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	const from, to = 3, 11
	pack := packed(t, p, key, segments[from:to]...)
	fronts := slices.Clone(p.fronts)
	put := func(dir string, v []byte) {
		rewrite(t, dir, func(b *bbolt.Bucket) error {
			for i := range fronts {
				if err := b.Delete(segmentKey(fronts[i].header.first)); err != nil {
					return err
				}
			}
			return b.Put(segmentKey(fronts[0].header.first), v)
		})
	}
	put(dir, pack)
	if report := verify(t, dir); len(report.Problems) > 0 {
		t.Fatalf("before: %q", report.Problems)
	}
	r := rand.New(rand.NewPCG(14, 15))
	for i := range n {
		m := packMutations[i%len(packMutations)]
		changed, where := m.do(t, r, pack, segments[from:to])
		put(dir, changed)
		for _, quick := range []bool{false, true} {
			report := verifyHow(t, dir, Verification{Quick: quick})
			located := slices.ContainsFunc(report.Problems, func(problem string) bool {
				if where != 0 {
					return strings.HasPrefix(problem, segmentPlace(where)+":")
				}
				return slices.ContainsFunc(fronts, func(f packedFront) bool { return strings.HasPrefix(problem, segmentPlace(f.header.first)+":") })
			})
			if !located {
				t.Fatalf("%d, %s, quick %v: not found, or not at segment %d: %q", i, m.what, quick, where, report.Problems)
			}
		}
	}
	t.Logf("%d mutations of a pack, all found and located", n)
}

// Records are still told apart from those that were changed when only one of a pack's segments was.
func TestTheRestOfAPackIsStillProven(t *testing.T) {
	dir := proven(t, 9)
	var segments [][]byte
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		return b.ForEach(func(_, v []byte) error {
			segments = append(segments, bytes.Clone(v))
			return nil
		})
	})
	changed, where := packedWith(t, segments, 4, func(b *block) { b.rows[5].id ^= 1 })
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		for _, s := range segments {
			h, err := readHeader(s)
			if err != nil {
				return err
			}
			if err := b.Delete(segmentKey(h.first)); err != nil {
				return err
			}
		}
		return b.Put(segmentKey(1), changed)
	})
	report := verify(t, dir)
	h, err := readHeader(segments[4])
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Problems) != 3 || !strings.HasPrefix(report.Problems[0], segmentPlace(1)+": it is the first of a pack of the segments number 1 to 9: no key of this log has signed it") ||
		!strings.HasPrefix(report.Problems[1], segmentPlace(where)+": its records are not those") || !strings.Contains(report.Problems[2], "are missing before it") {
		t.Errorf("%q", report.Problems)
	}
	if report.Segments != uint64(len(segments)) || report.Records != report.Last-report.First+1-uint64(h.count) {
		t.Errorf("%+v", report)
	}
}
