package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// unpack finds the columns of a pack and reads the kinds of its rows. Its names, addresses and
// texts are read when they are loaded, which decode does. The pack must stay as it is while the
// block is in use.
func (b *block) unpack(u *unpacker, h header, pack []byte) error {
	b.header = h
	b.names, b.addrs, b.strings, b.reasons = b.names[:0], b.addrs[:0], b.strings[:0], b.reasons[:0]
	b.rows, b.refs, b.gaps, b.changes = b.rows[:0], b.refs[:0], b.gaps[:0], b.changes[:0]
	b.decided, b.observed = b.decided[:0], b.observed[:0]
	if b.shelf == nil {
		b.shelf = new(shelf)
	}
	s := b.shelf
	s.loaded = [allParts]bool{}
	_, columns, err := packParts(pack)
	if err != nil {
		return err
	}
	if err := s.lay(u.z, columns, h.size); err != nil {
		return err
	}
	return s.measure(int(h.count))
}

// measure reads the kinds of the rows, and checks that columns have as many values as those of their table.
func (s *shelf) measure(rows int) (err error) {
	if err := s.fit(rows, packKind, packTime); err != nil {
		return err
	}
	if s.kinds, err = readColumn(s, packKind, s.kinds, math.MaxUint8); err != nil {
		return err
	}
	var of [KindGap + 1]int
	known := 0
	for k := KindQuery; k <= KindGap; k++ {
		of[k] = bytes.Count(s.kinds, []byte{byte(k)})
		known += of[k]
	}
	if known != rows {
		return errors.New("it holds a record of unknown kind")
	}
	s.queries = of[KindQuery]
	askers, questions := s.values(packClient), s.values(packName)
	if askers > rows || questions > rows {
		return fmt.Errorf("it claims %d askers and %d questions", askers, questions)
	}
	for _, table := range []struct{ from, to, values int }{
		{packClient, packEDNSVersion, askers},
		{packName, packAddrCount, questions},
		{packAsker, packQuerySize, s.queries},
		{packText, packActor, of[KindChange]},
		{packLost, packCause, of[KindGap]},
	} {
		for i := table.from; i <= table.to; i++ {
			if err := s.fit(table.values, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *block) packedAddresses() (err error) {
	s := b.shelf
	b.addrs = b.addrs[:0]
	short, err := readColumn(s, packShort, s.numbers, math.MaxUint32)
	if err != nil {
		return err
	}
	s.numbers = short
	long, err := readColumn(s, packLong, s.octets, 0xff)
	if err != nil {
		return err
	}
	s.octets = long
	b.addrs = slices.Grow(b.addrs, s.values(packClients)+s.values(packAnswers))
	for _, column := range []int{packClients, packAnswers} {
		if s.sizes, err = readColumn(s, column, s.sizes, 16); err != nil {
			return err
		}
		for _, size := range s.sizes {
			var a netip.Addr
			switch {
			case size == 0:
			case size == 4 && len(short) > 0:
				var octets [4]byte
				binary.BigEndian.PutUint32(octets[:], short[0])
				a, short = netip.AddrFrom4(octets), short[1:]
			case size == 16 && len(long) >= 16:
				a, long = netip.AddrFrom16([16]byte(long)), long[16:]
			default:
				return fmt.Errorf("it holds an address of %d octets", size)
			}
			b.addrs = append(b.addrs, a)
		}
	}
	if len(short)+len(long) > 0 {
		return errors.New("it holds addresses that are nowhere")
	}
	b.written = sizedZero(b.written, len(b.addrs))
	return nil
}

func (b *block) packedTexts() (err error) {
	s := b.shelf
	b.strings, b.reasons = b.strings[:0], b.reasons[:0]
	if s.octets, err = readColumn(s, packTexts, s.octets, 0xff); err != nil {
		return err
	}
	c := cursor{b: s.octets}
	for len(c.b) > 0 {
		b.strings = append(b.strings, printable(c.bytes()))
	}
	if c.failed {
		return errors.New("its texts are cut short")
	}
	if s.numbers, err = readColumn(s, packReasons, s.numbers, uint64(len(b.strings))); err != nil {
		return err
	}
	if len(s.numbers)%5 != 0 {
		return errors.New("its reasons are cut short")
	}
	for n := s.numbers; len(n) > 0; n = n[5:] {
		b.reasons = append(b.reasons, reason{n[0], n[1], n[2], n[3], n[4]})
	}
	return nil
}

// decodePacked is decode for a pack, of which it may read no rows but those of wanted, in order;
// what the others are then says nothing.
func (b *block) decodePacked(detailed bool, wanted []uint32) error {
	s := b.shelf
	if err := b.loadAll(); err != nil {
		return err
	}
	if err := errors.Join(b.askers(), b.questions()); err != nil {
		return err
	}
	if err := s.packedTimes(&b.header); err != nil {
		return err
	}
	if err := b.packedOthers(); err != nil {
		return err
	}
	b.rows = sized(b.rows, int(b.header.count))
	var seen [KindGap + 1]uint32
	for i, k := range s.kinds {
		b.rows[i] = row{kind: Kind(k), time: s.when[i], extra: seen[k]}
		seen[k]++
	}
	s.pick(wanted)
	s.numbers, b.refs = sized(s.numbers, len(s.name)), b.refs[:0] // where the references of each question are
	for i := range s.name {
		s.numbers[i] = uint32(len(b.refs))
		b.refs = append(append(b.refs, s.aliases.of(uint32(i))...), s.answers.of(uint32(i))...)
	}
	s.placePicked()
	for i := range s.picked {
		at := &s.picked[i]
		question := at.in[ofQuestion]
		r := &b.rows[at.row]
		r.client, r.name = s.client[at.in[ofAsker]], s.name[question]
		r.refs, r.aliasCount, r.addrCount = s.numbers[question], uint8(len(s.aliases.of(question))), uint8(len(s.answers.of(question)))
	}
	return b.packedQueries(detailed)
}

// packedQueries reads what the picked queries have besides time, client, name and answers.
func (b *block) packedQueries(detailed bool) error {
	reasons, texts := uint64(len(b.reasons)), uint64(len(b.strings))
	if err := errors.Join(
		b.fill(packType, ofQuestion, math.MaxUint16, func(r *row, v uint64) { r.typ = uint16(v) }),
		b.fill(packFlags, ofQuestion, flagsKnown, func(r *row, v uint64) { r.flags = uint8(v) }),
		b.fill(packReason, ofQuery, reasons, func(r *row, v uint64) { r.reason = uint32(v) }),
		b.fill(packObserved, ofQuery, reasons, func(r *row, v uint64) { r.observed = uint32(v) }),
	); err != nil || !detailed {
		return err
	}
	odd := false
	err := errors.Join(
		b.fill(packTransport, ofAsker, math.MaxUint8, func(r *row, v uint64) { r.transport = Transport(v) }),
		b.fill(packClass, ofQuestion, math.MaxUint16, func(r *row, v uint64) { r.class = uint16(v) }),
		b.fill(packOn, ofQuestion, math.MaxUint8, func(r *row, v uint64) { r.on = uint8(v) }),
		b.fill(packEntryOff, ofQuestion, math.MaxUint8, func(r *row, v uint64) { r.off = uint8(v) }),
		b.fill(packEntryScope, ofQuestion, math.MaxUint8, func(r *row, v uint64) { r.scope = uint8(v) }),
		b.fill(packEntryAlias, ofQuestion, math.MaxUint8, func(r *row, v uint64) { r.alias = uint8(v) }),
		b.fill(packRcode, ofQuestion, math.MaxUint16, func(r *row, v uint64) { r.rcode = uint16(v) }),
		b.fill(packEDE, ofQuestion, math.MaxInt32+1, func(r *row, v uint64) { r.ede = int32(int64(v) - 1) }),
		b.fill(packSource, ofQuery, math.MaxUint8, func(r *row, v uint64) { r.source = Source(v) }),
		b.fill(packUpstream, ofQuery, texts, func(r *row, v uint64) { r.upstream = uint32(v) }),
		b.fill(packDuration, ofQuery, math.MaxUint64, func(r *row, v uint64) { r.duration = v }),
		b.revisions(),
		b.fill(packID, ofQuery, math.MaxUint16, func(r *row, v uint64) { r.id = uint16(v) }),
		b.fill(packPort, ofQuery, math.MaxUint16, func(r *row, v uint64) { r.port = uint16(v) }),
		b.fill(packAskerBits, ofAsker, bitsKnown, func(r *row, v uint64) {
			odd = odd || Bits(v)&answerBits != 0
			r.bits = Bits(v)
		}),
		b.fill(packAnswerBits, ofQuestion, bitsKnown, func(r *row, v uint64) {
			odd = odd || Bits(v)&^answerBits != 0
			r.bits |= Bits(v)
		}),
		b.fill(packUDPSize, ofAsker, math.MaxUint16, func(r *row, v uint64) { r.udpSize = uint16(v) }),
		b.fill(packEDNSVersion, ofAsker, math.MaxUint8, func(r *row, v uint64) { r.version = uint8(v) }),
		b.fill(packAnswerSize, ofQuestion, math.MaxUint16, func(r *row, v uint64) {
			if r.answerSize = uint16(v); r.bits&QueryEDNS != 0 {
				r.answerSize += 11
			} else {
				odd = odd || r.udpSize != 0 || r.version != 0
			}
		}),
		b.fill(packQuerySize, ofQuery, math.MaxUint64, func(r *row, v uint64) {
			size := unzigzag(v) + plainSize(len(b.names[r.name]), r.bits)
			odd = odd || size < 0 || size > math.MaxUint16
			r.querySize = uint16(size)
		}),
	)
	if err == nil && odd {
		err = errors.New("its packets contradict themselves")
	}
	return err
}

// fill reads a column of a table, and sets in the rows what it says of each picked query.
func (b *block) fill(column, table int, limit uint64, set func(r *row, v uint64)) (err error) {
	s := b.shelf
	if s.few {
		if s.columns[column].width > 0 {
			giveWay()
		}
		if err := s.readFew(column, table, limit); err != nil {
			return err
		}
		for i := range s.picked {
			set(&b.rows[i], s.wide[i])
		}
		return nil
	}
	if s.wide, err = readColumn(s, column, s.wide, limit); err != nil {
		return err
	}
	for i := range s.picked {
		at := &s.picked[i]
		set(&b.rows[at.row], s.wide[at.in[table]])
	}
	return nil
}

func (b *block) revisions() (err error) {
	s := b.shelf
	if s.few {
		planes, err := s.unpackColumn(packRevision)
		sum := zigzagSum{planes: planes}
		for i := range s.picked {
			b.rows[i].revision = uint64(sum.to(int(s.picked[i].in[ofQuery]) + 1))
		}
		return err
	}
	if s.wide, err = readColumn(s, packRevision, s.wide, math.MaxUint64); err != nil {
		return err
	}
	var revision uint64
	for i, v := range s.wide {
		revision += uint64(unzigzag(v))
		s.wide[i] = revision
	}
	for i := range s.picked {
		at := &s.picked[i]
		b.rows[at.row].revision = s.wide[at.in[ofQuery]]
	}
	return nil
}

// pick notes which queries are to be read: all, or those among the rows that are wanted.
func (s *shelf) pick(wanted []uint32) {
	if s.picked = s.picked[:0]; wanted != nil && len(wanted) == 0 {
		return
	}
	if s.queries == len(s.kinds) {
		for _, i := range wanted {
			s.picked = append(s.picked, pickedRow{i, [tables]uint32{i}})
		}
		if wanted != nil {
			return
		}
	}
	q := uint32(0)
	for i, k := range s.kinds {
		if Kind(k) != KindQuery {
			continue
		}
		for len(wanted) > 0 && wanted[0] < uint32(i) {
			wanted = wanted[1:]
			if len(wanted) == 0 {
				return
			}
		}
		if wanted == nil || wanted[0] == uint32(i) {
			s.picked = append(s.picked, pickedRow{uint32(i), [tables]uint32{q}})
		}
		q++
	}
}

// packedTimes reads the time of each record.
func (s *shelf) packedTimes(h *header) (err error) {
	if s.wide, err = readColumn(s, packTime, s.wide, math.MaxUint64); err != nil {
		return err
	}
	s.when = sized(s.when, len(s.wide))
	at, first, last := h.min, int64(math.MaxInt64), int64(math.MinInt64)
	for i, v := range s.wide {
		if i&(politeSmall-1) == politeSmall-1 {
			giveWay()
		}
		at += unzigzag(v)
		first, last = min(first, at), max(last, at)
		s.when[i] = at
	}
	if first != h.min || last != h.max {
		return errors.New("its header does not fit its records")
	}
	return nil
}

// packedOthers reads what is no query, after the times.
func (b *block) packedOthers() (err error) {
	s := b.shelf
	var texts [3][]uint32
	for i := range texts {
		if texts[i], err = readColumn(s, packText+i, texts[i], uint64(len(b.strings))); err != nil {
			return err
		}
	}
	var numbers [3][]uint64
	for i, limit := range []uint64{math.MaxUint64, math.MaxUint64, math.MaxUint8} {
		if numbers[i], err = readColumn(s, packLost+i, numbers[i], limit); err != nil {
			return err
		}
	}
	var lost uint64
	b.changes, b.gaps = b.changes[:0], b.gaps[:0]
	for i := 0; s.queries < len(s.kinds) && i < len(s.kinds); i++ {
		switch Kind(s.kinds[i]) {
		case KindChange:
			n := len(b.changes)
			b.changes = append(b.changes, changeRow{texts[0][n], texts[1][n], texts[2][n]})
		case KindGap:
			n := len(b.gaps)
			b.gaps = append(b.gaps, gap{Cause(numbers[2][n]), numbers[0][n], s.when[i] - unzigzag(numbers[1][n]), s.when[i]})
			lost += numbers[0][n]
		}
	}
	if lost != b.header.lost {
		return errors.New("its header does not fit its records")
	}
	return nil
}

// root returns the root of the rows of one segment of a pack, which begins with row from.
func (b *block) root(h *header, from int) hash {
	rows := rowTree{single: !h.grouped}
	for i := from; i < from+int(h.count); i++ {
		rows.add(b.appendRow(rows.begin(), i))
	}
	return rows.root()
}
