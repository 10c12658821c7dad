package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"weir/audit"
	"weir/blocklist"
	"weir/cmd/internal/admin"
	"weir/cmd/internal/hosts"
	"weir/cmd/internal/humbly"
)

// Reload implements admin.Backend: it builds everything anew, and only if all
// of it is good puts it in force.
func (s *server) Reload(ctx context.Context, actor string) (admin.Reload, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	cfg, err := loadConfig(s.path, io.Discard, "") // the error holds what is to be told
	if err != nil {
		return admin.Reload{}, s.refused(actor, err)
	}
	done, err := s.replace(ctx, actor, cfg, nil)
	s.keeper.reloaded()
	return done, err
}

// refresh is Reload for files alone: the configuration in force stays, and local
// names do if their files cannot be used.
func (s *server) refresh(ctx context.Context, actor string) (admin.Reload, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	now := s.current()
	return s.replace(ctx, actor, now.cfg, &now.names)
}

func (s *server) refused(actor string, err error) error {
	s.log.RecordChange(audit.Change{
		Action: audit.ActionReloadRefused, Actor: actor,
		Text: fmt.Sprintf("reload refused, revision %d stays: %v", s.current().state.Revision, err),
	})
	return err
}

// replace puts cfg and the files as they are now in force, or names in place of
// files that cannot be used, unless nil. s.reloading is held.
func (s *server) replace(ctx context.Context, actor string, cfg *Config, names *localNames) (admin.Reload, error) {
	old := s.current()
	watcher, err := s.attendant.watchHosts(cfg, old.cfg, s)
	if err != nil {
		return admin.Reload{}, s.refused(actor, fmt.Errorf("[clients]: %w", err))
	}
	s.keeper.watch(cfg, s.keeper.included...)
	var next *built
	humbly.Do(func() {
		next, err = build(ctx, cfg, site{
			self: s.resolver.Addrs(), logger: s.logger, clock: s.clock.Now, keeper: s.keeper, old: old.lists, names: names, workers: 1,
		})
	})
	if err != nil {
		s.keeper.watch(old.cfg, old.names.included()...)
		return admin.Reload{}, s.refused(actor, err)
	}
	s.follow(next)
	s.tellNames(&old.names, &next.names)
	if next.digest == old.digest {
		s.deciding.Lock()
		same := *old
		same.lists, same.names = next.lists, next.names // what is known of them may be new
		s.mu.Lock()
		s.now = &same
		s.mu.Unlock()
		s.deciding.Unlock()
		s.settled(old.lists, &same)
		next.close()
		s.logger.Info("reload: nothing differs", "revision", old.state.Revision)
		return admin.Reload{Revision: old.state.Revision, Changes: news(old.lists, next.lists)}, nil
	}
	changes := old.changes(next)
	for _, table := range fixed(old.cfg, cfg) {
		changes = append(changes, table+" changed: takes a restart")
	}
	s.number(next, old.state.Revision)
	s.keepRevision(next)
	s.log.RecordChange(audit.Change{
		Action: audit.ActionReload, Actor: actor,
		Text: fmt.Sprintf("reload: revision %d, digest %x: %s", next.state.Revision, next.digest[:8], strings.Join(changes, "; ")),
	})
	s.enforce(next, watcher)
	s.settled(old.lists, next)
	done := admin.Reload{Revision: next.state.Revision, Changes: slices.Concat(changes, news(old.lists, next.lists))}
	s.logger.Info("reloaded", "revision", next.state.Revision, "changes", len(changes))
	for _, c := range changes {
		s.logger.Info("reload: " + c)
	}
	debug.FreeOSMemory() // with the old names, which nothing refers to any more
	return done, nil
}

// enforce puts next in force, with the hosts of watcher.
func (s *server) enforce(next *built, watcher *hosts.Watcher) {
	s.deciding.Lock()
	s.mu.Lock()
	s.now, s.loaded = next, s.clock.Now()
	s.mu.Unlock()
	if s.attendant.hosts != watcher {
		s.attendant.hosts = watcher
		signalTo(s.attendant.watch)
	}
	next.state.Policy = next.state.Policy.With(s.attendant.known(next))
	next.state.Local = s.attendant.local(next, s.logger)
	old := s.resolver.Swap(next.state)
	s.deciding.Unlock()
	s.resolver.Retire(old)
}

// settled notes on disk which lists are in force now, and tells what is new about
// them.
func (s *server) settled(old *blocklist.Lists, now *built) {
	if err := now.lists.Commit(); err != nil {
		s.logger.Error("what is in force is not kept for the next start", "error", err)
	}
	now.tell(old, s.logger)
	for _, line := range news(old, now.lists) {
		s.log.RecordChange(audit.Change{Action: audit.ActionList, Text: line})
	}
}

// kept tells the log why a reload changed nothing, a line for each problem.
func (s *server) kept(err error) {
	why := []string{err.Error()}
	var c *configError
	if errors.As(err, &c) {
		why = c.lines()
	}
	for _, line := range why {
		s.logger.Error("reload: " + shown(line))
	}
	s.logger.Error("reload failed, the configuration in force stays", "revision", s.current().state.Revision)
}
