package main

import (
	"errors"
	"testing"
	"time"

	"weir/cmd/internal/exceptions"
)

// What a record says of an exception holds who did what to it last, and why.
func TestExceptionText(t *testing.T) {
	until := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))
	e := exceptions.Exception{ID: 1, Name: "shop.example", Client: "10.0.0.1", By: "erika", Reason: "ticket 42", Until: until}
	const added = "shop.example for 10.0.0.1 until 2026-03-04T04:06:07Z, by erika: ticket 42"
	extended := e
	extended.Extended = []exceptions.Extension{{By: "otto", Reason: "more"}, {By: "anna", Reason: "still more"}}
	removed := extended
	removed.Ended, removed.EndedBy, removed.EndReason = until, "otto", "done"
	expired := extended
	expired.Ended = until
	group := e
	group.Client, group.Group = "", "desk"
	for _, c := range []struct {
		e    *exceptions.Exception
		want string
	}{
		{&e, added},
		{&extended, added + "; extended by anna: still more"},
		{&removed, added + "; ended by otto: done"},
		{&expired, added},
		{&group, "shop.example for group desk until 2026-03-04T04:06:07Z, by erika: ticket 42"},
	} {
		if got := exceptionText(c.e); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestSigned(t *testing.T) {
	for _, who := range []signed{{by: "erika"}, {reason: "why"}, {}} {
		var e *exitError
		if err := who.check(); !errors.As(err, &e) || e.code != exitUsage {
			t.Errorf("%+v: %v, want a usage error", who, err)
		}
	}
	if err := (&signed{"erika", "why"}).check(); err != nil {
		t.Error(err)
	}
	if n, err := wholeSeconds(90 * time.Minute); n != 5400 || err != nil {
		t.Errorf("90m is %d, %v", n, err)
	}
	if _, err := wholeSeconds(500 * time.Millisecond); err == nil {
		t.Error("half a second is whole")
	}
}
