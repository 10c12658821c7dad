package resolver

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"weir/audit"
)

// notification packs what a primary sends for "ZONE TYPE".
func notification(t testing.TB, question string, edit ...func(*dns.Msg)) []byte {
	t.Helper()
	return query(t, question, append([]func(*dns.Msg){func(m *dns.Msg) {
		m.Opcode, m.Authoritative, m.RecursionDesired = dns.OpcodeNotify, true, false
	}}, edit...)...)
}

// TestNotify: a primary is heard although it is no client, and nobody else is.
func TestNotify(t *testing.T) {
	set := town(t)
	var heard []string
	set.notify = func(zone []byte, from netip.Addr) bool {
		heard = append(heard, presentation(zone)+" "+from.String())
		return string(zone) == "\x03rpz\x07example\x00" && from == netip.MustParseAddr("192.0.2.53")
	}
	w := newWorld(t, set)
	soa := func(m *dns.Msg) { m.Answer = append(m.Answer, rr("rpz.example. 60 SOA ns. host. 2 3 4 5 6")) }
	two := func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }
	signed := func(m *dns.Msg) { m.Extra = append(m.Extra, rr("key. 0 TXT signature")) }
	plain := notification(t, "rpz.example. SOA")
	const primary = "rpz.example. 192.0.2.53"
	for _, c := range []struct {
		name   string
		client string
		msg    []byte
		want   string
		heard  string
	}{
		{"primary", "192.0.2.53", plain, "NOERROR aa", primary},
		{"IPv4 in IPv6", "::ffff:192.0.2.53", plain, "NOERROR aa", primary},
		{"other spelling", "192.0.2.53", notification(t, "RPZ.Example. SOA"), "NOERROR aa", primary},
		{"with the record", "192.0.2.53", notification(t, "rpz.example. SOA", soa), "NOERROR aa", primary},
		{"EDNS and signature", "192.0.2.53", notification(t, "rpz.example. SOA", soa, edns, signed), "NOERROR aa", primary},
		{"client that is no primary", "127.0.0.1", plain, "REFUSED", "rpz.example. 127.0.0.1"},
		{"other zone", "192.0.2.53", notification(t, "example. SOA"), "REFUSED", "example. 192.0.2.53"},
		{"blocked name", "127.0.0.1", notification(t, "track.example. SOA"), "REFUSED", "track.example. 127.0.0.1"},
		{"other class", "192.0.2.53", notification(t, "rpz.example. SOA", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "REFUSED", ""},
		{"other type", "192.0.2.53", notification(t, "rpz.example. A"), "FORMERR", ""},
		{"two questions", "192.0.2.53", notification(t, "rpz.example. SOA", two), "FORMERR", ""},
		{"two answers", "192.0.2.53", notification(t, "rpz.example. SOA", soa, soa), "FORMERR", ""},
		{"cut name", "192.0.2.53", plain[:18], "FORMERR", ""},
		{"pointer to itself", "192.0.2.53", append(bytes.Clone(plain[:12]), 0xc0, 12, 0, 6, 0, 1), "FORMERR", ""},
		{"header alone", "192.0.2.53", plain[:12], "FORMERR", ""},
		{"response", "192.0.2.53", notification(t, "rpz.example. SOA", func(m *dns.Msg) { m.Response = true }), "silence", ""},
	} {
		for _, over := range []audit.Transport{audit.UDP, audit.TCP} {
			heard = nil
			got := w.exchangeOver(over, c.client, c.msg)
			if show(t, got) != c.want || c.heard == "" && heard != nil || c.heard != "" && !slices.Equal(heard, []string{c.heard}) {
				t.Errorf("%s: %s, heard %q, want %s and %q", c.name, show(t, got), heard, c.want, c.heard)
			}
			if c.want == "silence" {
				continue
			}
			m, sent := unpack(t, got), new(dns.Msg)
			if m.Opcode != dns.OpcodeNotify || !m.Response || m.Id != 0x1234 {
				t.Errorf("%s: header %+v", c.name, m.MsgHdr)
			}
			if c.want != "FORMERR" && (sent.Unpack(c.msg) != nil || !slices.Equal(sent.Question, m.Question) || (sent.IsEdns0() == nil) != (m.IsEdns0() == nil)) {
				t.Errorf("%s: %v in answer to %v", c.name, m, sent)
			}
		}
	}

	heard = nil
	w.reload(func(s *setup) { s.notify = nil })
	if got := show(t, w.exchange("192.0.2.53", plain)); got != "NOTIMP" {
		t.Errorf("where nobody listens: %s", got)
	}
	if got := w.ask("rpz.example. SOA"); got == "NOERROR aa" || heard != nil {
		t.Errorf("a question was taken for a notification: %s", got)
	}
}

// TestNotifyIsRecorded like any other packet.
func TestNotifyIsRecorded(t *testing.T) {
	set := town(t)
	set.notify = func(_ []byte, from netip.Addr) bool { return from == netip.MustParseAddr("192.0.2.53") }
	w := newWorld(t, set)
	w.exchange("192.0.2.53", notification(t, "rpz.example. SOA"))
	w.exchange("127.0.0.1", notification(t, "rpz.example. SOA"))
	w.exchange("192.0.2.53", notification(t, "rpz.example. A"))
	var got []string
	for _, r := range w.events() {
		got = append(got, fmt.Sprint(r.Client, " ", r.Verdict, " ", r.Name, " ", r.Type, " ", r.Source, " ", r.Rcode, " ", r.Revision))
	}
	if d := cmp.Diff([]string{
		"192.0.2.53 allow rpz.example SOA local NOERROR 1",
		"127.0.0.1 allow rpz.example SOA refused REFUSED 1",
		"192.0.2.53 allow   error FORMERR 1",
	}, got); d != "" {
		t.Error(d)
	}
}
