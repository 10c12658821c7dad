package main

import (
	"bytes"
	"context"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/audit"
)

// bundle returns proofs of records that a log has made, and the log's key.
func bundle(t testing.TB) (proofs []byte, key string) {
	t.Helper()
	dir := t.TempDir()
	for run := range 2 {
		l, err := audit.Open(audit.Config{Dir: dir, Now: func() time.Time { return time.Unix(1_700_000_000, 5) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		reason := l.Intern(audit.Reason{Group: "runners", Policy: "strict", Rule: "2", Category: "ads", List: "lists/ads.txt"})
		for i := range 20 + run {
			l.Record(&audit.Event{
				Time: int64(1_700_000_000_000_000_000 + i), Client: netip.MustParseAddr("192.0.2.7"), Transport: audit.UDP,
				Name: []byte("\x03www\x05a\"b.\x1b\x07example\x00"), Type: 28, Class: 1, Blocked: i%2 == 1, Reason: reason, On: audit.OnName,
				EntryScope: 3, Source: audit.SourceCache, EDE: 15, Port: 4242, ID: 7, QuerySize: 40, Bits: audit.QueryRD | audit.QueryEDNS,
				UDPSize: 1232, Aliases: [][]byte{[]byte("\x04edge\x07example\x00")}, Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::1")},
				Upstream: l.Label("tls://192.0.2.53"), Duration: 1500, Revision: 3,
			})
			if err := l.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
		l.Change("reload \x1b[2J")
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	r, err := audit.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	if n, err := r.Prove(t.Context(), audit.Query{}, &out); err != nil || n != 43 {
		t.Fatalf("%d records, %v", n, err)
	}
	keys, err := audit.PublicKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), keys[0].String()
}

func TestProvesWhatTheLogSays(t *testing.T) {
	proofs, key := bundle(t)
	var out, talk bytes.Buffer
	if err := verify(bytes.NewReader(proofs), &out, &talk, key); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := `{"seq":2,"kind":"query","time":"2023-11-14T22:13:20.000000001Z","client":"192.0.2.7","transport":"udp",` +
		`"name":"www.a\"b\\046\\027.example.","type":28,"class":1,"flags":1,"group":"runners","policy":"strict","rule":"2",` +
		`"category":"ads","list":"lists/ads.txt","on":"name","entry_scope":3,"source":"cache","ede_plus_1":16,` +
		`"alias":"edge.example.","address":"2001:db8::1","upstream":"tls://192.0.2.53","duration_us":2,"revision":3,` +
		`"port":4242,"id":7,"query_octets":40,"bits":3,"udp_size":1232}`
	if len(lines) != 43 || lines[1] != want {
		t.Errorf("%d lines, the second is\n%s\nwant\n%s", len(lines), lines[1], want)
	}
	if !strings.HasPrefix(talk.String(), "43 records proven by this checkpoint:\nweir-audit-") {
		t.Errorf("says %q", talk.String())
	}
	if err := verify(bytes.NewReader(proofs), &out, &talk, strings.Replace(key, "+A", "+B", 1)); err == nil {
		t.Error("another key proves it as well")
	}
	if err := verify(strings.NewReader(""), &out, &talk, key); err == nil {
		t.Error("nothing is proven by nothing")
	}
}

// TestProvesWhatVersionsBeforeSay holds that a bundle from before rows were grouped is proven as it was: the first line of
// the file is the key, the rest the bundle.
func TestProvesWhatVersionsBeforeSay(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("testdata", "bundle-rows.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	key, proofs, _ := strings.Cut(string(file), "\n")
	var out, talk bytes.Buffer
	if err := verify(strings.NewReader(proofs), &out, &talk, key); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), `"name":"www.a\"b\\046\\027.example."`); n != 11 {
		t.Errorf("%d queries are proven, want 11:\n%s", n, out.String())
	}
}

// FuzzVerify holds that no bundle proves a record that the log has not got.
func FuzzVerify(f *testing.F) {
	proofs, key := bundle(f)
	var all bytes.Buffer
	if err := verify(bytes.NewReader(proofs), &all, new(bytes.Buffer), key); err != nil {
		f.Fatal(err)
	}
	held := map[string]bool{}
	for line := range strings.Lines(all.String()) {
		held[line] = true
	}
	f.Add(proofs)
	lines := bytes.SplitAfter(proofs, []byte("\n"))
	f.Add(bytes.Join([][]byte{lines[0], lines[2], lines[1]}, nil))
	for i := 0; i < len(proofs); i += 61 { // one octet changed, here and there
		changed := bytes.Clone(proofs)
		changed[i] ^= 1
		f.Add(changed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		_ = verify(bytes.NewReader(data), &out, new(bytes.Buffer), key)
		for line := range strings.Lines(out.String()) {
			if !held[line] {
				t.Fatalf("proven, and not in the log: %s", line)
			}
		}
	})
}

// TestReliesOnNothing holds that the verifier is short and imports nothing but the standard library.
func TestReliesOnNothing(t *testing.T) {
	text, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n > 300 {
		t.Errorf("it has %d lines, want 300 at most", n)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "main.go", text, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range file.Imports {
		if path := strings.Trim(i.Path.Value, `"`); strings.Contains(path, ".") || strings.HasPrefix(path, "weir") {
			t.Errorf("it imports %s", path)
		}
	}
}
