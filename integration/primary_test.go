package integration

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
)

// primary serves zones to secondaries, over TCP and, but for transfers, UDP. A
// script says which, a line each:
//
//	zone NAME FILE         a zone file of the script, read again for every request
//	tsig NAME ALG SECRET   the key that requests must be signed with (RFC 8945)
//
// An IXFR from a version that was served before is answered with the
// differences (RFC 1995), any other with the whole zone.
type primary struct {
	addr string
	keys map[string]string // secret by name
	alg  string
	udp  *dns.Server
	tcp  *dns.Server
	wg   sync.WaitGroup

	mu     sync.Mutex
	heard  *sync.Cond // something was transferred
	zones  map[string]*servedZone
	count  map[string]int // by "AXFR" and "IXFR": transfers as they were answered
	denied int            // requests refused for want of the right key
}

type servedZone struct {
	file     string
	versions [][]dns.RR // the SOA record first; the last is the current one
}

// cmdPrimary starts a primary, or replaces one by another at the same address.
func cmdPrimary(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 2, "primary FILE [VAR]")
	key := variable(args, 1, "PRIMARY")
	w := worldOf(ts)
	if p := w.primaries[key]; p != nil {
		p.close()
	}
	p, err := newPrimary(ts.ReadFile(args[0]), ts.Getenv(key), ts.MkAbs)
	ts.Check(err)
	w.primaries[key] = p
	ts.Setenv(key, p.addr)
}

func primaryOf(ts *testscript.TestScript, key string) *primary {
	p := worldOf(ts).primaries[key]
	if p == nil {
		ts.Fatalf("no primary %s runs", key)
	}
	return p
}

// cmdNotify prints the answer as ask does.
func cmdNotify(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, args, 1, 2, "[!] notify ZONE [VAR]")
	p := primaryOf(ts, variable(args, 1, "PRIMARY"))
	text, err := p.notify(args[0], ts.Getenv("ADDR"))
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), text)
	if strings.HasPrefix(text, "NOERROR ") == neg {
		ts.Fatalf("the answer is %s", text)
	}
}

func cmdTransferred(ts *testscript.TestScript, neg bool, args []string) {
	p, n, count := transfers(ts, neg, args, "transferred")
	p.mu.Lock()
	defer p.mu.Unlock()
	if count() != n {
		ts.Fatalf("transfers are %v, refused for want of the right key %d", p.count, p.denied)
	}
}

func cmdWaitTransferred(ts *testscript.TestScript, neg bool, args []string) {
	p, n, count := transfers(ts, neg, args, "wait-transferred")
	if !waitFor(&p.mu, p.heard, func() bool { return count() >= n }) {
		ts.Fatalf("transfers are %v, refused for want of the right key %d", p.count, p.denied)
	}
}

func transfers(ts *testscript.TestScript, neg bool, args []string, verb string) (p *primary, n int, count func() int) {
	usage(ts, neg, args, 2, 3, verb+" AXFR|IXFR|denied N [VAR]")
	p = primaryOf(ts, variable(args, 2, "PRIMARY"))
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	if args[0] == "denied" {
		return p, n, func() int { return p.denied }
	}
	return p, n, func() int { return p.count[args[0]] }
}

// newPrimary serves script on addr, or on one of its own; abs finds the script's
// files.
func newPrimary(script, addr string, abs func(string) string) (*primary, error) {
	p := &primary{keys: map[string]string{}, zones: map[string]*servedZone{}, count: map[string]int{}}
	p.heard = sync.NewCond(&p.mu)
	for in := bufio.NewScanner(strings.NewReader(script)); in.Scan(); {
		words := strings.Fields(in.Text())
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
		case words[0] == "zone" && len(words) == 3:
			p.zones[dns.CanonicalName(words[1])] = &servedZone{file: abs(words[2])}
		case words[0] == "tsig" && len(words) == 4:
			p.alg = dns.CanonicalName(words[2])
			p.keys[dns.CanonicalName(words[1])] = words[3]
		default:
			return nil, fmt.Errorf("primary: %q is not understood", in.Text())
		}
	}
	pc, l, err := listenBoth(addr)
	if err != nil {
		return nil, err
	}
	p.addr = pc.LocalAddr().String()
	p.udp = &dns.Server{PacketConn: pc, Handler: p, TsigSecret: p.keys}
	p.tcp = &dns.Server{Listener: l, Handler: p, TsigSecret: p.keys}
	for _, s := range []*dns.Server{p.udp, p.tcp} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		p.wg.Go(func() { _ = s.ActivateAndServe() })
		<-started
	}
	return p, nil
}

func (p *primary) close() {
	_ = p.udp.Shutdown()
	_ = p.tcp.Shutdown()
	p.wg.Wait()
}

// notify tells the server at addr, from this one's address, that a zone has
// changed, and returns the answer as text (RFC 1996 §3.6).
func (p *primary) notify(zone, addr string) (string, error) {
	q := new(dns.Msg).SetNotify(dns.Fqdn(zone))
	own, err := netip.ParseAddrPort(p.addr)
	if err != nil {
		return "", err
	}
	a := &asker{q: q, network: "udp", server: addr, from: own.Addr(), wait: patience}
	return a.ask(nil)
}

// ServeDNS answers SOA queries and transfers.
func (p *primary) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.heard.Broadcast()
	m := new(dns.Msg).SetReply(q)
	if signed := q.IsTsig(); len(p.keys) > 0 && (signed == nil || w.TsigStatus() != nil || signed.Algorithm != p.alg) {
		p.denied++
		m.Rcode = dns.RcodeNotAuth
		_ = w.WriteMsg(m)
		return
	} else if signed != nil {
		m.SetTsig(signed.Hdr.Name, signed.Algorithm, signed.Fudge, time.Now().Unix())
	}
	name := dns.CanonicalName(q.Question[0].Name)
	zone, err := p.zones[name].read(name)
	if err != nil {
		m.Rcode = dns.RcodeRefused
		_ = w.WriteMsg(m)
		return
	}
	records := zone.current()
	switch typ, udp := q.Question[0].Qtype, w.LocalAddr().Network() == "udp"; {
	case typ == dns.TypeSOA, typ == dns.TypeIXFR && udp: // RFC 1995 §2: come back over TCP
		m.Authoritative, m.Answer = true, records[:1]
	case typ == dns.TypeIXFR:
		kind := "AXFR"
		answer := append(slices.Clone(records), records[0])
		if since, ok := zone.since(q); ok {
			kind, answer = "IXFR", since
		}
		p.send(w, q, kind, answer)
		return
	case typ == dns.TypeAXFR && !udp:
		p.send(w, q, "AXFR", append(slices.Clone(records), records[0]))
		return
	default:
		m.Rcode = dns.RcodeRefused
	}
	_ = w.WriteMsg(m)
}

// send writes a transfer in messages of a few records each.
func (p *primary) send(w dns.ResponseWriter, q *dns.Msg, kind string, records []dns.RR) {
	const perMessage = 5
	out := make(chan *dns.Envelope, len(records))
	for part := range slices.Chunk(records, perMessage) {
		out <- &dns.Envelope{RR: part}
	}
	close(out)
	if new(dns.Transfer).Out(w, q, out) == nil {
		p.count[kind]++
	}
}

// read reads the zone's file and remembers a version that is new.
func (z *servedZone) read(name string) (*servedZone, error) {
	if z == nil {
		return nil, errors.New("no such zone")
	}
	file, err := os.Open(z.file)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var records []dns.RR
	in := dns.NewZoneParser(file, name, z.file)
	in.SetDefaultTTL(300)
	for rr, ok := in.Next(); ok; rr, ok = in.Next() {
		records = append(records, rr)
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	if len(records) == 0 || records[0].Header().Rrtype != dns.TypeSOA {
		return nil, errors.New("zone file without an SOA record at its head")
	}
	if len(z.versions) == 0 || serial(z.current()) != serial(records) {
		z.versions = append(z.versions, records)
	}
	return z, nil
}

func (z *servedZone) current() []dns.RR { return z.versions[len(z.versions)-1] }

func serial(version []dns.RR) uint32 { return version[0].(*dns.SOA).Serial }

// since returns the answer to an IXFR: what changed with each version after the
// one that the asker has (RFC 1995 §4). It is false when that was never served.
func (z *servedZone) since(q *dns.Msg) ([]dns.RR, bool) {
	if len(q.Ns) == 0 || q.Ns[0].Header().Rrtype != dns.TypeSOA {
		return nil, false
	}
	has := serial(q.Ns)
	from := slices.IndexFunc(z.versions, func(v []dns.RR) bool { return serial(v) == has })
	if from < 0 {
		return nil, false
	}
	soa := z.current()[0]
	if from == len(z.versions)-1 {
		return []dns.RR{soa}, true
	}
	out := []dns.RR{soa}
	for i := from; i+1 < len(z.versions); i++ {
		old, now := z.versions[i], z.versions[i+1]
		out = append(append(out, old[0]), without(old[1:], now[1:])...)
		out = append(append(out, now[0]), without(now[1:], old[1:])...)
	}
	return append(out, soa), true
}

// without returns the records that are not among others.
func without(records, others []dns.RR) []dns.RR {
	return slices.DeleteFunc(slices.Clone(records), func(rr dns.RR) bool {
		return slices.ContainsFunc(others, func(o dns.RR) bool { return dns.IsDuplicate(rr, o) && rr.Header().Ttl == o.Header().Ttl })
	})
}
