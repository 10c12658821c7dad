package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// An Exclude says which queries are not recorded, whatever became of them. They are
// counted, and the log holds how many there were.
type Exclude struct {
	Names   []NameScope
	Clients []netip.Prefix // of who asked
}

// A NameScope is a wire name in lower case, and ScopeSelf, ScopeBelow or both.
type NameScope struct {
	Name  []byte
	Scope uint8
}

// ExcludedCount is how many queries were not recorded, by why and by verdict. A query
// for which both hold counts among the clients.
type ExcludedCount struct {
	Names          uint64 `json:"exclude_domains"`
	NamesBlocked   uint64 `json:"exclude_domains_blocked"` // of Names
	Clients        uint64 `json:"exclude_clients"`
	ClientsBlocked uint64 `json:"exclude_clients_blocked"` // of Clients
}

// Sum returns how many there were in all.
func (c ExcludedCount) Sum() uint64 { return c.Names + c.Clients }

func (c *ExcludedCount) add(more ExcludedCount) {
	c.Names += more.Names
	c.NamesBlocked += more.NamesBlocked
	c.Clients += more.Clients
	c.ClientsBlocked += more.ClientsBlocked
}

// tellExcludedEvery is how often at most the log says how many were excluded, but for
// its end.
const tellExcludedEvery = time.Hour

const (
	excludedText  = "excluded: %d queries by exclude_domains, %d of them blocked; %d by exclude_clients, %d of them blocked; since "
	excludedSince = "excluded: %d queries by exclude_domains, %d of them blocked; %d by exclude_clients, %d of them blocked; since %s"
)

func (c ExcludedCount) text(since int64) string {
	return fmt.Sprintf(excludedText, c.Names, c.NamesBlocked, c.Clients, c.ClientsBlocked) + instant(since).Format(time.RFC3339)
}

// parseExcluded is the reverse of text.
func parseExcluded(text string) (c ExcludedCount, ok bool) {
	var since string
	n, err := fmt.Sscanf(text, excludedSince, &c.Names, &c.NamesBlocked, &c.Clients, &c.ClientsBlocked, &since)
	return c, err == nil && n == 5
}

// excluded is the log's own part of it.
type excluded struct {
	names   map[string]uint8 // wire names, in lower case: their scopes
	lengths [maxName + 1]bool
	clients []netip.Prefix

	// Guarded by Log.mu.
	total  ExcludedCount // since Open
	untold ExcludedCount // that no change has said yet
	since  int64         // when the first of those came
	left   ExcludedCount // of a run before, in whose file of slabs this one goes on
}

// note leaves the counts in the file of slabs. Log.mu is held.
func (x *excluded) note(m *mapping) {
	n := x.untold
	n.add(x.left)
	m.exclude(n, x.since)
}

func (x *excluded) set(e Exclude) {
	x.clients = slices.Clone(e.Clients)
	if len(e.Names) > 0 {
		x.names = make(map[string]uint8)
	}
	for _, n := range e.Names {
		if len(n.Name) > 0 && len(n.Name) <= maxName {
			x.names[string(n.Name)] |= n.Scope
			x.lengths[len(n.Name)] = true
		}
	}
}

// client and name say what excludes a query.
func (x *excluded) client(a netip.Addr) bool {
	for _, p := range x.clients {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (x *excluded) name(name []byte) bool {
	if x.names == nil || len(name) == 0 {
		return false
	}
	scope := ScopeSelf
	for at := 0; at < len(name); at += 1 + int(name[at]) {
		if rest := name[at:]; len(rest) <= maxName && x.lengths[len(rest)] && x.names[string(rest)]&scope != 0 {
			return true
		}
		scope = ScopeBelow
		if name[at] == 0 {
			break
		}
	}
	return false
}

// Exclude says that e is not to be recorded, by Config.Exclude, and counts it. Its
// caller does then not call Record. Like Record, it allocates nothing.
func (l *Log) Exclude(e *Event) bool {
	x := &l.excluded
	if x.names == nil && x.clients == nil {
		return false
	}
	var one ExcludedCount
	var blocked uint64
	if e.Blocked {
		blocked = 1
	}
	switch {
	case x.client(e.Client):
		one.Clients, one.ClientsBlocked = 1, blocked
	case x.name(e.Name):
		one.Names, one.NamesBlocked = 1, blocked
	default:
		return false
	}
	at := max(e.Time, 0)
	l.mu.Lock()
	if x.untold.Sum() == 0 {
		x.since = at
	}
	x.total.add(one)
	x.untold.add(one)
	x.note(l.mapping)
	due := at-x.since >= int64(tellExcludedEvery)
	l.mu.Unlock()
	if due && !l.armed.Load() {
		l.arm()
	}
	return true
}

// tellExcluded records how many were excluded since it last did, if it is time.
func (l *Log) tellExcluded(final bool) {
	x := &l.excluded
	l.mu.Lock()
	n, since, full := x.untold, x.since, l.closed || len(l.free) == 0
	l.mu.Unlock()
	if n.Sum() == 0 || full || !final && l.cfg.Now().UnixNano()-since < int64(tellExcludedEvery) {
		return
	}
	if !l.RecordChange(Change{Action: ActionExcluded, Text: n.text(since)}) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	x.untold.Names -= n.Names
	x.untold.NamesBlocked -= n.NamesBlocked
	x.untold.Clients -= n.Clients
	x.untold.ClientsBlocked -= n.ClientsBlocked
	x.since = l.cfg.Now().UnixNano() // of those that came meanwhile
	x.note(l.mapping)
}
