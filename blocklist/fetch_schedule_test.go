package blocklist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestNextCheck(t *testing.T) {
	const minute, hour, day = time.Minute, time.Hour, 24 * time.Hour
	for _, c := range []struct {
		every, retry time.Duration
		failures     int
		r            float64
		want         time.Duration
	}{
		{day, 0, 0, 0.5, day},
		{day, 0, 0, 0, day * 9 / 10},
		{10 * hour, 0, 0, 1, 11 * hour},
		{day, 0, 1, 0.5, minute},
		{day, 0, 1, 0, 54 * time.Second},
		{day, 0, 2, 0.5, 2 * minute},
		{day, 0, 11, 0.5, 1024 * minute},
		{day, 0, 12, 0.5, day},
		{day, 0, 1 << 30, 0.5, day},
		{5 * minute, 0, 4, 0.5, 5 * minute},
		{10 * minute, 5 * minute, 1, 0.5, 5 * minute},
		{10 * minute, 5 * minute, 9, 0.5, 5 * minute},
		{10 * minute, hour, 1, 0.5, 10 * minute},
		{10 * minute, 5 * minute, 0, 0.5, 10 * minute},
	} {
		if got := nextCheck(storeEpoch, c.every, c.retry, c.failures, c.r).Sub(storeEpoch); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestRunAsksAtRefresh(t *testing.T) {
	inBubble(t, func(w *runWorld) {
		w.set("a.test/one", "b.test/two", "b.test/two")
		w.run()
		w.pass(72 * time.Hour)
		for _, list := range []string{"one", "two"} {
			times := w.times(list)
			if times[0] > startSpread || len(times) < 65 || len(times) > 80 {
				t.Errorf("%s: %d times in 72 h, first after %v", list, len(times), times[0])
			}
			different := false
			for i := range times[1:] {
				gap := times[i+1] - times[i]
				if gap < 54*time.Minute || gap > 66*time.Minute {
					t.Errorf("%s: %v between two", list, gap)
				}
				different = different || (gap-time.Hour).Abs() > time.Minute
			}
			if !different {
				t.Errorf("%s: always after an hour", list)
			}
		}
		w.stop()
		if !slices.Equal(w.changed, []string{"one", "two"}) && !slices.Equal(w.changed, []string{"two", "one"}) {
			t.Errorf("changed are %q", w.changed)
		}
	})
}

func TestRunBacksOff(t *testing.T) {
	inBubble(t, func(w *runWorld) {
		var log strings.Builder
		w.Logger = slog.New(slog.NewTextHandler(&log, nil))
		w.set("a.test/one")
		w.script(func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(503) })
		w.run()
		w.pass(5 * time.Hour)
		times := w.times("one")
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			want *= time.Minute
			if gap := times[i+1] - times[i]; gap < want*9/10 || gap > want*11/10 {
				t.Errorf("after failure %d it was asked again after %v, want %v", i+1, gap, want)
			}
		}
		w.script(text("a.example\n"))
		w.pass(70 * time.Minute)
		w.stop()
		if len(w.changed) != 1 || w.Store.Kept("one").Failures != 0 {
			t.Errorf("%q, %+v", w.changed, w.Store.Kept("one"))
		}
		for _, want := range []string{"level=WARN", "list=one", "503", "level=INFO", "octets=10", "next="} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %s:\n%s", want, log.String())
			}
		}
	})
}

// A few fetches run at a time, one for each host.
func TestRunIsGentle(t *testing.T) {
	inBubble(t, func(w *runWorld) {
		var lists []string
		for host := range 6 {
			for n := range 3 {
				lists = append(lists, fmt.Sprintf("host%d.test:%d/list-%d-%d", host, 80+n, host, n))
			}
		}
		var mu sync.Mutex
		hosts := map[string]int{}
		most := 0
		w.script(func(out http.ResponseWriter, req *http.Request) {
			host, _, _ := strings.Cut(req.Host, ":")
			count := func(n int) {
				mu.Lock()
				defer mu.Unlock()
				hosts[host] += n
				total := 0
				for _, n := range hosts {
					total += n
				}
				most = max(most, total)
				if hosts[host] > 1 || total > 4 {
					t.Errorf("%d fetches, %d of them from %s", total, hosts[host], host)
				}
			}
			count(1)
			defer count(-1)
			<-time.NewTimer(10 * time.Second).C
			io.WriteString(out, "a.example\n")
		})
		w.set(lists...)
		w.run()
		w.pass(18*10*time.Second/4 + 30*time.Second)
		for _, list := range lists {
			w.count(list[strings.Index(list, "/")+1:], 1)
		}
		if most != 4 {
			t.Errorf("%d fetches at a time", most)
		}
	})
}

func TestRunAfterRestart(t *testing.T) {
	inBubble(t, func(w *runWorld) {
		w.set("a.test/one")
		w.run()
		w.pass(30 * time.Minute)
		w.count("one", 1)
		w.again()
		w.pass(20 * time.Minute)
		w.count("one", 1) // a restart is no reason to ask
		w.pass(20 * time.Minute)
		w.count("one", 2)
		w.stop()
		w.pass(10 * time.Hour)
		w.again()
		began := time.Since(w.begin)
		w.pass(startSpread)
		w.count("one", 3) // it was due long ago
		if w.times("one")[2] == began {
			t.Error("all that are due long ago are asked for at one moment")
		}

		// Other credentials, other proofs: what is there has not been asked for so.
		w.mu.Lock()
		w.sources[0].From = "http://me:pw@a.test/one"
		w.mu.Unlock()
		w.again()
		w.pass(startSpread)
		w.count("one", 4)

		// A shorter refresh counts from now on, and so does a clock that went back.
		w.mu.Lock()
		w.sources[0].Refresh = 5 * time.Minute
		w.mu.Unlock()
		w.again()
		w.pass(6 * time.Minute)
		w.count("one", 5)
		w.stop()
		must(t, w.Store.same("one", time.Now(), w.Store.state("one").origin, time.Now().Add(1000*time.Hour)))
		w.again()
		w.pass(6 * time.Minute)
		w.count("one", 6)
	})
}

func TestRefreshAndWake(t *testing.T) {
	inBubble(t, func(w *runWorld) {
		w.set("a.test/one", "b.test/two")
		w.Refresh("one") // before there is anything to see
		w.run()
		synctest.Wait()
		w.count("one", 1)
		w.pass(time.Minute)
		w.Refresh("two")
		w.Refresh("two")
		w.Refresh("no such list")
		synctest.Wait()
		w.count("one", 1)
		w.count("two", 2)
		w.Refresh("")
		synctest.Wait()
		w.count("one", 2)
		w.count("two", 3)

		// While it is being fetched, once more is meant.
		w.script(func(out http.ResponseWriter, _ *http.Request) {
			<-time.NewTimer(10 * time.Second).C
			io.WriteString(out, "b.example\n")
		})
		w.Refresh("one")
		synctest.Wait()
		w.count("one", 3)
		w.Refresh("one")
		w.pass(9 * time.Second)
		w.count("one", 3)
		w.pass(time.Second)
		w.count("one", 4)
		w.pass(time.Minute)
		w.count("one", 4)

		w.script(text("c.example\n"))
		w.set("a.test/one", "c.test/three")
		w.Wake()
		w.pass(startSpread)
		w.count("three", 1)
		w.pass(3 * time.Hour)
		w.count("two", 3)
		if got := len(w.times("three")); got < 3 {
			t.Errorf("three was asked for %d times", got)
		}

		// The source of a list changes while it is being fetched: the new one is asked all the same.
		w.script(func(http.ResponseWriter, *http.Request) { <-time.NewTimer(10 * time.Second).C })
		w.set("a.test/one", "c.test/three", "d.test/four")
		w.Wake()
		w.pass(startSpread)
		w.count("four", 1)
		w.set("e.test/four")
		w.Wake()
		w.pass(12 * time.Second)
		w.count("four", 2)
	})
}

// A server that sends an octet a second ends at the timeout, one that sends nothing more at half of it, and the end of
// the program at once.
func TestSlowServers(t *testing.T) {
	drip := func(pause time.Duration) http.HandlerFunc {
		return func(out http.ResponseWriter, req *http.Request) {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for {
				if _, err := io.WriteString(out, "#"); err != nil || http.NewResponseController(out).Flush() != nil {
					return
				}
				select {
				case <-tick.C:
				case <-req.Context().Done():
					return
				}
			}
		}
	}
	for _, c := range []struct {
		what  string
		serve http.HandlerFunc
		after time.Duration
		want  string
	}{
		{"drip", drip(1100 * time.Millisecond), 30 * time.Second, "did not end within its timeout of 30s: 28 octets came"},
		{"stall", drip(time.Hour), 15 * time.Second, "stalled: 1 octets came, and nothing more for 15s, half of its timeout"},
		{"silence", func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }, 30 * time.Second, "within its timeout of 30s: there was no answer"},
	} {
		t.Run(c.what, func(t *testing.T) {
			inBubble(t, func(w *runWorld) {
				w.script(c.serve)
				begin := time.Now()
				src := &SourceConfig{From: "http://a.test/one"}
				_, err := w.Fetch(context.Background(), src)
				refuses(t, err, c.want)
				if took := time.Since(begin); took != c.after {
					t.Errorf("took %v, want %v", took, c.after)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				begin = time.Now()
				if _, err := w.Fetch(ctx, src); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 5*time.Second {
					t.Errorf("%v after %v", err, time.Since(begin))
				}
				if k := w.Store.Kept(src.From); k.Failures != 1 {
					t.Errorf("the end of the program counts as failure: %+v", k)
				}
			})
		})
	}
}

// zoneServer answers for one zone on the bubble's network.
func (w *runWorld) zoneServer(soa string) (stop func()) {
	rr, err := dns.NewRR(soa)
	must(w.t, err)
	server := &dns.Server{Listener: w.net, Handler: dns.HandlerFunc(func(out dns.ResponseWriter, q *dns.Msg) {
		w.mu.Lock()
		w.asked["zone"] = append(w.asked["zone"], time.Since(w.begin))
		w.mu.Unlock()
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{rr, rr}
		if q.Question[0].Qtype == dns.TypeIXFR {
			m.Answer = m.Answer[:1]
		}
		_ = out.WriteMsg(m)
	})}
	var served sync.WaitGroup
	served.Go(func() { _ = server.ActivateAndServe() })
	return func() {
		_ = server.Shutdown()
		served.Wait()
	}
}

func TestNotify(t *testing.T) {
	inBubble(t, func(w *runWorld) {
		w.net = newPipes()
		w.dial = w.net.dial
		stop := w.zoneServer("rpz.test. 60 IN SOA ns.rpz.test. host.rpz.test. 1 7200 600 86400 60")
		defer stop()
		primary, other := netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.54")
		if w.Notify("rpz.test.", primary) {
			t.Error("a zone that nobody asked for")
		}
		w.sources = []SourceConfig{{From: "axfr://192.0.2.53:5353/RPZ.test", Name: "zone"}}
		w.run()
		w.pass(time.Minute)
		w.count("zone", 1)
		for _, c := range []struct {
			zone string
			from netip.Addr
			want bool
		}{
			{"rpz.test.", primary, true},
			{"RPZ.TEST", netip.AddrFrom16(primary.As16()), true},
			{"rpz.test.", other, false},
			{"test.", primary, false},
			{"sub.rpz.test.", primary, false},
			{"", primary, false},
		} {
			if got := w.Notify(c.zone, c.from); got != c.want {
				t.Errorf("%s from %v: %v", c.zone, c.from, got)
			}
		}
		synctest.Wait()
		w.count("zone", 2) // at once
		for range 600 {
			if !w.Notify("rpz.test", primary) {
				t.Fatal("one of a flood is not ours")
			}
			w.pass(100 * time.Millisecond)
		}
		times := w.times("zone")
		if got := len(times) - 2; got < 11 || got > 13 {
			t.Errorf("a flood of a minute brought about %d transfers: %v", got, times)
		}
		for i := range times[1:] {
			if gap := times[i+1] - times[i]; gap < notifyPause && i > 0 {
				t.Errorf("%v between two", gap)
			}
		}
		w.pass(notifyPause) // the last of the flood counts too
		if last := w.times("zone"); last[len(last)-1] < times[len(times)-1] {
			t.Error("the last is lost")
		}
		// The SOA record says when to ask again.
		before := len(w.times("zone"))
		w.pass(100 * time.Minute)
		w.count("zone", before)
		w.pass(35 * time.Minute)
		w.count("zone", before+1)
		stop()
		w.net.Close()
		w.pass(6 * time.Hour)
		if k := w.Store.Kept("zone"); k.Failures < 15 || k.Failures > 40 { // each 10 minutes, and not doubling
			t.Errorf("%d failures", k.Failures)
		}
		w.mu.Lock()
		w.sources = nil
		w.mu.Unlock()
		w.Wake()
		synctest.Wait()
		if w.Notify("rpz.test.", primary) {
			t.Error("a zone that is no source any more")
		}
	})
}

// Run leaves nothing behind, on a network of this world.
func TestRunEnds(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	asked := make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, req *http.Request) {
		asked <- struct{}{}
		<-req.Context().Done()
	}))
	defer server.Close()
	f := &Fetcher{Store: openTestStore(t, t.TempDir()), Rand: func() float64 { return 0 }}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- f.Run(ctx, func() []SourceConfig { return []SourceConfig{{From: server.URL + "/list.txt"}} }, nil)
	}()
	<-asked
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if all := f.Store.All(); len(all) > 1 || len(all) == 1 && all[0].Failures > 0 {
		t.Errorf("%+v", all)
	}
	if files := filesBelow(t, f.Store.dir); len(files) > 0 {
		t.Errorf("left are %q", files)
	}
}
