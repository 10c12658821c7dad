package hosts

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	neighbourMemory = time.Hour // that a neighbour is remembered after the kernel forgot it
	maxForgotten    = 8192      // neighbours remembered so: anybody on the link can make up addresses
)

// neighbours is the kernel's table of neighbours, and what was in it until a while ago.
type neighbours struct {
	mu    sync.Mutex
	known map[link]neighbour
}

// A link is where a neighbour is: the same address may be on several networks.
type link struct {
	index int // of our interface
	addr  netip.Addr
}

type neighbour struct {
	mac  MAC
	gone time.Time // since when the kernel knows it no more; zero: it does
}

// A neighbourView is which MAC addresses have which addresses, in the table and until lately.
type neighbourView struct {
	live, gone map[netip.Addr]MAC
}

func newNeighbours() *neighbours { return &neighbours{known: make(map[link]neighbour)} }

// learn takes an entry of the table and returns whether it is new.
func (n *neighbours) learn(at link, mac MAC) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	is := neighbour{mac: mac}
	if n.known[at] == is {
		return false
	}
	n.known[at] = is
	return true
}

// forget takes that an entry left the table, and returns whether it was there.
func (n *neighbours) forget(at link, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.forgetLocked(at, now)
}

func (n *neighbours) forgetLocked(at link, now time.Time) bool {
	was, ok := n.known[at]
	if !ok || !was.gone.IsZero() {
		return false
	}
	n.known[at] = neighbour{was.mac, now}
	return true
}

// replace takes the whole table as dump reads it, and returns whether it differs from what was known. Changes that are
// told meanwhile are taken after it: they may be ones that dump did not see yet.
func (n *neighbours) replace(dump func() (map[link]MAC, error), now time.Time) (changed bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	table, err := dump()
	if err != nil {
		return false, err
	}
	for at := range n.known {
		if _, ok := table[at]; !ok {
			changed = n.forgetLocked(at, now) || changed
		}
	}
	for at, mac := range table {
		is := neighbour{mac: mac}
		changed = changed || n.known[at] != is
		n.known[at] = is
	}
	return changed, nil
}

// view returns what is known now, and when something of it will be forgotten; zero if nothing will. An address that two
// networks know by different MAC addresses has none.
func (n *neighbours) view(now time.Time) (v neighbourView, next time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v = neighbourView{make(map[netip.Addr]MAC, len(n.known)), make(map[netip.Addr]MAC)}
	var forgotten []link
	for at, is := range n.known {
		switch mac, ok := v.live[at.addr]; {
		case !is.gone.IsZero():
			forgotten = append(forgotten, at)
		case ok && mac != is.mac:
			v.live[at.addr] = MAC{}
		default:
			v.live[at.addr] = is.mac
		}
	}
	slices.SortFunc(forgotten, func(a, b link) int { // latest first
		return cmp.Or(n.known[b].gone.Compare(n.known[a].gone), a.addr.Compare(b.addr), cmp.Compare(a.index, b.index))
	})
	for i, at := range forgotten {
		is := n.known[at]
		until := is.gone.Add(neighbourMemory)
		if i >= maxForgotten || !now.Before(until) {
			delete(n.known, at)
			continue
		}
		next = earlier(next, until)
		_, live := v.live[at.addr]
		if _, later := v.gone[at.addr]; !live && !later {
			v.gone[at.addr] = is.mac
		}
	}
	maps.DeleteFunc(v.live, func(_ netip.Addr, mac MAC) bool { return mac == MAC{} })
	return v, next
}
