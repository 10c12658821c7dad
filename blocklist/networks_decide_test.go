package blocklist

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// judge reads the rules for the addresses of an answer, as the documentation of DecideFacts says.
func judgeAddrs(w *world, entries []network, s said, addrs []netip.Addr, qtype uint16) said {
	p := &w.policies[slices.IndexFunc(w.policies, func(p PolicyConfig) bool { return p.Name == s.Policy })]
	if s.Verdict == Block || p.TrustAllowed && s.On == OnName {
		return s
	}
	for i, addr := range addrs {
		covers := naiveCovering(entries, addr)
		seen := false // an observe rule
		for j := range p.Rules {
			r := &p.Rules[j]
			if len(r.Types) > 0 && !slices.Contains(r.Types, qtype) {
				continue
			}
			m := naiveMatch{rule: j + 1, off: -1}
			for _, category := range r.Categories {
				var c int
				fmt.Sscanf(category, "category%d", &c)
				for _, list := range w.categories[c] {
					for _, cover := range covers {
						if int(cover.list) == list && int(cover.bits) > m.off {
							m.named, m.off, m.category, m.list = true, int(cover.bits), category, fmt.Sprint("list", list)
							m.scope = Self
						}
					}
				}
			}
			if !m.named && len(r.Categories)+len(r.Domains) > 0 {
				continue
			}
			if r.Action == ActionObserve {
				if first := !seen; first && m.named && s.ObservedRule == 0 {
					s.observe(m, OnAddress)
					s.ObservedAliasName = i
				}
				seen = true
				continue
			}
			if r.Action == ActionBlock && m.named {
				s.decide(p, m, OnAddress)
				s.Alias = i
				return s
			}
			break
		}
	}
	return s
}

func TestAddressesAgreeWithModel(t *testing.T) {
	pool := []netip.Addr{
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("::ffff:192.0.2.1"),
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("203.0.113.1"),
	}
	blocked, observed := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		p, err := w.compile(t)
		if err != nil {
			return
		}
		lists := len(p.lists.lists)
		entries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) network {
			addr := rapid.SampledFrom(pool).Draw(t, "addr").Unmap()
			bits := rapid.SampledFrom([]int{16, 24, 30, 32, 128}).Draw(t, "bits")
			return network{
				list: rapid.IntRange(0, lists-1).Draw(t, "list"), prefix: netip.PrefixFrom(addr, min(bits, addr.BitLen())),
				exception: rapid.IntRange(0, 3).Draw(t, "exception") == 0,
			}
		}), 4, 12).Draw(rt, "networks")
		nets, err := newNetworks(entries)
		if err != nil {
			rt.Fatal(err)
		}
		p.lists.networks = nets
		if p, err = Compile(w.policies, p.lists, time.Time{}); err != nil {
			rt.Fatal(err)
		}
		addrs := rapid.SliceOfN(rapid.SampledFrom(pool), 2, 5).Draw(rt, "addrs")
		for i, name := range worldNames {
			client := netip.MustParseAddr("192.0.2.200")
			qtype := []uint16{1, 65280, 16}[i%3]
			d := p.Decide(ask([]byte(name), qtype, client))
			want := judgeAddrs(w, entries, w.decide(name, qtype, client), addrs, qtype)
			got := p.judged(d, ask([]byte(name), qtype, client), nil, addrs...)
			if diff := gocmp.Diff(want, saidBy(p, got)); diff != "" {
				rt.Fatalf("%s, %v of type %d: model and policy differ:\n%s", NameString([]byte(name)), addrs, qtype, diff)
			}
			if got.On == OnAddress {
				blocked++
			}
			if got.ObservedOn == OnAddress {
				observed++
			}
		}
	})
	if blocked == 0 || observed == 0 {
		t.Errorf("%d blocked and %d observed: the draw is too narrow", blocked, observed)
	}
}
