package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How long a Watcher waits.
const (
	watchQuiet    = 100 * time.Millisecond // without a further event, before files are read
	watchPatience = time.Second            // after the first event, quiet or not
	watchRest     = time.Second            // from one picture to the next, at least
	watchEffort   = 10                     // times as long as making a picture took, likewise
	watchLook     = 30 * time.Second       // from one look at all files and neighbours to the next, events or not
)

// What is said once where it does not work.
const (
	blind  = "folders of lease files cannot be watched; the files are looked at from time to time"
	unread = "the neighbour table cannot be read; it is tried from time to time"
	untold = "changes of neighbours are not told; the table is read from time to time"
)

// Config is what a Watcher works with.
type Config struct {
	Files      []File
	Neighbours bool // whether the kernel's neighbour table counts

	// Changed is called by Run, one call at a time, whenever Hosts returns other clients than before. That only the end
	// of a lease moved is no reason, for that happens with each renewal.
	Changed func()

	Logger *slog.Logger
	Now    func() time.Time                     // nil: time.Now
	After  func(time.Duration) <-chan time.Time // nil: time.After
}

// A Watcher knows the hosts of lease files and the neighbour table.
type Watcher struct {
	c       Config
	picture atomic.Pointer[[]Host]
	table   *neighbours
	open    func() (*fsnotify.Watcher, error)

	// What follows is Run's, and Load's before.
	files      []*leaseFile
	loaded     bool
	said       map[string]string // what does not work, and why
	ending     time.Time         // when something in the picture ends; zero: nothing does
	lookAt     time.Time         // when to look at everything
	first, due time.Time         // of events since the last picture; zero if there are none
	rest       time.Time         // before which there is no other picture
	events     *fsnotify.Watcher // nil: none is to be had
	watched    map[string]fs.FileInfo
	concerned  map[string][]*leaseFile // by path that events name
}

// New returns a Watcher that knows nothing yet. An error says what of c cannot be.
func New(c Config) (*Watcher, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.After == nil {
		c.After = time.After
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	w := &Watcher{c: c, table: newNeighbours(), open: fsnotify.NewWatcher, said: make(map[string]string), watched: make(map[string]fs.FileInfo)}
	w.picture.Store(&[]Host{})
	var faults []error
	for i, f := range c.Files {
		path, err := filepath.Abs(f.Path)
		switch {
		case f.Path == "":
			faults = append(faults, fmt.Errorf("lease file %d has no path", i+1))
		case err != nil:
			faults = append(faults, fmt.Errorf("lease file %s: %w", f.Path, err))
		case f.Format != "" && !slices.Contains(Formats(), f.Format):
			faults = append(faults, fmt.Errorf("lease file %s: %w", f.Path, unknownFormat(f.Format)))
		case slices.ContainsFunc(w.files, func(other *leaseFile) bool { return other.Path == path }):
			faults = append(faults, fmt.Errorf("lease file %s is named twice", f.Path))
		default:
			w.files = append(w.files, &leaseFile{File: File{path, f.Format}})
		}
	}
	if c.Neighbours {
		if err := canSeeNeighbours(); err != nil {
			faults = append(faults, err)
		}
	}
	return w, errors.Join(faults...)
}

// Hosts returns the picture as it is now, by address, one Host for each. It is never nil and must not be changed. It may
// be called at any time.
func (w *Watcher) Hosts() []Host { return *w.picture.Load() }

// Load makes the first picture, without calling Changed, so that there is one before Run. It must not be called during
// Run.
func (w *Watcher) Load() {
	w.doubt()
	for range maxRestive {
		w.read()
	}
	w.dump()
	w.draw(w.c.Now())
	w.loaded, w.first, w.due = true, time.Time{}, time.Time{}
}

// Run follows files and neighbours until ctx ends. It returns nil: what cannot be followed is said in the log, and what
// was known of it stays until it ends by itself.
func (w *Watcher) Run(ctx context.Context) error {
	clear(w.watched)
	var events <-chan fsnotify.Event
	trouble := make(chan error, 16)
	var err error
	if w.events, err = w.open(); err != nil {
		w.say(blind, err)
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
	f := newFollower(w)
	defer f.done.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !w.loaded {
		w.doubt()
		w.due = w.c.Now()
	}
	w.look(ctx, f)
	w.turn()
	var timer <-chan time.Time
	var armed time.Time
	for {
		if wake := w.wake(); timer == nil || !wake.Equal(armed) {
			armed = wake
			timer = w.c.After(wake.Sub(w.c.Now()))
		}
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			w.event(e)
		case err := <-trouble:
			w.trouble(err)
		case <-f.lost:
			w.c.Logger.Debug("changes of neighbours may have been missed")
			w.say(untold, nil)
			w.dump()
		case <-f.changed:
			w.note()
		case err := <-f.ended:
			f.running = false
			w.say(untold, err)
		case <-timer:
			timer = nil
			if !w.c.Now().Before(w.lookAt) {
				w.look(ctx, f)
			}
			w.turn()
		}
	}
}

// wake returns when there will be something to do.
func (w *Watcher) wake() time.Time {
	next := earlier(w.due, w.ending)
	if !next.IsZero() && next.Before(w.rest) {
		next = w.rest
	}
	return earlier(w.lookAt, next)
}

// note takes that something may have changed.
func (w *Watcher) note() {
	now := w.c.Now()
	if w.due.IsZero() {
		w.first = now
	}
	w.due = now.Add(watchQuiet)
	if last := w.first.Add(watchPatience); w.due.After(last) {
		w.due = last
	}
}

// turn makes a picture if it is time.
func (w *Watcher) turn() {
	begun := w.c.Now()
	due, ended := !w.due.IsZero() && !begun.Before(w.due), !w.ending.IsZero() && !begun.Before(w.ending)
	if begun.Before(w.rest) || !due && !ended {
		return
	}
	if due {
		w.first, w.due = time.Time{}, time.Time{}
		w.watch() // a link may lead elsewhere now
		if !w.read() {
			w.note()
		}
	}
	changed := w.draw(begun)
	ready := w.c.Now()
	w.rest = ready.Add(watchEffort * ready.Sub(begun))
	if !changed {
		return
	}
	if rest := ready.Add(watchRest); w.rest.Before(rest) {
		w.rest = rest
	}
	w.c.Changed()
}

// doubt has every file read anew.
func (w *Watcher) doubt() {
	for _, f := range w.files {
		f.doubt = true
	}
}

// read reads the files that may have changed, and returns whether none of them was changing.
func (w *Watcher) read() bool {
	quiet := true
	for _, f := range w.files {
		if f.doubt {
			quiet = f.load(w.c.Logger) && quiet
		}
	}
	return quiet
}

// draw makes the picture and returns whether it shows other clients than the last.
func (w *Watcher) draw(now time.Time) bool {
	leases := make([][]Host, len(w.files))
	for i, f := range w.files {
		leases[i] = f.hosts
	}
	near, forgets := w.table.view(now)
	hosts, ends := merge(leases, near, now)
	w.ending = earlier(forgets, ends)
	changed := !sameHosts(hosts, w.Hosts())
	w.picture.Store(&hosts)
	w.c.Logger.Debug("hosts are known", "hosts", len(hosts), "changed", changed)
	return changed
}

// look looks at everything of which events may not tell, and watches what is not watched.
func (w *Watcher) look(ctx context.Context, f *follower) {
	w.lookAt = w.c.Now().Add(watchLook)
	w.watch()
	for _, f := range w.files {
		if f.doubt = f.doubt || f.differs(); f.doubt && w.due.IsZero() {
			w.note()
		}
	}
	if w.c.Neighbours {
		f.start(ctx)
		w.dump()
	}
	w.c.Logger.Debug("looked at lease files", "watched", len(w.watched))
}

// dump reads the whole neighbour table.
func (w *Watcher) dump() {
	if !w.c.Neighbours {
		return
	}
	changed, err := w.table.replace(dumpNeighbours, w.c.Now())
	w.say(unread, err)
	if changed && w.due.IsZero() {
		w.note()
	}
}

// say says once that something does not work, until it does.
func (w *Watcher) say(what string, err error) {
	switch {
	case err == nil:
		delete(w.said, what)
	case w.said[what] != err.Error():
		w.said[what] = err.Error()
		w.c.Logger.Warn(what, "every", watchLook, "error", err)
	}
}
