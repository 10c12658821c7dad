package blocklist

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// naiveCovering says which lists hold addr, entry by entry.
func naiveCovering(entries []network, addr netip.Addr) (out []covering) {
	for list := range 8 {
		longest, exception := -1, false
		for _, e := range entries {
			prefix, _ := unmapped(e.prefix)
			if e.list != list || !prefix.Contains(addr.Unmap()) {
				continue
			}
			switch bits := prefix.Bits(); {
			case bits > longest:
				longest, exception = bits, e.exception
			case bits == longest:
				exception = exception || e.exception
			}
		}
		if longest >= 0 && !exception {
			out = append(out, covering{uint32(list), uint8(longest)})
		}
	}
	slices.SortStableFunc(out, func(a, b covering) int { return int(b.bits) - int(a.bits) })
	return out
}

func TestNetworksAgreeWithModel(t *testing.T) {
	addrs := []netip.Addr{
		netip.MustParseAddr("192.0.2.0"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.255"), netip.MustParseAddr("192.0.3.1"),
		netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("255.255.255.255"),
		netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("::"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"),
		netip.MustParseAddr("2001:db8:0:1::1"), netip.MustParseAddr("2001:db9::"),
	}
	entry := rapid.Custom(func(t *rapid.T) network {
		addr := rapid.SampledFrom(addrs).Draw(t, "addr")
		bits := rapid.SampledFrom([]int{0, 1, 8, 23, 24, 25, 31, 32, 33, 47, 64, 96, 100, 120, 127, 128}).Draw(t, "bits")
		if addr.Is4() {
			bits = min(bits, 32)
		} else if addr.Is4In6() {
			bits = max(bits, 96)
		}
		return network{
			list: rapid.IntRange(0, 3).Draw(t, "list"), prefix: netip.PrefixFrom(addr, bits),
			exception: rapid.IntRange(0, 3).Draw(t, "exception") == 0,
		}
	})
	held, excepted, elsewhere := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		entries := rapid.SliceOfN(entry, 0, 12).Draw(rt, "entries")
		n, err := newNetworks(entries)
		if err != nil {
			rt.Fatal(err)
		}
		var b blocks
		for _, e := range entries {
			prefix, _ := unmapped(e.prefix)
			b.add(prefix)
		}
		for _, addr := range addrs {
			near := func(e network) bool {
				prefix, _ := unmapped(e.prefix)
				around, _ := addr.Unmap().Prefix(16)
				return prefix.Overlaps(around)
			}
			if got := b.has(addr); got != slices.ContainsFunc(entries, near) {
				rt.Fatalf("%s: its block has something: %v", addr, got)
			} else if !got {
				elsewhere++
			}
			set := n.find(addr)
			want := naiveCovering(entries, addr)
			if d := gocmp.Diff(want, append([]covering(nil), n.of(set)...), gocmp.AllowUnexported(covering{})); d != "" {
				rt.Fatalf("%s: model and table differ:\n%s", addr, d)
			}
			if (set == 0) != (len(want) == 0) {
				rt.Fatalf("%s: set %d holds %d lists", addr, set, len(want))
			}
			held += len(want)
			if len(want) == 0 && slices.ContainsFunc(entries, func(e network) bool { return !e.exception && e.prefix.Contains(addr) }) {
				excepted++
			}
		}
	})
	if held == 0 || excepted == 0 || elsewhere == 0 {
		t.Errorf("%d lists held an address, %d addresses were taken out, %d lay elsewhere: the draw is too narrow", held, excepted, elsewhere)
	}
}

// TestPrivateNetworksArePrivate holds that private knows just the private networks, at their edges and beside them.
func TestPrivateNetworksArePrivate(t *testing.T) {
	for _, prefix := range privateNetworks {
		first := prefix.Addr()
		last := first
		for bit := prefix.Bits(); bit < first.BitLen(); bit++ {
			a := last.AsSlice()
			a[bit/8] |= 1 << (7 - bit%8)
			last, _ = netip.AddrFromSlice(a)
		}
		for _, addr := range []netip.Addr{first.Prev(), first, last, last.Next()} {
			if !addr.IsValid() {
				continue // there is none beside it
			}
			listed := slices.ContainsFunc(privateNetworks, func(p netip.Prefix) bool { return p.Contains(addr) })
			if (private(addr) != 0) != listed {
				t.Errorf("%s: private by %d bits, in the networks: %v", addr, private(addr), listed)
			}
		}
	}
}

func TestNetworksRefuse(t *testing.T) {
	for _, e := range []network{
		{list: 1},
		{list: 1, prefix: netip.MustParsePrefix("::ffff:0.0.0.0/90")}, // more than IPv4 and less than IPv6
		{list: -1, prefix: netip.MustParsePrefix("192.0.2.0/24")},
		{list: maxLists, prefix: netip.MustParsePrefix("192.0.2.0/24")},
	} {
		if _, err := newNetworks([]network{{list: 1, prefix: netip.MustParsePrefix("192.0.2.0/24")}, e}); err == nil {
			t.Errorf("%v was taken", e)
		}
	}
	n, err := newNetworks(nil)
	if err != nil || n.len() != 1 || n.find(netip.MustParseAddr("192.0.2.1")) != 0 || n.find(netip.Addr{}) != 0 {
		t.Errorf("no networks: %v, %d sets", err, n.len())
	}
}

// feedNetworks are as many networks as a large feed of addresses has, mostly single ones, over a few lists.
func feedNetworks(count int) (entries []network) {
	r := rand.New(rand.NewPCG(3, 4))
	for range count {
		var octets [4]byte
		binary.BigEndian.PutUint32(octets[:], r.Uint32())
		bits := 32
		if r.IntN(10) == 0 {
			bits = 16 + r.IntN(16)
		}
		entries = append(entries, network{list: r.IntN(8), prefix: netip.PrefixFrom(netip.AddrFrom4(octets), bits), exception: r.IntN(100) == 0})
	}
	return entries
}

func TestFindNetworkAllocatesNothing(t *testing.T) {
	entries := feedNetworks(10_000)
	n, err := newNetworks(entries)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	if allocs := testing.AllocsPerRun(1000, func() {
		if i++; len(n.of(n.find(entries[i%len(entries)].prefix.Addr()))) > 8 {
			t.Error("an address is on more lists than there are")
		}
	}); allocs != 0 {
		t.Errorf("%v allocations per address, want 0", allocs)
	}
}

func BenchmarkFindNetwork(b *testing.B) {
	entries := feedNetworks(500_000)
	n, err := newNetworks(entries)
	if err != nil {
		b.Fatal(err)
	}
	found := 0
	for i := 0; b.Loop(); i++ {
		if n.find(entries[i%len(entries)].prefix.Addr()) != 0 {
			found++
		}
	}
	if found == 0 {
		b.Fatal("none was found")
	}
}

func BenchmarkMissNetwork(b *testing.B) {
	n, err := newNetworks(feedNetworks(500_000))
	if err != nil {
		b.Fatal(err)
	}
	var addrs []netip.Addr
	for _, e := range feedNetworks(600_000)[500_000:] {
		if n.find(e.prefix.Addr()) == 0 {
			addrs = append(addrs, e.prefix.Addr())
		}
	}
	for i := 0; b.Loop(); i++ {
		if n.find(addrs[i%len(addrs)]) != 0 {
			b.Fatal("one was found")
		}
	}
}

func BenchmarkBuildNetworks(b *testing.B) {
	entries := feedNetworks(500_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := newNetworks(entries); err != nil {
			b.Fatal(err)
		}
	}
}
