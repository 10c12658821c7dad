package upstream

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// timed is an answer with the option by which a server says how long a connection
// may be idle, as these octets.
func timed(query []byte, option ...byte) []byte {
	b := reply(query, func(m *dns.Msg) { m.Extra = nil })
	b[11] = 1
	b = append(b, 0, 0, byte(dns.TypeOPT), 4, 0xd0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(option)+4))
	b = append(b, 0, dns.EDNS0TCPKEEPALIVE, 0, byte(len(option)))
	return append(b, option...)
}

// TestConnectionsAskHowLongTheyMayBeIdle, by TCP and TLS, never by UDP (RFC 7828 §3.2.1).
func TestConnectionsAskHowLongTheyMayBeIdle(t *testing.T) {
	for _, scheme := range []string{"udp", "tcp", "tls"} {
		r := honest().startFor(t, scheme)
		m, err := r.open(t, scheme, Options{}).Exchange(within(t, patient), ask("www.example.test."))
		checkAnswer(t, m, err)
		q, asked := r.seen(t)[0], false
		for _, o := range q.IsEdns0().Option {
			k, ok := o.(*dns.EDNS0_TCP_KEEPALIVE)
			asked = asked || ok && k.Timeout == 0
		}
		if asked != (scheme != "udp") {
			t.Errorf("%s: asked %v: %v", scheme, asked, q)
		}
	}
}

// TestIdleAsLongAsTheServerAllows: what it says holds for the connection, if it is
// less than our own time.
func TestIdleAsLongAsTheServerAllows(t *testing.T) {
	for _, tc := range []struct {
		name   string
		option []byte
		idle   time.Duration
		conns  uint64 // of three queries in turn
	}{
		{"no time", []byte{0, 0}, 0, 3},
		{"ten seconds", []byte{0, 100}, 8750 * time.Millisecond, 1},
		{"an hour", []byte{0x8c, 0xa0}, 20 * time.Second, 1},
		{"echoed", nil, 20 * time.Second, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &rogue{keep: true, tcp: func(_ int, query []byte, conn net.Conn) { conn.Write(frame(timed(query, tc.option...))) }}
			x := r.start(t).open(t, "tcp", Options{}).(*tcp)
			for range 3 {
				m, err := x.Exchange(within(t, patient), ask("www.example.test."))
				checkAnswer(t, m, err)
				x.streams.mu.Lock()
				if tc.conns == 1 && (len(x.streams.open) != 1 || x.streams.open[0].idle != tc.idle) {
					t.Errorf("%d connections, idle for %v", len(x.streams.open), x.streams.open[0].idle)
				}
				if tc.conns == 3 && len(x.streams.open) != 0 {
					t.Error("a query could go out on a connection that is to be closed")
				}
				x.streams.mu.Unlock()
			}
			if s := x.Stats(); s.Opened > tc.conns || tc.conns == 3 && s.Opened != 3 {
				t.Errorf("%d connections, want %d", s.Opened, tc.conns)
			}
		})
	}
}

// TestNoTimeTakesNoMore: from then on nothing goes out on the connection, be it that
// another reply is due on it.
func TestNoTimeTakesNoMore(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	var first []byte
	r := &rogue{keep: true, tcp: func(i int, query []byte, conn net.Conn) {
		if i == 0 {
			first = query
			close(asked)
			return
		}
		conn.Write(frame(timed(query, 0, 0)))
		<-release
		conn.Write(frame(answer(first)))
	}}
	x := r.start(t).open(t, "tcp", Options{}).(*tcp)
	ended := make(chan error)
	go func() {
		_, err := x.Exchange(within(t, patient), ask("www.example.test."))
		ended <- err
	}()
	<-asked
	m, err := x.Exchange(within(t, patient), ask("www.example.test."))
	checkAnswer(t, m, err)
	x.streams.mu.Lock()
	if n := len(x.streams.open); n != 0 {
		t.Errorf("%d connections take queries", n)
	}
	x.streams.mu.Unlock()
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestNoTimeLetsOthersEnd: the queries that are on their way have their replies.
func TestNoTimeLetsOthersEnd(t *testing.T) {
	const n = 10
	all := make(chan []byte, n)
	r := &rogue{keep: true, tcp: func(i int, query []byte, conn net.Conn) {
		all <- query
		if i == n-1 {
			for range n {
				conn.Write(frame(timed(<-all, 0, 0)))
			}
		}
	}}
	x := r.start(t).open(t, "tcp", Options{})
	for _, err := range asks(t, within(t, patient), x, n) {
		if err != nil {
			t.Error(err)
		}
	}
	if s := x.Stats(); s.Opened != 1 || s.Failures != 0 {
		t.Errorf("stats %+v", s)
	}
}
