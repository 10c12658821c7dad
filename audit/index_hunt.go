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

	tells map[*run]bool // whose queries are all asked for
	known sought        // what the index has found
	any   sought

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
	return &trail{hunter: h, names: make(map[string][]uint32), addrs: make(map[netip.Addr][]uint32), tells: make(map[*run]bool)}
}

// tellOf lets runs tell. The hunt is about all their queries.
func (t *trail) tellOf(runs []*run) {
	for _, r := range runs {
		t.tells[r] = true
	}
}

// steps adds the steps of a run in which an indicator may be.
func (t *trail) steps(r *runReader, set stepSet) error {
	var (
		h       = t.hunter
		k       runValue
		name    []byte
		found   []uint32
		clients [][]byte
		told    = &account{run: r.run, names: make(map[string]bool)}
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
			t.know(section, name, addressOf(r.key), found)
			if section != byAsked || len(k.clients) != 1 || !t.tells[r.run] || !t.room(len(found)) {
				set.add(k.steps)
				continue
			}
			if clients == nil {
				var err error
				if clients, err = r.run.clients(r.u); err != nil {
					return err
				}
			}
			if int(k.clients[0]) >= len(clients) {
				return errNoClient
			}
			told.add(found, clients[k.clients[0]], name, k.span)
		}
		if r.err != nil {
			return r.err
		}
	}
	t.mu.Lock()
	t.covered = append(t.covered, interval{r.first, r.last})
	if len(told.names) > 0 {
		t.told = append(t.told, told)
	}
	t.mu.Unlock()
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
