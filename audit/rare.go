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

func (r *Reader) rare(ctx context.Context, q Query, most, limit, maxNames int) (Names, error) {
	out := Names{Rows: []NameRow{}}
	if most < 1 || most > MostRare {
		return out, fmt.Errorf("a rare name has 1 to %d clients, not %d", MostRare, most)
	}
	var (
		names   = newBounded(maxNames, maxNameOctets)
		clients = newBounded(maxClients, maxNameOctets)
		spans   []span
		asked   []uint32 // most for each name: its clients, counted from one, and behind them 0
		common  []bool   // by name: it has more clients
		key     []byte
	)
	err := r.sweep(ctx, queriesOf(q), func(p *page) {
		p.grouping.by(p, keyParts{client: true, name: true}, false)
	}, func(p *page) (bool, error) {
		number := sized(p.local, len(p.addrs)) // of clients, counted from one
		p.local = number
		clear(number)
		for i := range p.grouping.groups {
			g := &p.grouping.groups[i]
			n, ok := names.number(p.names[g.key.name])
			if !ok {
				out.Uncounted += g.count
				continue
			}
			if int(n) == len(spans) {
				spans, common = append(spans, span{first: g.first, last: g.last}), append(common, false)
				for range most {
					asked = append(asked, 0)
				}
			}
			if common[n] {
				continue
			}
			c := number[g.key.client]
			if c == 0 {
				key = appendAddr(key[:0], p.addrs[g.key.client])
				client, ok := clients.number(key[1:])
				if !ok { // by a client that cannot be told from others
					out.Uncounted += g.count
					common[n] = true
					continue
				}
				c = client + 1
				number[g.key.client] = c
			}
			spans[n].add(g.span)
			common[n] = true
			for k := range most {
				if of := &asked[int(n)*most+k]; *of == c || *of == 0 {
					*of, common[n] = c, false
					break
				}
			}
		}
		return false, nil
	})
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
