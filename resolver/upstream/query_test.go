package upstream

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestQueryIsOurOwn(t *testing.T) {
	q := ask("WWW.Example.test.")
	q.RecursionDesired = false
	q.AuthenticatedData = true
	q.CheckingDisabled = true
	q.SetEdns0(4096, true)
	opt := q.IsEdns0()
	opt.Option = append(opt.Option,
		&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0)},
		&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"})
	before := q.Copy()

	r := honest().start(t)
	for _, scheme := range []string{"udp", "tcp"} {
		m, err := r.open(t, scheme, Options{}).Exchange(within(t, patient), q)
		checkAnswer(t, m, err)
	}
	if d := cmp.Diff(before.String(), q.String()); d != "" {
		t.Errorf("query was changed (-before +after):\n%s", d)
	}
	for i, got := range r.seen(t) {
		want := new(dns.Msg).SetQuestion("WWW.Example.test.", dns.TypeA)
		want.Id = got.Id
		want.AuthenticatedData = true
		want.CheckingDisabled = true
		want.SetEdns0(1232, true)
		if i == 1 { // about the connection, by TCP
			want.IsEdns0().Option = []dns.EDNS0{new(dns.EDNS0_TCP_KEEPALIVE)}
		}
		if d := cmp.Diff(want.String(), got.String()); d != "" {
			t.Errorf("query sent (-want +got):\n%s", d)
		}
	}
}

func TestPortsAndIDsAreFresh(t *testing.T) {
	const rounds = 64
	r := honest().start(t)
	x := r.open(t, "udp", Options{})
	for range rounds {
		m, err := x.Exchange(within(t, patient), ask("www.example.test."))
		checkAnswer(t, m, err)
	}
	ids := make(map[uint16]bool)
	for _, q := range r.seen(t) {
		ids[q.Id] = true
	}
	// Two of 64 may meet by chance; eight will not.
	if len(ids) < rounds-8 || len(r.ports) < rounds-8 {
		t.Errorf("%d queries came with %d IDs from %d ports", rounds, len(ids), len(r.ports))
	}
}

func TestUnfitQueries(t *testing.T) {
	two := ask("www.example.test.")
	two.Question = append(two.Question, two.Question[0])
	notify := ask("www.example.test.")
	notify.Opcode = dns.OpcodeNotify
	label := strings.Repeat("a", 63) + "."
	r := honest().start(t)
	x := r.open(t, "udp", Options{})
	for name, q := range map[string]*dns.Msg{
		"no question":   new(dns.Msg),
		"two questions": two,
		"opcode":        notify,
		"empty name":    ask(""),
		"no root":       {Question: []dns.Question{{Name: "www.example.test", Qtype: 1, Qclass: 1}}},
		"long label":    ask("a" + label),
		"256 octets":    ask(label + label + label + strings.Repeat("b", 62) + "."),
		"long name":     ask(strings.Repeat(label, 5)),
	} {
		if _, err := x.Exchange(within(t, patient), q); !errors.Is(err, errQuery) {
			t.Errorf("%s: error %v, want %v", name, err, errQuery)
		}
	}
	if s := x.Stats(); s != (Stats{}) {
		t.Errorf("stats %+v, want nothing: no server had a part in it", s)
	}
	for _, name := range []string{".", label + label + label + strings.Repeat("b", 61) + ".", `a\.b\000\\.test.`} {
		m, err := x.Exchange(within(t, patient), ask(name))
		checkAnswer(t, m, err)
	}
}

func TestPackLaysOutTheFrame(t *testing.T) {
	var q query
	if err := q.pack(ask("www.example.test."), true); err != nil {
		t.Fatal(err)
	}
	if n := binary.BigEndian.Uint16(q.framed()); int(n) != len(q.packet()) || len(q.framed()) != int(n)+2 {
		t.Errorf("frame says %d octets, packet has %d", n, len(q.packet()))
	}
	if want := "\x03www\x07example\x04test\x00\x00\x01\x00\x01"; string(q.question()) != want {
		t.Errorf("question %q, want %q", q.question(), want)
	}
}

func TestPaddingFillsBlocks(t *testing.T) {
	for _, name := range []string{".", "a.", "www.example.test.", strings.Repeat("a23456789.", 9), strings.Repeat("a23456789.", 25)} {
		for extra := range padBlock {
			label := strings.Repeat("x", extra%60)
			if label != "" {
				label += "."
			}
			full := strings.TrimPrefix(label+name, ".")
			if name == "." && label != "" {
				full = label
			}
			if full == "" || len(full) > 250 {
				full = name
			}
			q := query{padded: true, lasting: extra%2 == 1}
			if err := q.pack(ask(full), true); err != nil {
				t.Fatal(err)
			}
			m := parse(t, q.packet())
			opt := m.IsEdns0()
			if len(q.packet())%padBlock != 0 || len(opt.Option) != 1+extra%2 || opt.Option[extra%2].Option() != dns.EDNS0PADDING {
				t.Fatalf("%s: %d octets with options %v, want whole blocks of %d with padding last", m.Question[0].Name, len(q.packet()), opt.Option, padBlock)
			}
			if err := q.pack(ask(name), false); err != nil || parse(t, q.packet()).IsEdns0() != nil {
				t.Fatalf("%s without EDNS: error %v", name, err)
			}
		}
	}
}

// TestCaseMixing holds that letters are of random case on the wire, that the
// asker never sees it, and that a reply in other letters is not believed.
func TestCaseMixing(t *testing.T) {
	const name = "WWW.some-long-name.Example.test."
	r := honest()
	r.udp = func(n int, query []byte, send func([]byte)) {
		send(reply(query, func(m *dns.Msg) { m.Compress = n%2 == 0 }))
	}
	x := r.start(t).open(t, "udp", Options{CaseMixing: true})
	const rounds = 16
	for range rounds {
		m, err := x.Exchange(within(t, patient), ask(name))
		checkAnswer(t, m, err)
		if q, a := m.Question[0].Name, m.Answer[0].Header().Name; q != name || a != name {
			t.Fatalf("asked for %s, got the question %s and a record of %s", name, q, a)
		}
	}
	spelled := map[string]bool{}
	for _, q := range r.seen(t) {
		spelled[q.Question[0].Name] = true
	}
	if len(spelled) < rounds-1 {
		t.Errorf("%d spellings of a name in %d queries", len(spelled), rounds)
	}
	for s := range spelled {
		if !strings.EqualFold(s, name) {
			t.Errorf("asked for %s instead of %s", s, name)
		}
	}
	if s := x.Stats(); s.Ignored != 0 || s.Opened != 0 {
		t.Errorf("stats %+v, want nothing ignored and no connection", s)
	}
}

func TestOtherCaseIsAskedByTCP(t *testing.T) {
	r := honest()
	r.udp = func(_ int, query []byte, send func([]byte)) {
		send(reply(query, func(m *dns.Msg) {
			m.Question[0].Name = strings.ToLower(m.Question[0].Name)
			m.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 66)
		}))
	}
	r.tcp = func(_ int, query []byte, conn net.Conn) { // case may differ there
		conn.Write(frame(reply(query, func(m *dns.Msg) { m.Question[0].Name = strings.ToLower(m.Question[0].Name) })))
	}
	x := r.start(t).open(t, "udp", Options{CaseMixing: true, Resend: patient})
	const name = "some-long-name-of-many-letters.example.test."
	m, err := x.Exchange(within(t, patient), ask(name))
	checkAnswer(t, m, err)
	if m.Question[0].Name != name {
		t.Errorf("asked for %s, got %s", name, m.Question[0].Name)
	}
	if s := x.Stats(); s.Ignored != 1 || s.Opened != 1 {
		t.Errorf("stats %+v, want one ignored and one connection", s)
	}
}

// parseQuietly is parse for scripts of servers.
func parseQuietly(b []byte) *dns.Msg {
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		panic(err)
	}
	return m
}
