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
	start := len(b)
	be := binary.BigEndian
	b = append(b, frameMagic...)
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
	for i := range f.batch.slabs {
		s := &f.batch.slabs[i]
		b = be.AppendUint32(b, s.number)
		b = be.AppendUint64(b, s.generation)
		b = be.AppendUint64(b, uint64(len(s.b)))
		b = append(b, s.b...)
	}
	for (len(b)-start)%frameAlign != frameAlign-crc32.Size {
		b = append(b, 0)
	}
	be.PutUint32(b[start+44:], uint32(len(b)-start+crc32.Size))
	return be.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
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
