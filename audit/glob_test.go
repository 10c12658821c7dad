package audit

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// globExpression is a Glob as a regular expression over the presentation form
// behind which the final dot stands. It knows patterns without escapes.
func globExpression(pattern string) *regexp.Regexp {
	octet := `(?:\\\d\d\d|[^.\\])`
	var labels []string
	for label := range strings.SplitSeq(strings.TrimSuffix(pattern, "."), ".") {
		if strings.Trim(label, "*") == "" {
			labels = append(labels, `(?:`+octet+`+\.)+`)
			continue
		}
		var b strings.Builder
		for _, c := range []byte(label) {
			switch c {
			case '*':
				b.WriteString(octet + "*")
			case '?':
				b.WriteString(octet)
			default:
				b.WriteString(regexp.QuoteMeta(string(rune(c))))
			}
		}
		labels = append(labels, b.String()+`\.`)
	}
	return regexp.MustCompile(`(?i)\A` + strings.Join(labels, "") + `\z`)
}

func TestGlobAgreesWithAnExpression(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := func(letters string) *rapid.Generator[string] {
			return rapid.StringOfN(rapid.SampledFrom([]rune(letters)), 1, 5, -1)
		}
		pattern := strings.Join(rapid.SliceOfN(part("abB**?"), 1, 5).Draw(t, "pattern"), ".")
		labels := rapid.SliceOfN(part("aAb\x00.* "), 1, 6).Draw(t, "name")
		var name []byte
		for _, l := range labels {
			name = append(append(name, byte(len(l))), l...)
		}
		name = append(name, 0)
		g, err := NewGlob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := g.Match(name), globExpression(pattern).MatchString(nameString(name)+"."); got != want {
			t.Fatalf("%q on %q: %v, want %v", pattern, nameString(name), got, want)
		}
	})
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{".", []string{"\x00"}, []string{"\x01a\x00", ""}},
		{"*", []string{"\x01a\x00", "\x01a\x01b\x00"}, []string{"\x00", "", "\x01a", "\x01a\x00\x00", "\xc0\x0c"}},
		{"*.example", []string{"\x01a\x07eXample\x00"}, []string{"\x07example\x00"}},
		{`\*.b`, []string{"\x01*\x01b\x00"}, []string{"\x01a\x01b\x00"}},
		{`a\.b`, []string{"\x03a.b\x00"}, []string{"\x01a\x01b\x00"}},
		{`\027?\000*`, []string{"\x03\x1b[\x00\x00", "\x04\x1b\x9b\x00x\x00"}, []string{"\x02\x1b\x00\x00"}},
		{`\A\?`, []string{"\x02a?\x00", "\x02A?\x00"}, []string{"\x02aa\x00"}},
	} {
		g, err := NewGlob(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range c.yes {
			if !g.Match([]byte(name)) {
				t.Errorf("%s does not match %q", c.pattern, name)
			}
		}
		for _, name := range c.no {
			if g.Match([]byte(name)) {
				t.Errorf("%s matches %q", c.pattern, name)
			}
		}
	}
	for pattern, want := range map[string]string{
		"":                      "the pattern is empty",
		"..":                    `pattern "..", character 1: an empty label`,
		"a..b":                  `pattern "a..b", character 3: an empty label`,
		`a\`:                    `pattern "a\\", character 2: a backslash stands before one character, or three digits up to 255`,
		`\256`:                  `pattern "\\256", character 1: a backslash stands before one character, or three digits up to 255`,
		strings.Repeat("?", 64): `pattern "` + strings.Repeat("?", 64) + `", character 65: a label has at most 63 octets`,
	} {
		if _, err := NewGlob(pattern); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", pattern, err, want)
		}
	}
}

// FuzzGlob asserts that a name's own presentation is a pattern that matches it,
// and that no pattern and no octets make matching fail.
func FuzzGlob(f *testing.F) {
	f.Add("*.a?b.*", []byte("\x01a\x03a\x00b\x00"))
	f.Add(`\*`, []byte("\x3f"))
	f.Fuzz(func(t *testing.T, pattern string, name []byte) {
		if g, err := NewGlob(pattern); err == nil {
			g.Match(name)
		}
		if every, _ := NewGlob("*"); !every.Match(name) {
			return // no wire name, or the root
		}
		text := strings.NewReplacer("*", `\*`, "?", `\?`).Replace(nameString(name))
		g, err := NewGlob(text)
		if err != nil || !g.Match(name) {
			t.Fatalf("%q does not match itself: %v", text, err)
		}
	})
}
