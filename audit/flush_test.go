package audit

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestFlushMakesEventsFindable(t *testing.T) {
	l, err := Open(Config{Dir: t.TempDir(), Interval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	for n := 1; n <= 3; n++ {
		if !l.Record(&Event{Time: int64(n), Name: []byte("\x07example\x00"), Type: 1, Class: 1, EDE: -1}) {
			t.Fatal("event not taken")
		}
		if err := l.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		found := 0
		if err := l.Reader().Search(t.Context(), Query{Kind: KindQuery}, func(*Record) error { found++; return nil }); err != nil {
			t.Fatal(err)
		}
		if found != n {
			t.Fatalf("found %d of %d events after Flush", found, n)
		}
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Errorf("flush with nothing to do: %v", err)
	}
	stop()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	l.Record(&Event{})
	if err := l.Flush(t.Context()); err != nil && !errors.Is(err, ErrClosed) {
		t.Errorf("flush after the end: %v", err)
	}
}

func TestFlushGivesUpWithItsContext(t *testing.T) {
	l, err := Open(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Record(&Event{EDE: -1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("flush without a writer: %v, want the context's error", err)
	}
}
