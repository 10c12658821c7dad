package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

const (
	packRows  = maxRows
	packBytes = 8 << 20 // of dictionaries, for which a pack is closed
)

// answerBits are those of Bits that tell of the answer.
const answerBits = AnswerAA | AnswerTC

// questionSize is how many octets a question's entry has before its aliases and addresses.
// Entries of askers and questions are numbers in the order of the columns, little-endian:
// client 4, transport 1, bits 2, UDP size 2, version 1; and name 4, type 2, class 2, flags,
// on, offset, scope and which 1 each, rcode 2, EDE 4, answer size 2, bits 2, aliases 1,
// addresses 1, and then 4 for each alias and address.
const questionSize = 25

// A packer gathers the records of neighbouring segments and makes a pack of them.
type packer struct {
	z      *zstd.Encoder
	header header // of the segments so far
	fronts []packedFront

	names, clients, answers, texts, reasons dict
	askers, questions                       dict
	rows                                    [packColumns][]uint64 // columns of rows
	last                                    int64
	revision                                uint64
	entry                                   []byte // room for one
	pause                                   func() // between pieces of work
	most                                    uint32 // records
	alone                                   []byte // the first segment, for a pack of one is none
	costs                                   *[packColumns]int

	// By number in the segment that is being added: number here, counted from one.
	nameOf, clientOf, answerOf, reasonOf, textOf []uint32
}

func newPacker() (*packer, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	p := &packer{z: z, pause: func() {}, most: packRows}
	for _, d := range p.dicts() {
		*d = newDict()
	}
	return p, nil
}

func (p *packer) dicts() []*dict {
	return []*dict{&p.names, &p.clients, &p.answers, &p.texts, &p.reasons, &p.askers, &p.questions}
}

func (p *packer) reset() {
	p.header, p.fronts, p.last, p.revision = header{}, p.fronts[:0], 0, 0
	for _, d := range p.dicts() {
		d.reset()
	}
	for i := range p.rows {
		p.rows[i] = p.rows[i][:0]
	}
}

// takes says whether a segment with that header may come next: it is proven and follows the
// one before, and there is room.
func (p *packer) takes(h *header) bool {
	if !packable(h) {
		return false
	}
	if len(p.fronts) == 0 {
		return true
	}
	before := &p.fronts[len(p.fronts)-1]
	size := 0
	for _, d := range p.dicts() {
		size += len(d.arena)
	}
	return p.header.count+h.count <= p.most && size <= packBytes &&
		before.header.precedes(h) && h.prev == before.digest
}

// add adds a segment that takes has accepted; b is decoded with its details.
func (p *packer) add(b *block, f packedFront) {
	p.header.add(&f.header, len(p.fronts) == 0)
	p.fronts = append(p.fronts, f)
	p.nameOf, p.clientOf, p.answerOf = sizedZero(p.nameOf, len(b.names)), sizedZero(p.clientOf, len(b.addrs)), sizedZero(p.answerOf, len(b.addrs))
	p.reasonOf, p.textOf = sizedZero(p.reasonOf, len(b.reasons)), sizedZero(p.textOf, len(b.strings))
	for i := range b.rows {
		p.row(b, &b.rows[i])
	}
}

func (p *packer) put(column int, v uint64) { p.rows[column] = append(p.rows[column], v) }

func (p *packer) row(b *block, r *row) {
	p.put(packKind, uint64(r.kind))
	p.put(packTime, zigzag(r.time-p.last)) // value puts the header's earliest before the first
	p.last = r.time
	switch r.kind {
	case KindChange:
		c := b.changes[r.extra]
		p.put(packText, p.text(b, c.text))
		p.put(packAction, p.text(b, c.action))
		p.put(packActor, p.text(b, c.actor))
		return
	case KindGap:
		g := b.gaps[r.extra]
		p.put(packLost, g.lost)
		p.put(packFrom, zigzag(g.to-g.from))
		p.put(packCause, uint64(g.cause))
		return
	}
	p.put(packAsker, p.asker(b, r))
	p.put(packQuestion, p.question(b, r))
	p.put(packReason, p.reason(b, r.reason))
	p.put(packObserved, p.reason(b, r.observed))
	p.put(packSource, uint64(r.source))
	p.put(packUpstream, p.text(b, r.upstream))
	p.put(packDuration, r.duration)
	p.put(packRevision, zigzag(int64(r.revision-p.revision)))
	p.revision = r.revision
	p.put(packID, uint64(r.id))
	p.put(packPort, uint64(r.port))
	p.put(packQuerySize, zigzag(int64(r.querySize)-plainSize(len(b.names[r.name]), r.bits)))
}

func (p *packer) asker(b *block, r *row) uint64 {
	le := binary.LittleEndian
	client := numberOnce(&p.clients, p.clientOf, r.client, func() []byte { return b.addrs[r.client].AsSlice() })
	e := le.AppendUint32(p.entry[:0], client)
	e = append(e, byte(r.transport))
	e = le.AppendUint16(e, uint16(r.bits&^answerBits))
	e = le.AppendUint16(e, r.udpSize)
	p.entry = append(e, r.version)
	return p.askers.ref(p.entry)
}

func (p *packer) question(b *block, r *row) uint64 {
	le := binary.LittleEndian
	name := func(n uint32) uint32 {
		return numberOnce(&p.names, p.nameOf, n, func() []byte { return b.names[n] })
	}
	size := r.answerSize
	if r.bits&QueryEDNS != 0 {
		size -= 11
	}
	e := le.AppendUint32(p.entry[:0], name(r.name))
	e = le.AppendUint16(le.AppendUint16(e, r.typ), r.class)
	e = append(e, r.flags, r.on, r.off, r.scope, r.alias)
	e = le.AppendUint16(e, r.rcode)
	e = le.AppendUint32(e, uint32(r.ede+1))
	e = le.AppendUint16(le.AppendUint16(e, size), uint16(r.bits&answerBits))
	e = append(e, r.aliasCount, r.addrCount)
	for _, n := range b.aliases(r) {
		e = le.AppendUint32(e, name(n))
	}
	for _, n := range b.answers(r) {
		e = le.AppendUint32(e, numberOnce(&p.answers, p.answerOf, n, func() []byte { return b.addrs[n].AsSlice() }))
	}
	p.entry = e
	return p.questions.ref(e)
}

// numberOnce returns the number in d of what has number n in a segment.
func numberOnce(d *dict, of []uint32, n uint32, value func() []byte) uint32 {
	if of[n] == 0 {
		i, _ := d.number(value())
		of[n] = i + 1
	}
	return of[n] - 1
}

// text returns the number of a segment's text n, which is counted from one.
func (p *packer) text(b *block, n uint32) uint64 {
	if n == 0 || b.text(n) == "" {
		return 0
	}
	return uint64(numberOnce(&p.texts, p.textOf, n-1, func() []byte { return []byte(b.text(n)) })) + 1
}

func (p *packer) reason(b *block, n uint32) uint64 {
	if n == 0 {
		return 0
	}
	r := b.reasons[n-1]
	return uint64(numberOnce(&p.reasons, p.reasonOf, n-1, func() []byte {
		e := p.entry[:0]
		for _, text := range [...]uint32{r.group, r.policy, r.rule, r.category, r.list} {
			e = binary.LittleEndian.AppendUint32(e, uint32(p.text(b, text)))
		}
		p.entry = e
		return e
	})) + 1
}

// value returns the pack, signed by key. There is one segment at least.
func (p *packer) value(key *signingKey) []byte {
	w := &packWriter{z: p.z, pause: p.pause, costs: p.costs}
	w.names(&p.names)
	w.addresses(&p.clients, &p.answers)
	appendColumn(w, packTexts, p.texts.append(nil)[uvarintSize(len(p.texts.ends)):])
	p.columnsOf(w, &p.reasons, packReasons)
	p.askerColumns(w)
	p.questionColumns(w)
	p.rows[packTime][0] = zigzag(int64(unzigzag(p.rows[packTime][0])) - p.header.min)
	for i := packKind; i < packColumns; i++ {
		appendColumn(w, i, p.rows[i])
	}
	h := p.header
	h.version, h.packed, h.size = packVersion, true, uint32(w.size)
	fronts := p.z.EncodeAll(appendFronts(nil, p.fronts), nil)
	pack := h.append(make([]byte, 0, packHeader+len(fronts)+len(w.out)+packTail))
	pack = binary.BigEndian.AppendUint32(pack, h.segments)
	pack = binary.BigEndian.AppendUint32(pack, uint32(len(fronts)))
	pack = append(append(pack, fronts...), w.out...)
	pack = append(pack, key.signPack(sha256.Sum256(pack))...)
	digest := sha256.Sum256(pack)
	return append(pack, digest[:]...)
}

func uvarintSize(v int) int { return len(binary.AppendUvarint(nil, uint64(v))) }

// columnsOf appends entries of numbers of four octets as one column.
func (p *packer) columnsOf(w *packWriter, d *dict, column int) {
	values := make([]uint32, 0, len(d.arena)/4)
	for b := d.arena; len(b) > 0; b = b[4:] {
		values = append(values, binary.LittleEndian.Uint32(b))
	}
	appendColumn(w, column, values)
}

// field returns a number of size octets at an offset of each entry.
func field(d *dict, off, size int) []uint32 {
	values := make([]uint32, len(d.ends))
	for i := range values {
		var b [4]byte
		copy(b[:], d.entry(uint32(i))[off:][:size])
		values[i] = binary.LittleEndian.Uint32(b[:])
	}
	return values
}

// refs makes references of numbers that begin with 0 and of which each new one is the next.
func refs(numbers []uint32, next *uint32) []uint32 {
	for i, n := range numbers {
		if n == *next {
			*next++
			numbers[i] = 0
		} else {
			numbers[i] = n + 1
		}
	}
	return numbers
}

func (p *packer) askerColumns(w *packWriter) {
	var next uint32
	appendColumn(w, packClient, refs(field(&p.askers, 0, 4), &next))
	for column, at := packTransport, 0; at < 4; column, at = column+1, at+1 {
		f := [...]struct{ off, size int }{{4, 1}, {5, 2}, {7, 2}, {9, 1}}[at]
		appendColumn(w, column, field(&p.askers, f.off, f.size))
	}
}

func (p *packer) questionColumns(w *packWriter) {
	d := &p.questions
	var next, answers uint32
	names, counts := field(d, 0, 4), make([]int, len(d.ends))
	var aliases, addrs []uint32
	for i := range d.ends { // names are used in the order name, aliases of each question
		e := d.entry(uint32(i))
		names[i] = refs(names[i:i+1], &next)[0]
		counts[i] = int(e[questionSize-2])
		for at := questionSize; at < len(e); at += 4 {
			n := []uint32{binary.LittleEndian.Uint32(e[at:])}
			if at < questionSize+4*counts[i] {
				aliases = append(aliases, refs(n, &next)...)
			} else {
				addrs = append(addrs, refs(n, &answers)...)
			}
		}
	}
	appendColumn(w, packName, names)
	off := 4
	for i, size := range [...]int{2, 2, 1, 1, 1, 1, 1, 2, 4, 2, 2, 1, 1} {
		appendColumn(w, packType+i, field(d, off, size))
		off += size
	}
	appendColumn(w, packAlias, aliases)
	appendColumn(w, packAddr, addrs)
}

// addresses appends the columns of clients and answers.
func (w *packWriter) addresses(clients, answers *dict) {
	var short []uint32
	var long []byte
	for i, d := range []*dict{clients, answers} {
		sizes := make([]uint8, len(d.ends))
		for i := range sizes {
			e := d.entry(uint32(i))
			sizes[i] = uint8(len(e))
			if len(e) == 4 {
				short = append(short, binary.BigEndian.Uint32(e))
			} else {
				long = append(long, e...)
			}
		}
		appendColumn(w, packClients+i, sizes)
	}
	appendColumn(w, packShort, short)
	appendColumn(w, packLong, long)
}
