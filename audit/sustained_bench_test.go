package audit

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// BenchmarkSustained records events at a steady rate into a store on disk, in bursts of a millisecond from as many
// goroutines as there are cores, for two seconds or for WEIR_SUSTAINED; a claim takes 60s. What is asked of it is that none
// is lost. It holds that each event is either lost and counted so, or in the store.
func BenchmarkSustained(b *testing.B) {
	long := 2 * time.Second
	if text := os.Getenv("WEIR_SUSTAINED"); text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			b.Fatal(err)
		}
	}
	for _, rate := range []int{250_000, 500_000, 750_000, 1_000_000} {
		b.Run(fmt.Sprintf("rate=%d", rate), func(b *testing.B) {
			for b.Loop() {
				sustain(b, rate, long)
			}
		})
	}
}

func sustain(b *testing.B, rate int, long time.Duration) {
	dir := b.TempDir()
	l, stop := start(b, Config{Dir: dir, Block: defaultBlock})
	sources := runtime.GOMAXPROCS(0)
	all := traffic(l, 1<<16)
	var wg sync.WaitGroup
	cpu, began := cpuTime(b), time.Now()
	for i := range sources {
		events := all[i*len(all)/sources : (i+1)*len(all)/sources]
		wg.Go(func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for sent, past := 0, time.Duration(0); past < long; past = time.Since(began) {
				for due := int(past.Seconds() * float64(rate/sources)); sent < due; sent++ {
					e := &events[sent%len(events)]
					e.Time = began.Add(past).UnixNano()
					l.Record(e)
				}
				<-tick.C
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if err := stop(); err != nil {
		b.Fatal(err)
	}
	s := l.Stats()
	b.ReportMetric(float64(s.Recorded)/took.Seconds(), "recorded/s")
	b.ReportMetric(float64(s.Lost), "lost")
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(s.Recorded), "cpu-ns/event")
	r, err := OpenReader(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	rep, err := r.Verify(b.Context(), Verification{Quick: true}, nil)
	if err != nil || len(rep.Problems) > 0 || rep.Lost != s.Lost || rep.Records < s.Recorded {
		b.Fatalf("%v: %d recorded and %d lost, in the store are %+v", err, s.Recorded, s.Lost, rep)
	}
}
