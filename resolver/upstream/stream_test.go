package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// connected are the transports that keep connections of our own making.
var connected = []string{"tcp", "tls"}

// eachConnected runs a test over every such transport.
func eachConnected(t *testing.T, test func(t *testing.T, scheme string)) {
	for _, scheme := range connected {
		t.Run(scheme, func(t *testing.T) { test(t, scheme) })
	}
}

// warm makes one exchange, so that those that follow find a connection.
func warm(t testing.TB, x Exchanger) {
	t.Helper()
	m, err := x.Exchange(within(t, patient), ask("warm.example.test."))
	checkAnswer(t, m, err)
}

// asks makes n exchanges at once, each for a name of its own, and returns their
// errors. Each reply must be for the name that was asked.
func asks(t testing.TB, ctx context.Context, x Exchanger, n int) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			name := fmt.Sprintf("n%d.example.test.", i)
			var m *dns.Msg
			if m, errs[i] = x.Exchange(ctx, ask(name)); errs[i] == nil && m.Answer[0].Header().Name != name {
				t.Errorf("asked for %s, got %v", name, m.Answer[0])
			}
		})
	}
	wg.Wait()
	return errs
}

func TestRepliesComeInAnyOrder(t *testing.T) {
	eachConnected(t, func(t *testing.T, scheme string) {
		const n = 20
		var mu sync.Mutex
		var held [][]byte
		r := &rogue{keep: true, tcp: func(number int, query []byte, conn net.Conn) {
			if number == 0 {
				conn.Write(frame(answer(query)))
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if held = append(held, query); len(held) == n {
				var all []byte
				for i := range held { // in one write, last first
					all = append(all, frame(answer(held[n-1-i]))...)
				}
				conn.Write(all)
			}
		}}
		x := r.startFor(t, scheme).open(t, scheme, Options{})
		warm(t, x)
		for _, err := range asks(t, within(t, patient), x, n) {
			if err != nil {
				t.Error(err)
			}
		}
		if s := x.Stats(); s.Opened != 1 || s.Connections != 1 || s.Ignored != 0 {
			t.Errorf("stats %+v, want one connection for all", s)
		}
	})
}

// TestClosedInThePipeline holds that queries on their way when the server closes
// its connection are sent again over another one (RFC 7766 §6.2.4), once.
func TestClosedInThePipeline(t *testing.T) {
	eachConnected(t, func(t *testing.T, scheme string) {
		const n = 20
		r := honest()
		var mu sync.Mutex
		var first net.Conn
		seen := 0
		r.tcp = func(number int, query []byte, conn net.Conn) {
			mu.Lock()
			defer mu.Unlock()
			if number == 0 {
				first = conn
			}
			if seen++; conn == first && seen > 1 {
				if seen == n/2 {
					conn.Close()
				}
				return
			}
			conn.Write(frame(answer(query)))
		}
		x := r.startFor(t, scheme).open(t, scheme, Options{})
		warm(t, x)
		for _, err := range asks(t, within(t, patient), x, n) {
			if err != nil {
				t.Error(err)
			}
		}
		if s := x.Stats(); s.Opened < 2 || s.Opened > maxStreams || s.Failures != 0 {
			t.Errorf("stats %+v, want a second connection and no failure", s)
		}
	})
}

func TestServerThatClosesAfterEachReply(t *testing.T) {
	eachConnected(t, func(t *testing.T, scheme string) {
		r := honest()
		r.keep = false
		x := r.startFor(t, scheme).open(t, scheme, Options{})
		for range 20 {
			m, err := x.Exchange(within(t, patient), ask("www.example.test."))
			checkAnswer(t, m, err)
		}
	})
}

func TestServerThatNeverRepliesIsAskedTwiceAtMost(t *testing.T) {
	eachConnected(t, func(t *testing.T, scheme string) {
		r := &rogue{keep: true, tcp: func(n int, query []byte, conn net.Conn) {
			if n > 0 {
				conn.Close()
				return
			}
			conn.Write(frame(answer(query)))
		}}
		x := r.startFor(t, scheme).open(t, scheme, Options{})
		warm(t, x)
		if _, err := x.Exchange(within(t, patient), ask("www.example.test.")); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that the connection was closed", err)
		}
		if n := len(r.seen(t)); n > 3 {
			t.Errorf("%d queries came, want the first and two", n)
		}
	})
}

func TestIdleConnectionIsClosed(t *testing.T) {
	eachConnected(t, func(t *testing.T, scheme string) {
		gone := make(chan struct{})
		r := &rogue{tcp: func(n int, query []byte, conn net.Conn) {
			conn.Write(frame(answer(query)))
			untilClosed(conn)
			close(gone)
		}}
		x := r.startFor(t, scheme).open(t, scheme, Options{Idle: 10 * time.Millisecond})
		warm(t, x)
		select {
		case <-gone:
		case <-time.After(patient):
			t.Fatal("the connection is still open")
		}
		if s := x.Stats(); s.Connections != 0 || s.Opened != 1 {
			t.Errorf("stats %+v, want no connection left", s)
		}
	})
}

func TestConnectionOfGarbageIsClosed(t *testing.T) {
	eachConnected(t, func(t *testing.T, scheme string) {
		gone := make(chan struct{})
		r := &rogue{tcp: func(_ int, query []byte, conn net.Conn) {
			for i := range maxWrong {
				conn.Write(frame(lies[i].make(query)))
			}
			untilClosed(conn)
			close(gone)
		}}
		x := r.startFor(t, scheme).open(t, scheme, Options{})
		_, err := x.Exchange(within(t, patient), ask("www.example.test."))
		if !errors.Is(err, errGarbage) {
			t.Errorf("error %v, want %v", err, errGarbage)
		}
		<-gone
		if s := x.Stats(); s.Ignored != maxWrong || s.Failures != 1 || s.Connections != 0 {
			t.Errorf("stats %+v, want %d ignored, one failure, no connection", s, maxWrong)
		}
	})
}

// TestLateReplyHurtsNobody holds that a reply whose asker has given up is known as
// one, and that its ID is given to no other query before it has come.
func TestLateReplyHurtsNobody(t *testing.T) {
	eachConnected(t, func(t *testing.T, scheme string) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var late []byte
		r := &rogue{keep: true, tcp: func(n int, query []byte, conn net.Conn) {
			switch n {
			case 1:
				late = frame(answer(query))
				cancel()
				return
			case 2:
				conn.Write(late)
			}
			conn.Write(frame(answer(query)))
		}}
		x := r.startFor(t, scheme).open(t, scheme, Options{})
		warm(t, x)
		if _, err := x.Exchange(ctx, ask("given.up.test.")); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v, want canceled", err)
		}
		m, err := x.Exchange(within(t, patient), ask("www.example.test."))
		checkAnswer(t, m, err)
		if s := x.Stats(); s.Ignored != 0 || s.Opened != 1 {
			t.Errorf("stats %+v, want nothing ignored and one connection", s)
		}
	})
}

func TestIDIsUniqueOnAStream(t *testing.T) {
	p := newStreams(new(server), Options{}, nil)
	s := &stream{of: p, wake: make(chan struct{}, 1), calls: map[uint16]*call{}}
	q := packed(t, "www.example.test.", true)
	for range 100 {
		s.add(q, true, time.Time{}, make(chan outcome, 1)) // the same ID each time
	}
	if len(s.calls) != 100 {
		t.Fatalf("%d queries are known by their ID, want 100", len(s.calls))
	}
	for id, c := range s.calls {
		if c.id() != id {
			t.Errorf("query %#x is known as %#x", c.id(), id)
		}
	}
}

func TestQueriesInFlightAreBounded(t *testing.T) {
	eachConnected(t, func(t *testing.T, scheme string) {
		r := &rogue{keep: true, tcp: func(int, []byte, net.Conn) {}}
		x := r.startFor(t, scheme).open(t, scheme, Options{})
		var p *streams
		switch x := x.(type) {
		case *tcp:
			p = x.streams
		case *tlsStreams:
			p = x.streams
		}
		const most, more = maxStreams * fullStream, 50
		q := packed(t, "www.example.test.", true)
		var mu sync.Mutex
		var calls []*call
		busy := 0
		var wg sync.WaitGroup
		for range most + more {
			wg.Go(func() { // not by an exchange, which asks a second time when the first takes long
				c, err := p.begin(q, 0, &asking{said: make(chan outcome, maxMessages)})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					calls = append(calls, c)
				case errors.Is(err, errBusy):
					busy++
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(calls) != most || busy != more {
			t.Errorf("%d queries are in flight and %d are too many, want %d and %d", len(calls), busy, most, more)
		}
		if _, err := x.Exchange(within(t, patient), ask("www.example.test.")); !errors.Is(err, errBusy) {
			t.Errorf("error %v, want %v", err, errBusy)
		}
		for _, c := range calls {
			c.giveUp(nil)
		}
		if s := x.Stats(); s.Opened > maxStreams {
			t.Errorf("%d connections, want %d at most", s.Opened, maxStreams)
		}
	})
}

// silentFirst is a server that takes queries on the first so many connections and
// says nothing there, as one that a router forgot.
func silentFirst(silent int) *rogue {
	var mu sync.Mutex
	conns := map[net.Conn]bool{} // whether it speaks
	return &rogue{keep: true, tcp: func(_ int, query []byte, conn net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		if _, known := conns[conn]; !known {
			conns[conn] = len(conns) >= silent
		}
		if conns[conn] {
			conn.Write(frame(answer(query)))
		}
	}}
}

// TestSilentConnectionHoldsNobody: a query that finds a connection silent is sent over
// another one as well, and those that follow are sent over that alone.
func TestSilentConnectionHoldsNobody(t *testing.T) {
	t.Parallel()
	eachConnected(t, func(t *testing.T, scheme string) {
		x := silentFirst(1).startFor(t, scheme).open(t, scheme, Options{})
		began := time.Now()
		warm(t, x)
		if took := time.Since(began); took < leastPatience || took > 2*mostPatience {
			t.Errorf("the first took %v, want little more than %v", took, leastPatience)
		}
		began = time.Now()
		for range 20 {
			warm(t, x)
		}
		if took := time.Since(began); took > leastPatience {
			t.Errorf("the next 20 took %v", took)
		}
		if s := x.Stats(); s.Opened != 2 || s.Sent != 22 || s.Answered != 21 || s.Timeouts+s.Failures != 0 {
			t.Errorf("stats %+v, want a second connection for all", s)
		}
	})
}

// TestThreeMessages is how often a query is sent to a server over connections
// (RFC 9520 §3.1).
func TestThreeMessages(t *testing.T) {
	t.Parallel()
	x := silentFirst(2).startFor(t, "tcp").open(t, "tcp", Options{})
	warm(t, x)
	if s := x.Stats(); s.Opened != 3 || s.Sent != 3 {
		t.Errorf("stats %+v, want three connections for three messages", s)
	}
	x = silentFirst(maxStreams).startFor(t, "tcp").open(t, "tcp", Options{})
	a := &attempt{deadline: time.Now().Add(leastPatience + impatient), messages: maxMessages - 1}
	if err := a.pack(ask("www.example.test."), true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.(asker).ask(t.Context(), a); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v, want deadline exceeded", err)
	}
	if _, _, err := x.(asker).ask(t.Context(), a); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v, want that all is sent", err)
	}
	if s := x.Stats(); s.Sent != 1 {
		t.Errorf("%d messages after two, want one", s.Sent)
	}
}

// TestSilentConnectionIsGivenUp holds that a connection on which a query came to its
// deadline in silence is closed and does not take the next query along.
func TestSilentConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	eachConnected(t, func(t *testing.T, scheme string) {
		x := silentFirst(2).startFor(t, scheme).open(t, scheme, Options{})
		if _, err := x.Exchange(within(t, maxSilence+50*time.Millisecond), ask("www.example.test.")); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v, want deadline exceeded", err)
		}
		if s := x.Stats(); s.Opened != 2 || s.Connections != 1 {
			t.Errorf("stats %+v, want the second connection alone", s)
		}
		m, err := x.Exchange(within(t, patient), ask("www.example.test."))
		checkAnswer(t, m, err)
		if s := x.Stats(); s.Opened != 3 || s.Connections != 2 {
			t.Errorf("stats %+v, want a third connection beside the second", s)
		}
	})
}

func TestStreamThatOwesTooMuchIsReplaced(t *testing.T) {
	p := newStreams(new(server), Options{}, nil)
	s := &stream{of: p, cancel: func() {}, wake: make(chan struct{}, 1), calls: map[uint16]*call{}}
	p.open = []*stream{s}
	q := packed(t, "www.example.test.", true)
	last := s.add(q, true, time.Now(), make(chan outcome, 1))
	for range maxGhosts {
		if !p.takes(s) {
			t.Fatal("the stream takes no queries too early")
		}
		s.add(q, true, time.Now(), make(chan outcome, 1)).giveUp(nil)
	}
	if p.takes(s) || s.err != nil {
		t.Errorf("the stream takes queries: %v, ended: %v; want neither", p.takes(s), s.err)
	}
	if last.giveUp(nil); s.err == nil {
		t.Error("the stream has not ended with its last query")
	}
}

func TestCloseWaitsForTheQueriesInFlight(t *testing.T) {
	eachConnected(t, func(t *testing.T, scheme string) {
		come, send := make(chan struct{}), make(chan struct{})
		r := &rogue{keep: true, tcp: func(_ int, query []byte, conn net.Conn) {
			close(come)
			<-send
			conn.Write(frame(answer(query)))
		}}
		x := r.startFor(t, scheme).open(t, scheme, Options{})
		var wg sync.WaitGroup
		wg.Go(func() {
			m, err := x.Exchange(within(t, patient), ask("www.example.test."))
			if err != nil || len(m.Answer) != 1 {
				t.Errorf("%v, error %v", m, err)
			}
		})
		<-come
		wg.Go(func() { x.Close() })
		close(send)
		wg.Wait()
		if _, err := x.Exchange(within(t, patient), ask("www.example.test.")); !errors.Is(err, errClosed) {
			t.Errorf("error %v after the close, want %v", err, errClosed)
		}
	})
}
