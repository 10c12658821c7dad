package upstream

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestP95IsThatOfTheModel: never below the true one, and at most a quarter above,
// or a step where steps are larger.
func TestP95IsThatOfTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r rtt
		took := rapid.SliceOfN(rapid.Int64Range(0, int64(16*time.Second)), 0, rttMost).Draw(t, "took")
		for i, d := range took {
			r.add(time.Duration(d))
			sorted := slices.Clone(took[:i+1])
			slices.Sort(sorted)
			got, want := r.p95(), time.Duration(sorted[(len(sorted)*95+99)/100-1])
			if len(sorted) < rttLeast {
				want = 0
			}
			if got < want || got > max(want+want/4, want+1<<rttUnit) && want > 0 || want == 0 && len(sorted) < rttLeast && got != 0 {
				t.Fatalf("%v after %d replies, want %v", got, len(sorted), want)
			}
			if least, most := time.Duration(sorted[0]), time.Duration(sorted[len(sorted)-1]); r.mean < min(least, most) || r.mean > max(most, 1) {
				t.Fatalf("mean %v of what is between %v and %v", r.mean, least, most)
			}
		}
	})
}

func TestRTTForgets(t *testing.T) {
	var r rtt
	for range 10 * rttMost {
		r.add(time.Second)
	}
	if p := r.p95(); p < time.Second || p > 5*time.Second/4 || r.count > rttMost {
		t.Fatalf("p95 %v of a second, %d weights", p, r.count)
	}
	n := 0
	for ; r.p95() > 100*time.Millisecond; n++ {
		r.add(10 * time.Millisecond)
	}
	if n > 5*rttMost {
		t.Errorf("%d quick replies until the slow ones are forgotten", n)
	}
	if r.mean > 20*time.Millisecond {
		t.Errorf("mean %v", r.mean)
	}
	r.add(time.Hour) // beyond all steps
	if r.p95() <= 0 {
		t.Error("no p95")
	}
}
