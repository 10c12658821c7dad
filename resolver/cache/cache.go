package cache

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"weir/blocklist"
	"weir/resolver/wire"
)

const shards = 64

// Entry is one answer from elsewhere with the facts that policy judges. What
// others see of it is never changed after Put.
type Entry struct {
	Key     []byte // wire.Query.Key of the question
	Reply   wire.Reply
	Stored  int64 // monotonic nanoseconds
	Expires int64 // monotonic nanoseconds
	Refresh int64 // monotonic nanoseconds, from when on it may be asked for anew; 0 is never

	Facts    blocklist.Facts
	Names    [][]byte // Facts.Aliases, then Facts.Targets
	Upstream uint32   // label of the server that answered
	Group    string   // name of the upstream that it belongs to
	Instead  []byte   // wire name that upstream was asked for in place of the question's, nil if for that

	Failed  bool   // stands for a failure to get an answer (RFC 9520)
	Outage  uint32 // with Failed: of the upstream's outages, by upstream.Group, the one in which that was; 0 is none
	Stale   bool   // has expired, and was made by Staled
	Implied bool   // was made of an entry for another name
	EDECode int32  // with Failed or Stale: why (RFC 8914)
	EDE     []byte // with Failed or Stale: the same as an encoded option
	Recheck int64  // with Stale: monotonic nanoseconds, before which the question is not asked again

	hits uint32 // guarded by its shard, like due
	due  bool   // Get has said so
}

// Name is the wire name of the question.
func (e *Entry) Name() []byte { return e.Key[:len(e.Key)-wire.KeyExtra] }

// Rewrite is the number of the name that stands in for the question's, see
// blocklist.SafeHost; 0 is none.
func (e *Entry) Rewrite() uint8 { return wire.Rewrite(e.Key) }

// Translation is the number of the way in which it was translated, see
// resolver.DNS64; 0 is none.
func (e *Entry) Translation() uint16 { return wire.Translation(e.Key) }

// Question is the question as it stands in a message.
func (e *Entry) Question() []byte { return e.Key[:len(e.Key)-wire.KeyExtra+4] }

// Asked is the wire name that upstream was asked for.
func (e *Entry) Asked() []byte {
	if e.Instead != nil {
		return e.Instead
	}
	return e.Name()
}

// Type is the type of the question.
func (e *Entry) Type() uint16 { return binary.BigEndian.Uint16(e.Key[len(e.Key)-wire.KeyExtra:]) }

// Staled returns what is given in place of e when it has expired and no newer
// answer can be had (RFC 8767): the same records, each with this TTL in seconds,
// which nobody vouches for any more.
func (e *Entry) Staled(ttl uint32) *Entry {
	old := &Entry{
		Key: e.Key, Reply: e.Reply, Stored: e.Stored, Expires: e.Expires,
		Facts: e.Facts.Same(), Names: e.Names, Upstream: e.Upstream, Group: e.Group, Instead: e.Instead, Stale: true,
	}
	old.Reply.Tail, old.Reply.MinTTL, old.Reply.AD = bytes.Clone(e.Reply.Tail), ttl, false
	for _, off := range e.Reply.TTLs {
		binary.BigEndian.PutUint32(old.Reply.Tail[off:], ttl)
	}
	return old
}

// Age is how many whole seconds e has been kept, by which its TTLs are to be
// reduced; 0 if it is stale.
func (e *Entry) Age(now int64) uint32 {
	if e.Stale {
		return 0
	}
	return uint32(max(now-e.Stored, 0) / 1e9)
}

// size is what e costs in octets, list and map overhead included.
func (e *Entry) size() int64 {
	const overhead = 400 // Entry, its slices' headers, list element, map cell
	n := overhead + cap(e.Key) + cap(e.Instead) + cap(e.Reply.Tail) + 2*cap(e.Reply.TTLs) + 24*cap(e.Facts.Addrs)
	for _, a := range e.Names {
		n += 24 + cap(a)
	}
	return int64(n)
}

// Cache holds entries up to a number of octets. It is safe for concurrent use.
type Cache struct {
	seed   maphash.Seed
	shard  [shards]shard
	budget int64 // octets per shard
	denied denials

	hits, misses, evicted, implied atomic.Uint64
}

// shard is a share of the entries. What is new goes to the window. What drops out
// of that gets into main, where most of the room is, only if it was hit; if it was
// not it is remembered by its hash, and gets into main when it is put again soon
// (2Q, Johnson and Shasha 1994).
type shard struct {
	mu           sync.Mutex
	window, main segment
	dropped      memory
	_            [64]byte // keeps neighbours off one cache line
}

// windowShare is how many times the window fits into a shard.
const windowShare = 8

// New makes a cache of size octets; entries larger than the main part of a
// shard's share (size/64) are not kept.
func New(size int64) *Cache {
	c := &Cache{seed: maphash.MakeSeed(), budget: size / shards}
	c.denied.lru, _ = simplelru.NewLRU[uint64, denial](int(max(size/octetsPerDenial, 1)), nil)
	for i := range c.shard {
		s := &c.shard[i]
		s.window, s.main = newSegment(c.budget/windowShare), newSegment(c.budget-c.budget/windowShare)
		s.dropped = newMemory(c.budget)
	}
	return c
}

// peek and get find the entry with a hash; get makes it the one used last.
func (s *shard) peek(h uint64) (e *Entry, ok bool) {
	if e, ok = s.main.lru.Peek(h); !ok {
		e, ok = s.window.lru.Peek(h)
	}
	return e, ok
}

func (s *shard) get(h uint64) (e *Entry, ok bool) {
	if e, ok = s.main.lru.Get(h); !ok {
		e, ok = s.window.lru.Get(h)
	}
	return e, ok
}

const popular = 2 // hits that make an entry worth asking for anew before it ends

// Get returns the entry for key that has not expired at now, or nil. It says of
// a popular one, once, that it is due to be asked for anew.
func (c *Cache) Get(key []byte, now int64) (e *Entry, due bool) {
	h := maphash.Bytes(c.seed, key)
	s := &c.shard[h%shards]
	s.mu.Lock()
	e, ok := s.get(h)
	if ok = ok && now < e.Expires && bytes.Equal(e.Key, key); ok {
		e.hits++
		if due = e.Refresh != 0 && now >= e.Refresh && e.hits >= popular && !e.due; due {
			e.due = true
		}
	}
	s.mu.Unlock()
	if !ok {
		c.misses.Add(1)
		return nil, false
	}
	c.hits.Add(1)
	return e, due
}

// Peek is Get without a trace: it counts nothing and makes no entry younger.
func (c *Cache) Peek(key []byte, now int64) *Entry {
	h := maphash.Bytes(c.seed, key)
	s := &c.shard[h%shards]
	s.mu.Lock()
	e, ok := s.peek(h)
	s.mu.Unlock()
	if !ok || now >= e.Expires || !bytes.Equal(e.Key, key) {
		return nil
	}
	return e
}

// Held returns the entry for key whether it has expired or not, or nil, and
// leaves as little trace as Peek.
func (c *Cache) Held(key []byte) *Entry {
	h := maphash.Bytes(c.seed, key)
	s := &c.shard[h%shards]
	s.mu.Lock()
	e, ok := s.peek(h)
	s.mu.Unlock()
	if !ok || !bytes.Equal(e.Key, key) {
		return nil
	}
	return e
}

// Put keeps e, in place of an entry with the same key unless that was stored
// later, and evicts what is least in demand until the budget holds; that may be e.
// If e has no life span it is not kept, nor is what it would have replaced.
func (c *Cache) Put(e *Entry) {
	if e.denies() {
		c.deny(e)
	}
	h := maphash.Bytes(c.seed, e.Key)
	s := &c.shard[h%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if held, ok := s.peek(h); ok && held.Stored > e.Stored && bytes.Equal(held.Key, e.Key) {
		return
	}
	c.put(s, h, e)
}

// Swap puts next in the place of old, if that is still held.
func (c *Cache) Swap(old, next *Entry) {
	h := maphash.Bytes(c.seed, old.Key)
	s := &c.shard[h%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if held, ok := s.peek(h); ok && held == old {
		c.put(s, h, next)
	}
}

// put is called with the shard locked.
func (c *Cache) put(s *shard, h uint64, e *Entry) {
	known := s.window.remove(h)
	known = s.main.remove(h) || known
	size := e.size()
	if size > s.main.budget || e.Expires <= e.Stored {
		return
	}
	if known || s.dropped.has(h) || size > s.window.budget {
		c.admit(s, h, e, size)
		return
	}
	s.window.add(h, e, size)
	for s.window.used > s.window.budget {
		h, e := s.window.removeOldest()
		if size := e.size(); e.hits > 0 || s.main.used+size <= s.main.budget {
			c.admit(s, h, e, size)
		} else {
			s.dropped.add(h)
			c.evicted.Add(1)
		}
	}
}

// admit puts e into main, in place of what was used least recently there.
func (c *Cache) admit(s *shard, h uint64, e *Entry, size int64) {
	s.main.add(h, e, size)
	for s.main.used > s.main.budget {
		s.main.removeOldest()
		c.evicted.Add(1)
	}
}

// Flush drops what was asked about name, a wire name, and all below it, and
// what leads there by an alias. It returns how many entries that were.
func (c *Cache) Flush(name []byte) int {
	return c.Prune(func(e *Entry) bool {
		return !within(e.Name(), name) && !slices.ContainsFunc(e.Names, func(n []byte) bool { return within(n, name) })
	})
}

// within reports whether name is zone or below it.
func within(name, zone []byte) bool {
	for len(name) > len(zone) {
		name = name[1+int(name[0]):]
	}
	return bytes.Equal(name, zone)
}

// Prune drops the entries that keep refuses, a shard at a time, and returns how
// many.
func (c *Cache) Prune(keep func(*Entry) bool) (dropped int) {
	for i := range c.shard {
		s := &c.shard[i]
		s.mu.Lock()
		for _, h := range append(s.window.lru.Keys(), s.main.lru.Keys()...) {
			if e, ok := s.peek(h); ok && !keep(e) {
				s.window.remove(h)
				s.main.remove(h)
				dropped++
			}
		}
		s.mu.Unlock()
	}
	return dropped
}

// Stats counts since the cache was made.
type Stats struct {
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"`
	Hits    uint64 `json:"hits"`
	Misses  uint64 `json:"misses"`
	Implied uint64 `json:"implied"` // misses that a parent's NXDOMAIN answers
	Evicted uint64 `json:"evicted"`
}

// Stats reads the counters; entries that have expired but were not evicted
// yet are included.
func (c *Cache) Stats() Stats {
	st := Stats{Hits: c.hits.Load(), Misses: c.misses.Load(), Implied: c.implied.Load(), Evicted: c.evicted.Load()}
	for i := range c.shard {
		s := &c.shard[i]
		s.mu.Lock()
		st.Entries += s.window.lru.Len() + s.main.lru.Len()
		st.Bytes += s.window.used + s.main.used
		s.mu.Unlock()
	}
	return st
}
