//go:build realtools

package integration

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const listenConfig = `version = 1
[server]
listen = [%s]
reuse_port = %v
[upstream.default]
servers = ["udp://192.0.2.53"]
[[zone]]
name = "lab.example"
records = ["@ 3600 NS ns", "ns 3600 A 192.0.2.53", "www 300 A 192.0.2.10"]
[access]
allow = ["10.9.0.0/16", "fd09::/16", "fe80::/10"]
` + openToAll

// listening starts weir on addresses, at port 53 unless they have one.
func listening(t *testing.T, addrs ...string) *weir {
	t.Helper()
	return startWeir(t, t.TempDir(), fmt.Sprintf(listenConfig, quoted(addrs), false))
}

func quoted(addrs []string) string {
	var out []string
	for _, a := range addrs {
		out = append(out, fmt.Sprintf("%q", a))
	}
	return strings.Join(out, ", ")
}

// asked asks at an address over UDP and TCP from there, and says what is wrong with
// the answers and with where they come from.
func (m *machine) asked(at string, wait time.Duration) error {
	to := netip.AddrPortFrom(netip.MustParseAddr(at), 53)
	q := new(dns.Msg).SetQuestion("www.lab.example.", dns.TypeA)
	family := "udp4"
	if to.Addr().Is6() {
		family = "udp6"
	}
	var pc *net.UDPConn
	var err error
	m.do(func() { pc, err = net.ListenUDP(family, nil) }) // not connected: takes replies of any
	if err != nil {
		return err
	}
	defer pc.Close()
	buf := make([]byte, 512)
	var n int
	var from netip.AddrPort
	// A datagram may be lost, as where the neighbour was not there a moment ago.
	for end, again := time.Now().Add(wait), wait/20; ; again *= 2 {
		_ = pc.SetDeadline(time.Now().Add(again))
		if _, err := pc.WriteToUDPAddrPort(mustPack(q), to); err != nil {
			return err
		}
		if n, from, err = pc.ReadFromUDPAddrPort(buf); err == nil {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("UDP: %w", err)
		}
	}
	// A zone's name is known where the interface is, and here only its number.
	if from = netip.AddrPortFrom(from.Addr().Unmap().WithZone(to.Addr().Zone()), from.Port()); from != to {
		return fmt.Errorf("UDP: asked %s, answered by %s", to, from)
	}
	if err := right(buf[:n]); err != nil {
		return fmt.Errorf("UDP: %w", err)
	}
	var c net.Conn
	m.do(func() { c, err = (&net.Dialer{Timeout: wait}).Dial("tcp", to.String()) })
	if err != nil {
		return err
	}
	co := &dns.Conn{Conn: c}
	defer co.Close()
	_ = co.SetDeadline(time.Now().Add(wait))
	if err := co.WriteMsg(q); err != nil {
		return err
	}
	b, err := co.ReadMsgHeader(nil)
	if err != nil {
		return fmt.Errorf("TCP: %w", err)
	}
	return right(b)
}

func right(b []byte) error {
	r := new(dns.Msg)
	if err := r.Unpack(b); err != nil {
		return err
	}
	if len(r.Answer) != 1 || !strings.HasSuffix(r.Answer[0].String(), "192.0.2.10") {
		return fmt.Errorf("answered %v", r)
	}
	return nil
}

// answers fails the test unless all those addresses are answered from.
func (m *machine) answers(t *testing.T, when string, at ...string) {
	t.Helper()
	for _, a := range at {
		if err := m.asked(a, patience); err != nil {
			t.Errorf("%s: %s: %v", when, a, err)
		}
	}
}

// silent fails the test if one of the addresses is answered from.
func (m *machine) silent(t *testing.T, when string, at ...string) {
	t.Helper()
	for _, a := range at {
		if err := m.asked(a, 100*time.Millisecond); err == nil {
			t.Errorf("%s: %s is answered", when, a)
		}
	}
}

// TestRealListeners asks a weir with several addresses of both families from
// another machine: each answer comes from the address asked, addresses that come
// and go are followed, and a port is nobody else's without consent.
func TestRealListeners(t *testing.T) {
	needTools(t)
	if !inOwnNetwork(t) {
		return
	}
	client := newMachine(t)
	link := func() {
		t.Helper()
		cable(t, client, "w0", []string{"10.9.0.1/24", "10.9.0.2/24", "fd09::1/64", "fd09::2/64", "fe80::1/64"},
			"c0", []string{"10.9.0.9/24", "fd09::9/64", "fe80::9/64"})
	}
	link()
	cable(t, client, "w1", []string{"10.9.1.1/24", "fe80::1:1/64"}, "c1", []string{"10.9.1.9/24", "fe80::1:9/64"})
	four := []string{"10.9.0.1", "10.9.0.2", "10.9.1.1"}
	six := []string{"fd09::1", "fd09::2", "fe80::1%c0", "fe80::1:1%c1"}

	t.Run("wildcards", func(t *testing.T) {
		for _, c := range []struct {
			listen, answer, silent []string
		}{
			{[]string{"0.0.0.0:53"}, four, six},
			{[]string{"[::]:53"}, six, four}, // IPv6 alone, whatever the system's default
			{[]string{"0.0.0.0:53", "[::]:53"}, slices.Concat(four, six), nil},
			{[]string{"10.9.0.2:53", "[fd09::2]:53"}, []string{"10.9.0.2", "fd09::2"}, []string{"10.9.0.1", "fd09::1"}},
			{[]string{"[fe80::1%w0]:53"}, []string{"fe80::1%c0"}, []string{"fd09::1", "10.9.0.1"}},
		} {
			w := listening(t, c.listen...)
			client.answers(t, fmt.Sprint(c.listen), c.answer...)
			client.silent(t, fmt.Sprint(c.listen), c.silent...)
			w.stop(t)
		}
	})

	t.Run("addresses come and go under wildcards", func(t *testing.T) {
		w := listening(t, "0.0.0.0:53", "[::]:53")
		come := []string{"10.9.0.3", "fd09::3", "10.9.2.1"}
		client.silent(t, "before they are there", come[:2]...)
		command(t, "ip", "address", "add", "10.9.0.3/24", "dev", "w0")
		command(t, "ip", "address", "add", "fd09::3/64", "dev", "w0", "nodad")
		cable(t, client, "w2", []string{"10.9.2.1/24"}, "c2", []string{"10.9.2.9/24"}) // a whole interface
		client.answers(t, "once they are there", slices.Concat(come, four, six)...)
		command(t, "ip", "link", "delete", "w2")
		command(t, "ip", "address", "delete", "10.9.0.3/24", "dev", "w0")
		command(t, "ip", "address", "delete", "fd09::3/64", "dev", "w0")
		client.silent(t, "once they are gone", come[:2]...)
		client.answers(t, "once they are gone", slices.Concat(four, six)...)
		w.stop(t)
	})

	t.Run("addresses go and come back", func(t *testing.T) {
		w := listening(t, "10.9.0.1:53", "10.9.0.2:53", "[fd09::1]:53", "[fd09::2]:53")
		all := []string{"10.9.0.1", "10.9.0.2", "fd09::1", "fd09::2"}
		client.answers(t, "at first", all...)
		for range 2 {
			command(t, "ip", "address", "delete", "10.9.0.2/24", "dev", "w0")
			command(t, "ip", "address", "delete", "fd09::2/64", "dev", "w0")
			client.answers(t, "while others are gone", "10.9.0.1", "fd09::1")
			client.silent(t, "while they are gone", "10.9.0.2", "fd09::2")
			command(t, "ip", "address", "add", "10.9.0.2/24", "dev", "w0")
			command(t, "ip", "address", "add", "fd09::2/64", "dev", "w0", "nodad")
			client.answers(t, "once they are back", all...)
		}
		command(t, "ip", "link", "delete", "w0") // the whole interface, and another one in its place
		link()
		client.answers(t, "on a new interface", all...)
		w.stop(t)

		// A link-local address is one interface's, and goes with it.
		w = listening(t, "[fe80::1%w0]:53", "10.9.0.1:53")
		command(t, "ip", "link", "delete", "w0")
		link()
		client.answers(t, "on a new interface", "10.9.0.1")
		client.silent(t, "on a new interface", "fe80::1%c0")
		w.stop(t)
	})

	t.Run("an address that is not there", func(t *testing.T) {
		said := refused(t, "10.9.0.1:53", "10.9.0.77:53")
		if !strings.Contains(said, "tcp 10.9.0.77:53: this machine does not have that address") || !strings.Contains(said, "0.0.0.0 and [::] follow addresses that come and go") {
			t.Errorf("it said:\n%s", said)
		}
		client.silent(t, "after it", "10.9.0.1")
	})

	t.Run("a port is one server's", func(t *testing.T) {
		for _, c := range []struct{ first, second string }{
			{"10.9.0.1:53", "10.9.0.1:53"},
			{"10.9.0.1:53", "0.0.0.0:53"},
			{"0.0.0.0:53", "10.9.0.1:53"},
			{"0.0.0.0:53", "0.0.0.0:53"},
			{"[fd09::1]:53", "[fd09::1]:53"},
			{"[fd09::1]:53", "[::]:53"},
			{"[::]:53", "[fd09::1]:53"},
			{"[::]:53", "[::]:53"},
			{"[fe80::1%w0]:53", "[::]:53"},
			{"[fe80::1%w0]:53", "[fe80::1%w0]:53"},
		} {
			w := listening(t, c.first)
			if said := refused(t, c.second); !strings.Contains(said, "is taken by weir, process "+fmt.Sprint(w.cmd.Process.Pid)) {
				t.Errorf("%s after %s:\n%s", c.second, c.first, said)
			}
			w.stop(t)
		}
		// UDP alone is found too.
		for _, at := range []string{"10.9.0.1:53", "[fd09::1]:53"} {
			pc, err := net.ListenPacket("udp", at)
			if err != nil {
				t.Fatal(err)
			}
			if said := refused(t, at); !strings.Contains(said, "udp "+at+" is taken by") {
				t.Errorf("%s:\n%s", at, said)
			}
			pc.Close()
		}
		// With consent, both answer.
		both := []string{"0.0.0.0:53", "[::]:53"}
		var ws []*weir
		for range 2 {
			ws = append(ws, startWeir(t, t.TempDir(), fmt.Sprintf(listenConfig, quoted(both), true)))
		}
		for limit := time.Now().Add(patience); ws[0].status(t).Resolver.Answered == 0 || ws[1].status(t).Resolver.Answered == 0; {
			client.answers(t, "shared", "10.9.0.1", "fd09::1")
			if time.Now().After(limit) {
				t.Fatal("one of them gets no query")
			}
		}
		for _, w := range ws {
			w.stop(t)
		}
	})
}

// refused starts a weir that must not start, and returns what it said.
func refused(t *testing.T, listen ...string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "config.toml", fmt.Sprintf(listenConfig, quoted(listen), false))
	cmd := exec.CommandContext(t.Context(), binary, "serve", "--config", "config.toml")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 4 {
		t.Errorf("on %v: %v, want the exit code 4", listen, err)
	}
	return string(out)
}
