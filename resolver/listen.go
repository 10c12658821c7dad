package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
)

// A BindError says which address could not be listened on.
type BindError struct {
	Network string // "udp" or "tcp"
	Addr    netip.AddrPort
	Err     error // unwraps to a syscall.Errno
}

// Error names the address.
func (e *BindError) Error() string {
	return fmt.Sprintf("listen on %s %s: %v", e.Network, e.Addr, e.Err)
}

// Unwrap returns the reason.
func (e *BindError) Unwrap() error { return e.Err }

// Listen opens all sockets or none. The error is a *BindError. TCP is opened
// first and not shared, so a second server on the same address fails although
// the UDP sockets of one server share their port, unless both have
// Config.ReusePort.
func (r *Resolver) Listen(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	for _, addr := range r.cfg.Listen {
		if err := r.listenOn(ctx, addr); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the sockets that Listen opened, for a resolver that will not Run.
func (r *Resolver) Close() {
	for _, l := range r.udp {
		_ = l.conn.Close()
	}
	for _, l := range r.tcp {
		_ = l.listener.Close()
	}
	r.udp, r.tcp = nil, nil
}

func (r *Resolver) listenOn(ctx context.Context, addr netip.AddrPort) error {
	family := "4"
	if addr.Addr().Is6() {
		family = "6" // and only that: an IPv4 wildcard can stand beside it
	}
	t, err := r.claim(ctx, family, addr)
	for tries := 1; err != nil && addr.Port() == 0 && tries < anyPortTries && errors.Is(err, syscall.EADDRINUSE); tries++ {
		t, err = r.claim(ctx, family, addr)
	}
	if err != nil {
		return err
	}
	// The port, where it was 0. A listener's own address lacks the zone.
	addr = netip.AddrPortFrom(addr.Addr(), t.Addr().(*net.TCPAddr).AddrPort().Port())
	r.tcp = append(r.tcp, &tcpListener{r: r, listener: t, addr: addr, conns: map[*tcpConn]struct{}{}, stop: make(chan struct{})})

	n := r.cfg.UDPSockets
	if n == 0 {
		if n = runtime.GOMAXPROCS(0); r.log.Settles() {
			n *= socketsWaiting
		}
	}
	if !canShare {
		n = 1
	}
	wild := addr.Addr().IsUnspecified()
	shared := net.ListenConfig{Control: controlled(func(fd int) error { return setUDPOptions(fd, family == "6", wild) })}
	for range n {
		c, err := shared.ListenPacket(ctx, "udp"+family, addr.String())
		if err != nil {
			return &BindError{"udp", addr, err}
		}
		r.udp = append(r.udp, &udpListener{r: r, conn: c.(*net.UDPConn), wild: wild})
	}
	return nil
}

// anyPortTries is how many ports are tried where the system chooses: one that is free for
// TCP need not be for UDP.
const anyPortTries = 10

// claim opens the TCP socket of an address, and makes sure that its UDP port is free:
// sockets that share a port also share it with a stranger who allows the same; one that
// does not share finds the stranger.
func (r *Resolver) claim(ctx context.Context, family string, addr netip.AddrPort) (net.Listener, error) {
	var plain, tcp net.ListenConfig
	if r.cfg.ReusePort {
		tcp.Control = controlled(sharePort)
	}
	t, err := tcp.Listen(ctx, "tcp"+family, addr.String())
	if err != nil {
		return nil, &BindError{"tcp", addr, err}
	}
	if r.cfg.ReusePort {
		return t, nil
	}
	addr = netip.AddrPortFrom(addr.Addr(), t.Addr().(*net.TCPAddr).AddrPort().Port())
	probe, err := plain.ListenPacket(ctx, "udp"+family, addr.String())
	if err != nil {
		_ = t.Close()
		return nil, &BindError{"udp", addr, err}
	}
	_ = probe.Close()
	return t, nil
}

// controlled has set called on a socket before it is bound.
func controlled(set func(fd int) error) func(_, _ string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		if cerr := c.Control(func(fd uintptr) { err = set(int(fd)) }); cerr != nil {
			return cerr
		}
		return err
	}
}

// Addrs returns the addresses listened on, each for UDP and TCP.
func (r *Resolver) Addrs() []netip.AddrPort {
	var out []netip.AddrPort
	for _, l := range r.tcp {
		out = append(out, l.addr)
	}
	return out
}
