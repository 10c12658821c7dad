package resolver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/audit"
	"weir/resolver/wire"
)

// big is an answer of about 4,000 octets.
func big(name string) handler {
	var parts []string
	for i := range 20 {
		parts = append(parts, fmt.Sprintf("%s 60 TXT %q", name, fmt.Sprint(i, strings.Repeat("x", 180))))
	}
	return says(parts...)
}

func TestSockets(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		w := newWorld(t, setup{
			upstream: newServer(t, map[string]handler{www: says("www.example. 60 A 192.0.2.1"), "big.example. TXT": big("big.example.")}),
			config: func(c *Config) {
				c.Listen, c.UDPSockets = []netip.AddrPort{netip.MustParseAddrPort(addr)}, 3
			},
		})
		w.listen()
		for range 2 {
			if got := show(t, w.overUDP(query(t, www))); got != wwwA {
				t.Errorf("%s UDP: %s", addr, got)
			}
			if got := show(t, w.overTCP(query(t, www))); got != wwwA {
				t.Errorf("%s TCP: %s", addr, got)
			}
			// RFC 2181 §9: what does not fit is not begun.
			for _, edit := range [][]func(*dns.Msg){nil, {edns}, {func(m *dns.Msg) { m.SetEdns0(65535, false) }}} {
				if got := show(t, w.overUDP(query(t, "big.example. TXT", edit...))); got != "NOERROR tc" {
					t.Errorf("%s large by UDP: %s", addr, got)
				}
			}
			if m := unpack(t, w.overTCP(query(t, "big.example. TXT"))); m.Truncated || len(m.Answer) != 20 {
				t.Errorf("%s large by TCP: %v", addr, m)
			}
		}
	}
}

// TestReplyComesFromTheAddressAsked, on a socket bound to all of them (RFC 2181 §4).
func TestReplyComesFromTheAddressAsked(t *testing.T) {
	w := newWorld(t, setup{
		upstream: newServer(t, map[string]handler{www: says("www.example. 60 A 192.0.2.1")}),
		config:   func(c *Config) { c.Listen = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:0")} },
	})
	w.listen()
	for i := 1; i <= 4; i++ {
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(i)}), w.Addrs()[0].Port())
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)}) // not connected: takes replies of any
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		for range 2 { // by the flight, and from memory
			if _, err := c.WriteToUDPAddrPort(query(t, www), to); err != nil {
				t.Fatal(err)
			}
			if _, from, err := c.ReadFromUDPAddrPort(make([]byte, 512)); err != nil || from != to {
				t.Errorf("reply came from %v (%v), want %v", from, err, to)
			}
		}
	}
}

func TestListenAllOrNothing(t *testing.T) {
	w := newWorld(t, setup{})
	w.listen()
	taken := w.Addrs()[0]
	other := newWorld(t, setup{config: func(c *Config) {
		c.Listen = append(c.Listen, taken)
	}})
	err := other.Listen(context.Background())
	var bind *BindError
	if !errors.As(err, &bind) || bind.Addr != taken || !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("second server on %s: %v", taken, err)
	}
	if len(other.Addrs()) != 0 || len(other.udp) != 0 {
		t.Error("sockets were left open")
	}
	// A stranger's shared UDP port is found too.
	var c *net.UDPConn
	for c == nil { // on a port that nobody else has for TCP
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		if c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err != nil {
			c = nil
		}
		_ = l.Close()
	}
	defer c.Close()
	third := newWorld(t, setup{config: func(cfg *Config) {
		cfg.Listen = []netip.AddrPort{c.LocalAddr().(*net.UDPAddr).AddrPort()}
	}})
	if err := third.Listen(context.Background()); !errors.As(err, &bind) || bind.Network != "udp" {
		t.Errorf("on a taken UDP port: %v", err)
	}
}

// TestSharedPort takes the consent of both, and then both answer.
func TestSharedPort(t *testing.T) {
	if !canShare {
		t.Skip("this system shares no port")
	}
	on := func(addr netip.AddrPort, share bool) *world {
		return newWorld(t, setup{special: true, config: func(c *Config) { c.Listen, c.ReusePort = []netip.AddrPort{addr}, share }})
	}
	for _, first := range []bool{false, true} {
		for _, second := range []bool{false, true} {
			w := on(netip.MustParseAddrPort("127.0.0.1:0"), first)
			w.listen()
			other := on(w.Addrs()[0], second)
			var bind *BindError
			if err := other.Listen(context.Background()); (first && second) != (err == nil) || err != nil && (!errors.As(err, &bind) || !errors.Is(err, syscall.EADDRINUSE)) {
				t.Errorf("first shares %v, second %v: %v", first, second, err)
			}
			if !first || !second {
				continue
			}
			other.Close()
			other.listen()
			for i := 0; other.Stats().Answered == 0 || w.Stats().Answered == 0; i++ { // the system spreads clients over them
				if got := show(t, w.overUDP(query(t, "localhost. A"))); got != "NOERROR aa localhost. 10800 A 127.0.0.1;" || i == 200 {
					t.Fatalf("question %d: %s", i, got)
				}
			}
		}
	}
}

// pipe is a world that listens, with one slow question and quick ones.
func pipe(t *testing.T, gate chan struct{}, config func(*Config)) *world {
	w := newWorld(t, setup{
		upstream: newServer(t, map[string]handler{
			"slow.example. A":  held(gate, says("slow.example. 60 A 192.0.2.1")),
			"quick.example. A": says("quick.example. 60 A 192.0.2.2"),
			"big.example. TXT": big("big.example."),
		}),
		config: config,
	})
	return w
}

// TestPipelining: replies come as they are ready (RFC 7766 §6.2.1.1).
func TestPipelining(t *testing.T) {
	gate := make(chan struct{})
	w := pipe(t, gate, nil)
	w.listen()
	c := w.dial("tcp")
	var all []byte
	for i, question := range []string{"slow.example. A", "quick.example. A", "slow.example. A", "quick.example. A", "quick.example. AXFR"} {
		all = append(all, framed(query(t, question, func(m *dns.Msg) { m.Id = uint16(i) }))...)
	}
	if _, err := c.Write(all); err != nil { // in one segment
		t.Fatal(err)
	}
	var order []uint16
	for i := range 5 {
		if i == 3 {
			close(gate)
		}
		b, err := unframe(c)
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, binary.BigEndian.Uint16(b))
	}
	for i, id := range order {
		if slow := id == 0 || id == 2; slow != (i >= 3) {
			t.Fatalf("replies came in the order %d", order)
		}
	}
}

// TestPipelineIsBounded: a client that takes nothing back is read no further
// once 64 of its questions are on their way.
func TestPipelineIsBounded(t *testing.T) {
	gate := make(chan struct{})
	w := newWorld(t, setup{upstream: newServer(t, map[string]handler{"*": held(gate, says("NXDOMAIN"))})})
	w.listen()
	c := w.dial("tcp")
	const n = 3 * tcpPipeline
	for i := range n {
		if _, err := c.Write(framed(query(t, fmt.Sprintf("n%d.example. A", i)))); err != nil {
			t.Fatal(err)
		}
	}
	w.until(func() bool { return w.Stats().Inflight >= tcpPipeline })
	if n := w.Stats().Inflight; n != tcpPipeline {
		t.Errorf("%d in flight, want %d", n, tcpPipeline)
	}
	close(gate)
	for range n {
		if _, err := unframe(c); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOctetByOctet(t *testing.T) {
	w := pipe(t, nil, nil)
	w.listen()
	c := w.dial("tcp")
	if err := c.(*net.TCPConn).SetNoDelay(true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, octet := range framed(query(t, "quick.example. A")) {
			if _, err := c.Write([]byte{octet}); err != nil {
				t.Fatal(err)
			}
		}
		if b, err := unframe(c); err != nil || show(t, b) != "NOERROR quick.example. 60 A 192.0.2.2;" {
			t.Fatalf("%x %v", b, err)
		}
	}
}

// TestTCPEnds: how a connection ends, by either side.
func TestTCPEnds(t *testing.T) {
	idle := func(first time.Duration) *world {
		w := pipe(t, nil, func(c *Config) { c.TCPFirst, c.TCPIdle = first, 200*time.Millisecond })
		w.listen()
		return w
	}
	speak, silent := idle(patience), idle(200*time.Millisecond)
	half := framed(query(t, "quick.example. A"))
	for name, c := range map[string]struct {
		send  []byte
		close bool // the writing half
		want  int  // replies
	}{
		"idle from the start":        {nil, false, 0},
		"idle after a reply":         {half, false, 1},
		"half a length":              {half[:1], false, 0},
		"half a message, then idle":  {half[:20], false, 0},
		"half a message, then close": {half[:20], true, 0},
		"a message, then close":      {half, true, 1},
		"a message and a half":       {append(half, half[:9]...), true, 1},
		"shorter than a header":      {[]byte{0, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, false, 0},
		"length zero":                {[]byte{0, 0}, false, 0},
		"a response, then a query":   {append(framed(append([]byte{1, 2, 0x80, 0}, make([]byte, 8)...)), half...), false, 1},
	} {
		w := speak
		if len(c.send) == 0 {
			w = silent
		}
		conn := w.dial("tcp")
		if _, err := conn.Write(c.send); err != nil {
			t.Fatal(err)
		}
		if c.close {
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		got := 0
		var err error
		for err == nil {
			if _, err = unframe(conn); err == nil {
				got++
			}
		}
		if got != c.want || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %d replies and %v, want %d and the end", name, got, err, c.want)
		}
	}
}

// TestClosingHalfwayKeepsTheReply: a client may shut down its side after asking.
func TestClosingHalfwayKeepsTheReply(t *testing.T) {
	gate := make(chan struct{})
	w := pipe(t, gate, nil)
	w.listen()
	c := w.dial("tcp")
	if _, err := c.Write(framed(query(t, "slow.example. A"))); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	close(gate)
	if b, err := unframe(c); err != nil || show(t, b) != "NOERROR slow.example. 60 A 192.0.2.1;" {
		t.Fatalf("%x %v", b, err)
	}
}

// tcpAsk asks on a connection that is open.
func tcpAsk(t testing.TB, c net.Conn, question string) error {
	t.Helper()
	if _, err := c.Write(framed(query(t, question))); err != nil {
		return err
	}
	_, err := unframe(c)
	return err
}

// TestIdleMakesRoom: where all places are taken, a newcomer gets that of the
// connection that has been idle for longest, and of none that is busy.
func TestIdleMakesRoom(t *testing.T) {
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	w := pipe(t, gate, func(c *Config) { c.TCPConns, c.TCPFirst, c.TCPIdle = 3, patience, patience })
	w.listen()
	ask := func(c net.Conn) error { return tcpAsk(t, c, "quick.example. A") }
	busy, first, second := w.dial("tcp"), w.dial("tcp"), w.dial("tcp")
	if _, err := busy.Write(framed(query(t, "slow.example. A"))); err != nil {
		t.Fatal(err)
	}
	w.until(func() bool { return w.waiters() == 1 })
	for _, c := range []net.Conn{first, second, first} { // second is idle for longer in the end
		if err := ask(c); err != nil {
			t.Fatal(err)
		}
		w.until(func() bool { return w.idle() == 2 }) // the answer is out a little before that
	}
	third := w.dial("tcp")
	if err := ask(third); err != nil {
		t.Fatalf("a newcomer: %v", err)
	}
	if err := ask(second); err == nil {
		t.Error("the connection that was idle for longest stayed")
	}
	if err := ask(first); err != nil {
		t.Errorf("a connection that was idle for less: %v", err)
	}
	w.until(func() bool { return w.idle() == 2 })
	// When all are busy the newcomer is turned away.
	for i, c := range []net.Conn{first, third} {
		if _, err := c.Write(framed(query(t, "slow.example. A"))); err != nil {
			t.Fatal(err)
		}
		w.until(func() bool { return w.waiters() == i+2 })
	}
	if err := ask(w.dial("tcp")); err == nil {
		t.Error("a connection took the place of a busy one")
	}
	if st := w.Stats(); st.TCP != 3 || st.Evicted != 1 || st.Overload != 1 {
		t.Errorf("stats %+v", st)
	}
	if show(t, w.overUDP(query(t, "quick.example. A"))) == "silence" {
		t.Error("UDP is not answered")
	}
	open()
	for _, c := range []net.Conn{busy, first, third} {
		if _, err := unframe(c); err != nil {
			t.Errorf("a busy connection: %v", err)
		}
		c.Close()
	}
	w.until(func() bool { return w.Stats().TCP == 0 })
}

// TestOneClientsConnections are few enough to leave room for others.
func TestOneClientsConnections(t *testing.T) {
	w := pipe(t, nil, func(c *Config) { c.TCPEach = 2 })
	w.listen()
	from := func(host byte) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, host)}}
		c, err := d.Dial("tcp", w.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return c
	}
	var conns []net.Conn
	for range 2 {
		c := from(5)
		if err := tcpAsk(t, c, "quick.example. A"); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	if tcpAsk(t, from(5), "quick.example. A") == nil {
		t.Error("a third connection of one client was served")
	}
	if err := tcpAsk(t, from(6), "quick.example. A"); err != nil {
		t.Errorf("another client: %v", err)
	}
	conns[0].Close()
	w.until(func() bool { return w.Stats().TCP == 2 })
	if err := tcpAsk(t, from(5), "quick.example. A"); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}

// TestOutsidersHoldNothing: who may not ask is turned away when it connects.
func TestOutsidersHoldNothing(t *testing.T) {
	w := pipe(t, nil, func(c *Config) { c.TCPConns = 1 })
	w.set.access = nil
	w.listen()
	st := w.State().With(w.State().Policy)
	st.Access = NewAccess([]netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")})
	w.Swap(st)
	for range 3 {
		if tcpAsk(t, w.dial("tcp"), "quick.example. A") == nil {
			t.Error("an outsider was served")
		}
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	c, err := d.Dial("tcp", w.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := tcpAsk(t, c, "quick.example. A"); err != nil {
		t.Errorf("a client: %v", err)
	}
	if s := w.Stats(); s.Outsider != 3 || s.TCP != 1 || s.Evicted != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestSilentConnectionEnds when its first octet does not come, long before one
// that has asked is too idle.
func TestSilentConnectionEnds(t *testing.T) {
	w := pipe(t, nil, func(c *Config) { c.TCPFirst, c.TCPIdle = 50*time.Millisecond, patience })
	w.listen()
	asked := w.dial("tcp")
	for limit := time.Now().Add(patience); tcpAsk(t, asked, "quick.example. A") != nil; asked = w.dial("tcp") { // on a slow machine it is one of the silent too
		if time.Now().After(limit) {
			t.Fatal("no connection asks in time")
		}
	}
	silent := w.dial("tcp")
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a silent connection: %v, want its end", err)
	}
	if err := tcpAsk(t, asked, "quick.example. A"); err != nil {
		t.Errorf("one that has asked: %v", err)
	}
}

// TestSlowReaderEnds: a client that takes no reply loses its connection, and
// with it the place, after the time to take one.
func TestSlowReaderEnds(t *testing.T) {
	w := pipe(t, nil, func(c *Config) { c.TCPWrite = 50 * time.Millisecond })
	w.listen()
	w.ask("big.example. TXT")
	slow := w.dial("tcp")
	var err error
	for i := 0; i < 100_000 && err == nil; i++ { // more answers than both sides' buffers hold
		_, err = slow.Write(framed(query(t, "big.example. TXT")))
	}
	if err == nil {
		t.Error("it could write for ever")
	}
	w.until(func() bool { return w.Stats().TCP == 0 })
}

// TestMessageMemory: what a length announces is not taken before it comes.
func TestMessageMemory(t *testing.T) {
	for _, n := range []int{0, 11, 12, 511, 512, 513, 2000, 65535} {
		want := make([]byte, n)
		for i := range want {
			want[i] = byte(i * 7)
		}
		in := bufio.NewReaderSize(bytes.NewReader(append(framed(want), 1, 2)), tcpRead)
		got, err := readMessage(in, nil)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d octets: %d, %v", n, len(got), err)
		}
		if rest, _ := io.ReadAll(in); len(rest) != 2 {
			t.Errorf("%d octets: %d are left behind it", n, len(rest))
		}
	}
	got, err := readMessage(bufio.NewReaderSize(strings.NewReader("\xff\xffshort"), tcpRead), nil)
	if err == nil || cap(got) > 2*tcpRead {
		t.Errorf("five octets of 65535 took %d: %v", cap(got), err)
	}
}

// TestDescriptorsAreReserved for upstreams first, then for clients, and always for
// store and lists.
func TestDescriptorsAreReserved(t *testing.T) {
	for _, c := range []struct {
		files            uint64
		conns, questions int // configured
		kept, inflight   int
		warnings         int
	}{
		{256, 1000, 4096, 64, 128, 2},
		{256, 1000, 50, 142, 50, 1},
		{1024, 10_000, 4096, 256, 512, 2},
		{20_000, 10_000, 4096, 10_000, 4096, 0},
		{20_000, 20_000, 4096, 10_904, 4096, 1},
		{100_000, 1000, 4096, 1000, 4096, 0},
		{1, 1000, 4096, 1, 1, 2},
	} {
		w := newWorld(t, setup{config: func(cfg *Config) { cfg.Files, cfg.TCPConns, cfg.MaxInflight = c.files, c.conns, c.questions }})
		if w.cfg.TCPConns != c.kept || w.cfg.MaxInflight != c.inflight || w.places.all != c.kept || strings.Count(w.said.String(), "for want of file descriptors") != c.warnings {
			t.Errorf("%+v: %d connections, %d questions; said %s", c, w.cfg.TCPConns, w.cfg.MaxInflight, w.said)
		}
	}
}

// TestSlowReaderDelaysNobody: a client that takes no reply does not hold up
// another's, although both wait for the same flight.
func TestSlowReaderDelaysNobody(t *testing.T) {
	gate := make(chan struct{})
	w := pipe(t, gate, func(c *Config) { c.TCPWrite = patience })
	w.listen()
	w.overTCP(query(t, "big.example. TXT"))
	slow := w.dial("tcp")
	if _, err := slow.Write(framed(query(t, "slow.example. A"))); err != nil {
		t.Fatal(err)
	}
	// More answers from memory than both sides' buffers hold: the connection is stuck.
	for range 4000 {
		if _, err := slow.Write(framed(query(t, "big.example. TXT"))); err != nil {
			t.Fatal(err)
		}
	}
	seen, since := uint64(0), time.Now()
	w.until(func() bool { // the server gets no further
		if n := w.Stats().Answered; n != seen {
			seen, since = n, time.Now()
		}
		return seen > 100 && time.Since(since) > 20*time.Millisecond
	})
	c := w.dial("udp")
	if _, err := c.Write(query(t, "slow.example. A")); err != nil {
		t.Fatal(err)
	}
	w.until(func() bool { return w.waiters() == 2 })
	began := time.Now()
	close(gate)
	if _, err := c.Read(make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > w.cfg.TCPWrite/2 {
		t.Errorf("waited %v behind a client that does not read", d)
	}
	slow.Close()
}

// TestDrain: what was on its way when the end came is still answered, within Drain.
func TestDrain(t *testing.T) {
	for _, patient := range []bool{true, false} {
		gate := make(chan struct{})
		w := pipe(t, gate, func(c *Config) {
			c.Drain = patience
			if !patient {
				c.Drain = 50 * time.Millisecond
			}
		})
		stop := w.listen()
		u, c := w.dial("udp"), w.dial("tcp")
		idle := w.dial("tcp")
		if _, err := c.Write(append(framed(query(t, "slow.example. A")), framed(query(t, "slow.example. MX"))...)); err != nil {
			t.Fatal(err)
		}
		if _, err := unframe(c); err != nil { // MX is refused: so both have been read
			t.Fatal(err)
		}
		if _, err := u.Write(query(t, "slow.example. A", edns)); err != nil {
			t.Fatal(err)
		}
		w.until(func() bool { return w.waiters() == 2 && w.Stats().TCP == 2 })
		stopped := make(chan struct{})
		go func() {
			stop()
			close(stopped)
		}()
		if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("an idle connection got %v, want its end", err)
		}
		want := "NOERROR slow.example. 60 A 192.0.2.1;"
		if patient {
			close(gate)
		} else {
			want = "SERVFAIL"
		}
		b, err := unframe(c)
		if err != nil || show(t, b) != want {
			t.Errorf("TCP: %v, %s, want %s", err, show(t, b), want)
		}
		buf := make([]byte, 512)
		n, err := u.Read(buf)
		if err != nil || !strings.HasPrefix(show(t, buf[:n]), want) {
			t.Errorf("UDP: %v, %s, want %s", err, show(t, buf[:n]), want)
		}
		<-stopped
		if !patient {
			close(gate)
		}
		if got := w.exchangeOver(audit.UDP, "", query(t, "new.example. A")); show(t, got) != "SERVFAIL" {
			t.Errorf("after the end a flight began: %s", show(t, got))
		}
		if e := w.events(); len(e) != 4 {
			t.Errorf("%d events, want 4", len(e))
		}
	}
}

// until waits for what another goroutine is about to do.
func (w *world) until(done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !done(); runtime.Gosched() {
		if time.Now().After(end) {
			w.t.Fatal("did not come about")
		}
	}
}

// idle is how many connections are idle.
func (w *world) idle() (n int) {
	w.places.mu.Lock()
	defer w.places.mu.Unlock()
	for p := w.places.idle.next; p != &w.places.idle; p = p.next {
		n++
	}
	return n
}

// waiters is how many queries wait for flights.
func (w *world) waiters() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waiting
}

// TestKeepalive: who asks over TCP how long it may be idle is told, once it asks
// (RFC 7828 §3.3.2); over UDP the option means nothing.
func TestKeepalive(t *testing.T) {
	set := town(t)
	set.config = func(c *Config) { c.TCPIdle = 25 * time.Second }
	w := newWorld(t, set)
	asks := func(m *dns.Msg) {
		m.SetEdns0(wire.MaxUDP, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}}
	}
	tells := func(m *dns.Msg) { asks(m); m.IsEdns0().Option[0].(*dns.EDNS0_TCP_KEEPALIVE).Timeout = 7 }
	odd := func(m *dns.Msg) { asks(m); m.Extra = append(m.Extra, rr("k. 0 TXT x")) }
	for _, c := range []struct {
		name string
		over audit.Transport
		edit func(*dns.Msg)
		want uint16 // tenths of a second; 0 is no option
	}{
		{"TCP", audit.TCP, asks, 250},
		{"TCP, odd", audit.TCP, odd, 250},
		{"TCP, not asked", audit.TCP, edns, 0},
		{"TCP, with a time of the client's", audit.TCP, tells, 0},
		{"UDP", audit.UDP, asks, 0},
	} {
		for _, question := range []string{"www.example. A", "track.example. A", "www.lab.example. A", "www.lab.example. A"} {
			got := uint16(0)
			for _, o := range unpack(t, w.exchangeOver(c.over, "", query(t, question, c.edit))).IsEdns0().Option {
				if k, ok := o.(*dns.EDNS0_TCP_KEEPALIVE); ok {
					got = k.Timeout
				}
			}
			if got != c.want {
				t.Errorf("%s, %s: %d, want %d", c.name, question, got, c.want)
			}
		}
	}
}
