package blocklist

import (
	"bytes"
	"net/netip"
)

// The trigger of a network of addresses in answers is the length of its prefix, then its address from the last part
// to the first (draft-vixie-dnsop-dns-rpz, section "IPv4 and IPv6 address encodings"):
//
//	24.0.2.0.192.rpz-ip         192.0.2.0/24
//	128.1.zz.db8.2001.rpz-ip    2001:db8::1, where zz stands for "::"

const (
	reasonTriggerAddress = "no IP address in reverse before rpz-ip"
	reasonTriggerBelow   = "wildcard of a network"
)

// triggerNetwork reads a trigger, a wire name that ends in rpz-ip. When reason is not empty it is none, and at is the
// offset of the label to blame.
func triggerNetwork(name []byte) (prefix netip.Prefix, at int, reason string) {
	var offs [128]uint8
	n := labels(name, &offs) - 1 // without rpz-ip
	label := func(i int) []byte { return name[offs[i]+1 : offs[i+1]] }
	if n < 2 || n > 9 {
		return prefix, 0, reasonTriggerAddress
	}
	bits, ok := prefixBits(label(0))
	if !ok {
		return prefix, 0, reasonPrefix
	}
	var text [64]byte // the address, the right way round
	host := text[:0]
	zz, words := false, 0
	for i := n - 1; i > 0; i-- {
		word := label(i)
		if string(word) == "zz" {
			if zz {
				return prefix, int(offs[i]), reasonTriggerAddress
			}
			zz = true
			if host = append(host, ':'); i == n-1 {
				host = append(host, ':')
			}
			continue
		}
		if len(word) > 4 || !hexadecimal(word) {
			return prefix, int(offs[i]), reasonTriggerAddress
		}
		words++
		if host = append(host, word...); i > 1 {
			host = append(host, ':')
		}
	}
	if n == 5 && !zz {
		host = bytes.ReplaceAll(host, []byte(":"), []byte("."))
	} else if zz == (words == 8) {
		return prefix, 0, reasonTriggerAddress
	}
	addr, ok := parseAddr(host)
	switch {
	case !ok:
		return prefix, int(offs[1]), reasonTriggerAddress
	case bits > addr.BitLen():
		return prefix, 0, reasonPrefix
	}
	return netip.PrefixFrom(addr, bits), 0, ""
}

func hexadecimal(word []byte) bool {
	for _, c := range word {
		if !digit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
