package resolver

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/audit"
	"weir/blocklist"
)

// memory are questions that town answers without asking anyone.
var memory = []struct{ name, question, rcode string }{
	{"hit", "www.example. A", "NOERROR"},
	{"hit with alias", "fine.example. A", "NOERROR"},
	{"hit with addresses in turn", "many.example. A", "NOERROR"},
	{"sinkhole", "x.y.track.example. A", "NXDOMAIN"},
	{"blocked by alias", "cloak.example. A", "NXDOMAIN"},
	{"drop", "hole.example. A", "silence"},
	{"local", "www.lab.example. A", "NOERROR"},
	{"no such local", "x.lab.example. A", "NXDOMAIN"},
	{"special name", "x.onion. A", "NXDOMAIN"},
	{"hosts file", "nas. A", "NOERROR"},
	{"lease", "laptop.lan.example. A", "NOERROR"},
	{"its address", "20.0.0.10.in-addr.arpa. PTR", "NOERROR"},
	{"failure", "unknown.example. A", "SERVFAIL"},
	{"ANY", "www.example. ANY", "NOERROR"},
}

// roomy is a log that takes what a test records without waiting for the disk.
func roomy(c *audit.Config) { c.Interval = time.Hour }

// TestMemoryAnswersAllocateNothing in the query path, from the clock reading
// to the finished reply, the record of it included.
func TestMemoryAnswersAllocateNothing(t *testing.T) {
	for name, l := range map[string]Limits{
		"": {}, "with limits, ": generous, "beyond the rate, ": {Rate: 1, Cookies: true}, "too large, ": {Amplification: 1, Cookies: true},
	} {
		memoryAnswers(t, name, l)
	}
}

// generous are limits that nobody reaches.
var generous = Limits{Rate: 1e6, Burst: 1e6, Responses: 1e6, Amplification: 1e9, Cookies: true}

func memoryAnswers(t *testing.T, name string, l Limits) {
	set := town(t)
	set.audit, set.limits, set.config = roomy, l, func(c *Config) { c.Rotate = true }
	w := newWorld(t, set)
	w.peer = netip.MustParseAddrPort("10.9.8.7:4053") // an address that may be forged
	good := cookieIn(t, w.exchange("", query(t, "www.lab.example. A", withCookie(clientCookie))))
	cut := 0
	for _, c := range memory {
		for _, edit := range [][]func(*dns.Msg){nil, {edns}, {withCookie(clientCookie)}, {withCookie(good)}} {
			msg := query(t, c.question, edit...)
			w.exchange("", msg)
			s, box := newScratch(), make(mailbox)
			from := &origin{peer: w.peer, over: audit.UDP, back: box}
			var out []byte
			if n := testing.AllocsPerRun(1000, func() {
				w.arrived(from)
				out = w.answer(s, msg, from, nil)
			}); n != 0 {
				t.Errorf("%s%s: %v allocations, want 0", name, c.name, n)
			}
			want := c.rcode
			if l.Rate == 1 && !s.proven {
				want = "NOERROR tc"
				if s.cookie != nil {
					want = "BADCOOKIE"
				}
			}
			if l.Amplification == 1 && !s.proven && s.event.Bits&audit.AnswerTC != 0 {
				cut++
				want = "NOERROR tc"
			}
			if s.waiting || !strings.HasPrefix(show(t, out), want) {
				t.Errorf("%s%s was not answered from memory: %s", name, c.name, show(t, out))
			}
		}
	}
	if l.Amplification == 1 && cut < len(memory) {
		t.Errorf("%s%d answers were cut", name, cut)
	}
}

// TestSocketsAllocateNothing counts what the goroutines that read UDP allocate while
// one client asks 1,000 times: the read, the query path, the record and the write. What
// others do meanwhile is not theirs: each second the log's writer looks after its files,
// and a slow machine takes more seconds. The runtime allocates a little now and then for
// its own ends.
func TestSocketsAllocateNothing(t *testing.T) {
	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = 1 // each is on record, with where it was
	for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		set := town(t)
		set.audit = roomy
		set.config = func(c *Config) { c.Listen = []netip.AddrPort{netip.MustParseAddrPort(listen)} }
		w := newWorld(t, set)
		w.listen()
		c := w.dial("udp").(*net.UDPConn)
		buf := make([]byte, 1500)
		for _, m := range memory {
			if m.rcode == "silence" {
				continue
			}
			msg := query(t, m.question, edns)
			ask := func() {
				if _, err := c.Write(msg); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Read(buf); err != nil {
					t.Fatal(err)
				}
			}
			ask()
			before := allocations("weir/resolver.(*udpListener).")
			for range 1000 {
				ask()
			}
			if n := allocations("weir/resolver.(*udpListener).") - before; n > 10 {
				t.Errorf("%s, %s: %d allocations in 1,000 answers, want none of its own", listen, m.name, n)
			}
		}
	}
}

// allocations is how many objects were allocated so far below functions whose names
// begin like that.
func allocations(below string) (n int64) {
	runtime.GC() // brings the record up to date
	all := make([]runtime.MemProfileRecord, 10_000)
	size, ok := runtime.MemProfile(all, true)
	for !ok {
		all = make([]runtime.MemProfileRecord, 2*size)
		size, ok = runtime.MemProfile(all, true)
	}
	for _, r := range all[:size] {
		frames := runtime.CallersFrames(r.Stack())
		for more := true; more; {
			var f runtime.Frame
			if f, more = frames.Next(); strings.HasPrefix(f.Function, below) {
				n += r.AllocObjects
				break
			}
		}
	}
	return n
}

// crowd is town with half a million names in its lists, and the log running
// as it does in service.
func crowd(b *testing.B) *world {
	set := town(b)
	set.policies[0].Rules = append(set.policies[0].Rules, blocklist.RuleConfig{Action: blocklist.ActionBlock, Categories: []string{"crowd"}})
	set.lists["crowd"] = names(500_000)
	set.audit = func(c *audit.Config) { c.Interval = 200 * time.Millisecond }
	set.config = func(c *Config) { c.Now, c.CacheSize, c.Rotate = nil, 64<<20, true }
	return newWorld(b, set)
}

// names makes n names of two to four labels, the same ones each time.
func names(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var s strings.Builder
	for range n {
		for range r.IntN(3) {
			fmt.Fprintf(&s, "%c%x.", 'a'+rune(r.IntN(26)), r.Uint32N(1<<20))
		}
		fmt.Fprintf(&s, "%c%x.%s\n", 'a'+rune(r.IntN(26)), r.Uint32(), []string{"com", "net", "example", "org"}[r.IntN(4)])
	}
	return s.String()
}

func benchmarkAnswer(b *testing.B, question string) { benchmarkLimited(b, Limits{}, question) }

func benchmarkLimited(b *testing.B, l Limits, question string) {
	w := crowd(b)
	w.reload(func(s *setup) { s.limits = l })
	w.peer = netip.MustParseAddrPort("10.9.8.7:4053") // an address that may be forged
	msg := query(b, question, edns)
	w.exchange("", msg)
	s := newScratch()
	from := &origin{peer: w.peer, over: audit.UDP, back: make(mailbox)}
	lost := w.log.Stats().Lost
	b.ReportAllocs()
	for b.Loop() {
		w.arrived(from)
		if w.answer(s, msg, from, nil) == nil {
			b.Fatal("no answer from memory")
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(w.log.Stats().Lost-lost)/float64(b.N), "lost/op")
}

func BenchmarkAnswerHit(b *testing.B)      { benchmarkAnswer(b, "www.example. A") }
func BenchmarkAnswerTurned(b *testing.B)   { benchmarkAnswer(b, "many.example. A") }
func BenchmarkAnswerAlias(b *testing.B)    { benchmarkAnswer(b, "fine.example. A") }
func BenchmarkAnswerSinkhole(b *testing.B) { benchmarkAnswer(b, "x.y.track.example. A") }
func BenchmarkAnswerLimits(b *testing.B)   { benchmarkLimited(b, generous, "www.example. A") }
func BenchmarkAnswerExcess(b *testing.B) {
	benchmarkLimited(b, Limits{Amplification: 1e9}, "many.example. A")
}

func BenchmarkAnswerCut(b *testing.B) {
	benchmarkLimited(b, Limits{Amplification: 1}, "many.example. A")
}
func BenchmarkAnswerLocal(b *testing.B) { benchmarkAnswer(b, "www.lab.example. A") }

// misses returns a function that asks for a new name each time it is called, of
// an upstream on loopback that answers from a packed reply: what it costs is this
// process without the upstream.
func misses(t testing.TB) (next func()) {
	set := town(t)
	set.upstream.addr = echo(t)
	set.config = func(c *Config) { c.Now = nil }
	w := newWorld(t, set)
	s, box := newScratch(), make(mailbox, 1)
	from := &origin{peer: w.peer, over: audit.UDP, back: keeper(box)}
	msg := query(t, "n00000000.example. A", edns)
	i := 0
	return func() {
		i++
		for n, at := i, 20; n > 0; n, at = n/10, at-1 {
			msg[at] = byte('0' + n%10)
		}
		w.arrived(from)
		w.answer(s, msg, from, nil)
		if out := <-box; out[3]&0x0f != 0 {
			t.Fatalf("reply % x", out)
		}
	}
}

func TestMissAllocatesLittle(t *testing.T) {
	if n := testing.AllocsPerRun(500, misses(t)); n > 40 {
		t.Errorf("%v allocations for a miss, want at most 40", n)
	}
}

func BenchmarkMiss(b *testing.B) {
	next := misses(b)
	b.ReportAllocs()
	for b.Loop() {
		next()
	}
}

// keeper is a mailbox that does not copy: its one reader is done with a reply
// before the next is asked for.
type keeper chan []byte

func (k keeper) send(_ *origin, reply []byte) { k <- reply }

// echo answers each query with one address, without allocating.
func echo(b testing.TB) (addr string) {
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		in := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(in)
			if err != nil {
				return
			}
			end := 12 + nameLen(in) + 4
			_ = n
			in[2], in[3], in[7], in[11] = 0x81, 0x80, 1, 0
			out := append(in[:end], 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
			_, _ = pc.WriteToUDPAddrPort(out, from)
		}
	}()
	b.Cleanup(func() {
		pc.Close()
		<-done
	})
	return pc.LocalAddr().String()
}

// TestNamesAreMany guards the benchmarks' list against being thinned out.
func TestNamesAreMany(t *testing.T) {
	file := filepath.Join(t.TempDir(), "crowd.txt")
	if err := os.WriteFile(file, []byte(names(20_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	lists, err := blocklist.Load(t.Context(), blocklist.LoadConfig{Categories: []blocklist.CategoryConfig{{Name: "crowd", Sources: blocklist.Sources(file)}}})
	if err != nil {
		t.Fatal(err)
	}
	if n := lists.Matcher().Names(); n < 19_000 {
		t.Errorf("%d distinct names of 20,000", n)
	}
}
