package upstream

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestTruncatedIsAskedByTCP(t *testing.T) {
	for name, truncated := range map[string]func([]byte) []byte{
		"TC": func(q []byte) []byte {
			return reply(q, func(m *dns.Msg) { m.Truncated = true; m.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 66) })
		},
		"TC, cut in a record": func(q []byte) []byte {
			b := reply(q, func(m *dns.Msg) { m.Truncated = true })
			return b[:len(b)-13]
		},
		"longer than asked for": func(q []byte) []byte {
			return reply(q, func(m *dns.Msg) {
				for range 60 {
					m.Answer = append(m.Answer, m.Answer[0])
				}
			})
		},
		"longer than the buffer": func(q []byte) []byte {
			return reply(q, func(m *dns.Msg) {
				for range 200 {
					m.Answer = append(m.Answer, m.Answer[0])
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := honest()
			r.udp = func(_ int, query []byte, send func([]byte)) { send(truncated(query)) }
			x := r.start(t).open(t, "udp", Options{Resend: patient})
			m, err := x.Exchange(within(t, patient), ask("www.example.test."))
			checkAnswer(t, m, err)
			if s := x.Stats(); s.Sent != 2 || s.Answered != 1 || s.Ignored != 0 {
				t.Errorf("stats %+v, want two sent, one answered", s)
			}
		})
	}
}

func TestBrokenTCP(t *testing.T) {
	for _, tc := range []struct {
		name string
		tcp  func(query []byte, conn net.Conn)
		want string
	}{
		{"closes before the query", nil, "connection"}, // closed or reset, as the kernel has it
		{"closes before the reply", func([]byte, net.Conn) {}, "closed before the reply"},
		{"closes in the length", func(_ []byte, c net.Conn) { c.Write([]byte{0}) }, "closed in the middle"},
		{"closes in the message", func(q []byte, c net.Conn) {
			b := frame(answer(q))
			c.Write(b[:len(b)/2])
		}, "closed in the middle"},
		{"closes after the length", func(q []byte, c net.Conn) { c.Write(frame(answer(q))[:2]) }, "closed"},
		{"stalls in the message", func(q []byte, c net.Conn) {
			b := frame(answer(q))
			c.Write(b[:len(b)/2])
			untilClosed(c)
		}, "no reply: context deadline exceeded"},
		{"empty message, then nothing", func(_ []byte, c net.Conn) { c.Write([]byte{0, 0}) }, "closed before the reply"},
		{"truncated", func(q []byte, c net.Conn) {
			c.Write(frame(reply(q, func(m *dns.Msg) { m.Truncated = true })))
		}, "truncated"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &rogue{udp: func(_ int, query []byte, send func([]byte)) {
				send(reply(query, func(m *dns.Msg) { m.Truncated = true }))
			}}
			if tc.tcp != nil {
				r.tcp = func(_ int, query []byte, conn net.Conn) { tc.tcp(query, conn) }
			}
			r.start(t)
			deadline := patient
			if strings.Contains(tc.want, "deadline") {
				deadline = impatient
			}
			for _, scheme := range []string{"udp", "tcp"} {
				_, err := r.open(t, scheme, Options{}).Exchange(within(t, deadline), ask("www.example.test."))
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%s: error %v, want %q", scheme, err, tc.want)
				}
			}
		})
	}
}

func TestDeadlineNeedsNoContext(t *testing.T) {
	r := &rogue{tcp: func(_ int, _ []byte, conn net.Conn) { untilClosed(conn) }}
	r.start(t)
	for _, scheme := range []string{"udp", "tcp"} {
		a := &attempt{deadline: time.Now().Add(impatient)}
		if err := a.pack(ask("www.example.test."), true); err != nil {
			t.Fatal(err)
		}
		_, _, err := r.open(t, scheme, Options{}).(asker).ask(context.Background(), a)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: error %v, want deadline exceeded", scheme, err)
		}
	}
}

func TestReplyByTheOctet(t *testing.T) {
	eachConnected(t, func(t *testing.T, scheme string) {
		r := &rogue{tcp: func(_ int, query []byte, conn net.Conn) {
			for _, b := range frame(answer(query)) {
				conn.Write([]byte{b})
			}
		}}
		m, err := r.startFor(t, scheme).open(t, scheme, Options{}).Exchange(within(t, patient), ask("www.example.test."))
		checkAnswer(t, m, err)
	})
}

func TestLargeReplyByTCP(t *testing.T) {
	r := &rogue{tcp: func(_ int, query []byte, conn net.Conn) {
		conn.Write(frame(reply(query, func(m *dns.Msg) {
			m.Compress = true
			for range 3999 {
				m.Answer = append(m.Answer, m.Answer[0])
			}
		})))
	}}
	m, err := r.start(t).open(t, "tcp", Options{}).Exchange(within(t, patient), ask("www.example.test."))
	if err != nil || len(m.Answer) != 4000 {
		t.Fatalf("%v, error %v", m, err)
	}
}
