package audit

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// told is what a run says, by "section key".
func told(r *run, u *unpacker) (map[string]string, error) {
	clients, err := r.clients(u)
	if err != nil {
		return nil, err
	}
	in, err := r.reader(u)
	if err != nil {
		return nil, err
	}
	defer in.close()
	out := make(map[string]string)
	client := func(n uint32) string {
		if int(n) >= len(clients) {
			return "nobody"
		}
		return addressOf(clients[n]).String()
	}
	for section, what := range map[uint8]string{byClient: "client", byAsked: "name", byAlias: "alias", byAddress: "address"} {
		for in.begin(section, nil); in.step(section); {
			var k runValue
			if err := in.value(section, &k); err != nil {
				return nil, err
			}
			key := nameString(appendForward(nil, in.key))
			if section == byClient || section == byAddress {
				key = addressOf(in.key).String()
			}
			var t telling
			for _, s := range k.steps {
				t.steps = append(t.steps, int(s))
			}
			if section <= byAsked {
				t.count, t.blocked, t.first, t.last = k.count, k.blocked, k.first, k.last
			}
			if section == byAsked {
				t.firstBy = client(k.firstClient)
				for _, c := range k.clients {
					t.clients = append(t.clients, client(c))
				}
			}
			if section == byClient {
				t.cells = make(map[string]uint64)
				for _, c := range k.cells {
					category := ""
					if n := c.kind >> 1; n > 0 {
						category = r.categories[n-1]
					}
					t.cells[fmt.Sprintf("%d %s %v", c.hour, category, c.kind&1 != 0)] += c.queries
				}
			}
			if _, twice := out[what+" "+key]; twice {
				return nil, fmt.Errorf("%s %s comes twice", what, key)
			}
			out[what+" "+key] = t.String()
		}
		if in.err != nil {
			return nil, in.err
		}
	}
	return out, nil
}

// A telling is what a run says of one key, and naively what it should.
type telling struct {
	steps          []int
	count, blocked uint64
	first, last    int64
	firstBy        string
	clients        []string
	cells          map[string]uint64
}

func (t *telling) String() string {
	slices.Sort(t.clients)
	slices.Sort(t.steps)
	return fmt.Sprintf("steps %v %d %d %d-%d %s %v %v", slices.Compact(t.steps), t.count, t.blocked, t.first, t.last, t.firstBy, slices.Compact(t.clients), t.cells)
}

// truth is what a run of these records should say.
func truth(records []*Record, h *runHead) map[string]string {
	all := make(map[string]*telling)
	of := func(what, key string, seq uint64) *telling {
		t := all[what+" "+key]
		if t == nil {
			t = &telling{}
			all[what+" "+key] = t
		}
		t.steps = append(t.steps, int(seq/h.step-h.first/h.step))
		return t
	}
	for _, r := range records {
		if r.Seq < h.first || r.Seq > h.last || r.Kind != "query" {
			continue
		}
		at := r.Time.UnixNano()
		name, client := of("name", r.Name, r.Seq), of("client", r.Client.String(), r.Seq)
		for _, t := range []*telling{name, client} {
			if t.count == 0 || at < t.first {
				t.first, t.firstBy = at, r.Client.String()
			}
			if t.count == 0 || at > t.last {
				t.last = at
			}
			if t.count++; r.Verdict == "block" {
				t.blocked++
			}
		}
		name.clients = append(name.clients, r.Client.String())
		client.firstBy = ""
		if client.cells == nil {
			client.cells = make(map[string]uint64)
		}
		client.cells[fmt.Sprintf("%d %s %v", r.Time.Unix()/3600, r.Category, r.Verdict == "block")]++
		for _, a := range r.Answers {
			if isAddress(a) {
				of("address", a, r.Seq)
			} else {
				of("alias", a, r.Seq)
			}
		}
	}
	out := make(map[string]string)
	for key, t := range all {
		out[key] = t.String()
	}
	return out
}

// holdAgainst holds every run in dir against the records, and returns what all say together.
func holdAgainst(t rapid.TB, dir string, records []*Record) (all []map[string]string) {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next := uint64(1)
	for _, run := range r.runs() {
		if run.first != next {
			t.Fatalf("a run begins at %d, the one before ends before %d", run.first, next)
		}
		next = run.last + 1
		got, err := told(run, r.unpacker)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(truth(records, &run.runHead), got); diff != "" {
			t.Fatalf("run %s:\n%s", run.path, diff)
		}
		all = append(all, got)
	}
	if last := records[len(records)-1].Seq; next != last+1 {
		t.Fatalf("the runs end before %d, the records at %d", next, last)
	}
	return all
}

func TestRunsSayWhatIsInTheirRecords(t *testing.T) {
	dir, records := indexed(t, 2400, 40)
	all := holdAgainst(t, dir, records)
	if len(all) < 3 || len(all[0]) < 60 {
		t.Errorf("%d runs, %d keys in the first: that shows little", len(all), len(all[0]))
	}
	before := make(map[string][]byte)
	for _, path := range runFiles(t, dir) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before[path] = b
	}
	if err := os.RemoveAll(filepath.Join(dir, indexDir)); err != nil {
		t.Fatal(err)
	}
	build(t, dir, small)
	after := runFiles(t, dir)
	if !slices.Equal(after, slices.Sorted(maps.Keys(before))) {
		t.Fatalf("the index was %v and is %v", slices.Sorted(maps.Keys(before)), after)
	}
	for path, want := range before {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is another after it was made again, %v", path, err)
		}
	}
}

// runsOf makes runs of segments, and merges those of a kind.
func runsOf(t rapid.TB, dir string, segments []sealed, sizes runSizes, u *unpacker) (runs []*run, records []*Record) {
	t.Helper()
	g := newGatherer(sizes)
	write := func() {
		r, err := g.write(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		g.reset()
		runs = append(runs, r)
	}
	var p page
	for _, s := range segments {
		p.value = s.bytes
		p.open(u)
		if err := g.add(&p, s.header.first, s.header.last()); err != nil {
			t.Fatal(err)
		}
		if p.whole(); p.err != nil {
			t.Fatal(p.err)
		}
		for i := range p.rows {
			records = append(records, p.record(i))
		}
		if g.full() {
			write()
		}
	}
	if g.records > 0 {
		write()
	}
	for few := sizes.mergeable(runs); few != nil; few = sizes.mergeable(runs) {
		r, err := mergeRuns(dir, u, few, func() error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		at := slices.Index(runs, few[0])
		runs = slices.Replace(runs, at, at+len(few), r)
	}
	return runs, records
}

// Whatever the records and the sizes of runs, and at whatever hours.
func TestRunsOfRandomRecords(t *testing.T) {
	names := []string{"", "a", "b.a", "c.b.a", "ab", "a.b", "xn--a.test", strings.Repeat("l.", 100) + "test", strings.Repeat("m", 63) + ".a"}
	addresses := []string{"192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0", "::"}
	reasons := []Reason{{Policy: "p", Category: "one"}, {Policy: "p", Category: "two", List: "l"}}
	dir := t.TempDir()
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	merged := 0
	rapid.Check(t, func(t *rapid.T) {
		s, err := newSealer(nil)
		if err != nil {
			t.Fatal(err)
		}
		pick := func(from []string, what string) string { return rapid.SampledFrom(from).Draw(t, what) }
		var segments []sealed
		for range rapid.IntRange(1, 6).Draw(t, "segments") {
			var b batch
			for range rapid.IntRange(1, 12).Draw(t, "events") {
				e := query(rapid.IntRange(0, 3*3600*1000).Draw(t, "time"), pick(addresses, "client"), pick(names, "name"))
				if e.Name[0] == 0 && rapid.Bool().Draw(t, "no question") {
					e.Name = nil
				}
				e.Blocked, e.Reason = rapid.Bool().Draw(t, "blocked"), uint32(rapid.IntRange(0, 2).Draw(t, "reason"))
				for range rapid.IntRange(0, 2).Draw(t, "addresses") {
					e.Addrs = append(e.Addrs, netip.MustParseAddr(pick(addresses, "address")))
				}
				for range rapid.IntRange(0, 2).Draw(t, "aliases") {
					e.Aliases = append(e.Aliases, wire(pick(names, "alias")))
				}
				b.slabs = append(b.slabs, inMemory(appendEvent(make([]byte, 0, maxEvent), e))...)
			}
			if rapid.Bool().Draw(t, "change") {
				b.changes = append(b.changes, change{epoch.UnixNano() - 1, Change{Text: "reload"}})
			}
			segments = append(segments, s.seal(b, reasons, nil)...)
		}
		runs, records := runsOf(t, dir, segments, runSizes{
			step:    rapid.Uint64Range(1, 9).Draw(t, "step"),
			records: rapid.IntRange(1, 30).Draw(t, "records"), segments: 3,
			width: rapid.IntRange(2, 3).Draw(t, "width"), most: 60,
		}, u)
		next := uint64(1)
		for _, r := range runs {
			got, err := told(r, u)
			if err != nil || r.first != next {
				t.Fatalf("a run from %d to %d behind %d, %v", r.first, r.last, next-1, err)
			}
			if diff := cmp.Diff(truth(records, &r.runHead), got); diff != "" {
				t.Fatalf("records %d to %d, merged %d times:\n%s", r.first, r.last, r.merges, diff)
			}
			next = r.last + 1
			merged += int(r.merges)
		}
	})
	if merged == 0 {
		t.Error("nothing was merged")
	}
}

// sampleRun is the file of a run of two segments of the sample, merged of one of each.
func sampleRun(t testing.TB) (path string, u *unpacker) {
	t.Helper()
	s, err := newSealer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if u, err = newUnpacker(); err != nil {
		t.Fatal(err)
	}
	segments := append(s.seal(sample(), sampleReasons, sampleLabels), s.seal(sample(), sampleReasons, sampleLabels)...)
	runs, _ := runsOf(t, t.TempDir(), segments, runSizes{step: 4, records: 1, segments: 1, width: 2, most: 100}, u)
	if len(runs) != 1 || runs[0].merges != 1 {
		t.Fatalf("%d runs", len(runs))
	}
	return runs[0].path, u
}

// The file is held against what it was when this version of the format was new:
// its trailer, its directory, and its blocks before they are compressed.
func TestRunGolden(t *testing.T) {
	path, u := sampleRun(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := openRun(path)
	if err != nil {
		t.Fatal(err)
	}
	in, err := r.reader(u)
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	var out bytes.Buffer
	for i := range r.blocks {
		if err := in.block(i); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "block of section %d\n%s", r.blocks[i].section, hex.Dump(in.raw[:r.blocks[i].unpacked]))
	}
	golden(t, "index-v1.txt", out.Bytes())
	// zstd may come to compress otherwise, so what is kept as a file is only read.
	kept := filepath.Join("testdata", "index-v1.run")
	if *update {
		if err := os.WriteFile(kept, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	old, err := openRun(kept)
	if err != nil {
		t.Fatal(err)
	}
	want, err := told(r, u)
	if err != nil {
		t.Fatal(err)
	}
	got, err := told(old, u)
	if err != nil || old.runHead != r.runHead {
		t.Fatalf("%+v, want %+v, %v", old.runHead, r.runHead, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// FuzzRun reads a run with any directory, and one with any block behind that of its
// clients, the checksums being right. That never panics, and what can be read, and
// merged, comes out of that as it was.
func FuzzRun(f *testing.F) {
	path, u := sampleRun(f)
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	sample, err := openRun(path)
	if err != nil {
		f.Fatal(err)
	}
	in, err := sample.reader(u)
	if err != nil {
		f.Fatal(err)
	}
	defer in.close()
	end := sample.blocks[len(sample.blocks)-1]
	directory := b[end.at+int64(end.octets) : len(b)-runTrailer]
	var clients []byte
	for i := range sample.blocks {
		if err := in.block(i); err != nil {
			f.Fatal(err)
		}
		raw := slices.Clone(in.raw[:sample.blocks[i].unpacked])
		if i == 0 {
			clients = raw
		}
		f.Add(directory, sample.blocks[i].section, uint16(sample.blocks[i].entries), raw)
	}
	dir := f.TempDir()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, directory []byte, section uint8, entries uint16, block []byte) {
		if len(directory)+len(block) > 1<<16 {
			return
		}
		var any run
		any.runHead, any.size = sample.runHead, int64(len(directory))+end.at+int64(end.octets)+runTrailer
		_ = any.read(directory)

		w := runWriter{head: sample.runHead, categories: sample.categories, stepTimes: sample.stepTimes, z: z}
		file := []byte{}
		for _, b := range []struct {
			section uint8
			entries uint32
			raw     []byte
		}{{byClient, sample.blocks[0].entries, clients}, {section, uint32(entries), block}} {
			packed := z.EncodeAll(b.raw, nil)
			file = append(file, packed...)
			w.section, w.entries = b.section, b.entries
			w.describe(packed, len(b.raw))
		}
		directory = w.directory()
		file = w.head.append(append(file, directory...), directory)
		path := filepath.Join(dir, "fuzzed"+runSuffix)
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := openRun(path)
		if err != nil {
			return
		}
		for _, q := range []Query{{Name: wire("example")}, {Client: netip.MustParsePrefix("192.0.2.0/24")}, {Answer: netip.MustParsePrefix("::/0")}} {
			at := &where{runs: []*run{r}, filter: queriesOf(q), unpacker: u, sets: make(map[*run]stepSet)}
			if before, from := at.before(r.last+1), at.from(r.first); before > r.last+1 || from < r.first {
				t.Fatalf("%+v: before %d, from %d of %d to %d", q, before, from, r.first, r.last)
			}
		}
		want, err := told(r, u)
		if err != nil {
			return
		}
		m, err := mergeRuns(dir, u, []*run{r}, func() error { return nil })
		if err != nil {
			return
		}
		got, err := told(m, u)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestReversedNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 300), rapid.Custom(func(t *rapid.T) []byte {
			return wire(rapid.StringMatching(`([a-c]{1,3}\.){0,5}[a-c]`).Draw(t, "name"))
		})).Draw(t, "name")
		zone := wire(rapid.StringMatching(`([a-c]{1,3}\.){0,2}[a-c]`).Draw(t, "zone"))
		key := appendReversed(nil, name)
		if got := appendForward(nil, key); !bytes.Equal(got, name) {
			t.Fatalf("%q comes back as %q", name, got)
		}
		if len(name) <= maxName && bytes.HasPrefix(key, appendReversed(nil, zone)) != below(name, zone) {
			t.Fatalf("%q below %q: %v", name, zone, below(name, zone))
		}
	})
}

// Networks and pseudonyms that stand for clients are found by who may be behind them.
func TestIndexFindsWhatStandsForClients(t *testing.T) {
	s, err := newSealer(nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	someone, another := pseudonym{650, [8]byte{1}}.kept(), pseudonym{651, [8]byte{2}}.kept()
	clients := []netip.Addr{
		netip.MustParseAddr("10.0.4.17"), keptNetwork(netip.MustParsePrefix("10.0.4.0/24")), keptNetwork(netip.MustParsePrefix("10.9.0.0/16")),
		keptNetwork(netip.MustParsePrefix("2001:db8::/48")), netip.MustParseAddr("2001:db8::1"), someone, another,
		{},
	}
	var b batch
	for i, c := range clients {
		e := query(i, "192.0.2.1", "a.example")
		e.Client = c
		b.slabs = append(b.slabs, inMemory(appendEvent(make([]byte, 0, maxEvent), e))...)
	}
	runs, _ := runsOf(t, t.TempDir(), s.seal(b, nil, nil), runSizes{step: 1, records: 100, segments: 9, width: 9, most: 9}, u)
	found := 0
	for _, text := range []string{"10.0.4.17/32", "10.0.4.18/32", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::7/128", "2001:db8::/32", "::/0", "192.0.2.0/24"} {
		f := queriesOf(Query{Client: netip.MustParsePrefix(text)})
		f.pseudonyms = map[netip.Addr]bool{someone: text == "10.0.4.18/32"}
		w := &where{runs: runs, filter: f, unpacker: u, sets: make(map[*run]stepSet)}
		set, err := w.find(runs[0])
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range clients {
			got := set[0]>>(uint(runs[0].first)+uint(i)-uint(runs[0].base()))&1 != 0
			if want := f.asks(c); got != want {
				t.Errorf("%s: client %v is found: %v, want %v", text, Client{c}, got, want)
			} else if got {
				found++
			}
		}
	}
	if found < 10 {
		t.Errorf("%d found show little", found)
	}
}
