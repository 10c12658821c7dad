package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"github.com/miekg/dns"
)

const dnsMessage = "application/dns-message" // RFC 8484 §6

// An https asks over HTTP/2 (RFC 8484), with nothing of its own in a request that
// would tell one asker from another: no cookie, no user agent, the ID 0.
type https struct {
	server
	resource *url.URL
	header   http.Header   // of every request; never changed
	room     chan struct{} // holds one for each query in flight, and is full once closed
	conns    *webConns
	close    sync.Once
}

func openHTTPS(text string, opt Options) (Exchanger, error) {
	target, err := ParseHTTPS(text)
	if err != nil {
		return nil, fmt.Errorf("upstream \"https://%s\": %w", text, err)
	}
	h := &https{
		header: http.Header{"Content-Type": {dnsMessage}, "Accept": {dnsMessage}, "User-Agent": {""}},
		room:   make(chan struct{}, maxStreams*fullStream),
	}
	if err := h.reach(target, opt); err != nil {
		return nil, err
	}
	h.padded, h.trusty = true, true
	authority := target.Verify
	if target.Addr.Addr().Is6() && authority == target.Addr.Addr().WithZone("").String() {
		authority = "[" + authority + "]"
	}
	if port := target.Addr.Port(); port != defaultHTTPSPort {
		authority = fmt.Sprintf("%s:%d", authority, port)
	}
	if h.resource, err = url.Parse("https://" + authority + target.Path); err != nil {
		return nil, fmt.Errorf("upstream %q: %w", h.url, err)
	}
	h.conns = newWebConns(&h.server, h.resource.Hostname(), target, opt)
	return h, nil
}

func (h *https) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	return h.exchange(ctx, q, h)
}

// Close waits for the queries in flight and leaves no room for others.
func (h *https) Close() (err error) {
	h.close.Do(func() {
		for range cap(h.room) {
			h.room <- struct{}{}
		}
		h.conns.Close()
		err = h.names.Close()
	})
	return err
}

// ask posts the query, and once more if there is no response to it for a reason
// that may be gone: a server may close a connection when a query is on its way, or
// refuse one while we do not know yet how many at once it allows.
func (h *https) ask(ctx context.Context, a *attempt) (*dns.Msg, finding, error) {
	select {
	case h.room <- struct{}{}:
	default:
		return nil, foreign, errBusy
	}
	defer func() { <-h.room }()

	// The deadline of ctx is told, not watched; see bounded.
	ctx, cancel := context.WithDeadline(ctx, a.deadline)
	defer cancel()
	copy(a.packet(), "\x00\x00") // the ID, RFC 8484 §4.1
	for again := true; ; again = false {
		conn, reused, err := h.conns.reserve(ctx)
		if err != nil {
			return nil, foreign, err
		}
		reply, found, err := h.post(ctx, a, conn)
		var answered *responseError
		if err == nil || !again || a.messages >= maxMessages || ctx.Err() != nil || errors.As(err, &answered) {
			return reply, found, err
		}
		if !reused && conn.Err() != nil {
			return nil, foreign, err
		}
	}
}

// A responseError is an HTTP response that brings no reply.
type responseError struct{ error }

func (e *responseError) Unwrap() error { return e.error }

// post makes one request, for which conn is reserved, and reads what comes of it.
func (h *https) post(ctx context.Context, a *attempt, conn *http.ClientConn) (*dns.Msg, finding, error) {
	body := bytes.NewReader(bytes.Clone(a.packet())) // it may be read until the connection has ended
	r := (&http.Request{
		Method: http.MethodPost, URL: h.resource, Header: h.header,
		Body: io.NopCloser(body), ContentLength: body.Size(),
	}).WithContext(ctx)
	a.messages++
	h.sent.Add(1)
	response, err := conn.RoundTrip(r)
	if err != nil {
		return nil, foreign, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, foreign, &responseError{fmt.Errorf("HTTP status %d", response.StatusCode)}
	}
	if kind := response.Header.Get("Content-Type"); !isDNSMessage(kind) {
		return nil, foreign, &responseError{fmt.Errorf("HTTP response of the type %.60q", kind)}
	}
	packet, err := io.ReadAll(io.LimitReader(response.Body, dns.MaxMsgSize+1))
	if err != nil {
		return nil, foreign, &responseError{fmt.Errorf("reading the HTTP response: %w", err)}
	}
	if len(packet) > dns.MaxMsgSize {
		return nil, foreign, &responseError{errors.New("HTTP response is longer than a DNS message can be")}
	}
	reply, found := accept(&a.query, packet, dns.MaxMsgSize)
	switch found {
	case foreign, deadly:
		h.ignore(found, &a.query, packet)
		return nil, foreign, &responseError{errors.New("HTTP response holds no reply to the query")}
	case cut:
		return nil, foreign, &responseError{errors.New("reply by HTTP is truncated")}
	case replied:
		age(reply, response.Header.Get("Age"))
	}
	return reply, found, nil
}

func isDNSMessage(kind string) bool {
	media, _, err := mime.ParseMediaType(kind)
	return err == nil && media == dnsMessage
}

// age takes the seconds that a reply spent in HTTP caches from its TTLs (RFC 8484
// §5.1).
func age(m *dns.Msg, seconds string) {
	n, err := strconv.ParseUint(seconds, 10, 32)
	if err != nil {
		return
	}
	for _, section := range [...][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(h.Ttl, uint32(n))
			}
		}
	}
}
