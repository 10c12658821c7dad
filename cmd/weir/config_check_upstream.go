package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weir/resolver/upstream"
)

func (c *checker) upstreams() {
	used := map[string]bool{"default": true}
	whole := !c.broken(&c.Forwards)
	for i := range c.Forwards {
		used[c.Forwards[i].Upstream] = true
		whole = whole && !c.broken(&c.Forwards[i].Upstream)
	}
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		c.name(&u.Name, "upstream", u.Name)
		c.missing(&u.Servers, c.At(&u.Name), "servers", fmt.Sprintf("upstream %q", u.Name), `write servers = ["system"], or URLs such as "udp://192.0.2.53"`)
		c.servers(u)
		if !used[u.Name] && whole && c.declares("default") {
			c.warnAt(c.At(&u.Name), fmt.Sprintf("upstream %q is never asked", u.Name), "no [[forward]] names it")
		}
		if u.Timeout > c.Resolver.Deadline && !c.broken(u) && !c.broken(&c.Resolver) {
			at := c.At(&u.Timeout)
			if at.Line == 0 {
				at = c.At(&c.Resolver.Deadline)
			}
			c.warnAt(at, fmt.Sprintf("upstream %q may try one server for %v, longer than the %v that a question has", u.Name, u.Timeout, c.Resolver.Deadline),
				"only the first server is ever asked", "let deadline in [resolver] be a few times the timeout")
		}
	}
	if !c.declares("default") && !c.broken(&c.Upstreams) {
		note := `write [upstream.default] and below it servers = ["system"]`
		if near := nearest("default", c.upstreamNames()); near != "" {
			note = fmt.Sprintf("is [upstream.%s] meant?", bareKey(near))
		}
		c.errorAt(Pos{}, "no [upstream.default]", "", note)
	}
}

func (c *checker) upstreamNames() []string {
	var names []string
	for _, u := range c.Upstreams {
		names = append(names, u.Name)
	}
	return names
}

func (c *checker) declares(upstream string) bool { return slices.Contains(c.upstreamNames(), upstream) }

// servers checks the servers of an upstream, and whether they need what stands beside them.
func (c *checker) servers(u *Upstream) {
	var byName, byUDP, inClear bool
	var plain, private *string
	for i := range u.Servers {
		url := &u.Servers[i]
		name := c.server(url, "an upstream")
		if name != "" && len(u.Bootstrap) == 0 && !c.broken(&u.Bootstrap) {
			c.errorAt(c.At(url), fmt.Sprintf("nobody can be asked where %s is", name), "a name, not an address",
				fmt.Sprintf("write bootstrap = [\"udp://192.0.2.53\"] below [upstream.%s], or the address and #%s", bareKey(u.Name), name))
		}
		byName = byName || name != ""
		byUDP = byUDP || *url == "system" || strings.HasPrefix(*url, "udp://")
		inClear = inClear || byUDP || strings.HasPrefix(*url, "tcp://")
		switch scheme, _, _ := strings.Cut(*url, "://"); {
		case upstream.Encrypted(*url):
			private = cmp.Or(private, url)
		case *url == "system" || slices.Contains(upstreamSchemes, scheme):
			plain = cmp.Or(plain, url)
		}
	}
	if plain != nil && private != nil {
		c.clash(fmt.Sprintf("upstream %q has encrypted servers and others", u.Name), plain, "this one is asked in clear text", private, "this one is encrypted",
			"write two upstreams: servers of one stand in for each other, and no question is to go out in clear text when an encrypted server fails")
	}
	if len(u.Servers) == 1 && u.Servers[0] != "system" && u.Strategy != string(upstream.Ordered) && !c.broken(&u.Strategy) {
		c.warnAt(c.At(&u.Strategy), fmt.Sprintf("the strategy of upstream %q has no effect", u.Name), "it has one server")
	}
	if u.CA != "" && private == nil && !c.broken(&u.Servers) {
		c.warnAt(c.At(&u.CA), fmt.Sprintf("the certificates of upstream %q are not used", u.Name), "none of its servers is encrypted")
	}
	for i := range u.Bootstrap {
		url := &u.Bootstrap[i]
		if *url == "system" {
			c.errorAt(c.At(url), `"system" is not a bootstrap server`, "a server's URL is wanted", `for example "udp://192.0.2.53"`)
		} else if name := c.server(url, "a bootstrap server"); name != "" {
			c.errorAt(c.At(url), fmt.Sprintf("%q is not a bootstrap server", *url), "its own address would have to be asked for", "write the address and #"+name)
		}
	}
	if len(u.Bootstrap) > 0 && !byName && !c.broken(&u.Servers) {
		c.warnAt(c.At(&u.Bootstrap), fmt.Sprintf("the bootstrap servers of upstream %q are never asked", u.Name), "all its servers are given by address")
	}
	if u.CaseMixing && !byUDP && !c.broken(&u.Servers) {
		c.warnAt(c.At(&u.CaseMixing), fmt.Sprintf("upstream %q has no question to mix the case of", u.Name), "none of its servers is asked by UDP")
	}
	if u.TrustAD && !inClear && !c.broken(&u.Servers) {
		c.warnAt(c.At(&u.TrustAD), fmt.Sprintf("trust_ad has no effect on upstream %q", u.Name), "AD of encrypted servers is trusted anyway")
	}
}

// server checks the shape of a server's URL. It returns the name that the server is given by, if it is not by an address.
func (c *checker) server(url *string, what string) (name string) {
	addr, name, err := parseServer(*url)
	var f fault
	if errors.As(err, &f) {
		c.errorAt(c.At(url), fmt.Sprintf("%q is not %s", *url, what), f.label, f.note)
		return ""
	}
	for i := range c.Server.Listen {
		own := &c.Server.Listen[i]
		everyAddress := own.Addr().IsUnspecified() && addr.Addr().IsLoopback()
		if own.Port() != 0 && own.Port() == addr.Port() && (own.Addr() == addr.Addr() || everyAddress) {
			p := c.errorAt(c.At(url), fmt.Sprintf("%q is this resolver itself", *url), "every question would come back")
			c.mark(p, c.At(own), "it listens here")
			break
		}
	}
	return name
}

// parseServer returns the address that a server's URL holds, or the name; the zero AddrPort for "system".
func parseServer(url string) (addr netip.AddrPort, name string, err error) {
	if url == "system" {
		return netip.AddrPort{}, "", nil
	}
	scheme, host, ok := strings.Cut(url, "://")
	if !ok {
		if addr, err := netip.ParseAddr(url); err == nil {
			return netip.AddrPort{}, "", fault{"no scheme", fmt.Sprintf("write %q", "udp://"+urlHost(addr))}
		}
		if ap, err := parseHost(url); err == nil {
			return ap, "", fault{"no scheme", fmt.Sprintf("write %q", "udp://"+url)}
		}
		f := fault{"neither a URL nor the word system", `for example "udp://192.0.2.53" or "system"`}
		if nearest(url, []string{"system"}) != "" {
			f.note = `did you mean "system"?`
		}
		return netip.AddrPort{}, "", f
	}
	if !slices.Contains(upstreamSchemes, scheme) {
		f := fault{label: "possible: " + strings.Join(upstreamSchemes, "://, ") + "://"}
		if near := nearest(scheme, upstreamSchemes); near != "" {
			f.note = fmt.Sprintf("write %q", near+"://"+host)
		}
		return netip.AddrPort{}, "", f
	}
	switch scheme {
	case "tls":
		return encrypted(upstream.ParseTLS(host))
	case "https":
		return encrypted(upstream.ParseHTTPS(host))
	}
	ap, err := parseHost(host)
	if trimmed, _, more := strings.Cut(host, "/"); err != nil && more {
		if _, err := parseHost(trimmed); err == nil {
			return ap, "", fault{"nothing may follow the address", fmt.Sprintf("write %q", scheme+"://"+trimmed)}
		}
	}
	return ap, "", err
}

// encrypted is what parseServer returns for a URL whose reader is in package upstream.
func encrypted(t *upstream.Target, err error) (addr netip.AddrPort, name string, _ error) {
	var e *upstream.URLError
	if errors.As(err, &e) {
		return addr, "", fault{e.Reason, e.Hint}
	}
	return t.Addr, t.Name, nil
}

// parseHost reads an address with an optional port, of which 53 is the default.
func parseHost(text string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(text)
	if err != nil {
		ap, err = netip.ParseAddrPort(text + ":53")
	}
	if err != nil {
		if addr, err := netip.ParseAddr(text); err == nil {
			return ap, fault{"an IPv6 address without brackets", "write it as " + urlHost(addr)}
		}
		return ap, fault{"not an address; a name would first have to be asked for", `for example "udp://192.0.2.53" or "udp://[2001:db8::53]:53"`}
	}
	switch {
	case ap.Port() == 0:
		return ap, fault{label: "port 0 cannot be asked"}
	case ap.Addr().IsUnspecified() || ap.Addr().IsMulticast():
		return ap, fault{label: "not the address of one server"}
	}
	return ap, nil
}

// urlHost is an address as it stands in a URL (RFC 3986 §3.2.2).
func urlHost(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return "[" + a.String() + "]"
}
