package blocklist

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// primary is a server of one zone that a test scripts.
type primary struct {
	*fetchWorld
	addr string

	mu     sync.Mutex
	answer func(out dns.ResponseWriter, q *dns.Msg)
	types  []uint16 // asked for
}

var testKey = &TSIG{Name: "Transfer-Key", Algorithm: "hmac-sha256", Secret: "c2VjcmV0IG9mIDMyIG9jdGV0cywgb3IgdGhlcmVhYm91dHM="}

func newPrimary(t testing.TB) *primary {
	t.Helper()
	p := &primary{fetchWorld: &fetchWorld{t: t, now: storeEpoch}}
	p.Fetcher = &Fetcher{Store: openTestStore(t, t.TempDir()), Now: func() time.Time { return p.now }, Rand: func() float64 { return 0.5 }}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p.addr = listener.Addr().String()
	server := &dns.Server{
		Listener: listener, TsigSecret: map[string]string{"transfer-key.": testKey.Secret},
		Handler: dns.HandlerFunc(func(out dns.ResponseWriter, q *dns.Msg) {
			p.mu.Lock()
			answer := p.answer
			p.types = append(p.types, q.Question[0].Qtype)
			p.mu.Unlock()
			answer(out, q)
		}),
	}
	var served sync.WaitGroup
	served.Go(func() { _ = server.ActivateAndServe() })
	t.Cleanup(func() {
		_ = listener.Close()
		_ = server.Shutdown()
		served.Wait()
	})
	return p
}

func (p *primary) source() *SourceConfig {
	return &SourceConfig{From: "axfr://" + p.addr + "/rpz.test", Name: feed, Timeout: 10 * time.Second, MaxSize: 1 << 16}
}

func (p *primary) script(answer func(out dns.ResponseWriter, q *dns.Msg)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// took returns the types that were asked for since it was called last.
func (p *primary) took() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, t := range p.types {
		all = append(all, dns.TypeToString[t])
	}
	p.types = nil
	return strings.Join(all, " ")
}

// gets fails the test unless a fetch succeeds and asks and gives that.
func (p *primary) gets(src *SourceConfig, wantChanged bool, asked, want string) {
	p.t.Helper()
	p.took()
	changed, err := p.fetch(src)
	if err != nil || changed != wantChanged {
		p.t.Fatalf("changed %v, %v", changed, err)
	}
	if got := p.took(); got != asked {
		p.t.Errorf("asked for %s, want %s", got, asked)
	}
	c := p.Store.Kept(feed).Latest
	if got := textOf(p.t, p.Store, c); got != want {
		p.t.Fatalf("copy:\n%s\nwant:\n%s", got, want)
	}
	if c.Digest != sha256.Sum256([]byte(want)) || c.Bytes != int64(len(want)) || !c.Modified.IsZero() {
		p.t.Errorf("%+v", c)
	}
}

// answers makes a script that sends records, some in each message, as they are.
func answers(perMessage int, records ...string) func(dns.ResponseWriter, *dns.Msg) {
	all := rrs(records...)
	return func(out dns.ResponseWriter, q *dns.Msg) {
		parts := make(chan *dns.Envelope, len(all))
		for part := range slices.Chunk(all, perMessage) {
			parts <- &dns.Envelope{RR: part}
		}
		close(parts)
		_ = new(dns.Transfer).Out(out, q, parts)
	}
}

// rrs returns records as they come from the wire.
func rrs(lines ...string) []dns.RR {
	var all []dns.RR
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			panic(line + ": " + err.Error())
		}
		wire := make([]byte, 1<<10)
		n, err := dns.PackRR(rr, wire, 0, nil, false)
		if err == nil {
			rr, _, err = dns.UnpackRR(wire[:n], 0)
		}
		if err != nil {
			panic(line + ": " + err.Error())
		}
		all = append(all, rr)
	}
	return all
}

func soa(serial uint32) string {
	return fmt.Sprintf("rpz.test.\t60\tIN\tSOA\tns.rpz.test. host.rpz.test. %d 7200 600 86400 60", serial)
}

// compressed makes a script that sends records in messages whose names are compressed.
func compressed(records ...string) func(dns.ResponseWriter, *dns.Msg) {
	all := rrs(records...)
	return func(out dns.ResponseWriter, q *dns.Msg) {
		for part := range slices.Chunk(all, 100) {
			m := new(dns.Msg).SetReply(q)
			m.Answer, m.Compress = part, true
			_ = out.WriteMsg(m)
		}
	}
}

// byType answers AXFR and IXFR differently.
func byType(axfr, ixfr func(dns.ResponseWriter, *dns.Msg)) func(dns.ResponseWriter, *dns.Msg) {
	return func(out dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Qtype == dns.TypeIXFR {
			ixfr(out, q)
		} else {
			axfr(out, q)
		}
	}
}

func rcode(code int) func(dns.ResponseWriter, *dns.Msg) {
	return func(out dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetRcode(q, code)
		if signed := q.IsTsig(); signed != nil && out.TsigStatus() == nil {
			m.SetTsig(signed.Hdr.Name, signed.Algorithm, 300, time.Now().Unix())
		}
		_ = out.WriteMsg(m)
	}
}

const (
	recA  = "a.x.rpz.test.\t60\tIN\tCNAME\t."
	recAW = "*.a.x.rpz.test.\t60\tIN\tCNAME\t."
	recB  = "b.x.rpz.test.\t60\tIN\tCNAME\trpz-passthru."
	recC  = "c.x.rpz.test.\t60\tIN\tA\t192.0.2.1"
	recNS = "rpz.test.\t60\tIN\tNS\tns.rpz.test."
)

// lines is a copy of those lines.
func lines(all ...string) string { return strings.Join(all, "\n") + "\n" }

func TestTransfer(t *testing.T) {
	p := newPrimary(t)
	one := lines(soa(1), recAW, recA, recB, recNS)
	p.script(answers(2, soa(1), recNS, "A.X.RPZ.test. 60 IN CNAME .", recB, recAW, recB, soa(1)))
	p.gets(p.source(), true, "AXFR", one)
	if k := p.Store.Kept(feed); !k.Next.Equal(p.now.Add(2 * time.Hour)) {
		t.Errorf("asked again at %v, and its SOA record says after 2 h", k.Next)
	}
	// The reader of lists takes it.
	l, err := CheckFile(p.Store.Kept(feed).Latest.File, "", nil)
	if err != nil || l.Format != "rpz" || l.Entries != 2 || l.Unreadable != 0 {
		t.Errorf("%d entries, %d unreadable, %v", l.Entries, l.Unreadable, err)
	}
	// Nothing is new.
	p.script(answers(1, soa(1)))
	p.gets(p.source(), false, "IXFR", one)
	// Another server's copies are not ours.
	src := p.source()
	src.From += "."
	p.script(answers(1, soa(1), recB, recAW, recA, recNS, soa(1)))
	p.gets(src, false, "AXFR", one)

	// Increments: one that deletes and adds, one after the other, and none.
	p.gets(p.source(), false, "AXFR", one)
	two := lines(soa(2), recAW, recA, recC, recNS)
	for perMessage := range 8 {
		p.script(byType(answers(2, soa(1), recNS, recA, recB, recAW, soa(1)), answers(perMessage+1, soa(2), soa(1), recB, soa(2), recC, soa(2))))
		p.gets(p.source(), true, "IXFR", two)
		p.script(answers(9, soa(3), soa(2), soa(3), soa(3)))
		p.gets(p.source(), true, "IXFR", strings.Replace(two, soa(2), soa(3), 1))
		p.script(answers(perMessage+1, soa(7), soa(3), recC, soa(4), recB, soa(4), recB, recNS, soa(7), recC, recB, soa(7)))
		p.gets(p.source(), true, "IXFR", lines(soa(7), recAW, recA, recB, recC))
		// All of it instead (RFC 1995 §2).
		p.script(answers(perMessage+1, soa(8), recA, soa(8)))
		p.gets(p.source(), true, "IXFR", lines(soa(8), recA))
		p.script(answers(perMessage+1, soa(9), soa(9)))
		p.gets(p.source(), true, "IXFR", lines(soa(9)))
		must(t, os.RemoveAll(p.Store.dir))
		p.script(answers(1, soa(1), recNS, recA, recB, recAW, soa(1)))
		p.Store = openTestStore(t, t.TempDir())
		p.gets(p.source(), true, "AXFR", one)
	}
	// Serial numbers wrap around (RFC 1982).
	p.Store = openTestStore(t, t.TempDir())
	p.script(answers(9, soa(4294967295), recA, soa(4294967295)))
	p.gets(p.source(), true, "AXFR", lines(soa(4294967295), recA))
	p.script(answers(9, soa(3), soa(4294967295), recA, soa(3), soa(3)))
	p.gets(p.source(), true, "IXFR", lines(soa(3)))
}

// Where increments lead nowhere all of the zone is asked for.
func TestTransferTheOtherWay(t *testing.T) {
	all := answers(2, soa(2), recB, recA, soa(2))
	gone := func(out dns.ResponseWriter, _ *dns.Msg) { _ = out.Close() }
	for what, c := range map[string]struct {
		ixfr   func(dns.ResponseWriter, *dns.Msg)
		damage bool
	}{
		"REFUSED":            {rcode(dns.RcodeRefused), false},
		"NOTIMP":             {rcode(dns.RcodeNotImplemented), false},
		"FORMERR":            {rcode(dns.RcodeFormatError), false},
		"empty":              {rcode(dns.RcodeSuccess), false},
		"no answer":          {gone, false},
		"as over UDP":        {func(out dns.ResponseWriter, q *dns.Msg) { answers(1, soa(2))(out, q); gone(out, q) }, false},
		"deletes what isn't": {answers(9, soa(2), soa(1), recC, soa(2), soa(2)), false},
		"adds what is":       {answers(9, soa(2), soa(1), soa(2), recA, soa(2)), false},
		"of another version": {answers(9, soa(3), soa(0), soa(3), recC, soa(3)), false},
		"a gap":              {answers(9, soa(4), soa(1), recA, soa(2), recC, soa(3), soa(4), soa(4)), false},
		"backwards":          {answers(9, soa(4), soa(1), recA, soa(0), recC, soa(4)), false},
		"damaged copy":       {answers(9, soa(2), soa(1), soa(2), recB, soa(2)), true},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPrimary(t)
			p.script(answers(9, soa(1), recA, soa(1)))
			p.gets(p.source(), true, "AXFR", lines(soa(1), recA))
			if c.damage {
				c := p.Store.Kept(feed).Latest
				must(t, os.WriteFile(c.File, []byte(strings.Replace(lines(soa(1), recA), "\t60", "\t61", 1)), 0o600))
			}
			p.script(byType(all, c.ixfr))
			p.gets(p.source(), true, "IXFR AXFR", lines(soa(2), recA, recB))
		})
	}
	// Of a version that an operator refused only the serial is left.
	p := newPrimary(t)
	p.script(answers(9, soa(1), recA, soa(1)))
	p.gets(p.source(), true, "AXFR", lines(soa(1), recA))
	must(t, p.Store.Settle(feed, nil, p.Store.Kept(feed).Latest, "why"))
	must(t, p.Store.Reject(feed))
	p.script(answers(1, soa(1)))
	if changed, err := p.fetch(p.source()); changed || err != nil || p.took() != "AXFR IXFR"[5:] {
		t.Errorf("%v, %v", changed, err)
	}
	p.script(byType(all, answers(9, soa(2), soa(1), soa(2), recB, soa(2))))
	p.gets(p.source(), true, "IXFR AXFR", lines(soa(2), recA, recB))
}

// A transfer that goes wrong leaves the copy as it was.
func TestTransferFails(t *testing.T) {
	cut := func(perMessage int, records ...string) func(dns.ResponseWriter, *dns.Msg) {
		return func(out dns.ResponseWriter, q *dns.Msg) {
			answers(perMessage, records...)(out, q)
			_ = out.Close()
		}
	}
	raw := func(octets ...byte) func(dns.ResponseWriter, *dns.Msg) {
		return func(out dns.ResponseWriter, _ *dns.Msg) { _, _ = out.Write(octets) }
	}
	changed := func(change func(m *dns.Msg)) func(dns.ResponseWriter, *dns.Msg) {
		return func(out dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			m.Answer = rrs(soa(2), recA, soa(2))
			change(m)
			_ = out.WriteMsg(m)
		}
	}
	long := []string{soa(2)}
	for i := range 1000 {
		long = append(long, fmt.Sprintf("%d.%s.rpz.test. 60 IN CNAME .", i, strings.Repeat("x", 60)))
	}
	packed := []string{soa(2)} // small on the wire, long as text
	for i := range 500 {
		packed = append(packed, fmt.Sprintf(`%d.%s.rpz.test. 60 IN CNAME .`, i, strings.Repeat(`\001`, 60)+"."+strings.Repeat(`\002`, 60)+"."+strings.Repeat(`\003`, 60)))
	}
	for what, c := range map[string]struct {
		answer func(dns.ResponseWriter, *dns.Msg)
		want   []string
	}{
		"cut off":         {cut(2, soa(2), recA, recB, recC), []string{"was cut off: 4 records came"}},
		"cut off at once": {cut(1, soa(2)), []string{"was cut off: 1 records came"}},
		"no records":      {rcode(dns.RcodeSuccess), []string{"an empty answer"}},
		"REFUSED":         {rcode(dns.RcodeRefused), []string{"REFUSED", "allow this host"}},
		"NOTAUTH":         {rcode(dns.RcodeNotAuth), []string{"NOTAUTH"}},
		"odd code":        {rcode(12), []string{"RCODE 12"}},
		"other zone":      {answers(9, soa(2), recA, "a.rpz.example. 60 IN CNAME .", soa(2)), []string{"a.rpz.example.", "not in the zone"}},
		"suffix":          {answers(9, soa(2), "xrpz.test. 60 IN CNAME .", soa(2)), []string{"xrpz.test.", "not in the zone"}},
		"zone below":      {answers(9, soa(2), strings.Replace(soa(2), "rpz.test.", "sub.rpz.test.", 1), soa(2)), []string{"SOA record of sub.rpz.test."}},
		"no SOA":          {answers(9, recA, soa(2)), []string{"does not begin with its SOA record"}},
		"other class":     {answers(9, soa(2), "a.rpz.test. 60 CH CNAME .", soa(2)), []string{"class CH"}},
		"changes":         {answers(1, soa(2), recA, soa(3)), []string{"from serial 2 to 3"}},
		"goes on":         {answers(9, soa(2), recA, soa(2), recB), []string{"records after its end"}},
		"no message":      {raw(1, 2, 3), []string{"a message that is none"}},
		"nothing":         {raw(), []string{"a message that is none"}},
		"query":           {changed(func(m *dns.Msg) { m.Response = false }), []string{"no answer to the query"}},
		"other id":        {changed(func(m *dns.Msg) { m.Id++ }), []string{"no answer to the query"}},
		"other question":  {changed(func(m *dns.Msg) { m.Question[0].Name = "other." }), []string{"no answer to the query"}},
		"other type":      {changed(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }), []string{"no answer to the query"}},
		"no data": {changed(func(m *dns.Msg) {
			m.Answer[1] = &dns.ANY{Hdr: dns.RR_Header{Name: "a.rpz.test.", Rrtype: dns.TypeA, Class: 1}}
		}), []string{"no data"}},
		"meta type": {changed(func(m *dns.Msg) {
			m.Answer[1] = &dns.ANY{Hdr: dns.RR_Header{Name: "a.rpz.test.", Rrtype: dns.TypeANY, Class: 1}}
		}), []string{"type ANY"}},
		"too long":         {answers(100, long...), []string{"longer than the 65536 octets of max_size"}},
		"too long as text": {compressed(packed...), []string{"text is longer than 262144 octets"}},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPrimary(t)
			p.script(c.answer)
			p.fails(p.source(), append(c.want, "axfr://"+p.addr+"/rpz.test: ")...)
			p.script(answers(9, soa(1), recA, soa(1)))
			p.gets(p.source(), true, "AXFR", lines(soa(1), recA))
			p.script(c.answer)
			p.fails(p.source(), c.want...)
			if got := textOf(t, p.Store, p.Store.Kept(feed).Latest); got != lines(soa(1), recA) {
				t.Errorf("the copy is now\n%s", got)
			}
		})
	}
	p := newPrimary(t)
	p.script(answers(9, soa(5), recA, soa(5)))
	p.gets(p.source(), true, "AXFR", lines(soa(5), recA))
	for _, serial := range []uint32{4, 5 + 1<<31} {
		p.script(answers(9, soa(serial), recB, soa(serial)))
		p.fails(p.source(), fmt.Sprintf("has serial %d, which is before the 5 of the copy", serial))
	}
	// A question section is no must in an answer.
	p.script(func(out dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Question, m.Answer = nil, rrs(soa(6), recB, soa(6))
		_ = out.WriteMsg(m)
	})
	p.gets(p.source(), true, "IXFR", lines(soa(6), recB))

	ctx, cancel := context.WithCancel(context.Background())
	p.script(func(out dns.ResponseWriter, q *dns.Msg) {
		answers(9, soa(7), recB)(out, q)
		cancel()
	})
	if _, err := p.Fetch(ctx, p.source()); err == nil || p.Store.Kept(feed).Failures != 0 {
		t.Errorf("the end of the program: %v, %+v", err, p.Store.Kept(feed))
	}
	src := p.source()
	src.Timeout = 50 * time.Millisecond
	p.script(answers(9, soa(7), recB))
	p.fails(src, "stalled: 2 records came, and nothing more for 25ms")
	src.From = "axfr://127.0.0.1:1/rpz.test"
	p.fails(src, "refused")
}
