package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weir/audit"
)

// An asker is a store, or the server over it.
type asker interface {
	Trace(context.Context, audit.Query, int) (audit.Trace, error)
	Clients(context.Context, audit.Query, int) (audit.Clients, error)
	New(context.Context, audit.Query, int) (audit.Names, error)
	Rare(context.Context, audit.Query, int, int) (audit.Names, error)
	Hunt(context.Context, audit.Query, []audit.Indicator, int) (audit.Hunt, error)
	Totals(context.Context, audit.Query) (audit.Totals, error)
	Timeline(context.Context, audit.Query, int) (audit.Timeline, error)
}

// TestQuestions asserts that each question says by the server what the store says, to the record just before.
func TestQuestions(t *testing.T) {
	w := newWorld(t, &backend{})
	for _, name := range []string{"a", "b", "a", "c", "<b>", "a"} {
		w.record(t, name)
	}
	now := time.Now().UTC()
	q := audit.Query{Since: now.AddDate(-100, 0, 0), Until: now.Add(1)} // what is asked goes on record as well, later
	r := w.log.Reader()
	indicators := []audit.Indicator{{Name: []byte("\x01a\x00"), Scope: 3}, {Network: netip.MustParsePrefix("192.0.2.0/24")}}
	for what, ask := range map[string]func(asker) (any, error){
		"trace":    func(from asker) (any, error) { return from.Trace(t.Context(), q, 1) },
		"clients":  func(from asker) (any, error) { return from.Clients(t.Context(), q, 1) },
		"new":      func(from asker) (any, error) { return from.New(t.Context(), q, 2) },
		"rare":     func(from asker) (any, error) { return from.Rare(t.Context(), q, 3, 2) },
		"hunt":     func(from asker) (any, error) { return from.Hunt(t.Context(), q, indicators, 2) },
		"totals":   func(from asker) (any, error) { return from.Totals(t.Context(), q) },
		"timeline": func(from asker) (any, error) { return from.Timeline(t.Context(), q, 5) },
	} {
		got, err := ask(w.Client)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		want, err := ask(r)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(audit.Client{})); diff != "" {
			t.Errorf("%s (-store +server):\n%s", what, diff)
		}
	}
	if _, err := w.Trace(t.Context(), audit.Query{Source: "disk"}, 0); err == nil || err.Error() != `source "disk": write one of sinkhole, local, cache, stale, upstream, error, refused, ignored` {
		t.Errorf("a word that no record has: %v", err)
	}
	if _, err := w.Hunt(t.Context(), q, []audit.Indicator{{}}, 0); err == nil || err.Error() != "indicator 1 is neither a name nor a network" {
		t.Errorf("no indicator: %v", err)
	}
	if _, err := w.Rare(t.Context(), q, 99, 0); err == nil || err.Error() != "a rare name has 1 to 16 clients, not 99" {
		t.Errorf("too many clients: %v", err)
	}
}

// A question ends when its client leaves, and then the next has its turn.
func TestQuestionEndsWithItsClient(t *testing.T) {
	b := &backend{}
	newWorld(t, b)
	s := &Server{Backend: b, Logger: slog.New(slog.DiscardHandler), turn: make(chan struct{}, 1)}
	asked, ended := make(chan string), make(chan error, 2)
	web := httptest.NewServer(question(s, func(ctx context.Context, _ *audit.Reader, q audit.Query, _ url.Values) (int, error) {
		asked <- q.Group
		<-ctx.Done()
		ended <- ctx.Err()
		return 0, ctx.Err()
	}))
	defer web.Close()
	ask := func(group string) (left chan error, leave context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		left = make(chan error, 1)
		go func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, web.URL+"?group="+group, nil)
			if err == nil {
				var res *http.Response
				if res, err = http.DefaultClient.Do(req); err == nil {
					res.Body.Close()
				}
			}
			left <- err
		}()
		return left, cancel
	}
	one, leaveOne := ask("one")
	if g := <-asked; g != "one" {
		t.Fatal(g)
	}
	two, leaveTwo := ask("two")
	select {
	case g := <-asked:
		t.Fatalf("%s was asked while the turn was another's", g)
	default:
	}
	leaveOne()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if g := <-asked; g != "two" {
		t.Error(g)
	}
	leaveTwo()
	<-ended
	for _, left := range []chan error{one, two} {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
