package exceptions

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)

// A fakeClock is one that the test moves.
type fakeClock struct {
	mu   sync.Mutex
	wall time.Time
	boot time.Duration
	id   string
	n    int // reboots
}

func newClock() *fakeClock {
	return &fakeClock{wall: epoch, boot: time.Hour, id: "11111111-2222-4333-8444-555555555555"}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

func (c *fakeClock) Boot() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

func (c *fakeClock) BootID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

// pass lets time go by, awake or asleep: by these clocks that is the same.
func (c *fakeClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.boot = c.wall.Add(d), c.boot+d
}

// step sets the wall clock.
func (c *fakeClock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

// reboot takes so long; then the wall clock is off by that.
func (c *fakeClock) reboot(down, off time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.boot = c.wall.Add(down+off), 20*time.Second
	if c.n++; c.id != "" {
		c.id = fmt.Sprintf("%08d%s", c.n, c.id[8:])
	}
}

// A world is a store on disk with its clock.
type world struct {
	t     rapid.TB
	path  string
	clock *fakeClock
	cfg   Config
	s     *Store
}

func newWorld(t rapid.TB, dir string) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(dir, "exceptions.db"), clock: newClock()}
	w.cfg = Config{Clock: w.clock, MaxDuration: 7 * 24 * time.Hour}
	w.open()
	return w
}

func (w *world) open() {
	w.t.Helper()
	s, err := Open(w.path, w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.s = s
}

func (w *world) close() {
	w.t.Helper()
	if err := w.s.Close(); err != nil {
		w.t.Fatal(err)
	}
}

// kill ends the store without a word, as kill -9 does: what was not on disk is lost.
func (w *world) kill() {
	w.t.Helper()
	w.s.closed = true
	if err := w.s.file.close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

func request(name string, d time.Duration) Request {
	return Request{Name: name, Client: "10.0.4.17", For: d, Reason: "release today", By: "ann"}
}

func (w *world) add(name string, d time.Duration) Exception {
	w.t.Helper()
	e, err := w.s.Add(request(name, d))
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// names returns the names of the exceptions, separated by blanks.
func names(list []Exception) string {
	var all []string
	for _, e := range list {
		all = append(all, e.Name)
	}
	return strings.Join(all, " ")
}

// refused demands a refusal that says all that.
func refused(t rapid.TB, err error, says ...string) *RefusedError {
	t.Helper()
	var r *RefusedError
	if !errors.As(err, &r) {
		t.Fatalf("%v is no refusal", err)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
	return r
}

func same[T any](t rapid.TB, what string, got, want T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func must(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t rapid.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}
