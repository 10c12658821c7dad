package blocklist

import (
	"context"
	"encoding/hex"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// When remote lists are asked for:
//
//   - each at its refresh, a tenth earlier or later, from its last answer on, across restarts
//   - after a failure, a minute later, then two, four …, at most its refresh; a zone as its SOA record says
//   - one without a copy, or one that was due while the program did not run, within seconds of the start
//   - at once when Refresh or Notify says so
//
// and never more than a few at a time, nor two from one host.

const (
	maxFetches   = 4
	firstBackoff = time.Minute
	startSpread  = 2 * time.Second
	notifyPause  = 5 * time.Second  // between the transfers of a list that NOTIFY brings about
	maxSleep     = 10 * time.Minute // so that a clock that jumps is seen
)

// nextCheck returns when to ask an origin again that is asked as often as every, and has failed that many times in
// turn. retry is the pause after a failure, zero for one that doubles. r is random, in [0, 1).
func nextCheck(now time.Time, every, retry time.Duration, failures int, r float64) time.Time {
	pause := every
	if failures > 0 {
		if retry == 0 {
			retry = firstBackoff << min(failures-1, 20)
		}
		pause = min(every, retry)
	}
	return now.Add(pause + time.Duration((r-0.5)*0.2*float64(pause)))
}

// schedule is what Run shares with those who call for a list.
type schedule struct {
	mu    sync.Mutex
	due   map[string]time.Time        // lists that were called for, and from when on they are due
	began map[string]time.Time        // when the last fetch of a list began
	zones map[transferOrigin][]string // the lists of the primaries that Run knows; the ports are 0
	ring  chan struct{}               // capacity 1: there is something to see for Run
}

// bell returns the channel that wakes Run.
func (s *schedule) bell() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring == nil {
		s.ring = make(chan struct{}, 1)
	}
	return s.ring
}

// Wake lets Run see that its sources have changed.
func (f *Fetcher) Wake() {
	select {
	case f.bell() <- struct{}{}:
	default:
	}
}

// Refresh makes a list due now; the empty name stands for all. Of a list that is being fetched it makes one more fetch.
func (f *Fetcher) Refresh(name string) {
	f.call(name, f.now())
	f.Wake()
}

// call makes a list due from then on. It is false when that was so already.
func (s *schedule) call(name string, then time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, called := s.due[name]; called && !then.Before(at) {
		return false
	}
	if s.due == nil {
		s.due = map[string]time.Time{}
	}
	s.due[name] = then
	return true
}

// Notify takes a NOTIFY (RFC 1996): from says that its zone has changed. It is false when no source that Run knows
// is that zone from that server. However many come, a list is transferred once in a few seconds for them.
func (f *Fetcher) Notify(zone string, from netip.Addr) bool {
	names, began := f.notified(dns.CanonicalName(zone), from)
	for _, name := range names {
		if f.call(name, later(f.now(), began[name].Add(notifyPause))) {
			f.Wake()
		}
	}
	return len(names) > 0
}

func (s *schedule) notified(zone string, from netip.Addr) (names []string, began map[string]time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names = s.zones[transferOrigin{netip.AddrPortFrom(from.Unmap(), 0), zone}]
	began = map[string]time.Time{}
	for _, name := range names {
		began[name] = s.began[name]
	}
	return names, began
}

// job is one list in Run.
type job struct {
	src     SourceConfig
	asked   string // see originState
	host    string
	next    time.Time
	running bool
}

// fetched is the end of a fetch.
type fetched struct {
	name    string
	asked   string // of the job that began it
	changed bool
	next    time.Time
	err     error
}

// Run fetches the lists that sources returns when they are due, until ctx ends. It calls sources again at each
// wake-up, and changed for each list with a new latest version; neither may take long. It is to be called once.
func (f *Fetcher) Run(ctx context.Context, sources func() []SourceConfig, changed func(name string)) error {
	jobs := map[string]*job{}
	done := make(chan fetched, maxFetches)
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	bell := f.bell()
	for {
		f.update(jobs, sources())
		timer.Reset(f.start(ctx, jobs, done, &running))
		select {
		case <-ctx.Done():
			return nil
		case <-bell:
		case <-timer.C:
		case end := <-done:
			if ctx.Err() != nil {
				return nil
			}
			f.finish(jobs, end)
			if end.changed {
				changed(end.name)
			}
		}
	}
}

// update makes the jobs those of the sources. Of two sources for one list the first counts.
func (f *Fetcher) update(jobs map[string]*job, sources []SourceConfig) {
	now := f.now()
	seen := map[string]bool{}
	zones := map[transferOrigin][]string{}
	for _, src := range sources {
		name := src.ListName()
		if !src.Remote() || seen[name] {
			continue
		}
		seen[name] = true
		asked, host := src.From, src.From
		if r, err := parseRemote(&src); err == nil { // else the fetch will tell
			asked, host = r.asked, r.host
			if r.url == nil {
				primary := transferOrigin{netip.AddrPortFrom(r.server.Addr(), 0), r.zone}
				zones[primary] = append(zones[primary], name)
			}
		}
		j := jobs[name]
		st := f.Store.state(name)
		if j == nil || j.asked != asked {
			running := j != nil && j.running
			j = &job{running: running, next: st.Next}
			if st.Latest == nil || st.Latest.File == "" && st.Latest.Digest != st.Refused || st.origin.asked != asked || !j.next.After(now) {
				j.next = now.Add(time.Duration(f.random() * float64(startSpread)))
			}
			jobs[name] = j
		}
		j.src, j.asked, j.host = src, asked, host
		every, _ := src.intervals(st.origin)
		if bound := nextCheck(now, every, 0, 0, 1); j.next.After(bound) { // refresh is shorter now, or the clock was wrong
			j.next = nextCheck(now, every, 0, 0, f.random())
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.zones = zones
	for name, j := range jobs {
		if !seen[name] && !j.running {
			delete(jobs, name)
			delete(f.began, name)
		}
	}
	if at, all := f.due[""]; all {
		for name := range seen {
			f.due[name] = at
		}
	}
	for name := range f.due {
		if !seen[name] {
			delete(f.due, name)
		}
	}
}

// start starts what is due, as far as that may be, and returns how long nothing else will be.
func (f *Fetcher) start(ctx context.Context, jobs map[string]*job, done chan<- fetched, running *sync.WaitGroup) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	busy := map[string]bool{}
	count := 0
	type waiting struct {
		name string
		at   time.Time
	}
	var queue []waiting
	for name, j := range jobs {
		if j.running {
			busy[j.host] = true
			count++
			continue
		}
		at := j.next
		if called, ok := f.due[name]; ok && called.Before(at) {
			at = called
		}
		queue = append(queue, waiting{name, at})
	}
	slices.SortFunc(queue, func(a, b waiting) int { return a.at.Compare(b.at) })
	for _, w := range queue {
		j := jobs[w.name]
		if w.at.After(now) {
			return min(w.at.Sub(now), maxSleep)
		}
		if count == maxFetches || busy[j.host] {
			continue // the end of another fetch comes back here
		}
		count++
		busy[j.host], j.running = true, true
		delete(f.due, w.name)
		if f.began == nil {
			f.began = map[string]time.Time{}
		}
		f.began[w.name] = now
		src, asked := j.src, j.asked
		running.Go(func() {
			end := fetched{name: w.name, asked: asked}
			end.changed, end.next, end.err = f.fetch(ctx, &src)
			done <- end
		})
	}
	return maxSleep
}

// finish takes the end of a fetch.
func (f *Fetcher) finish(jobs map[string]*job, end fetched) {
	j := jobs[end.name]
	if j == nil {
		return
	}
	j.running = false
	if j.asked == end.asked {
		j.next = end.next
	}
	log := f.logger().With("list", Redacted(end.name))
	latest := f.Store.Kept(end.name).Latest
	switch {
	case end.err != nil:
		log.Warn("list not fetched", "error", end.err, "next", end.next)
	case end.changed && latest != nil:
		log.Info("list fetched", "octets", latest.Bytes, "digest", hex.EncodeToString(latest.Digest[:8]), "next", end.next)
	default:
		log.Debug("list unchanged", "next", end.next)
	}
}
