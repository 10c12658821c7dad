package audit

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// A generated store has so many events by 5,000 clients for up to 2,000,000 names,
// most of them for few of these (Zipf, 1.1), in segments of 10,000, over 30 days.
type generated struct {
	dir                               string
	events                            int
	ofClient, blocked, ofName, ofRare uint64 // the truth, of client 17, name 1000 and rare names
}

const generatedClients, generatedNames = 5000, 2_000_000

func generatedName(k uint64) string { return fmt.Sprintf("host-%x.site-%d.example", k*7919, k%5000) }

func generatedClient(k int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 20, byte(k >> 8), byte(k)})
}

// rareName says that a name is one of twenty that are asked for some ten times in 50 million events.
func rareName(k uint64) bool { return k >= 1_000_000 && k < 1_020_000 && k%1000 == 0 }

// generate makes a store of 2,000,000 events, or of as many as $WEIR_AUDIT_EVENTS
// says, in a folder of its own or in $WEIR_AUDIT_STORE, which is kept and used again.
func generate(b *testing.B) generated {
	g := generated{dir: os.Getenv("WEIR_AUDIT_STORE"), events: 2_000_000}
	if text := os.Getenv("WEIR_AUDIT_EVENTS"); text != "" {
		var err error
		if g.events, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	var w *writer
	if g.dir == "" {
		g.dir = b.TempDir()
	}
	_, err := os.Stat(filepath.Join(g.dir, "whole"))
	have := err == nil
	reasons := make([]uint32, 12)
	if !have {
		l, err := Open(Config{Dir: g.dir, Slabs: 512})
		if err != nil {
			b.Fatal(err)
		}
		w = &writer{log: l, seen: epoch}
		for i := range reasons {
			reasons[i] = l.Intern(Reason{"staff", "staff", fmt.Sprint(i), fmt.Sprint("category-", i), fmt.Sprint("lists/", i, ".txt")})
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	zipf := rand.NewZipf(r, 1.1, 10, generatedNames-1)
	step := int64(30*24*time.Hour) / int64(g.events)
	for i := range g.events {
		k, c, took := zipf.Uint64(), r.IntN(generatedClients), r.Int64N(9000)
		if k%5 == 0 {
			g.blocked++
		}
		if c == 17 {
			g.ofClient++
		}
		if k == 1000 {
			g.ofName++
		}
		if rareName(k) {
			g.ofRare++
		}
		if have {
			continue
		}
		e := Event{
			Time: epoch.UnixNano() + int64(i)*step, Client: generatedClient(c), Transport: UDP, Name: wire(generatedName(k)), Type: 1, Class: 1,
			Reason: reasons[k%12], Source: SourceCache, EDE: -1, Duration: 3000 + took, Revision: 7,
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, byte(k >> 16), byte(k >> 8), byte(k)})},
		}
		if k%5 == 0 {
			e.Blocked, e.Source, e.EDE, e.On, e.EntryScope, e.Addrs = true, SourceSinkhole, 15, OnName, 3, nil
		}
		if !w.log.Record(&e) {
			b.Fatal("slabs are full")
		}
		if i%10000 == 9999 {
			if err := w.seal(false); err != nil {
				b.Fatal(err)
			}
		}
	}
	if !have {
		if err := w.log.Close(); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(g.dir, "whole"), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return g
}

// BenchmarkQuestions asks a generated store, with the index that BuildIndex makes of it
// unless $WEIR_AUDIT_STORE has one. What is counted is held against what
// was generated. The metrics are of CPU time, of all goroutines: on two cores that
// have nothing else to do, scan/s is what 2 of them do.
func BenchmarkQuestions(b *testing.B) {
	g := generate(b)
	n, ofClient, ofName, blocked, client, name := g.events, g.ofClient, g.ofName, g.blocked, generatedClient, generatedName
	if os.Getenv("WEIR_AUDIT_PACKED") != "" {
		inPacks(b, g.dir, func() int { return 1 << 20 })
	}
	if _, err := BuildIndex(b.Context(), g.dir, false, slog.Default()); err != nil {
		b.Fatal(err)
	}
	reader, err := OpenReader(g.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer reader.Close()
	ctx := context.Background()
	whole := Query{Since: epoch, Until: epoch.AddDate(0, 0, 31)}
	indicators := make([]Indicator, 100_000)
	for i := range indicators {
		if indicators[i] = (Indicator{Name: wire(fmt.Sprintf("ioc-%x.campaign-%d.test", i*104729, i%900)), Scope: 3}); i%4 == 3 {
			indicators[i] = Indicator{Network: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), 32)}
		}
	}
	among := slices.Clone(indicators) // as indicators, but in order between the names that there are: in every block of the index one may be
	for i := range among {
		if among[i].Name != nil {
			among[i].Name = wire(fmt.Sprintf("ioc-%x.site-%d.example", i*104729, i%5000))
		}
	}
	rare := slices.Clone(indicators)
	for k := uint64(1_000_000); rareName(k); k += 1000 {
		rare[k%99_991] = Indicator{Name: wire(name(k)), Scope: 3}
	}
	indicators[500] = Indicator{Name: wire(name(1000)), Scope: 1}
	count := func(q Query) (found uint64, err error) {
		return found, reader.Search(ctx, q, func(*Record) error { found++; return nil })
	}
	b.Run("first-rows", func(b *testing.B) { firstRows(b, reader) })
	for _, c := range []struct {
		name string
		ask  func() (got, want uint64, err error)
	}{
		{"scan-verdicts", func() (uint64, uint64, error) {
			t, err := reader.Timeline(ctx, whole, 84)
			var got uint64
			for _, n := range t.Blocked {
				got += n
			}
			return got, blocked, err
		}},
		{"search-client-all", func() (uint64, uint64, error) {
			got, err := count(Query{Client: netip.PrefixFrom(client(17), 32)})
			return got, ofClient, err
		}},
		{"search-client-first-50", func() (uint64, uint64, error) {
			got, err := count(Query{Client: netip.PrefixFrom(client(17), 32), Limit: 50})
			return got, min(ofClient, 50), err
		}},
		{"search-name-first-50", func() (uint64, uint64, error) {
			got, err := count(Query{Name: wire(name(1000)), Limit: 50})
			return got, min(ofName, 50), err
		}},
		{"search-absent", func() (uint64, uint64, error) {
			got, err := count(Query{Name: wire("absent.test")})
			return got, 0, err
		}},
		{"first", func() (uint64, uint64, error) {
			t, err := reader.Trace(ctx, Query{Name: wire(name(1000))}, 10)
			return t.Count, ofName, err
		}},
		{"hunt-100k", func() (uint64, uint64, error) {
			h, err := reader.Hunt(ctx, Query{}, indicators, 0)
			return h.Queries, ofName, err
		}},
		{"hunt-100k-rare", func() (uint64, uint64, error) {
			h, err := reader.Hunt(ctx, Query{}, rare, 0)
			return h.Queries, g.ofRare, err
		}},
		{"hunt-100k-among", func() (uint64, uint64, error) {
			h, err := reader.Hunt(ctx, Query{}, among, 0)
			return h.Queries, 0, err
		}},
		{"top-clients", func() (uint64, uint64, error) {
			t, err := reader.Top(ctx, Query{}, ByClient, 10, 0)
			return t.Records, uint64(n), err
		}},
		{"top-names", func() (uint64, uint64, error) {
			t, err := reader.Top(ctx, Query{}, ByName, 10, 0)
			return t.Records, uint64(n), err
		}},
		{"clients", func() (uint64, uint64, error) {
			t, err := reader.Clients(ctx, Query{}, 10)
			return t.Queries, uint64(n), err
		}},
		{"new", func() (uint64, uint64, error) {
			t, err := reader.New(ctx, Query{Since: epoch.AddDate(0, 0, 23)}, 50)
			return min(t.Names, 50), 50, err
		}},
		{"rare", func() (uint64, uint64, error) {
			t, err := reader.Rare(ctx, Query{}, 3, 50)
			return min(t.Names, 50), 50, err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				got, want, err := c.ask()
				if err != nil || got != want {
					b.Fatalf("%d, want %d, %v", got, want, err)
				}
			}
			used := float64((cpu(b) - before).Nanoseconds()) / float64(b.N)
			b.ReportMetric(used/1e6, "cpu-ms/op")
			b.ReportMetric(2*float64(n)/used*1e9/1e6, "Mscan/s")
		})
	}
}

// firstRows asks for the 50 newest records of names and clients drawn at random:
// names as the events have them, which are popular, names of any rank, which are rare
// or were never asked for, all below a site, and answered addresses.
func firstRows(b *testing.B, reader *Reader) {
	r := rand.New(rand.NewPCG(7, 8))
	zipf := rand.NewZipf(r, 1.1, 10, generatedNames-1)
	for _, c := range []struct {
		name string
		draw func() Query
	}{
		{"popular-name", func() Query { return Query{Name: wire(generatedName(zipf.Uint64()))} }},
		{"any-name", func() Query { return Query{Name: wire(generatedName(r.Uint64N(generatedNames))), ExactName: true} }},
		{"site", func() Query { return Query{Name: wire(fmt.Sprintf("site-%d.example", r.IntN(5000)))} }},
		{"client", func() Query { return Query{Client: netip.PrefixFrom(generatedClient(r.IntN(generatedClients)), 32)} }},
		{"address", func() Query {
			k := r.Uint64N(generatedNames)
			return Query{Answer: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, byte(k >> 16), byte(k >> 8), byte(k)}), 32)}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took, used, first []time.Duration
			for b.Loop() {
				q := c.draw()
				q.Limit = 50
				began, before := time.Now(), cpu(b)
				some := false
				if err := reader.Search(context.Background(), q, func(*Record) error {
					if !some {
						first, some = append(first, time.Since(began)), true
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
				took, used = append(took, time.Since(began)), append(used, cpu(b)-before)
			}
			slices.Sort(took)
			slices.Sort(used)
			if slices.Sort(first); len(first) > 0 { // not all are asked for by anybody
				b.ReportMetric(first[len(first)*95/100].Seconds()*1e3, "p95-first-ms")
			}
			b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
			b.ReportMetric(took[len(took)*95/100].Seconds()*1e3, "p95-ms")
			b.ReportMetric(used[len(used)/2].Seconds()*1e3, "p50-cpu-ms")
			b.ReportMetric(used[len(used)*95/100].Seconds()*1e3, "p95-cpu-ms")
		})
	}
}

// cpu is the time that the process has spent.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
