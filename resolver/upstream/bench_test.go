package upstream

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// quiet answers by UDP without allocating, so that what is measured is ours: it
// turns the query into a reply, the question followed by one address.
func quiet(t testing.TB) string {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			opt := [optLen]byte(buf[n-optLen : n])
			b := append(buf[:n-optLen], "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01"...)
			b = append(b, opt[:]...)
			b[2], b[3], b[7] = 0x81, 0x80, 1
			if _, err := pc.WriteToUDPAddrPort(b, from); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		pc.Close()
		wg.Wait()
	})
	return "udp://" + pc.LocalAddr().String()
}

func quietGroup(t testing.TB) *Group {
	t.Helper()
	x, err := Open(quiet(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := NewGroup(GroupConfig{Name: "default", Servers: []Exchanger{x}})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestExchangeAllocations(t *testing.T) {
	g := quietGroup(t)
	q := ask("www.example.test.")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n := testing.AllocsPerRun(200, func() {
		m, _, err := g.Exchange(ctx, q)
		checkAnswer(t, m, err)
	})
	if n > 35 {
		t.Errorf("%v allocations per exchange of a group, want at most 35", n)
	}
	n = testing.AllocsPerRun(200, func() {
		m, err := g.members[0].Exchange(ctx, q)
		checkAnswer(t, m, err)
	})
	if n > 25 {
		t.Errorf("%v allocations per exchange, want at most 25", n)
	}
}

func BenchmarkUDP(b *testing.B) {
	x := quietGroup(b).members[0]
	q := ask("www.example.test.")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Exchange(ctx, q); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGroup asks the one server of a group, and one of three by each strategy.
func BenchmarkGroup(b *testing.B) {
	run := func(name string, g *Group) {
		q := ask("www.example.test.")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := g.Exchange(context.Background(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("one", quietGroup(b))
	for _, strategy := range Strategies {
		cfg := GroupConfig{Name: "default", Strategy: strategy}
		for range 3 {
			x, err := Open(quiet(b), Options{})
			if err != nil {
				b.Fatal(err)
			}
			cfg.Servers = append(cfg.Servers, x)
		}
		g, err := NewGroup(cfg)
		if err != nil {
			b.Fatal(err)
		}
		run(string(strategy), g)
	}
}

// BenchmarkPlan is what a group adds to an exchange before it, with three servers.
func BenchmarkPlan(b *testing.B) {
	for _, strategy := range Strategies {
		g := &Group{strategy: strategy, timeout: time.Second}
		for range 3 {
			m := new(member)
			for i := range 1000 {
				m.rtt.add(time.Duration(i) * time.Millisecond)
			}
			g.members = append(g.members, m)
		}
		b.Run(string(strategy), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.plan()
			}
		})
	}
}

func BenchmarkAccept(b *testing.B) {
	q := packed(b, "www.example.test.", true)
	packet := answer(q.packet())
	b.ReportAllocs()
	for b.Loop() {
		if _, found := accept(q, packet, udpSize); found != replied {
			b.Fatal(found)
		}
	}
}

func BenchmarkPack(b *testing.B) {
	m := ask("www.example.test.")
	var q query
	b.ReportAllocs()
	for b.Loop() {
		if err := q.pack(m, true); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRoute(b *testing.B) {
	r := router(b, "corp.example", "lab.corp.example", "test")
	name := wire("a.b.www.example")
	b.ReportAllocs()
	for b.Loop() {
		r.Route(name)
	}
}

// BenchmarkTCP asks over one connection, one query after the other and 64 at once.
func BenchmarkTCP(b *testing.B) { benchConnected(b, honest().start(b).open(b, "tcp", Options{})) }

func BenchmarkTLS(b *testing.B) {
	benchConnected(b, honest().startFor(b, "tls").open(b, "tls", Options{}))
}

func BenchmarkHTTPS(b *testing.B) { benchConnected(b, kind().start(b).open(b, Options{})) }

func benchConnected(b *testing.B, x Exchanger) {
	q := ask("www.example.test.")
	warm(b, x)
	b.Run("in turn", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := x.Exchange(context.Background(), q); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("at once", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := x.Exchange(context.Background(), q); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
