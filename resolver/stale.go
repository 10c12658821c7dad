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
	staleTTL   = 30   // seconds, of the records in a stale answer (RFC 8767 §4)
	recheck    = 30e9 // nanoseconds that a failure stands for those that would follow (RFC 8767 §5)
	probeEvery = 1e9  // nanoseconds between questions that see whether a failing upstream works again
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

// health is how a group of upstream servers does, by what became of flights.
// Times are monotonic nanoseconds. Resolver.mu guards it.
type health struct {
	worked int64 // when a server last replied
	failed int64 // when none did
	next   int64 // when a question may see whether that is still so
}

// failing says that no server of the group has replied to the last question, and
// that not long ago. A nil health is good.
func (h *health) failing(now int64) bool {
	return h != nil && h.failed > h.worked && now < h.failed+recheck
}

// probe says that the caller is to ask the failing group again.
func (h *health) probe(now int64) bool {
	if now < h.next {
		return false
	}
	h.next = now + probeEvery
	return true
}

// notice draws from f what it tells of its group, with r.mu held, and says that
// the group has begun to reply again. Silence tells nothing if another question
// that was asked after f had a reply.
func (r *Resolver) notice(f *flight, now int64) (back bool) {
	h := r.health[f.group.Name()]
	if h == nil {
		h = new(health)
		r.health[f.group.Name()] = h
	}
	switch {
	case f.replied:
		back, h.worked = h.failed > h.worked, now
	case h.worked < f.began:
		h.failed, h.next = now, now+probeEvery
	}
	return back
}
