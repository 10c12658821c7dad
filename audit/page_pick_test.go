package audit

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
)

// FuzzPick holds rows that were picked out of columns against those of decode, which
// reads all of them. What decode accepts is the same.
func FuzzPick(f *testing.F) {
	s, err := newSealer(nil)
	if err != nil {
		f.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"a.example", "www.shop.example", "x"}
	var b batch
	for i := range 300 {
		e := query(i, "192.0.2.1", names[r.IntN(3)])
		e.Type, e.Reason, e.Observed = uint16(r.IntN(300)), uint32(r.IntN(4)), uint32(r.IntN(4))
		e.Revision, e.Duration, e.EDE = uint64(r.IntN(5)*r.IntN(300)), r.Int64N(1e9), int32(r.IntN(20)-1)
		e.ID, e.Port, e.QuerySize, e.AnswerSize = uint16(r.Uint32()), uint16(r.Uint32()), uint16(20+r.IntN(300)), uint16(r.IntN(5000))
		if e.Bits = Bits(r.IntN(int(bitsKnown)+1)) & bitsKnown; e.Bits&QueryEDNS != 0 {
			e.UDPSize, e.Version = uint16(r.IntN(5000)), uint8(r.IntN(2)*r.IntN(256))
		}
		for range r.IntN(3) {
			e.Addrs, e.Aliases = append(e.Addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(9))})), append(e.Aliases, wire(names[r.IntN(3)]))
		}
		b.slabs = append(b.slabs, inMemory(appendEvent(make([]byte, 0, maxEvent), e))...)
	}
	segment := s.seal(b, sampleReasons, sampleLabels)[0]
	payload, err := openPayload(segment.bytes)
	if err != nil {
		f.Fatal(err)
	}
	h := segment.header
	f.Add(h.count, h.min, h.max, payload)
	f.Fuzz(func(t *testing.T, count uint32, earliest, latest int64, payload []byte) {
		h := header{version: 2, number: 1, first: 1, count: 1 + (count-1)%1000, min: earliest, max: latest}
		var whole block
		p := &page{}
		if p.dictionaries(h, payload) != nil {
			return
		}
		if p.kinds(); !p.pure {
			return
		}
		read := whole.dictionaries(h, payload) == nil && whole.decode(true) == nil
		for i := range h.count {
			p.chosen, p.rows, p.refs, p.err = []uint32{i}, p.rows[:0], p.refs[:0], nil
			p.pick()
			if !read {
				continue
			}
			if p.err != nil {
				t.Fatalf("decode takes what pick does not: %v", p.err)
			}
			if want, got := whole.record(int(i)), p.record(int(i)); !reflect.DeepEqual(want, got) {
				t.Fatalf("row %d: %+v, want %+v", i, got, want)
			}
		}
	})
}
