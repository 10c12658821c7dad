package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"weir/blocklist"
)

func (c *checker) lists() {
	c.limits(&c.Lists.MaxShrink, &c.Lists.MaxGrowth)
}

// limits checks the shares of names at which an update is held.
func (c *checker) limits(shrink, growth *Percent) {
	if *shrink > 1 && !c.broken(shrink) {
		c.errorAt(c.At(shrink), fmt.Sprintf("max_shrink of %v would hold every update", shrink), "at most 100%",
			`it is the share of the names in force that must be left: "50%" holds an update with less than half of them`)
	}
	if *growth >= 0 && *growth < 1 && !c.absent(growth) && !c.broken(growth) {
		note := `it is a share of the names in force: "300%" holds an update with more than three times as many`
		if *growth == 0 {
			note = `write "off" for no limit`
		}
		c.errorAt(c.At(growth), fmt.Sprintf("max_growth of %v would hold a list that did not grow", growth), "at least 100%", note)
	}
}

func (c *checker) categories() {
	used, whole := c.usedCategories()
	named := make(map[string]*Source)
	for i := range c.Categories {
		k := &c.Categories[i]
		c.name(&k.Name, "category", k.Name)
		c.missing(&k.Sources, c.At(&k.Name), "sources", fmt.Sprintf("category %q", k.Name), `for example sources = ["lists/ads.txt"]`)
		c.limits(&k.MaxShrink, &k.MaxGrowth)
		first := make(map[string]*Source)
		for j := range k.Sources {
			s := &k.Sources[j]
			c.source(s)
			switch {
			case s.From == "":
			case first[s.From] != nil:
				c.clash(fmt.Sprintf("%q is listed twice", withoutUser(s.From)), &s.From, "again here", &first[s.From].From, "first here")
			default:
				first[s.From] = s
				c.sameName(s, named)
			}
		}
		if !used[k.Name] && whole {
			c.warnAt(c.At(&k.Name), fmt.Sprintf("category %q is never used", k.Name), "no rule names it")
		}
	}
}

// usedCategories returns the categories that rules name, and whether all rules are known.
func (c *checker) usedCategories() (used map[string]bool, whole bool) {
	used = make(map[string]bool)
	whole = !c.broken(&c.Policies)
	for i := range c.Policies {
		whole = whole && !c.broken(&c.Policies[i].Rules)
		for j := range c.Policies[i].Rules {
			r := &c.Policies[i].Rules[j]
			whole = whole && !c.broken(&r.Categories)
			for _, name := range r.Categories {
				used[name] = true
			}
		}
	}
	return used, whole
}

// source checks one element of a category's sources.
func (c *checker) source(s *Source) {
	c.missing(&s.From, c.At(s), "from", "this source", `for example from = "lists/ads.txt" or from = "https://feeds.example/ads.txt"`)
	if !c.absent(&s.Name) && !c.broken(&s.Name) {
		c.name(&s.Name, "list", s.Name)
	}
	if formats := blocklist.Formats(); s.Format != "" && !slices.Contains(formats, s.Format) {
		note := ""
		if near := nearest(s.Format, formats); near != "" {
			note = fmt.Sprintf("did you mean %q?", near)
		}
		c.errorAt(c.At(&s.Format), fmt.Sprintf("unknown format %q", s.Format), "possible: "+strings.Join(formats, ", "), note)
	}
	c.shape(&s.SHA256, "a SHA-256 digest", digestFault)
	c.shape(&s.Minisign, "a minisign public key", minisignFault)
	c.shape(&s.Ed25519, "an Ed25519 public key", ed25519Fault)
	if s.From == "" || c.broken(&s.From) {
		return
	}
	c.options(s)
	if s.scheme() == "" {
		c.ownFolder(s)
		return
	}
	c.hideUser(s)
	u, err := parseSource(s.From)
	var f fault
	if errors.As(err, &f) {
		c.errorAt(c.At(&s.From), fmt.Sprintf("%q is not a source", withoutUser(s.From)), f.label, f.note)
		return
	}
	if u.Scheme != "http" || isLoopback(u.Hostname()) {
		return
	}
	if _, password := u.User.Password(); password || u.User.Username() != "" {
		c.warnAt(c.At(&s.From), fmt.Sprintf("the password for %q crosses the network in plain text", withoutUser(s.From)), "http:// is not encrypted",
			"write https:// if the server has it")
	}
	if c.absent(&s.SHA256) && c.absent(&s.Minisign) && c.absent(&s.Ed25519) {
		c.warnAt(c.At(&s.From), fmt.Sprintf("anybody on the way can change what comes from %q", withoutUser(s.From)), "http:// proves nothing",
			"write https:// if the server has it, or add sha256, minisign or ed25519")
	}
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || host == "localhost"
}

// hideUser keeps the user and password in a URL from being quoted.
func (c *checker) hideUser(s *Source) {
	at := c.At(&s.From)
	if at.Line == 0 || withoutUser(s.From) == s.From {
		return
	}
	text := []rune(c.line(at.Line))
	from, to := at.Column-1, min(len(text), at.Column-1+at.Width)
	if i := strings.Index(string(text[from:to]), "://"); i >= 0 {
		begin := from + len([]rune(string(text[from:to])[:i])) + len("://")
		end := begin
		for i := begin; i < to && !strings.ContainsRune("/?#", text[i]); i++ {
			if text[i] == '@' {
				end = i
			}
		}
		if end > begin {
			c.hide(Pos{at.Line, begin + 1, end - begin})
			return
		}
	}
	c.hide(at) // it is written with escapes
}

// options reports those that do not belong to the kind of source.
func (c *checker) options(s *Source) {
	const url, transfer = "URLs", "zone transfers"
	kind, one := "", ""
	switch s.scheme() {
	case "http", "https":
		kind, one = url, "a URL"
	case "axfr":
		kind, one = transfer, "a zone transfer"
	case "":
		one = "a local list"
	default:
		return // said elsewhere
	}
	for _, o := range []struct {
		key   string
		field any
		of    []string
	}{
		{"refresh", &s.Refresh, []string{url, transfer}},
		{"timeout", &s.Timeout, []string{url, transfer}},
		{"max_size", &s.MaxSize, []string{url, transfer}},
		{"sha256", &s.SHA256, []string{url}},
		{"minisign", &s.Minisign, []string{url}},
		{"ed25519", &s.Ed25519, []string{url}},
		{"tsig", &s.TSIG, []string{transfer}},
	} {
		if c.At(o.field).Line > 0 && !slices.Contains(o.of, kind) {
			c.errorAt(c.places[o.field].key, fmt.Sprintf("%s has no %q", one, o.key), "only for "+strings.Join(o.of, " and "))
		}
	}
	if kind == transfer && s.Format != "" && s.Format != "rpz" && slices.Contains(blocklist.Formats(), s.Format) {
		c.errorAt(c.At(&s.Format), fmt.Sprintf("a zone transfer is no list of format %q", s.Format), "only rpz", "leave it out")
	}
}

// ownFolder reports a local source in the folder that holds our own copies.
func (c *checker) ownFolder(s *Source) {
	own := filepath.Clean(c.Resolve(c.Lists.Path))
	path := filepath.Clean(c.Resolve(s.From))
	if path != own && !strings.HasPrefix(path, own+string(filepath.Separator)) {
		return
	}
	p := c.errorAt(c.At(&s.From), fmt.Sprintf("%q is in the folder for copies of lists", s.From), "what is there comes from other lists, and goes with them")
	if at := c.At(&c.Lists.Path); at.Line > 0 {
		c.mark(p, at, "that folder")
	} else {
		p.Notes = append(p.Notes, fmt.Sprintf("it is [lists] path = %q where nothing else is written", c.Lists.Path))
	}
}

// shape reports a digest or key that cannot be one.
func (c *checker) shape(field *string, what string, wrong func(string) *fault) {
	if *field == "" {
		return
	}
	if f := wrong(*field); f != nil {
		c.errorAt(c.At(field), "not "+what, f.label, f.note)
	}
}

func digestFault(text string) *fault {
	const hint = "as `sha256sum FILE` prints it"
	b, err := hex.DecodeString(text)
	switch {
	case err != nil && strings.Trim(text, "0123456789abcdefABCDEF") != "":
		return &fault{"not hexadecimal", hint}
	case len(b) != 32:
		return &fault{plural(len(text), "digit") + ", not 64", hint}
	}
	return nil
}

// minisignFault checks a key as minisign writes it: "Ed", 8 octets that name the key, 32 octets of the key itself.
func minisignFault(text string) *fault {
	const hint = "the line of the .pub file that begins with RW"
	b, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err != nil:
		return &fault{"not base64", hint}
	case len(b) != 42:
		return &fault{plural(len(b), "octet") + ", not 42", hint}
	case !bytes.HasPrefix(b, []byte("Ed")):
		return &fault{"not of minisign's algorithm", hint}
	}
	return nil
}

func ed25519Fault(text string) *fault {
	if b, err := hex.DecodeString(text); err == nil && len(b) == 32 {
		return &fault{"hexadecimal, not base64", fmt.Sprintf("write %q", base64.StdEncoding.EncodeToString(b))}
	}
	b, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err != nil:
		return &fault{"not base64", "32 octets in base64, which is 44 characters"}
	case len(b) != 32:
		return &fault{plural(len(b), "octet") + ", not 32", "the key alone, without the frame that a PEM file puts around it"}
	}
	return nil
}

// sameName reports two different lists that are called the same: copies, approvals and records go by the name.
func (c *checker) sameName(s *Source, named map[string]*Source) {
	name := s.ListName()
	have := named[name]
	switch {
	case have == nil:
		named[name] = s
	case c.effective(s) != c.effective(have):
		field := func(s *Source) any {
			if s.Name != "" {
				return &s.Name
			}
			return &s.From
		}
		label := "with other options here"
		if s.From != have.From {
			label = "from elsewhere here"
		}
		c.clash(fmt.Sprintf("two different lists are called %q", name), field(s), label, field(have), "first here",
			"give one of them a name of its own, or both the same options")
	}
}

// effective is a source with everything that it takes from [lists].
func (c *Config) effective(s *Source) Source {
	e := *s
	if s.scheme() != "" {
		if s.scheme() != "axfr" { // a zone says itself how often, in its SOA record
			e.Refresh = cmp.Or(s.Refresh, c.Lists.Refresh)
		}
		e.Timeout = cmp.Or(s.Timeout, c.Lists.Timeout)
		e.MaxSize = cmp.Or(s.MaxSize, c.Lists.MaxSize)
	}
	e.Name = s.ListName()
	return e
}

// shortSecret is the length below which a TSIG secret is worth a warning, in octets (RFC 8945 §8).
const shortSecret = 16

func (c *checker) tsigs() {
	var names []string
	for i := range c.TSIGs {
		names = append(names, c.TSIGs[i].Name)
	}
	used := make(map[string]bool)
	whole := !c.broken(&c.Categories)
	for i := range c.Categories {
		whole = whole && !c.broken(&c.Categories[i].Sources)
		for j := range c.Categories[i].Sources {
			s := &c.Categories[i].Sources[j]
			used[s.TSIG] = true
			whole = whole && !c.broken(s)
			if s.TSIG != "" && !slices.Contains(names, s.TSIG) && !c.broken(&c.TSIGs) {
				c.unknown(&s.TSIG, "tsig", s.TSIG, names)
			}
		}
	}
	for i := range c.TSIGs {
		t := &c.TSIGs[i]
		var f fault
		if _, err := checkName(t.Name); errors.As(err, &f) {
			c.errorAt(c.At(&t.Name), fmt.Sprintf("%q cannot name a TSIG key", t.Name), f.label, cmp.Or(f.note, "it is written like a domain name"))
		}
		c.secret(t)
		if !used[t.Name] && whole {
			c.warnAt(c.At(&t.Name), fmt.Sprintf("tsig %q is never used", t.Name), "no source names it")
		}
	}
}

func (c *checker) secret(t *TSIG) {
	switch {
	case c.absent(&t.Secret) && c.absent(&t.SecretFile):
		c.errorAt(c.At(&t.Name), fmt.Sprintf(`tsig %q has neither "secret" nor "secret_file"`, t.Name), "", "the secret is base64, as `tsig-keygen` prints it")
	case !c.absent(&t.Secret) && !c.absent(&t.SecretFile):
		c.clash(`a TSIG key has either "secret" or "secret_file"`, &t.SecretFile, "one is here", &t.Secret, "and one here", "write one of them")
	case t.Secret != "":
		b, err := base64.StdEncoding.DecodeString(t.Secret)
		if err != nil || len(b) == 0 {
			c.errorAt(c.At(&t.Secret), fmt.Sprintf("the secret of tsig %q is not base64", t.Name), "", "as `tsig-keygen` prints it")
		} else if len(b) < shortSecret {
			c.warnAt(c.At(&t.Secret), fmt.Sprintf("the secret of tsig %q can be guessed", t.Name), fmt.Sprintf("%s, not %d or more", plural(len(b), "octet"), shortSecret),
				"`tsig-keygen` makes a good one")
		}
	}
}
