package audit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestSourcesAreCounted: each recorded query once, by its verdict and its source.
func TestSourcesAreCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := newSealer(nil)
		if err != nil {
			t.Fatal(err)
		}
		l := &Log{sealer: s}
		want := map[SourceCount]uint64{}
		for range rapid.IntRange(0, 5).Draw(t, "batches") {
			events := make([]byte, 0, 1<<14)
			for range rapid.IntRange(0, 20).Draw(t, "events") {
				e := Event{Source: Source(rapid.IntRange(0, len(sources)-1).Draw(t, "source")), Blocked: rapid.Bool().Draw(t, "blocked"), EDE: -1}
				events = appendEvent(events, &e)
				want[SourceCount{Source: e.Source.String(), Blocked: e.Blocked}]++
			}
			b := batch{slabs: []slab{{b: events}}, changes: []change{{0, Change{Text: "x"}}}}
			s.sort(&b)
			s.add(&b, 0, []Reason{{}}, []string{""})
		}
		got := map[SourceCount]uint64{}
		for _, c := range l.Sources() {
			n := c.Queries
			c.Queries = 0
			got[c] = n
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}
