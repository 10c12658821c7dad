package audit

import (
	"slices"
	"time"
)

// clockStep is how far wall clock and monotonic clock may part between two seals
// before a gap of cause clock says so.
const clockStep = 2 * time.Second

// lossTold is how often at most the operator hears of losses.
const lossTold = time.Minute

// take makes all that the log holds pending.
func (w *writer) take(final bool) {
	l := w.log
	w.taken = time.Now()
	l.armed.Store(false) // before looking: what comes later arms again
	l.tellExcluded(final)
	b := l.collect(final)
	now := l.cfg.Now()
	if step := clockStepped(w.seen, now); step != 0 {
		if len(b.slabs)+len(b.changes) > 0 {
			to := max(now.UnixNano(), 0)
			b.gaps = append(b.gaps, gap{cause: CauseClock, from: to - int64(step), to: to})
			w.seen = now
		}
	} else {
		w.seen = now
	}
	w.warn(b.gaps)
	if !b.empty() {
		l.sealer.sort(&b)
		w.pending = &b
	}
}

// warn tells the operator of losses.
func (w *writer) warn(gaps []gap) {
	for _, g := range gaps {
		if g.lost > 0 && (w.warned.IsZero() || w.taken.Sub(w.warned) >= lossTold) {
			w.warned = w.taken
			w.log.cfg.Logger.Error("audit events were lost, gap records say how many", "lost", g.lost, "cause", g.cause,
				"from", instant(g.from), "to", instant(g.to))
		}
	}
}

// clockStepped returns by how much the wall clock was set between two readings,
// or 0 if that is less than clockStep. Readings without a monotonic part can
// only show a step back.
func clockStepped(before, now time.Time) time.Duration {
	wall := now.Round(0).Sub(before.Round(0))
	step := wall - now.Sub(before)
	if step == 0 && wall < 0 {
		step = wall
	}
	if step.Abs() < clockStep {
		return 0
	}
	return step.Round(time.Millisecond)
}

// collect takes all that was recorded so far. The slabs of one shard come in the
// order in which they were filled.
func (l *Log) collect(final bool) (b batch) {
	l.settling.begin() // before looking
	if final {
		l.mu.Lock()
		l.closed = true
		l.full.Store(true)
		l.mu.Unlock()
	}
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		if len(s.slab.b) > 0 {
			l.mu.Lock()
			l.filled = append(l.filled, s.slab)
			l.mu.Unlock()
			s.slab = slab{}
		} else if final {
			s.slab = slab{}
		}
		s.mu.Unlock()
	}
	l.mu.Lock()
	l.tellWithheld()
	b.slabs = slices.Clone(l.filled)
	b.changes, b.gaps, b.owed = l.changes, l.gaps, l.mapping.owed()
	clear(l.filled)
	l.filled, l.changes, l.gaps = l.filled[:0], nil, nil
	l.mu.Unlock()
	return b
}

// release gives slabs back, empty.
func (l *Log) release(slabs []slab) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range slabs {
		if s.number == plainSlab && l.mapping.holds() {
			continue // of the time before there was a file
		}
		retract(s.b)
		s.b = s.b[:0]
		l.free = append(l.free, s)
	}
	l.full.Store(len(l.free) == 0 || l.closed || l.shut.Load())
}
