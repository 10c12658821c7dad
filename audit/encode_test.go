package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// A format is held to this: read gives back from what the encoder wrote the
// records that kept says it can express; kept returns nil for one that is left out.
// The readers are not made from the encoders: see their files.
var readers = map[string]struct {
	read func(testing.TB, []byte) []*Record
	kept func(*Record) *Record
}{
	"csv":    {readCSV, keptCSV},
	"dnstap": {readDnstap, keptDnstap},
	"ecs":    {readECS, func(r *Record) *Record { return r }},
	"jsonl":  {readJSONL, func(r *Record) *Record { return r }},
	"ocsf":   {readOCSF, onlyQueries(func(r *Record) *Record { return r })},
	"zeek":   {readZeek, onlyQueries(keptZeek)},
}

func onlyQueries(kept func(*Record) *Record) func(*Record) *Record {
	return func(r *Record) *Record {
		if r.Kind != "query" {
			return nil
		}
		return kept(r)
	}
}

// recordsOf are events as the log gives them back, by the way they take but for
// compression.
func recordsOf(t testing.TB, events []Event, reasons []Reason, labels []string) []*Record {
	t.Helper()
	bu := newBuilder()
	for i := range events {
		bu.query(inSlab(&events[i]), reasons, labels)
	}
	return blockOf(t, bu).records()
}

func blockOf(t testing.TB, bu *builder) *block {
	t.Helper()
	b := new(block)
	h := header{version: segmentVersion, first: 42, count: bu.rows, min: bu.min, max: bu.max, high: bu.max, lost: bu.lost}
	if err := b.dictionaries(h, bu.payload(nil)); err != nil {
		t.Fatal(err)
	}
	if err := b.decode(true); err != nil {
		t.Fatal(err)
	}
	return b
}

func encodeAll(t testing.TB, format string, records []*Record) []byte {
	t.Helper()
	var out bytes.Buffer
	e, err := NewEncoder(format, &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		before := out.Len()
		switch err := e.Write(r); {
		case errors.Is(err, ErrLeftOut):
			if out.Len() != before {
				t.Fatalf("%s: wrote something of what it left out", format)
			}
		case err != nil:
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// hostileOctets are what somebody who chooses names or texts would try, against
// spreadsheets, terminals, parsers and readers' eyes.
var hostileOctets = []string{
	"=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "\r\n=1", "'", "''", `"`, `","`, `""`, `\`, `\\`, `\x09`, `\027`, "a\\", "-", "(empty)", "#close", "#fields",
	"\x1b[2J\x1b]0;x\a", "\x9b31m", "\x00", "a\x00b", "\n", "a\nb", "\r", "\x7f", "\xff\xfe", "\xc3\x28", "\xed\xa0\x80", "\u202egnp.exe", "\u2066x\u2069",
	"\u200b", "\ufeff", "\u2028", "＝1+1", "＠x", "größe", "192.0.2.9", "2001:db8::9", "::", "a,b", "a;b", "a b", "a|b", "<script>", "&amp;", "%s%n", "$(id)", "`id`",
	"{{7*7}}", "null", "true", "1e9", ".", "a.b", "..", "*", "_dmarc", "xn--", strings.Repeat("x", 63),
}

// hostileRecords are records in which everything that somebody else can choose is
// hostile: names, aliases, and texts of the configuration, of changes.
func hostileRecords(t testing.TB) []*Record {
	t.Helper()
	bu := newBuilder()
	at := epoch.UnixNano()
	for i, h := range hostileOctets {
		label := h[:min(len(h), 63)]
		name := []byte(string(rune(len(label))) + label + "\x07example\x00")
		reasons := []Reason{{h, h + h, h, h, h}, {"", h, "", h, ""}}
		e := Event{
			Time: at + int64(i)*1001, Client: netip.MustParseAddr("2001:db8::1"), Transport: Transport(i % 3), Name: name, Type: 1, Class: 1,
			Blocked: i%2 == 0, Reason: uint32(1 + i%2), Observed: uint32(i % 3), On: OnName, EntryScope: ScopeSelf, Source: SourceCache, EDE: -1,
			Rcode: uint16(i % 30), Upstream: 1, Duration: int64(i) * 1000, Revision: uint64(i),
			Aliases: [][]byte{name, []byte(string(rune(len(label))) + label + "\x00")}, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		}
		switch i % 5 { // two of which the network was kept, and a pseudonym
		case 1:
			e.Client = keptNetwork(netip.MustParsePrefix("2001:db8:0:100::/56"))
		case 2:
			e.Client = keptNetwork(netip.MustParsePrefix("192.0.2.0/24"))
		case 3:
			e.Client = pseudonym{651, [8]byte{1, 2, 3, 4, 5, 6, 7, byte(i)}}.kept()
		}
		bu.query(inSlab(&e), reasons, []string{h})
		bu.change(e.Time, Change{Action: h, Actor: h, Text: h})
	}
	// The longest names, of octets that take four each to show, and as many of them as are kept.
	long := []byte(strings.Repeat("\x3f"+strings.Repeat("\xff", 63), 3) + "\x3d" + strings.Repeat("\x01", 61) + "\x00")
	at += 1e9
	e := Event{
		Time: at, Name: long, Type: 65280, Class: 4711, Rcode: 4095, EDE: math.MaxUint16, Source: SourceUpstream, Duration: math.MaxInt64,
		Aliases: slices.Repeat([][]byte{long}, MaxAnswers), Addrs: slices.Repeat([]netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1")}, MaxAnswers),
	}
	bu.query(inSlab(&e), nil, nil)
	bu.gap(gap{lost: 12, from: at - 100, to: at + 2600})
	if !bu.masked {
		t.Fatal("the block does not say that clients stand for others")
	}
	return blockOf(t, bu).records()
}

// No format lets a hostile record act: it is text without a control character or
// one that nobody sees but the ends of its own lines and the tabs of its own
// columns, or made of lengths; and an independent reader gets back the record.
func TestHostileRecordsComeBack(t *testing.T) {
	records := hostileRecords(t)
	if len(records) < 2*len(hostileOctets) {
		t.Fatal(len(records))
	}
	for format, r := range readers {
		t.Run(format, func(t *testing.T) {
			out := encodeAll(t, format, records)
			if !Binary(format) {
				for i, c := range string(out) {
					if c == '\n' || c == '\t' && format == "zeek" || c != unicode.ReplacementChar && unicode.IsPrint(c) {
						continue
					}
					t.Fatalf("%U in %q", c, out[max(i-40, 0):i+1])
				}
			}
			var want []*Record
			for _, rec := range records {
				if k := r.kept(rec); k != nil {
					want = append(want, k)
				}
			}
			compare(t, want, r.read(t, out))
		})
	}
	if len(readers) != len(encodings)-1 { // cof counts, see its file
		t.Error("a format is not tried")
	}
}

func compare(t testing.TB, want, got []*Record) {
	t.Helper()
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b Client) bool { return a == b })); d != "" {
		t.Fatalf("what came back differs:\n%s", d)
	}
}

// A cell cannot be taken for a formula, also where a quote was there before.
func TestEveryCellIsPlain(t *testing.T) {
	out := encodeAll(t, "csv", hostileRecords(t))
	for _, row := range readCells(t, out) {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r＝＋－＠", []rune(cell)[0]) {
				t.Errorf("a spreadsheet takes %q for a formula", cell)
			}
		}
	}
}

// Without a record there is what makes the file one of its format.
func TestNoRecords(t *testing.T) {
	for format, want := range map[string]string{
		"cof": "", "ecs": "", "jsonl": "", "ocsf": "", "csv": "seq,kind,", "zeek": "#separator \\x09\n", "dnstap": "\x00\x00\x00\x00\x00\x00\x00\x22\x00\x00\x00\x02",
	} {
		out := encodeAll(t, format, nil)
		if !strings.HasPrefix(string(out), want) || want == "" && len(out) > 0 {
			t.Errorf("%s: %q", format, out)
		}
		if r, ok := readers[format]; ok && len(r.read(t, out)) != 0 {
			t.Errorf("%s: records in %q", format, out)
		}
	}
}

// brokenPipe fails from the n-th call on.
type brokenPipe struct{ n int }

func (p *brokenPipe) Write(b []byte) (int, error) {
	if p.n--; p.n < 0 {
		return 0, errors.ErrUnsupported
	}
	return len(b), nil
}

func TestErrorsOfTheWriterComeBack(t *testing.T) {
	records := hostileRecords(t)
	for _, format := range Formats() {
		e, err := NewEncoder(format, &brokenPipe{3})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if err = e.Write(r); err != nil && !errors.Is(err, ErrLeftOut) {
				break
			}
			err = nil
		}
		if err == nil {
			err = e.Close()
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// An alias may read like an address. In the answers it does not.
func TestAliasesAreNoAddresses(t *testing.T) {
	for _, name := range []string{"\x03192\x010\x012\x019\x00", "\x0b2001:db8::9\x00", "\x04::%x\x00"} {
		e := Event{Name: wire("www.example"), Type: 1, Class: 1, EDE: -1, Aliases: [][]byte{[]byte(name)}}
		got := recordsOf(t, []Event{e}, nil, nil)[0].Answers
		back, ok := appendName(nil, got[0])
		if isAddress(got[0]) || !ok || string(back) != name {
			t.Errorf("%q became %q", name, got)
		}
	}
}

func TestNamesComeBack(t *testing.T) {
	for _, text := range []string{"a..b", ".a", "a.", `\`, `\1`, `\12`, `\256`, `\xff`, "..", strings.Repeat("a", 64), strings.Repeat("abc.", 64) + "abc"} {
		if b, ok := appendName([]byte("x"), text); ok || string(b) != "x" {
			t.Errorf("%q became %q", text, b)
		}
	}
	if b, ok := appendName(nil, "."); !ok || string(b) != "\x00" {
		t.Errorf("%q", b)
	}
	for _, r := range hostileRecords(t) {
		if b, ok := appendName(nil, r.Name); r.Name != "" && (!ok || nameString(b) != r.Name) {
			t.Errorf("%q became %q", r.Name, b)
		}
	}
	for n := range 1 << 16 {
		for _, c := range []struct {
			numbers map[string]uint16
			word    string
			prefix  string
		}{{typeNumbers, typeString(uint16(n)), "TYPE"}, {classNumbers, classString(uint16(n)), "CLASS"}, {rcodeNumbers, rcodeString(uint16(n)), "RCODE"}} {
			if got, ok := numberOf(c.numbers, c.word, c.prefix); !ok || int(got) != n {
				t.Fatalf("%s is %d", c.word, got)
			}
		}
	}
	if n, ok := numberOf(typeNumbers, "TYPE65536", "TYPE"); ok {
		t.Error(n)
	}
}

// fuzzEncoding holds what comes back from a format to what went in.
func fuzzEncoding(f *testing.F, format string) {
	for i, h := range hostileOctets {
		f.Add([]byte(h), []byte(h+h), h, uint64(i)*0x1234567, int64(i), []byte(h))
	}
	f.Add([]byte{}, []byte{}, "", ^uint64(0), int64(math.MaxInt64), []byte{})
	f.Add([]byte("www"), []byte("cdn"), "x", uint64(0), int64(0), []byte("192000002001"))
	f.Fuzz(func(t *testing.T, name, alias []byte, text string, bits uint64, duration int64, addrs []byte) {
		records := fuzzRecords(t, name, alias, text, bits, duration, addrs)
		out := encodeAll(t, format, records)
		r := readers[format]
		var want []*Record
		for _, rec := range records {
			if k := r.kept(rec); k != nil {
				want = append(want, k)
			}
		}
		compare(t, want, r.read(t, out))
		for _, rec := range records {
			if other := otherJSON(t, rec); other != "" {
				t.Fatal(other)
			}
		}
	})
}

// fuzzRecords makes a query, a change and a gap of what a fuzzer likes.
func fuzzRecords(t testing.TB, name, alias []byte, text string, bits uint64, duration int64, addrs []byte) []*Record {
	flag := func(n int) bool { return bits>>n&1 == 1 }
	e := Event{
		Time: int64(bits >> 1 & (1<<62 - 1)), Transport: Transport(bits >> 3 & 3), Name: labels(name), Type: uint16(bits), Class: uint16(bits >> 7 & 0x1ff),
		Blocked: flag(9), Reason: uint32(bits >> 10 & 3 % 3), Observed: uint32(bits >> 12 & 1), On: uint8(bits >> 13 & 3), EntryScope: uint8(bits >> 15 & 3),
		Source: Source(bits >> 17 & 7), Rcode: uint16(bits >> 20), EDE: int32(bits>>24&0xffff) - 1, Dropped: flag(40), Stripped: flag(41),
		Upstream: uint32(bits >> 42 & 1), Duration: max(duration, 0), Revision: bits,
	}
	if flag(43) {
		e.Type, e.Class = []uint16{1, 28, 5, 65}[bits>>44&3], 1
	}
	if flag(46) {
		e.Name = nil
	}
	for i := 0; i+4 <= len(addrs) && len(e.Addrs) < MaxAnswers; i += 4 {
		if flag(47) && i+16 <= len(addrs) {
			e.Addrs = append(e.Addrs, netip.AddrFrom16([16]byte(addrs[i:i+16])))
		} else {
			e.Addrs = append(e.Addrs, netip.AddrFrom4([4]byte(addrs[i:i+4])))
		}
		e.Client = e.Addrs[0]
	}
	for range bits >> 48 & 3 {
		e.Aliases = append(e.Aliases, labels(alias))
		alias = append([]byte("x"), alias...)
	}
	bu := newBuilder()
	bu.query(inSlab(&e), []Reason{{text, text, text, text, text}, {"", text, "", text, ""}}, []string{text})
	bu.change(e.Time, Change{Action: text, Actor: text, Text: text})
	bu.gap(gap{lost: bits, from: e.Time / 2, to: e.Time})
	return blockOf(t, bu).records()
}

// labels makes a wire name of any octets: each label is as long as its first says.
func labels(octets []byte) (name []byte) {
	for len(octets) > 0 {
		n := min(1+int(octets[0]%63), len(octets), maxName-2-len(name))
		if n <= 0 {
			break
		}
		name = append(append(name, byte(n)), octets[:n]...)
		octets = octets[n:]
	}
	return append(name, 0)
}

func FuzzCSV(f *testing.F)    { fuzzEncoding(f, "csv") }
func FuzzDnstap(f *testing.F) { fuzzEncoding(f, "dnstap") }
func FuzzECS(f *testing.F)    { fuzzEncoding(f, "ecs") }
func FuzzJSONL(f *testing.F)  { fuzzEncoding(f, "jsonl") }
func FuzzOCSF(f *testing.F)   { fuzzEncoding(f, "ocsf") }
func FuzzZeek(f *testing.F)   { fuzzEncoding(f, "zeek") }

// microseconds is a time as a format keeps it that has no finer ones.
func microseconds(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()).UTC() }

// benchRecord is one of usual content.
func benchRecord(t testing.TB) *Record {
	e := query(0, "192.0.2.7", "www.some-service.example")
	e.Aliases, e.Addrs = [][]byte{wire("edge.cdn.example")}, []netip.Addr{netip.MustParseAddr("198.51.100.1")}
	e.Reason, e.Upstream = 1, 1
	e.Port, e.ID, e.QuerySize, e.AnswerSize, e.UDPSize, e.Bits = 49152, 4711, 53, 117, 1232, QueryRD|QueryEDNS|QueryCookie
	return recordsOf(t, []Event{*e}, sampleReasons, sampleLabels)[0]
}

// An outlet counts the octets written to it.
type outlet struct{ n int64 }

func (c *outlet) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

// BenchmarkEncode has beside the encoders of JSON what encoding/json takes for the same.
func BenchmarkEncode(b *testing.B) {
	r := benchRecord(b)
	run := func(name string, write func(io.Writer) func(*Record) error) {
		b.Run(name, func(b *testing.B) {
			var out outlet
			write := write(&out)
			b.ReportAllocs()
			for b.Loop() {
				if err := write(r); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(out.n)/b.Elapsed().Seconds()/(1<<20), "MiB/s")
		})
	}
	for _, format := range Formats() {
		run(format, func(w io.Writer) func(*Record) error {
			enc, err := NewEncoder(format, w)
			if err != nil {
				b.Fatal(err)
			}
			return enc.Write
		})
		if of := structs[format]; of != nil {
			run(format+" by encoding/json", func(w io.Writer) func(*Record) error {
				enc := json.NewEncoder(w)
				return func(r *Record) error { return enc.Encode(of(r)) }
			})
		}
	}
}
