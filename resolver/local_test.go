package resolver

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"weir/resolver/wire"
)

// local builds local data from zones, each its name with a record to a line.
func local(t testing.TB, zones ...string) *Local {
	t.Helper()
	var all []Zone
	for _, text := range zones {
		all = append(all, zoneOf(t, text))
	}
	l, err := NewLocal(LocalConfig{Zones: all})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func zoneOf(t testing.TB, text string) Zone {
	t.Helper()
	lines := strings.Split(text, "\n")
	var records []string
	for _, l := range lines[1:] {
		if l = strings.TrimSpace(l); l != "" {
			records = append(records, l)
		}
	}
	z, err := ParseRecords(lines[0], records)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// says shows the local answer to question, "elsewhere" if there is none.
func (l *Local) says(t testing.TB, question string) string {
	t.Helper()
	msg := query(t, question)
	var q wire.Query
	if err := q.Parse(msg); err != nil {
		t.Fatal(err)
	}
	rep, _ := l.reply(&q)
	if rep == nil {
		return "elsewhere"
	}
	return show(t, rep.Append(nil, msg, &q, wire.Finish{Limit: wire.MaxTCP}))
}

func TestLocalAnswers(t *testing.T) {
	const (
		nodata   = "NOERROR aa / lab.example. 300 SOA 300;"
		nxdomain = "NXDOMAIN aa / lab.example. 300 SOA 300;"
	)
	l := local(t, `lab.example
		@ 3600 NS ns.lab.example.
		@ 60 A 192.0.2.1
		www 300 A 192.0.2.10
		www 200 A 192.0.2.11
		www 100 AAAA 2001:db8::1
		WWW 300 A 192.0.2.10
		a.b.c 60 A 192.0.2.20
		*.wild 60 A 192.0.2.30
		*.wild 60 MX 10 mail.lab.example.
		is.wild 60 TXT "here"
		below.is.not.wild 60 TXT "deep"
		dots\.in\.it 60 A 192.0.2.40
		alias 60 CNAME www
		second 50 CNAME alias
		toward.nothing 60 CNAME nowhere
		toward.wild 60 CNAME some.wild
		toward.other 60 CNAME host.other.example.
		toward.missing 60 CNAME nohost.other.example.
		toward.world 60 CNAME www.example.net.
		*.cname 60 CNAME www
		*.ent.under 60 A 192.0.2.50
		TYPE 60 TYPE65280 \# 2 abcd
	`, `other.example
		@ 7200 SOA ns host 7 1 2 3 20
		host 60 A 192.0.2.60
	`, `sub.lab.example
		www 60 A 192.0.2.70
	`)
	for _, c := range []struct{ question, want string }{
		{"lab.example. NS", "NOERROR aa lab.example. 3600 NS ns.lab.example.;"},
		{"lab.example. A", "NOERROR aa lab.example. 60 A 192.0.2.1;"},
		{"lab.example. SOA", "NOERROR aa lab.example. 3600 SOA 300;"},
		{"lab.example. MX", nodata},
		{"lab.example. DS", nodata},
		{"www.lab.example. A", "NOERROR aa www.lab.example. 200 A 192.0.2.10; www.lab.example. 200 A 192.0.2.11;"}, // one TTL (RFC 2181 §5.2)
		{"wWw.LAB.example. AAAA", "NOERROR aa wWw.LAB.example. 100 AAAA 2001:db8::1;"},
		{"www.lab.example. TXT", nodata},
		{"x.www.lab.example. A", nxdomain},
		{"nowhere.lab.example. A", nxdomain},
		{"b.c.lab.example. A", nodata}, // empty non-terminals exist (RFC 8020)
		{"c.lab.example. A", nodata},
		{"x.c.lab.example. A", nxdomain},
		{"wild.lab.example. A", nodata},
		{"x.wild.lab.example. A", "NOERROR aa x.wild.lab.example. 60 A 192.0.2.30;"},
		{"a.b.x.wild.lab.example. A", "NOERROR aa a.b.x.wild.lab.example. 60 A 192.0.2.30;"},
		{"x.wild.lab.example. MX", "NOERROR aa x.wild.lab.example. 60 MX 10 mail.lab.example.;"},
		{"x.wild.lab.example. TXT", nodata},
		{"*.wild.lab.example. A", "NOERROR aa *.wild.lab.example. 60 A 192.0.2.30;"},
		{"is.wild.lab.example. A", nodata},      // the name itself is there
		{"x.is.wild.lab.example. A", nxdomain},  // and the closest encloser of what is below it (RFC 4592 §3.3.1)
		{"not.wild.lab.example. A", nodata},     // as an empty non-terminal is
		{"x.not.wild.lab.example. A", nxdomain}, //
		{"under.lab.example. A", nodata},        // a wildcard below makes its parents
		{"ent.under.lab.example. A", nodata},    //
		{"x.ent.under.lab.example. MX", nodata}, //
		{`dots\.in\.it.lab.example. A`, `NOERROR aa dots\.in\.it.lab.example. 60 A 192.0.2.40;`},
		{"dots.in.it.lab.example. A", nxdomain},
		{"type.lab.example. TYPE65280", `NOERROR aa type.lab.example. 60 CLASS1 TYPE65280 \# 2 abcd;`},

		{"alias.lab.example. CNAME", "NOERROR aa alias.lab.example. 60 CNAME www.lab.example.;"},
		{"alias.lab.example. A", "NOERROR aa alias.lab.example. 60 CNAME www.lab.example.; www.lab.example. 200 A 192.0.2.10; www.lab.example. 200 A 192.0.2.11;"},
		{"alias.lab.example. TXT", "NOERROR aa alias.lab.example. 60 CNAME www.lab.example.; / lab.example. 300 SOA 300;"},
		{"second.lab.example. AAAA", "NOERROR aa second.lab.example. 50 CNAME alias.lab.example.; alias.lab.example. 60 CNAME www.lab.example.; www.lab.example. 100 AAAA 2001:db8::1;"},
		{"toward.nothing.lab.example. A", "NXDOMAIN aa toward.nothing.lab.example. 60 CNAME nowhere.lab.example.; / lab.example. 300 SOA 300;"}, // RFC 6604 §3
		{"toward.wild.lab.example. A", "NOERROR aa toward.wild.lab.example. 60 CNAME some.wild.lab.example.; some.wild.lab.example. 60 A 192.0.2.30;"},
		{"toward.other.lab.example. A", "NOERROR aa toward.other.lab.example. 60 CNAME host.other.example.; host.other.example. 60 A 192.0.2.60;"},
		{"toward.missing.lab.example. A", "NXDOMAIN aa toward.missing.lab.example. 60 CNAME nohost.other.example.; / other.example. 20 SOA 20;"},
		{"toward.world.lab.example. A", "NOERROR aa toward.world.lab.example. 60 CNAME www.example.net.;"},
		{"x.y.cname.lab.example. AAAA", "NOERROR aa x.y.cname.lab.example. 60 CNAME www.lab.example.; www.lab.example. 100 AAAA 2001:db8::1;"},

		{"host.other.example. MX", "NOERROR aa / other.example. 20 SOA 20;"}, // RFC 2308 §5: the lower one
		{"x.other.example. A", "NXDOMAIN aa / other.example. 20 SOA 20;"},
		{"other.example. SOA", "NOERROR aa other.example. 7200 SOA 20;"},
		{"www.sub.lab.example. A", "NOERROR aa www.sub.lab.example. 60 A 192.0.2.70;"},
		{"x.sub.lab.example. A", "NXDOMAIN aa / sub.lab.example. 300 SOA 300;"},
		{"sub.lab.example. A", "NOERROR aa / sub.lab.example. 300 SOA 300;"},
		{"example. A", "elsewhere"},
		{"xlab.example. A", "elsewhere"},
		{"lab.example.net. A", "elsewhere"},
		{". A", "elsewhere"},
	} {
		if got := l.says(t, c.question); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.question, got, c.want)
		}
	}
}

func TestRootZone(t *testing.T) {
	l := local(t, ".\nwww.example 60 A 192.0.2.1", "lab.example\nwww 60 A 192.0.2.2")
	for question, want := range map[string]string{
		"www.example. A":     "NOERROR aa www.example. 60 A 192.0.2.1;",
		"www.lab.example. A": "NOERROR aa www.lab.example. 60 A 192.0.2.2;",
		"x.test. A":          "NXDOMAIN aa / . 300 SOA 300;",
		"x.example. A":       "NXDOMAIN aa / . 300 SOA 300;",
		". A":                "NOERROR aa / . 300 SOA 300;",
	} {
		if got := l.says(t, question); got != want {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
	}
}

// TestForwardedZonesAreHoles in shorter local zones, the built-in ones too.
func TestForwardedZonesAreHoles(t *testing.T) {
	l, err := NewLocal(LocalConfig{
		Zones: []Zone{
			zoneOf(t, "example\nwww 60 A 192.0.2.1\nin.hole 60 A 192.0.2.2"),
			zoneOf(t, "lab.hole.example\nwww 60 A 192.0.2.3"),
		}, Special: true, Private: true, Forwarded: [][]byte{mustWire("hole.example."), mustWire("10.in-addr.arpa."), mustWire("corp.test.")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for question, want := range map[string]string{
		"www.example. A":              "NOERROR aa www.example. 60 A 192.0.2.1;",
		"hole.example. A":             "elsewhere",
		"in.hole.example. A":          "elsewhere",
		"www.lab.hole.example. A":     "NOERROR aa www.lab.hole.example. 60 A 192.0.2.3;", // the longest zone wins
		"x.test. A":                   "NXDOMAIN aa / test. 10800 SOA 10800;",
		"x.corp.test. A":              "elsewhere",
		"1.0.0.10.in-addr.arpa. PTR":  "elsewhere",
		"1.168.192.in-addr.arpa. PTR": "NXDOMAIN aa / 168.192.in-addr.arpa. 10800 SOA 10800;",
	} {
		if got := l.says(t, question); got != want {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
	}
}

// TestZoneErrors: what cannot be served is said when the zone is read.
func TestZoneErrors(t *testing.T) {
	long := "c0 60 A 192.0.2.1"
	for i := range maxChain + 1 {
		long += fmt.Sprintf("\nc%d 60 CNAME c%d", i+1, i)
	}
	for _, c := range []struct{ zone, want string }{
		{"lab.example\nwww.example. 60 A 192.0.2.1", "is not in the zone"},
		{"lab.example\nxlab.example. 60 A 192.0.2.1", "is not in the zone"},
		{"lab.example\nwww CH TXT x", "is not of class IN"},
		{"lab.example\nsub NS ns.example.", "delegates, which a local zone cannot: name the servers in [[forward]] instead"},
		{"lab.example\n@ DNAME example.net.", "DNAME is not served from a local zone: write the CNAMEs"},
		{"lab.example\n@ CNAME www", "a CNAME cannot stand at the top of a zone"},
		{"lab.example\nwww SOA ns host 1 2 3 4 5", "an SOA belongs at the top of the zone"},
		{"lab.example\nwww TYPE255 \\# 0", "has a type that no zone holds (RFC 6895 §3.1)"},
		{"lab.example\nwww A", "lacks data"},
		{"lab.example\nwww 60 IN AAAA", "lacks data"},
		{"lab.example\nwww MX 10", "MX"},
		{"lab.example\nwww A 192.0.2.256", "bad A A"},
		{"lab.example\n", "holds no record: write OWNER TTL TYPE DATA"},
		{"lab.example\n; nothing", "holds no record: write OWNER TTL TYPE DATA"},
		{"lab.example\n$TTL 60", "holds no record: write OWNER TTL TYPE DATA"},
		{"lab.example\n$INCLUDE /etc/passwd", "$INCLUDE"},
		{"lab.example\n$GENERATE 1-3 h$ A 192.0.2.$", "one record a line"},
		{"lab.example\nwww 60 A 192.0.2.1\nwww 60 CNAME x", "zone lab.example.: www.lab.example. has a CNAME and other records (RFC 1034 §3.6.2)"},
		{"lab.example\nwww 60 CNAME x\nwww 60 CNAME y", "zone lab.example.: www.lab.example. 60 IN CNAME y.lab.example.: a second CNAME"},
		{"lab.example\n@ SOA ns host 1 2 3 4 5\n@ SOA ns host 2 2 3 4 5", "a second SOA"},
		{"lab.example\na 60 CNAME b\nb 60 CNAME a", "zone lab.example.: a.lab.example.: more than 16 aliases, or a loop of them"},
		{"lab.example\na 60 CNAME a", "zone lab.example.: a.lab.example.: more than 16 aliases, or a loop of them"},
		{"lab.example\n*.w 60 CNAME x.w", "zone lab.example.: *.w.lab.example.: more than 16 aliases, or a loop of them"},
		{"lab.example\n" + long, "zone lab.example.: c17.lab.example.: more than 16 aliases, or a loop of them"},
	} {
		lines := strings.Split(c.zone, "\n")
		z, err := ParseRecords(lines[0], lines[1:])
		if err == nil {
			_, err = NewLocal(LocalConfig{Zones: []Zone{z}})
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\t") {
			t.Errorf("%q:\ngot  %v\nwant %s", c.zone, err, c.want)
		}
	}
	if _, err := NewLocal(LocalConfig{Zones: []Zone{{Name: "a..b"}}}); err == nil {
		t.Error("a zone with a bad name was taken")
	}
	if _, err := NewLocal(LocalConfig{Zones: []Zone{{Name: "lab.example.", Records: []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "..", Rrtype: dns.TypeA, Class: dns.ClassINET}}}}}}); err == nil {
		t.Error("a record with a bad name was taken")
	}
}

func TestSixteenAliasesAreServed(t *testing.T) {
	text := "lab.example\nc0 60 A 192.0.2.1"
	for i := range maxChain {
		text += fmt.Sprintf("\nc%d 60 CNAME c%d", i+1, i)
	}
	if got := local(t, text).says(t, "c16.lab.example. A"); strings.Count(got, "CNAME") != 16 || !strings.HasSuffix(got, " A 192.0.2.1;") {
		t.Error(got)
	}
}

// TestZonesAtEveryDepth: only names as long as a zone's are looked up, so each
// length is one to get wrong.
func TestZonesAtEveryDepth(t *testing.T) {
	const longest = 127 // labels
	name := func(labels int) []byte { return mustWire(strings.Repeat("a.", labels)) }
	for apex := range longest + 1 {
		hole := mustWire("b." + strings.Repeat("a.", (apex+40)%longest)) // beside it, at another depth
		l, err := NewLocal(LocalConfig{Zones: []Zone{{Name: strings.Repeat("a.", apex)}}, Forwarded: [][]byte{hole}})
		if err != nil {
			t.Fatal(err)
		}
		for labels := range longest + 1 {
			z := l.find(name(labels))
			if labels < apex && z != nil || labels >= apex && (z == nil || !bytes.Equal(z.apex, name(apex))) {
				t.Fatalf("a zone of %d labels, a name of %d: found %v", apex, labels, z)
			}
		}
		if z := l.find(hole); z != nil {
			t.Fatalf("a zone of %d labels: a hole was filled by %v", apex, z)
		}
	}
}
