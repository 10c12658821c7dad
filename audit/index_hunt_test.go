package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// campaign makes a store with a name that everybody asks for, one that a single client asks for all
// the time, names that a client or two ask for now and then, and answers that lead there.
func campaign(t *testing.T, n, per int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l, err := Open(Config{Dir: dir, Now: func() time.Time { return epoch }})
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{log: l, seen: time.Now()}
	r := rand.New(rand.NewPCG(11, 12))
	for i := range n {
		e := query(i*10+r.IntN(25), fmt.Sprintf("192.0.2.%d", r.IntN(12)), fmt.Sprintf("n%d.example", r.IntN(90)))
		switch r.IntN(6) {
		case 0, 1:
			e.Name = wire("common.example")
		case 2:
			e.Name, e.Client = wire("beacon.example"), netip.MustParseAddr("192.0.2.66")
		case 3:
			e.Name = wire(fmt.Sprintf("h%d.beacon.example", i/(n/40)))
			e.Client = netip.AddrFrom4([4]byte{192, 0, 2, byte(70 + r.IntN(8)/7)})
		case 4:
			e.Name, e.Client = wire("lonely.example"), netip.MustParseAddr("192.0.2.99")
		}
		e.Blocked = r.IntN(3) == 0
		if r.IntN(9) == 0 {
			e.Addrs = []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("198.51.100.7")}
		}
		if r.IntN(9) == 0 {
			e.Aliases = [][]byte{wire("beacon.example"), wire("edge.example")}
		}
		if !l.Record(e) {
			t.Fatal("slabs are full")
		}
		if i%per == per-1 || i == n-1 {
			if err := w.seal(false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What a hunt tells is to the letter the same whether the index tells it, some of the index does,
// or the segments do: of names of one client or of many, of a part of the time, in packs, and when
// there is too much to be kept.
func TestHuntsAreTheSameWithAnIndex(t *testing.T) {
	dir := campaign(t, 1200, 20)
	at := func(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
	indicators := []Indicator{
		{Name: wire("Common.example"), Scope: ScopeSelf},
		{Name: wire("beacon.example"), Scope: 3},
		{Name: wire("h7.beacon.example"), Scope: ScopeSelf},
		{Name: wire("absent.test"), Scope: 3},
		{Network: netip.MustParsePrefix("198.51.100.0/28")},
	}
	huntsOf := func(r *Reader) (said []string) {
		for _, some := range [][]Indicator{indicators, indicators[:1], indicators[1:3], indicators[3:]} {
			h, err := newHunter(some)
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range []Query{
				{},
				{Since: at(1500)},
				{Since: at(2000), Until: at(9000)},
				{SeqFrom: 111, SeqTo: 987},
				{Verdict: "block"},
				{Client: netip.MustParsePrefix("192.0.2.64/28")},
			} {
				for _, most := range []int{topKeys, 7} {
					hunt, err := r.hunt(t.Context(), q, h, 0, most, true)
					text, jerr := json.Marshal(hunt)
					if err != nil || jerr != nil {
						t.Fatal(err, jerr)
					}
					said = append(said, fmt.Sprintf("%+v of %d: %s", q, most, text))
				}
			}
		}
		return said
	}
	hunts := func() []string {
		r, err := OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return huntsOf(r)
	}
	running := func() []string {
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		l, err := Open(Config{Dir: copied, Now: func() time.Time { return epoch }})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		runs, _ := l.index.load(l.Reader()) // as its keeper does
		l.index.runs.Store(&runs)
		return huntsOf(l.Reader())
	}
	var exact []string // of all rows
	for _, packed := range []bool{false, true} {
		if packed {
			inPacks(t, dir, func() int { return 3 })
		}
		want := hunts()
		for i := 0; i < len(want); i += 2 {
			if exact = append(exact, want[i]); packed && want[i] != exact[i/2] {
				t.Fatalf("of packs %s, of segments %s", want[i], exact[i/2])
			}
		}
		same := func(what string) {
			t.Helper()
			if diff := cmp.Diff(want, hunts()); diff != "" {
				t.Fatalf("%s, packed %v, - is without:\n%s", what, packed, diff)
			}
		}
		build(t, dir, small)
		files := runFiles(t, dir)
		if len(files) < 3 {
			t.Fatalf("%d runs show little", len(files))
		}
		same("with an index")
		if diff := cmp.Diff(want, running()); diff != "" {
			t.Fatalf("of a running log, packed %v:\n%s", packed, diff)
		}
		for i, file := range files {
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			switch i % 3 {
			case 1:
				err = os.Remove(file)
			case 2: // in its blocks
				for at := 0; at < len(whole)/2; at += 7 {
					whole[at] ^= 0x10
				}
				err = os.WriteFile(file, whole, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		same("with a damaged index")
		if err := os.RemoveAll(filepath.Join(dir, indexDir)); err != nil {
			t.Fatal(err)
		}
	}
}

// A name of one client is told by the index alone: no segment is read, be it damaged.
func TestHuntOfOneClientReadsNoSegment(t *testing.T) {
	dir := campaign(t, 600, 20)
	build(t, dir, small)
	ask := func(name string) (Hunt, error) {
		r, err := OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return r.Hunt(t.Context(), Query{}, []Indicator{{Name: wire(name), Scope: ScopeSelf}}, 0)
	}
	want, err := ask("lonely.example")
	if err != nil || want.Queries < 50 {
		t.Fatalf("%+v, %v", want, err)
	}
	all := keys(t, dir)
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		for _, i := range []int{1, 2, 5} { // not at the ends of a run, by which it is known to be of the store
			bad := slices.Clone(b.Get(all[i]))
			bad[len(bad)/2] ^= 1
			if err := b.Put(all[i], bad); err != nil {
				return err
			}
		}
		return nil
	})
	if got, err := ask("lonely.example"); err != nil || !cmp.Equal(want, got, cmp.Comparer(func(a, b Client) bool { return a == b })) {
		t.Errorf("%+v, want %+v, %v", got, want, err)
	}
	var damage *DamageError
	if _, err := ask("common.example"); !errors.As(err, &damage) {
		t.Errorf("the segments are not damaged: %v", err)
	}
}
