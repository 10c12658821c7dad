package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// merged reads COF and adds up lines about the same record, as its readers do.
func merged(t testing.TB, out []byte) map[link]cofRow {
	t.Helper()
	rows := map[link]cofRow{}
	for line := range bytes.Lines(out) {
		var l cofLine
		in := json.NewDecoder(bytes.NewReader(line))
		in.DisallowUnknownFields()
		if err := in.Decode(&l); err != nil {
			t.Fatal(err)
		}
		r := cofRow{l.Name, l.Type, l.Data, l.First, l.Last, l.Count}
		k := link{r.name, r.typ, r.data}
		if was, ok := rows[k]; ok {
			r.first, r.last, r.count = min(r.first, was.first), max(r.last, was.last), r.count+was.count
		}
		rows[k] = r
	}
	return rows
}

// tallied is the naive way: all records at hand.
func tallied(records []*Record) map[link]cofRow {
	rows := map[link]cofRow{}
	for _, r := range records {
		for _, l := range r.links() {
			row, ok := rows[l]
			if !ok {
				row = cofRow{l.owner, l.typ, l.data, r.Time.Unix(), r.Time.Unix(), 0}
			}
			row.first, row.last = min(row.first, r.Time.Unix()), max(row.last, r.Time.Unix())
			row.count++
			rows[l] = row
		}
	}
	return rows
}

// What is counted adds up to what happened, however little memory there is, and
// that much is not exceeded.
func TestCOFCountsWithinItsRoom(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	var events []Event
	for i := range 5000 {
		e := *query(1000*i, "192.0.2.7", fmt.Sprintf("host-%d.example", random.IntN(300)))
		e.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(4))})}
		if random.IntN(3) == 0 {
			e.Aliases = [][]byte{wire("cdn.example")}
		}
		events = append(events, e)
	}
	records := recordsOf(t, events, nil, nil)
	for _, room := range []int{1, 20_000, cofRoom} {
		var out bytes.Buffer
		c := newCOFWithin(&out, room)
		most := 0
		for _, r := range records {
			if err := c.Write(r); err != nil {
				t.Fatal(err)
			}
			most = max(most, c.size)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if most > room {
			t.Errorf("%d octets are held, %d are allowed", most, room)
		}
		if d := cmp.Diff(tallied(records), merged(t, out.Bytes()), cmp.AllowUnexported(cofRow{})); d != "" {
			t.Errorf("room %d:\n%s", room, d)
		}
		if lines := bytes.Count(out.Bytes(), []byte("\n")); room == cofRoom && lines != len(tallied(records)) {
			t.Errorf("%d lines of %d records", lines, len(tallied(records)))
		}
	}
}

func TestCOFOfHostileRecords(t *testing.T) {
	records := hostileRecords(t)
	want := tallied(records)
	if len(want) < len(hostileOctets) {
		t.Fatal(len(want))
	}
	if d := cmp.Diff(want, merged(t, encodeAll(t, "cof", records)), cmp.AllowUnexported(cofRow{})); d != "" {
		t.Error(d)
	}
	var out bytes.Buffer
	for _, r := range records {
		if err := newCOF(&out).Write(r); (r.links() == nil) != errors.Is(err, ErrLeftOut) {
			t.Errorf("%v for %+v", err, r)
		}
	}
}

func FuzzCOF(f *testing.F) {
	f.Add([]byte("www"), []byte("cdn"), "x", uint64(1), int64(0), []byte("192000002001"))
	for i, h := range hostileOctets {
		f.Add([]byte(h), []byte(h+h), h, uint64(i)*0x1234567|0xb<<43, int64(i), []byte(h))
	}
	f.Fuzz(func(t *testing.T, name, alias []byte, text string, bits uint64, duration int64, addrs []byte) {
		records := fuzzRecords(t, name, alias, text, bits, duration, addrs)
		records = append(records, fuzzRecords(t, name, alias, text, bits>>1, duration, addrs)...)
		if d := cmp.Diff(tallied(records), merged(t, encodeAll(t, "cof", records)), cmp.AllowUnexported(cofRow{})); d != "" {
			t.Error(d)
		}
	})
}

func TestLinks(t *testing.T) {
	forged := int32(4)
	for _, c := range []struct {
		name string
		r    Record
		want []link
	}{
		{"addresses", Record{Name: "a.example", Type: "A", Answers: []string{"192.0.2.1", "192.0.2.2"}}, []link{{"a.example", "A", "192.0.2.1"}, {"a.example", "A", "192.0.2.2"}}},
		{"a chain", Record{Name: "a.example", Type: "AAAA", Answers: []string{"b.example", "c.example", "2001:db8::1"}}, []link{
			{"a.example", "CNAME", "b.example"}, {"b.example", "CNAME", "c.example"}, {"c.example", "AAAA", "2001:db8::1"},
		}},
		{"a carried address", Record{Name: "a.example", Type: "AAAA", Answers: []string{"64:ff9b::c000:201", "192.0.2.1"}}, []link{{"a.example", "AAAA", "64:ff9b::c000:201"}}},
		{"a DNAME", Record{Name: "x.y.old.example", Type: "A", Answers: []string{"new.example", "x.y.new.example", "192.0.2.1"}}, []link{
			{"x.y.old.example", "CNAME", "x.y.new.example"}, {"x.y.new.example", "A", "192.0.2.1"},
		}},
		{"no DNAME", Record{Name: "ax.old.example", Type: "A", Answers: []string{"new.example", "x.new.example"}}, []link{
			{"ax.old.example", "CNAME", "new.example"}, {"new.example", "CNAME", "x.new.example"},
		}},
		{"an alias asked for", Record{Name: "a.example", Type: "CNAME", Answers: []string{"b.example"}}, []link{{"a.example", "CNAME", "b.example"}}},
		{"another type", Record{Name: "a.example", Type: "HTTPS", Answers: []string{"b.example", "192.0.2.1"}}, nil},
		{"another class", Record{Name: "a.example", Type: "A", Class: "CH", Answers: []string{"192.0.2.1"}}, nil},
		{"forged", Record{Name: "a.example", Type: "A", EDE: &forged, Answers: []string{"b.example", "192.0.2.1"}}, nil},
		{"cut", Record{Name: "a.example", Type: "A", Answers: append(make([]string, MaxAnswers), "192.0.2.1")}, nil},
	} {
		if c.r.Class == "" {
			c.r.Class = "IN"
		}
		if d := cmp.Diff(c.want, c.r.links(), cmp.AllowUnexported(link{})); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}
