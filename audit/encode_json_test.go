package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The objects of the formats as structs, and encoding/json to write them: the naive way
// that the encoders are held to, octet for octet.
var structs = map[string]func(*Record) any{
	"ecs":   ecsOf,
	"jsonl": func(r *Record) any { return r },
	"ocsf":  ocsfOf,
}

// naively is what encoding/json makes of a record; nothing if the format has no place for it.
func naively(t testing.TB, format string, r *Record) []byte {
	t.Helper()
	v := structs[format](r)
	if v == nil {
		return nil
	}
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(v); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// otherJSON says which encoder writes anything else; empty is none.
func otherJSON(t testing.TB, r *Record) string {
	t.Helper()
	for format := range structs {
		if got, want := encodeAll(t, format, []*Record{r}), naively(t, format, r); !bytes.Equal(got, want) {
			return fmt.Sprintf("%s has\n%s\nwant\n%s", format, got, want)
		}
	}
	return ""
}

// TestJSONIsThatOfTheStructs holds that records of any content are written as encoding/json
// writes them. What Record gains is in it too: the fields are found by reflection.
func TestJSONIsThatOfTheStructs(t *testing.T) {
	for _, r := range hostileRecords(t) {
		if other := otherJSON(t, r); other != "" {
			t.Error(other)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		r := new(Record)
		anything(rt, reflect.ValueOf(r).Elem())
		words := func(all ...string) string { return rapid.SampledFrom(append(all, "", "other")).Draw(rt, "word") }
		r.Kind = words("query", "query", "query", "change", "gap")
		r.Verdict, r.Transport, r.Rcode = words("allow", "block"), words("udp", "tcp"), words("NOERROR", "NXDOMAIN", "DSOTYPENI", "RCODE24", "RCODE3841", "RCODE65535", "RCODE65536")
		if other := otherJSON(t, r); other != "" {
			rt.Fatal(other)
		}
		row := cofRow{r.Name, r.Type, r.Text, r.Duration, int64(r.Seq), r.Revision}
		var got, want bytes.Buffer
		c := cof{w: &got, rows: []*cofRow{&row}}
		if err := c.flush(); err != nil {
			rt.Fatal(err)
		}
		if err := json.NewEncoder(&want).Encode(cofLine{row.name, row.typ, row.data, row.first, row.last, row.count}); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			rt.Fatalf("cof has\n%s\nwant\n%s", &got, &want)
		}
	})
}

// anything fills v.
func anything(t *rapid.T, v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *Client:
		*p = rapid.SampledFrom([]Client{
			{},
			ClientOf(netip.MustParseAddr("192.0.2.7")), ClientOf(netip.MustParseAddr("2001:db8::7")), ClientOf(netip.MustParseAddr("::ffff:192.0.2.7")),
			ClientOf(netip.MustParseAddr("fe80::7%<eth\n>")), ClientOf(netip.MustParseAddr("ff02::1")),
			{keptNetwork(netip.MustParsePrefix("192.0.2.0/24"))},
			{keptNetwork(netip.MustParsePrefix("2001:db8::/32"))},
			{pseudonym{675, [8]byte{7: 1}}.kept()},
			{pseudonym{0, [8]byte{}}.kept()},
		}).Draw(t, "client")
		return
	case *time.Time:
		*p = instant(rapid.Int64Range(0, math.MaxInt64).Draw(t, "time"))
		return
	case *string:
		*p = rapid.OneOf(rapid.Just(""), rapid.SampledFrom(hostileOctets), rapid.SampledFrom([]string{"192.0.2.7", "2001:db8::7", "a.example", "b.example"}), rapid.String(),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text")
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "flag"))
	case reflect.Uint8, reflect.Uint16, reflect.Uint64:
		v.SetUint(rapid.Uint64Max(math.MaxUint64>>(64-v.Type().Bits())).Draw(t, "count"))
	case reflect.Int32:
		v.SetInt(int64(rapid.Int32().Draw(t, "number")))
	case reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "number"))
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "there") {
			v.Set(reflect.New(v.Type().Elem()))
			anything(t, v.Elem())
		}
	case reflect.Slice:
		if n := rapid.IntRange(-1, 6).Draw(t, "length"); n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				anything(t, v.Index(i))
			}
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			anything(t, f)
		}
	default:
		t.Fatalf("what is a %s?", v.Type())
	}
}

// Once there is room for a line, records of usual content cost no memory.
func TestJSONAllocatesNothing(t *testing.T) {
	r := benchRecord(t)
	for format := range structs {
		enc, err := NewEncoder(format, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		for _, client := range []netip.Addr{netip.MustParseAddr("2001:db8::7"), keptNetwork(netip.MustParsePrefix("192.0.2.0/24")), pseudonym{675, [8]byte{7: 1}}.kept()} {
			r.Client = Client{client}
			if n := testing.AllocsPerRun(100, func() {
				if err := enc.Write(r); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s: %v allocations for a record of %s, want 0", format, n, r.Client)
			}
		}
	}
}

// FuzzQuoted holds texts to what encoding/json writes, and that it reads them back.
func FuzzQuoted(f *testing.F) {
	for _, h := range hostileOctets {
		f.Add([]byte(h))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want, err := json.Marshal(string(text))
		if err != nil {
			t.Fatal(err)
		}
		got := appendQuoted([]byte("x"), text)
		if string(got) != "x"+string(want) || string(got) != string(appendQuoted([]byte("x"), string(text))) {
			t.Fatalf("%q is %s, want %s", text, got, want)
		}
	})
}
