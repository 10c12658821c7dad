package audit

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestShapesAreThoseOfTheirEvents makes a block of more shapes than their table has room for at first, which come again
// and again, some with EDNS and some without, and some of long numbers. All that a shape says must come back with each record, and
// the row that was made by pieces must be that which is made of the record.
func TestShapesAreThoseOfTheirEvents(t *testing.T) {
	bu := newBuilder()
	for round := range 2 { // the second in the same memory
		bu.reset()
		var events []Event
		for i := range 2000 {
			e := *query(i, "192.0.2.7", "www.example")
			e.Duration, e.Type, e.Reason, e.Upstream = 4000, uint16(i*7%300), uint32(i%4), uint32(i%2)
			e.Revision = uint64(round + i/500*100)
			if e.Bits = QueryRD; i%3 == 0 {
				e.Bits, e.UDPSize, e.Version = QueryRD|QueryEDNS|CookieValid, uint16(i%2*1232), uint8(i%2*200)
			}
			events = append(events, e)
			bu.query(inSlab(&e), sampleReasons, sampleLabels)
		}
		if len(bu.shapes.all) < 600 {
			t.Fatalf("there are %d shapes", len(bu.shapes.all))
		}
		b := blockOf(t, bu)
		for i := range b.rows {
			if !sameEvent(b, &b.rows[i], &events[i]) {
				t.Fatalf("row %d is %+v, want %+v", i, b.rows[i], events[i])
			}
		}
		all := newRowPaths(b.leaves(0, len(b.rows)), true)
		if bu.rowTree.root() != all.above.root() {
			t.Fatal("the rows are not those of the records")
		}
	}
}

// TestNameDictIsADict holds that names are numbered and laid out as a dict does it, whatever their length, while the
// table grows.
func TestNameDictIsADict(t *testing.T) {
	name := rapid.Custom(func(t *rapid.T) []byte {
		return bytes.Repeat([]byte{byte(rapid.IntRange(0, 9).Draw(t, "octet"))}, rapid.IntRange(0, maxName).Draw(t, "length"))
	})
	got, want := newNameDict(), newDict()
	rapid.Check(t, func(t *rapid.T) {
		got.reset()
		want.reset()
		for _, v := range rapid.SliceOfN(name, 0, 300).Draw(t, "names") {
			if g, w := got.ref(v), want.ref(v); g != w {
				t.Fatalf("%x is referred to as %d, want %d", v, g, w)
			}
		}
		if g, w := got.append(nil), want.append(nil); !bytes.Equal(g, w) {
			t.Fatalf("laid out as %x, want %x", g, w)
		}
	})
}
