package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// directory is a bootstrap server that knows the records given.
func directory(t testing.TB, records ...string) *rogue {
	t.Helper()
	var all []dns.RR
	for _, s := range records {
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	r := &rogue{udp: func(_ int, query []byte, send func([]byte)) {
		send(reply(query, func(m *dns.Msg) {
			m.Answer = nil
			for _, rr := range all {
				if t := rr.Header().Rrtype; t == m.Question[0].Qtype || t == dns.TypeCNAME {
					m.Answer = append(m.Answer, rr)
				}
			}
		}))
	}}
	return r.start(t)
}

// named is the URL of r's TLS server by name.
func named(r *rogue) string {
	_, port, _ := strings.Cut(r.addr, ":")
	return "tls://" + serverName + ":" + port
}

func TestServerByName(t *testing.T) {
	for _, tc := range []struct {
		name    string
		records []string
	}{
		{"address", []string{serverName + ". 60 A 127.0.0.1"}},
		{"alias", []string{serverName + ". 60 CNAME a.example.test.", "a.example.test. 60 CNAME b.example.test.", "b.example.test. 60 A 127.0.0.1"}},
		{"first address is dead", []string{serverName + ". 60 A 127.0.0.2", serverName + ". 60 A 127.0.0.1"}},
		{"addresses of others", []string{"other.example.test. 60 A 127.0.0.2", serverName + ". 60 A 127.0.0.1", "x.test. 60 AAAA ::1"}},
		{"no server has such an address", []string{serverName + ". 60 A 0.0.0.0", serverName + ". 60 A 224.0.0.1", serverName + ". 60 A 127.0.0.1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := directory(t, tc.records...)
			r := honest().startFor(t, "tls")
			x := openURL(t, named(r), Options{Roots: authority().roots, Bootstrap: []string{"udp://" + d.addr}})
			for range 2 {
				m, err := x.Exchange(within(t, patient), ask("www.example.test."))
				checkAnswer(t, m, err)
			}
			if n := len(d.seen(t)); n != 2 {
				t.Errorf("%d questions came to the bootstrap server, want one for A and one for AAAA", n)
			}
		})
	}
}

func TestNameWithoutAddresses(t *testing.T) {
	for name, d := range map[string]*rogue{
		"no data":           directory(t),
		"another's address": directory(t, "other.example.test. 60 A 127.0.0.1"),
		"loop":              directory(t, serverName+". 60 CNAME a.test.", "a.test. 60 CNAME "+serverName+"."),
		"refused": (&rogue{udp: func(_ int, query []byte, send func([]byte)) {
			send(coded(dns.RcodeRefused)(query))
		}}).start(t),
	} {
		t.Run(name, func(t *testing.T) {
			r := honest().startFor(t, "tls")
			x := openURL(t, named(r), Options{Roots: authority().roots, Bootstrap: []string{"udp://" + d.addr}})
			_, err := x.Exchange(within(t, patient), ask("www.example.test."))
			if err == nil || !strings.Contains(err.Error(), "looking up "+serverName) {
				t.Errorf("error %v, want that the name was looked up in vain", err)
			}
			if n := r.conns.Load(); n != 0 {
				t.Errorf("%d connections to a server whose address nobody told", n)
			}
		})
	}
}

// TestAddressesAreKeptForTheirTTL follows a name through its time, by a clock that
// the test sets.
func TestAddressesAreKeptForTheirTTL(t *testing.T) {
	var asked atomic.Int64
	var silent atomic.Bool
	address := netip.MustParseAddr("192.0.2.1")
	d := (&rogue{udp: func(_ int, query []byte, send func([]byte)) {
		asked.Add(1)
		if silent.Load() {
			send(coded(dns.RcodeServerFailure)(query))
			return
		}
		send(reply(query, func(m *dns.Msg) {
			if m.Question[0].Qtype != dns.TypeA {
				m.Answer = nil
				return
			}
			m.Answer[0].(*dns.A).A = address.AsSlice()
		}))
	}}).start(t)
	clock := time.Unix(1000, 0)
	var s server
	target, err := ParseTLS("dns.example.test")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.reach(target, Options{Bootstrap: []string{"udp://" + d.addr}, Now: func() time.Time { return clock }}); err != nil {
		t.Fatal(err)
	}
	defer s.names.Close()
	look := func(wantAsked int64, want ...netip.Addr) {
		t.Helper()
		asked.Store(0)
		got, err := s.names.addresses(within(t, patient))
		if !slices.Equal(got, want) || (err == nil) != (len(want) > 0) || asked.Load() != wantAsked {
			t.Errorf("at %v: %v, error %v, %d questions; want %v and %d", clock.Unix(), got, err, asked.Load(), want, wantAsked)
		}
	}
	silent.Store(true)
	look(1) // one failure ends it with this server
	silent.Store(false)
	look(0) // and is remembered for a second
	clock = clock.Add(lookupPause)
	look(2, address)
	old := address
	address = netip.MustParseAddr("192.0.2.2")
	clock = clock.Add(59 * time.Second)
	look(0, old)
	clock = clock.Add(time.Second)
	look(2, address)
	silent.Store(true)
	clock = clock.Add(time.Minute)
	look(1, address) // better than nothing
	look(0, address)
}

func TestSecondBootstrapServerIsAsked(t *testing.T) {
	d := directory(t, serverName+". 60 A 127.0.0.1")
	r := honest().startFor(t, "tls")
	x := openURL(t, named(r), Options{Roots: authority().roots, Bootstrap: []string{"tcp://" + closedPort, "udp://" + d.addr}})
	m, err := x.Exchange(within(t, patient), ask("www.example.test."))
	checkAnswer(t, m, err)
}

func TestNameNeedsABootstrapServer(t *testing.T) {
	for _, tc := range []struct {
		bootstrap []string
		want      string
	}{
		{nil, "without a bootstrap server"},
		{[]string{"tls://dns.example"}, "without a bootstrap server"}, // a circle
		{[]string{"192.0.2.1"}, "write udp://192.0.2.1"},
	} {
		_, err := Open("tls://"+serverName, Options{Bootstrap: tc.bootstrap})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("bootstrap %q: error %v, want %q", tc.bootstrap, err, tc.want)
		}
	}
}

func TestSilentBootstrapServer(t *testing.T) {
	d := new(rogue).start(t)
	x := openURL(t, "tls://"+serverName, Options{Bootstrap: []string{"udp://" + d.addr}})
	if _, err := x.Exchange(within(t, impatient), ask("www.example.test.")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want deadline exceeded", err)
	}
}

func TestAddressThatWorkedComesFirst(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	alive, dead := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	b := &bootstrap{now: time.Now, turn: make(chan struct{}, 1), addrs: []netip.Addr{dead, alive}, until: time.Now().Add(time.Hour)}
	before := b.addrs
	conn, err := b.dial(within(t, patient), ln.Addr().(*net.TCPAddr).AddrPort().Port())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if !slices.Equal(b.addrs, []netip.Addr{alive, dead}) || !slices.Equal(before, []netip.Addr{dead, alive}) {
		t.Errorf("addresses are now %v, and where others may read them %v", b.addrs, before)
	}
}
