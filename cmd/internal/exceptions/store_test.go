package exceptions

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAddAndRestart(t *testing.T) {
	w := newWorld(t, t.TempDir())
	first, err := w.s.Add(Request{Name: "=shop.example", Group: "staff", For: 2 * time.Hour, Reason: hostile, By: "ann\n"})
	must(t, err)
	same(t, "what Add returns", first, Exception{
		ID: 1, Name: "=shop.example", Group: "staff", Reason: hostile, By: "ann\n", Created: epoch, Until: epoch.Add(2 * time.Hour),
	})
	w.clock.pass(time.Minute)
	second := w.add("a.example", time.Hour)
	for _, again := range []func(){func() {}, w.restart, func() { w.kill(); w.open() }} {
		again()
		same(t, "Active", w.s.Active(), []Exception{first, second})
		same(t, "All", w.s.All(), []Exception{second, first})
		if next := w.s.Next(); !next.Equal(second.Until) {
			t.Errorf("Next is %s, want %s", next, second.Until)
		}
		if ended := w.s.Tick(); ended != nil {
			t.Errorf("ended: %v", ended)
		}
	}
	if w.s.Damage() != nil {
		t.Error(w.s.Damage())
	}
}

func TestExtend(t *testing.T) {
	w := newWorld(t, t.TempDir())
	e := w.add("shop.example", time.Hour)
	w.clock.pass(30 * time.Minute)
	got, err := w.s.Extend(e.ID, time.Hour, "bob", hostile)
	must(t, err)
	e.Until = epoch.Add(2 * time.Hour)
	e.Extended = []Extension{{At: epoch.Add(30 * time.Minute), Until: e.Until, By: "bob", Reason: hostile}}
	same(t, "what Extend returns", got, e)
	got.Extended[0].By = "changed by the caller"
	w.s.Active()[0].Extended[0].By = "changed by the caller"
	same(t, "what the caller cannot change", w.s.Active(), []Exception{e})
	w.restart()
	same(t, "after a restart", w.s.Active(), []Exception{e})
	w.clock.pass(90*time.Minute - 1)
	same(t, "still in force", names(w.s.Active()), "shop.example")
	w.clock.pass(1)
	same(t, "no more", names(w.s.Tick()), "shop.example")
	for n := range maxExtensions + 1 {
		if n == 0 {
			e = w.add("shop.example", time.Hour)
			continue
		}
		_, err := w.s.Extend(e.ID, time.Second, "bob", "more")
		must(t, err)
	}
	_, err = w.s.Extend(e.ID, time.Second, "bob", "more")
	refused(t, err, "extended 64 times")
}

func TestRemove(t *testing.T) {
	w := newWorld(t, t.TempDir())
	e := w.add("shop.example", time.Hour)
	w.clock.pass(time.Minute)
	got, err := w.s.Remove(e.ID, "bob", "done")
	must(t, err)
	e.Ended, e.End, e.EndedBy, e.EndReason = epoch.Add(time.Minute), EndRemoved, "bob", "done"
	same(t, "what Remove returns", got, e)
	w.kill()
	w.open()
	same(t, "All", w.s.All(), []Exception{e})
	if len(w.s.Active()) != 0 || !w.s.Next().IsZero() || w.s.Tick() != nil {
		t.Error("it is still in force, or its end comes twice")
	}
	if again := w.add("shop.example", time.Hour); again.ID != 2 {
		t.Errorf("its ID is %d, want 2", again.ID)
	}
}

func TestUnknownAndEnded(t *testing.T) {
	w := newWorld(t, t.TempDir())
	e := w.add("shop.example", time.Hour)
	w.clock.pass(time.Hour) // and no Tick
	for id, says := range map[uint64]string{0: "no exception 0", 7: "no exception 7", e.ID: "exception 1 has ended (expired) at 2026-10-01T13:00:00Z"} {
		_, err := w.s.Extend(id, time.Hour, "bob", "more")
		if r := refused(t, err, says); r.ID != id {
			t.Errorf("it is about %d, want %d", r.ID, id)
		}
		_, err = w.s.Remove(id, "bob", "done")
		refused(t, err, says)
	}
}

// endless is the longest duration that could be asked for.
const endless = time.Duration(math.MaxInt64 / int64(time.Second) * int64(time.Second))

func TestRefusedRequests(t *testing.T) {
	w := newWorld(t, t.TempDir())
	for says, change := range map[string]func(q *Request){
		"the name is missing":                    func(q *Request) { q.Name = "" },
		"the name has 1025 octets":               func(q *Request) { q.Name = strings.Repeat("a", 1025) },
		"the name is not UTF-8":                  func(q *Request) { q.Name = "\xc3.example" },
		"for nobody":                             func(q *Request) { q.Client = "" },
		"for a client and for a group":           func(q *Request) { q.Group = "staff" },
		`"10.0.4" is neither`:                    func(q *Request) { q.Client = "10.0.4" },
		`"fe80::1%eth0" is neither`:              func(q *Request) { q.Client = "fe80::1%eth0" },
		"the group has 201 octets":               func(q *Request) { q.Client, q.Group = "", strings.Repeat("g", 201) },
		"the reason is missing":                  func(q *Request) { q.Reason = "" },
		"the reason has 501 octets":              func(q *Request) { q.Reason = strings.Repeat("ü", 250) + "x" },
		"the reason is not UTF-8":                func(q *Request) { q.Reason = "\xed\xa0\x80" },
		"the name of who says so is missing":     func(q *Request) { q.By = "" },
		"the name of who says so has 201":        func(q *Request) { q.By = strings.Repeat("x", 201) },
		"0s is not a positive number":            func(q *Request) { q.For = 0 },
		"-1h is not a positive number":           func(q *Request) { q.For = -time.Hour },
		"1.5s is not a positive number":          func(q *Request) { q.For = 1500 * time.Millisecond },
		"168h from now at the latest":            func(q *Request) { q.For = 7*24*time.Hour + time.Second },
		"[exceptions] max_duration":              func(q *Request) { q.For = endless },
		"168h0m1s is too long: an exception may": func(q *Request) { q.For = 7*24*time.Hour + time.Second },
	} {
		q := request("shop.example", time.Hour)
		change(&q)
		_, err := w.s.Add(q)
		refused(t, err, says)
	}
	if len(w.s.All()) != 0 {
		t.Errorf("there is %v", w.s.All())
	}
	q := request("shop.example", 7*24*time.Hour) // the most of all
	q.Reason, q.By = strings.Repeat("ü", 250), strings.Repeat("x", 200)
	e, err := w.s.Add(q)
	must(t, err)
	for says, f := range map[string]func() error{
		"reason is missing":  func() error { _, err := w.s.Extend(e.ID, time.Hour, "bob", ""); return err },
		"so is not UTF-8":    func() error { _, err := w.s.Extend(e.ID, time.Hour, "\xff", "more"); return err },
		"not a positive":     func() error { _, err := w.s.Extend(e.ID, -time.Hour, "bob", "more"); return err },
		"so is missing":      func() error { _, err := w.s.Remove(e.ID, "", "done"); return err },
		"reason has 501":     func() error { _, err := w.s.Remove(e.ID, "bob", strings.Repeat("x", 501)); return err },
		"the 168h that are":  func() error { _, err := w.s.Extend(e.ID, time.Second, "bob", "more"); return err },
		"max_duration":       func() error { _, err := w.s.Extend(e.ID, 24*time.Hour, "bob", "more"); return err },
		"2562047h47m16s is ": func() error { _, err := w.s.Extend(e.ID, endless, "bob", "more"); return err },
	} {
		refused(t, f(), says)
	}
	w.clock.pass(time.Hour)
	_, err = w.s.Extend(e.ID, time.Hour+time.Second, "bob", "more")
	refused(t, err, "1h0m1s is too long beside the 167h that are left", "168h")
	_, err = w.s.Extend(e.ID, time.Hour, "bob", "more")
	must(t, err)
}

func TestAClockThatIsNotSet(t *testing.T) {
	w := newWorld(t, t.TempDir())
	for _, wall := range []time.Time{time.Unix(0, 0), {}, time.Unix(-5, 0), lastTime.Add(-time.Minute), lastTime.AddDate(1, 0, 0)} {
		w.clock.wall = wall
		_, err := w.s.Add(request("shop.example", time.Hour))
		refused(t, err, "set the clock")
	}
}

func TestTwiceTheSameIsRefused(t *testing.T) {
	w := newWorld(t, t.TempDir())
	add := func(name, client, group string) error {
		q := request(name, time.Hour)
		q.Client, q.Group = client, group
		_, err := w.s.Add(q)
		return err
	}
	for _, c := range []Request{
		{Name: "shop.example", Client: "10.0.4.17"},
		{Name: "shop.example", Client: "10.0.4.0/24"},
		{Name: "shop.example", Client: "2001:db8::7"},
		{Name: "shop.example", Group: "staff"},
		{Name: "shop.example", Group: "10.0.4.17"},
		{Name: "=shop.example", Client: "10.0.4.17"},
		{Name: "*.shop.example", Client: "10.0.4.17"},
	} {
		must(t, add(c.Name, c.Client, c.Group))
	}
	for _, c := range []struct {
		Request
		id uint64
	}{
		{Request{Name: "shop.example", Client: "10.0.4.17"}, 1},
		{Request{Name: "SHOP.example.", Client: "10.0.4.17/32"}, 1},
		{Request{Name: "shop.example", Client: "::ffff:10.0.4.17"}, 1},
		{Request{Name: "shop.example", Client: "10.0.4.9/24"}, 2},
		{Request{Name: "shop.example", Client: "2001:DB8:0::7"}, 3},
		{Request{Name: "shop.example", Group: "staff"}, 4},
		{Request{Name: "*.Shop.example", Client: "10.0.4.17"}, 7},
	} {
		err := add(c.Name, c.Client, c.Group)
		r := refused(t, err, fmt.Sprintf("weir exception extend %d", c.id), "until 2026-10-01T13:00:00Z")
		if r.ID != c.id {
			t.Errorf("%+v: it is about %d", c, r.ID)
		}
	}
	_, err := w.s.Remove(1, "bob", "done")
	must(t, err)
	must(t, add("shop.example", "10.0.4.17", ""))
}

func TestAt(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.add("a", time.Hour) // 12:00 to 13:00
	w.clock.pass(30 * time.Minute)
	b := w.add("b", 4*time.Hour) // 12:30 to 14:00
	w.clock.pass(90 * time.Minute)
	_, err := w.s.Remove(b.ID, "bob", "done")
	must(t, err)
	w.add("c", time.Hour) // 14:00 to 15:00
	w.restart()
	for at, want := range map[string]string{
		"11:59:59.999999999": "", "12:00:00": "a", "12:29:59": "a", "12:30:00": "a b", "12:59:59.999999999": "a b",
		"13:00:00": "b", "13:59:59.999999999": "b", "14:00:00": "c", "14:59:59": "c", "15:00:00": "",
	} {
		instant, err := time.Parse(time.RFC3339Nano, "2026-10-01T"+at+"Z")
		must(t, err)
		same(t, at, names(w.s.At(instant)), want)
	}
}

// fill puts n exceptions in the file by one commit: some would take long otherwise.
func fill(w *world, n int, change func(r *record)) {
	w.t.Helper()
	now := read(w.clock)
	for range n {
		r := &record{
			Exception: Exception{
				ID: w.s.next, Name: fmt.Sprintf("host-%d.example", w.s.next), Client: "10.0.4.17", Reason: "release today", By: "ann",
				Created: now.wall, Until: now.wall.Add(time.Hour),
			},
			deadline: now.boot + time.Hour,
		}
		if change != nil {
			change(r)
		}
		if r.InForce() {
			w.s.force[r.ID] = r
		} else {
			w.s.ended[r.ID] = r
		}
		w.s.dirty[r.ID] = true
		w.s.next++
	}
	must(w.t, w.s.commit(now, nil))
}

func TestAtMostSoManyInForce(t *testing.T) {
	w := newWorld(t, t.TempDir())
	fill(w, maxInForce-1, nil)
	last := w.add("shop.example", time.Minute)
	_, err := w.s.Add(request("one.more.example", time.Hour))
	refused(t, err, "10000 exceptions are in force")
	w.restart()
	if n := len(w.s.Active()); n != maxInForce {
		t.Errorf("%d in force after a restart", n)
	}
	w.clock.pass(time.Minute)
	if e := w.add("one.more.example", time.Hour); e.ID != last.ID+1 {
		t.Errorf("its ID is %d", e.ID)
	}
	w.clock.pass(time.Hour)
	if n := len(w.s.Tick()); n != maxInForce+1 {
		t.Errorf("%d have ended", n)
	}
	w.restart()
	if n := len(w.s.Tick()); n != 0 {
		t.Errorf("%d ends come twice", n)
	}
}

func TestWhatEndedLongAgoIsForgotten(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.cfg.Keep = 30 * 24 * time.Hour
	w.restart()
	w.add("a", time.Hour)
	w.clock.pass(time.Hour)
	w.s.Tick()
	w.clock.pass(30 * time.Minute)
	w.s.Tick()
	w.clock.step(w.cfg.Keep + time.Minute) // for a while the clock is wrong
	for range 59 {
		w.clock.pass(time.Minute)
		w.s.Tick()
	}
	w.clock.step(-w.cfg.Keep - time.Minute)
	for range 3 {
		w.clock.pass(time.Hour)
		w.s.Tick()
	}
	same(t, "after a clock that was wrong", names(w.s.All()), "a")
	w.clock.pass(w.cfg.Keep)
	w.s.Tick()
	w.clock.pass(time.Hour)
	w.s.Tick()
	same(t, "after long", names(w.s.All()), "")
	w.restart()
	same(t, "after a restart", names(w.s.All()), "")
	if e := w.add("a", time.Hour); e.ID != 2 {
		t.Errorf("the ID is %d, want 2: none is used again", e.ID)
	}
}

func TestAtMostSoManyEndedAreKept(t *testing.T) {
	w := newWorld(t, t.TempDir())
	fill(w, maxEnded, func(r *record) { r.Ended, r.End, r.deadline = epoch, EndExpired, 0 })
	w.s.Tick()
	if n := len(w.s.All()); n != maxEnded {
		t.Fatalf("%d are kept, want all", n)
	}
	e := w.add("shop.example", time.Minute)
	w.clock.pass(time.Minute)
	same(t, "Tick", names(w.s.Tick()), "shop.example")
	w.s.Tick()
	w.restart()
	all := w.s.All()
	if n := len(all); n != maxEnded-maxEnded/100 || all[0].ID != e.ID || all[n-1].ID != maxEnded/100+2 {
		t.Errorf("%d are kept, from %d to %d", n, all[n-1].ID, all[0].ID)
	}
}

func TestClosedAndReadOnly(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.add("a", time.Hour)
	w.add("b", 2*time.Hour)
	w.close()
	must(t, w.s.Close())
	before := readFile(t, w.path)
	w.clock.pass(time.Hour)
	r, err := OpenReadOnly(w.path, w.cfg)
	must(t, err)
	second, err := OpenReadOnly(w.path, w.cfg)
	must(t, err)
	for _, s := range []*Store{w.s, r, second} {
		_, err := s.Add(request("c", time.Hour))
		if err != ErrReadOnly {
			t.Error(err)
		}
		if _, err = s.Extend(1, time.Hour, "bob", "more"); err != ErrReadOnly {
			t.Error(err)
		}
		if _, err = s.Remove(1, "bob", "done"); err != ErrReadOnly {
			t.Error(err)
		}
		if s.Tick() != nil {
			t.Error("Tick returns something")
		}
	}
	same(t, "Active", names(r.Active()), "b")
	same(t, "All", names(r.All()), "b a")
	must(t, r.Close())
	same(t, "Active when closed", names(r.Active()), "b")
	same(t, "the file", readFile(t, w.path), before)
	w.open() // the reader holds no lock
	w.close()
	if _, err := OpenReadOnly(filepath.Join(t.TempDir(), "none.db"), Config{}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

func BenchmarkAdd(b *testing.B) {
	w := newWorld(b, b.TempDir())
	fill(w, 1000, nil)
	for b.Loop() {
		e := w.add("shop.example", time.Hour)
		if _, err := w.s.Remove(e.ID, "bob", "done"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTick(b *testing.B) {
	w := newWorld(b, b.TempDir())
	fill(w, maxInForce, nil)
	b.ReportAllocs()
	for b.Loop() {
		w.s.Tick()
	}
}

func BenchmarkOpen(b *testing.B) {
	w := newWorld(b, b.TempDir())
	fill(w, maxInForce, nil)
	for b.Loop() {
		w.kill()
		w.open()
	}
}

// Whatever is called at once, each exception has its own ID and ends once.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, t.TempDir())
	const workers, each = 4, 10
	var wait sync.WaitGroup
	for n := range workers {
		wait.Go(func() {
			for i := range each {
				e, err := w.s.Add(request(fmt.Sprintf("host-%d-%d.example", n, i), time.Hour))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := w.s.Extend(e.ID, time.Second, "bob", "more"); err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					if _, err := w.s.Remove(e.ID, "bob", "done"); err != nil {
						t.Error(err)
					}
				}
				w.s.Active()
				w.s.At(epoch)
				w.s.Next()
				w.s.Tick()
			}
		})
	}
	wait.Wait()
	all := w.s.All()
	if len(all) != workers*each || all[0].ID != workers*each || len(w.s.Active()) != workers*each/2 {
		t.Errorf("%d exceptions, the last is %d, %d are in force", len(all), all[0].ID, len(w.s.Active()))
	}
	w.restart()
	same(t, "after a restart", w.s.All(), all)
}
