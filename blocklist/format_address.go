package blocklist

import (
	"bytes"
	"net/netip"
)

// Addresses as lists write them, read without a string where that is easy: a list has one in each line.

// address says whether text is an IP address, or a network in CIDR notation, and no name.
func address(text []byte) bool {
	if len(text) > 64 {
		return false
	}
	host, length, network := bytes.Cut(text, []byte("/"))
	most := 32
	if _, ok := parseIPv4(host); !ok {
		addr, ok := parseIPv6(host)
		if !ok || network && addr.Zone() != "" {
			return false
		}
		most = 128
	}
	if !network {
		return true
	}
	bits, ok := prefixBits(length)
	return ok && bits <= most
}

// parseAddr reads an address without a zone.
func parseAddr(text []byte) (netip.Addr, bool) {
	if addr, ok := parseIPv4(text); ok {
		return addr, true
	}
	addr, ok := parseIPv6(text)
	return addr, ok && addr.Zone() == ""
}

// parseIPv4 is netip.ParseAddr for IPv4 addresses, without making a string.
func parseIPv4(text []byte) (addr netip.Addr, ok bool) {
	var octets [4]byte
	octet, digits, value := 0, 0, 0
	for _, c := range text {
		switch {
		case digit(c):
			if digits > 0 && value == 0 {
				return addr, false
			}
			value = 10*value + int(c-'0')
			digits++
			if value > 255 {
				return addr, false
			}
		case c == '.' && digits > 0 && octet < 3:
			octets[octet] = byte(value)
			octet++
			digits, value = 0, 0
		default:
			return addr, false
		}
	}
	octets[3] = byte(value)
	return netip.AddrFrom4(octets), octet == 3 && digits > 0
}

// parseIPv6 is netip.ParseAddr for IPv6 addresses, without making a string of what cannot be one.
func parseIPv6(text []byte) (addr netip.Addr, ok bool) {
	if len(text) < 2 || len(text) > 64 || bytes.IndexByte(text[:min(5, len(text))], ':') < 0 {
		return addr, false
	}
	if string(text) == "::" {
		return netip.IPv6Unspecified(), true
	}
	for _, c := range text {
		if c == '%' {
			break
		}
		if c = lower(c); !digit(c) && (c < 'a' || c > 'f') && c != ':' && c != '.' {
			return addr, false
		}
	}
	addr, err := netip.ParseAddr(string(text))
	return addr, err == nil
}

// prefixBits reads a number of up to three digits, without zeros before it.
func prefixBits(text []byte) (bits int, ok bool) {
	if len(text) > 3 || !digits(text) || len(text) > 1 && text[0] == '0' {
		return 0, false
	}
	for _, c := range text {
		bits = 10*bits + int(c-'0')
	}
	return bits, true
}
