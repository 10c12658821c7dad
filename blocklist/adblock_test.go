package blocklist

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestAdblockAgainstModel holds that the entries that are made of rules decide as the rules do, read plainly: of the
// rules that are not cancelled and cover a name, only those with $important count if there are any, and of what is
// left the most specific, an exception first.
func TestAdblockAgainstModel(t *testing.T) {
	names := []string{"a.test", "b.a.test", "c.b.a.test", "d.c.b.a.test", "x.a.test", "b.test"}
	type rule struct {
		text      string // without $
		options   string
		name      string
		scope     Scope
		exception bool
		important bool
	}
	rapid.Check(t, func(t *rapid.T) {
		var rules []rule
		bad := map[string]bool{}
		var text strings.Builder
		text.WriteString("[Adblock]\n")
		for range rapid.IntRange(1, 12).Draw(t, "rules") {
			r := rule{name: rapid.SampledFrom(names).Draw(t, "name"), exception: rapid.Bool().Draw(t, "exception")}
			switch rapid.IntRange(0, 2).Draw(t, "scope") {
			case 0:
				r.scope, r.text = Self|Below, "||"+r.name+"^"
			case 1:
				r.scope, r.text = Self, "|"+r.name+"^"
			case 2:
				r.scope, r.text = Below, "*."+r.name+"^"
			}
			if r.exception {
				r.text = "@@" + r.text
			}
			if r.important = rapid.Bool().Draw(t, "important"); r.important {
				r.options = "important"
			}
			if rapid.IntRange(0, 5).Draw(t, "badfilter") == 0 {
				bad[r.text+r.options] = true
				fmt.Fprintf(&text, "%s$%s,badfilter\n", strings.ToUpper(r.text), r.options)
				continue
			}
			rules = append(rules, r)
			fmt.Fprintf(&text, "%s$%s\n", r.text, r.options)
		}

		b := NewBuilder()
		err := readBytes([]byte(text.String()), nil, newReader(&List{}, func(_ int, _ uint16, name []byte, scope Scope, exception bool) error {
			return b.Add(0, name, scope, exception)
		}))
		if err != nil {
			t.Fatal(err)
		}
		m := b.Build()
		for _, name := range append(names, "test", "z.d.c.b.a.test") {
			var best *rule
			for i := range rules {
				r := &rules[i]
				covers := r.scope&Self != 0 && name == r.name || r.scope&Below != 0 && strings.HasSuffix(name, "."+r.name)
				if bad[r.text+r.options] || !covers || best != nil && best.important && !r.important {
					continue
				}
				if best == nil || r.important && !best.important || len(r.name) > len(best.name) ||
					len(r.name) == len(best.name) && r.exception {
					best = r
				}
			}
			want := best != nil && !best.exception
			wire, err := AppendWireName(nil, name)
			if err != nil {
				t.Fatal(err)
			}
			got := false
			for _, listed := range m.Lists(wire) {
				got = got || listed.Effective && !listed.Exception
			}
			if got != want {
				t.Fatalf("%s: listed %v, want %v, of\n%s", name, got, want, text.String())
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
