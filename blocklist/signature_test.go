package blocklist

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"
)

// signed answers with a list and the signatures beside it.
func signed(files map[string]string) http.HandlerFunc {
	return func(out http.ResponseWriter, req *http.Request) {
		text, ok := files[req.URL.Path]
		if !ok {
			http.NotFound(out, req)
			return
		}
		io.WriteString(out, text)
	}
}

func TestFetchMinisign(t *testing.T) {
	public, private, err := minisign.GenerateKey(nil)
	must(t, err)
	_, stranger, err := minisign.GenerateKey(nil)
	must(t, err)
	const list = "signed.example\n"
	hashed := func(key minisign.PrivateKey, text string) string {
		in := minisign.NewReader(strings.NewReader(text))
		_, err := io.Copy(io.Discard, in)
		must(t, err)
		return string(in.Sign(key))
	}
	whole := func(key minisign.PrivateKey, text string) string { return string(minisign.Sign(key, []byte(text))) }
	swapped := func(a, b string) string { // the signature of a with the trusted comment of b
		x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
		return strings.Join([]string{x[0], x[1], y[2], y[3], ""}, "\n")
	}
	w := newFetchWorld(t)
	src := w.source()
	src.From += "?v=1"
	src.Minisign = public.String()
	for what, c := range map[string]struct{ signature, want string }{
		"hashed":         {hashed(private, list), ""},
		"whole":          {whole(private, list), ""},
		"CRLF":           {strings.ReplaceAll(whole(private, list), "\n", "\r\n"), ""},
		"other text":     {hashed(private, list+"x"), "is not one of this list by the key asked for"},
		"other whole":    {whole(private, list+"x"), "is not one of this list by the key asked for"},
		"other key":      {hashed(stranger, list), "is of key "},
		"other comment":  {swapped(hashed(private, list), hashed(stranger, list)), "is not one of this list"},
		"hash as a text": {strings.Replace(hashed(private, list), "\nRU", "\nRW", 1), "is not one of this list"},
		"none":           {"nothing", "is no minisign signature"},
		"missing":        {"", "404 Not Found"},
		"long":           {strings.Repeat("untrusted comment: ", maxSignature), "max_size"},
	} {
		t.Run(what, func(t *testing.T) {
			w.t = t
			files := map[string]string{"/list.txt": list, "/list.txt.minisig": c.signature}
			if what == "missing" {
				delete(files, "/list.txt.minisig")
			}
			w.script(signed(files))
			if c.want != "" {
				w.fails(src, "its signature (.minisig): ", c.want)
				return
			}
			changed, err := w.fetch(src)
			if err != nil || textOf(t, w.Store, w.Store.Kept(feed).Latest) != list {
				t.Errorf("%v, %v", changed, err)
			}
			if len(w.log.all()) != 2 || w.log.all()[1].URL.String() != "/list.txt.minisig?v=1" {
				t.Errorf("asked for %v", w.log.all())
			}
		})
	}
	// The comment before the key, as it is in its file, is none of it.
	file, err := public.MarshalText()
	must(t, err)
	src.Minisign = string(file)
	must(t, src.CheckRemote())
}

func TestFetchEd25519(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	const list = "signed.example\n"
	good := ed25519.Sign(private, []byte(list))
	w := newFetchWorld(t)
	src := w.source()
	src.Ed25519 = base64.StdEncoding.EncodeToString(public)
	for what, c := range map[string]struct{ signature, want string }{
		"octets":     {string(good), ""},
		"base64":     {base64.StdEncoding.EncodeToString(good) + "\n", ""},
		"other text": {string(ed25519.Sign(private, []byte(list+"x"))), "is not one of this list"},
		"cut":        {string(good[1:]), "is no Ed25519 signature"},
		"web page":   {"<html>", "is no Ed25519 signature"},
	} {
		t.Run(what, func(t *testing.T) {
			w.t = t
			w.script(signed(map[string]string{"/list.txt": list, "/list.txt.sig": c.signature}))
			if c.want != "" {
				w.fails(src, "its signature (.sig): ", c.want)
				return
			}
			if _, err := w.fetch(src); err != nil || textOf(t, w.Store, w.Store.Kept(feed).Latest) != list {
				t.Error(err)
			}
		})
	}
	// Both, and a digest.
	signer, secret, err := minisign.GenerateKey(nil)
	must(t, err)
	src.Minisign = signer.String()
	w.script(signed(map[string]string{"/list.txt": list, "/list.txt.sig": string(good), "/list.txt.minisig": string(minisign.Sign(secret, []byte(list)))}))
	if _, err := w.fetch(src); err != nil || len(w.log.all()) != 3 {
		t.Errorf("%v, %d requests", err, len(w.log.all()))
	}
}

// Signatures that minisign(1) made hold, of either kind.
func TestMinisignOfOthers(t *testing.T) {
	for _, c := range []struct{ key, text, signature string }{
		{
			key:  "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3",
			text: "test",
			signature: "untrusted comment: signature from minisign secret key\n" +
				"RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n" +
				"trusted comment: timestamp:1556193335\tfile:test\n" +
				"y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==\n",
		},
		{
			key:  "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3",
			text: "test",
			signature: "untrusted comment: signature from minisign secret key\n" +
				"RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=\n" +
				"trusted comment: timestamp:1555779966\tfile:test\n" +
				"QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==\n",
		},
	} {
		file, err := os.Create(filepath.Join(t.TempDir(), "text"))
		must(t, err)
		defer file.Close()
		_, err = file.WriteString(c.text)
		must(t, err)
		p, err := parseProofs(&SourceConfig{Minisign: c.key})
		must(t, err)
		if err := checkMinisign(*p.minisign, []byte(c.signature), file, int64(len(c.text))); err != nil {
			t.Errorf("%s: %v", c.signature, err)
		}
	}
}

func TestSignatureOverTooMuch(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	err = checkEd25519(public, ed25519.Sign(private, nil), nil, maxSignedWhole+1)
	refuses(t, err, "67108864", "minisign")
}

func TestCheckRemote(t *testing.T) {
	const key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	secret := &TSIG{"key.example", "hmac-sha256", key}
	for _, c := range []struct {
		src  SourceConfig
		want string // of the error; empty is none
	}{
		{SourceConfig{From: "https://feeds.example/list.txt", Ed25519: key, SHA256: strings.Repeat("aB", 32)}, ""},
		{SourceConfig{From: "axfr://192.0.2.53/rpz.example", TSIG: secret}, ""},
		{SourceConfig{From: "axfr://192.0.2.53:5353/rpz.example.", TSIG: &TSIG{"key", "HMAC-SHA512", key}}, ""},
		{SourceConfig{From: "axfr://[2001:db8::53]/."}, ""},
		{SourceConfig{From: "lists/ads.txt"}, "is no URL"},
		{SourceConfig{From: "https:///list.txt"}, "is no URL"},
		{SourceConfig{From: "ftp://feeds.example/list.txt"}, "not of http, https or axfr"},
		{SourceConfig{From: "https://feeds.example/list.txt", TSIG: secret}, "tsig is for zone transfers"},
		{SourceConfig{From: "https://feeds.example/list.txt", SHA256: "12"}, "64 hexadecimal digits"},
		{SourceConfig{From: "https://feeds.example/list.txt", SHA256: strings.Repeat("x", 64)}, "64 hexadecimal digits"},
		{SourceConfig{From: "https://feeds.example/list.txt", Minisign: key}, "minisign is no public key"},
		{SourceConfig{From: "https://feeds.example/list.txt", Ed25519: "AAAA"}, "ed25519 is no public key"},
		{SourceConfig{From: "axfr://192.0.2.53/rpz.example", SHA256: strings.Repeat("00", 32)}, "are for files"},
		{SourceConfig{From: "axfr://ns.example/rpz.example"}, "not given by its address"},
		{SourceConfig{From: "axfr://192.0.2.53:0/rpz.example"}, "port"},
		{SourceConfig{From: "axfr://192.0.2.53:99999/rpz.example"}, "port"},
		{SourceConfig{From: "axfr://192.0.2.53"}, "the zone is no name"},
		{SourceConfig{From: "axfr://192.0.2.53/a/b"}, "the zone is no name"},
		{SourceConfig{From: "axfr://192.0.2.53/" + strings.Repeat("a", 64)}, "the zone is no name"},
		{SourceConfig{From: "axfr://me@192.0.2.53/rpz.example"}, "more than a server and a zone"},
		{SourceConfig{From: "axfr://192.0.2.53/rpz.example?x"}, "more than a server and a zone"},
		{SourceConfig{From: "axfr://192.0.2.53/rpz.example", TSIG: &TSIG{"", "hmac-sha256", key}}, "name"},
		{SourceConfig{From: "axfr://192.0.2.53/rpz.example", TSIG: &TSIG{"k", "hmac-md5", key}}, "algorithm"},
		{SourceConfig{From: "axfr://192.0.2.53/rpz.example", TSIG: &TSIG{"k", "hmac-sha256", "?"}}, "not base64"},
		{SourceConfig{From: "axfr://192.0.2.53/rpz.example", TSIG: &TSIG{"k", "hmac-sha256", ""}}, "not base64"},
	} {
		err := c.src.CheckRemote()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.src.From, err, c.want)
		}
	}
}

// FuzzSignature holds: no file is taken for a signature but those that were made by the key over the text.
func FuzzSignature(f *testing.F) {
	public, private, err := minisign.GenerateKey(bytes.NewReader(make([]byte, 1<<10)))
	must(f, err)
	text := []byte("signed.example\n")
	raw := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	f.Add(minisign.Sign(private, text))
	f.Add(ed25519.Sign(raw, text))
	f.Add([]byte(base64.StdEncoding.EncodeToString(ed25519.Sign(raw, text))))
	file, err := os.Create(filepath.Join(f.TempDir(), "text"))
	must(f, err)
	_, err = file.Write(text)
	must(f, err)
	other, err := os.Create(filepath.Join(f.TempDir(), "other"))
	must(f, err)
	_, err = other.WriteString("other.example\n\n")
	must(f, err)
	f.Fuzz(func(t *testing.T, signature []byte) {
		size := int64(len(text))
		if checkMinisign(public, signature, other, size) == nil || checkEd25519(raw.Public().(ed25519.PublicKey), signature, other, size) == nil {
			t.Errorf("%q is taken for a signature of another text", signature)
		}
		_ = checkMinisign(public, signature, file, size)
		if checkEd25519(raw.Public().(ed25519.PublicKey), signature, file, size) == nil && !ed25519.Verify(raw.Public().(ed25519.PublicKey), text, mustSignature(signature)) {
			t.Errorf("%q is none", signature)
		}
	})
}

func mustSignature(file []byte) []byte {
	s, _ := parseEd25519(file)
	return s
}
