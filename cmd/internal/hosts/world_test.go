package hosts

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// A world is a Watcher of files in a folder, under a clock that stands still until the test lets time pass.
type world struct {
	t    testing.TB
	dir  string
	w    *Watcher
	said lines
	told chan struct{}
	arms chan arm

	mu  sync.Mutex
	now time.Time

	log   []string // all of said so far
	tells int      // how often Changed was called
	armed arm      // the latest, unless it went off
	stop  func()
}

// An arm is a timer that Run waits for.
type arm struct {
	wait time.Duration
	at   time.Time
	fire chan time.Time // holds one
}

// newWorld returns one at noon with files, named "PATH" or "FORMAT:PATH".
func newWorld(t testing.TB, files ...string) *world {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, said: make(lines, 1<<12), told: make(chan struct{}, 1<<10), arms: make(chan arm, 1<<12), now: noon}
	c := w.config()
	for _, f := range files {
		format, path, ok := strings.Cut(f, ":")
		if !ok {
			format, path = "", f
		}
		c.Files = append(c.Files, File{filepath.Join(dir, path), format})
	}
	if w.w, err = New(c); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) config() Config {
	return Config{
		Changed: func() { w.told <- struct{}{} },
		Logger:  slog.New(w.said),
		Now: func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.now
		},
		After: func(d time.Duration) <-chan time.Time {
			w.mu.Lock()
			a := arm{d, w.now.Add(max(d, 0)), make(chan time.Time, 1)}
			w.mu.Unlock()
			w.arms <- a
			return a.fire
		},
	}
}

// run begins to watch, after a first reading.
func (w *world) run() {
	w.t.Helper()
	already := goleak.IgnoreCurrent()
	w.w.Load()
	w.start()
	w.t.Cleanup(func() { goleak.VerifyNone(w.t, already) })
	w.t.Cleanup(w.stop)
	w.sees("looked at lease files")
}

func (w *world) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
}

// lines is a slog.Handler that sends each record as a line.
type lines chan string

func (l lines) Enabled(context.Context, slog.Level) bool { return true }
func (l lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l lines) WithGroup(string) slog.Handler            { return l }

func (l lines) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	l <- line
	return nil
}

// await takes what happens, and lets time pass for timers of no more than patience, until ok says that it is enough.
func (w *world) await(what string, patience time.Duration, ok func() bool) {
	w.t.Helper()
	tooLong := time.After(time.Minute)
	for !ok() {
		var due chan<- time.Time
		if w.armed.fire != nil && w.armed.wait <= patience && len(w.said)+len(w.told)+len(w.arms) == 0 {
			w.pass(w.armed.at.Sub(w.now))
			due = w.armed.fire
		}
		select {
		case line := <-w.said:
			w.log = append(w.log, line)
		case <-w.told:
			w.tells++
		case w.armed = <-w.arms:
		case due <- w.now:
			w.armed = arm{}
		case <-tooLong:
			w.t.Fatalf("waited in vain for %s; hosts:\n%s%s", what, render(w.w.Hosts()), strings.Join(w.log, "\n"))
		}
	}
}

// soon is longer than a Watcher waits for more events, and shorter than until it looks by itself.
const soon = 10 * time.Second

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(max(d, 0))
}

// becomes waits until Changed was called, n times in all, and asserts the picture.
func (w *world) becomes(n int, hosts string) {
	w.t.Helper()
	w.await("a change", soon, func() bool { return w.tells >= n })
	w.is(n, hosts)
}

// shows waits until the picture is that.
func (w *world) shows(hosts string) {
	w.t.Helper()
	want := render(readHosts(w.t, hosts))
	w.await("\n"+want, soon, func() bool { return render(w.w.Hosts()) == want })
}

// is asserts the picture, and how often Changed was called so far.
func (w *world) is(n int, hosts string) {
	w.t.Helper()
	if got, want := render(w.w.Hosts()), render(readHosts(w.t, hosts)); got != want || w.tells != n {
		w.t.Fatalf("told %d times, want %d; hosts:\n%swant:\n%s", w.tells, n, got, want)
	}
}

// sees waits for one line more of the log that holds text.
func (w *world) sees(text string) {
	w.t.Helper()
	n := w.count(text)
	w.await(text, soon, func() bool { return w.count(text) > n })
}

// count returns how many lines of the log hold text.
func (w *world) count(text string) int {
	n := 0
	for _, line := range w.log {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// looks lets time pass until Run looks at everything again.
func (w *world) looks() {
	w.t.Helper()
	n := w.count("looked at lease files")
	w.await("a look", watchLook, func() bool { return w.count("looked at lease files") > n })
}

// do changes files, a line each: write and its lines with "|" between, append, replace, move, remove, folder, link.
func (w *world) do(script string) {
	w.t.Helper()
	for line := range strings.Lines(script) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(f) < 2 {
			continue
		}
		text := ""
		if len(f) == 3 {
			text = f[2]
		}
		if err := w.change(f[0], filepath.Join(w.dir, f[1]), text); err != nil {
			w.t.Fatalf("%s: %v", line, err)
		}
	}
}

func (w *world) change(verb, path, arg string) error {
	text := []byte(strings.ReplaceAll(arg, "|", "\n"))
	switch verb {
	case "write":
		return os.WriteFile(path, text, 0o600)
	case "append":
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(text)
		return errors.Join(err, f.Close())
	case "replace":
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	case "move":
		return os.Rename(path, filepath.Join(w.dir, arg))
	case "remove":
		return os.RemoveAll(path)
	case "folder":
		return os.MkdirAll(path, 0o700)
	case "link": // made anew in one step
		if err := os.Symlink(arg, path+".new"); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	case "large":
		return os.Truncate(path, maxFile+1)
	}
	return errors.ErrUnsupported
}
