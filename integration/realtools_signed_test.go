//go:build realtools

package integration

import (
	"crypto"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// signer makes a zone that validates: one key, NSEC or NSEC3 (RFC 4034, RFC 5155).
type signer struct {
	origin string
	nsec3  bool
	key    *dns.DNSKEY
	secret crypto.Signer
}

func newSigner(t *testing.T, origin string, nsec3 bool) *signer {
	t.Helper()
	s := &signer{origin: dns.Fqdn(origin), nsec3: nsec3}
	s.key = &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: s.origin, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags: 257, Protocol: 3, Algorithm: dns.ECDSAP256SHA256,
	}
	secret, err := s.key.Generate(256)
	if err != nil {
		t.Fatal(err)
	}
	s.secret = secret.(crypto.Signer)
	return s
}

// ds is the record that the parent has, and the anchor of who trusts the zone.
func (s *signer) ds() *dns.DS { return s.key.ToDS(dns.SHA256) }

type rrsetKey struct {
	name string
	typ  uint16
}

// sign returns the records of the zone, which are one to a line, with all that
// belongs to them. Names with NS records below the zone's own are left to others.
func (s *signer) sign(t *testing.T, text string) []dns.RR {
	t.Helper()
	sets := map[rrsetKey][]dns.RR{}
	add := func(rr dns.RR) {
		k := rrsetKey{strings.ToLower(rr.Header().Name), rr.Header().Rrtype}
		sets[k] = append(sets[k], rr)
	}
	in := dns.NewZoneParser(strings.NewReader(text), s.origin, "")
	for rr, ok := in.Next(); ok; rr, ok = in.Next() {
		add(rr)
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	add(s.key)
	if s.nsec3 {
		add(&dns.NSEC3PARAM{Hdr: dns.RR_Header{Name: s.origin, Rrtype: dns.TypeNSEC3PARAM, Class: dns.ClassINET, Ttl: 0}, Hash: dns.SHA1})
	}
	types := map[string][]uint16{}
	for k := range sets {
		types[k.name] = append(types[k.name], k.typ)
		if s.nsec3 { // names that only lead to others have a record too
			for up := k.name; up != s.origin; {
				i, end := dns.NextLabel(up, 0)
				if end {
					break
				}
				if up = up[i:]; types[up] == nil {
					types[up] = []uint16{}
				}
			}
		}
	}
	cut := func(name string) bool { return name != s.origin && sets[rrsetKey{name, dns.TypeNS}] != nil }
	for name := range types { // glue
		for up := name; up != s.origin; {
			i, end := dns.NextLabel(up, 0)
			if end {
				break
			}
			if up = up[i:]; cut(up) {
				delete(types, name)
			}
		}
	}
	names := make([]string, 0, len(types))
	for name := range types {
		names = append(names, name)
	}
	hashed := func(name string) string { return dns.HashName(name, dns.SHA1, 0, "") }
	if s.nsec3 {
		slices.SortFunc(names, func(a, b string) int { return strings.Compare(hashed(a), hashed(b)) })
	} else {
		slices.SortFunc(names, canonicalOrder)
	}
	for i, name := range names {
		next := names[(i+1)%len(names)]
		bitmap := slices.Clone(types[name])
		if !cut(name) && len(bitmap) > 0 || slices.Contains(bitmap, dns.TypeDS) || !s.nsec3 {
			bitmap = append(bitmap, dns.TypeRRSIG)
		}
		if s.nsec3 {
			slices.Sort(bitmap)
			add(&dns.NSEC3{
				Hdr:  dns.RR_Header{Name: strings.ToLower(hashed(name)) + "." + s.origin, Rrtype: dns.TypeNSEC3, Class: dns.ClassINET, Ttl: 300},
				Hash: dns.SHA1, HashLength: 20, NextDomain: hashed(next), TypeBitMap: bitmap,
			})
			continue
		}
		bitmap = append(bitmap, dns.TypeNSEC)
		slices.Sort(bitmap)
		add(&dns.NSEC{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 300}, NextDomain: next, TypeBitMap: bitmap})
	}
	var out []dns.RR
	for k, set := range sets {
		out = append(out, set...)
		authoritative := types[k.name] != nil || k.typ == dns.TypeNSEC3
		if !authoritative || cut(k.name) && k.typ != dns.TypeDS && k.typ != dns.TypeNSEC {
			continue
		}
		sig := &dns.RRSIG{
			Hdr:       dns.RR_Header{Ttl: set[0].Header().Ttl},
			Algorithm: s.key.Algorithm, KeyTag: s.key.KeyTag(), SignerName: s.origin,
			Inception: uint32(time.Now().Add(-time.Hour).Unix()), Expiration: uint32(time.Now().Add(24 * time.Hour).Unix()),
		}
		if err := sig.Sign(s.secret, set); err != nil {
			t.Fatalf("%v: %v", k, err)
		}
		sig.Hdr.Name = set[0].Header().Name
		out = append(out, sig)
	}
	return out
}

// canonicalOrder is that of RFC 4034 §6.1, for names in lower case.
func canonicalOrder(a, b string) int {
	labels := func(name string) (out [][]byte) {
		var wire [256]byte
		n, err := dns.PackDomainName(name, wire[:], 0, nil, false)
		if err != nil {
			panic(err) // a name of a test's own zone
		}
		for at := 0; at < n && wire[at] > 0; at += 1 + int(wire[at]) {
			out = append(out, wire[at+1:][:wire[at]])
		}
		slices.Reverse(out)
		return out
	}
	return slices.CompareFunc(labels(a), labels(b), func(x, y []byte) int { return strings.Compare(string(x), string(y)) })
}

// zoneFile is records as a master file, the SOA first.
func zoneFile(records []dns.RR) string {
	var b strings.Builder
	for _, soa := range []bool{true, false} {
		for _, rr := range records {
			if (rr.Header().Rrtype == dns.TypeSOA) == soa {
				fmt.Fprintln(&b, rr)
			}
		}
	}
	return b.String()
}

// startNSDWith serves zones, by their names, from master files.
func startNSDWith(t *testing.T, zones map[string]string) *daemon {
	t.Helper()
	path, dir := tool(t, "nsd"), t.TempDir()
	first := ""
	for z, text := range zones {
		writeFile(t, dir, z+".zone", text)
		first = z
	}
	return startDaemon(t, first, func(port uint16) *exec.Cmd {
		conf := nsdServer(dir, port)
		for z := range zones {
			conf += fmt.Sprintf("zone:\n\tname: %q\n\tzonefile: %q\n", z, z+".zone")
		}
		return exec.Command(path, "-d", "-c", writeFile(t, dir, "nsd.conf", conf))
	})
}

// startValidator is unbound that trusts the anchors and asks, for each zone, the
// server that has it.
func startValidator(t *testing.T, zones map[string]*daemon, anchors ...*dns.DS) *daemon {
	t.Helper()
	path, dir := tool(t, "unbound"), t.TempDir()
	first := ""
	for z := range zones {
		first = z
	}
	return startDaemon(t, first, func(port uint16) *exec.Cmd {
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
	module-config: "validator iterator"
	num-threads: 1
	rrset-roundrobin: no
	outgoing-num-tcp: 50
	infra-cache-min-rtt: 200
	jostle-timeout: 5000
	num-queries-per-thread: 4000
	outgoing-range: 4000
remote-control:
	control-enable: no
`, port, dir, filepath.Join(dir, "pid"))
		for _, ds := range anchors {
			conf = strings.Replace(conf, "remote-control:", fmt.Sprintf("\ttrust-anchor: \"%s\"\nremote-control:", strings.ReplaceAll(ds.String(), "\t", " ")), 1)
		}
		for z, d := range zones {
			conf += fmt.Sprintf("stub-zone:\n\tname: %q\n\tstub-addr: 127.0.0.1@%d\n", z, d.addr.Port())
		}
		return exec.Command(path, "-d", "-c", writeFile(t, dir, "unbound.conf", conf))
	})
}

const signedZone = `$TTL 3600
@        IN SOA   ns hostmaster 1 3600 600 86400 300
@        IN NS    ns
ns       IN A     192.0.2.53
www      IN A     192.0.2.10
www      IN A     192.0.2.11
www      IN AAAA  2001:db8::10
alias    IN CNAME www
dangling IN CNAME nowhere
*.wild   IN TXT   "any"
leaf.ent IN A     192.0.2.30
big      IN TXT   "` + "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789" + `"
d        IN DNAME www
bogus    IN A     192.0.2.66
mail     IN MX    10 www
`

// spoil changes the signature of a set of records.
func spoil(t *testing.T, records []dns.RR, name string, typ uint16) {
	t.Helper()
	for _, rr := range records {
		if sig, ok := rr.(*dns.RRSIG); ok && sig.Hdr.Name == name && sig.TypeCovered == typ {
			flipped := []byte(sig.Signature)
			flipped[10] = "AB"[b2i(flipped[10] == 'A')]
			sig.Signature = string(flipped)
			return
		}
	}
	t.Fatalf("no signature of %s", name)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestRealDNSSEC: delv believes what it gets through weir, from nsd and from
// unbound, positive and negative, NSEC and NSEC3, across a zone cut whose two sides
// different upstreams know; and the flags DO, CD and AD mean what they should.
func TestRealDNSSEC(t *testing.T) {
	needTools(t)
	delv := tool(t, "delv")
	zones, children, where := map[string]string{}, map[string]string{}, map[string]*daemon{}
	anchors := map[string]*dns.DS{}
	for _, z := range []string{"nsec.example", "nsec3.example"} {
		parent, child := newSigner(t, z, z == "nsec3.example"), newSigner(t, "child."+z, z == "nsec3.example")
		records := parent.sign(t, signedZone+"child IN NS ns.child\nns.child IN A 192.0.2.54\n"+child.ds().String()+"\n")
		spoil(t, records, "bogus."+z+".", dns.TypeA)
		zones[z], children["child."+z] = zoneFile(records), zoneFile(child.sign(t, signedZone))
		anchors[z] = parent.ds()
	}
	nsd, below := startNSDWith(t, zones), startNSDWith(t, children)
	for z := range zones {
		where[z], where["child."+z] = nsd, below
	}
	unbound := startValidator(t, where, anchors["nsec.example"], anchors["nsec3.example"])
	config := func(servers, more string, forwards bool) string {
		text := strings.Replace(fmt.Sprintf(upstreamConfig, servers), "[[policy]]", more+"[[policy]]", 1)
		if forwards {
			text += fmt.Sprintf("[upstream.child]\nservers = [\"udp://%s\"]\n", below.addr)
			for z := range children {
				text += fmt.Sprintf("[[forward]]\nzones = [%q]\nupstream = \"child\"\n", z)
			}
		}
		return text
	}
	const trust = "trust_ad = true\n"
	for _, c := range []struct {
		name   string
		w      *weir
		judges bool // the upstream validates
		trusts bool
	}{
		{"nsd", startWeir(t, t.TempDir(), config("udp://"+nsd.addr.String(), "", true)), false, false},
		{"unbound", startWeir(t, t.TempDir(), config("udp://"+unbound.addr.String(), trust, false)), true, true},
		{"unbound, not trusted", startWeir(t, t.TempDir(), config("tcp://"+unbound.addr.String(), "", false)), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			believed := 0
			for z := range zones {
				anchor := anchors[z]
				file := writeFile(t, t.TempDir(), "anchors", fmt.Sprintf("trust-anchors { %q static-ds %d %d %d \"%s\"; };\n", z, anchor.KeyTag, anchor.Algorithm, anchor.DigestType, anchor.Digest))
				for _, q := range []struct{ name, typ, want string }{
					{"www." + z, "A", "; fully validated"},
					{"www." + z, "AAAA", "; fully validated"},
					{z, "SOA", "; fully validated"},
					{z, "DNSKEY", "; fully validated"},
					{"alias." + z, "A", "; fully validated"},
					{"x.wild." + z, "TXT", "; fully validated"},
					{"www." + z, "MX", "; negative response, fully validated"},
					{"ent." + z, "A", "; negative response, fully validated"},
					{"nowhere." + z, "A", "; negative response, fully validated"},
					{"a.b.nowhere." + z, "A", "; negative response, fully validated"},
					{"x.wild." + z, "A", "; negative response, fully validated"},
					{"child." + z, "DS", "; fully validated"},
					{"www.child." + z, "A", "; fully validated"},
					{"x.wild.child." + z, "TXT", "; fully validated"},
					{"nowhere.child." + z, "AAAA", "; negative response, fully validated"},
				} {
					for range 2 { // the second time from memory
						out, err := output(t, t.TempDir(), delv, "@127.0.0.1", "-p", fmt.Sprint(c.w.addrs[0].Port()), "-a", file, "+root="+z, q.name, q.typ)
						if err != nil || !strings.Contains(out, q.want) {
							t.Errorf("%s %s: %v\n%s\nwant %q", q.name, q.typ, err, out, q.want)
							continue
						}
						believed++
					}
				}
				out, _ := output(t, t.TempDir(), delv, "@127.0.0.1", "-p", fmt.Sprint(c.w.addrs[0].Port()), "-a", file, "+root="+z, "bogus."+z, "A")
				if strings.Contains(out, "fully validated") || strings.Contains(out, "192.0.2.66") && !strings.Contains(out, "resolution failed") {
					t.Errorf("delv believes what is bogus:\n%s", out)
				}
				checkFlags(t, c.w, z, c.judges, c.trusts)
			}
			t.Logf("delv fully validated %d answers", believed)
			c.w.stop(t)
		})
	}
}

// checkFlags asks weir about a signed zone with all that DO, CD and AD can be, in an
// order that would show what memory mixes up. judges says that the upstream
// validates, trusts that its word on AD counts.
func checkFlags(t *testing.T, w *weir, z string, judges, trusts bool) {
	t.Helper()
	ask := func(name string, qtype uint16, flags string) *dns.Msg {
		t.Helper()
		q := new(dns.Msg).SetQuestion(name+z+".", qtype)
		q.SetEdns0(1232, strings.Contains(flags, "do"))
		q.CheckingDisabled, q.AuthenticatedData = strings.Contains(flags, "cd"), strings.Contains(flags, "ad")
		client := dns.Client{Net: "tcp", Timeout: patience}
		m, _, err := client.Exchange(q, w.addrs[0].String())
		if err != nil {
			t.Fatal(err)
		}
		if m.CheckingDisabled != q.CheckingDisabled || m.IsEdns0() == nil || m.IsEdns0().Do() != q.IsEdns0().Do() {
			t.Errorf("%s with %q: CD or DO is not copied:\n%v", name, flags, m)
		}
		return m
	}
	kinds := func(section []dns.RR) string {
		var out []string
		for _, rr := range section {
			kind := dns.TypeToString[rr.Header().Rrtype]
			if sig, ok := rr.(*dns.RRSIG); ok {
				kind = "sig-" + dns.TypeToString[sig.TypeCovered]
			}
			out = append(out, strings.Replace(kind, "NSEC3", "NSEC", 1))
		}
		slices.Sort(out)
		return strings.Join(slices.Compact(out), " ")
	}
	for _, c := range []struct {
		name  string
		qtype uint16
		flags string
		want  string // "RCODE ANSWER / AUTHORITY"
	}{
		{"www.", dns.TypeA, "", "NOERROR A /"},
		{"www.", dns.TypeA, "do", "NOERROR A sig-A /"},
		{"www.", dns.TypeA, "ad", "NOERROR A /"},
		{"www.", dns.TypeA, "do cd", "NOERROR A sig-A /"},
		{"www.", dns.TypeA, "cd", "NOERROR A /"},
		{"alias.", dns.TypeAAAA, "", "NOERROR AAAA CNAME /"},
		{"alias.", dns.TypeAAAA, "do", "NOERROR AAAA CNAME sig-AAAA sig-CNAME /"},
		{"www.", dns.TypeMX, "", "NOERROR / SOA"},
		{"www.", dns.TypeMX, "do", "NOERROR / NSEC SOA sig-NSEC sig-SOA"},
		{"gone.", dns.TypeA, "do", "NXDOMAIN / NSEC SOA sig-NSEC sig-SOA"},
		{"gone.", dns.TypeA, "", "NXDOMAIN / SOA"},
		{"y.wild.", dns.TypeTXT, "", "NOERROR TXT /"},
		{"y.wild.", dns.TypeTXT, "do", "NOERROR TXT sig-TXT / NSEC sig-NSEC"},
		{"dangling.", dns.TypeA, "do", "NXDOMAIN CNAME sig-CNAME / NSEC SOA sig-NSEC sig-SOA"},
		{"dangling.", dns.TypeA, "", "NXDOMAIN CNAME / SOA"},
		{"www.", dns.TypeRRSIG, "", "any"}, // each server has its own answer to this
	} {
		for range 2 {
			m := ask(c.name, c.qtype, c.flags)
			got := strings.ReplaceAll(strings.TrimSpace(fmt.Sprintf("%s %s / %s", dns.RcodeToString[m.Rcode], kinds(m.Answer), kinds(m.Ns))), "  ", " ")
			if got != c.want && c.want != "any" {
				t.Errorf("%s %s with %q: %s, want %s", c.name, dns.TypeToString[c.qtype], c.flags, got, c.want)
			}
			// AD goes to those who set AD or DO; unbound may say it to CD too, of what it has validated before.
			want := judges && trusts && (c.flags == "ad" || c.flags == "do")
			if unsaid := trusts && strings.Contains(c.flags, "cd"); m.AuthenticatedData != want && !unsaid && c.want != "any" {
				t.Errorf("%s %s with %q: AD %v, want %v", c.name, dns.TypeToString[c.qtype], c.flags, m.AuthenticatedData, want)
			}
		}
	}
	for _, flags := range []string{"cd", "", "cd do", "do", "ad", "cd"} {
		m := ask("bogus.", dns.TypeA, flags)
		refused := m.Rcode == dns.RcodeServerFailure
		if refused != (judges && !strings.Contains(flags, "cd")) || !refused && len(m.Answer) == 0 {
			t.Errorf("bogus with %q: %v", flags, m)
		}
		if m.AuthenticatedData {
			t.Errorf("bogus with %q is called authentic", flags)
		}
	}
}
