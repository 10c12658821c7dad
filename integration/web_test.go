package integration

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// webServer is an HTTP server that behaves as a script says, a line each. FILE
// is a file of the script, read again for every request.
//
//	file PATH FILE       with ETag and Last-Modified; 304 to whoever has it
//	gzip PATH FILE       the same, compressed: by Content-Encoding, or, where PATH ends in .gz, as it is
//	html PATH            a page for people, as a portal before the network gives
//	slow PATH            an octet a second until the client leaves
//	truncated PATH FILE  less than Content-Length says
//	status PATH CODE     that status
//	redirect PATH URL    there
//
// All other paths are not found.
type webServer struct {
	server *httptest.Server
	url    string
	paths  map[string]webAnswer

	mu    sync.Mutex
	heard *sync.Cond // a request came or was answered
	count map[string]int
	same  map[string]int // those answered 304
}

// webAnswer is one line of the script.
type webAnswer struct{ kind, arg string }

var webArgs = map[string]int{"file": 2, "gzip": 2, "html": 1, "slow": 1, "truncated": 2, "status": 2, "redirect": 2}

// cmdWeb starts a server, or replaces one by another at the same address.
func cmdWeb(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, 2, "web FILE [VAR]")
	key := variable(args, 1, "WEB")
	w := worldOf(ts)
	addr := strings.TrimPrefix(ts.Getenv(key), "http://")
	if s := w.webs[key]; s != nil {
		s.close()
	}
	s, err := newWebServer(ts.ReadFile(args[0]), addr, ts.MkAbs)
	ts.Check(err)
	w.webs[key] = s
	ts.Setenv(key, s.url)
}

func cmdFetched(ts *testscript.TestScript, neg bool, args []string) {
	s, path, n, count := requests(ts, neg, args, "fetched")
	s.mu.Lock()
	defer s.mu.Unlock()
	if count[path] != n {
		ts.Fatalf("%s was asked for %d times, %d of them answered 304", path, s.count[path], s.same[path])
	}
}

func cmdWaitFetched(ts *testscript.TestScript, neg bool, args []string) {
	s, path, n, count := requests(ts, neg, args, "wait-fetched")
	if !waitFor(&s.mu, s.heard, func() bool { return count[path] >= n }) {
		ts.Fatalf("%s was asked for %d times, %d of them answered 304", path, s.count[path], s.same[path])
	}
}

// requests reads the arguments PATH N [304] [VAR].
func requests(ts *testscript.TestScript, neg bool, args []string, verb string) (s *webServer, path string, n int, count map[string]int) {
	text := verb + " PATH N [304] [VAR]"
	usage(ts, neg, args, 2, 4, text)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	path, rest := args[0], args[2:]
	same := len(rest) > 0 && rest[0] == "304"
	if same {
		rest = rest[1:]
	}
	usage(ts, neg, rest, 0, 1, text)
	key := variable(rest, 0, "WEB")
	if s = worldOf(ts).webs[key]; s == nil {
		ts.Fatalf("no web server %s runs", key)
	}
	if same {
		return s, path, n, s.same
	}
	return s, path, n, s.count
}

// variable is the argument at n, or the word that stands for it.
func variable(args []string, n int, otherwise string) string {
	if len(args) > n {
		return args[n]
	}
	return otherwise
}

// waitFor waits until something heard makes done true, and says whether it did in time.
func waitFor(mu *sync.Mutex, heard *sync.Cond, done func() bool) bool {
	late := false
	limit := time.AfterFunc(patience, func() {
		mu.Lock()
		defer mu.Unlock()
		late = true
		heard.Broadcast()
	})
	defer limit.Stop()
	mu.Lock()
	defer mu.Unlock()
	for !done() {
		if late {
			return false
		}
		heard.Wait()
	}
	return true
}

// newWebServer serves script on addr, or on one of its own; abs finds the script's
// files.
func newWebServer(script, addr string, abs func(string) string) (*webServer, error) {
	s := &webServer{paths: map[string]webAnswer{}, count: map[string]int{}, same: map[string]int{}}
	s.heard = sync.NewCond(&s.mu)
	for in := bufio.NewScanner(strings.NewReader(script)); in.Scan(); {
		words := strings.Fields(in.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if n := webArgs[words[0]]; n == 0 || len(words) != 1+n {
			return nil, fmt.Errorf("web: %q is not understood", in.Text())
		}
		a := webAnswer{kind: words[0], arg: strings.Join(words[2:], "")}
		switch a.kind {
		case "file", "gzip", "truncated":
			a.arg = abs(a.arg)
		}
		s.paths[words[1]] = a
	}
	if addr == "" {
		addr = ownHost()
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s.server = httptest.NewUnstartedServer(s)
	s.server.Listener.Close()
	s.server.Listener = l
	s.server.Start()
	s.url = s.server.URL
	return s, nil
}

func (s *webServer) close() {
	s.server.CloseClientConnections() // a slow answer ends only with its client
	s.server.Close()
}

// ServeHTTP counts and answers.
func (s *webServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	s.note(s.count, path)
	a, ok := s.paths[path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	switch a.kind {
	case "file":
		s.file(w, r, a.arg, func(text []byte) []byte { return text })
	case "gzip":
		if !strings.HasSuffix(path, ".gz") {
			w.Header().Set("Content-Encoding", "gzip")
		}
		s.file(w, r, a.arg, gzipped)
	case "html":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body><p>Please sign in to use the network.</p></body></html>\n")
	case "slow":
		trickle(w, r)
	case "truncated":
		text, err := os.ReadFile(a.arg)
		if !broken(w, err) {
			w.Header().Set("Content-Length", strconv.Itoa(2*len(text)+1))
			_, _ = w.Write(text)
		}
	case "status":
		code, err := strconv.Atoi(a.arg)
		if !broken(w, err) {
			http.Error(w, http.StatusText(code), code)
		}
	case "redirect":
		http.Redirect(w, r, a.arg, http.StatusFound)
	}
}

func (s *webServer) note(count map[string]int, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count[path]++
	s.heard.Broadcast()
}

// broken answers 500 to a request that the script itself cannot serve.
func broken(w http.ResponseWriter, err error) bool {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
	return err != nil
}

// file answers with the file as it is now, packed.
func (s *webServer) file(w http.ResponseWriter, r *http.Request, file string, pack func([]byte) []byte) {
	text, err := os.ReadFile(file)
	info, serr := os.Stat(file)
	if broken(w, errors.Join(err, serr)) {
		return
	}
	body := pack(text)
	w.Header().Set("ETag", fmt.Sprintf(`"%.8x"`, sha256.Sum256(body)))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	http.ServeContent(&sameCounter{w, s, r.URL.Path}, r, "", info.ModTime(), bytes.NewReader(body))
}

// sameCounter counts the answers 304.
type sameCounter struct {
	http.ResponseWriter
	s    *webServer
	path string
}

// WriteHeader implements http.ResponseWriter.
func (c *sameCounter) WriteHeader(code int) {
	if code == http.StatusNotModified {
		c.s.note(c.s.same, c.path)
	}
	c.ResponseWriter.WriteHeader(code)
}

// gzipped is text as a gzip file, always the same.
func gzipped(text []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(text)
	if err := errors.Join(err, z.Close()); err != nil {
		panic(fmt.Sprintf("a buffer takes no gzip: %v", err))
	}
	return out.Bytes()
}

// trickle sends what never becomes a list.
func trickle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := w.Write([]byte("#")); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
