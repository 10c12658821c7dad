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
	t := &novelty{}
	damage := r.summed(ctx, q, counting{
		begin: func() { *t = novelty{names: newBounded(most, maxNameOctets), clients: newDict()} },
		work: func(p *page) {
			p.grouping.by(p, keyParts{name: true}, false)
			p.clients()
		},
		each: t.page,
		run:  func(run *run) error { return t.run(ctx, run, r.unpacker) },
		full: func() bool { return t.uncounted > 0 },
	})
	out.Uncounted = t.uncounted
	names, clients, rows := t.names, &t.clients, t.rows
	if ctx.Err() != nil {
		return out, damage
	}
	before := q
	before.Since, before.Until = time.Time{}, q.Since
	f := queriesOf(before)
	sum, err := r.summary(ctx, f, func(*run) bool { return before.plain() })
	if err != nil {
		return out, errors.Join(damage, err)
	}
	for _, run := range sum.runs {
		if run.min >= f.until {
			continue
		}
		err := run.eachName(ctx, r.unpacker, func(name []byte, k *runValue) error {
			if k.first < f.until {
				if n, ok := names.find(name); ok {
					rows[n].old = true
				}
			}
			return nil
		})
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if err != nil { // what it said until then is right
			run.bad.Store(true)
			sum.rest = append(sum.rest, interval{run.first, run.last})
		}
	}
	for _, rest := range slices.Backward(sum.rest) {
		before.SeqFrom, before.SeqTo = rest.first, rest.last
		f := queriesOf(before)
		s := &sweep{reader: r, filter: f, where: r.where(f, nil)}
		s.probe = func(p *page) bool { // marks those of its names that may be new
			if !p.need(p.loadNames) {
				return false
			}
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
		err = errors.Join(err, s.run(ctx, func(p *page) (bool, error) {
			for _, i := range p.chosen {
				if n := p.local[p.name[i]]; n != 0 {
					rows[n-1].old = true
				}
			}
			return false, nil
		}))
		if ctx.Err() != nil {
			break
		}
	}
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

// A novelty remembers names, and who asked first.
type novelty struct {
	names     *bounded
	clients   dict
	rows      []novel // by name
	uncounted uint64
	key       []byte
}

type novel struct {
	span
	seq    uint64 // of the segment or run with its first query
	client uint32 // who was first, in clients
	old    bool
}

// see notes that a name came, first from a client, in records from seq on.
func (t *novelty) see(name []byte, s span, seq uint64, client []byte) {
	n, ok := t.names.number(name)
	if !ok {
		t.uncounted += s.count
		return
	}
	if int(n) == len(t.rows) {
		c, _ := t.clients.number(client)
		t.rows = append(t.rows, novel{span: s, seq: seq, client: c})
		return
	}
	if row := &t.rows[n]; s.first < row.first || s.first == row.first && seq < row.seq {
		row.client, _ = t.clients.number(client)
		row.seq = seq
	}
	t.rows[n].add(s)
}

// page takes a page that was grouped by name.
func (t *novelty) page(p *page) (bool, error) {
	for i := range p.grouping.groups {
		g := &p.grouping.groups[i]
		t.key = appendAddr(t.key[:0], p.addrs[p.client[g.row]])
		t.see(p.names[g.key.name], g.span, p.header.first, t.key[1:])
	}
	return false, nil
}

func (t *novelty) run(ctx context.Context, r *run, u *unpacker) error {
	clients, err := r.clients(u)
	if err != nil {
		return err
	}
	return r.eachName(ctx, u, func(name []byte, k *runValue) error {
		if int(k.firstClient) >= len(clients) {
			return errNoClient
		}
		t.see(name, k.span, r.first, clients[k.firstClient][1:])
		return nil
	})
}

// upTo returns the first of rows, at most limit; 0 is all.
func upTo[T any](limit int, rows []T) []T {
	if limit > 0 {
		return rows[:min(limit, len(rows))]
	}
	return rows
}
