package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"weir/audit"
)

// maxHunt is how large a hunt's list of indicators may be, in octets of JSON.
const maxHunt = 64 << 20

// An answer is what a question of the audit log found, and why that may not be all.
type answer[T any] struct {
	Answer T      `json:"answer"`
	Error  string `json:"error,omitempty"`
}

// question answers by what ask makes of the conditions, and of the parameters that
// are none. Questions that remember names take turns, so that several together take no
// more memory than one. The client's leaving ends the question.
func question[T any](s *Server, ask func(ctx context.Context, r *audit.Reader, q audit.Query, v url.Values) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := r.URL.Query()
		q, err := decodeQuery(v)
		if err == nil {
			err = q.Check()
		}
		if err == nil {
			err = s.asks(r, &q)
		}
		if err != nil {
			s.refuse(w, http.StatusBadRequest, err)
			return
		}
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-r.Context().Done():
			return
		}
		s.flush(r)
		what := cmp.Or(v.Get("verb"), path.Base(r.URL.Path))
		s.read(r, audit.ActionAsk+what, strings.TrimSpace(what+" "+v.Get("by"))+": "+s.queryText(q))
		a, err := ask(r.Context(), s.Backend.Audit().Reader(), q, v)
		out := answer[T]{Answer: a}
		if err != nil {
			out.Error = err.Error()
		}
		s.reply(w, out)
	}
}

// questions are the handlers of what is asked of the audit log.
func (s *Server) questions(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/audit/top", question(s, func(ctx context.Context, r *audit.Reader, q audit.Query, v url.Values) (audit.Top, error) {
		by := audit.Dimension(v.Get("by"))
		if !slices.Contains(audit.Dimensions(), by) {
			return audit.Top{}, fmt.Errorf("by=%q: write one of %s", by, audit.Dimensions())
		}
		return r.Top(ctx, q, by, q.Limit, number(v, "slots"))
	}))
	mux.HandleFunc("GET /v1/audit/trace", question(s, func(ctx context.Context, r *audit.Reader, q audit.Query, _ url.Values) (audit.Trace, error) {
		return r.Trace(ctx, q, q.Limit)
	}))
	mux.HandleFunc("GET /v1/audit/clients", question(s, func(ctx context.Context, r *audit.Reader, q audit.Query, _ url.Values) (audit.Clients, error) {
		return r.Clients(ctx, q, q.Limit)
	}))
	mux.HandleFunc("GET /v1/audit/new", question(s, func(ctx context.Context, r *audit.Reader, q audit.Query, _ url.Values) (audit.Names, error) {
		return r.New(ctx, q, q.Limit)
	}))
	mux.HandleFunc("GET /v1/audit/rare", question(s, func(ctx context.Context, r *audit.Reader, q audit.Query, v url.Values) (audit.Names, error) {
		return r.Rare(ctx, q, number(v, "clients"), q.Limit)
	}))
	mux.HandleFunc("GET /v1/audit/totals", question(s, func(ctx context.Context, r *audit.Reader, q audit.Query, _ url.Values) (audit.Totals, error) {
		return r.Totals(ctx, q)
	}))
	mux.HandleFunc("GET /v1/audit/timeline", question(s, func(ctx context.Context, r *audit.Reader, q audit.Query, v url.Values) (audit.Timeline, error) {
		return r.Timeline(ctx, q, number(v, "slots"))
	}))
	mux.HandleFunc("POST /v1/audit/hunt", func(w http.ResponseWriter, r *http.Request) {
		var indicators []audit.Indicator
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxHunt)).Decode(&indicators); err != nil {
			s.refuse(w, http.StatusBadRequest, fmt.Errorf("indicators: %w", err))
			return
		}
		question(s, func(ctx context.Context, r *audit.Reader, q audit.Query, _ url.Values) (audit.Hunt, error) {
			return r.Hunt(ctx, q, indicators, q.Limit)
		})(w, r)
	})
}

// number is a parameter that is a number; what is none is 0, which no question takes for more than that.
func number(v url.Values, key string) int {
	n, _ := strconv.Atoi(v.Get(key))
	return n
}

// asking sends a question with its limit, and with parameters in pairs.
func asking[T any](ctx context.Context, c *Client, method, what string, q audit.Query, limit int, body []byte, more ...string) (T, error) {
	q.Limit, q.Oldest = limit, false
	v := encodeQuery(q)
	if c.Verb != "" {
		v.Set("verb", c.Verb)
	}
	for i := 0; i+1 < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	var a answer[T]
	res, err := c.do(ctx, method, "/v1/audit/"+what, v, body)
	if err != nil {
		return a.Answer, err
	}
	if err := c.decode(res, &a); err != nil {
		return a.Answer, err
	}
	if a.Error != "" {
		return a.Answer, errors.New(a.Error)
	}
	return a.Answer, nil
}

// Top counts records; see audit.Reader. So do the questions below.
func (c *Client) Top(ctx context.Context, q audit.Query, by audit.Dimension, limit, slots int) (audit.Top, error) {
	return asking[audit.Top](ctx, c, http.MethodGet, "top", q, limit, nil, "by", string(by), "slots", strconv.Itoa(slots))
}

// Trace sums up records.
func (c *Client) Trace(ctx context.Context, q audit.Query, limit int) (audit.Trace, error) {
	return asking[audit.Trace](ctx, c, http.MethodGet, "trace", q, limit, nil)
}

// Clients tells of each client.
func (c *Client) Clients(ctx context.Context, q audit.Query, limit int) (audit.Clients, error) {
	return asking[audit.Clients](ctx, c, http.MethodGet, "clients", q, limit, nil)
}

// New tells which names were never seen before.
func (c *Client) New(ctx context.Context, q audit.Query, limit int) (audit.Names, error) {
	return asking[audit.Names](ctx, c, http.MethodGet, "new", q, limit, nil)
}

// Rare tells which names few clients ask for.
func (c *Client) Rare(ctx context.Context, q audit.Query, clients, limit int) (audit.Names, error) {
	return asking[audit.Names](ctx, c, http.MethodGet, "rare", q, limit, nil, "clients", strconv.Itoa(clients))
}

// Totals counts all records.
func (c *Client) Totals(ctx context.Context, q audit.Query) (audit.Totals, error) {
	return asking[audit.Totals](ctx, c, http.MethodGet, "totals", q, 0, nil)
}

// Timeline counts records over time.
func (c *Client) Timeline(ctx context.Context, q audit.Query, slots int) (audit.Timeline, error) {
	return asking[audit.Timeline](ctx, c, http.MethodGet, "timeline", q, 0, nil, "slots", strconv.Itoa(slots))
}

// Hunt looks for indicators.
func (c *Client) Hunt(ctx context.Context, q audit.Query, indicators []audit.Indicator, limit int) (audit.Hunt, error) {
	body, err := json.Marshal(indicators)
	if err != nil {
		return audit.Hunt{}, err
	}
	return asking[audit.Hunt](ctx, c, http.MethodPost, "hunt", q, limit, body)
}
