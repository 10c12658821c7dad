package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A web is a DNS server over HTTP/2 on loopback that does what its script says.
type web struct {
	script  func(w http.ResponseWriter, n int, query []byte)
	cert    tls.Certificate // a good one if there is none
	streams int             // at most on a connection; 0 means many

	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	queries  [][]byte
	resumed  []bool // of the connection of each request
	conns    atomic.Int64
}

// start starts the server; it is closed when the test ends.
func (s *web) start(t testing.TB) *web {
	t.Helper()
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client is gone
		}
		s.mu.Lock()
		s.requests, s.queries, s.resumed = append(s.requests, r), append(s.queries, query), append(s.resumed, r.TLS.DidResume)
		n := len(s.requests) - 1
		s.mu.Unlock()
		s.script(w, n, query)
	}))
	if s.cert.Certificate == nil {
		s.cert = authority().issue(certificate{addr: netip.MustParseAddr("127.0.0.1")})
	}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{s.cert}}
	s.EnableHTTP2 = true
	s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: s.streams}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of each client that hangs up
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Server.Close)
	return s
}

// url is where the server answers, with more behind the path.
func (s *web) url(more string) string { return s.URL + "/dns-query" + more }

func (s *web) open(t testing.TB, opt Options) Exchanger {
	t.Helper()
	if opt.Roots == nil {
		opt.Roots = authority().roots
	}
	return openURL(t, s.url("#"+serverName), opt)
}

// give writes a response as it should be.
func give(w http.ResponseWriter, packet []byte) {
	w.Header().Set("Content-Type", dnsMessage)
	w.Write(packet)
}

// kind is an honest web server.
func kind() *web {
	return &web{script: func(w http.ResponseWriter, _ int, query []byte) { give(w, answer(query)) }}
}

func TestHTTPSRequest(t *testing.T) {
	s := kind().start(t)
	x := s.open(t, Options{})
	for range 5 {
		m, err := x.Exchange(within(t, patient), ask("www.example.test."))
		checkAnswer(t, m, err)
	}
	for i, r := range s.requests {
		if r.Method != "POST" || r.ProtoMajor != 2 || r.URL.Path != "/dns-query" || r.URL.RawQuery != "" || r.Host != serverName+s.URL[strings.LastIndex(s.URL, ":"):] {
			t.Errorf("request %s %s of %s by %s", r.Method, r.URL, r.Host, r.Proto)
		}
		want := http.Header{"Content-Type": {dnsMessage}, "Accept": {dnsMessage}, "Content-Length": {"128"}}
		if fmt.Sprint(r.Header) != fmt.Sprint(want) {
			t.Errorf("headers %v, want %v", r.Header, want)
		}
		q := parse(t, s.queries[i])
		if o := q.IsEdns0(); q.Id != 0 || len(s.queries[i])%padBlock != 0 || len(o.Option) != 1 {
			t.Errorf("query of %d octets, want the ID 0 and padding:\n%v", len(s.queries[i]), q)
		}
	}
	if st := x.Stats(); s.conns.Load() != 1 || st.Opened != 1 || st.Connections != 1 || st.Sent != 5 {
		t.Errorf("%d connections, stats %+v; want one for all", s.conns.Load(), st)
	}
}

func TestHTTPSResponses(t *testing.T) {
	typed := func(kind string) func(http.ResponseWriter, []byte) {
		return func(w http.ResponseWriter, q []byte) {
			w.Header()["Content-Type"] = []string{kind}
			w.Write(answer(q))
		}
	}
	status := func(code int) func(http.ResponseWriter, []byte) {
		return func(w http.ResponseWriter, q []byte) {
			w.Header().Set("Content-Type", dnsMessage)
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
			w.Write(answer(q))
		}
	}
	long := func(n int) func(http.ResponseWriter, []byte) {
		return func(w http.ResponseWriter, q []byte) {
			b := answer(q)
			give(w, append(b, make([]byte, n-len(b))...))
		}
	}
	for _, tc := range []struct {
		name   string
		script func(w http.ResponseWriter, query []byte)
		want   string // the error, or nothing
	}{
		{"type with a parameter", typed(dnsMessage + "; charset=utf-8"), ""},
		{"type in other case", typed("Application/DNS-Message"), ""},
		{"page", typed("text/html; charset=utf-8"), `of the type "text/html`},
		{"JSON", typed("application/dns-json"), "of the type"},
		{"no type", typed(""), `of the type ""`},
		{"odd type", typed("application/dns-message;;;\x01"), "of the type"},
		{"bad request", status(400), "HTTP status 400"},
		{"no such page", status(404), "HTTP status 404"},
		{"unsupported type", status(415), "HTTP status 415"},
		{"redirect", status(307), "HTTP status 307"},
		{"other success", status(201), "HTTP status 201"},
		{"out of service", status(503), "HTTP status 503"},
		{"too many", status(429), "HTTP status 429"},
		{"largest", long(65535), ""},
		{"too large", long(65536), "longer than"},
		{"endless", func(w http.ResponseWriter, q []byte) {
			w.Header().Set("Content-Type", dnsMessage)
			for {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, "longer than"},
		{"empty", func(w http.ResponseWriter, _ []byte) { give(w, nil) }, "holds no reply"},
		{"truncated", func(w http.ResponseWriter, q []byte) {
			give(w, reply(q, func(m *dns.Msg) { m.Truncated = true }))
		}, "truncated"},
		{"by the octet", func(w http.ResponseWriter, q []byte) {
			w.Header().Set("Content-Type", dnsMessage)
			for _, c := range answer(q) {
				w.Write([]byte{c})
				w.(http.Flusher).Flush()
			}
		}, ""},
		{"ends in the body", func(w http.ResponseWriter, q []byte) {
			w.Header().Set("Content-Length", "500")
			give(w, answer(q))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "reading the HTTP response"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := (&web{script: func(w http.ResponseWriter, _ int, q []byte) { tc.script(w, q) }}).start(t)
			x := s.open(t, Options{})
			m, err := x.Exchange(within(t, patient), ask("www.example.test."))
			if tc.want == "" {
				checkAnswer(t, m, err)
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if st := x.Stats(); st.Sent != 1 || st.Failures != 1 || st.Answered != 0 {
				t.Errorf("stats %+v, want one query and one failure", st)
			}
		})
	}
}

func TestHTTPSLies(t *testing.T) {
	for _, lie := range lies {
		if lie.name == "wrong ID" {
			lie.make = func(q []byte) []byte { return reply(q, func(m *dns.Msg) { m.Id = 1 }) }
		}
		t.Run(lie.name, func(t *testing.T) {
			x := (&web{script: func(w http.ResponseWriter, _ int, q []byte) { give(w, lie.make(q)) }}).start(t).open(t, Options{})
			_, err := x.Exchange(within(t, patient), ask("www.example.test."))
			if err == nil || !strings.Contains(err.Error(), "holds no reply") {
				t.Errorf("error %v, want that this is no reply", err)
			}
			if st := x.Stats(); st.Ignored != 1 || st.Failures != 1 || st.Sent != 1 {
				t.Errorf("stats %+v, want one ignored", st)
			}
		})
	}
}

func TestHTTPSEDNSRefused(t *testing.T) {
	s := (&web{script: func(w http.ResponseWriter, _ int, q []byte) {
		if q[11] > 0 {
			give(w, coded(dns.RcodeFormatError)(q))
			return
		}
		give(w, answer(q))
	}}).start(t)
	m, err := s.open(t, Options{}).Exchange(within(t, patient), ask("www.example.test."))
	checkAnswer(t, m, err)
}

// TestHTTPSAge holds that the time in HTTP caches counts (RFC 8484 §5.1).
func TestHTTPSAge(t *testing.T) {
	for seconds, want := range map[string]uint32{"25": 35, "100": 0, "": 60, "-1": 60, "x": 60, "99999999999": 60} {
		s := (&web{script: func(w http.ResponseWriter, _ int, q []byte) {
			if seconds != "" {
				w.Header().Set("Age", seconds)
			}
			give(w, answer(q))
		}}).start(t)
		m, err := s.open(t, Options{}).Exchange(within(t, patient), ask("www.example.test."))
		checkAnswer(t, m, err)
		if got := m.Answer[0].Header().Ttl; got != want {
			t.Errorf("Age %q: TTL %d, want %d", seconds, got, want)
		}
	}
}

func TestHTTPSServerProvesWhoItIs(t *testing.T) {
	a := authority()
	for _, tc := range []struct {
		name string
		cert certificate
		tail string
		want string
	}{
		{"name", certificate{}, "#" + serverName, ""},
		{"address", certificate{addr: netip.MustParseAddr("127.0.0.1")}, "", ""},
		{"not its address", certificate{}, "", "127.0.0.1"},
		{"another name", certificate{name: "other.example.test"}, "#" + serverName, "other.example.test"},
		{"expired", certificate{until: time.Now().Add(-time.Minute)}, "#" + serverName, "expired"},
		{"unknown issuer", certificate{self: true}, "#" + serverName, "unknown authority"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := kind()
			s.cert = a.issue(tc.cert)
			s.start(t)
			x := openURL(t, s.url(tc.tail), Options{Roots: a.roots})
			m, err := x.Exchange(within(t, patient), ask("www.example.test."))
			if tc.want == "" {
				checkAnswer(t, m, err)
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || len(s.queries) != 0 {
				t.Errorf("error %v after %d queries came; want one that tells %q before any", err, len(s.queries), tc.want)
			}
		})
	}
}

// TestHTTP1IsRefused holds that a server without HTTP/2 gets no query.
func TestHTTP1IsRefused(t *testing.T) {
	r := &rogue{tls: serve(authority().issue(certificate{}))}
	for _, protocols := range [][]string{nil, {"http/1.1"}} {
		r.tls.NextProtos = protocols
		r.start(t)
		x := openURL(t, "https://"+r.addr+"/dns-query#"+serverName, Options{Roots: authority().roots})
		if _, err := x.Exchange(within(t, patient), ask("www.example.test.")); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q: error %v, want one at once", protocols, err)
		}
		if n := len(r.seen(t)); n != 0 {
			t.Errorf("%q: something was sent that passes for a query", protocols)
		}
	}
}

// TestHTTPSOfGarbage holds that what is no HTTP/2 ends in an error.
func TestHTTPSOfGarbage(t *testing.T) {
	for _, garbage := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", strings.Repeat("\xff", 100), "\x00\x00\x00\x04\x00\x00\x00\x00\x00\xff\xff\xff\x01\x00\x00\x00\x00"} {
		r := &rogue{tls: serve(authority().issue(certificate{}))}
		r.tls.NextProtos = []string{"h2"}
		r.tcp = func(_ int, _ []byte, conn net.Conn) {
			conn.Write([]byte(garbage))
			untilClosed(conn)
		}
		r.start(t) // "PR" of the preface passes for a length
		x := openURL(t, "https://"+r.addr+"/dns-query#"+serverName, Options{Roots: authority().roots})
		if _, err := x.Exchange(within(t, impatient), ask("www.example.test.")); err == nil {
			t.Error("no error")
		}
	}
}
