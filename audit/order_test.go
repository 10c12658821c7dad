package audit

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// byTimeNaive is what byTime must do.
func byTimeNaive(places []place) {
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.time, b.time) })
}

// Several slabs, each in order but for events that waited, events of one time
// and a clock that is set.
func TestByTimeIsAStableSort(t *testing.T) {
	step := rapid.OneOf(
		rapid.Just(int64(0)),
		rapid.Int64Range(0, 20_000),
		rapid.Int64Range(-50_000_000, 50_000_000),
		rapid.Int64Range(-int64(1000*time.Hour), int64(1000*time.Hour)),
		rapid.Int64(),
	)
	var order, spare []place // used again and again, as a sealer does
	rapid.Check(t, func(t *rapid.T) {
		begin := rapid.OneOf(rapid.Just(epoch.UnixNano()), rapid.Int64()).Draw(t, "begin")
		order = order[:0]
		for slab := range rapid.Int32Range(0, 4).Draw(t, "slabs") {
			at := begin
			events := rapid.IntRange(0, 300).Draw(t, "events")
			for i, d := range rapid.SliceOfN(step, events, events).Draw(t, "steps") {
				at += d // beyond the last time comes the first
				order = append(order, place{at, slab, int32(i)})
			}
		}
		want := slices.Clone(order)
		byTimeNaive(want)
		if order, spare = byTime(order, spare); !slices.Equal(order, want) {
			t.Fatalf("got  %v\nwant %v", order, want)
		}
	})
}

func TestByTimeAtTheEndsOfTime(t *testing.T) {
	places := []place{{math.MaxInt64, 0, 0}, {0, 0, 1}, {math.MinInt64, 0, 2}, {-1, 0, 3}, {math.MinInt64, 0, 4}, {math.MaxInt64, 0, 5}, {0, 0, 6}}
	want := slices.Clone(places)
	byTimeNaive(want)
	if got, _ := byTime(places, nil); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// What happened to the log itself comes before the queries of the same time.
func TestRecordsOfOneTimeAreInOrderOfKind(t *testing.T) {
	s, err := newSealer(testKey(t))
	if err != nil {
		t.Fatal(err)
	}
	e := query(0, "192.0.2.7", "www.example")
	slab := appendEvent(make([]byte, 0, maxEvent), e)
	segments := s.seal(batch{
		slabs:   inMemory(slab, slab),
		changes: []change{{e.Time, Change{Text: "first"}}, {e.Time, Change{Text: "second"}}},
		gaps:    []gap{{lost: 1, from: e.Time, to: e.Time}},
	}, nil, nil)
	var got []string
	for _, r := range decodeSegment(t, segments[0].bytes).records() {
		got = append(got, r.Kind+r.Text)
	}
	if want := []string{"gap", "changefirst", "changesecond", "query", "query"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Events of one time that came one after the other stay so, from slab to slab.
func TestEventsOfOneTimeKeepTheirOrder(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(Config{Dir: dir, Slabs: minSlabs, SlabBytes: minSlabBytes}) // which makes one shard
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{log: l, seen: epoch}
	const events = 200
	e := query(0, "192.0.2.7", "www.example")
	for i := range events {
		e.Type = uint16(i)
		if !l.Record(e) {
			t.Fatalf("event %d not taken", i)
		}
	}
	if len(l.filled) < 2 {
		t.Fatalf("%d slabs were filled, which proves nothing", len(l.filled))
	}
	if err := w.seal(true); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	records := all(t, dir)
	if len(records) != events {
		t.Fatalf("%d records of %d events", len(records), events)
	}
	for i, r := range records {
		if want := typeString(uint16(i)); r.Type != want {
			t.Fatalf("record %d is of type %s, want %s", i, r.Type, want)
		}
	}
}
