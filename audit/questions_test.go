package audit

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// asked are the queries among records that q asks for.
func asked(records []*Record, q Query) (found []*Record) {
	for _, r := range records {
		if r.Kind == "query" && keep(q, r) {
			found = append(found, r)
		}
	}
	return found
}

// sum is a naive Sighting.
func sum(records []*Record) (s Sighting) {
	for i, r := range records {
		s.Count++
		if r.Verdict == "block" {
			s.Blocked++
		}
		if i == 0 || r.Time.Before(s.First) {
			s.First = r.Time
		}
		if i == 0 || r.Time.After(s.Last) {
			s.Last = r.Time
		}
	}
	return s
}

func by[K comparable](records []*Record, key func(*Record) K) map[K][]*Record {
	m := map[K][]*Record{}
	for _, r := range records {
		m[key(r)] = append(m[key(r)], r)
	}
	return m
}

func clientOf(r *Record) Client { return r.Client }
func nameOf(r *Record) string   { return r.Name }

// someQueries are conditions of each kind, and such that find nothing.
func someQueries() []Query {
	at := func(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
	return []Query{
		{},
		{Limit: 2, Oldest: true}, // which questions that count leave aside
		{Name: wire("shop.example")},
		{Client: netip.MustParsePrefix("192.0.2.4/30"), Verdict: "block"},
		{Glob: "*.example.*", Since: at(300)},
		{Since: at(700), Until: at(900)},
		{Answer: netip.MustParsePrefix("198.51.100.0/28"), Source: "cache"},
		{Kind: KindChange},
		{Name: wire("absent.test")},
		{SeqFrom: 100, SeqTo: 140},
	}
}

func TestTraceAgreesWithAList(t *testing.T) {
	records, r := filled(t)
	for _, q := range someQueries() {
		want := asked(records, q)
		all := sum(want)
		for _, limit := range []int{0, 1, 5} {
			got, err := r.Trace(t.Context(), q, limit)
			if err != nil {
				t.Fatal(err)
			}
			clients := by(want, clientOf)
			if got.Count != all.Count || got.Blocked != all.Blocked || got.Uncounted != 0 ||
				got.Clients != uint64(len(clients)) || got.Names != uint64(len(by(want, nameOf))) {
				t.Fatalf("%+v: %+v, want %+v of %d clients", q, got, all, len(clients))
			}
			if got.Count == 0 {
				if got.First != nil || got.Last != nil || len(got.By) != 0 {
					t.Fatalf("%+v: nothing is found, and yet %+v", q, got)
				}
				continue
			}
			if !got.First.Time.Equal(all.First) || !got.Last.Time.Equal(all.Last) || !keep(q, got.First) || !keep(q, got.Last) {
				t.Fatalf("%+v: first %+v, last %+v, want %+v", q, got.First, got.Last, all)
			}
			n := len(clients)
			if limit > 0 {
				n = min(n, limit)
			}
			if len(got.By) != n || !slices.IsSortedFunc(got.By, func(a, b ClientTrace) int { return int(b.Count) - int(a.Count) }) {
				t.Fatalf("%+v: %d of %d clients, or not in order: %+v", q, len(got.By), n, got.By)
			}
			for _, c := range got.By {
				if want := sum(clients[c.Client]); c.Sighting != want {
					t.Fatalf("%+v: client %v %+v, want %+v", q, c.Client, c.Sighting, want)
				}
				delete(clients, c.Client)
			}
		}
	}
}

func TestClientsAgreeWithAList(t *testing.T) {
	records, r := filled(t)
	for _, q := range someQueries() {
		want := asked(records, q)
		for _, limit := range []int{0, 3} {
			for _, pairs := range []int{maxPairs, 5} {
				got, err := r.clients(t.Context(), q, limit, pairs)
				if err != nil {
					t.Fatal(err)
				}
				clients := by(want, clientOf)
				if got.Clients != uint64(len(clients)) || got.Queries != uint64(len(want)) {
					t.Fatalf("%+v: %+v", q, got)
				}
				others, pairsSeen := uint64(len(want)), 0
				for _, row := range got.Rows {
					of := clients[row.Client]
					names := uint64(len(by(of, nameOf)))
					if row.Sighting != sum(of) {
						t.Fatalf("%+v: %+v, want %+v", q, row, sum(of))
					}
					exact := row.AtMost == 0
					if exact && row.Names != names || !exact && (row.Names > names || row.AtMost < names) || exact && pairs == maxPairs && row.Names != names {
						t.Fatalf("%+v: %+v has %d names", q, row, names)
					}
					if !slices.ContainsFunc(of, func(r *Record) bool { return r.Time.Equal(row.Last) && r.Group == row.Group }) {
						t.Fatalf("%+v: %+v was never in that group at its last", q, row)
					}
					others -= row.Count
					pairsSeen += int(row.Names)
					delete(clients, row.Client)
				}
				if got.Others != others || pairsSeen > pairs || limit == 0 && len(clients) > 0 || limit > 0 && len(got.Rows) > limit {
					t.Fatalf("%+v: %d others, want %d; %d clients left out", q, got.Others, others, len(clients))
				}
			}
		}
	}
}

func TestNewAgreesWithAList(t *testing.T) {
	records, r := filled(t)
	if _, err := r.New(t.Context(), Query{}, 0); err == nil {
		t.Error("names are new since no time")
	}
	found := 0
	for _, q := range someQueries() {
		for _, ms := range []int{-5, 0, 7, 20, 60, 200, 1e6} {
			q.Since = epoch.Add(time.Duration(ms) * time.Millisecond)
			before := q
			before.Since, before.Until = time.Time{}, q.Since
			old := by(asked(records, before), nameOf)
			want := by(asked(records, q), nameOf)
			for name := range old {
				delete(want, name)
			}
			got, err := r.New(t.Context(), q, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got.Names != uint64(len(want)) || len(got.Rows) != len(want) || got.Uncounted != 0 {
				t.Fatalf("%+v: %+v, want %d names", q, got, len(want))
			}
			for i, row := range got.Rows {
				found++
				of := want[row.Name]
				if row.Sighting != sum(of) || len(row.Clients) != 1 || !slices.ContainsFunc(of, func(r *Record) bool {
					return r.Time.Equal(row.First) && r.Client == row.Clients[0]
				}) {
					t.Fatalf("%+v: %+v, want %+v", q, row, sum(of))
				}
				if i > 0 && row.First.After(got.Rows[i-1].First) {
					t.Fatal("not in order")
				}
			}
			if got, err := r.New(t.Context(), q, 1); err != nil || len(got.Rows) != min(1, len(want)) || got.Names != uint64(len(want)) {
				t.Fatalf("%+v, %v", got, err)
			}
			few, err := r.fresh(t.Context(), q, 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(few.Rows) > 1 || len(asked(records, q)) > 0 && few.Uncounted == 0 && len(by(asked(records, q), nameOf)) > 1 {
				t.Fatalf("%+v with room for one name: %+v", q, few)
			}
		}
	}
	if found < 20 {
		t.Errorf("%d new names show little", found)
	}
}

func TestRareAgreesWithAList(t *testing.T) {
	records, r := filled(t)
	for _, most := range []int{0, MostRare + 1} {
		if _, err := r.Rare(t.Context(), Query{}, most, 0); err == nil {
			t.Errorf("%d clients are taken", most)
		}
	}
	found := 0
	for _, q := range someQueries() {
		for _, most := range []int{1, 2, 5, MostRare} {
			want := by(asked(records, q), nameOf)
			for name, of := range want {
				if len(by(of, clientOf)) > most {
					delete(want, name)
				}
			}
			got, err := r.Rare(t.Context(), q, most, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got.Names != uint64(len(want)) || len(got.Rows) != len(want) {
				t.Fatalf("%+v, %d clients: %+v, want %d names", q, most, got, len(want))
			}
			for i, row := range got.Rows {
				found++
				of := want[row.Name]
				clients := by(of, clientOf)
				if row.Sighting != sum(of) || len(row.Clients) != len(clients) || !slices.IsSortedFunc(row.Clients, Client.Compare) {
					t.Fatalf("%+v: %+v, want %+v", q, row, sum(of))
				}
				for _, c := range row.Clients {
					if clients[c] == nil {
						t.Fatalf("%v did not ask for %s", c, row.Name)
					}
				}
				if i > 0 && len(got.Rows[i-1].Clients) > len(row.Clients) {
					t.Fatal("not in order")
				}
			}
			few, err := r.rare(t.Context(), q, most, 0, 1)
			if err != nil || len(few.Rows) > 1 || len(by(asked(records, q), nameOf)) > 1 && few.Uncounted == 0 {
				t.Fatalf("%+v with room for one name: %+v, %v", q, few, err)
			}
		}
	}
	if found < 20 {
		t.Errorf("%d rare names show little", found)
	}
}

func TestHuntAgreesWithAList(t *testing.T) {
	records, r := filled(t)
	one := func(name string, scope uint8) Indicator { return Indicator{Name: wire(name), Scope: scope} }
	network := func(text string) Indicator { return Indicator{Network: netip.MustParsePrefix(text)} }
	indicators := []Indicator{
		one("shop.example", 3), one("SHOP.example", ScopeSelf), one("shop.example", ScopeBelow), one("absent.test", 3),
		network("198.51.100.7/32"), network("198.51.100.16/29"), network("2001:db8::/126"), network("203.0.113.0/24"),
		one("hop.example", 3), one("test", 3), one("b.c.shop.example", ScopeBelow),
		{Name: []byte{0}, Scope: ScopeSelf},
	}
	covers := func(i Indicator, text string) bool {
		if i.Network.IsValid() {
			a, err := netip.ParseAddr(text)
			return err == nil && i.Network.Contains(a)
		}
		name := nameString(lower(i.Name))
		return i.Scope&ScopeSelf != 0 && text == name || i.Scope&ScopeBelow != 0 && strings.HasSuffix(text, "."+name)
	}
	type key struct {
		indicator int
		client    Client
		on, what  string
	}
	for _, q := range someQueries() {
		want := map[key][]*Record{}
		queries := 0
		for _, rec := range asked(records, q) {
			any := false
			for i, ind := range indicators {
				on := map[key]bool{}
				if !ind.Network.IsValid() && covers(ind, rec.Name) {
					on[key{i, rec.Client, "name", rec.Name}] = true
				}
				for _, a := range rec.Answers {
					if _, err := netip.ParseAddr(a); covers(ind, a) {
						on[key{i, rec.Client, map[bool]string{true: "address", false: "alias"}[err == nil], a}] = true
					}
				}
				for k := range on {
					any = true
					want[k] = append(want[k], rec)
				}
			}
			if any {
				queries++
			}
		}
		found := map[int]bool{}
		for k := range want {
			found[k.indicator] = true
		}
		got, err := r.Hunt(t.Context(), q, indicators, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got.Queries != uint64(queries) || got.Found != len(found) || got.Indicators != len(indicators) || len(got.Rows) != len(want) || got.More != 0 {
			t.Fatalf("%+v: %d queries, %d found, %d rows; want %d, %d, %d", q, got.Queries, got.Found, len(got.Rows), queries, len(found), len(want))
		}
		for i, row := range got.Rows {
			k := key{row.Indicator, row.Client, row.On, row.What}
			if row.Sighting != sum(want[k]) {
				t.Fatalf("%+v: %+v, want %+v", q, row, sum(want[k]))
			}
			delete(want, k)
			if i > 0 && got.Rows[i-1].Indicator > row.Indicator {
				t.Fatal("not in order")
			}
		}
		if some, err := r.Hunt(t.Context(), q, indicators, 2); err != nil || len(some.Rows) != min(2, len(got.Rows)) || int(some.More) != len(got.Rows)-len(some.Rows) {
			t.Fatalf("%+v, %v", some, err)
		}
	}
	for _, bad := range []Indicator{{}, {Name: []byte("\x03abc"), Scope: 3}, {Name: wire("a.b")}, {Name: []byte("\x01a\x00\x00"), Scope: 1}, {Name: wire("a"), Scope: 4}} {
		if _, err := r.Hunt(t.Context(), Query{}, []Indicator{one("a", 3), bad}, 0); err == nil || err.Error() != "indicator 2 is neither a name nor a network" {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := r.Hunt(t.Context(), Query{}, make([]Indicator, MaxIndicators+1), 0); err == nil {
		t.Error("there is no limit")
	}
}

// A hunter's tables say of every name what looking at each indicator says.
func TestHunterAgreesWithALoop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.Custom(func(t *rapid.T) []byte {
			var b []byte
			for _, l := range rapid.SliceOfN(rapid.StringMatching(`[ab\x00.]{1,2}`), 0, 4).Draw(t, "labels") {
				b = append(append(b, byte(len(l))), l...)
			}
			return append(b, 0)
		})
		var indicators []Indicator
		for i, n := range rapid.SliceOfN(name, 0, 30).Draw(t, "indicators") {
			indicators = append(indicators, Indicator{Name: n, Scope: uint8(1 + i%3)})
		}
		h, err := newHunter(indicators)
		if err != nil {
			t.Fatal(err)
		}
		n := name.Draw(t, "name")
		var want []uint32
		for i, ind := range indicators {
			same := bytes.Equal(n, ind.Name)
			if same && ind.Scope&ScopeSelf != 0 || !same && below(n, ind.Name) && ind.Scope&ScopeBelow != 0 {
				want = append(want, uint32(i))
			}
		}
		got := h.covering(nil, n)
		networks := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := rapid.SampledFrom([]netip.Addr{
				netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.3.255"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::c000:201"),
			}).Draw(t, "address")
			return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits")).Masked()
		}), 0, 8).Draw(t, "networks")
		indicators = nil
		for _, p := range networks {
			indicators = append(indicators, Indicator{Network: p})
		}
		nets, err := newHunter(indicators)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"192.0.2.1", "192.0.3.255", "::ffff:192.0.2.1", "2001:db8::2", "::c000:201"} {
			a := netip.MustParseAddr(text)
			var want []uint32
			for i, p := range networks {
				if p.Contains(a.Unmap()) {
					want = append(want, uint32(i))
				}
			}
			got := nets.holding(nil, a)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("%v in %v: %v, want %v", a, networks, got, want)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", n, got, want)
		}
	})
}

func TestTimelineTotalsAndTrendsAgreeWithAList(t *testing.T) {
	records, r := filled(t)
	place := func(from, to, at time.Time, n int) int {
		for i := range n { // in floating point, a slot is found by its ends
			if float64(at.Sub(from))*float64(n) < float64(to.Sub(from))*float64(i+1) {
				return i
			}
		}
		return -1
	}
	for _, q := range someQueries() {
		totals, err := r.Totals(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var want Totals
		for _, rec := range records {
			if !keep(q, rec) {
				continue
			}
			if want.First == 0 {
				want.First = rec.Seq
			}
			want.Last = rec.Seq
			switch rec.Kind {
			case "query":
				want.Recorded++
			case "change":
				want.Changes++
			case "gap":
				want.Gaps++
				want.Lost += rec.Lost
			}
		}
		want.Received = want.Recorded + want.Lost
		if totals != want {
			t.Fatalf("%+v: %+v, want %+v", q, totals, want)
		}
		for _, n := range []int{1, 7, 24} {
			for _, by := range Dimensions() {
				top, err := r.Top(t.Context(), q, by, 4, n)
				if err != nil {
					t.Fatal(err)
				}
				if len(top.Over) != len(top.Rows) {
					t.Fatalf("%+v: %d rows, %d trends", q, len(top.Rows), len(top.Over))
				}
				for i, over := range top.Over {
					var total uint64
					for _, n := range over {
						total += n
					}
					if total != top.Rows[i].Count || len(over) != n {
						t.Fatalf("%+v by %s: trend %v of %+v", q, by, over, top.Rows[i])
					}
				}
				if by == ByName {
					for i, row := range top.Rows {
						want := make([]uint64, n)
						for _, rec := range asked(records, q) {
							if rec.Name == row.Name {
								want[place(top.From, top.To, rec.Time, n)]++
							}
						}
						if !slices.Equal(want, top.Over[i]) {
							t.Fatalf("%+v: %s %v, want %v", q, row.Name, top.Over[i], want)
						}
					}
				}
			}
			if q.Since.IsZero() {
				q.Since = epoch
			}
			if q.Until.IsZero() {
				q.Until = epoch.Add(time.Second)
			}
			line, err := r.Timeline(t.Context(), q, n)
			if err != nil {
				t.Fatal(err)
			}
			want := Timeline{q.Since, q.Until, make([]uint64, n), make([]uint64, n)}
			for _, rec := range asked(records, q) {
				of := want.Allowed
				if rec.Verdict == "block" {
					of = want.Blocked
				}
				of[place(q.Since, q.Until, rec.Time, n)]++
			}
			if diff := cmp.Diff(want, line); diff != "" {
				t.Fatalf("%+v:\n%s", q, diff)
			}
		}
	}
	for _, q := range []Query{{}, {Since: epoch}, {Until: epoch}, {Since: epoch, Until: epoch}} {
		if _, err := r.Timeline(t.Context(), q, 3); err == nil {
			t.Errorf("%+v has a timeline", q)
		}
	}
}

// Every question passes over damage, says so, and stops when it is told to.
func TestQuestionsTellDamageAndStop(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 100, 10)
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
	indicators := []Indicator{{Name: wire("example"), Scope: 3}}
	whole := Query{Since: epoch, Until: epoch.Add(time.Hour)}
	for what, ask := range map[string]func(context.Context) (uint64, error){
		"trace":   func(ctx context.Context) (uint64, error) { a, err := r.Trace(ctx, Query{}, 0); return a.Count, err },
		"clients": func(ctx context.Context) (uint64, error) { a, err := r.Clients(ctx, Query{}, 0); return a.Queries, err },
		"new": func(ctx context.Context) (n uint64, _ error) {
			a, err := r.New(ctx, whole, 0)
			for _, row := range a.Rows {
				n += row.Count
			}
			return n, err
		},
		"rare": func(ctx context.Context) (n uint64, _ error) {
			a, err := r.Rare(ctx, Query{}, MostRare, 0)
			for _, row := range a.Rows {
				n += row.Count
			}
			return n, err
		},
		"hunt": func(ctx context.Context) (n uint64, _ error) {
			a, err := r.Hunt(ctx, Query{}, indicators, 0)
			for _, row := range a.Rows {
				if row.On == "name" {
					n += row.Count
				}
			}
			return n, err
		},
		"totals": func(ctx context.Context) (uint64, error) { a, err := r.Totals(ctx, Query{}); return a.Recorded, err },
		"timeline": func(ctx context.Context) (n uint64, _ error) {
			a, err := r.Timeline(ctx, whole, 3)
			for i := range a.Allowed {
				n += a.Allowed[i] + a.Blocked[i]
			}
			return n, err
		},
	} {
		n, err := ask(t.Context())
		var damage *DamageError
		if !errors.As(err, &damage) {
			t.Errorf("%s: %v", what, err)
		}
		if least := uint64(60); n < least || n > 90 { // names of "test", and common ones, are not in all
			t.Errorf("%s: %d queries beside the damage", what, n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := ask(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, interrupted: %v", what, err)
		}
	}
}

// filled is a store of random events, closed and opened to read.
func filled(t *testing.T) ([]*Record, *Reader) {
	t.Helper()
	dir := t.TempDir()
	records := fill(t, dir, 1500, 70)
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return records, r
}
