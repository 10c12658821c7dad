package resolver

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/audit"
	"weir/blocklist"
)

// stripping is a setup of a policy that takes out what it minds, of one that
// blocks what it minds for 10.1.0.0/16, and of one that minds nothing for 10.2.0.0/16.
func stripping(t *testing.T) setup {
	bad := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:bad::/48")}
	rules := []blocklist.RuleConfig{{Action: blocklist.ActionBlock, Networks: bad}}
	at := func(prefix string) blocklist.Members {
		return blocklist.Members{Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}}
	}
	var many []string
	for i := range 120 {
		many = append(many, fmt.Sprintf("many.example. 60 A 192.0.2.%d", i), fmt.Sprintf("many.example. 60 A 198.51.100.%d", i))
	}
	return setup{
		policies: []blocklist.PolicyConfig{
			{Name: "strips", Any: true, Strip: true, Rebinding: true, StripECH: true, Rules: rules},
			{Name: "blocks", Clients: at("10.1.0.0/16"), Rebinding: true, Rules: rules},
			{Name: "open", Clients: at("10.2.0.0/16")},
		},
		upstream: newServer(t, map[string]handler{
			"mixed.example. A":   says("mixed.example. 60 A 198.51.100.1", "mixed.example. 60 A 192.0.2.1"),
			"all.example. A":     says("all.example. 60 A 198.51.100.1", "all.example. 60 A 10.0.0.1"),
			"six.example. AAAA":  says("six.example. 60 AAAA 64:ff9b::198.51.100.1", "six.example. 60 AAAA 2001:db8::1"),
			"six2.example. AAAA": says("six2.example. 60 AAAA 64:ff9b::198.51.100.1", "six2.example. 60 AAAA 2002:a00:1::1"),
			"fine.example. AAAA": says("fine.example. 60 AAAA 64:ff9b::192.0.2.1"),
			"home.example. A":    says("home.example. 60 CNAME h.example.", "h.example. 60 A 10.0.0.1", "h.example. 60 A 192.0.2.1"),
			"svc.example. HTTPS": says("svc.example. 60 HTTPS 1 . mandatory=ech,ipv4hint alpn=h2 ipv4hint=198.51.100.1 ech=Zm9v"),
			"many.example. A":    says(many...),
			"none.example. A":    says("NXDOMAIN"),
		}),
	}
}

// TestStrip asks each question twice, the second time of the cache.
func TestStrip(t *testing.T) {
	w := newWorld(t, stripping(t))
	const removed = `NOERROR ede 4 "strips: addresses removed" `
	for _, c := range []struct{ client, question, want string }{
		{"127.0.0.1", "mixed.example. A", removed + "mixed.example. 60 A 192.0.2.1;"},
		{"10.1.0.1", "mixed.example. A", `NXDOMAIN ede 15 "blocks: rule 1" / mixed.example. 0 SOA 0;`},
		{"10.2.0.1", "mixed.example. A", "NOERROR mixed.example. 60 A 198.51.100.1; mixed.example. 60 A 192.0.2.1;"},
		{"127.0.0.1", "all.example. A", `NXDOMAIN ede 15 "strips: rule 1" / all.example. 0 SOA 0;`},
		{"127.0.0.1", "six.example. AAAA", removed + "six.example. 60 AAAA 2001:db8::1;"},
		{"127.0.0.1", "six2.example. AAAA", `NXDOMAIN ede 15 "strips: rule 1" / six2.example. 0 SOA 0;`},
		{"127.0.0.1", "fine.example. AAAA", "NOERROR fine.example. 60 AAAA 64:ff9b::c000:201;"},
		{"127.0.0.1", "home.example. A", removed + "home.example. 60 CNAME h.example.; h.example. 60 A 192.0.2.1;"},
		{"127.0.0.1", "svc.example. HTTPS", `NOERROR ede 4 "strips: addresses, ech removed" svc.example. 60 HTTPS 1 . alpn="h2";`},
		{"127.0.0.1", "none.example. A", "NXDOMAIN"},
		{"127.0.0.1", "MIXED.example. A", removed + "MIXED.example. 60 A 192.0.2.1;"},
	} {
		for i := range 2 {
			if got := w.askFrom(c.client, c.question); got != c.want {
				t.Errorf("%s from %s, time %d:\n%s, want\n%s", c.question, c.client, i+1, got, c.want)
			}
		}
		name, typ, _ := strings.Cut(c.question, " ")
		a := w.Explain(w.State(), lookup(mustWire(strings.ToLower(name)), typeOf(t, typ), c.client))
		if a.Blocked != strings.Contains(c.want, "ede 15") || a.Removed != strings.Contains(c.want, "addresses") {
			t.Errorf("%s from %s: explained as blocked %v, removed %v", c.question, c.client, a.Blocked, a.Removed)
		}
	}
	if got := w.ask("mixed.example. A"); got != "NOERROR mixed.example. 60 A 192.0.2.1;" {
		t.Errorf("without EDNS: %s", got)
	}
	w.clock.advance(20 * time.Second)
	if got, want := w.ask("mixed.example. A"), "NOERROR mixed.example. 40 A 192.0.2.1;"; got != want {
		t.Errorf("20 s later: %s, want %s", got, want)
	}
	if got := strings.Count(strings.Join(w.set.upstream.questions(), " "), "mixed.example. A"); got != 1 {
		t.Errorf("upstream was asked %d times", got)
	}
	for _, e := range w.events() {
		stripped := e.Verdict == "allow" && e.Client == audit.ClientOf(netip.MustParseAddr("127.0.0.1")) && e.Name != "none.example" && e.Name != "fine.example"
		if e.Stripped != stripped {
			t.Errorf("%s from %s is recorded as stripped: %v", e.Name, e.Client, e.Stripped)
		}
	}
}

// TestStripFits: what is left counts for truncation, and over TCP all of it comes.
func TestStripFits(t *testing.T) {
	w := newWorld(t, stripping(t))
	count := func(b []byte) (n int, truncated bool) {
		m := unpack(t, b)
		for _, rr := range m.Answer {
			if a, ok := rr.(*dns.A); !ok || a.A[0] == 198 {
				t.Fatalf("the answer holds %v", rr)
			}
		}
		return len(m.Answer), m.Truncated
	}
	if n, tc := count(w.exchangeOver(audit.TCP, "127.0.0.1", query(t, "many.example. A", edns))); n != 120 || tc {
		t.Errorf("over TCP: %d addresses, truncated %v", n, tc)
	}
	if n, tc := count(w.exchange("127.0.0.1", query(t, "many.example. A"))); !tc {
		t.Errorf("over UDP: %d addresses, not truncated", n)
	}
}

// TestStripChangesNoMemory: many strip one answer at once, and what memory holds stays as it is.
func TestStripChangesNoMemory(t *testing.T) {
	w := newWorld(t, stripping(t))
	whole := w.exchange("10.2.0.1", query(t, "many.example. A", edns))
	var asking sync.WaitGroup
	for i := range 8 {
		asking.Go(func() {
			client := "127.0.0.1"
			if i%2 == 1 {
				client = "10.2.0.1"
			}
			s, box := newScratch(), make(mailbox, 1)
			msg := query(t, "many.example. A", edns)
			var first []byte
			for range 50 {
				out, waiting := w.start(s, audit.TCP, client, msg, box)
				if first == nil {
					first = bytes.Clone(out)
				}
				if waiting || !bytes.Equal(out, first) {
					t.Errorf("from %s: another answer", client)
					return
				}
			}
		})
	}
	asking.Wait()
	if got := w.exchange("10.2.0.1", query(t, "many.example. A", edns)); !bytes.Equal(got, whole) {
		t.Error("the whole answer is another than before")
	}
}
