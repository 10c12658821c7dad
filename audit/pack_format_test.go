package audit

import (
	"bytes"
	"encoding/hex"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// chainOf are three segments of a chain, with one of everything.
func chainOf(t testing.TB) (segments [][]byte) {
	t.Helper()
	s, err := newSealer(testKey(t))
	if err != nil {
		t.Fatal(err)
	}
	s.follow(header{}, [digestSize]byte{1, 2, 3}, head{seq: 41, number: 4, digest: [digestSize]byte{4, 5, 6}})
	for _, b := range []batch{sample(), laterSample(), packetSample()} {
		for _, sealed := range s.seal(b, sampleReasons, sampleLabels) {
			segments = append(segments, sealed.bytes)
		}
	}
	return segments
}

func samplePack(t testing.TB) []byte {
	t.Helper()
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	return packed(t, p, testKey(t), chainOf(t)...)
}

// The golden pack is the promise that what was packed once can be read for ever.
func TestGoldenPack(t *testing.T) {
	pack := samplePack(t)
	if *update {
		golden(t, "pack-v1.hex", []byte(hex.Dump(pack)))
	}
	var want []*Record
	for _, s := range chainOf(t) {
		want = append(want, decodeSegment(t, s).records()...)
	}
	stored := readDump(t, filepath.Join("testdata", "pack-v1.hex"))
	if d := cmp.Diff(want, decodeSegment(t, stored).records(), cmp.Comparer(func(a, b Client) bool { return a == b })); d != "" {
		t.Errorf("its records are others (-segments +pack):\n%s", d)
	}
	// The layout (all but zstd's choice of encoding) must still be what it was.
	was, is := unpackedColumns(t, stored), unpackedColumns(t, pack)
	if !reflect.DeepEqual(was, is) || !bytes.Equal(stored[:headerSize+4], pack[:headerSize+4]) {
		t.Error("the same segments are laid out differently than in testdata/pack-v1.hex: that is a new format version")
	}
	// What it must have is listed, as a byte of any kind: 51 columns, of which those of one table are as long.
	if len(is) != 51 {
		t.Errorf("%d columns", len(is))
	}
}

func unpackedColumns(t testing.TB, pack []byte) (columns [][]uint64) {
	t.Helper()
	b := decodeSegment(t, pack)
	for i := range packColumns {
		values, err := readColumn[uint64](b.shelf, i, nil, ^uint64(0))
		if err != nil {
			t.Fatal(err)
		}
		columns = append(columns, values)
	}
	return columns
}

// Segments with clients that stand for others are packed with their like, and prove the same records.
func TestMaskedSegmentsArePacked(t *testing.T) {
	s, err := newSealer(testKey(t))
	if err != nil {
		t.Fatal(err)
	}
	var segments [][]byte
	for _, b := range []batch{maskedSample(), maskedSample(), sample()} {
		for _, sealed := range s.seal(b, sampleReasons, sampleLabels) {
			segments = append(segments, sealed.bytes)
		}
	}
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	pack := packed(t, p, testKey(t), segments...)
	if err := provePacked(u, pack, p.fronts, func() {}); err != nil || len(p.fronts) != 2 {
		t.Fatalf("%d segments, %v", len(p.fronts), err)
	}
	want := append(decodeSegment(t, segments[0]).records(), decodeSegment(t, segments[1]).records()...)
	if d := cmp.Diff(want, decodeSegment(t, pack).records(), cmp.Comparer(func(a, b Client) bool { return a == b })); d != "" {
		t.Errorf("its records are others (-segments +pack):\n%s", d)
	}
}

func TestEveryFlippedBitOfAPackIsFound(t *testing.T) {
	pack := samplePack(t)
	for i := range pack {
		for bit := range 8 {
			pack[i] ^= 1 << bit
			if _, err := openBlock(pack); err == nil {
				t.Fatalf("octet %d bit %d: not found", i, bit)
			}
			pack[i] ^= 1 << bit
		}
		if _, err := openBlock(pack[:i]); err == nil {
			t.Fatalf("cut to %d octets: not found", i)
		}
	}
	for _, v := range []byte{0, 2, 255} {
		pack[5] = v
		if _, err := readHeader(pack); err == nil || !strings.Contains(err.Error(), "this program reads those up to 1") {
			t.Error(err)
		}
	}
}

// A column that cannot be unpacked is an error to all who read a pack, whichever it is.
func TestAnyColumnOfAPackMayBeDamaged(t *testing.T) {
	pack := samplePack(t)
	h, err := readHeader(pack)
	if err != nil {
		t.Fatal(err)
	}
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	for column := range packColumns {
		damaged := func(b *block) bool {
			if err := b.unpack(u, h, pack); err != nil {
				t.Fatal(err)
			}
			c := &b.shelf.columns[column]
			c.planes[0] = plane{[]byte("no frame"), true}
			return c.width > 0
		}
		var proven, whole block
		if !damaged(&proven) || !damaged(&whole) || column == packKind {
			continue // which unpack has read
		}
		var rows rowMaker
		if rows.read(&proven) == nil || whole.decodePacked(true, nil) == nil {
			t.Errorf("column %d: not found", column)
		}
		for _, read := range []func(p *page){
			func(p *page) { readAll(p) },
			func(p *page) {
				p.chosen = []uint32{uint32(bytes.IndexByte(p.shelf.kinds, byte(KindQuery)))}
				p.kinds()
				p.pickPacked()
			},
		} {
			p := &page{value: pack}
			p.open(u)
			damaged(&p.block)
			read(p)
		}
	}
}

// quickPacker returns a packer that compresses less, for tests with many packs of some rows: a
// better one spends its time with clearing its tables.
func quickPacker(t testing.TB) (*packer, *unpacker) {
	t.Helper()
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	a, err := newAppender()
	if err != nil {
		t.Fatal(err)
	}
	p.z = a.z
	return p, u
}

// FuzzPack feeds what stands behind the checksum: it must never panic; what is accepted must be the
// same in columns as in rows, and in rows read alone, and come back as the same rows from a packer.
func FuzzPack(f *testing.F) {
	pack := samplePack(f)
	f.Add(pack)
	for _, s := range chainOf(f) {
		p, err := newPacker()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed(f, p, testKey(f), s))
	}
	p, u := quickPacker(f)
	key := testKey(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < packHeader+packTail {
			return
		}
		data = summed(bytes.Clone(data))
		h, err := readHeader(data)
		if err != nil || !h.packed {
			return
		}
		_, _ = u.fronts(&h, data)
		pg := &page{value: data}
		pg.open(u)
		if pg.err != nil {
			return
		}
		columns := readAll(pg)
		failed := pg.err
		for i := range h.count { // within their tables, whatever was wrong
			_, _ = pg.alias.of(i), pg.addr.of(i)
		}
		whole, err := openBlock(data)
		var (
			proven block
			rows   rowMaker
		)
		if uerr := proven.unpack(u, h, data); uerr != nil {
			t.Fatalf("a page takes what a block does not: %v", uerr)
		}
		if rerr := rows.read(&proven); (rerr == nil) != (err == nil) {
			t.Fatalf("rows are laid out: %v, decode says %v", rerr, err)
		}
		if err != nil {
			return
		}
		for i := range whole.rows {
			if got, want := rows.append(nil), whole.appendRow(nil, i); !bytes.Equal(got, want) {
				t.Fatalf("row %d is laid out as %x, want %x", i, got, want)
			}
		}
		if failed != nil {
			t.Fatalf("decode takes what columns do not: %v", failed)
		}
		one := &page{value: data}
		one.open(u)
		one.kinds()
		for i := range whole.rows {
			if got, want := columns(i), briefly(&whole.rows[i]); got != want {
				t.Fatalf("row %d: %+v, want %+v", i, got, want)
			}
			r := &whole.rows[i]
			if !slices.Equal(pg.alias.of(uint32(i)), whole.aliases(r)) || !slices.Equal(pg.addr.of(uint32(i)), whole.answers(r)) {
				t.Fatalf("row %d: other answers", i)
			}
			if r.kind != KindQuery || i >= 16 && i < len(whole.rows)-16 { // each alone takes long where there are many
				continue
			}
			if one.chosen = []uint32{uint32(i)}; !one.isFew() && len(whole.rows) >= pickFew {
				t.Fatalf("row %d is many", i)
			}
			if one.pickPacked(); one.err != nil {
				t.Fatalf("row %d: decode takes what picking does not: %v", i, one.err)
			}
			if got, want := one.recordOf(new(reusable), 0), whole.record(i); !reflect.DeepEqual(got, want) {
				t.Fatalf("row %d alone: %+v, want %+v", i, got, want)
			}
		}
		if one.need(one.loadChain); one.err != nil {
			t.Fatalf("decode takes what single names do not: %v", one.err)
		}
		for _, zone := range whole.names[:min(len(whole.names), 8)] {
			for ; len(zone) > 0; zone = zone[min(1+int(zone[0]), len(zone)):] {
				for _, more := range []bool{false, true} {
					got, found := one.shelf.names.mark(zone, more)
					want, any := mark(whole.names, func(name []byte) bool { return bytes.Equal(name, zone) || more && below(name, zone) })
					if !slices.Equal(got, want) || found != any {
						t.Fatalf("%q, below %v: %v, want %v", zone, more, got, want)
					}
				}
			}
		}
		p.reset()
		h = whole.header
		h.packed, h.proven, h.version, h.segments = false, true, segmentVersion, 0
		p.add(whole, packedFront{header: h})
		again, err := openBlock(p.value(key))
		if err != nil {
			t.Fatalf("what was accepted does not come back: %v", err)
		}
		for i := range whole.rows {
			if one, other := whole.appendRow(nil, i), again.appendRow(nil, i); !bytes.Equal(one, other) {
				t.Fatalf("row %d: %x came back as %x", i, one, other)
			}
		}
	})
}

// readAll reads every column of a page, and returns what they say of a row.
func readAll(p *page) func(i int) row {
	p.kinds()
	p.times()
	p.types()
	p.rcodes()
	p.flags()
	p.sources()
	p.transports()
	p.whys()
	p.observations()
	p.upstreams()
	p.asked()
	p.clients()
	return func(i int) row {
		return row{
			time: p.time[i], client: p.client[i], name: p.name[i], reason: p.why[i], observed: p.observe[i], upstream: p.server[i],
			typ: p.typ[i], rcode: p.rcode[i], kind: p.kind[i], transport: Transport(p.carrier[i]), source: Source(p.source[i]), flags: p.flag[i],
		}
	}
}

// briefly is a row without what a page has no columns of.
func briefly(r *row) row {
	return row{
		time: r.time, client: r.client, name: r.name, reason: r.reason, observed: r.observed, upstream: r.upstream,
		typ: r.typ, rcode: r.rcode, kind: r.kind, transport: r.transport, source: r.source, flags: r.flags,
	}
}
