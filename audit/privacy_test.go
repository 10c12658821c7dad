package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// octetsOf is everything in a folder, by file.
func octetsOf(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		out[filepath.Base(path)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// No file has an address while a log runs, or after, but the file of keys: not in
// slabs, in frames, in segments, or in the changes that tell who was read of.
func TestNoAddressReachesTheDisk(t *testing.T) {
	four, six := netip.MustParseAddr("203.0.113.77"), netip.MustParseAddr("2001:db8:1:2:a1b2:c3d4:e5f6:1789")
	for _, how := range []Privacy{PrefixClients, KeyedClients} {
		dir := t.TempDir()
		l, stop := start(t, Config{Dir: dir, Interval: time.Hour, Block: time.Hour, Privacy: ClientPrivacy{How: how}})
		drawn := strings.NewReplacer(l.notary.key.Name(), "", fmt.Sprintf("+%08x+", l.notary.key.KeyHash()), "") // digits of any value
		look := func(when string) {
			t.Helper()
			for file, b := range octetsOf(t, dir) {
				b = []byte(drawn.Replace(string(b)))
				four, six := four.As4(), six.As16()
				for _, secret := range [][]byte{four[:], six[:], six[8:], []byte("203.0.113.77"), []byte("c3d4"), {0xab, 0xcd, 0xef, 0x12}, {0xcd, 0xab, 0x12, 0xef}} {
					if bytes.Contains(b, secret) && file != ClientKeysFile {
						t.Errorf("%s, privacy %d: %s has %x", when, how, file, secret)
					}
				}
			}
		}
		for i, a := range []netip.Addr{four, six, four} {
			e := query(i, a.String(), "www.shop.example")
			e.Port, e.ID, e.QuerySize = 0xabcd, 0xef12, 34
			if !l.Record(e) {
				t.Fatal("lost")
			}
			if e.Port != 0 || e.ID != 0 || !masked(e.Client) {
				t.Errorf("%+v", e)
			}
		}
		for _, p := range []string{"203.0.113.77/32", "203.0.113.76/31", "2001:db8:1:2:a1b2:c3d4:e5f6:1789/128"} {
			l.RecordChange(Change{Action: ActionSearch, Text: "search: client=" + l.ClientText(netip.MustParsePrefix(p))})
		}
		look("before anything is written")
		left := copied(t, dir) // as a kill would leave it
		if err := l.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		look("in frames")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		look("sealed")
		for _, dir := range []string{dir, left} {
			if dir == left {
				_, stop := start(t, Config{Dir: left, Privacy: ClientPrivacy{How: how}})
				if err := stop(); err != nil {
					t.Fatal(err)
				}
			}
			records := all(t, dir)
			var clients []string
			for _, r := range records {
				if r.Kind == "query" {
					clients = append(clients, r.Client.String())
				}
			}
			if len(clients) != 3 || clients[0] != clients[2] || clients[0] == clients[1] {
				t.Fatalf("clients %q", clients)
			}
			if how == PrefixClients && (clients[0] != "203.0.113.0/24" || clients[1] != "2001:db8:1::/56") {
				t.Errorf("clients %q", clients)
			}
			if how == KeyedClients && !strings.HasPrefix(clients[0], "client-2024-05-") {
				t.Errorf("clients %q", clients)
			}
		}
	}
}

// A setClock is one that the test sets.
type setClock struct{ at atomic.Pointer[time.Time] }

func clockAt(t time.Time) *setClock {
	c := &setClock{}
	c.at.Store(&t)
	return c
}

func (c *setClock) now() time.Time { return *c.at.Load() }

func (c *setClock) add(d time.Duration) {
	t := c.now().Add(d)
	c.at.Store(&t)
}

// keyed starts a log that keeps pseudonyms.
func keyed(t testing.TB, dir string, clock *setClock) (*Log, func() error) {
	t.Helper()
	return start(t, Config{Dir: dir, Privacy: ClientPrivacy{How: KeyedClients}, Now: clock.now})
}

// ask records a query of a client at the time, and returns what is kept of the client.
func ask(t testing.TB, l *Log, now time.Time, client string) Client {
	t.Helper()
	e := query(0, client, "www.shop.example")
	e.Time = now.UnixNano()
	if !l.Record(e) {
		t.Fatal("lost")
	}
	return Client{e.Client}
}

// A pseudonym is its client's for a month, over restarts; whose it is can be told, which
// is recorded, until it is forgotten. Then the client has another, and all that was
// recorded is as good as before.
func TestPseudonymsOfAClient(t *testing.T) {
	dir, clock := t.TempDir(), clockAt(time.Date(2024, 5, 31, 23, 59, 59, 0, time.UTC))
	l, stop := keyed(t, dir, clock)
	a, b := ask(t, l, clock.now(), "192.0.2.7"), ask(t, l, clock.now(), "192.0.2.8")
	if a == b || a != ask(t, l, clock.now(), "192.0.2.7") {
		t.Fatalf("%s and %s", a, b)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	l, stop = keyed(t, dir, clock)
	if again := ask(t, l, clock.now(), "192.0.2.7"); again != a {
		t.Errorf("after a restart %s, before %s", again, a)
	}
	clock.add(time.Second)
	next := ask(t, l, clock.now(), "192.0.2.7")
	late := ask(t, l, clock.now().Add(-time.Nanosecond), "192.0.2.7")
	if next == a || !strings.HasPrefix(next.String(), "client-2024-06-") || late != a {
		t.Errorf("in May %s, in June %s, late %s", a, next, late)
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	find := func(q Query) (n int) {
		t.Helper()
		return len(search(t, l.Reader(), q))
	}
	host := netip.MustParsePrefix("192.0.2.7/32")
	for i, c := range []struct {
		q    Query
		want int
	}{
		{Query{Client: host, Reveal: true}, 5},
		{Query{Client: host}, 0},
		{Query{Client: netip.MustParsePrefix("192.0.2.0/24"), Reveal: true}, 6},
		{Query{Client: a.Filter()}, 4},
		{Query{Client: next.Filter(), Reveal: true}, 1},
		{Query{Client: netip.MustParsePrefix("10.0.0.0/8"), Reveal: true}, 0},
	} {
		if n := find(c.q); n != c.want {
			t.Errorf("search %d: %d records, want %d", i, n, c.want)
		}
	}

	reveal := func(want ...string) {
		t.Helper()
		found, err := l.Reveal(t.Context(), "uid 7", []Client{a, b, next, {pseudonym{5, [8]byte{1}}.kept()}})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range found {
			got := r.State
			if r.Client.IsValid() {
				got = r.Client.String()
			}
			if got != want[i] {
				t.Errorf("%s is %q, want %q", r.Pseudonym, got, want[i])
			}
		}
	}
	reveal("192.0.2.7", "192.0.2.8", "192.0.2.7", "unknown")
	rec := search(t, l.Reader(), Query{Kind: KindChange, Limit: 1})[0]
	if rec.Action != ActionReveal || rec.Actor != "uid 7" || !strings.Contains(rec.Text, a.String()) || strings.Contains(rec.Text, "192.0.2") {
		t.Errorf("the record of it: %+v", rec)
	}

	if _, err := l.Forget(t.Context(), "uid 7", netip.Prefix{}, "", ""); err == nil {
		t.Error("forgets everybody without a word")
	}
	done, err := l.Forget(t.Context(), "uid 7", host, "2024-05", "")
	if err != nil || len(done.Pseudonyms) != 1 || done.Pseudonyms[0] != a {
		t.Fatalf("%+v, %v", done, err)
	}
	reveal("forgotten", "192.0.2.8", "192.0.2.7", "unknown")
	if done, err = l.Forget(t.Context(), "uid 7", host, "", ""); err != nil || len(done.Pseudonyms) != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	if text := search(t, l.Reader(), Query{Kind: KindChange, Limit: 1})[0].Text; text != "forget: destroying the key of "+next.String() {
		t.Errorf("the record of it: %s", text)
	}
	reveal("forgotten", "192.0.2.8", "forgotten", "unknown")
	key, _ := os.ReadFile(filepath.Join(dir, ClientKeysFile))
	if bytes.Contains(key, []byte{192, 0, 2, 7}) || !bytes.Contains(key, []byte{192, 0, 2, 8}) {
		t.Error("the file of keys has the address still, or lost another's")
	}
	if n := find(Query{Client: host, Reveal: true}); n != 0 {
		t.Errorf("%d records are found by the address", n)
	}
	fresh := ask(t, l, clock.now(), "192.0.2.7")
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := find(Query{Client: host, Reveal: true}); n != 1 || fresh == next || fresh == a {
		t.Errorf("%d records are found by the address, as %s", n, fresh)
	}
	for _, rec := range search(t, l.Reader(), Query{Kind: KindChange}) {
		if strings.Contains(rec.Text, "192.0.2.") {
			t.Errorf("a record says who it was: %s", rec.Text)
		}
	}
	if done, err = l.Forget(t.Context(), "", netip.Prefix{}, "", "2024-06"); err != nil || len(done.Pseudonyms) != 1 || done.Pseudonyms[0] != b {
		t.Errorf("%+v, %v", done, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(search(t, openStopped(t, dir, true), Query{Client: host, Reveal: true})); n != 1 {
		t.Errorf("%d records in the stopped store", n)
	}
	if n := len(search(t, openStopped(t, dir, false), Query{Client: host, Reveal: true})); n != 0 {
		t.Errorf("%d records in the stopped store without keys", n)
	}
	all(t, dir) // proves it
}

// The record of who is forgotten does not say that the pseudonyms of several months are
// one client's.
func TestForgettingJoinsNothing(t *testing.T) {
	dir, clock := t.TempDir(), clockAt(time.Date(2024, 5, 31, 23, 59, 59, 0, time.UTC))
	l, _ := keyed(t, dir, clock)
	may := ask(t, l, clock.now(), "192.0.2.7")
	clock.add(time.Second)
	june := ask(t, l, clock.now(), "192.0.2.7")
	done, err := l.Forget(t.Context(), "", netip.MustParsePrefix("192.0.2.7/32"), "", "")
	if err != nil || len(done.Pseudonyms) != 2 || done.Pseudonyms[0] != may || done.Pseudonyms[1] != june {
		t.Fatalf("%+v, %v", done, err)
	}
	text := search(t, l.Reader(), Query{Kind: KindChange, Limit: 1})[0].Text
	if text != "forget: destroying 2 keys" {
		t.Errorf("the record of it: %s", text)
	}
}

// Who follows a client by its address goes on when it gets another pseudonym.
func TestFollowingAClient(t *testing.T) {
	dir, clock := t.TempDir(), clockAt(time.Date(2024, 5, 31, 23, 59, 59, 0, time.UTC))
	l, _ := keyed(t, dir, clock)
	var got []Client
	done := make(chan error, 1)
	q := Query{Client: netip.MustParsePrefix("192.0.2.7/32"), Reveal: true, Limit: 2}
	go func() {
		done <- l.Follow(t.Context(), q, 1, func(r *Record) error {
			got = append(got, r.Client)
			return nil
		})
	}()
	ask(t, l, clock.now(), "192.0.2.8")
	first := ask(t, l, clock.now(), "192.0.2.7")
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	clock.add(time.Second)
	next := ask(t, l, clock.now(), "192.0.2.7")
	if err := <-done; err != nil || len(got) != 2 || got[0] != first || got[1] != next {
		t.Errorf("%s, %v, want %s and %s", got, err, first, next)
	}
}

func openStopped(t testing.TB, dir string, keys bool) *Reader {
	t.Helper()
	r, err := OpenReader(dir)
	if err == nil && keys {
		err = r.UseClientKeys(filepath.Join(dir, ClientKeysFile))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// What proves a record from before proves it when its client is forgotten: nothing of
// the store has changed.
func TestForgettingLeavesTheStoreAlone(t *testing.T) {
	dir, clock := t.TempDir(), clockAt(epoch)
	l, stop := keyed(t, dir, clock)
	ask(t, l, clock.now(), "192.0.2.7")
	if err := errors.Join(l.Flush(t.Context()), l.Sign(t.Context())); err != nil {
		t.Fatal(err)
	}
	var bundle, again bytes.Buffer
	if _, err := l.Reader().Prove(t.Context(), Query{Kind: KindQuery}, &bundle); err != nil {
		t.Fatal(err)
	}
	done, err := l.Forget(t.Context(), "", netip.MustParsePrefix("192.0.2.7/32"), "", "")
	if err != nil || len(done.Pseudonyms) != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := openStopped(t, dir, true).Prove(t.Context(), Query{Kind: KindQuery}, &again); err != nil {
		t.Fatal(err)
	}
	row := func(b bytes.Buffer) string { return strings.Split(b.String(), "\n")[2] }
	if row(bundle) != row(again) {
		t.Errorf("the proof was\n%sand is\n%s", row(bundle), row(again))
	}
	all(t, dir)
}

// A client that is known, or whose network is kept, costs nothing to hide, and one
// that is left out costs nothing to count.
func TestHidingAllocatesNothing(t *testing.T) {
	for _, how := range []Privacy{PrefixClients, KeyedClients} {
		l, err := Open(Config{Dir: t.TempDir(), Privacy: ClientPrivacy{How: how}, Exclude: Exclude{Names: []NameScope{{wire("corp.example"), ScopeBelow}}}})
		if err != nil {
			t.Fatal(err)
		}
		e, out := query(0, "192.0.2.7", "www.shop.example"), query(0, "192.0.2.7", "www.corp.example")
		client := e.Client
		l.Record(e)
		if n := testing.AllocsPerRun(1000, func() { e.Client = client; l.Record(e) }); n != 0 {
			t.Errorf("privacy %d: %v allocations", how, n)
		}
		if n := testing.AllocsPerRun(1000, func() {
			if !l.Exclude(out) || l.Exclude(e) {
				t.Error("excludes the wrong one")
			}
		}); n != 0 {
			t.Errorf("%v allocations to exclude", n)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkHide measures what hiding clients adds to Record, with 4,096 clients.
func BenchmarkHide(b *testing.B) {
	for _, c := range []struct {
		name string
		how  Privacy
	}{{"prefix", PrefixClients}, {"keyed", KeyedClients}} {
		b.Run(c.name, func(b *testing.B) {
			l, err := Open(Config{Dir: b.TempDir(), Privacy: ClientPrivacy{How: c.how}})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			var clients [4096]netip.Addr
			e := Event{Time: epoch.UnixNano()}
			for i := range clients {
				clients[i] = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
				e.Client = clients[i]
				l.mask.hide(&e)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				e.Client = clients[i*31&4095]
				l.mask.hide(&e)
				i++
			}
		})
	}
	b.Run("first", func(b *testing.B) {
		l, err := Open(Config{Dir: b.TempDir(), Privacy: ClientPrivacy{How: KeyedClients}})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		e := Event{Time: epoch.UnixNano()}
		i := uint32(0)
		for b.Loop() {
			e.Client = netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
			l.mask.hide(&e)
			i++
		}
	})
}
