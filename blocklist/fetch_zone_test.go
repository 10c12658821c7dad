package blocklist

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

// takeAll gives a zone the records of a transfer, and returns the copy.
func takeAll(z *zoneText, records []dns.RR) (string, error) {
	for i, rr := range records {
		done, err := z.take(rr)
		if err != nil {
			return "", err
		}
		if done != (i == len(records)-1) {
			return "", fmt.Errorf("done %v after %d records of %d", done, i+1, len(records))
		}
	}
	var out bytes.Buffer
	digest, size, err := z.write(context.Background(), &out)
	if err == nil && (digest != sha256.Sum256(out.Bytes()) || size != int64(out.Len())) {
		err = fmt.Errorf("%d octets of digest %x, which are not what was written", size, digest)
	}
	return out.String(), err
}

// A zone that comes by increments is the zone that comes whole, whichever way it went.
func TestIncrementsAgreeWithTheWhole(t *testing.T) {
	dir := t.TempDir()
	store := openTestStore(t, dir)
	rapid.Check(t, func(rt *rapid.T) {
		owners := []string{"a.x", "*.a.x", "b.x", "zz.x", "$TTL.x", "A.X"}
		record := rapid.Custom(func(rt *rapid.T) string {
			return fmt.Sprintf("%s.rpz.test. %d IN CNAME %s", rapid.SampledFrom(owners).Draw(rt, "owner"), rapid.IntRange(1, 2).Draw(rt, "TTL"),
				rapid.SampledFrom([]string{".", "rpz-drop."}).Draw(rt, "action"))
		})
		zone := func() map[string]bool {
			all := map[string]bool{}
			for _, r := range rapid.SliceOfN(record, 0, 12).Draw(rt, "zone") {
				all[strings.Replace(r, "A.X", "a.x", 1)] = true
			}
			return all
		}
		whole := func(serial uint32, zone map[string]bool) string {
			z := &zoneText{apex: "rpz.test.", limit: 1 << 20}
			z.lines.most = rapid.IntRange(1, 200).Draw(rt, "memory")
			z.lines.open = func() (*draft, error) { return store.draft("list") }
			defer z.lines.discard()
			records := []string{soa(serial)}
			for r := range zone {
				records = append(records, r)
			}
			for range rapid.IntRange(0, 3).Draw(rt, "again") {
				records = append(records, records[1:]...)
			}
			text, err := takeAll(z, rrs(append(records, soa(serial))...))
			if err != nil {
				rt.Fatal(err)
			}
			return text
		}
		versions := []map[string]bool{zone()}
		first := whole(1, versions[0])
		changes := []string{soa(1)}
		for range rapid.IntRange(1, 4).Draw(rt, "versions") {
			old, next := versions[len(versions)-1], zone()
			if len(versions) > 1 {
				changes = append(changes, soa(uint32(len(versions))))
			}
			for r := range old {
				if !next[r] {
					changes = append(changes, r)
				}
			}
			versions = append(versions, next)
			changes = append(changes, soa(uint32(len(versions))))
			for r := range next {
				if !old[r] {
					changes = append(changes, r)
				}
			}
		}
		last := uint32(len(versions))
		file := filepath.Join(dir, "since")
		must(rt, os.WriteFile(file, []byte(first), 0o600))
		z := &zoneText{
			apex: "rpz.test.", limit: 1 << 20, serial: 1,
			since: &Copy{File: file, Digest: sha256.Sum256([]byte(first))},
		}
		got, err := takeAll(z, rrs(append(append([]string{soa(last)}, changes...), soa(last))...))
		if err != nil {
			rt.Fatal(err)
		}
		if want := whole(last, versions[last-1]); got != want {
			rt.Fatalf("increments:\n%s\nthe whole:\n%s\nbefore:\n%s", got, want, first)
		}
		rest := strings.Split(strings.TrimSuffix(got, "\n"), "\n")[1:]
		if !slices.IsSorted(rest) || len(slices.Compact(rest)) != len(versions[last-1]) {
			rt.Fatalf("not in order, each once:\n%s", got)
		}
	})
}

func TestLineSorter(t *testing.T) {
	store := openTestStore(t, t.TempDir())
	for _, most := range []int{1, 100, 5000, 1 << 20} {
		s := &lineSorter{most: most, open: func() (*draft, error) { return store.draft("list") }}
		var want []string
		for i := range 2000 {
			line := fmt.Sprintf("%x", sha256.Sum256([]byte{byte(i), byte(i >> 8 % 5)}))[:2+i%20]
			if i == 1000 {
				line = strings.Repeat("long", 1<<16)
			}
			want = append(want, line)
			must(t, s.add(line))
		}
		slices.Sort(want)
		want = slices.Compact(want)
		var got []string
		must(t, s.each(context.Background(), func(line []byte) error {
			got = append(got, string(line))
			return nil
		}))
		if !slices.Equal(got, want) {
			t.Errorf("%d octets in memory: %d lines, want %d", most, len(got), len(want))
		}
		if (s.file != nil) != (most < 1<<20) {
			t.Errorf("%d octets in memory: file %v", most, s.file)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if most == 1 {
			for i := range 5000 {
				must(t, s.add(fmt.Sprint(i)))
			}
			if err := s.each(ctx, func([]byte) error { return nil }); err != context.Canceled {
				t.Errorf("after its end: %v", err)
			}
		}
		s.discard()
	}
	if left := filesBelow(t, store.dir); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}

// Lines that could be taken for something else are not.
func TestZoneLine(t *testing.T) {
	for record, want := range map[string]string{
		"$ORIGIN.rpz.test. 60 IN CNAME .":               "\\036ORIGIN.rpz.test.\t60\tIN\tCNAME\t.",
		`a\;b\010c.rpz.test. 60 IN TXT "x;\010\"y" "z"`: "a\\;b\\010c.rpz.test.\t60\tIN\tTXT\t\"x;\\010\\\"y\" \"z\"",
		"a.rpz.test. 60 IN HTTPS 1 . alpn=h2":           "a.rpz.test.\t60\tCLASS1\tTYPE65\t\\# 10 00010000010003026832",
		`a.rpz.test. 60 IN NULL \# 3 0a3b0a`:            "a.rpz.test.\t60\tCLASS1\tTYPE10\t\\# 3 0a3b0a",
		`a.rpz.test. 60 IN TYPE65280 \# 0`:              "a.rpz.test.\t60\tCLASS1\tTYPE65280\t\\# 0 ",
		"a.rpz.test. 60 IN A 192.0.2.1":                 "a.rpz.test.\t60\tIN\tA\t192.0.2.1",
	} {
		rr, err := dns.NewRR(record)
		must(t, err)
		if got, err := zoneLine(rr); got != want || err != nil {
			t.Errorf("%s:\n%q, %v; want\n%q", record, got, err, want)
		}
	}
}

// unknownTypes makes the types that are written by their numbers one that miekg/dns does not know: of those that it
// knows it checks the data even so.
func unknownTypes(text string) string {
	return regexp.MustCompile(`\tCLASS1\tTYPE[0-9]+\t`).ReplaceAllString(text, "\tCLASS1\tTYPE65280\t")
}

func wireOf(t *testing.T, rr dns.RR) []byte {
	t.Helper()
	wire := make([]byte, 1<<17)
	n, err := dns.PackRR(rr, wire, 0, nil, false)
	must(t, err)
	return wire[:n]
}

// FuzzZoneLine holds that a record of whatever octets becomes one line, of which miekg/dns makes the same record again,
// or is refused.
func FuzzZoneLine(f *testing.F) {
	for _, text := range []string{
		soa(1), recA, recC, `a.rpz.test. 60 IN TXT "x" "y"`, "a.rpz.test. 60 IN HTTPS 1 . alpn=h2", `a.rpz.test. 1 IN NULL \# 2 0a3b`,
		`a.rpz.test. 60 IN TYPE65280 \# 1 00`, "a.rpz.test. 60 IN MX 1 b.", "a.rpz.test. 60 IN NSEC3 1 1 1 ab 0p9mhaveqvm6t7vbl5lop2u3t2rp3tom A TXT",
		"a.rpz.test. 60 IN RRSIG A 8 2 60 20240101000000 20230101000000 1 test. AAAA", "a. 1 IN DS 1 8 2 00", "a. 1 IN ZONEMD 1 1 1 00",
	} {
		wire := make([]byte, 1<<10)
		n, err := dns.PackRR(rrs(text)[0], wire, 0, nil, false)
		must(f, err)
		f.Add(wire[:n])
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		rr, _, err := dns.UnpackRR(wire, 0)
		if err != nil {
			return
		}
		z := &zoneText{apex: "."}
		if _, err := z.check(rr); err != nil {
			return
		}
		line, err := zoneLine(rr)
		if err != nil {
			return
		}
		if strings.ContainsAny(line, "\n\r") || line[0] == ';' || line[0] == '$' || line[0] == ' ' || line[0] == '\t' {
			t.Fatalf("%q is no line", line)
		}
		parser := dns.NewZoneParser(strings.NewReader(unknownTypes(line)+"\n"), ".", "")
		again, ok := parser.Next()
		if !ok {
			t.Fatalf("%q is not read: %v", line, parser.Err())
		}
		want := wireOf(t, rr)
		if unknownTypes(line) != line {
			generic := new(dns.RFC3597)
			must(t, generic.ToRFC3597(rr))
			generic.Hdr.Rrtype = 65280
			want = wireOf(t, generic)
		}
		if got := wireOf(t, again); !bytes.Equal(got, want) {
			t.Fatalf("%q is\n%x, want\n%x", line, got, want)
		}
		if _, more := parser.Next(); more {
			t.Fatalf("%q is more than one record", line)
		}
	})
}

// scriptedConn gives what a server says, with the id of the query at its messages' beginnings.
type scriptedConn struct {
	net.Conn
	says []byte
}

func (c *scriptedConn) Write(query []byte) (int, error) {
	for at := 0; at+4 < len(c.says); at += 2 + int(binary.BigEndian.Uint16(c.says[at:])) {
		copy(c.says[at+2:], query[2:4])
	}
	return len(query), nil
}

func (c *scriptedConn) Read(p []byte) (int, error) {
	if len(c.says) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.says)
	c.says = c.says[n:]
	return n, nil
}

func (c *scriptedConn) Close() error                     { return nil }
func (c *scriptedConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptedConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzTransfer holds: whatever a primary says, there is a copy that is a zone file of the zone, or an error.
func FuzzTransfer(f *testing.F) {
	says := func(messages ...[]string) []byte {
		var all []byte
		for _, records := range messages {
			m := new(dns.Msg).SetAxfr("rpz.test.")
			m.Response, m.Answer = true, rrs(records...)
			wire, err := m.Pack()
			must(f, err)
			all = append(binary.BigEndian.AppendUint16(all, uint16(len(wire))), wire...)
		}
		return all
	}
	f.Add(says([]string{soa(2), recA, soa(2)}), false)
	f.Add(says([]string{soa(2)}, []string{recA}, []string{soa(2)}), false)
	f.Add(says([]string{soa(2), soa(1), recA, soa(2), recB, soa(2)}), true)
	f.Add(says([]string{soa(1)}), true)
	base := lines(soa(1), recA)
	file := filepath.Join(f.TempDir(), "since")
	must(f, os.WriteFile(file, []byte(base), 0o600))
	f.Fuzz(func(t *testing.T, says []byte, increments bool) {
		r, err := parseRemote(&SourceConfig{From: "axfr://192.0.2.53/rpz.test", MaxSize: 1 << 16})
		must(t, err)
		tr := &transfer{ctx: context.Background(), remote: r, dial: func(context.Context, string, string) (net.Conn, error) {
			return &scriptedConn{says: bytes.Clone(says)}, nil
		}}
		z := &zoneText{apex: r.zone, limit: 1 << 18}
		if increments {
			tr.since, tr.serial = &Copy{File: file, Digest: sha256.Sum256([]byte(base))}, 1
			z.since, z.serial = tr.since, 1
		}
		if err := tr.run(z.take); err != nil || z.same {
			return
		}
		var out bytes.Buffer
		if _, _, err := z.write(context.Background(), &out); err != nil {
			return
		}
		parser := dns.NewZoneParser(strings.NewReader(unknownTypes(out.String())), "", "")
		n := 0
		for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
			if n++; (n == 1) != (rr.Header().Rrtype == dns.TypeSOA) || !dns.IsSubDomain("rpz.test.", rr.Header().Name) || rr.Header().Class != dns.ClassINET {
				t.Fatalf("record %d of the copy is %v", n, rr)
			}
		}
		if parser.Err() != nil || n == 0 {
			t.Fatalf("%d records, %v", n, parser.Err())
		}
	})
}
