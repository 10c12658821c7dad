package resolver

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestPlaces holds the places against a list that is searched.
func TestPlaces(t *testing.T) {
	type guest struct {
		conn    *tcpConn
		client  netip.Addr
		waiting int
		since   int // when it last became idle
	}
	rapid.Check(t, func(t *rapid.T) {
		all, each := rapid.IntRange(1, 6).Draw(t, "all"), rapid.IntRange(1, 6).Draw(t, "each")
		p := newPlaces(all, each)
		var guests, given []*guest
		now := 0
		oldest := func() int {
			at := -1
			for i, g := range guests {
				if g.waiting == 0 && (at < 0 || g.since < guests[at].since) {
					at = i
				}
			}
			return at
		}
		lose := func(out *tcpConn) {
			at := oldest()
			if (at < 0) != (out == nil) || at >= 0 && guests[at].conn != out {
				t.Fatalf("the place of %p was given up, not that of guest %d", out, at)
			}
			if at >= 0 {
				given = append(given, guests[at])
				guests = slices.Delete(guests, at, at+1)
			}
		}
		pick := func(from []*guest) *guest {
			if len(from) == 0 {
				return nil
			}
			return from[rapid.IntRange(0, len(from)-1).Draw(t, "guest")]
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now++
			switch rapid.SampledFrom([]string{"take", "take", "ask", "answer", "leave", "spare", "late"}).Draw(t, "step") {
			case "take":
				client := netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 3).Draw(t, "client"))})
				of := 0
				for _, g := range guests {
					if g.client == client {
						of++
					}
				}
				c := new(tcpConn)
				full := len(guests) >= all
				out, ok := p.take(c, client)
				if want := of < each && (!full || oldest() >= 0); ok != want {
					t.Fatalf("%v got a place: %v, want %v", client, ok, want)
				}
				if ok && full {
					lose(out)
				} else if out != nil {
					t.Fatal("a place was given up for nothing")
				}
				if ok {
					guests = append(guests, &guest{conn: c, client: client, since: now})
				}
			case "ask":
				if g := pick(guests); g != nil {
					g.waiting++
					p.asked(g.conn)
				}
			case "answer":
				if g := pick(guests); g != nil && g.waiting > 0 {
					if g.waiting--; g.waiting == 0 {
						g.since = now
					}
					p.answered(g.conn)
				}
			case "leave":
				if g := pick(guests); g != nil {
					guests = slices.DeleteFunc(guests, func(o *guest) bool { return o == g })
					p.leave(g.conn)
				}
			case "spare":
				lose(p.spare())
			case "late": // one that has lost its place reads a query all the same, and ends
				if g := pick(given); g != nil {
					given = slices.DeleteFunc(given, func(o *guest) bool { return o == g })
					p.asked(g.conn)
					p.answered(g.conn)
					p.leave(g.conn)
				}
			}
			by := map[netip.Addr]int{}
			for _, g := range guests {
				by[g.client]++
			}
			if p.open() != len(guests) || len(p.by) != len(by) {
				t.Fatalf("%d taken by %d clients, want %d by %d", p.open(), len(p.by), len(guests), len(by))
			}
		}
	})
}
