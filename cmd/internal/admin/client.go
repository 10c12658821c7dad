package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"weir/audit"
)

// ErrNoServer says that nobody answers on the socket.
var ErrNoServer = errors.New("no server answers")

// Client speaks to the server behind a Unix socket.
type Client struct {
	// Verb is what Search is called for, in the record that it leaves; empty is "search".
	Verb string

	socket string
	http   *http.Client
}

// Dial connects to the server behind socket. The error is ErrNoServer, wrapped,
// when there is none.
func Dial(ctx context.Context, socket string) (*Client, error) {
	var d net.Dialer
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) }
	c, err := dial(ctx, "", "")
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return nil, err
		}
		return nil, fmt.Errorf("%w on %s: %w", ErrNoServer, socket, err)
	}
	_ = c.Close()
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

// Close ends the client's connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Status asks how the server is doing.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Metrics writes the server's metrics, in the text format of Prometheus.
func (c *Client) Metrics(ctx context.Context, out io.Writer) error {
	res, err := c.do(ctx, http.MethodGet, "/metrics", nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(out, res.Body); err != nil {
		return fmt.Errorf("server on %s: %w", c.socket, err)
	}
	return nil
}

// Lists asks which lists are loaded.
func (c *Client) Lists(ctx context.Context) (l []List, err error) {
	return l, c.call(ctx, http.MethodGet, "/v1/lists", nil, &l)
}

// Find asks which lists hold a name.
func (c *Client) Find(ctx context.Context, name string) (h []Holding, err error) {
	return h, c.call(ctx, http.MethodGet, "/v1/lists/find", url.Values{"name": {name}}, &h)
}

// ListAction asks for one of ListActions; see Backend.
func (c *Client) ListAction(ctx context.Context, action, name string) (string, error) {
	v := url.Values{}
	if name != "" {
		v.Set("name", name)
	}
	var d Done
	err := c.call(ctx, http.MethodPost, "/v1/lists/"+url.PathEscape(action), v, &d)
	return d.Done, err
}

// Explain asks what would happen to a question.
func (c *Client) Explain(ctx context.Context, q Question) (e Explanation, err error) {
	return e, c.call(ctx, http.MethodGet, "/v1/explain", encodeQuestion(q), &e)
}

// Exceptions asks for the exceptions; see Backend.
func (c *Client) Exceptions(ctx context.Context) (list []Exception, err error) {
	return list, c.call(ctx, http.MethodGet, "/v1/exceptions", nil, &list)
}

// AddException asks for an exception.
func (c *Client) AddException(ctx context.Context, q ExceptionRequest) (e Exception, err error) {
	return e, c.post(ctx, "/v1/exceptions/add", q, &e)
}

// ExtendException makes one last longer.
func (c *Client) ExtendException(ctx context.Context, q ExceptionRequest) (e Exception, err error) {
	return e, c.post(ctx, "/v1/exceptions/extend", q, &e)
}

// RemoveException ends one.
func (c *Client) RemoveException(ctx context.Context, q ExceptionRequest) (e Exception, err error) {
	return e, c.post(ctx, "/v1/exceptions/remove", q, &e)
}

// FlushCache makes the cache forget a name, or everything; see Backend.
func (c *Client) FlushCache(ctx context.Context, name string) (string, error) {
	v := url.Values{"name": {name}}
	if name == "" {
		v = url.Values{"all": {"1"}}
	}
	var d Done
	err := c.call(ctx, http.MethodPost, "/v1/cache/flush", v, &d)
	return d.Done, err
}

// Index says what the audit log's index has.
func (c *Client) Index(ctx context.Context) (s audit.IndexStats, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/audit/index", nil, &s)
}

// Reindex lets the audit log's index be made again.
func (c *Client) Reindex(ctx context.Context) (s audit.IndexStats, err error) {
	return s, c.call(ctx, http.MethodPost, "/v1/audit/index/rebuild", nil, &s)
}

// Reload makes the server read its configuration and lists again.
func (c *Client) Reload(ctx context.Context) (r Reload, err error) {
	return r, c.call(ctx, http.MethodPost, "/v1/reload", nil, &r)
}

// Verify proves the audit store; see audit.Reader.
func (c *Client) Verify(ctx context.Context, how audit.Verification, _ func(audit.Report)) (r audit.Report, err error) {
	return r, c.post(ctx, "/v1/audit/verify", encodeVerification(how), &r)
}

// Prove writes a bundle of proofs; see audit.Reader.
func (c *Client) Prove(ctx context.Context, q audit.Query, out io.Writer) (proven int, err error) {
	res, err := c.do(ctx, http.MethodGet, "/v1/audit/prove", encodeQuery(q), nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return proven, fmt.Errorf("server on %s: %w", c.socket, errors.Join(ctx.Err(), errCut))
		}
		var t proofTrailer
		if json.Unmarshal(line, &t) == nil && t.Proven != nil {
			if t.Unproven {
				return *t.Proven, audit.ErrUnproven
			}
			if t.Error != "" {
				return *t.Proven, errors.New(t.Error)
			}
			return *t.Proven, nil
		}
		if _, err := out.Write(line); err != nil {
			return proven, err
		}
	}
}

// Search streams records; see audit.Reader.
func (c *Client) Search(ctx context.Context, q audit.Query, emit func(*audit.Record) error) error {
	return c.search(ctx, q, &lines{emit: emit})
}

// Each is like Search; see audit.Reader.
func (c *Client) Each(ctx context.Context, q audit.Query, emit func(*audit.Record) error) error {
	return c.search(ctx, q, &lines{emit: emit, records: audit.JSONDecoder{Reuse: true}})
}

func (c *Client) search(ctx context.Context, q audit.Query, to *lines) error {
	v := encodeQuery(q)
	if c.Verb != "" {
		v.Set("verb", c.Verb)
	}
	return c.stream(ctx, "/v1/audit/search", v, to)
}

// Tail streams records as they are sealed, beginning with the sequence number
// from; 0 means from now on. It ends with ctx, or with the server. See audit.Log.Tail
// for what lag does.
func (c *Client) Tail(ctx context.Context, q audit.Query, from uint64, emit func(*audit.Record) error, lag audit.Lag) error {
	v := encodeQuery(q)
	v.Set("from", strconv.FormatUint(from, 10))
	v.Set("lag", strconv.FormatUint(lag.Most, 10))
	return c.stream(ctx, "/v1/audit/tail", v, &lines{emit: emit, skipped: lag.Skipped})
}

func (c *Client) call(ctx context.Context, method, path string, v url.Values, into any) error {
	res, err := c.do(ctx, method, path, v, nil)
	if err != nil {
		return err
	}
	return c.decode(res, into)
}

// post sends what was said as JSON.
func (c *Client) post(ctx context.Context, path string, what, into any) error {
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	res, err := c.do(ctx, http.MethodPost, path, nil, body)
	if err != nil {
		return err
	}
	return c.decode(res, into)
}

func (c *Client) decode(res *http.Response, into any) error {
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return fmt.Errorf("server on %s: %w", c.socket, err)
	}
	return nil
}

// do sends a request; the error of a refusal is the server's own text.
func (c *Client) do(ctx context.Context, method, path string, v url.Values, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://weir"+path+"?"+v.Encode(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("server on %s: %w", c.socket, err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	var t trailer
	if json.NewDecoder(res.Body).Decode(&t) != nil || t.Error == "" {
		return nil, fmt.Errorf("server on %s: %s", c.socket, res.Status)
	}
	return nil, errors.New(t.Error)
}

var errCut = errors.New("the stream was cut: the server stopped")

// lines are what becomes of a stream's.
type lines struct {
	records audit.JSONDecoder
	emit    func(*audit.Record) error
	skipped func(uint64) error // is told of those that the server has passed over; may be nil
}

// stream reads records until the server has said how they end.
func (c *Client) stream(ctx context.Context, path string, v url.Values, to *lines) error {
	res, err := c.do(ctx, http.MethodGet, path, v, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	in := bufio.NewReaderSize(res.Body, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			var rest []byte
			line = slices.Clone(line)
			rest, err = in.ReadBytes('\n')
			line = append(line, rest...)
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("server on %s: %w", c.socket, errCut)
		}
		if ended, err := c.take(bytes.TrimSuffix(line, []byte("\n")), to); err != nil || ended {
			return err
		}
	}
}

// take reads a line, which is a record or a trailer. It has ended with one that says so.
func (c *Client) take(line []byte, to *lines) (ended bool, err error) {
	if bytes.HasPrefix(line, []byte(`{"seq":`)) {
		r, err := to.records.Decode(line)
		if err != nil {
			return false, fmt.Errorf("server on %s: %w", c.socket, err)
		}
		return false, to.emit(r)
	}
	var t trailer
	if err := json.Unmarshal(line, &t); err != nil {
		return false, fmt.Errorf("server on %s: %w", c.socket, err)
	}
	switch {
	case t.Error != "":
		return false, errors.New(t.Error)
	case t.Skipped > 0 && to.skipped != nil:
		return false, to.skipped(t.Skipped)
	}
	return t.End, nil
}
