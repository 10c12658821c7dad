package resolver

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"weir/blocklist"
)

// TestSinkholeAnswers: each kind of answer, for each type, set for all rules or
// by the rule itself; the Extended DNS Error comes with EDNS alone, addresses
// for the Internet's class alone.
func TestSinkholeAnswers(t *testing.T) {
	const soa = " / x.track.example. 77 SOA 77;"
	for _, c := range []struct {
		answer                 blocklist.Answer
		a, aaaa, other, client string
	}{
		{blocklist.AnswerDefault, "NXDOMAIN" + soa, "NXDOMAIN" + soa, "NXDOMAIN" + soa, "NXDOMAIN"},
		{blocklist.AnswerNXDOMAIN, "NXDOMAIN" + soa, "NXDOMAIN" + soa, "NXDOMAIN" + soa, "NXDOMAIN"},
		{blocklist.AnswerNodata, "NOERROR" + soa, "NOERROR" + soa, "NOERROR" + soa, "NOERROR"},
		{blocklist.AnswerNull, "NOERROR x.track.example. 77 A 0.0.0.0;", "NOERROR x.track.example. 77 AAAA ::;", "NOERROR" + soa, "NOERROR"},
		{blocklist.AnswerAddress, "NOERROR x.track.example. 77 A 192.0.2.1; x.track.example. 77 A 192.0.2.2;", "NOERROR x.track.example. 77 AAAA 2001:db8::1;", "NOERROR" + soa, "NOERROR"},
		{blocklist.AnswerRefused, "REFUSED", "REFUSED", "REFUSED", "REFUSED"},
		{blocklist.AnswerDrop, "silence", "silence", "silence", ""},
	} {
		for _, byRule := range []bool{false, true} {
			set := setup{
				lists: map[string]string{"ads": "track.example\n"},
				sinkhole: SinkholeConfig{
					Answer: c.answer, TTL: 77,
					Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.2")},
				},
				policies: []blocklist.PolicyConfig{{Name: "p", Any: true, Rules: []blocklist.RuleConfig{{Action: blocklist.ActionBlock, Categories: []string{"ads"}}}}},
			}
			if byRule { // the rule's answer wins
				set.policies[0].Rules[0].Answer = c.answer
				if c.answer != blocklist.AnswerDefault {
					set.sinkhole.Answer = blocklist.AnswerRefused
				}
			}
			w := newWorld(t, set)
			for typ, want := range map[string]string{"A": c.a, "AAAA": c.aaaa, "HTTPS": c.other, "TXT": c.other, "SOA": c.other, "TYPE65280": c.other} {
				plain := w.ask("x.track.example. " + typ)
				if plain != want {
					t.Errorf("%v %s: %s, want %s", c.answer, typ, plain, want)
				}
				for _, class := range []uint16{dns.ClassCHAOS, dns.ClassANY, 0} {
					if got := w.ask("x.track.example. "+typ, func(m *dns.Msg) { m.Question[0].Qclass = class }); got != c.other {
						t.Errorf("%v %s of class %d: %s, want %s", c.answer, typ, class, got, c.other)
					}
				}
				if want != "silence" {
					rcode, rest, _ := strings.Cut(want, " ")
					want = strings.TrimSpace(rcode + ` ede 15 "p: ads" ` + rest)
				}
				if got := w.ask("x.track.example. "+typ, edns); got != want {
					t.Errorf("%v %s with EDNS: %s, want %s", c.answer, typ, got, want)
				}
			}
		}
	}
}

func answerOf(t *testing.T, word string) blocklist.Answer {
	t.Helper()
	a, err := blocklist.ParseAnswer(word)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
