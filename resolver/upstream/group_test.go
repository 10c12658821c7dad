package upstream

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A world is a group of rogues with a clock that stands still unless it is
// advanced.
type world struct {
	*Group
	rogues []*rogue
	clock  *clock
}

// A clock calls what is to be called when it is advanced, in goroutines that the
// test waits for.
type clock struct {
	mu     sync.Mutex
	time   time.Time
	timers map[*timer]bool
	calls  sync.WaitGroup
}

type timer struct {
	at time.Time
	f  func()
}

func newClock() *clock { return &clock{time: time.Unix(1_000_000, 0), timers: map[*timer]bool{}} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *clock) after(d time.Duration, f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{c.time.Add(d), f}
	c.timers[t] = true
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		was := c.timers[t]
		delete(c.timers, t)
		return was
	}
}

// advance calls what is due by then and returns when all of it has ended.
func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	c.time = c.time.Add(d)
	for t := range c.timers {
		if !t.at.After(c.time) {
			delete(c.timers, t)
			c.calls.Go(t.f)
		}
	}
	c.mu.Unlock()
	c.calls.Wait()
}

func newWorld(t testing.TB, cfg GroupConfig, rogues ...*rogue) *world {
	t.Helper()
	w := &world{rogues: rogues, clock: newClock()}
	cfg.Name, cfg.Now, cfg.After = "default", w.clock.now, w.clock.after
	for _, r := range rogues {
		cfg.Servers = append(cfg.Servers, paced{r.start(t).open(t, "udp", Options{Resend: time.Millisecond}), r})
	}
	g, err := NewGroup(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.look = impatient
	w.Group = g
	return w
}

// A paced is a rogue of which the test knows whether it answers. If so there is time for
// that, for a slow machine too; if not it is waited for no longer than need be.
type paced struct {
	Exchanger
	rogue *rogue
}

func (p paced) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	b, ok := ctx.(bounded)
	switch answers := p.rogue.answers; {
	case !ok:
	case answers != nil && answers(q), answers == nil && p.rogue.udp != nil:
		b.until = time.Now().Add(patient)
		ctx = b
	default:
		b.until = earlier(b.until, time.Now().Add(impatient))
		ctx = b
	}
	return p.Exchanger.Exchange(ctx, q)
}

// waitHeard waits until the i-th rogue has got all that was sent to it.
func (w *world) waitHeard(t testing.TB, i int) {
	t.Helper()
	until(t, "all is heard", func() bool { return w.rogues[i].heard() == w.sent()[i] })
}

// ask asks once and returns who answered, as the rogue's index, and the rcode.
func (w *world) ask(t testing.TB) (server int, rcode string) {
	t.Helper()
	m, url, err := w.Exchange(within(t, patient), ask("www.example.test."))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range w.rogues {
		if url == "udp://"+r.addr {
			return i, dns.RcodeToString[m.Rcode]
		}
	}
	t.Fatalf("answered by unknown server %q", url)
	return 0, ""
}

// sent returns how many queries each server got.
func (w *world) sent() (counts []int) {
	for _, s := range w.Stats().Servers {
		counts = append(counts, int(s.Sent))
	}
	return counts
}

func coding(rcode int) *rogue {
	return &rogue{udp: func(_ int, query []byte, send func([]byte)) { send(coded(rcode)(query)) }}
}

// referring sends everybody to the root servers.
func referring() *rogue {
	return &rogue{udp: func(_ int, query []byte, send func([]byte)) {
		send(reply(query, func(m *dns.Msg) {
			m.RecursionAvailable, m.Answer = false, nil
			m.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: "a.example."}}
		}))
	}}
}

func silent() *rogue { return new(rogue) }

// quick makes silent servers fail soon.
var quick = GroupConfig{Timeout: impatient, Deadline: patient}

func TestWhoAnswers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		rogues []*rogue
		server int
		rcode  string
	}{
		{"the first", []*rogue{honest(), honest()}, 0, "NOERROR"},
		{"the second, the first being silent", []*rogue{silent(), honest()}, 1, "NOERROR"},
		{"the third", []*rogue{silent(), coding(dns.RcodeServerFailure), honest()}, 2, "NOERROR"},
		{"NXDOMAIN settles it", []*rogue{coding(dns.RcodeNameError), honest()}, 0, "NXDOMAIN"},
		{"YXDOMAIN settles it", []*rogue{coding(dns.RcodeYXDomain), honest()}, 0, "YXDOMAIN"},
		{"SERVFAIL does not", []*rogue{coding(dns.RcodeServerFailure), honest()}, 1, "NOERROR"},
		{"REFUSED does not", []*rogue{coding(dns.RcodeRefused), honest()}, 1, "NOERROR"},
		{"a referral does not", []*rogue{referring(), honest()}, 1, "NOERROR"},
		{"REFUSED before a referral", []*rogue{referring(), coding(dns.RcodeRefused)}, 1, "REFUSED"},
		{"no address settles it", []*rogue{coding(dns.RcodeSuccess), honest()}, 0, "NOERROR"},
		{"SERVFAIL if there is no better", []*rogue{coding(dns.RcodeServerFailure)}, 0, "SERVFAIL"},
		{"SERVFAIL before REFUSED", []*rogue{coding(dns.RcodeRefused), coding(dns.RcodeServerFailure)}, 1, "SERVFAIL"},
		{"the first of two SERVFAIL", []*rogue{coding(dns.RcodeServerFailure), coding(dns.RcodeServerFailure)}, 0, "SERVFAIL"},
		{"FORMERR before no reply", []*rogue{coding(dns.RcodeFormatError), cutting()}, 0, "FORMERR"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, quick, tc.rogues...)
			server, rcode := w.ask(t)
			if server != tc.server || rcode != tc.rcode {
				t.Errorf("server %d answered %s, want %d and %s", server, rcode, tc.server, tc.rcode)
			}
		})
	}
}

// cutting truncates every reply and closes every connection.
func cutting() *rogue {
	return &rogue{udp: func(_ int, query []byte, send func([]byte)) {
		send(reply(query, func(m *dns.Msg) { m.Truncated = true }))
	}}
}

func TestAllDeadAreAskedStill(t *testing.T) {
	w := newWorld(t, GroupConfig{Timeout: impatient / 4, Deadline: patient}, silent(), silent())
	for range 2 {
		before := w.sent()
		_, _, err := w.Exchange(within(t, patient), ask("www.example.test."))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v, want deadline exceeded", err)
		}
		for i, r := range w.rogues {
			if !strings.Contains(err.Error(), "udp://"+r.addr+": no reply") {
				t.Errorf("error %q does not tell of server %d", err, i)
			}
			if w.sent()[i] == before[i] {
				t.Errorf("server %d was not asked", i)
			}
		}
		if !strings.HasPrefix(err.Error(), "upstream default: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %q does not name its group on one line", err)
		}
	}
}

func TestLastServerGetsTheTimeThatIsLeft(t *testing.T) {
	cfg := GroupConfig{Timeout: time.Millisecond, Deadline: patient}
	slow := &rogue{udp: func(n int, query []byte, send func([]byte)) {
		if n == maxDatagrams-1 { // 3 ms from the start at the earliest
			send(answer(query))
		}
	}}
	w := newWorld(t, cfg, slow)
	if server, _ := w.ask(t); server != 0 {
		t.Errorf("server %d answered", server)
	}
}

// TestLastThatWorksGetsTheTimeThatIsLeft, for a dead one could do no better.
func TestLastThatWorksGetsTheTimeThatIsLeft(t *testing.T) {
	slow := &rogue{udp: func(n int, query []byte, send func([]byte)) {
		if n == maxDatagrams-1 {
			send(answer(query))
		}
	}}
	w := newWorld(t, GroupConfig{Timeout: time.Millisecond, Deadline: patient}, slow, silent())
	w.mu.Lock()
	w.lost(w.members[1], w.clock.now())
	w.mu.Unlock()
	if server, _ := w.ask(t); server != 0 || w.sent()[1] != 0 {
		t.Errorf("server %d answered, sent %v", server, w.sent())
	}
}

func TestDeadlineEndsTheRound(t *testing.T) {
	w := newWorld(t, GroupConfig{Timeout: patient, Deadline: impatient / 4}, silent(), honest())
	if _, _, err := w.Exchange(within(t, patient), ask("www.example.test.")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want deadline exceeded", err)
	}
	if w.sent()[1] != 0 || w.Stats().Servers[1].Failing {
		t.Error("the second server was asked, or blamed, after the deadline")
	}
}

func TestNobodyIsBlamedForTheCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := newWorld(t, quick, &rogue{udp: func(int, []byte, func([]byte)) { cancel() }}, honest())
	w.timeout = patient
	if _, _, err := w.Exchange(ctx, ask("www.example.test.")); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want canceled", err)
	}
	if _, _, err := w.Exchange(within(t, patient), new(dns.Msg)); !errors.Is(err, errQuery) {
		t.Fatalf("error %v, want %v", err, errQuery)
	}
	for i, s := range w.Stats().Servers {
		if s.Failing {
			t.Errorf("server %d is set back", i)
		}
	}
}

func TestSilenceIsBlamedAfterTheFullTimeoutOnly(t *testing.T) {
	for _, tc := range []struct {
		timeout, caller time.Duration
		failing         bool
	}{
		{timeout: patient, caller: impatient / 4, failing: false},
		{timeout: impatient / 8, caller: impatient / 4, failing: true},
	} {
		w := newWorld(t, GroupConfig{Timeout: tc.timeout, Deadline: patient}, silent())
		if _, _, err := w.Exchange(within(t, tc.caller), ask("www.example.test.")); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v, want deadline exceeded", err)
		}
		if got := w.Stats().Servers[0].Failing; got != tc.failing {
			t.Errorf("timeout %v, caller's deadline %v: failing is %v", tc.timeout, tc.caller, got)
		}
	}
}

func TestGroupIsSafeForConcurrentUse(t *testing.T) {
	w := newWorld(t, quick, silent(), honest())
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if _, _, err := w.Exchange(within(t, patient), ask("www.example.test.")); err != nil {
				t.Error(err)
			}
			w.Stats()
		})
	}
	wg.Wait()
}

func TestNewGroup(t *testing.T) {
	x := honest().start(t).open(t, "udp", Options{})
	private := openURL(t, "tls://127.0.0.1#dns.example.test", Options{})
	many := make([]Exchanger, MaxServers+1)
	for name, cfg := range map[string]GroupConfig{
		"no server":         {Name: "corp"},
		"too many":          {Name: "corp", Servers: many},
		"one twice":         {Name: "corp", Servers: []Exchanger{x, x}},
		"negative timeout":  {Name: "corp", Servers: []Exchanger{x}, Timeout: -1},
		"negative deadline": {Name: "corp", Servers: []Exchanger{x}, Deadline: -1},
		"no such strategy":  {Name: "corp", Servers: []Exchanger{x}, Strategy: "slowest"},
		"mixed":             {Name: "corp", Servers: []Exchanger{x, private}},
	} {
		if _, err := NewGroup(cfg); err == nil || !strings.HasPrefix(err.Error(), "upstream corp: ") {
			t.Errorf("%s: error %v, want one that names the group", name, err)
		}
	}
	g, err := NewGroup(GroupConfig{Name: "corp", Servers: []Exchanger{x}})
	if err != nil {
		t.Fatal(err)
	}
	m, server, err := g.Exchange(context.Background(), ask("www.example.test."))
	checkAnswer(t, m, err)
	if server != x.String() || g.Name() != "corp" {
		t.Errorf("group %s, server %s", g.Name(), server)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}
