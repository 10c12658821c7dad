package audit

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// runDays is a running log whose clock is set by hand.
type runDays struct {
	t    testing.TB
	dir  string
	mu   sync.Mutex
	now  time.Time
	log  *Log
	stop func() error
}

func (d *runDays) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *runDays) forward(by time.Duration) {
	d.mu.Lock()
	d.now = d.now.Add(by)
	d.mu.Unlock()
}

func startDays(t testing.TB, cfg Config) *runDays {
	d := &runDays{t: t, dir: t.TempDir(), now: epoch}
	d.start(cfg)
	return d
}

func (d *runDays) start(cfg Config) {
	cfg.Dir, cfg.Now, cfg.Interval = d.dir, d.clock, 5*time.Millisecond
	d.log, d.stop = start(d.t, cfg)
}

// record commits a segment of n queries.
func (d *runDays) record(n int) {
	d.t.Helper()
	for i := range n {
		e := query(0, "192.0.2.7", fmt.Sprintf("%d.example", i))
		e.Time = d.clock().UnixNano()
		d.log.Record(e)
	}
	if err := d.log.Sign(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
}

func (d *runDays) files() []string { return (&days{t: d.t, dir: d.dir}).files() }

func (d *runDays) report() Report {
	d.t.Helper()
	r, err := d.log.Reader().Verify(d.t.Context(), Verification{}, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

func TestRetentionByAge(t *testing.T) {
	d := startDays(t, Config{})
	for range 5 {
		d.record(3)
		d.forward(aDay)
	}
	d.log.cfg.Keep = 3*aDay + 12*time.Hour // it is noon of the sixth day: two files are older
	d.forward(time.Minute)
	before := d.files()
	if err := d.log.removeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	equalNames(t, "left", d.files()[:3], before[2:]...)
	r := d.report()
	if r.Problems != nil || r.First != 7 || len(r.Removed) != 1 || r.Removed[0].Files != 2 || r.Removed[0].Last != 6 || r.Removed[0].Why != RemovedByAge {
		t.Errorf("%+v", r)
	}
	said := search(t, d.log.Reader(), Query{Kind: KindChange, Oldest: true})
	if len(said) != 2 || !strings.Contains(said[1].Text, before[1]) || said[0].Action != ActionRetention || !strings.Contains(said[0].Text, before[0]+", records 1 to 3 in 1 segments, of 2024-05-01") {
		t.Errorf("%+v", said)
	}
	if s := d.log.Stats(); s.Files != 4 || s.Segments < 3 || !s.Oldest.Equal(epoch.Add(2*aDay)) {
		t.Errorf("%+v", s)
	}
	// What is left can be proven to strangers all the same.
	d.record(1)
	var bundle bytes.Buffer
	if n, err := d.log.Reader().Prove(t.Context(), Query{SeqFrom: 7, SeqTo: 9}, &bundle); err != nil || n != 3 {
		t.Errorf("%d proven, %v", n, err)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if records := all(t, d.dir); records[0].Seq != 7 {
		t.Errorf("it begins with %+v", records[0])
	}
	// The note is what tells it from tampering.
	note := filepath.Join(d.dir, removalFile)
	signed, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	for what, content := range map[string][]byte{
		"changed":  bytes.Replace(signed, []byte("records 4 to 6"), []byte("records 4 to 9"), 1),
		"cut":      signed[:len(signed)/2],
		"one left": signed[:bytes.Index(signed, []byte("\n\n— "))+120],
		"none":     nil,
	} {
		if err := os.WriteFile(note, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if p := verify(t, d.dir).Problems; len(p) == 0 {
			t.Errorf("%s: not found", what)
		}
	}
	if err := os.WriteFile(note, signed, 0o600); err != nil {
		t.Fatal(err)
	}
	// And one file more that somebody else has removed is found.
	if err := os.Remove(filepath.Join(d.dir, before[2])); err != nil {
		t.Fatal(err)
	}
	if p := verify(t, d.dir).Problems; len(p) != 1 || !strings.Contains(p[0], "records 7 to 9 are missing before it") {
		t.Errorf("%q", p)
	}
	if r := verify(t, d.dir).Removed; len(r) != 1 || r[0].First != 1 || r[0].Last != 6 {
		t.Errorf("%+v", r)
	}
}

func TestAHoldWins(t *testing.T) {
	d := startDays(t, Config{})
	for range 5 {
		d.record(3)
		d.forward(aDay)
	}
	h, err := d.log.AddHold(Hold{From: epoch.Add(aDay), To: epoch.Add(aDay + time.Hour), Reason: "case 7", By: "counsel", Actor: "uid 1"})
	if err != nil || h.ID != 1 {
		t.Fatal(h, err)
	}
	if h, err = d.log.AddHold(Hold{SeqFrom: 9, SeqTo: 9, Reason: "case 8", By: "counsel"}); err != nil || h.ID != 2 {
		t.Fatal(h, err)
	}
	before := d.files()
	d.log.cfg.Keep, d.log.cfg.KeepSize = time.Hour, 1
	pass := func() {
		t.Helper()
		if err := d.log.removeDue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	pass()
	equalNames(t, "held", d.files()[:2], before[1], before[2])
	if s := d.log.Stats().Retention; s.HeldFiles != 2 || s.HeldBytes == 0 {
		t.Errorf("%+v", s)
	}
	if r := d.report(); r.Problems != nil || len(r.Removed) != 2 {
		t.Errorf("%+v", r)
	}
	if _, err := d.log.RemoveHold(1, "counsel", "settled", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := d.log.RemoveHold(1, "counsel", "settled", ""); err == nil {
		t.Error("removed twice")
	}
	pass()
	if files := d.files(); files[0] != before[2] {
		t.Errorf("%q", files)
	}
	holds, err := d.log.Holds()
	if err != nil || len(holds) != 1 || holds[0].ID != 2 {
		t.Error(holds, err)
	}
	if r := d.report(); r.Problems != nil {
		t.Errorf("%q", r.Problems)
	}
	if err := d.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, r := range search(t, d.log.Reader(), Query{Kind: KindChange, Oldest: true}) {
		if r.Action != ActionRetention {
			actions = append(actions, r.Action)
		}
	}
	equalNames(t, "on record", actions, ActionHoldAdd, ActionHoldAdd, ActionHoldRemove)
	// Holds that cannot be read hold everything.
	path := filepath.Join(d.dir, holdFile)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range file {
		flipped := bytes.Clone(file)
		flipped[i] ^= 1
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		var damage *DamageError
		if _, err := d.log.Holds(); !errors.As(err, &damage) {
			t.Fatalf("octet %d: %v", i, err)
		}
	}
	left := len(d.files())
	if err := d.log.removeDue(t.Context()); err == nil || len(d.files()) != left {
		t.Error("files were removed though the holds are damaged")
	}
}

func TestHoldsAreChecked(t *testing.T) {
	now := epoch
	for _, h := range []Hold{
		{},
		{Reason: "x", By: "y"},
		{From: now, Reason: "x"},
		{From: now, By: "y"},
		{From: now, To: now, Reason: "x", By: "y"},
		{From: now, SeqFrom: 1, SeqTo: 2, Reason: "x", By: "y"},
		{SeqFrom: 2, SeqTo: 1, Reason: "x", By: "y"},
		{From: now, Reason: strings.Repeat("x", 2000), By: "y"},
	} {
		if h.check() == nil {
			t.Errorf("%+v is taken", h)
		}
	}
}

func TestRemovalsComeBack(t *testing.T) {
	key := testKey(t)
	public, err := ParsePublicKey(key.public)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		moment := func(name string) time.Time { return time.Unix(0, rapid.Int64Min(0).Draw(t, name)).UTC() }
		r := Removal{
			File: rapid.StringMatching(`audit-[0-9]{16}-[0-9]{8}\.db`).Draw(t, "file"), Why: rapid.SampledFrom([]string{RemovedByAge, SetAside}).Draw(t, "why"),
			Records:  [2]uint64{rapid.Uint64Max(1<<62).Draw(t, "a"), rapid.Uint64Max(1<<62).Draw(t, "b")},
			Segments: [2]uint64{rapid.Uint64Max(1<<62).Draw(t, "c"), rapid.Uint64Max(1<<62).Draw(t, "d")},
			Last:     [digestSize]byte(rapid.SliceOfN(rapid.Byte(), digestSize, digestSize).Draw(t, "last")),
			From:     moment("from"), To: moment("to"), Octets: rapid.Int64Range(0, 1<<60).Draw(t, "octets"), Time: moment("time"),
		}
		got, err := parseRemoval(r.text(key.Name()))
		if err != nil || got != r {
			t.Fatalf("%+v came back as %+v, %v", r, got, err)
		}
	})
	if _, err := openRemoval([]byte("x"), []*PublicKey{public}); err == nil {
		t.Error("taken")
	}
}

func FuzzRemoval(f *testing.F) {
	f.Add((&Removal{File: "audit-0000000000000001-20240501.db", Why: RemovedByAge, Records: [2]uint64{1, 2}, Segments: [2]uint64{1, 1}, From: epoch, To: epoch, Time: epoch}).text("weir-audit-1234abcd"))
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := parseRemoval(text); err == nil {
			log, _, _ := strings.Cut(text, " removed\n")
			if r.text(log) != text {
				t.Fatalf("%q came back as %q", text, r.text(log))
			}
		}
	})
}

// FuzzHolds feeds the reader behind the checksum: what it takes is what it writes.
func FuzzHolds(f *testing.F) {
	f.Add("2", `{"id":1,"seq_from":1,"seq_to":2,"reason":"x","by":"y","created":"2024-05-01T12:00:00Z"}`)
	f.Add("7", `{"id":6,"from":"2024-05-01T12:00:00Z","reason":"x","by":"y","created":"2024-05-01T12:00:00Z"}`)
	f.Fuzz(func(t *testing.T, next, holds string) {
		dir := t.TempDir()
		lines := bytes.Split([]byte(holdMagic+"\n"+next+"\n"+holds), []byte("\n"))
		lines = append(lines, []byte(holdSum(lines)), nil)
		file := &remembered{path: filepath.Join(dir, holdFile)}
		if err := os.WriteFile(file.path, bytes.Join(lines, []byte("\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		was, n, err := readHolds(file)
		if err != nil {
			return
		}
		if err := writeHolds(file, was, n); err != nil {
			t.Fatal(err)
		}
		is, m, err := readHolds(file)
		if err != nil || m != n || !cmp.Equal(was, is) {
			t.Fatalf("%+v %d came back as %+v %d, %v", was, n, is, m, err)
		}
	})
}

// unpackBackup makes a folder of a backup.
func unpackBackup(t testing.TB, archive io.Reader) (dir string, files []string) {
	t.Helper()
	dir = t.TempDir()
	for in := tar.NewReader(archive); ; {
		h, err := in.Next()
		if err == io.EOF {
			return dir, files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, h.Name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, h.Name)
	}
}

// A file that cannot be read goes when the one behind it says that it is old enough.
func TestADamagedFileIsRemovedToo(t *testing.T) {
	d := newDays(t, Config{})
	for i := range 4 {
		d.record(fmt.Sprintf("%d.example", i))
		d.now = d.now.Add(aDay)
	}
	files := d.files()
	d.close()
	if err := os.WriteFile(filepath.Join(d.dir, files[1]), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.open()
	d.log.cfg.Keep = aDay + 12*time.Hour
	d.removeDue()
	equalNames(t, "left", d.files()[:1], files[3:]...)
	report, err := d.log.Reader().Verify(t.Context(), Verification{}, nil)
	if err != nil || report.Problems != nil || len(report.Removed) != 1 || report.Removed[0].Last != 3 {
		t.Errorf("%v %+v", err, report)
	}
}

// What is damaged at a file's beginning goes with the rest of the file.
func TestADamagedSegmentIsRemovedToo(t *testing.T) {
	d := newDays(t, Config{})
	for range 2 {
		d.record("one.example")
		d.record("two.example")
		d.now = d.now.Add(aDay)
	}
	path := filepath.Join(d.dir, d.files()[0])
	d.close()
	rewriteFile(t, path, func(tx *bbolt.Tx) error {
		b := tx.Bucket(segmentBucket)
		v := bytes.Clone(b.Get(segmentKey(1)))
		v[5] ^= 1
		return b.Put(segmentKey(1), v)
	})
	d.open()
	d.log.cfg.Keep = aDay + time.Hour
	d.removeDue()
	report, err := d.log.Reader().Verify(t.Context(), Verification{}, nil)
	if err != nil || report.Problems != nil || len(report.Removed) != 1 || report.Removed[0].First != 1 || report.Removed[0].Last != 2 {
		t.Errorf("%v %+v", err, report)
	}
}

// A crash between the note and the removal leaves the file: nothing is wrong with it, and
// it goes the next time.
func TestANoteWithoutRemoval(t *testing.T) {
	d := newDays(t, Config{})
	d.record("one.example")
	d.now = d.now.Add(aDay)
	d.record("two.example")
	first := filepath.Join(d.dir, d.files()[0])
	content, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	d.log.cfg.Keep = time.Hour
	d.removeDue()
	d.close()
	if err := os.WriteFile(first, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, d.dir); r.Problems != nil || r.Removed != nil || r.First != 1 {
		t.Errorf("%+v", r)
	}
	d.open()
	d.log.cfg.Keep = time.Hour
	d.removeDue()
	d.close()
	if r := verify(t, d.dir); r.Problems != nil || len(r.Removed) != 1 || r.Removed[0].Last != 1 {
		t.Errorf("%+v", r)
	}
}

// However slowly a backup is taken, nobody waits for it: not the writer, not retention.
func TestASlowBackupDelaysNobody(t *testing.T) {
	d := startDays(t, Config{})
	for range 3 {
		d.record(500)
		d.forward(aDay)
	}
	in, out := io.Pipe()
	taken := make(chan error, 1)
	go func() {
		err := d.log.Backup(context.Background(), out, false, nil)
		out.CloseWithError(err)
		taken <- err
	}()
	var begun [512]byte // the header of the first file; no more is read for now
	if _, err := io.ReadFull(in, begun[:]); err != nil {
		t.Fatal(err)
	}
	d.record(500)
	d.log.cfg.Keep = aDay + 12*time.Hour
	if err := d.log.removeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := d.log.Stats(); s.Pending != 0 || s.LastError != "" {
		t.Errorf("%+v", s)
	}
	dir, _ := unpackBackup(t, io.MultiReader(bytes.NewReader(begun[:]), in))
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	// The file that was being copied is whole, the one behind it was removed.
	if r := verify(t, dir); r.Problems != nil || r.Last != 1500 {
		t.Errorf("%+v", r)
	}
}

func TestBackupWhileRunning(t *testing.T) {
	d := startDays(t, Config{})
	for range 3 {
		d.record(50)
		d.forward(aDay)
	}
	d.record(20)
	d.log.cfg.Keep = aDay + 12*time.Hour
	if err := d.log.removeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.log.AddHold(Hold{SeqFrom: 1, SeqTo: 2, Reason: "x", By: "y"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() { // a server that goes on meanwhile
		for i := 0; ctx.Err() == nil; i++ {
			e := query(0, "192.0.2.7", "busy.example")
			e.Time = d.clock().UnixNano()
			d.log.Record(e)
			if i%100 == 0 {
				d.log.Flush(ctx)
			}
		}
	})
	var archive bytes.Buffer
	for range 2 { // the second begins where the first made a file begin
		archive.Reset()
		var told [2]int64
		if err := d.log.Backup(t.Context(), &archive, false, func(done, total int64) { told = [2]int64{done, total} }); err != nil {
			t.Fatal(err)
		}
		if told[0] == 0 || told[0] < told[1] {
			t.Errorf("told %d of %d", told[0], told[1])
		}
		dir, files := unpackBackup(t, &archive)
		text := strings.Join(files, " ")
		if strings.Contains(text, keyFile) || !strings.Contains(text, publicFile) || !strings.Contains(text, removalFile) || !strings.Contains(text, holdFile) {
			t.Errorf("%q", files)
		}
		records := all(t, dir) // proves it
		r := verify(t, dir)
		if r.First != 101 || r.Signed == 0 || len(r.Removed) != 1 || len(records) < 70 {
			t.Errorf("%+v", r)
		}
		if r, err := d.log.Reader().Verify(t.Context(), Verification{}, nil); err != nil || r.Problems != nil {
			t.Errorf("the log itself: %v %q", err, r.Problems)
		}
	}
	cancel()
	writing.Wait()
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	all(t, d.dir)
	r, err := OpenReader(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	archive.Reset()
	if err := r.Backup(t.Context(), &archive, true, nil); err != nil {
		t.Fatal(err)
	}
	dir, files := unpackBackup(t, &archive)
	if !strings.Contains(strings.Join(files, " "), keyFile) {
		t.Errorf("%q", files)
	}
	// With the key it is a log that can go on.
	was := all(t, dir)
	l, stop := start(t, Config{Dir: dir})
	l.Record(query(0, "192.0.2.7", "later.example"))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if is := all(t, dir); len(is) != len(was)+1 {
		t.Errorf("%d records, were %d", len(is), len(was))
	}
}
