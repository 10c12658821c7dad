package audit

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// MostRare is how many clients a rare name may have at most.
const MostRare = 16

// Rare tells which names at most so many clients, 1 to MostRare, ask for in the
// queries that q asks for. Those of the fewest clients come first, the latest of
// them before others, limit of them; 0 is all. It is exact up to four million
// names and a million clients; queries beyond are counted as Uncounted. It reads
// as Search does, damage included.
func (r *Reader) Rare(ctx context.Context, q Query, clients, limit int) (Names, error) {
	return r.rare(ctx, q, clients, limit, maxNames)
}

// A rarity counts names that few clients ask for.
type rarity struct {
	most    int
	names   *bounded
	clients *bounded
	spans   []span
	asked   []uint32 // most for each name: its clients, counted from one, and behind them 0
	common  []bool   // by name: it has more clients
	lost    uint64   // queries that could not be counted
	key     []byte
	local   []uint32 // by client of a run: its number, counted from one
}

func newRarity(most, maxNames int) *rarity {
	return &rarity{most: most, names: newBounded(maxNames, maxNameOctets), clients: newBounded(maxClients, maxNameOctets)}
}

// name returns the number of a name, ok as bounded.number does.
func (t *rarity) name(name []byte, s span) (n uint32, ok bool) {
	if n, ok = t.names.number(name); !ok {
		t.lost += s.count
		return n, false
	}
	if int(n) == len(t.spans) {
		t.spans, t.common = append(t.spans, span{first: s.first, last: s.last}), append(t.common, false)
		for range t.most {
			t.asked = append(t.asked, 0)
		}
	}
	return n, true
}

// client returns a client's number, counted from one; 0 if there is no room.
func (t *rarity) client(local *uint32, addr []byte) uint32 {
	if *local == 0 {
		if n, ok := t.clients.number(addr); ok {
			*local = n + 1
		}
	}
	return *local
}

// ask notes that a client, counted from one, asked for name n.
func (t *rarity) ask(n, c uint32) {
	for k := range t.most {
		if of := &t.asked[int(n)*t.most+k]; *of == c || *of == 0 {
			*of = c
			return
		}
	}
	t.common[n] = true
}

// page counts a page that was grouped by client and name.
func (t *rarity) page(p *page) (bool, error) {
	p.local = sized(p.local, len(p.addrs)) // clients, counted from one
	clear(p.local)
	for i := range p.grouping.groups {
		g := &p.grouping.groups[i]
		n, ok := t.name(p.names[g.key.name], g.span)
		if !ok || t.common[n] {
			continue
		}
		t.key = appendAddr(t.key[:0], p.addrs[g.key.client])
		c := t.client(&p.local[g.key.client], t.key[1:])
		if c == 0 { // by a client that cannot be told from others
			t.lost += g.count
			t.common[n] = true
			continue
		}
		t.spans[n].add(g.span)
		t.ask(n, c)
	}
	return false, nil
}

// run counts a run.
func (t *rarity) run(ctx context.Context, r *run, u *unpacker) error {
	clients, err := r.clients(u)
	if err != nil {
		return err
	}
	t.local = sized(t.local, len(clients))
	clear(t.local)
	return r.eachName(ctx, u, func(name []byte, k *runValue) error {
		n, ok := t.name(name, k.span)
		if !ok || t.common[n] {
			return nil
		}
		if len(k.clients) > t.most {
			t.common[n] = true
			return nil
		}
		t.spans[n].add(k.span)
		for _, c := range k.clients {
			if int(c) >= len(clients) {
				return errNoClient
			}
			number := t.client(&t.local[c], clients[c][1:])
			if number == 0 {
				t.lost += k.count
				t.common[n] = true
				return nil
			}
			t.ask(n, number)
		}
		return nil
	})
}

func (r *Reader) rare(ctx context.Context, q Query, most, limit, maxNames int) (Names, error) {
	out := Names{Rows: []NameRow{}}
	if most < 1 || most > MostRare {
		return out, fmt.Errorf("a rare name has 1 to %d clients, not %d", MostRare, most)
	}
	var t *rarity
	err := r.summed(ctx, q, counting{
		begin: func() { t = newRarity(most, maxNames) },
		work:  func(p *page) { p.grouping.by(p, keyParts{client: true, name: true}, false) },
		each:  func(p *page) (bool, error) { return t.page(p) },
		run:   func(run *run) error { return t.run(ctx, run, r.unpacker) },
		full:  func() bool { return t.lost > 0 },
	})
	names, clients, spans, asked, common := t.names, t.clients, t.spans, t.asked, t.common
	out.Uncounted = t.lost
	of := func(n uint32) []uint32 {
		some := asked[int(n)*most:][:most]
		if i := slices.Index(some, 0); i >= 0 {
			some = some[:i]
		}
		return some
	}
	var found []uint32
	for i := range spans {
		if !common[i] {
			found = append(found, uint32(i))
		}
	}
	out.Names = uint64(len(found))
	slices.SortFunc(found, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(len(of(a)), len(of(b))), cmp.Compare(spans[b].last, spans[a].last), bytes.Compare(names.entry(a), names.entry(b)))
	})
	for _, i := range upTo(limit, found) {
		row := NameRow{Name: nameString(names.entry(i)), Sighting: spans[i].sighting()}
		for _, c := range of(i) {
			a, _ := netip.AddrFromSlice(clients.entry(c - 1))
			row.Clients = append(row.Clients, Client{a})
		}
		slices.SortFunc(row.Clients, Client.Compare)
		out.Rows = append(out.Rows, row)
	}
	return out, err
}
