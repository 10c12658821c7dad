package blocklist

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// modelRule is one rule as it was drawn.
type modelRule struct {
	text      string // without $
	options   []string
	name      string
	scope     Scope
	exception bool
	important bool
	types     []uint16 // nil is every type
	not       bool
	denied    []string
}

func (m *modelRule) line(more ...string) string {
	if options := append(slices.Clone(m.options), more...); len(options) > 0 {
		return m.text + "$" + strings.Join(options, ",")
	}
	return m.text
}

// covers reads a rule plainly.
func (m *modelRule) covers(name string, qtype uint16) bool {
	below := func(name, above string) bool { return strings.HasSuffix(name, "."+above) }
	if m.types != nil && slices.Contains(m.types, qtype) == m.not {
		return false
	}
	for _, denied := range m.denied {
		if name == denied || below(name, denied) {
			return false
		}
	}
	return m.scope&Self != 0 && name == m.name || m.scope&Below != 0 && below(name, m.name)
}

func drawRule(t *rapid.T, names []string) *modelRule {
	name := rapid.SampledFrom(names)
	m := &modelRule{name: name.Draw(t, "name"), exception: rapid.Bool().Draw(t, "exception")}
	switch rapid.IntRange(0, 3).Draw(t, "scope") {
	case 0, 1:
		m.scope, m.text = Self|Below, "||"+m.name+"^"
	case 2:
		m.scope, m.text = Self, "|"+m.name+"^"
	case 3:
		m.scope, m.text = Below, "*."+m.name+"^"
	}
	if m.exception {
		m.text = "@@" + m.text
	}
	if m.important = rapid.IntRange(0, 2).Draw(t, "important") == 0; m.important {
		m.options = append(m.options, "important")
	}
	if rapid.IntRange(0, 2).Draw(t, "typed") == 0 {
		m.not = rapid.Bool().Draw(t, "not")
		mark := map[bool]string{true: "~"}[m.not]
		var words []string
		for range rapid.IntRange(1, 2).Draw(t, "types") {
			word := rapid.SampledFrom([]string{"A", "AAAA", "TXT"}).Draw(t, "type")
			m.types, words = append(m.types, typeNames[word]), append(words, mark+word)
		}
		m.options = append(m.options, "dnstype="+strings.Join(words, "|"))
	}
	if rapid.IntRange(0, 2).Draw(t, "denied") == 0 {
		m.denied = rapid.SliceOfN(name, 1, 3).Draw(t, "names")
		m.options = append(m.options, "denyallow="+strings.Join(m.denied, "|"))
	}
	return m
}

// TestAdblockAgainstModel holds that the entries that are made of rules decide as the rules do, read plainly: of the
// rules that are not cancelled and cover a name and type, only those with $important count if there are any, and of
// what is left the most specific, an exception first.
func TestAdblockAgainstModel(t *testing.T) {
	names := []string{"a.test", "b.a.test", "c.b.a.test", "d.c.b.a.test", "e.d.c.b.a.test", "x.a.test", "b.test"}
	rapid.Check(t, func(t *rapid.T) {
		var rules []*modelRule
		bad := map[string]bool{}
		text := "[Adblock]\n"
		for range rapid.IntRange(1, 12).Draw(t, "rules") {
			m := drawRule(t, names)
			if rapid.IntRange(0, 7).Draw(t, "badfilter") == 0 {
				bad[m.line()] = true
				text += m.line("badfilter") + "\n"
			} else {
				rules = append(rules, m)
				text += m.line() + "\n"
			}
		}
		l := &List{}
		type entry struct {
			part      uint16
			name      string
			scope     Scope
			exception bool
		}
		var entries []entry
		err := readBytes([]byte(text), nil, newReader(l, func(_ int, part uint16, name []byte, scope Scope, exception bool) error {
			entries = append(entries, entry{part, NameString(name), scope, exception})
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range append(names, "test", "z.e.d.c.b.a.test", "y.b.a.test") {
			for _, qtype := range []uint16{1, 28, 16, 65} {
				var best *modelRule
				for _, m := range rules {
					if bad[m.line()] || !m.covers(name, qtype) || best != nil && best.important && !m.important {
						continue
					}
					if best == nil || m.important && !best.important || len(m.name) > len(best.name) ||
						len(m.name) == len(best.name) && m.exception {
						best = m
					}
				}
				want := best != nil && !best.exception
				length, got := 0, false
				for _, e := range entries {
					m := modelRule{name: e.name, scope: e.scope}
					if e.part > 0 {
						m.types, m.not = append([]uint16{}, l.parts[e.part-1].types...), l.parts[e.part-1].not
					}
					if m.covers(name, qtype) && len(e.name) >= length {
						got = !e.exception && (got || len(e.name) > length)
						length = len(e.name)
					}
				}
				if got != want {
					t.Fatalf("%s type %d: listed %v, want %v, of\n%s\n%v", name, qtype, got, want, text, entries)
				}
			}
		}
	})
}

func TestAdblockLooksAheadOnlySoFar(t *testing.T) {
	var text bytes.Buffer
	for i := range maxAhead + 1 {
		fmt.Fprintf(&text, "||%d.example^$badfilter\n", i)
	}
	if _, _, err := readEntries(text.Bytes(), nil); err == nil || !strings.Contains(err.Error(), "more than 1048576 rules") {
		t.Error(err)
	}
}

func TestAdblockHeaderDecides(t *testing.T) {
	l, entries, err := readEntries([]byte("[Adblock Plus]\na.example\nb.example\nc.example\n"), nil)
	if err != nil || l.Format != "adblock" || len(entries) != 3 || entries[0] != "2 =a.example" {
		t.Error(err, l.Format, entries)
	}
}
