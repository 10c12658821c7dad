//go:build realtools

package integration

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// pairs is how many names with types both resolvers are asked.
const pairs = 20_000

// question is one of them, and how it is asked.
type question struct {
	name       string
	qtype      uint16
	do, cd, ad bool
}

func (q question) String() string {
	text := q.name + " " + dns.Type(q.qtype).String()
	for _, f := range []struct {
		on   bool
		name string
	}{{q.do, " do"}, {q.cd, " cd"}, {q.ad, " ad"}} {
		if f.on {
			text += f.name
		}
	}
	return text
}

// landscape makes a zone of what a resolver meets, relative to its name, and names
// in it to ask for.
func landscape(r *rand.Rand) (zone string, names []string) {
	var b strings.Builder
	b.WriteString("$TTL 3600\n@ IN SOA ns hostmaster 1 3600 600 86400 300\n@ IN NS ns\nns IN A 192.0.2.53\n")
	add := func(owner, format string, args ...any) {
		fmt.Fprintf(&b, "%s IN %s\n", owner, fmt.Sprintf(format, args...))
	}
	addr := func() string { return fmt.Sprintf("192.0.2.%d", r.IntN(256)) }
	for i := range 300 { // hosts of all sorts
		host := fmt.Sprintf("host%d", i)
		names = append(names, host)
		for range 1 + r.IntN(4) {
			add(host, "A %s", addr())
		}
		if r.IntN(2) == 0 {
			add(host, "AAAA 2001:db8::%x", r.IntN(65536))
		}
		switch r.IntN(8) {
		case 0:
			add(host, "MX %d host%d", r.IntN(50), r.IntN(300))
			add(host, "MX %d mail.elsewhere.test.", r.IntN(50))
		case 1:
			add(host, "TXT \"v=spf1 %x\" \"\" \"\\195\\188 \\\"quoted\\\" \\\\ \"", r.Uint32())
		case 2:
			add(host, "CAA 0 issue \"ca%d.example\"", i)
			add(host, "SSHFP 4 2 %064x", r.Uint64())
		case 3:
			add(host, "NAPTR 100 10 \"S\" \"SIP+D2U\" \"\" _sip._udp.host%d", i)
			add(host, "LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m")
		case 4:
			add(host, "HTTPS 1 . alpn=h2,h3 ipv4hint=%s ipv6hint=2001:db8::%x", addr(), i)
			add(host, "HTTPS 2 host%d port=8443 key65333=\"%x\"", r.IntN(300), r.Uint32())
		case 5:
			add(host, "SVCB 0 host%d", r.IntN(300))
		case 6:
			add(host, "TYPE%d \\# 6 %012x", 65280+r.IntN(200), r.Uint64N(1<<48))
			add(host, "TYPE%d \\# 0", 64000+r.IntN(200))
		case 7:
			add(host, "TLSA 3 1 1 %064x", r.Uint64())
			add(host, "PTR host%d", r.IntN(300))
		}
		add(fmt.Sprintf("_sip._tcp.%s", host), "SRV 1 %d 5060 host%d", r.IntN(9), r.IntN(300))
		names = append(names, "_sip._tcp."+host, "_tcp."+host, "none."+host)
	}
	for i := range 40 { // chains of aliases, to records, to nothing, and to a name without the type
		end := []string{"host1", "nowhere", "ns", "a.wild"}[i%4]
		for n := range 1 + i%14 {
			next := fmt.Sprintf("chain%d-%d", i, n+1)
			if n == i%14 {
				next = end
			}
			add(fmt.Sprintf("chain%d-%d", i, n), "CNAME %s", next)
		}
		names = append(names, fmt.Sprintf("chain%d-0", i), fmt.Sprintf("chain%d-%d", i, i%14/2))
	}
	add("loop1", "CNAME loop2")
	add("loop2", "CNAME loop1")
	add("self", "CNAME self")
	add("*.wild", "A 192.0.2.77")
	add("*.wild", "TXT wild")
	add("there.wild", "AAAA 2001:db8::77")
	add("*.aliased", "CNAME host2")
	add("*.deep.wild", "MX 5 host3")
	add("tree", "DNAME other")
	add("tree", "TXT \"beside the DNAME\"")
	for i := range 20 {
		add(fmt.Sprintf("x%d.other", i), "A %s", addr())
		add(fmt.Sprintf("y%d.sub.other", i), "CNAME host%d", i)
	}
	add("to-tree", "CNAME x3.tree")
	add("a.b.c.d.ent", "A 192.0.2.9")
	names = append(names, "loop1", "self", "wild", "a.wild", "b.c.wild", "there.wild", "x.there.wild", "q.deep.wild", "deep.wild", "q.aliased", "*.wild",
		"tree", "x1.tree", "y1.sub.tree", "z.tree", "to-tree", "ent", "d.ent", "c.d.ent", "b.c.d.ent", "a.b.c.d.ent", "x.ent", "@", "ns",
		strings.Repeat("l.", 60)+"tree", strings.Repeat("long-label-", 5)+"."+strings.Repeat("long-label-", 5)+"."+strings.Repeat("long-label-", 5)+".tree")
	for i, size := range []int{3, 5, 6, 9, 40, 120} { // about 0.75, 1.2, 1.5, 2.2, 10 and 30 kB
		owner := fmt.Sprintf("big%d", i)
		for n := range size {
			add(owner, "TXT \"%03d %s\"", n, strings.Repeat("x", 240))
		}
		names = append(names, slices.Repeat([]string{owner}, 10)...)
	}
	for i := range 30 { // octets that are none of a host name
		owner := []string{`a\.b`, `sp\032ace`, `nul\000`, `high\255`, `back\\slash`, `\"quote`, `semi\;colon`, `MiXeD`, `_under`, `st*ar`}[i%10] + fmt.Sprint(i)
		add(owner, "A %s", addr())
		add(owner+".below", "TXT \"%d\"", i)
		names = append(names, owner, owner+".below", "none."+owner)
	}
	for i := range 200 {
		names = append(names, fmt.Sprintf("gone%d", i), fmt.Sprintf("a.gone%d", i))
	}
	return b.String(), names
}

var askedTypes = []uint16{
	dns.TypeA, dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeAAAA, dns.TypeMX, dns.TypeTXT, dns.TypeTXT, dns.TypeNS, dns.TypeSOA, dns.TypeCNAME,
	dns.TypeHTTPS, dns.TypeSVCB, dns.TypeSRV, dns.TypeCAA, dns.TypePTR, dns.TypeNAPTR, dns.TypeDS, dns.TypeTLSA, dns.TypeDNAME, dns.TypeLOC,
	dns.TypeSSHFP, dns.TypeANY, dns.TypeDNSKEY, dns.TypeHINFO, 65281, 65290, 64001, 65534,
}

// questions are pairs of them, each name in letters of any case.
func questions(r *rand.Rand, zones []string, names []string) []question {
	out := make([]question, pairs)
	for i := range out {
		name := names[r.IntN(len(names))] + "."
		if name == "@." {
			name = ""
		}
		name += zones[r.IntN(len(zones))] + "."
		spelled := []byte(name)
		if r.IntN(3) == 0 {
			for j, c := range spelled {
				if 'a' <= c && c <= 'z' && r.IntN(2) == 0 {
					spelled[j] = c - 'a' + 'A'
				}
			}
		}
		qtype := askedTypes[r.IntN(len(askedTypes))]
		if strings.HasPrefix(name, "big") {
			qtype = dns.TypeTXT
		}
		out[i] = question{string(spelled), qtype, r.IntN(3) == 0, r.IntN(8) == 0, r.IntN(4) == 0}
	}
	return out
}

// ask asks server over UDP, and over TCP if the answer is cut.
func (q question) ask(conn *dns.Conn, server string) (m *dns.Msg, cut bool, err error) {
	msg := new(dns.Msg).SetQuestion(q.name, q.qtype)
	msg.SetEdns0(1232, q.do)
	msg.CheckingDisabled, msg.AuthenticatedData = q.cd, q.ad
	_ = conn.SetDeadline(time.Now().Add(patience / 2))
	if err = conn.WriteMsg(msg); err != nil {
		return nil, false, err
	}
	octets, err := conn.ReadMsgHeader(nil)
	if err != nil {
		return nil, false, err
	}
	if m = new(dns.Msg); m.Unpack(octets) != nil || m.Id != msg.Id || len(octets) > 1232 {
		return nil, false, fmt.Errorf("%d octets by UDP that are no answer or too many", len(octets))
	}
	if !m.Truncated {
		return m, false, nil
	}
	tcp := dns.Client{Net: "tcp", Timeout: patience / 2}
	m, _, err = tcp.Exchange(msg, server)
	return m, true, err
}

// said is all that an answer says, the order of records, TTLs, and the spelling of
// names aside, which is the asker's where they are compressed.
func said(m *dns.Msg) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s ad=%v cd=%v aa=%v\n", dns.RcodeToString[m.Rcode], m.AuthenticatedData, m.CheckingDisabled, m.Authoritative)
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		var lines []string
		for _, rr := range section {
			if rr.Header().Rrtype == dns.TypeOPT {
				continue
			}
			rr = dns.Copy(rr)
			rr.Header().Ttl, rr.Header().Name = 0, strings.ToLower(rr.Header().Name)
			text := rr.String()
			switch rr.Header().Rrtype {
			case dns.TypeCNAME, dns.TypeDNAME, dns.TypeNS, dns.TypeSOA, dns.TypePTR, dns.TypeMX, dns.TypeSRV: // names, which both compress
				text = strings.ToLower(text)
			}
			lines = append(lines, fmt.Sprintf("%d %s", i, text))
		}
		slices.Sort(lines)
		for _, l := range slices.Compact(lines) {
			fmt.Fprintln(&out, l)
		}
	}
	return out.String()
}

// excuse names why weir may answer q otherwise than unbound, "" if nothing does.
func excuse(q question, ours, theirs *dns.Msg) string {
	sections := func(m *dns.Msg) (answer, authority, extra string) {
		s := said(m)
		for l := range strings.Lines(s) {
			switch l[:2] {
			case "0 ":
				answer += l
			case "1 ":
				authority += l
			case "2 ":
				extra += l
			}
		}
		return answer, authority, extra
	}
	ourAnswer, ourAuthority, ourExtra := sections(ours)
	answer, authority, _ := sections(theirs)
	same := ours.Rcode == theirs.Rcode && ours.AuthenticatedData == theirs.AuthenticatedData
	switch {
	case q.qtype == dns.TypeANY && len(ours.Answer) == 1 && ours.Answer[0].Header().Rrtype == dns.TypeHINFO && ours.Rcode == 0:
		return "ANY gets the minimal answer of RFC 8482"
	case ourExtra != "":
		return ""
	case ours.Rcode == dns.RcodeServerFailure && strings.HasPrefix(strings.ToLower(q.name), "chain") && len(theirs.Answer) > maxRestarts && because(ours, "rcode SERVFAIL"):
		return "unbound gave up on a chain of more than 11 aliases when weir asked, and knew more of it later"
	case same && ourAnswer == answer && ourAuthority == authority:
		return "no additional section"
	case ours.Rcode == dns.RcodeNameError && same && ourAnswer == answer && q.do && strings.Contains(ourAuthority, "SOA"):
		return "the proof is that of a parent's denial (RFC 8020)"
	case ours.Rcode == theirs.Rcode && ourAnswer == answer && ourAuthority == authority && q.cd:
		return "AD to CD is what unbound knew when it was asked"
	}
	return ""
}

// maxRestarts is after how many aliases unbound 1.17 gives up (MAX_RESTART_COUNT).
const maxRestarts = 11

// because says whether an Extended DNS Error of m has the text.
func because(m *dns.Msg, text string) bool {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok && strings.Contains(e.ExtraText, text) {
				return true
			}
		}
	}
	return false
}

// TestRealAnswers asks weir, and the unbound that weir asks, the same 20,000
// questions about the same zones, one of them signed, served by nsd. The answers are
// the same, or the difference has a name.
func TestRealAnswers(t *testing.T) {
	needTools(t)
	began := time.Now()
	r := rand.New(rand.NewPCG(20260, 1129))
	text, names := landscape(r)
	s := newSigner(t, "signed.example", false)
	records := s.sign(t, text)
	zones := []string{"plain.example", "signed.example"}
	nsd := startNSDWith(t, map[string]string{"plain.example": text, "signed.example": zoneFile(records)})
	unbound := startValidator(t, map[string]*daemon{"plain.example": nsd, "signed.example": nsd}, s.ds())
	config := strings.Replace(fmt.Sprintf(upstreamConfig, "udp://"+unbound.addr.String()), "[[policy]]", "trust_ad = true\n[[policy]]", 1)
	w := startWeir(t, t.TempDir(), config)
	all := questions(r, zones, names)

	var mu sync.Mutex
	counts, rcodes, cuts := map[string]int{}, map[string]int{}, 0
	equal := 0
	var strange []string
	var group sync.WaitGroup
	next := make(chan question)
	for range 8 {
		group.Go(func() {
			open := func(addr string) *dns.Conn {
				c, err := net.Dial("udp", addr)
				if err != nil {
					t.Error(err)
					return nil
				}
				return &dns.Conn{Conn: c, UDPSize: 4096}
			}
			ours, theirs := open(w.addrs[0].String()), open(unbound.addr.String())
			if ours == nil || theirs == nil {
				for range next {
				}
				return
			}
			defer ours.Close()
			defer theirs.Close()
			for q := range next {
				b, cutB, err := q.ask(theirs, unbound.addr.String())
				if err == nil {
					var a *dns.Msg
					var cutA bool
					if a, cutA, err = q.ask(ours, w.addrs[0].String()); err == nil {
						mu.Lock()
						rcodes[dns.RcodeToString[b.Rcode]]++
						cuts += b2i(cutA)
						switch why := excuse(q, a, b); {
						case said(a) == said(b):
							equal++
						case why != "":
							counts[why]++
						default:
							strange = append(strange, fmt.Sprintf("%v (cut: %v, %v)\nweir:\n%sunbound:\n%s", q, cutA, cutB, said(a), said(b)))
						}
						mu.Unlock()
					}
				}
				if err != nil {
					t.Errorf("%v: %v", q, err)
				}
			}
		})
	}
	for _, q := range all {
		next <- q
	}
	close(next)
	group.Wait()
	for _, text := range strange[:min(len(strange), 60)] {
		t.Errorf("unexplained: %s", text)
	}
	t.Logf("%d questions in %v: %d answers equal, %d cut by UDP and asked by TCP, %d unexplained; rcodes %v", len(all), time.Since(began).Round(time.Second), equal, cuts, len(strange), rcodes)
	for _, why := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%6d explained: %s", counts[why], why)
	}
	if equal < pairs*8/10 || cuts < 100 || rcodes["NXDOMAIN"] < 1000 || rcodes["SERVFAIL"] < 10 {
		t.Error("the questions do not cover what they should")
	}
	w.stop(t)
}
