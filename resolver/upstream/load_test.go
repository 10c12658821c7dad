package upstream

import (
	"encoding/binary"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestThousandMissesASecond asks each kind of server 1,000 different names a
// second, for a second, as a resolver does whose memory has none of them. Each
// reply takes 20 ms. Connections must stay between one and four, at the server as
// in our own count.
func TestThousandMissesASecond(t *testing.T) {
	const rate, pause = 1000, 20 * time.Millisecond
	for _, scheme := range []string{"tcp", "tls", "https"} {
		t.Run(scheme, func(t *testing.T) {
			x, accepted := slow(t, scheme, pause)
			ctx := within(t, patient)
			took := make([]time.Duration, rate)
			most := 0
			var wg sync.WaitGroup
			tick := time.NewTicker(time.Second / rate)
			defer tick.Stop()
			for i := range rate {
				<-tick.C
				wg.Go(func() {
					start := time.Now()
					if _, err := x.Exchange(ctx, ask(name(i))); err != nil {
						t.Error(err)
					}
					took[i] = time.Since(start)
				})
				most = max(most, x.Stats().Connections)
			}
			wg.Wait()
			s := x.Stats()
			if n := accepted(); n < 1 || n > maxStreams || most > maxStreams || s.Answered != rate || s.Opened != uint64(n) {
				t.Errorf("the server saw %d connections, stats %+v; want 1 to %d", n, s, maxStreams)
			}
			slices.Sort(took)
			t.Logf("%d connections, p50 %v, p99 %v", accepted(), took[rate/2], took[rate*99/100])
		})
	}
}

// name is the i-th of many names of equal length.
func name(i int) string {
	digits := binary.BigEndian.AppendUint16(nil, uint16(i))
	return string([]byte{'a' + digits[0]>>4, 'a' + digits[0]&15, 'a' + digits[1]>>4, 'a' + digits[1]&15}) + ".example.test."
}

// slow returns a server that answers after a while, queries one beside the other,
// and what tells the connections that it has accepted.
func slow(t *testing.T, scheme string, pause time.Duration) (Exchanger, func() int64) {
	if scheme == "https" {
		s := (&web{script: func(w http.ResponseWriter, _ int, q []byte) {
			<-time.After(pause)
			give(w, answer(q))
		}}).start(t)
		return s.open(t, Options{}), s.conns.Load
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	r := &rogue{keep: true, tcp: func(_ int, query []byte, conn net.Conn) {
		wg.Add(1)
		time.AfterFunc(pause, func() {
			defer wg.Done()
			conn.Write(frame(answer(query)))
		})
	}}
	return r.startFor(t, scheme).open(t, scheme, Options{}), r.conns.Load
}
