package blocklist

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
)

func wire(t testing.TB, text string) []byte {
	t.Helper()
	name, err := AppendWireName(nil, text)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAppendWireName(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, c := range []struct{ text, want string }{
		{".", "\x00"},
		{"WWW.Example.com", "\x03www\x07example\x03com\x00"},
		{"www.example.com.", "\x03www\x07example\x03com\x00"},
		{"_dmarc.-x.example", "\x06_dmarc\x02-x\x07example\x00"},
		{`foo\.good.example`, "\x08foo.good\x07example\x00"},
		{`\070oo\000.example`, "\x04foo\x00\x07example\x00"},
		{`a\\b.test`, "\x03a\\b\x04test\x00"},
		{"*.example", "\x01*\x07example\x00"},
		{"Bücher.example", "\x0dxn--bcher-kva\x07example\x00"},
		{"bücher.example.", "\x0dxn--bcher-kva\x07example\x00"},
		{"BÜCHER。Example", "\x0dxn--bcher-kva\x07example\x00"},
		{"u\u0308.example", "\x07xn--tda\x07example\x00"}, // composed first
		{"\uff45xample.test", "\x07example\x04test\x00"},
		{"faß.example", "\x0axn--fa-hia\x07example\x00"},
		{"例え.テスト", "\x0bxn--r8jz45g\x0axn--zckzah\x00"},
		{"испытание.test", "\x10xn--80akhbyknj4f\x04test\x00"},
		{long + "." + long + "." + long + "." + long[:61], "\x3f" + long + "\x3f" + long + "\x3f" + long + "\x3d" + long[:61] + "\x00"},
	} {
		got, err := AppendWireName([]byte("before"), c.text)
		want := "before" + c.want
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v; want %q", c.text, got, err, want)
		}
	}
}

func TestTextsThatAreNoNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, c := range []struct{ text, reason string }{
		{"", reasonEmpty},
		{"..", reasonEmptyLabel},
		{".example", reasonEmptyLabel},
		{"a..example", reasonEmptyLabel},
		{"example..", reasonEmptyLabel},
		{"a example", reasonControl},
		{"a\x00.example", reasonControl},
		{`a\`, reasonEscape},
		{`a\25.example`, reasonEscape},
		{`a\256.example`, reasonEscape},
		{long + "a.example", reasonLongLabel},
		{long + "." + long + "." + long + "." + long[:62], reasonLongName},
		{"b\xff.example", reasonUTF8},
		{`ü\.x.example`, reasonIDNMix},
		{"xn--ü.example", reasonIDN},
		{strings.Repeat("ü", 600), reasonLongName},
	} {
		got, err := AppendWireName([]byte("x"), c.text)
		if err == nil || !strings.HasSuffix(err.Error(), c.reason) || string(got) != "x" {
			t.Errorf("%q: %q, %v; want an error that ends in %q", c.text, got, err, c.reason)
		}
	}
}

func TestNameString(t *testing.T) {
	for _, c := range []struct{ wire, want string }{
		{"", "."},
		{"\x00", "."},
		{"\x03www\x07example\x00", "www.example"},
		{"\x05a.b\\c\x07example\x00", `a\046b\092c.example`},
		{"\x04\x00\x1b \xff\x00", `\000\027\032\255`},
		{"\x3fshort", "short"}, // malformed
		{"\x01a\x01", "a."},
	} {
		if got := NameString([]byte(c.wire)); got != c.want {
			t.Errorf("%q: %q, want %q", c.wire, got, c.want)
		}
	}
}

func TestEntry(t *testing.T) {
	name := wire(t, "cdn.track.example")
	for _, c := range []struct {
		off   uint8
		scope Scope
		want  string
	}{
		{4, Self | Below, "track.example"}, {4, Below, "*.track.example"}, {0, Self, "=cdn.track.example"}, {0, 0, ""}, {200, Self, ""},
	} {
		if got := Entry(name, c.off, c.scope); got != c.want {
			t.Errorf("Entry(%d, %d) = %q, want %q", c.off, c.scope, got, c.want)
		}
		if c.want == "" {
			continue
		}
		back, scope, _, reason := appendEntry(nil, []byte(c.want))
		if reason != "" || scope != c.scope || !bytes.Equal(back, name[c.off:]) {
			t.Errorf("%q reads back as %q, %d, %q", c.want, back, scope, reason)
		}
	}
}

func TestWordsOfVerdicts(t *testing.T) {
	for a := AnswerDefault; a <= AnswerDrop; a++ {
		if got, err := ParseAnswer(a.String()); err != nil || got != a {
			t.Errorf("%d: %d, %v", a, got, err)
		}
	}
	for a := ActionAllow; a <= ActionObserve; a++ {
		if got, err := ParseAction(a.String()); err != nil || got != a {
			t.Errorf("%d: %d, %v", a, got, err)
		}
	}
	if _, err := ParseAnswer("nxdomian"); err == nil {
		t.Error("nxdomian is an answer")
	}
	if _, err := ParseAction(""); err == nil {
		t.Error("nothing is an action")
	}
	if got := Allow.String() + Block.String() + OnAlias.String() + OnNothing.String(); got != "allowblockalias" {
		t.Error(got)
	}
}

// FuzzName holds that a text which is a name gives a wire name, and that its presentation gives the same again.
func FuzzName(f *testing.F) {
	for _, text := range []string{"www.example.com.", `a\.b\000.test`, "bücher.example", ".", "=x", "*.x.test", "例え.テスト"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := AppendWireName(nil, text)
		if err != nil {
			return
		}
		var offs [128]uint8
		if labels(name, &offs) < 0 {
			t.Fatalf("%q: %q is no wire name", text, name)
		}
		for off := 0; name[off] != 0; off += 1 + int(name[off]) {
			for _, c := range name[off+1 : off+1+int(name[off])] {
				if 'A' <= c && c <= 'Z' {
					t.Fatalf("%q: %q is not lower case", text, name)
				}
			}
		}
		shown := NameString(name)
		for _, c := range []byte(shown) {
			if c < 0x21 || c > 0x7e {
				t.Fatalf("%q shows as %q", text, shown)
			}
		}
		again, err := AppendWireName(nil, shown)
		if err != nil || !bytes.Equal(again, name) {
			t.Fatalf("%q: %q shows as %q, which is %q, %v", text, name, shown, again, err)
		}
	})
}

// FuzzPlainName holds that a plain name is what appendName makes of it, and what is not plain has a reason: it is
// one label, an escape, Unicode, or no name.
func FuzzPlainName(f *testing.F) {
	long := strings.Repeat("a", 63)
	for _, text := range []string{"www.Example.com.", "a..b", "com", "_x.-y.z9", ".", "", "a.b..", long + "." + long, long + "a.b", long + "." + long + "." + long + "." + long[:61], "ü.test"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want, _, reason := appendName(nil, text, &strict)
		var buf [maxName]byte
		n := plainName(&buf, text)
		switch {
		case n > 0 && (reason != "" || string(buf[:n]) != string(want)):
			t.Fatalf("%q: %q, want %q, %s", text, buf[:n], want, reason)
		case n == 0 && reason == "" && int(want[0])+2 != len(want) && bytes.IndexByte(text, '\\') < 0 && !bytes.ContainsFunc(text, func(c rune) bool { return c >= 0x80 }):
			t.Fatalf("%q is not plain", text)
		}
	})
}

// FuzzAddress holds that an address is one of package netip, with its prefix or without.
func FuzzAddress(f *testing.F) {
	for _, text := range []string{"192.0.2.1", "192.0.2.1/24", "2001:db8::1", "fe80::1%eth0", "fe80::1%eth0/64", "::", "::/0", "1.2.3.04", "::ffff:1.2.3.4/96", "1:2:3:4:5:6:7:8", "a.b", "1.2.3.4/032"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := netip.ParseAddr(text)
		if strings.Contains(text, "/") {
			_, err = netip.ParsePrefix(text)
		}
		if want := len(text) <= 64 && err == nil; address([]byte(text)) != want {
			t.Fatalf("%q: address %v, want %v", text, !want, want)
		}
	})
}

// FuzzNameString holds that any octets can be shown.
func FuzzNameString(f *testing.F) {
	f.Add([]byte("\x03www\x00"))
	f.Add([]byte("\xff\x00"))
	f.Fuzz(func(t *testing.T, name []byte) {
		for _, c := range []byte(NameString(name)) {
			if c < 0x21 || c > 0x7e {
				t.Fatalf("%q shows %q", name, NameString(name))
			}
		}
	})
}
