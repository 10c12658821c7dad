package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"weir/audit"
)

// HoldEnd is what an operator says who ends a hold.
type HoldEnd struct {
	ID     uint64 `json:"id"`
	By     string `json:"by"`
	Reason string `json:"reason"`
}

func (s *Server) holds(w http.ResponseWriter, _ *http.Request) {
	holds, err := s.Backend.Audit().Holds()
	s.answer(w, http.StatusInternalServerError, holds, err)
}

func (s *Server) addHold(w http.ResponseWriter, r *http.Request) {
	var h audit.Hold
	if !s.body(w, r, "hold", maxRequest, &h) {
		return
	}
	h.Actor = actor(r)
	h, err := s.Backend.Audit().AddHold(h)
	s.answer(w, http.StatusConflict, h, err)
}

func (s *Server) removeHold(w http.ResponseWriter, r *http.Request) {
	var end HoldEnd
	if !s.body(w, r, "hold", maxRequest, &end) {
		return
	}
	h, err := s.Backend.Audit().RemoveHold(end.ID, end.By, end.Reason, actor(r))
	s.answer(w, http.StatusConflict, h, err)
}

// backup sends a backup as it is made. One that fails is cut off, as a tar file it is not
// whole then.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	withKey := r.URL.Query().Get("key") == "1"
	text := "backup"
	if withKey {
		text += ", with the private key"
	}
	s.read(r, audit.ActionBackup, text)
	w.Header().Set("Content-Type", "application/x-tar")
	out := &counted{w: bufio.NewWriterSize(w, 256<<10)}
	err := s.Backend.Audit().Backup(r.Context(), out, withKey, nil)
	if err == nil {
		err = out.w.Flush()
	}
	switch {
	case err == nil:
	case out.n == 0:
		s.refuse(w, http.StatusInternalServerError, err)
	default:
		s.Logger.Warn("audit backup was broken off", "error", err)
		panic(http.ErrAbortHandler)
	}
}

type counted struct {
	w *bufio.Writer
	n int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// Holds asks for the holds on the audit store.
func (c *Client) Holds(ctx context.Context) (holds []audit.Hold, err error) {
	return holds, c.call(ctx, http.MethodGet, "/v1/audit/holds", nil, &holds)
}

// AddHold puts a hold in force.
func (c *Client) AddHold(ctx context.Context, h audit.Hold) (held audit.Hold, err error) {
	return held, c.post(ctx, "/v1/audit/holds/add", h, &held)
}

// RemoveHold ends one.
func (c *Client) RemoveHold(ctx context.Context, end HoldEnd) (held audit.Hold, err error) {
	return held, c.post(ctx, "/v1/audit/holds/remove", end, &held)
}

// Backup writes a backup of the audit store; see audit.Log. progress is told how much has
// come; how much there is the server does not say.
func (c *Client) Backup(ctx context.Context, out io.Writer, withKey bool, progress func(done, total int64)) error {
	v := url.Values{}
	if withKey {
		v.Set("key", strconv.Itoa(1))
	}
	res, err := c.do(ctx, http.MethodGet, "/v1/audit/backup", v, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var done int64
	buf := make([]byte, 256<<10)
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			if _, err := io.Copy(out, bytes.NewReader(buf[:n])); err != nil {
				return err
			}
			if done += int64(n); progress != nil {
				progress(done, 0)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("server on %s: %w", c.socket, errors.Join(ctx.Err(), errCut))
		}
	}
}
