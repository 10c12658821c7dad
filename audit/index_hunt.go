package audit

import (
	"net/netip"
	"slices"
	"sync"
)

// maxKnown is how many names and addresses a hunt keeps that the index has found.
const maxKnown = 1 << 20

// A trail is what a hunt knows by the index: all the names and addresses under an
// indicator in the records of some runs. Segments of these need not be looked through
// for anything else.
type trail struct {
	hunter *hunter

	tells   map[*run]bool // whose queries are all asked for
	sighted map[*run]*sighted
	known   sought // what the index has found
	any     sought

	mu      sync.Mutex
	names   map[string][]uint32
	addrs   map[netip.Addr][]uint32
	covered []interval
	told    []*account
	rows    int // in told
}

// An account is what a run says of names under an indicator that one client asked for: all that a
// hunt is to tell. Those that several asked for have to be looked for in the segments.
type account struct {
	run     *run
	names   map[string]bool
	keys    [][]byte // of the census
	spans   []span
	queries uint64
}

func newTrail(h *hunter) *trail {
	return &trail{hunter: h, names: make(map[string][]uint32), addrs: make(map[netip.Addr][]uint32), tells: make(map[*run]bool), sighted: make(map[*run]*sighted)}
}

// tellOf lets runs tell. The hunt is about all their queries.
func (t *trail) tellOf(runs []*run) {
	for _, r := range runs {
		t.tells[r] = true
	}
}

// believe takes what was found in a whole run.
func (t *trail) believe(s *sighted, u *unpacker) error {
	if len(s.told) > 0 {
		numbers := make([]uint32, len(s.told))
		for i := range s.told {
			numbers[i] = s.told[i].client
		}
		clients, err := s.run.clientKeys(u, numbers)
		if err != nil {
			return err
		}
		told := &account{run: s.run, names: make(map[string]bool)}
		for i := range s.told {
			n := &s.told[i]
			told.add(n.indicators, clients[n.client], n.name, n.span)
		}
		t.told = append(t.told, told)
	}
	t.covered = append(t.covered, interval{s.run.first, s.run.last})
	return nil
}

// steps adds the steps of a run in which an indicator may be.
func (t *trail) steps(r *runReader, set stepSet) error {
	copy(set, t.sighted[r.run].set)
	return nil
}

// room says that n more rows may be told.
func (t *trail) room(n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows+n > maxKnown {
		return false
	}
	t.rows += n
	return true
}

// add notes who asked for a name under some indicators, by the client's key.
func (d *account) add(indicators []uint32, client, name []byte, s span) {
	d.names[string(name)] = true
	d.queries += s.count
	for _, n := range indicators {
		d.keys = append(d.keys, append(append(preyFront(nil, n, OnName), client...), name...))
		d.spans = append(d.spans, s)
	}
}

// wasTold says that the queries for a name have been counted, among them that with this number.
func (y *prey) wasTold(seq uint64, name []byte) bool {
	for _, d := range y.told {
		if d.run.first <= seq && seq <= d.run.last {
			return d.names[string(name)]
		}
	}
	return false
}

// gather counts what the page has and no run has told.
func (t *trail) gather(p *page) {
	p.prey.told = p.prey.told[:0]
	for _, d := range t.told {
		if d.run.first <= p.header.last() && p.header.first <= d.run.last {
			p.prey.told = append(p.prey.told, d)
		}
	}
	p.prey.gather(p)
}

// know keeps what the index has found, as long as there is room.
func (t *trail) know(name []byte, found []uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.names)+len(t.addrs) < maxKnown && t.names[string(name)] == nil {
		t.names[string(name)] = slices.Clone(found)
	}
}

func (t *trail) knowAddr(a netip.Addr, found []uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.names)+len(t.addrs) < maxKnown && t.addrs[a] == nil {
		t.addrs[a] = slices.Clone(found)
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

// ready makes what probe looks for: all that is known, when it will not become more, and all
// that the hunter knows.
func (t *trail) ready() {
	if len(t.names) > 0 {
		t.known.front = newFront(len(t.names))
		for name := range t.names {
			t.known.front.add(suffixHash([]byte(name[:len(name)-1])))
		}
		t.known.covering = func(dst []uint32, name []byte) []uint32 { return append(dst, t.names[string(name)]...) }
	}
	if len(t.addrs) > 0 {
		t.known.holding = func(dst []uint32, a netip.Addr) []uint32 { return append(dst, t.addrs[a]...) }
	}
	h := t.hunter
	t.any = sought{front: h.front, below: true}
	if len(h.names) > 0 {
		t.any.covering = h.covering
	}
	if len(h.addrs) > 0 {
		t.any.holding = h.holding
	}
}

// probe looks the page through.
func (t *trail) probe(p *page) bool {
	if t.knows(p) {
		return p.prey.probe(p, &t.known)
	}
	return p.prey.probe(p, &t.any)
}
