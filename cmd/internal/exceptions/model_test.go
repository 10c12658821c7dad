package exceptions

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A model is the naive store: a list, and what the disk would know of time.
type model struct {
	list []*modelled // place is ID less one

	seen    time.Time // wall clock at the last write
	seenUp  time.Duration
	unsaved bool // there is something to be written
}

type modelled struct {
	name    string
	created time.Time
	until   time.Time
	left    time.Duration // by the boot clock
	end     string
	told    int  // 0 no, 1 returned by Tick, 2 known
	known   bool // told is 2 on disk
}

func (m *model) inForce() (list []*modelled) {
	for _, e := range m.list {
		if e.end == "" {
			list = append(list, e)
		}
	}
	return list
}

// settle ends what must have ended.
func (m *model) settle(c *fakeClock) {
	before := len(m.inForce())
	for _, e := range m.inForce() {
		if !c.wall.Before(e.until) || e.left <= 0 {
			e.end = EndExpired
		}
	}
	if len(m.inForce()) < before {
		m.write(c)
	}
}

// write is what every write does.
func (m *model) write(c *fakeClock) {
	m.seen, m.seenUp, m.unsaved = c.wall, c.boot, false
	for _, e := range m.list {
		e.known = e.told == 2
	}
}

// know marks what the caller has been told.
func (m *model) know() {
	for _, e := range m.list {
		if e.told == 1 {
			e.told, m.unsaved = 2, true
		}
	}
}

// lose is a kill: memory is what the disk has.
func (m *model) lose() {
	for _, e := range m.list {
		if e.told = 0; e.known {
			e.told = 2
		}
	}
}

// Random days of a store: whatever is asked, whatever the clocks do and whenever it
// is killed, it does what the model does, and no exception outlives what was granted.
func TestModel(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, dir+"/"+fmt.Sprint(time.Now().UnixNano()))
		w.cfg.MaxDuration = 3 * time.Hour
		w.restart()
		defer func() { w.s.Close() }()
		w.s.file.db.NoSync = true
		m := &model{}
		m.write(w.clock)

		reopen := func(kill, reboot bool) {
			up := w.clock.boot
			if kill {
				w.kill()
				m.lose()
			} else {
				w.close()
				m.know()
				if m.unsaved || len(m.inForce()) > 0 {
					m.write(w.clock)
				}
			}
			if reboot {
				down := time.Duration(rapid.IntRange(0, 2*3600).Draw(t, "down")) * time.Second
				off := time.Duration(rapid.SampledFrom([]int{0, 0, 1, 60, 3600, -1, -3, -60, -3600}).Draw(t, "off")) * time.Second
				w.clock.reboot(down, off)
				for _, e := range m.inForce() {
					e.left += up - m.seenUp // what was not written down is forgotten
					if behind := w.clock.wall.Add(2 * time.Second); behind.Before(m.seen) || behind.Before(e.created) {
						e.end = EndClock
					}
					m.unsaved = true
				}
				m.seenUp = w.clock.boot
			}
			w.open()
			w.s.file.db.NoSync = true
			m.settle(w.clock)
			if m.unsaved {
				m.write(w.clock)
			}
		}

		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name")
				d := time.Duration(rapid.IntRange(-1, 4*3600).Draw(t, "for")) * time.Second
				m.settle(w.clock)
				twice := slices.ContainsFunc(m.inForce(), func(e *modelled) bool { return e.name == name })
				e, err := w.s.Add(request(strings.ToUpper(name), d))
				if d <= 0 || d > w.cfg.MaxDuration || twice {
					refused(t, err)
					return
				}
				must(t, err)
				m.list = append(m.list, &modelled{name: name, created: w.clock.wall, until: w.clock.wall.Add(d), left: d})
				m.write(w.clock)
				if e.ID != uint64(len(m.list)) {
					t.Fatalf("ID %d, want %d", e.ID, len(m.list))
				}
			},
			"extend": func(t *rapid.T) {
				id := rapid.IntRange(0, len(m.list)+1).Draw(t, "id")
				d := time.Duration(rapid.IntRange(-1, 2*3600).Draw(t, "by")) * time.Second
				m.settle(w.clock)
				_, err := w.s.Extend(uint64(id), d, "bob", "more")
				if id == 0 || id > len(m.list) || m.list[id-1].end != "" || d <= 0 {
					refused(t, err)
					return
				}
				e := m.list[id-1]
				if max(e.until.Sub(w.clock.wall), e.left)+d > w.cfg.MaxDuration {
					refused(t, err, "max_duration")
					return
				}
				must(t, err)
				e.until, e.left = e.until.Add(d), e.left+d
				m.write(w.clock)
			},
			"remove": func(t *rapid.T) {
				id := rapid.IntRange(0, len(m.list)+1).Draw(t, "id")
				m.settle(w.clock)
				_, err := w.s.Remove(uint64(id), "bob", "done")
				if id == 0 || id > len(m.list) || m.list[id-1].end != "" {
					refused(t, err)
					return
				}
				must(t, err)
				m.list[id-1].end, m.list[id-1].told = EndRemoved, 2
				m.write(w.clock)
			},
			"tick": func(t *rapid.T) {
				m.settle(w.clock)
				m.know()
				var want []uint64
				for i, e := range m.list {
					if e.end != "" && e.told == 0 {
						want = append(want, uint64(i+1))
						e.told = 1
					}
				}
				if m.unsaved || len(m.inForce()) > 0 && w.clock.boot-m.seenUp >= time.Minute {
					m.write(w.clock)
				}
				var got []uint64
				for _, e := range w.s.Tick() {
					got = append(got, e.ID)
				}
				same(t, "Tick", got, want)
			},
			"time": func(t *rapid.T) {
				seconds := rapid.SampledFrom([]int{1, 30, 60, 600, 3600, 5 * 3600}).Draw(t, "seconds")
				d := time.Duration(rapid.IntRange(0, seconds*1000).Draw(t, "ms")) * time.Millisecond
				w.clock.pass(d)
				for _, e := range m.inForce() {
					e.left -= d
				}
			},
			"clock is set": func(t *rapid.T) {
				w.clock.step(time.Duration(rapid.IntRange(-3*3600, 3600).Draw(t, "seconds")) * time.Second)
			},
			"restart":         func(*rapid.T) { reopen(false, false) },
			"kill":            func(*rapid.T) { reopen(true, false) },
			"reboot":          func(*rapid.T) { reopen(false, true) },
			"reboot by force": func(*rapid.T) { reopen(true, true) },
			"": func(t *rapid.T) {
				m.settle(w.clock)
				active, want := map[string]time.Time{}, map[string]time.Time{}
				for _, e := range w.s.Active() {
					active[strings.ToLower(e.Name)] = e.Until
				}
				next := time.Time{}
				for _, e := range m.inForce() {
					want[e.name] = e.until
					if next.IsZero() || e.until.Before(next) {
						next = e.until
					}
				}
				if !maps.EqualFunc(active, want, time.Time.Equal) || !w.s.Next().Equal(next) {
					t.Fatalf("in force: %v, next %v\nwant %v, %v", active, w.s.Next(), want, next)
				}
				all := w.s.All()
				if len(all) != len(m.list) {
					t.Fatalf("%d exceptions, want %d", len(all), len(m.list))
				}
				for i, got := range all {
					if e := m.list[len(all)-1-i]; got.ID != uint64(len(all)-i) || got.End != e.end || strings.ToLower(got.Name) != e.name || !got.Created.Equal(e.created) {
						t.Fatalf("%+v\nwant %+v", got, e)
					}
				}
			},
		})
	})
}
