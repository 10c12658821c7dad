package blocklist

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

// TestTypeNames holds that the table agrees with miekg/dns wherever both know a type.
func TestTypeNames(t *testing.T) {
	same := 0
	for number, name := range dns.TypeToString {
		if got, ok := typeNames[name]; ok && got != number {
			t.Errorf("%s is %d, want %d", name, got, number)
		} else if ok {
			same++
		} else if name != "None" && name != "Reserved" && name != "ISDN" && name != "NSAP-PTR" {
			t.Errorf("%s is not known", name)
		}
	}
	if same < 80 {
		t.Errorf("only %d types in both", same)
	}
	seen := map[uint16]string{}
	for name, number := range typeNames {
		if seen[number] != "" {
			t.Errorf("%d is %s and %s", number, name, seen[number])
		}
		seen[number] = name
	}
}

// TestParts holds that sets of types are put together as sets are.
func TestParts(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) part {
		return newPart(rapid.SliceOfN(rapid.Uint16Range(0, 5), 0, 4).Draw(t, "types"), rapid.Bool().Draw(t, "not"))
	})
	has := func(p part, n uint16) bool { return slices.Contains(p.types, n) != p.not }
	rapid.Check(t, func(t *rapid.T) {
		p, q := draw.Draw(t, "p"), draw.Draw(t, "q")
		same, none, every := true, true, true
		for n := range uint16(8) {
			if got, want := has(p.and(q), n), has(p, n) && has(q, n); got != want {
				t.Fatalf("%v and %v has %d: %v", p, q, n, got)
			}
			if got, want := has(p.with(q), n), has(p, n) || has(q, n); got != want {
				t.Fatalf("%v with %v has %d: %v", p, q, n, got)
			}
			if got, want := has(p.without(q), n), has(p, n) && !has(q, n); got != want {
				t.Fatalf("%v without %v has %d: %v", p, q, n, got)
			}
			same = same && has(p, n) == has(q, n)
			none, every = none && !has(p, n), every && has(p, n)
		}
		for _, r := range []part{p, q, p.and(q), p.with(q), p.without(q)} {
			if !slices.IsSorted(r.types) || len(slices.Compact(slices.Clone(r.types))) != len(r.types) {
				t.Fatalf("%v is not in order", r)
			}
		}
		if p.equal(q) != same || p.none() != none || p.every() != every {
			t.Fatalf("%v and %v: equal %v, none %v, every %v", p, q, p.equal(q), p.none(), p.every())
		}
	})
}

// TestPartNumbers holds that one set of types has one number, every type is 0, and that there are not too many.
func TestPartNumbers(t *testing.T) {
	r := newReader(&List{}, nil)
	for range 2 {
		for n := range maxParts {
			if number, ok := r.partNumber(newPart([]uint16{uint16(n / 2), 9999}, n%2 == 1)); !ok || int(number) != n+1 {
				t.Fatalf("part %d has number %d, %v", n+1, number, ok)
			}
		}
	}
	if _, ok := r.partNumber(newPart([]uint16{1}, false)); ok || len(r.list.parts) != maxParts {
		t.Errorf("%d parts", len(r.list.parts))
	}
	if number, ok := r.partNumber(everyType); !ok || number != 0 {
		t.Error(number, ok)
	}
	var text strings.Builder
	for n := range maxParts + 3 {
		text.WriteString("||a" + strconv.Itoa(n) + ".example^$dnstype=TYPE" + strconv.Itoa(n+1) + "\n")
	}
	l, entries, err := readEntries([]byte(text.String()), nil)
	if err != nil || len(entries) != maxParts || len(l.Ignored) != 1 || l.Ignored[0] != (Ignored{ignoredTypes, 3}) {
		t.Errorf("%v: %d entries, %v", err, len(entries), l.Ignored)
	}
}

// TestTypedRulesDecide follows rules for some types from a file to verdicts: for each type, the list is as if it held
// the rules for that type alone.
func TestTypedRulesDecide(t *testing.T) {
	dir := lay(t, map[string]string{"rules": `[AdGuard]
||aaaa.example^$dnstype=AAAA
||all.example^
@@||x.all.example^$dnstype=TXT
@@||ok.all.example^
||ok.all.example^$dnstype=A|HTTPS
||not.ok.all.example^$dnstype=A|HTTPS
||tie.example^
@@||tie.example^$dnstype=TXT
||not.example^$dnstype=~A
||deny.example^$denyallow=ok.deny.example,dnstype=A
`})
	lists := load(t, dir, CategoryConfig{Name: "a", Sources: Sources("rules")})
	policy, err := Compile([]PolicyConfig{{Name: "p", Any: true, Rules: []RuleConfig{{Action: ActionBlock, Categories: []string{"a"}}}}}, lists, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for name, blocked := range map[string]string{
		"aaaa.example": "AAAA", "x.aaaa.example": "AAAA",
		"all.example": "A AAAA TXT HTTPS MX", "x.all.example": "A AAAA HTTPS MX", "y.x.all.example": "A AAAA HTTPS MX",
		"tie.example": "A AAAA HTTPS MX", "x.tie.example": "A AAAA HTTPS MX",
		"ok.all.example": "", "x.ok.all.example": "", "not.ok.all.example": "A HTTPS",
		"not.example": "AAAA TXT HTTPS MX", "x.deny.example": "A", "ok.deny.example": "",
	} {
		for _, word := range []string{"A", "AAAA", "TXT", "HTTPS", "MX"} {
			want := Allow
			if slices.Contains(strings.Fields(blocked), word) {
				want = Block
			}
			if got := policy.Decide(ask(wire(t, name), typeNames[word], netip.MustParseAddr("192.0.2.1"))).Verdict; got != want {
				t.Errorf("%s %s: %v, want %v", name, word, got, want)
			}
		}
	}
}

// FuzzDNSTypes holds that $dnstype is what its words are one by one, as miekg/dns knows them.
func FuzzDNSTypes(f *testing.F) {
	for _, text := range []string{"A|AAAA", "~A|~CNAME", "~A|TXT", "a", "TYPE65", "TYPE65536", "type1", "", "A|", "~", "TYPE01", "TYPE+1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var only, but []uint16
		unknown := false
		for word := range strings.SplitSeq(text, "|") {
			word, excluded := strings.CutPrefix(strings.TrimSpace(word), "~")
			word = strings.ToUpper(word)
			number, ok := dns.StringToType[word]
			if digits, found := strings.CutPrefix(word, "TYPE"); found && strings.Trim(digits, "0123456789") == "" {
				n, err := strconv.ParseUint(digits, 10, 16)
				number, ok = uint16(n), err == nil
			}
			if known, found := typeNames[word]; found {
				number, ok = known, true // miekg/dns lacks some
			} else if word == "NONE" || word == "RESERVED" {
				ok = false
			}
			unknown = unknown || !ok
			if excluded {
				but = append(but, number)
			} else {
				only = append(only, number)
			}
		}
		got, wrong, ok := dnsTypes([]byte(text))
		if ok == unknown || !ok && !strings.Contains(text, string(wrong)) {
			t.Fatalf("%q: %v, %q", text, ok, wrong)
		}
		for n := 0; ok && n < 1<<16; n += 1 + n/300 {
			want := !slices.Contains(but, uint16(n))
			if len(only) > 0 {
				want = slices.Contains(only, uint16(n))
			}
			if has := slices.Contains(got.types, uint16(n)) != got.not; has != want {
				t.Fatalf("%q has %d: %v", text, n, has)
			}
		}
	})
}
