package resolver

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"weir/audit"
	"weir/resolver/wire"
)

// FuzzAnswer: whatever comes as a packet, what leaves is nothing or a reply to
// it that another library reads, within the size that the asker can take.
func FuzzAnswer(f *testing.F) {
	set := town(f)
	set.special, set.private, set.limits = true, true, Limits{Cookies: true}
	set.notify = func(zone []byte, _ netip.Addr) bool { return len(zone)%2 == 0 }
	set.upstream = newServer(f, map[string]handler{"*": func(q, m *dns.Msg) bool {
		switch name := q.Question[0].Name; len(name) % 4 {
		case 0:
			return says("NXDOMAIN")(q, m)
		case 1:
			m.Answer = []dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 1}, Target: "x.track.example."}}
		case 2:
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: []byte{192, 0, 2, 1}}}
		}
		return true
	}})
	w := newWorld(f, set)
	for _, q := range []string{"www.example. A", "TRACK.example. HTTPS", "www.lab.example. A", "a.localhost. AAAA", ". NS", "x.example. ANY", `\000\255. TXT`} {
		f.Add(query(f, q), true)
		f.Add(query(f, q, edns), false)
		f.Add(query(f, q, dnssec, func(m *dns.Msg) { m.Extra = append(m.Extra, rr("k. 0 TXT x")) }), true)
	}
	f.Add(query(f, "www.example. A", edns, func(m *dns.Msg) { m.IsEdns0().SetVersion(3) }), true)
	f.Add(query(f, "www.lab.example. A", withCookie(clientCookie)), false)
	f.Add(notification(f, "rpz.example. SOA", edns), false)
	f.Add(notification(f, "example. SOA", func(m *dns.Msg) { m.Answer = append(m.Answer, rr("example. 60 SOA ns. host. 2 3 4 5 6")) }), true)
	f.Fuzz(func(t *testing.T, msg []byte, tcp bool) {
		w.t = t
		defer func() { w.t = f }()
		over, limit := audit.UDP, 512
		if tcp {
			over, limit = audit.TCP, wire.MaxTCP
		}
		before := w.Stats()
		b := w.exchangeOver(over, "", msg)
		after := w.Stats()
		if after.Panics != 0 {
			t.Fatal(w.said.String())
		}
		if n := after.Answered + after.Ignored - before.Answered - before.Ignored; n != 1 {
			t.Fatalf("packet was counted %d times", n)
		}
		query := len(msg) >= 12 && msg[2]&0x80 == 0
		if b == nil {
			var q wire.Query
			if drop := q.Parse(msg) == nil && strings.HasSuffix(presentation(q.Name()), "hole.example."); query && !drop {
				t.Fatal("a query got no answer")
			}
			return
		}
		m := unpack(t, b)
		sent := new(dns.Msg)
		if sent.Unpack(msg) == nil && sent.IsEdns0() != nil && !tcp {
			limit = wire.MaxUDP
		}
		switch {
		case !query:
			t.Fatal("what was no query got an answer")
		case b[0] != msg[0] || b[1] != msg[1], b[2]&0x79 != msg[2]&0x79, b[2]&0x80 == 0, b[3]&0x40 != 0:
			t.Fatalf("header % x for % x", b[:12], msg[:12])
		case len(b) > limit:
			t.Fatalf("%d octets, limit %d", len(b), limit)
		case len(m.Question) > 1 || len(m.Question) == 1 && !strings.HasPrefix(string(b[12:]), string(msg[12:12+nameLen(msg)+4])):
			t.Fatalf("question of % x is that of % x", b, msg)
		}
	})
}

// nameLen is the length of the uncompressed name of a query's question.
func nameLen(msg []byte) int {
	n := 12
	for msg[n] != 0 {
		n += 1 + int(msg[n])
	}
	return n + 1 - 12
}

// FuzzInspect: of any reply that unpacks, nothing comes through but the chain
// of its question, what denies it, and what proves that; and it packs.
func FuzzInspect(f *testing.F) {
	for _, c := range []struct {
		question string
		records  []string
	}{
		{"a.example. A", []string{"a.example. 1 CNAME b.example.", "b.example. 1 A 192.0.2.1", "c.example. 1 A 192.0.2.2", "/", "example. 1 NS ns.example.", "/", "ns.example. 1 A 192.0.2.3"}},
		{"x.d.example. A", []string{"d.example. 1 DNAME e.example.", "x.d.example. 1 CNAME x.e.example.", "x.e.example. 1 A 192.0.2.1"}},
		{"a.example. HTTPS", []string{"a.example. 1 HTTPS 1 b.example. alpn=h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1"}},
		{"a.example. TXT", []string{"NXDOMAIN", "/", "example. 1 SOA ns.example. host.example. 1 2 3 4 5", "example. 1 RRSIG SOA 8 1 60 20300101000000 20200101000000 1 example. aaaa", "a.example. 1 NSEC c.example. A"}},
		{"a.example. A", []string{"a.example. 1 CNAME a.example."}},
		{`a\.b.example. TYPE65280`, []string{`a\.b.example. 1 TYPE65280 \# 2 abcd`}},
	} {
		q := new(dns.Msg)
		if err := q.Unpack(query(f, c.question)); err != nil {
			f.Fatal(err)
		}
		m := new(dns.Msg).SetReply(q)
		says(c.records...)(q, m)
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, do bool) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil || len(m.Question) != 1 || m.Question[0].Qclass != dns.ClassINET {
			return
		}
		// The question as forward.go makes it, from octets.
		msg, err := (&dns.Msg{MsgHdr: dns.MsgHdr{RecursionDesired: true}, Question: m.Question}).Pack()
		if err != nil {
			return
		}
		var asked wire.Query
		if asked.Parse(msg) != nil {
			return
		}
		asked.DO, asked.EDNS = do, do
		var fl flight
		fl.question(&asked, asked.Name())
		e, err := inspect(&fl.ask, m, "", nil, TTL{Max: 86400, MaxNegative: 3600}, nil)
		if err != nil {
			return
		}
		if e.Expires < 0 || e.Expires > 86400e9 || len(e.Names) > maxTargets {
			t.Fatalf("entry %+v", e)
		}
		out := unpack(t, e.Reply.Append(nil, msg, &asked, wire.Finish{Limit: wire.MaxTCP, Age: 1}))
		if out.Truncated {
			return
		}
		chain := map[string]bool{}
		for end := dns.CanonicalName(out.Question[0].Name); end != ""; {
			chain[end] = true
			next := ""
			for _, rr := range out.Answer {
				if c, ok := rr.(*dns.CNAME); ok && dns.CanonicalName(c.Hdr.Name) == end && !chain[dns.CanonicalName(c.Target)] {
					next = dns.CanonicalName(c.Target)
				}
			}
			end = next
		}
		aliases := 0
		for _, rr := range out.Answer {
			h := rr.Header()
			signed := do || asked.Type == dns.TypeRRSIG
			switch {
			case h.Class != dns.ClassINET, h.Ttl > 86400:
				t.Fatalf("kept %v", rr)
			case h.Rrtype == dns.TypeRRSIG && signed:
			case h.Rrtype == dns.TypeDNAME:
			case h.Rrtype == dns.TypeCNAME && chain[dns.CanonicalName(h.Name)]:
				aliases++
			case h.Rrtype == asked.Type && chain[dns.CanonicalName(h.Name)]:
			default:
				t.Fatalf("%v is no answer to %v", rr, out.Question[0])
			}
		}
		for _, rr := range out.Ns {
			switch {
			case rr.Header().Rrtype == dns.TypeSOA && rr == out.Ns[0]:
			case do && (rr.Header().Rrtype == dns.TypeNSEC || rr.Header().Rrtype == dns.TypeNSEC3 || rr.Header().Rrtype == dns.TypeRRSIG):
			default:
				t.Fatalf("%v in the authority section", rr)
			}
		}
		if aliases > maxChain || len(out.Extra) > 1 || len(out.Extra) == 1 && out.IsEdns0() == nil {
			t.Fatalf("%d aliases, additional %v", aliases, out.Extra)
		}
	})
}
