package wire

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// query packs a question the way a client does.
func query(t testing.TB, name string, typ uint16, edit func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	m.Id = 0x1234
	if edit != nil {
		edit(m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAdmit(t *testing.T) {
	good := query(t, "www.example.com.", TypeA, nil)
	header := func(edit func([]byte)) []byte {
		b := bytes.Clone(good)
		edit(b)
		return b
	}
	for _, c := range []struct {
		name string
		msg  []byte
		want Admission
	}{
		{"query", good, Accept},
		{"empty", nil, Ignore},
		{"eleven octets", good[:11], Ignore},
		{"response", header(func(b []byte) { b[2] |= 0x80 }), Ignore},
		{"status", header(func(b []byte) { b[2] |= 2 << 3 }), Unsupported},
		{"notify", header(func(b []byte) { b[2] |= 4 << 3 }), Notify},
		{"notify with an answer", header(func(b []byte) { b[2] |= 4 << 3; b[7] = 1 }), Notify},
		{"notify with two answers", header(func(b []byte) { b[2] |= 4 << 3; b[7] = 2 }), Malformed},
		{"notify without a question", header(func(b []byte) { b[2] |= 4 << 3; b[5] = 0 }), Malformed},
		{"notify with two questions", header(func(b []byte) { b[2] |= 4 << 3; b[5] = 2 }), Malformed},
		{"notify with an authority record", header(func(b []byte) { b[2] |= 4 << 3; b[9] = 1 }), Malformed},
		{"notify with three additional records", header(func(b []byte) { b[2] |= 4 << 3; b[11] = 3 }), Malformed},
		{"notify of 65537 answers", header(func(b []byte) { b[2] |= 4 << 3; b[6], b[7] = 1, 0 }), Malformed},
		{"response to a notify", header(func(b []byte) { b[2] |= 0x80 | 4<<3 }), Ignore},
		{"update", header(func(b []byte) { b[2] |= 5 << 3 }), Unsupported},
		{"no question", header(func(b []byte) { b[5] = 0 }), Malformed},
		{"no question, an additional record", header(func(b []byte) { b[5], b[11] = 0, 1 }), Bare},
		{"no question, two additional records", header(func(b []byte) { b[5], b[11] = 0, 2 }), Malformed},
		{"no question, an answer and an additional record", header(func(b []byte) { b[5], b[7], b[11] = 0, 1, 1 }), Malformed},
		{"notify without a question, with an additional record", header(func(b []byte) { b[2] |= 4 << 3; b[5], b[11] = 0, 1 }), Malformed},
		{"two questions", header(func(b []byte) { b[5] = 2 }), Malformed},
		{"65535 questions", header(func(b []byte) { b[4], b[5] = 255, 255 }), Malformed},
		{"an answer", header(func(b []byte) { b[7] = 1 }), Malformed},
		{"an authority record", header(func(b []byte) { b[8] = 1 }), Malformed},
		{"two additional records", header(func(b []byte) { b[11] = 2 }), Accept},
		{"three additional records", header(func(b []byte) { b[11] = 3 }), Malformed},
	} {
		if got := Admit(c.msg); got != c.want {
			t.Errorf("%s: admission %d, want %d", c.name, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	msg := query(t, "WWW.eXample.COM.", TypeHTTPS, func(m *dns.Msg) {
		m.SetEdns0(4096, true)
		m.CheckingDisabled = true
		m.AuthenticatedData = true
	})
	var q Query
	if err := q.Parse(msg); err != nil {
		t.Fatal(err)
	}
	if got, want := string(q.Name()), "\x03www\x07example\x03com\x00"; got != want {
		t.Errorf("name %q, want %q", got, want)
	}
	if got := string(q.Question(msg)[:5]); got != "\x03WWW\x07" {
		t.Errorf("question %q lost the asker's spelling", got)
	}
	if q.ID != 0x1234 || q.Type != TypeHTTPS || q.Class != ClassINET || !q.RD || !q.CD || !q.AD ||
		!q.EDNS || !q.DO || q.UDPSize != 4096 || q.Version != 0 || q.Limit() != MaxUDP {
		t.Errorf("parsed %+v", q)
	}
	if got, want := string(q.Key()), "\x03www\x07example\x03com\x00\x00\x41\x00\x01\x03\x00\x00"; got != want {
		t.Errorf("key %q, want %q", got, want)
	}
	if err := q.Parse(query(t, ".", TypeA, nil)); err != nil || string(q.Name()) != "\x00" || q.EDNS || q.Limit() != 512 {
		t.Errorf("root: %v %+v", err, q)
	}
}

func TestParseIsOdd(t *testing.T) {
	plain := query(t, "a.example.", TypeA, nil)
	edns := query(t, "a.example.", TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false) })
	put := func(msg []byte, off int, with ...byte) []byte {
		b := bytes.Clone(msg)
		copy(b[off:], with)
		return b
	}
	long := append(slices.Clone(plain[:12]), bytes.Repeat([]byte("\x3f"+strings.Repeat("x", 63)), 4)...)
	for name, msg := range map[string][]byte{
		"compressed":           put(plain, 12, 0xc0, 0x0c),
		"reserved label":       put(plain, 12, 0x40),
		"cut name":             plain[:15],
		"cut type":             plain[:len(plain)-3],
		"junk at the end":      append(bytes.Clone(plain), 0),
		"name of 256 octets":   append(long, 0, 0, 1, 0, 1),
		"additional not OPT":   put(edns, len(edns)-10, 0, 6),
		"option length wrong":  put(edns, len(edns)-1, 9),
		"cut OPT":              edns[:len(edns)-1],
		"two additional":       put(edns, 11, 2),
		"OPT but none counted": put(edns, 11, 0),
	} {
		if err := new(Query).Parse(msg); !errors.Is(err, ErrOdd) {
			t.Errorf("%s: error %v, want ErrOdd", name, err)
		}
	}
}

func TestLowerIsASCIIOnly(t *testing.T) {
	for c := range 256 {
		src := bytes.Repeat([]byte{byte(c)}, 11)
		dst := make([]byte, 24)
		lower(dst, src, len(src))
		want := byte(c)
		if 'A' <= c && c <= 'Z' {
			want += 'a' - 'A'
		}
		if !bytes.Equal(dst[:11], bytes.Repeat([]byte{want}, 11)) {
			t.Errorf("octet %#x became %q", c, dst[:11])
		}
	}
}

// frozen packs records under a question and freezes the result.
func frozen(t testing.TB, name string, rcode int, records ...string) *Reply {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, TypeA)
	m.Response, m.Compress, m.Rcode = true, true, rcode
	for _, s := range records {
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Freeze(b)
	if err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestAppend(t *testing.T) {
	rep := frozen(t, "www.example.com.", 0, "www.example.com. 300 IN CNAME web.example.com.", "web.example.com. 60 IN A 192.0.2.1")
	if rep.MinTTL != 60 {
		t.Errorf("smallest TTL %d, want 60", rep.MinTTL)
	}
	msg := query(t, "WwW.example.com.", TypeA, func(m *dns.Msg) { m.SetEdns0(1232, true); m.CheckingDisabled = true })
	var q Query
	if err := q.Parse(msg); err != nil {
		t.Fatal(err)
	}
	out := rep.Append(nil, msg, &q, Finish{Age: 70, Limit: q.Limit(), EDE: AppendEDE(nil, 15, "policy: ads")})
	var m dns.Msg
	if err := m.Unpack(out); err != nil {
		t.Fatal(err)
	}
	if m.Id != 0x1234 || !m.Response || !m.RecursionDesired || !m.RecursionAvailable || !m.CheckingDisabled || m.Zero ||
		m.Truncated || m.Authoritative || m.AuthenticatedData {
		t.Errorf("header %+v", m.MsgHdr)
	}
	if m.Question[0].Name != "WwW.example.com." || m.Answer[0].Header().Name != "WwW.example.com." {
		t.Errorf("spelling changed: %v", m)
	}
	if a, b := m.Answer[0].Header().Ttl, m.Answer[1].Header().Ttl; a != 230 || b != 0 {
		t.Errorf("TTLs after 70 s: %d and %d, want 230 and 0", a, b)
	}
	opt := m.IsEdns0()
	if opt == nil || !opt.Do() || opt.UDPSize() != MaxUDP || len(opt.Option) != 1 {
		t.Fatalf("OPT %v", opt)
	}
	if ede, ok := opt.Option[0].(*dns.EDNS0_EDE); !ok || ede.InfoCode != 15 || ede.ExtraText != "policy: ads" {
		t.Errorf("option %v", opt.Option[0])
	}

	out = rep.Append(out[:0], msg, &q, Finish{Limit: len(out) - 17})
	if err := m.Unpack(out); err != nil || m.Truncated {
		t.Errorf("without EDE it fits: %v %v", err, m)
	}
	out = rep.Append(out[:0], msg, &q, Finish{Limit: 60})
	if err := m.Unpack(out); err != nil || !m.Truncated || len(m.Answer) != 0 || m.IsEdns0() == nil {
		t.Errorf("cut reply: %v %v", err, m)
	}
	out = rep.Append(out[:0], msg, &q, Finish{Limit: 512, Rcode: RcodeBadVers})
	if err := m.Unpack(out); err != nil || m.Rcode != dns.RcodeBadVers {
		t.Errorf("extended rcode %d, want BADVERS", m.Rcode)
	}
	if got := rep.Append(nil, msg, &q, Finish{Limit: 20}); len(got) != 0 {
		t.Errorf("%d octets under a limit of 20", len(got))
	}
}

func TestBuiltReplyFitsAnyQuestion(t *testing.T) {
	var rep Reply
	rep.AddRR(&rep.An, SelfPointer, TypeA, 60, []byte{192, 0, 2, 9})
	rep.AddRR(&rep.Ns, []byte("\x04test\x00"), TypeSOA, 30, append([]byte("\x00\x00"), make([]byte, 20)...))
	for _, name := range []string{".", "a.", "a.long.name.example."} {
		msg := query(t, name, TypeA, nil)
		var q Query
		if err := q.Parse(msg); err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		if err := m.Unpack(rep.Append(nil, msg, &q, Finish{Limit: 512})); err != nil {
			t.Fatal(err)
		}
		if len(m.Answer) != 1 || m.Answer[0].Header().Name != name || len(m.Ns) != 1 || rep.MinTTL != 30 {
			t.Errorf("%s: %v", name, m)
		}
	}
}

func TestAppendError(t *testing.T) {
	var m dns.Msg
	if err := m.Unpack(AppendError(nil, []byte{9, 8, 0x29, 0xff, 1, 1, 1, 1, 1, 1, 1, 1}, RcodeNotImp)); err != nil {
		t.Fatal(err)
	}
	if m.Id != 0x0908 || !m.Response || m.Opcode != 5 || !m.RecursionDesired || m.Rcode != RcodeNotImp || m.Zero {
		t.Errorf("header %+v", m.MsgHdr)
	}
}

func TestEDETextIsWholeCharacters(t *testing.T) {
	opt := AppendEDE(nil, 15, strings.Repeat("x", 199)+"é!")
	if got := string(opt[6:]); got != strings.Repeat("x", 199) {
		t.Errorf("text ends in %q", got[190:])
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	msg := query(t, "www.example.com.", TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false) })
	rep := frozen(t, "www.example.com.", 0, "www.example.com. 300 IN A 192.0.2.1")
	var q Query
	out := make([]byte, 0, MaxUDP)
	if n := testing.AllocsPerRun(1000, func() {
		if Admit(msg) != Accept || q.Parse(msg) != nil {
			t.Fatal("not accepted")
		}
		out = rep.Append(out[:0], msg, &q, Finish{Age: 1, Limit: q.Limit()})
	}); n != 0 {
		t.Fatalf("%v allocations, want 0", n)
	}
}

// FuzzParse holds the narrow parser against a full decoder: whatever it
// accepts, the decoder accepts too and reads the same.
func FuzzParse(f *testing.F) {
	f.Add(query(f, "www.example.com.", TypeA, nil))
	f.Add(query(f, "A.b.C.", TypeHTTPS, func(m *dns.Msg) { m.SetEdns0(512, true) }))
	f.Add(query(f, `a\.b\000.example.`, TypeANY, func(m *dns.Msg) {
		m.SetEdns0(4096, false)
		o := m.IsEdns0()
		o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")})
	}))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if Admit(msg) != Accept {
			return
		}
		var q Query
		if q.Parse(msg) != nil {
			return
		}
		var m dns.Msg
		if err := m.Unpack(msg); err != nil {
			if q.EDNS {
				return // the decoder also reads inside options, where this one only walks
			}
			t.Fatalf("accepted what the decoder refuses: %v\n%x", err, msg)
		}
		want := m.Question[0]
		buf := make([]byte, 260)
		n, err := dns.PackDomainName(dns.CanonicalName(want.Name), buf, 0, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(q.Name(), buf[:n]) || q.Type != want.Qtype || q.Class != want.Qclass ||
			q.ID != m.Id || q.RD != m.RecursionDesired || q.CD != m.CheckingDisabled || q.AD != m.AuthenticatedData {
			t.Fatalf("read %q %d %d, decoder %v", q.Name(), q.Type, q.Class, m)
		}
		opt := m.IsEdns0()
		if (opt != nil) != q.EDNS || opt != nil && (opt.UDPSize() != q.UDPSize || opt.Do() != q.DO || opt.Version() != q.Version) {
			t.Fatalf("EDNS %v %d %v, decoder %v", q.EDNS, q.UDPSize, q.DO, opt)
		}
	})
}

// FuzzFreeze freezes what a packer writes and holds what comes out of Append
// against the decoder: every record, with its TTL counted down, and nothing else.
func FuzzFreeze(f *testing.F) {
	seed := func(name string, records ...string) {
		rep := frozen(f, name, 0, records...)
		msg := query(f, name, TypeA, nil)
		var q Query
		_ = q.Parse(msg)
		f.Add(rep.Append(nil, msg, &q, Finish{Limit: MaxTCP}), uint32(7))
	}
	seed("www.example.com.", "www.example.com. 300 IN CNAME web.example.com.", "web.example.com. 60 IN A 192.0.2.1")
	seed("none.example.com.", "example.com. 300 IN SOA ns.example.com. host.example.com. 1 2 3 4 5")
	f.Fuzz(func(t *testing.T, packed []byte, age uint32) {
		_, _ = Freeze(packed) // must only not panic
		var src dns.Msg
		if src.Unpack(packed) != nil || len(src.Question) != 1 || len(src.Extra) > 0 {
			return
		}
		src.Compress = true
		packed, err := src.Pack()
		if err != nil {
			return
		}
		rep, err := Freeze(packed)
		if err != nil {
			t.Fatalf("%v: %v", err, &src)
		}
		if src.Unpack(packed) != nil {
			return
		}
		msg := append([]byte{1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, packed[headerSize:len(packed)-len(rep.Tail)]...)
		var q Query
		if q.Parse(msg) != nil {
			return
		}
		out := rep.Append(nil, msg, &q, Finish{Age: age, Limit: MaxTCP})
		var got dns.Msg
		if err := got.Unpack(out); err != nil {
			t.Fatalf("%v after Append of %v", err, src)
		}
		if got.Truncated != src.Truncated {
			t.Fatalf("TC changed: %v", got)
		}
		if rep.Partial {
			return
		}
		for i, part := range [][2][]dns.RR{{src.Answer, got.Answer}, {src.Ns, got.Ns}, {src.Extra, got.Extra}} {
			if len(part[0]) != len(part[1]) {
				t.Fatalf("section %d: %d records, want %d", i, len(part[1]), len(part[0]))
			}
			for j, rr := range part[0] {
				rr.Header().Ttl -= min(rr.Header().Ttl, age)
				if rr.String() != part[1][j].String() {
					t.Fatalf("record %v became %v", rr, part[1][j])
				}
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for name, msg := range map[string][]byte{
		"plain": query(b, "www.example.com.", TypeA, nil),
		"edns":  query(b, "www.example.com.", TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false) }),
		"long":  query(b, "a1b2c3d4e5f6.eu-west-1.cdn.customer.example.com.", TypeA, nil),
	} {
		b.Run(name, func(b *testing.B) {
			var q Query
			b.ReportAllocs()
			for b.Loop() {
				if Admit(msg) != Accept || q.Parse(msg) != nil {
					b.Fatal("not accepted")
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	msg := query(b, "www.example.com.", TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false) })
	rep := frozen(b, "www.example.com.", 0, "www.example.com. 300 IN A 192.0.2.1")
	var q Query
	if err := q.Parse(msg); err != nil {
		b.Fatal(err)
	}
	out := make([]byte, 0, MaxUDP)
	b.ReportAllocs()
	for b.Loop() {
		out = rep.Append(out[:0], msg, &q, Finish{Age: 1, Limit: MaxUDP})
	}
}
