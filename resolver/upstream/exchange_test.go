package upstream

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// lies are packets that answer the query of their argument with something that
// must be read past.
var lies = []struct {
	name string
	make func(query []byte) []byte
}{
	{"runt", func(q []byte) []byte { return q[:5] }},
	{"header cut", func(q []byte) []byte { return answer(q)[:11] }},
	{"garbage", func([]byte) []byte { return []byte(strings.Repeat("\xc0\x0c", 40)) }},
	{"wrong ID", func(q []byte) []byte { return reply(q, func(m *dns.Msg) { m.Id++ }) }},
	{"the query itself", func(q []byte) []byte { return slices.Clone(q) }},
	{"no QR", func(q []byte) []byte { return reply(q, func(m *dns.Msg) { m.Response = false }) }},
	{"opcode", func(q []byte) []byte { return reply(q, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }) }},
	{"other name", func(q []byte) []byte {
		return reply(q, func(m *dns.Msg) { m.Question[0].Name = "wwx.example.test." })
	}},
	{"name above", func(q []byte) []byte {
		return reply(q, func(m *dns.Msg) { m.Question[0].Name = "example.test." })
	}},
	{"other type", func(q []byte) []byte {
		return reply(q, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA })
	}},
	{"other class", func(q []byte) []byte {
		return reply(q, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })
	}},
	{"no question", func(q []byte) []byte { return reply(q, func(m *dns.Msg) { m.Question = nil }) }},
	{"two questions", func(q []byte) []byte {
		return reply(q, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) })
	}},
	{"bare header", func(q []byte) []byte {
		return reply(q, func(m *dns.Msg) { m.Question, m.Answer, m.Extra, m.Rcode = nil, nil, nil, dns.RcodeRefused })
	}},
	{"cut in a record", func(q []byte) []byte { b := answer(q); return b[:len(b)-13] }},
	{"cut between records", func(q []byte) []byte { b := answer(q); return b[:len(b)-11] }},
	{"counts too high", func(q []byte) []byte { b := answer(q); b[7] = 200; return b }},
	{"two OPT", func(q []byte) []byte {
		return reply(q, func(m *dns.Msg) { m.Extra = append(m.Extra, m.Extra[0]) })
	}},
	{"address without data", func(q []byte) []byte {
		return reply(q, func(m *dns.Msg) { m.Answer[0].(*dns.A).A = nil })
	}},
	{"pointer loop", func(q []byte) []byte {
		b := reply(q, func(m *dns.Msg) { m.Answer, m.Extra = nil, nil })
		b[7] = 1 // one answer, whose name points to itself
		return append(b, 0xc0, byte(len(b)), 0, 1, 0, 1, 0, 0, 0, 1, 0, 0)
	}},
}

func TestLiesAreReadPast(t *testing.T) {
	for _, lie := range lies {
		r := &rogue{
			udp: func(_ int, query []byte, send func([]byte)) {
				send(lie.make(query))
				send(answer(query))
			},
			tcp: func(_ int, query []byte, conn net.Conn) {
				conn.Write(append(frame(lie.make(query)), frame(answer(query))...))
			},
		}
		for _, scheme := range []string{"udp", "tcp", "tls"} {
			t.Run(scheme+" "+lie.name, func(t *testing.T) {
				x := r.startFor(t, scheme).open(t, scheme, Options{Resend: patient})
				m, err := x.Exchange(within(t, patient), ask("www.example.test."))
				checkAnswer(t, m, err)
				got := x.Stats()
				got.Connections, got.Opened = 0, 0
				if want := (Stats{Sent: 1, Answered: 1, Ignored: 1}); got != want {
					t.Errorf("stats %+v, want %+v", got, want)
				}
			})
		}
	}
}

func TestEmptyDatagramIsReadPast(t *testing.T) {
	r := &rogue{udp: func(_ int, query []byte, send func([]byte)) { send(nil); send(answer(query)) }}
	x := r.start(t).open(t, "udp", Options{})
	m, err := x.Exchange(within(t, patient), ask("www.example.test."))
	checkAnswer(t, m, err)
}

func TestNothingButLiesEndsAtTheDeadline(t *testing.T) {
	r := &rogue{udp: func(_ int, query []byte, send func([]byte)) {
		for _, lie := range lies[:maxWrong-1] {
			send(lie.make(query))
		}
	}}
	x := r.start(t).open(t, "udp", Options{Resend: patient})
	ctx, expire := ends()
	failed := make(chan error, 1)
	go func() {
		_, err := x.Exchange(ctx, ask("www.example.test."))
		failed <- err
	}()
	until(t, "all lies are read", func() bool { return x.Stats().Ignored == maxWrong-1 })
	expire()
	err := <-failed
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrNoReply) {
		t.Fatalf("error %v, want deadline exceeded after what is no reply", err)
	}
	if s := x.Stats(); s.Ignored != maxWrong-1 || s.Timeouts != 1 || s.Answered != 0 {
		t.Errorf("stats %+v, want %d ignored and one timeout", s, maxWrong-1)
	}
}

// TestManyLiesSwitchToTCP holds that a forger who found port and server, and now
// tries IDs, loses the query to TCP (RFC 5452 §9.2).
func TestManyLiesSwitchToTCP(t *testing.T) {
	r := honest()
	r.udp = func(_ int, query []byte, send func([]byte)) {
		for id := range uint16(maxWrong) {
			send(reply(query, func(m *dns.Msg) {
				m.Id += id + 1
				m.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 66)
			}))
		}
	}
	x := r.start(t).open(t, "udp", Options{Resend: patient})
	m, err := x.Exchange(within(t, patient), ask("www.example.test."))
	checkAnswer(t, m, err)
	if s := x.Stats(); s.Sent != 2 || s.Ignored != maxWrong || s.Opened != 1 {
		t.Errorf("stats %+v, want one datagram, %d ignored, one message by TCP", s, maxWrong)
	}
}

func TestSpellingMayDiffer(t *testing.T) {
	r := &rogue{udp: func(_ int, query []byte, send func([]byte)) {
		send(reply(query, func(m *dns.Msg) { m.Question[0].Name = "wWw.eXaMPLe.TeST." }))
	}}
	m, err := r.start(t).open(t, "udp", Options{}).Exchange(within(t, patient), ask("www.example.test."))
	checkAnswer(t, m, err)
}

func TestLostDatagramIsSentAgain(t *testing.T) {
	r := &rogue{udp: func(n int, query []byte, send func([]byte)) {
		if n > 0 {
			send(answer(query))
			send(answer(query)) // the duplicate meets a closed socket
		}
	}}
	r.start(t)
	m, err := r.open(t, "udp", Options{Resend: time.Millisecond}).Exchange(within(t, patient), ask("www.example.test."))
	checkAnswer(t, m, err)
	if seen := r.seen(t); seen[0].Id != seen[1].Id {
		t.Errorf("sent again with another ID, so that a late first reply is lost")
	}
}

func TestLateReplyToTheFirstDatagramCounts(t *testing.T) {
	var first []byte
	r := &rogue{udp: func(n int, query []byte, send func([]byte)) {
		if n == 0 {
			first = query
			return
		}
		send(answer(first))
	}}
	m, err := r.start(t).open(t, "udp", Options{Resend: time.Millisecond}).Exchange(within(t, patient), ask("www.example.test."))
	checkAnswer(t, m, err)
}

func TestSilentServerGetsThreeDatagrams(t *testing.T) {
	ctx, expire := ends()
	r := &rogue{udp: func(n int, _ []byte, _ func([]byte)) {
		if n == maxDatagrams-1 {
			expire()
		}
	}}
	x := r.start(t).open(t, "udp", Options{Resend: time.Millisecond})
	_, err := x.Exchange(ctx, ask("www.example.test."))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want deadline exceeded", err)
	}
	if s := x.Stats(); s != (Stats{Sent: 3, Timeouts: 1}) {
		t.Errorf("stats %+v, want 3 sent and one timeout", s)
	}
}

func TestReplyFromElsewhereIsNotHeard(t *testing.T) {
	other, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r := new(rogue).start(t)
	x := r.open(t, "udp", Options{}).(*udp)
	var a attempt
	if err := a.pack(ask("www.example.test."), true); err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialUDP("udp", nil, x.remote)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	forged := reply(a.packet(), nil)
	if _, err := other.WriteToUDPAddrPort(forged, conn.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	m, _, err := x.read(context.Background(), conn, &a, time.Now().Add(50*time.Millisecond))
	if m != nil || err == nil {
		t.Errorf("took the reply of another port: %v", m)
	}
}

func TestEDNSRefused(t *testing.T) {
	for name, refuse := range map[string]func([]byte) []byte{
		"FORMERR": coded(dns.RcodeFormatError),
		"NOTIMP":  coded(dns.RcodeNotImplemented),
		"FORMERR, bare header": func(q []byte) []byte {
			b := coded(dns.RcodeFormatError)(q)[:headerLen]
			clear(b[4:])
			return b
		},
	} {
		r := &rogue{
			udp: func(_ int, query []byte, send func([]byte)) {
				if query[11] > 0 {
					send(refuse(query))
					return
				}
				send(answer(query))
			},
			tcp: func(_ int, query []byte, conn net.Conn) {
				if query[11] > 0 {
					conn.Write(frame(refuse(query)))
					return
				}
				conn.Write(frame(answer(query)))
			},
			keep: true,
		}
		for _, scheme := range []string{"udp", "tcp"} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				x := r.start(t).open(t, scheme, Options{Resend: patient})
				m, err := x.Exchange(within(t, patient), ask("www.example.test."))
				checkAnswer(t, m, err)
				if s := x.Stats(); s.Sent != 2 || s.Ignored != 0 {
					t.Errorf("stats %+v, want two sent", s)
				}
			})
		}
	}
}

func TestFormatErrorWithoutEDNSIsTheReply(t *testing.T) {
	r := &rogue{udp: func(_ int, query []byte, send func([]byte)) { send(coded(dns.RcodeFormatError)(query)) }}
	x := r.start(t).open(t, "udp", Options{Resend: patient})
	m, err := x.Exchange(within(t, patient), ask("www.example.test."))
	if err != nil || m.Rcode != dns.RcodeFormatError || m.Id != 0x1234 {
		t.Fatalf("%v, error %v", m, err)
	}
	if s := x.Stats(); s.Sent != 2 {
		t.Errorf("%d queries sent, want 2", s.Sent)
	}
}

func TestRefusedEDNSCountsAgainstTheDatagrams(t *testing.T) {
	r := &rogue{udp: func(n int, query []byte, send func([]byte)) {
		if n == maxDatagrams-1 {
			send(coded(dns.RcodeFormatError)(query))
		}
	}}
	x := r.start(t).open(t, "udp", Options{Resend: time.Millisecond})
	_, err := x.Exchange(within(t, patient), ask("www.example.test."))
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want one at once", err)
	}
	if s := x.Stats(); s.Sent != maxDatagrams || s.Failures != 1 {
		t.Errorf("stats %+v, want %d sent and one failure", s, maxDatagrams)
	}
}

func TestClosedPortFailsAtOnce(t *testing.T) {
	for _, scheme := range []string{"udp", "tcp"} {
		x, err := Open(scheme+"://"+closedPort, Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = x.Exchange(within(t, patient), ask("www.example.test."))
		if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), x.String()+": ") {
			t.Errorf("%s: error %v, want the server's URL and a refusal", scheme, err)
		}
		if s := x.Stats(); s.Failures != 1 || s.Timeouts != 0 {
			t.Errorf("%s: stats %+v, want one failure", scheme, s)
		}
	}
}

// closedPort is an address on which nobody listens, nor gets to by asking for any port.
const closedPort = "127.0.0.1:1"

func TestCallerGivesUp(t *testing.T) {
	for _, scheme := range []string{"udp", "tcp"} {
		ctx, cancel := context.WithCancel(within(t, patient))
		defer cancel()
		start := time.Now()
		r := &rogue{
			udp: func(int, []byte, func([]byte)) { cancel() },
			tcp: func(_ int, _ []byte, conn net.Conn) { cancel(); untilClosed(conn) },
		}
		x := r.start(t).open(t, scheme, Options{Resend: patient})
		for _, when := range []string{"in between", "before"} {
			if _, err := x.Exchange(ctx, ask("www.example.test.")); !errors.Is(err, context.Canceled) {
				t.Errorf("%s, %s: error %v, want canceled", scheme, when, err)
			}
		}
		if s := x.Stats(); s.Timeouts+s.Failures+s.Answered != 0 {
			t.Errorf("%s: stats %+v, want none of the server's doing", scheme, s)
		}
		if time.Since(start) > patient/2 {
			t.Errorf("%s: the exchange went on until its deadline", scheme)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	r := honest().start(t)
	var wg sync.WaitGroup
	for _, scheme := range []string{"udp", "tcp"} {
		x := r.open(t, scheme, Options{})
		for range 20 {
			wg.Go(func() {
				m, err := x.Exchange(within(t, patient), ask("www.example.test."))
				if err != nil || len(m.Answer) != 1 {
					t.Errorf("%v, error %v", m, err)
				}
			})
		}
	}
	wg.Wait()
}
