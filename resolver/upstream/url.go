package upstream

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// A URLError tells what is wrong with a server's URL.
type URLError struct {
	Reason string
	Hint   string // what to write; "" if that cannot be told
}

func (e *URLError) Error() string {
	if e.Hint == "" {
		return e.Reason
	}
	return e.Reason + ": " + e.Hint
}

// A Target is the server that a URL of an encrypted transport means.
type Target struct {
	Scheme string         // tls or https
	Addr   netip.AddrPort // where it is; only the port is set if it is given by name
	Name   string         // to be looked up, in lower case; "" if it is given by address
	Verify string         // the name, or the address, that its certificate must be for; "" if pins alone decide
	Pins   []Pin          // of which its key must be one; none if Verify alone decides
	Path   string         // of https, with its slash
}

// A Pin is the SHA-256 of a SubjectPublicKeyInfo (RFC 7858 §4.2).
type Pin [sha256.Size]byte

const (
	defaultTLSPort   = 853 // RFC 7858 §3.1
	defaultHTTPSPort = 443
	pinScheme        = "sha256/"
)

// String returns the URL in one spelling, with its port.
func (t *Target) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s://", t.Scheme)
	if t.Name != "" {
		fmt.Fprintf(&b, "%s:%d", t.Name, t.Addr.Port())
	} else {
		b.WriteString(t.Addr.String())
	}
	b.WriteString(t.Path)
	for i, p := range t.Pins {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString("pin=" + pinScheme + base64.StdEncoding.EncodeToString(p[:]))
	}
	if t.Verify != "" && t.Verify != t.Name && t.Verify != t.Addr.Addr().String() {
		b.WriteString("#" + t.Verify)
	}
	return b.String()
}

// ParseTLS reads what follows tls:// in a URL: ADDRESS[:PORT]#NAME,
// ADDRESS[:PORT]?pin=sha256/BASE64 with more pins after &, both, or NAME[:PORT]
// for a server whose address is to be looked up. An error is a *URLError.
func ParseTLS(text string) (*Target, error) {
	t := &Target{Scheme: "tls"}
	text, verify, named := strings.Cut(text, "#")
	host, pins, pinned := strings.Cut(text, "?")
	if trimmed, path, more := strings.Cut(host, "/"); more {
		hint := "write tls://" + trimmed
		if path != "" {
			hint = "leave it out, or write https:// if the server speaks HTTP"
		}
		return nil, &URLError{"a path in a tls:// URL", hint}
	}
	if err := t.host(host, defaultTLSPort); err != nil {
		return nil, err
	}
	if pinned {
		if err := t.pin(pins); err != nil {
			return nil, err
		}
	}
	if named {
		return t, t.verify(verify)
	}
	if t.Verify = t.Name; t.Verify == "" && len(t.Pins) == 0 {
		return nil, &URLError{"nothing says whose certificate it must be", fmt.Sprintf("write tls://%s#NAME, or tls://%[1]s?pin=sha256/BASE64", host)}
	}
	return t, nil
}

// ParseHTTPS reads what follows https:// in a URL: NAME[:PORT]/PATH for a server
// whose address is to be looked up, ADDRESS[:PORT]/PATH#NAME for one that is not,
// or ADDRESS[:PORT]/PATH if the certificate is for the address. An error is a
// *URLError.
func ParseHTTPS(text string) (*Target, error) {
	t := &Target{Scheme: "https"}
	text, verify, named := strings.Cut(text, "#")
	host, path, ok := strings.Cut(text, "/")
	if i := strings.IndexAny(text, "?{"); i >= 0 {
		return nil, &URLError{"a query in an https:// URL; questions are posted", "write https://" + text[:i]}
	}
	if !ok || path == "" {
		return nil, &URLError{"no path", "often it is https://" + host + "/dns-query"}
	}
	for _, c := range []byte(path) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"\<>^|%`+"`", c) >= 0 {
			return nil, &URLError{fmt.Sprintf("%q in a path", c), ""}
		}
	}
	if err := t.host(host, defaultHTTPSPort); err != nil {
		return nil, err
	}
	t.Path = "/" + path
	if named {
		return t, t.verify(verify)
	}
	if t.Verify = t.Name; t.Verify == "" {
		t.Verify = t.Addr.Addr().WithZone("").String()
	}
	return t, nil
}

// host reads ADDRESS[:PORT] or NAME[:PORT].
func (t *Target) host(text string, port uint16) error {
	if strings.Contains(text, "@") {
		return &URLError{"a user in a URL", "write the server alone"}
	}
	name, digits, more := strings.Cut(text, ":")
	if _, err := netip.ParseAddr(name); err == nil || strings.Count(text, ":") > 1 || strings.Trim(name, "0123456789.[]") == "" {
		addr, err := parseHost(text, port)
		if err != nil {
			return &URLError{Reason: err.Error()}
		}
		t.Addr = addr
		return nil
	}
	if more {
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || n == 0 {
			return &URLError{fmt.Sprintf("%q is not a port", digits), ""}
		}
		port = uint16(n)
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !isHostName(name) {
		return &URLError{fmt.Sprintf("%q is neither an address nor a host name", text), ""}
	}
	t.Name, t.Addr = name, netip.AddrPortFrom(netip.Addr{}, port)
	return nil
}

// verify reads the name behind #.
func (t *Target) verify(text string) error {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if t.Name != "" && t.Name != name {
		return &URLError{"two names", "write the name alone, or the address and #NAME"}
	}
	if a, err := netip.ParseAddr(name); err == nil {
		name = a.Unmap().String()
	} else if !isHostName(name) {
		return &URLError{fmt.Sprintf("%q behind # is not a host name", text), ""}
	}
	t.Verify = name
	return nil
}

// pin reads pin=sha256/BASE64, and more of it behind &.
func (t *Target) pin(text string) error {
	for part := range strings.SplitSeq(text, "&") {
		value, ok := strings.CutPrefix(part, "pin=")
		if !ok {
			return &URLError{fmt.Sprintf("%q is not a pin", part), "write ?pin=sha256/BASE64"}
		}
		digest, ok := strings.CutPrefix(value, pinScheme)
		b, err := base64.StdEncoding.DecodeString(digest)
		if !ok || err != nil || len(b) != sha256.Size {
			return &URLError{fmt.Sprintf("%q is not sha256/ and %d octets in base64", value, sha256.Size), ""}
		}
		t.Pins = append(t.Pins, Pin(b))
	}
	return nil
}

// isHostName reports whether text is a name that a certificate can be for.
func isHostName(text string) bool {
	if _, ok := dns.IsDomainName(text); !ok || text == "" {
		return false
	}
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return false
			}
		}
	}
	return true
}

// noScheme says what is missing in a URL without "://".
func noScheme(text string) error {
	if text == "system" {
		return errors.New("the system's servers are read from resolv.conf, not opened")
	}
	if a, err := netip.ParseAddr(text); err == nil {
		if a.Is6() {
			text = "[" + text + "]"
		}
		return fmt.Errorf("no transport: write udp://%s", text)
	}
	if _, err := parseHost(text, defaultPort); err == nil {
		return fmt.Errorf("no transport: write udp://%s", text)
	}
	return errors.New("not a server: write udp://ADDRESS or tcp://ADDRESS")
}

// parseHost reads ADDRESS[:PORT], an IPv6 address in brackets. An address must be
// one that a server can have.
func parseHost(text string, port uint16) (netip.AddrPort, error) {
	host, err := netip.ParseAddrPort(text)
	if err != nil {
		bare := text
		if inner, ok := strings.CutPrefix(text, "["); ok {
			bare, ok = strings.CutSuffix(inner, "]")
			if !ok || !strings.Contains(bare, ":") {
				return netip.AddrPort{}, fmt.Errorf("%q is not an address and port", text)
			}
		}
		a, err := netip.ParseAddr(bare)
		switch {
		case err == nil && a.Is6() && bare == text:
			return netip.AddrPort{}, fmt.Errorf("write an IPv6 address in brackets: [%s]", text)
		case err == nil:
			host = netip.AddrPortFrom(a, port)
		case strings.ContainsAny(text, "/?#@"):
			return netip.AddrPort{}, fmt.Errorf("nothing may stand beside the address and port in %q", text)
		case strings.ContainsAny(text, "[]") || strings.Trim(text, "0123456789.:") == "":
			return netip.AddrPort{}, fmt.Errorf("%q is not an address and port", text)
		default:
			return netip.AddrPort{}, fmt.Errorf("%q is not an address: write the server's address, host names are not resolved here", text)
		}
	}
	a := host.Addr().Unmap()
	if a.IsUnspecified() || a.IsMulticast() || host.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("no server can have the address %s", host)
	}
	return netip.AddrPortFrom(a, host.Port()), nil
}

// Encrypted says that a server with this URL is asked over an encrypted transport.
func Encrypted(url string) bool {
	scheme, _, _ := strings.Cut(url, "://")
	switch strings.ToLower(scheme) {
	case "tls", "https":
		return true
	}
	return false
}
