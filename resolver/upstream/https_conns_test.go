package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestHTTPSManyAtOnceFromCold(t *testing.T) {
	s := kind().start(t)
	x := s.open(t, Options{})
	for _, err := range asks(t, within(t, patient), x, 500) {
		if err != nil {
			t.Error(err)
		}
	}
	if n := s.conns.Load(); n > maxStreams {
		t.Errorf("%d connections, want %d at most", n, maxStreams)
	}
}

func TestHTTPSRepliesInAnyOrder(t *testing.T) {
	const n = 20
	var wait sync.WaitGroup
	wait.Add(n)
	s := (&web{script: func(w http.ResponseWriter, i int, q []byte) {
		if i > 0 {
			wait.Done()
			wait.Wait() // all are here, none is answered
		}
		give(w, answer(q))
	}}).start(t)
	x := s.open(t, Options{})
	warm(t, x)
	for _, err := range asks(t, within(t, patient), x, n) {
		if err != nil {
			t.Error(err)
		}
	}
	if s.conns.Load() != 1 {
		t.Errorf("%d connections, want one", s.conns.Load())
	}
}

// TestHTTPSClosedUnderQueries holds that queries on their way when their
// connection is lost are asked again over another.
func TestHTTPSClosedUnderQueries(t *testing.T) {
	const n = 20
	var come sync.WaitGroup
	come.Add(n)
	gone := make(chan struct{})
	s := &web{}
	s.script = func(w http.ResponseWriter, i int, q []byte) {
		if i > 0 && i <= n {
			come.Done()
			<-gone
			return
		}
		give(w, answer(q))
	}
	s.start(t)
	x := s.open(t, Options{})
	warm(t, x)
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, err := range asks(t, within(t, patient), x, n) {
			if err != nil {
				t.Error(err)
			}
		}
	})
	come.Wait()
	s.CloseClientConnections()
	close(gone)
	wg.Wait()
	m, err := x.Exchange(within(t, patient), ask("www.example.test."))
	checkAnswer(t, m, err)
	if st := x.Stats(); st.Connections > maxStreams || st.Connections < 1 || st.Failures != 0 {
		t.Errorf("stats %+v, want another connection and no failure", st)
	}
}

// TestHTTPSReconnects holds that connections which are lost leave room for others,
// and that those take up the session of the first.
func TestHTTPSReconnects(t *testing.T) {
	s := kind().start(t)
	x := s.open(t, Options{})
	for range 3 * maxStreams {
		m, err := x.Exchange(within(t, patient), ask("www.example.test."))
		checkAnswer(t, m, err)
		s.CloseClientConnections()
	}
	if !slices.Contains(s.resumed, true) || s.resumed[0] {
		t.Errorf("sessions resumed: %v", s.resumed)
	}
}

func TestHTTPSDeadline(t *testing.T) {
	held := make(chan struct{})
	s := (&web{script: func(http.ResponseWriter, int, []byte) { <-held }}).start(t)
	defer close(held)
	x := s.open(t, Options{})
	if _, err := x.Exchange(within(t, impatient), ask("www.example.test.")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want deadline exceeded", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := x.Exchange(ctx, ask("www.example.test.")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
	// A deadline that is told, not watched, as a group does it.
	if _, err := x.Exchange(bounded{context.Background(), time.Now().Add(impatient)}, ask("www.example.test.")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want deadline exceeded", err)
	}
	if st := x.Stats(); st.Timeouts != 2 || st.Failures != 0 {
		t.Errorf("stats %+v, want two timeouts", st)
	}
}

// TestHTTPSWaitsForRoom holds that queries wait while the server allows no more
// on each of the connections.
func TestHTTPSWaitsForRoom(t *testing.T) {
	const limit, n = 100, 1000 // RFC 9113 §6.5.2 asks servers to allow so many
	all := make(chan struct{})
	var inside, most atomic.Int64
	s := &web{streams: limit, script: func(w http.ResponseWriter, i int, q []byte) {
		if i > 0 {
			most.Store(max(most.Load(), inside.Add(1)))
			if i == limit {
				close(all)
			}
			<-all
			inside.Add(-1)
		}
		give(w, answer(q))
	}}
	x := s.start(t).open(t, Options{})
	warm(t, x)
	for _, err := range asks(t, within(t, patient), x, n) {
		if err != nil {
			t.Error(err)
		}
	}
	if c := s.conns.Load(); c > maxStreams || most.Load() > limit*maxStreams {
		t.Errorf("%d connections, %d queries at once; want %d and %d at most", c, most.Load(), maxStreams, limit*maxStreams)
	}
}

func TestHTTPSInFlightIsBounded(t *testing.T) {
	s := (&web{script: func(w http.ResponseWriter, _ int, q []byte) { give(w, answer(q)) }}).start(t)
	x := s.open(t, Options{}).(*https)
	for range cap(x.room) {
		x.room <- struct{}{}
	}
	if _, err := x.Exchange(within(t, patient), ask("www.example.test.")); !errors.Is(err, errBusy) {
		t.Errorf("error %v, want %v", err, errBusy)
	}
	for range cap(x.room) {
		<-x.room
	}
	warm(t, x)
}

func TestHTTPSIdleConnectionIsClosed(t *testing.T) {
	s := kind()
	gone := make(chan struct{})
	var once sync.Once
	s.start(t)
	x := s.open(t, Options{Idle: 10 * time.Millisecond}).(*https)
	dial := x.conns.transport.DialContext
	x.conns.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return hook{conn, func() { once.Do(func() { close(gone) }) }}, err
	}
	warm(t, x)
	select {
	case <-gone:
	case <-time.After(patient):
		t.Fatal("the connection is still open")
	}
	if st := x.Stats(); st.Connections != 0 || st.Opened != 1 {
		t.Errorf("stats %+v, want no connection left", st)
	}
}

// hook tells when a connection has been closed.
type hook struct {
	net.Conn
	closed func()
}

func (h hook) Close() error {
	defer h.closed()
	return h.Conn.Close()
}

func TestHTTPSByName(t *testing.T) {
	d := directory(t, serverName+". 60 A 127.0.0.1")
	s := kind().start(t)
	x := openURL(t, "https://"+serverName+s.URL[strings.LastIndex(s.URL, ":"):]+"/dns-query",
		Options{Roots: authority().roots, Bootstrap: []string{"udp://" + d.addr}})
	warm(t, x)
	if got := s.requests[0].Host; !strings.HasPrefix(got, serverName+":") {
		t.Errorf("asked %s", got)
	}
}

func TestHTTPSCloseWaits(t *testing.T) {
	come, send := make(chan struct{}), make(chan struct{})
	s := (&web{script: func(w http.ResponseWriter, _ int, q []byte) {
		close(come)
		<-send
		give(w, answer(q))
	}}).start(t)
	x := s.open(t, Options{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := x.Exchange(within(t, patient), ask("www.example.test.")); err != nil {
			t.Error(err)
		}
	})
	<-come
	wg.Go(func() { x.Close() })
	close(send)
	wg.Wait()
	if _, err := x.Exchange(within(t, patient), ask("www.example.test.")); err == nil {
		t.Error("an exchange began after the close")
	}
}

// TestHTTPSKeepsTheQuery holds that a request which is still being written when
// its asker gives up does not see the next query.
func TestHTTPSKeepsTheQuery(t *testing.T) {
	s := kind().start(t)
	x := s.open(t, Options{})
	warm(t, x)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			if i%2 == 0 {
				cancel()
			}
			defer cancel()
			name := fmt.Sprintf("n%d.example.test.", i)
			if m, err := x.Exchange(ctx, ask(name)); err == nil && m.Question[0].Name != name {
				t.Errorf("asked for %s, got %v", name, m)
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queries {
		if parseQuietly(q); !bytes.HasPrefix(q, []byte{0, 0}) {
			t.Errorf("query with the ID %x", q[:2])
		}
	}
}

// void takes connections and never says a word, until it is told to let those that
// come pass to a server.
type void struct {
	net.Listener
	speaks atomic.Bool
	conns  atomic.Int64
	wg     sync.WaitGroup
}

func newVoid(t *testing.T, server string) *void {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &void{Listener: l}
	v.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			v.conns.Add(1)
			if !v.speaks.Load() {
				v.wg.Go(func() { untilClosed(conn) })
				continue
			}
			to, err := net.Dial("tcp", server)
			if err != nil {
				conn.Close()
				continue
			}
			v.wg.Go(func() { io.Copy(to, conn); to.Close() })
			v.wg.Go(func() { io.Copy(conn, to); conn.Close() })
		}
	})
	t.Cleanup(func() {
		l.Close()
		v.wg.Wait()
	})
	return v
}

// TestDialIntoTheVoid: dialling ends after dialTimeout, whatever time the query has,
// and a dial that takes long does not hold the next query.
func TestDialIntoTheVoid(t *testing.T) {
	for _, scheme := range []string{"tls", "https"} {
		start := func(t *testing.T) (*void, Exchanger) {
			if scheme == "tls" {
				v := newVoid(t, honest().startFor(t, "tls").addr)
				return v, openURL(t, "tls://"+v.Addr().String()+"#"+serverName, Options{Roots: authority().roots})
			}
			v := newVoid(t, kind().start(t).Listener.Addr().String())
			return v, openURL(t, "https://"+v.Addr().String()+"/dns-query", Options{Roots: authority().roots})
		}
		t.Run(scheme+" ends", func(t *testing.T) {
			t.Parallel()
			_, x := start(t)
			began := time.Now()
			if _, err := x.Exchange(within(t, patient), ask("www.example.test.")); err == nil {
				t.Error("answered")
			}
			if took := time.Since(began); took < dialTimeout || took > dialTimeout+maxSilence {
				t.Errorf("took %v, want %v", took, dialTimeout)
			}
		})
		t.Run(scheme+" holds nobody", func(t *testing.T) {
			t.Parallel()
			v, x := start(t)
			began := time.Now()
			if _, err := x.Exchange(within(t, stuckDial+50*time.Millisecond), ask("www.example.test.")); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("error %v, want deadline exceeded", err)
			}
			v.speaks.Store(true)
			m, err := x.Exchange(within(t, patient), ask("www.example.test."))
			checkAnswer(t, m, err)
			if took := time.Since(began); took > dialTimeout/2 {
				t.Errorf("took %v: it waited for the first to end", took)
			}
			if n := v.conns.Load(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

// TestStuckDialHoldsNobody: queries that wait for a connection which does not come
// about go over another.
func TestStuckDialHoldsNobody(t *testing.T) {
	t.Parallel()
	v := newVoid(t, honest().startFor(t, "tls").addr)
	x := openURL(t, "tls://"+v.Addr().String()+"#"+serverName, Options{Roots: authority().roots})
	began := time.Now()
	go func() {
		for v.conns.Load() == 0 && time.Since(began) < patient {
			runtime.Gosched()
		}
		v.speaks.Store(true) // to those that come after the first
	}()
	for _, err := range asks(t, within(t, patient), x, 20) {
		if err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(began); took < leastPatience || took > dialTimeout/2 {
		t.Errorf("took %v, want little more than %v", took, leastPatience)
	}
	if n := v.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}
