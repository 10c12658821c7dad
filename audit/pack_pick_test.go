package audit

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// packOfEvents is a pack of one segment, with nothing in it but these queries.
func packOfEvents(t *testing.T, events []Event) []byte {
	t.Helper()
	s, err := newSealer(testKey(t))
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	var slab []byte
	for i := range events {
		slab = appendEvent(slices.Grow(slab, maxEvent), &events[i])
	}
	sealed := s.seal(batch{slabs: inMemory(slab)}, sampleReasons, sampleLabels)
	if len(sealed) != 1 {
		t.Fatalf("%d segments", len(sealed))
	}
	return packed(t, p, testKey(t), sealed[0].bytes)
}

// A row that is read alone has its addresses of both lengths, also where those of 16 octets are
// stored as they are, as a few of them always are.
func TestARowAloneHasAddressesOfBothLengths(t *testing.T) {
	long := netip.MustParseAddr("2607:f8b0:4004:c07:1d2e:93af:b4c5:d6e7")
	var events []Event
	for i := range 200 {
		events = append(events, Event{
			Time: epoch.UnixNano() + int64(i), Client: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Transport: UDP,
			Name: wire("www.shop.example"), Type: 255, Class: 1, Source: SourceUpstream, EDE: -1,
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{198, 51, 100, byte(i % 5)}), long},
		})
	}
	pack := packOfEvents(t, events)
	whole, err := openBlock(pack)
	if err != nil {
		t.Fatal(err)
	}
	if p := &whole.shelf.columns[packLong].planes[0]; p.packed {
		t.Fatal("one address was made smaller: another is needed here")
	}
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	one := &page{value: pack}
	one.open(u)
	one.kinds()
	for i := range events {
		one.chosen = []uint32{uint32(i)}
		if one.pickPacked(); one.err != nil {
			t.Fatal(one.err)
		}
		if got, want := one.recordOf(new(reusable), 0), whole.record(i); !reflect.DeepEqual(got, want) {
			t.Fatalf("row %d alone: %+v, want %+v", i, got, want)
		}
	}
}

// The columns of a pack of queries alone are read like those of one with other records, however
// the memory for them was rounded.
func TestColumnsOfQueriesAlone(t *testing.T) {
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 100, 512, 1024, 1100} {
		var events []Event
		for i := range n {
			events = append(events, Event{
				Time: epoch.UnixNano() + int64(i), Client: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Transport: UDP,
				Name: wire("www.shop.example"), Type: 1, Class: 1, Source: SourceUpstream, EDE: -1,
			})
		}
		pack := packOfEvents(t, events)
		whole, err := openBlock(pack)
		if err != nil {
			t.Fatal(err)
		}
		p := &page{value: pack}
		p.open(u)
		columns := readAll(p)
		if p.err != nil {
			t.Fatal(p.err)
		}
		for i := range whole.rows {
			if got, want := columns(i), briefly(&whole.rows[i]); got != want {
				t.Fatalf("row %d of %d: %+v, want %+v", i, n, got, want)
			}
		}
	}
}

// Rows are laid out in bounded memory, whatever somebody has had put into all answers.
func TestRowsOfLongAnswersTakeLittleMemory(t *testing.T) {
	long := strings.Repeat("x", 60)
	var aliases [][]byte
	for i := range MaxAnswers {
		aliases = append(aliases, wire(fmt.Sprintf("%s.%s.%s.%s%02d.example", long, long, long, long[:40], i)))
	}
	var events []Event
	for i := range 6000 {
		events = append(events, Event{
			Time: epoch.UnixNano() + int64(i), Client: netip.MustParseAddr("192.0.2.1"), Transport: UDP,
			Name: wire(fmt.Sprintf("n%d.example", i)), Type: 1, Class: 1, Source: SourceUpstream, EDE: -1, Aliases: aliases,
		})
	}
	whole, err := openBlock(packOfEvents(t, events))
	if err != nil {
		t.Fatal(err)
	}
	var rows rowMaker
	if err := rows.read(whole); err != nil {
		t.Fatal(err)
	}
	if n := len(rows.question.octets); n > maxPieces+(1<<20) {
		t.Errorf("%d octets of pieces", n)
	}
	for i := range whole.rows {
		if got, want := rows.append(nil), whole.appendRow(nil, i); !bytes.Equal(got, want) {
			t.Fatalf("row %d is laid out as %x, want %x", i, got, want)
		}
	}
}

// A name is no longer than a name can be before it is found to be too long.
func TestASingleNameIsBounded(t *testing.T) {
	const labels = 100_000
	s := nameShelf{text: append([]byte{63}, bytes.Repeat([]byte("x"), 63)...), begins: []uint32{0, 64}, label: make([]uint32, labels)}
	for i := range labels {
		s.behind = append(s.behind, uint32(i)+1)
	}
	s.whole = []uint32{2 + 2, labels + 1}
	if name, err := s.single(nil, 0); err != nil || len(name) != 3*64+1 {
		t.Errorf("%q, %v", name, err)
	}
	name := make([]byte, 0, 1024)
	if _, err := s.single(name, 1); err == nil || err.Error() != "its names are too long" {
		t.Errorf("%v", err)
	}
	if behind := name[:cap(name)][maxName+64]; behind != 0 {
		t.Errorf("%d octets and more were put together", maxName+64)
	}
}
