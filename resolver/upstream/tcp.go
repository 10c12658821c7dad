package upstream

import (
	"context"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// tcp asks over connections that it keeps.
type tcp struct {
	server
	streams *streams
}

func openTCP(host string, opt Options) (Exchanger, error) {
	t := new(tcp)
	t.lasting, t.trusty = true, opt.TrustAD
	if err := t.open("tcp", host, opt); err != nil {
		return nil, err
	}
	t.streams = newStreams(&t.server, opt, t.dialTCP)
	return t, nil
}

func (t *tcp) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	return t.exchange(ctx, q, t)
}

func (t *tcp) ask(ctx context.Context, a *attempt) (*dns.Msg, finding, error) {
	return t.streams.ask(ctx, a)
}

func (t *tcp) Close() error { return t.streams.Close() }

// dialTCP connects to the server's address, which may have to be looked up.
func (s *server) dialTCP(ctx context.Context) (net.Conn, error) {
	if s.names != nil {
		return s.names.dial(ctx, s.addr.Port())
	}
	return connect(ctx, s.addr)
}

func connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{KeepAlive: -1} // nothing is idle for long
	conn, err := dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, to)
	if err != nil {
		return nil, err // no typed nil
	}
	return conn, nil
}
