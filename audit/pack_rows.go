package audit

import (
	"cmp"
	"errors"
	"math"
)

// A rowMaker lays out the canonical rows of a pack, to prove them, straight from its columns. What
// depends on who asked or on what was asked is laid out once for each asker and each question; a row
// is put together of that. Its memory is used again for the next pack.
type rowMaker struct {
	block *block
	tree  rowTree

	reason, observed, upstream    []uint32 // of each query
	source                        []uint8
	duration, revision, querySize []uint64
	id, port                      []uint16

	asker      pieces // of each two: client and transport; what stands behind the bits
	question   pieces // of each three: name to flags; the entry that it was found by; RCODE to addresses
	askerBits  []uint16
	answerBits []uint16
	answerSize []uint16    // as in the column
	answered   int         // questions, from the first on, whose pieces have their answers; those of others would be too much
	numbers    [9][]uint32 // room

	row, query   int // that come next
	change, lost int // likewise, among changes and gaps
}

// pieces are pieces of rows, one behind the other.
type pieces struct {
	octets []byte // with a chunk more behind the last
	ends   []uint32
}

// pieceChunk is how many octets are copied at once; few pieces are longer.
const pieceChunk = 48

// maxPieces is about how many octets pieces take. Those of questions are a few MiB, but where all have
// long aliases, as many as are kept, they would be 300.
const maxPieces = 16 << 20

func (p *pieces) reset() { p.octets, p.ends = p.octets[:0], append(p.ends[:0], 0) }

// end ends a piece, the octets of which have been appended.
func (p *pieces) end() { p.ends = append(p.ends, uint32(len(p.octets))) }

// close makes the pieces ready.
func (p *pieces) close() { p.octets = append(p.octets, make([]byte, pieceChunk)...) }

// append appends a piece to a row.
func (p *pieces) append(row []byte, n int) []byte {
	from, to, at := int(p.ends[n]), int(p.ends[n+1]), len(row)
	if size := to - from; size <= pieceChunk && at+pieceChunk <= cap(row) {
		chunk := [pieceChunk]byte(p.octets[from:])
		*(*[pieceChunk]byte)(row[at : at+pieceChunk]) = chunk
		return row[:at+size]
	}
	return append(row, p.octets[from:to]...)
}

// read reads the columns of a pack that was unpacked. It refuses what decode does.
func (r *rowMaker) read(b *block) error {
	r.block, r.row, r.query, r.change, r.lost = b, 0, 0, 0, 0
	s := b.shelf
	if err := cmp.Or(b.loadAll(), b.askers(), b.questions(), s.packedTimes(&b.header)); err != nil {
		return err
	}
	if err := b.packedOthers(); err != nil {
		return err
	}
	reasons, texts := uint64(len(b.reasons)), uint64(len(b.strings))
	if err := cmp.Or(
		load(s, &r.reason, packReason, reasons),
		load(s, &r.observed, packObserved, reasons),
		load(s, &r.source, packSource, math.MaxUint8),
		load(s, &r.upstream, packUpstream, texts),
		load(s, &r.duration, packDuration, math.MaxUint64),
		load(s, &r.revision, packRevision, math.MaxUint64),
		load(s, &r.id, packID, math.MaxUint16),
		load(s, &r.port, packPort, math.MaxUint16),
		load(s, &r.querySize, packQuerySize, math.MaxUint64),
		r.readAskers(), r.readQuestions(),
	); err != nil {
		return err
	}
	revision, odd := uint64(0), false
	for i := range r.querySize {
		revision += uint64(unzigzag(r.revision[i]))
		r.revision[i] = revision
		asker, question := s.asker[i], s.question[i]
		size := unzigzag(r.querySize[i]) + plainSize(len(b.names[s.name[question]]), Bits(r.askerBits[asker]))
		odd = odd || size < 0 || size > math.MaxUint16
		r.querySize[i] = uint64(size)
	}
	if odd {
		return errOddPackets
	}
	return nil
}

var errOddPackets = errors.New("its packets contradict themselves")

// load reads a column.
func load[T ~uint8 | ~uint16 | ~uint32 | ~uint64](s *shelf, dst *[]T, column int, limit uint64) (err error) {
	*dst, err = readColumn(s, column, *dst, limit)
	return err
}

// readAskers lays out what depends on who asked.
func (r *rowMaker) readAskers() error {
	b, s := r.block, r.block.shelf
	transport, udpSize, version := &r.numbers[0], &r.numbers[1], &r.numbers[2]
	if err := cmp.Or(
		load(s, &r.askerBits, packAskerBits, bitsKnown),
		load(s, transport, packTransport, math.MaxUint8),
		load(s, udpSize, packUDPSize, math.MaxUint16),
		load(s, version, packEDNSVersion, math.MaxUint8),
	); err != nil {
		return err
	}
	p := &r.asker
	p.reset()
	for i, client := range s.client {
		a := b.addrs[client]
		standsIn := b.header.masked && masked(a)
		if !standsIn {
			p.octets = appendAddress(p.octets, tagClient, a)
		}
		p.octets = appendNumber(p.octets, tagTransport<<1, uint64((*transport)[i]))
		p.end()
		size, version, bits := (*udpSize)[i], (*version)[i], Bits(r.askerBits[i])
		if bits&answerBits != 0 || bits&QueryEDNS == 0 && size|version != 0 {
			return errOddPackets
		}
		p.octets = appendNumber(p.octets, tagUDPSize<<1, uint64(size))
		p.octets = appendNumber(p.octets, tagVersion<<1, uint64(version))
		if standsIn {
			p.octets = appendStandIn(p.octets, a)
		}
		p.end()
	}
	p.close()
	return nil
}

// readQuestions lays out what depends on what was asked.
func (r *rowMaker) readQuestions() error {
	b, s := r.block, r.block.shelf
	if err := cmp.Or(
		load(s, &r.answerBits, packAnswerBits, bitsKnown),
		load(s, &r.answerSize, packAnswerSize, math.MaxUint16),
	); err != nil {
		return err
	}
	columns := [...]struct {
		column int
		limit  uint64
	}{
		{packType, math.MaxUint16},
		{packClass, math.MaxUint16},
		{packFlags, flagsKnown},
		{packOn, math.MaxUint8},
		{packEntryOff, math.MaxUint8},
		{packEntryScope, math.MaxUint8},
		{packEntryAlias, math.MaxUint8},
		{packRcode, math.MaxUint16},
		{packEDE, math.MaxInt32 + 1},
	}
	var of [len(columns)][]uint32
	for i, c := range columns {
		if err := load(s, &r.numbers[i], c.column, c.limit); err != nil {
			return err
		}
		of[i] = r.numbers[i]
	}
	p := &r.question
	p.reset()
	r.answered = 0
	for i, name := range s.name {
		p.octets = appendOctets(p.octets, tagName, b.names[name])
		p.octets = appendNumber(p.octets, tagType<<1, uint64(of[0][i]))
		p.octets = appendNumber(p.octets, tagClass<<1, uint64(of[1][i]))
		p.octets = appendNumber(p.octets, tagFlags<<1, uint64(of[2][i]))
		p.end()
		p.octets = appendNumber(p.octets, tagOn<<1, uint64(of[3][i]))
		p.octets = appendNumber(p.octets, tagEntryOff<<1, uint64(of[4][i]))
		p.octets = appendNumber(p.octets, tagEntryScope<<1, uint64(of[5][i]))
		p.octets = appendNumber(p.octets, tagEntryAlias<<1, uint64(of[6][i]))
		p.end()
		p.octets = appendNumber(p.octets, tagRcode<<1, uint64(of[7][i]))
		p.octets = appendNumber(p.octets, tagEDE<<1, uint64(of[8][i]))
		if len(p.octets) < maxPieces {
			p.octets, r.answered = r.appendAnswers(p.octets, i), i+1
		}
		p.end()
		if Bits(r.answerBits[i])&^answerBits != 0 {
			return errOddPackets
		}
	}
	p.close()
	return nil
}

// appendAnswers appends the aliases and addresses of a question.
func (r *rowMaker) appendAnswers(row []byte, question int) []byte {
	b, s := r.block, r.block.shelf
	for _, n := range s.aliases.of(uint32(question)) {
		row = appendOctets(row, tagAlias, b.names[n])
	}
	for _, n := range s.answers.of(uint32(question)) {
		row = appendAddress(row, tagAddress, b.addrs[n])
	}
	return row
}

// root returns the root of the next rows, so many as the segment with that header has.
func (r *rowMaker) root(h *header) hash {
	r.tree.reset()
	r.tree.single = !h.grouped
	for range h.count {
		r.tree.add(r.append(r.tree.begin()))
	}
	return r.tree.root()
}

// append appends the next row.
func (r *rowMaker) append(row []byte) []byte {
	b := r.block
	switch Kind(b.shelf.kinds[r.row]) {
	case KindChange:
		row = appendChange(row, b.shelf.when[r.row], b.changeOf(&b.changes[r.change]))
		r.change++
	case KindGap:
		row = appendGap(row, b.gaps[r.lost])
		r.lost++
	default:
		row = r.appendQuery(row)
		r.query++
	}
	r.row++
	return row
}

// appendQuery is the function of that name, for the next query.
func (r *rowMaker) appendQuery(row []byte) []byte {
	b, q := r.block, r.query
	asker, question := int(b.shelf.asker[q]), int(b.shelf.question[q])
	row = append(row, tagKind<<1, byte(KindQuery))
	row = appendNumber(row, tagTime<<1, uint64(b.shelf.when[r.row]))
	row = r.asker.append(row, 2*asker)
	row = r.question.append(row, 3*question)
	row = append(row, b.whys(r.reason[q], &b.decided, tagReason)...)
	row = append(row, b.whys(r.observed[q], &b.observed, tagObserved)...)
	row = r.question.append(row, 3*question+1)
	row = appendNumber(row, tagSource<<1, uint64(r.source[q]))
	row = r.question.append(row, 3*question+2)
	if question >= r.answered {
		row = r.appendAnswers(row, question)
	}
	row = appendOctets(row, tagUpstream, b.text(r.upstream[q]))
	row = appendNumber(row, tagDuration<<1, r.duration[q])
	row = appendNumber(row, tagRevision<<1, r.revision[q])
	row = appendNumber(row, tagPort<<1, uint64(r.port[q]))
	row = appendNumber(row, tagID<<1, uint64(r.id[q]))
	row = appendNumber(row, tagQuerySize<<1, r.querySize[q])
	bits, size := Bits(r.askerBits[asker]|r.answerBits[question]), r.answerSize[question]
	if bits&QueryEDNS != 0 {
		size += 11
	}
	row = appendNumber(row, tagAnswerSize<<1, uint64(size))
	row = appendNumber(row, tagBits<<1, uint64(bits))
	return r.asker.append(row, 2*asker+1)
}
