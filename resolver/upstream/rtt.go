package upstream

import (
	"math/bits"
	"time"
)

// An rtt estimates how long a server takes for a reply: a smoothed mean (RFC 6298
// §2) and a histogram in which older replies weigh less. The zero value knows
// nothing.
type rtt struct {
	mean  time.Duration // 0 before the first reply
	count int           // the sum of steps
	steps [rttSteps]uint16
}

const (
	rttUnit  = 17 // bits: the histogram counts units of 131 µs
	rttSteps = 64 // four to each doubling: up to 17 s
	rttMost  = 1024
	rttLeast = 16 // replies, before which the histogram says nothing
)

// add takes in one reply. When there are rttMost, all so far count half.
func (r *rtt) add(took time.Duration) {
	took = max(took, 1)
	if r.mean == 0 {
		r.mean = took
	}
	r.mean += (took - r.mean) / 8
	if r.count == rttMost {
		r.count = 0
		for i := range r.steps {
			r.steps[i] /= 2
			r.count += int(r.steps[i])
		}
	}
	r.steps[rttStep(took)]++
	r.count++
}

// p95 is a time within which 95 of 100 replies came, at most a quarter too long,
// or 0 while too few have come to tell.
func (r *rtt) p95() time.Duration {
	if r.count < rttLeast {
		return 0
	}
	left := (r.count*95 + 99) / 100
	for i, n := range r.steps {
		if left -= int(n); left <= 0 {
			return rttBound(i)
		}
	}
	return rttBound(rttSteps - 1) // not reached: count is the sum
}

// rttStep is the step of the histogram for d: one for each unit up to four, and
// then four for each power of two.
func rttStep(d time.Duration) int {
	n := uint64(d) >> rttUnit
	if n < 4 {
		return int(n)
	}
	e := bits.Len64(n) - 3
	return min(4*e+int(n>>e), rttSteps-1)
}

// rttBound is where the step ends.
func rttBound(i int) time.Duration {
	if i < 4 {
		return time.Duration(i+1) << rttUnit
	}
	e := i/4 - 1
	return time.Duration(i%4+5) << (e + rttUnit)
}
