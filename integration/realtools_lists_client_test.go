//go:build realtools

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// longNames returns n different names as block lists hold them: 20 octets, two or three labels, many of them below
// few parents. The first names of a longer answer are those of a shorter one.
func longNames(n int) []string {
	random := rand.New(rand.NewPCG(3, 4))
	tlds := strings.Fields("com com com com com com info info net net xyz org top tk tk fr pl de ru co.uk site shop nl com.br")
	firsts := strings.Fields("www www www ads metrics stats track cdn go mail")
	word := func(length int) string {
		const consonants, vowels = "tnsrldcmpghbfvkwyzjx", "eaiou"
		var text []byte
		for len(text) < length {
			text = append(text, consonants[random.IntN(len(consonants))], vowels[random.IntN(len(vowels))])
		}
		return string(text[:length])
	}
	all := make([]string, 0, n)
	seen := make(map[string]bool, n)
	var parents []string
	for len(all) < n {
		name := word(4+random.IntN(6)+random.IntN(7)) + "." + tlds[random.IntN(len(tlds))]
		switch p := random.IntN(100); {
		case p < 5:
			name = firsts[random.IntN(len(firsts))] + "." + name
		case p < 32: // the more names a parent has, the more it gets
			if p >= 8 && len(parents) > 0 {
				name = parents[random.IntN(len(parents))]
			}
			parents = append(parents, name)
			name = word(3+random.IntN(9)) + "." + name
		}
		if !seen[name] {
			seen[name] = true
			all = append(all, name)
		}
	}
	return all
}

// query is a question of the paced client: what its answer is by the lists of one revision, and by those of the other.
type query struct {
	name    string
	blocked [2]bool
	packet  []byte // with the message number left open
}

func newQuery(name string, first, second bool) *query {
	q := &query{name: name, blocked: [2]bool{first, second}}
	q.packet = []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0} // one question, recursion desired
	for label := range strings.SplitSeq(name, ".") {
		q.packet = append(append(q.packet, byte(len(label))), label...)
	}
	q.packet = append(q.packet, 0, 0, 1, 0, 1) // A, IN
	return q
}

// asked is one query of a run and what came of it.
type asked struct {
	*query
	sent, received time.Time
	blocked        bool
	failed         bool // SERVFAIL
}

// told returns the revision that an answer is of, by turns 0 and 1; both is true if it may be either.
func (a *asked) told() (revision int, both bool) {
	if a.query.blocked[0] == a.query.blocked[1] {
		return 0, true
	}
	if a.blocked == a.query.blocked[0] {
		return 0, false
	}
	return 1, false
}

// pacedClient asks over UDP at a steady rate, whatever the answers take.
type pacedClient struct {
	conn *net.UDPConn
	stop chan struct{} // closed by finish
	sent chan error    // the sender's word, at its end
	done chan error    // the receiver's

	mayFail bool // SERVFAIL is an answer too

	mu      sync.Mutex // guards what follows
	news    sync.Cond  // that it has changed
	asked   []asked
	missing int  // answers
	ended   bool // the last query has been sent
}

// clientPatience is how long a client waits for an answer.
const clientPatience = 5 * time.Second

// startPaced sends queries by turns to addr, rate in a second, until finish.
func startPaced(t *testing.T, addr netip.AddrPort, rate int, queries []*query) *pacedClient {
	t.Helper()
	return startPacedThat(t, addr, rate, queries, false)
}

// startPacedThat is startPaced of a client that takes SERVFAIL too, if it may fail.
func startPacedThat(t *testing.T, addr netip.AddrPort, rate int, queries []*query, mayFail bool) *pacedClient {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	// What the client has no room for counts as an answer that the server did not give.
	if err := conn.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	c := &pacedClient{conn: conn, mayFail: mayFail, stop: make(chan struct{}), sent: make(chan error, 1), done: make(chan error, 1)}
	c.news.L = &c.mu
	go func() { c.sent <- c.send(rate, queries) }()
	go func() { c.done <- c.receive() }()
	return c
}

func (c *pacedClient) send(rate int, queries []*query) error {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended = true
		c.news.Broadcast()
	}()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	begin, packet := time.Now(), make([]byte, 0, 512)
	for n := 0; ; {
		select {
		case <-c.stop:
			return nil
		case <-tick.C:
		}
		// A ticker drops what nobody took in time, so the clock says how many are due.
		for due := int(time.Since(begin) * time.Duration(rate) / time.Second); n < due; n++ {
			q := queries[n%len(queries)]
			packet = append(packet[:0], q.packet...)
			packet[0], packet[1] = byte(n>>8), byte(n)
			c.mu.Lock()
			c.asked = append(c.asked, asked{query: q, sent: time.Now()})
			c.missing++
			c.news.Broadcast()
			c.mu.Unlock()
			if _, err := c.conn.Write(packet); err != nil {
				return fmt.Errorf("query %d: %w", n, err)
			}
		}
	}
}

// receive reads answers until the sender has ended and none is missing, or none has come for clientPatience.
func (c *pacedClient) receive() error {
	answer, last := make([]byte, 1<<16), time.Now()
	for {
		c.mu.Lock()
		ended, missing := c.ended, c.missing
		c.mu.Unlock()
		if !ended {
			last = time.Now()
		}
		if ended && (missing == 0 || time.Since(last) > clientPatience) {
			return nil
		}
		if err := c.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return err
		}
		size, err := c.conn.Read(answer)
		switch {
		case os.IsTimeout(err):
		case err != nil:
			return err
		default:
			last = time.Now()
			if err := c.take(answer[:size], last); err != nil {
				return err
			}
		}
	}
}

// take notes one answer, which must be a whole one to a query that has none yet.
func (c *pacedClient) take(answer []byte, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(answer) < 12 {
		return fmt.Errorf("answer of %d octets", len(answer))
	}
	// Of the queries with that message number it is for the last one.
	n := len(c.asked) - 1
	n -= (n - (int(answer[0])<<8 | int(answer[1]))) & 0xffff
	if n < 0 {
		return fmt.Errorf("answer with a message number that no query had; %d were sent", len(c.asked))
	}
	a := &c.asked[n]
	if !a.received.IsZero() {
		return fmt.Errorf("query %d, %s: second answer", n, a.name)
	}
	if len(answer) < len(a.packet) || !bytes.Equal(answer[12:len(a.packet)], a.packet[12:]) {
		return fmt.Errorf("query %d, %s: answer to another question", n, a.name)
	}
	a.received = now
	c.missing--
	c.news.Broadcast()
	switch rcode, records := answer[3]&15, int(answer[6])<<8|int(answer[7]); {
	case rcode == 3 && records == 0:
		a.blocked = true
	case rcode == 2 && records == 0 && c.mayFail:
		a.failed = true
	case rcode != 0 || records != 1:
		return fmt.Errorf("query %d, %s: rcode %d and %d records", n, a.name, rcode, records)
	}
	return nil
}

// until waits for something that comes of asking; it is called with c.mu held.
func (c *pacedClient) until(t *testing.T, come func() bool) {
	t.Helper()
	late := false
	limit := time.AfterFunc(toolPatience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		late = true
		c.news.Broadcast()
	})
	defer limit.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !come() {
		if late || c.ended {
			t.Fatalf("the client waits in vain: %d queries sent, %d answers missing", len(c.asked), c.missing)
		}
		c.news.Wait()
	}
}

// more waits until n more queries have been sent.
func (c *pacedClient) more(t *testing.T, n int) {
	t.Helper()
	from := -1
	c.until(t, func() bool {
		if from < 0 {
			from = len(c.asked)
		}
		return len(c.asked) >= from+n
	})
}

// finish stops asking, waits for the last answers, and returns all queries.
func (c *pacedClient) finish(t *testing.T) []asked {
	t.Helper()
	close(c.stop)
	if err := errors.Join(<-c.sent, <-c.done, c.conn.Close()); err != nil {
		t.Fatal(err)
	}
	return c.asked
}

// outcome is what a run of the client came to.
type outcome struct {
	queries, lost   int
	median, slowest time.Duration
	of              [2]int // answers that only revision 0, or only revision 1, gives
}

// judge checks all answers of a run in which revision 0 gave way to revision 1: each is right by one of the two, and
// one moment parts those of the one from those of the other, for every name: no answer of the old revision was asked
// for after one of the new revision had come.
func judge(t *testing.T, all []asked) (out outcome) {
	t.Helper()
	var delays []time.Duration
	var lastOld, firstNew *asked
	for i := range all {
		a := &all[i]
		out.queries++
		if a.received.IsZero() {
			if out.lost++; out.lost <= 10 {
				t.Errorf("no answer for %s, query %d", a.name, i)
			}
			continue
		}
		delays = append(delays, a.received.Sub(a.sent))
		revision, both := a.told()
		if both {
			if a.blocked != a.query.blocked[0] {
				t.Errorf("%s: blocked %v, by no revision", a.name, a.blocked)
			}
			continue
		}
		out.of[revision]++
		switch {
		case revision == 0 && (lastOld == nil || a.sent.After(lastOld.sent)):
			lastOld = a
		case revision == 1 && (firstNew == nil || a.received.Before(firstNew.received)):
			firstNew = a
		}
	}
	if lastOld != nil && firstNew != nil && lastOld.sent.After(firstNew.received) {
		t.Errorf("mixed revisions: %s was answered by the old one, %v after %s had been answered by the new one",
			lastOld.name, lastOld.sent.Sub(firstNew.received), firstNew.name)
	}
	if len(delays) > 0 {
		slices.Sort(delays)
		out.median, out.slowest = delays[len(delays)/2], delays[len(delays)-1]
	}
	return out
}

// memory is what the kernel says of a process, in octets.
type memory struct {
	rss, anon, file, peak int64
	threads, mapped, open int // mapped regions of files, open files
}

var memoryLine = regexp.MustCompile(`(?m)^(VmRSS|RssAnon|RssFile|VmHWM|Threads):\s+(\d+)`)

// memoryOf reads /proc, which needs Linux.
func memoryOf(t *testing.T, pid int) (m memory) {
	t.Helper()
	read := func(file string) []byte {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	found := memoryLine.FindAllSubmatch(read("status"), -1)
	if len(found) != 5 {
		t.Fatalf("this kernel tells %d of the 5 figures that are needed", len(found))
	}
	for _, f := range found {
		n, err := strconv.ParseInt(string(f[2]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		switch string(f[1]) {
		case "VmRSS":
			m.rss = n << 10
		case "RssAnon":
			m.anon = n << 10
		case "RssFile":
			m.file = n << 10
		case "VmHWM":
			m.peak = n << 10
		case "Threads":
			m.threads = int(n)
		}
	}
	m.mapped = bytes.Count(read("maps"), []byte(" /"))
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	m.open = len(files)
	return m
}
