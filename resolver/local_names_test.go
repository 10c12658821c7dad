package resolver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func hostsOf(t interface{ Fatal(args ...any) }, text string) []*HostsFile {
	h, err := ParseHosts(strings.NewReader(text), "hosts")
	if err != nil {
		t.Fatal(err)
	}
	return []*HostsFile{h}
}

func leasesOf(text string) (out []Lease) {
	for line := range strings.Lines(text) {
		if addr, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			out = append(out, Lease{Name: name, Addr: netip.MustParseAddr(addr)})
		}
	}
	return out
}

// answers asks for each question and compares.
func (l *Local) answers(t *testing.T, want map[string]string) {
	t.Helper()
	for question, want := range want {
		if got := l.says(t, question); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", question, got, want)
		}
	}
}

// TestHostsNames: names of a hosts file are local data beside zones, which say
// first what their names are, and before what is forwarded.
func TestHostsNames(t *testing.T) {
	l := special(t, LocalConfig{
		Zones:     []Zone{zoneOf(t, "lab.example\nwww A 192.0.2.1\nalias CNAME added\nmail MX 10 www\n*.wild A 192.0.2.2"), zoneOf(t, "9.168.192.in-addr.arpa\n9 PTR nine.lab.example.")},
		Forwarded: [][]byte{mustWire("corp.example."), mustWire("out.lab.example."), mustWire("10.in-addr.arpa.")},
		Hosts: hostsOf(t, `127.0.0.1 localhost
			192.168.1.10 nas files
			fd00::10 nas
			192.168.1.11 nas
			192.168.1.12 added.lab.example mail.lab.example set.wild.lab.example
			192.168.1.13 www.lab.example alias.lab.example x.localhost
			10.0.0.14 out.lab.example host.corp.example
			203.0.114.15 www.public.example public.example
			192.168.9.9 other
			0.0.0.0 nowhere.example
			2001:db8:1::1 six.home.arpa
			192.168.1.16 lan.example
			192.168.1.12 second`),
		HostsDomain: "lan.example", HostsTTL: 60,
	})
	six := strings.TrimSuffix(presentation(reverseName(netip.MustParseAddr("fd00::10"))), ".")
	l.answers(t, map[string]string{
		"nas. A":                         "NOERROR aa nas. 60 A 192.168.1.10; nas. 60 A 192.168.1.11;",
		"NAS.lan.example. AAAA":          "NOERROR aa NAS.lan.example. 60 AAAA fd00::10;",
		"nas. TXT":                       "NOERROR aa / nas. 60 SOA 60;",
		"x.nas. A":                       "elsewhere",
		"x.nas.lan.example. A":           "NXDOMAIN aa / lan.example. 60 SOA 60;",
		"files.lan.example. A":           "NOERROR aa files.lan.example. 60 A 192.168.1.10;",
		"lan.example. A":                 "NOERROR aa lan.example. 60 A 192.168.1.16;",
		"unknown.lan.example. A":         "NXDOMAIN aa / lan.example. 60 SOA 60;",
		"added.lab.example. A":           "NOERROR aa added.lab.example. 60 A 192.168.1.12;",
		"mail.lab.example. A":            "NOERROR aa mail.lab.example. 60 A 192.168.1.12;",
		"mail.lab.example. MX":           "NOERROR aa mail.lab.example. 3600 MX 10 www.lab.example.;",
		"set.wild.lab.example. A":        "NOERROR aa set.wild.lab.example. 60 A 192.168.1.12;",
		"other.wild.lab.example. A":      "NOERROR aa other.wild.lab.example. 3600 A 192.0.2.2;",
		"www.lab.example. A":             "NOERROR aa www.lab.example. 3600 A 192.0.2.1;",
		"alias.lab.example. A":           "NOERROR aa alias.lab.example. 3600 CNAME added.lab.example.; added.lab.example. 60 A 192.168.1.12;",
		"out.lab.example. A":             "NOERROR aa out.lab.example. 60 A 10.0.0.14;",
		"x.out.lab.example. A":           "elsewhere",
		"host.corp.example. A":           "NOERROR aa host.corp.example. 60 A 10.0.0.14;",
		"other.corp.example. A":          "elsewhere",
		"www.public.example. A":          "NOERROR aa www.public.example. 60 A 203.0.114.15;",
		"public.example. AAAA":           "NOERROR aa / public.example. 60 SOA 60;",
		"ftp.public.example. A":          "elsewhere",
		"example. A":                     "elsewhere",
		"nowhere.example. A":             "NOERROR aa nowhere.example. 60 A 0.0.0.0;",
		"0.0.0.0.in-addr.arpa. PTR":      "NXDOMAIN aa / 0.in-addr.arpa. 10800 SOA 10800;",
		"six.home.arpa. AAAA":            "NOERROR aa six.home.arpa. 60 AAAA 2001:db8:1::1;",
		"x.home.arpa. A":                 "NXDOMAIN aa / home.arpa. 10800 SOA 10800;",
		"localhost. A":                   "NOERROR aa localhost. 10800 A 127.0.0.1;",
		"x.localhost. A":                 "NOERROR aa x.localhost. 10800 A 127.0.0.1;",
		"10.1.168.192.in-addr.arpa. PTR": "NOERROR aa 10.1.168.192.in-addr.arpa. 60 PTR nas.lan.example.;",
		"12.1.168.192.in-addr.arpa. PTR": "NOERROR aa 12.1.168.192.in-addr.arpa. 60 PTR added.lab.example.;",
		"99.1.168.192.in-addr.arpa. PTR": "NXDOMAIN aa / 168.192.in-addr.arpa. 10800 SOA 10800;",
		"9.9.168.192.in-addr.arpa. PTR":  "NOERROR aa 9.9.168.192.in-addr.arpa. 3600 PTR nine.lab.example.;",
		"14.0.0.10.in-addr.arpa. PTR":    "NOERROR aa 14.0.0.10.in-addr.arpa. 60 PTR out.lab.example.;",
		"15.0.0.10.in-addr.arpa. PTR":    "elsewhere",
		"15.114.0.203.in-addr.arpa. PTR": "NOERROR aa 15.114.0.203.in-addr.arpa. 60 PTR www.public.example.;",
		"16.114.0.203.in-addr.arpa. PTR": "elsewhere",
		six + ". PTR":                    "NOERROR aa " + six + ". 60 PTR nas.lan.example.;",
	})
	want := []string{
		"hosts:6: www.lab.example: zone lab.example. says what it is", "hosts:6: alias.lab.example: zone lab.example. says what it is",
		"hosts:6: x.localhost: localhost is this machine (RFC 6761 §6.3)",
	}
	if got := l.Notes(); !slices.Equal(got, want) {
		t.Errorf("notes %q, want %q", got, want)
	}
}

// TestHostsNamesAreBounded in their addresses, and what is told of them is.
func TestHostsNamesAreBounded(t *testing.T) {
	var text strings.Builder
	for i := range 300 {
		fmt.Fprintf(&text, "10.0.%d.%d many\n", i/250, i%250)
	}
	for range 60 {
		text.WriteString("10.1.0.1 www.lab.example\n")
	}
	l := special(t, LocalConfig{Zones: []Zone{zoneOf(t, "lab.example\nwww A 192.0.2.1")}, Hosts: hostsOf(t, text.String()), HostsTTL: 60})
	if n := strings.Count(l.says(t, "many. A"), " A "); n != maxAddresses {
		t.Errorf("%d addresses", n)
	}
	if notes := l.Notes(); len(notes) != maxNotes+1 || notes[0] != "hosts:257: many: has 256 addresses already" || notes[maxNotes] != "and 54 more" {
		t.Errorf("%d notes: %q", len(notes), notes)
	}
}

// TestLeaseNames: hosts have the names that they gave a DHCP server, below one
// domain, and nothing that is configured becomes theirs.
func TestLeaseNames(t *testing.T) {
	c := LocalConfig{
		Zones: []Zone{
			zoneOf(t, "lan.example\n@ NS ns\nwww A 192.0.2.1\ntext TXT here\na.ent A 192.0.2.3\nto CNAME laptop\nto6 CNAME phone"),
			zoneOf(t, "sub.lan.example\nx A 192.0.2.4"), zoneOf(t, "lab.example\nlaptop CNAME laptop.lan.example.\nnone CNAME none.lan.example.\nrev CNAME 22.0.0.10.in-addr.arpa."),
			zoneOf(t, "3.168.192.in-addr.arpa\n3 PTR www.lan.example.\n* PTR any.lan.example."),
		},
		Forwarded:   [][]byte{mustWire("out.lan.example."), mustWire("20.172.in-addr.arpa.")},
		Hosts:       hostsOf(t, "10.0.0.9 nas\n198.18.0.9 far.example\n"),
		HostsDomain: "lan.example", HostsTTL: 60, LeaseDomain: "lan.example", LeaseTTL: 30,
	}
	base := special(t, c)
	l, refused := base.With(leasesOf(`10.0.0.20 laptop
		10.0.0.21 phone
		fd00::21 phone
		10.0.0.22 twin
		10.0.0.23 twin
		10.0.0.24 ent
		10.0.0.25 my_tv-2
		10.0.0.9 ninth
		192.168.3.3 third
		192.168.3.4 fourth
		172.20.0.1 bridged
		198.18.0.1 public
		198.18.0.9 far
		10.0.0.66 www
		10.0.0.67 nas
		10.0.0.68 wpad
		10.0.0.69 localhost
		10.0.0.70 isatap
		10.0.0.71 _dmarc
		10.0.0.72 *
		10.0.0.73 -x
		10.0.0.74 a.b
		10.0.0.75 sub
		10.0.0.76 out
		10.0.0.77 text
		10.0.0.78 to
		10.0.0.79 ` + strings.Repeat("x", 64) + `
		10.0.0.80 ns.
		10.0.0.81 ` + "\x1b[2J" + `
		10.0.0.82 LAPTOP`))
	pointer := func(name, target string) (string, string) {
		return name + ".in-addr.arpa. PTR", "NOERROR aa " + name + ".in-addr.arpa. 30 PTR " + target + ".lan.example.;"
	}
	want := map[string]string{
		"laptop.lan.example. A":                     "NOERROR aa laptop.lan.example. 30 A 10.0.0.20;",
		"Laptop.LAN.example. AAAA":                  "NOERROR aa / lan.example. 30 SOA 30;",
		"phone.lan.example. AAAA":                   "NOERROR aa phone.lan.example. 30 AAAA fd00::21;",
		"twin.lan.example. A":                       "NOERROR aa twin.lan.example. 30 A 10.0.0.22; twin.lan.example. 30 A 10.0.0.23;",
		"ent.lan.example. A":                        "NOERROR aa ent.lan.example. 30 A 10.0.0.24;",
		"a.ent.lan.example. A":                      "NOERROR aa a.ent.lan.example. 3600 A 192.0.2.3;",
		"my_tv-2.lan.example. A":                    "NOERROR aa my_tv-2.lan.example. 30 A 10.0.0.25;",
		"www.lan.example. A":                        "NOERROR aa www.lan.example. 3600 A 192.0.2.1;",
		"nas.lan.example. A":                        "NOERROR aa nas.lan.example. 60 A 10.0.0.9;",
		"text.lan.example. A":                       "NOERROR aa / lan.example. 30 SOA 30;",
		"to.lan.example. A":                         "NOERROR aa to.lan.example. 3600 CNAME laptop.lan.example.; laptop.lan.example. 30 A 10.0.0.20;",
		"to6.lan.example. AAAA":                     "NOERROR aa to6.lan.example. 3600 CNAME phone.lan.example.; phone.lan.example. 30 AAAA fd00::21;",
		"laptop.lab.example. A":                     "NOERROR aa laptop.lab.example. 3600 CNAME laptop.lan.example.; laptop.lan.example. 30 A 10.0.0.20;",
		"none.lab.example. A":                       "NXDOMAIN aa none.lab.example. 3600 CNAME none.lan.example.; / lan.example. 30 SOA 30;",
		"rev.lab.example. PTR":                      "NOERROR aa rev.lab.example. 3600 CNAME 22.0.0.10.in-addr.arpa.; 22.0.0.10.in-addr.arpa. 30 PTR twin.lan.example.;",
		"laptop. A":                                 "elsewhere",
		"sub.lan.example. A":                        "NOERROR aa / sub.lan.example. 300 SOA 300;",
		"out.lan.example. A":                        "elsewhere",
		"20.0.0.10.in-addr.arpa. A":                 "NOERROR aa / 10.in-addr.arpa. 30 SOA 30;",
		"9.0.0.10.in-addr.arpa. PTR":                "NOERROR aa 9.0.0.10.in-addr.arpa. 60 PTR nas.lan.example.;",
		"66.0.0.10.in-addr.arpa. PTR":               "NXDOMAIN aa / 10.in-addr.arpa. 30 SOA 30;",
		"3.3.168.192.in-addr.arpa. PTR":             "NOERROR aa 3.3.168.192.in-addr.arpa. 3600 PTR www.lan.example.;",
		"4.3.168.192.in-addr.arpa. PTR":             "NOERROR aa 4.3.168.192.in-addr.arpa. 3600 PTR any.lan.example.;",
		"1.0.20.172.in-addr.arpa. PTR":              "elsewhere",
		"9.0.18.198.in-addr.arpa. PTR":              "NOERROR aa 9.0.18.198.in-addr.arpa. 60 PTR far.example.;",
		"2.0.18.198.in-addr.arpa. PTR":              "elsewhere",
		"bridged.lan.example. A":                    "NOERROR aa bridged.lan.example. 30 A 172.20.0.1;",
		`\027\[2j.lan.example. A`:                   "NXDOMAIN aa / lan.example. 30 SOA 30;",
		"wpad.lan.example. A":                       "NXDOMAIN aa / lan.example. 30 SOA 30;",
		strings.Repeat("x", 63) + ".lan.example. A": "NXDOMAIN aa / lan.example. 30 SOA 30;",
	}
	for name, target := range map[string]string{"20.0.0.10": "laptop", "22.0.0.10": "twin", "23.0.0.10": "twin", "1.0.18.198": "public"} {
		q, a := pointer(name, target)
		want[q] = a
	}
	l.answers(t, want)
	var names []string
	for _, r := range refused {
		name, why, _ := strings.Cut(r, ": ")
		names = append(names, strings.Fields(name)[0]+" "+why)
	}
	const odd = `wants letters and digits, with "-" and "_" between them`
	if want := []string{
		`"\x1b[2J" ` + odd, `"*" ` + odd, `"-x" ` + odd, `"LAPTOP" ` + odd, `"_dmarc" ` + odd, `"a.b" ` + odd, `"isatap" is not for a host that calls itself so`,
		`"localhost" is not for a host that calls itself so`, `"nas" is configured already`, `"ns." ` + odd, `"out" is a zone`, `"sub" is a zone`, `"text" is configured already`,
		`"to" is configured already`, `"wpad" is not for a host that calls itself so`, `"www" is configured already`, `"` + strings.Repeat("x", 64) + `" wants 1 to 63 characters`,
	}; !slices.Equal(names, want) {
		t.Errorf("refused:\n%s\nwant:\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
	// The base is as it was, and without leases there are none.
	for _, l := range []*Local{base, first(base.With(nil))} {
		l.answers(t, map[string]string{
			"laptop.lan.example. A":        "NXDOMAIN aa / lan.example. 30 SOA 30;",
			"to.lan.example. A":            "NXDOMAIN aa to.lan.example. 3600 CNAME laptop.lan.example.; / lan.example. 30 SOA 30;",
			"laptop.lab.example. A":        "NXDOMAIN aa laptop.lab.example. 3600 CNAME laptop.lan.example.; / lan.example. 30 SOA 30;",
			"20.0.0.10.in-addr.arpa. PTR":  "NXDOMAIN aa / 10.in-addr.arpa. 30 SOA 30;",
			"1.0.18.198.in-addr.arpa. PTR": "elsewhere",
			"ent.lan.example. A":           "NOERROR aa / lan.example. 30 SOA 30;",
			"nas.lan.example. A":           "NOERROR aa nas.lan.example. 60 A 10.0.0.9;",
		})
	}
}

func first(l *Local, _ []string) *Local { return l }

// TestLeaseNamesAreBounded: one name has sixteen addresses of a family at most,
// however many hosts call themselves so.
func TestLeaseNamesAreBounded(t *testing.T) {
	var text strings.Builder
	for i := range 40 {
		fmt.Fprintf(&text, "10.0.0.%d android\nfd00::%x android\n", i+1, i+1)
	}
	l, refused := special(t, LocalConfig{LeaseDomain: "lan.example", LeaseTTL: 30}).With(leasesOf(text.String()))
	if a, b := strings.Count(l.says(t, "android.lan.example. A"), " A "), strings.Count(l.says(t, "android.lan.example. AAAA"), " AAAA "); a != maxLeased || b != maxLeased {
		t.Errorf("%d and %d addresses", a, b)
	}
	if len(refused) != 2*24 || refused[0] != `"android" for 10.0.0.17: has 16 addresses already` {
		t.Errorf("%d refused: %q", len(refused), refused)
	}
	if got := l.says(t, "17.0.0.10.in-addr.arpa. PTR"); got != "NXDOMAIN aa / 10.in-addr.arpa. 30 SOA 30;" {
		t.Error(got)
	}
}

// TestWildcardStandsForAllNames: a lease does not take a name from a wildcard of
// its domain.
func TestWildcardStandsForAllNames(t *testing.T) {
	l, refused := special(t, LocalConfig{Zones: []Zone{zoneOf(t, "lan.example\n* A 192.0.2.1")}, LeaseDomain: "lan.example", LeaseTTL: 30}).With(leasesOf("10.0.0.1 laptop"))
	l.answers(t, map[string]string{"laptop.lan.example. A": "NOERROR aa laptop.lan.example. 3600 A 192.0.2.1;", "1.0.0.10.in-addr.arpa. PTR": "NXDOMAIN aa / 10.in-addr.arpa. 30 SOA 30;"})
	if len(refused) != 1 {
		t.Errorf("refused %q", refused)
	}
}

// TestForwardedDomain cannot be a domain of hosts, or of leases.
func TestForwardedDomain(t *testing.T) {
	for _, c := range []LocalConfig{{HostsDomain: "lan.example"}, {LeaseDomain: "lan.example"}} {
		c.Forwarded = [][]byte{mustWire("lan.example.")}
		if _, err := NewLocal(c); err == nil || err.Error() != "domain lan.example is forwarded: its names are not answered here" {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// BenchmarkLeases is what a change of leases costs: 5,000 hosts.
func BenchmarkLeases(b *testing.B) {
	base := special(b, LocalConfig{LeaseDomain: "lan.example", LeaseTTL: 60})
	var leases []Lease
	for i := range 5000 {
		leases = append(leases, Lease{fmt.Sprint("host-", i), netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})})
	}
	b.ReportAllocs()
	for b.Loop() {
		base.With(leases)
	}
}
