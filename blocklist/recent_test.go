package blocklist

import (
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestRecentAgreesWithModel holds that a name is remembered when it was found twice in a row at its slot, whatever its
// length, until another one takes the slot; and that no other name ever gets its value.
func TestRecentAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRecent(rapid.IntRange(1, 5).Draw(t, "names"))
		type slot struct {
			name   string
			value  uint32
			wanted uint64
		}
		model := make([]slot, len(r.slots))
		names := rapid.SliceOfN(rapid.StringN(1, -1, 130), 1, 8).Draw(t, "asked")
		for i := range names {
			if i%2 == 1 { // one that differs in its last octet alone
				names[i] = names[i-1][:len(names[i-1])-1] + "~"
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, len(names)-1).Draw(t, "which")
			name, h := names[i], uint64(i)
			s := r.at(h, []byte(name))
			if s == nil {
				if len(name) <= 8*recentWords {
					t.Fatalf("no slot for %q", name)
				}
				continue
			}
			m := &model[h&uint64(len(model)-1)]
			want := uint32(0)
			if m.name == name {
				want = m.value
			}
			if got := s.get([]byte(name)); got != want {
				t.Fatalf("%q is remembered with %d, want %d", name, got, want)
			}
			if rapid.Bool().Draw(t, "put") {
				s.put(h, []byte(name), uint32(i+1))
				if m.wanted == h {
					m.name, m.value = name, uint32(i+1)
				}
				m.wanted = h
			}
		}
	})
}

// TestRecentUnderWriters holds that readers beside writers of the same slots never get another name's value.
func TestRecentUnderWriters(t *testing.T) {
	r := newRecent(2)
	names := make([][]byte, 16)
	for i := range names {
		names[i] = fmt.Appendf(nil, "\x0bsame-but-%02d\x07example\x00", i)
	}
	var wg sync.WaitGroup
	found := make([]int, 4)
	for g := range found {
		wg.Go(func() {
			for turn := range 40_000 {
				i := (turn*(g+1) + turn>>3) % len(names)
				s := r.at(uint64(i), names[i])
				s.put(uint64(i), names[i], uint32(i+1))
				s.put(uint64(i), names[i], uint32(i+1))
				if v := s.get(names[i]); v != 0 {
					if v != uint32(i+1) {
						t.Errorf("%q has the value of %q", names[i], names[v-1])
						return
					}
					found[g]++
				}
			}
		})
	}
	wg.Wait()
	for g, n := range found {
		if n == 0 {
			t.Errorf("reader %d found nothing", g)
		}
	}
}
