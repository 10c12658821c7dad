package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/miekg/dns"
)

// sessions is how many TLS sessions are kept for a server to be resumed.
const sessions = 2 * maxStreams

var errPin = errors.New("the certificate's key has none of the pins")

// tlsStreams asks over TLS (RFC 7858) in the strict profile (RFC 8310 §5): a server
// that does not prove who it is gets no query, and there is no other way to it.
type tlsStreams struct {
	server
	config  *tls.Config
	streams *streams
}

func openTLS(text string, opt Options) (Exchanger, error) {
	target, err := ParseTLS(text)
	if err != nil {
		return nil, fmt.Errorf("upstream \"tls://%s\": %w", text, err)
	}
	t := &tlsStreams{config: tlsConfig(target, opt)}
	t.config.NextProtos = []string{"dot"}
	if err := t.reach(target, opt); err != nil {
		return nil, err
	}
	t.padded, t.lasting, t.trusty = true, true, true
	t.streams = newStreams(&t.server, opt, t.dialTLS)
	return t, nil
}

func (t *tlsStreams) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	return t.exchange(ctx, q, t)
}

func (t *tlsStreams) ask(ctx context.Context, a *attempt) (*dns.Msg, finding, error) {
	return t.streams.ask(ctx, a)
}

func (t *tlsStreams) Close() error {
	return errors.Join(t.streams.Close(), t.names.Close())
}

func (t *tlsStreams) dialTLS(ctx context.Context) (net.Conn, error) {
	raw, err := t.dialTCP(ctx)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, t.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// tlsConfig returns what target asks of a TLS connection: a certificate for the
// name by a trusted issuer, one of the pins, or both.
func tlsConfig(target *Target, opt Options) *tls.Config {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         target.Verify,
		RootCAs:            opt.Roots,
		Time:               opt.Now,
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
	}
	if len(target.Pins) > 0 {
		pins := slices.Clone(target.Pins)
		c.InsecureSkipVerify = target.Verify == ""               // the pin says more than an issuer could
		c.VerifyConnection = func(s tls.ConnectionState) error { // of resumed ones too
			if len(s.PeerCertificates) == 0 ||
				!slices.Contains(pins, sha256.Sum256(s.PeerCertificates[0].RawSubjectPublicKeyInfo)) {
				return errPin
			}
			return nil
		}
	}
	return c
}
