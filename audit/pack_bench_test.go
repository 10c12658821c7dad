package audit

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkPack packs what a log of some events a second has sealed, and says how many octets an
// event takes in segments and in packs, and what packing and proving that cost. With
// WEIR_AUDIT_COLUMNS it says so of each column too.
func BenchmarkPack(b *testing.B) {
	const events = 200_000
	for _, load := range []struct {
		name   string
		record func(l *Log, perSecond float64) func(i int) *Event
	}{
		{"traffic", func(l *Log, perSecond float64) func(i int) *Event {
			all := traffic(l, events)
			begin := all[0].Time
			for i := range all {
				all[i].Time = begin + int64(float64(all[i].Time-begin)*100_000/perSecond)
			}
			return func(i int) *Event { return &all[i] }
		}},
		{"office", func(l *Log, perSecond float64) func(i int) *Event {
			o := newOffice(l, perSecond)
			return func(int) *Event {
				e := o.next()
				return &e
			}
		}},
	} {
		for _, rate := range []float64{20, 1000} {
			b.Run(fmt.Sprintf("%s/rate=%v", load.name, rate), func(b *testing.B) {
				segments := sealedAt(b, events, rate, load.record)
				before := 0
				for _, s := range segments {
					before += len(s)
				}
				u, err := newUnpacker()
				if err != nil {
					b.Fatal(err)
				}
				p, err := newPacker()
				if err != nil {
					b.Fatal(err)
				}
				var costs [packColumns]int
				p.costs = &costs
				key := testKey(b)
				after, packs, fronts := 0, 0, 0
				cpu := cpuTime(b)
				for b.Loop() {
					for left := segments; len(left) > 0; left = left[len(p.fronts):] {
						pack := packed(b, p, key, left...)
						if err := provePacked(u, pack, p.fronts, func() {}); err != nil {
							b.Fatal(err)
						}
						kept, _, err := packParts(pack)
						if err != nil {
							b.Fatal(err)
						}
						after, packs, fronts = after+len(pack), packs+1, fronts+len(kept)
					}
				}
				total := float64(b.N) * events
				b.ReportMetric(float64(cpuTime(b)-cpu)/total, "cpu-ns/event")
				b.ReportMetric(float64(before)/events, "B/event-before")
				b.ReportMetric(float64(after)/total, "B/event")
				b.ReportMetric(float64(fronts)/total, "B/event-fronts")
				b.ReportMetric(float64(len(segments)), "segments")
				b.ReportMetric(float64(packs)/float64(b.N), "packs")
				if os.Getenv("WEIR_AUDIT_COLUMNS") != "" {
					var s strings.Builder
					for i, c := range costs {
						fmt.Fprintf(&s, "%d: %.3f  ", i, float64(c)/total)
					}
					b.Log(s.String())
				}
			})
		}
	}
}

// sealedAt returns the segments that a log makes of events, one each ten seconds.
func sealedAt(b *testing.B, n int, perSecond float64, record func(l *Log, perSecond float64) func(i int) *Event) (segments [][]byte) {
	b.Helper()
	l, err := Open(Config{Dir: b.TempDir(), Slabs: 512, Block: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	w := &writer{log: l, seen: epoch}
	next, per := record(l, perSecond), int(10*perSecond)
	for i := range n {
		if !l.Record(next(i)) {
			b.Fatal("slabs are full")
		}
		switch {
		case i%per == per-1 || i == n-1:
			err = w.seal(false)
		case i%5000 == 4999:
			err = w.step(false)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for at := (position{}); ; {
		ok, err := l.store.Load().step(&at)
		if err != nil {
			b.Fatal(err)
		}
		if !ok {
			break
		}
		segments = append(segments, bytes.Clone(at.value))
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	return segments
}

// BenchmarkPackPoint reads one record of a pack by its number and by its name, which no other has,
// and all of them; and looks for a name that is not there.
func BenchmarkPackPoint(b *testing.B) {
	segments := sealedAt(b, packRows, 1000, func(l *Log, perSecond float64) func(i int) *Event {
		o := newOffice(l, perSecond)
		return func(int) *Event {
			e := o.next()
			return &e
		}
	})
	p, err := newPacker()
	if err != nil {
		b.Fatal(err)
	}
	u, err := newUnpacker()
	if err != nil {
		b.Fatal(err)
	}
	pack := packed(b, p, testKey(b), segments...)
	asked := map[uint32]int{}
	whole := decodeSegment(b, pack)
	for i := range whole.rows {
		asked[whole.rows[i].name]++
	}
	once := slices.IndexFunc(whole.rows[9000:], func(r row) bool { return asked[r.name] == 1 })
	if once < 0 {
		b.Fatal("no name is asked for once")
	}
	for _, c := range []struct {
		name string
		q    Query
	}{
		{"one", Query{SeqFrom: 9000, SeqTo: 9000}},
		{"one-of-name", Query{Name: bytes.Clone(whole.names[whole.rows[9000+once].name]), ExactName: true}},
		{"absent", Query{Name: wire("nowhere.example")}},
		{"all", Query{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			f := newFilter(c.q)
			pg := &page{value: pack}
			before := cpu(b)
			for b.Loop() {
				pg.open(u)
				if pg.err == nil && f.mark(pg) {
					f.choose(pg)
					if len(pg.chosen) > 0 {
						pg.details()
					}
				}
				if pg.err != nil {
					b.Fatal(pg.err)
				}
			}
			b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N)/1e6, "cpu-ms/op")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(pg.header.count), "ns/event")
		})
	}
}
