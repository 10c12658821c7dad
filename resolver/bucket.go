package resolver

import (
	"sync"
	"time"
)

// quota is a rate that a bucket allows. The zero quota is no limit.
type quota struct {
	each int64 // nanoseconds that one takes to come back
	room int64 // nanoseconds that a full bucket is worth
}

// newQuota allows rate a second and, after a silence, burst at once; a burst
// below one is one.
func newQuota(rate, burst int) quota {
	if rate <= 0 {
		return quota{}
	}
	each := int64(time.Second) / int64(rate)
	return quota{each: each, room: each * int64(max(burst, 1))}
}

// buckets is a table of token buckets in fixed memory, 1 MiB for 57,344 of
// them. A bucket is the time at which it will be full again, so there is nothing
// to refill and one that is full need not be there. A key that is new where all
// are taken puts out the bucket that is full first: that forgives the least, and
// whoever is beyond the limit goes last.
//
// Keys are hashes with a seed that nobody outside knows. Goroutines meet in a
// set of seven buckets only.
type buckets struct {
	sets [bucketSets]bucketSet
}

const (
	bucketSets = 1 << 13
	bucketWays = 7
)

// bucketSet fills two cache lines.
type bucketSet struct {
	mu   sync.Mutex
	keys [bucketWays]uint64
	full [bucketWays]int64 // nanoseconds on the resolver's own clock
	_    [8]byte
}

// take takes n tokens of the bucket of key at the time now, in nanoseconds, and
// returns false if there are not so many.
func (b *buckets) take(key uint64, now int64, q quota, n int) bool {
	s := &b.sets[key%bucketSets]
	s.mu.Lock()
	defer s.mu.Unlock()
	at := 0
	for i, k := range s.keys {
		if k == key {
			at = i
			break
		}
		if s.full[i] < s.full[at] {
			at = i
		}
	}
	if s.keys[at] != key {
		s.keys[at], s.full[at] = key, now
	}
	full := max(s.full[at], now) + q.each*int64(n)
	if full-now > q.room {
		return false
	}
	s.full[at] = full
	return true
}
