package blocklist

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fetchWorld is a store, a fetcher, and a web server that a test scripts.
type fetchWorld struct {
	*Fetcher
	t      testing.TB
	server *httptest.Server
	now    time.Time
	log    requestLog

	mu    sync.Mutex
	serve http.HandlerFunc
}

// requestLog are the requests that a server got.
type requestLog struct {
	mu       sync.Mutex
	requests []*http.Request
}

func (l *requestLog) add(req *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, req)
}

func (l *requestLog) all() []*http.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.requests)
}

func (l *requestLog) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = nil
}

// script says how the server answers from now on.
func (w *fetchWorld) script(serve http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serve = serve
}

// ServeHTTP implements http.Handler.
func (w *fetchWorld) ServeHTTP(out http.ResponseWriter, req *http.Request) {
	w.log.add(req)
	w.mu.Lock()
	serve := w.serve
	w.mu.Unlock()
	serve(out, req)
}

func newFetchWorld(t testing.TB) *fetchWorld {
	w := &fetchWorld{t: t, now: storeEpoch}
	w.Fetcher = &Fetcher{
		Store: openTestStore(t, t.TempDir()), Now: func() time.Time { return w.now }, Rand: func() float64 { return 0.5 },
	}
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)
	return w
}

const feed = "feed"

func (w *fetchWorld) source() *SourceConfig {
	return &SourceConfig{From: w.server.URL + "/list.txt", Name: feed, Timeout: 10 * time.Second, MaxSize: 1 << 20}
}

// fetch fetches and returns what the server was asked for.
func (w *fetchWorld) fetch(src *SourceConfig) (changed bool, err error) {
	w.log.clear()
	return w.Fetch(context.Background(), src)
}

// gets fails the test unless a fetch succeeds, gives that version and says whether it is new.
func (w *fetchWorld) gets(src *SourceConfig, want string, wantChanged bool) {
	w.t.Helper()
	changed, err := w.fetch(src)
	k := w.Store.Kept(feed)
	if err != nil || changed != wantChanged || textOf(w.t, w.Store, k.Latest) != want {
		w.t.Fatalf("changed %v, %v: %.100q; want %.100q, changed %v", changed, err, textOf(w.t, w.Store, k.Latest), want, wantChanged)
	}
	if k.Failure != "" || k.Failures != 0 || !k.Checked.Equal(w.now) || !k.Next.Equal(w.now.Add(24*time.Hour)) {
		w.t.Errorf("after a success: %+v", k)
	}
}

// fails fails the test unless a fetch fails with all of want, and leaves the store as it was but for the failure.
func (w *fetchWorld) fails(src *SourceConfig, want ...string) {
	w.t.Helper()
	before, files := w.Store.Kept(feed), filesBelow(w.t, w.Store.dir)
	changed, err := w.fetch(src)
	if changed {
		w.t.Error("changed")
	}
	refuses(w.t, err, append(want, "list feed: ")...)
	k := w.Store.Kept(feed)
	if k.Failures != before.Failures+1 || !strings.Contains(err.Error(), k.Failure) || k.Failure == "" || !k.Next.After(w.now) {
		w.t.Errorf("after a failure: %+v; the error was %v", k, err)
	}
	if before.Latest != nil && (k.Latest == nil || *k.Latest != *before.Latest || !k.Checked.Equal(before.Checked)) {
		w.t.Errorf("after a failure: %+v, before it %+v", k, before)
	}
	if after := filesBelow(w.t, w.Store.dir); len(files) > 0 && !slices.Equal(after, files) {
		w.t.Errorf("after a failure there is %q, before it %q", after, files)
	}
}

// text answers with a text.
func text(body string) http.HandlerFunc {
	return func(out http.ResponseWriter, _ *http.Request) { io.WriteString(out, body) }
}

// file answers with a file, or that nothing has changed.
func file(etag, modified, body string) http.HandlerFunc {
	return func(out http.ResponseWriter, req *http.Request) {
		if etag != "" {
			out.Header().Set("ETag", etag)
		}
		at, _ := http.ParseTime(modified)
		http.ServeContent(out, req, "", at, strings.NewReader(body))
	}
}

// pipes is a network of one host within the process, where a test's time can pass.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 53), Port: 53} }

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, errors.New("refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// runWorld is a Fetcher that runs, in a bubble of time. Its lists are http://HOST/LIST.
type runWorld struct {
	*Fetcher
	t       *testing.T
	net     *pipes
	begin   time.Time
	changed []string // by Run's goroutine
	stop    func()

	mu      sync.Mutex
	sources []SourceConfig
	serve   http.HandlerFunc
	asked   map[string][]time.Duration // since the begin, by list
}

// inBubble calls test with a world that does not run yet.
func inBubble(t *testing.T, test func(w *runWorld)) {
	synctest.Test(t, func(t *testing.T) {
		w := &runWorld{t: t, net: newPipes(), begin: time.Now(), asked: map[string][]time.Duration{}, serve: text("a.example\n")}
		store, err := OpenStore(t.TempDir())
		must(t, err)
		w.Fetcher = &Fetcher{
			Store: store, dial: w.net.dial, Client: &http.Client{Transport: &http.Transport{DialContext: w.net.dial, DisableKeepAlives: true}},
		}
		server := &http.Server{Handler: w}
		listener := w.net
		var served sync.WaitGroup
		served.Go(func() { _ = server.Serve(listener) })
		defer func() {
			if w.stop != nil {
				w.stop()
			}
			_ = server.Shutdown(context.Background()) // waits for its handlers
			served.Wait()
		}()
		test(w)
	})
}

// ServeHTTP implements http.Handler.
func (w *runWorld) ServeHTTP(out http.ResponseWriter, req *http.Request) {
	name := strings.TrimPrefix(req.URL.Path, "/")
	w.mu.Lock()
	w.asked[name] = append(w.asked[name], time.Since(w.begin))
	serve := w.serve
	w.mu.Unlock()
	serve(out, req)
}

// set makes the sources those lists, each HOST/LIST, asked for hourly.
func (w *runWorld) set(lists ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sources = nil
	for _, list := range lists {
		w.sources = append(w.sources, SourceConfig{From: "http://" + list, Name: list[strings.Index(list, "/")+1:], Refresh: time.Hour})
	}
}

func (w *runWorld) script(serve http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serve = serve
}

func (w *runWorld) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		err := w.Run(ctx, func() []SourceConfig {
			w.mu.Lock()
			defer w.mu.Unlock()
			return append(Sources("local.txt"), w.sources...)
		}, func(name string) { w.changed = append(w.changed, name) })
		if err != nil {
			w.t.Error(err)
		}
	})
	w.stop = func() {
		cancel()
		running.Wait()
	}
}

// again replaces the fetcher by one that has only the store, as a restart does.
func (w *runWorld) again() {
	w.stop()
	store, err := OpenStore(filepath.Dir(w.Store.dir))
	must(w.t, err)
	w.Fetcher = &Fetcher{Store: store, dial: w.dial, Client: w.Client}
	w.run()
}

// pass lets time pass.
func (w *runWorld) pass(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

// times returns when a list was asked for.
func (w *runWorld) times(list string) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked[list])
}

func (w *runWorld) count(list string, want int) {
	w.t.Helper()
	if got := w.times(list); len(got) != want {
		w.t.Fatalf("after %v %s was asked for at %v; want %d times", time.Since(w.begin), list, got, want)
	}
}
