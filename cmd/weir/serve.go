package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weir/audit"
	"weir/cmd/internal/admin"
	"weir/cmd/internal/exceptions"
	"weir/cmd/internal/history"
	"weir/cmd/internal/humbly"
	"weir/resolver"
)

func serveCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Answer DNS queries until told to stop",
		Long: "Answer DNS queries until told to stop.\n\n" +
			"HUP reads the configuration and lists again, all or nothing; TERM and INT\n" +
			"answer what is in flight, write the audit log and end.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), g, cmd.ErrOrStderr())
		},
	}
}

// server is the running program, and the admin interface's Backend.
type server struct {
	path     string // of the configuration
	logger   *slog.Logger
	clock    exceptions.Clock // by which policies are in force
	started  time.Time
	resolver *resolver.Resolver
	log      *audit.Log

	keeper    *keeper
	attendant *attendant
	history   *history.History // nil: revisions are not kept

	savedCache string // file for the cache's answers; empty does not keep them

	reloading sync.Mutex // one reload at a time
	deciding  sync.Mutex // one change of what decides at a time; after reloading
	mu        sync.Mutex // guards what follows
	now       *built
	loaded    time.Time
}

func serve(ctx context.Context, g *global, talk io.Writer) error {
	humbly.Prompt() // who answers gets a core before who works for longer
	path := g.configPath()
	cfg, err := loadConfig(path, talk, "nothing was started")
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(talk, &slog.HandlerOptions{Level: level(cfg.Log.Level)}))
	if c, err := admin.Dial(ctx, cfg.Resolve(cfg.Admin.Socket)); err == nil {
		st, err := c.Status(ctx)
		_ = c.Close()
		if err == nil {
			return &exitError{exitBusy, fmt.Errorf("weir already serves this configuration, process %d on %s; stop it first, or `weir reload` to apply changes",
				st.PID, strings.Join(st.Listen, ", "))}
		}
	}

	adm := &admin.Server{
		Socket: cfg.Resolve(cfg.Admin.Socket), Group: cfg.Admin.Group, Readers: cfg.readers(), ReadersGroup: cfg.Admin.ReadersGroup,
		Logger: logger,
	}
	if err := adm.MakeFolders(); err != nil {
		return &exitError{exitBusy, err}
	}
	s, err := openServer(ctx, cfg, logger, exceptions.SystemClock())
	if err != nil {
		return told(err, talk, "nothing was started")
	}
	s.path, adm.Backend = path, s
	if err := s.resolver.Listen(ctx); err != nil {
		s.abandon()
		return &exitError{exitBusy, bindHint(err)}
	}
	if err := adm.Listen(); err != nil {
		s.resolver.Close()
		s.abandon()
		return &exitError{exitBusy, err}
	}
	s.loadCache(cfg) // only now: another server may have been here
	s.log.RecordChange(audit.Change{
		Action: audit.ActionStart, Text: fmt.Sprintf("start: weir %s, revision %d, digest %x%s", version(), s.now.state.Revision, s.now.digest[:8], cfg.privacyText()),
	})
	if d := s.attendant.exceptions.Damage(); d != nil {
		s.log.RecordChange(audit.Change{Action: audit.ActionExceptionsLost, Text: "exceptions: " + d.Error()})
	}
	s.keepRevision(s.now)
	s.settled(nil, s.now)
	s.follow(s.now)
	s.tellNames(&localNames{}, &s.now.names)
	debug.FreeOSMemory()               // what reading the lists took
	signals := make(chan os.Signal, 4) // before the greeting: who reads it may send one
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	s.greet(talk, g.config)
	return s.run(ctx, adm, signals)
}

// period is what one file of the audit store is for.
func period(cfg *Config) audit.Period {
	return map[string]audit.Period{"hour": audit.Hour, "day": audit.Day, "month": audit.Month}[cfg.Audit.Period]
}

// openServer opens all that a server of cfg needs, but for the network. Nothing
// runs yet.
func openServer(ctx context.Context, cfg *Config, logger *slog.Logger, clock exceptions.Clock) (*server, error) {
	s := &server{logger: logger, clock: clock, started: clock.Now(), loaded: clock.Now(), keeper: openKeeper(cfg, logger)}
	// The log comes before the lists: reading those leaves memory that would have to be cleared for it, and then is taken.
	logConfig, err := auditConfig(cfg, logger)
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	if s.log, err = audit.Open(logConfig); err != nil {
		return nil, &exitError{exitBusy, openHint(err)}
	}
	if s.attendant, err = openAttendant(cfg, s); err != nil {
		_ = s.log.Close()
		return nil, &exitError{exitBusy, fmt.Errorf("open exceptions: %w", err)}
	}
	if s.attendant.hosts, err = s.attendant.watchHosts(cfg, nil, s); err != nil {
		s.abandon()
		return nil, &exitError{exitConfig, fmt.Errorf("[clients]: %w", err)}
	}
	s.keeper.watch(cfg)
	if s.now, err = build(ctx, cfg, site{
		self: cfg.Server.Listen, logger: logger, clock: clock.Now, keeper: s.keeper, workers: runtime.GOMAXPROCS(0),
	}); err != nil {
		s.abandon()
		return nil, err
	}
	s.openHistory(cfg)
	s.number(s.now, 0)
	s.now.state.Policy = s.now.state.Policy.With(s.attendant.known(s.now))
	s.now.state.Local = s.attendant.local(s.now, s.logger)
	s.resolver = resolver.New(resolver.Config{
		Listen: cfg.Server.Listen, UDPSockets: cfg.Server.UDPSockets, ReusePort: cfg.Server.ReusePort,
		TCPConns: cfg.Server.TCPConnections, TCPEach: cfg.Server.TCPPerClient, Drain: cfg.Server.Drain,
		TCPFirst: cfg.Server.TCPFirst, TCPIdle: cfg.Server.TCPIdle, TCPWrite: cfg.Server.TCPWrite,
		MaxInflight: cfg.Resolver.MaxInflight,
		CacheSize:   int64(cfg.Cache.Size),
		TTL:         resolver.TTL{Min: seconds(cfg.Cache.MinTTL), Max: seconds(cfg.Cache.MaxTTL), MaxNegative: seconds(cfg.Cache.MaxNegativeTTL)},
		Stale:       cfg.Cache.Stale, StaleTimer: cfg.Cache.StaleTimer, Prefetch: cfg.Cache.Prefetch, DenyBelow: cfg.Cache.DenyBelow, Rotate: cfg.Cache.Rotate,
		Log: s.log, Logger: logger, Now: clock.Now,
	}, s.now.state)
	return s, nil
}

// abandon closes what a start that failed has opened.
func (s *server) abandon() {
	_ = s.attendant.exceptions.Close()
	_ = s.log.Close()
}

// run owns every goroutine of the server and ends them in order: what attends to
// the policy, the lists' keeper, listeners and misses in flight, the admin interface, the audit log.
func (s *server) run(ctx context.Context, adm *admin.Server, signals <-chan os.Signal) error {
	type part struct {
		run  func(context.Context) error
		stop context.CancelFunc
		done chan struct{}
		err  error
	}
	failed := make(chan struct{}, 5)
	parts := []*part{{run: s.log.Run}, {run: adm.Run}, {run: s.resolver.Run}, {run: s.keep}, {run: s.attend}}
	for _, p := range parts {
		var pctx context.Context
		pctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
		p.done = make(chan struct{})
		go func() {
			defer close(p.done)
			p.err = p.run(pctx)
			failed <- struct{}{}
		}()
	}
	reason := ""
	for reason == "" {
		select {
		case <-ctx.Done():
			reason = "cancelled"
		case <-failed:
			reason = "a part of the server failed"
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				reason = sig.String()
				break
			}
			if _, err := s.Reload(ctx, "signal HUP"); err != nil {
				s.kept(err)
			}
		}
	}
	s.logger.Info("stopping", "reason", reason)
	s.log.RecordChange(audit.Change{Action: audit.ActionStop, Text: "stop: " + reason})
	var errs []error
	for i := len(parts) - 1; i >= 0; i-- {
		parts[i].stop()
		<-parts[i].done
		errs = append(errs, parts[i].err)
	}
	s.saveCache()
	errs = append(errs, s.attendant.exceptions.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	st := s.log.Stats()
	if st.Missing > 0 {
		s.logger.Error("audit records that were on disk are lost with files that somebody removed or replaced", "missing", st.Missing)
	}
	s.logger.Info("stopped", "answered", s.resolver.Stats().Answered, "recorded", st.Recorded, "lost", st.Lost, "excluded", st.Excluded.Sum(), "last_seq", st.LastSeq)
	return nil
}

// greet tells the operator what is served and what to try, with the configuration that was named, if one was.
func (s *server) greet(talk io.Writer, named string) {
	b := s.current()
	addrs := s.resolver.Addrs()
	var on []string
	for _, a := range addrs {
		on = append(on, a.String())
	}
	fmt.Fprintf(talk, "weir %s serves DNS on %s, UDP and TCP\n", version(), strings.Join(on, " and "))
	fmt.Fprintf(talk, "  %s from %s in %s, %s\n", plural(b.lists.Matcher().Names(), "name"), plural(len(b.lists.All()), "list"),
		count(len(b.cfg.Categories), "category", "categories"), count(len(b.cfg.Policies), "policy", "policies"))
	if st := s.log.Stats(); st.LastError != "" {
		fmt.Fprintf(talk, "  audit store %s cannot be written yet: %s\n", b.cfg.Audit.Path, shown(st.LastError))
	} else {
		fmt.Fprintf(talk, "  audit store %s, next record %d\n", b.cfg.Audit.Path, s.log.NextSeq())
	}
	if len(addrs) > 0 {
		if named != "" {
			named = " --config " + shown(named)
		}
		fmt.Fprintf(talk, "try\n  dig @%s -p %d %s\n  weir explain %[3]s%[4]s\n  weir audit search%[4]s\n", reachable(addrs[0].Addr()), addrs[0].Port(), s.sample(), named)
	}
}

// reachable is an address to ask a listener at.
func reachable(a netip.Addr) netip.Addr {
	switch {
	case a == netip.IPv4Unspecified():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case a == netip.IPv6Unspecified():
		return netip.IPv6Loopback()
	}
	return a
}

// sample is a name to try: one that is blocked, if a list is there to say so.
func (s *server) sample() string {
	const shipped = "blocked.example.com"
	if name, err := blocklistName(shipped); err == nil && len(s.current().lists.Find(name)) > 0 {
		return shipped
	}
	return "example.com"
}

func (s *server) current() *built {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func level(word string) slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(word)) // the word was checked when the file was read
	return l
}
