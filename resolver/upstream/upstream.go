package upstream

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
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
	// The reply has the ID of q, matches its question and is not truncated. AD in
	// it may be believed: it is set by a server that nobody on the way can speak
	// for, or by an exchanger that has validated what another one said. All else is
	// as the server sent it, whatever the rcode.
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

// ErrNoReply is among the errors of an exchange in which a server was not silent: datagrams came from its address that
// were malformed, or replies to something else.
var ErrNoReply = errors.New("datagrams that are no reply to the question")

// Options hold what all servers have in common. The zero value is the default.
type Options struct {
	// Resend is how long a server may be silent before a datagram is sent to it
	// again; the pause then doubles. 0 means 500 ms.
	Resend time.Duration

	// Idle is how long a connection without queries is kept. 0 means 20 s.
	Idle time.Duration

	// CaseMixing spells questions by UDP in letters of random case, and has replies
	// that are spelled otherwise asked for again by TCP. The asker sees its own
	// spelling.
	CaseMixing bool

	// TrustAD takes AD of a server in clear text for its own word (RFC 4035 §4.9.3);
	// that of an encrypted one is.
	TrustAD bool

	// Bootstrap holds the URLs of the servers, given by address, that are asked for
	// the address of one that is given by name.
	Bootstrap []string

	// Roots are the issuers of certificates that are trusted; nil means the system's.
	Roots *x509.CertPool

	// Now is the clock of certificates and of what bootstrap servers said. nil means
	// time.Now.
	Now func() time.Time

	// Logger is told of packets on which a decoder panicked. nil says nothing.
	Logger *slog.Logger
}

// Stats counts what one server did since it was opened. An exchange that its
// caller gave up counts as sent only.
type Stats struct {
	Sent     uint64 // queries sent, each datagram and each TCP message
	Answered uint64 // exchanges that ended with a reply
	Timeouts uint64 // exchanges that ended at the deadline
	Failures uint64 // exchanges that ended with another error
	Ignored  uint64 // packets that were no reply to the query
	Panics   uint64 // of these, packets whose reading panicked

	Connections int    // open now
	Opened      uint64 // connections so far

	LastError string // of the last exchange, if that ended with another error than silence
}

const (
	defaultPort     = 53
	defaultResend   = 500 * time.Millisecond
	defaultDeadline = 5 * time.Second
)

// Open returns the exchanger for a server's URL and starts nothing:
// udp://ADDRESS[:PORT], tcp://ADDRESS[:PORT], or what ParseTLS and ParseHTTPS read
// behind tls:// and https://.
// An IPv6 address stands in brackets; the port is the transport's own unless
// given. The error holds a hint where one can be given.
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
	case "tls":
		return openTLS(host, opt)
	case "https":
		return openHTTPS(host, opt)
	}
	return nil, fmt.Errorf("upstream %q: unknown transport %q: write udp://, tcp://, tls:// or https://", url, scheme)
}
