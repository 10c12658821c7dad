package audit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file under testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, d)
	}
}

var sampleReasons = []Reason{
	{"staff", "staff", "2", "ads", "lists/ads.txt"},
	{"staff", "staff", "default", "", ""},
	{"staff", "staff", "3", "trackers", "lists/=trackers\x1b[2J.txt"},
}

var sampleLabels = []string{"udp://192.0.2.53:53", "guests"}

// sample is a batch with one of everything, hostile names among it.
func sample() batch {
	at := epoch.UnixNano()
	events := []Event{
		{
			Time: at, Client: netip.MustParseAddr("192.0.2.7"), Transport: UDP, Name: wire("cdn.track.example"), Type: 1, Class: 1,
			Blocked: true, Reason: 1, On: OnName, EntryOff: 4, EntryScope: ScopeSelf | ScopeBelow, Source: SourceSinkhole,
			Rcode: 3, EDE: 15, Duration: 2100, Revision: 7,
		},
		{
			Time: at + 1500, Client: netip.MustParseAddr("2001:db8::7"), Transport: TCP, Name: wire("www.shop.example"), Type: 28, Class: 1,
			Reason: 2, Observed: 3, Source: SourceUpstream, EDE: -1, Upstream: 1, Duration: 12345678, Revision: 7,
			Aliases: [][]byte{wire("edge.cdn.example")},
			Addrs:   []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")},
		},
		{
			Time: at + 2000, Client: netip.MustParseAddr("192.0.2.7"), Transport: UDP, Name: wire("www.shop.example"), Type: 65, Class: 1,
			Blocked: true, Reason: 1, On: OnAlias, EntryScope: ScopeBelow, EntryOff: 5, EntryAlias: 1, Source: SourceSinkhole, EDE: 15,
			Aliases: [][]byte{wire("edge.cdn.example"), wire("edge.track.example")}, Revision: 8,
		},
		{Time: at + 3000, Transport: UDP, Source: SourceRefused, Rcode: 1, EDE: -1, Dropped: true, Revision: 8},
		{
			Time: at + 4000, Client: netip.MustParseAddr("192.0.2.8"), Transport: UDP, Type: 65280, Class: 3, Rcode: 5, EDE: 0,
			Name: []byte("\x0e=1+cmd|' /C x'\x05a.b\\\x1b\x03\x00\xff\r\x00"), Source: SourceRefused, Revision: 6,
		},
		{
			Time: at + 5000, Client: netip.MustParseAddr("192.0.2.8"), Transport: UDP, Type: 1, Class: 1, Name: []byte{0},
			Blocked: true, Reason: 3, On: OnAddress, EntryAlias: 0, Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")},
			Source: SourceSinkhole, EDE: 17, Revision: math.MaxUint64,
		},
		{
			Time: at + 5500, Client: netip.MustParseAddr("192.0.2.8"), Transport: UDP, Type: 16, Class: 1, Name: wire("-x.track.example"),
			Blocked: true, Reason: 1, On: OnName, EntryScope: ScopeSelf, Source: SourceSinkhole, EDE: 15, Revision: 9,
		},
	}
	var slab []byte
	for i := range events {
		slab = appendEvent(append(make([]byte, 0, len(slab)+maxEvent), slab...), &events[i])
	}
	return batch{
		slabs:   inMemory(slab),
		changes: []change{{at - 1000, Change{Text: "start of revision 7\n\x1b]0;x\a"}}, {at + 2500, Change{Text: "=reload"}}},
		gaps:    []gap{{lost: 12, from: at + 100, to: at + 2600}},
	}
}

// laterSample has what the format took up after sample: groups of clients and stripped answers.
func laterSample() batch {
	at := epoch.UnixNano()
	e := Event{
		Time: at, Client: netip.MustParseAddr("192.0.2.7"), Group: 2, Transport: UDP, Name: wire("www.shop.example"), Type: 65, Class: 1,
		Reason: 2, Observed: 3, Source: SourceCache, EDE: -1, Stripped: true, Duration: 9000, Revision: 7,
	}
	var slab []byte
	for _, change := range []func(){
		func() {},
		func() { e.Stripped = false },
		func() { e.Reason, e.Observed = 0, 0 },
		func() { e.Stripped, e.Dropped, e.Blocked, e.Reason = true, true, true, 1 },
		func() { e.Group = 0 },
	} {
		change()
		slab = appendEvent(append(make([]byte, 0, len(slab)+maxEvent), slab...), &e)
	}
	return batch{slabs: inMemory(slab)}
}

// packetSample has what version 2 took up: packets, times that are not in order, who
// did what, and causes.
func packetSample() batch {
	at := epoch.UnixNano()
	e := Event{
		Time: at, Client: netip.MustParseAddr("192.0.2.7"), Transport: UDP, Name: wire("www.shop.example"), Type: 1, Class: 1,
		Reason: 2, Source: SourceCache, EDE: -1, Duration: 9000, Revision: 7,
		Port: 5353, ID: 0xbeef, QuerySize: 34, AnswerSize: 50, Bits: QueryRD,
	}
	var slab []byte
	for _, change := range []func(){
		func() {},
		func() {
			e.QuerySize, e.Bits, e.UDPSize = 34+11, QueryRD|QueryEDNS|QueryDO|QueryAD|AnswerTC, 4096
		},
		func() {
			e.QuerySize, e.Bits, e.UDPSize, e.Version = 34+11+28+12, bitsKnown, 512, 1
		},
		func() { e.Bits, e.Version = QueryEDNS|QueryCookie|QueryCD|AnswerAA, 0 },
		func() { // a packet that is no query
			e = Event{Time: at, Client: e.Client, Transport: TCP, Source: SourceIgnored, EDE: -1, Dropped: true, Port: 65535, QuerySize: 3}
		},
		func() { e.Port, e.QuerySize, e.AnswerSize, e.ID = 0, math.MaxUint16, math.MaxUint16, math.MaxUint16 },
	} {
		change()
		slab = appendEvent(append(make([]byte, 0, len(slab)+maxEvent), slab...), &e)
	}
	return batch{
		slabs:   inMemory(slab),
		changes: []change{{at + 10, Change{ActionSearch, "uid 1000", "records read: client 192.0.2.7"}}, {at + 20, Change{Action: ActionStop}}},
		gaps: []gap{
			{CauseOverload, 12, at + 100, at + 2600},
			{CauseDisk, 1, at + 2700, at + 2700},
			{CauseCrash, 0, at - 100, at + 5000},
			{CauseClock, 0, at + 9000, at},
		},
	}
}

// maskedSample has clients of which the network is kept, or a pseudonym, and one that
// has its address.
func maskedSample() batch {
	var slab []byte
	for i, client := range []netip.Addr{
		netip.MustParseAddr("192.0.2.7"),
		keptNetwork(netip.MustParsePrefix("192.0.2.0/24")),
		keptNetwork(netip.MustParsePrefix("2001:db8:0:100::/56")),
		pseudonym{month: 651, tells: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}.kept(),
		pseudonym{month: 651}.kept(),
	} {
		e := Event{
			Time: epoch.UnixNano() + int64(i), Client: client, Transport: UDP, Name: wire("www.shop.example"), Type: 1, Class: 1, Reason: 2,
			Source: SourceCache, EDE: -1, Duration: 9000, Revision: 7, QuerySize: 34, AnswerSize: 50, Bits: QueryRD,
		}
		slab = appendEvent(append(make([]byte, 0, len(slab)+maxEvent), slab...), &e)
	}
	return batch{slabs: inMemory(slab)}
}

func sealSample(t testing.TB) sealed { return sealBatch(t, sample()) }

func sealBatch(t testing.TB, b batch) sealed { return sealAs(t, b, false) }

func sealAs(t testing.TB, b batch, light bool) sealed {
	t.Helper()
	s, err := newSealer(testKey(t))
	if err != nil {
		t.Fatal(err)
	}
	s.appender.light = light
	s.follow(header{}, [digestSize]byte{1, 2, 3}, head{seq: 41, number: 4, digest: [digestSize]byte{4, 5, 6}})
	segments := s.seal(b, sampleReasons, sampleLabels)
	if len(segments) != 1 {
		t.Fatalf("%d segments", len(segments))
	}
	return segments[0]
}

func decodeSegment(t testing.TB, segment []byte) *block {
	t.Helper()
	b, err := openBlock(segment)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openBlock(segment []byte) (*block, error) {
	u, err := newUnpacker()
	if err != nil {
		return nil, err
	}
	b := new(block)
	if _, _, err := u.openBlock(b, segment, nil); err != nil {
		return nil, err
	}
	return b, b.decode(true)
}

func (b *block) records() (out []*Record) {
	for i := range b.rows {
		out = append(out, b.record(i))
	}
	return out
}

// The golden segments are the promise that what was written once can be read for
// ever. What version 1 has is not written any more, and reads as the same records.
func TestGoldenSegment(t *testing.T) {
	goldenRecords(t, "segment-v1.hex", "sample")
	goldenRecords(t, "segment-v1-later.hex", "sample-later")
	goldenRecords(t, "segment-v2.hex", "sample")
	goldenRecords(t, "segment-v2-later.hex", "sample-later")
	goldenRecords(t, "segment-v2-packets.hex", "sample-packets")
	goldenSegment(t, sealBatch(t, sample()), "segment-v2-grouped.hex", "sample")
	goldenSegment(t, sealBatch(t, laterSample()), "segment-v2-grouped-later.hex", "sample-later")
	goldenSegment(t, sealBatch(t, packetSample()), "segment-v2-grouped-packets.hex", "sample-packets")
	goldenSegment(t, sealBatch(t, maskedSample()), "segment-v2-grouped-masked.hex", "sample-masked")
	goldenSegment(t, sealAs(t, packetSample(), true), "segment-v2-light-packets.hex", "sample-packets")
}

// TestGoldenSegmentsAreProven holds that the rows of segments, with and without groups, are still those that they were
// signed for.
func TestGoldenSegmentsAreProven(t *testing.T) {
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"", "-later", "-packets", "-grouped", "-grouped-later", "-grouped-packets", "-grouped-masked", "-light-packets"} {
		segment := readDump(t, filepath.Join("testdata", "segment-v2"+file+".hex"))
		v, x := verifier{unpacker: u}, exam{value: segment}
		h, _, err := v.read(&x)
		if err != nil || !h.proven || h.grouped != (h.light || strings.HasPrefix(file, "-grouped")) || h.light != (file == "-light-packets") {
			t.Errorf("segment-v2%s: %+v, %v", file, h, err)
		}
		root := readTail(&h, segment).root // of which the digest knows
		root[0] ^= 1
		digest := sha256Of(segment[:len(segment)-digestSize-signatureSize])
		copy(segment[len(segment)-digestSize-signatureSize:], digest[:])
		if _, _, err := v.read(&x); err == nil || err.Error() != "its records are not those that it was signed for" {
			t.Errorf("segment-v2%s with another root: %v", file, err)
		}
	}
}

// goldenSegment holds a segment, and its records in each encoding, against files.
func goldenSegment(t *testing.T, segment sealed, file, records string) {
	t.Helper()
	if *update {
		golden(t, file, []byte(hex.Dump(segment.bytes)))
	}
	b := decodeSegment(t, segment.bytes)
	payload := newBuilderFrom(b)
	if d := cmp.Diff(payload.records(), b.records(), cmp.Comparer(func(a, b Client) bool { return a == b })); d != "" {
		t.Errorf("a second round differs:\n%s", d)
	}
	goldenRecords(t, file, records)
	// The layout (all but the choice of encoding in compressing) must still be what it was.
	stored := readDump(t, filepath.Join("testdata", file))
	was, err := openPayload(stored)
	if err != nil {
		t.Fatal(err)
	}
	is, err := openPayload(segment.bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(was, is) || !bytes.Equal(stored[:headerSize], segment.bytes[:headerSize]) {
		t.Errorf("the same batch is laid out differently than in testdata/%s: that is a new format version", file)
	}
}

// goldenRecords holds the records of a stored segment, in each encoding, against files.
func goldenRecords(t *testing.T, file, records string) {
	t.Helper()
	stored := readDump(t, filepath.Join("testdata", file))
	for format := range encodings {
		golden(t, records+"."+format, encodeAll(t, format, decodeSegment(t, stored).records()))
	}
}

func openPayload(segment []byte) ([]byte, error) {
	u, err := newUnpacker()
	if err != nil {
		return nil, err
	}
	_, _, payload, err := u.open(segment, nil)
	return payload, err
}

// readDump reads back what hex.Dump wrote.
func readDump(t *testing.T, path string) (out []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var v byte
		for i := range 16 {
			at := 10 + 3*i + i/8
			if at+2 > len(line) || line[at] == ' ' {
				break
			}
			if _, err := fmt.Sscanf(string(line[at:at+2]), "%02x", &v); err != nil {
				t.Fatal(err)
			}
			out = append(out, v)
		}
	}
	return out
}

// newBuilderFrom builds a segment from a decoded one and decodes that.
func newBuilderFrom(b *block) *block {
	bu := newBuilder()
	var reasons []Reason
	for i := range b.reasons {
		reasons = append(reasons, b.reason(uint32(i+1)))
	}
	for i := range b.rows {
		r := &b.rows[i]
		switch r.kind {
		case KindChange:
			c := b.changes[r.extra]
			bu.change(r.time, Change{b.text(c.action), b.text(c.actor), b.text(c.text)})
			continue
		case KindGap:
			bu.gap(b.gaps[r.extra])
			continue
		}
		e := Event{
			Time: r.time, Client: b.addrs[r.client], Transport: r.transport, Name: b.names[r.name], Type: r.typ, Class: r.class,
			Blocked: r.flags&flagBlocked != 0, Reason: r.reason, Observed: r.observed, On: r.on, EntryOff: r.off,
			EntryScope: r.scope, EntryAlias: r.alias, Source: r.source, Rcode: r.rcode, EDE: r.ede,
			Dropped: r.flags&flagDropped != 0, Stripped: r.flags&flagStripped != 0, Upstream: r.upstream, Revision: r.revision,
			Duration: int64(min(r.duration, math.MaxInt64/1000) * 1000),
			Port:     r.port, ID: r.id, QuerySize: r.querySize, AnswerSize: r.answerSize, UDPSize: r.udpSize, Version: r.version, Bits: r.bits,
		}
		for _, a := range b.aliases(r) {
			e.Aliases = append(e.Aliases, b.names[a])
		}
		for _, a := range b.answers(r) {
			e.Addrs = append(e.Addrs, b.addrs[a])
		}
		bu.query(inSlab(&e), reasons, b.strings)
	}
	h := b.header
	h.version = segmentVersion
	h.min, h.max, h.lost, h.count = bu.min, bu.max, bu.lost, bu.rows
	out := new(block)
	payload := bu.payload(nil)
	if err := out.dictionaries(h, payload); err != nil {
		panic(err)
	}
	if err := out.decode(true); err != nil {
		panic(err)
	}
	return out
}

func TestEveryFlippedBitOfASegmentIsFound(t *testing.T) {
	segment := sealSample(t).bytes
	key, err := ParsePublicKey(testKey(t).public)
	if err != nil {
		t.Fatal(err)
	}
	signed := func() bool {
		h, err := readHeader(segment)
		if err != nil {
			return false
		}
		tail := readTail(&h, segment)
		return key.signed(leafHash(tail.leaf(segment)), tail.signature)
	}
	if !signed() {
		t.Fatal("the segment is not signed")
	}
	for i := range segment {
		for bit := range 8 {
			segment[i] ^= 1 << bit
			if _, err := openBlock(segment); err == nil && signed() {
				t.Fatalf("octet %d bit %d: not found", i, bit)
			}
			segment[i] ^= 1 << bit
		}
		if _, err := openBlock(segment[:i]); err == nil {
			t.Fatalf("cut to %d octets: not found", i)
		}
	}
}

func TestAnUnknownVersionIsRefused(t *testing.T) {
	segment := sealSample(t).bytes
	for _, v := range []byte{0, 3, 255} {
		segment[5] = v
		want := fmt.Sprintf("its format version is %d, this program reads those up to 2", v)
		if _, err := readHeader(segment); err == nil || err.Error() != want {
			t.Error(err)
		}
	}
}

// What goes through slab, segment and decoder comes out as it went in, and from a pack as well.
func TestRoundTrip(t *testing.T) {
	name := rapid.SliceOfN(rapid.Byte(), 0, maxName)
	addr := rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "four") {
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")))
		}
		return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6")))
	})
	event := rapid.Custom(func(t *rapid.T) Event {
		e := Event{
			Time: rapid.Int64Min(0).Draw(t, "time"), Transport: Transport(rapid.Byte().Draw(t, "transport")),
			Name: name.Draw(t, "name"), Type: rapid.Uint16().Draw(t, "type"), Class: rapid.Uint16().Draw(t, "class"),
			Blocked: rapid.Bool().Draw(t, "blocked"), Reason: rapid.Uint32Max(3).Draw(t, "reason"),
			Observed: rapid.Uint32Max(3).Draw(t, "observed"), Group: rapid.Uint32Max(uint32(len(sampleLabels))).Draw(t, "group"),
			On: rapid.Byte().Draw(t, "on"), EntryOff: rapid.Byte().Draw(t, "off"),
			EntryScope: rapid.Byte().Draw(t, "scope"), EntryAlias: rapid.Byte().Draw(t, "alias"),
			Source: Source(rapid.Byte().Draw(t, "source")), Rcode: rapid.Uint16().Draw(t, "rcode"),
			EDE: rapid.Int32Min(-1).Draw(t, "ede"), Dropped: rapid.Bool().Draw(t, "dropped"),
			Stripped: rapid.Bool().Draw(t, "stripped"),
			Upstream: rapid.Uint32Max(uint32(len(sampleLabels))).Draw(t, "upstream"), Revision: rapid.Uint64().Draw(t, "revision"),
			Duration: rapid.Int64Range(0, math.MaxInt64/1000).Draw(t, "duration") * 1000,
			Aliases:  rapid.SliceOfN(name, 0, MaxAnswers).Draw(t, "aliases"),
			Addrs:    rapid.SliceOfN(addr, 0, MaxAnswers).Draw(t, "addrs"),
			Port:     rapid.Uint16().Draw(t, "port"), ID: rapid.Uint16().Draw(t, "id"),
			QuerySize: rapid.Uint16().Draw(t, "query size"), AnswerSize: rapid.Uint16().Draw(t, "answer size"),
			Bits: Bits(rapid.Uint16Max(bitsKnown).Draw(t, "bits")),
		}
		if e.Bits&QueryEDNS != 0 {
			e.UDPSize, e.Version = rapid.Uint16().Draw(t, "udp size"), rapid.Byte().Draw(t, "version")
		}
		if rapid.Bool().Draw(t, "has client") {
			e.Client = addr.Draw(t, "client")
		}
		return e
	})
	p, u := quickPacker(t)
	key := testKey(t)
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(event, 1, 20).Draw(t, "events")
		var slab []byte
		for i := range events {
			slab = appendEvent(append(make([]byte, 0, len(slab)+slabSize(&events[i])), slab...), &events[i])
		}
		s, err := newSealer(testKey(t))
		if err != nil {
			t.Fatal(err)
		}
		s.next = 1
		segments := s.seal(batch{slabs: inMemory(slab)}, sampleReasons, sampleLabels)
		b, err := openBlock(segments[0].bytes)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.rows {
			found := false
			for j := range events {
				found = found || sameEvent(b, &b.rows[i], &events[j])
			}
			if !found {
				t.Fatalf("row %d is none of the events: %+v", i, b.rows[i])
			}
		}
		if len(b.rows) != len(events) {
			t.Fatalf("%d rows of %d events", len(b.rows), len(events))
		}
		p.reset()
		p.add(b, frontOf(&b.header, segments[0].bytes))
		if err := provePacked(u, p.value(key), p.fronts, func() {}); err != nil {
			t.Fatalf("in a pack: %v", err)
		}
	})
}

func sameEvent(b *block, r *row, e *Event) bool {
	got := []any{
		r.time, r.transport, string(b.names[r.name]), r.typ, r.class, r.flags&flagBlocked != 0, b.reason(r.reason),
		b.reason(r.observed), r.on, r.off, r.scope, r.alias, r.source, r.rcode, r.ede, r.flags&flagDropped != 0, r.flags&flagStripped != 0,
		b.text(r.upstream), r.revision, int64(r.duration), b.addrs[r.client], len(b.aliases(r)), len(b.answers(r)),
		r.port, r.id, r.querySize, r.answerSize, r.udpSize, r.version, r.bits,
	}
	for _, a := range b.aliases(r) {
		got = append(got, string(b.names[a]))
	}
	for _, a := range b.answers(r) {
		got = append(got, b.addrs[a])
	}
	reason := func(n uint32) (r Reason) {
		if n != 0 {
			r = sampleReasons[n-1]
			r.List = printable([]byte(r.List))
		}
		if e.Group != 0 {
			r.Group = sampleLabels[e.Group-1]
		}
		return r
	}
	observed := Reason{}
	if e.Observed != 0 {
		observed = reason(e.Observed)
	}
	want := []any{
		e.Time, e.Transport, string(e.Name), e.Type, e.Class, e.Blocked, reason(e.Reason), observed, e.On, e.EntryOff,
		e.EntryScope, e.EntryAlias, e.Source, e.Rcode, e.EDE, e.Dropped, e.Stripped, append([]string{""}, sampleLabels...)[e.Upstream],
		e.Revision, e.Duration / 1000, e.Client, len(e.Aliases), len(e.Addrs),
		e.Port, e.ID, e.QuerySize, e.AnswerSize, e.UDPSize, e.Version, e.Bits,
	}
	for _, a := range e.Aliases {
		want = append(want, string(a))
	}
	for _, a := range e.Addrs {
		want = append(want, a)
	}
	return reflect.DeepEqual(got, want)
}

func TestLargeBatchesAreSplit(t *testing.T) {
	s, err := newSealer(testKey(t))
	if err != nil {
		t.Fatal(err)
	}
	s.next = 1
	var slab []byte
	e := query(0, "192.0.2.7", "www.example")
	for i := range sealRows + 10 {
		e.Time++
		e.Name[1] = byte('a' + i%26)
		slab = append(slab, appendEvent(make([]byte, 0, maxEvent), e)...)
	}
	segments := s.seal(batch{slabs: inMemory(slab)}, nil, nil)
	if len(segments) != 2 || segments[0].header.count != sealRows || segments[1].header.count != 10 {
		t.Fatalf("%d segments", len(segments))
	}
	if segments[1].header.first != sealRows+1 || segments[1].header.prev != segments[0].digest {
		t.Error("the second does not follow the first")
	}
	// The widest events there are must still make segments that can be read.
	e.Aliases = make([][]byte, MaxAnswers)
	slab = slab[:0]
	for i := range 8000 {
		for j := range e.Aliases {
			e.Aliases[j] = bytes.Repeat([]byte{byte(i), byte(i >> 8), byte(j)}, 85)
		}
		slab = append(slab, appendEvent(make([]byte, 0, maxEvent), e)...)
	}
	for i, seg := range s.seal(batch{slabs: inMemory(slab)}, nil, nil) {
		if seg.header.size > sealBytes+1<<20 {
			t.Errorf("segment %d has a payload of %d octets", i, seg.header.size)
		}
		if _, err := openBlock(seg.bytes); err != nil {
			t.Errorf("segment %d: %v", i, err)
		}
	}
}

func FuzzSegment(f *testing.F) {
	f.Add(sealSample(f).bytes)
	f.Add(sealAs(f, sample(), true).bytes)
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, err := readHeader(data); err == nil && !bytes.Equal(h.append(nil), data[:headerSize]) {
			t.Fatalf("header %+v does not come back", h)
		}
		if b, err := openBlock(data); err == nil {
			b.records()
		}
	})
}

// TestALightPayloadIsBounded holds that what an S2 block claims, or is, is held against the header.
func TestALightPayloadIsBounded(t *testing.T) {
	segment := sealAs(t, sample(), true)
	payload, err := openPayload(segment.bytes)
	if err != nil {
		t.Fatal(err)
	}
	for what, block := range map[string][]byte{
		"a larger one":      s2.Encode(nil, append(payload, 0)),
		"a smaller one":     s2.Encode(nil, payload[1:]),
		"a claim of 4 GiB":  {0xff, 0xff, 0xff, 0xff, 0x0f, 0},
		"nothing":           {},
		"an unending claim": bytes.Repeat([]byte{0xff}, 20),
		"zstd":              {0x28, 0xb5, 0x2f, 0xfd, 0, 0, 1, 0, 0},
	} {
		b := append(segment.header.append(nil), block...)
		b = append(b, make([]byte, digestSize)...)
		digest := sha256Of(b)
		b = append(append(b, digest[:]...), make([]byte, signatureSize)...)
		if _, err := openPayload(b); err == nil || !strings.HasPrefix(err.Error(), "its payload") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzPayload feeds the decoder behind the checksum: it must never panic, and
// what it accepts must come back from the encoder as the same records.
func FuzzPayload(f *testing.F) {
	segment := sealSample(f)
	payload, err := openPayload(segment.bytes)
	if err != nil {
		f.Fatal(err)
	}
	h := segment.header
	f.Add(true, h.count, h.lost, h.min, h.max, payload)
	f.Fuzz(func(t *testing.T, current bool, count uint32, lost uint64, earliest, latest int64, payload []byte) {
		b := new(block)
		version := uint16(1)
		if current {
			version = segmentVersion
		}
		h := header{version: version, number: 1, first: 1, count: count % 1000, lost: lost, min: earliest, max: latest}
		if b.dictionaries(h, payload) != nil || b.decode(true) != nil {
			return
		}
		again := newBuilderFrom(b)
		if !reflect.DeepEqual(b.records(), again.records()) {
			t.Fatalf("%+v\ncame back as\n%+v", b.records(), again.records())
		}
		brief := new(block)
		if err := errors.Join(brief.dictionaries(h, payload), brief.decode(false)); err != nil {
			t.Fatalf("without details: %v", err)
		}
		for i, want := range b.rows {
			want.transport, want.class, want.on, want.off, want.scope, want.alias, want.source = 0, 0, 0, 0, 0, 0, 0
			want.rcode, want.ede, want.upstream, want.duration, want.revision = 0, 0, 0, 0, 0
			want.id, want.port, want.querySize, want.answerSize, want.udpSize, want.version, want.bits = 0, 0, 0, 0, 0, 0, 0
			if brief.rows[i] != want {
				t.Fatalf("without details: %+v, want %+v", brief.rows[i], want)
			}
		}
	})
}

func FuzzNameString(f *testing.F) {
	f.Add(wire("www.example"))
	f.Add([]byte("\x03a.b\x01\\\x02\x1b\xff\x00"))
	f.Fuzz(func(t *testing.T, name []byte) {
		s := nameString(name)
		for i := range len(s) {
			if s[i] < 0x21 || s[i] > 0x7e {
				t.Fatalf("%q of %x holds octet %#x", s, name, s[i])
			}
		}
		for _, r := range printable(name) {
			if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
				t.Fatalf("%q is not printable", r)
			}
		}
	})
}
