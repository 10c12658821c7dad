package audit

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// NameString returns a wire name as records have it.
func NameString(wire []byte) string { return nameString(wire) }

// nameString returns the presentation form of a wire name: no final dot, "." for
// the root, \DDD for every octet outside 0x21..0x7e and for dots and backslashes
// inside a label (RFC 4343 §2.1). An empty name gives "". Octets that are no
// wire name are shown up to where they stop being one.
func nameString(wire []byte) string {
	if len(wire) == 0 {
		return ""
	}
	b := make([]byte, 0, len(wire))
	for len(wire) > 0 && wire[0] != 0 && wire[0] < 64 {
		label := wire[1:min(1+int(wire[0]), len(wire))]
		wire = wire[1+len(label):]
		if len(b) > 0 {
			b = append(b, '.')
		}
		for _, c := range label {
			if c < 0x21 || c > 0x7e || c == '.' || c == '\\' {
				b = appendEscape(b, c)
			} else {
				b = append(b, c)
			}
		}
	}
	if len(b) == 0 {
		return "."
	}
	return string(b)
}

// aliasString returns what a Record's answers have for a name: one that reads like
// an address, which an alias may, has its first octet escaped.
func aliasString(name string) string {
	if !isAddress(name) {
		return name
	}
	return string(appendEscape(nil, name[0])) + name[1:]
}

// isAddress says that one of a record's answers is an address; else it is an alias.
func isAddress(answer string) bool {
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	if n := len(answer); n == 0 || (!digit(answer[0]) || !digit(answer[n-1])) && strings.IndexByte(answer, ':') < 0 {
		return false // as most names, without an error to be made
	}
	_, err := netip.ParseAddr(answer)
	return err == nil
}

func appendEscape(b []byte, c byte) []byte {
	return append(b, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
}

// printable returns text with every octet that could steer a terminal or a
// reader's eye (control and format characters, bad UTF-8) as \DDD. A backslash stays as it
// is, so that what is printable stays the same: rows are hashed, and packs kept, in this form.
func printable(text []byte) string {
	clean := true
	for i := 0; i < len(text) && clean; {
		r, n := utf8.DecodeRune(text[i:])
		clean = printableRune(r, n)
		i += n
	}
	if clean {
		return string(text)
	}
	var b []byte
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		for _, c := range text[i : i+n] {
			if printableRune(r, n) {
				b = append(b, c)
			} else {
				b = appendEscape(b, c)
			}
		}
		i += n
	}
	return string(b)
}

func printableRune(r rune, n int) bool {
	return (r != utf8.RuneError || n > 1) && unicode.IsPrint(r)
}

// below says whether the wire name is zone or lies below it.
func below(name, zone []byte) bool {
	for len(name) > len(zone) {
		if name[0] == 0 || name[0] > 63 || int(name[0]) >= len(name) {
			return false
		}
		name = name[1+name[0]:]
	}
	return string(name) == string(zone)
}

// Names of the IANA registries "Resource Record (RR) TYPEs", "DNS CLASSes" and
// "DNS RCODEs"; what is not here has its number (RFC 3597 §5).
var (
	types = map[uint16]string{
		1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 10: "NULL", 11: "WKS", 12: "PTR", 13: "HINFO", 14: "MINFO", 15: "MX",
		16: "TXT", 17: "RP", 18: "AFSDB", 19: "X25", 20: "ISDN", 21: "RT", 22: "NSAP", 24: "SIG", 25: "KEY", 26: "PX",
		28: "AAAA", 29: "LOC", 33: "SRV", 35: "NAPTR", 36: "KX", 37: "CERT", 39: "DNAME", 41: "OPT", 42: "APL", 43: "DS",
		44: "SSHFP", 45: "IPSECKEY", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 49: "DHCID", 50: "NSEC3", 51: "NSEC3PARAM",
		52: "TLSA", 53: "SMIMEA", 55: "HIP", 59: "CDS", 60: "CDNSKEY", 61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD",
		64: "SVCB", 65: "HTTPS", 66: "DSYNC", 99: "SPF", 104: "NID", 105: "L32", 106: "L64", 107: "LP", 108: "EUI48",
		109: "EUI64", 128: "NXNAME", 249: "TKEY", 250: "TSIG", 251: "IXFR", 252: "AXFR", 253: "MAILB", 254: "MAILA",
		255: "ANY", 256: "URI", 257: "CAA", 258: "AVC", 259: "DOA", 260: "AMTRELAY", 261: "RESINFO", 262: "WALLET",
		32768: "TA", 32769: "DLV",
	}
	classes = map[uint16]string{1: "IN", 3: "CH", 4: "HS", 254: "NONE", 255: "ANY"}
	rcodes  = map[uint16]string{
		0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET",
		8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE", 11: "DSOTYPENI", 16: "BADVERS", 17: "BADKEY", 18: "BADTIME",
		19: "BADMODE", 20: "BADNAME", 21: "BADALG", 22: "BADTRUNC", 23: "BADCOOKIE",
	}
)

func typeString(v uint16) string  { return registered(types, v, "TYPE") }
func classString(v uint16) string { return registered(classes, v, "CLASS") }
func rcodeString(v uint16) string { return registered(rcodes, v, "RCODE") }

func registered(names map[uint16]string, v uint16, prefix string) string {
	if s, ok := names[v]; ok {
		return s
	}
	return prefix + strconv.Itoa(int(v))
}

// until returns text cut to at most n octets, and says so at its end.
func until(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return fmt.Sprintf("%s … (%d octets cut)", text[:n], len(text)-n)
}
