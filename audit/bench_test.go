package audit

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// traffic returns n events of the shape of an office's: few names asked often,
// many asked once, a fifth blocked, most from the cache.
func traffic(l *Log, n int) []Event {
	r := rand.New(rand.NewPCG(1, 2))
	reasons := make([]uint32, 12)
	for i := range reasons {
		reasons[i] = l.Intern(Reason{"staff", "staff", fmt.Sprint(i), "category-" + fmt.Sprint(i), "lists/" + fmt.Sprint(i) + ".txt"})
	}
	upstream := l.Label("udp://192.0.2.53:53")
	events := make([]Event, n)
	at := epoch.UnixNano()
	for i := range events {
		at += r.Int64N(20000)
		k := int(r.ExpFloat64() * 3000)
		e := &events[i]
		*e = Event{
			Time: at, Client: netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(4)), byte(r.IntN(256))}), Transport: UDP,
			Name: wire(fmt.Sprintf("host-%x.site-%d.example", k*7919, k%500)), Type: 1, Class: 1, Reason: reasons[r.IntN(12)],
			Source: SourceCache, EDE: -1, Duration: 3000 + r.Int64N(9000), Revision: 7,
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, byte(k >> 8), byte(k)})},
			Port:  uint16(1024 + r.IntN(64512)), ID: uint16(r.IntN(1 << 16)), Bits: QueryRD | QueryEDNS, UDPSize: 1232,
		}
		e.QuerySize = uint16(plainSize(len(e.Name), e.Bits))
		e.AnswerSize = e.QuerySize + 16
		switch r.IntN(10) {
		case 0, 1:
			e.Blocked, e.Source, e.EDE, e.On, e.EntryScope, e.Addrs = true, SourceSinkhole, 15, OnName, 3, nil
		case 2:
			e.Source, e.Upstream, e.Duration = SourceUpstream, upstream, 8e6+r.Int64N(40e6)
			e.Aliases = [][]byte{wire(fmt.Sprintf("edge-%x.cdn.example", k))}
		case 3:
			e.Type, e.Client = 28, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(r.IntN(256))})
		}
	}
	return events
}

func BenchmarkRecord(b *testing.B) {
	run := func(b *testing.B, body func(l *Log, events []Event)) {
		l, err := Open(Config{Dir: b.TempDir(), Slabs: 512})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		events := traffic(l, 4096)
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan struct{})
		go func() { // takes and drops: what is measured is Record, not the sealing beside it
			defer close(done)
			for {
				select {
				case <-ctx.Done():
					return
				case <-l.kick:
					l.release(l.collect(false).slabs)
				}
			}
		}()
		b.ReportAllocs()
		b.ResetTimer()
		body(l, events)
		b.StopTimer()
		cancel()
		<-done
		if s := l.Stats(); s.Lost > 0 {
			b.ReportMetric(float64(s.Lost)/float64(s.Lost+s.Recorded), "lost/op")
		}
	}
	b.Run("serial", func(b *testing.B) {
		run(b, func(l *Log, events []Event) {
			i := 0
			for b.Loop() {
				l.Record(&events[i%len(events)])
				i++
			}
		})
	})
	b.Run("parallel", func(b *testing.B) {
		run(b, func(l *Log, events []Event) {
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					l.Record(&events[i%len(events)])
				}
			})
		})
	})
}

// BenchmarkSeal measures all that the writer does for an interval's events at
// 100,000 queries per second, per event, without and with the commit to disk.
func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{20, 20000} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			l, err := Open(Config{Dir: b.TempDir(), Now: func() time.Time { return epoch }})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			w := &writer{log: l, seen: epoch}
			events := traffic(l, n)
			slices.SortStableFunc(events, func(a, b Event) int { // an event is recorded when it is answered
				return cmp.Compare(a.Time+a.Duration, b.Time+b.Duration)
			})
			var bytes int
			var commits time.Duration
			cpu := cpuTime(b)
			for b.Loop() {
				for i := range events {
					l.Record(&events[i])
				}
				for _, s := range closed(b, w) {
					bytes += len(s.bytes)
				}
				began := time.Now()
				if err := w.commit(); err != nil {
					b.Fatal(err)
				}
				commits += time.Since(began)
			}
			total := float64(b.N) * float64(n)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/total, "ns/event")
			b.ReportMetric(float64(cpuTime(b)-cpu)/total, "cpu-ns/event")
			b.ReportMetric(float64(commits.Nanoseconds())/total, "commit-ns/event")
			b.ReportMetric(float64(bytes)/total, "B/event")
		})
	}
}

// BenchmarkAdd is what it costs to put one more event into the open block, its row's hash included, but for the making of
// the segment.
func BenchmarkAdd(b *testing.B) {
	l, err := Open(Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	slab := make([]byte, 0, 10000*maxEvent)
	events := traffic(l, 10000)
	for i := range events {
		slab = appendEvent(slab, &events[i])
	}
	s, batch := l.sealer, batch{slabs: inMemory(slab)}
	s.sort(&batch)
	cpu := cpuTime(b)
	for b.Loop() {
		s.add(&batch, 0, l.reasons, l.labels)
		s.builder.reset()
	}
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N)/float64(len(events)), "cpu-ns/event")
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBlocks says how much room a minute of some events a second takes in
// segments, by how long records gather in a block.
func BenchmarkBlocks(b *testing.B) {
	for _, rate := range []int{100, 1000, 10000} {
		for _, block := range []time.Duration{-1, time.Second, 10 * time.Second} {
			b.Run(fmt.Sprintf("rate=%d/block=%v", rate, max(block, 0)), func(b *testing.B) {
				var bytes, records uint64
				for b.Loop() {
					l, err := Open(Config{Dir: b.TempDir(), Block: time.Hour})
					if err != nil {
						b.Fatal(err)
					}
					w := &writer{log: l, seen: epoch}
					const steps = 300 // of 200 ms
					per := rate / 5
					events := traffic(l, steps*per)
					for i := range steps {
						for j := range per {
							l.Record(&events[i*per+j])
						}
						if err := w.step(false); err != nil {
							b.Fatal(err)
						}
						if block < 0 || i%int(block/(200*time.Millisecond)) == 0 {
							if err := w.seal(false); err != nil {
								b.Fatal(err)
							}
						}
					}
					st := l.store.Load().newest()
					if err := st.view("counting", func(c *bbolt.Cursor) error {
						for k, v := c.First(); k != nil; k, v = c.Next() {
							h, err := readHeader(v)
							if err != nil {
								return err
							}
							bytes, records = bytes+uint64(len(v)), records+uint64(h.count)
						}
						return nil
					}); err != nil {
						b.Fatal(err)
					}
					if err := l.Close(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(bytes)/float64(records), "B/event")
			})
		}
	}
}

// BenchmarkSearch searches a million events in a hundred segments.
func BenchmarkSearch(b *testing.B) {
	dir := b.TempDir()
	l, err := Open(Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	w := &writer{log: l, seen: epoch}
	events := traffic(l, 1_000_000)
	for i := range events {
		l.Record(&events[i])
		if i%10000 == 9999 {
			if err := w.seal(false); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(storePath(b, dir))
	if err != nil {
		b.Fatal(err)
	}
	r, err := OpenReader(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for _, c := range []struct {
		name string
		q    Query
	}{
		{"all", Query{}},
		{"each", Query{}},
		{"client", Query{Client: netip.MustParsePrefix("10.0.1.17/32")}},
		{"name", Query{Name: wire("site-17.example")}},
		{"absent-name", Query{Name: wire("nowhere.test")}},
		{"newest-100-blocked", Query{Verdict: "block", Limit: 100}},
	} {
		b.Run(c.name, func(b *testing.B) {
			found, search := 0, r.Search
			if c.name == "each" {
				search = r.Each
			}
			b.ReportAllocs()
			for b.Loop() {
				err := search(context.Background(), c.q, func(*Record) error { found++; return nil })
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(found)/float64(b.N), "found/op")
			if c.q.Limit == 0 {
				b.ReportMetric(float64(b.N)*float64(len(events))/b.Elapsed().Seconds(), "events/s")
			}
			b.ReportMetric(float64(info.Size())/float64(len(events)), "file-B/event")
		})
	}
	var segments int // octets of them
	for at := (position{}); ; segments += len(at.value) {
		ok, err := r.own.step(&at)
		if err != nil {
			b.Fatal(err)
		}
		if !ok {
			break
		}
	}
	for _, c := range []struct {
		name      string
		quick     bool
		examiners int
	}{
		{"verify/one", false, 1},
		{"verify/all", false, runtime.GOMAXPROCS(0)},
		{"verify-quick/one", true, 1},
		{"verify-quick/all", true, runtime.GOMAXPROCS(0)},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if rep, err := r.verify(context.Background(), Verification{Quick: c.quick}, c.examiners, nil); err != nil || rep.Problems != nil {
					b.Fatal(err, rep.Problems)
				}
			}
			b.ReportMetric(float64(b.N)*float64(len(events))/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(b.N)*float64(segments)/b.Elapsed().Seconds()/1e6, "store-MB/s")
		})
	}
}

// BenchmarkTop counts five million events in five hundred segments. There are some
// thirty thousand names, and more pairs than are counted exactly.
func BenchmarkTop(b *testing.B) {
	dir := b.TempDir()
	l, err := Open(Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	w := &writer{log: l, seen: epoch}
	events := traffic(l, 1_000_000)
	span := events[len(events)-1].Time - events[0].Time + 1
	const rounds = 5
	for round := range rounds {
		for i := range events {
			e := &events[i]
			if e.Observed = 0; (i+round)%7 == 0 {
				e.Observed = e.Reason
			}
			if l.Record(e); i%10000 == 9999 {
				if err := w.seal(false); err != nil {
					b.Fatal(err)
				}
			}
			e.Time += span
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	r, err := OpenReader(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for _, c := range []struct {
		name string
		q    Query
		by   Dimension
	}{
		{"names", Query{}, ByName},
		{"clients", Query{}, ByClient},
		{"pairs", Query{}, ByPair},
		{"rules", Query{}, ByRule},
		{"categories", Query{Verdict: "block"}, ByCategory},
		{"observed", Query{Observed: true}, ByPair},
	} {
		b.Run(c.name, func(b *testing.B) {
			var top Top
			for b.Loop() {
				if top, err = r.Top(context.Background(), c.q, c.by, 10, 0); err != nil {
					b.Fatal(err)
				}
			}
			if top.Others+top.Rows[0].Count > top.Records {
				b.Fatal("more are counted than there are")
			}
			b.ReportAllocs()
			b.ReportMetric(float64(b.N)*rounds*float64(len(events))/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(top.Keys), "keys")
			b.ReportMetric(float64(top.Dropped), "dropped")
		})
	}
}
