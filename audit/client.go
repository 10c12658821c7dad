package audit

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A Client is who asked, as a record has it: an address; or, where Config.Privacy
// keeps addresses out, the network that it is in, or a pseudonym. The zero Client is
// not known. Clients can be compared with ==.
//
// Wherever the log and its store have a client as an address, what is none stands
// there as one that no packet can come from: a multicast address (RFC 4291 §2.7) with
// bits that are reserved:
//
//	offset size
//	     0    2  ff f1: a pseudonym       ff f4: an IPv4 network    ff f6: an IPv6 network
//	     2    2  month, from 1970-01 on   2 1 length of its prefix  2 1 length of its prefix
//	     4    4  0                        3 5 0                     3 5 0
//	     8    8  what tells it from       8 4 its address, then 0   8 8 first octets of its address
//	             others, 0: the others
type Client struct{ kept netip.Addr }

// ClientOf returns the client that has an address.
func ClientOf(a netip.Addr) Client { return Client{a} }

const (
	keptPseudonym = 0xf1
	keptNetwork4  = 0xf4
	keptNetwork6  = 0xf6

	pseudonymText = "client-"
	othersText    = "others"
	lastYear      = 2261 // the last whole one of times in nanoseconds
)

// A pseudonym is what stands for a client for a month.
type pseudonym struct {
	month uint16
	tells [8]byte // it from others; 0 is all those for which there was no room
}

func (p pseudonym) kept() netip.Addr {
	b := [16]byte{0: 0xff, 1: keptPseudonym}
	binary.BigEndian.PutUint16(b[2:], p.month)
	copy(b[8:], p.tells[:])
	return netip.AddrFrom16(b)
}

func (p pseudonym) appendTo(b []byte) []byte {
	b = append(b, pseudonymText...)
	b = append(appendMonth(b, p.month), '-')
	if p.tells == [8]byte{} {
		return append(b, othersText...)
	}
	return hex.AppendEncode(b, p.tells[:])
}

func (p pseudonym) String() string { return string(p.appendTo(nil)) }

func appendMonth(b []byte, month uint16) []byte {
	year, month := 1970+month/12, month%12+1
	return append(b, '0'+byte(year/1000), '0'+byte(year/100%10), '0'+byte(year/10%10), '0'+byte(year%10), '-', '0'+byte(month/10), '0'+byte(month%10))
}

func monthText(month uint16) string { return string(appendMonth(nil, month)) }

// parseMonth reads a month like "2026-03".
func parseMonth(text string) (month uint16, err error) {
	t, err := time.Parse("2006-01", text)
	if err != nil || t.Year() < 1970 || t.Year() > lastYear {
		return 0, fmt.Errorf("%q is no month: write one like 2026-03", text)
	}
	return monthOf(t.UnixNano()), nil
}

// monthOf returns the month, in UTC, of a time in nanoseconds since 1970.
func monthOf(at int64) uint16 {
	t := time.Unix(0, max(at, 0)).UTC()
	return uint16((t.Year()-1970)*12 + int(t.Month()) - 1)
}

// monthSpan returns when a month begins and when it has ended.
func monthSpan(month uint16) (from, to int64) {
	begin := func(m uint16) int64 {
		return time.Date(1970+int(m/12), time.Month(m%12+1), 1, 0, 0, 0, 0, time.UTC).UnixNano()
	}
	return begin(month), begin(month + 1)
}

// masked says that an address stands for something else.
func masked(a netip.Addr) bool {
	if !a.Is6() || a.As16()[0] != 0xff {
		return false
	}
	_, named := pseudonymOf(a)
	_, network := networkOf(a)
	return named || network
}

// pseudonymOf returns the pseudonym that an address stands for.
func pseudonymOf(a netip.Addr) (p pseudonym, ok bool) {
	if !a.Is6() {
		return p, false
	}
	b := a.As16()
	p = pseudonym{binary.BigEndian.Uint16(b[2:]), [8]byte(b[8:])}
	return p, b[0] == 0xff && b[1] == keptPseudonym && p.month < 12*(lastYear+1-1970) && a == p.kept()
}

// networkOf returns the network that an address stands for.
func networkOf(a netip.Addr) (p netip.Prefix, ok bool) {
	if !a.Is6() {
		return p, false
	}
	b := a.As16()
	switch {
	case b[0] != 0xff || b[1] == keptNetwork6 && b[2] > 64:
		return p, false
	case b[1] == keptNetwork4:
		p = netip.PrefixFrom(netip.AddrFrom4([4]byte(b[8:])), int(b[2]))
	case b[1] == keptNetwork6:
		var v [16]byte
		copy(v[:], b[8:])
		p = netip.PrefixFrom(netip.AddrFrom16(v), int(b[2]))
	}
	return p, p.IsValid() && a == keptNetwork(p.Masked())
}

// keptNetwork is the reverse of networkOf, for prefixes of at most 64 bits.
func keptNetwork(p netip.Prefix) netip.Addr {
	b := [16]byte{0: 0xff, 1: keptNetwork6, 2: byte(p.Bits())}
	if v := p.Addr(); v.Is4() {
		b[1] = keptNetwork4
		four := v.As4()
		copy(b[8:], four[:])
	} else {
		six := v.As16()
		copy(b[8:], six[:8])
	}
	return netip.AddrFrom16(b)
}

// IsValid says that the client is known.
func (c Client) IsValid() bool { return c.kept.IsValid() }

// Addr returns the client's address, if that was kept.
func (c Client) Addr() (a netip.Addr, ok bool) {
	if !c.kept.IsValid() || masked(c.kept) {
		return a, false
	}
	return c.kept, true
}

// Network returns the network that the client was in, if that was kept.
func (c Client) Network() (netip.Prefix, bool) { return networkOf(c.kept) }

// IsPseudonym says that the client is known by a pseudonym alone.
func (c Client) IsPseudonym() bool {
	_, ok := pseudonymOf(c.kept)
	return ok
}

// family returns 4 or 6, as far as that is known, else 0.
func (c Client) family() int {
	a, ok := c.Addr()
	if n, in := c.Network(); in {
		a, ok = n.Addr(), true
	}
	switch {
	case !ok:
		return 0
	case a.Is4():
		return 4
	default:
		return 6
	}
}

// Filter returns what Query.Client wants for this client and no other.
func (c Client) Filter() netip.Prefix {
	if n, ok := networkOf(c.kept); ok {
		return n
	}
	return netip.PrefixFrom(c.kept, c.kept.BitLen())
}

// Compare orders clients: addresses by their value, then networks and pseudonyms.
func (c Client) Compare(other Client) int { return c.kept.Compare(other.kept) }

// String returns an address, a network like 10.0.4.0/24, or a pseudonym like
// client-2026-03-0123456789abcdef.
func (c Client) String() string {
	if !c.IsValid() {
		return c.kept.String()
	}
	return string(c.appendTo(nil))
}

// appendTo appends what String returns, and nothing for the zero Client.
func (c Client) appendTo(b []byte) []byte {
	if p, ok := pseudonymOf(c.kept); ok {
		return p.appendTo(b)
	}
	if n, ok := networkOf(c.kept); ok {
		return n.AppendTo(b)
	}
	return c.kept.AppendTo(b)
}

// MarshalText returns what String does, and nothing for the zero Client.
func (c Client) MarshalText() ([]byte, error) { return c.appendTo([]byte{}), nil }

// UnmarshalText is the reverse of MarshalText.
func (c *Client) UnmarshalText(text []byte) (err error) {
	*c = Client{}
	if len(text) > 0 {
		*c, err = ParseClient(string(text))
	}
	return err
}

// ParseClient is the reverse of Client.String.
func ParseClient(text string) (Client, error) {
	if strings.HasPrefix(text, pseudonymText) {
		return parsePseudonym(text)
	}
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() || p.Bits() > 64 {
			return Client{}, fmt.Errorf("%q is no network of clients", text)
		}
		return Client{keptNetwork(p)}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || masked(a) {
		return Client{}, fmt.Errorf("%q is neither an address nor a pseudonym", text)
	}
	return Client{a}, nil
}

func parsePseudonym(text string) (c Client, err error) {
	bad := fmt.Errorf("%q is no pseudonym: they are written like client-2026-03-0123456789abcdef", text)
	rest := strings.TrimPrefix(text, pseudonymText)
	if len(rest) < 8 || rest[7] != '-' {
		return c, bad
	}
	var p pseudonym
	if p.month, err = parseMonth(rest[:7]); err != nil {
		return c, bad
	}
	if rest = rest[8:]; rest != othersText {
		n, err := strconv.ParseUint(rest, 16, 64)
		if err != nil || len(rest) != 16 || rest != strings.ToLower(rest) || n == 0 {
			return c, bad
		}
		binary.BigEndian.PutUint64(p.tells[:], n)
	}
	return Client{p.kept()}, nil
}
