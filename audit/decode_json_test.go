package audit

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// otherRecord says what a decoder makes of a line that encoding/json makes anything else
// of; empty is none.
func otherRecord(d *JSONDecoder, line []byte) string {
	want := new(Record)
	wantErr := json.Unmarshal(line, want)
	got, err := d.Decode(line)
	switch {
	case (err == nil) != (wantErr == nil):
		return "error " + errText(err) + ", want " + errText(wantErr)
	case err == nil && !reflect.DeepEqual(got, want):
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		return string(a) + "\nwant\n" + string(b)
	}
	return ""
}

func errText(err error) string {
	if err == nil {
		return "none"
	}
	return err.Error()
}

// TestJSONIsReadBack holds that records of any content are read as encoding/json reads them.
func TestJSONIsReadBack(t *testing.T) {
	d := &JSONDecoder{Reuse: true}
	for _, r := range hostileRecords(t) {
		if other := otherRecord(d, r.AppendJSON(nil)); other != "" {
			t.Error(other)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		r := new(Record)
		anything(rt, reflect.ValueOf(r).Elem())
		if other := otherRecord(d, r.AppendJSON(nil)); other != "" {
			rt.Fatal(other)
		}
	})
}

// whole fills each field of v with something that needs no escape in JSON.
func whole(t *testing.T, v reflect.Value) {
	t.Helper()
	switch p := v.Addr().Interface().(type) {
	case *Client:
		*p = benchRecord(t).Client
		return
	case *string:
		*p = "some-text.example"
		return
	case *[]string:
		*p = []string{"a.example", "192.0.2.1"}
		return
	}
	switch {
	case v.CanUint():
		v.SetUint(200)
	case v.CanInt():
		v.SetInt(-2)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		whole(t, v.Elem())
	case v.Type() == reflect.TypeFor[Record]().Field(2).Type: // a time
		v.Set(reflect.ValueOf(epoch))
	case v.Kind() == reflect.Struct:
		for _, f := range v.Fields() {
			whole(t, f)
		}
	default:
		t.Fatalf("what is a %s?", v.Type())
	}
}

// TestJSONIsReadAtOnce holds that no field of a record, also of those that Record gains, is
// left to encoding/json, and that those of usual content cost no memory.
func TestJSONIsReadAtOnce(t *testing.T) {
	r := new(Record)
	whole(t, reflect.ValueOf(r).Elem())
	d := &JSONDecoder{Reuse: true}
	for _, line := range [][]byte{r.AppendJSON(nil), benchRecord(t).AppendJSON(nil)} {
		if other := otherRecord(d, line); other != "" {
			t.Error(other)
		}
		in := jsonInput{rest: line, first: true, decoder: d}
		if !in.record(new(reusable)) {
			t.Errorf("it is strange: from %q on %s", in.rest, line)
		}
		if n := testing.AllocsPerRun(100, func() {
			if _, err := d.Decode(line); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations, want 0: %s", n, line)
		}
	}
}

// Records that are not used again may be kept.
func TestDecodedRecordsMayBeKept(t *testing.T) {
	var d JSONDecoder
	line := benchRecord(t).AppendJSON(nil)
	kept, err := d.Decode(line)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decode([]byte(strings.ReplaceAll(strings.ReplaceAll(string(line), "example", "invalid"), "4711", "1"))); err != nil {
		t.Fatal(err)
	}
	if again := kept.AppendJSON(nil); string(again) != string(line) {
		t.Errorf("%s, was %s", again, line)
	}
}

// FuzzDecodeJSON holds that a line is to the decoder what it is to encoding/json.
func FuzzDecodeJSON(f *testing.F) {
	for _, r := range append(hostileRecords(f), benchRecord(f)) {
		f.Add(r.AppendJSON(nil))
	}
	for _, line := range []string{
		"{}", "{} ", " {}", "[]", "null", `{"seq":01}`, `{"seq":1,"seq":2}`, `{"seq":18446744073709551616}`, `{"seq":1.0}`, `{"SEQ":1}`, `{"ede":-2147483648}`, `{"ede":-0}`, `{"answers":[]}`,
		`{"answers":["a",]}`, `{"answers":null}`, `{"dropped":false}`, `{"packet":{},"packet":{"port":1}}`, `{"packet":{"edns":{}}`, `{"client":"","time":"2026-03-02T12:00:00+01:00"}`, `{"kind":"\u0061"}`, `{"kind":"ä"}`, "{\"kind\":\"\x7f\"}",
	} {
		f.Add([]byte(line))
	}
	d := &JSONDecoder{Reuse: true}
	f.Fuzz(func(t *testing.T, line []byte) {
		if other := otherRecord(d, line); other != "" {
			t.Error(other)
		}
	})
}

// BenchmarkDecodeJSON has what encoding/json takes beside it.
func BenchmarkDecodeJSON(b *testing.B) {
	line := benchRecord(b).AppendJSON(nil)
	b.Run("decoder", func(b *testing.B) {
		b.ReportAllocs()
		d := &JSONDecoder{Reuse: true}
		for b.Loop() {
			if _, err := d.Decode(line); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := json.Unmarshal(line, new(Record)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
