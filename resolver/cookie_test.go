package resolver

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/audit"
	"weir/resolver/wire"
)

// withCookie sends a COOKIE option with this data, in hexadecimal.
func withCookie(data string) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.SetEdns0(wire.MaxUDP, false)
		b, _ := hex.DecodeString(data)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: wire.OptionCookie, Data: b})
	}
}

const clientCookie = "2464c4abcf10c957"

// cookieIn returns the reply's cookie, "" for none.
func cookieIn(t testing.TB, reply []byte) string {
	t.Helper()
	if reply == nil {
		return ""
	}
	if opt := unpack(t, reply).IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if c, ok := o.(*dns.EDNS0_COOKIE); ok {
				return c.Cookie
			}
		}
	}
	return ""
}

// TestBareCookie: a query without a question, with a cookie, is how a client gets
// one, or sees that its own is still good (RFC 7873 §5.4).
func TestBareCookie(t *testing.T) {
	w := newWorld(t, limited(t, Limits{Cookies: true}))
	bare := func(edit ...func(*dns.Msg)) func(*dns.Msg) {
		return func(m *dns.Msg) {
			m.Question = nil
			for _, f := range edit {
				f(m)
			}
		}
	}
	ask := func(client string, edit ...func(*dns.Msg)) []byte {
		return w.exchange(client, query(t, www, bare(edit...)))
	}
	first := ask("", withCookie(clientCookie))
	good := cookieIn(t, first)
	if m := unpack(t, first); len(good) != 48 || m.Rcode != dns.RcodeSuccess || len(m.Question)+len(m.Answer)+len(m.Ns) != 0 || m.Id != 0x1234 || !m.Response {
		t.Errorf("who asks for a cookie gets %v", m)
	}
	forged := good[:46] + map[bool]string{true: "01", false: "00"}[good[46:] == "00"]
	for _, c := range []struct {
		name, client string
		edit         func(*dns.Msg)
		want, cookie string // "new" is any other than good
	}{
		{"its own comes back", "", withCookie(good), "NOERROR", good},
		{"of another client", "10.0.0.1", withCookie(good), "BADCOOKIE", "new"},
		{"forged", "", withCookie(forged), "BADCOOKIE", good}, // what is new at this second is the same
		{"of a wrong length", "", withCookie("00"), "FORMERR", ""},
		{"no cookie", "", edns, "FORMERR", ""},
		{"no OPT record", "", func(m *dns.Msg) { m.Extra = []dns.RR{rr("k. 0 TXT x")} }, "FORMERR", ""},
		{"a version of EDNS to come", "", func(m *dns.Msg) { withCookie(good)(m); m.IsEdns0().SetVersion(1) }, "BADVERS", good},
		{"from outside", "192.0.2.1", withCookie(clientCookie), "REFUSED", "new"},
	} {
		b := ask(c.client, c.edit)
		got := cookieIn(t, b)
		if show(t, b) != c.want || got != c.cookie && (c.cookie != "new" || len(got) != 48 || got == good) {
			t.Errorf("%s: %s, cookie %q; want %s, %q", c.name, show(t, b), got, c.want, c.cookie)
		}
	}
	// Over its rate a client without a cookie of ours is told to use one; the answer grows a query by 16 octets.
	w.reload(func(s *setup) { s.limits = Limits{Cookies: true, Rate: 1} })
	for i, want := range []string{"NOERROR", "BADCOOKIE"} {
		msg := query(t, www, bare(withCookie(clientCookie)))
		out := w.exchange("10.0.0.2", msg)
		if got := show(t, out); got != want || len(out) != len(msg)+16 {
			t.Errorf("query %d: %s in %d octets for %d", i, got, len(out), len(msg))
		}
	}
	w.reload(func(s *setup) { s.limits = Limits{} })
	if got := show(t, ask("", withCookie(clientCookie))); got != "FORMERR" {
		t.Errorf("without cookies: %s", got)
	}
	for _, e := range w.events() {
		if e.Name != "" || e.Rcode == "" {
			t.Errorf("record %+v", e)
		}
	}
}

// cookie asks as client with a cookie and returns the one that comes back.
func (w *world) cookieFor(client, cookie string) string {
	w.t.Helper()
	return cookieIn(w.t, w.exchange(client, query(w.t, "www.lab.example. A", withCookie(cookie))))
}

// TestCookies: whoever asks for one gets one, with any answer and over TCP too.
func TestCookies(t *testing.T) {
	w := newWorld(t, limited(t, Limits{Cookies: true}))
	for _, over := range []audit.Transport{audit.UDP, audit.TCP} {
		for _, question := range []string{"www.lab.example. A", "track.example. A", "www.example. A", "www.example. A", "www.example. AXFR", "svc.example. HTTPS"} {
			got := cookieIn(t, w.exchangeOver(over, "", query(t, question, withCookie(clientCookie))))
			if len(got) != 48 || !strings.HasPrefix(got, clientCookie+"01000000") {
				t.Errorf("%s: cookie %q", question, got)
			}
		}
		if got := cookieIn(t, w.exchangeOver(over, "", query(t, "www.lab.example. A", edns))); got != "" {
			t.Errorf("who asks for none got %q", got)
		}
		for _, bad := range []string{"", "2464c4abcf10c9", clientCookie + "0102030405060", strings.Repeat("00", 41)} {
			if got := show(t, w.exchangeOver(over, "", query(t, "www.lab.example. A", withCookie(bad)))); got != "FORMERR" {
				t.Errorf("cookie %q: %s", bad, got)
			}
		}
	}
	// A packet that takes the full decoder is no way around.
	odd := func(m *dns.Msg) { m.Extra = append(m.Extra, rr("k. 0 TXT x")) }
	if got := cookieIn(t, w.exchange("", query(t, "www.lab.example. A", withCookie(clientCookie), odd))); len(got) != 48 {
		t.Errorf("odd packet: cookie %q", got)
	}
	if got := show(t, w.exchange("", query(t, "www.lab.example. A", withCookie("00"), odd))); got != "FORMERR" {
		t.Errorf("odd packet with a bad one: %s", got)
	}
	w.reload(func(s *setup) { s.limits = Limits{} })
	for _, data := range []string{clientCookie, "00"} {
		if got := w.exchange("", query(t, "www.lab.example. A", withCookie(data))); cookieIn(t, got) != "" || unpack(t, got).Rcode != 0 {
			t.Errorf("without cookies: %s", show(t, got))
		}
	}
}

// TestCookieFreesOfLimits, and only the client that it was made for.
func TestCookieFreesOfLimits(t *testing.T) {
	for _, over := range []Over{OverTruncate, OverDrop, OverRefuse} {
		w := newWorld(t, limited(t, Limits{Rate: 1, Over: over, Responses: 1, Cookies: true}))
		cookie := w.cookieFor("10.0.0.1", clientCookie)
		for range 20 {
			if got := show(t, w.exchange("10.0.0.1", query(t, "www.lab.example. A", withCookie(cookie)))); !strings.HasPrefix(got, "NOERROR aa www") {
				t.Fatalf("with a cookie: %s", got)
			}
		}
		// Without a good one it is told to use the one it gets, whatever else the limit would bring.
		spoiled := cookie[:47] + map[bool]string{true: "1", false: "0"}[cookie[47] == '0']
		for _, data := range []string{clientCookie, spoiled, clientCookie + strings.Repeat("0", 16)} {
			b := w.exchange("10.0.0.1", query(t, "www.lab.example. A", withCookie(data)))
			if got := show(t, b); data == clientCookie && (got != "BADCOOKIE" || len(cookieIn(t, b)) != 48) {
				t.Errorf("beyond the rate with %s: %s", data, got)
			} else if strings.HasPrefix(got, "NOERROR aa") {
				t.Errorf("%s frees of the limit", data)
			}
			w.clock.advance(10 * time.Millisecond)
		}
		// Its own address proves nothing for another.
		w.askFrom("10.0.0.2", "www.lab.example. A")
		if got := show(t, w.exchange("10.0.0.2", query(t, "www.lab.example. A", withCookie(cookie)))); strings.HasPrefix(got, "NOERROR aa www") {
			t.Errorf("another client's cookie: %s", got)
		}
	}
}

// TestCookieSecretsRoll each day, and what was made the day before is good.
func TestCookieSecretsRoll(t *testing.T) {
	w := newWorld(t, limited(t, Limits{Cookies: true, Rate: 1, Over: OverRefuse}))
	good := func(cookie string) bool { // also when the bucket is empty
		w.cookieFor("10.0.0.1", clientCookie)
		return strings.HasPrefix(show(t, w.exchange("10.0.0.1", query(t, "www.lab.example. A", withCookie(cookie)))), "NOERROR")
	}
	w.clock.advance(24*time.Hour - 10*time.Minute)
	before := w.cookieFor("10.0.0.1", clientCookie)
	first := *w.secrets.Load()
	w.clock.advance(20 * time.Minute)
	if !good(before) {
		t.Error("the cookie of the day before is refused")
	}
	if now := w.secrets.Load(); now.before != first.now || now.now == first.now {
		t.Error("the secret did not roll")
	}
	after := w.cookieFor("10.0.0.1", before)
	if after == before || !good(after) {
		t.Errorf("cookie %s became %s", before, after)
	}
	if again := w.cookieFor("10.0.0.1", after); again != after {
		t.Errorf("a current cookie %s became %s", after, again)
	}
	w.clock.advance(2 * time.Hour)
	if good(after) {
		t.Error("an old cookie is good")
	}
}

// TestCookieSecretsAreShared: servers with the same secret take each other's
// cookies, while it changes too (RFC 9018 §5).
func TestCookieSecretsAreShared(t *testing.T) {
	old, next := wire.CookieSecret{1}, wire.CookieSecret{2}
	set := func(secrets ...wire.CookieSecret) Limits {
		return Limits{Cookies: true, CookieSecrets: secrets, Rate: 1, Over: OverRefuse}
	}
	here, there := newWorld(t, limited(t, set(old))), newWorld(t, limited(t, set(old)))
	there.clock.base = here.clock.base
	takes := func(w *world, cookie string) bool {
		w.cookieFor("10.0.0.1", clientCookie)
		return strings.HasPrefix(show(t, w.exchange("10.0.0.1", query(t, "www.lab.example. A", withCookie(cookie)))), "NOERROR")
	}
	for _, stage := range []struct{ here, there Limits }{
		{set(old), set(old)},
		{set(old, next), set(old)},
		{set(old, next), set(next, old)},
		{set(next), set(next, old)},
		{set(next), set(next)},
	} {
		here.reload(func(s *setup) { s.limits = stage.here })
		there.reload(func(s *setup) { s.limits = stage.there })
		if c := here.cookieFor("10.0.0.1", clientCookie); !takes(there, c) {
			t.Errorf("%v: a cookie from here is not taken there", stage)
		}
		if c := there.cookieFor("10.0.0.1", clientCookie); !takes(here, c) {
			t.Errorf("%v: a cookie from there is not taken here", stage)
		}
	}
	if c := there.cookieFor("10.0.0.1", clientCookie); !takes(there, c) {
		t.Error("its own cookie is not taken")
	}
	there.reload(func(s *setup) { s.limits = set(old) })
	if takes(there, here.cookieFor("10.0.0.1", clientCookie)) {
		t.Error("a cookie of an unknown secret is taken")
	}
}

// TestLimitedRepliesAmplifyLittle: what an unproven address gets once it is
// beyond its rate is at most one and a half times what was sent.
func TestLimitedRepliesAmplifyLittle(t *testing.T) {
	for _, over := range []Over{OverTruncate, OverRefuse} {
		w := newWorld(t, limited(t, Limits{Rate: 1, Over: over, Cookies: true}))
		w.ask(". NS")
		for _, edit := range [][]func(*dns.Msg){nil, {edns}, {withCookie(clientCookie)}, {withCookie(clientCookie + strings.Repeat("0", 32))}} {
			for _, name := range []string{".", "www.lab.example."} {
				msg := query(t, name+" NS", edit...)
				if got := w.exchange("", msg); got == nil || 2*len(got) > 3*len(msg) {
					t.Errorf("%s: %d octets for %d: %s", name, len(got), len(msg), show(t, got))
				}
			}
		}
	}
}
