//go:build realtools

package integration

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// stormConfig has an upstream that says nothing and one that is not there, few
// places and short times, so that all limits are reached and storms end soon.
const stormConfig = onLoopback + `tcp_connections = 300
tcp_per_client = 100
tcp_first = "300ms"
tcp_idle = "600ms"
tcp_write = "500ms"
[resolver]
max_inflight = 1000
deadline = "300ms"
[upstream.default]
servers = ["udp://%s"]
timeout = "200ms"
[upstream.dead]
servers = ["udp://%s"]
[[forward]]
zones = ["dead.example"]
upstream = "dead"
[[zone]]
name = "lab.example"
records = ["@ 3600 NS ns", "ns 3600 A 192.0.2.53", "*.host 300 A 192.0.2.10"%s]
` + openToAll

// stormy is a weir under storms, with the two ways its configuration may be.
type stormy struct {
	*weir
	configs [2]string
	reloads int
}

func startStormy(t *testing.T) *stormy {
	t.Helper()
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0") // and nobody reads it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	dead := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := &stormy{configs: [2]string{
		fmt.Sprintf(stormConfig, silent.LocalAddr(), dead, ""),
		fmt.Sprintf(stormConfig, silent.LocalAddr(), dead, `, "more 300 A 192.0.2.11"`),
	}}
	s.weir = startWeir(t, t.TempDir(), s.configs[0])
	return s
}

// reload puts the other configuration in force.
func (s *stormy) reload(t *testing.T) {
	t.Helper()
	s.reloads++
	writeFile(t, s.dir, "config.toml", s.configs[s.reloads%2])
	s.run(t, "reload")
}

// holds is what weir holds once its cache is empty and its memory collected,
// which a reload that changes something does.
func (s *stormy) holds(t *testing.T) holding {
	t.Helper()
	s.run(t, "cache", "flush", "--all")
	s.reload(t)
	return s.status(t).Process
}

// TestRealStorms holds that weir comes back to what it held before, in
// goroutines, memory and descriptors, from each of the storms that a network or
// an operator can make. The first round of them takes what is kept for use again.
func TestRealStorms(t *testing.T) {
	s := startStormy(t)
	addr := s.addrs[0].String()
	storms := []struct {
		name string
		run  func(t *testing.T)
	}{
		{"random names and a silent upstream", func(t *testing.T) { floodUDP(t, addr, 50_000, randomName) }},
		{"random names and a dead upstream", func(t *testing.T) {
			floodUDP(t, addr, 50_000, func() string { return fmt.Sprintf("%x.dead.example.", rand.Uint64()) })
		}},
		{"connections that open and close", func(t *testing.T) { openAndClose(t, addr, 5000) }},
		{"octet by octet", func(t *testing.T) { slowloris(t, addr, 600) }},
		{"pipelines that nobody reads", func(t *testing.T) { pipelines(t, addr, 100, 300) }},
		{"reloads under load", func(t *testing.T) {
			for range 10 {
				floodUDP(t, addr, 500, randomName)
				s.reload(t)
			}
		}},
	}
	for _, storm := range storms {
		storm.run(t)
	}
	before := s.calm(t, func(holding) bool { return true })
	before = s.calm(t, func(h holding) bool { // until the second collection finds what the first has let go
		less := h.Heap < before.Heap || h.Goroutines < before.Goroutines || h.Descriptors < before.Descriptors
		before = h
		return !less
	})
	t.Logf("before the storms it holds %+v", before)
	for _, storm := range storms {
		t.Run(storm.name, func(t *testing.T) {
			storm.run(t)
			began := time.Now()
			now := s.calm(t, func(h holding) bool {
				return h.Goroutines <= before.Goroutines+1 && h.Descriptors <= before.Descriptors+1 && h.Heap <= before.Heap+before.Heap/10
			})
			t.Logf("%d goroutines, %d descriptors, %d KiB before; %d, %d, %d KiB after it, in %v", before.Goroutines, before.Descriptors, before.Heap>>10,
				now.Goroutines, now.Descriptors, now.Heap>>10, time.Since(began).Round(time.Millisecond))
			if m := askTCP(t, addr, "a.host.lab.example", dns.TypeA); len(m.Answer) != 1 {
				t.Errorf("after the storm: %v", m)
			}
		})
	}
	st := s.settled(t)
	t.Logf("%d queries answered, %d for want of room SERVFAIL, %d idle connections closed for others", st.Resolver.Answered, st.Resolver.Overload, st.Resolver.Evicted)
	if st.Resolver.Overload == 0 || st.Resolver.Evicted == 0 || st.Resolver.Panics != 0 {
		t.Errorf("the storms reached no limit, or a fault: %+v", st.Resolver)
	}
	s.stop(t)
}

// calm waits until what weir holds is as it should be.
func (s *stormy) calm(t *testing.T, right func(holding) bool) holding {
	t.Helper()
	for limit := time.Now().Add(patience); ; {
		now := s.holds(t)
		if right(now) {
			return now
		}
		if time.Now().After(limit) {
			t.Fatalf("it still holds %+v", now)
		}
	}
}

func randomName() string { return fmt.Sprintf("%x.example.", rand.Uint64()) }

// floodUDP sends n questions from several sockets and leaves the answers.
func floodUDP(t *testing.T, addr string, n int, name func() string) {
	t.Helper()
	var conns []net.Conn
	for range 20 {
		conns = append(conns, dialFrom(t, "udp", addr))
	}
	q := new(dns.Msg).SetQuestion(".", dns.TypeA)
	for i := range n {
		q.Id, q.Question[0].Name = uint16(i), name()
		if _, err := conns[i%len(conns)].Write(mustPack(q)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range conns {
		c.Close()
	}
}

// dialFrom connects from an address of this machine's 127.0.0.0/8, one of many.
func dialFrom(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	c, err := dialAs(network, addr, netip.AddrFrom4([4]byte{127, 1, byte(rand.N(250)), byte(1 + rand.N(250))}))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func dialAs(network, addr string, from netip.Addr) (net.Conn, error) {
	d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	if network == "udp" {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return d.Dial(network, addr)
}

// openAndClose makes n connections, of which some ask before they go, some go in
// the middle of a question, and some by a reset.
func openAndClose(t *testing.T, addr string, n int) {
	t.Helper()
	whole := prefixed(mustPack(new(dns.Msg).SetQuestion("a.host.lab.example.", dns.TypeA)))
	for i := range n {
		c := dialFrom(t, "tcp", addr)
		_, _ = c.Write(whole[:[]int{0, 1, 5, len(whole)}[i%4]]) // it may be gone already
		if i%3 == 0 {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		c.Close()
	}
}

// slowloris has n connections send less than a question and wait for their end.
func slowloris(t *testing.T, addr string, n int) {
	t.Helper()
	var conns []net.Conn
	for i := range n {
		c := dialFrom(t, "tcp", addr)
		_, _ = c.Write([]byte{0, 40, 1, 2, 3, 4}[:i%6])
		_ = c.SetDeadline(time.Now().Add(patience))
		conns = append(conns, c)
	}
	for i, c := range conns {
		if i%2 == 0 {
			_, _ = c.Write([]byte{0})
		}
		if b, err := io.ReadAll(c); len(b) > 0 || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("connection %d: %x, %v, want its end", i, b, err)
		}
		c.Close()
	}
}

// pipelines has n connections send so many questions each, whose answers nobody
// reads, and go when no more can be sent.
func pipelines(t *testing.T, addr string, n, questions int) {
	t.Helper()
	var conns []net.Conn
	for range n {
		c := dialFrom(t, "tcp", addr)
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		conns = append(conns, c)
		var all []byte
		for i := range questions {
			name := "a.host.lab.example."
			if i%3 > 0 {
				name = randomName()
			}
			all = append(all, prefixed(mustPack(new(dns.Msg).SetQuestion(name, dns.TypeA)))...)
		}
		_, _ = c.Write(all) // to where it may be cut off
	}
	for _, c := range conns {
		c.Close()
	}
}

// prefixed is a message behind its length (RFC 1035 §4.2.2).
func prefixed(b []byte) []byte { return append([]byte{byte(len(b) >> 8), byte(len(b))}, b...) }
