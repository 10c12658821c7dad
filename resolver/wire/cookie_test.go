package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

func octets(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSipHash holds the first and last vectors of the authors' reference
// implementation: key 00 01 .. 0f, input 00 01 .. of that length.
func TestSipHash(t *testing.T) {
	var key [16]byte
	var in [64]byte
	for i := range in {
		in[i] = byte(i)
	}
	copy(key[:], in[:])
	for n, want := range map[int]string{0: "310e0edd47db6f72", 1: "fd67dc93c539f874", 7: "37d1018bf50002ab", 8: "6224939a79f5f593", 15: "e545be4961ca29a1", 63: "724506eb4c328a95"} {
		var got [8]byte
		binary.LittleEndian.PutUint64(got[:], sipHash(&key, in[:n]))
		if hex.EncodeToString(got[:]) != want {
			t.Errorf("of %d octets: %x, want %s", n, got, want)
		}
	}
}

// TestCookieVectors are those of RFC 9018, appendix A.
func TestCookieVectors(t *testing.T) {
	for _, c := range []struct {
		name, secret, client, query string
		now                         uint32
		valid                       bool
		reply                       string
	}{
		{
			"A.1 a new server cookie", "e5e973e5a6b2a43f48e7dc849e37bfcf", "198.51.100.100", "2464c4abcf10c957",
			1559731985, false, "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
		},
		{
			"A.2 the same client, later", "e5e973e5a6b2a43f48e7dc849e37bfcf", "198.51.100.100", "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
			1559734385, true, "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
		},
		{
			"A.3 another client, reserved octets set", "e5e973e5a6b2a43f48e7dc849e37bfcf", "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
			1559734700, false, "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
		},
		{
			"A.4 IPv6, with the new secret", "445536bcd2513298075a5d379663c962", "2001:db8:220:1:59de:d0f4:8769:82b8", "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
			1559741961, false, "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
		},
		{
			"A.4 IPv6, by the old secret", "dd3bdf9344b678b185a6f5cb60fca715", "2001:db8:220:1:59de:d0f4:8769:82b8", "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
			1559741961, true, "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
		},
	} {
		secret := CookieSecret(octets(t, c.secret))
		client := netip.MustParseAddr(c.client)
		var k Cookie
		k.Read(octets(t, c.query))
		valid := k.Valid(&secret, client, c.now)
		if valid != c.valid {
			t.Errorf("%s: valid %v", c.name, valid)
		}
		if got := hex.EncodeToString(k.Append(nil, valid, &secret, client, c.now)); got != "000a0018"+c.reply {
			t.Errorf("%s: %s, want 000a0018%s", c.name, got, c.reply)
		}
	}
	// The reserved octets are hashed as they come: A.3's cookie holds at its own time.
	secret := CookieSecret(octets(t, "e5e973e5a6b2a43f48e7dc849e37bfcf"))
	var k Cookie
	k.Read(octets(t, "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5"))
	if !k.Valid(&secret, netip.MustParseAddr("203.0.113.203"), 0x5cf78f71) {
		t.Error("A.3's cookie is not valid at its own time")
	}
}

func TestCookieLife(t *testing.T) {
	secret, client := CookieSecret{1, 2, 3}, netip.MustParseAddr("192.0.2.1")
	var asked Cookie
	asked.Read([]byte("8 octets"))
	for _, made := range []uint32{1_800_000_000, 100, 1<<32 - 100} { // before and after the clock's end too
		var k Cookie
		k.Read(asked.Append(nil, false, &secret, client, made)[4:])
		for _, c := range []struct {
			later int32
			valid bool
			same  bool
		}{{0, true, true}, {-300, true, true}, {-301, false, false}, {1800, true, true}, {1801, true, false}, {3600, true, false}, {3601, false, false}} {
			now := made + uint32(c.later)
			valid := k.Valid(&secret, client, now)
			if valid != c.valid {
				t.Errorf("after %d s: valid %v", c.later, valid)
			}
			var next Cookie
			next.Read(k.Append(nil, valid, &secret, client, now)[4:])
			if !next.Valid(&secret, client, now) || (next == k) != c.same {
				t.Errorf("after %d s: renewed %v, want the same %v", c.later, next != k, c.same)
			}
		}
		for i := range k.octets {
			forged := k
			forged.octets[i] ^= 0x40
			if forged.Valid(&secret, client, made) {
				t.Errorf("octet %d is not looked at", i)
			}
		}
		if k.Valid(&secret, netip.MustParseAddr("192.0.2.2"), made) || k.Valid(&CookieSecret{}, client, made) {
			t.Error("it holds for another client or secret")
		}
	}
}

func TestCookieLengths(t *testing.T) {
	for n := range 50 {
		want := BadCookie
		switch {
		case n == 24:
			want = BothCookies
		case n == 8 || n >= 16 && n <= 40:
			want = ClientCookie
		}
		msg := query(t, "a.example.", TypeA, func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = []dns.EDNS0{
				&dns.EDNS0_LOCAL{Code: 65002, Data: make([]byte, 3)},
				&dns.EDNS0_LOCAL{Code: OptionCookie, Data: make([]byte, n)},
				&dns.EDNS0_LOCAL{Code: OptionCookie, Data: make([]byte, 8)},
			}
		})
		var q Query
		if err := q.Parse(msg); err != nil || q.Cookie.Kind != want {
			t.Errorf("%d octets: %v, kind %d, want %d", n, err, q.Cookie.Kind, want)
		}
	}
	var q Query
	if err := q.Parse(query(t, "a.example.", TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false) })); err != nil || q.Cookie.Kind != NoCookie {
		t.Errorf("without an option: %v, kind %d", err, q.Cookie.Kind)
	}
}

// TestAppendCookie: it comes before an Extended DNS Error, which goes first
// where there is no room, and with a reply that is cut.
func TestAppendCookie(t *testing.T) {
	msg := query(t, "www.example.com.", TypeA, func(m *dns.Msg) { m.SetEdns0(512, false) })
	rep := frozen(t, "www.example.com.", 0, "www.example.com. 300 IN A 192.0.2.1")
	var q Query
	if err := q.Parse(msg); err != nil {
		t.Fatal(err)
	}
	cookie := append([]byte{0, OptionCookie, 0, 24}, make([]byte, 24)...)
	ede := AppendEDE(nil, 15, "why")
	whole := len(rep.Append(nil, msg, &q, Finish{Limit: MaxUDP}))
	for _, c := range []struct {
		limit   int
		options int
		tc      bool
	}{{whole + 28 + len(ede), 2, false}, {whole + 28 + len(ede) - 1, 1, false}, {whole + 28, 1, false}, {whole + 27, 1, true}, {MaxUDP, 2, false}} {
		out := rep.Append(nil, msg, &q, Finish{Limit: c.limit, Cookie: cookie, EDE: ede})
		var m dns.Msg
		if err := m.Unpack(out); err != nil {
			t.Fatal(err)
		}
		opts := m.IsEdns0().Option
		if len(out) > c.limit || m.Truncated != c.tc || len(opts) != c.options || opts[0].Option() != OptionCookie {
			t.Errorf("limit %d: %d octets, %v", c.limit, len(out), &m)
		}
	}
	if q.Parse(query(t, "www.example.com.", TypeA, nil)) != nil {
		t.Fatal("plain query")
	}
	if out := rep.Append(nil, msg, &q, Finish{Limit: MaxUDP, Cookie: cookie}); len(out) != whole-optSize {
		t.Errorf("without EDNS: %d octets, want %d", len(out), whole-optSize)
	}
}

// FuzzOptions holds the walk over EDNS options against the decoder: what it
// takes for a cookie is the first such option, and there may be one hardware
// address.
func FuzzOptions(f *testing.F) {
	f.Add(octets(f, "000a00082464c4abcf10c957"))
	f.Add(octets(f, "000a00182464c4abcf10c957010000005cf79f111f8130c3eee29480"))
	f.Add(octets(f, "000a0003000000000a0008123456781234567800030000000800040001200000ff"))
	f.Add(octets(f, "fde9000602005e100001fde9000602005e100002"))
	f.Add(octets(f, "fde90000fde90000"))
	f.Add(octets(f, "000b0000"))
	f.Add(octets(f, "000b0000000b0000"))
	f.Add(octets(f, "000b000200ff000b0000"))
	f.Add(octets(f, "fde9000602005e1000010008000700011800c00002000c000400000000ffff0000"))
	f.Fuzz(func(t *testing.T, options []byte) {
		if len(options) > 4000 {
			return
		}
		msg := query(t, "a.example.", TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false) })
		binary.BigEndian.PutUint16(msg[len(msg)-2:], uint16(len(options)))
		msg = append(msg, options...)
		var q Query
		fast := q.Parse(msg)
		var m dns.Msg
		if m.Unpack(msg) != nil {
			return // the decoder looks into options that are ignored here
		}
		opt := m.IsEdns0().Option
		macs, times, alive := 0, 0, 0
		for _, o := range opt {
			switch k, ok := o.(*dns.EDNS0_TCP_KEEPALIVE); {
			case o.Option() == OptionMAC:
				macs++
			case ok:
				times++
				alive += map[bool]int{true: 1}[k.Timeout == 0]
			}
		}
		if alive > 0 && bytes.Contains(options, []byte{0, 11, 0, 2, 0, 0}) {
			return // the decoder does not tell no time from none
		}
		if (fast == nil) != (len(opt) <= maxOptions && macs <= 1 && times <= 1) {
			t.Fatalf("parsed with %v, decoder found %d options", fast, len(opt))
		}
		if fast != nil {
			return
		}
		var cookie Cookie
		var mac [6]byte
		for _, o := range opt {
			switch o := o.(type) {
			case *dns.EDNS0_COOKIE:
				cookie.Read(octets(t, o.Cookie))
			case *dns.EDNS0_LOCAL:
				if o.Code == OptionMAC && len(o.Data) == len(mac) {
					mac = [6]byte(o.Data)
				}
			}
		}
		if (alive == 1) != q.Keepalive {
			t.Fatalf("keepalive %v, decoder found %d", q.Keepalive, alive)
		}
		if cookie != q.Cookie || mac != q.MAC {
			t.Fatalf("cookie %+v, MAC %x, decoder %+v, %x", q.Cookie, q.MAC, cookie, mac)
		}
	})
}

func BenchmarkCookie(b *testing.B) {
	secret, client := CookieSecret{1}, netip.MustParseAddr("192.0.2.1")
	var k, asked Cookie
	asked.Read(make([]byte, 8))
	k.Read(asked.Append(nil, false, &secret, client, 9)[4:])
	out := make([]byte, 0, CookieSize)
	b.Run("valid", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			out = k.Append(out[:0], k.Valid(&secret, client, 10), &secret, client, 10)
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			out = asked.Append(out[:0], false, &secret, client, 10)
		}
	})
}
