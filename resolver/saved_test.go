package resolver

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/blocklist"
	"weir/resolver/cache"
)

// restarted returns a world like w, which is told to start so much later with the
// cache that w leaves.
func (w *world) restarted(later time.Duration, change func(*setup)) (next *world, n int, err error) {
	w.t.Helper()
	path := filepath.Join(w.dir, "sub", "cache")
	if _, err := w.SaveCache(path); err != nil {
		w.t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		w.t.Errorf("%v, %v: want a file for its owner alone", info, err)
	}
	set := w.set
	if change != nil {
		change(&set)
	}
	next = newWorld(w.t, set)
	next.clock.base = w.clock.now().Add(later)
	next.Resolver.base = next.clock.base
	n, err = next.LoadCache(path)
	if _, serr := os.Stat(path); (err == nil) != os.IsNotExist(serr) {
		w.t.Errorf("after loading (%v): %v", err, serr)
	}
	return next, n, err
}

func TestCacheOverARestart(t *testing.T) {
	s := newFickle(t, func(q, m *dns.Msg) bool {
		name := q.Question[0].Name
		if name == "none.example." {
			return says("NXDOMAIN", "/", "example. 90 SOA ns.example. host.example. 1 2 3 4 90")(q, m)
		}
		return says(name+" 100 CNAME to."+name, "to."+name+" 80 A 192.0.2.1")(q, m)
	})
	w := newWorld(t, setup{upstream: s.server, config: eager, sinkhole: SinkholeConfig{TTL: 60}})
	for _, q := range []string{"none.example. A", "a.example. A", "b.example. A"} {
		w.ask(q)
	}
	w.ask("a.example. A", dnssec)
	s.turn(says("SERVFAIL"))
	w.ask("lame.example. A")
	w.clock.advance(10 * time.Second)
	next, n, err := w.restarted(20*time.Second, func(set *setup) {
		set.policies = []blocklist.PolicyConfig{{Name: "p", Any: true, Rules: []blocklist.RuleConfig{
			{Action: blocklist.ActionBlock, Domains: []string{"to.b.example"}},
		}}}
	})
	if n != 4 || err != nil {
		t.Fatalf("%d answers, %v, want 4", n, err)
	}
	before := s.times()
	next.expect("none.example. A", "NXDOMAIN / example. 60 SOA 90;")
	next.expect("a.example. A", "NOERROR a.example. 70 CNAME to.a.example.; to.a.example. 50 A 192.0.2.1;")
	next.expect("b.example. A", `NXDOMAIN ede 15 "p: rule 1" / b.example. 60 SOA 60;`) // by its alias
	if n := s.times() - before; n != 0 {
		t.Errorf("asked %d times, want none", n)
	}
	next.clock.advance(49 * time.Second)
	next.expect("a.example. A", "NOERROR a.example. 21 CNAME to.a.example.; to.a.example. 1 A 192.0.2.1;")
	next.landed() // popular and about to end: asked for anew, which failed
	if n := s.times() - before; n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	next.clock.advance(time.Second)
	next.expect("a.example. A", `NOERROR ede 3 "" a.example. 30 CNAME to.a.example.; to.a.example. 30 A 192.0.2.1;`)
	for _, e := range next.events() {
		if e.Upstream != "udp://"+s.addr {
			t.Errorf("%s: of upstream %q", e.Name, e.Upstream)
		}
	}
}

// TestWhatIsNotTakenFromAFile: what has expired, and what another upstream knows.
func TestWhatIsNotTakenFromAFile(t *testing.T) {
	s := newServer(t, map[string]handler{"*": addressed})
	for _, c := range []struct {
		name   string
		config func(*Config)
		later  time.Duration
		change func(*setup)
		want   int
	}{
		{"at once", nil, 0, nil, 2},
		{"just in time", nil, 59 * time.Second, nil, 2},
		{"expired", nil, time.Minute, nil, 0},
		{"stale", patient, 23 * time.Hour, nil, 2},
		{"too old", patient, 25 * time.Hour, nil, 0},
		{"the clock was set back", nil, -time.Hour, nil, 2},
		{"another upstream", nil, 0, func(set *setup) { set.forward = map[string]*server{"www.example.": s} }, 1},
		{"a lower max_ttl", nil, 10 * time.Second, func(set *setup) { set.config = func(c *Config) { c.TTL.Max = 9 } }, 0},
	} {
		w := newWorld(t, setup{upstream: s, config: c.config})
		w.ask(www)
		w.ask("other.example. A")
		next, n, err := w.restarted(c.later, c.change)
		if n != c.want || err != nil || next.Stats().Cache.Entries != c.want {
			t.Errorf("%s: %d answers, %v, want %d", c.name, n, err, c.want)
		}
		if c.later < 0 {
			next.expect(www, wwwA) // has not grown younger, nor older
		}
	}
}

func TestDamagedCacheIsLeftAlone(t *testing.T) {
	w := newWorld(t, setup{})
	path := filepath.Join(w.dir, "cache")
	if n, err := w.LoadCache(path); n != 0 || err != nil {
		t.Errorf("no file: %d, %v", n, err)
	}
	good := cache.Saved{Group: "default", Message: query(t, www, func(m *dns.Msg) { m.Response = true; m.Id = 0; m.RecursionDesired = false })}
	record := func(change func(*cache.Saved)) []byte {
		now := w.clock.now().UnixNano()
		bad := good
		bad.Stored, bad.Expires = now-1e9, now+60e9
		bad.Message = append([]byte(nil), good.Message...)
		change(&bad)
		ok := good
		ok.Stored, ok.Expires = now, now+60e9
		return cache.Encode(now, []cache.Saved{ok, bad})
	}
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"other file", "not a saved cache", []byte("version = 1\n[server]\nlisten = []\n")},
		{"empty", "not a saved cache", nil},
		{"too large", "larger than the cache", make([]byte, 8<<20+1)},
		{"a bit", "damaged: checksum", func() []byte { b := record(func(*cache.Saved) {}); b[40] ^= 1; return b }()},
		{"upper case", "answer 2 of 2: a name that is not in lower case", record(func(s *cache.Saved) { s.Message[13] = 'W' })},
		{"truncated", "answer 2 of 2: an answer that is never kept", record(func(s *cache.Saved) { s.Message[2] |= 2 })},
		{"SERVFAIL", "answer 2 of 2: an answer that is never kept", record(func(s *cache.Saved) { s.Message[3] = 2 })},
		{"a query", "answer 2 of 2: no answer", record(func(s *cache.Saved) { s.Message[2] = 0 })},
		{"another class", "answer 2 of 2: no answer", record(func(s *cache.Saved) { s.Message[len(s.Message)-1] = 3 })},
		{"records that are not there", "answer 2 of 2: record 0", record(func(s *cache.Saved) { s.Message[7] = 1 })},
	} {
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		n, err := w.LoadCache(path)
		if n != 0 || err == nil || !strings.Contains(err.Error(), c.want) || w.Stats().Cache.Entries != 0 {
			t.Errorf("%s: %d answers, %v, want %q", c.name, n, err, c.want)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := os.WriteFile(path, record(func(*cache.Saved) {}), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := w.LoadCache(path); n != 2 || err != nil {
		t.Errorf("good: %d, %v", n, err)
	}
}

// FuzzRevive: whatever a file holds, what is taken from it can be given to a client.
func FuzzRevive(f *testing.F) {
	w := newWorld(f, setup{config: patient})
	stamp := w.clock.base.UnixNano()
	for _, h := range []handler{absent, addressed, says("www.example. 60 CNAME a.example.", "a.example. 60 A 192.0.2.1")} {
		m := new(dns.Msg)
		q := unpack(f, query(f, www))
		h(q, m.SetReply(q))
		m.Id, m.RecursionDesired, m.Compress = 0, false, true
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		all := []cache.Saved{{Stored: stamp - 1e9, Expires: stamp + 60e9, Group: "default", Message: b}}
		body := cache.Encode(stamp, all)
		f.Add(body[:len(body)-4])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w.t = t
		sum := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
		all, err := w.revive(binary.BigEndian.AppendUint32(append([]byte(nil), body...), sum))
		if err != nil {
			return
		}
		for _, e := range all {
			if old := e.Staled(30); len(old.Reply.Tail) != len(e.Reply.Tail) {
				t.Fatal("stale form differs")
			}
			q := new(dns.Msg)
			q.Question = []dns.Question{{Name: presentation(e.Name()), Qtype: e.Type(), Qclass: dns.ClassINET}}
			msg, err := q.Pack()
			if err != nil {
				t.Fatalf("key %q: %v", e.Key, err)
			}
			w.cache.Put(e)
			if out := w.exchange("", msg); unpack(t, out).Question[0].Qtype != e.Type() {
				t.Fatalf("reply % x", out)
			}
		}
	})
}
