package blocklist

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// part says for which types of question an entry is: one of types, or with not all but those. The zero part is for
// none. In emitFunc parts have numbers: 0 is every type, n is List.parts[n-1]. For a question of one type, those
// entries of a list count that are for the type, whatever their parts, as if the list held no others.
type part struct {
	types []uint16 // in order, each once
	not   bool
}

// everyType is the part with number 0.
var everyType = part{not: true}

// maxParts bounds the parts of one list: each costs as much as a list of its own.
const maxParts = 1000

func newPart(types []uint16, not bool) part {
	slices.Sort(types)
	return part{slices.Compact(types), not}
}

// none says whether the part is for no type.
func (p part) none() bool { return len(p.types) == 0 && !p.not }

// every says whether the part is for all types.
func (p part) every() bool { return len(p.types) == 0 && p.not }

// has says whether the part is for the type.
func (p part) has(t uint16) bool {
	_, named := slices.BinarySearch(p.types, t)
	return named != p.not
}

func (p part) equal(q part) bool { return p.not == q.not && slices.Equal(p.types, q.types) }

// and returns the types of both.
func (p part) and(q part) part {
	switch {
	case p.not && q.not:
		return newPart(slices.Concat(p.types, q.types), true)
	case p.not:
		p, q = q, p
	}
	var both []uint16
	for _, t := range p.types {
		if _, named := slices.BinarySearch(q.types, t); named != q.not {
			both = append(both, t)
		}
	}
	return part{types: both}
}

// without returns the types of p that are not of q.
func (p part) without(q part) part {
	q.not = !q.not
	return p.and(q)
}

// with returns the types of either.
func (p part) with(q part) part {
	p.not, q.not = !p.not, !q.not
	both := p.and(q)
	both.not = !both.not
	return both
}

// String returns the types by their names: "A AAAA", "not A", or "" for all.
func (p part) String() string {
	var words []string
	for _, t := range p.types {
		word := "TYPE" + strconv.Itoa(int(t))
		for name, number := range typeNames {
			if number == t {
				word = name
			}
		}
		words = append(words, word)
	}
	text := strings.Join(words, " ")
	if p.not && text != "" {
		text = "not " + text
	}
	return text
}

// partNumber returns the number of the list's part, a new one if the list does not have it yet. It is false when the
// list has too many.
func (r *reader) partNumber(p part) (number uint16, ok bool) {
	if p.every() {
		return 0, true
	}
	key := make([]byte, 1, 16)
	if p.not {
		key[0] = 1
	}
	for _, t := range p.types {
		key = binary.BigEndian.AppendUint16(key, t)
	}
	if number, ok = r.partOf[string(key)]; ok {
		return number, true
	}
	if len(r.list.parts) == maxParts {
		return 0, false
	}
	if r.partOf == nil {
		r.partOf = map[string]uint16{}
	}
	r.list.parts = append(r.list.parts, p)
	number = uint16(len(r.list.parts))
	r.partOf[string(key)] = number
	return number, true
}

// typeOf returns the number of a record type: one that has a name, in upper or lower case, or TYPE and its number
// (RFC 3597 §5).
func typeOf(text []byte) (number uint16, ok bool) {
	if string(text) == "CNAME" { // as in most zone files
		return rrCNAME, true
	}
	var room [16]byte
	if len(text) > len(room) {
		return 0, false
	}
	word := room[:0]
	for _, c := range text {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		word = append(word, c)
	}
	if number, ok = typeNames[string(word)]; ok {
		return number, true
	}
	if digits, ok := cutFold(word, "TYPE"); ok && len(digits) > 0 && digit(digits[0]) {
		n, err := strconv.ParseUint(string(digits), 10, 16)
		return uint16(n), err == nil
	}
	return 0, false
}

// Types that zone files are read for.
const (
	rrA          = 1
	rrNS         = 2
	rrCNAME      = 5
	rrSOA        = 6
	rrAAAA       = 28
	rrRRSIG      = 46
	rrNSEC       = 47
	rrDNSKEY     = 48
	rrNSEC3      = 50
	rrNSEC3PARAM = 51
	rrCDS        = 59
	rrCDNSKEY    = 60
	rrZONEMD     = 63
)

// typeNames are the record types of the IANA registry "Domain Name System (DNS) Parameters".
var typeNames = map[string]uint16{
	"A": 1, "NS": 2, "MD": 3, "MF": 4, "CNAME": 5, "SOA": 6, "MB": 7, "MG": 8, "MR": 9, "NULL": 10, "WKS": 11, "PTR": 12,
	"HINFO": 13, "MINFO": 14, "MX": 15, "TXT": 16, "RP": 17, "AFSDB": 18, "X25": 19, "ISDN": 20, "RT": 21, "NSAP": 22,
	"NSAP-PTR": 23, "SIG": 24, "KEY": 25, "PX": 26, "GPOS": 27, "AAAA": 28, "LOC": 29, "NXT": 30, "EID": 31, "NIMLOC": 32,
	"SRV": 33, "ATMA": 34, "NAPTR": 35, "KX": 36, "CERT": 37, "A6": 38, "DNAME": 39, "SINK": 40, "OPT": 41, "APL": 42,
	"DS": 43, "SSHFP": 44, "IPSECKEY": 45, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "DHCID": 49, "NSEC3": 50,
	"NSEC3PARAM": 51, "TLSA": 52, "SMIMEA": 53, "HIP": 55, "NINFO": 56, "RKEY": 57, "TALINK": 58, "CDS": 59,
	"CDNSKEY": 60, "OPENPGPKEY": 61, "CSYNC": 62, "ZONEMD": 63, "SVCB": 64, "HTTPS": 65, "DSYNC": 66, "HHIT": 67,
	"BRID": 68, "SPF": 99, "UINFO": 100, "UID": 101, "GID": 102, "UNSPEC": 103, "NID": 104, "L32": 105, "L64": 106,
	"LP": 107, "EUI48": 108, "EUI64": 109, "NXNAME": 128, "TKEY": 249, "TSIG": 250, "IXFR": 251, "AXFR": 252,
	"MAILB": 253, "MAILA": 254, "ANY": 255, "URI": 256, "CAA": 257, "AVC": 258, "DOA": 259, "AMTRELAY": 260,
	"RESINFO": 261, "WALLET": 262, "CLA": 263, "IPN": 264, "TA": 32768, "DLV": 32769,
}
