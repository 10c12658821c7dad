package upstream

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// serverName is the name that servers prove to have.
const serverName = "dns.example.test"

// An issuer of certificates, whom clients trust.
type issuer struct {
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	roots *x509.CertPool
}

// A certificate is what there is to say about one. The zero value is a good one.
type certificate struct {
	name  string     // serverName if empty
	addr  netip.Addr // besides
	until time.Time  // in an hour if zero
	self  bool       // signed by nobody else
}

var authority = sync.OnceValue(func() *issuer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	i := &issuer{key: key, roots: x509.NewCertPool(), cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, i.cert, i.cert, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	if i.cert, err = x509.ParseCertificate(der); err != nil {
		panic(err)
	}
	i.roots.AddCert(i.cert)
	return i
})

func (i *issuer) issue(c certificate) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	if c.name == "" {
		c.name = serverName
	}
	if c.until.IsZero() {
		c.until = time.Now().Add(time.Hour)
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: c.name}, DNSNames: []string{c.name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: c.until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if c.addr.IsValid() {
		t.IPAddresses = []net.IP{c.addr.AsSlice()}
	}
	parent, signer := i.cert, i.key
	if c.self {
		parent, signer = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serve returns the configuration of a server with the certificate.
func serve(c tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c}, NextProtos: []string{"dot"}}
}

// pinOf returns the pin of a certificate's key as it stands in a URL.
func pinOf(t testing.TB, c tls.Certificate) string {
	t.Helper()
	cert, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "pin=sha256/" + base64.StdEncoding.EncodeToString(sum[:])
}

// TestServerProvesWhoItIs holds that a server gets no query before it has proved
// to be the one that the URL names.
func TestServerProvesWhoItIs(t *testing.T) {
	a := authority()
	good, other := a.issue(certificate{}), a.issue(certificate{name: "other.example.test"})
	expired := a.issue(certificate{until: time.Now().Add(-time.Minute)})
	self := a.issue(certificate{self: true})
	byAddress := a.issue(certificate{addr: netip.MustParseAddr("127.0.0.1")})
	wrong := "pin=sha256/" + strings.Repeat("A", 43) + "="
	for _, tc := range []struct {
		name string
		cert tls.Certificate
		tail string // of the URL
		want string // the error, or nothing
	}{
		{"name", good, "#" + serverName, ""},
		{"name in other case", good, "#DNS.Example.test.", ""},
		{"address", byAddress, "#127.0.0.1", ""},
		{"not its address", good, "#127.0.0.1", "127.0.0.1"},
		{"another name", other, "#" + serverName, "other.example.test"},
		{"expired", expired, "#" + serverName, "expired"},
		{"unknown issuer", self, "#" + serverName, "unknown authority"},
		{"pin", good, "?" + pinOf(t, good), ""},
		{"pin of a certificate that nobody signed", self, "?" + pinOf(t, self), ""},
		{"pin of an expired certificate", expired, "?" + pinOf(t, expired), ""},
		{"second pin", good, "?" + wrong + "&" + pinOf(t, good), ""},
		{"another pin", good, "?" + pinOf(t, other), "pin"},
		{"pin and name", good, "?" + pinOf(t, good) + "#" + serverName, ""},
		{"pin, another name", other, "?" + pinOf(t, other) + "#" + serverName, "other.example.test"},
		{"name, another pin", good, "?" + wrong + "#" + serverName, "pin"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := honest()
			r.tls = serve(tc.cert)
			r.start(t)
			x := openURL(t, "tls://"+r.addr+tc.tail, Options{Roots: a.roots})
			m, err := x.Exchange(within(t, patient), ask("www.example.test."))
			if tc.want == "" {
				checkAnswer(t, m, err)
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want one at once that tells %q", err, tc.want)
			}
			if n := len(r.seen(t)); n != 0 {
				t.Errorf("%d queries came to a server that is not the one", n)
			}
			if s := x.Stats(); !strings.Contains(s.LastError, tc.want) || s.Failures != 1 {
				t.Errorf("stats %+v, want the error in them", s)
			}
		})
	}
}

// TestSystemIssuersAreTheDefault holds that without Roots our issuer is unknown.
func TestSystemIssuersAreTheDefault(t *testing.T) {
	r := honest().startFor(t, "tls")
	x := openURL(t, "tls://"+r.addr+"#"+serverName, Options{})
	if _, err := x.Exchange(within(t, patient), ask("www.example.test.")); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("error %v, want an unknown authority", err)
	}
}

func TestClockDecidesOnCertificates(t *testing.T) {
	r := honest().startFor(t, "tls")
	x := r.open(t, "tls", Options{Now: func() time.Time { return time.Now().Add(2 * time.Hour) }})
	if _, err := x.Exchange(within(t, patient), ask("www.example.test.")); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("error %v, want an expired certificate", err)
	}
}

// TestNoFallBack holds that what does not speak TLS gets no query at all.
func TestNoFallBack(t *testing.T) {
	var got bytes.Buffer
	done := make(chan struct{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		io.Copy(&got, conn)
		conn.Close()
	}()
	x := openURL(t, "tls://"+ln.Addr().String()+"#"+serverName, Options{Roots: authority().roots})
	_, err = x.Exchange(within(t, patient), ask("some-name.example.test."))
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want one at once", err)
	}
	<-done
	if bytes.Contains(got.Bytes(), []byte("some-name")) {
		t.Errorf("the question came in clear text: %q", got.Bytes())
	}
	if s := x.Stats(); s.Sent != 0 || s.Failures != 1 || s.Opened != 0 {
		t.Errorf("stats %+v, want one failure and nothing sent", s)
	}
}

func TestHandshakeIsWhatDoTAsksFor(t *testing.T) {
	var mu sync.Mutex
	var hello *tls.ClientHelloInfo
	var states []tls.ConnectionState
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		states = nil
		r := honest()
		r.keep = false // so that each exchange connects
		r.tls = serve(authority().issue(certificate{}))
		r.tls.MaxVersion = version
		r.tls.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			mu.Lock()
			defer mu.Unlock()
			hello = h
			return nil, nil
		}
		script := r.tcp
		r.tcp = func(n int, query []byte, conn net.Conn) {
			mu.Lock()
			states = append(states, conn.(*tls.Conn).ConnectionState())
			mu.Unlock()
			script(n, query, conn)
		}
		x := r.start(t).open(t, "tls", Options{})
		for range 3 {
			m, err := x.Exchange(within(t, patient), ask("www.example.test."))
			checkAnswer(t, m, err)
		}
		mu.Lock()
		if hello.ServerName != serverName || len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != "dot" {
			t.Errorf("hello for %q with protocols %q", hello.ServerName, hello.SupportedProtos)
		}
		for i, s := range states {
			if s.Version != version || s.NegotiatedProtocol != "dot" || s.DidResume != (i > 0) {
				t.Errorf("connection %d: version %#x, protocol %q, resumed %v; want the session of the first resumed", i, s.Version, s.NegotiatedProtocol, s.DidResume)
			}
		}
		mu.Unlock()
		for _, q := range r.seen(t) {
			if o := q.IsEdns0(); o == nil || len(o.Option) != 2 || q.Len()%padBlock != 0 {
				t.Errorf("query of %d octets is not padded:\n%v", q.Len(), q)
			}
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	r := honest()
	r.tls = serve(authority().issue(certificate{}))
	r.tls.MinVersion, r.tls.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	x := r.start(t).open(t, "tls", Options{})
	if _, err := x.Exchange(within(t, patient), ask("www.example.test.")); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("error %v, want one about the version", err)
	}
}

// TestServerThatStallsInTheHandshake holds that the deadline counts there too.
func TestServerThatStallsInTheHandshake(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // never accepts
	x := openURL(t, "tls://"+ln.Addr().String()+"#"+serverName, Options{})
	if _, err := x.Exchange(within(t, impatient), ask("www.example.test.")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want deadline exceeded", err)
	}
}
