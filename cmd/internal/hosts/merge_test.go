package hosts

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// mac returns a MAC address of its last octet.
func mac(n byte) MAC { return MAC{0x02, 0, 0x5e, 0x10, 0, n} }

// readHosts reads what render writes, with a duration from noon for a time and the last octet for a MAC address.
func readHosts(t testing.TB, text string) []Host {
	t.Helper()
	var hosts []Host
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		h := Host{Addr: netip.MustParseAddr(f[0])}
		if f[1] != "-" {
			var n byte
			if _, err := fmt.Sscanf(f[1], "%x", &n); err != nil {
				t.Fatal(line, err)
			}
			h.MAC = mac(n)
		}
		if f[2] != "-" {
			h.Name = f[2]
		}
		if f[3] != "-" {
			d, err := time.ParseDuration(f[3])
			if err != nil {
				t.Fatal(line, err)
			}
			h.Until = noon.Add(d)
		}
		hosts = append(hosts, h)
	}
	return hosts
}

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name       string
		files      []string
		live, gone string
		want       string
	}{
		{name: "nothing"},
		{
			name:  "the later lease of two counts",
			files: []string{"10.0.0.1 a early 1h", "10.0.0.1 b late 2h\n10.0.0.2 c at-noon 0s\n10.0.0.3 d ended -1s"},
			want:  "10.0.0.1 b late 2h",
		},
		{name: "one without an end is later", files: []string{"10.0.0.1 a ends 1h", "10.0.0.1 b stays -"}, want: "10.0.0.1 b stays -"},
		{name: "of two alike the first file's counts", files: []string{"10.0.0.1 a first 1h", "10.0.0.1 b second 1h"}, want: "10.0.0.1 a first 1h"},
		{name: "an ended lease hides none", files: []string{"10.0.0.1 a ended -1s", "10.0.0.1 b runs 1h"}, want: "10.0.0.1 b runs 1h"},
		{
			name:  "one name, two machines",
			files: []string{"10.0.0.1 a laptop 1h\n10.0.0.2 b laptop 1h"},
			want:  "10.0.0.1 a laptop 1h\n10.0.0.2 b laptop 1h",
		},
		{
			name:  "the wire knows better",
			files: []string{"10.0.0.1 a laptop 1h\n10.0.0.2 - phone 1h"},
			live:  "10.0.0.1 b - -\n10.0.0.2 c - -\n10.0.0.3 d - -",
			want:  "10.0.0.1 b laptop 1h\n10.0.0.2 c phone 1h\n10.0.0.3 d - -",
		},
		{
			name:  "what the wire knew is less than a lease and more than nothing",
			files: []string{"10.0.0.1 a laptop 1h\n10.0.0.2 - phone 1h"},
			gone:  "10.0.0.1 b - -\n10.0.0.2 c - -\n10.0.0.3 d - -",
			want:  "10.0.0.1 a laptop 1h\n10.0.0.2 c phone 1h\n10.0.0.3 d - -",
		},
		{
			name:  "a name goes with its MAC address",
			files: []string{"10.0.0.1 a laptop 1h\n10.0.0.2 a - 1h\n10.0.0.4 - - 1h"},
			live:  "fd00::1 a - -\nfe80::1 a - -\nfd00::2 b - -",
			gone:  "fd00::3 a - -",
			want:  "10.0.0.1 a laptop 1h\n10.0.0.2 a laptop 1h\n10.0.0.4 - - 1h\nfd00::1 a laptop -\nfd00::2 b - -\nfd00::3 a laptop -\nfe80::1 a laptop -",
		},
		{
			name:  "the name of a DHCPv6 lease goes too",
			files: []string{"fd00::10 - laptop 1h"},
			live:  "fd00::10 a - -\nfd00::1 a - -",
			want:  "fd00::1 a laptop -\nfd00::10 a laptop 1h",
		},
		{
			name:  "not one of several names",
			files: []string{"10.0.0.1 a laptop 1h\n10.0.0.2 a dock 1h\n10.0.0.3 a laptop 1h"},
			live:  "fd00::1 a - -",
			want:  "10.0.0.1 a laptop 1h\n10.0.0.2 a dock 1h\n10.0.0.3 a laptop 1h\nfd00::1 a - -",
		},
		{
			name:  "not that of a repeater",
			files: []string{"10.0.0.1 a laptop 1h\n10.0.0.2 b - 1h\n10.0.0.9 e repeater 1h"},
			live:  "10.0.0.2 e - -\n10.0.0.9 e - -\nfd00::2 e - -",
			want:  "10.0.0.1 a laptop 1h\n10.0.0.2 e - 1h\n10.0.0.9 e repeater 1h\nfd00::2 e - -",
		},
		{
			name:  "not to who took the address",
			files: []string{"10.0.0.1 a laptop 1h"},
			live:  "10.0.0.1 b - -\nfd00::1 a - -\nfd00::2 b - -",
			want:  "10.0.0.1 b laptop 1h\nfd00::1 a - -\nfd00::2 b - -",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var files [][]Host
			for _, f := range c.files {
				files = append(files, readHosts(t, f))
			}
			table := func(text string) map[netip.Addr]MAC {
				m := make(map[netip.Addr]MAC)
				for _, h := range readHosts(t, text) {
					m[h.Addr] = h.MAC
				}
				return m
			}
			got, _ := merge(files, neighbourView{table(c.live), table(c.gone)}, noon)
			if got, want := render(got), render(readHosts(t, c.want)); got != want {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
			for _, h := range got { // a name is given by a lease of that address and name, and else known by the MAC address
				given := slices.ContainsFunc(slices.Concat(files...), func(l Host) bool { return l.Addr == h.Addr && l.Name == h.Name && l.Name != "" })
				if h.Given != given {
					t.Errorf("%s is given %q: %v, want %v", h.Addr, h.Name, h.Given, given)
				}
			}
		})
	}
}

// naiveMerge is the package comment, address by address.
func naiveMerge(files [][]Host, near neighbourView, now time.Time) (hosts []Host, next time.Time) {
	addrs := make(map[netip.Addr]bool)
	for addr := range near.live {
		addrs[addr] = true
	}
	for addr := range near.gone {
		addrs[addr] = true
	}
	lease := make(map[netip.Addr]Host)
	for _, file := range files {
		for _, h := range file {
			if !h.Until.IsZero() && !h.Until.After(now) {
				continue
			}
			if !h.Until.IsZero() && (next.IsZero() || h.Until.Before(next)) {
				next = h.Until
			}
			addrs[h.Addr] = true
			old, known := lease[h.Addr]
			if !known || !old.Until.IsZero() && (h.Until.IsZero() || h.Until.After(old.Until)) {
				lease[h.Addr] = h
			}
		}
	}
	macOf := func(addr netip.Addr) MAC {
		if m, ok := near.live[addr]; ok {
			return m
		}
		if m := lease[addr].MAC; m != (MAC{}) {
			return m
		}
		return near.gone[addr]
	}
	for addr := range addrs {
		h := lease[addr]
		h.Addr, h.MAC, h.Given = addr, macOf(addr), h.Name != ""
		if h.Name == "" && h.MAC != (MAC{}) {
			names := make(map[string]bool)
			for other, l := range lease {
				if macOf(other) != h.MAC {
					continue
				}
				if l.MAC != (MAC{}) && l.MAC != h.MAC {
					names["one"], names["another"] = true, true
				}
				if l.Name != "" {
					names[l.Name] = true
				}
			}
			for name := range names {
				if len(names) == 1 {
					h.Name = name
				}
			}
		}
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b Host) int { return a.Addr.Compare(b.Addr) })
	return hosts, next
}

func TestMergeModel(t *testing.T) {
	addr := rapid.Custom(func(t *rapid.T) netip.Addr {
		return netip.AddrFrom4([4]byte{10, 0, 0, rapid.ByteRange(1, 6).Draw(t, "addr")})
	})
	some := rapid.Custom(func(t *rapid.T) MAC { return mac(rapid.ByteRange(1, 4).Draw(t, "mac")) })
	file := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Host {
		h := Host{Addr: addr.Draw(t, "a")}
		if rapid.Bool().Draw(t, "known") {
			h.MAC = some.Draw(t, "m")
		}
		h.Name = rapid.SampledFrom([]string{"", "", "x", "y"}).Draw(t, "name")
		if d := rapid.IntRange(-1, 3).Draw(t, "until"); d < 3 {
			h.Until = noon.Add(time.Duration(d) * time.Second)
		}
		return h
	}), 0, 6, func(h Host) netip.Addr { return h.Addr })
	table := rapid.MapOfN(addr, some, 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		files := rapid.SliceOfN(file, 0, 3).Draw(t, "files")
		near := neighbourView{table.Draw(t, "live"), table.Draw(t, "gone")}
		for a := range near.live {
			delete(near.gone, a)
		}
		got, next := merge(files, near, noon)
		want, wantNext := naiveMerge(files, near, noon)
		if !slices.Equal(got, want) || !next.Equal(wantNext) {
			t.Fatalf("got until %v:\n%swant until %v:\n%s", next, render(got), wantNext, render(want))
		}
	})
}

func BenchmarkMerge(b *testing.B) {
	const n = 10000
	near := neighbourView{live: make(map[netip.Addr]MAC)}
	file := make([]Host, n)
	for i := range file {
		file[i] = Host{
			Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), MAC: MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, Name: fmt.Sprint("host-", i), Until: noon.Add(time.Hour),
		}
		if i%4 == 0 {
			near.live[netip.AddrFrom16([16]byte{0xfd, 14: byte(i >> 8), 15: byte(i)})] = file[i].MAC
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if hosts, _ := merge([][]Host{file}, near, noon); len(hosts) != n+n/4 {
			b.Fatal(len(hosts))
		}
	}
}
