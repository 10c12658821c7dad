package cache

import (
	"encoding/binary"
	"hash/maphash"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"weir/resolver/wire"
)

// octetsPerDenial is how much of a cache's size allows one denial. One takes
// about a hundred octets, which the budget does not count.
const octetsPerDenial = 8 << 10

// denials finds the entries that say of a name that it does not exist: by a hash
// of the name, the class and the flags of a question, the type with which it was
// asked and the translation. A name that does not exist has nothing below it (RFC 8020), whatever
// the type. That the entry is still there, and of that name, is for Denied to see.
type denials struct {
	mu  sync.Mutex
	lru *simplelru.LRU[uint64, denial]
}

type denial struct{ qtype, translation uint16 }

// denies reports whether e says that the very name asked for does not exist, and
// not only one that it is an alias of.
func (e *Entry) denies() bool {
	return e.Reply.Rcode == wire.RcodeNXDomain && e.Reply.An == 0 && !e.Failed && !e.Stale && !e.Implied && e.Rewrite() == 0
}

func (c *Cache) deny(e *Entry) {
	h := c.denialHash(e.Name(), e.Key)
	c.denied.mu.Lock()
	defer c.denied.mu.Unlock()
	c.denied.lru.Add(h, denial{e.Type(), e.Translation()})
}

// denialHash is that of name with class and flags of key.
func (c *Cache) denialHash(name, key []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	_, _ = h.Write(name)
	_, _ = h.Write(key[len(key)-wire.KeyExtra+2 : len(key)-2])
	return h.Sum64()
}

// Denied returns an entry that has not expired at now and says that a parent of
// the name in key, asked for with the same class and flags, does not exist.
func (c *Cache) Denied(key []byte, now int64) *Entry {
	name := key[:len(key)-wire.KeyExtra]
	for len(name) > 1 {
		if name = name[1+int(name[0]):]; len(name) == 1 {
			break // the root exists
		}
		h := c.denialHash(name, key)
		c.denied.mu.Lock()
		d, ok := c.denied.lru.Get(h)
		c.denied.mu.Unlock()
		if !ok {
			continue
		}
		var room [256 + wire.KeyExtra]byte
		k := binary.BigEndian.AppendUint16(append(room[:0], name...), d.qtype)
		k = append(k, key[len(key)-wire.KeyExtra+2:len(key)-2]...)
		k = binary.BigEndian.AppendUint16(k, d.translation)
		if e := c.touch(k, now); e != nil && e.denies() {
			return e
		}
	}
	return nil
}

// touch is Get for what was not asked for by itself: it counts as used, but not
// as a hit.
func (c *Cache) touch(key []byte, now int64) *Entry {
	h := maphash.Bytes(c.seed, key)
	s := &c.shard[h%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.get(h); ok && now < e.Expires && string(e.Key) == string(key) {
		return e
	}
	return nil
}

// Implied counts an answer that was made of what Denied returned.
func (c *Cache) Implied() { c.implied.Add(1) }
