package blocklist

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestEndingsRuleOutNoName holds that each name which one of some names covers may be covered, however many labels either
// has and wherever reading stands, and that another one mostly may not.
func TestEndingsRuleOutNoName(t *testing.T) {
	ruledOut := 0
	rapid.Check(t, func(t *rapid.T) {
		draw := func(labels int, what string) []byte {
			var name []byte
			for range rapid.IntRange(1, labels).Draw(t, what) {
				label := rapid.SampledFrom([]string{"\x01a", "\x01b", "\x02ab", "\x09different", "\x14twenty-octets-a-label"}).Draw(t, "label")
				name = append(name, label...)
			}
			return append(name, 0)
		}
		tables := &tables{inline: newBuilder(randomSeed()).Build()}
		tables.lists = newLists(newBuilder(tables.inline.seed).Build(), nil, nil, nil)
		tables.endings = endings{newMayHold(0)}
		tables.deep = rapid.IntRange(0, 12).Draw(t, "deep")
		e := endings{newMayHold(4)}
		var in [][]byte
		for range rapid.IntRange(0, 4).Draw(t, "names") {
			in = append(in, draw(4, "labels"))
			e.add(tables.lists.matcher.seed, in[len(in)-1])
		}
		name := draw(12, "labels asked")
		var s suffixes
		tables.begin(&s, name)
		for {
			may := e.may(&s)
			for _, n := range in {
				if !may && (bytes.Equal(name, n) || isBelow(name, n)) {
					t.Fatalf("%s is ruled out and covered by %s", NameString(name), NameString(n))
				}
			}
			if !may {
				ruledOut++
			}
			if !tables.more(&s) {
				break
			}
		}
	})
	if ruledOut == 0 {
		t.Error("nothing is ruled out")
	}
}

// TestMarks holds that slots are told one by one and together, whichever are marked.
func TestMarks(t *testing.T) {
	for want := range uint64(1 << 16) {
		var m marks
		for slot := range 16 {
			m |= marks(want>>slot&1) << (slot&3*16 + slot>>2)
		}
		if m.slots() != want {
			t.Fatalf("slots %016b of marks for %016b", m.slots(), want)
		}
		each := uint64(0)
		for ; m != 0; m &= m - 1 {
			each |= 1 << m.slot()
		}
		if each != want {
			t.Fatalf("slots %016b one by one of marks for %016b", each, want)
		}
	}
}
