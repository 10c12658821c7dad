//go:build realtools

package integration

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// The tests of this file measure the whole process with long lists: a million names, or five millions if the
// environment variable WEIR_BIG is 1. They print what it takes, and fail for answers that are lost or wrong and for
// memory that grows, never for time. They need Linux and no other program:
//
//	go test -tags realtools -count=1 -v ./integration -run TestRealLists

// listsConfig is a category of two lists, a zone of our own that answers whatever is allowed, and an upstream that
// nobody listens at: nothing here is to ask it.
const listsConfig = onLoopback + `[upstream.default]
servers = ["udp://127.0.0.1:9"]
[[zone]]
name = "lab.example"
records = ["@ 3600 NS ns", "ns 3600 A 192.0.2.53", "* 300 A 192.0.2.10"]
[lists]
path = "lists"
watch = false
[category.listed]
sources = ["first.txt", "second.txt"]
[[policy]]
name = "staff"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "block"
categories = ["listed"]
` + besideConfig

// Two names, each on another list, change places with every revision: in revisions of even number left is listed, in
// those of odd number right.
const (
	leftName  = "left.lab.example"
	rightName = "right.lab.example"
)

func listedNamesBig() int {
	if os.Getenv("WEIR_BIG") == "1" {
		return 5_000_000
	}
	return 1_000_000
}

// layLists writes both lists as revision has them: n names, of which one in a hundred is another one in the next
// revision. names holds those, and n/100 more for the odd revisions.
func layLists(t *testing.T, dir string, names []string, n, revision int) {
	t.Helper()
	line := func(i int) string {
		if i%100 == 99 && revision%2 == 1 {
			return names[n+i/100]
		}
		return names[i]
	}
	half := n / 2
	writeLines(t, filepath.Join(dir, "first.txt"), half, func(i int) string {
		if i == 0 && revision%2 == 0 {
			return leftName
		}
		return line(i)
	})
	writeLines(t, filepath.Join(dir, "second.txt"), n-half, func(i int) string {
		if half+i == n-1 && revision%2 == 1 {
			return rightName
		}
		return line(half + i)
	})
}

// listQueries are what the client asks around a change from an even revision to an odd one, or back: the names that
// change places, listed names, and names that are on no list.
func listQueries(names []string, n, revision int) []*query {
	even := revision%2 == 0
	var all []*query
	for i := range 64 {
		listed := names[1+i*(n/64)]
		if (1+i*(n/64))%100 == 99 {
			listed = names[2+i*(n/64)]
		}
		all = append(all,
			newQuery(leftName, even, !even), newQuery("www."+listed, true, true),
			newQuery(rightName, !even, even), newQuery(fmt.Sprintf("h%d.lab.example", i), false, false))
	}
	return all
}

// startTimed serves from dir and returns how long it took from the start of the process to the first line that it
// serves, and to the first filtered answer.
func startTimed(t *testing.T, dir string) (w *weir, served, answered time.Duration) {
	t.Helper()
	cmd := exec.Command(binary, "serve", "--config", "config.toml")
	cmd.Dir = dir
	begin := time.Now()
	w = &weir{child: start(t, cmd), dir: dir}
	on := regexp.MustCompile(`serves DNS on (\S+), UDP and TCP`)
	limit := time.NewTimer(toolPatience) // more than find has
	defer limit.Stop()
	for len(w.addrs) == 0 {
		select {
		case line, ok := <-w.lines:
			if !ok {
				t.Fatalf("weir ended; it said:\n%s", &w.said)
			}
			fmt.Fprintln(&w.said, line)
			if m := on.FindStringSubmatch(line); m != nil {
				served = time.Since(begin)
				w.addrs = append(w.addrs, netip.MustParseAddrPort(m[1]))
			}
		case <-limit.C:
			t.Fatalf("weir does not serve after %v; it said:\n%s", toolPatience, &w.said)
		}
	}
	c := startPaced(t, w.addrs[0], 1000, []*query{newQuery("www."+leftName, true, true)})
	c.until(t, func() bool { return c.missing < len(c.asked) })
	for _, a := range c.finish(t) {
		if a.received.IsZero() {
			continue
		}
		if !a.blocked {
			t.Errorf("the first answer for %s does not block it", a.name)
		}
		return w, served, a.received.Sub(begin)
	}
	t.Fatal("no answer") // until has seen one
	return nil, 0, 0
}

// TestRealListsStart measures the start from text and from what the first start compiled, and then some reloads
// while a client asks.
func TestRealListsStart(t *testing.T) {
	const rate, reloads = 1000, 4
	n := listedNamesBig()
	names := longNames(n + n/100)
	dir := t.TempDir()
	layLists(t, dir, names, n, 0)
	writeFile(t, dir, "config.toml", listsConfig)
	table := newReport("%d names in two lists", n)

	for _, from := range []string{"text", "compiled names"} {
		w, served, answered := startTimed(t, dir)
		st := w.settled(t)
		if st.Names != n {
			t.Fatalf("%d names are loaded, want %d", st.Names, n)
		}
		table.row("start from "+from, "serves after", served, "first filtered answer after", answered)
		table.row("", "mapped, it said", strings.Contains(strings.ToLower(w.said.String()), "mapped"), "matcher, B/name", float64(st.NameMemory)/float64(n))
		table.memory("memory then", memoryOf(t, w.cmd.Process.Pid))
		if from == "text" {
			w.stop(t)
			if f, err := os.Stat(filepath.Join(dir, "lists", "names")); err != nil {
				t.Errorf("the start leaves no compiled names: %v", err)
			} else {
				table.row("compiled names", "B/name", float64(f.Size())/float64(n))
			}
			continue
		}

		for revision := range reloads {
			layLists(t, dir, names, n, revision+1)
			c := startPaced(t, w.addrs[0], rate, listQueries(names, n, revision))
			c.more(t, rate) // a second before
			begin := time.Now()
			w.run(t, "reload")
			took := time.Since(begin)
			c.more(t, rate) // and one after
			all := c.finish(t)
			out := judge(t, all)
			if out.of[0] == 0 || out.of[1] == 0 {
				t.Errorf("reload %d: %d answers of the lists before, %d of those after", revision+1, out.of[0], out.of[1])
			}
			if out.lost > 0 {
				t.Errorf("reload %d: %d of %d answers are lost", revision+1, out.lost, out.queries)
			}
			table.row(fmt.Sprintf("reload %d, %d q/s", revision+1, rate),
				"took", took, "queries", out.queries, "lost", out.lost, "median", out.median, "slowest", out.slowest)
		}
		if st := w.settled(t); st.Names != n {
			t.Errorf("%d names are loaded after the reloads, want %d", st.Names, n)
		}
		table.memory("memory after reloads", memoryOf(t, w.cmd.Process.Pid))
		w.stop(t)
	}
	t.Log(table)
}

// TestRealListsReloads reloads a changed list a hundred times and holds that memory does not grow: the least of the
// last ten readings is above the least of those after the first ten reloads by no more than growthBound.
func TestRealListsReloads(t *testing.T) {
	const reloads, settling = 100, 10
	n := listedNamesBig() / 10
	names := longNames(n + n/100)
	dir := t.TempDir()
	layLists(t, dir, names, n, 0)
	writeFile(t, dir, "config.toml", listsConfig)
	w, _, _ := startTimed(t, dir)
	st := w.settled(t)
	// What reading the lists takes is given back to the kernel piece by piece, so readings differ by some megabytes.
	// A matcher kept by each reload would come to ninety.
	growthBound := int64(max(16<<20, 4*st.NameMemory))

	table := newReport("%d reloads of %d names", reloads, n)
	var readings []memory
	var took []time.Duration
	for revision := range reloads {
		layLists(t, dir, names, n, revision+1)
		begin := time.Now()
		w.run(t, "reload")
		took = append(took, time.Since(begin))
		readings = append(readings, memoryOf(t, w.cmd.Process.Pid))
		if i := revision + 1; i == 1 || i%20 == 0 || i == settling {
			table.memory(fmt.Sprintf("after reload %d", i), readings[revision])
		}
	}
	slices.Sort(took)
	table.row("reload", "median", took[len(took)/2], "slowest", took[len(took)-1])
	least := func(of []memory) int64 {
		return slices.MinFunc(of, func(a, b memory) int { return int(a.rss - b.rss) }).rss
	}
	before, after := least(readings[settling:2*settling]), least(readings[reloads-settling:])
	table.row("growth", "before, MiB", mebibytes(before), "after, MiB", mebibytes(after), "bound, MiB", mebibytes(growthBound))
	t.Log(table)
	if after-before > growthBound {
		t.Errorf("%d reloads added %.1f MiB of memory, more than %.1f", reloads-2*settling, mebibytes(after-before), mebibytes(growthBound))
	}
	c := startPaced(t, w.addrs[0], 1000, listQueries(names, n, reloads))
	c.more(t, 1000)
	if out := judge(t, c.finish(t)); out.lost > 0 || out.of[0] == 0 || out.of[1] > 0 {
		t.Errorf("after the reloads: %+v", out)
	}
	if now := w.settled(t); now.Names != n {
		t.Errorf("%d names are loaded after the reloads, want %d", now.Names, n)
	}
	w.stop(t)
}

// report is a table of what was measured.
type report struct {
	title string
	rows  bytes.Buffer
	table *tabwriter.Writer
}

func newReport(title string, args ...any) *report {
	r := &report{title: fmt.Sprintf(title, args...)}
	r.table = tabwriter.NewWriter(&r.rows, 0, 0, 1, ' ', 0)
	return r
}

// row adds pairs of what and how much.
func (r *report) row(name string, pairs ...any) {
	fmt.Fprintf(r.table, "%s\t", name)
	for i := 0; i < len(pairs); i += 2 {
		switch v := pairs[i+1].(type) {
		case float64:
			fmt.Fprintf(r.table, "%s %.1f\t", pairs[i], v)
		case time.Duration:
			fmt.Fprintf(r.table, "%s %v\t", pairs[i], v.Round(10*time.Microsecond))
		default:
			fmt.Fprintf(r.table, "%s %v\t", pairs[i], v)
		}
	}
	fmt.Fprintln(r.table)
}

func (r *report) memory(name string, m memory) {
	r.row(name, "MiB: resident", mebibytes(m.rss), "anonymous", mebibytes(m.anon), "of files", mebibytes(m.file),
		"peak", mebibytes(m.peak), "threads", m.threads, "open files", m.open, "mapped", m.mapped)
}

func (r *report) String() string {
	_ = r.table.Flush() // into memory
	return r.title + "\n" + r.rows.String()
}

func mebibytes(octets int64) float64 { return float64(octets) / (1 << 20) }
