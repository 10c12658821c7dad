//go:build realtools

package integration

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// truths are replies by the first label but one of the name asked: what its zone has.
// OWNER stands for that name, FIRST for its first label.
var truths = map[string]struct {
	typ     uint16
	records []string // "/" begins the authority section; NXDOMAIN sets the rcode
}{
	"a":     {dns.TypeA, []string{"OWNER 60 A 192.0.2.1", "OWNER 60 A 192.0.2.2"}},
	"chain": {dns.TypeA, []string{"OWNER 60 CNAME b.example.", "b.example. 60 CNAME c.example.", "c.example. 60 A 192.0.2.3"}},
	"dname": {dns.TypeAAAA, []string{"dname.example. 60 DNAME e.example.", "OWNER 60 CNAME FIRST.e.example.", "FIRST.e.example. 60 AAAA 2001:db8::1"}},
	"https": {dns.TypeHTTPS, []string{`OWNER 60 HTTPS 1 svc.example. alpn="h2,h3" port=8443 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1 ech="AAAA"`}},
	"txt":   {dns.TypeTXT, []string{`OWNER 60 TXT "one" "two" "three"`, `OWNER 60 TXT "v=spf1 -all"`}},
	"mx":    {dns.TypeMX, []string{"OWNER 60 MX 10 mail.example.", "/", "example. 60 NS ns.example."}},
	"srv":   {dns.TypeSRV, []string{"OWNER 60 SRV 1 2 443 host.example."}},
	"naptr": {dns.TypeNAPTR, []string{`OWNER 60 NAPTR 1 2 "u" "sip" "!^.*$!sip:x@example!" .`}},
	"loc":   {dns.TypeLOC, []string{"OWNER 60 LOC 51 30 12.748 N 0 7 39.611 W 0.00m 0.00m 0.00m 0.00m"}},
	"odd":   {65280, []string{`OWNER 60 TYPE65280 \# 5 0102030405`}},
	"nx":    {dns.TypeA, []string{"NXDOMAIN", "/", "example. 60 SOA ns.example. host.example. 1 2 3 4 60"}},
	"none":  {dns.TypeCAA, []string{"/", "example. 60 SOA ns.example. host.example. 1 2 3 4 60"}},
	"sig":   {dns.TypeDNSKEY, []string{"OWNER 60 DNSKEY 257 3 13 aaaa", "OWNER 60 RRSIG DNSKEY 13 3 60 20300101000000 20200101000000 1 example. aaaa"}},
}

// liar is an upstream that answers each question first with mistakes in its answer
// and then truly.
type liar struct {
	mu   sync.Mutex
	said map[string][]lie // by name
}

// A lie is an answer with mistakes, to a query with that ID.
type lie struct {
	id     uint16
	packet []byte
}

// truth is the true answer to q.
func truth(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable, m.Compress = true, true
	name := q.Question[0].Name
	labels := dns.SplitDomainName(name)
	section := &m.Answer
	for _, text := range truths[labels[1]].records {
		switch text {
		case "/":
			section = &m.Ns
		case "NXDOMAIN":
			m.Rcode = dns.RcodeNameError
		default:
			rr, err := dns.NewRR(strings.NewReplacer("OWNER", name, "FIRST", labels[0]).Replace(text))
			if err != nil {
				panic(err)
			}
			*section = append(*section, rr)
		}
	}
	if q.IsEdns0() != nil {
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeOther, ExtraText: "text"}}
	}
	return m
}

func startLiar(t *testing.T) (*liar, string) {
	t.Helper()
	l := &liar{said: map[string][]lie{}}
	pc, ln, err := listenBoth("")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			buf := make([]byte, 4096)
			for {
				n, from, err := pc.ReadFrom(buf)
				if err != nil {
					return
				}
				q := new(dns.Msg)
				if q.Unpack(buf[:n]) != nil || len(q.Question) != 1 {
					continue
				}
				name := q.Question[0].Name
				number, _ := strconv.ParseUint(strings.TrimPrefix(dns.SplitDomainName(name)[0], "r"), 10, 64)
				m := mustPack(truth(q))
				wrong := lie{q.Id, mutated(rand.New(rand.NewPCG(11, number)), m)}
				l.mu.Lock()
				l.said[name] = append(l.said[name], wrong)
				l.mu.Unlock()
				_, _ = pc.WriteTo(wrong.packet, from)
				_, _ = pc.WriteTo(m, from)
			}
		})
	}
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				c := &dns.Conn{Conn: conn}
				defer c.Close()
				for {
					_ = c.SetReadDeadline(time.Now().Add(patience))
					q, err := c.ReadMsg()
					if err != nil || c.WriteMsg(truth(q)) != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		pc.Close()
		ln.Close()
		wg.Wait()
	})
	return l, pc.LocalAddr().String()
}

// records are a section's, one a line, without TTLs and OPT.
func records(section []dns.RR) map[string]bool {
	out := map[string]bool{}
	for _, rr := range section {
		if rr.Header().Rrtype == dns.TypeOPT {
			continue
		}
		rr = dns.Copy(rr)
		rr.Header().Ttl, rr.Header().Name = 0, strings.ToLower(rr.Header().Name)
		out[strings.ToLower(rr.String())] = true
	}
	return out
}

// within says that all of a are in b.
func within(a, b map[string]bool) bool {
	for line := range a {
		if !b[line] {
			return false
		}
	}
	return true
}

// judgeReply says what is wrong with an answer to q whose upstream has lied and then
// said the truth: it must be the truth, or a failure, or blocked, or what a lie says that
// is a reply to the question at all.
func judgeReply(q, m *dns.Msg, lies []lie) (which string, err error) {
	if len(m.Question) != 1 || m.Question[0] != q.Question[0] {
		return "", errors.New("another question")
	}
	honest := new(dns.Msg)
	if err := honest.Unpack(mustPack(truth(q))); err != nil { // as it is read, parameters in order
		return "", err
	}
	said := records(m.Answer)
	switch {
	case m.Rcode == dns.RcodeServerFailure && len(m.Answer)+len(m.Ns) == 0:
		return "failure", nil
	case m.Rcode == honest.Rcode && len(said) == len(records(honest.Answer)) && within(said, records(honest.Answer)):
		return "truth", nil
	case m.Truncated && len(m.Answer) == 0:
		return "truncated", nil
	case m.Rcode == dns.RcodeNameError && len(m.Answer) == 0 && strings.Contains(m.String(), "EDE: 15 (Blocked): (all: rebinding)"):
		return "blocked", nil // the mistake made it an address of some private network
	}
	for _, l := range lies {
		lied := new(dns.Msg)
		if lied.Unpack(l.packet) != nil || lied.Id != l.id || !lied.Response || lied.Opcode != dns.OpcodeQuery || lied.Truncated || len(lied.Question) != 1 {
			continue
		}
		about, asked := lied.Question[0], q.Question[0]
		if strings.EqualFold(about.Name, asked.Name) && about.Qtype == asked.Qtype && about.Qclass == asked.Qclass &&
			m.Rcode == lied.Rcode && within(said, records(lied.Answer)) {
			return "lie", nil
		}
	}
	return "", fmt.Errorf("nobody has said\n%v", m)
}

// TestRealMutatedReplies has an upstream make mistakes in its replies. Each question
// has exactly one answer, which is the truth, a failure, or what upstream has said
// in answer to it and nothing else.
func TestRealMutatedReplies(t *testing.T) {
	needTools(t)
	n := asMany(t, "WEIR_REPLIES", mutatedReplies)
	l, addr := startLiar(t)
	w := startWeir(t, t.TempDir(), fmt.Sprintf(mutatedConfig, addr))
	before := w.status(t)
	kinds := slices.Sorted(maps.Keys(truths))
	const clients, window = 4, 100
	var wg sync.WaitGroup
	var mu sync.Mutex
	told := map[string]int{}
	began := time.Now()
	for client := range clients {
		wg.Go(func() {
			counts, err := l.ask(w.addrs[0], kinds, client, n/clients/window, window)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for which, k := range counts {
				told[which] += k
			}
		})
	}
	wg.Wait()
	t.Logf("%d replies with mistakes in %v: %v", n/clients/window*clients*window, time.Since(began).Round(time.Second), told)
	if told["lie"] == 0 || told["failure"] == 0 || told["truth"] == 0 {
		t.Errorf("mistakes had one effect alone: %v", told)
	}
	w.unharmed(t, before)
	w.stop(t)
}

// ask asks rounds times for so many names of its own at once, and judges the answers.
func (l *liar) ask(addr netip.AddrPort, kinds []string, client, rounds, window int) (told map[string]int, err error) {
	told = map[string]int{}
	c, err := dns.Dial("udp", addr.String())
	if err != nil {
		return told, err
	}
	defer c.Close()
	c.UDPSize = dns.MaxMsgSize
	for round := range rounds {
		sent := map[uint16]*dns.Msg{}
		for i := range window {
			number := uint64(client)*1e9 + uint64(round*window+i)
			kind := kinds[number%uint64(len(kinds))]
			q := new(dns.Msg).SetQuestion(fmt.Sprintf("r%d.%s.example.", number, kind), truths[kind].typ)
			q.Id = uint16(i)
			q.SetEdns0(1232, kind == "sig")
			sent[q.Id] = q
			if err := c.WriteMsg(q); err != nil {
				return told, err
			}
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		for len(sent) > 0 {
			m, err := c.ReadMsg()
			if err != nil {
				for _, q := range sent {
					l.mu.Lock()
					defer l.mu.Unlock()
					return told, fmt.Errorf("%d questions have no answer, such as %s, of which was said %x: %w", len(sent), q.Question[0].String(), l.said[q.Question[0].Name], err)
				}
			}
			q := sent[m.Id]
			if q == nil {
				return told, fmt.Errorf("a second answer: %v", m)
			}
			delete(sent, m.Id)
			l.mu.Lock()
			lies := l.said[q.Question[0].Name]
			delete(l.said, q.Question[0].Name)
			l.mu.Unlock()
			which, err := judgeReply(q, m, lies)
			if err != nil {
				return told, fmt.Errorf("%s: %w; upstream said %x", q.Question[0].String(), err, lies)
			}
			told[which]++
		}
	}
	return told, nil
}
