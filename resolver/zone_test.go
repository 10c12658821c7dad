package resolver

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	l, err := NewLocal([]Zone{z}, false, false, nil)
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

func TestZoneFileErrors(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ text, want string }{
		{"www A 192.0.2.1\nwww A nonsense\n", `zone lab.example.: FILE:2:14: bad A A: "nonsense"`},
		{"$INCLUDE /etc/passwd\n", "$INCLUDE directive not allowed"},
		{"; nothing\n", "zone lab.example.: FILE holds no record"},
		{"www A ( 192.0.2.1\n", "unbalanced brace"},
	} {
		file := filepath.Join(dir, "x.zone")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseZoneFile("lab.example", file); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), file, "FILE"), c.want) {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		}
	}
	if _, err := ParseZoneFile("lab.example", filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// FuzzZoneFile: reading never panics, and a zone that loads answers for each
// of its records.
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
		z, err := readZone(Zone{Name: "lab.example."}, strings.NewReader(text), "fuzz")
		if err != nil || len(z.Records) > 2000 {
			return
		}
		l, err := NewLocal([]Zone{z}, true, true, nil)
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
			rep := l.reply(&q)
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
