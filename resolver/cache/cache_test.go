package cache

import (
	"bytes"
	"fmt"
	"testing"

	"weir/resolver/wire"
)

const second = int64(1e9)

func entry(key string, octets int, ttl int64) *Entry {
	return &Entry{Key: []byte(key), Reply: wire.Reply{Tail: make([]byte, octets)}, Expires: ttl * second}
}

// get is Get without a word on what is due.
func get(c *Cache, key []byte, now int64) *Entry {
	e, _ := c.Get(key, now)
	return e
}

func TestGetUntilExpiry(t *testing.T) {
	c := New(1 << 20)
	e := entry("a", 10, 60)
	c.Put(e)
	for _, x := range []struct {
		key  string
		now  int64
		want *Entry
	}{
		{"a", 0, e},
		{"a", 60*second - 1, e},
		{"a", 60 * second, nil},
		{"b", 0, nil},
		{"", 0, nil},
	} {
		if got := get(c, []byte(x.key), x.now); got != x.want {
			t.Errorf("%q at %d ns: %v, want %v", x.key, x.now, got, x.want)
		}
		if got := c.Peek([]byte(x.key), x.now); got != x.want {
			t.Errorf("peek at %q at %d ns: %v, want %v", x.key, x.now, got, x.want)
		}
	}
	if got := e.Age(59*second + second/2); got != 59 {
		t.Errorf("age %d s, want 59", got)
	}
	if got := (&Entry{Stored: second}).Age(0); got != 0 {
		t.Errorf("age before it was stored: %d s, want 0", got)
	}
	if st := c.Stats(); st.Entries != 1 || st.Hits != 2 || st.Misses != 3 {
		t.Errorf("stats %+v", st)
	}
}

func TestPutReplaces(t *testing.T) {
	c := New(1 << 20)
	c.Put(entry("a", 1000, 60))
	young := entry("a", 10, 90)
	c.Put(young)
	if got := get(c, []byte("a"), 70*second); got != young {
		t.Errorf("got %v, want the newer entry", got)
	}
	if st := c.Stats(); st.Entries != 1 || st.Bytes != young.size() {
		t.Errorf("stats %+v, want one entry of %d octets", st, young.size())
	}
}

func TestBudgetHolds(t *testing.T) {
	const budget = 1 << 20
	c := New(budget)
	for i := range 20_000 {
		c.Put(entry(fmt.Sprint("name", i), i%900, 60))
		if i%1000 == 0 {
			if st := c.Stats(); st.Bytes > budget {
				t.Fatalf("%d octets kept, budget %d", st.Bytes, budget)
			}
		}
	}
	st := c.Stats()
	if st.Evicted == 0 || st.Entries == 0 || st.Entries+int(st.Evicted) != 20_000 {
		t.Errorf("stats %+v", st)
	}
	var sum int64
	for i := range c.shard {
		s := &c.shard[i]
		for _, e := range append(s.window.lru.Values(), s.main.lru.Values()...) {
			sum += e.size()
		}
		if s.window.used > s.window.budget || s.main.used > s.main.budget {
			t.Errorf("shard %d: window %d of %d octets, main %d of %d", i, s.window.used, s.window.budget, s.main.used, s.main.budget)
		}
	}
	if sum != st.Bytes {
		t.Errorf("%d octets counted, %d kept", st.Bytes, sum)
	}
	c.Put(entry("huge", budget, 60))
	if get(c, []byte("huge"), 0) != nil {
		t.Error("kept an entry larger than a shard")
	}
}

func TestRecentlyUsedStays(t *testing.T) {
	c := New(shards * 64 << 10)
	c.Put(entry("popular", 100, 60))
	for i := range 50_000 {
		c.Put(entry(fmt.Sprint("once", i), 100, 60))
		if i%20 == 0 && get(c, []byte("popular"), 0) == nil {
			t.Fatalf("evicted after %d others", i)
		}
	}
}

func TestPrune(t *testing.T) {
	c := New(1 << 20)
	for i := range 100 {
		e := entry(fmt.Sprintf("\x04name\x00\x00\x1c\x00\x01\x00%c%c", i, i), 10, 60)
		e.Group = []string{"a", "b"}[i%2]
		c.Put(e)
		if string(e.Name()) != "\x04name\x00" || e.Type() != 28 {
			t.Fatalf("name %q, type %d", e.Name(), e.Type())
		}
	}
	c.Prune(func(e *Entry) bool { return e.Group == "a" })
	if st := c.Stats(); st.Entries != 50 || st.Bytes <= 0 {
		t.Errorf("stats %+v, want 50 entries left", st)
	}
	c.Prune(func(*Entry) bool { return false })
	if st := c.Stats(); st.Entries != 0 || st.Bytes != 0 {
		t.Errorf("stats %+v, want nothing left", st)
	}
}

func TestGetAllocatesNothing(t *testing.T) {
	c := New(1 << 20)
	c.Put(entry("a", 10, 60))
	hit, miss := []byte("a"), []byte("b")
	if n := testing.AllocsPerRun(1000, func() { get(c, hit, 1); get(c, miss, 1) }); n != 0 {
		t.Fatalf("%v allocations, want 0", n)
	}
}

func BenchmarkGet(b *testing.B) {
	c := New(64 << 20)
	keys := make([][]byte, 50_000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "\x03www\x08example%d\x03com\x00\x00\x01\x00\x01\x00\x00\x00", i)
		c.Put(entry(string(keys[i]), 60, 60))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % len(keys)
		if get(c, keys[i], 1) == nil {
			b.Fatal("miss")
		}
	}
}

// key is that of a question for an A record.
func key(name string) string { return name + "\x00\x01\x00\x01\x00\x00\x00" }

func TestFlush(t *testing.T) {
	names := []string{"\x00", "\x07example\x00", "\x03www\x07example\x00", "\x0bwwwwexample\x00", "\x03www\x03net\x00", "\x07example\x03net\x00"}
	for _, c := range []struct {
		name string
		left int
	}{{"\x00", 0}, {"\x07example\x00", 3}, {"\x03www\x07example\x00", 4}, {"\x03net\x00", 4}, {"\x03org\x00", 6}, {"\x05ample\x00", 6}} {
		c0 := New(1 << 20)
		for i, n := range names {
			e := entry(key(n), 10, 60)
			if i == 4 {
				e.Names = [][]byte{[]byte(names[2])} // an alias to www.example
			}
			c0.Put(e)
		}
		if dropped := c0.Flush([]byte(c.name)); dropped != len(names)-c.left || c0.Stats().Entries != c.left {
			t.Errorf("flush of %q: %d dropped, %d left, want %d left", c.name, dropped, c0.Stats().Entries, c.left)
		}
	}
}

// TestNewerStays: what arrives late takes no place of what was stored after it.
func TestNewerStays(t *testing.T) {
	c := New(1 << 20)
	young := entry("a", 10, 90)
	young.Stored = 20 * second
	c.Put(young)
	late := entry("a", 10, 120)
	late.Stored = 19 * second
	c.Put(late)
	if got := get(c, []byte("a"), 30*second); got != young {
		t.Errorf("got %v, want the newer entry", got)
	}
	c.Swap(late, entry("a", 10, 200))
	if got := c.Held([]byte("a")); got != young {
		t.Errorf("got %v: swapped with what is not there", got)
	}
	next := entry("a", 10, 200)
	c.Swap(young, next)
	if got := c.Held([]byte("a")); got != next {
		t.Errorf("got %v, want what it was swapped with", got)
	}
	if st := c.Stats(); st.Entries != 1 || st.Bytes != next.size() {
		t.Errorf("stats %+v", st)
	}
	gone := entry("a", 10, 0)
	gone.Stored, gone.Expires = 50*second, 50*second
	c.Put(gone)
	if got := c.Held([]byte("a")); got != nil || c.Stats().Bytes != 0 {
		t.Errorf("%v is kept beside a newer answer that is not", got)
	}
}

// TestDueOnce: only what was hit twice, only once, and not before its time.
func TestDueOnce(t *testing.T) {
	c := New(1 << 20)
	e := entry("a", 10, 60)
	e.Refresh = 54 * second
	c.Put(e)
	never := entry("b", 10, 60)
	c.Put(never)
	for i, want := range []struct {
		now int64
		due bool
	}{{53 * second, false}, {54*second - 1, false}, {54 * second, true}, {55 * second, false}, {60*second - 1, false}} {
		if _, due := c.Get([]byte("a"), want.now); due != want.due {
			t.Errorf("hit %d at %d ns: due %v", i+1, want.now, due)
		}
		if _, due := c.Get([]byte("b"), want.now); due {
			t.Errorf("hit %d of what is never due: due", i+1)
		}
	}
	again := entry("a", 10, 120)
	again.Stored, again.Refresh = 60*second, 108*second
	c.Put(again)
	for i, want := range []bool{false, true, false} {
		if _, due := c.Get([]byte("a"), 110*second); due != want {
			t.Errorf("hit %d of the next: due %v", i+1, due)
		}
	}
}

func TestStaled(t *testing.T) {
	e := entry(key("\x03www\x07example\x00"), 20, 60)
	e.Reply.TTLs, e.Reply.MinTTL, e.Reply.AD, e.Group = []uint16{2, 12}, 60, true, "a"
	old := e.Staled(30)
	for i, b := range old.Reply.Tail {
		if ttl := i == 5 || i == 15; ttl != (b == 30) || !ttl && b != 0 {
			t.Fatalf("tail % x", old.Reply.Tail)
		}
	}
	if !bytes.Equal(e.Reply.Tail, make([]byte, 20)) {
		t.Errorf("the entry itself was changed: % x", e.Reply.Tail)
	}
	if old.Age(1000*second) != 0 || old.Reply.MinTTL != 30 || old.Expires != e.Expires || old.Group != "a" || !old.Stale || old.Reply.AD {
		t.Errorf("%+v", old)
	}
}
