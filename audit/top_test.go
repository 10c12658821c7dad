package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

var sameAddr = cmp.Comparer(func(a, b Client) bool { return a == b })

// naiveTop counts records in a map by what a row says of them.
func naiveTop(records []*Record, q Query, by Dimension) (counts map[TopRow]TopRow, total uint64) {
	counts = map[TopRow]TopRow{}
	for _, r := range records {
		if r.Kind != "query" || !keep(q, r) {
			continue
		}
		total++
		why := Reason{"", r.Policy, r.Rule, r.Category, r.List}
		if q.Observed {
			why = *r.Observed
		}
		var key TopRow
		if by == ByClient || by == ByPair {
			key.Client = r.Client
		}
		if by == ByName || by == ByPair {
			key.Name = r.Name
		}
		if by == ByRule || by == ByPair && q.Observed {
			key.Policy, key.Rule, key.Category, key.List = why.Policy, why.Rule, why.Category, why.List
		}
		if by == ByCategory {
			key.Category = why.Category
		}
		row, ok := counts[key]
		if !ok {
			row = key
			row.First, row.Last = r.Time, r.Time
		}
		row.Count++
		if r.Time.Before(row.First) {
			row.First = r.Time
		}
		if r.Time.After(row.Last) {
			row.Last = r.Time
		}
		counts[key] = row
	}
	return counts, total
}

func TestTopAgreesWithANaiveCount(t *testing.T) {
	dir := t.TempDir()
	records := fill(t, dir, 3000, 70)
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at := func(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
	for _, q := range []Query{
		{},
		{Limit: 3, Oldest: true}, // which Top leaves aside
		{Observed: true},
		{Verdict: "block"},
		{Client: netip.MustParsePrefix("192.0.2.4/30")},
		{Name: wire("shop.example"), Observed: true},
		{Group: "group-1", Type: 65},
		{Policy: "policy-2", Observed: true},
		{Category: "category-4"},
		{Name: wire("absent.test")},
		{Kind: KindQuery},
		{Kind: KindChange},
		{Since: at(700), Until: at(900)},
		{Since: at(1e9)},
		{SeqFrom: 100, SeqTo: 123, Observed: true},
		{SeqFrom: 2900},
	} {
		for _, by := range Dimensions() {
			counts, total := naiveTop(records, q, by)
			want := []TopRow{}
			for _, row := range counts {
				want = append(want, row)
			}
			// Rows that count as many and as late as others come in an order of their own.
			order := func(a, b TopRow) int {
				if a.Count != b.Count {
					return int(b.Count) - int(a.Count)
				}
				return b.Last.Compare(a.Last)
			}
			slices.SortFunc(want, order)
			for _, limit := range []int{0, 1, 3, len(want), len(want) + 1} {
				top, err := r.Top(context.Background(), q, by, limit, 0)
				if err != nil {
					t.Fatal(err)
				}
				n := len(want)
				if limit > 0 {
					n = min(n, limit)
				}
				if top.By != by || top.Observed != q.Observed || top.Records != total || top.Keys != uint64(len(want)) ||
					top.Dropped != 0 || top.Missed != 0 || len(top.Rows) != n || top.Rows == nil {
					t.Fatalf("%+v by %s, limit %d: %+v, want %d of %d rows over %d records", q, by, limit, top, n, len(want), total)
				}
				others := total
				for i, row := range top.Rows {
					others -= row.Count
					if order(row, want[i]) != 0 {
						t.Fatalf("%+v by %s, limit %d: row %d is %+v, want %+v", q, by, limit, i, row, want[i])
					}
					key := row
					key.Count, key.First, key.Last = 0, time.Time{}, time.Time{}
					if d := cmp.Diff(counts[key], row, sameAddr); d != "" {
						t.Fatalf("%+v by %s, limit %d, row %d:\n%s", q, by, limit, i, d)
					}
					delete(counts, key) // so that none comes twice
				}
				if others != top.Others {
					t.Fatalf("%+v by %s, limit %d: %d others, want %d", q, by, limit, top.Others, others)
				}
				counts, _ = naiveTop(records, q, by)
			}
		}
	}
	if _, err := r.Top(context.Background(), Query{}, "colours", 1, 0); err == nil || err.Error() != `nothing is counted by "colours"` {
		t.Error(err)
	}
}

// A census that has to drop keys still says how far its counts can be from the truth, and holds to it.
func TestCensusHoldsItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxKeys := rapid.IntRange(1, 12).Draw(t, "keys")
		c := newCensus(maxKeys, rapid.SampledFrom([]int{0, 9, 30, 1000}).Draw(t, "octets"))
		truth := map[string]span{}
		var total uint64
		dropping := false
		for i, n := range rapid.SliceOfN(rapid.IntRange(0, 40), 1, 300).Draw(t, "stream") {
			if n > 30 {
				n %= 3 // a few keys come often
			}
			key := fmt.Sprint("key-", n)
			count := rapid.Uint64Range(1, 3).Draw(t, "count")
			at := int64(1000 - i)
			c.add([]byte(key), span{count: count, first: at, last: at})
			c.trim()
			was, ok := truth[key]
			if !ok {
				was = span{last: at}
			}
			truth[key] = span{count: was.count + count, first: at, last: was.last}
			total += count
			dropping = dropping || len(truth) > maxKeys || c.dropped > 0
		}
		if len(c.spans) > c.maxKeys || len(c.keys.arena) > c.maxOctets || len(c.keys.ends) != len(c.spans) {
			t.Fatalf("%d keys of %d octets are more than %d and %d", len(c.spans), len(c.keys.arena), c.maxKeys, c.maxOctets)
		}
		counted := c.dropped
		for i, s := range c.spans {
			key := string(c.keys.entry(uint32(i)))
			true := truth[key]
			if s.count > true.count || true.count > s.count+s.missed || s.first < true.first || s.last > true.last {
				t.Fatalf("%s: %+v, but in truth %+v", key, s, true)
			}
			if !dropping && (s != true) {
				t.Fatalf("%s: %+v, but in truth %+v, and nothing had to be dropped", key, s, true)
			}
			counted += s.count
			delete(truth, key)
		}
		if counted != total {
			t.Fatalf("counts and what was dropped make %d of %d", counted, total)
		}
		for key, s := range truth {
			if s.count > c.missed {
				t.Fatalf("%s came %d times and was dropped, but none is to be missed that came more than %d times", key, s.count, c.missed)
			}
		}
	})
}

// What comes often is found among any number of names that come once.
func TestAFloodOfNamesHidesNothing(t *testing.T) {
	c := newCensus(1000, 1<<20)
	for i := range 100_000 {
		c.add(fmt.Appendf(nil, "random-%d", i), span{count: 1})
		if i >= 50_000 && i%100 == 0 { // begins when much has been dropped already
			c.add([]byte("often"), span{count: 1})
		}
		c.trim()
	}
	found := c.most(1)
	if s := c.spans[found[0]]; string(c.keys.entry(found[0])) != "often" || s.count != 500 || s.missed == 0 || s.missed > 250 {
		t.Errorf("found %s, %+v", c.keys.entry(found[0]), s)
	}
}

func TestDictKeeps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDict()
		var want []string
		for _, v := range rapid.SliceOfNDistinct(rapid.String(), 0, 200, rapid.ID).Draw(t, "entries") {
			d.number([]byte(v))
			want = append(want, v)
		}
		for range 3 {
			drop := map[string]bool{}
			for _, v := range want {
				drop[v] = rapid.Bool().Draw(t, "drop")
			}
			d.keep(func(i uint32) bool { return !drop[string(d.entry(i))] })
			want = slices.DeleteFunc(want, func(v string) bool { return drop[v] })
			v := rapid.String().Draw(t, "more")
			if i, fresh := d.number([]byte(v)); fresh != !slices.Contains(want, v) || !fresh && want[i] != v {
				t.Fatalf("%q has number %d, new: %v, in %q", v, i, fresh, want)
			} else if fresh {
				want = append(want, v)
			}
			for i, v := range want {
				if n, fresh := d.number([]byte(v)); n != uint32(i) || fresh || string(d.entry(n)) != v {
					t.Fatalf("%q has number %d, want %d in %q", v, n, i, want)
				}
			}
			if len(d.ends) != len(want) {
				t.Fatalf("%d entries, want %d", len(d.ends), len(want))
			}
		}
	})
}

// The JSON is public, and hostile names in it are escaped as in a record.
func TestGoldenTop(t *testing.T) {
	dir := t.TempDir()
	l, stop := start(t, Config{Dir: dir, Interval: time.Hour})
	for _, r := range sampleReasons {
		l.Intern(r)
	}
	for _, label := range sampleLabels {
		l.Label(label)
	}
	for _, b := range []batch{sample(), laterSample()} {
		var e Event
		for events := b.slabs[0].b; len(events) > 0; {
			events = events[readEvent(&e, events):]
			l.Record(&e)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out []byte
	for _, c := range []struct {
		q     Query
		limit int
	}{{Query{}, 0}, {Query{Observed: true}, 0}, {Query{Verdict: "block"}, 2}} {
		for _, by := range Dimensions() {
			top, err := r.Top(context.Background(), c.q, by, c.limit, 0)
			if err != nil {
				t.Fatal(err)
			}
			line, err := json.Marshal(top)
			if err != nil {
				t.Fatal(err)
			}
			out = append(append(out, line...), '\n')
		}
	}
	golden(t, "top.jsonl", out)
}

// endsAfter is a context that ends when it has been asked so many times.
type endsAfter struct {
	context.Context
	times int
}

func (e *endsAfter) Err() error {
	if e.times--; e.times < 0 {
		return context.Canceled
	}
	return nil
}

func TestTopStops(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 100, 10)
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for segments := range 4 {
		top, err := r.Top(&endsAfter{context.Background(), segments}, Query{}, ByName, 0, 0)
		if !errors.Is(err, context.Canceled) || top.Records != uint64(10*segments) {
			t.Errorf("interrupted after %d segments: %v, %d records", segments, err, top.Records)
		}
	}
}

func TestTopPassesOverDamage(t *testing.T) {
	dir := t.TempDir()
	records := fill(t, dir, 100, 10)
	bad := keys(t, dir)[4]
	rewrite(t, dir, func(b *bbolt.Bucket) error {
		v := slices.Clone(b.Get(bad))
		v[len(v)/2] ^= 1
		return b.Put(bad, v)
	})
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	top, err := r.Top(context.Background(), Query{}, ByName, 0, 0)
	var damage *DamageError
	if !errors.As(err, &damage) {
		t.Error(err)
	}
	queries := 0
	for _, r := range records {
		if r.Kind == "query" {
			queries++
		}
	}
	if top.Records != uint64(queries-10) {
		t.Errorf("%d records counted beside the damage, want %d", top.Records, queries-10)
	}
}
