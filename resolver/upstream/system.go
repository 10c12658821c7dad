package upstream

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// System reads a resolv.conf(5) file and returns its name servers as URLs for
// Open, in their order and each once. Servers that are ourselves, by the
// addresses self that we listen on, are left out, for a query to them would come
// back for ever; skipped says in a line each what was left out and why. It is an
// error if no server is left. Other settings of the file are not for a resolver
// and are passed over.
func System(path string, self []netip.AddrPort) (servers, skipped []string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("system servers: %w", err)
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "nameserver" {
			continue
		}
		if len(fields) < 2 {
			skipped = append(skipped, fmt.Sprintf("%s:%d: nameserver without an address", path, number))
			continue
		}
		addr, err := netip.ParseAddr(fields[1])
		if err != nil || addr.IsMulticast() {
			skipped = append(skipped, fmt.Sprintf("%s:%d: %q is not an address of a server", path, number, fields[1]))
			continue
		}
		server := netip.AddrPortFrom(loopback(addr.Unmap()), defaultPort)
		if receives(self, server) {
			skipped = append(skipped, fmt.Sprintf("%s:%d: %s is this resolver", path, number, server))
			continue
		}
		if url := "udp://" + server.String(); !slices.Contains(servers, url) {
			servers = append(servers, url)
		}
	}
	if len(servers) == 0 {
		reason := "names no server"
		if len(skipped) > 0 {
			reason = "names no usable server: " + strings.Join(skipped, "; ")
		}
		return nil, skipped, fmt.Errorf("system servers: %s %s", path, reason)
	}
	return servers, skipped, nil
}

// IsSelf reports whether a server's URL leads back to one of the addresses self
// that we listen on.
func IsSelf(url string, self []netip.AddrPort) bool {
	server, ok := address(url)
	return ok && receives(self, server)
}

// address returns the address in a server's URL, if it is given by one.
func address(url string) (netip.AddrPort, bool) {
	scheme, host, _ := strings.Cut(url, "://")
	parse := ParseTLS
	switch strings.ToLower(scheme) {
	case "tls":
	case "https":
		parse = ParseHTTPS
	default:
		a, err := parseHost(host, defaultPort)
		return a, err == nil
	}
	t, err := parse(host)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return t.Addr, t.Name == ""
}

// loopback returns the address that the unspecified one stands for in resolv.conf.
func loopback(a netip.Addr) netip.Addr {
	switch {
	case !a.IsUnspecified():
		return a
	case a.Is4():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// receives reports whether a listener on one of the addresses self gets what is
// sent to server. A listener on the unspecified address gets what is sent to any
// address of this machine; that of IPv6 may get IPv4 as well.
func receives(self []netip.AddrPort, server netip.AddrPort) bool {
	to := server.Addr().WithZone("")
	for _, s := range self {
		a := s.Addr().Unmap().WithZone("")
		if s.Port() != server.Port() {
			continue
		}
		if a == to || a.IsUnspecified() && (a.Is6() || to.Is4()) && isLocal(to) {
			return true
		}
	}
	return false
}

// isLocal reports whether a is an address of this machine. If the machine does not
// tell its addresses, only loopback is.
func isLocal(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	prefixes, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, p := range prefixes {
		if n, ok := p.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == a {
				return true
			}
		}
	}
	return false
}
