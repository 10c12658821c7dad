package audit

import (
	"slices"
	"testing"
)

// FuzzPage reads columns behind the checksum: no octets make that fail in any
// other way than by an error, and what decode accepts is the same in columns,
// whichever of them are read first.
func FuzzPage(f *testing.F) {
	segment := sealSample(f)
	payload, err := openPayload(segment.bytes)
	if err != nil {
		f.Fatal(err)
	}
	h := segment.header
	f.Add(h.count, h.lost, h.min, h.max, payload, uint8(0))
	f.Add(h.count, h.lost, h.min, h.max, payload, uint8(1))
	f.Fuzz(func(t *testing.T, count uint32, lost uint64, earliest, latest int64, payload []byte, order uint8) {
		h := header{number: 1, first: 1, count: 1 + count%1000, lost: lost, min: earliest, max: latest}
		p := &page{}
		if p.dictionaries(h, payload) != nil {
			return
		}
		columns := []func(){
			func() { p.kinds() }, func() { p.times() }, func() { p.types() }, func() { p.rcodes() }, func() { p.flags() },
			func() { p.sources() }, func() { p.transports() }, func() { p.whys() }, func() { p.observations() },
			func() { p.upstreams() }, func() { p.asked() }, func() { p.clients() }, func() { p.aliases() }, func() { p.answers() },
		}
		for i := range columns {
			columns[(i+int(order))%len(columns)]()
		}
		failed := p.err
		for i := range h.count { // within their tables, whatever was wrong
			_, _ = p.alias.of(i), p.addr.of(i)
		}
		whole := new(block)
		if whole.dictionaries(h, payload) != nil || whole.decode(true) != nil {
			return
		}
		if failed != nil {
			t.Fatalf("decode takes what columns do not: %v", failed)
		}
		for i := range whole.rows {
			r := &whole.rows[i]
			got := row{
				time: p.time[i], client: p.client[i], name: p.name[i], reason: p.why[i], observed: p.observe[i], upstream: p.server[i],
				typ: p.typ[i], rcode: p.rcode[i], kind: p.kind[i], transport: Transport(p.carrier[i]), source: Source(p.source[i]), flags: p.flag[i],
			}
			want := row{
				time: r.time, client: r.client, name: r.name, reason: r.reason, observed: r.observed, upstream: r.upstream,
				typ: r.typ, rcode: r.rcode, kind: r.kind, transport: r.transport, source: r.source, flags: r.flags,
			}
			if got != want {
				t.Fatalf("row %d: %+v, want %+v", i, got, want)
			}
			if !slices.Equal(p.alias.of(uint32(i)), whole.aliases(r)) || !slices.Equal(p.addr.of(uint32(i)), whole.answers(r)) {
				t.Fatalf("row %d: other answers", i)
			}
		}
	})
}
