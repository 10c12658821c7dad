package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/miekg/dns"
)

// A server that failed is dead: it is not asked while another works. A probe sees
// at once whether only that question went wrong, and others at growing intervals
// whether it is back; while all servers are dead these do not grow. Any reply,
// to a probe or a query, ends it.

const (
	firstPause   = time.Second // from one probe to the next; each is twice as long as the one before
	lastPause    = 10 * time.Second
	outagePause  = 500 * time.Millisecond // at most, while all servers are dead
	probeTimeout = 1500 * time.Millisecond
	maxProbes    = 3 // on their way to one server
)

// A standing is what is known of a server. Group.mu guards it.
type standing struct {
	rtt      rtt
	failures int       // in a row, without a reply to a query between
	dead     bool      //
	since    time.Time // when it died, or when it was last found to live
	probes   int       // since it died
	flying   int       // of these, on their way
	next     time.Time // when it is probed again, if it is dead
	stop     func() bool
}

// A health is how the servers of a group do together. Group.mu guards it.
type health struct {
	servers int
	dead    int
	outage  uint32    // counts the times that all were dead
	began   time.Time // when the last of them did
	over    uint32    // the last outage that is over
}

func (h *health) down() bool { return h.dead == h.servers }

// died notes that a server failed in an exchange that began at the given time. It
// is false if that tells nothing new: a hundred queries in flight when a server
// dies count as one failure.
func (h *health) died(s *standing, began, now time.Time) bool {
	if s.dead || began.Before(s.since) {
		return false
	}
	s.dead, s.since, s.probes = true, now, 0
	s.failures++
	if h.dead++; h.down() {
		h.outage++
		h.began = now
	}
	return true
}

// lives notes that a server has replied.
func (h *health) lives(s *standing, now time.Time) {
	if !s.dead {
		return
	}
	if h.down() && now.Sub(h.began) >= outagePause {
		h.over = h.outage
	}
	s.dead, s.since, s.next = false, now, time.Time{}
	h.dead--
}

// pause is how long it is to the next probe of a dead server.
func (h *health) pause(s *standing) time.Duration {
	n := s.failures - 1 + s.probes
	if n == 0 {
		return 0
	}
	pause := min(firstPause<<min(n-1, 10), lastPause)
	if h.down() {
		pause = min(pause, outagePause)
	}
	return pause
}

// Down says that no server of the group works as far as is known: a question
// would go out in vain.
func (g *Group) Down() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.down()
}

// Outage is the number of the outage that lasts, from 1, or 0 if a server works.
func (g *Group) Outage() uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.down() {
		return 0
	}
	return g.outage
}

// Over is the number of the last outage that is over. One that was shorter than a
// probe takes was none: single questions went wrong.
func (g *Group) Over() uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.over
}

// judge draws from how an exchange with m ended, which was asked at the given
// time, what it tells of the server. A server is to blame for an error of its
// own, and for silence only if it had its full timeout.
func (g *Group) judge(ctx context.Context, m *member, began, asked time.Time, reply *dns.Msg, err error) {
	if errors.Is(err, errQuery) {
		return
	}
	took := time.Since(asked)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		m.failures = 0
		if g.strategy == Fastest && !usable(reply) {
			took = max(took, g.timeout) // who is quick to refuse is not the fastest
		}
		m.rtt.add(took)
		g.found(m)
	case took >= g.timeout, ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded):
		g.lost(m, began)
	case took > m.rtt.p95() && m.rtt.count > 0 && errors.Is(err, context.Canceled):
		m.rtt.add(took) // it would have taken longer still
	}
}

// found notes that m has replied, with g.mu held.
func (g *Group) found(m *member) {
	g.unschedule(m)
	g.lives(&m.standing, g.now())
}

// lost notes that m has failed, with g.mu held. If it was the last, the others
// are probed sooner from now on.
func (g *Group) lost(m *member, began time.Time) {
	if !g.died(&m.standing, began, g.now()) {
		return
	}
	if g.down() {
		for _, o := range g.members {
			if o != m {
				g.schedule(o)
			}
		}
	}
	g.schedule(m)
}

// schedule sets the time of the next probe of m, which is dead, with g.mu held.
func (g *Group) schedule(m *member) {
	g.unschedule(m)
	if g.closed {
		return
	}
	pause := g.pause(&m.standing)
	m.next = g.now().Add(pause)
	g.probes.Add(1)
	m.stop = g.after(pause, func() {
		defer g.probes.Done()
		g.probe(m)
	})
}

func (g *Group) unschedule(m *member) {
	if m.stop != nil && m.stop() {
		g.probes.Done()
	}
	m.stop = nil
}

// probe asks m whether it works, unless that has been settled meanwhile or too many
// probes are on their way.
func (g *Group) probe(m *member) {
	g.mu.Lock()
	if g.closed || !m.dead {
		g.mu.Unlock()
		return
	}
	m.probes++
	g.schedule(m)
	if m.flying == maxProbes {
		g.mu.Unlock()
		return
	}
	m.flying++
	g.mu.Unlock()

	_, err := m.exchange(g.ctx, g.question, time.Now().Add(g.look))

	g.mu.Lock()
	defer g.mu.Unlock()
	m.flying--
	if err == nil {
		g.found(m)
	}
}
