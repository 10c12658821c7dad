package resolver

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"weir/audit"
	"weir/blocklist"
	"weir/resolver/wire"
)

// town is the setup of most tests: three policies over three lists, a local
// zone, and an upstream with a few names.
func town(t testing.TB) setup {
	return setup{
		lists: map[string]string{
			"ads":   "track.example\n=exact.example\n",
			"watch": "watched.example\nanalytics.example\n",
		},
		sinkhole: SinkholeConfig{TTL: 60},
		special:  true,
		policies: []blocklist.PolicyConfig{
			{Name: "everyone", Any: true, Rules: []blocklist.RuleConfig{
				{Action: blocklist.ActionObserve, Categories: []string{"watch"}},
				{Action: blocklist.ActionAllow, Domains: []string{"good.track.example"}},
				{Action: blocklist.ActionBlock, Categories: []string{"ads"}},
				{Action: blocklist.ActionBlock, Domains: []string{"*.inline.example"}},
				{Action: blocklist.ActionBlock, Domains: []string{"typed.example"}, Types: []uint16{wire.TypeHTTPS}},
				{Action: blocklist.ActionBlock, Domains: []string{"local-ad.lab.example"}, Answer: blocklist.AnswerNodata},
				{Action: blocklist.ActionBlock, Domains: []string{"hole.example"}, Answer: blocklist.AnswerDrop},
			}},
			{
				Name: "locked", Clients: blocklist.Members{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/16")}}, Default: blocklist.Block,
				Rules: []blocklist.RuleConfig{{Action: blocklist.ActionAllow, Domains: []string{"www.example"}}},
			},
		},
		zones: []Zone{{Name: "lab.example.", Records: []dns.RR{
			rr("www.lab.example. 300 A 192.0.2.10"), rr("local-ad.lab.example. 300 A 192.0.2.11"),
		}}},
		hosts:  hostsOf(t, "10.0.0.9 nas"),
		leases: leasesOf("10.0.0.20 laptop"),
		upstream: newServer(t, map[string]handler{
			"www.example. A":         says("www.example. 60 A 192.0.2.1"),
			"many.example. A":        says("many.example. 60 A 192.0.2.1", "many.example. 60 A 192.0.2.2", "many.example. 60 A 192.0.2.3", "many.example. 60 A 192.0.2.4"),
			"www.example. AAAA":      says("/", "example. 300 SOA ns.example. host.example. 1 2 3 4 30"),
			"cloak.example. A":       says("cloak.example. 60 CNAME x.track.example.", "x.track.example. 60 A 192.0.2.2"),
			"svc.example. HTTPS":     says("svc.example. 60 HTTPS 1 x.track.example. ipv4hint=192.0.2.3"),
			"fine.example. A":        says("fine.example. 60 CNAME a.good.track.example.", "a.good.track.example. 60 A 192.0.2.4"),
			"good.track.example. A":  says("good.track.example. 60 A 192.0.2.5"),
			"watched.example. A":     says("watched.example. 60 A 192.0.2.6"),
			"late.example. A":        says("late.example. 60 CNAME cdn.example.net.", "cdn.example.net. 60 A 192.0.2.7"),
			"spy.example. A":         says("spy.example. 60 CNAME x.analytics.example.", "x.analytics.example. 60 A 192.0.2.8"),
			"typed.example. A":       says("typed.example. 60 A 192.0.2.9"),
			"inline.example. A":      says("inline.example. 60 A 192.0.2.20"),
			"sub.exact.example. TXT": says("sub.exact.example. 60 TXT hello"),
			"lost.example. A":        silent,
		}),
	}
}

// TestPath asks each question twice, the second time of the cache.
func TestPath(t *testing.T) {
	w := newWorld(t, town(t))
	sunk := func(name, what string) string {
		return `NXDOMAIN ede 15 "everyone: ` + what + `" / ` + name + ` 60 SOA 60;`
	}
	for _, c := range []struct{ question, want string }{
		{"www.example. A", "NOERROR www.example. 60 A 192.0.2.1;"},
		{"www.example. AAAA", "NOERROR / example. 30 SOA 30;"},
		{"track.example. A", sunk("track.example.", "ads")},
		{"a.b.track.example. A", sunk("a.b.track.example.", "ads")},
		{"a.b.track.example. HTTPS", sunk("a.b.track.example.", "ads")},
		{"a.b.track.example. TYPE65280", sunk("a.b.track.example.", "ads")},
		{"a.b.track.example. ANY", sunk("a.b.track.example.", "ads")},
		{"track.example. DS", sunk("track.example.", "ads")},
		{"good.track.example. A", "NOERROR good.track.example. 60 A 192.0.2.5;"},
		{"exact.example. A", sunk("exact.example.", "ads")},
		{"sub.exact.example. TXT", `NOERROR sub.exact.example. 60 TXT "hello";`},
		{"a.inline.example. A", sunk("a.inline.example.", "rule 4")},
		{"inline.example. A", "NOERROR inline.example. 60 A 192.0.2.20;"},
		{"typed.example. HTTPS", sunk("typed.example.", "rule 5")},
		{"typed.example. A", "NOERROR typed.example. 60 A 192.0.2.9;"},
		{"hole.example. A", "silence"},
		{"cloak.example. A", sunk("cloak.example.", "ads")},
		{"svc.example. HTTPS", sunk("svc.example.", "ads")},
		{"fine.example. A", "NOERROR fine.example. 60 CNAME a.good.track.example.; a.good.track.example. 60 A 192.0.2.4;"},
		{"watched.example. A", "NOERROR watched.example. 60 A 192.0.2.6;"},
		{"www.lab.example. A", "NOERROR aa www.lab.example. 300 A 192.0.2.10;"},
		{"nowhere.lab.example. A", "NXDOMAIN aa / lab.example. 300 SOA 300;"},
		{"local-ad.lab.example. A", `NOERROR ede 15 "everyone: rule 6" / local-ad.lab.example. 60 SOA 60;`},
		{"unknown.example. A", `SERVFAIL ede 0 "upstream reply refused: rcode REFUSED"`},
		{"www.example. ANY", `NOERROR www.example. 3600 HINFO "RFC8482" "";`},
		{"www.lab.example. ANY", `NOERROR www.lab.example. 3600 HINFO "RFC8482" "";`},
		{"www.example. AXFR", "REFUSED"},
		{"www.lab.example. AXFR", "REFUSED"},
		{"www.example. IXFR", "REFUSED"},
		{"www.example. TKEY", "NOTIMP"},
		{"www.lab.example. MAILB", "NOTIMP"},
		{"www.example. TYPE200", "NOTIMP"},
		{"www.example. TYPE0", "FORMERR"},
		{"www.example. OPT", "FORMERR"},
	} {
		for _, when := range []string{"first", "again"} {
			if got := w.ask(c.question, edns); got != c.want {
				t.Errorf("%s, %s:\ngot  %s\nwant %s", c.question, when, got, c.want)
			}
			plain := w.ask(c.question)
			if i := strings.Index(c.want, ` ede `); i >= 0 {
				j := strings.LastIndexByte(c.want, '"') + 1
				c.want = c.want[:i] + c.want[j:]
			}
			if plain != c.want {
				t.Errorf("%s without EDNS, %s:\ngot  %s\nwant %s", c.question, when, plain, c.want)
			}
			c.want = w.ask(c.question, edns)
		}
	}
	asked := w.set.upstream.questions()
	for _, q := range asked {
		if strings.HasSuffix(q, ".lab.example. A") || strings.Contains(q, "track.example. HTTPS") || strings.HasSuffix(q, " ANY") {
			t.Errorf("%s was asked upstream", q)
		}
	}
	slices.Sort(asked)
	if u := slices.Compact(slices.Clone(asked)); len(u) != len(asked) {
		t.Errorf("questions were asked upstream more than once:\n%v", asked)
	}
}

func TestDefaultDeny(t *testing.T) {
	w := newWorld(t, town(t))
	for _, c := range []struct{ client, question, want string }{
		{"10.66.1.1", "www.example. A", "NOERROR www.example. 60 A 192.0.2.1;"},
		{"10.66.1.1", "fine.example. A", `NXDOMAIN ede 15 "locked: default" / fine.example. 60 SOA 60;`},
		{"10.66.1.1", "www.lab.example. A", "NOERROR aa www.lab.example. 300 A 192.0.2.10;"}, // stays inside
		{"10.66.1.1", "www.fine.example. ANY", `NXDOMAIN ede 15 "locked: default" / www.fine.example. 60 SOA 60;`},
		{"::ffff:10.66.1.1", "fine.example. A", `NXDOMAIN ede 15 "locked: default" / fine.example. 60 SOA 60;`},
		{"10.65.1.1", "fine.example. A", "NOERROR fine.example. 60 CNAME a.good.track.example.; a.good.track.example. 60 A 192.0.2.4;"},
	} {
		if got := w.askFrom(c.client, c.question); got != c.want {
			t.Errorf("%s from %s:\ngot  %s\nwant %s", c.question, c.client, got, c.want)
		}
	}
	if asked := w.set.upstream.questions(); len(asked) != 2 {
		t.Errorf("asked upstream: %v", asked)
	}
}

func TestAdmission(t *testing.T) {
	w := newWorld(t, town(t))
	good := query(t, "www.example. A")
	header := func(edit func(b []byte)) []byte {
		b := bytes.Clone(good)
		edit(b)
		return b
	}
	twoOPT := query(t, "www.example. A", edns, func(m *dns.Msg) { m.Extra = append(m.Extra, m.Extra[0]) })
	for _, c := range []struct {
		name   string
		client string
		msg    []byte
		want   string
	}{
		{"plain", "", good, "NOERROR www.example. 60 A 192.0.2.1;"},
		{"nothing", "", nil, "silence"},
		{"runt", "", good[:11], "silence"},
		{"response", "", header(func(b []byte) { b[2] |= 0x80 }), "silence"},
		{"header alone", "", good[:12], "FORMERR"},
		{"no question", "", header(func(b []byte) { b[5] = 0 }), "FORMERR"},
		{"two questions", "", header(func(b []byte) { b[5] = 2 }), "FORMERR"},
		{"an answer", "", header(func(b []byte) { b[7] = 1 }), "FORMERR"},
		{"an authority", "", header(func(b []byte) { b[9] = 1 }), "FORMERR"},
		{"cut name", "", good[:16], "FORMERR"},
		{"pointer to itself", "", header(func(b []byte) { b[12], b[13] = 0xc0, 12 }), "FORMERR"},
		{"two OPT", "", twoOPT, "FORMERR"},
		{"OPT below the root", "", query(t, "www.example. A", edns, func(m *dns.Msg) { m.Extra[0].Header().Name = "a." }), "FORMERR"},
		{"status", "", header(func(b []byte) { b[2] |= 2 << 3 }), "NOTIMP"},
		{"notify", "", header(func(b []byte) { b[2] |= 4 << 3 }), "NOTIMP"},
		{"update", "", header(func(b []byte) { b[2] |= 5 << 3 }), "NOTIMP"},
		{"opcode 15", "", header(func(b []byte) { b[2] |= 15 << 3 }), "NOTIMP"},
		{"EDNS version 1", "", query(t, "www.example. A", edns, func(m *dns.Msg) { m.IsEdns0().SetVersion(1) }), "BADVERS"},
		{"of a blocked name", "", query(t, "track.example. A", edns, func(m *dns.Msg) { m.IsEdns0().SetVersion(1) }), "BADVERS"},
		{"class CH", "", query(t, "version.bind. TXT", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "REFUSED"},
		{"class ANY", "", query(t, "www.example. A", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), "REFUSED"},
		{"class CH of a local name", "", query(t, "www.lab.example. A", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "REFUSED"},
		{"class ANY of a blocked name", "", query(t, "track.example. A", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), "NXDOMAIN / track.example. 60 SOA 60;"},
		{"outsider", "192.0.2.99", good, "REFUSED"},
		{"outsider of IPv6", "2001:db8::1", good, "REFUSED"},
		{"outsider asks for a blocked name", "192.0.2.99", query(t, "track.example. A"), "REFUSED"},
		{"outsider asks for a local name", "192.0.2.99", query(t, "www.lab.example. A"), "REFUSED"},
	} {
		got := w.exchange(c.client, c.msg)
		if show(t, got) != c.want {
			t.Errorf("%s: %s, want %s", c.name, show(t, got), c.want)
		}
		if got != nil && (got[0] != c.msg[0] || got[1] != c.msg[1] || (got[2]^c.msg[2])&0x79 != 0 || got[2]&0x80 == 0) {
			t.Errorf("%s: header % x for query % x", c.name, got[:4], c.msg[:4])
		}
	}
}

// TestEcho: what a reply copies from the query, and what it never does.
func TestEcho(t *testing.T) {
	w := newWorld(t, town(t))
	odd := func(m *dns.Msg) { // a second additional record leaves the fast parser
		m.Extra = append(m.Extra, rr("x.example. 0 TXT signature"))
	}
	for _, question := range []string{"wWw.eXample. A", "TRACK.Example. A", "wwW.Lab.example. A", "unknown.example. A", "X.lab.example. MX"} {
		for _, id := range []uint16{0, 1, 0xffff} {
			for bits := range 64 {
				msg := query(t, question, func(m *dns.Msg) {
					m.Id, m.RecursionDesired, m.CheckingDisabled, m.AuthenticatedData = id, bits&1 != 0, bits&2 != 0, bits&4 != 0
					m.Zero = bits&32 != 0
					if bits&8 != 0 {
						m.SetEdns0(4096, bits&2 != 0)
						m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}}
					}
					if bits&16 != 0 {
						odd(m)
					}
				})
				b := w.exchange("", msg)
				m := unpack(t, b)
				end := 12 + bytes.IndexByte(msg[12:], 0) + 5
				if !bytes.Equal(b[12:end], msg[12:end]) {
					t.Fatalf("%s: question %q came back as %q", question, msg[12:end], b[12:end])
				}
				switch o := m.IsEdns0(); {
				case m.Id != id, !m.Response, !m.RecursionAvailable, m.Zero, m.AuthenticatedData,
					m.RecursionDesired != (bits&1 != 0), m.CheckingDisabled != (bits&2 != 0):
					t.Fatalf("%s %06b: header %+v", question, bits, m.MsgHdr)
				case (o != nil) != (bits&8 != 0):
					t.Fatalf("%s %06b: OPT is %v", question, bits, o)
				case o != nil && (o.UDPSize() != wire.MaxUDP || o.Version() != 0 || o.Do() != (bits&2 != 0)):
					t.Fatalf("%s %06b: OPT is %v", question, bits, o)
				case o != nil && slices.ContainsFunc(o.Option, func(x dns.EDNS0) bool { return x.Option() != dns.EDNS0EDE }):
					t.Fatalf("%s %06b: OPT echoes %v", question, bits, o)
				}
			}
		}
	}
}

// TestHostileNames: labels are octets; nothing in them reads as a dot.
func TestHostileNames(t *testing.T) {
	w := newWorld(t, town(t))
	for name, blocked := range map[string]bool{
		`x\.good.track.example.`:     true,
		`\000.track.example.`:        true,
		`foo\.track.example.`:        false,
		`track\.example.`:            false,
		`\027[31m.track.example.`:    true,
		`tr\097ck.example.`:          true,
		`good\.track.example.`:       false,
		`a.good.track.example.`:      false,
		`\255\254.TRACK.EXAMPLE.`:    true,
		`track.example\000.`:         false,
		`x.track.example.track.net.`: false,
	} {
		got := w.ask(name+" A", edns)
		if strings.Contains(got, "ede 15") != blocked {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestVerdictsAreTakenAtReplyTime: the cache holds no verdict.
func TestVerdictsAreTakenAtReplyTime(t *testing.T) {
	w := newWorld(t, town(t))
	const (
		free    = "NOERROR late.example. 60 CNAME cdn.example.net.; cdn.example.net. 60 A 192.0.2.7;"
		blocked = `NXDOMAIN ede 15 "everyone: ads" / late.example. 60 SOA 60;`
	)
	open := w.set.lists["ads"]
	for i, c := range []struct{ list, want string }{
		{open, free},
		{open + "example.net\n", blocked},
		{open, free},
		{open + "late.example\n", blocked},
		{open, free},
	} {
		w.reload(func(s *setup) { s.lists["ads"] = c.list })
		if got := w.ask("late.example. A", edns); got != c.want {
			t.Errorf("reload %d:\ngot  %s\nwant %s", i, got, c.want)
		}
	}
	if asked := w.set.upstream.questions(); len(asked) != 1 {
		t.Errorf("asked upstream %v, want once: a reload flushes nothing", asked)
	}
}

// TestEvents: one event per query, with all that is known of it.
func TestEvents(t *testing.T) {
	w := newWorld(t, town(t))
	type event struct {
		Client, Transport, Name, Type, Class, Verdict, Policy, Rule, Category, List, Entry, On, Observed, Source, Rcode string
		EDE, Answers                                                                                                    string
		Dropped, Upstream                                                                                               bool
	}
	var want []event
	expect := func(client string, msg []byte, e event) {
		t.Helper()
		w.exchangeOver(audit.TCP, client, msg)
		if client == "" {
			client = "127.0.0.1"
		}
		e.Client, e.Transport = client, "tcp"
		if e.Name != "" && e.Class == "" {
			e.Class = "IN"
		}
		if e.Verdict == "" && e.Source != "ignored" {
			e.Verdict = "allow"
		}
		want = append(want, e)
	}
	q := func(s string) []byte { return query(t, s) }
	www := event{Name: "www.example", Type: "A", Policy: "everyone", Rule: "default", Source: "upstream", Rcode: "NOERROR", Answers: "192.0.2.1", Upstream: true}
	expect("", q("WWW.example. A"), www)
	www.Source = "cache"
	expect("", q("www.Example. A"), www)
	www.Policy, www.Rule, www.Entry, www.On = "locked", "1", "www.example", "name"
	expect("10.66.0.1", q("www.example. A"), www)
	ads := event{
		Name: "x.track.example", Type: "HTTPS", Verdict: "block", Policy: "everyone", Rule: "3", Category: "ads", List: "ads.txt",
		Entry: "track.example", On: "name", Source: "sinkhole", Rcode: "NXDOMAIN", EDE: "15",
	}
	expect("", q("x.track.example. HTTPS"), ads)
	ads.Name, ads.Type, ads.Entry = "exact.example", "A", "=exact.example"
	expect("", q("exact.example. A"), ads)
	cloak := ads
	cloak.Name, cloak.Entry, cloak.On, cloak.Answers, cloak.Upstream = "cloak.example", "track.example", "alias", "x.track.example 192.0.2.2", true
	expect("", q("cloak.example. A"), cloak)
	expect("", q("cloak.example. A"), cloak)
	expect("", q("a.inline.example. A"), event{
		Name: "a.inline.example", Type: "A", Verdict: "block", Policy: "everyone", Rule: "4", Entry: "*.inline.example", On: "name",
		Source: "sinkhole", Rcode: "NXDOMAIN", EDE: "15",
	})
	expect("", q("hole.example. A"), event{
		Name: "hole.example", Type: "A", Verdict: "block", Policy: "everyone", Rule: "7", Entry: "hole.example", On: "name",
		Source: "sinkhole", Rcode: "NOERROR", Dropped: true,
	})
	expect("10.66.0.1", q("other.example. A"), event{
		Name: "other.example", Type: "A", Verdict: "block", Policy: "locked", Rule: "default", Source: "sinkhole", Rcode: "NXDOMAIN", EDE: "15",
	})
	expect("", q("watched.example. A"), event{
		Name: "watched.example", Type: "A", Policy: "everyone", Rule: "default", Observed: "everyone/1/watch/watch.txt",
		Source: "upstream", Rcode: "NOERROR", Answers: "192.0.2.6", Upstream: true,
	})
	expect("", q("spy.example. A"), event{
		Name: "spy.example", Type: "A", Policy: "everyone", Rule: "default", Observed: "everyone/1/watch/watch.txt",
		Source: "upstream", Rcode: "NOERROR", Answers: "x.analytics.example 192.0.2.8", Upstream: true,
	})
	expect("", q("www.lab.example. A"), event{Name: "www.lab.example", Type: "A", Policy: "everyone", Rule: "default", Source: "local", Rcode: "NOERROR"})
	expect("10.66.0.1", q("www.lab.example. A"), event{Name: "www.lab.example", Type: "A", Policy: "locked", Rule: "default", Source: "local", Rcode: "NOERROR"})
	unknown := event{Name: "unknown.example", Type: "A", Policy: "everyone", Rule: "default", Source: "error", Rcode: "SERVFAIL", EDE: "0"}
	expect("", q("unknown.example. A"), unknown)
	expect("", q("unknown.example. A"), unknown)
	expect("", q("www.example. ANY"), event{Name: "www.example", Type: "ANY", Policy: "everyone", Rule: "default", Source: "refused", Rcode: "NOERROR"})
	expect("", query(t, "www.example. A", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
		event{Name: "www.example", Type: "A", Class: "CH", Policy: "everyone", Rule: "default", Source: "refused", Rcode: "REFUSED"})
	expect("192.0.2.99", q("www.example. A"), event{Name: "www.example", Type: "A", Source: "refused", Rcode: "REFUSED"})
	expect("", query(t, "www.example. A", edns, func(m *dns.Msg) { m.IsEdns0().SetVersion(9) }),
		event{Name: "www.example", Type: "A", Source: "error", Rcode: "BADVERS"})
	expect("", q("www.example. A")[:14], event{Source: "error", Rcode: "FORMERR"})
	expect("", append([]byte{1, 2, 2 << 3, 0}, make([]byte, 8)...), event{Source: "error", Rcode: "NOTIMP"})
	expect("", []byte("no query"), event{Source: "ignored", Dropped: true})

	if got := w.Stats(); got.Answered != uint64(len(want))-1 || got.Ignored != 1 {
		t.Errorf("%d answered and %d ignored, want %d and 1", got.Answered, got.Ignored, len(want)-1)
	}
	var got []event
	for _, r := range w.events() {
		if r.Revision != 1 {
			t.Errorf("event %d has revision %d", r.Seq, r.Revision)
		}
		e := event{
			Client: r.Client.String(), Transport: r.Transport, Name: r.Name, Type: r.Type, Class: r.Class, Verdict: r.Verdict, Policy: r.Policy, Rule: r.Rule,
			Category: r.Category, List: r.List, Entry: r.Entry, On: r.MatchedOn, Source: r.Source, Rcode: r.Rcode,
			Dropped: r.Dropped, Answers: strings.Join(r.Answers, " "), Upstream: r.Upstream != "",
		}
		if r.EDE != nil {
			e.EDE = fmt.Sprint(*r.EDE)
		}
		if o := r.Observed; o != nil {
			e.Observed = strings.Join([]string{o.Policy, o.Rule, o.Category, o.List}, "/")
		}
		got = append(got, e)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestRefusesWhenTheLogIsFull: with on_full = "refuse" no answer leaves without
// a record, and what was answered is what the log holds.
func TestRefusesWhenTheLogIsFull(t *testing.T) {
	for _, onFull := range []audit.OnFull{audit.Serve, audit.Refuse} {
		set := town(t)
		set.audit = func(c *audit.Config) { c.SlabBytes, c.Slabs, c.OnFull = 8<<10, 4, onFull }
		w := newWorld(t, set)
		w.ask("www.example. A")
		w.stopLog() // nothing is taken from here on
		refused := 0
		for _, question := range []string{"www.example. A", "track.example. A", "www.lab.example. A", "www.example. ANY"} {
			if got := w.ask(question, edns); got == `SERVFAIL ede 0 "audit store full"` {
				refused++
			}
		}
		if got := show(t, w.exchange("", query(t, "www.example. A")[:14])); got == "SERVFAIL" {
			refused++
		}
		if want := map[audit.OnFull]int{audit.Serve: 0, audit.Refuse: 5}[onFull]; refused != want {
			t.Errorf("on_full %d: %d of 5 refused, want %d", onFull, refused, want)
		}
		if n := len(w.events()); n != 1 {
			t.Errorf("%d events on record, want 1", n)
		}
	}
}

// TestRotation: each address comes first about as often as any other, from
// upstream, memory and a local zone, behind its alias and before its signature.
func TestRotation(t *testing.T) {
	const sig = "www.example. 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 example. aaaa"
	zone, err := ParseRecords("lab.example.", []string{"www 60 A 192.0.2.1", "www 60 A 192.0.2.2", "www 60 A 192.0.2.3", "to 60 CNAME www"})
	if err != nil {
		t.Fatal(err)
	}
	set := setup{
		upstream: newServer(t, map[string]handler{
			"to.example. A": says("to.example. 60 CNAME www.example.", "www.example. 60 A 192.0.2.1", "www.example. 60 A 192.0.2.2", "www.example. 60 A 192.0.2.3", sig),
		}),
		zones:  []Zone{zone},
		config: func(c *Config) { c.Rotate = true },
	}
	w := newWorld(t, set)
	for _, c := range []struct{ question, kinds string }{
		{"to.example. A", "CNAME A A A RRSIG"}, {"www.lab.example. A", "A A A"}, {"to.lab.example. A", "CNAME A A A"},
	} {
		first := map[string]int{}
		const rounds = 600
		for range rounds {
			m := unpack(t, w.exchange("", query(t, c.question, dnssec)))
			var kinds, addrs []string
			for _, rr := range m.Answer {
				kinds = append(kinds, dns.Type(rr.Header().Rrtype).String())
				if a, ok := rr.(*dns.A); ok {
					addrs = append(addrs, a.A.String())
				}
			}
			if got := strings.Join(kinds, " "); got != c.kinds || len(addrs) != 3 {
				t.Fatalf("%s: %s", c.question, got)
			}
			first[addrs[0]]++
			if slices.Sort(addrs); !slices.Equal(addrs, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}) {
				t.Fatalf("%s: %q", c.question, addrs)
			}
		}
		for addr, n := range first { // 200 ± 12 each; six deviations are one in hundreds of millions
			if n < rounds/3-72 || n > rounds/3+72 {
				t.Errorf("%s: %s came first %d times of %d", c.question, addr, n, rounds)
			}
		}
		if len(first) != 3 {
			t.Errorf("%s: only %v came first", c.question, first)
		}
	}
}
