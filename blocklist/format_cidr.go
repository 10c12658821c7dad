package blocklist

import (
	"bytes"
	"net/netip"
)

// The cidr format: networks of addresses that answers shall not have, one a line.
//
//	192.0.2.0/24               the network, also when bits after the prefix are set
//	2001:db8::1                the address alone
//	192.0.2.5-192.0.2.20       all addresses from the first to the last; there may be blanks around the hyphen
//
// "#" and ";" begin a comment, anywhere; "//" does at the beginning of a line or after a blank. An IPv4 address in
// IPv6 form, ::ffff:192.0.2.1, is the IPv4 address.

func claimsCIDR(line []byte) bool {
	line = cutNetworkComment(line)
	if i := bytes.IndexByte(line, '-'); i >= 0 {
		line = bytes.TrimSpace(line[:i])
	}
	return len(line) > 0 && address(line)
}

const (
	ignoredNetwork   = "network: for addresses in answers"
	ignoredAllNets   = "every address (a rule without conditions on the answer matches every one)"
	reasonNetwork    = "neither an IP address nor a network such as 192.0.2.0/24"
	reasonPrefix     = "prefix length that is no number up to 32, or up to 128 for IPv6"
	reasonRange      = "range that does not lead from an address up to another of its kind"
	reasonAfterRange = "text after a network (a comment begins with # or ;)"
)

func readCIDR(r *reader, line []byte) {
	line = cutNetworkComment(line)
	if len(line) == 0 {
		r.comment()
		return
	}
	if first, last, found := bytes.Cut(line, []byte("-")); found {
		r.addressRange(line, bytes.TrimSpace(first), bytes.TrimSpace(last))
		return
	}
	field, rest := cutField(line)
	if len(rest) > 0 {
		r.unreadable(rest, 0, reasonAfterRange)
		return
	}
	prefix, at, reason := parseNetwork(field)
	if reason != "" {
		r.unreadable(field, at, reason)
		return
	}
	r.netEntry(prefix, false, ignoredNetwork)
}

// cutNetworkComment cuts off a comment. No address has one of its marks in it.
func cutNetworkComment(line []byte) []byte {
	for i, c := range line {
		if c == '#' || c == ';' || c == '/' && i+1 < len(line) && line[i+1] == '/' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return bytes.TrimRight(line[:i], " \t")
		}
	}
	return line
}

// parseNetwork reads an address or a network. When reason is not empty text is neither, and at is the offset to blame.
func parseNetwork(text []byte) (prefix netip.Prefix, at int, reason string) {
	host, length, network := bytes.Cut(text, []byte("/"))
	addr, ok := parseAddr(host)
	switch {
	case !ok:
		return prefix, 0, reasonNetwork
	case !network:
		return netip.PrefixFrom(addr, addr.BitLen()), 0, ""
	}
	bits, ok := prefixBits(length)
	if !ok || bits > addr.BitLen() {
		return prefix, len(host) + 1, reasonPrefix
	}
	return netip.PrefixFrom(addr, bits), 0, ""
}

// addressRange takes the networks that the range of line, from first to last, consists of.
func (r *reader) addressRange(line, first, last []byte) {
	from, ok := parseAddr(first)
	to, ok2 := parseAddr(last)
	from, to = from.Unmap(), to.Unmap()
	if !ok || !ok2 || from.BitLen() != to.BitLen() || to.Less(from) {
		r.unreadable(line, 0, reasonRange)
		return
	}
	for {
		bits := 0
		for !startsWithin(from, bits, to) {
			bits++
		}
		end := lastAddr(netip.PrefixFrom(from, bits))
		r.netEntry(netip.PrefixFrom(from, bits), false, ignoredNetwork)
		if end == to {
			return
		}
		from = end.Next()
	}
}

// startsWithin says whether the network of so many bits that begins at from does begin there, and ends at to or before.
func startsWithin(from netip.Addr, bits int, to netip.Addr) bool {
	prefix := netip.PrefixFrom(from, bits)
	return prefix.Masked().Addr() == from && !to.Less(lastAddr(prefix))
}

// lastAddr returns the last address of a network.
func lastAddr(prefix netip.Prefix) netip.Addr {
	octets := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < 8*len(octets); bit++ {
		octets[bit/8] |= 0x80 >> (bit % 8)
	}
	addr, _ := netip.AddrFromSlice(octets)
	return addr
}

// netEntry takes a network that the list holds, or, with exception, does not hold. ignored is for a reader that has
// no use for networks.
func (r *reader) netEntry(prefix netip.Prefix, exception bool, ignored string) {
	if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	r.networks++
	switch {
	case prefix.Bits() == 0:
		r.ignore(ignoredAllNets)
	case r.network == nil:
		r.ignore(ignored)
	default:
		r.list.Networks++
		if err := r.network(r.number, prefix.Masked(), exception); err != nil && r.err == nil {
			r.err = err
		}
	}
}
