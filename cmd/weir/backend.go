package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"time"

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
		Names: b.lists.Matcher().Names(), NameMemory: b.lists.Matcher().Bytes(), NameMapped: b.lists.Matcher().MappedBytes(),
		Resolver: s.resolver.Stats(), Audit: s.log.Stats(), Sources: s.log.Sources(), Process: held(),
	}
	for _, a := range s.resolver.Addrs() {
		st.Listen = append(st.Listen, a.String())
	}
	for _, c := range b.lists.Categories() {
		st.Categories = append(st.Categories, admin.Category{Name: c.Name, Names: c.Names, Lists: len(c.Lists)})
	}
	for _, l := range b.lists.All() {
		if l.Kept != "" {
			st.Attention = append(st.Attention, fmt.Sprintf("list %s: %s", l.Name, stateOf(l)))
		} else if k := s.keeper.kept(l.Name); k.Failure != "" {
			st.Attention = append(st.Attention, fmt.Sprintf("list %s: not fetched: %s", l.Name, k.Failure))
		}
	}
	st.Attention = append(st.Attention, b.names.trouble...)
	s.deciding.Lock()
	st.Hosts = len(knownHosts(s.attendant.hosts))
	s.deciding.Unlock()
	st.Exceptions, st.NextSwitch = int(s.attendant.excepting.Load()), s.resolver.State().Policy.Until()
	for _, p := range b.cfg.Policies {
		st.Policies = append(st.Policies, p.Name)
		if p.Mode == "observe" {
			st.Observing = append(st.Observing, p.Name)
		}
	}
	for _, g := range b.state.Groups {
		st.Upstreams = append(st.Upstreams, admin.Upstream{Name: g.Name(), GroupStats: g.Stats()})
	}
	return st
}

// held is what this process holds.
func held() admin.Process {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	p := admin.Process{Goroutines: runtime.NumGoroutine(), Heap: live[0].Value.Uint64()}
	if open, err := os.ReadDir("/dev/fd"); err == nil {
		p.Descriptors = len(open) - 1 // without the one that reads
	}
	return p
}

// Lists implements admin.Backend.
func (s *server) Lists() []admin.List {
	hits, err := s.log.Hits(time.Now().Add(-24 * time.Hour))
	if err != nil {
		s.logger.Debug("hits of lists", "error", err)
	}
	return describeLists(s.current().lists, s.keeper, hits)
}

// Find implements admin.Backend.
func (s *server) Find(name string) ([]admin.Holding, error) { return s.current().find(name) }

// Explain implements admin.Backend.
func (s *server) Explain(q admin.Question) (admin.Explanation, error) {
	b := s.current()
	if q.Seq != 0 {
		s.flush()
		return b.explainRecord(q.Seq, s.log.Reader(), s.attendant.exceptions, knownHosts(s.watcher()))
	}
	return b.explain(q, s.resolver, s.attendant.exceptions, knownHosts(s.watcher()))
}

// flush brings all that is recorded to disk, unless that takes too long.
func (s *server) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.log.Flush(ctx); err != nil {
		s.logger.Debug("audit log not flushed", "error", err)
	}
}

// Audit implements admin.Backend.
func (s *server) Audit() *audit.Log { return s.log }

func describeLists(lists *blocklist.Lists, keeper *keeper, hits map[audit.ListRef]audit.Hits) []admin.List {
	out := []admin.List{}
	for _, l := range lists.All() {
		d := admin.List{
			Name: l.Name, Category: l.Category, Format: l.Format, Entries: l.Entries, Networks: l.Networks, Unreadable: l.Unreadable,
			Added: l.Added, Removed: l.Removed, Shared: l.Shared, Origin: string(l.Origin), State: stateOf(l),
			Hits24h: hits[audit.ListRef{Category: l.Category, List: l.Name}].Decided,
			Bytes:   l.Bytes, Packing: l.Packing, Modified: l.Modified.UTC(), Taken: l.Since.UTC(),
		}
		if !l.Missing {
			d.Digest = fmt.Sprintf("%x", l.Digest)
		}
		if l.SharedWith != "" {
			d.SharedWith = &admin.Overlap{List: l.SharedWith, Entries: l.SharedMost}
		}
		if h := l.Held; h != nil {
			d.Held = &admin.Held{Digest: fmt.Sprintf("%x", h.Digest), Entries: h.Entries, Since: h.Since.UTC(), Why: h.Why}
		}
		k := keeper.kept(l.Name)
		d.Checked, d.Failure, d.Next = k.Checked.UTC(), k.Failure, k.Next.UTC()
		if k.Previous != nil {
			d.Previous = fmt.Sprintf("%x", k.Previous.Digest)
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

// stateOf says in a phrase how a list stands.
func stateOf(l *blocklist.List) string {
	switch {
	case l.Missing:
		return "missing: " + l.Kept
	case l.Kept == "":
		return "ok"
	}
	return keptText(l)
}
