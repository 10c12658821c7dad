package upstream

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxDatagrams bounds the datagrams of one exchange (RFC 9520 §3.1: at most three
	// sends per server and transport).
	maxDatagrams = 3

	// maxWrong is how many packets that are no replies end the trust in where they
	// came from: a query is then asked by TCP, whose sender cannot be forged from afar
	// (RFC 5452 §9.2), and a connection is closed.
	maxWrong = 8
)

// udp asks by datagrams, and by TCP what does not fit into one.
type udp struct {
	server
	streams *streams
	resend  time.Duration
	remote  *net.UDPAddr // never changed
}

func openUDP(host string, opt Options) (Exchanger, error) {
	u := &udp{resend: opt.Resend}
	u.mixed, u.trusty = opt.CaseMixing, opt.TrustAD
	if err := u.open("udp", host, opt); err != nil {
		return nil, err
	}
	if u.resend <= 0 {
		u.resend = defaultResend
	}
	u.remote = net.UDPAddrFromAddrPort(u.addr)
	u.streams = newStreams(&u.server, opt, u.dialTCP)
	return u, nil
}

func (u *udp) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	return u.exchange(ctx, q, u)
}

func (u *udp) Close() error { return u.streams.Close() }

func (u *udp) ask(ctx context.Context, a *attempt) (*dns.Msg, finding, error) {
	reply, found, err := u.askUDP(ctx, a)
	if found == cut || found == doubtful {
		return u.streams.ask(ctx, a)
	}
	return reply, found, err
}

// askUDP sends the query from a socket of its own: the kernel gives it a random
// port and lets in nothing but datagrams from the server's address and port, and
// reports a port that is closed. A datagram is sent again with the same ID, for
// the first reply may only be late.
func (u *udp) askUDP(ctx context.Context, a *attempt) (*dns.Msg, finding, error) {
	conn, err := net.DialUDP("udp", nil, u.remote)
	if err != nil {
		return nil, foreign, err
	}
	defer conn.Close()
	defer a.watch(ctx, conn).end()

	for pause := u.resend; a.datagrams < maxDatagrams; pause *= 2 {
		if _, err := conn.Write(a.packet()); err != nil {
			return nil, foreign, err
		}
		a.datagrams++
		u.sent.Add(1)

		until := a.deadline
		if again := time.Now().Add(pause); a.datagrams < maxDatagrams && again.Before(until) {
			until = again
		}
		reply, found, err := u.read(ctx, conn, a, until)
		if err == nil {
			return reply, found, nil
		}
		if until == a.deadline || ctx.Err() != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, foreign, err
		}
	}
	return nil, foreign, errors.New("refuses EDNS and has been sent all datagrams")
}

// read reads until a datagram settles the query, at the latest until the given
// time.
func (u *udp) read(ctx context.Context, conn *net.UDPConn, a *attempt, until time.Time) (*dns.Msg, finding, error) {
	if err := conn.SetReadDeadline(until); err != nil {
		return nil, foreign, err
	}
	if err := ctx.Err(); err != nil {
		return nil, foreign, err // the watch may have acted before the line above
	}
	for {
		n, err := conn.Read(a.in[:])
		if err != nil {
			return nil, foreign, err
		}
		reply, found := accept(&a.query, a.in[:n], udpSize)
		if found > doubtful {
			return reply, found, nil
		}
		u.ignore(found, &a.query, a.in[:n])
		if a.wrong++; found == doubtful || a.wrong >= maxWrong {
			return nil, doubtful, nil
		}
	}
}
