package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// proven is a stopped log of some segments, signed up to the last, in which each thing is found twice.
func proven(t testing.TB, segments int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	fill(t, dir, 20*segments, 20)
	trim(t, dir)
	return dir
}

// trim takes from a store's files the room that was set aside for more, 16 MiB that copies of them would have too.
func trim(t testing.TB, dir string) {
	t.Helper()
	s := &store{dir: dir, readOnly: true}
	if err := s.list(); err != nil {
		t.Fatal(err)
	}
	for _, f := range s.files {
		db, err := bbolt.Open(f.path, 0o600, &bbolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		var used int64
		err = db.View(func(tx *bbolt.Tx) error { used = tx.Size(); return nil })
		if err = errors.Join(err, db.Close(), os.Truncate(f.path, used)); err != nil {
			t.Fatal(err)
		}
	}
}

// copied returns a copy of a folder.
func copied(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func verifyHow(t testing.TB, dir string, how Verification) Report {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := r.Verify(context.Background(), how, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// alike holds that several goroutines find in a stopped log what one does that takes one segment after the other, in the
// same order, and tell how far they are as often.
func alike(t testing.TB, dir string, how Verification) {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var reports [2]Report
	var told [2][]Report
	for i, examiners := range []int{0, 3} {
		reports[i], err = r.verify(context.Background(), how, examiners, func(r Report) { told[i] = append(told[i], r) })
		if err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(reports[0], reports[1]) + cmp.Diff(told[0], told[1]); d != "" {
		t.Fatalf("several goroutines find something else (-one +several):\n%s", d)
	}
}

func TestALogSignsWhatItHolds(t *testing.T) {
	dir := proven(t, 5)
	report := verify(t, dir)
	if len(report.Problems) > 0 || report.Signed != report.Segments || report.Segments < 5 || len(report.Keys) != 1 || report.Until.IsZero() {
		t.Fatalf("%+v", report)
	}
	fill(t, dir, 40, 20) // by the same key
	more := verify(t, dir)
	if len(more.Problems) > 0 || more.Signed != more.Segments || more.Segments <= report.Segments || !slices.Equal(more.Keys, report.Keys) {
		t.Fatalf("%+v", more)
	}
	// Another key goes on with the same log.
	if err := os.Remove(filepath.Join(dir, keyFile)); err != nil {
		t.Fatal(err)
	}
	fill(t, dir, 40, 20)
	other := verify(t, dir)
	if len(other.Problems) > 0 || len(other.Keys) != 2 || other.Signed != other.Segments {
		t.Fatalf("%+v", other)
	}
	texts := ""
	for _, r := range all(t, dir) {
		texts += r.Text + "\n"
	}
	if !strings.Contains(texts, "the key of the audit log was gone: from now on another one signs, weir-audit-") {
		t.Errorf("nothing in the log says that its key is another:\n%s", texts)
	}
	// Who knows the first key alone learns where it ends.
	key, err := ParsePublicKey(report.Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	how := verifyHow(t, dir, Verification{Keys: []*PublicKey{key}})
	if len(how.Problems) != 2 || !strings.Contains(how.Problems[1], fmt.Sprintf("segment %d: no key of this log has signed it", more.Last+1)) {
		t.Errorf("%q", how.Problems)
	}
}

// A log whose tree is behind its store, as a crash leaves it, or gone, goes on; so does one whose tree was cut within a hash.
func TestTheTreeCatchesUp(t *testing.T) {
	whole := proven(t, 6)
	tree, err := os.ReadFile(filepath.Join(whole, treeFile))
	if err != nil {
		t.Fatal(err)
	}
	for cut := -1; cut < len(tree); cut += 37 {
		dir := copied(t, whole)
		path := filepath.Join(dir, treeFile)
		err := os.Remove(path)
		if cut >= treeHeaderSize {
			err = os.WriteFile(path, tree[:cut], 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		fill(t, dir, 20, 20)
		if report := verify(t, dir); len(report.Problems) > 0 || report.Signed != report.Segments {
			t.Fatalf("cut at %d: %+v", cut, report)
		}
	}
}

// When the power is cut the tree may be as long as it was to be, with zeros for what had not come
// to disk; that is made again from the segments.
func TestATreeWithHoles(t *testing.T) {
	whole := proven(t, 6)
	tree, err := os.ReadFile(filepath.Join(whole, treeFile))
	if err != nil {
		t.Fatal(err)
	}
	for i, hole := 0, treeHeaderSize; hole < len(tree); i, hole = i+1, hole+32 {
		dir, holed, end := copied(t, whole), bytes.Clone(tree), len(tree)
		if i%2 == 0 {
			end = hole + 32
		}
		clear(holed[hole:end])
		if err := os.WriteFile(filepath.Join(dir, treeFile), holed, 0o600); err != nil {
			t.Fatal(err)
		}
		fill(t, dir, 20, 20)
		if report := verify(t, dir); len(report.Problems) > 0 || report.Signed != report.Segments {
			t.Fatalf("zeros from %d to %d: %+v", hole, end, report)
		}
	}
}

// What cannot be compared with a tree that is there begins a new one, and says so.
func TestATreeThatCannotGoOn(t *testing.T) {
	dir := proven(t, 6)
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		k, _ := b.Cursor().Last()
		return b.Delete(k)
	})
	l, stop := start(t, Config{Dir: dir})
	l.Record(query(1, "192.0.2.7", "www.example"))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	report := verify(t, dir)
	if len(report.Problems) != 1 || !strings.Contains(report.Problems[0], "are missing before it") {
		t.Errorf("%q", report.Problems)
	}
	for _, name := range []string{treeFile, checkpointFile} {
		if ended, _ := filepath.Glob(filepath.Join(dir, name+".ended-*")); len(ended) != 1 {
			t.Errorf("%s: put aside are %q", name, ended)
		}
	}
}

// mutation changes a stopped log as somebody with the disk and without the key could. It returns the key of the
// segment that a problem must name, 0 where what was changed is no segment.
type mutation struct {
	what string
	do   func(t *testing.T, dir string, r *rand.Rand, keys [][]byte) uint64
}

func flipped(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	return b
}

var mutations = []mutation{
	{"a bit of a segment", func(t *testing.T, dir string, r *rand.Rand, keys [][]byte) uint64 {
		k := keys[r.IntN(len(keys))]
		rewrite(t, dir, func(b *bbolt.Bucket) error { return b.Put(k, flipped(r, b.Get(k))) })
		return firstOf(k)
	}},
	{"a segment deleted", func(t *testing.T, dir string, r *rand.Rand, keys [][]byte) uint64 {
		i := 1 + r.IntN(len(keys)-2) // the oldest may go: that is what keeping for a time means
		rewrite(t, dir, func(b *bbolt.Bucket) error { return b.Delete(keys[i]) })
		return firstOf(keys[i+1])
	}},
	{"the end cut off", func(t *testing.T, dir string, r *rand.Rand, keys [][]byte) uint64 {
		i := 1 + r.IntN(len(keys)-1)
		rewrite(t, dir, func(b *bbolt.Bucket) error {
			for _, k := range keys[i:] {
				if err := b.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		return 0
	}},
	{"two segments swapped", func(t *testing.T, dir string, r *rand.Rand, keys [][]byte) uint64 {
		i := r.IntN(len(keys) - 1)
		rewrite(t, dir, func(b *bbolt.Bucket) error {
			one, other := bytes.Clone(b.Get(keys[i])), bytes.Clone(b.Get(keys[i+1]))
			return errors.Join(b.Put(keys[i], other), b.Put(keys[i+1], one))
		})
		return firstOf(keys[i])
	}},
	{"a segment inserted", func(t *testing.T, dir string, r *rand.Rand, keys [][]byte) uint64 {
		i := r.IntN(len(keys))
		rewrite(t, dir, func(b *bbolt.Bucket) error {
			return b.Put(segmentKey(firstOf(keys[i])+1), bytes.Clone(b.Get(keys[i])))
		})
		return firstOf(keys[i]) + 1
	}},
	{"a segment cut", func(t *testing.T, dir string, r *rand.Rand, keys [][]byte) uint64 {
		k := keys[r.IntN(len(keys))]
		rewrite(t, dir, func(b *bbolt.Bucket) error {
			v := b.Get(k)
			return b.Put(k, bytes.Clone(v[:r.IntN(len(v))]))
		})
		return firstOf(k)
	}},
	{"sealed again with another key", func(t *testing.T, dir string, r *rand.Rand, keys [][]byte) uint64 {
		k := keys[r.IntN(len(keys))]
		rewrite(t, dir, func(b *bbolt.Bucket) error { return b.Put(k, resealed(t, b.Get(k), 0)) })
		return firstOf(k)
	}},
	{"dated back", func(t *testing.T, dir string, r *rand.Rand, keys [][]byte) uint64 {
		k := keys[r.IntN(len(keys))]
		rewrite(t, dir, func(b *bbolt.Bucket) error { return b.Put(k, resealed(t, b.Get(k), -time.Hour)) })
		return firstOf(k)
	}},
	{"all sealed again from there on, with its tree", func(t *testing.T, dir string, r *rand.Rand, keys [][]byte) uint64 {
		i := r.IntN(len(keys))
		var leaves []hash
		rewrite(t, dir, func(b *bbolt.Bucket) error {
			var before []byte
			for j, k := range keys {
				v := bytes.Clone(b.Get(k))
				if j >= i {
					if v = resealed(t, v, -time.Hour); before != nil {
						copy(v[64:96], before)
						v = signedAgain(t, v)
					}
				}
				h, err := readHeader(v)
				if err != nil {
					t.Fatal(err)
				}
				tail := readTail(&h, v)
				before = bytes.Clone(tail.digest[:])
				leaves = append(leaves, leafHash(tail.leaf(v)))
				if err := b.Put(k, v); err != nil {
					return err
				}
			}
			return nil
		})
		tree, err := createMerkle(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, leaf := range leaves {
			if err := tree.append(leaf); err != nil {
				t.Fatal(err)
			}
		}
		if err := tree.file.Close(); err != nil {
			t.Fatal(err)
		}
		return firstOf(keys[i])
	}},
	{"a bit of the tree", func(t *testing.T, dir string, r *rand.Rand, _ [][]byte) uint64 {
		damage(t, filepath.Join(dir, treeFile), r)
		return 0
	}},
	{"a bit of the checkpoints", func(t *testing.T, dir string, r *rand.Rand, _ [][]byte) uint64 {
		damage(t, filepath.Join(dir, checkpointFile), r)
		return 0
	}},
}

func firstOf(key []byte) uint64 {
	return binary.BigEndian.Uint64(key)
}

func damage(t *testing.T, path string, r *rand.Rand) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, flipped(r, content), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// resealed returns a segment made again, its times moved, by a key that is not the log's.
func resealed(t *testing.T, segment []byte, by time.Duration) []byte {
	t.Helper()
	v := bytes.Clone(segment)
	h, err := readHeader(v)
	if err != nil {
		t.Fatal(err)
	}
	h.min, h.max, h.high = h.min+int64(by), h.max+int64(by), h.high+int64(by)
	copy(v, h.append(nil))
	return signedAgain(t, v)
}

// signedAgain gives a segment a digest that fits and a signature by a key that is not the log's.
func signedAgain(t *testing.T, v []byte) []byte {
	t.Helper()
	h, err := readHeader(v)
	if err != nil {
		t.Fatal(err)
	}
	body := len(v) - digestSize - signatureSize
	digest := sha256Of(v[:body])
	copy(v[body:], digest[:])
	tail := readTail(&h, v)
	copy(v[len(v)-signatureSize:], testKey(t).signSegment(leafHash(tail.leaf(v))))
	return v
}

// mutationsWanted is how many $WEIR_MUTATIONS says, or n.
func mutationsWanted(t *testing.T, n int) int {
	t.Helper()
	if text := os.Getenv("WEIR_MUTATIONS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// TestEveryMutationIsFound holds that whatever is done to a stopped log without its key is found, and where. With
// WEIR_MUTATIONS it does so many.
func TestEveryMutationIsFound(t *testing.T) {
	n := mutationsWanted(t, 5*len(mutations))
	dir := proven(t, 12)
	keys := keys(t, dir)
	if report := verify(t, dir); len(report.Problems) > 0 {
		t.Fatalf("before: %q", report.Problems)
	}
	r := rand.New(rand.NewPCG(8, 9))
	for i := range n {
		m := mutations[i%len(mutations)]
		to := copied(t, dir)
		where := m.do(t, to, r, keys)
		for _, quick := range []bool{false, true} {
			report := verifyHow(t, to, Verification{Quick: quick})
			if i < 2*len(mutations) {
				alike(t, to, Verification{Quick: quick})
			}
			if len(report.Problems) == 0 {
				t.Fatalf("%d, %s, quick %v: not found", i, m.what, quick)
			}
			if where != 0 && !slices.ContainsFunc(report.Problems, func(p string) bool { return strings.HasPrefix(p, fmt.Sprintf("segment %d:", where)) }) {
				t.Fatalf("%d, %s, quick %v: found, but not at segment %d: %q", i, m.what, quick, where, report.Problems)
			}
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d mutations, all found and located", n)
}

// Who has the key as well can do everything again, and only a witness knows.
func TestOnlyAWitnessKnows(t *testing.T) {
	dir := proven(t, 8)
	witnessed, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if err != nil {
		t.Fatal(err)
	}
	notes, _ := splitNotes(witnessed)
	public, err := PublicKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	how := Verification{Keys: public, From: notes}
	if report := verifyHow(t, dir, how); len(report.Problems) > 0 {
		t.Fatalf("untouched: %q", report.Problems)
	}
	forged := t.TempDir()
	for _, name := range []string{keyFile, publicFile} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(forged, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	fill(t, forged, 20*8, 19) // other records, by the same key
	if report := verify(t, forged); len(report.Problems) > 0 {
		t.Fatalf("a forged log is sound in itself: %q", report.Problems)
	}
	report := verifyHow(t, forged, how)
	if len(report.Problems) == 0 || !strings.Contains(report.Problems[0], "a witness's checkpoint of") {
		t.Errorf("the witness says nothing: %q", report.Problems)
	}
}

func TestWitnesses(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	file := filepath.Join(t.TempDir(), "witness")
	var witnesses []Witness
	for _, text := range []string{"file:" + file, "syslog://" + server.LocalAddr().String(), "file:/nowhere/at/all"} {
		w, err := NewWitness(text)
		if err != nil || w.String() != text {
			t.Fatalf("%s: %v, %v", text, w, err)
		}
		witnesses = append(witnesses, w)
	}
	for _, text := range []string{"", "file:", "syslog://", "syslog://host", "http://example"} {
		if _, err := NewWitness(text); err == nil || !strings.Contains(err.Error(), "want file:PATH, syslog or syslog://HOST:PORT") {
			t.Errorf("%q: %v", text, err)
		}
	}
	dir := t.TempDir()
	l, stop := start(t, Config{Dir: dir, Witnesses: witnesses})
	l.Record(query(1, "192.0.2.7", "www.example"))
	if err := errors.Join(l.Flush(t.Context()), l.Sign(t.Context()), l.Sign(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := l.Sign(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("signing after the end: %v", err)
	}
	own, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(kept, own) || len(kept) == 0 {
		t.Errorf("%v: the witness has\n%s\nwant\n%s", err, kept, own)
	}
	var message [2048]byte
	if err := server.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, _, err := server.ReadFrom(message[:])
	want := "checkpoint " + strings.ReplaceAll(strings.TrimSuffix(string(own), "\n\n"), "\n", " | ")
	if err != nil || !strings.Contains(string(message[:n]), want) {
		t.Errorf("%v: the server got\n%s\nwant\n%s", err, message[:n], want)
	}
}

func TestOldCheckpointsAreThinned(t *testing.T) {
	key := testKey(t)
	public, err := ParsePublicKey(key.public)
	if err != nil {
		t.Fatal(err)
	}
	var file []byte
	now := epoch.Add(100 * time.Hour)
	for i := range 600 { // every ten minutes
		c := Checkpoint{Log: key.Name(), Segments: uint64(i + 1), Time: epoch.Add(time.Duration(i) * 10 * time.Minute)}
		signed, err := c.sign(key)
		if err != nil {
			t.Fatal(err)
		}
		file = append(append(file, signed...), '\n')
	}
	kept, rest := splitNotes(thinned(append(file, "cut sho"...), public, now))
	if want := 52 + 48*6; len(kept) != want && len(kept) != want+1 || len(rest) > 0 {
		t.Errorf("%d are kept, want about %d, and %q is left", len(kept), want, rest)
	}
	last, err := OpenCheckpoint(kept[len(kept)-1], public)
	if err != nil || last.Segments != 600 {
		t.Errorf("the last is %+v, %v", last, err)
	}
	first, err := OpenCheckpoint(kept[0], public)
	if err != nil || first.Segments != 6 {
		t.Errorf("of the first hour %+v is kept, %v: want the last of it", first, err)
	}
}

// A bundle is small: what proves one record of a large log stays below 1.5 KB.
func TestABundleIsSmall(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 3000, 1500)
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	n, err := r.Prove(t.Context(), Query{SeqFrom: 1700, SeqTo: 1700}, &out)
	if err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var segment bundleSegment
	var row bundleRow
	if err := errors.Join(json.Unmarshal([]byte(lines[1]), &segment), json.Unmarshal([]byte(lines[2]), &row)); err != nil || len(lines) != 3 {
		t.Fatalf("%v in %q", err, lines)
	}
	// The others of its group, the groups of a full segment, and 20 levels of segments: more than ten years of 50
	// million records a month.
	hashes := groupRows - 1 + bits.Len(sealRows/groupRows-1) + 20
	if size := len(segment.Leaf) + len(row.Row) + hashes*digestSize; size > 1536 {
		t.Errorf("one record takes %d octets", size)
	} else {
		t.Logf("one record takes %d octets, %d of them its row", size, len(row.Row))
	}
	if _, err := r.Prove(t.Context(), Query{}, &out); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, checkpointFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Prove(t.Context(), Query{}, &out); !errors.Is(err, ErrUnproven) {
		t.Errorf("without checkpoints: %v", err)
	}
}

func FuzzCheckpoint(f *testing.F) {
	c := Checkpoint{Log: "weir-audit-00000001", Segments: 3, Sequence: 60, Received: 62, Recorded: 60, Lost: 2, Time: epoch}
	f.Add(c.text())
	f.Add("")
	f.Add("a\n1\nAA==\n\n\n\n\n\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCheckpoint(text)
		if err == nil && c.text() != text {
			t.Fatalf("%q reads as %+v, which writes as %q", text, c, c.text())
		}
		notes, rest := splitNotes([]byte(text))
		joined := 0
		for _, n := range notes {
			joined += len(n) + 1
		}
		if joined+len(rest) != len(text) {
			t.Fatalf("%q falls into %q and %q", text, notes, rest)
		}
	})
}

func sha256Of(b []byte) [digestSize]byte { return sha256.Sum256(b) }
