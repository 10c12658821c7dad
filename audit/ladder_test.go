package audit

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Going through sorted keys beside the sorted indicators finds what looking up each by itself does,
// and the blocks that are passed over have nothing to be found.
func TestLadderIsAsGoodAsLookingUp(t *testing.T) {
	label := rapid.SampledFrom([]string{"\x01a", "\x01b", "\x02aa", "\x02ab", "\x03a.b"})
	name := rapid.Custom(func(t *rapid.T) []byte {
		var b []byte
		for _, l := range rapid.SliceOfN(label, 0, 4).Draw(t, "labels") {
			b = append(b, l...)
		}
		return append(b, 0)
	})
	odd := rapid.SampledFrom([][]byte{{}, {1}, {64, 'a', 0}, {1, 'a', 0, 0}, []byte("\x05aa")})
	network := rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := netip.AddrFrom4([4]byte{192, 0, byte(rapid.IntRange(0, 2).Draw(t, "c")), byte(rapid.IntRange(0, 9).Draw(t, "d"))})
		switch rapid.IntRange(0, 3).Draw(t, "form") {
		case 0:
			return netip.PrefixFrom(netip.AddrFrom16(a.As16()), 96+rapid.IntRange(16, 32).Draw(t, "bits"))
		case 1:
			b := a.As16()
			b[0], b[10] = 0x20, 0
			return netip.PrefixFrom(netip.AddrFrom16(b), rapid.IntRange(0, 128).Draw(t, "bits"))
		}
		return netip.PrefixFrom(a, rapid.IntRange(0, 32).Draw(t, "bits"))
	})
	rapid.Check(t, func(t *rapid.T) {
		var indicators []Indicator
		for _, n := range rapid.SliceOfN(name, 0, 12).Draw(t, "indicators") {
			indicators = append(indicators, Indicator{Name: n, Scope: uint8(rapid.IntRange(1, 3).Draw(t, "scope"))})
		}
		for _, p := range rapid.SliceOfN(network, 0, 5).Draw(t, "networks") {
			indicators = append(indicators, Indicator{Network: p})
		}
		h, err := newHunter(indicators)
		if err != nil {
			t.Fatal(err)
		}
		sorted := func(keys [][]byte) [][]byte {
			slices.SortFunc(keys, bytes.Compare)
			return slices.CompactFunc(keys, bytes.Equal)
		}
		r := &run{}
		var names, addrs [][]byte
		for _, n := range rapid.SliceOfN(rapid.OneOf(name, name, odd), 0, 40).Draw(t, "names") {
			names = append(names, appendReversed(nil, n))
		}
		for _, p := range rapid.SliceOfN(network, 0, 20).Draw(t, "addresses") {
			addrs = append(addrs, appendAddr(nil, p.Addr()))
		}
		names, addrs = sorted(names), sorted(addrs)
		size := rapid.IntRange(1, 5).Draw(t, "keys in a block")
		blocks := map[uint8][][][]byte{byAsked: slices.Collect(slices.Chunk(names, size)), byAddress: slices.Collect(slices.Chunk(addrs, size))}
		for section := byClient; section <= byAddress+1; section++ {
			r.sections[section] = len(r.blocks)
			for _, keys := range blocks[section] {
				r.blocks = append(r.blocks, runBlock{section: section, key: keys[0]})
			}
		}
		wanted := h.ladder.blocks(r, byAsked)
		c := h.ladder.climb()
		for i, keys := range blocks[byAsked] {
			for k, key := range keys {
				want := h.covering(nil, appendForward(nil, key))
				if len(want) > 0 && !slices.Contains(wanted, i) {
					t.Fatalf("the block of %q is passed over", key)
				}
				if len(key) > 0 && key[0] == noName {
					continue
				}
				if k == 0 {
					c.to(key)
				} else {
					c.next(key, commonOctets(keys[k-1], key))
				}
				if got := c.covering(nil, h.scope, key); !slices.Equal(got, want) {
					t.Fatalf("%q is covered by %v, want %v", key, got, want)
				}
			}
		}
		wanted = h.ranges.blocks(r)
		for i, keys := range blocks[byAddress] {
			for _, key := range keys {
				if len(h.holding(nil, addressOf(key))) > 0 && !slices.Contains(wanted, r.sections[byAddress]+i) {
					t.Fatalf("the block of address %x is passed over", key)
				}
			}
		}
	})
}
