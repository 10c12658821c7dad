package upstream

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// webConns are the HTTP/2 connections to one server, opened as they are needed
// and, by what carries them, closed when they have been idle. The pool of net/http
// does not serve here: it connects for each query that comes while there is no
// connection yet.
type webConns struct {
	*server
	transport *http.Transport
	address   string // as a URL has it
	wg        sync.WaitGroup
	ctx       context.Context // of dialling
	cancel    func()

	mu    sync.Mutex
	open  []*http.ClientConn
	dials []*dialling // in progress, the youngest last
	ended bool
}

// dialling is a connection to be. err is set when done is closed.
type dialling struct {
	began time.Time
	done  chan struct{}
	err   error
}

func newWebConns(s *server, host string, target *Target, opt Options) *webConns {
	p := &webConns{server: s, address: net.JoinHostPort(host, strconv.Itoa(int(target.Addr.Port())))}
	idle := opt.Idle
	if idle <= 0 {
		idle = defaultIdle
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.transport = &http.Transport{
		DialContext:            p.connect,
		TLSClientConfig:        tlsConfig(target, opt),
		DisableCompression:     true,
		MaxResponseHeaderBytes: 16 << 10,
		IdleConnTimeout:        idle,
		Protocols:              new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			StrictMaxConcurrentRequests: true, // a query waits for room
			SendPingTimeout:             2 * maxSilence,
			PingTimeout:                 maxSilence,
			WriteByteTimeout:            writeTimeout,
		},
	}
	p.transport.Protocols.SetHTTP2(true)
	return p
}

// reserve returns a connection for one request, and whether it was there before.
// While one is dialled, no other is, unless that takes long.
func (p *webConns) reserve(ctx context.Context) (conn *http.ClientConn, reused bool, err error) {
	for reused = true; ; reused = false {
		conn, next, err := p.pick()
		if err != nil || conn != nil {
			return conn, reused, err
		}
		select {
		case <-next.done:
			if next.err != nil {
				return nil, false, next.err
			}
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// pick reserves room on the connection that carries least, or returns one to wait
// for, or any if the server allows no more on each of as many as there may be.
func (p *webConns) pick() (*http.ClientConn, *dialling, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, nil, errClosed
	}
	p.open = slices.DeleteFunc(p.open, func(c *http.ClientConn) bool { return c.Err() != nil })
	slices.SortStableFunc(p.open, func(c, d *http.ClientConn) int { return c.InFlight() - d.InFlight() })
	room := len(p.open)+len(p.dials) < maxStreams
	for _, c := range p.open {
		if c.Reserve() != nil {
			continue // the server is about to close it
		}
		if c.InFlight() > busyStream && room && len(p.dials) == 0 {
			p.dial() // for those to come
		}
		return c, nil, nil
	}
	if n := len(p.dials); room && (n == 0 || time.Since(p.dials[n-1].began) >= stuckDial) {
		p.dial()
	}
	if n := len(p.dials); n > 0 {
		return nil, p.dials[n-1], nil
	}
	return p.open[0], nil, nil // the request waits for its turn there
}

// dial begins to dial a connection. That is the server's and not the query's:
// others join it, and the query may give up earlier.
func (p *webConns) dial() {
	next := &dialling{began: time.Now(), done: make(chan struct{})}
	p.dials = append(p.dials, next)
	p.wg.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, dialTimeout)
		defer cancel()
		conn, err := p.transport.NewClientConn(ctx, "https", p.address)
		p.mu.Lock()
		defer p.mu.Unlock()
		if err == nil && p.ended {
			conn.Close()
			err = errClosed
		}
		if err == nil {
			p.open = append(p.open, conn)
		}
		p.dials = slices.DeleteFunc(p.dials, func(d *dialling) bool { return d == next })
		next.err = err
		close(next.done)
	})
}

// Close closes all connections, and with them what runs over them.
func (p *webConns) Close() {
	p.cancel()
	p.mu.Lock()
	p.ended = true
	for _, c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// connect connects to the server, whatever address the URL stands for.
func (p *webConns) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := p.dialTCP(ctx)
	if err != nil {
		return nil, err
	}
	p.connections.Add(1)
	p.opened.Add(1)
	return &counted{Conn: conn, of: p.server}, nil
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	of   *server
	once sync.Once
}

// Close closes the connection.
func (c *counted) Close() error {
	c.once.Do(func() { c.of.connections.Add(-1) })
	return c.Conn.Close()
}
