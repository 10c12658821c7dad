package resolver

import (
	"fmt"
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
		if !ok {
			if hops == 0 {
				return "elsewhere", nil
			}
			break
		}
		records, exists := find(z, name)
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

// TestLocalAgainstModel asks random zones for every name that could be in them.
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
		var bad error
		for _, z := range m.zones {
			for _, rr := range z.Records {
				if c, ok := rr.(*dns.CNAME); ok && bad == nil {
					_, bad = m.reply(c.Target, dns.TypeNULL)
				}
			}
		}
		l, err := NewLocal(m.zones, false, false, holes)
		if (err != nil) != (bad != nil) {
			t.Fatalf("zones %v: error %v, want %v", m.zones, err, bad)
		}
		if err != nil {
			return
		}
		for _, name := range append(names, "x.example.", "x.a.example.", "x.y.b.example.", "example.net.", "xample.") {
			for _, typ := range []string{"A", "TXT", "CNAME", "MX"} {
				want, err := m.reply(name, dns.StringToType[typ])
				if err != nil {
					t.Fatalf("%s %s: the zones were taken, but: %v", name, typ, err)
				}
				if got := l.says(outer, name+" "+typ); got != want {
					t.Fatalf("zones %v, holes %v\n%s %s:\ngot  %s\nwant %s", m.zones, m.holes, name, typ, got, want)
				}
			}
		}
	})
}
