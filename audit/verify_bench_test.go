package audit

import (
	"os"
	"testing"
	"time"
)

// BenchmarkVerify verifies a generated store in packs, in full and quickly, and says how many
// octets of the store and records a second of CPU time that is, of all goroutines; and how many rows
// a second are hashed, with nothing else done, when they are laid out already.
func BenchmarkVerify(b *testing.B) {
	g := generate(b)
	if os.Getenv("WEIR_AUDIT_STORE") == "" || os.Getenv("WEIR_AUDIT_PACKED") != "" {
		inPacks(b, g.dir, func() int { return 1 << 20 })
	}
	r, err := OpenReader(g.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	st, err := r.store()
	if err != nil {
		b.Fatal(err)
	}
	octets := 0 // of segments and packs; files have room besides
	for at := (position{}); ; octets += len(at.value) {
		ok, err := st.step(&at)
		if err != nil {
			b.Fatal(err)
		}
		if !ok {
			break
		}
	}
	for _, how := range []struct {
		name  string
		quick bool
	}{{"full", false}, {"quick", true}} {
		b.Run(how.name, func(b *testing.B) {
			before, began := cpu(b), time.Now()
			for b.Loop() {
				rep, err := r.Verify(b.Context(), Verification{Quick: how.quick}, nil)
				if err != nil || len(rep.Problems) > 0 || rep.Records < uint64(g.events) {
					b.Fatalf("%+v, %v", rep, err)
				}
			}
			used, took := (cpu(b)-before).Seconds()/float64(b.N), time.Since(began).Seconds()/float64(b.N)
			b.ReportMetric(float64(octets)/1e6/used, "MB/cpu-s")
			b.ReportMetric(float64(g.events)/1e6/used, "Mrows/cpu-s")
			b.ReportMetric(float64(octets)/1e6/took, "MB/s")
			b.ReportMetric(float64(g.events)/1e6/took, "Mrows/s")
		})
	}
	b.Run("hashing", func(b *testing.B) {
		var p page
		if _, _, err := st.previous(newest, nil, &p.value); err != nil {
			b.Fatal(err)
		}
		p.open(r.unpacker)
		if p.whole(); p.err != nil {
			b.Fatal(p.err)
		}
		var (
			messages [][]byte
			octets   int
		)
		for i := range p.rows {
			row := p.appendRow([]byte{leafPrefix}, i)
			octets += len(row)
			messages = append(messages, appendPadding(row, 0))
		}
		hashes := make([]hash, len(messages))
		before := cpu(b)
		for b.Loop() {
			for from := 0; from < len(messages); from += groupRows {
				to := min(from+groupRows, len(messages))
				sums(hashes[from:to], messages[from:to])
			}
		}
		used := (cpu(b) - before).Seconds() / float64(b.N)
		b.ReportMetric(float64(len(messages))/1e6/used, "Mrows/cpu-s")
		b.ReportMetric(float64(octets)/float64(len(messages)), "B/row")
	})
}
