package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// What an operator is promised of upstreams that fail, in real time. The tests beside
// the code hold how; these hold how long.

// A swayed is an upstream over UDP that answers each question when its script says.
type swayed struct {
	addr   string
	script atomic.Pointer[func(n int) time.Duration] // after how long the n-th is answered; below 0 is never
	asked  atomic.Int64                              // for how many names, not counting probes nor what is sent again
}

func silently(int) time.Duration { return -1 }
func atOnce(int) time.Duration   { return 0 }

func (s *swayed) turn(script func(n int) time.Duration) { s.script.Store(&script) }

func newSwayed(t *testing.T, script func(n int) time.Duration) *swayed {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &swayed{addr: pc.LocalAddr().String()}
	s.turn(script)
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 4096)
		known := map[string]int{} // the number of each name
		for {
			n, from, err := pc.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) != nil || len(q.Question) != 1 {
				continue
			}
			name := q.Question[0].Name
			number := known[name]
			if number == 0 && q.Question[0].Qtype != dns.TypeNS {
				number = int(s.asked.Add(1))
				known[name] = number
			}
			m := new(dns.Msg).SetReply(q)
			if q.Question[0].Qtype == dns.TypeA {
				m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(192, 0, 2, 1)}}
			}
			answer := mustPack(m)
			switch wait := (*s.script.Load())(number); {
			case wait == 0:
				_, _ = pc.WriteToUDPAddrPort(answer, from)
			case wait > 0:
				wg.Add(1)
				time.AfterFunc(wait, func() {
					defer wg.Done()
					_, _ = pc.WriteToUDPAddrPort(answer, from)
				})
			}
		}
	})
	t.Cleanup(func() {
		pc.Close()
		wg.Wait()
	})
	return s
}

// startBefore starts weir with these upstream servers and more of [upstream.default].
func startBefore(t *testing.T, more string, servers ...*swayed) *weir {
	t.Helper()
	var urls []string
	for _, s := range servers {
		urls = append(urls, fmt.Sprintf("%q", "udp://"+s.addr))
	}
	return startWeir(t, t.TempDir(), fmt.Sprintf(onLoopback+`[upstream.default]
servers = [%s]
%s
`+openToAll, strings.Join(urls, ", "), more))
}

// asks asks for a name and says what came and how long that took.
func (w *weir) asks(t *testing.T, name string) (*dns.Msg, time.Duration) {
	t.Helper()
	client := dns.Client{Timeout: patience}
	q := new(dns.Msg).SetQuestion(name, dns.TypeA)
	q.SetEdns0(1232, false)
	m, took, err := client.Exchange(q, w.addrs[0].String())
	if err != nil {
		t.Fatal(err)
	}
	return m, took
}

// upstreamState is what these tests read of an upstream in `weir status --json`.
type upstreamState struct {
	Down            bool
	Hedges, Refused uint64
	Servers         []struct{ Failing bool }
}

func (w *weir) group(t *testing.T) upstreamState {
	t.Helper()
	var st struct{ Upstreams []upstreamState }
	if err := json.Unmarshal([]byte(w.run(t, "status", "--json")), &st); err != nil {
		t.Fatal("status: ", err)
	}
	return st.Upstreams[0]
}

// percentiles returns the 50th, the 95th, the 99th and the greatest.
func percentiles(took []time.Duration) (p50, p95, p99, most time.Duration) {
	slices.Sort(took)
	n := len(took)
	return took[n/2], took[n*95/100], took[n*99/100], took[n-1]
}

// TestOneOfTwoUpstreamsSilent: the first question waits 1.5 s at most, and after
// three 99 of 100 take 50 ms at most. The silent server is asked for the first alone.
func TestOneOfTwoUpstreamsSilent(t *testing.T) {
	dead, alive := newSwayed(t, silently), newSwayed(t, atOnce)
	w := startBefore(t, "", dead, alive)
	_, first := w.asks(t, "first.example.")
	for i := range 2 {
		w.asks(t, fmt.Sprintf("next%d.example.", i))
	}
	took := make([]time.Duration, 1000)
	for i := range took {
		var m *dns.Msg
		if m, took[i] = w.asks(t, fmt.Sprintf("n%d.example.", i)); len(m.Answer) != 1 {
			t.Fatalf("question %d: %v", i, m)
		}
	}
	p50, _, p99, most := percentiles(took)
	t.Logf("first answer %v; then p50 %v, p99 %v, most %v; the silent server got %d questions", first, p50, p99, most, dead.asked.Load())
	if first > 1500*time.Millisecond || p99 > 50*time.Millisecond {
		t.Errorf("first answer %v, p99 %v; want 1.5 s and 50 ms at most", first, p99)
	}
	if n := dead.asked.Load(); n > 1 {
		t.Errorf("the silent server got %d questions, want the first alone", n)
	}
}

// TestAllUpstreamsSilent: SERVFAIL within 5 s; an expired answer by the client's timer
// of 1.8 s, and at once when the outage is known; all fresh within 1 s of the return.
func TestAllUpstreamsSilent(t *testing.T) {
	one, two := newSwayed(t, atOnce), newSwayed(t, atOnce)
	w := startBefore(t, "[cache]\nprefetch = false", one, two)
	for i := range 3 {
		if m, _ := w.asks(t, fmt.Sprintf("old%d.example.", i)); len(m.Answer) != 1 {
			t.Fatalf("%v", m)
		}
	}
	one.turn(silently)
	two.turn(silently)
	expired := time.After(1100 * time.Millisecond) // of the TTL of 1 s
	var servfail *dns.Msg
	var failing time.Duration
	var wg sync.WaitGroup
	wg.Go(func() { servfail, failing = w.asks(t, "new.example.") })
	<-expired
	stale, firstStale := w.asks(t, "old0.example.")
	wg.Wait()
	known, nextStale := w.asks(t, "old1.example.")
	t.Logf("SERVFAIL after %v; stale after %v, when it is known after %v", failing, firstStale, nextStale)
	if servfail.Rcode != dns.RcodeServerFailure || failing > 5*time.Second {
		t.Errorf("%s after %v, want SERVFAIL within 5 s", dns.RcodeToString[servfail.Rcode], failing)
	}
	const slack = 400 * time.Millisecond // for what else the machine does when the timer ends
	if len(stale.Answer) != 1 || stale.Answer[0].Header().Ttl != 30 || firstStale > 1800*time.Millisecond+slack {
		t.Errorf("after %v:\n%v\nwant the expired answer within 1.8 s", firstStale, stale)
	}
	if len(known.Answer) != 1 || nextStale > slack {
		t.Errorf("after %v:\n%v\nwant the expired answer at once", nextStale, known)
	}
	if g := w.group(t); !g.Down || !g.Servers[0].Failing || !g.Servers[1].Failing {
		t.Errorf("%+v", g)
	}

	back := time.Now()
	two.turn(atOnce)
	for {
		fresh, _ := w.asks(t, "old2.example.")
		failed, _ := w.asks(t, "new.example.")
		if len(fresh.Answer) == 1 && fresh.Answer[0].Header().Ttl <= 1 && len(failed.Answer) == 1 {
			break
		}
		if time.Since(back) > patience {
			t.Fatal("it never was back")
		}
	}
	took := time.Since(back)
	t.Logf("all fresh %v after the return", took)
	if took > time.Second+slack {
		t.Errorf("back %v after the return, want 1 s at most", took)
	}
}

// TestHedgeAsksOneInTenMore at most. How far that cuts the tail depends on what else
// the machine does, so it is printed.
func TestHedgeAsksOneInTenMore(t *testing.T) {
	const questions, atATime = 2000, 20
	tail := func(n int) time.Duration { // one in thirty takes 300 ms
		if n%30 == 0 {
			return 300 * time.Millisecond
		}
		return 5 * time.Millisecond
	}
	for _, strategy := range []string{"ordered", "hedge"} {
		one, two := newSwayed(t, tail), newSwayed(t, func(int) time.Duration { return 5 * time.Millisecond })
		w := startBefore(t, fmt.Sprintf("strategy = %q", strategy), one, two)
		took := make([]time.Duration, questions)
		var next atomic.Int64
		var wg sync.WaitGroup
		for range atATime {
			wg.Go(func() {
				for i := next.Add(1) - 1; i < questions; i = next.Add(1) - 1 {
					_, took[i] = w.asks(t, fmt.Sprintf("n%d.example.", i))
				}
			})
		}
		wg.Wait()
		p50, p95, p99, most := percentiles(took)
		extra, g := two.asked.Load(), w.group(t)
		t.Logf("%s: p50 %v, p95 %v, p99 %v, most %v; %d extra questions of %d, %d not asked for the budget", strategy, p50, p95, p99, most, extra, questions, g.Refused)
		if extra > questions/10 || strategy == "ordered" && extra > 0 {
			t.Errorf("%s: %d extra questions of %d", strategy, extra, questions)
		}
		if strategy == "hedge" && (g.Hedges == 0 || uint64(extra) != g.Hedges) {
			t.Errorf("%+v, %d extra", g, extra)
		}
	}
}
