package integration

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The servers that scripts start are servers: other programs understand them.

func TestWebServerServes(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "ads.txt")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("track.example\n")
	s, err := newWebServer(`
		# behaviours
		file /ads.txt ads.txt
		gzip /ads ads.txt
		gzip /ads.gz ads.txt
		html /portal
		slow /slow
		truncated /cut ads.txt
		status /busy 503
		redirect /old /ads.txt`, "", func(f string) string { return filepath.Join(dir, f) })
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	get := func(path string, header ...string) (*http.Response, string, error) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			q.Header.Set(header[i], header[i+1])
		}
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		if path == "/slow" {
			var one [1]byte
			_, err := a.Body.Read(one[:])
			return a, string(one[:]), err
		}
		body, err := io.ReadAll(a.Body)
		return a, string(body), err
	}
	first, _, _ := get("/ads.txt")
	for _, c := range []struct {
		path, tag string
		status    int
		body      string
	}{
		{"/ads.txt", "", 200, "track.example\n"},
		{"/ads.txt", first.Header.Get("ETag"), 304, ""},
		{"/ads", "", 200, "track.example\n"},
		{"/ads.gz", "", 200, string(gzipped([]byte("track.example\n")))},
		{"/old", "", 200, "track.example\n"},
		{"/busy", "", 503, "Service Unavailable\n"},
		{"/nothing", "", 404, "404 page not found\n"},
		{"/slow", "", 200, "#"},
	} {
		var header []string
		if c.tag != "" {
			header = []string{"If-None-Match", c.tag}
		}
		a, body, err := get(c.path, header...)
		if err != nil || a.StatusCode != c.status || body != c.body {
			t.Errorf("%s: %v, status %d, %q", c.path, err, a.StatusCode, body)
		}
	}
	if _, body, err := get("/cut"); !errors.Is(err, io.ErrUnexpectedEOF) || body != "track.example\n" {
		t.Errorf("truncated: %v, %q", err, body)
	}
	if a, body, _ := get("/portal"); !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || !strings.HasPrefix(body, "<!DOCTYPE html>") {
		t.Errorf("html: %q", body)
	}
	write("shop.example\n")
	if a, body, err := get("/ads.txt", "If-None-Match", first.Header.Get("ETag")); err != nil || a.StatusCode != 200 || body != "shop.example\n" {
		t.Errorf("new version: %v, status %d, %q", err, a.StatusCode, body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count["/ads.txt"] != 5 || s.same["/ads.txt"] != 1 {
		t.Errorf("counted %v, of them 304 %v", s.count, s.same)
	}
}

func TestPrimaryTransfers(t *testing.T) {
	const secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ=="
	dir := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "rpz"), []byte("@ SOA ns host "+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := newPrimary("zone rpz.example rpz\ntsig key hmac-sha256 "+secret, "", func(f string) string { return filepath.Join(dir, f) })
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	// transfer returns the owners and serials of the answer.
	transfer := func(q *dns.Msg, secret string) (string, error) {
		q.SetTsig("key.", dns.HmacSHA256, 300, time.Now().Unix())
		in, err := (&dns.Transfer{TsigSecret: map[string]string{"key.": secret}}).In(q, p.addr)
		if err != nil {
			return "", err
		}
		var out []string
		for e := range in {
			if err = errors.Join(err, e.Error); err != nil {
				continue
			}
			for _, rr := range e.RR {
				if soa, ok := rr.(*dns.SOA); ok {
					out = append(out, strings.Repeat("*", int(soa.Serial)))
				} else {
					out = append(out, strings.TrimSuffix(rr.Header().Name, ".rpz.example."))
				}
			}
		}
		return strings.Join(out, " "), err
	}
	axfr := func() *dns.Msg { return new(dns.Msg).SetAxfr("rpz.example.") }
	ixfr := func(serial uint32) *dns.Msg { return new(dns.Msg).SetIxfr("rpz.example.", serial, "ns.", "host.") }
	expect := func(q *dns.Msg, want string) {
		t.Helper()
		if got, err := transfer(q, secret); err != nil || got != want {
			t.Errorf("transfer %q (%v), want %q", got, err, want)
		}
	}
	write("1 1 1 1 1\na CNAME .\nb CNAME .\nc CNAME .\nd CNAME .\ne CNAME .\n")
	expect(axfr(), "* a b c d e *")
	expect(ixfr(1), "*")
	write("2 1 1 1 1\nb CNAME .\nc CNAME .\nd CNAME .\ne CNAME .\nf CNAME .\n")
	expect(ixfr(1), "** * a ** f **")
	write("3 1 1 1 1\nb CNAME .\nc CNAME .\nd CNAME .\ne CNAME .\n")
	expect(ixfr(1), "*** * a ** f ** f *** ***")
	expect(ixfr(0), "*** b c d e ***") // a version that was never served
	if got, err := transfer(axfr(), "d3Jvbmc="); err == nil {
		t.Errorf("a wrong key got %q", got)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count["AXFR"] != 2 || p.count["IXFR"] != 3 || p.denied != 1 {
		t.Errorf("counted %v and %d denied", p.count, p.denied)
	}
}
