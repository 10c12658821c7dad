package audit

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func sampleHour() hourHits {
	return hourHits{hourOf(epoch.UnixNano()), []listHits{
		{ListRef{}, Hits{3, 0}},
		{ListRef{"", "lists/größe.txt"}, Hits{1, 0}},
		{ListRef{"ads", "https://feeds.example/ads.txt"}, Hits{math.MaxUint64, 1}},
		{ListRef{"ads", `lists/\027[2J.txt`}, Hits{0, 300}},
		{ListRef{"malware", "https://feeds.example/ads.txt"}, Hits{128, 127}},
	}}
}

// The golden values are the promise that what was counted once can be read later.
func TestGoldenHits(t *testing.T) {
	hour, done := sampleHour(), counted{left: 41, last: 1<<40 + 7}
	golden(t, "hits-v1.hex", []byte(hex.Dump(hour.append(nil))))
	golden(t, "hits-counted-v1.hex", []byte(hex.Dump(done.append(nil))))
	h, err := readHour(hour.hour, readDump(t, filepath.Join("testdata", "hits-v1.hex")))
	if d := cmp.Diff(hour, h, cmp.AllowUnexported(hourHits{}, listHits{})); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	if c, err := readCounted(readDump(t, filepath.Join("testdata", "hits-counted-v1.hex"))); c != done || err != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestEveryFlippedBitOfHitsIsFound(t *testing.T) {
	hour := sampleHour()
	for name, c := range map[string]struct {
		value []byte
		read  func([]byte) error
	}{
		"hour":    {hour.append(nil), func(b []byte) error { _, err := readHour(hour.hour, b); return err }},
		"counted": {counted{1, 2}.append(nil), func(b []byte) error { _, err := readCounted(b); return err }},
	} {
		for i := range c.value {
			for bit := range 8 {
				c.value[i] ^= 1 << bit
				if c.read(c.value) == nil {
					t.Errorf("%s: octet %d bit %d: not found", name, i, bit)
				}
				c.value[i] ^= 1 << bit
			}
			if c.read(c.value[:i]) == nil {
				t.Errorf("%s: cut to %d octets: not found", name, i)
			}
		}
		if err := c.read(c.value); err != nil {
			t.Errorf("%s: whole again: %v", name, err)
		}
	}
}

func TestHitsThatAreRefused(t *testing.T) {
	hour := sampleHour()
	value := func(lists ...listHits) []byte { h := hourHits{hour.hour, lists}; return h.append(nil) }
	a, b := listHits{ListRef{"a", "x"}, Hits{1, 1}}, listHits{ListRef{"b", "x"}, Hits{1, 1}}
	newer := hour.append(nil)
	newer[5] = 2
	for want, value := range map[string][]byte{
		"the value of hour 476268 is that of hour 7":    (&hourHits{7, nil}).append(nil),
		"lists are not in order":                        value(b, a),
		"the name of a list is not printable":           value(listHits{ListRef{"a", "\x1b[2J"}, Hits{1, 1}}),
		"its format version is 2, this program reads 1": newer,
		"cut short or overlong":                         sealHits(append(bytes.Clone(hour.append(nil)[:hitsHeader]), 0, 0)),
		"a value of hits is cut short":                  sealHits(append(bytes.Clone(hour.append(nil)[:hitsHeader]), 1, 200, 0, 0)),
		"octets cannot be one of hits":                  sealHits(make([]byte, maxHour)),
	} {
		if _, err := readHour(hour.hour, value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := readHour(hour.hour, value(a, a)); err == nil {
		t.Error("a list that is named twice was taken")
	}
}

// However many lists there are and however they are called, an hour stays within
// its bound, and no hit is forgotten.
func TestAnHourIsBounded(t *testing.T) {
	ref := rapid.Custom(func(t *rapid.T) ListRef {
		long := strings.Repeat("x", rapid.IntRange(0, 3000).Draw(t, "length"))
		return ListRef{fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "category")), fmt.Sprint(rapid.IntRange(0, 99).Draw(t, "list")) + long}
	})
	rapid.Check(t, func(t *rapid.T) {
		var hour hourHits
		var want Hits
		alone := make(map[ListRef]Hits)
		for range rapid.IntRange(1, 12).Draw(t, "segments") {
			ta := newTally()
			for i, r := range rapid.SliceOfN(ref, 1, 20).Draw(t, "lists") {
				ta.learn(r.Category, r.List)
				ta.add(0, uint32(i)+1, 0)
				want.Decided++
				alone[r] = alone[r].plus(Hits{Decided: 1})
			}
			for _, h := range ta.take() {
				hour.lists = merge(hour.lists, h.lists)
			}
		}
		value := hour.append(nil)
		if len(value) > maxHour {
			t.Fatalf("a value of %d octets", len(value))
		}
		back, err := readHour(0, value)
		if err != nil {
			t.Fatal(err)
		}
		var got Hits
		for _, l := range back.lists {
			if got = got.plus(l.hits); l.ref != (ListRef{}) && l.hits.Decided > alone[l.ref].Decided {
				t.Errorf("%v of %v", l, alone[l.ref])
			}
		}
		if got != want {
			t.Fatalf("%v of %v are left", got, want)
		}
	})
}

func TestListsWithoutRoomAreCountedTogether(t *testing.T) {
	var lists []listHits
	const many = 20000
	for i := range many {
		lists = append(lists, listHits{ListRef{"ads", fmt.Sprintf("https://feeds.example/%05d.txt", i)}, Hits{1, 2}})
	}
	sum := merge(nil, lists)
	sum = merge(sum, lists)
	named := uint64(len(sum) - 1)
	if named < 700 {
		t.Errorf("only %d lists have room", named)
	}
	if others := sum[0]; others.ref != (ListRef{}) || others.hits != (Hits{2 * (many - named), 4 * (many - named)}) {
		t.Errorf("the others are %+v, %d lists have names", others, named)
	}
	h := hourHits{1, sum}
	if _, err := readHour(1, h.append(nil)); err != nil {
		t.Error(err)
	}
}

// FuzzHits feeds the decoders of the roll-up behind the checksum: they must never
// panic, and what they accept must come back from the encoder.
func FuzzHits(f *testing.F) {
	hour := sampleHour()
	f.Add(hour.hour, hour.append(nil))
	f.Add(int64(1), counted{1, 2}.append(nil))
	f.Fuzz(func(t *testing.T, hour int64, value []byte) {
		readHour(hour, value)
		if len(value) > hitsHeader+hitsSum {
			value = sealHits(append(beginHits(nil, uint64(hour)), value[hitsHeader:len(value)-hitsSum]...))
		}
		if c, err := readCounted(value); err == nil && !bytes.Equal(c.append(nil), value) {
			t.Fatalf("%+v does not come back", c)
		}
		h, err := readHour(hour, value)
		if err != nil {
			return
		}
		again, err := readHour(hour, h.append(nil))
		if err != nil || !reflect.DeepEqual(h, again) {
			t.Fatalf("%+v\ncame back as\n%+v, %v", h, again, err)
		}
	})
}
