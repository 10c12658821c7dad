package audit

import "slices"

// byTime returns places in order of their times; those of one time stay in the
// order in which they were. The result lies in the memory of places or of spare,
// and the other is returned for the next call.
//
// Events come almost in order: each core's by themselves, but for those that
// waited for an upstream. A radix sort does not depend on how many these are. It
// takes one pass for each octet of the time between the first event and the last,
// which is four for a batch of up to four seconds, and eight at worst, after the
// clock was set.
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
	for shift := 0; uint64(last-first)>>shift > 0; shift += 8 {
		var next [256]int // where the next place with that octet belongs
		for _, p := range places {
			next[uint8(uint64(p.time-first)>>shift)]++
		}
		begin := 0
		for octet, n := range next {
			next[octet] = begin
			begin += n
		}
		for _, p := range places {
			at := &next[uint8(uint64(p.time-first)>>shift)]
			spare[*at] = p
			*at++
		}
		places, spare = spare, places
	}
	return places, spare
}
