package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// Addresses are used for as long as their TTL says, within these.
	leastTTL = 10 * time.Second
	mostTTL  = 24 * time.Hour

	lookupTimeout  = 1500 * time.Millisecond // for one question to one server
	lookupPause    = time.Second             // after a failure (RFC 9520 §3.2)
	connectTimeout = 1500 * time.Millisecond // to one address while another is left
	maxAliases     = 8
)

// A bootstrap finds the addresses of a server that is given by name. It asks
// servers of its own, which are given by address, so that we need not be asked
// for what we need to answer.
type bootstrap struct {
	name    string // as in a question
	servers []Exchanger
	now     func() time.Time

	turn   chan struct{} // capacity 1: held by who looks at what follows
	addrs  []netip.Addr  // the one that worked last comes first
	until  time.Time     // ask again from then on
	failed error         // of the last lookup, if there are no addresses
}

// reach notes where the server of target is, and how to find out.
func (s *server) reach(target *Target, opt Options) error {
	s.url, s.addr = target.String(), target.Addr
	s.logger = opt.Logger
	s.attempts.New = func() any { return new(attempt) }
	if target.Name == "" {
		return nil
	}
	if len(opt.Bootstrap) == 0 {
		return fmt.Errorf("upstream %q: %q is not an address: without a bootstrap server to ask for it, write ADDRESS and #%s", s.url, target.Name, target.Name)
	}
	b := &bootstrap{name: dns.Fqdn(target.Name), now: opt.Now, turn: make(chan struct{}, 1)}
	if b.now == nil {
		b.now = time.Now
	}
	for _, url := range opt.Bootstrap {
		x, err := Open(url, Options{Resend: opt.Resend, Idle: opt.Idle, Roots: opt.Roots, Now: opt.Now, Logger: opt.Logger})
		if err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
		b.servers = append(b.servers, x)
	}
	s.names = b
	return nil
}

// Close closes the servers. There may be no bootstrap.
func (b *bootstrap) Close() error {
	if b == nil {
		return nil
	}
	var errs []error
	for _, x := range b.servers {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}

// dial connects to the first address that accepts.
func (b *bootstrap) dial(ctx context.Context, port uint16) (net.Conn, error) {
	addrs, err := b.addresses(ctx)
	if err != nil {
		return nil, err
	}
	var failed error
	for i, a := range addrs {
		part, cancel := ctx, context.CancelFunc(func() {})
		if i+1 < len(addrs) {
			part, cancel = context.WithTimeout(ctx, connectTimeout)
		}
		conn, err := connect(part, netip.AddrPortFrom(a, port))
		cancel()
		if err == nil {
			if i > 0 {
				b.prefer(ctx, a)
			}
			return conn, nil
		}
		failed = join(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// prefer has a tried first from now on.
func (b *bootstrap) prefer(ctx context.Context, a netip.Addr) {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-b.turn }()
	if i := slices.Index(b.addrs, a); i > 0 {
		b.addrs = slices.Concat([]netip.Addr{a}, b.addrs[:i], b.addrs[i+1:])
	}
}

// addresses returns what the name stands for; it asks if that is not known or
// out of date. If no server tells any more, what was known goes on to be used.
// The caller must not change it.
func (b *bootstrap) addresses(ctx context.Context) ([]netip.Addr, error) {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-b.turn }()
	if b.now().Before(b.until) {
		return b.addrs, b.failed
	}
	addrs, ttl, err := b.lookup(ctx)
	if err == nil {
		b.addrs, b.until, b.failed = addrs, b.now().Add(min(max(ttl, leastTTL), mostTTL)), nil
		return b.addrs, nil
	}
	b.until = b.now().Add(lookupPause)
	if len(b.addrs) == 0 {
		b.failed = fmt.Errorf("looking up %s: %w", b.name, err)
	}
	return b.addrs, b.failed
}

// lookup asks one server after the other until one tells addresses.
func (b *bootstrap) lookup(ctx context.Context) (addrs []netip.Addr, ttl time.Duration, err error) {
	ttl = mostTTL
	for _, x := range b.servers {
		for _, qtype := range [...]uint16{dns.TypeA, dns.TypeAAAA} {
			part, cancel := context.WithTimeout(ctx, lookupTimeout)
			m, failed := x.Exchange(part, new(dns.Msg).SetQuestion(b.name, qtype))
			cancel()
			if failed == nil && !usable(m) {
				failed = fmt.Errorf("%s: %s", x, dns.RcodeToString[m.Rcode])
			}
			if failed != nil {
				err = join(err, failed)
				break
			}
			some, t := addressesIn(m)
			addrs = append(addrs, some...)
			if len(some) > 0 {
				ttl = min(ttl, t)
			}
		}
		if len(addrs) > 0 {
			return addrs, ttl, nil
		}
	}
	if err == nil {
		err = errors.New("it has no address")
	}
	return nil, 0, err
}

// addressesIn returns the addresses that m gives for its question, by way of
// aliases if there are any, and the smallest TTL of what led there.
func addressesIn(m *dns.Msg) (addrs []netip.Addr, ttl time.Duration) {
	name, least := m.Question[0].Name, uint32(1<<31-1)
	for range maxAliases {
		alias := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if !strings.EqualFold(h.Name, name) || h.Class != dns.ClassINET {
				continue
			}
			var a netip.Addr
			switch rr := rr.(type) {
			case *dns.A:
				a, _ = netip.AddrFromSlice(rr.A)
			case *dns.AAAA:
				a, _ = netip.AddrFromSlice(rr.AAAA)
			case *dns.CNAME:
				alias = rr.Target
			default:
				continue
			}
			if h.Ttl >= 1<<31 { // RFC 2181 §8
				h.Ttl = 0
			}
			least = min(least, h.Ttl)
			if a = a.Unmap(); a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() {
				addrs = append(addrs, a)
			}
		}
		if len(addrs) > 0 || alias == "" {
			break
		}
		name = alias
	}
	return addrs, time.Duration(least) * time.Second
}
