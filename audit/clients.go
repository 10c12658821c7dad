package audit

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
)

// Clients tells of each client that asked.
type Clients struct {
	Clients uint64      `json:"clients"` // distinct ones
	Queries uint64      `json:"queries"`
	Rows    []ClientRow `json:"rows"`             // most queries first
	Others  uint64      `json:"others,omitempty"` // queries of clients that are in no row
}

// A ClientRow is one client.
type ClientRow struct {
	Client Client `json:"client,omitzero"`
	Group  string `json:"group,omitempty"` // in the latest query
	Sighting
	Names  uint64 `json:"names"`             // distinct ones that it asked for
	AtMost uint64 `json:"at_most,omitempty"` // set where there may be more names, up to so many: they were too many to tell apart
}

// Clients tells of the clients of the queries that q asks for, and returns limit
// of them; 0 is all. It is exact up to a million clients, four million names and
// eight million pairs of both; later clients are then among the others, and of
// those with more pairs AtMost says how far Names may be off. It reads as Search
// does, damage included.
func (r *Reader) Clients(ctx context.Context, q Query, limit int) (Clients, error) {
	return r.clients(ctx, q, limit, maxPairs)
}

func (r *Reader) clients(ctx context.Context, q Query, limit, pairs int) (Clients, error) {
	type row struct {
		span
		group          string
		names, unknown uint64
	}
	var (
		out     = Clients{Rows: []ClientRow{}}
		clients = newBounded(maxClients, maxNameOctets)
		names   = newBounded(maxNames, maxNameOctets)
		asked   = pairSet{limit: pairs}
		rows    []row
		key     []byte
	)
	err := r.sweep(ctx, queriesOf(q), func(p *page) {
		p.grouping.by(p, keyParts{client: true, name: true}, false)
		p.whys()
	}, func(p *page) (bool, error) {
		number := make([]uint32, len(p.addrs)) // of clients, counted from one
		p.local = sized(p.local, len(p.names)) // of names, so too
		clear(p.local)
		for i := range p.grouping.groups {
			g := &p.grouping.groups[i]
			out.Queries += g.count
			n := number[g.key.client]
			if n == 0 {
				key = appendAddr(key[:0], p.addrs[g.key.client])
				c, ok := clients.number(key[1:])
				if !ok {
					out.Others += g.count
					continue
				}
				n = c + 1
				number[g.key.client] = n
			}
			if int(n) > len(rows) {
				rows = append(rows, row{span: span{first: g.first, last: g.last - 1}})
			}
			c := &rows[n-1]
			if g.last > c.last {
				c.group = p.reason(p.why[g.end]).Group
			}
			c.add(g.span)
			name, ok := p.local[g.key.name], true
			if name == 0 {
				name, ok = names.number(p.names[g.key.name])
				name++
			}
			if ok {
				p.local[g.key.name] = name
				var fresh bool
				if fresh, ok = asked.add(n, name); fresh {
					c.names++
				}
			}
			if !ok {
				c.unknown++
			}
		}
		return false, nil
	})
	out.Clients = uint64(len(rows))
	for i := range rows {
		c := &rows[i]
		a, _ := netip.AddrFromSlice(clients.entry(uint32(i)))
		r := ClientRow{Client: Client{a}, Group: c.group, Sighting: c.sighting(), Names: c.names}
		if c.unknown > 0 {
			r.AtMost = c.names + c.unknown
		}
		out.Rows = append(out.Rows, r)
	}
	slices.SortFunc(out.Rows, func(a, b ClientRow) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), a.Client.Compare(b.Client))
	})
	if limit > 0 && limit < len(out.Rows) {
		for _, c := range out.Rows[limit:] {
			out.Others += c.Count
		}
		out.Rows = out.Rows[:limit]
	}
	return out, err
}
