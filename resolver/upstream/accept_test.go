package upstream

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// packed returns a packed query for the name with the ID 0xbeef.
func packed(t testing.TB, name string, edns bool) *query {
	t.Helper()
	q := new(query)
	if err := q.pack(ask(name), edns); err != nil {
		t.Fatal(err)
	}
	copy(q.packet(), "\xbe\xef")
	return q
}

func TestAccept(t *testing.T) {
	q := packed(t, "www.example.test.", true)
	plain := packed(t, "www.example.test.", false)
	for _, tc := range []struct {
		name   string
		q      *query
		packet []byte
		want   finding
	}{
		{"reply", q, answer(q.packet()), replied},
		{"SERVFAIL", q, coded(dns.RcodeServerFailure)(q.packet()), replied},
		{"FORMERR", q, coded(dns.RcodeFormatError)(q.packet()), noEDNS},
		{"FORMERR without EDNS", plain, coded(dns.RcodeFormatError)(plain.packet()), replied},
		{"bare FORMERR", q, []byte("\xbe\xef\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00"), noEDNS},
		{"bare FORMERR without EDNS", plain, []byte("\xbe\xef\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00"), foreign},
		{"bare FORMERR that counts records", q, []byte("\xbe\xef\x80\x01\x00\x00\x00\x00\x00\x00\x00\x01"), foreign},
		{"bare SERVFAIL", q, []byte("\xbe\xef\x80\x02\x00\x00\x00\x00\x00\x00\x00\x00"), foreign},
		{"bare header that counts a question", q, []byte("\xbe\xef\x80\x02\x00\x01\x00\x00\x00\x00\x00\x00"), foreign},
		{"TC of another question", q, reply(q.packet(), func(m *dns.Msg) {
			m.Truncated, m.Question[0].Name = true, "wwx.example.test."
		}), foreign},
		{"TC with two questions", q, reply(q.packet(), func(m *dns.Msg) {
			m.Truncated, m.Question = true, append(m.Question, m.Question[0])
		}), foreign},
		{"question by a pointer", q, append([]byte("\xbe\xef\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00"), "\xc0\x0c\x00\x01\x00\x01"...), foreign},
		{"TXT without data", q, reply(q.packet(), func(m *dns.Msg) {
			m.Ns = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: "test.", Rrtype: dns.TypeTXT, Class: 1}}}
		}), replied},
		{"trailing octets", q, append(answer(q.packet()), 0, 1, 2), replied},
	} {
		m, got := accept(tc.q, tc.packet, udpSize)
		if got != tc.want || (m != nil) != (got == replied) {
			t.Errorf("%s: finding %d, message %v, want %d", tc.name, got, m != nil, tc.want)
		}
	}
	if _, got := accept(q, answer(q.packet()), len(answer(q.packet()))-1); got != cut {
		t.Errorf("longer than the limit: finding %d, want %d", got, cut)
	}
}

// panicking is the data of a record of a type of its own, whose decoder panics.
type panicking struct{ dns.PrivateRdata }

func (panicking) Unpack([]byte) (int, error) { panic("a bad decoder") }

// TestPanicCostsOnePacket: a reply on which the decoder panics is counted and
// logged with its octets, whichever goroutine read it, and the next is taken.
func TestPanicCostsOnePacket(t *testing.T) {
	const kind = 0xff01
	dns.PrivateHandle("PANICKING", kind, func() dns.PrivateRdata { return panicking{} })
	t.Cleanup(func() { dns.PrivateHandleRemove(kind) })
	deadlyOf := func(query []byte) []byte {
		return reply(query, func(m *dns.Msg) {
			m.Answer = append(m.Answer, &dns.RFC3597{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: kind, Class: dns.ClassINET}, Rdata: "c0ffee"})
		})
	}
	for _, scheme := range []string{"udp", "tcp", "tls"} {
		r := honest()
		r.udp = func(_ int, query []byte, send func([]byte)) { send(deadlyOf(query)); send(answer(query)) }
		r.tcp = func(_ int, query []byte, conn net.Conn) {
			conn.Write(append(frame(deadlyOf(query)), frame(answer(query))...))
		}
		var said bytes.Buffer
		x := r.startFor(t, scheme).open(t, scheme, Options{Resend: patient, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		m, err := x.Exchange(within(t, patient), ask("www.example.test."))
		checkAnswer(t, m, err)
		if s := x.Stats(); s.Panics != 1 || s.Ignored != 1 || s.Answered != 1 {
			t.Errorf("%s: stats %+v", scheme, s)
		}
		for _, want := range []string{`panic="a bad decoder"`, x.String(), "c0ffee", "(*Msg).Unpack"} {
			if !strings.Contains(said.String(), want) {
				t.Errorf("%s: no %q in what was said:\n%s", scheme, want, &said)
			}
		}
	}
	s := &web{script: func(w http.ResponseWriter, number int, q []byte) {
		if number == 0 {
			give(w, deadlyOf(q))
			return
		}
		give(w, answer(q))
	}}
	x := s.start(t).open(t, Options{})
	if _, err := x.Exchange(within(t, patient), ask("www.example.test.")); err == nil {
		t.Error("https: a deadly reply was taken")
	}
	m, err := x.Exchange(within(t, patient), ask("www.example.test."))
	checkAnswer(t, m, err)
	if s := x.Stats(); s.Panics != 1 || s.Ignored != 1 {
		t.Errorf("https: stats %+v", s)
	}
}

// judge is what accept must find, by the decoded message alone. Where the decoder
// is laxer than accept the packet says so to it: a compressed question, a count
// that the packet does not fill.
func judge(q *query, packet []byte) finding {
	want, got := new(dns.Msg), new(dns.Msg)
	if want.Unpack(q.packet()) != nil {
		panic("own query does not unpack")
	}
	err := got.Unpack(packet)
	counts := [4]int{len(got.Question), len(got.Answer), len(got.Ns), len(got.Extra)}
	if err != nil || got.Id != want.Id || !got.Response || got.Opcode != dns.OpcodeQuery {
		return foreign
	}
	if len(packet) == headerLen && bytes.Equal(packet[4:], make([]byte, 8)) && q.edns &&
		(got.Rcode == dns.RcodeFormatError || got.Rcode == dns.RcodeNotImplemented) {
		return noEDNS
	}
	for i, n := range counts {
		if n != int(packet[4+2*i])<<8|int(packet[5+2*i]) {
			return foreign
		}
	}
	if counts[0] != 1 {
		return foreign
	}
	a, b := want.Question[0], got.Question[0]
	if !strings.EqualFold(a.Name, b.Name) || a.Qtype != b.Qtype || a.Qclass != b.Qclass {
		return foreign
	}
	opts := 0
	for _, section := range [][]dns.RR{got.Answer, got.Ns, got.Extra} {
		for _, rr := range section {
			if rr.Header().Rrtype == dns.TypeOPT {
				opts++
			}
			_, unknown := rr.(*dns.RFC3597)
			switch rr.Header().Rrtype {
			case dns.TypeOPT, dns.TypeNULL, dns.TypeAPL, dns.TypeTXT:
			default:
				if rr.Header().Rdlength == 0 && !unknown {
					return foreign
				}
			}
		}
	}
	if opts > 1 {
		return foreign
	}
	return replied
}

// FuzzAccept compares accept with judge, and checks that what it returns does not
// live in the packet.
func FuzzAccept(f *testing.F) {
	q := packed(f, "www.example.test.", true)
	plain := packed(f, "www.example.test.", false)
	f.Add(answer(q.packet()), true)
	f.Add(answer(plain.packet()), false)
	for _, rcode := range []int{dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeServerFailure} {
		f.Add(coded(rcode)(q.packet()), true)
		f.Add(coded(rcode)(q.packet())[:headerLen], true)
	}
	for _, lie := range lies {
		f.Add(lie.make(q.packet()), true)
	}
	for _, text := range []string{
		`www.example.test. 60 IN HTTPS 1 svc.example.test. alpn="h2" ipv4hint=192.0.2.1`,
		`www.example.test. 60 IN TXT "a" "b"`,
		`www.example.test. 60 IN NULL \# 3 616263`,
		`www.example.test. 60 IN TYPE65280 \# 2 0102`,
		`www.example.test. 60 IN CNAME b.example.test.`,
		`www.example.test. 60 IN NAPTR 1 2 "u" "sip" "!x!" .`,
		`www.example.test. 60 IN NSEC a.example.test. A RRSIG`,
	} {
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(reply(q.packet(), func(m *dns.Msg) { m.Answer = append(m.Answer, rr) }), true)
	}
	f.Fuzz(func(t *testing.T, packet []byte, edns bool) {
		q := plain
		if edns {
			q = packed(t, "www.example.test.", true)
		}
		m, got := accept(q, packet, dns.MaxMsgSize)
		want := judge(q, packet)
		switch got {
		case cut, noEDNS:
			// Settled before the records are decoded, so only the head must be right.
			head := append([]byte(nil), packet...)
			if len(head) > q.qend {
				head = head[:q.qend]
			}
			if len(head) > headerLen {
				clear(head[6:headerLen])
				head[2] &^= 2
			}
			if want = judge(q, head); want == foreign {
				t.Fatalf("finding %d for a packet of another head:\n%s", got, hex.Dump(packet))
			}
			return
		case deadly:
			t.Fatalf("decoder panicked on\n%s", hex.Dump(packet))
		}
		// The decoder may read a name by a pointer into the header.
		if pointed := len(packet) > headerLen && want != foreign && got == foreign; pointed {
			if sameQuestion(q.question(), packet[headerLen:]) {
				t.Fatalf("refused\n%s", hex.Dump(packet))
			}
			return
		}
		if got != want {
			t.Fatalf("finding %d, want %d for\n%s", got, want, hex.Dump(packet))
		}
		if m == nil {
			return
		}
		before := m.String()
		clear(packet)
		if m.String() != before {
			t.Fatal("the message shares memory with the packet")
		}
	})
}
