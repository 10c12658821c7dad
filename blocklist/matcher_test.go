package blocklist

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// added is one call of Builder.Add, and the unit of the naive models.
type added struct {
	list      int
	name      string // wire
	scope     Scope
	exception bool
}

// worldNames are all names of a small world, so that entries and questions meet: one to three labels, of lengths on
// both sides of a hash step.
var worldNames = func() []string {
	all := []string{"\x00"}
	for begin, depth := 0, 0; depth < 3; depth++ {
		end := len(all)
		for _, parent := range all[begin:end] {
			for _, label := range []string{"a", "seven77", "eight888", "a-label-of-more-than-eight-octets"} {
				all = append(all, string(rune(len(label)))+label+parent)
			}
		}
		begin = end
	}
	return all[1:]
}()

func drawName(t *rapid.T, label string) string {
	return rapid.SampledFrom(worldNames).Draw(t, label)
}

func drawEntries(t *rapid.T, lists int) []added {
	all := make([]added, rapid.IntRange(0, 40).Draw(t, "entries"))
	for i := range all {
		all[i] = added{
			list:      rapid.IntRange(0, lists-1).Draw(t, "list"),
			name:      drawName(t, "entry"),
			scope:     Scope(rapid.IntRange(1, 3).Draw(t, "scope")),
			exception: rapid.IntRange(0, 5).Draw(t, "exception") == 0,
		}
	}
	return all
}

// parents returns the wire name and its parents, without the root.
func parents(name string) []string {
	var all []string
	for ; name[0] != 0; name = name[1+int(name[0]):] {
		all = append(all, name)
	}
	return all
}

// naiveLists is Matcher.Lists by looking at every entry.
func naiveLists(entries []added, name string) []Listed {
	var all []Listed
	decided := map[int]bool{}
	for _, suffix := range parents(name) {
		bit := Below
		if suffix == name {
			bit = Self
		}
		var here []Listed
		for _, list := range naiveNumbers(entries) {
			scopes := map[bool]Scope{}
			for _, e := range entries {
				if e.list == list && e.name == suffix {
					scopes[e.exception] |= e.scope
				}
			}
			scopes[false] &^= scopes[true]
			for _, exception := range []bool{true, false} {
				if scopes[exception]&bit != 0 {
					here = append(here, Listed{
						List: list, Off: len(name) - len(suffix), Scope: scopes[exception], Exception: exception, Effective: !decided[list],
					})
				}
			}
		}
		for _, l := range here {
			decided[l.List] = true
		}
		all = append(all, here...)
	}
	return all
}

func naiveNumbers(entries []added) []int {
	var all []int
	for _, e := range entries {
		all = append(all, e.list)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func buildMatcher(t testing.TB, entries []added) *Matcher {
	t.Helper()
	b := NewBuilder()
	for _, e := range entries {
		if err := b.Add(e.list, []byte(e.name), e.scope, e.exception); err != nil {
			t.Fatal(err)
		}
	}
	return b.Build()
}

func TestMatcherAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		entries := drawEntries(rt, 4)
		m := buildMatcher(t, entries)
		shuffled := slices.Concat(entries, entries[:len(entries)/2])
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		other := buildMatcher(t, shuffled)
		if m.Names() != other.Names() {
			rt.Fatalf("%d names in one order, %d in another", m.Names(), other.Names())
		}
		for _, name := range worldNames {
			want := naiveLists(entries, name)
			if diff := gocmp.Diff(want, m.Lists([]byte(name))); diff != "" {
				rt.Fatalf("%s: model and matcher differ:\n%s", NameString([]byte(name)), diff)
			}
			if diff := gocmp.Diff(want, other.Lists([]byte(name))); diff != "" {
				rt.Fatalf("%s: the order of Add matters:\n%s", NameString([]byte(name)), diff)
			}
		}
	})
}

// randomName returns a wire name of two to five labels, much like those of real lists.
func randomName(r *rand.Rand) []byte {
	var name []byte
	for range 1 + r.IntN(4) {
		n := 2 + r.IntN(14)
		name = append(name, byte(n))
		for range n {
			name = append(name, "abcdefghijklmnopqrstuvwxyz0123456789-"[r.IntN(37)])
		}
	}
	tlds := []string{"\x03com\x00", "\x03net\x00", "\x04test\x00", "\x07example\x00", "\x02de\x00"}
	return append(name, tlds[r.IntN(len(tlds))]...)
}

func TestMatcherIsExactAtSize(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := NewBuilder()
	in := map[string]bool{}
	for len(in) < 100_000 {
		name := randomName(r)
		in[string(name)] = true
		if err := b.Add(0, name, Self, false); err != nil {
			t.Fatal(err)
		}
	}
	m := b.Build()
	if m.Names() != len(in) {
		t.Fatalf("%d names, want %d", m.Names(), len(in))
	}
	if m.plain != nil {
		t.Fatal("is small")
	}
	for name := range in {
		if len(m.Lists([]byte(name))) != 1 {
			t.Fatalf("%q is not found", name)
		}
		var offs [128]uint8
		if n := labels([]byte(name), &offs); m.may([]uint64{m.seed.name([]byte(name), &offs, n)}, n) != 1 {
			t.Fatalf("tags rule %q out", name)
		}
	}
	for range 200_000 {
		name := randomName(r)
		if found := len(m.Lists(name)) > 0; found != in[string(name)] {
			t.Fatalf("%q: found %v", name, found)
		}
	}
}

// TestLongNodes finds names whose nodes are longer than an octet can say, beside others, plain and decoded.
func TestLongNodes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	b := NewBuilder()
	in := map[string]bool{}
	for i := range 3000 {
		name := randomName(r)
		if i%100 == 0 { // octets that are rare have long words
			name = name[:0]
			for _, n := range []int{63, 63, 63, 50} {
				name = append(name, byte(n))
				for range n {
					name = append(name, byte(r.IntN(256)))
				}
			}
			name = append(name, 5, 'l', 'o', 'n', byte(i), byte(i>>8), 0)
		}
		in[string(name)] = true
		if err := b.Add(i%7, name, Self, false); err != nil {
			t.Fatal(err)
		}
	}
	m := b.Build()
	long := 0
	for name := range in {
		var w bitWriter
		if w.name(m.code, []byte(name)); len(w.out) > longNode {
			long++
		}
	}
	if long == 0 {
		t.Fatal("no node is long")
	}
	for _, plain := range []*plainNames{m.plain, nil} {
		m.plain = plain
		for name := range in {
			wrong := []byte(name)
			wrong[len(wrong)-2] ^= 1
			if len(m.Lists([]byte(name))) != 1 || len(m.Lists(wrong)) != 0 && !in[string(wrong)] {
				t.Fatalf("plain %v: %q is not told from %q", plain != nil, name, wrong)
			}
		}
	}
}

// TestPlainAgreesWithNodes holds that every slot's plain name and value are its node's.
func TestPlainAgreesWithNodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		b := NewBuilder()
		names := rapid.IntRange(0, 300).Draw(t, "names")
		for range names {
			if err := b.Add(r.IntN(5), randomName(r), Scope(1+r.IntN(3)), r.IntN(4) == 0); err != nil {
				t.Fatal(err)
			}
		}
		m := b.Build()
		if m.plain == nil {
			t.Fatal("not plain")
		}
		for range 2 * names {
			name := randomName(r)
			if rapid.Bool().Draw(t, "listed") && len(m.plain.names) > 0 {
				s := m.plain.slots[r.IntN(len(m.plain.slots))]
				name = m.plain.names[s.at:]
				name = name[:bytes.IndexByte(name, 0)+1]
			}
			plain := m.Lists(name)
			decoded := *m
			decoded.plain = nil
			if d := gocmp.Diff(decoded.Lists(name), plain); d != "" {
				t.Fatalf("%q:\n%s", name, d)
			}
		}
	})
}

func TestManyValuesTakeLongNumbers(t *testing.T) {
	b := NewBuilder()
	const lists = 600
	for i := range lists {
		name := fmt.Appendf(nil, "\x05n%04d\x04test\x00", i)
		for _, list := range []int{i, (i * 7) % lists} {
			if err := b.Add(list, name, Scope(1+i%3), i%5 == 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	m := b.Build()
	for i := range lists {
		name := fmt.Appendf(nil, "\x01x\x05n%04d\x04test\x00", i)
		if i%3 == 0 {
			name = name[2:]
		}
		var got []int
		for _, l := range m.Lists(name) {
			got = append(got, l.List)
			if l.Exception != (i%5 == 0) || l.Scope != Scope(1+i%3) {
				t.Fatalf("%d: %+v", i, l)
			}
		}
		want := []int{i, (i * 7) % lists}
		slices.SortFunc(want, cmp.Compare)
		if want = slices.Compact(want); !slices.Equal(got, want) {
			t.Fatalf("%d: lists %v, want %v", i, got, want)
		}
	}
}

// TestHashOfSuffix holds that a name's hash is the same whatever stands before it and however the loads fall.
func TestHashOfSuffix(t *testing.T) {
	s := seed{0x9e3779b97f4a7c15, 0xd1342543de82ef95}
	for n := 1; n <= 63; n++ {
		for _, tail := range []string{"\x00", "\x01x\x00", "\x07example\x00"} {
			name := append([]byte{byte(n)}, bytes.Repeat([]byte{'q'}, n)...)
			name = append(name, tail...)
			var offs [128]uint8
			want := s.name(name, &offs, labels(name, &offs))
			for before := 1; before <= 20; before++ {
				long := append([]byte{byte(before)}, bytes.Repeat([]byte{'z'}, before)...)
				long = append(long, name...)
				var offs [128]uint8
				count := labels(long, &offs)
				h := s.root
				for d := count - 1; d >= 1; d-- {
					h = s.label(h, long, int(offs[d]), int(offs[d+1]))
				}
				if h != want {
					t.Fatalf("%d octets before %q change its hash", before, name)
				}
			}
		}
	}
}

func TestBuilderRefuses(t *testing.T) {
	b := NewBuilder()
	for _, c := range []added{
		{0, "", Self, false},
		{0, "\x00", Self, false},
		{0, "\x01", Self, false},
		{0, "\x01a", Self, false},
		{0, "\x01a\x00\x00", Self, false},
		{0, "\xc0\x00", Self, false},
		{0, "\x01a\x00", 0, false},
		{0, "\x01a\x00", 4, false},
		{-1, "\x01a\x00", Self, false},
		{maxLists, "\x01a\x00", Self, false},
	} {
		if err := b.Add(c.list, []byte(c.name), c.scope, c.exception); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
	m := b.Build()
	if m.Names() != 0 || m.Lists([]byte("\x01a\x00")) != nil {
		t.Error("an empty matcher knows a name")
	}
	if err := b.Add(0, []byte("\x01a\x00"), Self, false); err != errSpent {
		t.Error(err)
	}
}

// FuzzMatcher holds that no name, however malformed, makes the matcher panic or disagree with the model.
func FuzzMatcher(f *testing.F) {
	entries := []added{
		{0, "\x07example\x00", Below, false},
		{1, "\x03www\x07example\x00", Self | Below, false},
		{0, "\x03www\x07example\x00", Self, true},
		{2, "\x01a\x01b\x01c\x00", Self, false},
	}
	m := buildMatcher(f, entries)
	for _, e := range entries {
		f.Add([]byte(e.name))
	}
	f.Add([]byte("\x02a"))
	f.Fuzz(func(t *testing.T, name []byte) {
		got := m.Lists(name)
		var offs [128]uint8
		if labels(name, &offs) < 0 {
			if got != nil {
				t.Fatalf("%q is no name and is listed", name)
			}
			return
		}
		if diff := gocmp.Diff(naiveLists(entries, string(name)), got); diff != "" {
			t.Fatalf("%q:\n%s", name, diff)
		}
	})
}

// TestDeepNamesAreProbedOnlyWhereNamesAre bounds what a name of 127 labels costs: a probe for each number of labels that
// a listed name has.
func TestDeepNamesAreProbedOnlyWhereNamesAre(t *testing.T) {
	deep := []byte(strings.Repeat("\x01a", 127) + "\x00")
	b := NewBuilder()
	for _, off := range []int{2 * (127 - 2), 2 * (127 - 40)} {
		if err := b.Add(0, deep[off:], Self|Below, false); err != nil {
			t.Fatal(err)
		}
	}
	m := b.Build()
	probes := 0
	for d := range 128 {
		if m.has(d) {
			probes++
		}
	}
	if probes != 2 || m.deep != 40 {
		t.Errorf("%d probes down to %d labels, want 2 down to 40", probes, m.deep)
	}
	if got := m.Lists(deep); len(got) != 2 || got[0].Off != 2*(127-40) {
		t.Errorf("%+v", got)
	}
}
