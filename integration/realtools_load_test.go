//go:build realtools

package integration

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	listedNames = 500_000
	cachedNames = 5_000
	loadQueries = 100_000
)

// loadConfig is a policy over many names, a zone of our own, and one upstream.
const loadConfig = onLoopback + `[upstream.default]
servers = ["udp://%s"]
[[zone]]
name = "lab.example"
records = ["@ 3600 NS ns", "ns 3600 A 192.0.2.53", "*.host 300 A 192.0.2.10"]
[category.listed]
sources = ["listed.txt"]
[[policy]]
name = "staff"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "allow"
domains = ["intranet.example", "=proxy.example"]
[[policy.rule]]
action = "block"
categories = ["listed"]
` + besideConfig

func listedName(i int) string { return fmt.Sprintf("n%06d.feed-%02d.example", i, i%50) }
func cachedName(i int) string { return fmt.Sprintf("host-%d.wild.load.example", i) }

// writeLines creates a file of n lines.
func writeLines(t *testing.T, path string, n int, line func(i int) string) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewWriter(f)
	for i := range n {
		fmt.Fprintln(out, line(i))
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// startLoaded starts weir with the long list before upstream.
func startLoaded(t *testing.T, upstream netip.AddrPort) *weir {
	t.Helper()
	dir := t.TempDir()
	writeLines(t, filepath.Join(dir, "listed.txt"), listedNames, listedName)
	w := startWeir(t, dir, fmt.Sprintf(loadConfig, upstream))
	if st := w.settled(t); st.Names != listedNames {
		t.Fatalf("%d names are loaded, want %d", st.Names, listedNames)
	}
	return w
}

// perf is what dnsperf reports of a run.
type perf struct {
	sent, completed, lost int
	rcodes                map[string]int
	qps                   float64
	average, deviation    float64 // of the latency, in seconds
}

var (
	perfCount = regexp.MustCompile(`Queries (sent|completed|lost): +(\d+)`)
	perfRate  = regexp.MustCompile(`Queries per second: +([\d.]+)`)
	perfRcode = regexp.MustCompile(`([A-Z]+) (\d+) \([\d.]+%\)`)
	perfDelay = regexp.MustCompile(`(?s)Average Latency \(s\): +([\d.]+).*Latency StdDev \(s\): +([\d.]+)`)
)

// runDNSPerf sends the queries of a file to addr.
func runDNSPerf(t *testing.T, addr netip.AddrPort, file string, args ...string) perf {
	t.Helper()
	out := must(t, t.TempDir(), tool(t, "dnsperf"), append([]string{"-s", addr.Addr().String(), "-p", fmt.Sprint(addr.Port()), "-d", file}, args...)...)
	p := perf{rcodes: map[string]int{}}
	counts := perfCount.FindAllStringSubmatch(out, -1)
	rate, delay := perfRate.FindStringSubmatch(out), perfDelay.FindStringSubmatch(out)
	if len(counts) != 3 || rate == nil || delay == nil {
		t.Fatalf("this report of dnsperf is not understood:\n%s", out)
	}
	for _, c := range counts {
		n, err := strconv.Atoi(c[2])
		if err != nil {
			t.Fatal(err)
		}
		*map[string]*int{"sent": &p.sent, "completed": &p.completed, "lost": &p.lost}[c[1]] = n
	}
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "Response codes:") {
			continue
		}
		for _, c := range perfRcode.FindAllStringSubmatch(line, -1) {
			p.rcodes[c[1]], _ = strconv.Atoi(c[2]) // digits, by the expression
		}
	}
	for text, into := range map[string]*float64{rate[1]: &p.qps, delay[1]: &p.average, delay[2]: &p.deviation} {
		var err error
		if *into, err = strconv.ParseFloat(text, 64); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// TestRealLoad holds that under load no query is lost and none goes unrecorded:
// the answers that dnsperf counts and the records of the log are the same.
func TestRealLoad(t *testing.T) {
	needTools(t)
	nsd := startNSD(t, "load.example")
	w := startLoaded(t, nsd.addr)
	dir := t.TempDir()

	// Every name that is to come from the cache is asked for once before, from
	// the upstream and so not too many at a time.
	warm := writeLines(t, filepath.Join(dir, "warm"), cachedNames, func(i int) string { return cachedName(i) + " A" })
	if r := runDNSPerf(t, w.addrs[0], warm, "-n", "1", "-q", "50"); r.lost != 0 || r.rcodes["NOERROR"] != cachedNames {
		t.Fatalf("warm-up: %+v", r)
	}
	before := w.settled(t)
	if before.Resolver.Cache.Entries != cachedNames || before.Resolver.Answered != cachedNames {
		t.Fatalf("after the warm-up: %+v", before.Resolver)
	}

	// In tens: seven from the cache, two blocked, one of our own zone.
	random := rand.New(rand.NewPCG(1, 2))
	queries := writeLines(t, filepath.Join(dir, "queries"), loadQueries, func(i int) string {
		switch {
		case i%10 < 7:
			return cachedName(random.IntN(cachedNames)) + " A"
		case i%10 < 9:
			return "www." + listedName(random.IntN(listedNames)) + " A"
		default:
			return fmt.Sprintf("h%d.host.lab.example A", random.IntN(100))
		}
	})
	r := runDNSPerf(t, w.addrs[0], queries, "-n", "1", "-c", "20", "-q", "200", "-e")
	t.Logf("%d queries, %d answers, %d lost, %.0f queries/s, latency %.3f ms ± %.3f ms, %v",
		r.sent, r.completed, r.lost, r.qps, r.average*1e3, r.deviation*1e3, r.rcodes)
	if r.sent != loadQueries || r.completed != loadQueries || r.lost != 0 {
		t.Errorf("dnsperf: %+v", r)
	}
	if r.rcodes["NOERROR"] != loadQueries*8/10 || r.rcodes["NXDOMAIN"] != loadQueries*2/10 {
		t.Errorf("answers: %v", r.rcodes)
	}

	after := w.settled(t)
	if n := after.Resolver.Answered - before.Resolver.Answered; n != loadQueries {
		t.Errorf("weir answered %d queries, want %d", n, loadQueries)
	}
	if n := after.Audit.LastSeq - before.Audit.LastSeq; n != loadQueries || after.Audit.Lost != 0 {
		t.Errorf("%d records and %d lost, want %d and 0", n, after.Audit.Lost, loadQueries)
	}
	records := w.export(t, before.Audit.LastSeq)
	count := map[string]int{}
	for i, rec := range records {
		if want := before.Audit.LastSeq + 1 + uint64(i); rec.Seq != want {
			t.Fatalf("record %d where %d comes next", rec.Seq, want)
		}
		count[rec.Kind+" "+rec.Verdict+" "+rec.Source+" "+rec.Rcode+" "+rec.Category]++
	}
	for what, want := range map[string]int{
		"query allow cache NOERROR ":           loadQueries * 7 / 10,
		"query block sinkhole NXDOMAIN listed": loadQueries * 2 / 10,
		"query allow local NOERROR ":           loadQueries * 1 / 10,
	} {
		if count[what] != want {
			t.Errorf("%d records %q, want %d; all: %v", count[what], what, want, count)
		}
	}
	t.Logf("%d records in %d segments, %d KiB of store, %d KiB of names",
		len(records), after.Audit.Segments, after.Audit.Bytes>>10, after.NameMemory>>10)
	w.intact(t)
	w.stop(t)
}
