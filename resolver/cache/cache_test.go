package cache

import (
	"fmt"
	"testing"

	"weir/resolver/wire"
)

const second = int64(1e9)

func entry(key string, octets int, ttl int64) *Entry {
	return &Entry{Key: []byte(key), Reply: wire.Reply{Tail: make([]byte, octets)}, Expires: ttl * second}
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
		if got := c.Get([]byte(x.key), x.now); got != x.want {
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
	if got := c.Get([]byte("a"), 70*second); got != young {
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
		for _, e := range c.shard[i].lru.Values() {
			sum += e.size()
		}
	}
	if sum != st.Bytes {
		t.Errorf("%d octets counted, %d kept", st.Bytes, sum)
	}
	c.Put(entry("huge", budget, 60))
	if c.Get([]byte("huge"), 0) != nil {
		t.Error("kept an entry larger than a shard")
	}
}

func TestRecentlyUsedStays(t *testing.T) {
	c := New(shards * 64 << 10)
	c.Put(entry("popular", 100, 60))
	for i := range 50_000 {
		c.Put(entry(fmt.Sprint("once", i), 100, 60))
		if i%20 == 0 && c.Get([]byte("popular"), 0) == nil {
			t.Fatalf("evicted after %d others", i)
		}
	}
}

func TestPrune(t *testing.T) {
	c := New(1 << 20)
	for i := range 100 {
		e := entry(fmt.Sprintf("\x04name\x00\x00\x1c\x00\x01%c", i), 10, 60)
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
	if n := testing.AllocsPerRun(1000, func() { c.Get(hit, 1); c.Get(miss, 1) }); n != 0 {
		t.Fatalf("%v allocations, want 0", n)
	}
}

func BenchmarkGet(b *testing.B) {
	c := New(64 << 20)
	keys := make([][]byte, 50_000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "\x03www\x08example%d\x03com\x00\x00\x01\x00\x01\x00", i)
		c.Put(entry(string(keys[i]), 60, 60))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % len(keys)
		if c.Get(keys[i], 1) == nil {
			b.Fatal("miss")
		}
	}
}
