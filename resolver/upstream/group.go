package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// MaxServers is how many servers a group may have.
const MaxServers = 16

const defaultTimeout = time.Second

// GroupConfig says how a group asks. Timeouts must not be negative.
type GroupConfig struct {
	Name     string        // the operator's name for the group
	Servers  []Exchanger   // in order of preference, 1 to MaxServers
	Strategy Strategy      // "" means Ordered
	Timeout  time.Duration // for a server while another is left to ask; 0 means 1 s
	Deadline time.Duration // for the whole exchange; 0 means 5 s
	TrustAD  bool          // the servers were opened with Options.TrustAD
	Probe    string        // whose NS records a server is asked for to see whether it works; "" means the root's

	Now func() time.Time // clock of all but what sockets are told; nil means time.Now

	// After calls f in a goroutine of its own when so much time has passed, unless
	// stop is called before; nil means time.AfterFunc.
	After func(d time.Duration, f func()) (stop func() bool)
}

// A Group is a list of servers that stand in for each other. It owns them.
// It is safe for concurrent use.
type Group struct {
	name     string
	strategy Strategy
	members  []*member
	timeout  time.Duration
	deadline time.Duration
	look     time.Duration // that a probe may take
	question *dns.Msg      // of probes; never changed
	trustAD  bool
	now      func() time.Time
	after    func(d time.Duration, f func()) (stop func() bool)

	ctx    context.Context // of probes
	cancel func()
	probes sync.WaitGroup // those to come and those on their way

	mu      sync.Mutex // guards what follows, and each member's standing
	health             // of them all
	turns   uint64     // exchanges so far
	tenths  int        // of a query that may go out early
	hedges  uint64
	refused uint64
	closed  bool
}

// A member is a server of a group and what the group knows of it.
type member struct {
	Exchanger
	url string
	standing
}

// GroupStats is how a group does.
type GroupStats struct {
	Strategy Strategy      `json:"strategy"`
	Down     bool          `json:"down"`    // no server works, as far as is known
	Asked    uint64        `json:"asked"`   // exchanges begun
	Hedges   uint64        `json:"hedges"`  // of these, with a second server asked because the first took long
	Refused  uint64        `json:"refused"` // and not asked because that would have been more than one in ten
	Servers  []ServerStats `json:"servers"` // in the order of the configuration
}

// ServerStats is what one server of a group did, probes included, and how it does.
type ServerStats struct {
	Server string // its URL
	Stats
	RTT     time.Duration // mean of its replies, the last ones weighing most; 0 before the first
	P95     time.Duration // within which 95 of 100 replies came; 0 while that cannot be told
	Failing bool          // it is not asked while another server works

	FailingSince time.Time `json:",omitzero"`
	NextProbe    time.Time `json:",omitzero"` // when it is looked at again
	Probes       int       `json:",omitzero"` // since it fails
}

// NewGroup returns the group that cfg describes and starts nothing.
func NewGroup(cfg GroupConfig) (*Group, error) {
	if n := len(cfg.Servers); n == 0 || n > MaxServers {
		return nil, fmt.Errorf("upstream %s: %d servers: want 1 to %d", cfg.Name, n, MaxServers)
	}
	if cfg.Timeout < 0 || cfg.Deadline < 0 {
		return nil, fmt.Errorf("upstream %s: a timeout is negative", cfg.Name)
	}
	if !slices.Contains(Strategies, cmp.Or(cfg.Strategy, Ordered)) {
		return nil, fmt.Errorf("upstream %s: no strategy is called %q", cfg.Name, cfg.Strategy)
	}
	g := &Group{
		name: cfg.Name, strategy: cmp.Or(cfg.Strategy, Ordered), trustAD: cfg.TrustAD, now: cfg.Now, after: cfg.After,
		timeout: cmp.Or(cfg.Timeout, defaultTimeout), deadline: cmp.Or(cfg.Deadline, defaultDeadline),
		question: new(dns.Msg).SetQuestion(dns.Fqdn(cfg.Probe), dns.TypeNS),
	}
	g.timeout, g.look = min(g.timeout, g.deadline), min(probeTimeout, g.deadline)
	if g.now == nil {
		g.now = time.Now
	}
	if g.after == nil {
		g.after = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	for i, s := range cfg.Servers {
		for _, m := range g.members[:i] {
			if m.url == s.String() {
				return nil, fmt.Errorf("upstream %s: server %s is given twice", cfg.Name, m.url)
			}
		}
		if i > 0 && Encrypted(s.String()) != Encrypted(cfg.Servers[0].String()) {
			return nil, fmt.Errorf("upstream %s: %s and %s: one is encrypted and the other is not", cfg.Name, cfg.Servers[0], s)
		}
		g.members = append(g.members, &member{Exchanger: s, url: s.String()})
	}
	g.servers = len(g.members)
	return g, nil
}

// Name returns the operator's name for the group.
func (g *Group) Name() string { return g.name }

// TrustAD reports whether AD of servers in clear text is believed.
func (g *Group) TrustAD() bool { return g.trustAD }

// Exchange asks servers as the strategy says until one gives a usable reply, and
// returns it with the URL of that server. NOERROR, NXDOMAIN and YXDOMAIN are
// usable; any other rcode says that this server will not or cannot tell, and the
// next is asked. If none does better the reply is returned all the same,
// SERVFAIL before others, for it may tell why. Without any reply, err holds what
// each server did; context.DeadlineExceeded is among it if one was silent.
//
// A server that failed is not asked while another works. The last server left is
// given all the time that remains. Each is asked once at most.
func (g *Group) Exchange(ctx context.Context, q *dns.Msg) (reply *dns.Msg, server string, err error) {
	began := g.now()
	p := g.plan()
	var r round
	if p.width > 1 || p.hedge > 0 {
		r = g.sideBySide(ctx, q, p, began)
	} else {
		r = g.inTurn(ctx, q, p, began)
	}
	if r.reply != nil {
		return r.reply, r.server, nil
	}
	return nil, "", fmt.Errorf("upstream %s: %w", g.name, r.failed)
}

// inTurn asks one server after the other.
func (g *Group) inTurn(ctx context.Context, q *dns.Msg, p plan, began time.Time) (r round) {
	at := time.Now()
	end := at.Add(g.deadline)
	for i := range p.n {
		if i > 0 {
			if at = time.Now(); !at.Before(end) || !p.goesOn(i, &r) {
				break
			}
		}
		m := g.members[p.order[i]]
		reply, err := m.exchange(ctx, q, p.until(i+1, at, end, g.timeout))
		done := r.take(m, reply, err)
		g.judge(ctx, m, began, at, reply, err)
		if done || ctx.Err() != nil {
			break
		}
	}
	return r
}

// A round is what the servers have said to one question.
type round struct {
	reply  *dns.Msg // the best so far
	server string
	failed error
}

// take takes in what a server has said, and says that there is no need to ask
// another.
func (r *round) take(m *member, reply *dns.Msg, err error) (done bool) {
	switch {
	case err != nil:
		r.failed = join(r.failed, err)
		return errors.Is(err, errQuery) // so would all others say
	case usable(reply):
		r.reply, r.server = reply, m.url
		return true
	case r.reply == nil || Referral(r.reply) || reply.Rcode == dns.RcodeServerFailure && r.reply.Rcode != dns.RcodeServerFailure:
		r.reply, r.server = reply, m.url
	}
	return false
}

// Stats returns what the group did and how it does.
func (g *Group) Stats() GroupStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := GroupStats{Strategy: g.strategy, Down: g.down(), Asked: g.turns, Hedges: g.hedges, Refused: g.refused}
	for _, m := range g.members {
		of := ServerStats{Server: m.url, Stats: m.Stats(), RTT: m.rtt.mean, P95: m.rtt.p95(), Failing: m.dead}
		if m.dead {
			of.FailingSince, of.NextProbe, of.Probes = m.since, m.next, m.probes
		}
		s.Servers = append(s.Servers, of)
	}
	return s
}

// Close ends the probes, waits for them, and closes all servers.
func (g *Group) Close() error {
	g.mu.Lock()
	g.closed = true
	for _, m := range g.members {
		g.unschedule(m)
	}
	g.mu.Unlock()
	g.cancel()
	g.probes.Wait()
	var errs []error
	for _, m := range g.members {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// usable reports whether a reply settles the question for its asker.
func usable(r *dns.Msg) bool {
	switch r.Rcode {
	case dns.RcodeSuccess:
		return !Referral(r)
	case dns.RcodeNameError, dns.RcodeYXDomain:
		return true
	}
	return false
}

// Referral reports whether a reply only names servers that are to be asked instead, as
// one that does not resolve says of a name which is not its own (RFC 2308 §2.2). It
// must not pass for "there is none".
func Referral(r *dns.Msg) bool {
	if r.Rcode != dns.RcodeSuccess || r.Authoritative || r.RecursionAvailable || len(r.Answer) > 0 {
		return false
	}
	is := func(rrtype uint16) bool {
		return slices.ContainsFunc(r.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == rrtype })
	}
	return is(dns.TypeNS) && !is(dns.TypeSOA)
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
