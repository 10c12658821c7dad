package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"weir/audit"
)

// maxReveal is how many octets the request for pseudonyms may have.
const maxReveal = 1 << 20

// forgetting says whose keys are to be destroyed; see audit.Log.Forget.
type forgetting struct {
	Client netip.Prefix `json:"client,omitzero"`
	Month  string       `json:"month,omitempty"`
	Before string       `json:"before,omitempty"`
}

// asks prepares a question that somebody asks of the records: an operator may ask for a
// client by its address, whatever is kept of it. A reader may not, for that would say
// whose pseudonyms are whose.
func (s *Server) asks(r *http.Request, q *audit.Query) error {
	if !q.Client.IsValid() || !s.Backend.Audit().Keyed() || audit.ClientOf(q.Client.Addr()).IsPseudonym() {
		return nil
	}
	if r.Context().Value(readerKey{}) != nil {
		return errors.New("clients are kept under pseudonyms, and whose they are is for operators: ask for client-…, or use " + s.Socket)
	}
	q.Reveal = true
	return nil
}

// queryText says for people what q asks for, with as much of a client as records keep.
func (s *Server) queryText(q audit.Query) string {
	log := s.Backend.Audit()
	if q.Client.IsValid() && !log.Masks() && !audit.ClientOf(q.Client.Addr()).IsPseudonym() {
		return queryText(q, q.Client.String())
	}
	return queryText(q, log.ClientText(q.Client))
}

func (s *Server) reveal(w http.ResponseWriter, r *http.Request) {
	var pseudonyms []audit.Client
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxReveal)).Decode(&pseudonyms); err != nil {
		s.refuse(w, http.StatusBadRequest, fmt.Errorf("reveal: %w", err))
		return
	}
	found, err := s.Backend.Audit().Reveal(r.Context(), actor(r), pseudonyms)
	if err != nil {
		s.refuse(w, http.StatusConflict, err)
		return
	}
	s.reply(w, found)
}

func (s *Server) forget(w http.ResponseWriter, r *http.Request) {
	var f forgetting
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxReveal))
	in.DisallowUnknownFields()
	if err := in.Decode(&f); err != nil {
		s.refuse(w, http.StatusBadRequest, fmt.Errorf("forget: %w", err))
		return
	}
	done, err := s.Backend.Audit().Forget(r.Context(), actor(r), f.Client, f.Month, f.Before)
	if err != nil {
		s.refuse(w, http.StatusConflict, err)
		return
	}
	s.reply(w, done)
}

// Reveal asks whose pseudonyms these are.
func (c *Client) Reveal(ctx context.Context, pseudonyms []audit.Client) (found []audit.Revealed, err error) {
	return found, c.post(ctx, "/v1/audit/reveal", pseudonyms, &found)
}

// Forget asks to destroy keys; see audit.Log.Forget.
func (c *Client) Forget(ctx context.Context, of netip.Prefix, month, before string) (done audit.Forgotten, err error) {
	return done, c.post(ctx, "/v1/audit/forget", forgetting{of, month, before}, &done)
}

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
