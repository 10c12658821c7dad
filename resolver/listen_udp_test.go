package resolver

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"weir/resolver/cache"
	"weir/resolver/wire"
)

// gather opens the sockets, has ask send while nobody reads, so that what it
// sends is read in batches where the system has them, and then runs the
// resolver to the end of the test.
func (w *world) gather(ask func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	for range 20 { // until a port is free for both UDP and TCP
		if err = w.Listen(ctx); err == nil {
			break
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	defer func() {
		go func() { done <- w.Run(ctx) }()
		w.t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				w.t.Error(err)
			}
		})
	}()
	ask()
}

// TestBatches: each of many packets that wait together gets what it would get
// alone, and its asker alone gets it.
func TestBatches(t *testing.T) {
	set := town(t)
	set.upstream = newServer(t, map[string]handler{
		www: says("www.example. 60 A 192.0.2.1"),
		"*": func(q, m *dns.Msg) bool { return says(q.Question[0].Name+" 60 A 192.0.2.99")(q, m) },
	})
	w := newWorld(t, set)
	w.ask(www)
	w.broken("broken.example. A")

	kinds := []struct{ question, want string }{
		{www, wwwA},
		{"miss%d.example. A", "NOERROR miss%d.example. 60 A 192.0.2.99;"},
		{"hole.example. A", ""},
		{"x.track.example. A", "NXDOMAIN / x.track.example. 60 SOA 60;"},
		{"broken.example. A", "SERVFAIL"},
		{"response", ""},
		{"www.lab.example. A", "NOERROR aa www.lab.example. 300 A 192.0.2.10;"},
	}
	const clients, each = 15, 8 // three batches and a part of one
	fill := func(text string, i int) string { return strings.ReplaceAll(text, "%d", fmt.Sprint(i)) }
	var conns []net.Conn
	want := make([]map[int]string, clients)
	w.gather(func() {
		for range clients {
			conns = append(conns, w.dial("udp"))
		}
		for i := range clients * each {
			k := kinds[i%len(kinds)]
			var msg []byte
			if k.question == "response" {
				msg = query(t, www, func(m *dns.Msg) { m.Id, m.Response = uint16(i), true })
			} else {
				msg = query(t, fill(k.question, i), func(m *dns.Msg) { m.Id = uint16(i) })
			}
			c := i % clients
			if _, err := conns[c].Write(msg); err != nil {
				t.Fatal(err)
			}
			if k.want != "" {
				if want[c] == nil {
					want[c] = map[int]string{}
				}
				want[c][i] = fill(k.want, i)
			}
		}
	})
	buf := make([]byte, 1500)
	for c, conn := range conns {
		got := map[int]string{}
		read := func() int {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("client %d got %v of %v: %v", c, got, want[c], err)
			}
			id := int(binary.BigEndian.Uint16(buf))
			got[id] += show(t, buf[:n]) // so that a second reply shows
			return id
		}
		for len(got) < len(want[c]) {
			read()
		}
		// What should have had no reply would have got it before this one does.
		const last = 9999
		if _, err := conn.Write(query(t, www, func(m *dns.Msg) { m.Id = last })); err != nil {
			t.Fatal(err)
		}
		for read() != last {
		}
		delete(got, last)
		if !maps.Equal(got, want[c]) {
			t.Errorf("client %d got %v, want %v", c, got, want[c])
		}
	}
	count := func(question string) (n uint64) {
		for i := range clients * each {
			if kinds[i%len(kinds)].question == question {
				n++
			}
		}
		return n
	}
	st := w.Stats()
	if st.Panics != count("broken.example. A") || st.Ignored != count("response") || st.Unsent != 0 {
		t.Errorf("%+v", st)
	}
	if n, want := uint64(len(w.events())), uint64(1+clients*each+clients); n != want {
		t.Errorf("%d events, want %d", n, want)
	}
}

// broken keeps an answer to question in the cache that no upstream's reply
// leads to and that cannot be served: its TTL lies outside of it.
func (w *world) broken(question string) {
	w.t.Helper()
	var q wire.Query
	if err := q.Parse(query(w.t, question)); err != nil {
		w.t.Fatal(err)
	}
	now := w.mono()
	w.cache.Put(&cache.Entry{
		Key:    slices.Clone(q.Key()),
		Reply:  wire.Reply{An: 1, Tail: []byte{0}, TTLs: []uint16{999}},
		Stored: now - int64(10*time.Second), Expires: now + int64(time.Hour),
	})
}
