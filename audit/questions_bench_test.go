package audit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// BenchmarkQuestions asks a store of 2,000,000 events, or of as many as
// $WEIR_AUDIT_EVENTS says, by 5,000 clients for up to 2,000,000 names, most of them
// for few of these (Zipf, 1.1), in segments of 10,000, over 30 days. What is
// counted is held against what was generated. The metrics are of CPU time, of all
// goroutines: on two cores that have nothing else to do, scan/s is what 2 of them do.
func BenchmarkQuestions(b *testing.B) {
	n := 2_000_000
	if text := os.Getenv("WEIR_AUDIT_EVENTS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	const clients, names = 5000, 2_000_000
	dir := b.TempDir()
	l, err := Open(Config{Dir: dir, Slabs: 512})
	if err != nil {
		b.Fatal(err)
	}
	w := &writer{log: l, seen: epoch}
	r := rand.New(rand.NewPCG(5, 6))
	zipf := rand.NewZipf(r, 1.1, 10, names-1)
	reasons := make([]uint32, 12)
	for i := range reasons {
		reasons[i] = l.Intern(Reason{"staff", "staff", fmt.Sprint(i), fmt.Sprint("category-", i), fmt.Sprint("lists/", i, ".txt")})
	}
	name := func(k uint64) string { return fmt.Sprintf("host-%x.site-%d.example", k*7919, k%5000) }
	client := func(k int) netip.Addr { return netip.AddrFrom4([4]byte{10, 20, byte(k >> 8), byte(k)}) }
	var ofClient, blocked, ofName uint64 // the truth
	step := int64(30*24*time.Hour) / int64(n)
	for i := range n {
		k, c := zipf.Uint64(), r.IntN(clients)
		e := Event{
			Time: epoch.UnixNano() + int64(i)*step, Client: client(c), Transport: UDP, Name: wire(name(k)), Type: 1, Class: 1,
			Reason: reasons[k%12], Source: SourceCache, EDE: -1, Duration: 3000 + r.Int64N(9000), Revision: 7,
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, byte(k >> 16), byte(k >> 8), byte(k)})},
		}
		if k%5 == 0 {
			e.Blocked, e.Source, e.EDE, e.On, e.EntryScope, e.Addrs = true, SourceSinkhole, 15, OnName, 3, nil
			blocked++
		}
		if c == 17 {
			ofClient++
		}
		if k == 1000 {
			ofName++
		}
		if !l.Record(&e) {
			b.Fatal("slabs are full")
		}
		if i%10000 == 9999 {
			if err := w.seal(false); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	reader, err := OpenReader(dir)
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
	indicators[500] = Indicator{Name: wire(name(1000)), Scope: 1}
	count := func(q Query) (found uint64, err error) {
		return found, reader.Search(ctx, q, func(*Record) error { found++; return nil })
	}
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

// cpu is the time that the process has spent.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
