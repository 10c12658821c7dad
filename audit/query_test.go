package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// fill writes n random events, per of them to a segment, beside changes, and
// returns how they should come back: a model of plain records to filter naively.
func fill(t testing.TB, dir string, n, per int) []*Record {
	t.Helper()
	l, err := Open(Config{Dir: dir, Now: func() time.Time { return epoch }}) // all in one file
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{log: l, seen: time.Now()}
	r := rand.New(rand.NewPCG(3, 4))
	names := []string{"example", "www.example", "shop.example", "www.shop.example", "notshop.example", "shop.example.test", "a.b.c.shop.example"}
	var reasons []uint32
	for i := range 6 {
		reasons = append(reasons, l.Intern(Reason{Group: fmt.Sprint("group-", i%2), Policy: fmt.Sprint("policy-", i%3), Rule: fmt.Sprint(i % 4), Category: fmt.Sprint("category-", i), List: fmt.Sprint("list-", i%5)}))
	}
	servers := []uint32{l.Label("udp://192.0.2.53:53"), l.Label("tls://192.0.2.54#dns.example")}
	for i := range n {
		e := query(i+r.IntN(200), fmt.Sprintf("192.0.2.%d", r.IntN(8)), names[r.IntN(len(names))])
		if r.IntN(4) == 0 {
			e.Client = netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", r.IntN(8)))
		}
		e.Type, e.Blocked = []uint16{1, 28, 65}[r.IntN(3)], r.IntN(3) == 0
		e.Reason = reasons[r.IntN(len(reasons))]
		if r.IntN(5) == 0 {
			e.Observed = reasons[r.IntN(len(reasons))]
		}
		e.Transport = Transport(1 + r.IntN(2))
		if e.Source = Source(1 + r.IntN(7)); e.Source == SourceUpstream {
			e.Upstream = servers[r.IntN(len(servers))]
		}
		e.Rcode = uint16(r.IntN(4))
		for range r.IntN(3) {
			e.Addrs = append(e.Addrs, netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", r.IntN(32))))
		}
		if r.IntN(6) == 0 {
			e.Addrs = append(e.Addrs, e.Client) // an address of both columns
		}
		for range r.IntN(3) {
			e.Aliases = append(e.Aliases, wire(names[r.IntN(len(names))]))
		}
		if !l.Record(e) {
			t.Fatal("slabs are full")
		}
		if i%per == per-1 || i == n-1 {
			if i%3 == 0 {
				l.Change("reload")
			}
			if err := w.seal(false); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.notary.checkpoint(l.cfg.Now())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return all(t, dir)
}

// keep is the naive reading of a Query.
func keep(q Query, r *Record) bool {
	asked := q.Client.IsValid() || q.Name != nil || q.Type != 0 || q.Verdict != "" || q.Group != "" || q.Policy != "" ||
		q.Category != "" || q.Observed || q.Glob != "" || q.Rule != "" || q.List != "" || q.Answer.IsValid() || q.Alias != nil ||
		q.Rcode != "" || q.Source != "" || q.Transport != "" || q.Upstream != ""
	name := nameString(q.Name)
	return (q.Kind == 0 || r.Kind == q.Kind.String()) &&
		(!asked || r.Kind == "query") &&
		(!q.Client.IsValid() || q.Client.Contains(r.Client.kept)) &&
		(q.Name == nil || strings.EqualFold(r.Name, name) || !q.ExactName && strings.HasSuffix(r.Name, "."+strings.ToLower(name))) &&
		(q.Glob == "" || globExpression(q.Glob).MatchString(r.Name+".")) &&
		(q.Rule == "" || r.Rule == q.Rule) &&
		(q.List == "" || r.List == q.List) &&
		(q.Rcode == "" || r.Rcode == strings.Replace(strings.ToUpper(q.Rcode), "RCODE2", "SERVFAIL", 1)) &&
		(q.Source == "" || r.Source == q.Source) &&
		(q.Transport == "" || r.Transport == q.Transport) &&
		(q.Upstream == "" || r.Upstream == q.Upstream) &&
		(!q.Answer.IsValid() || slices.ContainsFunc(r.Answers, func(s string) bool {
			a, err := netip.ParseAddr(s)
			return err == nil && q.Answer.Contains(a)
		})) &&
		(q.Alias == nil || slices.ContainsFunc(r.Answers, func(s string) bool {
			alias := nameString(lower(q.Alias))
			return s == alias || strings.HasSuffix(s, "."+alias)
		})) &&
		(q.Type == 0 || r.Type == typeString(q.Type)) &&
		(q.Verdict == "" || r.Verdict == q.Verdict) &&
		(q.Group == "" || r.Group == q.Group) &&
		(q.Policy == "" || r.Policy == q.Policy) &&
		(q.Category == "" || r.Category == q.Category) &&
		(!q.Observed || r.Observed != nil) &&
		(q.Since.IsZero() || !r.Time.Before(q.Since)) &&
		(q.Until.IsZero() || r.Time.Before(q.Until)) &&
		r.Seq >= q.SeqFrom && (q.SeqTo == 0 || r.Seq <= q.SeqTo)
}

func TestSearchAgreesWithANaiveFilter(t *testing.T) {
	dir := t.TempDir()
	records := fill(t, dir, 3000, 70)
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at := func(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
	for i, q := range []Query{
		{},
		{Client: netip.MustParsePrefix("192.0.2.4/30")},
		{Client: netip.MustParsePrefix("192.0.2.5/30")},
		{Client: netip.MustParsePrefix("2001:db8::/32")},
		{Name: wire("shop.example")},
		{Name: wire("SHOP.example")},
		{Name: wire("shop.example"), ExactName: true},
		{Name: wire("absent.test")},
		{Name: []byte{0}, ExactName: true},
		{Type: 65},
		{Verdict: "block"},
		{Verdict: "allow"},
		{Group: "group-1"},
		{Policy: "policy-2"},
		{Category: "category-4"},
		{Category: "absent"},
		{Glob: "*.shop.*"},
		{Glob: "www.Sh?p.example."},
		{Glob: "*h?p.*", Verdict: "block"},
		{Glob: "*.example", Name: wire("shop.example")},
		{Glob: "*.absent"},
		{Rule: "3"},
		{List: "list-4"},
		{List: "list-2", Rule: "1", Client: netip.MustParsePrefix("192.0.2.0/24")},
		{Answer: netip.MustParsePrefix("198.51.100.7/32")},
		{Answer: netip.MustParsePrefix("198.51.100.9/28")},
		{Answer: netip.MustParsePrefix("2001:db8::/32")},
		{Answer: netip.MustParsePrefix("203.0.113.0/24")},
		{Alias: wire("SHOP.example")},
		{Alias: wire("absent")},
		{Alias: wire("shop.example"), Answer: netip.MustParsePrefix("198.51.100.0/30"), Name: wire("example")},
		{Rcode: "nxdomain"},
		{Rcode: "RCODE2"}, // which records call SERVFAIL
		{Rcode: "BADVERS"},
		{Source: "upstream"},
		{Source: "stale", Transport: "tcp"},
		{Upstream: "udp://192.0.2.53:53"},
		{Upstream: "absent"},
		{Observed: true},
		{Kind: KindChange},
		{Kind: KindQuery},
		{Kind: KindGap},
		{Since: at(1500)},
		{Until: at(1500)},
		{Since: at(700), Until: at(900)},
		{Since: at(1e9)},
		{Until: at(-1)},
		{SeqFrom: 1, SeqTo: 1},
		{SeqFrom: 2900},
		{SeqTo: 77},
		{SeqFrom: 1000, SeqTo: 1000},
		{SeqFrom: 1000, SeqTo: 1222},
		{SeqFrom: 200, SeqTo: 100},
		{SeqFrom: 1e6},
		{SeqTo: 1e6},
		{SeqFrom: math.MaxUint64, SeqTo: math.MaxUint64},
		{SeqFrom: 900, SeqTo: 1400, Since: at(1000), Until: at(1100)},
		{SeqFrom: 500, SeqTo: 700, Since: at(2000)},
		{SeqFrom: 2000, SeqTo: 2300, Until: at(1000)},
		{SeqFrom: 300, SeqTo: 900, Group: "group-0", Verdict: "block"},
		{Client: netip.MustParsePrefix("192.0.2.0/29"), Name: wire("example"), Verdict: "block", Type: 1, Since: at(100), Policy: "policy-1"},
	} {
		for _, limit := range []int{0, 1, 17} {
			for _, oldest := range []bool{true, false} {
				q.Limit, q.Oldest = limit, oldest
				var want []*Record
				for _, r := range records {
					if keep(q, r) {
						want = append(want, r)
					}
				}
				if !oldest {
					slices.Reverse(want)
				}
				if limit > 0 {
					want = want[:min(limit, len(want))]
				}
				got := search(t, r, q)
				n := 0
				if err := r.Each(t.Context(), q, func(one *Record) error {
					if n >= len(got) || !reflect.DeepEqual(one, got[n]) {
						t.Fatalf("query %d, limit %d, oldest %v: record %d is %+v", i, limit, oldest, n, one)
					}
					n++
					return nil
				}); err != nil || n != len(got) {
					t.Fatalf("%d of %d records, %v", n, len(got), err)
				}
				if d := cmp.Diff(want, got, cmp.Comparer(func(a, b Client) bool { return a == b })); d != "" {
					t.Fatalf("query %d, limit %d, oldest %v: %d records, want %d:\n%s", i, limit, oldest, len(got), len(want), d)
				}
			}
		}
	}
}

// A word that no record has is an error, not a search that finds nothing.
func TestSearchRefusesUnknownWords(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 1, 1)
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for want, q := range map[string]Query{
		`verdict "maybe": write allow or block`:                                                        {Verdict: "maybe"},
		`rcode "NONE" is not known: write a name like NXDOMAIN, or RCODE24 for a number`:               {Rcode: "NONE"},
		`source "disk": write one of sinkhole, local, cache, stale, upstream, error, refused, ignored`: {Source: "disk"},
		`name: pattern "a..b", character 3: an empty label`:                                            {Glob: "a..b"},
	} {
		if err := r.Search(context.Background(), q, func(*Record) error { return nil }); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A range of sequence numbers is found by key: no other segment is even looked at,
// not one behind it in time.
func TestASequenceNumberIsNoScan(t *testing.T) {
	dir := t.TempDir()
	records := fill(t, dir, 400, 20)
	var kept uint64 // first of a segment in the middle
	n := len(keys(t, dir))
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		i := 0
		return b.ForEach(func(k, v []byte) error {
			if i++; i == n/2 {
				kept = binary.BigEndian.Uint64(k)
				return nil
			}
			v = bytes.Clone(v)
			v[len(v)-1] ^= 1
			return b.Put(bytes.Clone(k), v)
		})
	})
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, q := range []Query{
		{},
		{Oldest: true},
		{Verdict: "block"},
		{Verdict: "block", Oldest: true},
		{Since: epoch.Add(time.Hour), Oldest: true},
		{Until: epoch, Oldest: true},
	} {
		q.SeqFrom, q.SeqTo = kept+3, kept+9
		want := 0
		for _, r := range records {
			if keep(q, r) {
				want++
			}
		}
		if got := search(t, r, q); len(got) != want { // search fails at any damage
			t.Errorf("%+v: %d records, want %d", q, len(got), want)
		}
	}
}

func TestTheRootIsAboveAllNames(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 100, 10)
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n := len(search(t, r, Query{Name: []byte{0}})); n != 100 {
		t.Errorf("%d of 100 names are below the root", n)
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		name, zone string
		want       bool
	}{
		{"shop.example", "shop.example", true},
		{"www.shop.example", "shop.example", true},
		{"notshop.example", "shop.example", false},
		{"example", "shop.example", false},
		{"shop.example.test", "shop.example", false},
	} {
		if got := below(wire(c.name), wire(c.zone)); got != c.want {
			t.Errorf("below(%s, %s) = %v", c.name, c.zone, got)
		}
	}
	if below([]byte("\x05ab"), wire("x")) || below([]byte("\xc0\x0c\x00\x00\x00"), wire("x")) || below(nil, wire("x")) {
		t.Error("what is no wire name lies below a name")
	}
}

func TestSearchStops(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 100, 10)
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	enough := errors.New("enough")
	n := 0
	err = r.Search(context.Background(), Query{}, func(*Record) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("%v after %d records", err, n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = r.Search(ctx, Query{}, func(*Record) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Readers, followers and the proof run while events are recorded and committed.
func TestReadersBesideTheWriter(t *testing.T) {
	dir := t.TempDir()
	l, stop := start(t, Config{Dir: dir, Interval: 2 * time.Millisecond})
	const events = 20000
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			next := uint64(1)
			err := l.Follow(ctx, Query{Limit: events}, 1, func(r *Record) error {
				if r.Seq != next {
					return fmt.Errorf("record %d follows %d", r.Seq, next-1)
				}
				next++
				return nil
			})
			if err != nil {
				t.Error("Follow:", err)
			}
		})
	}
	wg.Go(func() {
		r := l.Reader()
		for l.Stats().LastSeq < events {
			before := ^uint64(0)
			err := r.Search(ctx, Query{Limit: 2000}, func(rec *Record) error {
				if rec.Seq >= before {
					return fmt.Errorf("record %d comes after %d", rec.Seq, before)
				}
				before = rec.Seq
				return nil
			})
			if err != nil {
				t.Error("Search:", err)
			}
			if report, err := r.Verify(ctx, Verification{}, nil); err != nil || report.Problems != nil {
				t.Error("Verify:", err, report.Problems)
			}
		}
	})
	for i := range events {
		for !l.Record(query(i, "192.0.2.7", "www.example")) {
			t.Fatal("an event was lost")
		}
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := l.Reader().Search(ctx, Query{}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	proveComplete(t, all(t, dir), events, 0)
}

func TestFollow(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, stop := start(t, Config{Dir: dir})
		l.Record(query(0, "192.0.2.7", "before.example"))
		time.Sleep(time.Second)
		synctest.Wait()

		var live, blocked, old, ranged []string
		follow := func(to *[]string, q Query, from uint64) chan error {
			done := make(chan error, 1)
			go func() {
				done <- l.Follow(t.Context(), q, from, func(r *Record) error {
					*to = append(*to, r.Name)
					time.Sleep(10 * time.Second) // slow; must delay nobody
					return nil
				})
			}()
			return done
		}
		ends := []chan error{follow(&live, Query{}, 0), follow(&blocked, Query{Verdict: "block"}, 0), follow(&old, Query{}, 1)}
		two := follow(&ranged, Query{SeqFrom: 2, SeqTo: 3}, 0)
		synctest.Wait()
		for i, name := range []string{"one.example", "two.example", "three.example"} {
			e := query(i, "192.0.2.7", name)
			e.Blocked = i == 1
			l.Record(e)
			time.Sleep(time.Second)
			synctest.Wait()
			if s := l.Stats(); s.Pending != 0 {
				t.Errorf("a slow follower delays the writer: %+v", s)
			}
		}
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if err := <-two; err != nil {
			t.Errorf("the follower of a range ended with %v", err)
		}
		for i, end := range ends {
			if err := <-end; !errors.Is(err, ErrClosed) {
				t.Errorf("follower %d ended with %v", i, err)
			}
		}
		for _, c := range []struct{ got, want []string }{
			{live, []string{"one.example", "two.example", "three.example"}},
			{blocked, []string{"two.example"}},
			{old, []string{"before.example", "one.example", "two.example", "three.example"}},
			{ranged, []string{"one.example", "two.example"}},
		} {
			if !slices.Equal(c.got, c.want) {
				t.Errorf("followed %q, want %q", c.got, c.want)
			}
		}
	})
}

func TestEncodingsAreNamed(t *testing.T) {
	if _, err := NewEncoder("xml", nil); err == nil || err.Error() != `unknown export format "xml", known are cof, csv, dnstap, ecs, jsonl, ocsf, zeek` {
		t.Error(err)
	}
}

func TestFormulasAreNeutralised(t *testing.T) {
	for cell, want := range map[string]string{
		"": "", "www.example": "www.example", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx",
		"\rx": "'\rx", "＝1": "'＝1", "a=1": "a=1",
	} {
		if got := plain(cell); got != want {
			t.Errorf("%q became %q, want %q", cell, got, want)
		}
	}
}

func TestTextIsPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain text, größe": "plain text, größe", "\x1b[2J": `\027[2J`, "a\xffb": `a\255b`, "a\u202eb": `a\226\128\174b`, "a\nb": `a\010b`,
	} {
		if got := printable([]byte(text)); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestNamesOfNumbers(t *testing.T) {
	for got, want := range map[string]string{
		typeString(28): "AAAA", typeString(65280): "TYPE65280", classString(1): "IN", classString(32): "CLASS32",
		rcodeString(3): "NXDOMAIN", rcodeString(24): "RCODE24", Source(200).String(): "?", KindGap.String(): "gap",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A tail that is too far behind passes over records, says how many, and goes on
// with the newest: what was shown and what was not are all there are.
func TestTailPassesOver(t *testing.T) {
	for _, most := range []uint64{0, 20, 1000} {
		dir := t.TempDir()
		l, stop := start(t, Config{Dir: dir, Interval: time.Hour})
		record := func(n int) {
			for range n {
				l.Record(query(0, "192.0.2.7", "a.example"))
			}
			if err := l.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		record(1)
		ctx, cancel := context.WithCancel(t.Context())
		next, skipped := uint64(1), uint64(0)
		err := l.Tail(ctx, Query{}, 1, func(r *Record) error {
			if r.Seq != next {
				t.Fatalf("record %d, want %d", r.Seq, next)
			}
			switch next++; r.Seq {
			case 1:
				for range 10 { // segments of their own, while this one is being shown
					record(10)
				}
			case 101:
				cancel()
			}
			return nil
		}, Lag{Most: most, Skipped: func(n uint64) error {
			next, skipped = next+n, skipped+n
			return nil
		}})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if want := map[uint64]uint64{20: 99}[most]; skipped != want {
			t.Errorf("with at most %d behind, %d were passed over, want %d", most, skipped, want)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
}
