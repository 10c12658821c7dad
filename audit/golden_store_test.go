package audit

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// packFolder makes a packed tar file of a folder's files.
func packFolder(t testing.TB, dir string) []byte {
	t.Helper()
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	a := tar.NewWriter(z)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err == nil {
			err = a.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.Name(), Size: int64(len(content)), Mode: 0o600})
		}
		if err == nil {
			_, err = a.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(a.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unpackFolder(t testing.TB, name string) (dir string) {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	dir, _ = unpackBackup(t, z)
	return dir
}

// makeGolden fills an empty folder as a server of three days does, the first of which was
// removed and the second of which is held.
func makeGolden(t testing.TB, dir string) {
	t.Helper()
	key := testKey(t)
	for name, text := range map[string]string{
		keyFile:    "PRIVATE+KEY+weir-audit-00000001+091f421c+AQcDAQkHAwEJBwMBCQcDAQkHAwEJBwMBCQcDAQkHAwEJ\n",
		publicFile: key.public + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := &runDays{t: t, dir: dir, now: epoch}
	d.start(Config{})
	for range 3 {
		d.record(3)
		d.forward(time.Hour)
		d.record(2)
		d.forward(aDay - time.Hour)
	}
	if _, err := d.log.AddHold(Hold{From: epoch.Add(aDay), To: epoch.Add(aDay + time.Minute), Reason: "case 7", By: "counsel"}); err != nil {
		t.Fatal(err)
	}
	d.log.cfg.Keep = aDay + 12*time.Hour
	if err := errors.Join(d.log.removeDue(t.Context()), d.stop()); err != nil {
		t.Fatal(err)
	}
}

// The folders are what was written once, by this version and by the one that kept all in
// one file: what is in them can be read, proven and gone on with for ever.
func TestGoldenStores(t *testing.T) {
	if *update {
		dir := t.TempDir()
		makeGolden(t, dir)
		if err := os.WriteFile(filepath.Join("testdata", "store-files-v1.tar.gz"), packFolder(t, dir), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		files int
		first uint64
	}{{"store-files-v1", 3, 6}, {"store-one-file-v1", 1, 1}} {
		dir := unpackFolder(t, c.name+".tar.gz")
		if files, err := filepath.Glob(filepath.Join(dir, "*.db")); err != nil || len(files) != c.files {
			t.Errorf("%s: %q", c.name, files)
		}
		records := all(t, dir)
		var out bytes.Buffer
		enc, err := NewEncoder("jsonl", &out)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if err := enc.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := enc.Close(); err != nil {
			t.Fatal(err)
		}
		golden(t, c.name+".jsonl", out.Bytes())
		r := verify(t, dir)
		if r.First != c.first || r.Signed == 0 || len(r.Keys) != 1 || !strings.HasPrefix(r.Keys[0], "weir-audit-00000001+") {
			t.Errorf("%s: %+v", c.name, r)
		}
		if holds, err := ReadHolds(dir); err != nil || len(holds) != c.files/3 {
			t.Errorf("%s: holds are %+v, %v", c.name, holds, err)
		}
		l, stop := start(t, Config{Dir: dir, Now: func() time.Time { return epoch.Add(30 * aDay) }})
		l.Record(query(0, "192.0.2.7", "later.example"))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if now := all(t, dir); len(now) <= len(records) || now[0].Seq != c.first {
			t.Errorf("%s: %d records, there were %d", c.name, len(now), len(records))
		}
	}
}
