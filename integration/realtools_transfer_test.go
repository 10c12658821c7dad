//go:build realtools

package integration

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// policyZone is a response policy zone with a serial and the names that it blocks. Its SOA record has nobody ask again
// within the hour.
func policyZone(serial int, names ...string) string {
	text := fmt.Sprintf("@ 3600 IN SOA localhost. root.localhost. %d 3600 3600 86400 60\n@ 3600 IN NS localhost.\n", serial)
	for _, name := range names {
		text += name + " 60 IN CNAME .\n"
	}
	return text
}

const transferSecret = "VGhpcyBpcyBhIHNlY3JldCBvZiB0aGUgdGVzdCwgMzIgbw=="

// TestRealTransfer takes a response policy zone from NSD: signed, and again when NSD sends a NOTIFY. With another
// secret it gets nothing, and says why.
func TestRealTransfer(t *testing.T) {
	path, dir, port := tool(t, "nsd"), t.TempDir(), freePort(t)
	writeFile(t, dir, "rpz.zone", policyZone(1, "blocked.test", "*.blocked.test"))
	nsd := startDaemon(t, "rpz.example", func(own uint16) *exec.Cmd {
		conf := nsdServer(dir, own) + fmt.Sprintf(`key:
	name: "transfer-key"
	algorithm: hmac-sha256
	secret: %q
zone:
	name: "rpz.example"
	zonefile: "rpz.zone"
	provide-xfr: 127.0.0.1 transfer-key
	notify: 127.0.0.1@%d NOKEY
`, transferSecret, port)
		return exec.Command(path, "-d", "-c", writeFile(t, dir, "nsd.conf", conf))
	})
	config := func(secret string) string {
		return fmt.Sprintf(`version = 1
[server]
listen = ["127.0.0.1:%[1]d"]
[upstream.default]
servers = ["udp://127.0.0.1:9"]
[[zone]]
name = "test"
records = ["@ 60 NS ns", "ns 60 A 192.0.2.53", "* 60 A 192.0.2.10"]
[tsig.transfer-key]
secret = %[2]q
[category.policy]
sources = [{ from = "axfr://%[3]s/rpz.example", name = "policy", tsig = "transfer-key" }]
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "block"
categories = ["policy"]
`, port, secret, nsd.addr)
	}

	other := t.TempDir()
	writeFile(t, other, "config.toml", config("QW5vdGhlciBzZWNyZXQgYWx0b2dldGhlciwgMzIgb2N0ZXRz"))
	cmd := exec.Command(binary, "lists", "refresh", "--config", "config.toml")
	cmd.Dir = other
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "BADSIG") {
		t.Errorf("with another secret: %v\n%s", err, out)
	}

	w := startWeir(t, t.TempDir(), config(transferSecret))
	blocked := func(name string) {
		t.Helper()
		q := new(dns.Msg)
		q.SetQuestion(dns.Fqdn(name), dns.TypeA)
		client := dns.Client{Timeout: time.Second}
		for limit := time.Now().Add(patience); ; {
			m, _, err := client.Exchange(q, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
			if err == nil && m.Rcode == dns.RcodeNameError {
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("%s is not blocked: %v, %v; weir said:\n%s", name, m, err, &w.said)
			}
		}
	}
	blocked("www.blocked.test")
	writeFile(t, dir, "rpz.zone", policyZone(2, "blocked.test", "*.blocked.test", "later.test"))
	if err := nsd.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	blocked("later.test")
	blocked("blocked.test")
}
