package audit

import (
	"bytes"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestAddrDictIsADict holds that addresses are numbered and laid out as a dict does it with their octets: those of four
// octets apart from the same behind a prefix, and with the zone dropped.
func TestAddrDictIsADict(t *testing.T) {
	addr := rapid.Custom(func(t *rapid.T) netip.Addr {
		v4 := [4]byte{0, 0, byte(rapid.IntRange(0, 1).Draw(t, "third")), byte(rapid.IntRange(0, 40).Draw(t, "last"))}
		switch rapid.IntRange(0, 5).Draw(t, "form") {
		case 0:
			return netip.Addr{}
		case 1:
			return netip.AddrFrom16(netip.AddrFrom4(v4).As16()) // an IPv4 address in one of IPv6
		case 2:
			return netip.AddrFrom16([16]byte{14: v4[2], 15: v4[3]})
		case 3:
			return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 14: v4[2], 15: v4[3]}).WithZone("eth0")
		case 4:
			return netip.AddrFrom16([16]byte{6: v4[2], 7: v4[3]})
		default:
			return netip.AddrFrom4(v4)
		}
	})
	got, want := newAddrDict(), newDict()
	rapid.Check(t, func(t *rapid.T) {
		got.reset()
		want.reset()
		for _, a := range rapid.SliceOfN(addr, 0, 300).Draw(t, "addresses") {
			octets := appendAddr(nil, a)[1:]
			if g, w := got.ref(octets), want.ref(octets); g != w {
				t.Fatalf("%v is referred to as %d, want %d", a, g, w)
			}
		}
		if g, w := got.append(nil), want.append(nil); !bytes.Equal(g, w) {
			t.Fatalf("laid out as %x, want %x", g, w)
		}
	})
}

// TestReasonsAreNumberedOnce holds that a reason has one number for each group, in the order in which they came.
func TestReasonsAreNumberedOnce(t *testing.T) {
	reasons, labels := make([]Reason, 5), []string{"a", "b", "c"}
	for i := range reasons {
		reasons[i].Rule = string(rune('0' + i))
	}
	rapid.Check(t, func(t *rapid.T) {
		b := newBuilder()
		for range 2 {
			b.reset()
			known := map[grouped]uint64{{}: 0}
			for range rapid.IntRange(0, 60).Draw(t, "steps") {
				k := grouped{rapid.Uint32Max(5).Draw(t, "reason"), rapid.Uint32Max(3).Draw(t, "group")}
				want, ok := known[k]
				if !ok {
					want = uint64(len(known))
					known[k] = want
				}
				if got := b.reason(k, reasons, labels); got != want {
					t.Fatalf("%v has number %d, want %d", k, got, want)
				}
			}
			if int(b.reasonN) != len(known)-1 {
				t.Fatalf("%d reasons are laid out, want %d", b.reasonN, len(known)-1)
			}
		}
	})
}
