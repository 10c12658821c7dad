package audit

import (
	"errors"
)

// What a pack has as columns of askers, of questions or of queries, of the columns that a
// page reads.
var packedColumns = [columns]struct{ column, table int }{
	colTransport: {packTransport, ofAsker},
	colType:      {packType, ofQuestion},
	colRcode:     {packRcode, ofQuestion},
	colFlags:     {packFlags, ofQuestion},
	colSource:    {packSource, ofQuery},
	colReason:    {packReason, ofQuery},
	colObserved:  {packObserved, ofQuery},
	colUpstream:  {packUpstream, ofQuery},
}

const (
	ofQuery = iota
	ofAsker
	ofQuestion
	tables
)

func (p *page) packedKinds() {
	if p.pure = p.shelf.queries == len(p.kind); p.pure {
		repeat(p.kind, KindQuery)
		return
	}
	for i, k := range p.shelf.kinds {
		p.kind[i] = Kind(k)
	}
}

func (p *page) packedTimes() {
	p.failed(p.shelf.packedTimes(&p.header))
	copy(p.time, p.shelf.when)
}

// packedNumbers reads a column of queries.
func packedNumbers[T uint8 | uint16 | uint32](p *page, out []T, col int, limit uint64) {
	s, from := p.shelf, packedColumns[col]
	var place []uint32
	err := error(nil)
	switch from.table {
	case ofAsker:
		err, place = p.askers(), s.asker
	case ofQuestion:
		err, place = p.queried(), s.question
	default:
		values, err := readColumn(s, from.column, out[:0], limit)
		p.failed(err)
		if p.pure {
			copy(out, values) // unpacking may have wanted more room than there is
			return
		}
		p.spread(len(values), func(i, q int) { out[i] = values[q] }, func(i int) { out[i] = 0 })
		return
	}
	if err == nil {
		s.numbers, err = readColumn(s, from.column, s.numbers, limit)
	}
	if err != nil {
		p.failed(err)
		clear(out)
		return
	}
	if p.pure {
		for i, n := range place {
			out[i] = T(s.numbers[n])
		}
		return
	}
	p.spread(len(place), func(i, q int) { out[i] = T(s.numbers[place[q]]) }, func(i int) { out[i] = 0 })
}

// spread gives rows that are queries the value that comes with each, from the last one on, so
// that the values may stand at the beginning of where they are put; and others none.
func (p *page) spread(queries int, put func(i, q int), none func(i int)) {
	for i := len(p.kind) - 1; i >= 0; i-- {
		if p.kind[i] != KindQuery {
			none(i)
			continue
		}
		queries--
		put(i, queries)
	}
}

// packedReferences reads names and aliases, or clients and answers.
func (p *page) packedReferences(one []uint32, many *spread, names bool) {
	s := p.shelf
	err := error(nil)
	if names {
		err = p.named()
	} else {
		err = errors.Join(p.questions(), p.askers())
	}
	if err != nil {
		p.failed(err)
		clear(one)
		clear(many.ends)
		return
	}
	q := 0
	for i := range one {
		if !p.pure && p.kind[i] != KindQuery {
			one[i] = 0
			many.ends[i] = uint32(len(many.refs))
			continue
		}
		n := s.question[q]
		if names {
			one[i] = s.name[n]
			many.refs = append(many.refs, s.aliases.of(n)...)
		} else {
			one[i] = s.client[s.asker[q]]
			many.refs = append(many.refs, s.answers.of(n)...)
		}
		many.ends[i] = uint32(len(many.refs))
		q++
	}
}
