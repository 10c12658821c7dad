package audit

import (
	"math/bits"
	"slices"
)

// maxDigit is how many bits of a time one pass of byTime looks at.
const maxDigit = 11

// byTime returns places in order of their times; those of one time stay in the
// order in which they were. The result lies in the memory of places or of spare,
// and the other is returned for the next call.
//
// Events come almost in order: each core's by themselves, but for those that
// waited for an upstream. A radix sort does not depend on how many these are. Its
// digits have as many values as there are places, up to 2048: a batch of up to two
// seconds takes three passes, the worst, after the clock was set, six.
func byTime(places, spare []place) (sorted, free []place) {
	if len(places) == 0 {
		return places, spare
	}
	first, last, ordered := places[0].time, places[0].time, true
	for _, p := range places {
		ordered = ordered && p.time >= last
		first, last = min(first, p.time), max(last, p.time)
	}
	if ordered {
		return places, spare
	}
	spare = slices.Grow(spare[:0], len(places))[:len(places)]
	width := bits.Len64(uint64(last - first))
	passes := (width + maxDigit - 1) / maxDigit
	if most := bits.Len(uint(len(places))); most < maxDigit {
		passes = (width + most - 1) / most
	}
	digit := (width + passes - 1) / passes
	var room [1 << maxDigit]uint32
	next := room[:1<<digit] // where the next place with that digit belongs
	for shift := 0; shift < width; shift += digit {
		clear(next)
		for _, p := range places {
			next[uint64(p.time-first)>>shift&uint64(len(next)-1)]++
		}
		begin := uint32(0)
		for i, n := range next {
			next[i] = begin
			begin += n
		}
		for _, p := range places {
			at := &next[uint64(p.time-first)>>shift&uint64(len(next)-1)]
			spare[*at] = p
			*at++
		}
		places, spare = spare, places
	}
	return places, spare
}
