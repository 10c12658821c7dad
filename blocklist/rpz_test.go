package blocklist

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestRPZDecides follows a response policy zone from its file to verdicts.
func TestRPZDecides(t *testing.T) {
	dir := lay(t, map[string]string{"rpz.zone": `$ORIGIN rpz.test.
@ SOA a. b. 1 2 3 4 5
self.example        CNAME .
*.below.example     CNAME *.
both.example        CNAME rpz-drop.
*.both.example      CNAME rpz-drop.
ok.both.example     CNAME rpz-passthru.
*.ok.both.example   CNAME rpz-passthru.
no.ok.both.example  CNAME .
tcp.example         CNAME rpz-tcp-only.
`})
	lists := load(t, dir, CategoryConfig{Name: "a", Sources: Sources("*.zone")})
	l := lists.All()[0]
	if want := []Note{{notedNXDOMAIN, 2}, {notedDrop, 2}, {notedNodata, 1}}; l.Format != "rpz" || !slices.Equal(l.Notes, want) {
		t.Errorf("%s: %v, want %v", l.Format, l.Notes, want)
	}
	policy, err := Compile([]PolicyConfig{{Name: "p", Any: true, Rules: []RuleConfig{{Action: ActionBlock, Categories: []string{"a"}}}}}, lists, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Verdict{
		"self.example": Block, "x.self.example": Allow, "below.example": Allow, "x.y.below.example": Block,
		"both.example": Block, "x.both.example": Block, "ok.both.example": Allow, "x.ok.both.example": Allow,
		"no.ok.both.example": Block, "tcp.example": Allow, "example": Allow,
	} {
		if got := policy.Decide(ask(wire(t, name), 1, netip.MustParseAddr("192.0.2.1"))).Verdict; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for entry, want := range map[string]int{"=self.example": 3, "*.below.example": 4, "@@*.ok.both.example": 8} {
		if line, err := lists.Locate(l, entry); err != nil || line != want {
			t.Errorf("%s: line %d, %v; want %d", entry, line, err, want)
		}
	}
}

func TestParenthesisThatIsNeverClosed(t *testing.T) {
	text := "$TTL 5\na.example CNAME .\nb.example TXT (\n" + strings.Repeat("lost.example CNAME .\n", maxRecordLines-1) + "c.example CNAME .\n"
	l, entries, err := readEntries([]byte(text), nil)
	want := []string{"2 =a.example", fmt.Sprintf("%d =c.example", maxRecordLines+3)}
	if err != nil || !slices.Equal(entries, want) || l.Unreadable != 1 || l.Problems[0].Line != 3 || l.Problems[0].Column != 15 {
		t.Errorf("%v: %v, %+v", err, entries, l.Problems)
	}
}

// A record without an owner of its own after a line too long to be read belongs to nobody.
func TestOwnerIsLostWithItsLine(t *testing.T) {
	text := "$TTL 5\na.example CNAME .\nb.example TXT " + strings.Repeat("x", maxLine) + "\n CNAME rpz-passthru.\n"
	l, entries, err := readEntries([]byte(text), nil)
	if err != nil || !slices.Equal(entries, []string{"2 =a.example"}) || l.Unreadable != 2 {
		t.Errorf("%v: %v, %+v", err, entries, l.Problems)
	}
}

// FuzzZone holds that a zone file that miekg/dns reads without error gives the same entries here.
func FuzzZone(f *testing.F) {
	for _, file := range []string{"rpz", "rpz-problems", "rpz-transfer", "rpz-saved"} {
		text, err := os.ReadFile("testdata/" + file + ".list")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
		for line := range strings.Lines(string(text)) {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 || strings.ContainsFunc(text, func(c rune) bool { return c > '~' || c < ' ' && c != '\n' && c != '\t' }) {
			return
		}
		if strings.Contains(strings.ToUpper(text), "$GENERATE") {
			return // which is not expanded here
		}
		text = "$ORIGIN rpz.test.\n$TTL 60\n@ 60 IN SOA a. b. 1 2 3 4 5\n" + text
		apex := wire(t, "rpz.test")
		parser := dns.NewZoneParser(strings.NewReader(text), "", "")
		want := map[string]bool{}
		for {
			rr, ok := parser.Next()
			if !ok {
				break
			}
			if entry := entryOf(rr, apex); entry != "" {
				want[entry] = true
			}
		}
		if parser.Err() != nil {
			return
		}
		got := map[string]bool{}
		form, _ := formatNamed("rpz")
		l, entries, _ := readEntries([]byte(text), &form)
		for _, e := range entries {
			_, entry, _ := strings.Cut(e, " ")
			got[entry] = true
		}
		for _, p := range l.Problems {
			switch p.Reason {
			case reasonNoDot: // miekg/dns takes the target for one below the origin
			case reasonNoType: // and a unit alone for a TTL
			case reasonNoData: // and has records without data, for updates
			case reasonEscape: // and takes any octet after a backslash
			case reasonOpen, reasonClose: // and is lenient with parentheses in some types of data
			case reasonQuote: // and reads it on to the next line
			default:
				continue
			}
			maps.DeleteFunc(want, func(entry string, _ bool) bool { return !got[entry] })
		}
		if !maps.Equal(got, want) {
			t.Fatalf("entries %v, want %v; problems %v; of\n%s", got, want, l.Problems, text)
		}
	})
}

// entryOf returns the entry that a record of a response policy zone makes, or "".
func entryOf(rr dns.RR, apex []byte) string {
	h := rr.Header()
	switch h.Rrtype {
	case dns.TypeSOA, dns.TypeNS, dns.TypeDNSKEY, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM,
		dns.TypeZONEMD, dns.TypeCDS, dns.TypeCDNSKEY:
		return ""
	}
	owner, below := strings.CutPrefix(h.Name, "*.")
	scope := Self
	if below {
		scope = Below
	}
	name, _, reason := appendName(nil, []byte(owner), &strict)
	if reason != "" || h.Class != dns.ClassINET || !isBelow(name, apex) {
		return ""
	}
	name = append(name[:len(name)-len(apex)], 0)
	network := ""
	if inReverse, ok := strings.CutSuffix(strings.ToLower(owner), ".rpz-ip.rpz.test."); ok && scope == Self {
		if network = networkOf(inReverse); network == "" {
			return ""
		}
	}
	if int(name[0])+2 == len(name) || ignoredTrigger(name) != "" && network == "" || address([]byte(strings.TrimSuffix(owner, ".rpz.test."))) {
		return ""
	}
	mark := ""
	if c, ok := rr.(*dns.CNAME); ok {
		target := c.Target
		if wire, err := AppendWireName(nil, target); err == nil && len(wire) > 1 {
			target = NameString(wire) + "."
		}
		switch {
		case target == "rpz-passthru.", scope == Self && target == NameString(name)+".":
			mark = exceptionMark
		case target == "." || target == "*." || target == "rpz-drop.":
		case target == "" || target == "rpz-tcp-only." || strings.HasPrefix(target, "rpz-") && dns.CountLabel(target) == 1:
			return ""
		}
	}
	if network != "" {
		return mark + network
	}
	return mark + Entry(bytes.Clone(name), 0, scope)
}

// networkOf returns the network that a trigger without its rpz-ip stands for, or "".
func networkOf(trigger string) string {
	length, inReverse, _ := strings.Cut(trigger, ".")
	words := strings.Split(inReverse, ".")
	slices.Reverse(words)
	text := strings.Join(words, ".")
	if i := slices.Index(words, "zz"); len(words) != 4 || i >= 0 {
		if i >= 0 {
			words[i] = ":"
		}
		text = strings.ReplaceAll(strings.Join(words, ":"), ":::", "::")
		if text == ":" {
			text = "::"
		}
	}
	bits, err := strconv.Atoi(length)
	addr, err2 := netip.ParseAddr(text)
	if err != nil || err2 != nil || strconv.Itoa(bits) != length || strings.ContainsAny(text, "%\\") || bits == 0 {
		return ""
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	if addr.Is4In6() && bits >= 96 {
		if prefix, err = addr.Unmap().Prefix(bits - 96); err != nil || bits == 96 {
			return ""
		}
	}
	return prefix.String()
}

// TestProseIsNoRecord: a comment may read like a record, "a" being a type.
func TestProseIsNoRecord(t *testing.T) {
	for text, want := range map[string]string{
		"# a list\ntrack.example\n":                                                 "domains",
		"# what a list\n# see soa record\ntrack.example\n":                          "domains",
		"! a list\n||track.example^\n":                                              "adblock",
		"# a list of hosts\n0.0.0.0 track.example\n":                                "hosts",
		"; a list\n$TTL 60\nrpz. SOA a. b. 1 2 3 4 5\ntrack.example.rpz. CNAME .\n": "rpz",
	} {
		file := filepath.Join(t.TempDir(), "list.txt")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := CheckFile(file, "", nil)
		if err != nil || l.Format != want {
			t.Errorf("%q: %+v, %v; want format %s", text, l, err, want)
		}
	}
}
