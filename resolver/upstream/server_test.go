package upstream

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rogue is a DNS server on loopback, UDP and TCP on one port, that does what its
// scripts say. They get the number of the query, from 0, and its bytes. Those of
// UDP run one at a time, those of TCP one for each connection.
type rogue struct {
	udp func(n int, query []byte, send func([]byte)) // nil: silent
	tcp func(n int, query []byte, conn net.Conn)     // nil: closes at once

	tls     *tls.Config           // nil: in clear text
	keep    bool                  // a connection is read on when a script is done with it; else it is closed
	answers func(q *dns.Msg) bool // whether it answers by UDP; nil: if there is a script

	mu      sync.Mutex
	queries [][]byte // all that came, by either transport
	ports   map[int]bool

	conns atomic.Int64 // that were accepted
	addr  string
}

// start opens the sockets; they are closed and waited for when the test ends.
func (r *rogue) start(t testing.TB) *rogue {
	t.Helper()
	r.ports = make(map[int]bool)
	var pc *net.UDPConn
	var ln net.Listener
	for range 20 { // until a port is free in both
		var err error
		if pc, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			t.Fatal(err)
		}
		r.addr = pc.LocalAddr().String()
		if ln, err = net.Listen("tcp", r.addr); err == nil {
			break
		}
		pc.Close()
	}
	if ln == nil {
		t.Fatal("no port is free for both UDP and TCP")
	}
	if r.tls != nil {
		ln = tls.NewListener(ln, r.tls)
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.serveUDP(pc) })
	wg.Go(func() { r.serveTCP(ln) })
	t.Cleanup(func() {
		pc.Close()
		ln.Close()
		wg.Wait()
	})
	return r
}

// startFor is start, with TLS if the transport asks for it.
func (r *rogue) startFor(t testing.TB, scheme string) *rogue {
	t.Helper()
	if scheme == "tls" && r.tls == nil {
		r.tls = serve(authority().issue(certificate{}))
	}
	return r.start(t)
}

func (r *rogue) note(query []byte, from net.Addr) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queries = append(r.queries, query)
	if u, ok := from.(*net.UDPAddr); ok {
		r.ports[u.Port] = true
	}
	return len(r.queries) - 1
}

// heard is how many queries came so far.
func (r *rogue) heard() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queries)
}

// seen returns the queries so far, decoded.
func (r *rogue) seen(t testing.TB) []*dns.Msg {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*dns.Msg
	for _, b := range r.queries {
		all = append(all, parse(t, b))
	}
	return all
}

func (r *rogue) serveUDP(pc *net.UDPConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := pc.ReadFromUDP(buf)
		if err != nil {
			return
		}
		query := append([]byte(nil), buf[:n]...)
		number := r.note(query, from)
		if r.udp != nil {
			r.udp(number, query, func(b []byte) { pc.WriteToUDP(b, from) })
		}
	}
}

func (r *rogue) serveTCP(ln net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		r.conns.Add(1)
		wg.Go(func() {
			defer conn.Close()
			for again := r.tcp != nil; again; again = r.keep {
				query, err := readMessage(conn, nil)
				if err != nil {
					return
				}
				r.tcp(r.note(query, conn.RemoteAddr()), query, conn)
			}
		})
	}
}

// open returns the rogue as an exchanger.
func (r *rogue) open(t testing.TB, scheme string, opt Options) Exchanger {
	t.Helper()
	url := scheme + "://" + r.addr
	if scheme == "tls" {
		url += "#" + serverName
		if opt.Roots == nil {
			opt.Roots = authority().roots
		}
	}
	return openURL(t, url, opt)
}

// openURL opens a server, and closes it when the test ends.
func openURL(t testing.TB, url string, opt Options) Exchanger {
	t.Helper()
	x, err := Open(url, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

// honest answers every query with one address.
func honest() *rogue {
	return &rogue{
		udp: func(_ int, query []byte, send func([]byte)) { send(answer(query)) },
		tcp: func(_ int, query []byte, conn net.Conn) { conn.Write(frame(answer(query))) },

		keep: true,
	}
}

// ask returns a query as the resolver hands it over.
func ask(name string) *dns.Msg {
	m := new(dns.Msg).SetQuestion(name, dns.TypeA)
	m.Id = 0x1234
	return m
}

// answer returns the reply to a packed query: one A record.
func answer(query []byte) []byte { return reply(query, nil) }

// reply returns the reply to a packed query after change was made to it.
func reply(query []byte, change func(*dns.Msg)) []byte {
	q := new(dns.Msg)
	if err := q.Unpack(query); err != nil {
		panic(err)
	}
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	m.Answer = []dns.RR{&dns.A{
		Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
		A:   net.IPv4(192, 0, 2, 1),
	}}
	if q.IsEdns0() != nil {
		m.SetEdns0(1232, false)
	}
	if change != nil {
		change(m)
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// coded returns the reply with an rcode and nothing else.
func coded(rcode int) func([]byte) []byte {
	return func(query []byte) []byte {
		return reply(query, func(m *dns.Msg) { m.Rcode, m.Answer = rcode, nil })
	}
}

func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

func parse(t testing.TB, b []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatalf("unpack: %v", err)
	}
	return m
}

// within returns a context that ends after d, or with the test.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// patient is the deadline of what must not end by it, impatient of what must.
const (
	patient   = 20 * time.Second
	impatient = 200 * time.Millisecond
)

// ending is a context whose deadline comes when the test says so, and not by the clock,
// which goes on while a slow machine does something else.
type ending struct {
	context.Context
	over chan struct{}
}

// ends returns such a context, and what brings its deadline.
func ends() (ctx context.Context, expire func()) {
	e := ending{context.Background(), make(chan struct{})}
	return e, sync.OnceFunc(func() { close(e.over) })
}

func (e ending) Deadline() (time.Time, bool) { return time.Now().Add(patient), true }
func (e ending) Done() <-chan struct{}       { return e.over }

func (e ending) Err() error {
	select {
	case <-e.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// until waits for what another goroutine is about to do.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !done(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("never came about: %s", what)
		}
	}
}

// checkAnswer fails the test unless m answers ask(name) with answer's address.
func checkAnswer(t testing.TB, m *dns.Msg, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if m.Id != 0x1234 {
		t.Errorf("reply has ID %#x, want that of the caller", m.Id)
	}
	if len(m.Answer) != 1 {
		t.Fatalf("reply has %d records, want 1:\n%v", len(m.Answer), m)
	}
	if a, ok := m.Answer[0].(*dns.A); !ok || !a.A.Equal(net.IPv4(192, 0, 2, 1)) {
		t.Errorf("answer is %v", m.Answer[0])
	}
}

// untilClosed waits until the other side closed the connection.
func untilClosed(conn net.Conn) { io.Copy(io.Discard, conn) }
