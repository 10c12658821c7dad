package upstream

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// wire returns the wire name of a plain name without escapes, "." for the root.
func wire(name string) []byte {
	var b []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label != "" {
			b = append(append(b, byte(len(label))), label...)
		}
	}
	return append(b, 0)
}

func router(t testing.TB, zones ...string) *Router {
	t.Helper()
	var routes []Route
	for _, z := range zones {
		routes = append(routes, Route{Zone: wire(z), Group: &Group{name: z}})
	}
	r, err := NewRouter(&Group{name: "default"}, routes)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLongestZoneWins(t *testing.T) {
	r := router(t, "corp.example", "lab.corp.example", "test", "2.0.192.in-addr.arpa")
	for _, tc := range []struct{ name, want string }{
		{"corp.example", "corp.example"},
		{"www.corp.example", "corp.example"},
		{"lab.corp.example", "lab.corp.example"},
		{"a.b.lab.corp.example", "lab.corp.example"},
		{"xlab.corp.example", "corp.example"},
		{"xcorp.example", "default"},
		{"example", "default"},
		{"corp.example.test", "test"},
		{"7.2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa"},
		{".", "default"},
	} {
		if got := r.Route(wire(tc.name)).Name(); got != tc.want {
			t.Errorf("%s goes to %s, want %s", tc.name, got, tc.want)
		}
	}
	if got := router(t, ".", "test").Route(wire("www.example")).Name(); got != "." {
		t.Errorf("with a route for the root, www.example goes to %s", got)
	}
	if got := router(t).Route(wire("www.example")).Name(); got != "default" {
		t.Errorf("without routes, www.example goes to %s", got)
	}
}

func TestBytesInsideALabelAreNoZone(t *testing.T) {
	// One label that holds the bytes of a zone's wire name.
	name := append([]byte{14}, "\x04corp\x07example\x00"...)
	name = append(name, 0)
	if got := router(t, "corp.example").Route(name).Name(); got != "default" {
		t.Errorf("routed to %s", got)
	}
}

func TestRouteOfNoName(t *testing.T) {
	r := router(t, "test")
	for _, name := range []string{"", "\x04", "\x04tes", "\x04test", "\xc0\x0c", "\x03www"} {
		if got := r.Route([]byte(name)).Name(); got != "default" {
			t.Errorf("%q goes to %s", name, got)
		}
	}
}

func TestRouteAllocatesNothing(t *testing.T) {
	r := router(t, "corp.example", "test")
	name := wire("a.b.c.www.example")
	if n := testing.AllocsPerRun(1000, func() { r.Route(name) }); n != 0 {
		t.Errorf("%v allocations per route, want 0", n)
	}
}

func TestNewRouter(t *testing.T) {
	g := &Group{name: "corp"}
	for name, routes := range map[string][]Route{
		"twice":       {{wire("test"), g}, {wire("test"), g}},
		"no group":    {{wire("test"), nil}},
		"empty":       {{nil, g}},
		"text":        {{[]byte("test"), g}},
		"no root":     {{[]byte("\x04test"), g}},
		"more behind": {{[]byte("\x04test\x00\x00"), g}},
		"upper case":  {{wire("Test"), g}},
		"long label":  {{wire(strings.Repeat("a", 64)), g}},
		"too long":    {{bytes.Repeat([]byte("\x01a"), 128), g}},
	} {
		if _, err := NewRouter(g, routes); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewRouter(nil, nil); err == nil {
		t.Error("no default group: no error")
	}
}

// TestRouterAgreesWithTheModel compares with the plain way: of all zones that are
// the name or end it behind a dot, the one with most labels.
func TestRouterAgreesWithTheModel(t *testing.T) {
	name := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab"}), 1, 5).Draw(t, "labels"), ".")
	})
	rapid.Check(t, func(rt *rapid.T) {
		zones := rapid.SliceOfNDistinct(name, 0, 8, rapid.ID[string]).Draw(rt, "zones")
		asked := name.Draw(rt, "asked")
		want := "default"
		for _, z := range zones {
			if (asked == z || strings.HasSuffix(asked, "."+z)) && (want == "default" || len(z) > len(want)) {
				want = z
			}
		}
		if got := router(t, zones...).Route(wire(asked)).Name(); got != want {
			rt.Fatalf("%s goes to %s, want %s", asked, got, want)
		}
	})
}
