package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"weir/audit"
	"weir/resolver/upstream"
)

// A checker reports what is wrong in what was decoded: what is missing, what does not fit together, what has no effect.
// What the decoder already reported is left alone.
type checker struct {
	*report
	*Config
}

// checkConfig reports everything that is wrong with cfg beyond its single values.
func checkConfig(r *report, cfg *Config) {
	c := &checker{r, cfg}
	c.version()
	c.listen()
	c.access()
	c.clientLimits()
	c.upstreams()
	c.forwards()
	c.zones()
	c.localNames()
	c.lists()
	c.categories()
	c.tsigs()
	c.schedules()
	c.groups()
	c.policies()
	c.sinkhole()
	c.ttls()
	c.witnesses()
	c.paths()
}

func (c *checker) absent(field any) bool { return c.places.absent(field) }

func (c *checker) broken(field any) bool { return c.places[field].broken }

// missing reports that the file does not write field, a pointer, whose key the table at that place must have.
func (c *checker) missing(field any, at Pos, key, table string, notes ...string) {
	if c.absent(field) {
		c.errorAt(at, fmt.Sprintf("%s has no %q", table, key), "", notes...)
	}
}

// clash reports that again says what first, another pointer, has said.
func (c *checker) clash(message string, again any, label string, first any, firstLabel string, notes ...string) {
	c.mark(c.errorAt(c.At(again), message, label, notes...), c.At(first), firstLabel)
}

func (c *checker) version() {
	switch {
	case c.absent(&c.Version):
		c.errorAt(Pos{1, 1, 1}, `no "version"`, "before the first table", "write version = 1")
	case !c.broken(&c.Version) && c.Version != 1:
		c.errorAt(c.At(&c.Version), fmt.Sprintf("unknown version %d", c.Version), "only version 1 exists")
	}
}

func (c *checker) witnesses() {
	for i := range c.Audit.Witnesses {
		at := &c.Audit.Witnesses[i]
		if _, err := audit.NewWitness(c.witness(*at)); err != nil {
			c.errorAt(c.At(at), fmt.Sprintf("unknown witness %q", *at), "write file:PATH, syslog or syslog://HOST:PORT")
		}
	}
}

// witness returns a witness with its path, if it has one, made absolute.
func (c *Config) witness(text string) string {
	if path, ok := strings.CutPrefix(text, "file:"); ok && path != "" {
		return "file:" + c.Resolve(path)
	}
	return text
}

func (c *checker) listen() {
	for i := range c.Server.Listen {
		at := &c.Server.Listen[i]
		if at.Addr().IsMulticast() {
			c.errorAt(c.At(at), fmt.Sprintf("%v is a multicast address", at), "no address of this machine")
		}
	}
}

func (c *checker) clientLimits() {
	l := &c.Limits
	for _, field := range [...]*string{&l.CookieSecret, &l.CookieSecretAlso} {
		if _, err := cookieSecret(*field); err != nil && *field != "" {
			c.errorAt(c.At(field), "this cookie secret does not fit", "not 32 hexadecimal digits", "`openssl rand -hex 16` makes one")
		}
	}
	if !c.absent(&l.CookieSecretAlso) && c.absent(&l.CookieSecret) {
		c.errorAt(c.At(&l.CookieSecretAlso), `"cookie_secret_also" stands alone`, "nothing makes cookies", `write "cookie_secret" too`)
	}
	if l.Burst > 0 && l.Rate == 0 && !c.broken(&l.Rate) {
		c.warnAt(c.At(&l.Burst), `"burst" has no effect`, `without a "rate"`)
	}
}

func (c *checker) access() {
	for i := range c.Access.Allow {
		if p := &c.Access.Allow[i]; p.Bits() == 0 {
			c.warnAt(c.At(p), fmt.Sprintf("%v makes this an open resolver", p), "everybody may ask",
				"allow only your own networks, or see that nobody else reaches the listen addresses")
		}
	}
}

// upstreamSchemes are the ways to ask an upstream.
var upstreamSchemes = []string{"udp", "tcp", "tls", "https"}

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

func (c *checker) forwards() {
	first := make(map[string]*string)
	for i := range c.Forwards {
		f := &c.Forwards[i]
		c.missing(&f.Zones, c.At(f), "zones", "this [[forward]]", `for example zones = ["corp.example"]`)
		c.missing(&f.Upstream, c.At(f), "upstream", "this [[forward]]", "name the [upstream.NAME] to ask")
		if f.Upstream != "" && !c.declares(f.Upstream) && !c.broken(&c.Upstreams) {
			c.unknown(&f.Upstream, "upstream", f.Upstream, c.upstreamNames())
		}
		for j := range f.Zones {
			zone := &f.Zones[j]
			name, ok := c.domain(zone, "zone")
			switch have, twice := first[name]; {
			case !ok:
			case twice:
				c.clash(fmt.Sprintf("zone %q is forwarded twice", name), zone, "again here", have, "first here")
			default:
				first[name] = zone
			}
		}
	}
}

// domain checks the shape of a zone's name and returns it in lower case without a trailing dot.
func (c *checker) domain(text *string, what string) (string, bool) {
	var f fault
	switch name, err := checkName(*text); {
	case *text == ".":
		f = fault{"the root holds every name", "all that no zone names goes to [upstream.default]"}
	case err == nil:
		return name, true
	case strings.HasPrefix(*text, "*."):
		f = fault{"an asterisk in a name", fmt.Sprintf("write %q, which covers all names below it", (*text)[2:])}
	default:
		errors.As(err, &f)
	}
	c.errorAt(c.At(text), fmt.Sprintf("%q is not the name of a %s", *text, what), f.label, f.note)
	return "", false
}

// unknown reports a name that is declared nowhere.
func (c *checker) unknown(field any, what, name string, names []string) {
	note := fmt.Sprintf("declare it as [%s.%s]", what, bareKey(name))
	if near := nearest(name, names); near != "" {
		note = fmt.Sprintf("did you mean %q?", near)
	}
	c.errorAt(c.At(field), fmt.Sprintf("unknown %s %q", what, name), fmt.Sprintf("no [%s.%s] in this file", what, bareKey(name)), note)
}

// name checks a name that records, metrics and messages will carry.
func (c *checker) name(field any, what, name string) {
	switch plain := shown(name); {
	case name == "", strings.TrimSpace(name) != name:
		c.errorAt(c.At(field), fmt.Sprintf("%q cannot name a %s", name, what), "empty, or a blank at an end")
	case plain != name:
		c.errorAt(c.At(field), fmt.Sprintf("%q cannot name a %s", name, what), "a character that cannot be shown")
	case len(name) > 64:
		c.errorAt(c.At(field), fmt.Sprintf("the name of a %s is too long", what), "at most 64 bytes")
	}
}

func (c *checker) zones() {
	first := make(map[string]*string)
	for i := range c.Zones {
		z := &c.Zones[i]
		c.missing(&z.Name, c.At(z), "name", "this [[zone]]", `for example name = "lab.example"`)
		name := ""
		if !c.absent(&z.Name) && !c.broken(&z.Name) {
			var ok bool
			name, ok = c.domain(&z.Name, "zone")
			if have, twice := first[name]; ok && twice {
				c.clash(fmt.Sprintf("zone %q is written twice", name), &z.Name, "again here", have, "first here", "put all of its records under one [[zone]]")
			} else if ok {
				first[name] = &z.Name
			}
		}
		switch {
		case c.absent(&z.Records) && c.absent(&z.File):
			c.errorAt(c.At(z), `this [[zone]] has neither "records" nor "file"`, "", `for example records = ["www 300 A 192.0.2.10"]`)
		case !c.absent(&z.Records) && !c.absent(&z.File):
			c.clash(`a [[zone]] has either "records" or "file"`, &z.File, "its names are here", &z.Records, "and here", "write one of them")
		}
		for j := range z.Records {
			if name != "" {
				c.record(&z.Records[j], name)
			}
		}
	}
}

// record checks one master file line of a zone.
func (c *checker) record(text *string, zone string) {
	origin := dns.Fqdn(zone)
	label, note := "", `NAME TTL TYPE DATA, for example "www 300 A 192.0.2.10"`
	parser := dns.NewZoneParser(strings.NewReader(*text), origin, "")
	parser.SetDefaultTTL(3600)
	rr, ok := parser.Next()
	switch {
	case strings.HasPrefix(strings.TrimSpace(*text), "$"):
		label = "a directive, not a record"
	case parser.Err() != nil:
		label, _, _ = strings.Cut(strings.TrimPrefix(parser.Err().Error(), "dns: "), " at line: ")
	case !ok:
		label = "no record"
	case !dns.IsSubDomain(origin, rr.Header().Name):
		label, note = fmt.Sprintf("%s is not in the zone %s", rr.Header().Name, origin), "a name without a dot at its end is relative to the zone"
	case rr.Header().Class != dns.ClassINET:
		label = "not of class IN"
	default:
		if _, more := parser.Next(); !more && parser.Err() == nil {
			return
		}
		label = "more than one record"
	}
	c.errorAt(c.At(text), fmt.Sprintf("not a record of zone %q", zone), label, note)
}

func (c *checker) sinkhole() {
	s := &c.Sinkhole
	need := func(answer *string) {
		if *answer == "address" && c.absent(&s.Addresses) {
			c.errorAt(c.At(answer), `the answer "address" has no address to give`, "", `write addresses = ["192.0.2.1", "2001:db8::1"] in [sinkhole]`)
		}
	}
	need(&s.Answer)
	wanted := s.Answer == "address" || c.broken(&c.Policies) || c.broken(&s.Answer)
	for i := range c.Policies {
		wanted = wanted || c.broken(&c.Policies[i].Rules)
		for j := range c.Policies[i].Rules {
			r := &c.Policies[i].Rules[j]
			need(&r.Answer)
			wanted = wanted || r.Answer == "address" || c.broken(&r.Answer)
		}
	}
	if len(s.Addresses) > 0 && !wanted {
		c.warnAt(c.At(&s.Addresses), "the sinkhole's addresses are never given", `no answer is "address"`)
	}
}

// ttls checks the durations that go into answers, which count in seconds.
func (c *checker) ttls() {
	for _, ttl := range []*time.Duration{&c.Hosts.TTL, &c.Leases.TTL, &c.Sinkhole.TTL, &c.Cache.MinTTL, &c.Cache.MaxTTL, &c.Cache.MaxNegativeTTL} {
		if *ttl%time.Second != 0 && !c.broken(ttl) {
			c.errorAt(c.At(ttl), fmt.Sprintf("%v is not a whole number of seconds", ttl), "a TTL counts seconds",
				"write "+strconv.Quote(strconv.Itoa(int(*ttl/time.Second)+1)+"s"))
		}
	}
	if lo, hi := &c.Cache.MinTTL, &c.Cache.MaxTTL; *lo > *hi && !c.broken(lo) && !c.broken(hi) {
		if c.absent(lo) {
			lo, hi = hi, lo
		}
		c.clash("min_ttl is longer than max_ttl", lo, "", hi, "")
	}
}

// maxSocketPath is the longest path of a Unix socket on Linux, in bytes (unix(7)).
const maxSocketPath = 107

func (c *checker) paths() {
	socket := c.Resolve(c.Admin.Socket)
	if !c.broken(&c.Admin.Socket) && len(socket) > maxSocketPath {
		c.errorAt(c.At(&c.Admin.Socket), fmt.Sprintf("the socket's path is %d bytes long", len(socket)), fmt.Sprintf("at most %d", maxSocketPath))
	}
	paths := []struct {
		what  string
		field *string
	}{{"the audit store", &c.Audit.Path}, {"the folder of lists", &c.Lists.Path}, {"the admin socket", &c.Admin.Socket}, {"the saved cache", &c.Cache.Path}}
	for i, a := range paths {
		for _, b := range paths[i+1:] {
			if filepath.Clean(c.Resolve(*a.field)) != filepath.Clean(c.Resolve(*b.field)) {
				continue
			}
			again, first := b.field, a.field
			if c.absent(again) {
				again, first = first, again
			}
			c.clash(fmt.Sprintf("%s and %s have the same path", a.what, b.what), again, "", first, "", "each needs one of its own: the socket and the cache are files, the others are folders")
		}
	}
}
