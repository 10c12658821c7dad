package history

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, dir string) *History {
	t.Helper()
	h, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestRevisionsOutliveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "revisions")
	h := open(t, dir)
	if n := h.Number("a"); n != 1 {
		t.Fatalf("the first revision is %d", n)
	}
	first := &Revision{
		Number: 1, Digest: "a", Since: time.Date(2026, 11, 22, 20, 35, 17, 0, time.UTC), File: "config.toml", Text: "version = 1\n",
		Lists: []List{{"ads", "lists/ads.txt", "f00d", 154}},
	}
	second := &Revision{Number: 2, Digest: "b", Text: strings.Repeat("# much\n", 1<<20)}
	for _, r := range []*Revision{first, second, {Number: 1, Digest: "c"}} { // a number is given once
		if err := h.Put(r); err != nil {
			t.Fatal(err)
		}
	}
	h = open(t, dir)
	if h.Number("b") != 2 || h.Number("a") != 3 {
		t.Errorf("the newest is %d, an older one comes back as %d, want 2 and 3", h.Number("b"), h.Number("a"))
	}
	for _, want := range []*Revision{first, second} {
		got, err := h.Get(want.Number)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("revision %d: %v (-want +got)\n%s", want.Number, err, diff)
		}
	}
	if _, err := h.Get(3); !errors.Is(err, ErrUnknown) {
		t.Errorf("a revision that is not kept: %v", err)
	}
	if info, err := os.Stat(h.path(1)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: others may read it", info.Mode(), err)
	}
}

func TestOldRevisionsGo(t *testing.T) {
	h := open(t, t.TempDir())
	h.numbers = make([]uint64, 0, Most)
	for n := uint64(1); n <= 3; n++ {
		if err := h.Put(&Revision{Number: n}); err != nil {
			t.Fatal(err)
		}
	}
	for n := uint64(4); n <= Most; n++ {
		h.numbers = append(h.numbers, n) // as if they were there
	}
	if err := h.Put(&Revision{Number: Most + 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Get(1); !errors.Is(err, ErrUnknown) {
		t.Errorf("the oldest: %v", err)
	}
	if _, err := h.Get(2); err != nil {
		t.Error(err)
	}
}

// TestDamagedRevision: every octet of a file that is changed, and every length it is cut to, is an error or the same.
func TestDamagedRevision(t *testing.T) {
	h := open(t, t.TempDir())
	if err := h.Put(&Revision{Number: 1, Digest: "a", Text: "version = 1"}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(h.path(1))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := h.Get(1)
	check := func(b []byte) {
		if err := os.WriteFile(h.path(1), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := h.Get(1); err == nil && !cmp.Equal(want, got) {
			t.Errorf("%x: read as %+v", b, got)
		}
		if n := open(t, h.dir).Number("a"); n != 1 && n != 2 {
			t.Errorf("%x: the next revision is %d", b, n)
		}
	}
	for i := range whole {
		check(whole[:i])
		for bit := range 8 {
			b := append([]byte(nil), whole...)
			b[i] ^= 1 << bit
			check(b)
		}
	}
}
