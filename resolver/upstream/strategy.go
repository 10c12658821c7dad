package upstream

import (
	"context"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// A Strategy says which servers of a group are asked, and when.
type Strategy string

// The strategies. A server that failed is the last choice of each.
const (
	Ordered Strategy = "ordered" // the first that works, in the order of the configuration
	Fastest Strategy = "fastest" // the one whose replies take least; now and then another, to know how it does
	Hedge   Strategy = "hedge"   // as Ordered; the next as well when the first takes longer than usual
	Race    Strategy = "race"    // the first three at once
)

// Strategies are all that there are.
var Strategies = []Strategy{Ordered, Fastest, Hedge, Race}

const (
	raceWidth    = 3
	exploreEvery = 16  // exchanges of Fastest, of which one goes to another server
	mostTenths   = 100 // ten early queries may go out in a row after ninety that needed none
)

// A plan is who is to be asked one question.
type plan struct {
	order [MaxServers]uint8 // indexes of members: those that work, then the others
	n     int
	alive int           // of n
	width int           // how many are asked at once
	hedge time.Duration // after which the second is asked as well; 0 is not at all
}

// plan plans the next exchange.
func (g *Group) plan() plan {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turns++
	p := plan{width: 1}
	for i, m := range g.members {
		if !m.dead {
			p.order[p.n] = uint8(i)
			p.n++
		}
	}
	p.alive = p.n
	for i, m := range g.members {
		if m.dead {
			p.order[p.n] = uint8(i)
			p.n++
		}
	}
	switch best := p.order[:p.alive]; g.strategy {
	case Fastest:
		slices.SortStableFunc(best, func(a, b uint8) int {
			return int(g.members[a].rtt.mean - g.members[b].rtt.mean) // one that is not known yet comes first
		})
		if turn := int(g.turns / exploreEvery); g.turns%exploreEvery == 0 && p.alive > 1 {
			i := 1 + turn%(p.alive-1)
			best[0], best[i] = best[i], best[0]
		}
	case Race:
		p.width = min(raceWidth, p.n)
		if p.alive > 0 {
			p.width = min(raceWidth, p.alive)
		}
	case Hedge:
		g.tenths = min(g.tenths+1, mostTenths)
		if p.alive > 1 {
			p.hedge = g.timeout / 3
			if usual := g.members[best[0]].rtt.p95(); usual > 0 {
				p.hedge = min(usual, g.timeout)
			}
		}
	}
	return p
}

// goesOn says that the server in the i-th place is still to be asked when all
// before have been. One that failed is not while another has at least replied.
func (p *plan) goesOn(i int, r *round) bool { return i < p.n && (i < p.alive || r.reply == nil) }

// until is how long servers may take that are asked now, when so many will have
// been: to the end if nobody is left who could do better.
func (p *plan) until(asked int, now, end time.Time, timeout time.Duration) time.Time {
	if asked == p.alive || asked == p.n {
		return end
	}
	return earlier(end, now.Add(timeout))
}

// spend says that a second server may be asked early, and counts: that is for one
// question in ten at most.
func (g *Group) spend() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tenths < 10 {
		g.refused++
		return false
	}
	g.tenths -= 10
	g.hedges++
	return true
}

// sideBySide asks several servers. When one has settled the question the others
// are given up, and what they held is released before it returns.
func (g *Group) sideBySide(ctx context.Context, q *dns.Msg, p plan, began time.Time) (r round) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := time.Now().Add(g.deadline)
	type saying struct {
		of    *member
		at    time.Time // when it was asked
		reply *dns.Msg
		err   error
	}
	said := make(chan saying, p.n)
	asked, open := 0, 0
	ask := func(k int) {
		at := time.Now()
		until := p.until(asked+k, at, end, g.timeout)
		for range k {
			m := g.members[p.order[asked]]
			asked++
			open++
			go func() {
				reply, err := m.exchange(ctx, q, until)
				said <- saying{m, at, reply, err}
			}()
		}
	}
	late := make(chan struct{}, 1)
	if p.hedge > 0 {
		defer g.after(p.hedge, func() { late <- struct{}{} })()
	}
	ask(p.width)
	for done := false; open > 0; {
		select {
		case s := <-said:
			open--
			g.judge(ctx, s.of, began, s.at, s.reply, s.err)
			if done {
				continue
			}
			done = r.take(s.of, s.reply, s.err) || ctx.Err() != nil
			switch {
			case done:
				cancel()
			case open == 0 && p.goesOn(asked, &r) && time.Now().Before(end):
				ask(1)
			}
		case <-late:
			if !done && asked == 1 && g.spend() {
				ask(1)
			}
		}
	}
	return r
}
