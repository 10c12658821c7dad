package blocklist

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
)

// TestClientsAreFoundAgain asks for more addresses than are remembered, some of them again and again and from several
// sides at once: each always has what the table has for it.
func TestClientsAreFoundAgain(t *testing.T) {
	var c clients
	c.fallback = binding{policy: 7, group: 3}
	r := rand.New(rand.NewPCG(8, 9))
	for i := range 2000 {
		addr := netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.IntN(256)), byte(r.IntN(256))})
		c.table.Insert(netip.PrefixFrom(addr, 12+r.IntN(21)).Masked(), binding{policy: uint16(i), group: uint16(r.IntN(3))})
	}
	c.table.Insert(netip.MustParsePrefix("0.0.0.0/32"), binding{})
	c.table.Insert(netip.MustParsePrefix("2001:db8::/32"), binding{policy: 9})
	addrs := []netip.Addr{
		{},
		netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("::ffff:10.1.2.3"),
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::1%eth0"), netip.MustParseAddr("::"),
	}
	for range 4 * len(c.lately) {
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, byte(r.IntN(5)), byte(r.IntN(256)), byte(r.IntN(256))}))
	}
	var sides sync.WaitGroup
	for side := range 4 {
		sides.Go(func() {
			r := rand.New(rand.NewPCG(8, uint64(side)))
			for range 50_000 {
				addr := addrs[r.IntN(1+r.IntN(len(addrs)))]
				want, ok := c.table.Lookup(addr.Unmap().WithZone(""))
				if !ok {
					want = c.fallback
				}
				if got := c.of(&Client{Addr: addr}); got != want {
					t.Errorf("%s: %+v, want %+v", addr, got, want)
					return
				}
			}
		})
	}
	sides.Wait()
	remembered := 0
	for i := range c.lately {
		if c.lately[i].Load() != 0 {
			remembered++
		}
	}
	if remembered < len(c.lately)/2 {
		t.Errorf("%d addresses are remembered", remembered)
	}
}
