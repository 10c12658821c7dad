package integration

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
)

// asker is a question and how it is asked.
type asker struct {
	q       *dns.Msg
	network string
	server  string
	from    netip.Addr
	wait    time.Duration
	silence bool
}

// cmdAsk asks one question and prints the answer: a line with rcode and flags,
// one with the Extended DNS Error if there is one, then the records. Options:
//
//	+tcp +edns +do +cd +ad +z
//	                    transport and flags, +z the reserved one of the header; +nord clears RD
//	+class=CH           another class; CLASS65280 for one without a name
//	+bufsize=N          EDNS with this payload size
//	+ednsflags=HEX      EDNS with these flags, of which DO is 8000
//	+option=CODE:HEX    EDNS with this option, behind those that came before
//	+options=N          EDNS with N options whose codes are for local use
//	from=ADDRESS        the client's address, of 127.0.0.0/8
//	at=ADDRESS:PORT     another server address than $ADDR
//	+silence            there shall be no answer; "no answer" is then printed, without a wait
func cmdAsk(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, anyNumber, "ask NAME TYPE [OPTIONS]")
	a := parseAsk(ts, args)
	text, err := a.ask(nil)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), text)
}

func cmdAskUntil(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, anyNumber, "ask-until REGEXP NAME TYPE [OPTIONS]")
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	a := parseAsk(ts, args[1:])
	for end := time.Now().Add(patience); ; {
		text, err := a.ask(nil)
		ts.Check(err)
		if want.MatchString(text) {
			fmt.Fprint(ts.Stdout(), text)
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("the answer is still\n%s", text)
		}
	}
}

func parseAsk(ts *testscript.TestScript, args []string) *asker {
	a := &asker{q: new(dns.Msg), network: "udp", server: ts.Getenv("ADDR"), wait: patience}
	typ, err := numbered("TYPE", args[1], dns.StringToType)
	ts.Check(err)
	name, err := canonical(args[0])
	ts.Check(err)
	a.q.SetQuestion(name, typ)
	for _, o := range args[2:] {
		key, value, _ := strings.Cut(o, "=")
		var err error
		switch key {
		case "+tcp":
			a.network = "tcp"
		case "+edns":
			a.edns()
		case "+do":
			a.edns().SetDo()
		case "+cd":
			a.q.CheckingDisabled = true
		case "+ad":
			a.q.AuthenticatedData = true
		case "+z":
			a.q.Zero = true
		case "+nord":
			a.q.RecursionDesired = false
		case "+class":
			a.q.Question[0].Qclass, err = numbered("CLASS", value, dns.StringToClass)
		case "+bufsize":
			n, aerr := strconv.ParseUint(value, 10, 16)
			err = aerr
			a.edns().SetUDPSize(uint16(n))
		case "+ednsflags":
			n, aerr := strconv.ParseUint(value, 16, 16)
			err = aerr
			a.edns().Hdr.Ttl |= uint32(n)
		case "+option":
			code, data, _ := strings.Cut(value, ":")
			o := new(dns.EDNS0_LOCAL)
			n, aerr := strconv.ParseUint(code, 10, 16)
			o.Code = uint16(n)
			o.Data, err = hex.DecodeString(data)
			err = errors.Join(aerr, err)
			a.edns().Option = append(a.edns().Option, o)
		case "+options":
			n, aerr := strconv.Atoi(value)
			err = aerr
			for i := range n {
				a.edns().Option = append(a.edns().Option, &dns.EDNS0_LOCAL{Code: dns.EDNS0LOCALSTART + uint16(i)})
			}
		case "+silence":
			a.silence = true
		case "from":
			a.from, err = netip.ParseAddr(value)
		case "at":
			a.server = value
		default:
			ts.Fatalf("option %q is not known", o)
		}
		ts.Check(err)
	}
	return a
}

// edns returns the question's OPT record, a new one if there is none yet.
func (a *asker) edns() *dns.OPT {
	if a.q.IsEdns0() == nil {
		a.q.SetEdns0(1232, false)
	}
	return a.q.IsEdns0()
}

// numbered returns the number of a type or class: what known says, or the
// digits behind prefix (RFC 3597 §5).
func numbered(prefix, text string, known map[string]uint16) (uint16, error) {
	if n, ok := known[text]; ok {
		return n, nil
	}
	digits, _ := strings.CutPrefix(text, prefix)
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%s %q is not known", strings.ToLower(prefix), text)
	}
	return uint16(n), nil
}

// canonical returns name with its escapes as an answer has them, so that the two
// can be compared.
func canonical(name string) (string, error) {
	buf := make([]byte, 255)
	n, err := dns.PackDomainName(dns.Fqdn(name), buf, 0, nil, false)
	if err != nil {
		return "", fmt.Errorf("name %q: %w", name, err)
	}
	text, _, err := dns.UnpackDomainName(buf[:n], 0)
	return text, err
}

// sentinelID is the ID of a question that is answered at once and for certain.
// One that goes after another on the same connection is answered when the
// server has taken the other, for it reads a connection in order.
const sentinelID = 0xbeef

func sentinel() *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion("localhost.", dns.TypeA)
	m.Id = sentinelID
	return m
}

// ask returns the answer as text. With taken it sends a sentinel too and calls
// taken when the server has both.
func (a *asker) ask(taken func()) (string, error) {
	var d net.Dialer
	if a.from.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.from, 0))
		if a.network == "tcp" {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(a.from, 0))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.wait)
	defer cancel()
	conn, err := d.DialContext(ctx, a.network, a.server)
	if err != nil {
		return "", err
	}
	c := &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(a.wait))
	q := a.q.Copy()
	for q.Id = dns.Id(); q.Id == sentinelID; q.Id = dns.Id() {
	}
	if err := c.WriteMsg(q); err != nil {
		return "", err
	}
	if taken != nil || a.silence {
		if err := c.WriteMsg(sentinel()); err != nil {
			return "", err
		}
	}
	text := ""
	for {
		m, err := c.ReadMsg()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return "", fmt.Errorf("no answer to %s within %v", &q.Question[0], a.wait)
		case err != nil:
			return "", err
		case m.Id != sentinelID:
			text = shown(q, m)
			if taken == nil {
				return text, nil
			}
		case a.silence:
			return "no answer\n", nil
		default:
			taken()
			taken = nil
		}
		if text != "" && taken == nil {
			return text, nil
		}
	}
}

// pending is what asking began.
type pending struct {
	wg    sync.WaitGroup
	mu    sync.Mutex
	texts map[string]int // answers, and how often each came
	errs  []error
}

func cmdAsking(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, anyNumber, "asking KEY [N] NAME TYPE [OPTIONS]")
	key, args := args[0], args[1:]
	n, err := strconv.Atoi(args[0])
	if err == nil {
		args = args[1:]
	} else {
		n = 1
	}
	a := parseAsk(ts, args)
	p := &pending{texts: map[string]int{}}
	worldOf(ts).pending[key] = p
	var taken sync.WaitGroup
	taken.Add(n)
	for range n {
		p.wg.Go(func() {
			once := sync.OnceFunc(taken.Done)
			defer once()
			text, err := a.ask(once)
			p.mu.Lock()
			defer p.mu.Unlock()
			if err != nil {
				p.errs = append(p.errs, err)
				return
			}
			p.texts[text]++
		})
	}
	taken.Wait()
}

func cmdAnswered(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 1, "answered KEY")
	p := worldOf(ts).pending[args[0]]
	if p == nil {
		ts.Fatalf("nothing was asked as %q", args[0])
	}
	p.wg.Wait()
	ts.Check(errors.Join(p.errs...))
	for text, n := range p.texts {
		fmt.Fprintf(ts.Stdout(), "%d × %s", n, text)
	}
}

// shown writes an answer as text. A TTL up to five seconds below a multiple of
// ten is written as that multiple, for what comes from memory may have aged.
func shown(q, m *dns.Msg) string {
	var out bytes.Buffer
	var flags []string
	for _, f := range []struct {
		on   bool
		name string
	}{{m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionDesired, "rd"}, {m.RecursionAvailable, "ra"}, {m.AuthenticatedData, "ad"}, {m.CheckingDisabled, "cd"}} {
		if f.on {
			flags = append(flags, f.name)
		}
	}
	fmt.Fprintf(&out, "%s\n", strings.TrimSpace(rcode(m)+" "+strings.Join(flags, " ")))
	if m.Id != q.Id || !m.Response || m.Zero {
		fmt.Fprintln(&out, "WRONG HEADER", m.MsgHdr)
	}
	if len(m.Question) != 1 || m.Question[0] != q.Question[0] {
		fmt.Fprintln(&out, "WRONG QUESTION", m.Question)
	}
	opt := m.IsEdns0()
	if (opt != nil) != (q.IsEdns0() != nil) {
		fmt.Fprintln(&out, "WRONG EDNS", opt)
	}
	if opt != nil {
		for _, o := range opt.Option {
			if ede, ok := o.(*dns.EDNS0_EDE); ok {
				fmt.Fprintf(&out, "EDE %d %q\n", ede.InfoCode, ede.ExtraText)
			} else {
				fmt.Fprintf(&out, "OPTION %v\n", o)
			}
		}
	}
	section(&out, "answer", m.Answer)
	section(&out, "authority", m.Ns)
	section(&out, "additional", m.Extra)
	return out.String()
}

func section(out io.Writer, name string, rrs []dns.RR) {
	for _, rr := range rrs {
		if h := rr.Header(); h.Rrtype != dns.TypeOPT {
			if up := (h.Ttl + 9) / 10 * 10; up-h.Ttl <= 5 {
				h.Ttl = up
			}
			fmt.Fprintf(out, "%s %s\n", name, strings.Join(strings.Fields(rr.String()), " "))
		}
	}
}

func rcode(m *dns.Msg) string {
	if m.Rcode == dns.RcodeBadVers {
		return "BADVERS" // the library has a signature's meaning of 16
	}
	return dns.RcodeToString[m.Rcode]
}

// cmdFlood keeps a window of questions open, so that none is dropped for want
// of room in a socket's buffer.
func cmdFlood(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, 3, "flood N NAME TYPE")
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	q := parseAsk(ts, args[1:]).q
	packed, err := q.Pack()
	ts.Check(err)
	conn, err := net.Dial("udp", ts.Getenv("ADDR"))
	ts.Check(err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	const window = 64
	buf := make([]byte, 4096)
	for sent, got := 0, 0; got < n; {
		if sent < n && sent-got < window {
			_, err = conn.Write(packed)
			sent++
		} else {
			_, err = conn.Read(buf)
			got++
		}
		ts.Check(err)
	}
}

func cmdSeal(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, 3, "seal N NAME TYPE")
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	a := parseAsk(ts, args[1:])
	for range n {
		_, err := a.ask(nil)
		ts.Check(err)
		ts.Check(ts.Exec("weir", "audit", "search", "--limit", "1")) // a search brings all to disk first
	}
}

func cmdHold(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 2, "hold N [from=ADDRESS]")
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	var d net.Dialer
	if len(args) > 1 {
		addr, err := netip.ParseAddr(strings.TrimPrefix(args[1], "from="))
		ts.Check(err)
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0))
	}
	for range n {
		c, err := d.Dial("tcp", ts.Getenv("ADDR"))
		ts.Check(err)
		worldOf(ts).held = append(worldOf(ts).held, c)
	}
}
