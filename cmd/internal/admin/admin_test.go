package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"weir/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestQueryRoundTrip asserts that a query survives its way over the wire, whatever is in it.
func TestQueryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moment := rapid.Custom(func(t *rapid.T) time.Time {
			ns := rapid.Int64().Draw(t, "ns")
			if ns == 0 {
				return time.Time{}
			}
			return time.Unix(0, ns).UTC()
		})
		want := audit.Query{
			Name:      rapid.SliceOf(rapid.Byte()).Draw(t, "name"),
			ExactName: rapid.Bool().Draw(t, "exact"),
			Type:      rapid.Uint16().Draw(t, "type"),
			Glob:      rapid.String().Draw(t, "glob"),
			Verdict:   rapid.String().Draw(t, "verdict"),
			Rule:      rapid.String().Draw(t, "rule"),
			List:      rapid.String().Draw(t, "list"),
			Alias:     rapid.SliceOf(rapid.Byte()).Draw(t, "alias"),
			Rcode:     rapid.String().Draw(t, "rcode"),
			Source:    rapid.String().Draw(t, "source"),
			Transport: rapid.String().Draw(t, "transport"),
			Upstream:  rapid.String().Draw(t, "upstream"),
			Group:     rapid.String().Draw(t, "group"),
			Policy:    rapid.String().Draw(t, "policy"),
			Category:  rapid.String().Draw(t, "category"),
			Observed:  rapid.Bool().Draw(t, "observed"),
			Kind:      audit.Kind(rapid.Uint8().Draw(t, "kind")),
			Since:     moment.Draw(t, "since"),
			Until:     moment.Draw(t, "until"),
			SeqFrom:   rapid.Uint64().Draw(t, "from"),
			SeqTo:     rapid.Uint64().Draw(t, "to"),
			Limit:     rapid.Int().Draw(t, "limit"),
			Oldest:    rapid.Bool().Draw(t, "oldest"),
		}
		for _, p := range []*netip.Prefix{&want.Client, &want.Answer} {
			if a, ok := netip.AddrFromSlice(rapid.SampledFrom([][]byte{nil, make([]byte, 4), make([]byte, 16)}).Draw(t, "address")); ok {
				*p = netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
			}
		}
		got, err := decodeQuery(encodeQuery(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Fatalf("(-sent +received):\n%s", diff)
		}
	})
}

// world is a server on a real socket with a real audit log, and a client.
type world struct {
	*Client
	log    *audit.Log
	socket string
	stop   func() // the server; may be called again
}

// backend is what the server of a world answers from.
type backend struct {
	log    *audit.Log
	reload error
}

func (b *backend) Status() Status {
	return Status{Version: "1", PID: os.Getpid(), Audit: b.log.Stats()}
}

func (b *backend) Lists() []List { return []List{{Name: "ads.txt", Ignored: map[string]int{"why": 1}}} }

func (b *backend) Audit() *audit.Log {
	return b.log
}

func (b *backend) Find(name string) ([]Holding, error) {
	if name == "" {
		return nil, errors.New("no name")
	}
	return []Holding{{Category: "ads", Entry: name, Where: "ads.txt:3"}}, nil
}

func (b *backend) Explain(q Question) (Explanation, error) {
	if q.Name == "" {
		return Explanation{}, errors.New("no name")
	}
	return Explanation{Verdict: "blocked", Name: q.Name, Type: q.Type, Client: q.Client, Steps: []Step{{Kind: "policy"}}}, nil
}

func (b *backend) Exceptions() []Exception { return []Exception{{ID: 1, Name: "shop.example"}} }

func (b *backend) AddException(q ExceptionRequest) (Exception, error) {
	if q.Name == "" {
		return Exception{}, errors.New("no name")
	}
	return Exception{ID: 2, Name: q.Name, By: q.By}, nil
}

func (b *backend) ExtendException(q ExceptionRequest) (Exception, error) {
	return Exception{ID: q.ID, Extended: 1}, nil
}

func (b *backend) RemoveException(q ExceptionRequest) (Exception, error) {
	return Exception{ID: q.ID, End: "removed"}, nil
}

func (b *backend) Reload(context.Context, string) (Reload, error) {
	return Reload{Revision: 2, Changes: []string{"list a changed"}}, b.reload
}

func (b *backend) ListAction(_ context.Context, _, action, name string) (string, error) {
	if name == "none" {
		return "", errors.New("no list is called none")
	}
	return action + " of " + name, nil
}

func (b *backend) FlushCache(_, name string) (string, error) {
	if name == "none" {
		return "", errors.New("no name")
	}
	return "forgot " + name, nil
}

func newWorld(t *testing.T, b *backend) *world {
	t.Helper()
	dir := t.TempDir()
	log, err := audit.Open(audit.Config{Dir: filepath.Join(dir, "audit"), Interval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	b.log = log
	s := &Server{Socket: filepath.Join(dir, "new", "s"), Backend: b, Logger: slog.New(slog.DiscardHandler)}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	stopLog, stopServer := running(t, log.Run), running(t, s.Run)
	c, err := Dial(t.Context(), s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		stopServer()
		stopLog()
	})
	return &world{Client: c, log: log, socket: s.Socket, stop: stopServer}
}

// running runs f until the function that it returns is called, which waits.
func running(t *testing.T, f func(context.Context) error) func() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	return func() {
		cancel()
		if err, first := <-ended; first {
			close(ended)
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// record records a query for a name of one label.
func (w *world) record(t *testing.T, name string) {
	t.Helper()
	wire := append(append([]byte{byte(len(name))}, name...), 0)
	if !w.log.Record(&audit.Event{Time: time.Now().UnixNano(), Client: netip.MustParseAddr("192.0.2.1"), Name: wire, Type: 1, Class: 1, EDE: -1}) {
		t.Fatal("not recorded")
	}
}

func TestRequests(t *testing.T) {
	b := &backend{}
	w := newWorld(t, b)
	ctx := t.Context()
	if st, err := w.Status(ctx); err != nil || st.PID != os.Getpid() {
		t.Errorf("Status: %+v, %v", st, err)
	}
	if l, err := w.Lists(ctx); err != nil || len(l) != 1 || l[0].Ignored["why"] != 1 {
		t.Errorf("Lists: %+v, %v", l, err)
	}
	if h, err := w.Find(ctx, "a b&c=d"); err != nil || len(h) != 1 || h[0].Entry != "a b&c=d" {
		t.Errorf("find: %v, %v", h, err)
	}
	if _, err := w.Find(ctx, ""); err == nil || err.Error() != "no name" {
		t.Errorf("find without a name: %v", err)
	}
	for _, action := range ListActions {
		if done, err := w.ListAction(ctx, action, "https://a.example/?b=c&d"); err != nil || done != action+" of https://a.example/?b=c&d" {
			t.Errorf("%s: %q, %v", action, done, err)
		}
		if _, err := w.ListAction(ctx, action, "none"); err == nil || err.Error() != "no list is called none" {
			t.Errorf("%s of no list: %v", action, err)
		}
		done, err := w.ListAction(ctx, action, "")
		if every := action == "refresh"; every != (err == nil) || every != (done == "refresh of ") {
			t.Errorf("%s without a name: %q, %v", action, done, err)
		}
		if res, err := w.http.Get("http://weir/v1/lists/" + action + "?name=a"); err != nil || res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("GET of %s: %v, %v", action, res, err)
		} else {
			_ = res.Body.Close()
		}
	}
	for _, action := range []string{"drop", "find", "", "a/b"} {
		if _, err := w.ListAction(ctx, action, "a"); err == nil {
			t.Errorf("lists know %q", action)
		}
	}
	for name, want := range map[string]string{"a&all=1": "forgot a&all=1", "": "forgot ", "none": ""} {
		if done, err := w.FlushCache(ctx, name); done != want || (err == nil) != (name != "none") {
			t.Errorf("flush of %q: %q, %v", name, done, err)
		}
	}
	for _, query := range []string{"", "?name=", "?all=0", "?all=1&name=a"} {
		if res, err := w.http.Post("http://weir/v1/cache/flush"+query, "", nil); err != nil || res.StatusCode != http.StatusBadRequest {
			t.Errorf("flush%s: %v, %v", query, res, err)
		} else {
			_ = res.Body.Close()
		}
	}
	if res, err := w.http.Get("http://weir/v1/cache/flush?name=a"); err != nil || res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET of a flush: %v, %v", res, err)
	} else {
		_ = res.Body.Close()
	}
	if e, err := w.Explain(ctx, Question{Name: "a b&c=d", Type: "A", Client: "::1"}); err != nil || e.Name != "a b&c=d" || e.Client != "::1" || len(e.Steps) != 1 {
		t.Errorf("Explain: %+v, %v", e, err)
	}
	if _, err := w.Explain(ctx, Question{Type: "A", Client: "::1"}); err == nil || err.Error() != "no name" {
		t.Errorf("Explain without name: %v", err)
	}
	if r, err := w.Reload(ctx); err != nil || r.Revision != 2 {
		t.Errorf("Reload: %+v, %v", r, err)
	}
	b.reload = errors.New("line 1: no\nline 2: no")
	if _, err := w.Reload(ctx); err == nil || err.Error() != b.reload.Error() {
		t.Errorf("Reload refused: %v", err)
	}
	// Nothing that changes state answers to GET.
	if res, err := w.http.Get("http://weir/v1/reload"); err != nil || res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET of a change: %v, %v", res, err)
	} else {
		_ = res.Body.Close()
	}
	if err := w.call(ctx, http.MethodGet, "/v1/nothing", nil, new(Status)); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("unknown resource: %v", err)
	}
	for _, query := range []string{"limit=x", "nonsense=1", "client=everybody", "type=65536", "since=today", "seq_from=-1", "seq_to=x"} {
		res, err := w.http.Get("http://weir/v1/audit/search?" + query)
		if err != nil {
			t.Fatal(err)
		}
		var said trailer
		if err := json.NewDecoder(res.Body).Decode(&said); err != nil || res.StatusCode != http.StatusBadRequest || said.Error == "" {
			t.Errorf("%s: %s, %+v, %v", query, res.Status, said, err)
		}
		_ = res.Body.Close()
	}
}

// TestSearch asserts that a search sees what was recorded just before it, in order, and no more than is asked for.
func TestSearch(t *testing.T) {
	w := newWorld(t, &backend{})
	const n = 1000
	for i := range n {
		w.record(t, fmt.Sprintf("name-%d", i))
	}
	var names []string
	collect := func(r *audit.Record) error {
		names = append(names, r.Name)
		return nil
	}
	if err := w.Search(t.Context(), audit.Query{Oldest: true}, collect); err != nil {
		t.Fatal(err)
	}
	if len(names) != n || names[0] != "name-0" || names[n-1] != fmt.Sprintf("name-%d", n-1) {
		t.Errorf("%d records, from %s to %s", len(names), names[0], names[len(names)-1])
	}
	names = nil
	if err := w.Search(t.Context(), audit.Query{Name: []byte("\x06name-7\x00"), Limit: 5}, collect); err != nil || len(names) != 1 {
		t.Errorf("records of one name: %q, %v", names, err)
	}
	enough := errors.New("enough")
	if err := w.Search(t.Context(), audit.Query{}, func(*audit.Record) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the error of emit came back as %v", err)
	}
	rep, err := w.Verify(t.Context(), audit.Verification{}, nil)
	const reads = 3 // those before it, which are on record
	if err != nil || rep.Records < n+reads || rep.Records > n+reads+1 || len(rep.Problems) > 0 {
		t.Errorf("Verify: %+v, %v", rep, err)
	}
}

// TestRecordsComeWhole asserts that records come as the store has them, whatever is in them and however long they are.
func TestRecordsComeWhole(t *testing.T) {
	w := newWorld(t, &backend{})
	w.record(t, "plain")
	w.record(t, "od\x00d<\xff")
	w.log.RecordChange(audit.Change{Action: "long", Text: strings.Repeat("\x00", 1<<16)})
	w.record(t, "plain")
	const n = 4
	var want, kept []*audit.Record
	keep := func(to *[]*audit.Record) func(*audit.Record) error {
		return func(r *audit.Record) error {
			*to = append(*to, r)
			return nil
		}
	}
	all := audit.Query{Oldest: true, SeqTo: n}
	if err := w.Search(t.Context(), all, keep(&kept)); err != nil {
		t.Fatal(err)
	}
	if err := w.log.Reader().Search(t.Context(), all, keep(&want)); err != nil || len(want) != n {
		t.Fatal(len(want), err)
	}
	if d := cmp.Diff(want, kept, cmp.Comparer(func(a, b audit.Client) bool { return a == b })); d != "" {
		t.Error(d)
	}
	i := 0
	if err := w.Each(t.Context(), all, func(r *audit.Record) error {
		if got, want := r.AppendJSON(nil), want[i].AppendJSON(nil); !bytes.Equal(got, want) {
			t.Errorf("%.200s, want %.200s", got, want)
		}
		i++
		return nil
	}); err != nil || i != n {
		t.Error(i, err)
	}
}

// TestTop asserts that what is counted by the server is what its store holds, to the record just before.
func TestTop(t *testing.T) {
	w := newWorld(t, &backend{})
	for i := range 100 {
		w.record(t, fmt.Sprintf("name-%d", i%7))
	}
	q := audit.Query{Name: []byte("\x06name-3\x00")}
	for _, by := range audit.Dimensions() {
		for _, q := range []audit.Query{{}, q, {Observed: true}} {
			got, err := w.Top(t.Context(), q, by, 3, 4)
			if err != nil {
				t.Fatal(err)
			}
			want, err := w.log.Reader().Top(t.Context(), q, by, 3, 4)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(audit.Client{})); diff != "" {
				t.Errorf("%+v by %s (-store +server):\n%s", q, by, diff)
			}
		}
	}
	top, err := w.Top(t.Context(), audit.Query{}, audit.ByName, 3, 4)
	if err != nil || top.Records != 100 || top.Keys != 7 || len(top.Rows) != 3 || top.Rows[0].Count != 15 || top.Others != 56 {
		t.Errorf("%+v, %v", top, err)
	}
	if _, err := w.Top(t.Context(), audit.Query{}, "colours", 3, 4); err == nil || !strings.HasPrefix(err.Error(), `by="colours": write one of [names `) {
		t.Errorf("by what is no dimension: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Top(ctx, audit.Query{}, audit.ByName, 3, 4); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestTail asserts that a tail without a beginning shows what comes after it, and ends with who reads it or with the server.
func TestTail(t *testing.T) {
	w := newWorld(t, &backend{})
	w.record(t, "before")
	if err := w.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	tail := func(ctx context.Context, from uint64) (<-chan string, <-chan error) {
		seen, ended := make(chan string, 100), make(chan error, 1)
		go func() {
			ended <- w.Tail(ctx, audit.Query{}, from, func(r *audit.Record) error {
				seen <- r.Name
				return nil
			}, audit.Lag{})
		}()
		return seen, ended
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen, ended := tail(ctx, 0)
	first := ""
	for i := 0; first == ""; i++ { // until it is connected nothing shows
		w.record(t, fmt.Sprintf("after-%d", i))
		if err := w.log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case first = <-seen:
		default:
		}
	}
	if !strings.HasPrefix(first, "after-") {
		t.Errorf("the tail began with %q", first)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a tail that was left ended with %v", err)
	}

	seen, ended = tail(t.Context(), 1)
	if first := <-seen; first != "before" {
		t.Errorf("a tail from the first record began with %q", first)
	}
	w.stop()
	if err := <-ended; err == nil || err.Error() != "the server stopped" {
		t.Errorf("the tail ended with %v", err)
	}
}

// TestStreamCut asserts that a stream that does not say its end is an error and not a short answer.
func TestStreamCut(t *testing.T) {
	record := `{"seq":1,"kind":"query","time":"2026-01-02T03:04:05Z"}` + "\n"
	for body, want := range map[string]string{
		"":                                      "the stream was cut",
		record:                                  "the stream was cut",
		record + `{"end":`:                      "the stream was cut",
		record + `{"error":"segment 7"}` + "\n": "segment 7",
		record + "nonsense\n":                   "invalid character",
		record + `{"end":true}` + "\n":          "",
	} {
		socket := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })}
		stop := running(t, func(ctx context.Context) error {
			go func() { <-ctx.Done(); _ = h.Close() }()
			if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		c, err := Dial(t.Context(), socket)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Search(t.Context(), audit.Query{}, func(r *audit.Record) error {
			if r.Seq != 1 {
				t.Errorf("record %+v", r)
			}
			return nil
		})
		if got := fmt.Sprint(err); (err == nil) != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %v, want %q", body, err, want)
		}
		_ = c.Close()
		stop()
	}
}

// TestSocket asserts who may connect, and what of an earlier server is in the way of a new one.
func TestSocket(t *testing.T) {
	w := newWorld(t, &backend{})
	info, err := os.Stat(w.socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v, want mode 0600", info.Mode(), err)
	}
	second := &Server{Socket: w.socket, Backend: &backend{}, Logger: slog.New(slog.DiscardHandler)}
	if err := second.Listen(); err == nil || !strings.Contains(err.Error(), "already answers") {
		t.Errorf("a second server: %v", err)
	}
	if _, err := w.Status(t.Context()); err != nil {
		t.Errorf("the first server after that: %v", err)
	}
	w.stop()
	if _, err := os.Lstat(w.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, err := Dial(t.Context(), w.socket); !errors.Is(err, ErrNoServer) {
		t.Errorf("Dial without a server: %v", err)
	}

	// What a server that was killed leaves behind is replaced.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.socket})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	if _, err := Dial(t.Context(), w.socket); !errors.Is(err, ErrNoServer) {
		t.Errorf("Dial of a stale socket: %v", err)
	}
	if err := second.Listen(); err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	second.Close()

	// What is no socket is left alone.
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&Server{Socket: file}).Listen(); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file in the way: %v", err)
	}
	if text, err := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

// TestReadsAreOnRecord: who reads is recorded, and what was asked for.
func TestReadsAreOnRecord(t *testing.T) {
	w := newWorld(t, &backend{})
	ctx := t.Context()
	none := func(*audit.Record) error { return nil }
	q := audit.Query{Name: []byte("\x04shop\x07example\x00"), Kind: audit.KindQuery, Limit: 3}
	w.Verb = "export"
	if err := w.Search(ctx, q, none); err != nil {
		t.Fatal(err)
	}
	w.Verb = "" // as a client that knows of none
	if err := w.Search(ctx, audit.Query{}, none); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Top(ctx, audit.Query{}, audit.ByClient, 2, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Verify(ctx, audit.Verification{}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Explain(ctx, Question{Name: "x", Seq: 17}); err != nil {
		t.Fatal(err)
	}
	w.Verb = "Export=1"
	if err := w.Search(ctx, q, none); err == nil {
		t.Error("a verb that is none was taken")
	}
	tail, stop := context.WithCancel(ctx)
	if err := w.Tail(tail, audit.Query{SeqFrom: 2}, 1, func(*audit.Record) error { stop(); return nil }, audit.Lag{}); err != nil && tail.Err() == nil {
		t.Fatal(err)
	}
	if err := w.log.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := w.log.Reader().Search(ctx, audit.Query{Oldest: true}, func(r *audit.Record) error {
		if r.Actor != peer() {
			t.Errorf("record %d: actor %q, want %q", r.Seq, r.Actor, peer())
		}
		got = append(got, r.Action+" "+r.Text)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`read-export export: kind="query" limit="3" name="shop.example"`,
		`read-search search: everything`,
		`read-top top clients: limit="2"`,
		`read-verify verify: everything`,
		`read-explain explain: record 17`,
		`read-tail tail: seq_from="2"`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// peer is who this process is to the server, where that can be known.
func peer() string {
	if runtime.GOOS != "linux" {
		return ""
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}
