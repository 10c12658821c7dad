package resolver

import (
	"fmt"

	"github.com/miekg/dns"
)

// specialZones are the names that stand for this host or for nothing and so
// must never be asked elsewhere. Each exists as an empty zone, for which any
// name below it does not exist; localhost has addresses.
//
// RFC 6761 §6.2 (test), §6.3 (localhost), §6.4 (invalid), RFC 7686 (onion),
// RFC 6762 §22.1 (local), RFC 8375 (home.arpa), RFC 9462 §6.4 (resolver.arpa).
func specialZones() []Zone {
	out := []Zone{{
		Name: "localhost.",
		Records: records("localhost. 3600 A 127.0.0.1", "localhost. 3600 AAAA ::1",
			"*.localhost. 3600 A 127.0.0.1", "*.localhost. 3600 AAAA ::1"),
	}}
	for _, name := range []string{"test.", "invalid.", "onion.", "local.", "home.arpa.", "resolver.arpa."} {
		out = append(out, Zone{Name: name})
	}
	return out
}

// privateZones are the reverse zones of addresses that mean something only
// inside a network (RFC 6303 §4, RFC 7793). Loopback addresses have a name.
func privateZones() []Zone {
	out := []Zone{
		{Name: "127.in-addr.arpa.", Records: records("1.0.0.127.in-addr.arpa. 3600 PTR localhost.")},
		{
			Name:    loopback6,
			Records: records(loopback6 + " 3600 PTR localhost."),
		},
		{Name: "0." + loopback6[2:]}, // the unspecified address
	}
	for _, name := range []string{
		"0", "10", "254.169", "168.192", "2.0.192", "100.51.198", "113.0.203", "255.255.255.255",
	} {
		out = append(out, Zone{Name: name + ".in-addr.arpa."})
	}
	for i := 16; i < 32; i++ { // 172.16.0.0/12
		out = append(out, Zone{Name: fmt.Sprintf("%d.172.in-addr.arpa.", i)})
	}
	for i := 64; i < 128; i++ { // 100.64.0.0/10
		out = append(out, Zone{Name: fmt.Sprintf("%d.100.in-addr.arpa.", i)})
	}
	for _, name := range []string{"c.f", "d.f", "8.e.f", "9.e.f", "a.e.f", "b.e.f", "8.b.d.0.1.0.0.2"} {
		out = append(out, Zone{Name: name + ".ip6.arpa."})
	}
	return out
}

const loopback6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa."

// records parses lines that are part of this file.
func records(lines ...string) []dns.RR {
	var out []dns.RR
	for _, s := range lines {
		rr, err := dns.NewRR(s)
		if err != nil {
			panic(err) // a mistake in this file, met by every test
		}
		out = append(out, rr)
	}
	return out
}
