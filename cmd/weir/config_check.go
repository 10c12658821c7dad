package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"weir/audit"
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
	c.retention()
	c.witnesses()
	c.clientPrivacy()
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

// readers returns the path of the socket for readers, "" for none.
func (c *Config) readers() string {
	if c.Admin.Readers == "" {
		return ""
	}
	return c.Resolve(c.Admin.Readers)
}

// maxSocketPath is the longest path of a Unix socket on Linux, in bytes (unix(7)).
const maxSocketPath = 107

// retention checks how long audit records are kept.
func (c *checker) retention() {
	a := &c.Audit
	if least := time.Hour; a.Keep > 0 && time.Duration(a.Keep) < least && !c.broken(&a.Keep) {
		c.errorAt(c.At(&a.Keep), fmt.Sprintf("records would be removed after %v", time.Duration(a.Keep)), "at least an hour", `write "0" to keep them for ever`)
	}
	if least := Size(64 << 20); a.KeepSize > 0 && a.KeepSize < least && !c.broken(&a.KeepSize) {
		c.errorAt(c.At(&a.KeepSize), fmt.Sprintf("%v is little for a store, of which the newest file always stays", a.KeepSize), "at least "+least.String(), `write "0B" for no limit`)
	}
}

func (c *checker) paths() {
	socket := c.Resolve(c.Admin.Socket)
	if !c.broken(&c.Admin.Socket) && len(socket) > maxSocketPath {
		c.errorAt(c.At(&c.Admin.Socket), fmt.Sprintf("the socket's path is %d bytes long", len(socket)), fmt.Sprintf("at most %d", maxSocketPath))
	}
	if readers := c.readers(); !c.broken(&c.Admin.Readers) && len(readers) > maxSocketPath {
		c.errorAt(c.At(&c.Admin.Readers), fmt.Sprintf("the socket's path is %d bytes long", len(readers)), fmt.Sprintf("at most %d", maxSocketPath))
	}
	if c.Admin.ReadersGroup != "" && c.Admin.Readers == "" && !c.broken(&c.Admin.Readers) {
		c.errorAt(c.At(&c.Admin.ReadersGroup), "there is no socket for readers", "", `name one with readers = "weir-data/readers.sock"`)
	}
	paths := []struct {
		what  string
		field *string
	}{{"the audit store", &c.Audit.Path}, {"the folder of lists", &c.Lists.Path}, {"the admin socket", &c.Admin.Socket}, {"the saved cache", &c.Cache.Path}}
	if c.Audit.ClientKeys != "" {
		paths = append(paths, struct {
			what  string
			field *string
		}{"the file of client keys", &c.Audit.ClientKeys})
	}
	if c.Admin.Readers != "" {
		paths = append(paths, struct {
			what  string
			field *string
		}{"the readers' socket", &c.Admin.Readers})
	}
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
