package audit

import (
	"net/netip"
	"sync"
)

// maxKnown is how many names and addresses a hunt keeps that the index has found.
const maxKnown = 1 << 20

// A trail is what a hunt knows by the index: all the names and addresses under an
// indicator in the records of some runs. Segments of these need not be looked through
// for anything else.
type trail struct {
	hunter *hunter

	mu      sync.Mutex
	names   map[string][]uint32
	addrs   map[netip.Addr][]uint32
	covered []interval
}

// steps adds the steps of a run in which an indicator may be.
func (t *trail) steps(r *runReader, set stepSet) error {
	var (
		h     = t.hunter
		k     runValue
		name  []byte
		found []uint32
	)
	for _, section := range []uint8{byAsked, byAlias, byAddress} {
		if section == byAddress && len(h.addrs) == 0 || section != byAddress && len(h.names) == 0 {
			continue
		}
		for r.begin(section, nil); r.step(section); {
			if section == byAddress {
				found = h.holding(found[:0], addressOf(r.key))
			} else {
				name = appendForward(name[:0], r.key)
				found = h.covering(found[:0], name)
			}
			if len(found) == 0 {
				continue
			}
			if err := r.value(section, &k); err != nil {
				return err
			}
			set.add(k.steps)
			t.know(section, name, addressOf(r.key), found)
		}
		if r.err != nil {
			return r.err
		}
	}
	t.mu.Lock()
	t.covered = append(t.covered, interval{r.first, r.last})
	t.mu.Unlock()
	return nil
}

func (t *trail) know(section uint8, name []byte, a netip.Addr, found []uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.names)+len(t.addrs) >= maxKnown {
		return
	}
	if section == byAddress {
		if t.addrs[a] == nil {
			t.addrs[a] = append([]uint32(nil), found...)
		}
	} else if t.names[string(name)] == nil {
		t.names[string(name)] = append([]uint32(nil), found...)
	}
}

// knows says that all that may be found in the page is known. The where has been
// asked for all before.
func (t *trail) knows(p *page) bool {
	if len(t.names)+len(t.addrs) >= maxKnown {
		return false
	}
	from, to := p.header.first, p.header.last()
	for from <= to {
		next := from
		for _, c := range t.covered {
			if c.first <= next && next <= c.last {
				next = c.last + 1
			}
		}
		if next == from {
			return false
		}
		from = next
	}
	return true
}

// probe is like the hunter's.
func (t *trail) probe(p *page) bool {
	if !t.knows(p) {
		return t.hunter.probe(p)
	}
	return p.prey.probe(p, func(_ []uint32, name []byte) []uint32 { return t.names[string(name)] },
		func(_ []uint32, a netip.Addr) []uint32 { return t.addrs[a] })
}
