package audit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// followed begins a second file behind what a stopped log has.
func followed(t testing.TB, dir string) {
	t.Helper()
	l, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	e := query(0, "192.0.2.7", "next.example")
	e.Time = epoch.AddDate(0, 0, 2).UnixNano()
	l.Record(e)
	if err := (&writer{log: l, seen: epoch}).seal(false); err != nil {
		t.Fatal(err)
	}
	l.notary.checkpoint(l.cfg.Now())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// packedNow packs what can be packed in a log that nobody runs, and returns how many segments are in packs.
func packedNow(t testing.TB, l *Log) uint64 {
	t.Helper()
	if err := newPacking(t.Context(), l).step(); err != nil {
		t.Fatal(err)
	}
	return l.Stats().Packed
}

// Whoever is reading when segments are packed gets every record once.
func TestPackedWhileReading(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 600, 12)
	followed(t, dir)
	var want []uint64
	for _, r := range all(t, dir) {
		want = append(want, r.Seq)
	}
	for _, oldest := range []bool{false, true} {
		for _, at := range []int{0, 350} {
			l, err := Open(Config{Dir: copied(t, dir)})
			if err != nil {
				t.Fatal(err)
			}
			l.packRows = 160
			var got []uint64
			err = l.Reader().Search(t.Context(), Query{Oldest: oldest}, func(r *Record) error {
				if got = append(got, r.Seq); len(got) == at+1 {
					if n := packedNow(t, l); n != 50 {
						t.Errorf("%d segments are in packs", n)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if !oldest {
				slices.Reverse(got)
			}
			if !slices.Equal(got, want) {
				t.Errorf("oldest first %v, packed behind %d records: %d were found of %d", oldest, at, len(got), len(want))
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestPackedWhileVerifying(t *testing.T) {
	dir := proven(t, 40)
	followed(t, dir)
	want := verify(t, dir)
	for _, at := range []uint64{1, 17, 40} {
		l, err := Open(Config{Dir: copied(t, dir)})
		if err != nil {
			t.Fatal(err)
		}
		l.packRows = 300
		report, err := l.Reader().Verify(t.Context(), Verification{}, func(r Report) {
			if r.Segments == at && packedNow(t, l) != 40 {
				t.Error("not all was packed")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, report); d != "" {
			t.Errorf("packed behind segment %d (-want +got):\n%s", at, d)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What is damaged stays as it is, and is reported as it was; what is beside it is packed.
func TestWhatIsDamagedIsNotPacked(t *testing.T) {
	dir := proven(t, 50)
	all := keys(t, dir)
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		v := bytes.Clone(b.Get(all[10]))
		v[len(v)/2] ^= 1
		forged := resealed(t, b.Get(all[15]), 0)
		return errors.Join(b.Put(all[10], v), b.Put(all[15], forged), b.Delete(all[20]), b.Put(all[25], []byte("nothing")))
	})
	followed(t, dir)
	before := verify(t, dir)
	l, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	// That one has a signature of another key does not matter: it keeps it.
	if n := packedNow(t, l); n != uint64(len(all)-3) {
		t.Errorf("%d segments are in packs", n)
	}
	after, err := l.Reader().Verify(t.Context(), Verification{}, nil)
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before.Problems, after.Problems); d != "" || len(before.Problems) < 4 {
		t.Errorf("other problems:\n%s", d)
	}
}

// A log that runs packs a file by itself when another has followed it, and gives room back.
func TestALogPacks(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 3000, 10)
	path := storePath(t, dir)
	followed(t, dir)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	for i := 0; l.Stats().Packed < 300; i++ {
		l.Record(query(i, "192.0.2.7", "www.example"))
		if err := l.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if after.Size() > before.Size()/2 {
		t.Errorf("the file has %d octets and had %d", after.Size(), before.Size())
	}
	if report := verify(t, dir); len(report.Problems) > 0 {
		t.Errorf("%+v", report)
	}
}

// However far packing has come when the machine stops, the store is what it was.
func TestACrashWhilePacking(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 300, 10)
	followed(t, dir)
	rows := func(dir string) (rows []string) {
		r, err := OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for line := range strings.Lines(bundled(t, r, Query{SeqTo: 300})) {
			if strings.HasPrefix(line, `{"row"`) {
				rows = append(rows, line)
			}
		}
		return rows
	}
	want := rows(dir)
	l, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	l.packRows = 100
	p := newPacking(t.Context(), l)
	if p.packer, err = newPacker(); err != nil {
		t.Fatal(err)
	}
	var crashed []string
	turns := 0
	p.packer.most = 100
	p.packer.pause = func() {
		if turns++; turns%40 == 0 {
			crashed = append(crashed, copied(t, dir))
		}
	}
	if err := p.step(); err != nil {
		t.Fatal(err)
	}
	crashed = append(crashed, copied(t, dir))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for i, dir := range crashed {
		l, err := Open(Config{Dir: dir})
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*"+newSuffix)); len(left) > 0 {
			t.Errorf("%q is left", left)
		}
		if got := rows(dir); !slices.Equal(got, want) || len(got) != 300 {
			t.Errorf("turn %d of %d: what is proven differs", i, len(crashed))
		}
		if report := verify(t, dir); len(report.Problems) > 0 {
			t.Errorf("turn %d of %d: %q", i, len(crashed), report.Problems)
		}
	}
	if len(crashed) < 5 {
		t.Errorf("%d crashes", len(crashed))
	}
}

// A packed file is removed by retention, and held and backed up, like any other.
func TestPackedFilesAreKeptAsLong(t *testing.T) {
	d := startDays(t, Config{})
	for range 4 {
		d.record(3)
		d.record(4)
		d.forward(aDay)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Config{Dir: d.dir, Now: d.clock})
	if err != nil {
		t.Fatal(err)
	}
	if n := packedNow(t, l); n < 6 {
		t.Errorf("%d segments are in packs", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	d.start(Config{})
	if err := d.log.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := d.files()
	d.log.cfg.Keep = 2*aDay + 12*time.Hour // it is noon of the fifth day
	if err := d.log.removeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	equalNames(t, "left", d.files()[:2], before[2:4]...)
	if r := d.report(); r.Problems != nil || len(r.Removed) != 1 || r.Removed[0].Files != 2 || r.Removed[0].Last != 14 {
		t.Errorf("%+v", r)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
}

// Packing leaves a disk that is almost full to the log.
func TestPackingWantsRoom(t *testing.T) {
	dir := proven(t, 10)
	path := storePath(t, dir)
	followed(t, dir)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	p := newPacking(t.Context(), l)
	p.room = func(string) (uint64, bool) { return uint64(len(before)) + packSpare - 1, true }
	if err := p.step(); err == nil || !strings.Contains(err.Error(), "are wanted") {
		t.Error(err)
	}
	after, err := os.ReadFile(path)
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(after, before) {
		t.Error("the file was changed")
	}
}
