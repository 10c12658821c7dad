package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How long a watcher waits. Many programs write a file in several steps.
const (
	watchQuiet    = 500 * time.Millisecond // without a further event, before a change is told
	watchPatience = 5 * time.Second        // after the first event, quiet or not
	watchLook     = 30 * time.Second       // from one look to the next, where folders cannot be watched
)

// A clock is where time comes from.
type clock struct {
	now   func() time.Time
	after func(time.Duration) <-chan time.Time
}

var wallClock = clock{now: time.Now, after: time.After}

// A watcher says when a local list, or a file of local names, may have changed.
//
// Events of the file system wake it, and what it then finds decides: it watches folders and not files, so that a file
// that is replaced, comes later or goes for a while is followed, and every folder and link on the way there. Where no
// watch is to be had it looks from time to time.
type watcher struct {
	logger  *slog.Logger
	clock   clock
	changed func() // called by Run, one call at a time
	set     chan struct{}

	open func() (*fsnotify.Watcher, error)
	add  func(w *fsnotify.Watcher, folder string) error

	mu    sync.Mutex
	known map[string]*glance // by source: as it was when it was last compared

	// What follows is Run's.
	events     *fsnotify.Watcher // nil: none is to be had
	watched    map[string]fs.FileInfo
	folders    map[string]*interest
	real       map[string]bool
	polling    bool
	first, due time.Time // of events that are not told yet; zero if there are none
	reason     string    // that something surely changed since: mostly its path; empty if it only may have
}

func newWatcher(logger *slog.Logger, c clock, changed func()) *watcher {
	return &watcher{
		logger: logger, clock: c, changed: changed, set: make(chan struct{}, 1),
		open: fsnotify.NewWatcher, add: (*fsnotify.Watcher).Add,
		watched: make(map[string]fs.FileInfo),
	}
}

// Set replaces what is watched: paths of files and folders, and globs. What was watched before is told if it changes, or
// has changed, and a new one if it changes from now on: so Set comes before the lists are read. Set may be called at any
// time, before Run too.
func (w *watcher) Set(paths []string) {
	w.mu.Lock()
	known := make(map[string]*glance, len(paths))
	for _, path := range paths {
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		if known[path] = w.known[path]; known[path] == nil {
			known[path] = glanceAt(path)
		}
	}
	w.known = known
	w.mu.Unlock()
	select {
	case w.set <- struct{}{}:
	default: // it is to look already
	}
}

// Run watches until ctx ends. It calls changed once for all events with less than watchQuiet between them.
func (w *watcher) Run(ctx context.Context) error {
	var events <-chan fsnotify.Event
	trouble := make(chan error, 16)
	var err error
	if w.events, err = w.open(); err != nil {
		w.poll(err)
	} else {
		// fsnotify may hold its lock while it hands out an error; Run, which needs that lock to add a watch, must not be the
		// one that it waits for.
		var drain sync.WaitGroup
		drain.Go(func() {
			for err := range w.events.Errors {
				select {
				case trouble <- err:
				default: // each of those that wait has all looked at again
				}
			}
		})
		defer drain.Wait()
		defer w.events.Close()
		events = w.events.Events
	}
	w.look()
	var timer, poll <-chan time.Time
	for {
		if timer == nil && !w.due.IsZero() {
			timer = w.clock.after(w.due.Sub(w.clock.now()))
		}
		if poll == nil && w.polling {
			poll = w.clock.after(watchLook)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.set:
			w.look()
		case e := <-events:
			w.event(e)
		case err := <-trouble:
			w.trouble(err)
		case <-poll:
			poll = nil
			w.look()
		case <-timer:
			timer = nil
			w.tell()
		}
	}
}

// event takes one event of the file system.
func (w *watcher) event(e fsnotify.Event) {
	_, own := w.watched[e.Name]
	if own = own && e.Op&(fsnotify.Create|fsnotify.Remove|fsnotify.Rename) != 0; own { // the watch went with the folder
		w.unwatch(e.Name)
	}
	in := w.folders[filepath.Dir(e.Name)]
	counts := own || in != nil && in.matters(filepath.Base(e.Name))
	w.logger.Debug("file event", "file", e.Name, "event", e.Op.String(), "counts", counts)
	switch {
	case w.real[e.Name] && e.Op != fsnotify.Chmod:
		w.note(e.Name) // whatever its size and time say
	case counts:
		w.note("")
	}
}

// trouble takes an error of the watches: events are missing, so nothing is known of the folders any more.
func (w *watcher) trouble(err error) {
	w.logger.Warn("events of list folders were lost; looking at all of them", "error", err)
	for folder := range w.watched {
		w.unwatch(folder)
	}
	if errors.Is(err, fsnotify.ErrEventOverflow) {
		w.note("lost events")
	} else {
		w.note("")
	}
}

// note takes something to tell, with the reason if it is sure that something changed.
func (w *watcher) note(reason string) {
	now := w.clock.now()
	if w.due.IsZero() {
		w.first = now
	}
	w.due = now.Add(watchQuiet)
	if last := w.first.Add(watchPatience); w.due.After(last) {
		w.due = last
	}
	w.reason = cmp.Or(w.reason, reason)
}

// tell calls changed if it is time and something did.
func (w *watcher) tell() {
	now := w.clock.now()
	if now.Before(w.due) {
		return // further events came
	}
	again := w.look() // moves due
	if again && w.polling && now.Before(w.first.Add(watchPatience)) {
		return // it is being written, and no event says when that ends
	}
	reason := w.reason
	w.first, w.due, w.reason = time.Time{}, time.Time{}, ""
	if reason == "" {
		w.logger.Debug("no file changed")
		return
	}
	w.logger.Info("file changed", "file", reason)
	w.changed()
}

// maxLooks is how often one look is begun anew because folders appear while it is under way.
const maxLooks = 10

// look compares every source with what is known of it, takes note of a change, and watches the folders that matter now.
// It returns whether there was one.
func (w *watcher) look() bool {
	changed := ""
	for range maxLooks {
		changed = cmp.Or(changed, w.compare())
		if !w.watch() {
			break
		}
		// What happened in a folder before its watch began is seen by looking again.
	}
	if changed != "" {
		w.note(changed)
	}
	w.logger.Debug("looked at list files", "folders", len(w.folders), "watched", len(w.watched), "changed", changed != "")
	return changed != ""
}

// compare looks at every source and returns a path that is not as it was; empty if all is.
func (w *watcher) compare() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.folders, w.real = make(map[string]*interest), make(map[string]bool)
	changed := ""
	for _, path := range slices.Sorted(maps.Keys(w.known)) {
		g := glanceAt(path)
		changed = cmp.Or(changed, g.differs(w.known[path]))
		w.known[path] = g
		maps.Copy(w.real, g.real)
		for folder, in := range g.folders {
			w.merge(folder, in)
		}
	}
	return changed
}

func (w *watcher) merge(folder string, in *interest) {
	have := w.folders[folder]
	if have == nil {
		w.folders[folder] = in
		return
	}
	both := &interest{names: maps.Clone(have.names), patterns: slices.Concat(have.patterns, in.patterns), all: have.all || in.all, near: have.near || in.near}
	maps.Copy(both.names, in.names)
	w.folders[folder] = both
}

// watch watches the folders that matter, and no others. It returns whether one of them was not watched before.
func (w *watcher) watch() bool {
	if w.events == nil {
		return false
	}
	for folder := range w.watched {
		if w.folders[folder] == nil {
			w.unwatch(folder)
		}
	}
	folders := slices.SortedFunc(maps.Keys(w.folders), func(a, b string) int {
		if x, y := w.folders[a].near, w.folders[b].near; x != y { // those without which changes are missed come first
			return map[bool]int{true: -1, false: 1}[x]
		}
		return cmp.Compare(a, b)
	})
	begun := false
	var failed error
	for _, folder := range folders {
		info, err := os.Stat(folder)
		if err != nil {
			continue // it went; the folder above says when it comes again
		}
		if old := w.watched[folder]; old != nil {
			if os.SameFile(old, info) {
				continue
			}
			w.unwatch(folder) // another one has its name now
		}
		switch err := w.add(w.events, folder); {
		case err == nil:
			w.watched[folder] = info
			begun = true
		case w.folders[folder].near && !errors.Is(err, fs.ErrNotExist):
			failed = cmp.Or(failed, err)
		}
	}
	switch {
	case failed != nil:
		w.poll(failed)
	case w.polling:
		w.polling = false
		w.logger.Info("list folders are watched again")
	}
	return begun
}

func (w *watcher) unwatch(folder string) {
	delete(w.watched, folder)
	_ = w.events.Remove(folder) // if its watch went already, that is what is wanted
}

// poll says once why it looks from time to time.
func (w *watcher) poll(err error) {
	if !w.polling {
		w.polling = true
		w.logger.Warn("list folders cannot be watched; looking at list files from time to time", "every", watchLook, "error", err)
	}
}
