package audit

import (
	"log/slog"
	"testing"
	"time"
)

func BenchmarkIndexBuild(b *testing.B) {
	g := generate(b)
	for b.Loop() {
		before, at := cpu(b), time.Now()
		s, err := BuildIndex(b.Context(), g.dir, true, slog.Default())
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%+v %v", s, time.Since(at))
		b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(g.events), "cpu-ns/event")
		b.ReportMetric(float64(s.Bytes)/float64(g.events), "B/event")
	}
}
