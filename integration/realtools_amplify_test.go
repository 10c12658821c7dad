//go:build realtools

package integration

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const amplifyConfig = `version = 1
[server]
listen = [%q]
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
` + besideConfig

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
// are larger; a flood in its name comes to no more than 1.5 in all by default, and with
// [limits] from the first second on.
func TestRealAmplification(t *testing.T) {
	needTools(t)
	if !inOwnNetwork(t) {
		return
	}
	start := func(listen, settings string) *weir {
		dir := t.TempDir()
		writeFile(t, dir, "lab.zone", "@ 3600 SOA ns host 1 3600 600 86400 300\n@ 3600 NS ns\nns A 192.0.2.53\n"+
			strings.Repeat("big TXT \""+strings.Repeat("x", 200)+"\"\n", 1)+txtRecords("big", 3))
		return startWeir(t, dir, fmt.Sprintf(amplifyConfig, listen, settings))
	}
	dial := func(w *weir) net.Conn {
		c, err := net.Dial("udp", w.addrs[0].String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	alone := func(w *weir) (worst float64, q []byte) {
		c := dial(w)
		defer c.Close()
		for _, p := range greedy() {
			if r := float64(octetsFor(t, c, [][]byte{p})) / float64(len(p)); r > worst {
				worst, q = r, p
			}
		}
		return worst, q
	}

	w := start("127.0.0.1:0", "[access]\nallow = [\"127.0.0.9/32\"]")
	worst, q := alone(w)
	t.Logf("to an outsider: %.2f octets for one at most", worst)
	if worst > 1.5 || worst == 0 {
		t.Errorf("%.2f octets for one, to %x", worst, q)
	}
	w.stop(t)

	w = start("127.0.0.1:0", "")
	worst, _ = alone(w)
	t.Logf("to a client that may ask, in single questions: %.1f octets for one at most", worst)
	w.stop(t)

	oneName, manyNames := func(int) string { return "big.lab.example." }, func(i int) string { return fmt.Sprintf("n%d.track.example.", i) }
	flood := func(what string, c net.Conn, n int, names func(i int) string) {
		var sent [][]byte
		in := 0
		for i := range n {
			m := new(dns.Msg).SetQuestion(names(i), dns.TypeTXT)
			m.Id = uint16(i % sentinelID) // not the mark's
			m.SetEdns0(65535, false)
			sent = append(sent, mustPack(m))
			in += len(sent[i])
		}
		began := time.Now()
		r := float64(octetsFor(t, c, sent)) / float64(in)
		took := time.Since(began)
		t.Logf("%s: %.2f octets for one, of %d octets a query, %.0f queries/s for %.1f s", what, r, in/n, float64(n)/took.Seconds(), took.Seconds())
		if r > 1.5 {
			t.Errorf("%s: %.2f octets for one", what, r)
		}
	}
	w = start("127.0.0.1:0", "[limits]\nrate = 200\nresponses = 10")
	c := dial(w)
	flood("a flood of one name, with limits", c, 20_000, oneName)
	flood("a flood of many names, with limits", c, 20_000, manyNames)
	c.Close()
	w.stop(t)

	// By default, in the name of a client elsewhere: this machine's own addresses cannot
	// be forged.
	far := newMachine(t)
	cable(t, far, "here", []string{"10.9.0.1/24"}, "there", []string{"10.9.0.2/24"})
	w = start("10.9.0.1:0", "")
	before := w.status(t)
	var err error
	far.do(func() { c, err = net.Dial("udp", w.addrs[0].String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	flood("a flood of both, by default", c, floodQueries, func(i int) string { return []func(int) string{oneName, manyNames}[i%2](i) })
	if n := w.status(t).Resolver.Amplified; n < floodQueries/2 {
		t.Errorf("%d answers were cut", n)
	}
	cutRecord := regexp.MustCompile(`"seq":(\d+)`).FindStringSubmatch(w.run(t, "audit", "search", "--name", "big.lab.example", "--json", "--limit", "1"))
	if cutRecord == nil {
		t.Fatal("no record")
	}
	if said := w.run(t, "explain", "--seq", cutRecord[1]); !strings.Contains(said, "amplification limit") || !strings.Contains(said, "cut, whatever it was") {
		t.Errorf("explained as\n%s", said)
	}
	w.unharmed(t, before)
	w.stop(t)
}

// floodQueries is how long a flood is: the octets that are allowed at once are less than
// a fifth of its own.
const floodQueries = 150_000

// octetsFor sends packets over UDP and returns how many octets come back.
func octetsFor(t *testing.T, c net.Conn, packets [][]byte) (octets int) {
	t.Helper()
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
