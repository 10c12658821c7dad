package resolver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/resolver/cache"
)

// TestRepliesAreStripped: what a reply says beside the answer to its question
// goes nowhere, neither to the asker nor under another name into the cache.
func TestRepliesAreStripped(t *testing.T) {
	const soa = "example. 300 SOA ns.example. host.example. 1 2 3 4 30"
	chain := func(n int) (parts []string) {
		for i := range n {
			parts = append(parts, fmt.Sprintf("c%d.example. 60 CNAME c%d.example.", i, i+1))
		}
		return append(parts, fmt.Sprintf("c%d.example. 60 A 192.0.2.1", n))
	}
	refused := func(why string) string { return fmt.Sprintf("SERVFAIL ede 0 %q", "upstream reply refused: "+why) }
	tooLong := refused("more than 16 aliases, or a loop of them")
	var targets []string
	for i := range maxTargets + 1 {
		targets = append(targets, fmt.Sprintf("svc.example. 60 SVCB 1 t%d.example.", i))
	}
	for _, c := range []struct {
		question string
		reply    handler
		want     string
	}{
		{"a.example. A", says("a.example. 60 A 192.0.2.1", "b.example. 60 A 192.0.2.2", "a.example. 60 AAAA 2001:db8::1", "a.example. 60 TXT x"), "NOERROR a.example. 60 A 192.0.2.1;"},
		{"a.example. A", says("A.EXAMPLE. 60 A 192.0.2.1"), "NOERROR A.EXAMPLE. 60 A 192.0.2.1;"},
		{"a.example. A", says("a.example. 60 A 192.0.2.1", "/", "example. 60 NS evil.example.net.", "/", "evil.example.net. 60 A 192.0.2.66", "b.example. 60 A 192.0.2.67"), "NOERROR a.example. 60 A 192.0.2.1;"},
		{"a.example. A", says("a.example. 60 A 192.0.2.1", "a.example. 9 A 192.0.2.2"), "NOERROR a.example. 9 A 192.0.2.1; a.example. 9 A 192.0.2.2;"}, // one set, one TTL
		{"c0.example. A", says("c0.example. 9 CNAME c1.example.", "c1.example. 60 A 192.0.2.1"), "NOERROR c0.example. 9 CNAME c1.example.; c1.example. 60 A 192.0.2.1;"},
		{"a.example. A", says("a.example. 60 CH A 192.0.2.1"), "NOERROR"},
		{"a.example. A", says("b.example. 60 A 192.0.2.1"), "NOERROR"},
		{"a.example. A", says("/", "example. 60 NS ns.example.", "/", "ns.example. 60 A 192.0.2.1"), "NOERROR"}, // a referral is no answer
		{"a.example. A", alone(false, says("/", "example. 60 NS ns.example.")), refused("it names other servers to ask")},
		{"a.example. A", alone(true, says("/", "example. 60 NS ns.example.")), "NOERROR"},
		{"a.example. A", alone(false, says("/", "example. 60 NS ns.example.", soa)), "NOERROR / example. 30 SOA 30;"},
		{"a.example. A", alone(false, says()), "NOERROR"},
		{"a.example. A", says("NXDOMAIN", "/", soa, "other.test. 60 SOA ns.example. host.example. 1 2 3 4 9"), "NXDOMAIN / example. 30 SOA 30;"},
		{"a.example. A", says("NXDOMAIN", "/", "b.example. 60 SOA ns.example. host.example. 1 2 3 4 9"), "NXDOMAIN"},
		{"a.example. A", says("/", soa), "NOERROR / example. 30 SOA 30;"},
		{"c0.example. A", says("c0.example. 60 CNAME c1.example.", "NXDOMAIN", "/", soa), "NXDOMAIN c0.example. 60 CNAME c1.example.; / example. 30 SOA 30;"},
		{"c0.example. AAAA", says("c0.example. 60 CNAME c1.example.", "/", soa), "NOERROR c0.example. 60 CNAME c1.example.; / example. 30 SOA 30;"},
		{"c0.example. CNAME", says("c0.example. 60 CNAME c1.example.", "c1.example. 60 CNAME c2.example."), "NOERROR c0.example. 60 CNAME c1.example.;"},
		{"c0.example. A", says("c1.example. 60 A 192.0.2.1", "c0.example. 60 CNAME c1.example."), "NOERROR c0.example. 60 CNAME c1.example.; c1.example. 60 A 192.0.2.1;"},
		{"c0.example. A", says("c2.example. 60 A 192.0.2.1", "c1.example. 60 CNAME c2.example.", "c2.example. 60 A 192.0.2.2", "c0.example. 60 CNAME c1.example."), "NOERROR c0.example. 60 CNAME c1.example.; c1.example. 60 CNAME c2.example.; c2.example. 60 A 192.0.2.1; c2.example. 60 A 192.0.2.2;"},
		{"x.d.example. A", says("x.e.example. 60 A 192.0.2.1", "x.d.example. 60 CNAME x.e.example.", "d.example. 60 DNAME e.example."), "NOERROR x.d.example. 60 CNAME x.e.example.; d.example. 60 DNAME e.example.; x.e.example. 60 A 192.0.2.1;"},
		{"c0.example. A", says("c0.example. 60 CNAME c1.example.", "c0.example. 60 CNAME c2.example.", "c2.example. 60 A 192.0.2.2"), "NOERROR c0.example. 60 CNAME c1.example.;"},
		{"c0.example. A", says("c0.example. 60 CNAME c1.example.", "c0.example. 60 A 192.0.2.2"), "NOERROR c0.example. 60 CNAME c1.example.;"},
		{"c0.example. A", says("c0.example. 60 CNAME c0.example."), tooLong},
		{"c0.example. A", says("c0.example. 60 CNAME c1.example.", "c1.example. 60 CNAME c0.example."), tooLong},
		{"c0.example. A", says(chain(16)...), ""},
		{"c0.example. A", says(chain(17)...), tooLong},
		{"svc.example. SVCB", says(targets[:maxTargets]...), ""},
		{"svc.example. SVCB", says(targets...), refused("more than 64 alias targets")},
		{"x.d.example. A", says("d.example. 60 DNAME e.example.", "x.d.example. 60 CNAME x.e.example.", "x.e.example. 60 A 192.0.2.1"), "NOERROR d.example. 60 DNAME e.example.; x.d.example. 60 CNAME x.e.example.; x.e.example. 60 A 192.0.2.1;"},
		{"x.d.example. A", says("example. 60 DNAME evil.test.", "x.d.example. 60 CNAME x.e.example.", "x.e.example. 60 A 192.0.2.1"), "NOERROR x.d.example. 60 CNAME x.e.example.; x.e.example. 60 A 192.0.2.1;"},
		{"x.d.example. A", says("d.example. 60 DNAME e.example.", "x.e.example. 60 A 192.0.2.1"), "NOERROR"},
		{"x. A", says(". 60 DNAME e.example.", "x. 60 CNAME x.e.example.", "x.e.example. 60 A 192.0.2.1"), "NOERROR . 60 DNAME e.example.; x. 60 CNAME x.e.example.; x.e.example. 60 A 192.0.2.1;"},
		{"x.d.example. A", says("d.example. 60 DNAME .", "x.d.example. 60 CNAME x.", "x. 60 A 192.0.2.1"), "NOERROR d.example. 60 DNAME .; x.d.example. 60 CNAME x.; x. 60 A 192.0.2.1;"},
		{"d.example. DNAME", says("d.example. 60 DNAME e.example."), "NOERROR d.example. 60 DNAME e.example.;"},
		{"d.example. A", says("d.example. 60 DNAME e.example."), "NOERROR"}, // it is for names below
		{"x.d.example. A", says("YXDOMAIN", "d.example. 60 DNAME e.example."), "YXDOMAIN"},
		{"a.example. MX", bare(&dns.MX{Preference: 1}), refused("a MX record lacks data")},
		{"a.example. TXT", bare(&dns.TXT{}), "NOERROR a.example. 60 TXT ;"},
		{"a.example. NULL", bare(&dns.NULL{}), "NOERROR ;a.example. 60 NULL ;"},
		{"a.example. A", says("SERVFAIL"), refused("rcode SERVFAIL")},
		{"a.example. A", says("NOTAUTH"), refused("rcode NOTAUTH")},
		{"a.example. RRSIG", says("a.example. 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 example. aaaa"), "NOERROR a.example. 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 example. aaaa;"},
		{"a.example. TYPE65280", says(`a.example. 60 TYPE65280 \# 3 c00c00`), `NOERROR a.example. 60 CLASS1 TYPE65280 \# 3 c00c00;`},
	} {
		s := newServer(t, map[string]handler{c.question: c.reply})
		w := newWorld(t, setup{upstream: s})
		for range 2 {
			if got := w.ask(c.question, edns); got != c.want && (c.want != "" || !strings.HasPrefix(got, "NOERROR ")) {
				t.Errorf("%s:\ngot  %s\nwant %s", c.question, got, c.want)
			}
		}
		for _, asked := range s.questions() { // no name server and no target is asked for, so nothing grows upstream
			if asked != c.question {
				t.Errorf("%s made us ask for %s", c.question, asked)
			}
		}
		for _, other := range []string{"b.example. A", "evil.example.net. A", "c1.example. A", "x.e.example. A", "a.example. AAAA"} {
			if got := w.ask(other); got != "SERVFAIL" {
				t.Errorf("%s taught the cache about %s: %s", c.question, other, got)
			}
		}
	}
}

// alone is what a server says that asks no others, of a name of its own or not.
func alone(own bool, h handler) handler {
	return func(q, m *dns.Msg) bool {
		m.RecursionAvailable, m.Authoritative = false, own
		return h(q, m)
	}
}

// bare answers with a record that lacks its data.
func bare(rr dns.RR) handler {
	return func(q, m *dns.Msg) bool {
		*rr.Header() = dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 60}
		m.Answer = []dns.RR{rr}
		return true
	}
}

// TestProofs: a validating client gets what it needs to believe a denial or a
// wildcard, and nobody else does (RFC 4035 §3.1.3, §3.2.1).
func TestProofs(t *testing.T) {
	const (
		soa     = "example. 60 SOA ns.example. host.example. 1 2 3 4 60"
		sigSOA  = "example. 60 RRSIG SOA 8 1 60 20300101000000 20200101000000 1 example. aaaa"
		nsec    = "a.example. 60 NSEC c.example. A RRSIG NSEC"
		sigNSEC = "a.example. 60 RRSIG NSEC 8 2 60 20300101000000 20200101000000 1 example. aaaa"
		foreign = "a.test. 60 NSEC c.test. A"
		sigNS   = "example. 60 RRSIG NS 8 1 60 20300101000000 20200101000000 1 example. aaaa"
		wild    = "w.example. 60 A 192.0.2.1"
		sigWild = "w.example. 60 RRSIG A 8 1 60 20300101000000 20200101000000 1 example. aaaa"
	)
	flat := func(s string) string {
		if strings.Contains(s, "SOA ns.") {
			return "example. 60 SOA 60;"
		}
		return s + ";"
	}
	s := newServer(t, map[string]handler{
		"b.example. A": says("NXDOMAIN", "/", soa, sigSOA, nsec, sigNSEC, foreign, sigNS),
		"w.example. A": says(wild, sigWild, "/", nsec, sigNSEC, foreign, sigNS),
	})
	w := newWorld(t, setup{upstream: s})
	line := func(head string, parts ...string) string {
		for _, p := range parts {
			if p != "/" {
				p = flat(p)
			}
			head += " " + p
		}
		return head
	}
	for range 2 {
		for _, c := range []struct {
			question string
			edit     func(*dns.Msg)
			want     string
		}{
			{"b.example. A", edns, line("NXDOMAIN", "/", soa)},
			{"b.example. A", dnssec, line("NXDOMAIN", "/", soa, sigSOA, nsec, sigNSEC)},
			{"w.example. A", edns, line("NOERROR", wild)},
			{"w.example. A", dnssec, line("NOERROR", wild, sigWild, "/", nsec, sigNSEC)},
		} {
			if got := strings.ReplaceAll(w.ask(c.question, c.edit), "  ", " "); got != c.want {
				t.Errorf("%s:\ngot  %s\nwant %s", c.question, got, c.want)
			}
		}
	}
}

// TestTTLs: each line is a reply, the bounds, and when it is asked for again.
func TestTTLs(t *testing.T) {
	soa := func(ttl uint32, minimum int) string {
		return fmt.Sprintf("example. %d SOA ns.example. host.example. 1 2 3 4 %d", ttl, minimum)
	}
	a := func(ttl uint32) string { return fmt.Sprintf("a.example. %d A 192.0.2.1", ttl) }
	wide := TTL{Max: 86400, MaxNegative: 3600}
	for _, c := range []struct {
		name   string
		reply  []string
		bounds TTL
		first  uint32 // TTL as it is handed out at once
		life   int    // seconds that it is kept; 0 is not at all
	}{
		{"plain", []string{a(60)}, wide, 60, 60},
		{"zero", []string{a(0)}, wide, 0, 0},
		{"one", []string{a(1)}, wide, 1, 1},
		{"top bit", []string{a(1 << 31)}, wide, 0, 0},
		{"top bit and minimum", []string{a(1<<32 - 1)}, TTL{Min: 10, Max: 100}, 10, 10},
		{"maximum", []string{a(1<<31 - 1)}, TTL{Max: 100}, 100, 100},
		{"minimum", []string{a(3)}, TTL{Min: 30, Max: 100}, 30, 30},
		{"shortest counts", []string{a(9), "a.example. 60 A 192.0.2.2"}, wide, 9, 9},
		{"alias is shorter", []string{"a.example. 5 CNAME b.example.", "b.example. 60 A 192.0.2.1"}, wide, 5, 5},
		{"target is shorter", []string{"a.example. 60 CNAME b.example.", "b.example. 7 A 192.0.2.1"}, wide, 60, 7},
		{"NXDOMAIN, minimum field", []string{"NXDOMAIN", "/", soa(300, 20)}, wide, 20, 20},
		{"NXDOMAIN, SOA's TTL", []string{"NXDOMAIN", "/", soa(20, 300)}, wide, 20, 20},
		{"NXDOMAIN, bounded", []string{"NXDOMAIN", "/", soa(7200, 7200)}, wide, 3600, 3600},
		{"NXDOMAIN, SOA with top bit", []string{"NXDOMAIN", "/", soa(1<<31, 300)}, wide, 0, 0},
		{"NXDOMAIN without SOA", []string{"NXDOMAIN"}, wide, 0, 5},
		{"NODATA", []string{"/", soa(300, 20)}, wide, 20, 20},
		{"NODATA without SOA", nil, wide, 0, 5},
		{"NODATA, none kept", nil, TTL{Max: 60}, 0, 0},
		{"NODATA behind an alias", []string{"a.example. 8 CNAME b.example.", "/", soa(300, 20)}, wide, 8, 8},
	} {
		s := newServer(t, map[string]handler{"a.example. A": says(c.reply...)})
		w := newWorld(t, setup{upstream: s, config: func(cfg *Config) { cfg.TTL = c.bounds }})
		ttl := func() (ttl uint32) {
			m := unpack(t, w.exchange("", query(t, "a.example. A")))
			for _, rr := range append(m.Answer, m.Ns...) {
				return rr.Header().Ttl
			}
			return 0
		}
		if got := ttl(); got != c.first {
			t.Errorf("%s: first TTL %d, want %d", c.name, got, c.first)
		}
		asked := 1
		if c.life == 0 {
			asked++
		}
		if ttl(); len(s.questions()) != asked {
			t.Errorf("%s: asked %d times at once, want %d", c.name, len(s.questions()), asked)
		}
		if c.life == 0 {
			continue
		}
		w.clock.advance(time.Duration(c.life)*time.Second - 100*time.Millisecond)
		if got, want := ttl(), c.first-min(c.first, uint32(c.life-1)); got != want || len(s.questions()) != 1 {
			t.Errorf("%s: TTL %d at the end of its life, want %d; asked %d times", c.name, got, want, len(s.questions()))
		}
		w.clock.advance(100 * time.Millisecond)
		if got := ttl(); got != c.first || len(s.questions()) != 2 {
			t.Errorf("%s: TTL %d after its life, want a new %d; asked %d times", c.name, got, c.first, len(s.questions()))
		}
	}
}

// inspected runs inspect on a reply to question.
func inspected(t *testing.T, question string, records ...string) *cache.Entry {
	t.Helper()
	q := new(dns.Msg)
	if err := q.Unpack(query(t, question)); err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg).SetReply(q)
	says(records...)(q, m)
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	m = unpack(t, b) // as it comes off a socket
	e, err := inspect(q, m, "", nil, TTL{Max: 60, MaxNegative: 60}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestFacts: every name that the answer leads to, and every address.
func TestFacts(t *testing.T) {
	for _, c := range []struct {
		question string
		records  []string
		want     string
	}{
		{"a.example. A", []string{"a.example. 1 CNAME B.example.", "b.example. 1 A 192.0.2.1", "b.example. 1 A 192.0.2.2"}, "b.example. 192.0.2.1 192.0.2.2"},
		{"a.example. AAAA", []string{"a.example. 1 AAAA 2001:db8::1", "a.example. 1 AAAA ::ffff:192.0.2.1"}, "2001:db8::1 ::ffff:192.0.2.1"},
		{"x.d.example. A", []string{"d.example. 1 DNAME e.example.", "x.d.example. 1 CNAME x.e.example.", "x.e.example. 1 A 192.0.2.1"}, "e.example. x.e.example. 192.0.2.1"},
		{"a.example. HTTPS", []string{"a.example. 1 HTTPS 0 b.example."}, "b.example."},
		{"a.example. HTTPS", []string{"a.example. 1 HTTPS 1 . ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1"}, "192.0.2.1 192.0.2.2 2001:db8::1"},
		{"a.example. SVCB", []string{"a.example. 1 SVCB 1 b.example. port=53", "a.example. 1 SVCB 2 B.EXAMPLE. port=54"}, "b.example."},
		{"a.example. AAAA", []string{"a.example. 1 AAAA 64:ff9b::192.0.2.1", "a.example. 1 AAAA 2002:c000:202:1::3"}, "64:ff9b::c000:201 192.0.2.1 2002:c000:202:1::3 192.0.2.2"},
		{"a.example. AAAA", []string{"a.example. 1 AAAA 2001:0:4136:e378:8000:63bf:3fff:fdd2"}, "2001:0:4136:e378:8000:63bf:3fff:fdd2 192.0.2.45"},
		{"a.example. AAAA", []string{"a.example. 1 AAAA 64:ff9b:1::192.0.2.1", "a.example. 1 AAAA 2003:c000:202::", "a.example. 1 AAAA 2001:1::"}, "64:ff9b:1::c000:201 192.0.2.1 2003:c000:202:: 2001:1::"},
		{"a.example. HTTPS", []string{"a.example. 1 HTTPS 1 . ipv6hint=64:ff9b::c000:201"}, "64:ff9b::c000:201 192.0.2.1"},
		{"a.example. CNAME", []string{"a.example. 1 CNAME b.example."}, "b.example."},
		{"a.example. DNAME", []string{"a.example. 1 DNAME b.example."}, "b.example."},
		{"a.example. MX", []string{"a.example. 1 MX 1 b.example."}, "b.example."},
		{"_s._tcp.a.example. SRV", []string{"_s._tcp.a.example. 1 SRV 1 1 5060 B.example."}, "b.example."},
		{"7.2.0.192.in-addr.arpa. PTR", []string{"7.2.0.192.in-addr.arpa. 1 PTR b.example."}, "b.example."},
		{"a.example. NAPTR", []string{`a.example. 1 NAPTR 1 1 "s" "x" "" b.example.`, `a.example. 1 NAPTR 1 1 "u" "x" "!a!b!" .`}, "b.example."},
		{"a.example. HTTPS", []string{"c.example. 1 HTTPS 1 d.example.", "a.example. 1 CNAME c.example."}, "c.example. d.example."},
		{"a.example. A", []string{"b.example. 1 A 192.0.2.1", "/", "/", "a.example. 1 A 192.0.2.2"}, ""},
	} {
		e := inspected(t, c.question, c.records...)
		var got []string
		for _, a := range e.Names {
			got = append(got, presentation(a))
		}
		for _, a := range e.Facts.Addrs {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: facts %q, want %q", c.question, got, c.want)
		}
	}
}

// TestAliasBeyondThoseKept: of many alias targets the log shows the one that decided.
func TestAliasBeyondThoseKept(t *testing.T) {
	var records []string
	for i := range 20 {
		records = append(records, fmt.Sprintf("svc.example. 60 HTTPS 1 t%d.example.net.", i))
	}
	set := town(t)
	set.upstream = newServer(t, map[string]handler{"svc.example. HTTPS": says(append(records, "svc.example. 60 HTTPS 2 x.track.example.")...)})
	w := newWorld(t, set)
	w.ask("svc.example. HTTPS")
	e := w.events()
	if len(e) != 1 || e[0].Entry != "track.example" || !slices.Contains(e[0].Answers, "x.track.example") {
		t.Errorf("event %+v", e[0])
	}
}

// TestDearReplies are made to cost as much as their size allows: names of the longest
// kind, by chains of pointers, in thousands of records. What is spent on one is bounded
// by some multiple of its octets (CVE-2024-8508).
func TestDearReplies(t *testing.T) {
	const most = 100 // octets of memory for one of the reply
	for name, record := range map[string]func(out []byte, target int) []byte{
		"addresses": func(out []byte, target int) []byte {
			return append(binary.BigEndian.AppendUint16(out, 0xc000|uint16(target)), 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
		},
		"aliases": func(out []byte, target int) []byte {
			out = append(binary.BigEndian.AppendUint16(out, 0xc000|uint16(target)), 0, 5, 0, 1, 0, 0, 0, 60, 0, 2)
			return binary.BigEndian.AppendUint16(out, 0xc000|uint16(target))
		},
		"mail servers": func(out []byte, target int) []byte {
			n := len(out) // makes each another
			out = append(binary.BigEndian.AppendUint16(out, 0xc000|12), 0, 15, 0, 1, 0, 0, 0, 60, 0, 8, 0, 1, 3, byte(n>>16), byte(n>>8), byte(n))
			return binary.BigEndian.AppendUint16(out, 0xc000|uint16(target))
		},
		"persons": func(out []byte, target int) []byte { // names that are written in full
			out = append(binary.BigEndian.AppendUint16(out, 0xc000|12), 0, 17, 0, 1, 0, 0, 0, 60, 0, 4)
			return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(out, 0xc000|uint16(target)), 0xc000|uint16(target))
		},
	} {
		qtype := map[string]uint16{"addresses": dns.TypeA, "aliases": dns.TypeA, "mail servers": dns.TypeMX, "persons": dns.TypeRP}[name]
		question := query(t, "www.example. A", func(m *dns.Msg) { m.Question[0].Qtype = qtype })
		q := new(dns.Msg)
		if err := q.Unpack(question); err != nil {
			t.Fatal(err)
		}
		out := append(bytes.Clone(question), 0, 0xff, 0, 0, 1, 0, 0, 0, 60, 0, 0) // opaque data, to hold names
		out[2] |= 0x80
		length := len(out) - 2
		target := len(out)
		out = append(out, 1, 'a', 0)
		for range 120 { // one label before a pointer to the last one
			at := len(out)
			out = append(out, 1, 'a')
			out = binary.BigEndian.AppendUint16(out, 0xc000|uint16(target))
			target = at
		}
		binary.BigEndian.PutUint16(out[length:], uint16(len(out)-length-2))
		n := 1
		for ; len(out) < 65_500; n++ {
			out = record(out, target)
		}
		binary.BigEndian.PutUint16(out[6:], uint16(n))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m := new(dns.Msg)
		if err := m.Unpack(out); err != nil {
			t.Fatal(err)
		}
		_, err := inspect(q, m, "", nil, TTL{Max: 60, MaxNegative: 60}, nil)
		runtime.ReadMemStats(&after)
		spent := int(after.TotalAlloc-before.TotalAlloc) / len(out)
		t.Logf("%d %s in %d octets: %d octets of memory for each (%v)", n, name, len(out), spent, err)
		if spent > most {
			t.Errorf("%s: %d octets of memory for each of the reply, want at most %d", name, spent, most)
		}
	}
}
