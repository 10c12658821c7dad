package integration

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
)

// fakeServer is an upstream that behaves as a script says, a line each:
//
//	rr RECORD          a record; aliases are followed, SOA and NS records at or above a name go with a negative answer
//	extra NAME RECORD  a record that comes in the additional section of answers for NAME
//	NAME BEHAVIOUR     silent: no answer. servfail, refused: that. truncated: TC over UDP, whole over TCP.
//	                   forged: first come datagrams with wrong id, wrong name, wrong type, QR=0 and garbage.
//
// Names without records get NXDOMAIN.
type fakeServer struct {
	addr      string
	records   []dns.RR
	extra     map[string][]dns.RR
	behaviour map[string]string

	udp net.PacketConn
	tcp net.Listener
	wg  sync.WaitGroup

	mu    sync.Mutex
	count map[string]int // by "name type"
}

func cmdUpstream(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: upstream FILE")
	}
	w := worldOf(ts)
	if w.upstream != nil {
		w.upstream.close()
	}
	u, err := newFakeServer(ts.ReadFile(args[0]), ts.Getenv("UPSTREAM"))
	ts.Check(err)
	w.upstream = u
	ts.Setenv("UPSTREAM", u.addr)
}

func cmdAsked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: asked NAME TYPE N")
	}
	want, err := strconv.Atoi(args[2])
	ts.Check(err)
	u := worldOf(ts).upstream
	u.mu.Lock()
	got := u.count[dns.Fqdn(strings.ToLower(args[0]))+" "+args[1]]
	u.mu.Unlock()
	if got != want {
		ts.Fatalf("asked %d times for %s %s, want %d", got, args[0], args[1], want)
	}
}

// newFakeServer serves script on addr, or on a free port of 127.0.0.1.
func newFakeServer(script, addr string) (*fakeServer, error) {
	u := &fakeServer{extra: map[string][]dns.RR{}, behaviour: map[string]string{}, count: map[string]int{}}
	for in := bufio.NewScanner(strings.NewReader(script)); in.Scan(); {
		line := strings.TrimSpace(in.Text())
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case verb == "rr":
			rr, err := dns.NewRR(rest)
			if err != nil {
				return nil, err
			}
			u.records = append(u.records, rr)
		case verb == "extra":
			name, record, _ := strings.Cut(rest, " ")
			rr, err := dns.NewRR(record)
			if err != nil {
				return nil, err
			}
			u.extra[name] = append(u.extra[name], rr)
		default:
			u.behaviour[dns.Fqdn(verb)] = rest
		}
	}
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var err error
	if u.udp, err = net.ListenPacket("udp", addr); err != nil {
		return nil, err
	}
	u.addr = u.udp.LocalAddr().String()
	if u.tcp, err = net.Listen("tcp", u.addr); err != nil {
		u.udp.Close()
		return nil, err
	}
	u.wg.Go(u.serveUDP)
	u.wg.Go(u.serveTCP)
	return u, nil
}

func (u *fakeServer) close() {
	u.udp.Close()
	u.tcp.Close()
	u.wg.Wait()
}

func (u *fakeServer) serveUDP() {
	buf := make([]byte, 65535)
	for {
		n, from, err := u.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		q := new(dns.Msg)
		if q.Unpack(buf[:n]) != nil || len(q.Question) != 1 {
			continue
		}
		for _, m := range u.answer(q, true) {
			_, _ = u.udp.WriteTo(m, from)
		}
	}
}

func (u *fakeServer) serveTCP() {
	for {
		conn, err := u.tcp.Accept()
		if err != nil {
			return
		}
		u.wg.Go(func() {
			c := &dns.Conn{Conn: conn}
			defer c.Close()
			for {
				q, err := c.ReadMsg()
				if err != nil {
					return
				}
				for _, m := range u.answer(q, false) {
					_, _ = c.Write(m)
				}
			}
		})
	}
}

// answer returns the packets that go back for q.
func (u *fakeServer) answer(q *dns.Msg, udp bool) [][]byte {
	name, typ := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
	u.mu.Lock()
	u.count[name+" "+dns.TypeToString[typ]]++
	u.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable, m.Compress = true, true
	u.fill(m, name, typ)
	m.Extra = append(m.Extra, u.extra[name]...)
	var before [][]byte
	switch u.behaviour[name] {
	case "silent":
		return nil
	case "servfail":
		m.Rcode, m.Answer, m.Ns = dns.RcodeServerFailure, nil, nil
	case "refused":
		m.Rcode, m.Answer, m.Ns = dns.RcodeRefused, nil, nil
	case "truncated":
		if udp {
			m.Truncated, m.Answer = true, nil
		}
	case "forged":
		for _, spoil := range []func(*dns.Msg){
			func(m *dns.Msg) { m.Id++ },
			func(m *dns.Msg) { m.Question[0].Name = "other.example." },
			func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT },
			func(m *dns.Msg) { m.Response = false },
		} {
			f := m.Copy()
			f.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 66)}}
			spoil(f)
			before = append(before, mustPack(f))
		}
		before = append(before, []byte{1}, []byte("garbage that is no DNS message"))
	}
	return append(before, mustPack(m))
}

func (u *fakeServer) fill(m *dns.Msg, name string, typ uint16) {
	exists := false
	for hop := 0; hop < 20; hop++ {
		next := ""
		for _, rr := range u.records {
			if !strings.EqualFold(rr.Header().Name, name) {
				continue
			}
			exists = true
			if c, ok := rr.(*dns.CNAME); ok && typ != dns.TypeCNAME {
				m.Answer = append(m.Answer, rr)
				next = strings.ToLower(c.Target)
			} else if rr.Header().Rrtype == typ {
				m.Answer = append(m.Answer, rr)
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	if len(m.Answer) > 0 && m.Answer[len(m.Answer)-1].Header().Rrtype == typ {
		return
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	for _, rr := range u.records {
		if rr.Header().Rrtype == dns.TypeSOA && dns.IsSubDomain(rr.Header().Name, name) {
			m.Ns = append(m.Ns, rr)
		}
	}
}

func mustPack(m *dns.Msg) []byte {
	b, err := m.Pack()
	if err != nil {
		panic(fmt.Sprintf("a test's own message does not pack: %v", err))
	}
	return b
}
