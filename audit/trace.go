package audit

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
)

// A Trace tells of all queries that a Query asks for as of one thing.
type Trace struct {
	Count   uint64  `json:"count"`
	Blocked uint64  `json:"blocked"`
	First   *Record `json:"first,omitempty"` // earliest, and latest, by their times; absent when there is none
	Last    *Record `json:"last,omitempty"`

	Clients   uint64        `json:"clients"` // distinct ones
	Names     uint64        `json:"names"`
	Uncounted uint64        `json:"uncounted,omitempty"` // queries of clients and names beyond what can be counted: there are more of both
	By        []ClientTrace `json:"by"`                  // most queries first
}

// A ClientTrace is one client's part of a Trace.
type ClientTrace struct {
	Client Client `json:"client,omitzero"`
	Sighting
}

// Trace sums up the queries that q asks for, whose Limit and Oldest it leaves
// aside, and returns limit of the clients; 0 is all. It is exact up to a million
// clients and four million names. It reads as Search does, damage included.
func (r *Reader) Trace(ctx context.Context, q Query, limit int) (Trace, error) {
	t := Trace{By: []ClientTrace{}}
	clients, names := newBounded(maxClients, maxNameOctets), newBounded(maxNames, maxNameOctets)
	var (
		spans       []span
		first, last uint64 // sequence numbers
		total       span
		key         []byte
	)
	err := r.sweep(ctx, queriesOf(q), func(p *page) {
		p.grouping.by(p, keyParts{client: true, name: true}, false)
	}, func(p *page) (bool, error) {
		for i := range p.grouping.groups {
			g := &p.grouping.groups[i]
			if seq := p.header.first + uint64(g.row); first == 0 || g.first < total.first || g.first == total.first && seq < first {
				first = seq
			}
			if seq := p.header.first + uint64(g.end); last == 0 || g.last > total.last || g.last == total.last && seq > last {
				last = seq
			}
			if total.count == 0 {
				total = g.span
			} else {
				total.add(g.span)
			}
			key = appendAddr(key[:0], p.addrs[g.key.client])
			n, ok := clients.number(key[1:])
			if _, named := names.number(p.names[g.key.name]); !ok || !named {
				t.Uncounted += g.count
			}
			switch {
			case !ok:
			case int(n) == len(spans):
				spans = append(spans, g.span)
			default:
				spans[n].add(g.span)
			}
		}
		return false, nil
	})
	t.Count, t.Blocked = total.count, total.blocked
	t.Clients, t.Names = uint64(clients.len()), uint64(names.len())
	for i := range spans {
		a, _ := netip.AddrFromSlice(clients.entry(uint32(i)))
		t.By = append(t.By, ClientTrace{Client{a}, spans[i].sighting()})
	}
	slices.SortFunc(t.By, func(a, b ClientTrace) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), a.Client.Compare(b.Client))
	})
	t.By = upTo(limit, t.By)
	for _, of := range []struct {
		seq uint64
		rec **Record
	}{{first, &t.First}, {last, &t.Last}} {
		if of.seq == 0 || ctx.Err() != nil {
			continue
		}
		// Damage there has been told already.
		ferr := r.Search(ctx, Query{SeqFrom: of.seq, SeqTo: of.seq}, func(rec *Record) error { *of.rec = rec; return nil })
		var damage *DamageError
		if ferr != nil && !errors.As(ferr, &damage) {
			err = errors.Join(err, ferr)
		}
	}
	return t, err
}
