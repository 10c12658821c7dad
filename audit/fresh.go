package audit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// Names tells of names with something in common.
type Names struct {
	Names     uint64    `json:"names"`
	Rows      []NameRow `json:"rows"`
	Uncounted uint64    `json:"uncounted,omitempty"` // queries for names beyond what can be told apart, which are in no row
}

// A NameRow is one name.
type NameRow struct {
	Name string `json:"name"`
	Sighting
	Clients []Client `json:"clients"` // who asked for it; of a new name, who was first
}

// New tells which names come in the queries that q asks for, but in none before
// q.Since that q would ask for else: with a client, names new for that client. The
// latest come first, limit of them; 0 is all. Up to four million names since then
// it is exact; queries for further ones are then counted as Uncounted. It reads
// as Search does, damage included, from q.Since on and then what lies before.
func (r *Reader) New(ctx context.Context, q Query, limit int) (Names, error) {
	return r.fresh(ctx, q, limit, maxNames)
}

func (r *Reader) fresh(ctx context.Context, q Query, limit, most int) (Names, error) {
	out := Names{Rows: []NameRow{}}
	if q.Since.IsZero() {
		return out, errors.New("names are new since which time?")
	}
	type row struct {
		span
		client uint32 // who was first, in clients
		old    bool
	}
	var (
		names   = newBounded(most, maxNameOctets)
		clients = newDict()
		rows    []row
		key     []byte
	)
	damage := r.sweep(ctx, queriesOf(q), func(p *page) {
		p.grouping.by(p, keyParts{name: true}, false)
		p.clients()
	}, func(p *page) (bool, error) {
		for i := range p.grouping.groups {
			g := &p.grouping.groups[i]
			n, ok := names.number(p.names[g.key.name])
			if !ok {
				out.Uncounted += g.count
				continue
			}
			key = appendAddr(key[:0], p.addrs[p.client[g.row]])
			client, _ := clients.number(key[1:])
			if int(n) == len(rows) {
				rows = append(rows, row{span: g.span, client: client})
				continue
			}
			if g.first <= rows[n].first {
				rows[n].client = client
			}
			rows[n].add(g.span)
		}
		return false, nil
	})
	if ctx.Err() != nil {
		return out, damage
	}
	before := q
	before.Since, before.Until = time.Time{}, q.Since
	s := &sweep{reader: r, filter: queriesOf(before)}
	s.probe = func(p *page) bool { // marks those of its names that may be new
		p.local = sized(p.local, len(p.names))
		found := false
		for i, name := range p.names {
			n, ok := names.find(name)
			if p.local[i] = 0; ok {
				p.local[i], found = n+1, true
			}
		}
		return found
	}
	s.work = func(p *page) { p.asked() }
	err := s.run(ctx, func(p *page) (bool, error) {
		for _, i := range p.chosen {
			if n := p.local[p.name[i]]; n != 0 {
				rows[n-1].old = true
			}
		}
		return false, nil
	})
	var found []uint32
	for i := range rows {
		if !rows[i].old {
			found = append(found, uint32(i))
		}
	}
	out.Names = uint64(len(found))
	slices.SortFunc(found, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(rows[b].first, rows[a].first), bytes.Compare(names.entry(a), names.entry(b)))
	})
	for _, i := range upTo(limit, found) {
		a, _ := netip.AddrFromSlice(clients.entry(rows[i].client))
		out.Rows = append(out.Rows, NameRow{nameString(names.entry(i)), rows[i].sighting(), []Client{{a}}})
	}
	return out, errors.Join(damage, err)
}

// upTo returns the first of rows, at most limit; 0 is all.
func upTo[T any](limit int, rows []T) []T {
	if limit > 0 {
		return rows[:min(limit, len(rows))]
	}
	return rows
}
