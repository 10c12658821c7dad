package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/audit"
	"weir/cmd/internal/humbly"
)

// Server serves a Backend on Unix sockets: one for operators, and, if asked, one by
// which all can be read and nothing changed.
type Server struct {
	Socket       string // path; its folder is made if missing
	Group        string // whose members may use it too; empty is its owner alone
	Readers      string // path of the socket for reading; empty is none
	ReadersGroup string // whose members may use that
	Backend      Backend
	Logger       *slog.Logger

	listeners []net.Listener
	turn      chan struct{} // held by the question that remembers names
}

// Run serves until ctx ends, then ends the requests that are left, tails among
// them, and returns. The socket files are removed.
func (s *Server) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metricsHandler(s.Backend))
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { s.reply(w, s.Backend.Status()) })
	mux.HandleFunc("GET /v1/lists", func(w http.ResponseWriter, _ *http.Request) { s.reply(w, s.Backend.Lists()) })
	mux.HandleFunc("GET /v1/lists/find", s.find)
	mux.HandleFunc("POST /v1/lists/{action}", s.operator(s.listAction))
	mux.HandleFunc("GET /v1/explain", s.explain)
	mux.HandleFunc("GET /v1/exceptions", func(w http.ResponseWriter, _ *http.Request) { s.reply(w, s.Backend.Exceptions()) })
	mux.HandleFunc("POST /v1/exceptions/add", s.operator(s.exception(s.Backend.AddException)))
	mux.HandleFunc("POST /v1/exceptions/extend", s.operator(s.exception(s.Backend.ExtendException)))
	mux.HandleFunc("POST /v1/exceptions/remove", s.operator(s.exception(s.Backend.RemoveException)))
	mux.HandleFunc("POST /v1/cache/flush", s.operator(s.flushCache))
	mux.HandleFunc("POST /v1/reload", s.operator(s.reload))
	mux.HandleFunc("GET /v1/audit/search", s.search)
	mux.HandleFunc("GET /v1/audit/tail", s.tail)
	mux.HandleFunc("POST /v1/audit/verify", s.verify)
	mux.HandleFunc("GET /v1/audit/prove", s.prove)
	mux.HandleFunc("POST /v1/audit/reveal", s.operator(s.reveal))
	mux.HandleFunc("POST /v1/audit/forget", s.operator(s.forget))
	mux.HandleFunc("GET /v1/audit/holds", s.holds)
	mux.HandleFunc("POST /v1/audit/holds/add", s.operator(s.addHold))
	mux.HandleFunc("POST /v1/audit/holds/remove", s.operator(s.removeHold))
	mux.HandleFunc("GET /v1/audit/backup", s.operator(s.backup))
	s.turn = make(chan struct{}, 1)
	mux.HandleFunc("GET /v1/audit/index", s.index)
	mux.HandleFunc("POST /v1/audit/index/rebuild", s.operator(s.reindex))
	s.questions(mux)
	h := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			debug.SetPanicOnFault(true)                      // of the lists' mapped names; see resolver
			if strings.HasPrefix(r.URL.Path, "/v1/audit/") { // that may take long
				humbly.Beside(func() { mux.ServeHTTP(w, r) })
				return
			}
			mux.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 5 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       s.connected,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
	}
	served := make(chan error, len(s.listeners))
	for _, l := range s.listeners {
		go func() { served <- h.Serve(l) }()
	}
	var failed error
	left := len(s.listeners)
	select {
	case err := <-served:
		failed = fmt.Errorf("admin socket: %w", err)
		left--
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if h.Shutdown(grace) != nil {
		_ = h.Close()
	}
	for range left {
		<-served
	}
	return failed
}

func (s *Server) reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.Logger.Debug("admin reply not sent", "error", err)
	}
}

// refuse answers with an error of the caller's or of ours.
func (s *Server) refuse(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(trailer{Error: err.Error()})
}

// answer sends what came of a request, or refuses it with code.
func (s *Server) answer(w http.ResponseWriter, code int, v any, err error) {
	if err != nil {
		s.refuse(w, code, err)
		return
	}
	s.reply(w, v)
}

// maxRequest is how many octets most requests may have.
const maxRequest = 64 << 10

// body reads what is asked for, most octets of it, and refuses what cannot be read.
func (s *Server) body(w http.ResponseWriter, r *http.Request, what string, most int64, into any) bool {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
	in.DisallowUnknownFields()
	if err := in.Decode(into); err != nil {
		s.refuse(w, http.StatusBadRequest, fmt.Errorf("%s: %w", what, err))
		return false
	}
	return true
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	q, err := decodeQuestion(r.URL.Query())
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err)
		return
	}
	if q.Seq != 0 {
		s.read(r, audit.ActionExplain, fmt.Sprintf("explain: record %d", q.Seq))
	}
	e, err := s.Backend.Explain(q)
	s.answer(w, http.StatusBadRequest, e, err)
}

func (s *Server) find(w http.ResponseWriter, r *http.Request) {
	found, err := s.Backend.Find(r.URL.Query().Get("name"))
	s.answer(w, http.StatusBadRequest, found, err)
}

func (s *Server) listAction(w http.ResponseWriter, r *http.Request) {
	action, name := r.PathValue("action"), r.URL.Query().Get("name")
	switch {
	case !slices.Contains(ListActions, action):
		s.refuse(w, http.StatusNotFound, fmt.Errorf("lists know no %q", action))
		return
	case name == "" && action != "refresh":
		s.refuse(w, http.StatusBadRequest, fmt.Errorf("%s which list?", action))
		return
	}
	done, err := s.Backend.ListAction(r.Context(), actor(r), action, name)
	s.answer(w, http.StatusConflict, Done{done}, err)
}

// exception does one thing to an exception, with the request in the body.
func (s *Server) exception(do func(ExceptionRequest) (Exception, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q ExceptionRequest
		if !s.body(w, r, "exception", maxRequest, &q) {
			return
		}
		q.Actor = actor(r)
		e, err := do(q)
		s.answer(w, http.StatusConflict, e, err)
	}
}

// flushCache wants either a name or all=1, so that a name which was lost on the
// way does not empty the cache.
func (s *Server) flushCache(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	name := v.Get("name")
	if (name == "") != (v.Get("all") == "1") {
		s.refuse(w, http.StatusBadRequest, errors.New("flush which name, or all?"))
		return
	}
	done, err := s.Backend.FlushCache(actor(r), name)
	s.answer(w, http.StatusBadRequest, Done{done}, err)
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	done, err := s.Backend.Reload(r.Context(), actor(r))
	s.answer(w, http.StatusConflict, done, err)
}

// query reads which records are asked for, and refuses what cannot be asked.
func (s *Server) query(w http.ResponseWriter, r *http.Request) (q audit.Query, ok bool) {
	q, err := decodeQuery(r.URL.Query())
	if err == nil {
		err = s.asks(r, &q)
	}
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err)
	}
	return q, err == nil
}

func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	q, ok := s.query(w, r)
	if !ok {
		return
	}
	verb := r.URL.Query().Get("verb")
	if verb == "" {
		verb = "search"
	}
	s.flush(r)
	text := s.queryText(q)
	if last := s.Backend.Audit().Stats().LastSeq; q.SeqTo == 0 || q.SeqTo > last {
		q.SeqTo = last // what comes meanwhile, the record of this among it, is for the next
	}
	s.read(r, "read-"+verb, verb+": "+text)
	out := newStream(w)
	out.end(s.Backend.Audit().Reader().Each(r.Context(), q, out.write))
}

func (s *Server) tail(w http.ResponseWriter, r *http.Request) {
	q, ok := s.query(w, r)
	if !ok {
		return
	}
	from, err := strconv.ParseUint(r.URL.Query().Get("from"), 10, 64)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, fmt.Errorf("from: %w", err))
		return
	}
	var lag audit.Lag
	if text := r.URL.Query().Get("lag"); text != "" {
		if lag.Most, err = strconv.ParseUint(text, 10, 64); err != nil {
			s.refuse(w, http.StatusBadRequest, fmt.Errorf("lag: %w", err))
			return
		}
	}
	out := newStream(w)
	if from == 0 {
		from = s.Backend.Audit().Stats().LastSeq + 1
	}
	s.read(r, audit.ActionTail, "tail: "+s.queryText(q))
	out.flush() // the client knows that it is connected
	lag.Skipped = func(n uint64) error {
		err := out.enc.Encode(trailer{Skipped: n})
		out.flush()
		return err
	}
	out.end(s.Backend.Audit().Tail(r.Context(), q, from, func(rec *audit.Record) error {
		if err := out.write(rec); err != nil {
			return err
		}
		out.flush()
		return nil
	}, lag))
}

// actorKey is the key of a connection's peer among its context's values.
type actorKey struct{}

// actor says who asks, as the system knows it: "uid 1000"; "" where it does not.
func actor(r *http.Request) string {
	who, _ := r.Context().Value(actorKey{}).(string)
	return who
}

// maxReadText is how much of what somebody looks for is recorded, in octets.
const maxReadText = 1024

// read records that somebody reads the records, before there is one to be seen:
// it is among what comes after them.
func (s *Server) read(r *http.Request, action, text string) {
	if len(text) > maxReadText {
		text = strings.ToValidUTF8(text[:maxReadText], "") + "..."
	}
	s.Backend.Audit().RecordChange(audit.Change{Action: action, Actor: actor(r), Text: text})
}

// flush brings what was asked until now to disk, so that a person finds the
// query just made. A log that cannot write tells so itself; what is on disk is
// then all there is.
func (s *Server) flush(r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if err := s.Backend.Audit().Flush(ctx); err != nil {
		s.Logger.Debug("audit log not flushed", "error", err)
	}
}

func (s *Server) verify(w http.ResponseWriter, r *http.Request) {
	var asked verification
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxVerification)).Decode(&asked)
	var how audit.Verification
	if err == nil {
		how, err = asked.decode()
	}
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err)
		return
	}
	s.flush(r)
	s.read(r, audit.ActionVerify, "verify: everything")
	rep, err := s.Backend.Audit().Reader().Verify(r.Context(), how, nil)
	s.answer(w, http.StatusInternalServerError, rep, err)
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	stats, err := s.Backend.Audit().Reader().Index()
	s.answer(w, http.StatusInternalServerError, stats, err)
}

func (s *Server) reindex(w http.ResponseWriter, r *http.Request) {
	l := s.Backend.Audit()
	if err := l.Reindex(r.Context()); err != nil {
		s.refuse(w, http.StatusInternalServerError, err)
		return
	}
	l.RecordChange(audit.Change{Action: audit.ActionReindex, Actor: actor(r), Text: "index of the audit log: removed, to be made again"})
	s.index(w, r)
}

func (s *Server) prove(w http.ResponseWriter, r *http.Request) {
	q, ok := s.query(w, r)
	if !ok {
		return
	}
	s.flush(r)
	if err := s.Backend.Audit().Sign(r.Context()); err != nil {
		s.refuse(w, http.StatusInternalServerError, err)
		return
	}
	s.read(r, audit.ActionProve, "prove: "+s.queryText(q))
	st := newStream(w)
	n, err := s.Backend.Audit().Reader().Prove(r.Context(), q, st.buf)
	t := proofTrailer{Proven: &n, Unproven: errors.Is(err, audit.ErrUnproven)}
	if err != nil {
		t.Error = err.Error()
	}
	_ = st.enc.Encode(t)
	st.flush()
}

// trailer is the last line of a stream, or the whole of a refusal; or it says, in
// between, how many records a tail has passed over.
type trailer struct {
	End     bool   `json:"end,omitempty"`
	Error   string `json:"error,omitempty"`
	Skipped uint64 `json:"skipped,omitempty"`
}

// stream writes records, a line each, through a buffer.
type stream struct {
	w   http.ResponseWriter
	buf *bufio.Writer
	enc *json.Encoder
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	buf := bufio.NewWriterSize(w, 32<<10)
	return &stream{w: w, buf: buf, enc: json.NewEncoder(buf)}
}

func (s *stream) write(r *audit.Record) error {
	line := append(r.AppendJSON(s.buf.AvailableBuffer()), '\n')
	_, err := s.buf.Write(line)
	return err
}

func (s *stream) flush() {
	_ = s.buf.Flush()
	_ = http.NewResponseController(s.w).Flush()
}

// end says how the stream ended. If it was the client that left, nobody reads it.
func (s *stream) end(err error) {
	t := trailer{End: err == nil}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, audit.ErrClosed):
		t.Error = "the server stopped"
	case err != nil:
		t.Error = err.Error()
	}
	_ = s.enc.Encode(t)
	s.flush()
}
