package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

// The facts of the class DNS Activity [4003], with the profile security_control,
// that testdata/ocsf-4003-*.json keeps of the schema: what must be there, types,
// and what the numbers are called.
type (
	ocsfFacts struct {
		Version string
		Class   ocsfObject
		Objects map[string]ocsfObject
	}
	ocsfObject struct {
		Attributes map[string]ocsfAttribute
		AtLeastOne []string `json:"at_least_one"`
	}
	ocsfAttribute struct {
		Type      string
		Required  bool
		Array     bool
		Enum      map[string]string
		CaptionOf string `json:"caption_of"`
	}
)

func readFacts(t testing.TB) (f ocsfFacts) {
	t.Helper()
	text, err := os.ReadFile("testdata/ocsf-4003-" + ocsfVersion + ".json")
	if err != nil {
		t.Fatal(err)
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&f); err != nil {
		t.Fatal(err)
	}
	return f
}

// check returns everything in an event that the schema does not allow.
func (f *ocsfFacts) check(event map[string]any) []string {
	wrong := f.object("", f.Class, event)
	number := func(key string) string { return fmt.Sprint(event[key]) }
	class, _ := event["class_uid"].(json.Number)
	activity, _ := event["activity_id"].(json.Number)
	c, _ := class.Int64()
	a, _ := activity.Int64()
	if number("type_uid") != fmt.Sprint(100*c+a) {
		wrong = append(wrong, "type_uid: is not class and activity")
	}
	if m, ok := event["metadata"].(map[string]any); ok && m["version"] != f.Version {
		wrong = append(wrong, "metadata.version: is another")
	}
	return wrong
}

func (f *ocsfFacts) object(path string, o ocsfObject, v map[string]any) (wrong []string) {
	for name, a := range o.Attributes {
		if _, ok := v[name]; a.Required && !ok {
			wrong = append(wrong, path+name+": is missing")
		}
	}
	if len(o.AtLeastOne) > 0 && !slices.ContainsFunc(o.AtLeastOne, func(name string) bool { return v[name] != nil }) {
		wrong = append(wrong, path+": has none of "+strings.Join(o.AtLeastOne, ", "))
	}
	for name, value := range v {
		a, ok := o.Attributes[name]
		if !ok {
			wrong = append(wrong, path+name+": is no attribute")
			continue
		}
		all := []any{value}
		if a.Array {
			if all, ok = value.([]any); !ok {
				wrong = append(wrong, path+name+": is no array")
			}
		}
		for _, value := range all {
			wrong = append(wrong, f.value(path+name, a, value)...)
		}
		if a.CaptionOf != "" && o.Attributes[a.CaptionOf].Enum[fmt.Sprint(v[a.CaptionOf])] != value {
			wrong = append(wrong, path+name+": is not the caption of "+a.CaptionOf)
		}
	}
	return wrong
}

func (f *ocsfFacts) value(path string, a ocsfAttribute, v any) []string {
	ok := false
	switch a.Type {
	case "anything":
		ok = true
	case "string":
		_, ok = v.(string)
	case "integer", "port":
		n, isNumber := v.(json.Number)
		i, err := n.Int64()
		ok = isNumber && err == nil && (a.Type != "port" || i >= 0 && i < 1<<16)
	case "ip":
		s, _ := v.(string)
		_, err := netip.ParseAddr(s)
		ok = err == nil
	default:
		o, known := f.Objects[a.Type]
		m, isObject := v.(map[string]any)
		if known && isObject {
			return f.object(path+".", o, m)
		}
	}
	switch {
	case !ok:
		return []string{path + ": is no " + a.Type}
	case a.Enum != nil && a.Enum[fmt.Sprint(v)] == "":
		return []string{fmt.Sprintf("%s: %v is no value of it", path, v)}
	}
	return nil
}

func decodeJSON(t testing.TB, line []byte) (v map[string]any) {
	t.Helper()
	in := json.NewDecoder(bytes.NewReader(line))
	in.UseNumber()
	if err := in.Decode(&v); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	return v
}

func TestOCSFFollowsTheSchema(t *testing.T) {
	facts := readFacts(t)
	n := 0
	for _, r := range hostileRecords(t) {
		out := encodeAll(t, "ocsf", []*Record{r})
		if len(out) == 0 {
			continue // no query
		}
		n++
		if wrong := facts.check(decodeJSON(t, out)); wrong != nil {
			t.Errorf("%q\n%s", wrong, out)
		}
	}
	if n < 20 {
		t.Fatalf("only %d events", n)
	}
}

// The check above finds what it is for.
func TestTheSchemaIsChecked(t *testing.T) {
	facts := readFacts(t)
	e := Event{
		Client: netip.MustParseAddr("192.0.2.1"), Transport: UDP, Name: wire("www.example"), Type: 1, Class: 1, Source: SourceCache, EDE: -1,
		Reason: 1, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7")},
	}
	line := encodeAll(t, "ocsf", recordsOf(t, []Event{e}, sampleReasons, nil))
	if wrong := facts.check(decodeJSON(t, line)); wrong != nil {
		t.Fatal(wrong)
	}
	at := func(v map[string]any, path ...string) map[string]any {
		for _, p := range path {
			v = v[p].(map[string]any)
		}
		return v
	}
	for want, change := range map[string]func(v map[string]any){
		"time: is missing":                    func(v map[string]any) { delete(v, "time") },
		"metadata.product.name: is missing":   func(v map[string]any) { delete(at(v, "metadata", "product"), "name") },
		"metadata.version: is another":        func(v map[string]any) { at(v, "metadata")["version"] = "1.0.0" },
		"type_uid: is not class and activity": func(v map[string]any) { v["type_uid"] = json.Number("400301") },
		"severity_id: 7 is no value of it":    func(v map[string]any) { v["severity_id"] = json.Number("7") },
		"rcode: is not the caption of rcode_id": func(v map[string]any) {
			v["rcode"] = "NOERROR"
		},
		"seq: is no attribute":           func(v map[string]any) { v["seq"] = json.Number("1") },
		"time: is no integer":            func(v map[string]any) { v["time"] = "2024" },
		"answers: is no array":           func(v map[string]any) { v["answers"] = "192.0.2.7" },
		"src_endpoint.ip: is no ip":      func(v map[string]any) { at(v, "src_endpoint")["ip"] = "www" },
		"query.hostname: is missing":     func(v map[string]any) { delete(at(v, "query"), "hostname") },
		"policy.: has none of name, uid": func(v map[string]any) { delete(at(v, "policy"), "name") },
		"connection_info.direction_id: is missing": func(v map[string]any) {
			delete(at(v, "connection_info"), "direction_id")
		},
		": has none of src_endpoint, dst_endpoint": func(v map[string]any) {
			delete(v, "src_endpoint")
			delete(v, "dst_endpoint")
		},
	} {
		v := decodeJSON(t, line)
		change(v)
		if wrong := facts.check(v); !slices.Contains(wrong, want) {
			t.Errorf("%q is not found, but %q", want, wrong)
		}
	}
}
