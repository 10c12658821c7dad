//go:build realtools

package integration

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"

	"weir/audit"
)

// lookup is one run of dig or kdig. In all texts ZONE stands for the zone of
// the round; blanks in the output of the tools are single. ~300 is a TTL of so
// many seconds that may have been in a cache for a while.
type lookup struct {
	ask    string   // the tool and its arguments, without server and port
	want   []string // each is in what it prints
	not    []string // none of these is
	asks   int      // queries that it sends; 0 is 1
	over6  bool     // at the IPv6 address
	fails  bool     // the tool's exit code is not 0
	source string   // of the last record, if it is to be checked
}

// forwardedLookups are asked for each zone that comes from an upstream.
var forwardedLookups = []lookup{
	{
		ask:  "dig www.ZONE A",
		want: []string{"status: NOERROR", "flags: qr rd ra; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 1", "www.ZONE. ~300 IN A 192.0.2.10", "www.ZONE. ~300 IN A 192.0.2.11", "EDNS: version: 0, flags:; udp: 1232", "(UDP)"},
		not:  []string{"WARNING", "EDE"}, source: "upstream",
	},
	{ask: "kdig www.ZONE A", want: []string{"status: NOERROR", "Flags: qr rd ra; QUERY: 1; ANSWER: 2", "A 192.0.2.11", "(UDP)"}, not: []string{"WARNING"}, source: "cache"},
	{ask: "dig wWw.ZONE A +tcp", want: []string{"status: NOERROR", ";wWw.ZONE. IN A", "ANSWER: 2", "(TCP)"}, not: []string{"WARNING"}, source: "cache"},
	{ask: "dig www.ZONE AAAA", want: []string{"www.ZONE. ~300 IN AAAA 2001:db8::10", "(UDP)"}, over6: true, source: "upstream"},
	{ask: "dig www.ZONE AAAA +tcp", want: []string{"IN AAAA 2001:db8::10", "(TCP)"}, over6: true, source: "cache"},
	{ask: "kdig alias.ZONE A", want: []string{"status: NOERROR", "ANSWER: 4", "alias.ZONE. ~300 IN CNAME hop.ZONE.", "hop.ZONE. ~300 IN CNAME www.ZONE.", "www.ZONE. ~300 IN A 192.0.2.10"}},
	{ask: "dig dangling.ZONE A", want: []string{"status: NXDOMAIN", "ANSWER: 1, AUTHORITY: 1", "IN CNAME nowhere.ZONE.", "ZONE. ~300 IN SOA ns.ZONE. hostmaster.ZONE."}},
	{ask: "dig ZONE MX", want: []string{"ZONE. ~3600 IN MX 10 mail.ZONE.", "ZONE. ~3600 IN MX 20 mail2.ZONE.", "ANSWER: 2"}},
	{ask: "dig ZONE SOA", want: []string{"ZONE. ~3600 IN SOA ns.ZONE. hostmaster.ZONE. 1 3600 600 86400 300", "ANSWER: 1"}},
	{ask: "dig ZONE NS", want: []string{"ZONE. ~3600 IN NS ns.ZONE.", "ANSWER: 1"}},
	{ask: "dig ZONE CAA", want: []string{`ZONE. ~3600 IN CAA 0 issue "ca.example"`}},
	{ask: "dig _sip._tcp.ZONE SRV", want: []string{"IN SRV 10 20 5060 www.ZONE."}},
	{ask: "dig txt.ZONE TXT", want: []string{`IN TXT "v=spf1 -all" "second string"`}},
	{ask: "dig svc.ZONE HTTPS", want: []string{`IN HTTPS 1 . alpn="h2,h3" ipv4hint=192.0.2.10 ipv6hint=2001:db8::10`}},
	{ask: "kdig svc.ZONE HTTPS", want: []string{`HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.10 ipv6hint=2001:db8::10`}},
	{ask: "dig _dns.svc.ZONE SVCB", want: []string{`IN SVCB 1 ns.ZONE. alpn="dot" port=853`}},
	{ask: "dig odd.ZONE TYPE65280", want: []string{`IN TYPE65280 \# 4 C0A80001`}},
	{ask: "dig any-thing.wild.ZONE A", want: []string{"any-thing.wild.ZONE. ~3600 IN A 192.0.2.77"}},
	{ask: "dig a.b.wild.ZONE A", want: []string{"a.b.wild.ZONE. ~3600 IN A 192.0.2.77"}},
	{ask: "dig nowhere.ZONE A", want: []string{"status: NXDOMAIN", "ANSWER: 0, AUTHORITY: 1", "ZONE. ~300 IN SOA"}},
	{ask: "kdig nowhere.ZONE A", want: []string{"status: NXDOMAIN", "ANSWER: 0; AUTHORITY: 1"}, source: "cache"},
	{ask: "dig www.ZONE MX", want: []string{"status: NOERROR", "ANSWER: 0, AUTHORITY: 1", "ZONE. ~300 IN SOA"}},
	{ask: "dig ent.ZONE A", want: []string{"status: NOERROR", "ANSWER: 0, AUTHORITY: 1", "ZONE. ~300 IN SOA"}},

	// Size: what does not fit is truncated, and whole over TCP.
	{ask: "dig middle.ZONE TXT +bufsize=1232", want: []string{"ANSWER: 3", "(UDP)"}, not: []string{"Truncated"}},
	{ask: "dig middle.ZONE TXT +noedns +ignore", want: []string{"flags: qr tc rd ra", "(UDP)", "ADDITIONAL: 0"}, not: []string{"OPT PSEUDOSECTION"}},
	{ask: "dig middle.ZONE TXT +noedns", want: []string{"Truncated, retrying in TCP mode", "flags: qr rd ra", "ANSWER: 3", "(TCP)"}, asks: 2},
	{ask: "dig big.ZONE TXT +ignore", want: []string{"flags: qr tc rd ra", "(UDP)"}},
	{ask: "dig big.ZONE TXT +bufsize=4096 +ignore", want: []string{"flags: qr tc rd ra", "udp: 1232", "(UDP)"}},
	{ask: "dig big.ZONE TXT", want: []string{"Truncated, retrying in TCP mode", "flags: qr rd ra", "ANSWER: 9", "008 xxx", "(TCP)"}, asks: 2},
	{ask: "kdig big.ZONE TXT", want: []string{"Flags: qr rd ra", "ANSWER: 9", "008 xxx", "(TCP)"}, asks: 2},
	{ask: "kdig big.ZONE TXT +tcp", want: []string{"ANSWER: 9", "(TCP)"}, over6: true},

	// Flags.
	{ask: "dig www.ZONE A +norec", want: []string{"status: NOERROR", "flags: qr ra;", "ANSWER: 2"}},
	{ask: "dig www.ZONE A +dnssec", want: []string{"status: NOERROR", "EDNS: version: 0, flags: do; udp: 1232", "ANSWER: 2"}},
	{ask: "dig www.ZONE A +cdflag", want: []string{"status: NOERROR", "flags: qr rd ra cd"}},
	{ask: "dig www.ZONE A +noedns", want: []string{"status: NOERROR", "ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 0"}, not: []string{"OPT PSEUDOSECTION"}},
	{ask: "dig www.ZONE A +nocookie +ednsopt=65001:00ff +subnet=192.0.2.0/24", want: []string{"status: NOERROR", "ANSWER: 2"}, not: []string{"CLIENT-SUBNET", "OPT=65001"}},
	{ask: "dig www.ZONE A +padding=128", want: []string{"status: NOERROR", "ANSWER: 2"}},

	// An alias to a listed name hides nothing.
	{ask: "dig cloaked.ZONE A", want: []string{"status: NXDOMAIN", "ANSWER: 0, AUTHORITY: 1", "EDE: 15 (Blocked): (staff: ads)"}, source: "sinkhole"},

	{ask: "dig +tcp +keepopen www.ZONE A txt.ZONE TXT nowhere.ZONE A", want: []string{"status: NXDOMAIN", "v=spf1"}, asks: 3},
}

// ownLookups are asked once: what weir answers by itself.
var ownLookups = []lookup{
	{
		ask:  "dig ads.track.example A",
		want: []string{"status: NXDOMAIN", "flags: qr rd ra; QUERY: 1, ANSWER: 0, AUTHORITY: 1, ADDITIONAL: 1", "EDE: 15 (Blocked): (staff: ads)", "ads.track.example. 60 IN SOA"}, source: "sinkhole",
	},
	{ask: "kdig ads.track.example A +edns", want: []string{"status: NXDOMAIN", "EDE: 15 (Blocked)", "staff: ads"}, source: "sinkhole"},
	{ask: "kdig ads.track.example A +noedns", want: []string{"status: NXDOMAIN"}, not: []string{"EDE", "EDNS"}, source: "sinkhole"},
	{ask: "dig track.example HTTPS +tcp", want: []string{"status: NXDOMAIN", "EDE: 15 (Blocked): (staff: ads)", "(TCP)"}, over6: true},
	{ask: "dig null.example A", want: []string{"status: NOERROR", "null.example. 60 IN A 0.0.0.0", "EDE: 15 (Blocked): (staff: rule 2)"}},
	{ask: "dig null.example AAAA", want: []string{"null.example. 60 IN AAAA ::"}},
	{ask: "dig null.example HTTPS", want: []string{"status: NOERROR", "ANSWER: 0, AUTHORITY: 1"}},
	{ask: "dig refused.example A", want: []string{"status: REFUSED", "EDE: 15 (Blocked)"}},
	{ask: "dig dropped.example A", want: []string{"timed out"}, fails: true},

	{ask: "dig www.lab.example A", want: []string{"status: NOERROR", "flags: qr aa rd ra", "www.lab.example. 300 IN A 192.0.2.10"}, source: "local"},
	{ask: "kdig www.lab.example A +tcp", want: []string{"status: NOERROR", "Flags: qr aa rd ra", "A 192.0.2.10"}, source: "local"},
	{ask: "dig alias.lab.example A", want: []string{"flags: qr aa rd ra", "ANSWER: 2", "IN CNAME www.lab.example.", "www.lab.example. 300 IN A 192.0.2.10"}},
	{ask: "dig x.wild.lab.example A", want: []string{"flags: qr aa rd ra", "x.wild.lab.example. 300 IN A 192.0.2.12"}},
	{ask: "dig nowhere.lab.example A", want: []string{"status: NXDOMAIN", "flags: qr aa rd ra", "AUTHORITY: 1", "lab.example. 300 IN SOA"}},
	{ask: "dig www.lab.example MX", want: []string{"status: NOERROR", "flags: qr aa rd ra", "ANSWER: 0, AUTHORITY: 1"}},
	{ask: "dig localhost A", want: []string{"127.0.0.1"}, source: "local"},
	{ask: "dig -x 192.168.7.7", want: []string{"status: NXDOMAIN", "7.7.168.192.in-addr.arpa. IN PTR"}, source: "local"},
	{ask: "dig anything.invalid A", want: []string{"status: NXDOMAIN"}, source: "local"},

	{ask: "dig www.direct.example ANY +notcp", want: []string{"status: NOERROR", "HINFO", "RFC8482"}},
	{ask: "dig version.bind TXT CH", want: []string{"status: REFUSED"}},
	{ask: "dig direct.example AXFR", want: []string{"Transfer failed"}},
	{ask: "dig www.direct.example A +edns=100 +noednsnegotiation", want: []string{"status: BADVERS", "EDNS: version: 0"}},
	{ask: "dig www.direct.example A +opcode=STATUS", want: []string{"opcode: STATUS, status: NOTIMP"}},
	{ask: "dig www.direct.example A +header-only", want: []string{"status: NOERROR", "(good)"}},
	{ask: "dig www.direct.example A +header-only +nocookie", want: []string{"status: FORMERR"}},
	{ask: "kdig +tcp +keepopen www.lab.example A ads.track.example A www.direct.example A", want: []string{"192.0.2.10", "NXDOMAIN", "192.0.2.11"}, asks: 3},

	// The first server says nothing, or is not there.
	{ask: "dig www.silent.example A", want: []string{"status: NOERROR", "www.silent.example. 300 IN A 192.0.2.10"}, source: "upstream"},
	{ask: "dig mail.silent.example A", want: []string{"status: NOERROR", "192.0.2.25"}, source: "upstream"},
	{ask: "dig www.closed.example A", want: []string{"status: NOERROR", "www.closed.example. 300 IN A 192.0.2.10"}, source: "upstream"},
	// The upstream is asked over TCP from the start.
	{ask: "dig www.stream.example A", want: []string{"status: NOERROR", "www.stream.example. 300 IN A 192.0.2.10"}, source: "upstream"},
}

const clientsConfig = `version = 1
[server]
listen = ["127.0.0.1:0", "[::1]:0"]
[upstream.default]
servers = ["udp://%[1]s"]
[upstream.nsd]
servers = ["udp://%[2]s"]
[upstream.nsd-tcp]
servers = ["tcp://%[2]s"]
[upstream.second]
servers = ["udp://%[3]s", "udp://%[2]s"]
timeout = "300ms"
[upstream.other]
servers = ["udp://%[4]s", "udp://%[2]s"]
[[forward]]
zones = ["direct.example"]
upstream = "nsd"
[[forward]]
zones = ["stream.example"]
upstream = "nsd-tcp"
[[forward]]
zones = ["silent.example"]
upstream = "second"
[[forward]]
zones = ["closed.example"]
upstream = "other"
[[zone]]
name = "lab.example"
records = ["@ 300 SOA ns hostmaster 1 3600 600 86400 300", "@ 3600 NS ns", "ns 3600 A 192.0.2.53",
	"www 300 A 192.0.2.10", "alias 300 CNAME www", "*.wild 300 A 192.0.2.12"]
[category.ads]
sources = ["ads.txt"]
[[policy]]
name = "staff"
clients = ["any"]
default = "allow"
[[policy.rule]]
action = "block"
categories = ["ads"]
[[policy.rule]]
action = "block"
domains = ["null.example"]
answer = "null"
[[policy.rule]]
action = "block"
domains = ["refused.example"]
answer = "refused"
[[policy.rule]]
action = "block"
domains = ["dropped.example"]
answer = "drop"
` + besideConfig

// TestRealClients holds that dig and kdig see right answers from weir before
// real servers, over UDP and TCP, IPv4 and IPv6, and that the log has exactly
// what they asked.
func TestRealClients(t *testing.T) {
	needTools(t)
	nsd := startNSD(t, "corp.example", "direct.example", "stream.example", "silent.example", "closed.example", "track.example")
	unbound := startUnbound(t, nsd, "corp.example", "track.example")
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0") // and nobody reads it
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	dir := t.TempDir()
	writeFile(t, dir, "ads.txt", "# a list\ntrack.example\n")
	w := startWeir(t, dir, fmt.Sprintf(clientsConfig, unbound.addr, nsd.addr, silent.LocalAddr(), fmt.Sprintf("127.0.0.1:%d", freePort(t))))
	before := w.settled(t).Audit.LastSeq
	asked := 0

	for _, zone := range []string{"corp.example", "direct.example"} {
		for _, l := range forwardedLookups {
			t.Run(strings.ReplaceAll(l.ask, "ZONE", zone), func(t *testing.T) { asked += w.ask(t, l, zone) })
		}
	}
	for _, l := range ownLookups {
		t.Run(l.ask, func(t *testing.T) { asked += w.ask(t, l, "") })
	}
	t.Run("the second server answered", func(t *testing.T) {
		for _, name := range []string{"=www.silent.example", "=www.closed.example"} {
			if out := w.run(t, "audit", "search", "--name", name, "--json"); !strings.Contains(out, `"upstream":"udp://`+nsd.addr.String()+`"`) {
				t.Errorf("%s: want upstream %s in\n%s", name, nsd.addr, out)
			}
		}
	})
	t.Run("one connection for several queries", func(t *testing.T) {
		for _, name := range []string{"dig", "kdig"} {
			relay, count := startRelay(t, w.addrs[0])
			out := must(t, dir, tool(t, name), "@127.0.0.1", "-p", fmt.Sprint(relay.Port()), "+tcp", "+keepopen",
				"www.lab.example", "A", "www.corp.example", "A", "ads.track.example", "A", "big.corp.example", "TXT")
			asked += 4
			if n := strings.Count(out, "HEADER"); n != 4 || !strings.Contains(out, "008 xxx") {
				t.Errorf("%s shows %d answers, want 4:\n%s", name, n, out)
			}
			if n := count(); n != 1 {
				t.Errorf("%s used %d connections, want 1", name, n)
			}
		}
	})
	t.Run("many queries at once on a connection", func(t *testing.T) {
		var lines strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&lines, "%s\n", []string{"www.corp.example A", "ads.track.example A", "www.lab.example A", "alias.direct.example AAAA"}[i%4])
		}
		r := runDNSPerf(t, w.addrs[1], writeFile(t, dir, "pipelined", lines.String()), "-m", "tcp", "-c", "2", "-q", "200", "-n", "1")
		asked += r.sent
		if r.sent != 1000 || r.completed != 1000 || r.lost != 0 {
			t.Errorf("dnsperf over TCP: %+v", r)
		}
	})
	t.Run("the upstream is gone", func(t *testing.T) {
		unbound.terminate(t)
		asked += w.ask(t, lookup{ask: "dig www.corp.example A", want: []string{"status: NOERROR", "192.0.2.10"}, source: "cache"}, "")
		asked += w.ask(t, lookup{ask: "dig new.corp.example A", want: []string{"status: SERVFAIL", "EDE: 23 (Network Error): (upstream default failed)"}, source: "error"}, "")
	})

	st := w.settled(t)
	queries := 0
	for _, r := range w.export(t, before) {
		switch {
		case r.Kind == "query":
			queries++
		case !strings.HasPrefix(r.Action, audit.ActionAsk): // this test reads all the time
			t.Errorf("record %d is a %s: %s", r.Seq, r.Kind, r.Text)
		}
	}
	if queries != asked || st.Audit.Lost != 0 || st.Resolver.Panics != 0 {
		t.Errorf("%d records, %d lost, %d panics for %d queries", queries, st.Audit.Lost, st.Resolver.Panics, asked)
	}
	w.stop(t)
}

var blanks = regexp.MustCompile(`[ \t]+`)

// ask runs a lookup and returns how many queries that was.
func (w *weir) ask(t *testing.T, l lookup, zone string) int {
	t.Helper()
	fill := func(s string) string { return strings.ReplaceAll(s, "ZONE", zone) }
	addr := w.addrs[0]
	if l.over6 {
		addr = w.addrs[1]
	}
	words := strings.Fields(fill(l.ask))
	args := []string{"@" + addr.Addr().String(), "-p", fmt.Sprint(addr.Port())}
	if words[0] == "dig" {
		// A second try would be a second record; only a query that gets no answer waits.
		args = append(args, "+tries=1", "+timeout="+map[bool]string{false: "10", true: "1"}[l.fails])
	} else {
		args = append(args, "+retry=0", "+timeout=10", "+edns")
	}
	out, err := output(t, w.dir, tool(t, words[0]), append(args, words[1:]...)...)
	if (err != nil) != l.fails {
		t.Errorf("%v", err)
	}
	flat := blanks.ReplaceAllString(out, " ")
	for _, s := range l.want {
		if !shows(flat, fill(s)) {
			t.Errorf("want %q in\n%s", fill(s), out)
		}
	}
	for _, s := range l.not {
		if strings.Contains(flat, fill(s)) {
			t.Errorf("do not want %q in\n%s", fill(s), out)
		}
	}
	if l.source != "" {
		w.settled(t)
		if rec := w.run(t, "audit", "search", "--limit", "1", "--json"); !strings.Contains(rec, fmt.Sprintf(`"source":%q`, l.source)) {
			t.Errorf("want source %q in %s", l.source, rec)
		}
	}
	return max(l.asks, 1)
}

var lifetime = regexp.MustCompile(`~\d+`)

// shows reports whether text is in out, where a TTL "~n" may have aged by a minute.
func shows(out, text string) bool {
	ttl := lifetime.FindString(text)
	if ttl == "" {
		return strings.Contains(out, text)
	}
	before, after, _ := strings.Cut(text, ttl)
	var most, found int
	fmt.Sscanf(ttl, "~%d", &most)
	m := regexp.MustCompile(regexp.QuoteMeta(before) + `(\d+)` + regexp.QuoteMeta(after)).FindStringSubmatch(out)
	if m == nil {
		return false
	}
	fmt.Sscan(m[1], &found)
	return found <= most && found >= most-60
}

// startRelay listens on loopback and passes TCP connections on to addr, as they
// are. count ends it and returns how many there were.
func startRelay(t *testing.T, addr netip.AddrPort) (at netip.AddrPort, count func() int) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	n := 0
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			n++
			out, err := net.Dial("tcp", addr.String())
			if err != nil {
				in.Close()
				continue
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_ = to.Close()
			}
			wg.Go(func() { pass(out, in) })
			wg.Go(func() { pass(in, out) })
		}
	})
	end := sync.OnceValue(func() int {
		l.Close()
		wg.Wait()
		return n
	})
	t.Cleanup(func() { end() })
	return l.Addr().(*net.TCPAddr).AddrPort(), end
}
