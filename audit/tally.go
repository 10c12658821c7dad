package audit

import (
	"slices"
	"time"
)

// A tally counts how often each list decided and was observed in the records of
// one segment, hour by hour. Adding one costs a few table reads, as long as records
// come in the order of their hours.
type tally struct {
	begin  int64     // of the hour being counted, in nanoseconds since 1970
	listOf []uint32  // by number of a reason: the list it names, counted from one; 0 is none
	lists  []ListRef // all that reasons have named
	number map[ListRef]uint32
	counts []Hits   // by number of a list
	named  []uint32 // the lists that have counts, in the order in which they came
	hours  []hourHits
}

func newTally() *tally {
	return &tally{listOf: make([]uint32, 1), counts: make([]Hits, 1), number: make(map[ListRef]uint32)}
}

// learn takes the next reason's list. Names are kept as a Record has them.
func (t *tally) learn(category, list string) {
	var n uint32
	if list != "" {
		ref := ListRef{printable([]byte(category)), printable([]byte(list))}
		var ok bool
		if n, ok = t.number[ref]; !ok {
			t.lists = append(t.lists, ref)
			t.counts = append(t.counts, Hits{})
			n = uint32(len(t.lists))
			t.number[ref] = n
		}
	}
	t.listOf = append(t.listOf, n)
}

// reasons says how many reasons have been learnt; forget makes it none.
func (t *tally) reasons() int { return len(t.listOf) - 1 }
func (t *tally) forget()      { t.listOf = t.listOf[:1] }

// add counts a query of that time, which is not before 1970.
func (t *tally) add(at int64, reason, observed uint32) {
	if uint64(at-t.begin) >= uint64(time.Hour) {
		t.flush()
		t.begin = hourOf(at) * int64(time.Hour)
	}
	if n := t.list(reason); n != 0 {
		t.counts[n].Decided++
	}
	if n := t.list(observed); n != 0 {
		t.counts[n].Observed++
	}
}

// list returns the list of a reason that is about to be counted.
func (t *tally) list(reason uint32) uint32 {
	if int(reason) >= len(t.listOf) {
		return 0
	}
	n := t.listOf[reason]
	if n != 0 && t.counts[n] == (Hits{}) {
		t.named = append(t.named, n)
	}
	return n
}

// flush closes the hour.
func (t *tally) flush() {
	if len(t.named) == 0 {
		return
	}
	lists := make([]listHits, len(t.named))
	for i, n := range t.named {
		lists[i] = listHits{t.lists[n-1], t.counts[n]}
		t.counts[n] = Hits{}
	}
	t.named = t.named[:0]
	slices.SortFunc(lists, func(a, b listHits) int { return a.ref.compare(b.ref) })
	t.hours = append(t.hours, hourHits{hourOf(t.begin), lists})
}

// take returns what was counted since the last take. An hour that records came back
// to is there more than once.
func (t *tally) take() []hourHits {
	t.flush()
	hours := t.hours
	t.hours = nil
	return hours
}
