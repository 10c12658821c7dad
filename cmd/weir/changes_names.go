package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"weir/resolver"
)

// maxTold is how many records, or names, of one file are told one by one.
const maxTold = 5

// changes says, a line each, which records came and went in zone files, and which names in hosts files.
func (n *localNames) changes(next *localNames) []string {
	var out []string
	was := map[string]*resolver.Zone{}
	for i := range n.zones {
		was[n.zones[i].Name] = &n.zones[i]
	}
	for i := range next.zones {
		z := &next.zones[i]
		old := was[z.Name]
		if old == nil || len(z.Files) == 0 || len(old.Files) == 0 {
			continue // the configuration says it
		}
		if moved := cameAndWent(recordTexts(old), recordTexts(z)); moved != "" || serial(old) != serial(z) {
			out = append(out, fmt.Sprintf("zone %s from %s: serial %s, was %s, records %s", strings.TrimSuffix(z.Name, "."), z.Files[0], serial(z), serial(old), cmp.Or(moved, "as they were")))
		}
	}
	files := map[string]*resolver.HostsFile{}
	for _, f := range n.hosts {
		files[f.Path] = f
	}
	for _, f := range next.hosts {
		old := files[f.Path]
		if old == nil {
			continue
		}
		if moved := cameAndWent(hostTexts(old), hostTexts(f)); moved != "" {
			out = append(out, fmt.Sprintf("hosts from %s: names %s", f.Path, moved))
		}
	}
	return out
}

// cameAndWent tells the difference of two sets: "2 added, 1 removed: +a +b -c"; "" if there is none.
func cameAndWent(old, now map[string]bool) string {
	var added, removed []string
	for _, text := range slices.Sorted(maps.Keys(now)) {
		if !old[text] {
			added = append(added, "+ "+text)
		}
	}
	for _, text := range slices.Sorted(maps.Keys(old)) {
		if !now[text] {
			removed = append(removed, "- "+text)
		}
	}
	if len(added)+len(removed) == 0 {
		return ""
	}
	told := slices.Concat(added[:min(len(added), maxTold)], removed[:min(len(removed), maxTold)])
	if len(added) > maxTold || len(removed) > maxTold {
		told = append(told, "…")
	}
	return fmt.Sprintf("%d added, %d removed: %s", len(added), len(removed), strings.Join(told, ", "))
}

func recordTexts(z *resolver.Zone) map[string]bool {
	out := map[string]bool{}
	for _, rr := range z.Records {
		if rr.Header().Rrtype != dns.TypeSOA {
			out[strings.Join(strings.Fields(rr.String()), " ")] = true
		}
	}
	return out
}

func hostTexts(f *resolver.HostsFile) map[string]bool {
	out := map[string]bool{}
	for _, e := range f.Entries {
		for _, name := range e.Names {
			out[name+" "+e.Addr.String()] = true
		}
	}
	return out
}

// serial is that of a zone's SOA; "none" if the zone brings none.
func serial(z *resolver.Zone) string {
	for _, rr := range z.Records {
		if soa, ok := rr.(*dns.SOA); ok {
			return fmt.Sprint(soa.Serial)
		}
	}
	return "none"
}

// follow has what b was read from watched. Of a file that is only named in another it is not known what happened to it
// since, so it is looked at once more.
func (s *server) follow(b *built) {
	more := b.names.included()
	if len(more) == 0 || s.keeper.watcher == nil {
		return
	}
	known := s.keeper.included
	s.keeper.watch(b.cfg, more...)
	if s.keeper.included = more; !slices.Equal(known, more) {
		s.keeper.again()
	}
}

// tellNames tells what of the files of local names cannot be used, as far as that is new.
func (s *server) tellNames(old, next *localNames) {
	switch {
	case slices.Equal(old.trouble, next.trouble):
	case len(next.trouble) == 0:
		s.logger.Info("local names are up to date again")
		s.log.Change("local names are up to date again")
	default:
		for _, line := range next.trouble {
			s.logger.Error("local names stay as they were: " + shown(line))
		}
		s.log.Change("local names stay as they were: " + strings.Join(next.trouble, "; "))
	}
	said := map[string]bool{}
	for _, line := range old.warnings() {
		said[line] = true
	}
	for _, line := range next.warnings() {
		if !said[line] {
			s.logger.Warn("hosts: " + shown(line))
		}
	}
}
