package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/audit"
	"weir/blocklist"
	"weir/resolver/upstream"
	"weir/resolver/wire"
)

// begin asks without waiting for the reply, which comes into box.
func (w *world) begin(question string, box mailbox, edit ...func(*dns.Msg)) {
	w.t.Helper()
	if out, waiting := w.start(newScratch(), audit.UDP, "", query(w.t, question, edit...), box); !waiting {
		box <- slices.Clone(out)
	}
}

func (w *world) await(box mailbox) string {
	w.t.Helper()
	select {
	case b := <-box:
		return show(w.t, b)
	case <-time.After(patience):
		w.t.Fatal("no reply came")
		return ""
	}
}

const (
	www  = "www.example. A"
	wwwA = "NOERROR www.example. 60 A 192.0.2.1;"
)

func TestOneFlightForEqualQuestions(t *testing.T) {
	gate := make(chan struct{})
	s := newServer(t, map[string]handler{www: held(gate, says("www.example. 60 A 192.0.2.1"))})
	w := newWorld(t, setup{upstream: s})
	const n = 1000
	boxes := make([]mailbox, n)
	for i := range boxes {
		boxes[i] = make(mailbox, 1)
		// Spelling, identifier and options are the asker's and split nothing.
		w.begin([]string{"www.example. A", "WWW.example. A"}[i%2], boxes[i], func(m *dns.Msg) {
			m.Id = uint16(i)
			if i%3 == 0 {
				m.SetEdns0(1232, false)
				m.IsEdns0().Option = []dns.EDNS0{
					&dns.EDNS0_NSID{Code: dns.EDNS0NSID},
					&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 32, Address: net.IPv4(192, 0, byte(i>>8), byte(i))}, // CVE-2025-5994
				}
			}
		})
	}
	if st := w.Stats(); st.Inflight != 1 {
		t.Errorf("%d flights, want 1", st.Inflight)
	}
	close(gate)
	for i, box := range boxes {
		b := <-box
		if m := unpack(t, b); m.Id != uint16(i) || len(m.Answer) != 1 || (m.IsEdns0() != nil) != (i%3 == 0) {
			t.Fatalf("asker %d got %s", i, show(t, b))
		}
	}
	if asked := s.questions(); len(asked) != 1 {
		t.Errorf("%d questions went upstream, want 1", len(asked))
	}
	if got := w.ask(www); got != wwwA {
		t.Error(got)
	}
	if e := w.events(); len(e) != n+1 {
		t.Errorf("%d events, want %d", len(e), n+1)
	}
}

func TestFlightsAreBounded(t *testing.T) {
	gate := make(chan struct{})
	s := newServer(t, map[string]handler{"*": held(gate, says("NXDOMAIN"))})
	w := newWorld(t, setup{upstream: s, config: func(c *Config) { c.MaxInflight = 3 }})
	const tooMany = `SERVFAIL ede 23 "too many questions in flight"`
	room := make(mailbox, 4096)
	for i := range 3 {
		w.begin(fmt.Sprintf("n%d.example. A", i), room)
	}
	if got := w.ask("n3.example. A", edns); got != tooMany {
		t.Errorf("a fourth flight: %s", got)
	}
	w.begin("n0.example. A", room) // but any flight takes one more
	for range waitersPerFlight*3 - 4 {
		w.begin("n1.example. A", room)
	}
	if got := w.ask("n0.example. A", edns); got != tooMany {
		t.Errorf("one waiter too many: %s", got)
	}
	if st := w.Stats(); st.Inflight != 3 || st.Overload != 2 {
		t.Errorf("stats %+v", st)
	}
	close(gate)
	for range waitersPerFlight * 3 {
		if got := w.await(room); got != "NXDOMAIN" {
			t.Error(got)
		}
	}
	if got := w.ask("n3.example. A", edns); got != "NXDOMAIN" {
		t.Errorf("after all have landed: %s", got)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting != 0 || len(w.flights) != 0 {
		t.Errorf("%d still wait on %d flights", w.waiting, len(w.flights))
	}
}

func TestWaitersOfOneQuestionAreBounded(t *testing.T) {
	gate := make(chan struct{})
	w := newWorld(t, setup{upstream: newServer(t, map[string]handler{www: held(gate, says("NXDOMAIN"))})})
	room := make(mailbox, maxWaiters)
	for range maxWaiters {
		w.begin(www, room)
	}
	if got := w.ask(www, edns); got != `SERVFAIL ede 23 "too many questions in flight"` {
		t.Error(got)
	}
	close(gate)
	for range maxWaiters {
		w.await(room)
	}
}

// TestFailuresAreRemembered for a second, and twice as long with each that follows
// another, half a minute at most.
func TestFailuresAreRemembered(t *testing.T) {
	s := newFickle(t, says("SERVFAIL"))
	w := newWorld(t, setup{upstream: s.server})
	const failed = `SERVFAIL ede 0 "upstream reply refused: rcode SERVFAIL"`
	asked := 0
	step := func(after time.Duration, want string, more int) {
		t.Helper()
		asked += more
		w.clock.advance(after)
		w.expect(www, want)
		if n := s.times(); n != asked {
			t.Errorf("asked %d times, want %d", n, asked)
			asked = n
		}
	}
	step(0, failed, 1)
	for _, life := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		step(life*time.Second-100*time.Millisecond, failed, 0)
		step(200*time.Millisecond, failed, 1)
	}
	s.turn(addressed)
	step(29*time.Second, failed, 0)
	step(2*time.Second, wwwA, 1)
	step(time.Second, strings.Replace(wwwA, "60", "59", 1), 0)
	s.turn(says("SERVFAIL"))
	step(59*time.Second, failed, 1)
	step(1100*time.Millisecond, failed, 1) // after a success it begins anew
	step(32*time.Second+100*time.Millisecond, failed, 1)
	step(1100*time.Millisecond, failed, 1) // and after a pause
}

// TestOutageEndsForAllAtOnce: names that failed because nobody replied do not
// serve their time when somebody does again, which the upstream sees by itself.
func TestOutageEndsForAllAtOnce(t *testing.T) {
	s := newFickle(t, silent)
	w := newWorld(t, setup{upstream: s.server, deadline: 50 * time.Millisecond})
	const failed = `SERVFAIL ede 22 "upstream default did not answer"`
	ask := func(want string) {
		t.Helper()
		for _, n := range []string{"a", "b"} {
			w.expect(n+".example. A", strings.ReplaceAll(want, "www", n))
		}
	}
	ask(failed)
	w.down()
	for range 4 { // each lasts longer than the last, though nobody replied to any
		w.clock.advance(31 * time.Second)
		ask(failed)
		before := s.times()
		ask(failed)
		if n := s.times() - before; n != 0 {
			t.Errorf("asked %d times for what has just failed", n)
		}
	}
	s.turn(addressed)
	w.up()
	ask(wwwA)
}

// TestFailureOfOneQuestionIsKept: that a server replies to a probe does not mean
// that it would to the question.
func TestFailureOfOneQuestionIsKept(t *testing.T) {
	s := newServer(t, map[string]handler{www: silent, "*": addressed})
	w := newWorld(t, setup{upstream: s, deadline: 50 * time.Millisecond})
	const failed = `SERVFAIL ede 22 "upstream default did not answer"`
	w.expect(www, failed)
	w.up()
	w.expect(www, failed)
	if n := s.times(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	w.clock.advance(1100 * time.Millisecond)
	w.expect(www, failed)
	if n := s.times(); n != 2 {
		t.Errorf("asked %d times after a second, want twice", n)
	}
}

// disbelieved is an upstream whose deadline comes when a reply of it has been ignored.
type disbelieved struct{ upstream.Exchanger }

func (d disbelieved) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	e := &ending{Context: inner}
	go func() {
		for d.Stats().Ignored == 0 && inner.Err() == nil {
			runtime.Gosched()
		}
		e.over.Store(true)
		cancel()
	}()
	return d.Exchanger.Exchange(e, q)
}

// TestSilentAndDeadUpstreams: each says what is wrong, in the reply and the log.
func TestSilentAndDeadUpstreams(t *testing.T) {
	astray := newServer(t, map[string]handler{www: func(_, m *dns.Msg) bool { m.Id++; return true }})
	gone := newServer(t, nil)
	gone.addr = "127.0.0.1:1" // nobody listens there
	for _, c := range []struct {
		set  setup
		want string
	}{
		{setup{upstream: newServer(t, map[string]handler{www: silent}), deadline: 300 * time.Millisecond}, `SERVFAIL ede 22 "upstream default did not answer"`},
		{setup{exchanger: disbelieved{astray.open(t, upstream.Options{})}}, `SERVFAIL ede 22 "upstream default did not answer: it sent what is no reply to the question"`},
		{setup{upstream: gone}, `SERVFAIL ede 23 "upstream default failed"`},
	} {
		w := newWorld(t, c.set)
		if got := w.ask(www, edns); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
		if got := w.ask(www); got != "SERVFAIL" {
			t.Errorf("without EDNS: %s", got)
		}
	}
}

func TestFlagsSplitTheCache(t *testing.T) {
	const sig = "www.example. 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 example. aaaa"
	s := newServer(t, map[string]handler{www: says("www.example. 60 A 192.0.2.1", sig)})
	w := newWorld(t, setup{upstream: s})
	cd := func(m *dns.Msg) { m.CheckingDisabled = true }
	for range 2 {
		for _, c := range []struct {
			edit   []func(*dns.Msg)
			signed bool
		}{{nil, false}, {[]func(*dns.Msg){dnssec}, true}, {[]func(*dns.Msg){cd}, false}, {[]func(*dns.Msg){cd, dnssec}, true}, {[]func(*dns.Msg){edns}, false}} {
			if got := w.ask(www, c.edit...); strings.Contains(got, "RRSIG") != c.signed {
				t.Errorf("%s, want signed: %v", got, c.signed)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if want := []string{"", "do", "cd", "do cd"}; !slices.Equal(s.flags, want) {
		t.Errorf("asked with %q, want %q", s.flags, want)
	}
}

// TestOddQueries: valid, but outside what the fast parser reads.
func TestOddQueries(t *testing.T) {
	w := newWorld(t, setup{upstream: newServer(t, map[string]handler{www: says("www.example. 60 A 192.0.2.1")})})
	tsig := func(m *dns.Msg) { m.SetTsig("key.example.", dns.HmacSHA256, 300, time.Now().Unix()) }
	options := func(n int) func(*dns.Msg) {
		return func(m *dns.Msg) {
			for i := range n {
				m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: dns.EDNS0LOCALSTART + uint16(i)})
			}
		}
	}
	twice := func(o dns.EDNS0) func(*dns.Msg) {
		return func(m *dns.Msg) { m.IsEdns0().Option = append(m.IsEdns0().Option, o, o) }
	}
	mac := twice(&dns.EDNS0_LOCAL{Code: wire.OptionMAC, Data: []byte{2, 0, 0x5e, 0x10, 0, 1}})
	for _, c := range []struct {
		name string
		edit []func(*dns.Msg)
		want string
	}{
		{"TSIG", []func(*dns.Msg){tsig}, wwwA},
		{"OPT and TSIG", []func(*dns.Msg){edns, tsig}, wwwA},
		{"TSIG and OPT", []func(*dns.Msg){tsig, edns}, wwwA},
		{"a stray record", []func(*dns.Msg){func(m *dns.Msg) { m.Extra = []dns.RR{rr("a.example. 1 A 192.0.2.1")} }}, wwwA},
		{"32 options", []func(*dns.Msg){edns, options(32)}, wwwA},
		{"33 options", []func(*dns.Msg){edns, options(33)}, "FORMERR"},
		{"33 options and TSIG", []func(*dns.Msg){edns, options(33), tsig}, "FORMERR"},
		{"two hardware addresses", []func(*dns.Msg){edns, mac}, "FORMERR"},
		{"two hardware addresses and TSIG", []func(*dns.Msg){edns, mac, tsig}, "FORMERR"},
		{"an unknown option twice", []func(*dns.Msg){edns, twice(&dns.EDNS0_LOCAL{Code: dns.EDNS0LOCALSTART + 9})}, wwwA},
		{"keepalive twice", []func(*dns.Msg){edns, twice(&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE})}, "FORMERR"},
		{"keepalive twice and TSIG", []func(*dns.Msg){edns, twice(&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}), tsig}, "FORMERR"},
		{"NSID twice", []func(*dns.Msg){edns, twice(&dns.EDNS0_NSID{Code: dns.EDNS0NSID})}, wwwA},
		{"two OPT", []func(*dns.Msg){edns, func(m *dns.Msg) { m.Extra = append(m.Extra, m.Extra[0]) }}, "FORMERR"},
	} {
		msg := query(t, www, c.edit...)
		b := w.exchange("", msg)
		if got := show(t, b); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		hasOPT := unpack(t, msg).IsEdns0() != nil && c.want != "FORMERR"
		if got := unpack(t, b).IsEdns0() != nil; got != hasOPT {
			t.Errorf("%s: OPT in the reply: %v", c.name, got)
		}
	}
	trailing := append(query(t, www), 0, 1, 2)
	if got := show(t, w.exchange("", trailing)); got != wwwA {
		t.Errorf("junk behind the message: %s", got)
	}
}

// TestSwapWhileInFlight: what a flight brings home is judged by the state then
// in force, and the state that sent it stays whole until it has landed.
func TestSwapWhileInFlight(t *testing.T) {
	gate := make(chan struct{})
	old := newServer(t, map[string]handler{"*": held(gate, says("www.example. 60 A 192.0.2.1"))})
	w := newWorld(t, setup{upstream: old, sinkhole: SinkholeConfig{TTL: 60}})
	box := make(mailbox, 1)
	w.begin(www, box, edns)
	swapped := make(chan struct{})
	w.set.upstream = newServer(t, map[string]handler{"*": says("NXDOMAIN")})
	w.set.policies = []blocklist.PolicyConfig{{Name: "p", Any: true, Rules: []blocklist.RuleConfig{{Action: blocklist.ActionBlock, Domains: []string{"www.example"}}}}}
	next := w.state(2)
	go func() {
		w.Retire(w.Swap(next))
		close(swapped)
	}()
	w.until(func() bool { return w.State() == next }) // in force at once …
	select {
	case <-swapped:
		t.Fatal("the old state was given up with a question on its way")
	default:
	}
	if got := w.ask("new.example. A"); got != "NXDOMAIN" {
		t.Errorf("a new question got %s of the old upstream", got)
	}
	close(gate) // … but Swap returns only now
	const blocked = `NXDOMAIN ede 15 "p: rule 1" / www.example. 60 SOA 60;`
	if got := w.await(box); got != blocked {
		t.Errorf("the flight brought %s, want %s", got, blocked)
	}
	<-swapped
}

// TestSwapForgetsWhatAnotherUpstreamNowKnows: a zone that is sent elsewhere from
// now on is asked there at once; all else stays in the cache.
func TestSwapForgetsWhatAnotherUpstreamNowKnows(t *testing.T) {
	public := newServer(t, map[string]handler{"*": says("NXDOMAIN", "example. 3600 SOA ns.example. h.example. 1 1 1 1 3600")})
	corp := newServer(t, map[string]handler{"*": says("www.corp.example. 60 A 192.0.2.5")})
	w := newWorld(t, setup{upstream: public})
	for _, q := range []string{"www.corp.example. A", "corp.example. DS", "other.example. A"} {
		w.ask(q)
	}
	w.reload(func(s *setup) { s.forward = map[string]*server{"corp.example.": corp} })
	before := w.Stats().Cache.Hits
	if got := w.ask("www.corp.example. A"); got != "NOERROR www.corp.example. 60 A 192.0.2.5;" {
		t.Errorf("after the change: %s", got)
	}
	w.ask("other.example. A")
	w.ask("corp.example. DS") // the parent's
	if hits := w.Stats().Cache.Hits - before; hits != 2 {
		t.Errorf("%d answers from the cache, want the 2 that no change concerns", hits)
	}
}

// TestSwapUnderLoad: no query goes unanswered while states come and go.
func TestSwapUnderLoad(t *testing.T) {
	s := newServer(t, map[string]handler{"*": says("NXDOMAIN")})
	w := newWorld(t, setup{upstream: s})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 300 {
			if got := w.ask(fmt.Sprintf("n%d.example. A", i), edns); got != "NXDOMAIN" {
				t.Errorf("question %d: %s", i, got)
			}
		}
	}()
	for range 50 {
		w.reload(func(*setup) {})
	}
	<-done
	if e := w.events(); len(e) != 300 {
		t.Errorf("%d events, want 300", len(e))
	}
}

func TestForwardedZones(t *testing.T) {
	corp := newServer(t, map[string]handler{"*": says("NXDOMAIN", "/", "corp.example. 60 SOA ns.example. host.example. 1 2 3 4 60")})
	w := newWorld(t, setup{
		upstream: newServer(t, map[string]handler{"*": says("NXDOMAIN", "/", ". 60 SOA ns.example. host.example. 1 2 3 4 60")}),
		forward:  map[string]*server{"corp.example.": corp, "10.in-addr.arpa.": corp},
		private:  true,
	})
	const theirs, ours = "NXDOMAIN / corp.example. 60 SOA 60;", "NXDOMAIN / . 60 SOA 60;"
	for question, want := range map[string]string{
		"corp.example. A":            theirs,
		"a.b.corp.example. MX":       theirs,
		"corp.example. DS":           ours, // the parent's record (RFC 4035 §3.1.4.1)
		"a.corp.example. DS":         theirs,
		"xcorp.example. A":           ours,
		"example. A":                 ours,
		". DS":                       ours,
		"1.0.0.11.in-addr.arpa. PTR": ours,
	} {
		if got := w.ask(question); got != want {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
	}
	w.ask("1.0.0.10.in-addr.arpa. PTR")
	if !slices.Contains(corp.questions(), "1.0.0.10.in-addr.arpa. PTR") {
		t.Error("a forwarded private zone was answered here")
	}
}

// broken is an upstream whose decoder panics.
type broken struct{}

func (broken) Exchange(context.Context, *dns.Msg) (*dns.Msg, error) { panic("bad decoder") }
func (broken) Close() error                                         { return errors.New("does not close") }
func (broken) Stats() upstream.Stats                                { return upstream.Stats{} }
func (broken) String() string                                       { return "broken://" }

// TestPanicsAreContained: each costs one answer, SERVFAIL, and leaves a count,
// a line with the packet, and a record.
func TestPanicsAreContained(t *testing.T) {
	gate := make(chan struct{})
	s := newServer(t, map[string]handler{"*": held(gate, says("www.example. 60 A 192.0.2.1"))})
	w := newWorld(t, setup{upstream: s})
	w.listen()
	whole := w.State()
	// What no configuration leads to: a state without a policy. It is put in force without the care of Swap.
	headless := &State{Access: whole.Access, Sinkhole: whole.Sinkhole, Local: whole.Local, Routes: whole.Routes, outcomes: whole.outcomes, limits: whole.limits}
	w.Resolver.state.Store(headless)
	if got := show(t, w.overUDP(query(t, www))); got != "SERVFAIL" {
		t.Errorf("UDP: %s", got)
	}
	c := w.dial("tcp")
	for i := range 2 {
		if i == 1 {
			w.Resolver.state.Store(whole)
			close(gate)
		}
		if _, err := c.Write(framed(query(t, www))); err != nil {
			t.Fatal(err)
		}
		b, err := unframe(c)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := show(t, b), []string{"SERVFAIL", wwwA}[i]; got != want {
			t.Errorf("TCP %d: %s, want %s", i, got, want)
		}
	}
	if got := show(t, w.overUDP(query(t, www))); got != wwwA {
		t.Errorf("UDP afterwards: %s", got)
	}
	if n := w.Stats().Panics; n != 2 {
		t.Errorf("%d panics counted, want 2", n)
	}
	if !strings.Contains(w.said.String(), fmt.Sprintf("packet=%x", query(t, www))) {
		t.Errorf("no packet in the log:\n%s", w.said)
	}
	e := w.events()
	if len(e) != 4 {
		t.Fatalf("%d events, want 4", len(e))
	}
	for i, want := range []string{"SERVFAIL", "SERVFAIL", "NOERROR", "NOERROR"} {
		if e[i].Rcode != want || e[i].Name != "www.example" {
			t.Errorf("event %d: %s %s, want %s", i, e[i].Name, e[i].Rcode, want)
		}
	}
}

func TestPanicInAFlight(t *testing.T) {
	w := newWorld(t, setup{exchanger: broken{}})
	if got := w.ask(www, edns); got != `SERVFAIL ede 0 "reply could not be read"` {
		t.Error(got)
	}
	if n := w.Stats().Panics; n != 1 {
		t.Errorf("%d panics counted, want 1", n)
	}
	w.reload(func(s *setup) { s.exchanger = nil })
	if !strings.Contains(w.said.String(), "does not close") {
		t.Error("an upstream that did not close went unsaid")
	}
}

// fragile is the data of a record of a type of its own, which panics when it is
// packed for the first time, or fails each time.
type fragile struct {
	dns.PrivateRdata
	packed *atomic.Bool // nil fails
}

func (fragile) Unpack(b []byte) (int, error) { return len(b), nil }
func (fragile) Len() int                     { return 3 }

func (f fragile) Pack(b []byte) (int, error) {
	if f.packed == nil {
		return 0, errors.New("cannot be packed")
	}
	if !f.packed.Swap(true) {
		panic("a bad encoder")
	}
	return copy(b, "\xc0\xff\xee"), nil
}

// TestPanicOverAReply: what an upstream sent panics when it is looked into. That
// costs one answer, SERVFAIL, and the packet is in the log.
func TestPanicOverAReply(t *testing.T) {
	const kind = 0xff02
	packed := new(atomic.Bool)
	dns.PrivateHandle("FRAGILE", kind, func() dns.PrivateRdata { return fragile{packed: packed} })
	t.Cleanup(func() { dns.PrivateHandleRemove(kind) })
	w := newWorld(t, setup{upstream: newServer(t, map[string]handler{"www.example. FRAGILE": func(q, m *dns.Msg) bool {
		m.Answer = []dns.RR{&dns.RFC3597{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: kind, Class: dns.ClassINET, Ttl: 60}, Rdata: "c0ffee"}}
		return true
	}})})
	w.listen()
	ask := func(m *dns.Msg) { m.Question[0].Qtype = kind }
	if got := show(t, w.overUDP(query(t, www, ask, edns))); got != `SERVFAIL ede 0 "reply could not be read"` {
		t.Error(got)
	}
	said := w.said.String()
	if n := w.Stats().Panics; n != 1 || !strings.Contains(said, `panic="a bad encoder"`) || !strings.Contains(said, "c0ffee") {
		t.Errorf("%d panics counted, want 1; said\n%s", n, said)
	}
	w.clock.advance(2 * firstFailure)
	if got := w.overUDP(query(t, www, ask, edns)); !bytes.Contains(got, []byte("\xc0\xff\xee")) {
		t.Errorf("asked again: %s", show(t, got))
	}
}

// TestReplyThatDoesNotPack is one that a decoder reads and no encoder writes. Its
// question is answered all the same.
func TestReplyThatDoesNotPack(t *testing.T) {
	const kind = 0xff03
	dns.PrivateHandle("UNPACKABLE", kind, func() dns.PrivateRdata { return fragile{} })
	t.Cleanup(func() { dns.PrivateHandleRemove(kind) })
	w := newWorld(t, setup{upstream: newServer(t, map[string]handler{"www.example. UNPACKABLE": func(q, m *dns.Msg) bool {
		m.Answer = []dns.RR{&dns.RFC3597{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: kind, Class: dns.ClassINET, Ttl: 60}, Rdata: "c0ffee"}}
		return true
	}})})
	w.listen()
	for _, ask := range []func([]byte) []byte{w.overUDP, w.overTCP} {
		got := show(t, ask(query(t, www, func(m *dns.Msg) { m.Question[0].Qtype = kind }, edns)))
		if !strings.HasPrefix(got, `SERVFAIL ede 0 "upstream reply refused: records do not pack`) {
			t.Error(got)
		}
	}
	if n := w.Stats().Panics; n != 0 {
		t.Errorf("%d panics", n)
	}
}

// TestPanicWhenKept: what the cache does not take is still given to who waits, and
// the process stays.
func TestPanicWhenKept(t *testing.T) {
	w := newWorld(t, setup{})
	w.keep(&flight{key: "\x00\x00\x01"}, nil)
	if n := w.Stats().Panics; n != 1 || !strings.Contains(w.said.String(), "question=000001") {
		t.Errorf("%d panics counted, want 1; said\n%s", n, w.said)
	}
}

// TestPanicAtLanding costs that answer alone: the flight is over for all.
func TestPanicAtLanding(t *testing.T) {
	gate := make(chan struct{})
	w := newWorld(t, setup{upstream: newServer(t, map[string]handler{"*": held(gate, says("www.example. 60 A 192.0.2.1"))})})
	room := make(mailbox, 2)
	w.begin(www, room)
	w.begin(www, room)
	whole := w.State()
	w.Resolver.state.Store(&State{Access: whole.Access, limits: whole.limits})
	close(gate)
	for range 2 {
		if got := w.await(room); got != "SERVFAIL" {
			t.Error(got)
		}
	}
	w.until(func() bool { return w.Stats().Inflight == 0 })
	w.Resolver.state.Store(whole)
	if got := w.ask(www); got != wwwA {
		t.Errorf("afterwards: %s", got)
	}
	if e := w.events(); len(e) != 3 || e[0].Rcode != "SERVFAIL" {
		t.Errorf("%d events", len(e))
	}
}

// TestValidatorsReason: what a validating upstream finds wrong with an answer is told as a
// number; nothing else that it may say of an error is.
func TestValidatorsReason(t *testing.T) {
	const refused = `"upstream reply refused: rcode SERVFAIL"`
	explains := func(codes ...uint16) handler {
		return func(q, m *dns.Msg) bool {
			m.Rcode = dns.RcodeServerFailure
			m.SetEdns0(1232, false)
			for _, c := range codes {
				m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: c, ExtraText: "\x1b[31mwhatever"})
			}
			return true
		}
	}
	for _, c := range []struct {
		says handler
		want int
	}{
		{explains(6), 6},
		{explains(0, 22, 9), 9},
		{explains(1), 1},
		{explains(12), 12},
		{explains(15), 0}, // that is this server's own to say
		{explains(3), 0},
		{explains(13), 0},
		{explains(), 0},
	} {
		w := newWorld(t, setup{upstream: newServer(t, map[string]handler{"bogus.example. A": c.says})})
		for range 2 { // from memory too
			if got, want := w.ask("bogus.example. A", edns), fmt.Sprintf("SERVFAIL ede %d %s", c.want, refused); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		for _, e := range w.events() {
			if e.EDE == nil || int(*e.EDE) != c.want {
				t.Errorf("recorded %v, want %d", e.EDE, c.want)
			}
		}
	}
}
