package resolver

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"weir/resolver/wire"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestParseRecordsNamesEachMistake by its place in the list.
func TestParseRecordsNamesEachMistake(t *testing.T) {
	z, err := ParseRecords("lab.example", []string{
		"www 300 A 192.0.2.10",
		"www 300 A nonsense",
		"@ NS ns",
		"www.example.net. A 192.0.2.1",
		"two 60 A 192.0.2.1\nthree 60 A 192.0.2.2",
		"quoted 60 TXT \"a;b\" ; and a comment",
	})
	var got []int
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		var r *RecordError
		if !errors.As(e, &r) || r.Unwrap() == nil {
			t.Fatalf("%v is no RecordError", e)
		}
		got = append(got, r.Record)
		if strings.Contains(r.Error(), "dns:") || strings.Contains(r.Error(), "line:") {
			t.Errorf("error %q speaks of the parser", r)
		}
	}
	if !slices.Equal(got, []int{1, 3, 4}) {
		t.Errorf("mistakes in %v, want 1, 3 and 4", got)
	}
	var kept []string
	for _, rr := range z.Records {
		kept = append(kept, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	want := []string{"www.lab.example. 300 IN A 192.0.2.10", "lab.example. 3600 IN NS ns.lab.example.", `quoted.lab.example. 60 IN TXT "a;b"`}
	if !slices.Equal(kept, want) {
		t.Errorf("kept %q, want %q", kept, want)
	}
}

// TestZoneFile: the golden file shows what a zone file's names answer.
func TestZoneFile(t *testing.T) {
	z, err := ParseZoneFile("lab.example", filepath.Join("testdata", "lab.zone"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLocal(LocalConfig{Zones: []Zone{z}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	seen := map[string]bool{}
	for _, rr := range append(z.Records, rr("nowhere.lab.example. 1 TXT x"), rr("any.wild.lab.example. 1 A 192.0.2.1")) {
		question := rr.Header().Name + " " + dns.Type(rr.Header().Rrtype).String()
		if !seen[question] {
			out.WriteString(question + "\n\t" + l.says(t, question) + "\n")
		}
		seen[question] = true
	}
	golden := filepath.Join("testdata", "lab.golden")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got:\n%s\nwant:\n%s", &out, want)
	}
}

// TestZoneFileErrors: each mistake is told with file and line, up to the first
// that leaves no way on.
func TestZoneFileErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.zone")
	for _, c := range []struct{ text, want, hint string }{
		{"www A 192.0.2.1\nwww A nonsense\n", `FILE:2:14: bad A A: "nonsense"`, ""},
		{"www A ( 192.0.2.1\n", `FILE:1:17: garbage after rdata: "unbalanced brace"`, `a "(" without its ")", or the other way round`},
		{"host\n", `FILE:1:4: not a TTL: "host"`, ""},
		{"www nonsense\n", `FILE:1:12: not a TTL: "nonsense"`, ""},
		{
			"www A 192.0.2.1\nwww.example. A 192.0.2.1\n\n; so\nwww TXT (\n x\n y )\nother. A 192.0.2.2\nx DNAME y", `FILE:2: www.example. 3600 IN A 192.0.2.1: is not in the zone
zone lab.example.: FILE:8: other. 3600 IN A 192.0.2.2: is not in the zone
zone lab.example.: FILE:9: x.lab.example. 3600 IN DNAME y.lab.example.: DNAME is not served from a local zone: write the CNAMEs`,
			"a name without a dot at its end is relative to the zone, or to $ORIGIN",
		},
		{"$ORIGIN example.\nwww A 192.0.2.1", "FILE:2: www.example. 3600 IN A 192.0.2.1: is not in the zone", "a name without a dot at its end is relative to the zone, or to $ORIGIN"},
		{"$GENERATE 1-3 h$.other. A 192.0.2.$\n", "FILE:1: h1.other. 3600 IN A 192.0.2.1: is not in the zone", "a name without a dot at its end is relative to the zone, or to $ORIGIN"},
		{"$GENERATE 0-65536 h$ A 192.0.2.1\n", `FILE:1:18: bad range in $GENERATE range: "0-65536"`, "from a number to one that is not lower, in 65536 steps at most"},
		{"$INCLUDE /etc/passwd\n", `FILE:1: "/etc/passwd" is outside of the zone file's folder`, includeHint},
		{"www A 192.0.2.1\n$INCLUDE ../other.zone\n", `FILE:2: "../other.zone" is outside of the zone file's folder`, includeHint},
		{"$INCLUDE sub/../../other.zone\n", `FILE:1: "../other.zone" is outside of the zone file's folder`, includeHint},
		{"$INCLUDE none.zone\n", `FILE:1: there is no file "DIR/none.zone" to include`, includeHint},
		{"$INCLUDE link.zone\n", `FILE:1: "link.zone" is outside of the zone file's folder, or cannot be read: statat link.zone: path escapes from parent`, includeHint},
		{"$INCLUDE pipe\n", `FILE:1: "pipe" is no ordinary file`, ""},
		{"$INCLUDE x.zone\n", `FILE:1:15: too deeply nested $INCLUDE: "x.zone"`, "does a file include itself?"},
		{strings.Repeat("$INCLUDE good.zone\n", 101), `FILE:101: more than 100 files are included`, ""},
		{"\n$INCLUDE bad.zone\n", `DIR/bad.zone:2: elsewhere. 3600 IN A 192.0.2.9: is not in the zone`, "a name without a dot at its end is relative to the zone, or to $ORIGIN"},
		{"\n$INCLUDE sub/worse.zone\n", `DIR/sub/worse.zone:3:8: bad A A: "no"`, ""},
	} {
		write := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		write("x.zone", c.text)
		write("good.zone", "www A 192.0.2.1\n")
		write("bad.zone", "\nelsewhere. A 192.0.2.9")
		write("sub/worse.zone", "\n\nwww A no")
		_ = os.Symlink("/etc/passwd", filepath.Join(dir, "link.zone"))
		_ = syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600)
		_, err := ParseZoneFile("lab.example", file)
		var e *ZoneError
		if !errors.As(err, &e) {
			t.Fatalf("%q: %v", c.text, err)
		}
		got, _, _ := strings.Cut(strings.ReplaceAll(strings.ReplaceAll(err.Error(), file, "FILE"), dir, "DIR"), "\nzone lab.example.: FILE:1: h2.")
		if got != "zone lab.example.: "+c.want || e.Hint != c.hint {
			t.Errorf("%q:\ngot  %s (%s)\nwant %s (%s)", c.text, got, e.Hint, c.want, c.hint)
		}
	}
	if _, err := ParseZoneFile("lab.example", filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := ParseZoneFile("lab.example", filepath.Join(dir, "pipe")); err == nil || !strings.Contains(err.Error(), "is no ordinary file") {
		t.Errorf("a pipe: %v", err)
	}
	if err := os.WriteFile(file, []byte("; nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseZoneFile("lab.example", file); err == nil || !strings.HasSuffix(err.Error(), "x.zone holds no record") {
		t.Errorf("an empty file: %v", err)
	}
}

// TestZoneFileIsBounded: a line can make many records, and many lines more.
func TestZoneFileIsBounded(t *testing.T) {
	text := strings.Repeat("$GENERATE 0-65535 h$ A 192.0.2.1\n", 5)
	z, err := readZone(Zone{Name: "lab.example."}, strings.NewReader(text), "x.zone", nil)
	if err == nil || err.Error() != "zone lab.example.: x.zone:5: more than 262144 records" || len(z.Records) != maxZoneRecords {
		t.Errorf("%d records: %v", len(z.Records), err)
	}
	// Records that fit into no message are a mistake, and not an answer that is always cut.
	var big strings.Builder
	for i := range 300 {
		fmt.Fprintf(&big, "www TXT %q\n", fmt.Sprint(i)+strings.Repeat("x", 240))
	}
	z, err = readZone(Zone{Name: "lab.example."}, strings.NewReader(big.String()), "x.zone", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewLocal(LocalConfig{Zones: []Zone{z}}); err == nil || err.Error() != "zone lab.example.: x.zone:1: www.lab.example. has more TXT records than fit into a message" {
		t.Errorf("records without end: %v", err)
	}
}

// TestDefaultTTL: $TTL holds for records that give none, generated ones too, in
// its file and those that it includes.
func TestDefaultTTL(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"x.zone": "a A 192.0.2.1\no 40 A 192.0.2.1\np A 192.0.2.1\n$TTL 1m30s ; so\nb A 192.0.2.1\n$GENERATE 1-1 c$ A 192.0.2.1\n$GENERATE 1-1 d$ 7 A 192.0.2.1\n$GENERATE 1-1 e$ IN 2h A 192.0.2.1\n" +
			"$GENERATE 1-1 7$ IN TXT 1h\n$INCLUDE y.zone\nz A 192.0.2.1\n",
		"y.zone": "$GENERATE 1-1 f$ CNAME a\n$TTL 5\n$GENERATE 1-1 g$ CNAME a\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	z, err := ParseZoneFile("lab.example", filepath.Join(dir, "x.zone"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, rr := range z.Records {
		got = append(got, fmt.Sprint(strings.TrimSuffix(rr.Header().Name, ".lab.example."), " ", rr.Header().Ttl))
	}
	if want := "a 3600, o 40, p 40, b 90, c1 90, d1 7, e1 7200, 71 90, f1 90, g1 5, z 90"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
}

// TestZoneIncludes: a zone may consist of several files, each with an origin of
// its own, and a mistake between its records is told with their place.
func TestZoneIncludes(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"lab.zone":       "$TTL 60\n@ SOA ns host 7 1 2 3 20\n$INCLUDE sub/hosts.zone\nwww A 192.0.2.1\n$INCLUDE sub/hosts.zone west\n",
		"sub/hosts.zone": "a A 192.0.2.2\n$INCLUDE sub/more.zone\n",
		"sub/more.zone":  "b A 192.0.2.3\nb CNAME a", // it does not end its line
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// An included file's own folder is where its relative paths start.
	if _, err := ParseZoneFile("lab.example", filepath.Join(dir, "lab.zone")); err == nil || !strings.HasSuffix(err.Error(), `sub/hosts.zone:2: there is no file "`+filepath.Join(dir, "sub/sub/more.zone")+`" to include`) {
		t.Errorf("relative to the wrong folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub/hosts.zone"), []byte("a A 192.0.2.2\n$INCLUDE more.zone\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	z, err := ParseZoneFile("lab.example", filepath.Join(dir, "lab.zone"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, rr := range z.Records {
		names = append(names, strings.TrimPrefix(z.places[i], dir+"/")+" "+rr.Header().Name)
	}
	want := []string{
		"lab.zone:2 lab.example.", "sub/hosts.zone:1 a.lab.example.", "sub/more.zone:1 b.lab.example.", "sub/more.zone:2 b.lab.example.",
		"lab.zone:4 www.lab.example.", "sub/hosts.zone:1 a.west.lab.example.", "sub/more.zone:1 b.west.lab.example.", "sub/more.zone:2 b.west.lab.example.",
	}
	if !slices.Equal(names, want) {
		t.Errorf("records %q, want %q", names, want)
	}
	if len(z.Files) != 5 || z.Files[0] != filepath.Join(dir, "lab.zone") || z.Files[2] != filepath.Join(dir, "sub/more.zone") {
		t.Errorf("files %q", z.Files)
	}
	_, err = NewLocal(LocalConfig{Zones: []Zone{z}})
	if want := "zone lab.example.: " + dir + "/sub/more.zone:2: b.lab.example. has a CNAME and other records (RFC 1034 §3.6.2)"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// FuzzZoneFile: reading never panics, takes what the parser of miekg/dns takes
// by itself, record for record, knows the line of each, and a zone that loads
// answers for each of its records.
func FuzzZoneFile(f *testing.F) {
	if text, err := os.ReadFile(filepath.Join("testdata", "lab.zone")); err == nil {
		f.Add(string(text))
	}
	for _, text := range []string{"@ A 192.0.2.1", "a CNAME a", "* A 192.0.2.1\nx.y TXT z", `a TYPE65280 \# 3 010203`, `\046 60 NULL \# 0`, "a APL", "a HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToUpper(text), "GENERATE") {
			return // a line can make any number of records, and should
		}
		z, err := readZone(Zone{Name: "lab.example."}, strings.NewReader(text), "fuzz", nil)
		p := dns.NewZoneParser(strings.NewReader(text), "lab.example.", "fuzz")
		p.SetDefaultTTL(defaultZoneTTL)
		last := 0
		for i, rr := range z.Records {
			want, ok := p.Next()
			if !ok || rr.String() != want.String() {
				if errors.Is(err, errOutside) || strings.Contains(fmt.Sprint(err), ": ") {
					break // records that do not fit are left out, and told
				}
				t.Fatalf("record %d is %v, want %v", i, rr, want)
			}
			line, err := strconv.Atoi(strings.TrimPrefix(z.places[i], "fuzz:"))
			if err != nil || line < max(last, 1) || line > 1+strings.Count(text, "\n") {
				t.Fatalf("record %d is at %s, after line %d", i, z.places[i], last)
			}
			last = line
		}
		if _, more := p.Next(); err == nil && (more || p.Err() != nil) {
			t.Fatalf("%d records and no error; the parser has more, or says %v", len(z.Records), p.Err())
		}
		if err != nil || len(z.Records) > 2000 {
			return
		}
		l, err := NewLocal(LocalConfig{Zones: []Zone{z}, Special: true, Private: true})
		if err != nil {
			return
		}
		for _, rr := range z.Records {
			h := rr.Header()
			var q wire.Query
			msg, err := (&dns.Msg{Question: []dns.Question{{Name: h.Name, Qtype: h.Rrtype, Qclass: dns.ClassINET}}}).Pack()
			if err != nil {
				t.Fatal(err)
			}
			if err := q.Parse(msg); err != nil {
				t.Fatal(err)
			}
			rep, _ := l.reply(&q)
			if rep == nil {
				t.Fatalf("%v is not answered", rr)
			}
			b := rep.Append(nil, msg, &q, wire.Finish{Limit: wire.MaxTCP})
			m := unpack(t, b)
			if !m.Truncated && !slices.ContainsFunc(m.Answer, func(a dns.RR) bool { return bytes.Equal(data(t, a), data(t, rr)) && a.Header().Rrtype == h.Rrtype }) {
				t.Fatalf("%v is not in the answer:\n%v", rr, m)
			}
		}
	})
}

// data returns a record's data, names in lower case.
func data(t *testing.T, rr dns.RR) []byte {
	b, err := rdata(rr)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ToLower(b)
}
