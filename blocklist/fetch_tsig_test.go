package blocklist

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// signing answers with messages that it signs itself (RFC 8945 §5.3.1): those of which each says so.
func signing(messages [][]string, signs func(i int) bool, change func(i int, wire []byte) []byte) func(dns.ResponseWriter, *dns.Msg) {
	return func(out dns.ResponseWriter, q *dns.Msg) {
		secret, err := base64.StdEncoding.DecodeString(testKey.Secret)
		if err != nil {
			panic(err)
		}
		asked := q.IsTsig()
		mac, err := hex.DecodeString(asked.MAC)
		if err != nil {
			panic(err)
		}
		var between []byte
		for i, records := range messages {
			m := new(dns.Msg).SetReply(q)
			m.Answer = rrs(records...)
			wire, err := m.Pack()
			if err != nil {
				panic(err)
			}
			if !signs(i) {
				between = append(between, wire...)
				_, _ = out.Write(change(i, wire))
				continue
			}
			h := hmac.New(sha256.New, secret)
			h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(mac))))
			h.Write(mac)
			h.Write(between)
			h.Write(wire)
			now := uint64(time.Now().Unix())
			times := binary.BigEndian.AppendUint64(nil, now<<16|300)
			if i == 0 { // all variables, not only the times
				name := make([]byte, 255)
				n, _ := dns.PackDomainName("transfer-key.", name, 0, nil, false)
				h.Write(name[:n])
				h.Write([]byte{0, 255, 0, 0, 0, 0})
				n, _ = dns.PackDomainName(dns.HmacSHA256, name, 0, nil, false)
				h.Write(name[:n])
				times = append(times, 0, 0, 0, 0)
			}
			h.Write(times)
			mac, between = h.Sum(nil), nil
			m.Extra = append(m.Extra, &dns.TSIG{
				Hdr:       dns.RR_Header{Name: "transfer-key.", Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
				Algorithm: dns.HmacSHA256, TimeSigned: now, Fudge: 300, MACSize: uint16(len(mac)), MAC: hex.EncodeToString(mac), OrigId: m.Id,
			})
			if wire, err = m.Pack(); err != nil {
				panic(err)
			}
			_, _ = out.Write(change(i, wire))
		}
	}
}

func TestTransferSigned(t *testing.T) {
	p := newPrimary(t)
	src := p.source()
	src.TSIG = testKey
	for i, algorithm := range []string{"hmac-sha256", "hmac-sha384", "HMAC-SHA512"} {
		key := *testKey
		key.Algorithm = algorithm
		src.TSIG = &key
		serial := uint32(i + 1)
		p.script(answers(1, soa(serial), recA, recB, soa(serial))) // miekg/dns signs every message
		if changed, err := p.fetch(src); !changed || err != nil {
			t.Errorf("%s: %v, %v", algorithm, changed, err)
		}
	}
	p.script(answers(1, soa(3)))
	src.TSIG = testKey
	p.gets(src, false, "AXFR IXFR IXFR IXFR"[15:], lines(soa(3), recA, recB))

	for what, key := range map[string]*TSIG{
		"unknown": {"other-key", "hmac-sha256", testKey.Secret},
		"secret":  {testKey.Name, "hmac-sha256", "AAAA"},
	} {
		src.TSIG = key
		p.script(func(out dns.ResponseWriter, q *dns.Msg) {
			if out.TsigStatus() == nil {
				t.Errorf("%s: the signature holds", what)
			}
			rcode(dns.RcodeNotAuth)(out, q)
		})
		p.fails(src, "NOTAUTH", "does not know the TSIG key")
		p.script(func(out dns.ResponseWriter, q *dns.Msg) { // RFC 8945 §5.2
			m := new(dns.Msg).SetRcode(q, dns.RcodeNotAuth)
			sig := *q.IsTsig()
			sig.MAC, sig.MACSize, sig.Error = "", 0, dns.RcodeBadKey
			m.Extra = []dns.RR{&sig}
			wire, err := m.Pack()
			must(t, err)
			_, _ = out.Write(wire)
		})
		p.fails(src, "NOTAUTH: BADKEY; it does not know the key")
	}
	src.TSIG = testKey
	p.script(func(out dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = rrs(soa(3))
		m.SetTsig("transfer-key.", dns.HmacSHA256, 300, time.Now().Unix()-1000)
		_ = out.WriteMsg(m)
	})
	p.fails(src, "is signed at", "set the clocks")

	// Some messages need no signature of their own.
	messages := [][]string{{soa(4)}}
	want := []string{}
	for i := range 250 {
		want = append(want, fmt.Sprintf("n%04d.rpz.test.\t60\tIN\tCNAME\t.", i))
		messages = append(messages, want[i:])
	}
	messages = append(messages, []string{soa(4)})
	last := len(messages) - 1
	same := func(_ int, wire []byte) []byte { return wire }
	each := func(n int) func(int) bool { return func(i int) bool { return i == 0 || i%n == 0 || i == last } }
	for _, n := range []int{1, 2, 96, 100} {
		p.Store = openTestStore(t, t.TempDir())
		p.script(signing(messages, each(n), same))
		p.took()
		p.gets(src, true, "AXFR", lines(append([]string{soa(4)}, want...)...))
	}
	p.Store = openTestStore(t, t.TempDir())
	for what, c := range map[string]struct {
		signs  func(int) bool
		change func(int, []byte) []byte
		want   string
	}{
		"the first":       {func(i int) bool { return i > 0 }, same, "without a TSIG signature"},
		"the last":        {func(i int) bool { return i < last }, same, "without a TSIG signature"},
		"none":            {func(int) bool { return false }, same, "without a TSIG signature"},
		"more than 99":    {each(101), same, "without a TSIG signature"},
		"signed changes":  {each(1), flip(100), "has a wrong TSIG signature"},
		"between changes": {each(50), flip(101), "has a wrong TSIG signature"},
		"the last change": {each(50), flip(last), "has a wrong TSIG signature"},
		"one is left out": {each(50), func(i int, wire []byte) []byte {
			if i == 101 {
				return nil
			}
			return wire
		}, "a message that is none"},
	} {
		t.Run(what, func(t *testing.T) {
			p.t = t
			p.script(signing(messages, c.signs, c.change))
			p.fails(src, c.want)
		})
	}
	src.TSIG = &TSIG{testKey.Name, "hmac-sha512", testKey.Secret}
	p.script(signing([][]string{{soa(4), recA, soa(4)}}, each(1), same))
	p.fails(src, "has a wrong TSIG signature")
	src.TSIG = testKey
	p.script(func(out dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetRcode(q, dns.RcodeRefused)
		_ = out.WriteMsg(m)
	})
	p.fails(src, "REFUSED and without a signature", "TSIG key transfer-key.")
}

// flip changes a TTL in the message n.
func flip(n int) func(int, []byte) []byte {
	return func(i int, wire []byte) []byte {
		if i == n {
			m := new(dns.Msg)
			if m.Unpack(wire) != nil {
				return wire
			}
			at := 12
			for at < len(wire) && !(wire[at] == 0 && wire[at+1] == 60) {
				at++
			}
			wire[at+1] ^= 1
		}
		return wire
	}
}
