//go:build realtools

package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"text/tabwriter"
	"time"
)

// TestRealCompare prints what an answer from the cache costs weir, with its
// policy over many names and its log, and what it costs unbound, which has
// neither. It asserts nothing about time: the machine is whoever's, and the
// load takes its share of it. So the figure to read is the processor time of
// the server for one query; for weir that includes the writing of the log.
func TestRealCompare(t *testing.T) {
	needTools(t)
	nsd := startNSD(t, "load.example")
	unbound := startUnbound(t, nsd, "load.example")
	w := startLoaded(t, nsd.addr)
	dir := t.TempDir()
	warm := writeLines(t, filepath.Join(dir, "warm"), cachedNames, func(i int) string { return cachedName(i) + " A" })

	type contender struct {
		name     string
		server   *daemon
		settle   func() // until the work of the run is done
		qps, cpu []float64
		lost     int
	}
	settle := func() { w.settled(t) }
	contenders := []*contender{
		{name: "weir, 500,000 names, log", server: &daemon{w.child, w.addrs[0]}, settle: settle},
		{name: "unbound, no policy, no log", server: unbound, settle: func() {}},
	}
	for _, c := range contenders {
		if r := runDNSPerf(t, c.server.addr, warm, "-n", "1", "-q", "50"); r.lost != 0 || r.rcodes["NOERROR"] != cachedNames {
			t.Fatalf("warm-up of %s: %+v", c.name, r)
		}
	}
	const rounds, runs = 3, 100 // a run is each cached name once
	for range rounds {
		for _, c := range contenders {
			before := processorTime(t, c.server.cmd.Process.Pid)
			r := runDNSPerf(t, c.server.addr, warm, "-n", strconv.Itoa(runs), "-c", "20", "-q", "100")
			if r.completed == 0 {
				t.Fatalf("%s: %+v", c.name, r)
			}
			c.settle()
			c.lost += r.lost
			c.qps = append(c.qps, r.qps)
			c.cpu = append(c.cpu, float64(processorTime(t, c.server.cmd.Process.Pid)-before)/float64(time.Microsecond)/float64(r.completed))
		}
	}

	var out bytes.Buffer
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tqueries/s\tCPU µs/query\tlost\tall rounds: queries/s\tCPU µs/query\t")
	for _, c := range contenders {
		fmt.Fprintf(table, "%s\t%.0f\t%.2f\t%d\t%.0f\t%.2f\t\n", c.name, median(c.qps), median(c.cpu), c.lost, c.qps, c.cpu)
	}
	fmt.Fprintf(table, "ratio\t%.2f\t%.2f\t\t\t\t\n", median(contenders[0].qps)/median(contenders[1].qps), median(contenders[0].cpu)/median(contenders[1].cpu))
	_ = table.Flush() // into memory
	t.Logf("%d queries a round, medians of %d rounds:\n%s", runs*cachedNames, rounds, &out)
	st, rep := w.settled(t), w.report(t)
	t.Logf("audit log: %d events taken, %d lost", st.Audit.Recorded, st.Audit.Lost)
	if rep.Lost != st.Audit.Lost || st.Audit.Recorded+st.Audit.Lost < rounds*runs*cachedNames {
		t.Errorf("the log does not account for every query: %+v, %+v", st.Audit, rep)
	}
	w.stop(t)
}

func median(of []float64) float64 { return slices.Sorted(slices.Values(of))[len(of)/2] }

// processorTime returns the time that a process has run, in user mode and in
// the kernel for it, all threads together. The kernel counts hundredths of a second.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// The second field is a name in parentheses; utime and stime are the 14th and 15th.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100)
}
