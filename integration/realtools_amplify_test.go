//go:build realtools

package integration

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const amplifyConfig = `version = 1
[server]
listen = ["127.0.0.1:0"]
[access]
allow = [%q]
%s
[upstream.default]
servers = ["udp://192.0.2.53"]
[[zone]]
name = "lab.example"
file = "lab.zone"
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "block"
domains = ["track.example"]
[audit]
path = "audit"
[admin]
socket = "s"
`

// greedy are the questions that have the largest answers for their size, as whoever
// forges a sender would ask.
func greedy() (out [][]byte) {
	for _, name := range []string{"big.lab.example.", "lab.example.", "track.example.", "nothing.lab.example.", "www.example.", "localhost."} {
		for _, typ := range []uint16{dns.TypeTXT, dns.TypeANY, dns.TypeDNSKEY, dns.TypeNS, dns.TypeSOA, dns.TypeHTTPS, dns.TypeAXFR} {
			q := new(dns.Msg).SetQuestion(name, typ)
			q.Id = 1 // not the mark's, which a random one could be
			out = append(out, mustPack(q))
			q.SetEdns0(65535, true)
			out = append(out, mustPack(q))
			o := q.IsEdns0()
			o.Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}}
			out = append(out, mustPack(q))
			o.Option = []dns.EDNS0{&dns.EDNS0_PADDING{}}
			out = append(out, mustPack(q))
			o.Option = nil
			o.SetVersion(7)
			out = append(out, mustPack(q))
			q.Opcode = dns.OpcodeStatus
			out = append(out, mustPack(q))
		}
	}
	return out
}

// TestRealAmplification measures how many octets an address gets over UDP for each that
// is sent in its name without a cookie. Whoever is not in [access] is refused, with at
// most 1.5 times as many, whatever is asked. A client that may ask gets answers, which
// are larger; with [limits] a flood in its name comes to no more than 1.5 in all.
func TestRealAmplification(t *testing.T) {
	needTools(t)
	start := func(access, limits string) *weir {
		dir := t.TempDir()
		writeFile(t, dir, "lab.zone", "@ 3600 SOA ns host 1 3600 600 86400 300\n@ 3600 NS ns\nns A 192.0.2.53\n"+
			strings.Repeat("big TXT \""+strings.Repeat("x", 200)+"\"\n", 1)+txtRecords("big", 3))
		return startWeir(t, dir, fmt.Sprintf(amplifyConfig, access, limits))
	}
	alone := func(w *weir) (worst float64, q []byte) {
		for _, p := range greedy() {
			if r := float64(w.octetsFor(t, [][]byte{p})) / float64(len(p)); r > worst {
				worst, q = r, p
			}
		}
		return worst, q
	}

	w := start("127.0.0.9/32", "")
	worst, q := alone(w)
	t.Logf("to an outsider: %.2f octets for one at most", worst)
	if worst > 1.5 || worst == 0 {
		t.Errorf("%.2f octets for one, to %x", worst, q)
	}
	w.stop(t)

	w = start("127.0.0.0/8", "")
	worst, _ = alone(w)
	t.Logf("to a client that may ask, without limits: %.1f octets for one at most", worst)
	w.stop(t)

	w = start("127.0.0.0/8", "[limits]\nrate = 200\nresponses = 10")
	for _, flood := range []struct {
		name  string
		names func(i int) string
	}{
		{"one name", func(int) string { return "big.lab.example." }},
		{"many names", func(i int) string { return fmt.Sprintf("n%d.track.example.", i) }},
	} {
		var sent [][]byte
		in := 0
		for i := range 20_000 {
			m := new(dns.Msg).SetQuestion(flood.names(i), dns.TypeTXT)
			m.Id = uint16(i) // below the mark's
			m.SetEdns0(65535, false)
			sent = append(sent, mustPack(m))
			in += len(sent[i])
		}
		r := float64(w.octetsFor(t, sent)) / float64(in)
		t.Logf("a flood of %s in the name of a client, with limits: %.2f octets for one", flood.name, r)
		if r > 1.5 {
			t.Errorf("a flood of %s: %.2f octets for one", flood.name, r)
		}
	}
	w.stop(t)
}

// octetsFor sends packets over UDP and returns how many octets come back.
func (w *weir) octetsFor(t *testing.T, packets [][]byte) (octets int) {
	t.Helper()
	c, err := net.Dial("udp", w.addrs[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 65536)
	// What was sent has been dealt with once a mark has its answer, which no limit holds
	// back: its cookie is a good one from the second on.
	mark := new(dns.Msg).SetQuestion("mark.track.example.", dns.TypeA)
	mark.Id = sentinelID
	mark.SetEdns0(1232, false)
	cookie := &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}
	mark.IsEdns0().Option = []dns.EDNS0{cookie}
	until := func() (octets int) {
		if _, err := c.Write(mustPack(mark)); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			m := new(dns.Msg)
			if err := m.Unpack(buf[:n]); err != nil {
				t.Fatal(err)
			}
			if m.Id == sentinelID {
				cookie.Cookie = m.IsEdns0().Option[0].(*dns.EDNS0_COOKIE).Cookie
				return octets
			}
			octets += n
		}
	}
	until()
	for chunk := range slices.Chunk(packets, 50) {
		for _, p := range chunk {
			if _, err := c.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		octets += until()
	}
	return octets
}
