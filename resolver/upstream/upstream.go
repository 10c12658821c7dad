package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// An Exchanger answers a query by asking elsewhere.
//
// It must not modify q and must be safe for concurrent use; ctx bounds the whole
// exchange.
type Exchanger interface {
	// Exchange asks q, which must hold exactly one question and opcode QUERY.
	// The reply has the ID of q, matches its question and is not truncated; all
	// else in it is as the server sent it, whatever the rcode.
	// errors.Is(err, context.DeadlineExceeded) tells that the server was silent;
	// errors.Is(err, context.Canceled) that the caller gave up.
	// Without a deadline in ctx it is five seconds.
	Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error)

	// Close releases what is kept between exchanges. It waits for exchanges in
	// flight, which end by themselves; none may begin afterwards.
	Close() error

	// Stats returns the counters so far.
	Stats() Stats

	// String returns the server's URL with its port, "udp://192.0.2.53:53".
	String() string
}

// Options hold what all servers have in common. The zero value is the default.
type Options struct {
	// Resend is how long a server may be silent before a datagram is sent to it
	// again; the pause then doubles. 0 means 500 ms.
	Resend time.Duration

	// Idle is how long a connection without queries is kept. 0 means 20 s.
	Idle time.Duration
}

// Stats counts what one server did since it was opened. An exchange that its
// caller gave up counts as sent only.
type Stats struct {
	Sent     uint64        // queries sent, each datagram and each TCP message
	Answered uint64        // exchanges that ended with a reply
	Timeouts uint64        // exchanges that ended at the deadline
	Failures uint64        // exchanges that ended with another error
	Ignored  uint64        // packets that were no reply to the query
	Panics   uint64        // of these, packets on which the decoder panicked
	RTT      time.Duration // of the last answered exchange, first packet to reply; 0 before it

	Connections int    // open now
	Opened      uint64 // connections so far
}

const (
	defaultPort     = 53
	defaultResend   = 500 * time.Millisecond
	defaultDeadline = 5 * time.Second
)

// Open returns the exchanger for a server's URL, udp://ADDRESS[:PORT] or
// tcp://ADDRESS[:PORT], and starts nothing. An IPv6 address stands in brackets;
// the port is 53 unless given. The error holds a hint where one can be given.
func Open(url string, opt Options) (Exchanger, error) {
	scheme, host, ok := strings.Cut(url, "://")
	if !ok {
		return nil, fmt.Errorf("upstream %q: %w", url, noScheme(url))
	}
	switch strings.ToLower(scheme) {
	case "udp":
		return openUDP(host, opt)
	case "tcp":
		return openTCP(host, opt)
	}
	return nil, fmt.Errorf("upstream %q: unknown transport %q: write udp:// or tcp://", url, scheme)
}

// noScheme says what is missing in a URL without "://".
func noScheme(text string) error {
	if text == "system" {
		return errors.New("the system's servers are read from resolv.conf, not opened")
	}
	if a, err := netip.ParseAddr(text); err == nil {
		if a.Is6() {
			text = "[" + text + "]"
		}
		return fmt.Errorf("no transport: write udp://%s", text)
	}
	if _, err := parseHost(text); err == nil {
		return fmt.Errorf("no transport: write udp://%s", text)
	}
	return errors.New("not a server: write udp://ADDRESS or tcp://ADDRESS")
}

// parseHost reads ADDRESS[:PORT], an IPv6 address in brackets. An address must be
// one that a server can have.
func parseHost(text string) (netip.AddrPort, error) {
	host, err := netip.ParseAddrPort(text)
	if err != nil {
		bare := text
		if inner, ok := strings.CutPrefix(text, "["); ok {
			bare, ok = strings.CutSuffix(inner, "]")
			if !ok || !strings.Contains(bare, ":") {
				return netip.AddrPort{}, fmt.Errorf("%q is not an address and port", text)
			}
		}
		a, err := netip.ParseAddr(bare)
		switch {
		case err == nil && a.Is6() && bare == text:
			return netip.AddrPort{}, fmt.Errorf("write an IPv6 address in brackets: [%s]", text)
		case err == nil:
			host = netip.AddrPortFrom(a, defaultPort)
		case strings.ContainsAny(text, "/?#@"):
			return netip.AddrPort{}, fmt.Errorf("nothing may stand beside the address and port in %q", text)
		case strings.ContainsAny(text, "[]") || strings.Trim(text, "0123456789.:") == "":
			return netip.AddrPort{}, fmt.Errorf("%q is not an address and port", text)
		default:
			return netip.AddrPort{}, fmt.Errorf("%q is not an address: write the server's address, host names are not resolved here", text)
		}
	}
	a := host.Addr().Unmap()
	if a.IsUnspecified() || a.IsMulticast() || host.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("no server can have the address %s", host)
	}
	return netip.AddrPortFrom(a, host.Port()), nil
}
