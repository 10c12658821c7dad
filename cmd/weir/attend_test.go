package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/audit"
	"weir/blocklist"
	"weir/cmd/internal/admin"
	"weir/cmd/internal/exceptions"
)

// handClock is a clock whose hands the test moves.
type handClock struct {
	mu   sync.Mutex
	wall time.Time
	boot time.Duration
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

func (c *handClock) Boot() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

func (c *handClock) BootID() string { return "this one" }

// pass lets time go by.
func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.boot = c.wall.Add(d), c.boot+d
}

// set sets the wall clock, as somebody might.
func (c *handClock) set(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.wall, err = time.Parse(time.RFC3339Nano, text); err != nil {
		panic(err)
	}
}

// attended is a whole server but for its admin socket, that answers over the network. What attend does by the tick, the
// test does by review.
type attended struct {
	*server
	t     *testing.T
	dir   string
	clock *handClock
}

// newAttended serves a configuration, of which it writes the beginning, at a time. files are further ones, by name.
func newAttended(t *testing.T, at, config string, files map[string]string) *attended {
	t.Helper()
	leaks(t)
	w := &attended{t: t, dir: t.TempDir(), clock: &handClock{boot: time.Hour}}
	w.clock.set(at)
	for name, text := range files {
		w.write(name, text)
	}
	w.write("config.toml", "version = 1\n[server]\nlisten = [\"127.0.0.1:0\"]\n[lists]\nwatch = false\n"+config)
	cfg, problems, err := Load(filepath.Join(w.dir, "config.toml"))
	if cfg == nil {
		t.Fatal(err, renderProblems(problems, "nothing was started"))
	}
	ctx, stop := context.WithCancel(context.Background())
	if w.server, err = openServer(ctx, cfg, slog.New(slog.DiscardHandler), w.clock); err != nil {
		t.Fatal(err)
	}
	w.path = cfg.File
	if err := w.resolver.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	logged, stopLog := context.WithCancel(context.Background())
	var parts, logs sync.WaitGroup
	run := func(group *sync.WaitGroup, part func(context.Context) error, ctx context.Context) {
		group.Go(func() {
			if err := part(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	run(&logs, w.log.Run, logged)
	run(&parts, w.resolver.Run, ctx)
	t.Cleanup(func() {
		stop()
		parts.Wait()
		stopLog()
		logs.Wait()
		if err := w.attendant.exceptions.Close(); err != nil {
			t.Error(err)
		}
		w.current().lists.Discard()
	})
	return w
}

func (w *attended) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// ask asks for the name's address from a client's and returns the rcode.
func (w *attended) ask(name, client string) string {
	w.t.Helper()
	conn := w.dial(client)
	defer conn.Close()
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion(name+".", dns.TypeA)); err != nil {
		w.t.Fatal(err)
	}
	m, err := conn.ReadMsg()
	if err != nil {
		w.t.Fatal(err)
	}
	return dns.RcodeToString[m.Rcode]
}

func (w *attended) dial(client string) *dns.Conn {
	w.t.Helper()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(client)}}
	conn, err := d.Dial("udp", w.resolver.Addrs()[0].String())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		w.t.Fatal(err)
	}
	return &dns.Conn{Conn: conn}
}

// expect fails unless the name is blocked, or is not, for a client.
func (w *attended) expect(when, name, client string, blocked bool) {
	w.t.Helper()
	want := "NOERROR"
	if blocked {
		want = "NXDOMAIN"
	}
	if got := w.ask(name, client); got != want {
		w.t.Errorf("%s: %s for %s is %s, want %s", when, name, client, got, want)
	}
}

// changes returns the recorded changes that hold text.
func (w *attended) changes(text string) (out []string) {
	w.t.Helper()
	w.flush()
	err := w.log.Reader().Search(w.t.Context(), audit.Query{Oldest: true, Kind: audit.KindChange}, func(r *audit.Record) error {
		if strings.Contains(r.Text, text) {
			out = append(out, r.Text)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

const attendedZone = `
[[zone]]
name = "lab.example"
records = ["www A 192.0.2.1", "games A 192.0.2.2", "late A 192.0.2.3"]
[upstream.default]
servers = ["udp://127.0.0.1:9"]
`

// A schedule changes the policy at its moment, whatever is done to the clock, and nothing else does.
func TestScheduleChangesPolicy(t *testing.T) {
	w := newAttended(t, "2026-03-02T08:59:59.999999999Z", attendedZone+`
[schedule.office]
timezone = "UTC"
when = ["mon-fri 09:00-17:00"]
[schedule.summer-night]
timezone = "Europe/Berlin"
when = ["sun 02:30-04:00"]
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "block"
domains = ["games.lab.example"]
schedule = "office"
[[policy.rule]]
action = "block"
domains = ["late.lab.example"]
schedule = "summer-night"
`, nil)
	expect := func(when string, games, late bool) {
		t.Helper()
		w.expect(when, "games.lab.example", "127.0.0.1", games)
		w.expect(when, "late.lab.example", "127.0.0.1", late)
	}
	still := func(when string) {
		t.Helper()
		before := w.resolver.State()
		w.review(false)
		if w.resolver.State() != before {
			t.Errorf("%s: the policy was replaced for nothing", when)
		}
	}
	expect("before nine", false, false)
	still("before nine")
	if next := w.resolver.State().Policy.Until(); !next.Equal(time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)) {
		t.Errorf("the next change is at %v", next)
	}
	w.clock.pass(time.Nanosecond)
	w.review(false)
	expect("at nine", true, false)
	still("at nine")
	w.clock.pass(8*time.Hour - time.Nanosecond)
	still("before five")
	expect("before five", true, false)
	w.clock.pass(time.Nanosecond)
	w.review(false)
	expect("at five", false, false)

	for _, step := range []struct {
		to          string
		games, late bool
	}{
		{"2026-03-02T16:30:00Z", true, false}, // set back
		{"2026-03-02T17:30:00Z", false, false},
		{"2026-03-02T08:30:00Z", false, false}, // back over two changes
		{"2026-03-02T09:30:00Z", true, false},
		{"2026-02-27T10:00:00Z", true, false}, // last Friday, at such an hour
		{"2026-02-28T10:00:00Z", false, false},
		{"2026-03-29T00:59:59Z", false, false}, // in Berlin the clock then skips 02:00 to 03:00
		{"2026-03-29T01:00:00Z", false, true},
		{"2026-03-29T02:00:00Z", false, false},
		{"2026-10-25T00:30:00Z", false, true}, // and here 02:00 to 03:00 comes twice
		{"2026-10-25T01:00:00Z", false, false},
		{"2026-10-25T01:30:00Z", false, true},
		{"2026-10-25T03:00:00Z", false, false},
		{"1970-01-01T00:00:00Z", false, false}, // a machine without a battery
		{"2027-03-01T12:00:00Z", true, false},
	} {
		w.clock.set(step.to)
		w.review(false)
		expect(step.to, step.games, step.late)
		still(step.to)
	}

	// A reload in which nothing differs goes on from there.
	if done, err := w.Reload(t.Context(), ""); err != nil || len(done.Changes) > 0 {
		t.Fatal(done, err)
	}
	w.clock.pass(5 * time.Hour)
	w.review(false)
	expect("at five, after a reload", false, false)
	w.clock.set("2027-03-01T12:00:00Z")
	w.review(false)
	expect("set back, after a reload", true, false)
}

// With a monotonic reading, a moment would compare by that, and a clock that is set back would never be seen.
func TestMomentIsOfTheWallClock(t *testing.T) {
	w := newAttended(t, "2026-03-02T09:00:00Z", attendedZone+"[[policy]]\nname = \"all\"\nclients = [\"any\"]\ndefault = \"allow\"\n", nil)
	w.server.clock = exceptions.SystemClock()
	w.current().moment = time.Now().Add(time.Hour).Round(0) // as if it was set back by an hour since
	w.review(false)
	if got := w.current().moment; got != got.Round(0) || got.After(time.Now()) {
		t.Errorf("a set back clock: compiled for %v", got)
	}
	b, err := build(t.Context(), w.current().cfg, site{logger: w.logger})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if b.moment != b.moment.Round(0) {
		t.Errorf("built for %v", b.moment)
	}
}

// An exception is over when its time is, by either clock, and stays over.
func TestExceptionRunsOut(t *testing.T) {
	w := newAttended(t, "2026-03-02T09:00:00Z", attendedZone+`
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "block"
domains = ["lab.example"]
`, nil)
	add := func(name string, seconds int64) uint64 {
		t.Helper()
		e, err := w.AddException(admin.ExceptionRequest{Name: name, Client: "127.0.0.2", Seconds: seconds, Reason: "test", By: "erika"})
		if err != nil {
			t.Fatal(err)
		}
		return e.ID
	}
	const name, whom = "www.lab.example", "127.0.0.2"
	w.expect("before", name, whom, true)
	first := add(name, 60)
	w.expect("with it", name, whom, false)
	w.expect("with it", name, "127.0.0.3", true)
	w.clock.pass(time.Minute - time.Nanosecond)
	w.review(false)
	w.expect("at its end", name, whom, false)
	if got := w.changes("ended"); len(got) > 0 {
		t.Errorf("recorded too early: %q", got)
	}
	w.clock.pass(time.Nanosecond)
	w.expect("after its end, before anybody looked", name, whom, true)
	w.review(false)
	w.expect("after its end", name, whom, true)
	w.review(false)
	if got := w.changes("ended"); len(got) != 1 || !strings.HasPrefix(got[0], fmt.Sprintf("exception %d ended: expired, ", first)) {
		t.Errorf("recorded %q, want its end once", got)
	}
	w.clock.set("2026-03-02T08:00:00Z")
	w.review(false)
	w.expect("set back before its end", name, whom, true)

	// The wall clock is set back: the boot clock knows.
	second := add(name, 60)
	w.clock.set("2026-03-02T06:00:00Z")
	w.review(false)
	w.expect("set back", name, whom, false)
	w.clock.pass(time.Minute)
	w.review(false)
	w.expect("a minute after", name, whom, true)
	// It is set forward: what it says counts.
	third := add(name, 3600)
	w.clock.set("2026-03-02T08:00:00Z")
	w.expect("set forward", name, whom, true)
	w.review(false)
	w.expect("set forward", name, whom, true)
	if got := w.changes("ended"); len(got) != 3 {
		t.Errorf("recorded %q, want the ends of %d, %d and %d", got, first, second, third)
	}
	// Longer, and over by a word.
	fourth := add(name, 60)
	if _, err := w.ExtendException(admin.ExceptionRequest{ID: fourth, Seconds: 60, Reason: "more", By: "otto"}); err != nil {
		t.Fatal(err)
	}
	w.clock.pass(90 * time.Second)
	w.review(false)
	w.expect("extended", name, whom, false)
	if _, err := w.RemoveException(admin.ExceptionRequest{ID: fourth, Reason: "done", By: "otto"}); err != nil {
		t.Fatal(err)
	}
	w.expect("removed", name, whom, true)
}

// A client's policy is that of the host which has its address now. No lease is for a loopback address, so that no
// socket here can be such a client: the policy in force is asked instead.
func TestHostsMove(t *testing.T) {
	lease := func(until time.Time, addr, name string) string {
		return fmt.Sprintf("%d 02:00:5e:10:00:01 %s %s *\n", until.Unix(), addr, name)
	}
	begin := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	leases := lease(begin.Add(time.Hour), "10.0.0.20", "tablet1")
	w := newAttended(t, "2026-03-02T09:00:00Z", attendedZone+`
[clients]
leases = ["dnsmasq.leases"]
[group.tablets]
clients = ["host:tablet*"]
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
[[policy]]
name = "children"
clients = ["tablets", "10.0.0.23/32"]
default = "allow"
[[policy.rule]]
action = "block"
domains = ["games.lab.example"]
[[policy]]
name = "fixed"
clients = ["10.0.0.22/32"]
default = "allow"
`, map[string]string{"dnsmasq.leases": leases})
	see := func(when, text string, blocked ...string) {
		t.Helper()
		w.write("dnsmasq.leases", text)
		w.watcher().Load()
		w.review(true)
		for _, client := range []string{"10.0.0.20", "10.0.0.21", "10.0.0.22", "10.0.0.23"} {
			l, err := parseQuestion(admin.Question{Name: "games.lab.example", Type: "A", Client: client})
			if err != nil {
				t.Fatal(err)
			}
			d := w.resolver.State().Policy.Decide(l)
			if got := d.Verdict == blocklist.Block; got != slices.Contains(blocked, client) {
				t.Errorf("%s: blocked for %s is %v", when, client, got)
			}
		}
	}
	see("at first", leases, "10.0.0.20", "10.0.0.23")
	see("elsewhere", lease(begin.Add(time.Hour), "10.0.0.21", "tablet1"), "10.0.0.21", "10.0.0.23")
	see("another", lease(begin.Add(time.Hour), "10.0.0.21", "laptop"), "10.0.0.23")
	// An address that the configuration names stands above a host's name.
	see("at a fixed address", lease(begin.Add(time.Hour), "10.0.0.22", "tablet1"), "10.0.0.23")
	see("back", leases, "10.0.0.20", "10.0.0.23")
	w.clock.pass(time.Hour)
	see("ended", leases, "10.0.0.23")
	see("renewed", lease(begin.Add(2*time.Hour), "10.0.0.20", "tablet1"), "10.0.0.20", "10.0.0.23")
	if n := w.Status().Hosts; n != 1 {
		t.Errorf("%d hosts are known, want 1", n)
	}
}

// Policies change under queries: none is lost, and those on their way are judged by what is in force when they land.
func TestPolicyChangesUnderQueries(t *testing.T) {
	const flights = 40
	held, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	come, release := make(chan struct{}, flights), make(chan struct{})
	land := sync.OnceFunc(func() { close(release) })
	var answering sync.WaitGroup
	answering.Go(func() {
		buf := make([]byte, 512)
		known := map[string]bool{} // what has come: it is sent again after a while
		for {
			n, from, err := held.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			if name := q.Question[0].Name; !known[name] {
				known[name] = true
				come <- struct{}{}
			}
			answering.Go(func() {
				<-release
				m := new(dns.Msg).SetReply(q)
				rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A 192.0.2.9")
				m.Answer = []dns.RR{rr}
				if b, err := m.Pack(); err == nil {
					_, _ = held.WriteTo(b, from)
				}
			})
		}
	})
	t.Cleanup(func() {
		land()
		held.Close()
		answering.Wait()
	})
	w := newAttended(t, "2026-03-02T08:59:00Z", `
[[zone]]
name = "lab.example"
records = ["www A 192.0.2.1"]
[limits]
late = "0s"
[resolver]
deadline = "60s"
[upstream.default]
servers = ["udp://`+held.LocalAddr().String()+`"]
timeout = "30s"
[schedule.office]
timezone = "UTC"
when = ["mon 09:00-17:00"]
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "block"
domains = ["games.example"]
schedule = "office"
`, nil)
	conn := w.dial("127.0.0.1")
	defer conn.Close()
	for i := range flights {
		name := fmt.Sprintf("n%d.games.example.", i)
		if i%2 == 1 {
			name = fmt.Sprintf("n%d.shop.example.", i)
		}
		q := new(dns.Msg).SetQuestion(name, dns.TypeA)
		q.Id = uint16(i)
		if err := conn.WriteMsg(q); err != nil {
			t.Fatal(err)
		}
	}
	for range flights {
		receive(t, come, "a question upstream")
	}

	// underChanges asks many times, one after the other, while the policy is put in force anew all the time.
	underChanges := func() {
		t.Helper()
		here := w.dial("127.0.0.2")
		defer here.Close()
		done := make(chan struct{})
		var asking sync.WaitGroup
		asking.Go(func() {
			defer close(done)
			for i := range 300 {
				q := new(dns.Msg).SetQuestion("www.lab.example.", dns.TypeA)
				if err := here.WriteMsg(q); err != nil {
					t.Error(err)
					return
				}
				if m, err := here.ReadMsg(); err != nil || m.Id != q.Id || len(m.Answer) != 1 {
					t.Errorf("query %d while policies change: %v, %v", i, m, err)
					return
				}
			}
		})
		for changed := 0; ; changed++ {
			select {
			case <-done:
				asking.Wait()
				if changed == 0 {
					t.Error("the policy did not change meanwhile")
				}
				return
			default:
				w.review(true)
				runtime.Gosched() // who has one core asks in between
			}
		}
	}
	underChanges()
	w.clock.pass(time.Minute) // now the office is open
	w.review(false)
	underChanges()
	land()
	got := map[uint16]bool{}
	for range flights {
		m, err := conn.ReadMsg()
		if err != nil {
			t.Fatalf("of %d queries %d were answered: %v", flights, len(got), err)
		}
		want := dns.RcodeNameError
		if m.Id%2 == 1 {
			want = dns.RcodeSuccess
		}
		if got[m.Id] || m.Rcode != want {
			t.Errorf("%s: %s, again %v", m.Question[0].Name, dns.RcodeToString[m.Rcode], got[m.Id])
		}
		got[m.Id] = true
	}
}
