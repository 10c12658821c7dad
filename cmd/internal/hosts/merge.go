package hosts

import (
	"net/netip"
	"slices"
	"time"
)

// merge makes one picture of the leases in each file and of the neighbour table, by the rules in the package comment. It
// returns it by address, and when the first lease in it ends; zero if none does.
func merge(leases [][]Host, near neighbourView, now time.Time) (hosts []Host, next time.Time) {
	n := len(near.live) + len(near.gone)
	for _, file := range leases {
		n += len(file)
	}
	hosts = make([]Host, 0, n)
	for _, file := range leases {
		for _, h := range file {
			if !h.Until.IsZero() {
				if !now.Before(h.Until) {
					continue
				}
				next = earlier(next, h.Until)
			}
			h.Given = h.Name != ""
			hosts = append(hosts, h)
		}
	}
	slices.SortStableFunc(hosts, compareHosts)
	hosts = slices.CompactFunc(hosts, func(a, b Host) bool { return a.Addr == b.Addr })

	strayed := make(map[MAC]bool) // of which the wire shows an address that a lease gave to another
	leased := len(hosts)
	isLeased := func(addr netip.Addr) bool {
		_, ok := slices.BinarySearchFunc(hosts[:leased], addr, func(h Host, addr netip.Addr) int { return h.Addr.Compare(addr) })
		return ok
	}
	for i := range hosts {
		h := &hosts[i]
		if mac, ok := near.live[h.Addr]; ok {
			if h.MAC != (MAC{}) && h.MAC != mac {
				strayed[mac] = true
			}
			h.MAC = mac
		} else if h.MAC == (MAC{}) {
			h.MAC = near.gone[h.Addr]
		}
	}
	for _, table := range []map[netip.Addr]MAC{near.live, near.gone} {
		for addr, mac := range table {
			if !isLeased(addr) {
				hosts = append(hosts, Host{Addr: addr, MAC: mac})
			}
		}
	}

	names := make(map[MAC]string) // that a MAC address bears in all leases; empty if there are several
	for _, h := range hosts[:leased] {
		if h.Name == "" || h.MAC == (MAC{}) {
			continue
		}
		if name, known := names[h.MAC]; strayed[h.MAC] || known && name != h.Name {
			names[h.MAC] = ""
		} else {
			names[h.MAC] = h.Name
		}
	}
	for i := range hosts {
		if hosts[i].Name == "" {
			hosts[i].Name = names[hosts[i].MAC]
		}
	}
	slices.SortFunc(hosts, compareHosts)
	return hosts, next
}

// earlier returns the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// sameHosts says whether two pictures show the same clients, whenever their leases end.
func sameHosts(a, b []Host) bool {
	return slices.EqualFunc(a, b, func(x, y Host) bool {
		return x.Addr == y.Addr && x.MAC == y.MAC && x.Name == y.Name && x.Given == y.Given
	})
}
