package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"weir/audit"
	"weir/blocklist"
)

// keeper keeps the lists of a server up to date: it fetches the remote ones,
// watches the local ones, and has the server take what is new.
type keeper struct {
	store   *blocklist.Store   // nil: the folder of lists cannot be used
	fetcher *blocklist.Fetcher // nil without a store
	watcher *watcher           // nil: files are not watched
	due     chan struct{}      // capacity 1: a list may have changed
	copies  chan struct{}      // capacity 1: other lists are in force

	included []string // files that are watched though only other files name them; of who reloads
}

// openKeeper opens the folder of lists. If that cannot be used, lists are read
// all the same: what is remote is missing, and nothing is kept.
func openKeeper(cfg *Config, logger *slog.Logger) *keeper {
	k := &keeper{due: make(chan struct{}, 1), copies: make(chan struct{}, 1)}
	path := cfg.Resolve(cfg.Lists.Path)
	store, err := blocklist.OpenStore(path)
	if err != nil {
		logger.Error("the folder of lists cannot be used: lists are held in memory only, and remote ones are not fetched",
			"path", path, "error", err)
	} else {
		k.store = store
		k.fetcher = &blocklist.Fetcher{Store: store, Logger: logger, UserAgent: "weir/" + version()}
		for _, problem := range store.Problems() {
			logger.Warn("folder of lists", "problem", problem)
		}
	}
	if cfg.Lists.Watch {
		k.watcher = newWatcher(logger, wallClock, k.again)
	}
	return k
}

// again has the lists looked at again.
func (k *keeper) again() {
	signalTo(k.due)
}

// reloaded has the keeper see what a reload has brought.
func (k *keeper) reloaded() {
	if k.fetcher != nil {
		k.fetcher.Wake()
	}
	signalTo(k.copies)
}

// state is the folder of the compiled names, "" when there is none.
func (k *keeper) state(cfg *Config) string {
	if k.store == nil {
		return ""
	}
	return cfg.Resolve(cfg.Lists.Path)
}

// kept is what the store knows of a list.
func (k *keeper) kept(name string) blocklist.Kept {
	if k.store == nil {
		return blocklist.Kept{}
	}
	return k.store.Kept(name)
}

// watch follows the local lists of cfg, and the files of its local names, from
// now on; more are files that these include.
func (k *keeper) watch(cfg *Config, more ...string) {
	if k.watcher != nil {
		k.watcher.Set(append(watchedFiles(cfg), more...))
	}
}

// notify takes a primary's word that its zone has changed.
func (k *keeper) notify(zone []byte, from netip.Addr) bool {
	return k.fetcher != nil && k.fetcher.Notify(blocklist.NameString(zone), from)
}

// keep is a part of the server: it runs until ctx ends.
func (s *server) keep(ctx context.Context) error {
	k := s.keeper
	var parts sync.WaitGroup
	defer parts.Wait()
	if k.fetcher != nil {
		parts.Go(func() {
			err := k.fetcher.Run(ctx, func() []blocklist.SourceConfig { return remoteSources(s.current().sources) }, func(string) { k.again() })
			if err != nil {
				s.logger.Error("lists are not fetched any more", "error", err)
			}
		})
	}
	if k.watcher != nil {
		parts.Go(func() {
			if err := k.watcher.Run(ctx); err != nil {
				s.logger.Error("local lists are not watched any more", "error", err)
			}
		})
	}
	s.copyLists(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.copies:
		case <-k.due:
			if _, err := s.refresh(ctx, ""); err != nil && ctx.Err() == nil {
				s.kept(err)
			}
		}
		s.copyLists(ctx)
	}
}

// copyLists keeps the text of the lists in force, and lets go, after a while, of
// what is kept of lists that the configuration names no more.
func (s *server) copyLists(ctx context.Context) {
	if s.keeper.store == nil {
		return
	}
	if err := s.current().lists.KeepCopies(ctx, s.keeper.store); err != nil && ctx.Err() == nil {
		s.logger.Warn("the text of a list is not kept: it cannot be rolled back to", "error", err)
	}
	named := map[string]bool{}
	for _, l := range s.current().lists.All() {
		named[l.Name] = true
	}
	if err := s.keeper.store.Forget(named); err != nil && ctx.Err() == nil {
		s.logger.Warn("the folder of lists keeps what no list needs", "error", err)
	}
	debug.FreeOSMemory()
}

// remoteSources returns the sources that are fetched.
func remoteSources(categories []blocklist.CategoryConfig) []blocklist.SourceConfig {
	var remote []blocklist.SourceConfig
	for _, c := range categories {
		for _, src := range c.Sources {
			if src.Remote() {
				remote = append(remote, src)
			}
		}
	}
	return remote
}

// ListAction implements admin.Backend.
func (s *server) ListAction(ctx context.Context, actor, action, name string) (string, error) {
	if name != "" {
		if err := s.current().knowsList(name); err != nil {
			return "", err
		}
	}
	store := s.keeper.store
	if store == nil {
		return "", errors.New("the folder of lists cannot be used, see the server's log")
	}
	var said []string
	var err error
	switch action {
	case "refresh":
		said, _ = s.keeper.fetchNow(ctx, remoteSources(s.current().sources), name)
	case "approve":
		err = store.Approve(name)
	case "reject":
		err = store.Reject(name)
	case "rollback":
		s.copyLists(ctx)
		err = store.Rollback(name)
	}
	if err != nil {
		return "", err
	}
	if action != "refresh" {
		s.log.RecordChange(audit.Change{Action: audit.ActionList, Actor: actor, Text: fmt.Sprintf("list %s: %s by an operator", name, action)})
	}
	done, err := s.refresh(ctx, actor)
	if err != nil {
		return "", err
	}
	s.copyLists(ctx)
	for _, l := range s.current().lists.All() {
		if name == "" && action == "refresh" || l.Name == name {
			said = append(said, listLine(l))
		}
	}
	return strings.Join(append(slices.Compact(said), fmt.Sprintf("revision %d", done.Revision)), "\n"), nil
}

// fetchNow asks the origin of the remote list of that name, or of all of them,
// and says in a line each what came of it.
func (k *keeper) fetchNow(ctx context.Context, sources []blocklist.SourceConfig, name string) (said []string, failed bool) {
	asked := map[string]bool{}
	for _, src := range sources {
		list := src.ListName()
		if name != "" && list != name || asked[list] {
			continue
		}
		asked[list] = true
		changed, err := k.fetcher.Fetch(ctx, &src)
		switch {
		case err != nil:
			failed = true
			k.fetcher.Logger.Warn("list not fetched", "list", list, "error", err)
			said = append(said, fmt.Sprintf("not fetched: %v", err))
		case changed:
			said = append(said, list+": a new version was fetched")
		default:
			said = append(said, list+": nothing newer")
		}
	}
	return said, failed
}

// fetchLists fetches lists where no server runs.
func fetchLists(ctx context.Context, cfg *Config, name string) (string, error) {
	quiet := slog.New(slog.DiscardHandler) // the outcome is told
	store, err := blocklist.OpenStore(cfg.Resolve(cfg.Lists.Path))
	if err != nil {
		return "", err
	}
	faults := newFaults(cfg)
	k := &keeper{store: store, fetcher: &blocklist.Fetcher{Store: store, Logger: quiet, UserAgent: "weir/" + version()}}
	sources := remoteSources(categories(cfg, faults, quiet))
	if problems := faults.report.sorted(); len(problems) > 0 {
		return "", &configError{problems}
	}
	said, failed := k.fetchNow(ctx, sources, name)
	text := strings.Join(said, "\n")
	switch {
	case failed:
		return "", errors.New(text)
	case len(said) == 0 && name != "":
		return "", fmt.Errorf("no list that is fetched is called %q", name)
	case len(said) == 0:
		return "no list is fetched from elsewhere", nil
	}
	return text, nil
}

// knowsList is an error if no list has that name.
func (b *built) knowsList(name string) error {
	var names []string
	for _, l := range b.lists.All() {
		if l.Name == name {
			return nil
		}
		names = append(names, l.Name)
	}
	if near := nearest(name, names); near != "" {
		return fmt.Errorf("no list is called %q; did you mean %q?", name, near)
	}
	return fmt.Errorf("no list is called %q; `weir lists` names them", name)
}

// listLine says in a line how a list stands.
func listLine(l *blocklist.List) string {
	text := fmt.Sprintf("%s: %s in force", l.Name, plural(l.Entries, "name"))
	if l.Missing {
		text = l.Name + ": missing"
	}
	if l.Kept != "" {
		text += ", " + keptText(l)
	}
	return text
}

// keptText says why a list is not what its origin has.
func keptText(l *blocklist.List) string {
	if l.Held != nil || l.Missing {
		return l.Kept
	}
	return "kept: " + l.Kept
}

// upToDate ends the line about a list with which all is well again.
const upToDate = " is up to date again"

// news says, a line each, which lists are not what their origins have, as far
// as that is new, and which are again.
func news(old, now *blocklist.Lists) []string {
	was := map[string]string{}
	if old != nil {
		for _, l := range old.All() {
			was[l.Category+" "+l.Name] = l.Kept
		}
	}
	var out []string
	for _, l := range now.All() {
		before, known := was[l.Category+" "+l.Name]
		if l.Kept == before {
			continue
		}
		what := fmt.Sprintf("list %s %s", l.Category, l.Name)
		switch {
		case l.Missing:
			out = append(out, fmt.Sprintf("%s is missing: %s", what, l.Kept))
		case l.Kept != "":
			out = append(out, fmt.Sprintf("%s stays as it was, %s", what, keptText(l)))
		case known:
			out = append(out, what+upToDate)
		}
	}
	return out
}

// openForReading returns the store of the lists as it is, for those who look
// beside a running server; nil when there is none.
func openForReading(cfg *Config) *blocklist.Store {
	path := cfg.Resolve(cfg.Lists.Path)
	if _, err := os.Stat(filepath.Join(path, "copies")); err != nil {
		return nil
	}
	store, err := blocklist.OpenStore(path)
	if err != nil {
		return nil // the lists are read without it
	}
	return store
}
