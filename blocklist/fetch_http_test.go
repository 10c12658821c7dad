package blocklist

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFetchAsksForChanges(t *testing.T) {
	const one, two = "Wed, 01 May 2024 10:00:00 GMT", "Wed, 01 May 2024 11:00:00 GMT"
	asked := func(w *fetchWorld, etag, modified string) {
		t.Helper()
		if len(w.log.all()) != 1 || w.log.all()[0].Header.Get("If-None-Match") != etag || w.log.all()[0].Header.Get("If-Modified-Since") != modified {
			t.Errorf("asked %+v; want If-None-Match %s, If-Modified-Since %s", w.log.all()[0].Header, etag, modified)
		}
	}
	w := newFetchWorld(t)
	w.UserAgent = "weir/test"
	w.script(file(`"1"`, one, "one.example\n"))
	w.gets(w.source(), "one.example\n", true)
	asked(w, "", "")
	if h := w.log.all()[0].Header; h.Get("User-Agent") != "weir/test" || h.Get("Accept-Encoding") != "identity" {
		t.Errorf("asked with %+v", h)
	}
	c := w.Store.Kept(feed).Latest
	if c.Modified.Format(http.TimeFormat) != one || !c.Taken.Equal(w.now) || c.Bytes != 12 || c.Digest != sha256.Sum256([]byte("one.example\n")) {
		t.Errorf("%+v", c)
	}
	before, err := os.Stat(c.File)
	must(t, err)

	w.now = w.now.Add(time.Hour)
	w.gets(w.source(), "one.example\n", false) // 304
	asked(w, `"1"`, one)
	w.script(file(`"1b"`, two, "one.example\n")) // another mark, the same octets
	w.gets(w.source(), "one.example\n", false)
	asked(w, `"1"`, one)
	w.gets(w.source(), "one.example\n", false)
	asked(w, `"1b"`, two)
	c = w.Store.Kept(feed).Latest
	if after, err := os.Stat(c.File); err != nil || !os.SameFile(before, after) || !c.Taken.Equal(storeEpoch) || c.Modified.Format(http.TimeFormat) != two {
		t.Errorf("an unchanged list was written again: %v, %+v", err, c)
	}
	w.script(file("", two, "two.example\n")) // a time is all
	w.gets(w.source(), "two.example\n", true)
	w.gets(w.source(), "two.example\n", false)
	asked(w, "", two)
	w.script(text("two.example\n")) // nothing is
	w.gets(w.source(), "two.example\n", false)
	asked(w, "", two)
	w.gets(w.source(), "two.example\n", false)
	asked(w, "", "")

	// The mark is of one URL, and of a list that was proved as it must be now.
	w.script(file(`"3"`, "", "three.example\n"))
	w.gets(w.source(), "three.example\n", true)
	src := w.source()
	src.From += "?other"
	w.gets(src, "three.example\n", false)
	asked(w, "", "")
	w.gets(src, "three.example\n", false)
	asked(w, `"3"`, "")
	src.SHA256 = strings.Repeat("0", 64)
	w.fails(src, "SHA-256")
	asked(w, "", "")

	// A copy that is gone is asked for anew; one that was refused is not.
	w.gets(w.source(), "three.example\n", false)
	must(t, os.Remove(w.Store.Kept(feed).Latest.File))
	w.Store = openTestStore(t, filepath.Dir(w.Store.dir))
	w.gets(w.source(), "three.example\n", true)
	asked(w, "", "")
	must(t, w.Store.Settle(feed, nil, w.Store.Kept(feed).Latest, "why"))
	must(t, w.Store.Reject(feed))
	w.gets(w.source(), "", false)
	asked(w, `"3"`, "")

	w.script(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("ETag", "\"\xff\"")
		io.WriteString(out, "four.example\n")
	})
	w.gets(w.source(), "four.example\n", true)
	w.gets(w.source(), "four.example\n", false)
	asked(w, "", "")
}

func TestFetchRefusesWhatIsNoList(t *testing.T) {
	w := newFetchWorld(t)
	w.script(text("old.example\n"))
	w.gets(w.source(), "old.example\n", true)
	const page = " <!DOCTYPE html>\n<title>Sign in</title>"
	for what, c := range map[string]struct {
		serve http.HandlerFunc
		want  []string
	}{
		"page":        {text(page), []string{"is a web page and no list"}},
		"packed page": {text(string(pack(t, "gzip", page))), []string{"is a web page and no list"}},
		"JSON":        {text(`{"error": 1}`), []string{"is JSON and no list"}},
		"archive":     {text("PK\x03\x04..."), []string{"zip archive"}},
		"damaged":     {text("\x1f\x8b\x08\x00damaged"), []string{"gzip data"}},
		"cut gzip":    {text("\x1f\x8b\x08"), []string{"cut off"}},
		"empty":       {text(""), []string{"is empty"}},
		"packed none": {text(string(pack(t, "zstd", ""))), []string{"is empty"}},
		"truncated": {func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Length", "100")
			io.WriteString(out, "one.example\n")
		}, []string{"was cut off", "12 octets of 100 came"}},
		"cut chunks": {func(out http.ResponseWriter, _ *http.Request) {
			io.WriteString(out, "one.example\n")
			must(t, http.NewResponseController(out).Flush())
			panic(http.ErrAbortHandler)
		}, []string{"was cut off", "12 octets came"}},
		"long": {text(strings.Repeat("long.example\n", 1<<17)), []string{"longer than the 1048576 octets of max_size"}},
		"said long": {func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Length", "1048577")
		}, []string{"is of 1048577 octets, more than the 1048576 of max_size"}},
		"encoding": {func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Encoding", "br")
			io.WriteString(out, "one.example\n")
		}, []string{`Content-Encoding "br"`, "not asked for"}},
		"not changed":  {func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(304) }, []string{"304 Not Modified"}},
		"part":         {func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(206) }, []string{"206 Partial Content"}},
		"no content":   {func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(204) }, []string{"204 No Content"}},
		"forbidden":    {func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(403) }, []string{"403 Forbidden", "credentials"}},
		"gone":         {func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(404) }, []string{"404 Not Found", "check the URL"}},
		"broken":       {func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(503) }, []string{"503 Service Unavailable", "later"}},
		"odd status":   {func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(299) }, []string{"299"}},
		"no answer":    {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, []string{"EOF"}},
		"loop":         {http.RedirectHandler("/list.txt", http.StatusFound).ServeHTTP, []string{"5 redirects", "/list.txt"}},
		"no location":  {func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(301) }, []string{"redirect to what is no URL"}},
		"odd location": {http.RedirectHandler("http://%zz:secret@x", http.StatusMovedPermanently).ServeHTTP, []string{"redirect to what is no URL"}},
		"odd scheme":   {http.RedirectHandler("file:///etc/passwd", http.StatusMovedPermanently).ServeHTTP, []string{"redirect to what is no URL"}},
		"ftp":          {http.RedirectHandler("ftp://ftp.example/list", http.StatusMovedPermanently).ServeHTTP, []string{"ftp://ftp.example/list", "not of http or https"}},
	} {
		t.Run(what, func(t *testing.T) {
			w.t = t
			src := w.source()
			src.From += "?" + what[:1] // without the mark of another answer
			w.script(c.serve)
			w.fails(src, append(c.want, w.server.URL+"/list.txt?...: ")...)
		})
	}
}

// The end of the program is no failure of a list, and that of its server is.
func TestFetchEnds(t *testing.T) {
	w := newFetchWorld(t)
	src := w.source()
	ctx, cancel := context.WithCancel(context.Background())
	w.script(func(out http.ResponseWriter, req *http.Request) {
		io.WriteString(out, "begun")
		must(t, http.NewResponseController(out).Flush())
		cancel()
		<-req.Context().Done()
	})
	before := w.Store.Kept(feed)
	if _, err := w.Fetch(ctx, src); !errors.Is(err, context.Canceled) || w.Store.Kept(feed).Failures != before.Failures {
		t.Errorf("%v, %+v", err, w.Store.Kept(feed))
	}
	w.server.CloseClientConnections()
	w.server.Close()
	w.fails(w.source(), "refused")
}

func TestFetchRedirects(t *testing.T) {
	w := newFetchWorld(t)
	const password = "pass-word"
	auth := func(req *http.Request) string {
		user, secret, _ := req.BasicAuth()
		return user + ":" + secret
	}
	var other requestLog
	elsewhere := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, req *http.Request) {
		other.add(req)
		io.WriteString(out, "else.example\n")
	}))
	defer elsewhere.Close()
	src := w.source()
	src.From = strings.Replace(src.From, "://", "://me:"+password+"@", 1) + "?token=1"
	w.script(func(out http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/list.txt":
			http.Redirect(out, req, "/next", http.StatusPermanentRedirect)
		case "/next":
			http.Redirect(out, req, w.server.URL+"/last", http.StatusSeeOther)
		case "/last":
			http.Redirect(out, req, elsewhere.URL+"/list", http.StatusTemporaryRedirect)
		}
	})
	w.gets(src, "else.example\n", true)
	if len(w.log.all()) != 3 || len(other.all()) != 1 {
		t.Fatalf("%d, %d requests", len(w.log.all()), len(other.all()))
	}
	for _, req := range append(w.log.all(), other.all()...) {
		want := "me:" + password
		if req == other.all()[0] {
			want = ":"
		}
		if auth(req) != want || req.Header.Get("Referer") != "" {
			t.Errorf("%s: %v, want the credentials %q", req.URL, req.Header, want)
		}
	}
	for hops, ok := range map[int]bool{5: true, 6: false} {
		w.script(func(out http.ResponseWriter, req *http.Request) {
			var n int
			if fmt.Sscanf(req.URL.Path, "/%d", &n); n < hops {
				http.Redirect(out, req, fmt.Sprint("/", n+1), http.StatusFound)
				return
			}
			fmt.Fprintf(out, "hops%d.example\n", hops)
		})
		if ok {
			w.gets(w.source(), fmt.Sprintf("hops%d.example\n", hops), true)
		} else {
			w.fails(w.source(), "after 5 redirects")
		}
	}

	secure := httptest.NewTLSServer(w)
	defer secure.Close()
	w.Client = secure.Client()
	src.From = secure.URL + "/list.txt"
	w.script(text("secure.example\n"))
	w.gets(src, "secure.example\n", true)
	w.script(http.RedirectHandler(w.server.URL+"/?secret", http.StatusFound).ServeHTTP)
	w.fails(src, "from https to "+w.server.URL+"/?...", "not followed")
	w.script(func(out http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/list.txt" {
			http.Redirect(out, req, "/new", http.StatusFound)
			return
		}
		io.WriteString(out, "moved.example\n")
	})
	w.gets(src, "moved.example\n", true)
	w.Client = nil
	w.fails(src, "certificate")
	w.Client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS10}}}
	w.fails(src, "tls")
}

// Who serves a list from outside does not have the program ask inside: of these addresses 127.0.0.2 alone is private.
func TestFetchIsNotLedInward(t *testing.T) {
	w := newFetchWorld(t)
	w.Fetcher.private = func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.2") }
	var asked requestLog
	inside := httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, req *http.Request) {
		asked.add(req)
		if req.URL.Path == "/out" {
			http.Redirect(out, req, w.server.URL+"/in", http.StatusFound)
			return
		}
		io.WriteString(out, "inside.example\n")
	}))
	must(t, inside.Listener.Close())
	var err error
	inside.Listener, err = net.Listen("tcp", "127.0.0.2:0")
	must(t, err)
	inside.Start()
	defer inside.Close()

	w.script(http.RedirectHandler(inside.URL+"/list.txt", http.StatusFound).ServeHTTP)
	w.fails(w.source(), "a redirect from a public address leads there", "127.0.0.2")
	if n := len(asked.all()); n != 0 {
		t.Errorf("inside was asked %d times", n)
	}
	src := w.source()
	src.From = inside.URL + "/list.txt"
	w.gets(src, "inside.example\n", true)
	src.From = inside.URL + "/out" // what comes from inside may go out and come back
	w.gets(src, "inside.example\n", false)
}

// What is secret in a URL is in no error, log or state that is shown.
func TestFetchKeepsSecrets(t *testing.T) {
	w := newFetchWorld(t)
	const secret = "s3cret"
	bad := "http://" + secret + ":" + secret + "@127.0.0.1:1/list.txt?key=" + secret + "#" + secret
	for _, from := range []string{
		bad, bad + "%zz", strings.Replace(bad, "127.0.0.1:1", "[::1", 1), strings.Replace(bad, ":1/", ":99999999/", 1),
		strings.Replace(bad, "http:", "axfr:", 1), strings.Replace(bad, "http:", "https:", 1), strings.Replace(bad, "127.0.0.1:1", "", 1),
	} {
		src := &SourceConfig{From: from, Timeout: time.Second}
		changed, err := w.Fetch(context.Background(), src)
		if changed || err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", from, err)
		}
		if k := w.Store.Kept(from); k.Failure == "" || strings.Contains(k.Failure, secret) {
			t.Errorf("%s: %q", from, k.Failure)
		}
	}
	for from, want := range map[string]string{
		"https://u:p@feeds.example/a/b.txt?t=1#f": "https://feeds.example/a/b.txt?...",
		"https://u:p@x@feeds.example":             "https://feeds.example",
		"https://feeds.example/a@b":               "https://feeds.example/a@b",
		"axfr://192.0.2.1/rpz.example":            "axfr://192.0.2.1/rpz.example",
		"lists/ads.txt?":                          "lists/ads.txt?",
	} {
		if got := Redacted(from); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}

func TestFetchThroughProxy(t *testing.T) {
	var log requestLog
	proxy := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, req *http.Request) {
		log.add(req)
		if req.Method == http.MethodConnect {
			out.WriteHeader(http.StatusForbidden)
			return
		}
		io.WriteString(out, "proxied.example\n")
	}))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", strings.Replace(proxy.URL, "://", "://me:pw@", 1))
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "")
	w := newFetchWorld(t)
	w.gets(&SourceConfig{From: "http://lists.example/list.txt", Name: feed}, "proxied.example\n", true)
	w.fails(&SourceConfig{From: "https://lists.example/list.txt", Name: feed, Timeout: 10 * time.Second}, "Forbidden")
	var asked []string
	for _, req := range log.all() {
		asked = append(asked, req.Method+" "+req.RequestURI+" "+req.Header.Get("Proxy-Authorization"))
	}
	want := []string{"GET http://lists.example/list.txt Basic bWU6cHc=", "CONNECT lists.example:443 "}
	if !slices.Equal(asked, want) {
		t.Errorf("the proxy was asked %q, want %q", asked, want)
	}
}

// What a proxy has brought leads inside no more than what comes from a public address: of the addresses that are asked
// without one 127.0.0.1 is private.
func TestFetchIsNotLedInwardPastAProxy(t *testing.T) {
	w := newFetchWorld(t)
	var asked requestLog
	w.script(func(out http.ResponseWriter, req *http.Request) {
		asked.add(req)
		io.WriteString(out, "inside.example\n")
	})
	proxy := httptest.NewServer(http.RedirectHandler(w.server.URL+"/list.txt", http.StatusFound))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "")
	w.Fetcher.private = func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.1") }
	w.fails(&SourceConfig{From: "http://lists.example/list.txt", Name: feed}, "a redirect from a public address leads there")
	if n := len(asked.all()); n != 0 {
		t.Errorf("inside was asked %d times", n)
	}
}

// A server that sends gzip unasked changes nothing: the octets that come are the list.
func TestFetchEncoded(t *testing.T) {
	w := newFetchWorld(t)
	packed := string(pack(t, "gzip", "packed.example\n"))
	w.script(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Content-Encoding", "gzip")
		io.WriteString(out, packed)
	})
	src := w.source()
	src.SHA256 = fmt.Sprintf("%X", sha256.Sum256([]byte(packed)))
	w.gets(src, packed, true)
	src.SHA256 = fmt.Sprintf("%x", sha256.Sum256([]byte("packed.example\n")))
	w.fails(src, "its SHA-256 is", "change sha256", `Content-Encoding "gzip"`)
}

func TestFetchBacksOff(t *testing.T) {
	w := newFetchWorld(t)
	status := http.StatusServiceUnavailable
	retry := ""
	w.script(func(out http.ResponseWriter, _ *http.Request) {
		if retry != "" {
			out.Header().Set("Retry-After", retry)
		}
		out.WriteHeader(status)
	})
	src := w.source()
	src.Refresh = time.Hour
	next := func(want time.Duration) {
		t.Helper()
		w.fails(src, "503")
		if got := w.Store.Kept(feed).Next.Sub(w.now); got != want {
			t.Errorf("asked again after %v, want %v", got, want)
		}
	}
	for _, minutes := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		next(minutes * time.Minute)
	}
	w.script(text("a.example\n"))
	src.Refresh = 24 * time.Hour
	w.gets(src, "a.example\n", true)
	w.script(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Retry-After", retry)
		out.WriteHeader(status)
	})
	src.Refresh = time.Hour
	retry = "600"
	next(10 * time.Minute)
	retry = w.now.Add(20 * time.Minute).Format(http.TimeFormat)
	next(20 * time.Minute)
	for _, retry = range []string{"999999999", "soon", "-1", "Wed, 01 May 2024 10:00:00 GMT"} {
		want := time.Duration(4<<(w.Store.Kept(feed).Failures-2)) * time.Minute
		if retry == "999999999" {
			want = time.Hour
		}
		next(want)
	}
}
