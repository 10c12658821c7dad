package resolver

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// rdata packs a record's data without compression.
func rdata(rr dns.RR) ([]byte, error) {
	buf := make([]byte, dns.Len(rr)+256)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, err
	}
	_, owner, err := dns.UnpackDomainName(buf, 0)
	if err != nil {
		return nil, err
	}
	return slices.Clone(buf[owner+10 : end]), nil
}

// brief shows a record in an error.
func brief(rr dns.RR) string {
	s := rr.String()
	s = string(bytes.ReplaceAll([]byte(s), []byte("\t"), []byte(" ")))
	return s[:min(len(s), 120)]
}

// wireName turns presentation form into a wire name. Upper and lower case are
// one for ASCII letters alone (RFC 4343), so it is done on octets.
func wireName(text string) ([]byte, error) {
	var buf [256]byte
	n, err := dns.PackDomainName(dns.Fqdn(text), buf[:], 0, nil, false)
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", text, err)
	}
	if n > 255 {
		return nil, fmt.Errorf("name %q: longer than 255 octets", text)
	}
	name := bytes.Clone(buf[:n])
	for i, c := range name {
		if 'A' <= c && c <= 'Z' { // no length octet is
			name[i] = c | 0x20
		}
	}
	return name, nil
}

func presentation(name []byte) string {
	s, _, err := dns.UnpackDomainName(name, 0)
	if err != nil {
		return fmt.Sprintf("%q", name)
	}
	return s
}

// lastLabel returns where the label before the root begins, 0 for the root, and
// how many labels there are before the root.
func lastLabel(name []byte) (last, labels int) {
	for off := 0; name[off] != 0; off += 1 + int(name[off]) {
		last = off
		labels++
	}
	return last, labels
}

// onLabel reports whether a label of name begins at off.
func onLabel(name []byte, off int) bool {
	at := 0
	for at < off {
		at += 1 + int(name[at])
	}
	return at == off
}

// reverseName is the wire name below which the pointers of an address stand
// (RFC 1035 §3.5, RFC 3596 §2.5).
func reverseName(a netip.Addr) []byte {
	var name []byte
	label := func(text string) { name = append(append(name, byte(len(text))), text...) }
	octets := a.AsSlice()
	slices.Reverse(octets)
	for _, c := range octets {
		if a.Is4() {
			label(strconv.Itoa(int(c)))
			continue
		}
		label(strconv.FormatUint(uint64(c&15), 16))
		label(strconv.FormatUint(uint64(c>>4), 16))
	}
	if a.Is4() {
		label("in-addr")
	} else {
		label("ip6")
	}
	label("arpa")
	return append(name, 0)
}

// reverseZone is the name of the zone of a network whose length is a whole
// number of labels, without a dot at its end.
func reverseZone(p netip.Prefix) string {
	labels := 4 * p.Addr().BitLen() / 32 // IPv4
	per := 8
	if p.Addr().Is6() {
		labels, per = 32, 4
	}
	name := strings.SplitN(strings.TrimSuffix(presentation(reverseName(p.Addr())), "."), ".", labels-p.Bits()/per+1)
	return name[len(name)-1]
}
