package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"weir/resolver"
)

// localNames checks what is answered here besides zones.
func (c *checker) localNames() {
	first := map[string]*string{}
	for i := range c.Local.Except {
		text := &c.Local.Except[i]
		zones := resolver.BuiltinsOf(*text)
		if len(zones) == 0 {
			c.errorAt(c.At(text), fmt.Sprintf("%q is not answered here by itself", *text), "no built-in zone", exceptNote(*text))
			continue
		}
		for _, zone := range zones {
			if have := first[zone]; have != nil {
				c.clash(fmt.Sprintf("%s is excepted twice", zone), text, "again here", have, "first here")
				break
			}
			first[zone] = text
		}
		reverse := strings.HasSuffix(zones[0], ".in-addr.arpa") || strings.HasSuffix(zones[0], ".ip6.arpa")
		switch {
		case reverse && !c.Local.PrivateReverse:
			c.warnAt(c.At(text), fmt.Sprintf("excepting %q has no effect", *text), "with private_reverse = false")
		case !reverse && !c.Local.SpecialNames:
			c.warnAt(c.At(text), fmt.Sprintf("excepting %q has no effect", *text), "with special_names = false")
		}
	}
	files := map[string]*string{}
	for i := range c.Hosts.Files {
		file := &c.Hosts.Files[i]
		path := filepath.Clean(c.Resolve(*file))
		if have := files[path]; have != nil {
			c.clash(fmt.Sprintf("%q is read twice", *file), file, "again here", have, "first here")
		}
		files[path] = file
	}
	for i := range c.Zones {
		c.notForwarded(&c.Zones[i].Name, "choose one of them, or forward a part of it")
	}
	if c.ownDomain(&c.Hosts.Domain) && c.absent(&c.Hosts.Files) {
		c.warnAt(c.At(&c.Hosts.Domain), "the domain in [hosts] has no names", `there are no "files"`)
	}
	if c.ownDomain(&c.Leases.Domain) && len(c.Clients.Leases) == 0 && !c.broken(&c.Clients) {
		c.errorAt(c.At(&c.Leases.Domain), "the domain in [leases] has no names", "no leases are read", "name the DHCP server's file with leases in [clients]")
	}
}

// exceptNote says what could be meant by what no built-in zone is called.
func exceptNote(text string) string {
	if network, err := netip.ParsePrefix(text); err == nil && network.Addr().IsPrivate() {
		return "a part of a built-in zone is asked elsewhere if a [[forward]] names its reverse zone"
	}
	if near := nearest(text, resolver.Builtins()); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return `for example "home.arpa", "168.192.in-addr.arpa" or "192.168.0.0/16"`
}

// ownDomain checks a domain whose names come from files, if there is one. It is true for one that can be.
func (c *checker) ownDomain(text *string) bool {
	if c.absent(text) || c.broken(text) {
		return false
	}
	name, ok := c.domain(text, "domain")
	if !ok {
		return false
	}
	top := name[strings.LastIndexByte(name, '.')+1:]
	switch {
	case slices.Contains([]string{"localhost", "invalid", "onion", "alt"}, top), strings.HasSuffix("."+name, ".in-addr.arpa"), strings.HasSuffix("."+name, ".ip6.arpa"):
		c.errorAt(c.At(text), fmt.Sprintf("%q is no domain for hosts", *text), "names there mean something else to programs", `a domain of your own, or "home.arpa" or "internal"`)
		return false
	case top == "local":
		c.warnAt(c.At(text), fmt.Sprintf("names below %q are looked for by multicast DNS", *text), "many clients do not ask here for them", `a domain of your own, or "home.arpa" or "internal"`)
	}
	return c.notForwarded(text, "forward a part of it, or choose another domain")
}

// notForwarded reports a zone of this server that a [[forward]] sends elsewhere.
func (c *checker) notForwarded(text *string, note string) bool {
	name, err := checkName(*text)
	for i := range c.Forwards {
		for j := range c.Forwards[i].Zones {
			zone := &c.Forwards[i].Zones[j]
			if have, bad := checkName(*zone); err == nil && bad == nil && have == name {
				c.clash(fmt.Sprintf("%q is forwarded, so its names are not answered here", *text), text, "", zone, "forwarded here", note)
				return false
			}
		}
	}
	return true
}
