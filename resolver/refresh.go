package resolver

import (
	"weir/resolver/cache"
	"weir/resolver/wire"
)

// An answer that is in demand is asked for anew shortly before it ends, so that
// nobody waits for it: in the last tenth of its life, which is two seconds at
// least, behind the first hit that finds it so.

const lastSeconds = 2e9 // nanoseconds

// schedule says from when on e is due.
func (r *Resolver) schedule(e *cache.Entry) {
	if r.cfg.Prefetch {
		e.Refresh = max(e.Expires-max((e.Expires-e.Stored)/10, lastSeconds), 1)
	}
}

// refresh sends q out with nobody waiting for it. It yields to queries that wait:
// it takes no more than half of the room for flights, and asks no
// upstream that is down.
func (r *Resolver) refresh(q *wire.Query, by detour) {
	name := by.askedFor(q)
	var room [512]byte
	r.mu.Lock()
	st, group, key := r.way(q, name, room[:0])
	if r.closing || len(r.flights) >= (r.cfg.MaxInflight+1)/2 || r.flights[string(key)] != nil || r.flightsTo[group.Name()] >= r.share(st) || group.Down() {
		r.mu.Unlock()
		return
	}
	f := r.begin(key, st, group)
	r.mu.Unlock()
	r.refreshed.Add(1)
	r.depart(f, q, name, by)
}
