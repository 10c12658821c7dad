package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// MaxServers is how many servers a group may have.
const MaxServers = 16

const (
	defaultTimeout = 1500 * time.Millisecond

	// A server that failed is asked last for a while, which doubles with each
	// failure from the first of these to the second.
	firstBackOff = time.Second
	lastBackOff  = 30 * time.Second
)

// GroupConfig says how a group asks. Timeouts must not be negative.
type GroupConfig struct {
	Name     string           // the operator's name for the group
	Servers  []Exchanger      // in order of preference, 1 to MaxServers
	Timeout  time.Duration    // for a server while another is left to ask; 0 means 1.5 s
	Deadline time.Duration    // for the whole exchange; 0 means 5 s
	TrustAD  bool             // the servers were opened with Options.TrustAD
	Now      func() time.Time // clock of the back-off; nil means time.Now
}

// A Group is a list of servers that stand in for each other. It owns them.
// It is safe for concurrent use.
type Group struct {
	name     string
	members  []*member
	timeout  time.Duration
	deadline time.Duration
	trustAD  bool
	now      func() time.Time
}

// ServerStats is what one server of a group did, and whether it is set back.
type ServerStats struct {
	Server string // its URL
	Stats
	Failing bool // it failed when last asked; now and then one query tries it again
}

// NewGroup returns the group that cfg describes and starts nothing.
func NewGroup(cfg GroupConfig) (*Group, error) {
	if n := len(cfg.Servers); n == 0 || n > MaxServers {
		return nil, fmt.Errorf("upstream %s: %d servers: want 1 to %d", cfg.Name, n, MaxServers)
	}
	if cfg.Timeout < 0 || cfg.Deadline < 0 {
		return nil, fmt.Errorf("upstream %s: a timeout is negative", cfg.Name)
	}
	g := &Group{name: cfg.Name, timeout: cfg.Timeout, deadline: cfg.Deadline, trustAD: cfg.TrustAD, now: cfg.Now}
	if g.timeout == 0 {
		g.timeout = defaultTimeout
	}
	if g.deadline == 0 {
		g.deadline = defaultDeadline
	}
	g.timeout = min(g.timeout, g.deadline)
	if g.now == nil {
		g.now = time.Now
	}
	for i, s := range cfg.Servers {
		for _, m := range g.members[:i] {
			if m.url == s.String() {
				return nil, fmt.Errorf("upstream %s: server %s is given twice", cfg.Name, m.url)
			}
		}
		g.members = append(g.members, &member{Exchanger: s, url: s.String()})
	}
	return g, nil
}

// Name returns the operator's name for the group.
func (g *Group) Name() string { return g.name }

// TrustAD reports whether AD of servers in clear text is believed.
func (g *Group) TrustAD() bool { return g.trustAD }

// Exchange asks one server after the other until one gives a usable reply, and
// returns it with the URL of that server. NOERROR, NXDOMAIN and YXDOMAIN are
// usable; any other rcode says that this server will not or cannot tell, and the
// next is asked. If none does better the reply is returned all the same,
// SERVFAIL before others, for it may tell why. Without any reply, err holds what
// each server did; context.DeadlineExceeded is among it if one was silent.
//
// The last server left is given all the time that remains. A server is set back
// for an error of its own, and for silence only if it had its full timeout.
func (g *Group) Exchange(ctx context.Context, q *dns.Msg) (reply *dns.Msg, server string, err error) {
	began := g.now()
	at := time.Now()
	end := at.Add(g.deadline)
	order, n := g.order(began)
	var failed error
	for i, index := range order[:n] {
		if i > 0 {
			if at = time.Now(); !at.Before(end) {
				break
			}
		}
		until := end
		if i+1 < n {
			until = earlier(end, at.Add(g.timeout))
		}
		m := g.members[index]
		r, err := m.exchange(ctx, q, until)
		if err != nil {
			failed = join(failed, err)
			if errors.Is(err, errQuery) {
				break // so would all others say
			}
			silent := ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)
			if !silent || time.Since(at) >= g.timeout {
				m.failed(began, g.now())
			}
			if ctx.Err() != nil {
				break
			}
			continue
		}
		m.succeeded()
		if usable(r) {
			return r, m.url, nil
		}
		if reply == nil || r.Rcode == dns.RcodeServerFailure && reply.Rcode != dns.RcodeServerFailure {
			reply, server = r, m.url
		}
	}
	if reply != nil {
		return reply, server, nil
	}
	return nil, "", fmt.Errorf("upstream %s: %w", g.name, failed)
}

// order returns the indexes of the members as they are to be asked: as
// configured, but those that failed lately last.
func (g *Group) order(now time.Time) (order [MaxServers]uint8, n int) {
	var late [MaxServers]uint8
	l := 0
	for i, m := range g.members {
		if m.ready(now, g.timeout) {
			order[n] = uint8(i)
			n++
		} else {
			late[l] = uint8(i)
			l++
		}
	}
	return order, n + copy(order[n:], late[:l])
}

// Stats returns what each server did, in the order of the configuration.
func (g *Group) Stats() []ServerStats {
	all := make([]ServerStats, len(g.members))
	for i, m := range g.members {
		all[i] = ServerStats{Server: m.url, Stats: m.Stats(), Failing: m.failing()}
	}
	return all
}

// Close closes all servers.
func (g *Group) Close() error {
	var errs []error
	for _, m := range g.members {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// usable reports whether a reply settles the question for its asker.
func usable(r *dns.Msg) bool {
	switch r.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeYXDomain:
		return true
	}
	return false
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// join adds an error to those before it, on one line.
func join(before, err error) error {
	if before == nil {
		return err
	}
	return fmt.Errorf("%w; %w", before, err)
}

// A member is a server of a group and what the group remembers of it.
type member struct {
	Exchanger
	url string

	mu       sync.Mutex
	failures int       // in a row; 0 means healthy
	since    time.Time // when the last of them was noted, or a query took it on to try again
	until    time.Time // asked last before this time
}

func (m *member) exchange(ctx context.Context, q *dns.Msg, until time.Time) (*dns.Msg, error) {
	return m.Exchange(bounded{ctx, until}, q)
}

// bounded is a context with an earlier deadline that is only told, not watched:
// an exchange sets it on its socket. It costs a fraction of what a context with
// a timer of its own does.
type bounded struct {
	context.Context
	until time.Time
}

// Deadline returns the earlier of the two.
func (b bounded) Deadline() (time.Time, bool) {
	if d, ok := b.Context.Deadline(); ok {
		return earlier(d, b.until), true
	}
	return b.until, true
}

// ready reports whether the server may be asked in its turn. When its back-off is
// over, one query alone is told so and tries it; the others go on asking it last
// until that one has come back or its timeout has passed.
func (m *member) ready(now time.Time, timeout time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failures == 0 {
		return true
	}
	if now.Before(m.until) {
		return false
	}
	m.since, m.until = now, now.Add(timeout)
	return true
}

func (m *member) succeeded() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures = 0
}

// failed notes that an exchange, which began at the given time, failed. One that
// began before the last noted failure tells nothing new: a hundred queries in
// flight when a server dies count as one failure.
func (m *member) failed(began, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failures > 0 && began.Before(m.since) {
		return
	}
	pause := min(firstBackOff<<min(m.failures, 10), lastBackOff)
	m.failures++
	m.since, m.until = now, now.Add(pause)
}

func (m *member) failing() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failures > 0
}
