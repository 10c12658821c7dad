package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

const (
	frameMagic   = "WEIF"
	frameVersion = 1

	frameHeader = 64
	frameAlign  = 8
	pieceHeader = 20
	maxFrame    = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A runID is drawn by each process that writes, and stands in all files that only
// it may add to.
type runID [16]byte

// A frame is one batch in the write-ahead file; doc.go has its layout.
type frame struct {
	run     runID
	follows uint64 // number of the newest segment in its chain when it was written
	first   uint64 // sequence number of its first record
	count   uint32
	owed    uint64 // events of the run that were in no slab, in this frame and those before
	batch   batch
}

// append appends the frame, which ends at a multiple of frameAlign if it began at one.
func (f *frame) append(b []byte) []byte {
	for _, part := range f.parts(nil) {
		b = append(b, part...)
	}
	return b
}

// parts returns the octets of the frame in parts, one behind the other. Events stay where
// they are, in their slabs; all else is in the memory of b.
func (f *frame) parts(b []byte) [][]byte {
	be := binary.BigEndian
	b = append(b[:0], frameMagic...)
	b = be.AppendUint16(b, frameVersion)
	b = be.AppendUint16(b, 0)
	b = append(b, f.run[:]...)
	b = be.AppendUint64(b, f.follows)
	b = be.AppendUint64(b, f.first)
	b = be.AppendUint32(b, f.count)
	b = be.AppendUint32(b, 0) // the length is put below
	b = be.AppendUint64(b, f.owed)
	b = be.AppendUint64(b, 0)
	b = binary.AppendUvarint(b, uint64(len(f.batch.gaps)))
	for _, g := range f.batch.gaps {
		b = append(b, byte(g.cause))
		for _, v := range [...]uint64{g.lost, uint64(g.from), uint64(g.to)} {
			b = be.AppendUint64(b, v)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(f.batch.changes)))
	for _, c := range f.batch.changes {
		b = be.AppendUint64(b, uint64(c.at))
		for _, s := range [...]string{c.Action, c.Actor, c.Text} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(f.batch.slabs)))
	front, events := len(b), 0
	for i := range f.batch.slabs {
		s := &f.batch.slabs[i]
		b = be.AppendUint32(b, s.number)
		b = be.AppendUint64(b, s.generation)
		b = be.AppendUint64(b, uint64(len(s.b)))
		events += len(s.b)
	}
	heads := len(b)
	for (len(b)+events)%frameAlign != frameAlign-crc32.Size {
		b = append(b, 0)
	}
	b = be.AppendUint32(b, 0) // the checksum is put below
	be.PutUint32(b[44:], uint32(len(b)+events))

	parts := make([][]byte, 0, 2+2*len(f.batch.slabs))
	parts = append(parts, b[:front])
	for i := range f.batch.slabs {
		parts = append(parts, b[front+i*pieceHeader:][:pieceHeader], f.batch.slabs[i].b)
	}
	sum, tail := uint32(0), b[heads:]
	parts = append(parts, tail[:len(tail)-crc32.Size])
	for _, part := range parts {
		sum = crc32.Update(sum, castagnoli, part)
	}
	be.PutUint32(tail[len(tail)-crc32.Size:], sum)
	parts[len(parts)-1] = tail
	return parts
}

// readFrame reads the frame at the beginning of b and returns how long it is. The
// frame shares b.
func readFrame(b []byte) (f frame, size int, err error) {
	be := binary.BigEndian
	if len(b) < frameHeader+crc32.Size || string(b[:4]) != frameMagic {
		return f, 0, errors.New("it does not begin like a frame")
	}
	size = int(be.Uint32(b[44:]))
	if size < frameHeader+crc32.Size || size > len(b) || size%frameAlign != 0 {
		return f, 0, fmt.Errorf("it claims %d octets", size)
	}
	if crc32.Checksum(b[:size-crc32.Size], castagnoli) != be.Uint32(b[size-crc32.Size:]) {
		return f, 0, errors.New("its checksum does not match its content")
	}
	if v := be.Uint16(b[4:]); v != frameVersion {
		return f, 0, fmt.Errorf("its format version is %d, this program reads %d", v, frameVersion)
	}
	if v := be.Uint16(b[6:]); v != 0 {
		return f, 0, fmt.Errorf("it has unknown flags %#x", v)
	}
	f = frame{run: runID(b[8:]), follows: be.Uint64(b[24:]), first: be.Uint64(b[32:]), count: be.Uint32(b[40:]), owed: be.Uint64(b[48:])}
	c := cursor{b: b[frameHeader : size-crc32.Size]}
	for range c.count() {
		p := c.take(25)
		if p == nil {
			break
		}
		f.batch.gaps = append(f.batch.gaps, gap{Cause(p[0]), be.Uint64(p[1:]), int64(be.Uint64(p[9:])), int64(be.Uint64(p[17:]))})
	}
	for range c.count() {
		p := c.take(8)
		if p == nil {
			break
		}
		f.batch.changes = append(f.batch.changes, change{int64(be.Uint64(p)), Change{string(c.bytes()), string(c.bytes()), string(c.bytes())}})
	}
	events := 0
	for range c.count() {
		p := c.take(pieceHeader)
		if p == nil {
			break
		}
		data := c.take(be.Uint64(p[12:]))
		if wholeEvents(data) != len(data) {
			return f, 0, errors.New("it holds what is no event")
		}
		for at := 0; at < len(data); events++ {
			_, n := eventTime(data[at:])
			at += n
		}
		f.batch.slabs = append(f.batch.slabs, slab{be.Uint32(p), be.Uint64(p[4:]), data})
	}
	switch n := len(f.batch.gaps) + len(f.batch.changes) + events; {
	case c.failed || len(c.b) >= frameAlign:
		return f, 0, errors.New("its parts are cut short or overlong")
	case n != int(f.count) || n == 0 || f.first == 0 || f.first > math.MaxUint64-uint64(n):
		return f, 0, errors.New("its numbers are out of range")
	}
	return f, size, nil
}
