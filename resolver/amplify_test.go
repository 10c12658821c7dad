package resolver

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/audit"
)

// TestAmplification: an address that may be forged gets no more octets than one and a
// half times those of the queries in its name, and what the limit allows beside; an
// answer is cut only where it would be more.
func TestAmplification(t *testing.T) {
	const rate = 1000 // octets a second
	w := newWorld(t, limited(t, Limits{Amplification: rate}))
	free := newWorld(t, limited(t, Limits{}))
	r := rand.New(rand.NewPCG(1, 2))
	type account struct {
		in, out int
		room    float64 // octets beyond, as a naive bucket has them
		at      int64
	}
	accounts := map[string]*account{}
	cut, whole := 0, 0
	for range 5000 {
		client := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}[r.IntN(3)]
		question := []string{"many.example. A", "www.example. A", "x.track.example. A", "www.lab.example. A", "www.example. AXFR", "x.lab.example. TXT"}[r.IntN(6)]
		msg := query(t, question, [][]func(*dns.Msg){nil, {edns}, {withCookie(clientCookie)}}[r.IntN(3)]...)
		w.clock.advance(time.Duration(r.ExpFloat64() * 5e6))
		a := accounts[client]
		if a == nil {
			a = &account{room: amplificationBurst * rate, at: w.clock.off.Load()}
			accounts[client] = a
		}
		now := w.clock.off.Load()
		a.room = min(a.room+float64(now-a.at)*rate/1e9, amplificationBurst*rate)
		a.at = now
		got, want := w.exchange(client, msg), free.exchange(client, msg)
		a.in, a.out = a.in+len(msg), a.out+len(got)
		excess := float64(len(want) - len(msg) - len(msg)/2)
		switch m := unpack(t, got); {
		case m.Truncated && !unpack(t, want).Truncated:
			cut++
			if excess < a.room-2 {
				t.Fatalf("%s was cut: %.0f octets too many, and %.0f allowed", question, excess, a.room)
			}
			if 2*len(got) > 3*len(msg) || len(m.Answer)+len(m.Ns) > 0 {
				t.Fatalf("%d octets for %d: %s", len(got), len(msg), show(t, got))
			}
		case len(got) != len(want):
			t.Fatalf("%s: %s, want %s", question, show(t, got), show(t, want))
		case excess > 0:
			whole++
			if a.room -= excess; a.room < -2 {
				t.Fatalf("%s is whole: %.0f octets too many", question, -a.room)
			}
		}
	}
	for client, a := range accounts {
		if most := a.in + a.in/2 + amplificationBurst*rate + int(a.at*rate/1e9); a.out > most {
			t.Errorf("%s: %d octets for %d, want %d at most", client, a.out, a.in, most)
		}
	}
	if cut < 500 || whole < 500 || w.Stats().Amplified != uint64(cut) {
		t.Errorf("%d cut, of which %d counted, %d too large ones whole", cut, w.Stats().Amplified, whole)
	}
}

// TestWhoIsNotForgedIsNotCut: over TCP, with a good cookie, from this machine; nor is
// an answer that amplifies nothing.
func TestWhoIsNotForgedIsNotCut(t *testing.T) {
	set := limited(t, Limits{Amplification: 1, Cookies: true})
	set.access = []string{"10.0.0.0/8", "127.0.0.0/8", "::1/128", "2001:db8::/32"}
	w := newWorld(t, set)
	const large = "many.example. A"
	w.ask(large)
	good := cookieIn(t, w.exchange("10.0.0.1", query(t, large, withCookie(clientCookie))))
	for _, c := range []struct {
		over         audit.Transport
		client, what string
		edit         func(*dns.Msg)
		cut          bool
	}{
		{audit.UDP, "10.0.0.1", large, edns, true},
		{audit.UDP, "10.0.0.1", large, withCookie(clientCookie), true},
		{audit.UDP, "10.0.0.1", large, withCookie(good), false},
		{audit.UDP, "10.0.0.2", large, withCookie(good), true}, // another's
		{audit.TCP, "10.0.0.1", large, edns, false},
		{audit.UDP, "127.0.0.1", large, edns, false},
		{audit.UDP, "::ffff:127.0.0.2", large, edns, false},
		{audit.UDP, "::1", large, edns, false},
		{audit.UDP, "2001:db8::1", large, edns, true},
		{audit.UDP, "10.0.0.1", "www.lab.example. A", edns, false},
		{audit.UDP, "10.0.0.1", "www.example. AXFR", edns, false},
		{audit.UDP, "10.0.0.1", "new.example. A", edns, true}, // by a flight, which fails with a reason
		{audit.UDP, "10.0.0.1", "x.track.example. A", edns, true},
	} {
		got := show(t, w.exchangeOver(c.over, c.client, query(t, c.what, c.edit)))
		if cut := got == "NOERROR tc"; cut != c.cut {
			t.Errorf("%s from %s over %v: %s", c.what, c.client, c.over, got)
		}
	}
	if n := w.Stats().Amplified; n != 7 {
		t.Errorf("%d counted, want 7", n)
	}
	recorded := 0
	for _, e := range w.events() {
		switch {
		case e.Packet == nil || !e.Packet.TC:
		case e.Source != "refused" || e.Rcode != "NOERROR" || e.EDE != nil:
			t.Errorf("record %+v", e)
		case e.Rule == "amplification limit":
			recorded++
		case e.Verdict != "block" || e.Category != "ads":
			t.Errorf("record %+v", e)
		}
	}
	if recorded != 6 {
		t.Errorf("%d recorded with the limit, want 6", recorded)
	}
}

// TestAmplificationByPrefix: addresses of one prefix have one limit.
func TestAmplificationByPrefix(t *testing.T) {
	w := newWorld(t, limited(t, Limits{Amplification: 100, PrefixV4: 24}))
	w.ask("many.example. A")
	for strings.HasPrefix(w.askFrom("10.0.0.1", "many.example. A"), "NOERROR many") {
	}
	if got := w.askFrom("10.0.0.200", "many.example. A"); got != "NOERROR tc" {
		t.Errorf("a neighbour: %s", got)
	}
	if got := w.askFrom("10.0.2.1", "many.example. A"); !strings.HasPrefix(got, "NOERROR many") {
		t.Errorf("another network: %s", got)
	}
	w.clock.advance(amplificationBurst * time.Second)
	if got := w.askFrom("10.0.0.200", "many.example. A"); !strings.HasPrefix(got, "NOERROR many") {
		t.Errorf("later: %s", got)
	}
}

// TestSmallAnswersCostNothing: they do not reach the table.
func TestSmallAnswersCostNothing(t *testing.T) {
	w := newWorld(t, limited(t, Limits{Amplification: 1000}))
	for range 100 {
		w.askFrom("10.0.0.1", "www.example. A")
		w.askFrom("10.0.0.1", "www.lab.example. A")
		w.askFrom("10.0.0.1", "www.example. AXFR")
	}
	for i := range w.limits.excess.sets {
		for _, key := range w.limits.excess.sets[i].keys {
			if key != 0 {
				t.Fatal("a bucket was taken")
			}
		}
	}
}
