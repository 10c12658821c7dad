package blocklist

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// wireNames draws wire names that share endings, as listed ones do, with odd octets now and then.
func wireNames(most int) *rapid.Generator[[][]byte] {
	label := rapid.OneOf(
		rapid.SliceOfN(rapid.SampledFrom([]byte("abcdeimnorst-019")), 1, 12),
		rapid.SliceOfN(rapid.Byte(), 1, 63),
	)
	ending := rapid.SampledFrom([]string{"\x03com\x00", "\x07example\x00", "\x08blogspot\x03com\x00", "\x02co\x02uk\x00", "\x00"})
	name := rapid.Custom(func(t *rapid.T) []byte {
		var name []byte
		for range rapid.IntRange(1, 4).Draw(t, "labels") {
			l := label.Draw(t, "label")
			if len(name)+len(l) < 200 {
				name = append(append(name, byte(len(l))), l...)
			}
		}
		return append(name, ending.Draw(t, "ending")...)
	})
	return rapid.SliceOfN(name, 1, most)
}

// codeFor makes the code for some names.
func codeFor(names [][]byte) *code {
	var sample codeSample
	for _, name := range names {
		sample.see(name)
	}
	return sample.code()
}

func TestCodeReadsWhatItWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := wireNames(40).Draw(t, "names")
		c := codeFor(names[:rapid.IntRange(0, len(names)).Draw(t, "sampled")])
		again, err := codeOf(slices.Clone(c.label.lengths), slices.Clone(c.turn.lengths), slices.Clone(c.endings))
		if err != nil {
			t.Fatal(err)
		}
		var w bitWriter
		for i, name := range names {
			w.number(uint32(i * i))
			w.name(c, name)
		}
		w.align()
		data := append(w.out, make([]byte, codePad)...)
		read, matched, skipped := bitReader{in: data}, bitReader{in: data}, bitReader{in: data}
		for i, name := range names {
			for _, r := range []*bitReader{&read, &matched, &skipped} {
				if n := r.number(); n != uint32(i*i) {
					t.Fatalf("number %d, want %d", n, i*i)
				}
			}
			got, ok := read.appendName(again, nil)
			if !ok || !bytes.Equal(got, name) {
				t.Fatalf("%q, %v, want %q", got, ok, name)
			}
			begin := matched
			for _, other := range names {
				r := begin
				if r.matches(c, other) != bytes.Equal(other, name) {
					t.Fatalf("%q matches %q", name, other)
				}
			}
			if !matched.matches(c, name) {
				t.Fatalf("%q does not match itself", name)
			}
			skipped.skip(c)
			if read.pos != matched.pos || read.pos != skipped.pos {
				t.Fatalf("%q read to %d, matched to %d, skipped to %d", name, read.pos, matched.pos, skipped.pos)
			}
		}
	})
}

// TestCodeIsShort holds the code to the size that it is there for, on names like those of lists.
func TestCodeIsShort(t *testing.T) {
	names := namesFor(t, 20_000)
	c := codeFor(names)
	var w bitWriter
	plain := 0
	for _, name := range names {
		w.name(c, name)
		plain += len(name)
	}
	if got := float64(len(w.out)) / float64(plain); got > 0.55 {
		t.Errorf("%.2f of the octets, want about half", got)
	}
}

func TestCodeLengthsAreChecked(t *testing.T) {
	good := codeFor(nil)
	label, turn := good.label.lengths, good.turn.lengths
	for what, lengths := range map[string][2][]uint8{
		"none":       {nil, nil},
		"too few":    {label[1:], turn},
		"zero":       {append([]uint8{0}, label[1:]...), turn},
		"too long":   {append([]uint8{16}, label[1:]...), turn},
		"incomplete": {append([]uint8{9}, label[1:]...), turn},
		"too full":   {append([]uint8{1}, label[1:]...), turn},
		"turns":      {label, turn[1:]},
	} {
		if _, err := codeOf(lengths[0], lengths[1], nil); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if _, err := codeOf(label, append(slices.Clone(turn), 6), []string{"no name"}); err == nil {
		t.Error("an ending that is no name: no error")
	}
}

// FuzzCode reads octets that nobody wrote: whatever they are, reading ends, stays within them, and what it reads of a
// name is the same when it is written again.
func FuzzCode(f *testing.F) {
	names := [][]byte{[]byte("\x03www\x07example\x03com\x00"), []byte("\x01a\x02co\x02uk\x00"), []byte("\x01a\x02co\x02uk\x00")}
	c := codeFor(append(names, names...))
	var w bitWriter
	for _, name := range names {
		w.number(7)
		w.name(c, name)
	}
	w.align()
	f.Add(w.out)
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 300))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bitReader{in: data}
		for r.pos < uint64(len(data))*8 {
			r.number()
			before := r
			name, ok := r.appendName(c, nil)
			after := r.pos
			if before.skip(c); before.pos < after && ok {
				t.Fatalf("skipped to %d, read to %d", before.pos, after)
			}
			if len(name) > 2*maxName {
				t.Fatalf("%d octets", len(name))
			}
			var offs [128]uint8
			if !ok || labels(name, &offs) < 0 {
				continue
			}
			var w bitWriter
			w.name(c, name)
			w.align()
			again := bitReader{in: append(w.out, make([]byte, codePad)...)}
			if !again.matches(c, name) {
				t.Fatalf("%q does not read as it was written", name)
			}
		}
	})
}

// TestSortersRunsAreOne compares a sorter that writes many runs with one that keeps all in memory.
func TestSortersRunsAreOne(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	names := namesFor(t, 5000)
	s := randomSeed()
	build := func(sorters ...*sorter) *Matcher {
		var from []*cursor
		for i, name := range names {
			var offs [128]uint8
			n := labels(name, &offs)
			for _, list := range []int{i % 3, r.IntN(3)} {
				sorters[i%len(sorters)].add(s.name(name, &offs, n), newSaying(list, Self|Below, false), name)
			}
		}
		for _, sorter := range sorters {
			from = append(from, sorter.cursors()...)
			if sorter.failed != nil {
				t.Fatal(sorter.failed)
			}
			defer sorter.close()
		}
		m := &merge{interner: newInterner(), dir: sorters[0].dir}
		if err := m.run(t.Context(), from); err != nil {
			t.Fatal(err)
		}
		x, err := layOut(m, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	r = rand.New(rand.NewPCG(5, 6))
	plain := build(&sorter{})
	r = rand.New(rand.NewPCG(5, 6))
	dir := t.TempDir()
	runs := build(&sorter{dir: dir, limit: 4096}, &sorter{dir: dir, limit: 8192, ahead: true})
	if plain.names != runs.names {
		t.Fatalf("%d names, want %d", runs.names, plain.names)
	}
	for _, name := range names {
		a, b := plain.Lists(name), runs.Lists(name)
		if !slices.Equal(a, b) || len(a) == 0 {
			t.Fatalf("%q: %v, want %v", name, b, a)
		}
	}
}

// TestSorterWithoutRoom has nowhere to write runs: nothing is lost.
func TestSorterWithoutRoom(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		s := &sorter{dir: t.TempDir() + "/gone", limit: 4096, ahead: ahead}
		seed := randomSeed()
		names := namesFor(t, 3000)
		for _, name := range names {
			var offs [128]uint8
			s.add(seed.name(name, &offs, labels(name, &offs)), newSaying(0, Self, false), name)
		}
		m := &merge{interner: newInterner()}
		if err := m.run(t.Context(), s.cursors()); err != nil {
			t.Fatal(err)
		}
		if m.names != len(names) || s.failed == nil {
			t.Errorf("ahead %v: %d names of %d, %v", ahead, m.names, len(names), s.failed)
		}
	}
}
