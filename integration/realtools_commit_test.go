//go:build realtools

package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// TestRealCommit holds that with commit = "before-answer" no query is lost under load,
// and prints what answers cost and how many there are a second beside those of
// "interval", by turns. WEIR_COMMIT=5 measures for so many rounds, with 100, 400 and
// 1,000 queries under way; it asserts nothing about time.
func TestRealCommit(t *testing.T) {
	needTools(t)
	rounds, loads := 1, []int{400}
	if text := os.Getenv("WEIR_COMMIT"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("WEIR_COMMIT=%s is no number of rounds", text)
		}
		rounds, loads = n, []int{100, 400, 1000}
	}
	nsd := startNSD(t, "load.example")
	const names, runs = 1000, 30 // a run is each name once
	warm := writeLines(t, filepath.Join(t.TempDir(), "warm"), names, func(i int) string { return cachedName(i) + " A" })

	commits := []string{"interval", "before-answer"}
	servers := map[string]*weir{}
	for _, commit := range commits {
		dir := t.TempDir()
		writeLines(t, filepath.Join(dir, "listed.txt"), 1, listedName)
		servers[commit] = startWeir(t, dir, strings.Replace(fmt.Sprintf(loadConfig, nsd.addr), "[audit]\n", "[audit]\ncommit = \""+commit+"\"\n", 1))
		if r := runDNSPerf(t, servers[commit].addrs[0], warm, "-n", "1", "-q", "50"); r.lost != 0 || r.rcodes["NOERROR"] != names {
			t.Fatalf("warm-up of %s: %+v", commit, r)
		}
	}
	var out bytes.Buffer
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "under way\tcommit\tqueries/s\tCPU µs/query\tlatency ms\t")
	for _, load := range loads {
		type figures struct{ qps, cpu, latency []float64 }
		of := map[string]*figures{"interval": {}, "before-answer": {}}
		for range rounds {
			for _, commit := range commits {
				w, f := servers[commit], of[commit]
				began := w.settled(t)
				before := processorTime(t, w.cmd.Process.Pid)
				r := runDNSPerf(t, w.addrs[0], warm, "-n", strconv.Itoa(runs), "-c", "20", "-q", strconv.Itoa(load))
				ended := w.settled(t)
				if n := ended.Audit.LastSeq - began.Audit.LastSeq; r.lost != 0 || r.rcodes["NOERROR"] != names*runs || n != names*runs || ended.Audit.Lost != 0 {
					t.Errorf("%s, %d under way: %d records, %+v", commit, load, n, r)
				}
				f.qps, f.latency = append(f.qps, r.qps), append(f.latency, r.average*1e3)
				f.cpu = append(f.cpu, float64(processorTime(t, w.cmd.Process.Pid)-before)/float64(time.Microsecond)/(names*runs))
			}
		}
		for _, commit := range commits {
			fmt.Fprintf(table, "%d\t%s\t%.0f\t%.2f\t%.3f\t\n", load, commit, median(of[commit].qps), median(of[commit].cpu), median(of[commit].latency))
		}
		a, b := of["before-answer"], of["interval"]
		fmt.Fprintf(table, "%d\tratio\t%.2f\t%.2f\t%.2f\t\n", load, median(a.qps)/median(b.qps), median(a.cpu)/median(b.cpu), median(a.latency)/median(b.latency))
	}
	_ = table.Flush() // into memory
	t.Logf("%d queries a round, medians of %d rounds:\n%s", names*runs, rounds, &out)
	for _, commit := range commits {
		servers[commit].intact(t)
		servers[commit].stop(t)
	}
}
