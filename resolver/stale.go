package resolver

import (
	"fmt"
	"runtime/debug"

	"weir/resolver/cache"
	"weir/resolver/wire"
)

// An answer that has expired is given for a while if no newer one can be had
// (RFC 8767): when asking again fails, when it takes longer than
// Config.StaleTimer, or at once if it is known that it would. It goes the whole
// query path like any other, so what is blocked by now is blocked.

const (
	staleTTL = 30   // seconds, of the records in a stale answer (RFC 8767 §4)
	recheck  = 30e9 // nanoseconds that a failure stands for those that would follow (RFC 8767 §5)
)

// old returns an answer to the question with this key that has expired but may
// still be given, or nil.
func (r *Resolver) old(key []byte, now int64) *cache.Entry {
	if r.cfg.Stale <= 0 {
		return nil
	}
	e := r.cache.Held(key)
	if e == nil || e.Failed || now < e.Expires || !r.lasts(e, now) {
		return nil
	}
	if !e.Stale {
		e = r.staled(e, 0)
	}
	return e
}

// lasts says that e is still good, or not too old to be given stale.
func (r *Resolver) lasts(e *cache.Entry, now int64) bool { return now < e.Expires+int64(r.cfg.Stale) }

// staled puts the stale form of e in its place.
func (r *Resolver) staled(e *cache.Entry, recheck int64) *cache.Entry {
	old := e.Staled(staleTTL)
	old.Recheck, old.EDECode, old.EDE = recheck, edeStale, r.stale
	if e.Reply.Rcode == wire.RcodeNXDomain {
		old.EDECode, old.EDE = edeStaleName, r.staleName
	}
	r.cache.Swap(e, old)
	return old
}

// keep puts what a flight has brought into the cache. A failure takes the place
// of no answer that may still be given; if that has expired, the question is
// not asked again for a while. A panic costs the cache this answer.
func (r *Resolver) keep(f *flight, e *cache.Entry) {
	defer func() {
		if v := recover(); v != nil {
			r.panics.Add(1)
			r.logger.Error("an answer could not be kept", "question", fmt.Sprintf("%x", f.key), "panic", v, "stack", string(debug.Stack()))
		}
	}()
	if r.flushes.Load() != f.flushes {
		return // it may have been asked for before what the flush is about
	}
	if e.Failed {
		if old := r.cache.Held(e.Key); old != nil && !old.Failed && old.Group == f.group.Name() && r.lasts(old, e.Stored) {
			if f.replied && old.Expires <= e.Stored {
				r.staled(old, e.Stored+recheck)
			}
			return
		}
	}
	r.cache.Put(e)
}

// late gives those who wait for f the stale answer. f goes on, for the sake of
// the next who ask.
func (r *Resolver) late(f *flight) {
	r.mu.Lock()
	if r.flights[f.key] != f {
		r.mu.Unlock()
		return // it has landed meanwhile
	}
	waiters := f.waiters
	f.waiters, f.late = nil, true
	r.served(waiters)
	r.inflight.Add(1)
	r.mu.Unlock()
	defer r.inflight.Done()
	catchFaults()
	s := r.scratch()
	for i := range waiters {
		r.land(s, &waiters[i], f.old)
	}
	r.scratches.Put(s)
}

// outlived says that e, a failure in an outage of the upstream that is asked for q,
// stands for it no more: the outage is over.
func (st *State) outlived(q *wire.Query, e *cache.Entry, by detour) bool {
	return st.Routes.Route(routed(by.askedFor(q), q.Type)).Over() >= e.Outage
}
