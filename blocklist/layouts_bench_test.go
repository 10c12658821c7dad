package blocklist

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// layout is an exact map of wire names to small values that are not 0. It is never changed once it is built.
type layout interface {
	// find returns the value of the name suffix, whose hash under hashSeed is h, or 0.
	find(h uint64, suffix []byte) uint32
	// cover returns the value of the most specific name that is name or one of its parents, or 0.
	cover(name []byte) uint32
	hashSeed() seed
	size() (memory, mapped int) // in octets
	close()
}

// layouts are built of different names in any order. value is that of names[i]; s is where a hash begins, and a
// layout may take another.
var layouts = []struct {
	name  string
	build func(names [][]byte, value func(i int) uint32, s seed) layout
}{
	{"matcher", buildMatcherLayout},
	{"suffix", buildSuffixHash},
	{"suffix-groups", buildSuffixGroups},
	{"trie", buildHashTrie},
	{"fuse8", buildFuse(false)},
	{"fuse16", buildFuse(true)},
}

// TestLayoutsAgreeWithMap draws few labels, and values of one octet and more. One of the seeds hashes so badly that
// names meet in one hash.
func TestLayoutsAgreeWithMap(t *testing.T) {
	label := rapid.SampledFrom([]string{"a", "b", "ab", "seven77", "eight888", "nine99999", "a-label-of-more-than-eight-octets"})
	name := rapid.Custom(func(t *rapid.T) string {
		wire := []byte{0}
		for _, l := range rapid.SliceOfN(label, 1, 4).Draw(t, "labels") {
			wire = prepend(l, wire)
		}
		return string(wire)
	})
	rapid.Check(t, func(t *rapid.T) {
		listed := rapid.MapOfN(name, rapid.Uint32Range(1, 300), 0, 80).Draw(t, "listed")
		asked := rapid.SliceOfN(name, 20, 20).Draw(t, "asked")
		s := rapid.SampledFrom([]seed{layoutSeed, {0, 1}}).Draw(t, "seed")
		var names [][]byte
		for text := range listed {
			names = append(names, []byte(text))
			asked = append(asked, text, "\x01x"+text)
		}
		for _, kind := range layouts {
			l := kind.build(names, func(i int) uint32 { return listed[string(names[i])] }, s)
			for _, text := range asked {
				if got, want := l.find(l.hashSeed().of([]byte(text)), []byte(text)), listed[text]; got != want {
					t.Errorf("%s: %q has the value %d, want %d", kind.name, text, got, want)
				}
				want := uint32(0)
				for _, parent := range parents(text) {
					if want = listed[parent]; want != 0 {
						break
					}
				}
				if got := l.cover([]byte(text)); got != want {
					t.Errorf("%s: %q is covered by the value %d, want %d", kind.name, text, got, want)
				}
			}
			l.close()
		}
	})
}

// TestLayoutsAreExactAtSize has enough questions for fingerprints of eight bits to err.
func TestLayoutsAreExactAtSize(t *testing.T) {
	names := namesFor(t, 30_000)
	asked := questionsFor(names, 10_000)
	for _, kind := range layouts {
		t.Run(kind.name, func(t *testing.T) {
			l := kind.build(names, layoutValue, layoutSeed)
			defer l.close()
			for i, name := range names {
				if got := l.find(l.hashSeed().of(name), name); got != layoutValue(i) {
					t.Fatalf("%s has the value %d, want %d", NameString(name), got, layoutValue(i))
				}
			}
			for _, q := range asked {
				for _, name := range q.names {
					if got := l.cover(name) != 0; got != q.covered {
						t.Fatalf("%s: %s is covered: %v", q.kind, NameString(name), got)
					}
				}
				if i := 0; testing.AllocsPerRun(1000, func() { l.cover(q.names[i]); i++ }) != 0 {
					t.Errorf("a %s allocates", q.kind)
				}
			}
		})
	}
}

func layoutValue(i int) uint32 { return uint32(1 + i%5) }

// questions are names of one kind to ask for.
type questions struct {
	kind    string
	covered bool
	names   [][]byte
}

// questionsFor returns n names of each kind, in no order:
//
//	miss  four labels; nothing is listed at the registrable one or below
//	near  an unlisted name two labels below the parent of a listed name
//	hit   a listed name with one label before it
func questionsFor(names [][]byte, n int) []questions {
	random := rand.New(rand.NewPCG(5, 6))
	var listed, nodes hashSet
	var offs [128]uint8
	for _, name := range names {
		h := layoutSeed.root
		for d := labels(name, &offs) - 1; d >= 0; d-- {
			h = layoutSeed.label(h, name, int(offs[d]), int(offs[d+1]))
			nodes.add(h)
		}
		listed.add(h)
	}
	covered := func(name []byte) bool {
		for n := labels(name, &offs); n > 0; n-- {
			if listed.has(layoutSeed.of(name)) {
				return true
			}
			name = name[1+name[0]:]
		}
		return false
	}

	g := newNamer(2)
	miss, near, hit := questions{kind: "miss"}, questions{kind: "near"}, questions{kind: "hit", covered: true}
	for len(miss.names) < n {
		name := g.registrable()
		if labels(name, &offs) != 2 || nodes.has(layoutSeed.of(name)) || covered(name) {
			continue
		}
		name = prepend("www", prepend(g.text(3+random.IntN(6)), name))
		miss.names = append(miss.names, g.keep(name))
	}
	for range 100 * n {
		parent := names[random.IntN(len(names))]
		if d := labels(parent, &offs); d < 3 {
			continue
		}
		name := prepend("www", prepend(g.text(4+random.IntN(6)), parent[1+parent[0]:]))
		if len(name) > maxName || covered(name) {
			continue
		}
		if near.names = append(near.names, g.keep(name)); len(near.names) == n {
			break
		}
	}
	for len(hit.names) < n {
		if name := names[random.IntN(len(names))]; len(name) <= maxName-4 {
			hit.names = append(hit.names, g.keep(prepend("www", name)))
		}
	}
	return []questions{miss, near, hit}
}

// BenchmarkLayouts looks names up, in so many different ones that caches do not hold what they touch:
//
//	WEIR_NAMES=lists go test -run - -bench Layouts -count 3 -timeout 1h ./blocklist
func BenchmarkLayouts(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"1M", 1_000_000}, {"5M", 5_000_000}} {
		var names [][]byte
		var asked []questions
		for _, kind := range layouts {
			b.Run(kind.name+"/"+size.name, func(b *testing.B) {
				if size.n > 1_000_000 && testing.Short() {
					b.Skip("long")
				}
				if names == nil {
					names = namesFor(b, size.n)
					asked = questionsFor(names, 1<<18)
				}
				begin := time.Now()
				l := kind.build(names, layoutValue, layoutSeed)
				build := time.Since(begin)
				defer l.close()
				for _, q := range asked {
					b.Run(q.kind, func(b *testing.B) { benchmarkCover(b, l, q, size.n, build) })
				}
			})
		}
	}
}

func benchmarkCover(b *testing.B, l layout, q questions, n int, build time.Duration) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if got := l.cover(q.names[i%len(q.names)]) != 0; got != q.covered {
			b.Fatal(fmt.Sprint("covered: ", got))
		}
	}
	memory, mapped := l.size()
	b.ReportMetric(float64(memory)/float64(n), "B/name-memory")
	b.ReportMetric(float64(mapped)/float64(n), "B/name-mapped")
	b.ReportMetric(build.Seconds(), "s-build")
}
