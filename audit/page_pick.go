package audit

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// pickFew is up to how many chosen rows out of this many it is faster to look each up
// in its columns than to read all rows.
const pickFew = 64

// details reads what record needs of the chosen rows.
func (p *page) details() {
	if p.err != nil || len(p.rows) != 0 {
		return
	}
	if p.header.packed {
		if p.isFew() {
			p.pickPacked()
		} else if p.err == nil {
			p.err = p.decodePacked(true, p.chosen)
		}
		return
	}
	if p.kinds(); !p.pure || p.header.version < 2 || len(p.chosen)*pickFew > int(p.header.count) {
		p.whole()
		return
	}
	p.pick()
}

// detailsOfFew is details, but of a pack with many chosen rows it reads nothing.
func (p *page) detailsOfFew() {
	if !p.header.packed || p.isFew() {
		p.details()
	}
}

// upTo leaves no more of the chosen rows than q is to find.
func (p *page) upTo(q *Query) {
	if n := len(p.chosen) - q.Limit; q.Limit > 0 && n > 0 {
		if !q.Oldest {
			copy(p.chosen, p.chosen[n:])
		}
		p.chosen = p.chosen[:q.Limit]
	}
}

// pick reads the chosen rows alone, of a page that has nothing but queries. That a
// column fits its records is then known only as far as the rows tell.
func (p *page) pick() {
	times, names, clients := p.times(), p.asked(), p.clients()
	if p.err != nil {
		return
	}
	rows := sized(p.rows, int(p.header.count))
	for _, i := range p.chosen {
		r := row{kind: KindQuery, time: times[i], client: clients[i], name: names[i]}
		r.refs = uint32(len(p.refs))
		aliases, addrs := p.alias.of(i), p.addr.of(i)
		p.refs = append(append(p.refs, aliases...), addrs...)
		r.aliasCount, r.addrCount = uint8(len(aliases)), uint8(len(addrs))

		at := func(col int, limit uint64) uint64 { return p.nth(col, i, limit) }
		r.flags = uint8(at(colFlags, flagsKnown))
		r.reason, r.observed = uint32(at(colReason, uint64(len(p.reasons)))), uint32(at(colObserved, uint64(len(p.reasons))))
		r.upstream = uint32(at(colUpstream, uint64(len(p.strings))))
		r.typ, r.rcode = uint16(at(colType, math.MaxUint16)), uint16(at(colRcode, math.MaxUint16))
		r.transport, r.source = Transport(at(colTransport, math.MaxUint8)), Source(at(colSource, math.MaxUint8))
		r.class = uint16(at(colClass, math.MaxUint16))
		r.on, r.off = uint8(at(colOn, math.MaxUint8)), uint8(at(colEntryOff, math.MaxUint8))
		r.scope, r.alias = uint8(at(colEntryScope, math.MaxUint8)), uint8(at(colEntryAlias, math.MaxUint8))
		r.ede = int32(int64(at(colEDE, math.MaxInt32+1)) - 1)
		r.duration = at(colDuration, math.MaxUint64)
		r.bits = Bits(at(colBits, bitsKnown))
		r.answerSize = uint16(at(colAnswerSize, math.MaxUint16))
		r.id, r.port = p.two(colID, i), p.two(colPort, i)
		size := unzigzag(at(colQuerySize, math.MaxUint64)) + plainSize(len(p.names[r.name]), r.bits)
		if size < 0 || size > math.MaxUint16 {
			p.fail(colQuerySize)
		}
		r.querySize = uint16(size)
		r.revision = p.revision(i)
		if r.bits&QueryEDNS != 0 {
			before, edns := cursor{b: p.columns[colBits].b}, uint32(0)
			for range i {
				if Bits(before.next())&QueryEDNS != 0 {
					edns++
				}
			}
			r.udpSize = uint16(p.nth(colUDPSize, edns, math.MaxUint16))
			r.version = uint8(p.nth(colVersion, edns, math.MaxUint8))
		}
		rows[i] = r
	}
	p.rows = rows
}

// revision returns that of a row: the sum of what the column has until then, which is
// mostly zeros.
func (p *page) revision(i uint32) (sum uint64) {
	b := p.columns[colRevision].b
	for n := i + 1; n > 0; {
		if n >= 8 && len(b) >= 8 && binary.LittleEndian.Uint64(b) == 0 {
			b, n = b[8:], n-8
			continue
		}
		v, size := uvarint(b)
		if size <= 0 {
			p.fail(colRevision)
			return 0
		}
		sum += uint64(unzigzag(v))
		b, n = b[size:], n-1
	}
	return sum
}

// nth returns the value with that number in a column, counted from 0.
func (p *page) nth(col int, n uint32, limit uint64) uint64 {
	b := p.columns[col].b
	if uint32(len(b)) == p.header.count && col != colUDPSize && col != colVersion { // each is one octet
		b = b[n:]
	} else {
		b = skipUvarints(b, n)
	}
	v, size := uvarint(b)
	if size <= 0 || v > limit {
		p.fail(col)
		return 0
	}
	return v
}

// two returns the two octets with that number.
func (p *page) two(col int, n uint32) uint16 {
	b := p.columns[col].b
	if len(b) < 2*int(n)+2 {
		p.fail(col)
		return 0
	}
	return binary.BigEndian.Uint16(b[2*n:])
}

// skipUvarints returns what is behind the first n values, by the octets that end one.
func skipUvarints(b []byte, n uint32) []byte {
	for n >= 8 && len(b) >= 8 {
		ends := uint32(bits.OnesCount64(^binary.LittleEndian.Uint64(b) & 0x8080808080808080))
		n -= ends
		b = b[8:]
	}
	for ; n > 0 && len(b) > 0; b = b[1:] {
		if b[0] < 0x80 {
			n--
		}
	}
	return b
}
