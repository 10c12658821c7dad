package integration

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
)

// fakeServer is an upstream that behaves as a script says, a line each:
//
//	rr RECORD          a record; aliases are followed, SOA records at or above a name go with a negative answer
//	answer NAME RECORD a record of the answer section of answers for NAME, which then holds such records alone
//	authority NAME RECORD, extra NAME RECORD
//	                   a record that comes in the authority or the additional section of answers for NAME
//	NAME BEHAVIOUR     silent: no answer. servfail, refused: that; servfail-aaaa: to questions of that type.
//	                   nxdomain, yxdomain: that, with the records.
//	                   options: EDNS with a client subnet, a cookie, NSID, a reporting channel and an Extended DNS Error.
//	                   truncated: TC over UDP, whole over TCP. cut: TC over both, with the records.
//	                   held: the answers wait for the script's release.
//	                   forged: first come datagrams with wrong id, wrong name, wrong type, QR=0 and garbage.
//	                   captive ADDRESS: that address, whatever there is.
//	* BEHAVIOUR        so for all other names
//	tls NAME FILE      over TLS as well, at the address in $UPSTREAM_TLS, or $VAR_TLS, under a certificate for NAME
//	                   by an issuer whose own is written to FILE
//
// Names without records get NXDOMAIN.
type fakeServer struct {
	addr      string
	records   []dns.RR
	given     map[string]map[string][]dns.RR // by section, "answer", "authority" or "extra", and name
	behaviour map[string]string

	udp net.PacketConn
	tcp net.Listener
	tls net.Listener // nil: not over TLS
	wg  sync.WaitGroup

	mu      sync.Mutex
	heard   *sync.Cond        // something was asked
	count   map[string]int    // by "name type"
	more    map[string]string // what such a question came with, last, that is the asker's alone; see besides
	strange int               // datagrams that were not one question
	held    map[string][]func()
	conns   map[net.Conn]bool
	gone    bool
}

// upstreamOf returns the upstream whose address is in the variable that is the
// last of args, if there are more than n, and else in UPSTREAM.
func upstreamOf(ts *testscript.TestScript, args []string, n int) *fakeServer {
	key := "UPSTREAM"
	if len(args) > n {
		key = args[n]
	}
	u := worldOf(ts).upstreams[key]
	if u == nil {
		ts.Fatalf("no upstream %s runs", key)
	}
	return u
}

// cmdUpstream starts an upstream, or replaces one by another at the same
// address.
func cmdUpstream(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 2, "upstream FILE [VAR]")
	key := "UPSTREAM"
	if len(args) > 1 {
		key = args[1]
	}
	w := worldOf(ts)
	if u := w.upstreams[key]; u != nil {
		u.close()
	}
	u, err := newFakeServer(ts.ReadFile(args[0]), ts.Getenv(key), ts.MkAbs)
	ts.Check(err)
	if u.tls != nil {
		ts.Setenv(key+"_TLS", u.tls.Addr().String())
	}
	w.upstreams[key] = u
	ts.Setenv(key, u.addr)
}

func cmdRelease(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 2, "release NAME [VAR]")
	u := upstreamOf(ts, args, 1)
	name := dns.Fqdn(args[0])
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.held[name]) == 0 {
		ts.Fatalf("no answer for %s is held", name)
	}
	for _, send := range u.held[name] {
		send()
	}
	delete(u.held, name)
	delete(u.behaviour, name)
}

// newFakeServer serves script on addr, or on one of its own. It finds files by path.
func newFakeServer(script, addr string, path func(string) string) (*fakeServer, error) {
	u := &fakeServer{
		given:     map[string]map[string][]dns.RR{"answer": {}, "authority": {}, "extra": {}},
		behaviour: map[string]string{}, count: map[string]int{}, more: map[string]string{},
		held: map[string][]func(){}, conns: map[net.Conn]bool{},
	}
	u.heard = sync.NewCond(&u.mu)
	for in := bufio.NewScanner(strings.NewReader(script)); in.Scan(); {
		line := strings.TrimSpace(in.Text())
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case verb == "rr":
			rr, err := record(rest)
			if err != nil {
				return nil, err
			}
			u.records = append(u.records, rr)
		case verb == "tls":
			name, file, _ := strings.Cut(rest, " ")
			config, err := issue(name, path(file))
			if err != nil {
				return nil, err
			}
			if u.tls, err = tls.Listen("tcp", "127.0.0.1:0", config); err != nil {
				return nil, err
			}
		case u.given[verb] != nil:
			name, text, _ := strings.Cut(rest, " ")
			rr, err := record(text)
			if err != nil {
				return nil, err
			}
			u.given[verb][dns.Fqdn(name)] = append(u.given[verb][dns.Fqdn(name)], rr)
		default:
			if verb != "*" {
				verb = dns.Fqdn(verb)
			}
			u.behaviour[verb] = rest
		}
	}
	var err error
	if u.udp, u.tcp, err = listenBoth(addr); err != nil {
		return nil, err
	}
	u.addr = u.udp.LocalAddr().String()
	u.wg.Go(u.serveUDP)
	u.wg.Go(func() { u.serveTCP(u.tcp) })
	if u.tls != nil {
		u.wg.Go(func() { u.serveTCP(u.tls) })
	}
	return u, nil
}

// record reads a record, and writes its owner as that of a question is written.
func record(text string) (dns.RR, error) {
	rr, err := dns.NewRR(text)
	if err == nil {
		rr.Header().Name, err = canonical(rr.Header().Name)
	}
	return rr, err
}

// owners counts those that have asked for a host of their own.
var owners atomic.Uint32

// ownHost is an address of this machine that nobody else is given, with any port. A
// server that ends and starts again finds its port free there: that others are given
// ports by the system meanwhile takes none of it.
func ownHost() string {
	n := owners.Add(1)
	return fmt.Sprintf("127.77.%d.%d:0", n>>8&255, n&255)
}

// listenBoth opens addr for both transports; where its port is 0, or without
// one on a host of its own, a port that is free for both.
func listenBoth(addr string) (udp net.PacketConn, tcp net.Listener, err error) {
	if addr == "" {
		addr = ownHost()
	}
	for range 10 {
		if udp, err = net.ListenPacket("udp", addr); err != nil {
			return nil, nil, err
		}
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			return udp, tcp, nil
		}
		udp.Close()
	}
	return nil, nil, err
}

// issue makes an issuer, whose certificate goes into a file, and returns what a
// server for name needs.
func issue(name, file string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	from, until := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: from, NotAfter: until}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leafDER}, PrivateKey: key}}, NextProtos: []string{"dot"}}, nil
}

func (u *fakeServer) close() {
	u.udp.Close()
	u.tcp.Close()
	if u.tls != nil {
		u.tls.Close()
	}
	u.mu.Lock()
	u.gone = true
	for c := range u.conns {
		c.Close()
	}
	u.mu.Unlock()
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
			u.mu.Lock()
			u.strange++
			u.mu.Unlock()
			continue
		}
		u.handle(q, true, func(m []byte) { _, _ = u.udp.WriteTo(m, from) })
	}
}

func (u *fakeServer) serveTCP(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		u.mu.Lock()
		u.conns[conn] = true
		if u.gone {
			conn.Close()
		}
		u.mu.Unlock()
		u.wg.Go(func() {
			c := &dns.Conn{Conn: conn}
			defer c.Close()
			for {
				q, err := c.ReadMsg()
				if err != nil {
					return
				}
				u.handle(q, false, func(m []byte) { _, _ = c.Write(m) })
			}
		})
	}
}

// handle counts q and sends the packets that go back, now or at release.
func (u *fakeServer) handle(q *dns.Msg, udp bool, write func([]byte)) {
	name, typ := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
	u.mu.Lock()
	defer u.mu.Unlock()
	send := func() {
		for _, m := range u.answer(q, name, typ, udp) {
			write(m)
		}
	}
	if u.behaviour[name] == "held" {
		u.held[name] = append(u.held[name], send)
	} else {
		send()
	}
	key := keyOf(name, typ)
	u.count[key]++
	if more := besides(q); more != "" {
		u.more[key] = more
	}
	u.heard.Broadcast()
}

// answer returns the packets that go back for q.
func (u *fakeServer) answer(q *dns.Msg, name string, typ uint16, udp bool) [][]byte {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable, m.Compress = true, true
	if given := u.given["answer"][name]; given != nil {
		m.Answer = given
	} else {
		u.fill(m, name, typ)
	}
	m.Ns = append(m.Ns, u.given["authority"][name]...)
	m.Extra = append(m.Extra, u.given["extra"][name]...)
	var before [][]byte
	behaviour, ok := u.behaviour[name]
	if !ok {
		behaviour = u.behaviour["*"]
	}
	behaviour, address, _ := strings.Cut(behaviour, " ")
	if behaviour == "servfail-aaaa" && typ == dns.TypeAAAA {
		behaviour = "servfail"
	}
	switch behaviour {
	case "silent":
		return nil
	case "servfail":
		m.Rcode, m.Answer, m.Ns = dns.RcodeServerFailure, nil, nil
	case "refused":
		m.Rcode, m.Answer, m.Ns = dns.RcodeRefused, nil, nil
	case "nxdomain":
		m.Rcode = dns.RcodeNameError
	case "yxdomain":
		m.Rcode = dns.RcodeYXDomain
	case "options":
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{
			&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0)},
			&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef0123456789abcdef"},
			&dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: "6e73"},
			&dns.EDNS0_LOCAL{Code: 18, Data: []byte("\x06report\x07example\x00")}, // RFC 9567 §5.1
			&dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeNotReady, ExtraText: "of the upstream"},
		}
	case "captive":
		m.Rcode, m.Answer, m.Ns = dns.RcodeSuccess, nil, nil
		if typ == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: typ, Class: dns.ClassINET, Ttl: 300}, A: net.ParseIP(address)}}
		}
	case "cut":
		m.Truncated = true
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
