package main

import (
	"fmt"
	"os"

	"weir/audit"
	"weir/blocklist"
	"weir/cmd/internal/admin"
)

// Status implements admin.Backend.
func (s *server) Status() admin.Status {
	s.mu.Lock()
	b, loaded := s.now, s.loaded
	s.mu.Unlock()
	st := admin.Status{
		Version: version(), PID: os.Getpid(), Config: b.cfg.File,
		Revision: b.state.Revision, Digest: fmt.Sprintf("%x", b.digest),
		Started: s.started.UTC(), Loaded: loaded.UTC(),
		Names: b.lists.Matcher().Names(), NameMemory: b.lists.Matcher().Bytes(),
		Resolver: s.resolver.Stats(), Audit: s.log.Stats(),
	}
	for _, a := range s.resolver.Addrs() {
		st.Listen = append(st.Listen, a.String())
	}
	for _, c := range b.lists.Categories() {
		st.Categories = append(st.Categories, admin.Category{Name: c.Name, Names: c.Names, Lists: len(c.Lists)})
	}
	for _, p := range b.cfg.Policies {
		st.Policies = append(st.Policies, p.Name)
	}
	for _, g := range b.state.Groups {
		st.Upstreams = append(st.Upstreams, admin.Upstream{Name: g.Name(), Servers: g.Stats()})
	}
	return st
}

// Lists implements admin.Backend.
func (s *server) Lists() []admin.List { return describeLists(s.current().lists) }

// Find implements admin.Backend.
func (s *server) Find(name string) ([]admin.Holding, error) { return s.current().find(name) }

// Explain implements admin.Backend.
func (s *server) Explain(name, qtype, client string) (admin.Explanation, error) {
	return s.current().explain(name, qtype, client)
}

// Audit implements admin.Backend.
func (s *server) Audit() *audit.Log { return s.log }

func describeLists(lists *blocklist.Lists) []admin.List {
	out := []admin.List{}
	for _, l := range lists.All() {
		d := admin.List{
			Name: l.Name, Category: l.Category, Format: l.Format, Entries: l.Entries, Unreadable: l.Unreadable,
			Modified: l.Modified.UTC(), Digest: fmt.Sprintf("%x", l.Digest),
		}
		for _, i := range l.Ignored {
			if d.Ignored == nil {
				d.Ignored = map[string]int{}
			}
			d.Ignored[i.Reason] = i.Count
		}
		for _, n := range l.Notes {
			if d.Notes == nil {
				d.Notes = map[string]int{}
			}
			d.Notes[n.Text] = n.Count
		}
		for _, p := range l.Problems {
			d.Problems = append(d.Problems, p.String())
		}
		out = append(out, d)
	}
	return out
}
