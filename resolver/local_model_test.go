package resolver

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

// model is local data as the RFCs tell it, without an index: every question
// reads every record.
type model struct {
	zones []Zone
	holes []string
	lone  []dns.RR // of names in no zone
}

// inHole reports whether name is asked elsewhere.
func (m *model) inHole(name string) bool {
	z, ok := m.zone(name)
	return !ok && z.Name != ""
}

// owner returns the records of name: those of its zone, or of it alone.
func (m *model) owner(name string) (records []dns.RR) {
	all := m.lone
	if _, ok := m.zone(name); ok {
		all = nil
		for _, z := range m.zones {
			if in, _ := m.zone(name); in.Name == z.Name {
				all = z.Records
			}
		}
	}
	for _, rr := range all {
		if rr.Header().Name == name {
			records = append(records, rr)
		}
	}
	return records
}

// add puts a record where it belongs.
func (m *model) add(rr dns.RR) {
	name := rr.Header().Name
	if in, ok := m.zone(name); ok {
		for i := range m.zones {
			if m.zones[i].Name == in.Name {
				m.zones[i].Records = append(m.zones[i].Records, rr)
			}
		}
		return
	}
	m.lone = append(m.lone, rr)
}

// ofTypes reports whether one of the records is of one of the types.
func ofTypes(records []dns.RR, types ...uint16) bool {
	return slices.ContainsFunc(records, func(rr dns.RR) bool { return slices.Contains(types, rr.Header().Rrtype) })
}

// entry is a line of a hosts file, or a lease.
type entry struct{ name, addr string }

func (e entry) pointer() string {
	rev, _ := dns.ReverseAddr(e.addr)
	return rev
}

// with returns m with the names of hosts, and after that with those of leases,
// which are labels of domain.
func (m *model) with(hosts, leases []entry, domain string) *model {
	out := model{holes: m.holes}
	for _, z := range m.zones {
		out.zones = append(out.zones, Zone{Name: z.Name, Records: slices.Clone(z.Records)})
	}
	if !slices.ContainsFunc(m.zones, func(z Zone) bool { return z.Name == domain }) {
		out.zones = append(out.zones, Zone{Name: domain})
	}
	written := model{zones: slices.Clone(out.zones), holes: m.holes}
	for _, e := range hosts {
		if _, ok := written.zone(e.name); ok && ofTypes(written.owner(e.name), dns.TypeA, dns.TypeAAAA, dns.TypeCNAME) {
			continue
		}
		out.add(rr(e.name + " 300 A " + e.addr))
		if !ofTypes(out.owner(e.pointer()), dns.TypePTR, dns.TypeCNAME) {
			out.add(rr(e.pointer() + " 300 PTR " + e.name))
		}
	}
	base := model{zones: slices.Clone(out.zones), holes: m.holes, lone: out.lone}
	for _, e := range leases {
		name := e.name + "." + domain
		in, ok := base.zone(name)
		if !ok || in.Name != domain {
			continue
		}
		if records, _ := find(in, name); len(records) > 0 {
			continue
		}
		out.add(rr(name + " 300 A " + e.addr))
		rev := e.pointer()
		if in, ok := base.zone(rev); out.inHole(rev) || len(base.owner(rev)) > 0 && !ok {
			continue
		} else if ok {
			if records, _ := find(in, rev); ofTypes(records, dns.TypePTR, dns.TypeCNAME) {
				continue
			}
		}
		out.add(rr(rev + " 300 PTR " + name))
	}
	return &out
}

// within reports whether name is zone or below it.
func within(name, zone string) bool { return name == zone || strings.HasSuffix(name, "."+zone) }

// zone returns the longest zone that holds name; ok is false where it is asked elsewhere.
func (m *model) zone(name string) (z Zone, ok bool) {
	for _, h := range m.holes {
		if within(name, h) && len(h) > len(z.Name) {
			z = Zone{Name: h}
		}
	}
	for _, c := range m.zones {
		if within(name, c.Name) && len(c.Name) > len(z.Name) {
			z, ok = c, true
		}
	}
	return z, ok
}

// stands reports whether name, or a name below it, owns a record of z.
func stands(z Zone, name string) bool {
	return name == z.Name || slices.ContainsFunc(z.Records, func(rr dns.RR) bool { return within(rr.Header().Name, name) })
}

// find returns the records that name has in z, and whether it exists at all.
func find(z Zone, name string) (records []dns.RR, exists bool) {
	if !stands(z, name) {
		encloser := name // RFC 4592 §3.3.1
		for !stands(z, encloser) {
			encloser = encloser[strings.Index(encloser, ".")+1:]
		}
		if name = "*." + encloser; !stands(z, name) {
			return nil, false
		}
	}
	for _, rr := range z.Records {
		if rr.Header().Name == name {
			records = append(records, rr)
		}
	}
	return records, true
}

// reply answers a question in the form of show; err says that the zones should
// not have been taken.
func (m *model) reply(name string, typ uint16) (out string, err error) {
	answer, rcode := "", "NOERROR"
	for hops := 0; ; hops++ {
		if hops > maxChain {
			return "", fmt.Errorf("loop at %s", name)
		}
		z, ok := m.zone(name)
		var records []dns.RR
		exists := true
		if ok {
			records, exists = find(z, name)
		} else if records = m.owner(name); len(records) > 0 {
			z = Zone{Name: name}
		} else {
			if hops == 0 {
				return "elsewhere", nil
			}
			break
		}
		var alias *dns.CNAME
		ttl := uint32(1 << 31)
		var found []string
		for _, rr := range records {
			if c, ok := rr.(*dns.CNAME); ok {
				alias = c
			}
			if rr.Header().Rrtype == typ {
				ttl = min(ttl, rr.Header().Ttl)
			}
		}
		for _, rr := range records {
			if h := rr.Header(); h.Rrtype == typ {
				text := fmt.Sprintf(" %s %d %s %s;", name, ttl, dns.TypeToString[typ], strings.TrimPrefix(rr.String(), h.String()))
				if !slices.Contains(found, text) {
					found = append(found, text)
				}
			}
		}
		answer += strings.Join(found, "")
		if len(found) > 0 {
			break
		}
		if alias != nil {
			answer += fmt.Sprintf(" %s %d CNAME %s;", name, alias.Hdr.Ttl, alias.Target)
			name = alias.Target
			continue
		}
		if !exists {
			rcode = "NXDOMAIN"
		}
		answer += " / " + z.Name + " 300 SOA 300;"
		break
	}
	return rcode + " aa" + answer, nil
}

// TestLocalAgainstModel asks random zones, with random hosts and leases in them,
// for every name that could be there.
func TestLocalAgainstModel(outer *testing.T) {
	labels := []string{"a", "b", "*"}
	names := []string{"example."}
	for from, depth := 0, 0; depth < 3; depth++ {
		to := len(names)
		for _, n := range names[from:to] {
			for _, l := range labels {
				names = append(names, l+"."+n)
			}
		}
		from = to
	}
	rapid.Check(outer, func(t *rapid.T) {
		m := model{zones: []Zone{{Name: "example."}}}
		for _, name := range []string{"a.example.", "b.a.example.", "b.example."} {
			switch rapid.IntRange(0, 4).Draw(t, name) {
			case 0:
				m.zones = append(m.zones, Zone{Name: name})
			case 1:
				m.holes = append(m.holes, name)
			}
		}
		var holes [][]byte
		for _, h := range m.holes {
			holes = append(holes, mustWire(h))
		}
		alias := map[string]bool{} // of zone and owner: true is a CNAME, false other records
		for range rapid.IntRange(0, 12).Draw(t, "records") {
			z := &m.zones[rapid.IntRange(0, len(m.zones)-1).Draw(t, "zone")]
			owner := rapid.SampledFrom(names).Draw(t, "owner")
			typ := rapid.SampledFrom([]string{"A", "A", "TXT", "CNAME"}).Draw(t, "type")
			is, taken := alias[z.Name+" "+owner]
			if !within(owner, z.Name) || taken && (is || typ == "CNAME") || typ == "CNAME" && owner == z.Name {
				continue
			}
			alias[z.Name+" "+owner] = typ == "CNAME"
			data := map[string]string{
				"A":     fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 3).Draw(t, "address")),
				"TXT":   fmt.Sprintf("%q", rapid.SampledFrom(labels).Draw(t, "text")),
				"CNAME": rapid.SampledFrom(append(names, "www.example.net.")).Draw(t, "target"),
			}[typ]
			z.Records = append(z.Records, rr(fmt.Sprintf("%s %d %s %s", owner, rapid.IntRange(0, 5).Draw(t, "ttl"), typ, data)))
		}
		for _, name := range []string{"0.10.in-addr.arpa.", "10.in-addr.arpa."} {
			switch rapid.IntRange(0, 4).Draw(t, name) {
			case 0:
				m.zones = append(m.zones, Zone{Name: name, Records: []dns.RR{rr("1.1.0.10.in-addr.arpa. 5 PTR a.example."), rr("*.2.0.10.in-addr.arpa. 5 PTR b.example.")}})
			case 1:
				m.holes, holes = append(m.holes, name), append(holes, mustWire(name))
			}
		}
		addr := rapid.Custom(func(t *rapid.T) string {
			return fmt.Sprintf("10.0.%d.%d", rapid.IntRange(1, 3).Draw(t, "third"), rapid.IntRange(1, 3).Draw(t, "fourth"))
		})
		var hosts, leases []entry
		var file strings.Builder
		for range rapid.IntRange(0, 6).Draw(t, "hosts") {
			e := entry{rapid.SampledFrom([]string{"a.example.", "b.example.", "b.a.example.", "a.b.a.example.", "c.example.", "www.example.net.", "net.", "example.net."}).Draw(t, "host"), addr.Draw(t, "address")}
			hosts = append(hosts, e)
			fmt.Fprintf(&file, "%s %s\n", e.addr, e.name)
		}
		domain := "a.example."
		if slices.Contains(m.holes, domain) {
			domain = "lan.example."
		}
		taken := map[string]bool{} // an address has one lease
		for range rapid.IntRange(0, 6).Draw(t, "leases") {
			if e := (entry{rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "lease"), addr.Draw(t, "address")}); !taken[e.addr] {
				leases = append(leases, e)
				taken[e.addr] = true
			}
		}
		slices.SortFunc(leases, func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.name, b.name), netip.MustParseAddr(a.addr).Compare(netip.MustParseAddr(b.addr)))
		})
		base, err := NewLocal(LocalConfig{Zones: m.zones, Forwarded: holes, Hosts: hostsOf(t, file.String()), HostsTTL: 300, LeaseDomain: domain, LeaseTTL: 300})
		var given []Lease
		for _, e := range leases {
			given = append(given, Lease{e.name, netip.MustParseAddr(e.addr)})
		}
		without := *m.with(hosts, nil, domain)
		var bad error
		for _, z := range without.zones {
			for _, rr := range z.Records {
				if c, ok := rr.(*dns.CNAME); ok && bad == nil {
					_, bad = without.reply(c.Target, dns.TypeNULL)
				}
			}
		}
		if (err != nil) != (bad != nil) {
			t.Fatalf("zones %v: error %v, want %v", m.zones, err, bad)
		}
		if err != nil {
			return
		}
		l, _ := base.With(given)
		m = *m.with(hosts, leases, domain)
		names := append(names, "x.example.", "x.a.example.", "x.y.b.example.", "example.net.", "xample.", "www.example.net.", "net.", "x.net.", "c.example.",
			"c.a.example.", "d.a.example.", "x.d.a.example.", "a.lan.example.", "lan.example.", "0.10.in-addr.arpa.", "1.0.10.in-addr.arpa.")
		for i := range 9 {
			names = append(names, fmt.Sprintf("%d.%d.0.10.in-addr.arpa.", 1+i%3, 1+i/3))
		}
		for _, name := range names {
			for _, typ := range []string{"A", "TXT", "CNAME", "MX", "PTR"} {
				for _, c := range []struct {
					local *Local
					model *model
				}{{l, &m}, {base, &without}} {
					want, err := c.model.reply(name, dns.StringToType[typ])
					if err != nil {
						t.Fatalf("%s %s: the zones were taken, but: %v", name, typ, err)
					}
					if got := c.local.says(outer, name+" "+typ); got != want {
						t.Fatalf("zones %v, holes %v, hosts %v, leases %v\n%s %s:\ngot  %s\nwant %s", m.zones, m.holes, hosts, leases, name, typ, got, want)
					}
				}
			}
		}
	})
}
