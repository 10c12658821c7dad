package admin

import (
	"context"
	"errors"
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
	if !s.body(w, r, "reveal", maxReveal, &pseudonyms) {
		return
	}
	found, err := s.Backend.Audit().Reveal(r.Context(), actor(r), pseudonyms)
	s.answer(w, http.StatusConflict, found, err)
}

func (s *Server) forget(w http.ResponseWriter, r *http.Request) {
	var f forgetting
	if !s.body(w, r, "forget", maxReveal, &f) {
		return
	}
	done, err := s.Backend.Audit().Forget(r.Context(), actor(r), f.Client, f.Month, f.Before)
	s.answer(w, http.StatusConflict, done, err)
}

// Reveal asks whose pseudonyms these are.
func (c *Client) Reveal(ctx context.Context, pseudonyms []audit.Client) (found []audit.Revealed, err error) {
	return found, c.post(ctx, "/v1/audit/reveal", pseudonyms, &found)
}

// Forget asks to destroy keys; see audit.Log.Forget.
func (c *Client) Forget(ctx context.Context, of netip.Prefix, month, before string) (done audit.Forgotten, err error) {
	return done, c.post(ctx, "/v1/audit/forget", forgetting{of, month, before}, &done)
}
