package resolver

import (
	"net/netip"

	"weir/blocklist"
)

// What is sent to an address of these networks comes out at the IPv4 address
// that it carries: NAT64 (RFC 6052 §2.1, and RFC 8215, of which prefixes of 96
// bits are meant) and Teredo (RFC 4380 §4), which inverts it, in the last four
// octets, 6to4 (RFC 3056 §2) behind the prefix. An operator's own NAT64 prefixes
// are those of DNS64; of another, a list can name the network.
var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	nat64Own  = netip.MustParsePrefix("64:ff9b:1::/48")
	teredo    = netip.MustParsePrefix("2001::/32")
	sixToFour = netip.MustParsePrefix("2002::/16")
)

// carried returns the IPv4 address that a leads to, if it is of such a network or
// of one that is translated.
func (s *State) carried(a netip.Addr) (v4 netip.Addr, ok bool) { return carried(a, s.prefixes) }

// knows says whether facts have behind each address the one that it carries.
func (s *State) knows(f *blocklist.Facts) bool {
	for i, a := range f.Addrs {
		if v4, ok := s.carried(a); ok && (i+1 == len(f.Addrs) || f.Addrs[i+1] != v4) {
			return false
		}
	}
	return true
}

// carried returns the IPv4 address that a leads to, also by the prefixes of own.
// One in IPv6 form (::ffff:0:0/96) is that address itself and carries none.
func carried(a netip.Addr, own []*DNS64) (v4 netip.Addr, ok bool) {
	if a.Is4() {
		return v4, false
	}
	for _, d := range own {
		if v4, ok := d.extract(a); ok {
			return v4, true
		}
	}
	b := a.As16()
	switch {
	case nat64.Contains(a), nat64Own.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case teredo.Contains(a):
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	}
	return netip.Addr{}, false
}
