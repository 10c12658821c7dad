package resolver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// A builtin is an entry of IANA's registries of names that must not be asked
// elsewhere, Special-Use Domain Names and Locally-Served DNS Zones: a zone that
// is empty, but for what records adds. Any name below it does not exist, unless all do.
type builtin struct {
	zone     string   // without a dot at its end
	ref      string   // what says so
	private  bool     // it is for the reverse names of addresses
	all      bool     // every name below it exists, and has no record
	parentDS bool     // that it is not signed is for its parent to prove
	records  []string // relative to zone
}

// specialNames stand for this host or for nothing. Of internal no registry tells
// but ICANN's reservation.
var specialNames = []builtin{
	{zone: "localhost", ref: "RFC 6761 §6.3", records: []string{"@ A 127.0.0.1", "@ AAAA ::1", "* A 127.0.0.1", "* AAAA ::1"}},
	{zone: "test", ref: "RFC 6761 §6.2"},
	{zone: "invalid", ref: "RFC 6761 §6.4"},
	{zone: "local", ref: "RFC 6762 §22.1"},
	{zone: "onion", ref: "RFC 7686 §2"},
	{zone: "home.arpa", ref: "RFC 8375 §4", parentDS: true},
	{zone: "resolver.arpa", ref: "RFC 9462 §6.4", all: true},
	{zone: "alt", ref: "RFC 9476 §2"},
	{zone: "service.arpa", ref: "RFC 9665", parentDS: true},
	{zone: "internal", ref: "ICANN resolution 2024.07.29.06"},
}

// privateNetworks are the networks whose reverse names mean something only
// where they are, or nothing anywhere. A network whose length is between two
// labels is several zones. Loopback addresses have a name.
var privateNetworks = []struct {
	network string
	ref     string
	records []string
}{
	{"10.0.0.0/8", "RFC 6303 §4.1", nil},
	{"172.16.0.0/12", "RFC 6303 §4.1", nil},
	{"192.168.0.0/16", "RFC 6303 §4.1", nil},
	{"0.0.0.0/8", "RFC 6303 §4.2", nil},
	{"127.0.0.0/8", "RFC 6303 §4.2", []string{"1.0.0 PTR localhost."}},
	{"169.254.0.0/16", "RFC 6303 §4.2", nil},
	{"192.0.2.0/24", "RFC 6303 §4.2", nil},
	{"198.51.100.0/24", "RFC 6303 §4.2", nil},
	{"203.0.113.0/24", "RFC 6303 §4.2", nil},
	{"255.255.255.255/32", "RFC 6303 §4.2", nil},
	{"100.64.0.0/10", "RFC 7793 §2", nil},
	{"::/128", "RFC 6303 §4.3", nil},
	{"::1/128", "RFC 6303 §4.3", []string{"@ PTR localhost."}},
	{"fd00::/8", "RFC 6303 §4.4", nil},
	{"fe80::/10", "RFC 6303 §4.5", nil},
	{"2001:db8::/32", "RFC 6303 §4.6", nil},
}

// builtins are all entries.
func builtins() []builtin {
	all := slices.Clone(specialNames)
	for _, n := range privateNetworks {
		for _, p := range labelNetworks(netip.MustParsePrefix(n.network)) {
			all = append(all, builtin{zone: reverseZone(p), ref: n.ref, private: true, records: n.records})
		}
	}
	return all
}

// labelNetworks are the networks of whole labels that p consists of, 4 bits to a
// label for IPv6 and 8 for IPv4.
func labelNetworks(p netip.Prefix) []netip.Prefix {
	per := 8
	if p.Addr().Is6() {
		per = 4
	}
	bits := (p.Bits() + per - 1) / per * per
	octets := p.Addr().AsSlice()
	var out []netip.Prefix
	for range 1 << (bits - p.Bits()) {
		a, _ := netip.AddrFromSlice(octets)
		out = append(out, netip.PrefixFrom(a, bits))
		if bits > 0 {
			octets[(bits-1)/8] += 1 << ((8 - bits%8) % 8)
		}
	}
	return out
}

// Builtins are the zones that are answered here without being configured,
// without a dot at their end.
func Builtins() []string {
	var out []string
	for _, b := range builtins() {
		out = append(out, b.zone)
	}
	return out
}

// BuiltinsOf returns those of Builtins that text means: one by its name, or all
// that are for the reverse names of a network. It returns none if there are none.
func BuiltinsOf(text string) []string {
	network, err := netip.ParsePrefix(text)
	if err != nil {
		name := strings.ToLower(strings.TrimSuffix(text, "."))
		if slices.Contains(Builtins(), name) {
			return []string{name}
		}
		return nil
	}
	var out []string
	for _, n := range privateNetworks {
		for _, p := range labelNetworks(netip.MustParsePrefix(n.network)) {
			if network.Bits() <= p.Bits() && network.Contains(p.Addr()) {
				out = append(out, reverseZone(p))
			}
		}
	}
	return out
}

// builtinTTL is that of a built-in zone's records and negative answers, in
// seconds (RFC 6303 §3).
const builtinTTL = 10800

// builtinZones are those that c wants, each with the SOA and NS records of RFC
// 6303 §3.
func builtinZones(c *LocalConfig) []Zone {
	var out []Zone
	for _, b := range builtins() {
		if wanted := c.Special && !b.private || c.Private && b.private; !wanted || slices.Contains(c.Except, b.zone) {
			continue
		}
		z := Zone{Name: b.zone + ".", builtin: &b}
		for _, line := range append([]string{"@ SOA @ nobody.invalid. 1 3600 1200 604800 10800", "@ NS @"}, b.records...) {
			p := dns.NewZoneParser(strings.NewReader(line+"\n"), z.Name, "")
			p.SetDefaultTTL(builtinTTL)
			rr, ok := p.Next()
			if !ok {
				panic(fmt.Sprintf("%s: %s: %v", z.Name, line, p.Err())) // a mistake in this file, met by every test
			}
			z.Records = append(z.Records, rr)
		}
		out = append(out, z)
	}
	return out
}
