package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// A canonical row is one record as it is proven: every fact in it, and nothing of
// how it is stored. It is a run of fields in order of their tags, each a varint of
// tag<<1 and a varint with its number, or a varint of tag<<1|1 and its octets behind
// a varint of their length. A field that is 0 or empty is left out. So a program
// reads the rows of versions that came after it, and shows tags it does not know.
// The record's sequence number is its place in the segment.
//
// Tags are part of the format: none is ever given another meaning.
const (
	tagKind       = 1
	tagTime       = 2 // nanoseconds since 1970 UTC
	tagClient     = 3 // 4 or 16 octets
	tagTransport  = 4
	tagName       = 5 // wire name
	tagType       = 6
	tagClass      = 7
	tagFlags      = 8
	tagReason     = 9  // to 13: group, policy, rule, category, list
	tagObserved   = 14 // to 18: the same of what was observed
	tagOn         = 19
	tagEntryOff   = 20
	tagEntryScope = 21
	tagEntryAlias = 22
	tagSource     = 23
	tagRcode      = 24
	tagEDE        = 25 // info code plus one
	tagAlias      = 26 // each of them
	tagAddress    = 27 // each of them
	tagUpstream   = 28
	tagDuration   = 29 // microseconds
	tagRevision   = 30
	tagText       = 31 // of a change
	tagLost       = 32 // of a gap
	tagFrom       = 33 // of a gap: time of the first event lost
	tagCause      = 34 // of a gap
	tagAction     = 35 // of a change
	tagActor      = 36 // of a change
	tagPort       = 37
	tagID         = 38
	tagQuerySize  = 39
	tagAnswerSize = 40
	tagBits       = 41
	tagUDPSize    = 42 // with EDNS
	tagVersion    = 43 // of EDNS
	tagPseudonym  = 44 // in place of the client: month from 1970-01 on (2), what tells it from others (8)
	tagNetwork    = 45 // in place of the client: length of the prefix (1), the network's address (4 or 16)
)

// appendNumber appends a field with a number; how it begins is its tag<<1. It is small enough to be inlined.
func appendNumber(b []byte, begin byte, v uint64) []byte {
	if v >= 0x80 {
		return appendLong(b, begin, v)
	}
	if v > 0 {
		b = append(b, begin, byte(v))
	}
	return b
}

//go:noinline
func appendLong(b []byte, begin byte, v uint64) []byte { return appendVarint(append(b, begin), v) }

func appendOctets[T ~string | ~[]byte](b []byte, tag int, v T) []byte {
	if len(v) == 0 {
		return b
	}
	if len(v) < 0x80 {
		return append(append(b, byte(tag<<1|1), byte(len(v))), v...)
	}
	return append(binary.AppendUvarint(append(b, byte(tag<<1|1)), uint64(len(v))), v...)
}

func appendAddress(b []byte, tag int, a netip.Addr) []byte {
	switch {
	case a.Is4():
		v := a.As4()
		return append(b, byte(tag<<1|1), 4, v[0], v[1], v[2], v[3])
	case a.IsValid():
		return appendAddr(append(b, byte(tag<<1|1)), a)
	}
	return b
}

// appendWhy appends a Reason, whose parts are in printable form, with tags from first on.
func appendWhy(b []byte, first int, parts [5]string) []byte {
	for i, part := range parts {
		b = appendOctets(b, first+i, part)
	}
	return b
}

// appendQuery appends the row of a query. What the event gives as numbers of the log
// stands beside it: the reason and what was observed as appendWhy makes them, the
// upstream's name, and the duration in microseconds. standsIn says that the client is masked.
func appendQuery(b []byte, e *Event, standsIn bool, why, observed []byte, upstream string, micros uint64) []byte {
	b = appendNumber(b, tagKind<<1, uint64(KindQuery))
	b = appendNumber(b, tagTime<<1, uint64(e.Time))
	if !standsIn {
		b = appendAddress(b, tagClient, e.Client)
	}
	b = appendNumber(b, tagTransport<<1, uint64(e.Transport))
	b = appendOctets(b, tagName, e.Name)
	b = appendNumber(b, tagType<<1, uint64(e.Type))
	b = appendNumber(b, tagClass<<1, uint64(e.Class))
	b = appendNumber(b, tagFlags<<1, uint64(e.flags()))
	b = append(b, why...)
	b = append(b, observed...)
	b = appendNumber(b, tagOn<<1, uint64(e.On))
	b = appendNumber(b, tagEntryOff<<1, uint64(e.EntryOff))
	b = appendNumber(b, tagEntryScope<<1, uint64(e.EntryScope))
	b = appendNumber(b, tagEntryAlias<<1, uint64(e.EntryAlias))
	b = appendNumber(b, tagSource<<1, uint64(e.Source))
	b = appendNumber(b, tagRcode<<1, uint64(e.Rcode))
	b = appendNumber(b, tagEDE<<1, uint64(max(int64(e.EDE), -1)+1))
	for _, a := range e.Aliases {
		b = appendOctets(b, tagAlias, a)
	}
	for _, a := range e.Addrs {
		b = appendAddress(b, tagAddress, a)
	}
	b = appendOctets(b, tagUpstream, upstream)
	b = appendNumber(b, tagDuration<<1, micros)
	b = appendNumber(b, tagRevision<<1, e.Revision)
	b = appendNumber(b, tagPort<<1, uint64(e.Port))
	b = appendNumber(b, tagID<<1, uint64(e.ID))
	b = appendNumber(b, tagQuerySize<<1, uint64(e.QuerySize))
	b = appendNumber(b, tagAnswerSize<<1, uint64(e.AnswerSize))
	b = appendNumber(b, tagBits<<1, uint64(e.Bits&bitsKnown))
	if e.Bits&QueryEDNS != 0 {
		b = appendNumber(b, tagUDPSize<<1, uint64(e.UDPSize))
		b = appendNumber(b, tagVersion<<1, uint64(e.Version))
	}
	if standsIn {
		b = appendStandIn(b, e.Client)
	}
	return b
}

// appendStandIn appends what a masked client stands for.
func appendStandIn(b []byte, a netip.Addr) []byte {
	if p, ok := pseudonymOf(a); ok {
		var v [10]byte
		binary.BigEndian.PutUint16(v[:], p.month)
		copy(v[2:], p.tells[:])
		return appendOctets(b, tagPseudonym, v[:])
	}
	n, _ := networkOf(a)
	var v [18]byte // the address with its length in front, in whose place the prefix's goes
	octets := appendAddr(v[:0], n.Addr())
	octets[0] = byte(n.Bits())
	return appendOctets(b, tagNetwork, octets)
}

// appendChange appends the row of a change whose texts are in printable form.
func appendChange(b []byte, at int64, c Change) []byte {
	b = appendNumber(b, tagKind<<1, uint64(KindChange))
	b = appendNumber(b, tagTime<<1, uint64(at))
	b = appendOctets(b, tagText, c.Text)
	b = appendOctets(b, tagAction, c.Action)
	return appendOctets(b, tagActor, c.Actor)
}

func appendGap(b []byte, g gap) []byte {
	b = appendNumber(b, tagKind<<1, uint64(KindGap))
	b = appendNumber(b, tagTime<<1, uint64(g.to))
	b = appendNumber(b, tagLost<<1, g.lost)
	b = appendNumber(b, tagFrom<<1, uint64(g.from))
	return appendNumber(b, tagCause<<1, uint64(g.cause))
}

// appendRow appends row i, which was decoded with its details.
func (b *block) appendRow(dst []byte, i int) []byte {
	r := &b.rows[i]
	switch r.kind {
	case KindChange:
		return appendChange(dst, r.time, b.changeOf(&b.changes[r.extra]))
	case KindGap:
		return appendGap(dst, b.gaps[r.extra])
	}
	e := &b.event
	*e = Event{
		Time: r.time, Client: b.addrs[r.client], Transport: r.transport, Name: b.names[r.name], Type: r.typ, Class: r.class,
		Blocked: r.flags&flagBlocked != 0, Dropped: r.flags&flagDropped != 0, Stripped: r.flags&flagStripped != 0,
		On: r.on, EntryOff: r.off, EntryScope: r.scope, EntryAlias: r.alias, Source: r.source, Rcode: r.rcode, EDE: r.ede,
		Port: r.port, ID: r.id, QuerySize: r.querySize, AnswerSize: r.answerSize, UDPSize: r.udpSize, Version: r.version, Bits: r.bits,
		Revision: r.revision, Aliases: e.Aliases[:0], Addrs: e.Addrs[:0],
	}
	for _, n := range b.aliases(r) {
		e.Aliases = append(e.Aliases, b.names[n])
	}
	for _, n := range b.answers(r) {
		e.Addrs = append(e.Addrs, b.addrs[n])
	}
	why := b.whys(r.reason, &b.decided, tagReason)
	observed := b.whys(r.observed, &b.observed, tagObserved)
	return appendQuery(dst, e, b.header.masked && masked(e.Client), why, observed, b.text(r.upstream), r.duration)
}

func (b *block) changeOf(c *changeRow) Change {
	return Change{Action: b.text(c.action), Actor: b.text(c.actor), Text: b.text(c.text)}
}

// whys returns reason n as fields of a row, which are made when they are first asked for.
func (b *block) whys(n uint32, made *[][]byte, tag int) []byte {
	if n == 0 {
		return nil
	}
	for len(*made) < len(b.reasons) {
		*made = append(*made, nil)
	}
	if (*made)[n-1] == nil {
		r := b.reason(n)
		(*made)[n-1] = appendWhy([]byte{}, tag, [5]string{r.Group, r.Policy, r.Rule, r.Category, r.List})
	}
	return (*made)[n-1]
}

// leaves returns the hashes of n rows from one on.
func (b *block) leaves(from, n int) []hash {
	all := make([]hash, n)
	var row []byte
	for i := range all {
		row = b.appendRow(append(row[:0], leafPrefix), from+i)
		all[i] = sha256.Sum256(row)
	}
	return all
}
