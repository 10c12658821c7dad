package upstream

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

// held answers when the test says so, and tells when it was asked.
func held() (r *rogue, asked chan struct{}, release chan struct{}) {
	asked, release = make(chan struct{}, 100), make(chan struct{})
	return &rogue{udp: func(_ int, query []byte, send func([]byte)) {
		asked <- struct{}{}
		<-release
		send(answer(query))
	}}, asked, release
}

// known has all servers taken for such as reply within so much time.
func (w *world) known(each time.Duration) {
	for _, m := range w.members {
		for range 100 {
			m.rtt.add(each)
		}
	}
}

// begin asks, and says later who answered.
func (w *world) begin(t *testing.T) (answered chan int) {
	answered = make(chan int, 1)
	go func() {
		server, _ := w.ask(t)
		answered <- server
	}()
	return answered
}

// openFiles is how many files this process has open, sockets among them.
func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// checkReleased fails if there are more of them than there were, as the socket of a
// question to a server that was given up is one.
func checkReleased(t *testing.T, before int) {
	t.Helper()
	if n := openFiles(t); n != before {
		t.Errorf("%d files are open, %d were before", n, before)
	}
}

// TestHedge asks the second server when the first takes longer than 95 of 100 of
// its replies did, and takes what comes first.
func TestHedge(t *testing.T) {
	slow, asked, release := held()
	defer close(release)
	w := newWorld(t, GroupConfig{Strategy: Hedge, Timeout: patient, Deadline: patient}, slow, honest())
	w.known(50 * time.Millisecond)
	w.tenths = 9 // this question makes it ten
	usual := w.members[0].rtt.p95()
	if usual < 50*time.Millisecond || usual > 63*time.Millisecond {
		t.Fatalf("p95 %v", usual)
	}
	files := openFiles(t)
	answered := w.begin(t)
	<-asked
	w.clock.advance(usual - 1)
	if n := w.rogues[1].asked(t); n != 0 {
		t.Fatal("the second server was asked too early")
	}
	w.clock.advance(1)
	if server := <-answered; server != 1 {
		t.Errorf("server %d answered", server)
	}
	checkReleased(t, files)
	if s := w.Stats(); s.Hedges != 1 || s.Refused != 0 || s.Servers[0].Failing || len(w.clock.timers) != 0 {
		t.Errorf("%+v, %d timers", s, len(w.clock.timers))
	}
}

// TestLateLosersCount: the percentile is not only of the replies that came in time.
func TestLateLosersCount(t *testing.T) {
	w := newWorld(t, GroupConfig{Strategy: Hedge, Timeout: patient, Deadline: patient}, silent())
	w.known(50 * time.Millisecond)
	m := w.members[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		took time.Duration
		more int
	}{{0, 0}, {time.Second, 1}} {
		before := m.rtt.count
		w.judge(ctx, m, w.clock.now(), time.Now().Add(-tc.took), nil, context.Canceled)
		if more := m.rtt.count - before; more != tc.more {
			t.Errorf("given up after %v: counted %d times, want %d", tc.took, more, tc.more)
		}
	}
}

// TestHedgeInTime: who answers before is not hedged, and there is no timer left.
func TestHedgeInTime(t *testing.T) {
	w := newWorld(t, GroupConfig{Strategy: Hedge, Timeout: patient, Deadline: patient}, honest(), honest())
	for range 20 {
		if server, _ := w.ask(t); server != 0 {
			t.Errorf("server %d answered", server)
		}
	}
	if s := w.Stats(); s.Hedges != 0 || s.Refused != 0 || s.Servers[1].Sent != 0 || len(w.clock.timers) != 0 {
		t.Errorf("%+v, %d timers", s, len(w.clock.timers))
	}
}

// TestHedgeBudget: where one in ten has been asked early, the rest waits.
func TestHedgeBudget(t *testing.T) {
	slow, asked, release := held()
	w := newWorld(t, GroupConfig{Strategy: Hedge, Timeout: patient, Deadline: patient}, slow, honest())
	w.known(time.Millisecond)
	answered := w.begin(t)
	<-asked
	w.clock.advance(patient)
	until(t, "a second question is refused", func() bool { return w.Stats().Refused > 0 }) // else the answer may be there before
	close(release)
	if server := <-answered; server != 0 {
		t.Errorf("server %d answered", server)
	}
	if s := w.Stats(); s.Hedges != 0 || s.Refused != 1 || s.Servers[1].Sent != 0 {
		t.Errorf("%+v", s)
	}
}

// TestHedgeOfAFailure: a server that fails is followed by the next at once, and
// that is no hedge.
func TestHedgeOfAFailure(t *testing.T) {
	w := newWorld(t, GroupConfig{Strategy: Hedge, Timeout: patient, Deadline: patient}, coding(dns.RcodeServerFailure), honest())
	if server, _ := w.ask(t); server != 1 {
		t.Errorf("server %d answered", server)
	}
	if s := w.Stats(); s.Hedges != 0 || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
}

// TestOneEarlyQueryInTen is the law of the budget, whatever comes.
func TestOneEarlyQueryInTen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &Group{strategy: Hedge}
		spent, asked := 0, 0
		for _, early := range rapid.SliceOf(rapid.Bool()).Draw(t, "early") {
			g.plan()
			asked++
			if early && g.spend() {
				spent++
			}
			if 10*spent > asked || g.hedges != uint64(spent) {
				t.Fatalf("%d early of %d, counted %d", spent, asked, g.hedges)
			}
		}
	})
	g := &Group{strategy: Hedge}
	spent := 0
	for range 10_000 {
		if g.plan(); g.spend() {
			spent++
		}
	}
	if spent != 1000 {
		t.Errorf("%d early queries of 10,000 that all want one, want 1,000", spent)
	}
	for range 1000 {
		g.plan()
	}
	for spent = 0; g.spend(); spent++ {
	}
	if spent != mostTenths/10 {
		t.Errorf("%d early queries at once after a calm, want %d", spent, mostTenths/10)
	}
}

// TestRace asks the first three at once and takes the first reply.
func TestRace(t *testing.T) {
	one, askedOne, releaseOne := held()
	two, askedTwo, releaseTwo := held()
	defer close(releaseOne)
	defer close(releaseTwo)
	three, askedThree, releaseThree := held()
	w := newWorld(t, GroupConfig{Strategy: Race, Timeout: patient, Deadline: patient}, one, two, three, honest())
	files := openFiles(t)
	answered := w.begin(t)
	<-askedOne
	<-askedTwo
	<-askedThree
	close(releaseThree)
	if server := <-answered; server != 2 {
		t.Errorf("server %d answered", server)
	}
	checkReleased(t, files)
	if s := w.Stats(); s.Servers[3].Sent != 0 || s.Servers[0].Failing || s.Servers[0].RTT != 0 || s.Down {
		t.Errorf("%+v", s)
	}
}

// TestRaceBeyondThree: when three have failed, the others get their turn.
func TestRaceBeyondThree(t *testing.T) {
	fails := func() *rogue { return coding(dns.RcodeRefused) }
	w := newWorld(t, GroupConfig{Strategy: Race, Timeout: patient, Deadline: patient}, fails(), fails(), coding(dns.RcodeServerFailure), fails(), honest())
	if server, _ := w.ask(t); server != 4 {
		t.Errorf("server %d answered", server)
	}
	w = newWorld(t, GroupConfig{Strategy: Race, Timeout: impatient, Deadline: patient}, silent(), silent(), silent(), honest())
	if server, _ := w.ask(t); server != 3 {
		t.Errorf("server %d answered", server)
	}
	if server, _ := w.ask(t); server != 3 || w.sent()[0] > maxDatagrams {
		t.Errorf("server %d answered, sent %v", server, w.sent())
	}
}

// TestFastest prefers the server that replies soonest, and asks each other one now
// and then.
func TestFastest(t *testing.T) {
	w := newWorld(t, GroupConfig{Strategy: Fastest}, honest(), honest(), honest())
	for i, took := range []time.Duration{30, 10, 20} {
		if p := w.plan(); p.order[0] != uint8(i) {
			t.Errorf("server %d first, want %d, which is not known yet", p.order[0], i)
		}
		w.members[i].rtt.add(took * time.Millisecond)
	}
	firsts := make([]int, 3)
	for range 320 {
		p := w.plan()
		firsts[p.order[0]]++
		if o := slices.Sorted(slices.Values(p.order[:3])); !slices.Equal(o, []uint8{0, 1, 2}) || p.width != 1 || p.hedge != 0 {
			t.Fatalf("plan %+v", p)
		}
	}
	if !slices.Equal(firsts, []int{10, 300, 10}) {
		t.Errorf("first were %v", firsts)
	}
	for range 50 {
		w.members[1].rtt.add(40 * time.Millisecond)
	}
	w.turns = 0
	if p := w.plan(); !slices.Equal(p.order[:3], []uint8{2, 0, 1}) {
		t.Errorf("order %v when the fastest has become the slowest", p.order[:3])
	}
	w.mu.Lock()
	w.lost(w.members[2], w.clock.now())
	w.mu.Unlock()
	if p := w.plan(); !slices.Equal(p.order[:3], []uint8{0, 1, 2}) || p.alive != 2 {
		t.Errorf("order %v when the fastest is dead", p.order[:3])
	}
}

// TestThreeSends of a question to one server at most (RFC 9520 §3.1), by whatever
// strategy, and all in the time that the question has.
func TestThreeSends(t *testing.T) {
	for _, strategy := range Strategies {
		t.Run(string(strategy), func(t *testing.T) {
			w := newWorld(t, GroupConfig{Strategy: strategy, Timeout: impatient / 4, Deadline: impatient}, silent(), silent(), silent(), silent())
			began := time.Now()
			if _, _, err := w.Exchange(within(t, patient), ask("www.example.test.")); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("error %v", err)
			}
			if took := time.Since(began); took > patient/2 {
				t.Errorf("took %v", took)
			}
			if sent := w.sent(); slices.Max(sent) != maxDatagrams {
				t.Errorf("sent %v", sent)
			}
		})
	}
}

// TestWhoAnswersByStrategy: whatever is done at once, a usable reply is found.
func TestWhoAnswersByStrategy(t *testing.T) {
	for _, strategy := range Strategies {
		for _, tc := range []struct {
			rogues []*rogue
			server int
			rcode  string
		}{
			{[]*rogue{silent(), coding(dns.RcodeServerFailure), honest()}, 2, "NOERROR"},
			{[]*rogue{coding(dns.RcodeRefused), silent(), coding(dns.RcodeNameError)}, 2, "NXDOMAIN"},
			{[]*rogue{coding(dns.RcodeRefused), coding(dns.RcodeServerFailure), silent()}, 1, "SERVFAIL"},
			{[]*rogue{cutting(), cutting(), coding(dns.RcodeFormatError)}, 2, "FORMERR"},
		} {
			w := newWorld(t, GroupConfig{Strategy: strategy, Timeout: impatient, Deadline: patient}, tc.rogues...)
			if server, rcode := w.ask(t); server != tc.server || rcode != tc.rcode {
				t.Errorf("%s: server %d answered %s, want %d and %s", strategy, server, rcode, tc.server, tc.rcode)
			}
		}
	}
}

// TestSideBySideIsGivenUp with its caller.
func TestSideBySideIsGivenUp(t *testing.T) {
	for _, strategy := range []Strategy{Hedge, Race} {
		slow, asked, release := held()
		w := newWorld(t, GroupConfig{Strategy: strategy, Timeout: patient, Deadline: patient}, slow, silent())
		files := openFiles(t)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() {
			_, _, err := w.Exchange(ctx, ask("www.example.test."))
			ended <- err
		}()
		<-asked
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", strategy, err)
		}
		if s := w.Stats(); s.Servers[0].Failing || s.Servers[1].Failing || s.Down {
			t.Errorf("%s: a server is blamed: %+v", strategy, s)
		}
		checkReleased(t, files)
		close(release)
	}
}

// TestFastestIsNotWhoRefuses: a server that tells nothing, and that at once, is not
// asked first for long.
func TestFastestIsNotWhoRefuses(t *testing.T) {
	w := newWorld(t, GroupConfig{Strategy: Fastest}, coding(dns.RcodeRefused), honest())
	for range exploreEvery - 1 {
		if server, _ := w.ask(t); server != 1 {
			t.Errorf("server %d answered", server)
		}
	}
	if sent := w.sent(); sent[0] > 2 {
		t.Errorf("sent %v", sent)
	}
}
