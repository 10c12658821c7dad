//go:build realtools

package integration

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// freePort returns a port of 127.0.0.1 that was free for UDP and TCP just now.
func freePort(t *testing.T) uint16 {
	t.Helper()
	var last error
	for range 20 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).AddrPort().Port()
		u, err := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", port))
		_ = l.Close()
		if err == nil {
			_ = u.Close()
			return port
		}
		last = err
	}
	t.Fatal("no port is free for UDP and TCP: ", last)
	return 0
}

// daemon is a DNS server that is not ours.
type daemon struct {
	*child
	addr netip.AddrPort
}

// startDaemon starts what command returns for a port, until it answers about
// zone over UDP and TCP. As another process may take the port first, it tries
// more than one.
func startDaemon(t *testing.T, zone string, command func(port uint16) *exec.Cmd) *daemon {
	t.Helper()
	var said string
	for range 3 {
		port := freePort(t)
		d := &daemon{child: start(t, command(port)), addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}
		err := d.ready(zone)
		if err == nil {
			return d
		}
		d.terminate(t)
		said = fmt.Sprintf("%v; it said:\n%s", err, &d.said)
	}
	t.Fatal(said)
	return nil
}

// ready asks for the SOA of zone until it comes, over UDP and then over TCP.
func (d *daemon) ready(zone string) error {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
	limit := time.Now().Add(patience)
	for _, network := range []string{"udp", "tcp"} {
		client := dns.Client{Net: network, Timeout: time.Second / 4}
		for {
			m, _, err := client.Exchange(q, d.addr.String())
			if err == nil && m.Rcode == dns.RcodeSuccess && len(m.Answer) == 1 {
				break
			}
			if err == nil {
				err = fmt.Errorf("it answers %s", dns.RcodeToString[m.Rcode])
			}
			if d.gone() || time.Now().After(limit) {
				return fmt.Errorf("%s on %s is not ready: %w", d.cmd.Path, d.addr, err)
			}
		}
	}
	return nil
}

// zoneText is the zone that nsd serves under several names, so everything in it
// is relative. The TXT records at "middle" do not fit a datagram of 512 octets,
// those at "big" none of 1232.
var zoneText = `$TTL 3600
@          IN SOA   ns hostmaster 1 3600 600 86400 300
@          IN NS    ns
@          IN MX    10 mail
@          IN MX    20 mail2
@          IN CAA   0 issue "ca.example"
ns         IN A     192.0.2.53
ads        IN A     192.0.2.66
mail       IN A     192.0.2.25
www    300 IN A     192.0.2.10
www    300 IN A     192.0.2.11
www    300 IN AAAA  2001:db8::10
alias  300 IN CNAME hop
hop    300 IN CNAME www
dangling   IN CNAME nowhere
cloaked    IN CNAME ads.track.example.
txt        IN TXT   "v=spf1 -all" "second string"
*.wild     IN A     192.0.2.77
svc        IN HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.10 ipv6hint=2001:db8::10
_dns.svc   IN SVCB  1 ns alpn=dot port=853
_sip._tcp  IN SRV   10 20 5060 www
leaf.ent   IN A     192.0.2.30
odd        IN TYPE65280 \# 4 c0a80001
` + txtRecords("middle", 3) + txtRecords("big", 9)

func txtRecords(owner string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s IN TXT \"%03d %s\"\n", owner, i, strings.Repeat("x", 240))
	}
	return b.String()
}

// startNSD serves zoneText under each of the zones.
func startNSD(t *testing.T, zones ...string) *daemon {
	t.Helper()
	path, dir := tool(t, "nsd"), t.TempDir()
	writeFile(t, dir, "zone", zoneText)
	return startDaemon(t, zones[0], func(port uint16) *exec.Cmd {
		conf := nsdServer(dir, port)
		for _, z := range zones {
			conf += fmt.Sprintf("zone:\n\tname: %q\n\tzonefile: zone\n", z)
		}
		return exec.Command(path, "-d", "-c", writeFile(t, dir, "nsd.conf", conf))
	})
}

// nsdServer is the part of NSD's configuration that is not about zones; their files are in dir.
func nsdServer(dir string, port uint16) string {
	return fmt.Sprintf(`server:
	ip-address: 127.0.0.1@%d
	username: ""
	chroot: ""
	zonesdir: %q
	database: ""
	pidfile: %[3]q
	xfrdfile: %[4]q
	xfrdir: %[2]q
	zonelistfile: %[5]q
	server-count: 1
	tcp-count: 200
	hide-version: yes
	rrl-ratelimit: 0
remote-control:
	control-enable: no
`, port, dir, filepath.Join(dir, "pid"), filepath.Join(dir, "xfrd.state"), filepath.Join(dir, "zones"))
}

// startUnbound resolves zones by asking nsd, and has nobody else to ask.
func startUnbound(t *testing.T, nsd *daemon, zones ...string) *daemon {
	t.Helper()
	path, dir := tool(t, "unbound"), t.TempDir()
	return startDaemon(t, zones[0], func(port uint16) *exec.Cmd {
		conf := fmt.Sprintf(`server:
	interface: 127.0.0.1@%d
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
	num-threads: 2
	so-reuseport: yes
remote-control:
	control-enable: no
forward-zone:
	name: "."
	forward-addr: 127.0.0.1@%[4]d
`, port, dir, filepath.Join(dir, "pid"), nsd.addr.Port())
		for _, z := range zones {
			conf += fmt.Sprintf("stub-zone:\n\tname: %q\n\tstub-addr: 127.0.0.1@%d\n", z, nsd.addr.Port())
		}
		return exec.Command(path, "-d", "-c", writeFile(t, dir, "unbound.conf", conf))
	})
}

// startNamed is BIND with zoneText as the zone of the upstreams.
func startNamed(t *testing.T) *daemon {
	t.Helper()
	path, dir := tool(t, "named"), t.TempDir()
	zone := writeFile(t, dir, "zone", zoneText)
	return startDaemon(t, upstreamZone, func(port uint16) *exec.Cmd {
		return exec.Command(path, "-g", "-4", "-c", writeFile(t, dir, "named.conf", fmt.Sprintf(`options {
	directory %q;
	listen-on port %d { 127.0.0.1; };
	listen-on-v6 { none; };
	pid-file none;
	session-keyfile none;
	recursion no;
	dnssec-validation no;
	tcp-clients 500;
};
controls { };
zone %q { type primary; file %q; };
`, dir, port, upstreamZone, zone)))
	})
}

// startKnot is Knot DNS with zoneText as the zone of the upstreams.
func startKnot(t *testing.T) *daemon {
	t.Helper()
	path, dir := tool(t, "knotd"), t.TempDir()
	zone := writeFile(t, dir, "zone", zoneText)
	return startDaemon(t, upstreamZone, func(port uint16) *exec.Cmd {
		return exec.Command(path, "-c", writeFile(t, dir, "knot.conf", fmt.Sprintf(`
server:
  rundir: %q
  listen: 127.0.0.1@%d
  udp-workers: 1
  tcp-workers: 1
log:
  - target: stderr
    any: warning
database:
  storage: %q
zone:
  - domain: %s
    file: %q
    zonefile-sync: -1
    journal-content: none
`, dir, port, dir, upstreamZone, zone)))
	})
}
