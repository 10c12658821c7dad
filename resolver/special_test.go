package resolver

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"weir/resolver/wire"
)

// registry reads the table of built-in zones: name and what says so.
func registry(t *testing.T) (rows [][2]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "special.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if zone, ref, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			rows = append(rows, [2]string{zone, ref})
		}
	}
	return rows
}

func special(t testing.TB, c LocalConfig) *Local {
	t.Helper()
	c.Special, c.Private = true, true
	l, err := NewLocal(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// localError asks for a name with EDNS and returns the text of the Extended DNS
// Error in the local answer.
func (l *Local) localError(t testing.TB, question string) string {
	t.Helper()
	msg := query(t, question, edns)
	var q wire.Query
	if err := q.Parse(msg); err != nil {
		t.Fatal(err)
	}
	rep, ede := l.reply(&q)
	if rep == nil {
		return "elsewhere"
	}
	m := unpack(t, rep.Append(nil, msg, &q, wire.Finish{Limit: wire.MaxTCP, EDE: ede}))
	for _, o := range m.IsEdns0().Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok && e.InfoCode == dns.ExtendedErrorCodeOther {
			return e.ExtraText
		}
	}
	return ""
}

// TestSpecialNames holds every entry of the registries: an empty zone with SOA
// and NS (RFC 6303 §3), which says why it is there, and which an exception, a
// [[forward]] or a zone of the same name replaces.
func TestSpecialNames(t *testing.T) {
	rows := registry(t)
	on, off := special(t, LocalConfig{}), local(t)
	var zones []string
	for _, row := range rows {
		zone, ref := row[0]+".", row[1]
		zones = append(zones, row[0])
		negative, below := " aa / "+zone+" 10800 SOA 10800;", "NXDOMAIN"
		if zone == "resolver.arpa." {
			below = "NOERROR" // RFC 9462 §6.4
		}
		for question, want := range map[string]string{
			zone + " SOA":                   "NOERROR aa " + zone + " 10800 SOA 10800;",
			zone + " NS":                    "NOERROR aa " + zone + " 10800 NS " + zone + ";",
			zone + " A":                     "NOERROR" + negative,
			zone + " MX":                    "NOERROR" + negative,
			"x." + zone + " A":              below + negative,
			"_x.y." + zone + " TXT":         below + negative,
			strings.ToUpper(zone) + " AXFR": "REFUSED",
		} {
			if own := zone == "localhost." && !strings.HasSuffix(question, " MX") && !strings.HasPrefix(question, "localhost. S"); own {
				continue // it has data, see TestLocalhost
			}
			if got := on.says(t, question); got != want {
				t.Errorf("%s:\ngot  %s\nwant %s", question, got, want)
			}
			if got := off.says(t, question); got != "elsewhere" {
				t.Errorf("%s is local although that is off: %s", question, got)
			}
		}
		if got, want := on.localError(t, zone+" MX"), row[0]+" is not asked elsewhere: "+ref; got != want {
			t.Errorf("%s: error %q, want %q", zone, got, want)
		}
		name := mustWire(zone)
		if got := special(t, LocalConfig{Except: BuiltinsOf(row[0])}).says(t, zone+" SOA"); got != "elsewhere" {
			t.Errorf("%s is excepted, and yet %s", zone, got)
		}
		if got := special(t, LocalConfig{Forwarded: [][]byte{name}}).says(t, "x."+zone+" SOA"); got != "elsewhere" {
			t.Errorf("%s is forwarded, and yet %s", zone, got)
		}
		if got, want := special(t, LocalConfig{Zones: []Zone{zoneOf(t, zone+"\nx 60 A 192.0.2.1")}}).says(t, "x."+zone+" A"), "NOERROR aa x."+zone+" 60 A 192.0.2.1;"; got != want {
			t.Errorf("a zone for %s: %s, want %s", zone, got, want)
		}
	}
	got, want := Builtins(), slices.Clone(zones)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(want) != 107 {
		t.Errorf("%d built-in zones, the registry has %d:\n%v\n%v", len(got), len(want), got, want)
	}
}

// TestNotSpecial: what is beside the entries, and entries that a resolver does
// ask for (RFC 6761 §6.5, RFC 8880, RFC 9031; fc00::/8, RFC 6303 §4.4).
func TestNotSpecial(t *testing.T) {
	l := special(t, LocalConfig{})
	for _, name := range []string{
		"example.", "example.com.", "ipv4only.arpa.", "170.0.0.192.in-addr.arpa.", "171.0.0.192.in-addr.arpa.", "6tisch.arpa.", "eap-noob.arpa.",
		"arpa.", "in-addr.arpa.", "ip6.arpa.", "x.in-addr.arpa.", "1.0.0.172.in-addr.arpa.", "1.0.15.172.in-addr.arpa.", "1.0.32.172.in-addr.arpa.",
		"1.0.63.100.in-addr.arpa.", "1.0.128.100.in-addr.arpa.", "1.0.169.192.in-addr.arpa.", "1.0.1.0.0.2.ip6.arpa.", "c.e.f.ip6.arpa.", "7.e.f.ip6.arpa.",
		"x.c.f.ip6.arpa.", "localhost.example.", "home.example.arpa.", "xlocal.", "locals.", "a.test.example.",
	} {
		if got := l.says(t, name+" A"); got != "elsewhere" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestLocalhost is this machine, by both families and whatever is before it
// (RFC 6761 §6.3), and its addresses are localhost's.
func TestLocalhost(t *testing.T) {
	l := special(t, LocalConfig{})
	zeros := strings.Repeat("0.", 31)
	for question, want := range map[string]string{
		"localhost. A":                  "NOERROR aa localhost. 10800 A 127.0.0.1;",
		"LocalHost. AAAA":               "NOERROR aa LocalHost. 10800 AAAA ::1;",
		"a.b.localhost. A":              "NOERROR aa a.b.localhost. 10800 A 127.0.0.1;",
		"a.b.localhost. AAAA":           "NOERROR aa a.b.localhost. 10800 AAAA ::1;",
		"localhost. MX":                 "NOERROR aa / localhost. 10800 SOA 10800;",
		"a.localhost. MX":               "NOERROR aa / localhost. 10800 SOA 10800;",
		"1.0.0.127.in-addr.arpa. PTR":   "NOERROR aa 1.0.0.127.in-addr.arpa. 10800 PTR localhost.;",
		"2.0.0.127.in-addr.arpa. PTR":   "NXDOMAIN aa / 127.in-addr.arpa. 10800 SOA 10800;",
		"1." + zeros + "ip6.arpa. PTR":  "NOERROR aa 1." + zeros + "ip6.arpa. 10800 PTR localhost.;",
		"0." + zeros + "ip6.arpa. PTR":  "NOERROR aa / 0." + zeros + "ip6.arpa. 10800 SOA 10800;",
		"_dns.resolver.arpa. SVCB":      "NOERROR aa / resolver.arpa. 10800 SOA 10800;",
		"_dns.resolver.arpa. A":         "NOERROR aa / resolver.arpa. 10800 SOA 10800;",
		"a.b.resolver.arpa. HTTPS":      "NOERROR aa / resolver.arpa. 10800 SOA 10800;",
		"resolver.arpa. A":              "NOERROR aa / resolver.arpa. 10800 SOA 10800;",
		"1.2.168.192.in-addr.arpa. PTR": "NXDOMAIN aa / 168.192.in-addr.arpa. 10800 SOA 10800;",
	} {
		if got := l.says(t, question); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", question, got, want)
		}
	}
}

// TestParentProves: that home.arpa and service.arpa are not signed is for arpa
// to say, whoever answers what is below (RFC 8375 §4), and of no other.
func TestParentProves(t *testing.T) {
	for _, l := range []*Local{
		special(t, LocalConfig{}), special(t, LocalConfig{Zones: []Zone{zoneOf(t, "home.arpa\nnas A 192.0.2.1")}}),
		special(t, LocalConfig{LeaseDomain: "home.arpa"}),
	} {
		for question, want := range map[string]string{
			"home.arpa. DS": "elsewhere", "Service.ARPA. DS": "elsewhere", "x.home.arpa. DS": "NXDOMAIN", "home.arpa. DNSKEY": "NOERROR",
			"10.in-addr.arpa. DS": "NOERROR", "onion. DS": "NOERROR",
		} {
			if got, _, _ := strings.Cut(l.says(t, question), " "); got != want {
				t.Errorf("%s: %s, want %s", question, got, want)
			}
		}
	}
}

// TestBuiltinsOf: networks stand for the zones in them.
func TestBuiltinsOf(t *testing.T) {
	for text, want := range map[string]string{
		"168.192.in-addr.arpa": "168.192.in-addr.arpa", "Home.Arpa.": "home.arpa", "172.16.0.0/14": "16.172.in-addr.arpa 17.172.in-addr.arpa 18.172.in-addr.arpa 19.172.in-addr.arpa",
		"fe80::/10": "8.e.f.ip6.arpa 9.e.f.ip6.arpa a.e.f.ip6.arpa b.e.f.ip6.arpa", "::1/128": "1." + strings.Repeat("0.", 31) + "ip6.arpa",
		"192.168.0.0/16": "168.192.in-addr.arpa", "192.168.1.0/24": "", "8.8.8.0/24": "", "example": "", "": "", "1.168.192.in-addr.arpa": "",
	} {
		if got := strings.Join(BuiltinsOf(text), " "); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	if n := len(BuiltinsOf("100.64.0.0/10")); n != 64 {
		t.Errorf("100.64.0.0/10 stands for %d zones", n)
	}
}
