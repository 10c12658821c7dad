//go:build realtools

package integration

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/miekg/dns"

	"weir/audit"
)

// hostileLabels are what somebody asks for who wants to harm those that read about it.
var hostileLabels = []string{
	"=cmd()", "+1", "-1", "@SUM", "\t", "\r\n=1", "\n", "\x1b[2J\x1b]0;x\a", "\x00", "\xff\xfe", "\u202egnp", "\u200b", `"`, `","`, "'", `\`, `\x09`, "-",
	"(empty)", "a.b", ".", "a,b", "a b", ": {", "- x", "#", "$(id)", strings.Repeat("x", 63),
}

// hostileArchive has a query for each of them and one for no name at all, each
// answered with an alias and an address.
func hostileArchive(t *testing.T) archive {
	t.Helper()
	return archiveOf(t, len(hostileLabels)+1, func(i int) *audit.Event {
		e := &audit.Event{
			Time: time.Date(2026, 11, 1, 12, 0, i, 0, time.UTC).UnixNano(), Client: netip.MustParseAddr("192.0.2.7"), Transport: audit.TCP,
			Source: audit.SourceCache, EDE: -1, Duration: 1_500_000, Revision: 1,
		}
		if i == 0 {
			e.Rcode, e.EDE = 1, 0
			return e
		}
		label := hostileLabels[i-1]
		label = string(rune(len(label))) + label
		e.Name, e.Type, e.Class = []byte(label+"\x07example\x00"), 1, 1
		e.Aliases, e.Addrs = [][]byte{[]byte(label + "\x03cdn\x00")}, []netip.Addr{netip.MustParseAddr("198.51.100.1")}
		return e
	})
}

func (a archive) exported(t *testing.T, format string) string {
	t.Helper()
	file := filepath.Join(a.dir, "out."+format)
	if said, err := a.export(t, "--format", format, "-o", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return file
}

// BIND's reader of dnstap finds every query and answer, with the names as they
// were. It passes over messages without a question.
func TestRealExportsDnstap(t *testing.T) {
	needTools(t)
	a := hostileArchive(t)
	file := a.exported(t, "dnstap")

	text := must(t, a.dir, tool(t, "dnstap-read"), file)
	line := regexp.MustCompile(`^01-Nov-2026 [0-9:.]+ (CQ|CR) 192\.0\.2\.7:0 (?:->|<-) \? TCP [0-9]+b (.*)/IN/A$`)
	var lines []string
	for l := range strings.Lines(text) {
		if m := line.FindStringSubmatch(strings.TrimSuffix(l, "\n")); m != nil {
			lines = append(lines, m[1]+" "+m[2])
		}
	}
	if len(lines) != 2*len(hostileLabels) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), 2*len(hostileLabels), text)
	}
	for i, label := range hostileLabels {
		for j, kind := range []string{"CQ ", "CR "} {
			got, ok := strings.CutPrefix(lines[2*i+j], kind)
			wire := make([]byte, 300)
			n, err := dns.PackDomainName(dns.Fqdn(got), wire, 0, nil, false)
			want := strings.ToLower(string(rune(len(label)))+label) + "\x07example\x00"
			if !ok || err != nil || strings.ToLower(string(wire[:n])) != want {
				t.Errorf("%q became %q: %v", label, lines[2*i+j], err)
			}
		}
	}

	yaml := must(t, a.dir, tool(t, "dnstap-read"), "-y", file)
	for _, want := range []string{
		`(?m)^  type: CLIENT_QUERY$`, `(?m)^  type: CLIENT_RESPONSE$`, `(?m)^  query_address: "192.0.2.7"$`, `(?m)^    ANSWER: 2$`,
		`(?m)^      - '.* IN A 198.51.100.1'$`, `(?m)^      - '.* IN CNAME .*'$`,
	} {
		n := len(hostileLabels)
		if strings.Contains(want, "query_address") {
			n *= 2
		}
		if got := len(regexp.MustCompile(want).FindAllString(yaml, -1)); got != n {
			t.Errorf("%q %d times, want %d", want, got, n)
		}
	}
	for _, c := range text + yaml {
		if c != '\n' && c != '\t' && !unicode.IsPrint(c) {
			t.Errorf("%U is printed", c)
		}
	}
}

// Python's readers of JSON and CSV get every name back as the log has it.
func TestRealExportsPython(t *testing.T) {
	python := tool(t, "python3")
	a := hostileArchive(t)
	names := func(format, program string) string {
		return must(t, a.dir, python, "-c", program, a.exported(t, format))
	}
	want := ""
	for _, label := range hostileLabels {
		want += hex.EncodeToString([]byte(shownLabel(label)+".example")) + "\n"
	}
	const each = "import sys, json\nfor line in open(sys.argv[1], encoding='utf-8'):\n v = json.loads(line)\n n = %s\n if n: print(n.encode().hex())\n"
	for format, program := range map[string]string{
		"jsonl": fmt.Sprintf(each, "v.get('name')"),
		"ocsf":  fmt.Sprintf(each, "v.get('query', {}).get('hostname')"),
		"ecs":   fmt.Sprintf(each, "v['dns'].get('question', {}).get('name')"),
		"cof":   fmt.Sprintf(each, "v['rrtype'] == 'CNAME' and v['rrname']"),
		"csv": "import sys, csv\nfor r in csv.DictReader(open(sys.argv[1], encoding='utf-8', newline='')):\n n = r['name']\n" +
			" n = n[1:] if n[:1] == chr(39) else n\n if n: print(n.encode().hex())\n",
		"zeek": "import sys, re\nfor l in open(sys.argv[1], encoding='utf-8', newline='\\n'):\n if l[0] == '#': continue\n n = l.split('\\t')[9]\n" +
			" if n != '-': print(re.sub(r'\\\\x([0-9a-f]{2})', lambda m: chr(int(m[1], 16)), n).encode().hex())\n",
	} {
		if got := names(format, program); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", format, got, want)
		}
	}
}

// shownLabel is a label in presentation form.
func shownLabel(label string) string {
	out := ""
	for _, c := range []byte(label) {
		if c < 0x21 || c > 0x7e || c == '.' || c == '\\' {
			out += fmt.Sprintf(`\%03d`, c)
		} else {
			out += string(rune(c))
		}
	}
	return out
}
