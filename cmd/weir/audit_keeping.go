package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/user"

	"github.com/spf13/cobra"

	"weir/audit"
	"weir/cmd/internal/admin"
)

// keeping is what changes how records are kept, and records that it did: a running
// server, or the log that a stopped one has left.
type keeping interface {
	AddHold(context.Context, audit.Hold) (audit.Hold, error)
	RemoveHold(context.Context, admin.HoldEnd) (audit.Hold, error)
	Reveal(ctx context.Context, pseudonyms []audit.Client) ([]audit.Revealed, error)
	Forget(ctx context.Context, of netip.Prefix, month, before string) (audit.Forgotten, error)
	Close() error
}

// keeping connects to the running server, or opens the log itself when no server runs and
// there is what has asks for: none is made for this.
func (g *global) keeping(cmd *cobra.Command, has func(*Config) error) (keeping, error) {
	cl, cfg, err := g.reach(cmd)
	if err != nil {
		return nil, err
	}
	if cl != nil {
		return cl, nil
	}
	if err := has(cfg); err != nil {
		return nil, err
	}
	how, err := auditConfig(cfg, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	how.OnError = audit.Fail
	how.Keep, how.KeepSize = 0, 0 // a hold that is added now is to find what it is for
	log, err := audit.Open(how)
	if err != nil {
		return nil, &exitError{exitBusy, openHint(err)}
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(cmd.Context()))
	s := &stoppedLog{log: log, actor: userID(), stop: stop, done: make(chan error, 1)}
	go func() { s.done <- log.Run(ctx) }()
	return s, nil
}

func hasStore(cfg *Config) error {
	if _, err := os.Stat(cfg.Resolve(cfg.Audit.Path)); err != nil {
		return &exitError{exitBusy, fmt.Errorf("no audit store: %w", err)}
	}
	return nil
}

func hasKeys(cfg *Config) error {
	if _, err := os.Stat(cfg.clientKeys()); errors.Is(err, fs.ErrNotExist) {
		return audit.ErrNotKeyed
	}
	return nil
}

// stoppedLog is a log without a server.
type stoppedLog struct {
	log   *audit.Log
	actor string
	stop  context.CancelFunc
	done  chan error
}

func (s *stoppedLog) AddHold(_ context.Context, h audit.Hold) (audit.Hold, error) {
	h.Actor = s.actor
	return s.log.AddHold(h)
}

func (s *stoppedLog) RemoveHold(_ context.Context, end admin.HoldEnd) (audit.Hold, error) {
	return s.log.RemoveHold(end.ID, end.By, end.Reason, s.actor)
}

func (s *stoppedLog) Reveal(ctx context.Context, pseudonyms []audit.Client) ([]audit.Revealed, error) {
	return s.log.Reveal(ctx, s.actor, pseudonyms)
}

func (s *stoppedLog) Forget(ctx context.Context, of netip.Prefix, month, before string) (audit.Forgotten, error) {
	return s.log.Forget(ctx, s.actor, of, month, before)
}

func (s *stoppedLog) Close() error {
	s.stop()
	return <-s.done
}

// userID is who runs this program, as a record has it.
func userID() string {
	if u, err := user.Current(); err == nil {
		return "uid " + u.Uid
	}
	return ""
}
