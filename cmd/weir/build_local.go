package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"weir/blocklist"
	"weir/resolver"
)

// localNames is all that is answered here but leases, and what it was made of.
type localNames struct {
	zones []resolver.Zone
	hosts []*resolver.HostsFile
	base  *resolver.Local // without leases

	// trouble says, a line each, why this is not what the files say now. A reload that somebody asks for is refused
	// instead.
	trouble []string
}

// local reads the names that are answered here. Where that cannot be, kept stays in force, if there is one.
func (b *built) local(faults *faults, sum io.Writer, kept *localNames) {
	found := newFaults(b.cfg)
	b.names = b.readNames(found)
	if problems := found.report.sorted(); len(problems) > 0 && kept != nil {
		b.names = *kept
		b.names.trouble = (&configError{problems}).lines()
	} else {
		faults.report.problems = append(faults.report.problems, found.report.problems...)
	}
	for _, z := range b.names.zones {
		for _, rr := range z.Records {
			fmt.Fprintf(sum, "record %q %s\n", z.Name, rr)
		}
	}
	for _, f := range b.names.hosts {
		for _, e := range f.Entries {
			fmt.Fprintf(sum, "host %s %q\n", e.Addr, e.Names)
		}
	}
	b.state.Local = b.names.base
}

func (b *built) readNames(faults *faults) (names localNames) {
	c := resolver.LocalConfig{
		Special: b.cfg.Local.SpecialNames, Private: b.cfg.Local.PrivateReverse,
		HostsDomain: asciiName(b.cfg.Hosts.Domain), HostsTTL: seconds(b.cfg.Hosts.TTL),
		LeaseDomain: asciiName(b.cfg.Leases.Domain), LeaseTTL: seconds(b.cfg.Leases.TTL),
	}
	for _, text := range b.cfg.Local.Except {
		c.Except = append(c.Except, resolver.BuiltinsOf(text)...)
	}
	for i := range b.cfg.Zones {
		if zone, ok := b.readZone(&b.cfg.Zones[i], faults); ok {
			c.Zones = append(c.Zones, zone)
		}
	}
	for i := range b.cfg.Hosts.Files {
		file := &b.cfg.Hosts.Files[i]
		h, err := resolver.ReadHostsFile(b.cfg.Resolve(*file))
		if err != nil {
			faults.at(file, err.Error())
			continue
		}
		c.Hosts = append(c.Hosts, h)
	}
	for _, f := range b.cfg.Forwards {
		for _, text := range f.Zones {
			if zone, err := blocklist.AppendWireName(nil, text); err == nil {
				c.Forwarded = append(c.Forwarded, zone)
			}
		}
	}
	base, err := resolver.NewLocal(c)
	for _, err := range split(err) {
		var field any = &b.cfg.Zones
		for i := range b.cfg.Zones {
			if strings.HasPrefix(err.Error(), "zone "+asciiName(b.cfg.Zones[i].Name)+".:") {
				field = &b.cfg.Zones[i]
			}
		}
		faults.at(field, err.Error())
	}
	return localNames{zones: c.Zones, hosts: c.Hosts, base: base}
}

// asciiName is a name as questions spell it, in lower case, with labels outside of ASCII in their "xn--" form (RFC 5891);
// "" stays so. What is no name was reported when the file was read, or is when it is used.
func asciiName(text string) string {
	wire, err := blocklist.AppendWireName(nil, text)
	if err != nil || text == "" {
		return strings.TrimSuffix(text, ".")
	}
	return blocklist.NameString(wire)
}

// readZone reads the records of one [[zone]].
func (b *built) readZone(z *Zone, faults *faults) (zone resolver.Zone, ok bool) {
	var err error
	if z.File == "" {
		zone, err = resolver.ParseRecords(asciiName(z.Name), z.Records)
		for _, err := range split(err) {
			var field any = &z.Records
			var re *resolver.RecordError
			if errors.As(err, &re) {
				field = &z.Records[re.Record]
			}
			faults.at(field, fmt.Sprintf("zone %s: %v", z.Name, err))
		}
		return zone, err == nil
	}
	zone, err = resolver.ParseZoneFile(asciiName(z.Name), b.cfg.Resolve(z.File))
	for _, err := range split(err) {
		var ze *resolver.ZoneError
		if errors.As(err, &ze) && ze.Hint != "" {
			faults.at(&z.File, err.Error(), ze.Hint)
		} else {
			faults.at(&z.File, err.Error())
		}
	}
	return zone, err == nil
}

// included are the files that zones consist of besides those that the configuration names.
func (n *localNames) included() (paths []string) {
	for _, z := range n.zones {
		if len(z.Files) > 1 {
			paths = append(paths, z.Files[1:]...)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// warnings are what of hosts files is not answered, a line each, with its place.
func (n *localNames) warnings() []string {
	var out []string
	for _, f := range n.hosts {
		for _, p := range f.Problems {
			out = append(out, fmt.Sprintf("%s:%d: %s", f.Path, p.Line, p.What))
		}
		if more := f.Bad - len(f.Problems); more > 0 {
			out = append(out, fmt.Sprintf("%s: %s more with a mistake", f.Path, count(more, "line", "lines")))
		}
	}
	if n.base != nil {
		out = append(out, n.base.Notes()...)
	}
	return out
}
