package resolver

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"runtime/debug"

	"github.com/miekg/dns"

	"weir/audit"
	"weir/resolver/cache"
	"weir/resolver/upstream"
	"weir/resolver/wire"
)

// flight is one question on its way, and those who wait for the answer.
type flight struct {
	key     string
	state   *State // that sent it; its upstreams stay open until the flight has landed
	group   *upstream.Group
	flushes uint64 // of the cache until then
	waiters []waiter
	replied bool // a server has, be it with nonsense

	old  *cache.Entry // stale, for those who wait if nothing newer comes in time; nil is none
	stop func() bool  // ends the timer of that
	late bool         // it has ended

	alias string  // the question's name, where another is asked for in its place; else empty
	name  []byte  // the wire name that is asked for, with alias
	dns64 *DNS64  // how the answer is translated; nil is not
	ask   dns.Msg // the question as it goes out
	room1 [1]waiter
	room2 [1]dns.Question
}

type waiter struct {
	msg    []byte
	from   origin
	client netip.Addr // whose waiters it counts among
}

// waitersPerFlight times the most flights is how many queries may wait in all:
// each keeps its packet in memory.
const waitersPerFlight = 8

const (
	maxWaiters = 1024 // for one question; more are answered SERVFAIL
	bareTTL    = 5    // seconds that a negative answer without SOA is kept

	// A failure is remembered for a while, which doubles with each that follows
	// another, from the first of these nanoseconds to the second (RFC 9520 §3.2).
	firstFailure = 1e9
	lastFailure  = 30e9
)

// miss sends a question out, or joins it to the flight that already carries
// the same question to the same place. It returns a reply only when one
// follows from what is in memory, when a stale one is to be given at once, or when
// there is no room to wait.
func (r *Resolver) miss(s *scratch, msg []byte, from *origin, by detour) []byte {
	q := &s.query
	name := by.askedFor(q)
	if r.cfg.DenyBelow && &name[0] == &q.Name()[0] {
		if e := r.denied(q, from.mono); e != nil {
			return r.answer(s, msg, from, e)
		}
	}
	f, began, old := r.board(q, name, msg, from)
	if began {
		r.depart(f, q, name, by)
	}
	if old != nil {
		return r.answer(s, msg, from, old)
	}
	if f == nil {
		r.overload.Add(1)
		s.event.Source, s.event.EDE = audit.SourceError, edeNetwork
		return r.finish(s, msg, from, &replyServFail, wire.Finish{EDE: r.tooMany})
	}
	s.waiting = true
	return nil
}

// board puts the query msg on the flight for q, by which name is asked for, and
// says that it has yet to begin if the query is the first. With old, an answer
// that is to be given now, the query is on no flight. Without either there is no
// room: too many are under way or wait already, or none may begin any more.
func (r *Resolver) board(q *wire.Query, name, msg []byte, from *origin) (f *flight, began bool, old *cache.Entry) {
	old = r.old(q.Key(), from.mono)
	r.mu.Lock()
	defer r.mu.Unlock()
	var room [512]byte
	st, group, key := r.way(q, name, room[:0])
	f = r.flights[string(key)]
	if old != nil && old.Group != group.Name() {
		old = nil // another server's word
	}
	wait := true
	if old != nil {
		switch {
		case from.mono < old.Recheck, f != nil && f.late, group.Down():
			return nil, false, old
		case r.cfg.StaleTimer <= 0:
			wait = false
		}
	}
	if r.closing || f == nil && len(r.flights) >= r.cfg.MaxInflight ||
		wait && (r.waiting >= waitersPerFlight*r.cfg.MaxInflight || f != nil && len(f.waiters) >= maxWaiters) {
		return nil, false, old
	}
	client := st.limits.client(from.client)
	if most := st.limits.Waiting; wait && most > 0 && r.waitingBy[client] >= most {
		return nil, false, old
	}
	if f == nil {
		if r.flightsTo[group.Name()] >= r.share(st) {
			return nil, false, old
		}
		f, began = r.begin(key, st, group), true
	}
	if !wait {
		return f, began, old
	}
	f.waiters = append(f.waiters, waiter{msg: bytes.Clone(msg), from: *from, client: client})
	r.waiting++
	r.waitingBy[client]++
	if old != nil && f.old == nil {
		overdue := f // what a closure holds is allocated, and f is each time
		f.old, f.stop = old, r.cfg.After(r.cfg.StaleTimer, func() { r.late(overdue) })
	}
	return f, began, nil
}

// way says where q goes, by the name that is asked for, and appends the key of
// its flight to room. r.mu is held.
func (r *Resolver) way(q *wire.Query, name, room []byte) (*State, *upstream.Group, []byte) {
	st := r.state.Load() // not an older one: Swap may have closed its upstreams
	group := st.Routes.Route(routed(name, q.Type))
	return st, group, append(append(room, q.Key()...), group.Name()...)
}

// begin makes a flight, with r.mu held.
func (r *Resolver) begin(key []byte, st *State, group *upstream.Group) *flight {
	f := &flight{key: string(key), state: st, group: group, flushes: r.flushes.Load()}
	f.waiters = f.room1[:0]
	r.flights[f.key] = f
	r.flightsTo[group.Name()]++
	st.flights.Add(1)
	r.inflight.Add(1)
	return f
}

// depart sends a flight for q on its way, that asks for name, by the detour.
func (r *Resolver) depart(f *flight, q *wire.Query, name []byte, by detour) {
	if &name[0] != &q.Name()[0] {
		f.alias, f.name = presentation(q.Name()), name
	}
	f.dns64 = by.dns64
	f.question(q, name)
	go r.fly(f, bytes.Clone(q.Key()))
}

// share is how many flights one upstream may have: where there are several, one
// that is slow leaves a quarter of the room to the others.
func (r *Resolver) share(st *State) int {
	if len(st.Groups) < 2 {
		return r.cfg.MaxInflight
	}
	return max(r.cfg.MaxInflight-r.cfg.MaxInflight/4, 1)
}

// landed takes f out of what is counted. r.mu is held.
func (r *Resolver) landed(f *flight) {
	delete(r.flights, f.key)
	lessOne(r.flightsTo, f.group.Name())
	r.served(f.waiters)
}

// served takes waiters that wait no more out of what is counted. r.mu is held.
func (r *Resolver) served(waiters []waiter) {
	r.waiting -= len(waiters)
	for i := range waiters {
		lessOne(r.waitingBy, waiters[i].client)
	}
}

// lessOne counts down to nothing, which takes no memory.
func lessOne[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}

// routed is the name by which a question finds its upstream: that of the parent
// for DS, which is the parent's record (RFC 4035 §3.1.4.1).
func routed(name []byte, qtype uint16) []byte {
	if qtype == dns.TypeDS && len(name) > 1 {
		name = name[1+int(name[0]):]
	}
	return name
}

// question fills in the query that goes out: the question in lower case, for name
// if that stands in for q's, and the flags DO and CD, nothing else of the asker.
func (f *flight) question(q *wire.Query, name []byte) {
	text, _, err := dns.UnpackDomainName(name, 0)
	if err != nil {
		text = "." // not reached: a parsed name unpacks
	}
	f.room2[0] = dns.Question{Name: text, Qtype: q.Type, Qclass: q.Class}
	f.ask.RecursionDesired, f.ask.CheckingDisabled, f.ask.Question = true, q.CD, f.room2[:]
	if q.DO {
		f.ask.SetEdns0(wire.MaxUDP, true)
	}
}

// fly asks upstream, keeps the answer and runs the query path again for
// everyone who waits.
func (r *Resolver) fly(f *flight, key []byte) {
	defer r.inflight.Done()
	catchFaults()
	s := r.scratch()
	e := r.fetch(f, key, s.out[:cap(s.out)])
	r.keep(f, e)
	f.state.flights.Done()
	r.mu.Lock()
	r.landed(f)
	r.mu.Unlock() // nobody can join any more
	if f.old != nil {
		f.stop()
		if e.Failed {
			e = f.old
		}
	}

	for i := range f.waiters {
		r.land(s, &f.waiters[i], e)
	}
	r.scratches.Put(s)
}

// land answers one waiter, unless what has changed meanwhile has put its question
// on another flight. A panic costs that answer alone.
func (r *Resolver) land(s *scratch, w *waiter, e *cache.Entry) {
	var out []byte
	defer func() {
		if v := recover(); v != nil {
			out = r.caught(v, s, w.msg, &w.from)
		}
		if !s.waiting {
			w.from.excluded = s.excluded
			w.from.back.send(&w.from, out)
		}
	}()
	out = r.answer(s, w.msg, &w.from, e)
}

// fetch asks f's question and returns the answer, or the failure, as a cache
// entry. It may use room.
func (r *Resolver) fetch(f *flight, key, room []byte) (e *cache.Entry) {
	group, q := f.group, &f.ask
	var m *dns.Msg
	defer func() {
		if v := recover(); v != nil {
			r.panics.Add(1)
			r.logger.Error("a reply could not be read", "question", q.Question[0].String(), "panic", v,
				"packet", repacked(m), "stack", string(debug.Stack()))
			e = r.failure(f, key, edeOther, "reply could not be read")
		}
	}()
	m, server, err := group.Exchange(r.ctx, q) // the group has its own deadline
	if f.dns64 != nil && q.Question[0].Qtype == dns.TypeAAAA {
		m, server, err = f.synthesise(r.ctx, m, server, err, r.cfg.TTL)
	}
	if err != nil {
		code, text := int32(edeNetwork), "upstream "+group.Name()+" failed"
		if errors.Is(err, context.DeadlineExceeded) {
			code, text = edeUnreachable, "upstream "+group.Name()+" did not answer"
		}
		if errors.Is(err, upstream.ErrNoReply) {
			text += ": it sent what is no reply to the question"
		}
		r.logger.Debug("no answer", "question", q.Question[0].String(), "upstream", group.Name(), "error", err)
		return r.failure(f, key, code, text)
	}
	f.replied = true
	e, err = inspect(q, m, f.alias, f.state.prefixes, r.cfg.TTL, room)
	if err != nil {
		r.logger.Debug("reply refused", "question", q.Question[0].String(), "server", server, "error", err)
		return r.failure(f, key, toldWhy(m), "upstream reply refused: "+err.Error())
	}
	e.Key, e.Group, e.Upstream, e.Instead = key, group.Name(), r.log.Label(server), f.name
	e.Stored = r.mono()
	e.Expires += e.Stored // inspect gave a life span
	r.schedule(e)
	return e
}

// toldWhy is the Extended DNS Error of a reply that says why a validator refuses what
// it was told (RFC 8914 §4.2 to §4.13), which this server cannot find out; edeOther if
// there is none. It is handed on as a number: the text with it may be anybody's.
func toldWhy(m *dns.Msg) int32 {
	if opt := m.IsEdns0(); opt != nil && m.Rcode == dns.RcodeServerFailure {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok && (e.InfoCode == 1 || e.InfoCode == 2 || 5 <= e.InfoCode && e.InfoCode <= 12) {
				return int32(e.InfoCode)
			}
		}
	}
	return edeOther
}

// failure is an entry that says SERVFAIL. In an outage of the upstream it stands
// until that is over at most.
func (r *Resolver) failure(f *flight, key []byte, code int32, text string) *cache.Entry {
	now := r.mono()
	life := int64(firstFailure)
	if last := r.cache.Held(key); last != nil && last.Failed && now < last.Expires+lastFailure && (last.Outage == 0 || last.Outage > f.group.Over()) {
		life = min(2*(last.Expires-last.Stored), lastFailure)
	}
	e := &cache.Entry{
		Key: key, Reply: replyServFail, Failed: true,
		EDECode: code, EDE: wire.AppendEDE(nil, uint16(code), text),
		Stored: now, Expires: now + life,
	}
	if !f.replied {
		e.Outage = f.group.Outage()
	}
	return e
}
