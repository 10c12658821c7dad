//go:build realtools

package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const (
	upstreamZone = "load.example"
	upstreamName = "dns.load.example" // of the encrypted servers, and in their zone as nothing
	missQueries  = 5000
)

// keyPair writes a self-signed certificate for upstreamName and its key to dir,
// and returns their paths and the pin of the key.
func keyPair(t *testing.T, dir string) (cert, key, pin string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: upstreamName}, DNSNames: []string{upstreamName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(public)
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return writeFile(t, dir, "cert.pem", text("CERTIFICATE", der)), writeFile(t, dir, "key.pem", text("PRIVATE KEY", private)),
		"sha256/" + base64.StdEncoding.EncodeToString(sum[:])
}

// startUnboundTLS is unbound that asks nsd, in clear text and by TLS at another port.
func startUnboundTLS(t *testing.T, nsd *daemon, cert, key string) (d *daemon, tls uint16) {
	t.Helper()
	path, dir := tool(t, "unbound"), t.TempDir()
	return startDaemon(t, upstreamZone, func(port uint16) *exec.Cmd {
		tls = freePort(t)
		return exec.Command(path, "-d", "-c", writeFile(t, dir, "unbound.conf", fmt.Sprintf(`server:
	interface: 127.0.0.1@%d
	interface: 127.0.0.1@%d
	tls-port: %[2]d
	tls-service-pem: %q
	tls-service-key: %q
	directory: %q
	pidfile: %q
	username: ""
	chroot: ""
	do-daemonize: no
	use-syslog: no
	logfile: ""
	verbosity: 0
	do-not-query-localhost: no
	do-ip6: no
	module-config: "iterator"
remote-control:
	control-enable: no
forward-zone:
	name: "."
	forward-addr: 127.0.0.1@%d
`, port, tls, cert, key, dir, filepath.Join(dir, "pid"), nsd.addr.Port())))
	}), tls
}

// startDNSDist is dnsdist before behind, in clear text and by HTTPS at another port.
func startDNSDist(t *testing.T, behind *daemon, cert, key string) (https uint16) {
	t.Helper()
	path, dir := tool(t, "dnsdist"), t.TempDir()
	startDaemon(t, upstreamZone, func(port uint16) *exec.Cmd {
		https = freePort(t)
		return exec.Command(path, "--supervised", "--disable-syslog", "-C", writeFile(t, dir, "dnsdist.conf", fmt.Sprintf(`
setLocal("127.0.0.1:%d")
newServer({address="%s", checkName="%s."})
addDOHLocal("127.0.0.1:%d", %q, %q, "/dns-query")
`, port, behind.addr, upstreamZone, https, cert, key)))
	})
	return https
}

// TestRealUpstreams has weir ask unbound over TCP and TLS, dnsdist, before nsd, over HTTPS, and nsd, BIND and Knot
// over UDP and TCP:
// answers are those that unbound gives directly, a server with another key or name
// is not believed, and 1,000 misses a second keep one to four connections.
func TestRealUpstreams(t *testing.T) {
	needTools(t)
	nsd, named, knotd := startNSD(t, upstreamZone), startNamed(t), startKnot(t)
	dir := t.TempDir()
	cert, key, pin := keyPair(t, dir)
	unbound, tlsPort := startUnboundTLS(t, nsd, cert, key)
	httpsPort := startDNSDist(t, nsd, cert, key)
	t.Setenv("SSL_CERT_FILE", cert) // weir trusts it, and nobody else
	t.Setenv("SSL_CERT_DIR", dir+"/none")
	miss := func(i int) string { return fmt.Sprintf("miss-%d.wild.%s A", i, upstreamZone) }
	misses := writeLines(t, filepath.Join(dir, "misses"), missQueries, miss)
	fewer := writeLines(t, filepath.Join(dir, "fewer"), missQueries/5, miss)

	for _, tc := range []struct {
		name, url string
		refused   bool
	}{
		{"tcp", fmt.Sprintf("tcp://%s", unbound.addr), false},
		{"tls by name", fmt.Sprintf("tls://127.0.0.1:%d#%s", tlsPort, upstreamName), false},
		{"tls by pin", fmt.Sprintf("tls://127.0.0.1:%d?pin=%s", tlsPort, pin), false},
		{"https", fmt.Sprintf("https://127.0.0.1:%d/dns-query#%s", httpsPort, upstreamName), false},
		{"nsd", fmt.Sprintf("udp://%s", nsd.addr), false},
		{"named", fmt.Sprintf("udp://%s", named.addr), false},
		{"named by tcp", fmt.Sprintf("tcp://%s", named.addr), false},
		{"knotd", fmt.Sprintf("udp://%s", knotd.addr), false},
		{"knotd by tcp", fmt.Sprintf("tcp://%s", knotd.addr), false},
		{"tls by another name", fmt.Sprintf("tls://127.0.0.1:%d#other.example", tlsPort), true},
		{"tls by another pin", fmt.Sprintf("tls://127.0.0.1:%d?pin=sha256/%s=", tlsPort, strings.Repeat("A", 43)), true},
		{"https by another name", fmt.Sprintf("https://127.0.0.1:%d/dns-query#other.example", httpsPort), true},
		{"https at another path", fmt.Sprintf("https://127.0.0.1:%d/else#%s", httpsPort, upstreamName), true},
		{"tls to a port without", fmt.Sprintf("tls://%s#%s", unbound.addr, upstreamName), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := startWeir(t, t.TempDir(), fmt.Sprintf(upstreamConfig, tc.url))
			for _, q := range []struct {
				name  string
				qtype uint16
			}{
				{"www", dns.TypeA},
				{"www", dns.TypeAAAA},
				{"alias", dns.TypeA},
				{"mail", dns.TypeMX},
				{"txt", dns.TypeTXT},
				{"big", dns.TypeTXT},
				{"nowhere", dns.TypeA},
				{"ent", dns.TypeA},
				{"svc", dns.TypeHTTPS},
				{"odd", 65280},
			} {
				m := askTCP(t, w.addrs[0].String(), q.name+"."+upstreamZone, q.qtype)
				if tc.refused {
					if m.Rcode != dns.RcodeServerFailure {
						t.Errorf("%s %s: %s, want SERVFAIL", q.name, dns.TypeToString[q.qtype], dns.RcodeToString[m.Rcode])
					}
					break
				}
				if want := askTCP(t, unbound.addr.String(), q.name+"."+upstreamZone, q.qtype); told(m) != told(want) {
					t.Errorf("%s %s:\n%s\nunbound:\n%s", q.name, dns.TypeToString[q.qtype], told(m), told(want))
				}
			}
			if tc.refused {
				w.terminate(t)
				return
			}
			defer func() {
				if t.Failed() {
					out := w.run(t, "audit", "search", "--json")
					for l := range strings.Lines(out) {
						if strings.Contains(l, "SERVFAIL") {
							t.Log(l)
							break
						}
					}
					t.Log(&w.said)
				}
			}()
			file, n := misses, missQueries
			if strings.HasPrefix(tc.name, "nsd") || strings.HasPrefix(tc.name, "named") || strings.HasPrefix(tc.name, "knotd") {
				file, n = fewer, missQueries/5
			}
			r := runDNSPerf(t, w.addrs[0], file, "-n", "1", "-q", "500", "-Q", "1000")
			s := upstreamStats(t, w)
			t.Logf("%d misses at %.0f/s: %d connections open, %d in all, %d failed, %d silent", r.completed, r.qps, s.Connections, s.Opened, s.Failures, s.Timeouts)
			if r.lost != 0 || r.rcodes["NOERROR"] != n || s.Failures+s.Timeouts != 0 {
				t.Errorf("%+v, %+v", r, s)
			}
			least := 1
			if strings.HasPrefix(tc.url, "udp:") {
				least = 0 // but for what does not fit a datagram
			}
			if s.Connections < least || s.Connections > 4 || s.Sent < uint64(n) {
				t.Errorf("%+v, want %d to 4 connections", s, least)
			}
			w.stop(t)
		})
	}
}

const upstreamConfig = onLoopback + `[upstream.default]
servers = ["%s"]
` + openToAll

// upstreamServer is what this test reads of a server in `weir status --json`.
type upstreamServer struct {
	Sent, Failures, Timeouts, Opened, Panics uint64
	Connections                              int
}

func upstreamStats(t *testing.T, w *weir) upstreamServer {
	t.Helper()
	var st struct {
		Upstreams []struct{ Servers []upstreamServer }
	}
	if err := json.Unmarshal([]byte(w.run(t, "status", "--json")), &st); err != nil {
		t.Fatal("status: ", err)
	}
	return st.Upstreams[0].Servers[0]
}

// askTCP asks over TCP, so that nothing is cut.
func askTCP(t *testing.T, server, name string, qtype uint16) *dns.Msg {
	t.Helper()
	client := dns.Client{Net: "tcp", Timeout: patience}
	m, _, err := client.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype), server)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// told is what a reply says, without TTLs and the order of records.
func told(m *dns.Msg) string {
	var lines []string
	for _, rr := range m.Answer {
		rr.Header().Ttl = 0
		lines = append(lines, rr.String())
	}
	slices.Sort(lines)
	return dns.RcodeToString[m.Rcode] + "\n" + strings.Join(lines, "\n")
}
