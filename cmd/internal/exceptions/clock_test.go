package exceptions

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ended demands that exactly one exception has ended, in that way and at that time.
func (w *world) ended(how string, at time.Time) {
	w.t.Helper()
	all, list := w.s.All(), w.s.Tick()
	if len(list) != 1 || list[0].End != how || !list[0].Ended.Equal(at) || list[0].EndedBy != "" {
		w.t.Fatalf("ended: %+v\nwant one, %s at %s", list, how, at)
	}
	same(w.t, "All before Tick", all[:1], list)
	if len(w.s.Active()) != 0 || !w.s.Next().IsZero() {
		w.t.Error("it is still in force")
	}
	if again := w.s.Tick(); again != nil {
		w.t.Errorf("ended twice: %v", again)
	}
}

// inForce demands that it is in force now and no more after d.
func (w *world) inForce(d time.Duration) {
	w.t.Helper()
	if list := w.s.Tick(); list != nil || len(w.s.Active()) != 1 {
		w.t.Fatalf("ended: %+v", list)
	}
	w.clock.pass(d - 1)
	if list := w.s.Tick(); list != nil || len(w.s.Active()) != 1 {
		w.t.Fatalf("ended before its time: %+v", list)
	}
	w.clock.pass(1)
	if len(w.s.Active()) != 0 {
		w.t.Fatal("in force after its time")
	}
}

func TestEndsWhenItsTimeIsOver(t *testing.T) {
	for name, f := range map[string]func(w *world){
		"awake":         func(w *world) { w.inForce(2 * time.Hour) },
		"asleep":        func(w *world) { w.clock.pass(50 * time.Hour) },
		"stopped":       func(w *world) { w.kill(); w.clock.pass(50 * time.Hour); w.open() },
		"off":           func(w *world) { w.kill(); w.clock.reboot(50*time.Hour, 0); w.open() },
		"clock forward": func(w *world) { w.clock.step(2 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			w.add("shop.example", 2*time.Hour)
			f(w)
			w.ended(EndExpired, epoch.Add(2*time.Hour))
		})
	}
}

func TestAClockSetBackGivesNoTime(t *testing.T) {
	for name, again := range map[string]func(w *world){
		"running":       func(*world) {},
		"restarted":     (*world).restart,
		"killed":        func(w *world) { w.kill(); w.open() },
		"clock to 1970": func(w *world) { w.clock.step(-60 * 365 * 24 * time.Hour); w.restart() },
		"set while it is stopped": func(w *world) {
			w.close()
			w.clock.step(-24 * time.Hour)
			w.open()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			w.add("shop.example", 2*time.Hour)
			w.clock.pass(90 * time.Minute)
			w.clock.step(-5 * time.Hour)
			again(w)
			w.inForce(30 * time.Minute)
			w.ended(EndExpired, read(w.clock).wall)
		})
	}
}

func TestExtendGivesTimeByBothClocks(t *testing.T) {
	w := newWorld(t, t.TempDir())
	e := w.add("shop.example", time.Hour)
	w.clock.step(-time.Hour)
	e, err := w.s.Extend(e.ID, 30*time.Minute, "bob", "more")
	must(t, err)
	if !e.Until.Equal(epoch.Add(90 * time.Minute)) {
		t.Errorf("until %s", e.Until)
	}
	w.restart()
	w.inForce(90 * time.Minute)
	w.ended(EndExpired, epoch.Add(30*time.Minute))
}

// The most is the most by either clock.
func TestExtendMindsBothClocks(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		w := newWorld(t, t.TempDir())
		e := w.add("shop.example", w.cfg.MaxDuration-30*time.Minute)
		w.clock.step(step)
		_, err := w.s.Extend(e.ID, 31*time.Minute, "bob", "more")
		refused(t, err, "max_duration")
	}
}

func TestWhatEndedNeverComesBack(t *testing.T) {
	for name, f := range map[string]func(w *world){
		"seen by Tick":           func(w *world) { w.s.Tick(); w.clock.step(-3 * time.Hour) },
		"seen by Active":         func(w *world) { w.s.Active(); w.clock.step(-3 * time.Hour) },
		"seen by Next":           func(w *world) { w.s.Next(); w.clock.step(-3 * time.Hour) },
		"seen at a start":        func(w *world) { w.restart(); w.clock.step(-3 * time.Hour) },
		"seen, killed":           func(w *world) { w.s.Tick(); w.kill(); w.clock.step(-3 * time.Hour); w.open() },
		"seen at a start, kill":  func(w *world) { w.restart(); w.kill(); w.clock.step(-3 * time.Hour); w.open() },
		"seen by Active, killed": func(w *world) { w.s.Active(); w.kill(); w.clock.step(-3 * time.Hour); w.open() },
		"seen by a refusal, killed": func(w *world) {
			_, err := w.s.Remove(1, "bob", "done")
			refused(w.t, err)
			w.kill()
			w.clock.step(-3 * time.Hour)
			w.open()
		},
		"seen, reboot": func(w *world) { w.s.Tick(); w.kill(); w.clock.reboot(0, -3*time.Hour); w.open() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			w.add("shop.example", 2*time.Hour)
			w.clock.step(2 * time.Hour)
			f(w)
			for range 2 {
				if list := w.s.Active(); len(list) != 0 {
					t.Fatalf("in force: %+v", list)
				}
				w.restart()
			}
			same(t, "end", w.s.All()[0].End, EndExpired)
		})
	}
}

func TestAfterAReboot(t *testing.T) {
	for name, c := range map[string]struct {
		before func(w *world)
		down   time.Duration
		off    time.Duration
		left   time.Duration // of what were 2 h; 0: it ends at once
	}{
		"clock right":           {nil, 10 * time.Minute, 0, 110 * time.Minute},
		"clock behind a little": {nil, 0, -2 * time.Second, 2 * time.Hour},
		"clock behind":          {nil, 0, -2*time.Second - 1, 0},
		"clock behind, but not of the last time seen": {func(w *world) {
			w.clock.pass(59 * time.Second)
			w.s.Tick() // too early to be written down
			w.kill()
		}, 0, -time.Minute, 2*time.Hour - 0},
		"clock behind the last time seen": {func(w *world) {
			w.clock.pass(time.Minute)
			w.s.Tick()
			w.kill()
		}, 0, -time.Minute, 0},
		"clock behind, was stopped": {func(w *world) {
			w.clock.pass(59 * time.Second)
			w.close()
		}, 0, -time.Minute, 0},
		"no clock":      {nil, 0, -60 * 365 * 24 * time.Hour, 0},
		"clock forward": {nil, 0, time.Hour, time.Hour},
		"behind its beginning, set back before": {func(w *world) {
			w.clock.pass(time.Hour)
			w.clock.step(-2 * time.Hour)
			w.s.Tick()
			w.kill()
		}, time.Minute, 0, 0},
		"after its beginning, set back before": {func(w *world) { // what was used is used
			w.clock.pass(90 * time.Minute)
			w.clock.step(-90 * time.Minute)
			w.s.Tick()
			w.kill()
		}, time.Minute, 0, 30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			w.add("shop.example", 2*time.Hour)
			if c.before == nil {
				w.kill()
			} else {
				c.before(w)
			}
			w.clock.reboot(c.down, c.off)
			w.open()
			if c.left == 0 {
				at := read(w.clock).wall
				w.kill() // it is on disk
				w.clock.step(3 * time.Minute)
				w.open()
				w.ended(EndClock, at)
				return
			}
			w.restart()
			w.inForce(c.left)
			w.restart()
			w.clock.reboot(0, -time.Hour)
			w.restart()
			w.ended(EndExpired, w.s.All()[0].Ended)
		})
	}
}

// Where boots have no ID every start may be one, and so where the boot clock is
// less than it was.
func TestWithoutABootID(t *testing.T) {
	for name, change := range map[string]func(c *fakeClock){
		"none":       func(c *fakeClock) { c.id = "" },
		"too long":   func(c *fakeClock) { c.id = strings.Repeat("x", maxBootID+1) },
		"not UTF-8":  func(c *fakeClock) { c.id = "\xff" },
		"clock less": func(*fakeClock) {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			change(w.clock)
			w.restart()
			w.add("shop.example", 2*time.Hour)
			w.clock.pass(time.Hour)
			w.close()
			w.clock.boot = 5 * time.Second // of another process
			w.open()
			w.clock.step(-30 * time.Minute)
			w.inForce(time.Hour)

			w.add("other.example", time.Hour)
			w.close()
			w.clock.boot = time.Second
			w.clock.step(-time.Minute)
			w.open()
			same(t, "in force", names(w.s.Active()), "")
			same(t, "end", w.s.All()[0].End, EndClock)
		})
	}
}

// The file is written at most each minute, and not at all while nothing is in force.
func TestTimeIsWrittenDownEachMinute(t *testing.T) {
	w := newWorld(t, t.TempDir())
	writes := func() (n int) {
		before := w.s.saved
		for range 600 {
			w.clock.pass(time.Second)
			w.s.Tick()
			if w.s.saved != before {
				n, before = n+1, w.s.saved
			}
		}
		return n
	}
	if n := writes(); n != 0 {
		t.Errorf("%d times with nothing in force", n)
	}
	w.add("shop.example", time.Hour)
	if n := writes(); n != 10 {
		t.Errorf("%d times in ten minutes", n)
	}
}

// An end comes until the caller shows, by the next Tick or by Close, that it was recorded.
func TestNoEndIsLost(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.add("a", time.Hour)
	w.add("b", time.Hour)
	w.clock.pass(time.Hour)
	for range 3 {
		same(t, "Tick", names(w.s.Tick()), "a b")
		w.kill()
		w.open()
	}
	same(t, "Tick", names(w.s.Tick()), "a b")
	same(t, "second Tick", names(w.s.Tick()), "")
	w.kill()
	w.open()
	same(t, "Tick when it was told", names(w.s.Tick()), "")

	w.add("c", time.Hour)
	w.clock.pass(time.Hour)
	w.s.Active()
	w.restart()
	same(t, "Tick after a Close before it", names(w.s.Tick()), "c")
	w.restart()
	same(t, "Tick after a Close behind it", names(w.s.Tick()), "")
}

func TestSystemClock(t *testing.T) {
	c := SystemClock()
	if now := c.Now(); time.Since(now).Abs() > time.Minute {
		t.Errorf("it is %s", now)
	}
	first := c.Boot()
	if second := c.Boot(); second < first || second == 0 {
		t.Errorf("%s after boot, then %s", first, second)
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if os.IsNotExist(err) {
		return
	}
	must(t, err)
	text, _, _ := strings.Cut(string(uptime), " ")
	seconds, err := strconv.ParseFloat(text, 64)
	must(t, err)
	up := time.Duration(seconds * float64(time.Second))
	if now := c.Boot(); first > up+10*time.Millisecond || now < up {
		t.Errorf("%s, then %s after boot; the kernel says %s between", first, now, up)
	}
	if id := c.BootID(); len(id) != 36 || id != bootID(c) {
		t.Errorf("boot id %q", id)
	}
}
