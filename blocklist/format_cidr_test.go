package blocklist

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// readNetworks reads text as a cidr list.
func readNetworks(t testing.TB, text string) (l *List, all []netip.Prefix) {
	t.Helper()
	l = &List{File: "list"}
	r := newReader(l, func(int, uint16, []byte, Scope, bool) error {
		t.Fatal("a name in a list of networks")
		return nil
	})
	r.network = func(_ int, prefix netip.Prefix, exception bool) error {
		if exception {
			t.Fatal("an exception")
		}
		all = append(all, prefix)
		return nil
	}
	form, _ := formatNamed("cidr")
	if err := readBytes([]byte(text), &form, r); err != nil && l.Unreadable == 0 {
		t.Fatal(err)
	}
	return l, all
}

// TestRange holds that the networks of a range follow each other from its first address to its last, and that no two
// of them could be one.
func TestRange(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.SampledFrom([]int{4, 16}).Draw(rt, "size")
		octets := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 127, 128, 254, 255}), size, size)
		from, _ := netip.AddrFromSlice(octets.Draw(rt, "from"))
		to, _ := netip.AddrFromSlice(octets.Draw(rt, "to"))
		if to.Less(from) {
			from, to = to, from
		}
		_, all := readNetworks(t, fmt.Sprintf("%s-%s\n", from, to))
		if from.Unmap().BitLen() != to.Unmap().BitLen() || from.IsUnspecified() && lastAddr(netip.PrefixFrom(to, 0)) == to {
			return
		}
		next := from.Unmap()
		for i, prefix := range all {
			if prefix.Addr() != next {
				rt.Fatalf("%s-%s: %v: %s does not begin at %s", from, to, all, prefix, next)
			}
			next = lastAddr(prefix).Next()
			if i > 0 && all[i-1].Bits() == prefix.Bits() && netip.PrefixFrom(all[i-1].Addr(), prefix.Bits()-1).Contains(prefix.Addr()) &&
				all[i-1].Addr() == netip.PrefixFrom(all[i-1].Addr(), prefix.Bits()-1).Masked().Addr() {
				rt.Fatalf("%s-%s: %v: two halves of one", from, to, all)
			}
		}
		if next != to.Unmap().Next() {
			rt.Fatalf("%s-%s: %v ends before %s", from, to, all, next)
		}
	})
}

// TestCIDRIsRecognised: only a list of almost nothing but networks is one of networks.
func TestCIDRIsRecognised(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1\n": "cidr",
		"; a\n# b\n// c\n// d\n192.0.2.0/24 ; SBL1\n": "cidr",
		"2001:db8::/32\n":       "cidr",
		"192.0.2.1-192.0.2.7\n": "cidr",
		strings.Repeat("192.0.2.1\n", 9) + "track.example\n":                   "cidr",
		strings.Repeat("192.0.2.1\n", 8) + "track.example\n":                   "domains",
		"192.0.2.1\n192.0.2.2\ntrack.example\n":                                "domains",
		"0.0.0.0 track.example\n":                                              "hosts",
		"0.0.0.0 a.example\n0.0.0.0 b.example\n0.0.0.0 c.example\n192.0.2.1\n": "hosts",
		"track.example\n":               "domains",
		"a-b.example\n1-2.example\n":    "domains",
		"||track.example^\n192.0.2.1\n": "adblock",
	} {
		l, _, err := readEntries([]byte(text), nil)
		if err != nil || l.Format != want {
			t.Errorf("%q: %s, %v; want %s", text, l.Format, err, want)
		}
	}
}

func TestNetworkErrorEndsReading(t *testing.T) {
	l, lines := &List{}, 0
	r := newReader(l, nil)
	r.network = func(int, netip.Prefix, bool) error { lines++; return errFull }
	if err := readBytes([]byte("192.0.2.1\n192.0.2.2\n"), nil, r); err != errFull || lines != 1 {
		t.Errorf("%v after %d networks", err, lines)
	}
}

// Without use for networks a list of them is no list of mistakes.
func TestNetworksOfNoUse(t *testing.T) {
	l := &List{}
	form, _ := formatNamed("cidr")
	err := readBytes([]byte("192.0.2.1\n192.0.2.x\n"), &form, newReader(l, nil))
	if err != nil || l.Networks != 0 || l.Unreadable != 1 || len(l.Ignored) != 1 || l.Ignored[0] != (Ignored{ignoredNetwork, 1}) {
		t.Errorf("%v: %+v", err, l)
	}
}

// FuzzNetwork holds that a line is the network that package netip takes it for, and none if that takes it for none.
func FuzzNetwork(f *testing.F) {
	for _, text := range []string{"192.0.2.0/24", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.0/120", "fe80::1%x", "0.0.0.0/0", "1.2.3.4/032", "1.2.3.04"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text != strings.TrimSpace(text) || text == "" || strings.ContainsAny(text, "\n#;-") || strings.HasPrefix(text, "//") || strings.HasPrefix(text, string(bom)) || refuse([]byte(text)) != nil {
			return
		}
		want, err := netip.ParsePrefix(text)
		if addr, err2 := netip.ParseAddr(text); err2 == nil && addr.Zone() == "" {
			want, err = addr.Prefix(addr.BitLen())
		}
		l, all := readNetworks(t, text)
		switch {
		case err != nil:
			if len(all) > 0 || l.Unreadable != 1 {
				t.Fatalf("%q: %v, %+v", text, all, l)
			}
			return
		case want.Addr().Is4In6() && want.Bits() >= 96:
			want = netip.PrefixFrom(want.Addr().Unmap(), want.Bits()-96)
		}
		if want.Bits() == 0 {
			if len(all) > 0 || len(l.Ignored) != 1 {
				t.Fatalf("%q: %v, %+v", text, all, l)
			}
		} else if len(all) != 1 || all[0] != want.Masked() {
			t.Fatalf("%q: %v, want %v", text, all, want)
		}
	})
}

// FuzzTriggerNetwork holds that any trigger is the network that its parts, put together as text, are.
func FuzzTriggerNetwork(f *testing.F) {
	for _, text := range []string{"24.0.2.0.192", "128.1.zz.db8.2001", "32.zz.db8.2001", "128.8.7.6.5.4.3.2.1", "128.zz", "128.1.zz.1.zz", "24.0.2.0.0192"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, _, reason := appendName(nil, []byte(text+".rpz-ip"), &strict)
		if reason != "" || strings.Contains(text, `\`) || strings.ContainsFunc(text, func(c rune) bool { return c >= 0x80 }) {
			return
		}
		want := networkOf(strings.ToLower(text))
		prefix, at, reason := triggerNetwork(name)
		if at >= len(name) {
			t.Fatalf("%q: blamed at %d", text, at)
		}
		l, got := &List{}, ""
		r := newReader(l, nil)
		r.network = func(_ int, prefix netip.Prefix, _ bool) error { got = prefix.String(); return nil }
		if reason == "" {
			r.netEntry(prefix, false, ignoredTriggerIP)
		}
		wantPrefix := ""
		if want != "" {
			wantPrefix = netip.MustParsePrefix(want).Masked().String()
		}
		if got != wantPrefix {
			t.Fatalf("%q: %q %s, want %q", text, got, reason, wantPrefix)
		}
	})
}
