package resolver

import (
	"net/netip"
	"sync"
)

// places are the connections that may be open at a time, in all and for one
// client. Where all are taken, a newcomer gets that of the connection that has
// been idle for longest: one without a query that waits for its answer. So
// idle clients hold nothing that another one needs.
type places struct {
	all, each int

	mu    sync.Mutex
	taken int
	by    map[netip.Addr]int
	idle  place // a ring, from the one idle for longest on
}

// place is a connection's, as places knows it. places.mu guards it.
type place struct {
	client     netip.Addr
	conn       *tcpConn
	waiting    int  // its queries without an answer yet
	given      bool // to another
	prev, next *place
}

func newPlaces(all, each int) *places {
	p := &places{all: all, each: each, by: map[netip.Addr]int{}}
	p.idle.prev, p.idle.next = &p.idle, &p.idle
	return p
}

// take gives c a place. out is the connection that had it and is to be closed,
// if there is one. ok is false if client has enough, or if all are busy.
func (p *places) take(c *tcpConn, client netip.Addr) (out *tcpConn, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by[client] >= p.each {
		return nil, false
	}
	if p.taken >= p.all {
		if out = p.giveUp(); out == nil {
			return nil, false
		}
	}
	p.taken++
	p.by[client]++
	c.place.client, c.place.conn = client, c
	p.rest(&c.place)
	return out, true
}

// spare returns the connection that has been idle for longest, which has lost
// its place and is to be closed; nil if none is idle.
func (p *places) spare() *tcpConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.giveUp()
}

func (p *places) giveUp() *tcpConn {
	oldest := p.idle.next
	if oldest == &p.idle {
		return nil
	}
	p.free(oldest)
	oldest.given = true
	return oldest.conn
}

// leave frees the place of a connection that has ended.
func (p *places) leave(c *tcpConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.place.given {
		p.free(&c.place)
	}
}

// asked notes that c brought a query, answered that one of its has its answer.
func (p *places) asked(c *tcpConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.place.waiting++; c.place.waiting == 1 {
		c.place.unlink()
	}
}

func (p *places) answered(c *tcpConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.place.waiting--; c.place.waiting == 0 && !c.place.given {
		p.rest(&c.place)
	}
}

// rest puts one at the end of those that are idle.
func (p *places) rest(c *place) {
	c.prev, c.next = p.idle.prev, &p.idle
	c.prev.next, c.next.prev = c, c
}

func (p *places) free(c *place) {
	c.unlink()
	p.taken--
	if p.by[c.client]--; p.by[c.client] == 0 {
		delete(p.by, c.client)
	}
}

// unlink takes it out of those that are idle, if it is there.
func (c *place) unlink() {
	if c.next != nil {
		c.prev.next, c.next.prev = c.next, c.prev
		c.prev, c.next = nil, nil
	}
}

// open returns how many are taken.
func (p *places) open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}
