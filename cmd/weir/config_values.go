package main

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"weir/blocklist"
)

// Size is a number of bytes, written with a binary unit: "64MiB".
type Size int64

var sizeUnits = []struct {
	name  string
	shift uint
}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}}

func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && s%(1<<u.shift) == 0 {
			return strconv.FormatInt(int64(s>>u.shift), 10) + u.name
		}
	}
	return "0B"
}

// Age is how old something gets, written in days or with the units of durations: "400d", "36h". 0 is no limit.
type Age time.Duration

func (a Age) String() string {
	const day = 24 * time.Hour
	switch d := time.Duration(a); {
	case d == 0:
		return "0"
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	default:
		return d.String()
	}
}

// Client is an element of a policy's or a group's clients: one of a network, a hardware address, the name of a host, the
// name of a group, or the word "any".
type Client struct {
	Prefix netip.Prefix
	MAC    blocklist.MAC
	Host   string
	Group  string
	Any    bool
}

func (c Client) String() string {
	switch {
	case c.Any:
		return "any"
	case c.MAC != blocklist.MAC{}:
		return c.MAC.String()
	case c.Host != "":
		return hostMark + c.Host
	case c.Group != "":
		return c.Group
	}
	return c.Prefix.String()
}

// hostMark stands before the name of a host, which could be that of a group.
const hostMark = "host:"

func parseString(text string) (string, error) {
	if text == "" {
		return "", fault{label: "empty"}
	}
	return text, nil
}

func parseInteger(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return 0, fault{label: "too large"}
	}
	return n, nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fault{"no unit", fmt.Sprintf("write %q", text+"s")}
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 10000 {
			return 0, fault{"days are not a unit", fmt.Sprintf(`write "%dh"`, 24*n)}
		}
	}
	if tooLong(text) {
		return 0, fault{label: "too large"}
	}
	return 0, fault{"not a number with a unit", `units: ms, s, m, h; for example "1.5s"`}
}

// tooLong says that text, which is no duration, would be one if its numbers were smaller.
func tooLong(text string) bool {
	ones := strings.Map(func(r rune) rune {
		if r >= '1' && r <= '9' {
			return '0'
		}
		return r
	}, text)
	_, err := time.ParseDuration(ones)
	return err == nil
}

func parseAge(text string) (Age, error) {
	if text == "" || text == "0" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n <= 36500 {
			return Age(time.Duration(n) * 24 * time.Hour), nil
		}
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); err != nil && tooLong(text) || ok && tooLong(days+"h") && days[0] != '-' && !strings.ContainsAny(days, ".hms") {
		return 0, fault{"too large", `at most "36500d"; "0" is for ever`}
	}
	if err != nil || d < 0 {
		return 0, fault{"not a number with a unit", `units: m, h, d; for example "400d", or "0" for ever`}
	}
	return Age(d), nil
}

func parseSize(text string) (Size, error) {
	digits := strings.TrimRight(text, "BKMGTPibkmgtp ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fault{"not a whole number with a unit", `units: B, KiB, MiB, GiB, TiB; for example "64MiB"`}
	}
	unit := text[len(digits):]
	for _, u := range sizeUnits {
		switch {
		case unit == u.name && (n > math.MaxInt64>>u.shift || n < math.MinInt64>>u.shift):
			return 0, fault{label: "too large"}
		case unit == u.name:
			return Size(n << u.shift), nil
		}
	}
	for _, u := range sizeUnits { // 64MB, 64 mib, 64M: one unit is meant, but it does not say which
		if unit := strings.ToUpper(strings.TrimSpace(unit)); unit != "" && unit[0] == u.name[0] {
			return 0, fault{fmt.Sprintf("unknown unit %q", text[len(digits):]), fmt.Sprintf("write %q", digits+u.name)}
		}
	}
	return 0, fault{"no unit", `units: B, KiB, MiB, GiB, TiB; for example "64MiB"`}
}

func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return a, fault{"not an IPv4 or IPv6 address", `for example "192.0.2.1" or "2001:db8::1"`}
	case a.Zone() != "":
		return a, fault{"a zone means nothing to others", fmt.Sprintf("write %q", a.WithZone(""))}
	case a.Is4In6():
		return a, fault{"an IPv4 address in IPv6 form", fmt.Sprintf("write %q", a.Unmap())}
	}
	return a, nil
}

func parseAddrPort(text string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(text)
	if err == nil && ap.Addr().Is4In6() {
		return ap, fault{"an IPv4 address in IPv6 form", fmt.Sprintf("write %q", netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))}
	}
	if err == nil {
		return ap, nil
	}
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return ap, fault{"no port", fmt.Sprintf("write %q", netip.AddrPortFrom(a, 53))}
	}
	host, port, _ := strings.Cut(text, ":")
	switch _, err := strconv.ParseUint(port, 10, 16); {
	case err == nil && host == "":
		return ap, fault{"no address", fmt.Sprintf("write %q and %q for every address of this machine", "0.0.0.0:"+port, "[::]:"+port)}
	case err == nil && host == "localhost":
		return ap, fault{"a name, not an address", fmt.Sprintf("write %q and %q", "127.0.0.1:"+port, "[::1]:"+port)}
	}
	return ap, fault{"not an address and a port", `for example "127.0.0.1:53" or "[::1]:53"`}
}

func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
			a = a.Unmap()
			return p, fault{"an address, not a network", fmt.Sprintf("write %q", netip.PrefixFrom(a, a.BitLen()))}
		}
		return p, fault{"not an address, a slash and a number of bits", `for example "10.0.0.0/8" or "2001:db8::/32"`}
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return p, fault{"an IPv4 network in IPv6 form", fmt.Sprintf("write %q", netip.PrefixFrom(a.Unmap(), p.Bits()-96).Masked())}
	}
	if p != p.Masked() {
		return p, fault{"bits are set behind the network", fmt.Sprintf("write %q", p.Masked())}
	}
	return p, nil
}

func parseClient(text string) (Client, error) {
	if text == "any" {
		return Client{Any: true}, nil
	}
	if host, ok := strings.CutPrefix(text, hostMark); ok {
		host = strings.ToLower(host)
		if begin, _ := strings.CutSuffix(host, "*"); !isWord(begin) && host != "*" || host == "" {
			return Client{}, fault{"not the name of a host", `letters, digits, "-" and "_", as DHCP clients give it; a "*" at the end stands for any ending`}
		}
		return Client{Host: host}, nil
	}
	if mac, err := net.ParseMAC(text); err == nil && len(mac) == len(blocklist.MAC{}) {
		if c := (Client{MAC: blocklist.MAC(mac)}); c.MAC != (blocklist.MAC{}) {
			return c, nil
		}
		return Client{}, fault{label: "no hardware address of a client"}
	}
	p, err := parsePrefix(text)
	if err == nil {
		return Client{Prefix: p}, nil
	}
	if nearest(text, []string{"any"}) != "" {
		return Client{}, fault{"not a network", `did you mean "any"?`}
	}
	if isWord(text) && (text[0] < '0' || text[0] > '9') {
		return Client{Group: text}, nil // that there is one is checked with all the rest
	}
	return Client{}, err
}

// isWord says whether text is made of letters, digits, "-" and "_".
func isWord(text string) bool {
	for _, c := range []byte(text) {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return text != ""
}

// parseDNSType reads a type's mnemonic, or TYPE and its number (RFC 3597 §5), that a question may ask for.
func parseDNSType(text string) (uint16, error) {
	name := strings.ToUpper(text)
	t, ok := dns.StringToType[name]
	if digits, is := strings.CutPrefix(name, "TYPE"); !ok && is {
		n, err := strconv.ParseUint(digits, 10, 16)
		t, ok = uint16(n), err == nil
	}
	switch {
	case !ok:
		f := fault{"unknown type", `a type without a name is written "TYPE" and its number`}
		if _, err := strconv.ParseUint(text, 10, 16); err == nil {
			f.note = fmt.Sprintf("write %q", "TYPE"+text)
		}
		if near := nearest(name, typeNames()); near != "" {
			f.note = fmt.Sprintf("did you mean %q?", near)
		}
		return 0, f
	case t == dns.TypeNone || t == dns.TypeOPT || t == dns.TypeReserved:
		return 0, fault{label: "a type that no question asks for"}
	}
	return t, nil
}

func typeNames() []string {
	var names []string
	for name, t := range dns.StringToType {
		if t != dns.TypeNone && t != dns.TypeOPT && t != dns.TypeReserved {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkName says what is wrong with the shape of a domain name, which may end with a dot, and returns it in lower case
// without that dot. A name outside ASCII is converted where it is used, and only then is its length known.
func checkName(text string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	ascii := !strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 })
	switch {
	case name == "":
		return "", fault{label: "empty"}
	case strings.Contains(name, "://"):
		return "", fault{"a URL, not a name", "write only the host's name"}
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "", fault{label: "a blank or control character in a name"}
	case strings.Contains(name, "*"):
		return "", fault{label: "an asterisk may only be the whole first label of a rule's domain"}
	case ascii && len(name) > 253:
		return "", fault{label: "longer than 253 characters"}
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return "", fault{"an empty label", suggestName(name)}
		case ascii && len(label) > 63:
			return "", fault{label: "a label is longer than 63 characters"}
		}
	}
	return name, nil
}

// suggestName writes a name without its empty labels.
func suggestName(name string) string {
	labels := strings.FieldsFunc(name, func(r rune) bool { return r == '.' })
	if len(labels) == 0 {
		return ""
	}
	return fmt.Sprintf("write %q", strings.Join(labels, "."))
}

// A pattern is an element of a rule's domains: a name in lower case and which part of the tree below it is meant.
type pattern struct {
	name        string
	self, below bool
}

// parsePattern reads example.com (the name and below), =example.com (the name) or *.example.com (below).
func parsePattern(text string) (pattern, error) {
	p := pattern{self: true, below: true}
	rest := text
	switch {
	case text == "*":
		return p, fault{"matches every name", `say what happens to all other names with "default"`}
	case strings.HasPrefix(text, "="):
		p.below, rest = false, text[1:]
	case strings.HasPrefix(text, "*."):
		p.self, rest = false, text[2:]
	}
	name, err := checkName(rest)
	p.name = name
	return p, err
}
