package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// watched is a watcher on a real folder whose time the test makes.
type watched struct {
	*watcher
	t    testing.TB
	dir  string
	said chan string   // each line of its log, "message key=value ..."
	arms chan arm      // each timer that it starts
	told chan struct{} // each call of changed
	hold chan struct{} // changed waits to send here, if it is not nil
	stop func()
	mark int

	mu  sync.Mutex
	now time.Time
}

type arm struct {
	wait time.Duration
	fire chan time.Time
}

// newWatched makes a watcher without starting it.
func newWatched(t testing.TB) *watched {
	w := &watched{
		t: t, said: make(chan string, 1<<16), arms: make(chan arm, 100), told: make(chan struct{}, 100),
		now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
	}
	above, err := filepath.EvalSymlinks(t.TempDir())
	if err == nil {
		w.dir = filepath.Join(above, "w")
		err = os.Mkdir(w.dir, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := clock{now: w.time, after: func(d time.Duration) <-chan time.Time {
		a := arm{d, make(chan time.Time, 1)}
		w.arms <- a
		return a.fire
	}}
	w.watcher = newWatcher(slog.New(lines(w.said)), c, func() {
		w.told <- struct{}{}
		if w.hold != nil {
			w.hold <- struct{}{}
		}
	})
	return w
}

// watchDir starts a watcher for sources below a folder that setup, lines of do, fills first.
func watchDir(t testing.TB, setup string, sources ...string) *watched {
	w := newWatched(t)
	w.do(setup)
	w.set(sources...)
	w.start()
	return w
}

func (w *watched) set(sources ...string) {
	var paths []string
	for _, s := range sources {
		paths = append(paths, filepath.Join(w.dir, s))
	}
	w.Set(paths)
}

func (w *watched) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	if t, ok := w.t.(*testing.T); ok {
		t.Cleanup(w.stop)
	}
	w.looked()
	w.settle()
}

// looked waits until Run, which was just started, has looked: when it began, and because Set was called.
func (w *watched) looked() {
	w.t.Helper()
	w.saw("looked at list files")
	w.saw("looked at list files")
}

func (w *watched) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *watched) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// lines is a slog.Handler that sends each record as a line.
type lines chan string

func (l lines) Enabled(context.Context, slog.Level) bool { return true }
func (l lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l lines) WithGroup(string) slog.Handler            { return l }

func (l lines) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	l <- line
	return nil
}

// receive returns what comes next, or fails the test.
func receive[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain for %s", what)
		panic("not reached")
	}
}

// saw waits for a line of the log that holds text, and returns it.
func (w *watched) saw(text string) string {
	w.t.Helper()
	for {
		if line := receive(w.t, w.said, text); strings.Contains(line, text) {
			return line
		}
	}
}

// settle waits until the watcher has taken every event so far, and whatever it armed for them.
func (w *watched) settle() {
	w.t.Helper()
	for range 2 { // a timer is armed after the event that it is for
		w.mark++
		name := "mark-" + strconv.Itoa(w.mark)
		w.do("write ../" + name) // beside a folder that every source is in
		w.saw(name)
	}
}

// do changes files, a line each: write, append, move, remove, folder, link, touch.
func (w *watched) do(script string) {
	w.t.Helper()
	for line := range strings.Lines(script) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if err := w.change(f[0], filepath.Join(w.dir, f[1]), f[2:]); err != nil {
			w.t.Fatalf("%s: %v", strings.TrimSpace(line), err)
		}
	}
}

func (w *watched) change(verb, path string, args []string) error {
	switch verb {
	case "write": // in place if it is there
		return os.WriteFile(path, []byte(strings.Join(args, " ")), 0o600)
	case "append":
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(strings.Join(args, " "))
		return errors.Join(err, f.Close())
	case "same": // other text of the same length at the same time
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(strings.Repeat("x", int(info.Size()))), 0o600); err != nil {
			return err
		}
		return os.Chtimes(path, info.ModTime(), info.ModTime())
	case "move":
		return os.Rename(path, filepath.Join(w.dir, args[0]))
	case "remove":
		return os.RemoveAll(path)
	case "folder":
		return os.MkdirAll(path, 0o700)
	case "link":
		return os.Symlink(args[0], path)
	case "touch":
		later := time.Now().Add(time.Hour)
		return os.Chtimes(path, later, later)
	case "read":
		_, err := os.ReadFile(path)
		return err
	}
	return fmt.Errorf("no verb %q", verb)
}

// tells takes all events, lets time pass, and returns how often changed was called for them.
func (w *watched) tells() int {
	w.t.Helper()
	w.settle()
	for len(w.arms) > 0 {
		a := <-w.arms
		if a.wait == watchLook {
			continue
		}
		w.advance(watchPatience)
		a.fire <- w.time()
		w.saw("file changed")
		w.settle()
	}
	n := len(w.told)
	for range n {
		<-w.told
	}
	return n
}

// leaks asserts that nothing of the test runs on after it. To be called first, so that it looks last.
func leaks(t *testing.T) {
	already := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, already) })
}

// readNaive is all that the loader reads for sources.
func readNaive(dir string, sources []string) string {
	var out []string
	file := func(path string) {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			out = append(out, fmt.Sprintf("%s: %q %v", path, text, err))
		}
	}
	for _, s := range sources {
		path := filepath.Join(dir, s)
		matches, _ := filepath.Glob(path)
		for _, m := range matches {
			file(m)
			entries, _ := os.ReadDir(m)
			for _, e := range entries {
				if isListName(e.Name()) {
					file(filepath.Join(m, e.Name()))
				}
			}
		}
	}
	return strings.Join(out, "\n")
}
