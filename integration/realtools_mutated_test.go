//go:build realtools

package integration

import (
	"bytes"
	octet "encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// How many packets TestRealMutatedPackets and replies TestRealMutatedReplies send;
// WEIR_PACKETS and WEIR_REPLIES ask for more than every change has time for.
const (
	mutatedPackets = 150_000
	mutatedReplies = 15_000
)

// asMany is the number in an environment variable, or the usual one.
func asMany(t *testing.T, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// mutated is packet with up to three mistakes in it, as line noise, a bad program or
// an enemy make them.
func mutated(random *rand.Rand, packet []byte) []byte {
	out := bytes.Clone(packet)
	for range random.IntN(4) {
		if len(out) < 4 {
			break
		}
		at := random.IntN(len(out))
		switch random.IntN(9) {
		case 0, 1:
			out[at] ^= 1 << random.IntN(8)
		case 2:
			out[at] = byte(random.Uint32())
		case 3: // numbers at the edges, pointers, counts
			edges := []uint16{0, 1, 0x3f, 0x40, 0xff, 0x7fff, 0x8000, 0xc000, 0xc00c, 0xffff}
			octet.BigEndian.PutUint16(out[min(at, len(out)-2):], edges[random.IntN(len(edges))])
		case 4:
			out = out[:at]
		case 5:
			for range random.IntN(40) {
				out = append(out, byte(random.Uint32()))
			}
		case 6: // something stands there twice
			to := min(at+random.IntN(40), len(out))
			out = append(out[:to:to], out[at:]...)
		case 7: // something is missing
			out = append(out[:at:at], out[min(at+random.IntN(20), len(out)):]...)
		case 8: // in the header, where it has most effect
			out[random.IntN(min(12, len(out)))] = byte(random.Uint32())
		}
	}
	return out[:min(len(out), 4000)]
}

const mutatedConfig = onLoopback + `[upstream.default]
servers = ["udp://%s"]
[[zone]]
name = "lab.example"
records = ["@ 3600 NS ns", "ns 3600 A 192.0.2.53", "www 300 A 192.0.2.10"]
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "block"
domains = ["track.example"]
[limits]
late = "0s" # an answer that is late on a busy machine counts as one too
` + besideConfig

// addressOf is the address that the upstream of mutated packets gives a name, in
// wire form and lower case.
func addressOf(name []byte) [4]byte {
	var a [4]byte
	octet.BigEndian.PutUint32(a[:], crc32.ChecksumIEEE(name)|1)
	return a
}

// lowered is the uncompressed name at the start of b with its letters in lower case;
// nil if there is none.
func lowered(b []byte) []byte {
	for n := 0; n < len(b) && n < 255 && b[n] < 64; n += 1 + int(b[n]) {
		if b[n] > 0 {
			continue
		}
		name := bytes.Clone(b[:n+1])
		for i, c := range name {
			if 'A' <= c && c <= 'Z' { // lengths are below
				name[i] = c + 'a' - 'A'
			}
		}
		return name
	}
	return nil
}

// startHashed is an upstream that knows every name: questions for A get its
// addressOf, all others an empty answer.
func startHashed(t *testing.T) string {
	t.Helper()
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			buf := make([]byte, 4096)
			for {
				n, from, err := pc.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				name := lowered(buf[12:n])
				end := 12 + len(name) + 4
				if name == nil || end > n {
					continue
				}
				out := append([]byte{buf[0], buf[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, buf[12:end]...)
				if buf[end-3] == byte(dns.TypeA) && buf[end-4] == 0 {
					a := addressOf(name)
					out[7] = 1
					out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
					out = append(out, a[:]...)
				}
				_, _ = pc.WriteToUDPAddrPort(out, from)
			}
		})
	}
	t.Cleanup(func() {
		pc.Close()
		wg.Wait()
	})
	return pc.LocalAddr().String()
}

// seeds are queries that mistakes are made in.
func seeds(t *testing.T) (out [][]byte) {
	t.Helper()
	for _, name := range []string{"www.lab.example.", "nothing.lab.example.", "x.track.example.", "www.example.", "localhost.", "9.2.0.192.in-addr.arpa.", ".", strings.Repeat("abcdefghi.", 25)} {
		for _, typ := range []uint16{dns.TypeA, dns.TypeHTTPS, dns.TypeANY, dns.TypeAXFR, dns.TypeDS} {
			q := new(dns.Msg).SetQuestion(name, typ)
			out = append(out, mustPack(q))
			q.SetEdns0(1232, typ == dns.TypeDS)
			q.IsEdns0().Option = []dns.EDNS0{
				&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"},
				&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0)},
				&dns.EDNS0_PADDING{Padding: make([]byte, 20)},
			}
			out = append(out, mustPack(q))
		}
	}
	notify := new(dns.Msg).SetNotify("lab.example.")
	update := new(dns.Msg).SetUpdate("lab.example.")
	update.Insert([]dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "www.lab.example.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, 1)}})
	signed := new(dns.Msg).SetQuestion("www.lab.example.", dns.TypeA)
	signed.SetTsig("key.", dns.HmacSHA256, 300, 1)
	return append(out, mustPack(notify), mustPack(update), mustPack(signed))
}

// TestRealMutatedPackets sends packets with mistakes in them. Each that is a query gets
// one answer; another library reads it; it fits; its question is the packet's; its
// address is the one that upstream or the zone has for that name, and none for a
// name that is blocked. Nothing panics and nothing is left behind.
func TestRealMutatedPackets(t *testing.T) {
	needTools(t)
	n := asMany(t, "WEIR_PACKETS", mutatedPackets)
	w := startWeir(t, t.TempDir(), fmt.Sprintf(mutatedConfig, startHashed(t)))
	before := w.status(t)
	bases := seeds(t)
	const senders, window = 4, 50
	var wg sync.WaitGroup
	var answers, queries atomic.Int64
	rcodes := make([]atomic.Int64, 32)
	began := time.Now()
	for sender := range uint64(senders) {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(7, sender))
			c, err := net.Dial("udp", w.addrs[0].String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			buf := make([]byte, 65536)
			for range n / senders / window {
				sent := map[uint16][]byte{}
				for i := range window {
					p := mutated(random, bases[random.IntN(len(bases))])
					if len(p) >= 2 {
						octet.BigEndian.PutUint16(p, uint16(i))
					}
					if len(p) >= 12 && p[2]&0x80 == 0 {
						sent[uint16(i)] = p
					}
					if _, err := c.Write(p); err != nil {
						t.Error(err)
						return
					}
				}
				queries.Add(int64(len(sent)))
				// What needs no answer would be answered before this is.
				if _, err := c.Write(mustPack(sentinel())); err != nil {
					t.Error(err)
					return
				}
				sent[sentinelID] = nil
				_ = c.SetReadDeadline(time.Now().Add(patience))
				for len(sent) > 0 {
					size, err := c.Read(buf)
					if err != nil {
						for _, p := range sent {
							t.Errorf("no answer to %d packets, such as %x: %v", len(sent), p, err)
							return
						}
					}
					id := octet.BigEndian.Uint16(buf)
					p, ok := sent[id]
					if !ok {
						t.Errorf("an answer to nothing, or a second one: %x", buf[:size])
						return
					}
					delete(sent, id)
					if id == sentinelID {
						continue
					}
					rcode, err := judgeAnswer(p, buf[:size])
					if err != nil {
						t.Errorf("%v: query %x, answer %x", err, p, buf[:size])
						return
					}
					answers.Add(1)
					rcodes[rcode].Add(1)
				}
			}
		})
	}
	wg.Wait()
	told := map[string]int64{}
	for rcode := range rcodes {
		if k := rcodes[rcode].Load(); k > 0 {
			told[dns.RcodeToString[rcode]] = k
		}
	}
	took := time.Since(began)
	t.Logf("%d packets, %d queries among them, %d answers in %v: %v", n/senders/window*senders*window, queries.Load(), answers.Load(), took.Round(time.Second), told)
	w.unharmed(t, before)
	w.stop(t)
}

// judgeAnswer says what is wrong with an answer to a packet.
func judgeAnswer(query, answer []byte) (rcode int, err error) {
	m := new(dns.Msg)
	if err := m.Unpack(answer); err != nil {
		return 0, fmt.Errorf("another library: %w", err)
	}
	limit := 1232
	asked := new(dns.Msg)
	if asked.Unpack(query) == nil && asked.IsEdns0() == nil {
		limit = 512
	}
	const aaTC = 0x06 // are ours to set
	switch {
	case len(answer) > limit:
		return 0, fmt.Errorf("%d octets, %d fit", len(answer), limit)
	case answer[2]&^aaTC != query[2]&0x79|0x80:
		return 0, errors.New("another header than asked for")
	}
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeFormatError, dns.RcodeNameError, dns.RcodeNotImplemented, dns.RcodeRefused, dns.RcodeBadVers, dns.RcodeBadCookie, dns.RcodeNotAuth:
	default:
		return 0, fmt.Errorf("rcode %s", dns.RcodeToString[m.Rcode])
	}
	if len(m.Question) == 0 {
		if len(m.Answer)+len(m.Ns) > 0 || m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError {
			return 0, errors.New("an answer without a question")
		}
		return m.Rcode, nil
	}
	name := lowered(query[12:])
	if end := 12 + len(name) + 4; len(name) == 0 || end > len(query) || end > len(answer) || !bytes.Equal(answer[12:end], query[12:end]) {
		return 0, errors.New("another question")
	}
	blocked := bytes.HasSuffix(name, []byte("\x05track\x07example\x00")) && isBelow(name, []byte("\x05track\x07example\x00"))
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			want := addressOf(name)
			if blocked {
				return 0, errors.New("a blocked name has an address")
			}
			switch string(name) {
			case "\x03www\x03lab\x07example\x00":
				want = [4]byte{192, 0, 2, 10}
			case "\x02ns\x03lab\x07example\x00":
				want = [4]byte{192, 0, 2, 53}
			}
			if isBelow(name, []byte("\x09localhost\x00")) {
				want = [4]byte{127, 0, 0, 1}
			}
			if !bytes.Equal(rr.A.To4(), want[:]) {
				return 0, fmt.Errorf("the address %v, which nobody has said; want %v", rr.A, want)
			}
		case *dns.HINFO, *dns.SOA, *dns.NS, *dns.PTR, *dns.AAAA: // of ANY, and of local zones
			if blocked {
				return 0, errors.New("a blocked name has data")
			}
		default:
			return 0, fmt.Errorf("a record that nobody has: %v", rr)
		}
	}
	return m.Rcode, nil
}

// isBelow says that a wire name is zone or below it.
func isBelow(name, zone []byte) bool {
	for off := 0; off < len(name); off += 1 + int(name[off]) {
		if bytes.Equal(name[off:], zone) {
			return true
		}
	}
	return false
}

// unharmed fails the test unless weir has panicked nowhere, lost nothing, and comes
// back to the goroutines and descriptors that it had before.
func (w *weir) unharmed(t *testing.T, before weirStatus) {
	t.Helper()
	for limit := time.Now().Add(patience); ; {
		st := w.settled(t)
		upstreams := upstreamStats(t, w)
		if st.Resolver.Panics+upstreams.Panics > 0 || st.Audit.Lost > 0 {
			t.Fatalf("%d and %d panics, %d records lost", st.Resolver.Panics, upstreams.Panics, st.Audit.Lost)
		}
		if st.Process.Goroutines <= before.Process.Goroutines+2 && st.Process.Descriptors <= before.Process.Descriptors+2 {
			t.Logf("%d goroutines, %d descriptors before; %d, %d after", before.Process.Goroutines, before.Process.Descriptors, st.Process.Goroutines, st.Process.Descriptors)
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("held %+v before, %+v now", before.Process, st.Process)
		}
	}
}
