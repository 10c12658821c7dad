package resolver

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"weir/audit"
	"weir/blocklist"
	"weir/resolver/wire"
)

// fortress is a world where evil.example is blocked, and an upstream that has
// an address for every name, or answers with what is given.
func fortress(t testing.TB, given *atomic.Pointer[[]dns.RR]) (*world, *server) {
	s := newServer(t, map[string]handler{"*": func(q, m *dns.Msg) bool {
		if p := given.Load(); p != nil {
			m.Answer = *p
			return true
		}
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{address(q.Question[0].Name, 66)}
		}
		return true
	}})
	return newWorld(t, setup{
		lists:    map[string]string{"ads": "evil.example\n"},
		sinkhole: SinkholeConfig{TTL: 60},
		upstream: s,
		policies: []blocklist.PolicyConfig{{Name: "p", Any: true, Rules: []blocklist.RuleConfig{
			{Action: blocklist.ActionBlock, Categories: []string{"ads"}},
		}}},
	}), s
}

func address(owner string, last byte) dns.RR {
	return &dns.A{Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: []byte{192, 0, 2, last}}
}

// evil draws the wire name of evil.example or of one below it: labels of any
// octets, letters in any case.
func evil(t *rapid.T) []byte {
	var name []byte
	for range rapid.IntRange(0, 120).Draw(t, "depth") {
		label := rapid.SliceOfN(rapid.Byte(), 1, 63).Draw(t, "label")
		if len(name)+1+len(label)+len("\x04evil\x07example\x00") > 255 {
			break
		}
		name = append(append(name, byte(len(label))), label...)
	}
	for _, label := range []string{"evil", "example"} {
		name = append(name, byte(len(label)))
		for _, c := range []byte(label) {
			if rapid.Bool().Draw(t, "upper") {
				c -= 'a' - 'A'
			}
			name = append(name, c)
		}
	}
	return append(name, 0)
}

// opt draws an OPT record, and whether its version and options are such as an
// answer needs.
func opt(t *rapid.T) (record []byte, good bool) {
	record = []byte{0, 0, wire.TypeOPT}
	record = binary.BigEndian.AppendUint16(record, rapid.Uint16().Draw(t, "size"))
	version := rapid.SampledFrom([]byte{0, 0, 0, 1}).Draw(t, "version")
	record = append(record, rapid.Byte().Draw(t, "extended rcode"), version)
	record = binary.BigEndian.AppendUint16(record, rapid.Uint16().Draw(t, "flags"))
	var options []byte
	n := rapid.IntRange(0, 34).Draw(t, "options")
	for range n {
		data := rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "data")
		options = binary.BigEndian.AppendUint16(options, rapid.Uint16().Draw(t, "code"))
		options = append(binary.BigEndian.AppendUint16(options, uint16(len(data))), data...)
	}
	record = binary.BigEndian.AppendUint16(record, uint16(len(options)))
	return append(record, options...), version == 0 && n <= 32
}

// TestNoSpellingPasses: whatever is done to a question for a blocked name, its
// answer is no data and no upstream is asked; and as long as it is a question,
// it is answered as blocked.
func TestNoSpellingPasses(outer *testing.T) {
	w, s := fortress(outer, new(atomic.Pointer[[]dns.RR]))
	rapid.Check(outer, func(t *rapid.T) {
		name := evil(t)
		msg := binary.BigEndian.AppendUint16(nil, rapid.Uint16().Draw(t, "id"))
		msg = append(msg, rapid.Byte().Draw(t, "flags")&0x07, rapid.Byte().Draw(t, "more flags"))
		msg = append(msg, 0, 1, 0, 0, 0, 0, 0, 0)
		msg = append(msg, name...)
		msg = binary.BigEndian.AppendUint16(msg, rapid.Uint16().Draw(t, "type"))
		msg = binary.BigEndian.AppendUint16(msg, rapid.OneOf(rapid.Just[uint16](1), rapid.Uint16()).Draw(t, "class"))
		question := true
		if rapid.Bool().Draw(t, "edns") {
			record, good := opt(t)
			msg, msg[11] = append(msg, record...), 1
			question = good
		}
		switch rapid.IntRange(0, 5).Draw(t, "trick") {
		case 0: // counts that are not so
			at := rapid.IntRange(4, 11).Draw(t, "count")
			msg[at] ^= rapid.ByteRange(1, 255).Draw(t, "by")
			question = false
		case 1: // octets behind
			msg = append(msg, rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "behind")...)
			question = false
		case 2: // an end that comes early
			msg = msg[:rapid.IntRange(12, len(msg)-1).Draw(t, "length")]
			question = false
		case 3: // the name's end elsewhere
			msg = slices.Concat(msg[:12+len(name)-1], []byte{0xc0, byte(rapid.IntRange(0, 255).Draw(t, "pointer"))}, msg[12+len(name):])
			question = false
		}
		over := rapid.SampledFrom([]audit.Transport{audit.UDP, audit.TCP}).Draw(t, "over")

		b := w.exchangeOver(over, "", msg)
		m := new(dns.Msg)
		if err := m.Unpack(b); err != nil {
			t.Fatalf("reply % x: %v", b, err)
		}
		switch {
		case len(m.Answer) > 0:
			t.Fatalf("data for a blocked name: %v", m)
		case question && m.Rcode != dns.RcodeNameError,
			m.Rcode != dns.RcodeNameError && m.Rcode != dns.RcodeFormatError && m.Rcode != dns.RcodeBadVers:
			t.Fatalf("rcode %s", rcodeName(m.Rcode))
		}
		if asked := s.questions(); len(asked) > 0 {
			t.Fatalf("upstream was asked for %q", asked)
		}
	})
	for _, e := range w.events() {
		if e.Verdict == "block" != (e.Rcode == "NXDOMAIN") || e.Verdict == "block" && e.Entry != "evil.example" {
			outer.Errorf("record %+v", e)
		}
	}
}

// TestNoAliasPasses: an answer whose chain of aliases, targets included, meets a
// blocked name is blocked, from upstream and from memory, wherever in the chain
// and however spelled it is; one whose does not is passed on.
func TestNoAliasPasses(outer *testing.T) {
	var given atomic.Pointer[[]dns.RR]
	w, _ := fortress(outer, &given)
	asked := 0
	rapid.Check(outer, func(t *rapid.T) {
		asked++
		owner := fmt.Sprintf("q%d.shop.example.", asked)
		question := owner + " " + rapid.SampledFrom([]string{"A", "HTTPS"}).Draw(t, "type")
		hops := rapid.IntRange(0, maxChain).Draw(t, "hops")
		blockedAt := rapid.IntRange(1, maxChain*2).Draw(t, "blocked at") // beyond the chain: nowhere
		target := func(hop int) string {
			if hop == blockedAt {
				return presentation(evil(t))
			}
			return fmt.Sprintf("q%d-%d.shop.example.", asked, hop)
		}
		var records []dns.RR
		for hop := range hops {
			next := target(hop + 1)
			records = append(records, &dns.CNAME{Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60}, Target: next})
			owner = next
		}
		blocked := blockedAt <= hops
		if strings.HasSuffix(question, "HTTPS") {
			last := &dns.HTTPS{SVCB: dns.SVCB{Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeHTTPS, Class: dns.ClassINET, Ttl: 60}, Priority: 1, Target: target(hops + 1)}}
			records = append(records, last)
			blocked = blockedAt <= hops+1
		} else {
			records = append(records, address(owner, 1))
		}
		want := len(records)
		for range rapid.IntRange(0, 3).Draw(t, "gifts") { // that are no part of the answer
			records = append(records, address(presentation(evil(t)), 66))
		}
		records = rapid.Permutation(records).Draw(t, "order")
		given.Store(&records)
		for range 2 {
			got := unpack(outer, w.exchangeOver(audit.TCP, "", query(outer, question, edns)))
			switch {
			case blocked && (got.Rcode != dns.RcodeNameError || len(got.Answer) > 0):
				t.Fatalf("passed: %v", got)
			case !blocked && (got.Rcode != dns.RcodeSuccess || len(got.Answer) != want):
				t.Fatalf("not passed as %d records: %v", want, got)
			}
		}
	})
}

// FuzzBypass: of no packet at all does a blocked name reach the upstream.
func FuzzBypass(f *testing.F) {
	w, s := fortress(f, new(atomic.Pointer[[]dns.RR]))
	for _, name := range []string{"evil.example.", "EVIL.Example.", `foo\.good.evil.example.`, `\000.evil.example.`, `evil\000.example.`, "www.shop.example."} {
		f.Add(query(f, name+" A"), false)
		f.Add(query(f, name+" HTTPS", edns), true)
		f.Add(query(f, name+" ANY", dnssec, func(m *dns.Msg) {
			m.Extra = append(m.Extra, rr("evil.example. 0 A 192.0.2.1"))
			m.Question[0].Qclass = dns.ClassANY
		}), true)
	}
	double := query(f, "www.shop.example. A")
	double[5] = 2
	f.Add(append(double, query(f, "evil.example. A")[12:]...), false)
	f.Fuzz(func(t *testing.T, msg []byte, tcp bool) {
		w.t = t
		defer func() { w.t = f }()
		over := audit.UDP
		if tcp {
			over = audit.TCP
		}
		b := w.exchangeOver(over, "", msg)
		for _, asked := range s.forget() {
			if name := asked[:strings.LastIndexByte(asked, ' ')]; dns.IsSubDomain("evil.example.", name) {
				t.Fatalf("upstream was asked for %s by % x", asked, msg)
			}
		}
		if b == nil {
			return
		}
		m := unpack(t, b)
		for _, q := range m.Question {
			if dns.IsSubDomain("evil.example.", q.Name) && (len(m.Answer) > 0 || m.Rcode == dns.RcodeSuccess) {
				t.Fatalf("% x was answered %v", msg, m)
			}
		}
	})
}
