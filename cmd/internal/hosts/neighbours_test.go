package hosts

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(index int, addr string) link { return link{index, netip.MustParseAddr(addr)} }

// TestNeighboursModel asserts what is known of neighbours against a list of all that ever happened.
func TestNeighboursModel(t *testing.T) {
	type entry struct {
		mac  MAC
		gone time.Time
	}
	rapid.Check(t, func(t *rapid.T) {
		n, now := newNeighbours(), noon
		model := make(map[link]entry)
		links := rapid.Custom(func(t *rapid.T) link {
			return link{rapid.IntRange(1, 2).Draw(t, "index"), netip.AddrFrom4([4]byte{10, 0, 0, rapid.ByteRange(1, 3).Draw(t, "addr")})}
		})
		macs := rapid.Custom(func(t *rapid.T) MAC { return mac(rapid.ByteRange(1, 3).Draw(t, "mac")) })
		forget := func(l link) bool {
			e, ok := model[l]
			if !ok || !e.gone.IsZero() {
				return false
			}
			model[l] = entry{e.mac, now}
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"learn": func(t *rapid.T) {
				l, m := links.Draw(t, "link"), macs.Draw(t, "m")
				want := model[l] != entry{mac: m}
				model[l] = entry{mac: m}
				if n.learn(l, m) != want {
					t.Fatalf("learn says %v", !want)
				}
			},
			"forget": func(t *rapid.T) {
				l := links.Draw(t, "link")
				if want := forget(l); n.forget(l, now) != want {
					t.Fatalf("forget says %v", !want)
				}
			},
			"replace": func(t *rapid.T) {
				table := rapid.MapOfN(links, macs, 0, 4).Draw(t, "table")
				before := maps.Clone(model)
				for l := range model {
					if _, ok := table[l]; !ok {
						forget(l)
					}
				}
				for l, m := range table {
					model[l] = entry{mac: m}
				}
				changed, err := n.replace(func() (map[link]MAC, error) { return table, nil }, now)
				if err != nil || changed == maps.Equal(before, model) {
					t.Fatal(changed, err)
				}
			},
			"fail": func(t *rapid.T) {
				if _, err := n.replace(func() (map[link]MAC, error) { return nil, errors.ErrUnsupported }, now); err != errors.ErrUnsupported {
					t.Fatal(err)
				}
			},
			"wait": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "minutes")) * time.Minute) },
			"": func(t *rapid.T) {
				got, next := n.view(now)
				maps.DeleteFunc(model, func(_ link, e entry) bool { return !e.gone.IsZero() && !now.Before(e.gone.Add(time.Hour)) })
				want := neighbourView{make(map[netip.Addr]MAC), make(map[netip.Addr]MAC)}
				var wantNext time.Time
				for last := byte(1); last <= 3; last++ {
					addr := netip.AddrFrom4([4]byte{10, 0, 0, last})
					a, hasA := model[link{1, addr}]
					b, hasB := model[link{2, addr}]
					liveA, liveB := hasA && a.gone.IsZero(), hasB && b.gone.IsZero()
					switch {
					case liveA && liveB && a.mac != b.mac:
					case liveA:
						want.live[addr] = a.mac
					case liveB:
						want.live[addr] = b.mac
					case hasA && (!hasB || !b.gone.After(a.gone)):
						want.gone[addr] = a.mac
					case hasB:
						want.gone[addr] = b.mac
					}
				}
				for _, e := range model {
					if until := e.gone.Add(time.Hour); !e.gone.IsZero() && (wantNext.IsZero() || until.Before(wantNext)) {
						wantNext = until
					}
				}
				if !maps.Equal(got.live, want.live) || !maps.Equal(got.gone, want.gone) || !next.Equal(wantNext) {
					t.Fatalf("%v until %v, want %v until %v", got, next, want, wantNext)
				}
			},
		})
	})
}

// TestForgottenAreBounded asserts that addresses that somebody makes up do not pile up, and that the latest are kept.
func TestForgottenAreBounded(t *testing.T) {
	n := newNeighbours()
	n.learn(at(1, "fd00::ffff:1"), mac(1))
	for i := range 3 * maxForgotten {
		l := at(1, fmt.Sprintf("fd00::%x", i+1))
		n.learn(l, mac(2))
		n.forget(l, noon.Add(time.Duration(i)))
	}
	v, _ := n.view(noon.Add(time.Minute))
	if len(n.known) != maxForgotten+1 || len(v.live) != 1 || len(v.gone) != maxForgotten {
		t.Error(len(n.known), len(v.live), len(v.gone))
	}
	if v.gone[at(1, fmt.Sprintf("fd00::%x", 3*maxForgotten)).addr] != mac(2) {
		t.Error("the last is not kept")
	}
}
