package resolver

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// jar is a token bucket as it is taught: it fills up as time goes by.
type jar struct {
	tokens int64 // nanoseconds' worth
	at     int64
}

func (j *jar) take(now int64, q quota, n int) bool {
	j.tokens, j.at = min(q.room, j.tokens+max(now-j.at, 0)), max(now, j.at)
	if j.tokens < q.each*int64(n) {
		return false
	}
	j.tokens -= q.each * int64(n)
	return true
}

// TestBucketsAreTokenBuckets: as many keys as there is room for get what a
// naive bucket each would give; of more keys some are forgiven, none is wronged.
func TestBucketsAreTokenBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := new(buckets)
		q := newQuota(rapid.IntRange(1, 50).Draw(t, "rate"), rapid.IntRange(0, 20).Draw(t, "burst"))
		n := rapid.Uint64Range(1, 3*bucketWays).Draw(t, "keys")
		jars := map[uint64]*jar{}
		now := int64(0)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now += rapid.Int64Range(0, q.each/2+1).Draw(t, "pause")
			key := 3 + bucketSets*rapid.Uint64Range(1, n).Draw(t, "key") // all of one set
			j := jars[key]
			if j == nil {
				j = &jar{tokens: q.room}
				jars[key] = j
			}
			before := *j
			tokens := rapid.IntRange(1, 4).Draw(t, "tokens")
			got, want := b.take(key, now, q, tokens), j.take(now, q, tokens)
			switch {
			case got == want:
			case !got:
				t.Fatalf("key %d at %d: refused with %d of %d times %d", key, now, before.tokens, q.each, tokens)
			case n <= bucketWays:
				t.Fatalf("key %d at %d: allowed with %d of %d times %d", key, now, before.tokens, q.each, tokens)
			default: // forgotten meanwhile, so it began anew
				*j = jar{at: now} // it has no less than that
			}
		}
	})
}

// TestWhoIsBeyondTheLimitIsKept while strangers pass through its set.
func TestWhoIsBeyondTheLimitIsKept(t *testing.T) {
	b, q := new(buckets), newQuota(10, 10)
	const culprit = 3 + bucketSets
	for b.take(culprit, 0, q, 1) {
	}
	for i := range uint64(10_000) {
		if !b.take(3+bucketSets*(i+2), 0, q, 1) {
			t.Fatalf("stranger %d was refused", i)
		}
	}
	if b.take(culprit, 0, q, 1) {
		t.Error("strangers made the limit forget who is beyond it")
	}
	if !b.take(culprit, int64(time.Second/10), q, 1) {
		t.Error("a tenth of a second brought no token")
	}
}

func TestQuota(t *testing.T) {
	for _, c := range []struct{ rate, burst, want int }{{10, 3, 3}, {1, 0, 1}, {1_000_000, 5, 5}} {
		b, q, n := new(buckets), newQuota(c.rate, c.burst), 0
		for b.take(9, 0, q, 1) {
			n++
		}
		if n != c.want {
			t.Errorf("rate %d, burst %d: %d at once, want %d", c.rate, c.burst, n, c.want)
		}
	}
	if q := newQuota(0, 5); q.each != 0 {
		t.Errorf("no rate is %+v", q)
	}
}

func BenchmarkBuckets(b *testing.B) {
	table, q := new(buckets), newQuota(1000, 1000)
	b.Run("one client", func(b *testing.B) {
		b.ReportAllocs()
		now := int64(0)
		for b.Loop() {
			now += 1e6
			table.take(1, now, q, 1)
		}
	})
	b.Run("a million clients", func(b *testing.B) {
		b.ReportAllocs()
		now, key := int64(0), uint64(1)
		for b.Loop() {
			now += 1000
			key = key*6364136223846793005 + 1442695040888963407
			table.take(key>>44<<20|key>>44, now, q, 1)
		}
	})
}
