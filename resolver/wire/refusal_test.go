package wire

import (
	"bytes"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

// A refusal has the question and the EDNS options of the reply in whose place it comes.
func TestARefusalIsAReplyToTheSameQuestion(t *testing.T) {
	for _, edns := range []bool{false, true} {
		m := new(dns.Msg)
		m.SetReply(new(dns.Msg).SetQuestion("www.shop.example.", dns.TypeA))
		m.CheckingDisabled, m.RecursionAvailable, m.Authoritative = true, true, true
		rr, err := dns.NewRR("www.shop.example. 60 IN A 192.0.2.7")
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr, rr)
		if edns {
			m.SetEdns0(1232, true)
			m.IsEdns0().Option = []dns.EDNS0{
				&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}, &dns.EDNS0_EDE{InfoCode: 3},
			}
		}
		packed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		reply := append(make([]byte, 0, len(packed)+40), packed...)
		out := AppendRefusal(reply[:0], reply, RcodeServFail, AppendEDE(nil, 0, "audit store full"))
		if &out[0] != &reply[:1][0] {
			t.Error("it is not in the place of the reply")
		}
		got := new(dns.Msg)
		if err := got.Unpack(out); err != nil {
			t.Fatal(err)
		}
		if got.Rcode != dns.RcodeServerFailure || got.Id != m.Id || !got.Response || !got.CheckingDisabled || !got.RecursionAvailable || got.Authoritative ||
			len(got.Question) != 1 || got.Question[0] != m.Question[0] || len(got.Answer) > 0 || (got.IsEdns0() != nil) != edns {
			t.Errorf("EDNS %v: %v", edns, got)
		}
		if !edns {
			continue
		}
		o := got.IsEdns0().Option
		if len(o) != 2 || o[0].String() != m.IsEdns0().Option[0].String() || o[1].(*dns.EDNS0_EDE).ExtraText != "audit store full" || !got.IsEdns0().Do() {
			t.Errorf("options %v", o)
		}
	}
}

func FuzzRefusal(f *testing.F) {
	f.Add([]byte("\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			return
		}
		if out := AppendRefusal(nil, b, RcodeServFail, nil); len(out) > len(b) || !bytes.Equal(out[:2], b[:2]) {
			t.Fatalf("%x becomes %x", b, out)
		}
		before, after := new(dns.Msg), new(dns.Msg)
		if before.Unpack(b) != nil || len(before.Question) != 1 {
			return
		}
		packed, err := before.Pack() // which holds all that it claims to
		if err != nil {
			return
		}
		out := AppendRefusal(nil, packed, RcodeServFail, nil)
		if err := after.Unpack(out); err != nil || len(after.Question) != 1 || after.Question[0] != before.Question[0] || hasOPT(after) != hasOPT(before) {
			t.Fatalf("%x becomes %x: %v", packed, out, err)
		}
	})
}

// hasOPT says that a message has an OPT record, whose owner is the root (RFC 6891 §6.1.2).
func hasOPT(m *dns.Msg) bool {
	return slices.ContainsFunc(m.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT && rr.Header().Name == "." })
}
