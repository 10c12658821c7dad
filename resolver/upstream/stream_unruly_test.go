package upstream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestUnrulyServer holds that whatever a server does with order, garbage,
// duplicates and connections, each query gets its own reply or an error.
func TestUnrulyServer(t *testing.T) {
	eachConnected(t, func(t *testing.T, scheme string) {
		address := func(name string) net.IP {
			return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(name)))
		}
		r := &rogue{keep: true}
		var mu sync.Mutex
		dice := rand.New(rand.NewPCG(1, 2))
		held := map[net.Conn][]byte{}
		r.tcp = func(_ int, query []byte, conn net.Conn) {
			mu.Lock()
			defer mu.Unlock()
			b := frame(reply(query, func(m *dns.Msg) {
				m.Answer[0].(*dns.A).A = address(m.Question[0].Name)
			}))
			switch n := dice.IntN(100); {
			case n < 30: // behind the next one
				held[conn] = append(held[conn], b...)
				return
			case n < 35:
				b = append(b, b...)
			case n < 40:
				b = append(frame(lies[dice.IntN(len(lies))].make(query)), b...)
			case n < 42: // in the middle of a message
				conn.Write(b[:len(b)/2])
				conn.Close()
				return
			}
			conn.Write(append(b, held[conn]...))
			delete(held, conn)
		}
		x := r.startFor(t, scheme).open(t, scheme, Options{Idle: time.Millisecond})
		var answered, failed int
		var count sync.Mutex
		var wg sync.WaitGroup
		for w := range 20 {
			wg.Go(func() {
				for i := range 50 {
					name := fmt.Sprintf("n%d.w%d.example.test.", i, w)
					m, err := x.Exchange(within(t, impatient), ask(name))
					if err == nil && (strings.ToLower(m.Question[0].Name) != name || !m.Answer[0].(*dns.A).A.Equal(address(name))) {
						t.Errorf("asked for %s, got %v", name, m)
					}
					count.Lock()
					if err == nil {
						answered++
					} else {
						failed++
					}
					count.Unlock()
				}
			})
		}
		wg.Wait()
		if answered < 700 {
			t.Errorf("%d answered and %d failed of 1,000", answered, failed)
		}
		if s := x.Stats(); s.Connections > maxStreams || s.Answered != uint64(answered) {
			t.Errorf("stats %+v", s)
		}
	})
}

// bytesConn is a connection from which text comes, and nothing more.
type bytesConn struct {
	net.Conn
	*bytes.Reader
}

func (c bytesConn) Read(b []byte) (int, error)      { return c.Reader.Read(b) }
func (c bytesConn) Write(b []byte) (int, error)     { return len(b), nil }
func (c bytesConn) SetDeadline(time.Time) error     { return nil }
func (c bytesConn) SetReadDeadline(time.Time) error { return nil }

// FuzzStream holds what a stream makes of any octets that come against a naive
// reading of them: each query gets the first message that replies to it, until
// eight in a row reply to none.
func FuzzStream(f *testing.F) {
	var queries []*query
	for i, name := range []string{"a.example.test.", "b.example.test.", "c.example.test."} {
		q := packed(f, name, true)
		q.packet()[1] = byte(i)
		queries = append(queries, q)
	}
	var all []byte
	for _, q := range queries {
		b := frame(answer(q.packet()))
		f.Add(b)
		all = append(append(b, b...), all...)
	}
	f.Add(all)
	f.Add(all[:len(all)-3])
	for _, lie := range lies {
		f.Add(append(frame(lie.make(queries[0].packet())), all...))
	}
	f.Add(append(bytes.Repeat([]byte{0, 0}, maxWrong-1), all...))
	f.Add(append(bytes.Repeat([]byte{0, 0}, maxWrong), all...))
	f.Fuzz(func(t *testing.T, text []byte) {
		want := make([]*dns.Msg, len(queries))
		settled := make([]bool, len(queries))
		wrong := 0
		for rest := text; len(rest) >= 2 && wrong < maxWrong; {
			n := 2 + int(binary.BigEndian.Uint16(rest))
			if len(rest) < n {
				break
			}
			wrong++
			for i, q := range queries {
				if m, found := accept(q, bytes.Clone(rest[2:n]), dns.MaxMsgSize); !settled[i] && found > deadly {
					want[i], settled[i], wrong = m, true, 0
				}
			}
			rest = rest[n:]
		}

		p := newStreams(new(server), Options{}, nil)
		s := &stream{of: p, cancel: func() {}, wake: make(chan struct{}, 1), calls: map[uint16]*call{}, conn: bytesConn{Reader: bytes.NewReader(text)}}
		p.open = []*stream{s}
		var calls []*call
		for _, q := range queries {
			calls = append(calls, s.add(q, true, time.Time{}, make(chan outcome, 1)))
		}
		s.end(s.read())
		for i, c := range calls {
			o := <-c.done
			if o.lost == settled[i] || fmt.Sprint(o.reply) != fmt.Sprint(want[i]) {
				t.Errorf("query %d: lost %v, reply %v, want %v", i, o.lost, o.reply, want[i])
			}
		}
	})
}
