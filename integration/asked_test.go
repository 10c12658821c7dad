package integration

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
)

// What an upstream was asked, as a script can check it.

func cmdAsked(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, 4, "asked NAME TYPE N [VAR]")
	want, err := strconv.Atoi(args[2])
	ts.Check(err)
	u := upstreamOf(ts, args, 3)
	u.mu.Lock()
	defer u.mu.Unlock()
	if got := u.count[questionKey(ts, args)]; got != want {
		ts.Fatalf("asked %d times for %s %s, want %d", got, args[0], args[1], want)
	}
}

func cmdWaitAsked(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, 4, "wait-asked NAME TYPE [N] [VAR]")
	want, at := 1, 2
	if len(args) > 2 {
		if n, err := strconv.Atoi(args[2]); err == nil {
			want, at = n, 3
		}
	}
	u := upstreamOf(ts, args, at)
	late := false
	limit := time.AfterFunc(patience, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		late = true
		u.heard.Broadcast()
	})
	defer limit.Stop()
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.count[questionKey(ts, args)] < want {
		if late {
			ts.Fatalf("never asked for %s %s", args[0], args[1])
		}
		u.heard.Wait()
	}
}

func cmdUnasked(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, args, 1, 2, "[!] unasked NAME [VAR]")
	u := upstreamOf(ts, args, 1)
	above, err := canonical(args[0])
	ts.Check(err)
	u.mu.Lock()
	defer u.mu.Unlock()
	var asked []string
	for key := range u.count {
		if name := key[:strings.LastIndexByte(key, ' ')]; dns.IsSubDomain(above, name) {
			asked = append(asked, key)
		}
	}
	if u.strange > 0 {
		ts.Fatalf("asked %d times for what is not one question", u.strange)
	}
	if (len(asked) == 0) == neg {
		ts.Fatalf("asked for %q", asked)
	}
}

func cmdAskedPlain(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, args, 2, 3, "[!] asked-plain NAME TYPE [VAR]")
	u, key := upstreamOf(ts, args, 2), questionKey(ts, args)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.count[key] == 0 {
		ts.Fatalf("never asked for %s %s", args[0], args[1])
	}
	if (u.more[key] == "") == neg {
		ts.Fatalf("asked for %s %s with %q", args[0], args[1], u.more[key])
	}
}

// questionKey is how the question in args, a name and a type, is counted.
func questionKey(ts *testscript.TestScript, args []string) string {
	name, err := canonical(strings.ToLower(args[0]))
	ts.Check(err)
	typ, err := numbered("TYPE", args[1], dns.StringToType)
	ts.Check(err)
	return keyOf(name, typ)
}

func keyOf(name string, typ uint16) string { return name + " " + dns.Type(typ).String() }

// besides says what q holds beyond a question and the flags that its answer
// depends on: RD, CD and DO.
func besides(q *dns.Msg) string {
	var out []string
	h := q.MsgHdr
	h.Id, h.CheckingDisabled = 0, false
	if h != (dns.MsgHdr{RecursionDesired: true}) {
		out = append(out, fmt.Sprintf("header %+v", q.MsgHdr))
	}
	for _, rr := range slices.Concat(q.Answer, q.Ns, q.Extra) {
		opt, ok := rr.(*dns.OPT)
		if ok && len(opt.Option) == 1 && opt.Option[0].Option() == dns.EDNS0TCPKEEPALIVE {
			opt.Option = nil // it is about the connection
		}
		if !ok || len(opt.Option) > 0 || opt.Hdr.Ttl&^0x8000 != 0 || opt != q.IsEdns0() {
			out = append(out, rr.String())
		}
	}
	return strings.Join(out, ", ")
}
