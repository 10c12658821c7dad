package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"unsafe"
)

// The slabs lie in a file that is mapped into memory and shared, so that what is
// in them outlives the process, though not the machine. doc.go has its layout.
const (
	slabsFile    = "audit.slabs"
	slabsMagic   = "WEIRSLAB"
	slabsVersion = 1
	slabsHeader  = 256 // and eight octets for each slab, and the counters, to the next multiple of slabsAlign
	slabsCounter = 64  // octets from one counter to the next
	slabsAlign   = 4096
	bootSize     = 36

	offRun       = 16
	offBoot      = 32
	offSlabs     = 72
	offSize      = 76
	offCounters  = 80
	offOwed      = 128
	offFrom      = 136
	offTo        = 144
	offAccounted = 152
	offExcluded  = 160 // four counts
	offSince     = 192
	offNext      = 200
)

// A mapping is the mapped file; nil where the slabs are plain memory. One that has
// counters only tells how much there was in slabs that are plain memory.
type mapping struct {
	mem []byte
	slabsShape
}

// A slabsShape says how a file of slabs is laid out.
type slabsShape struct {
	slabs    int
	size     int // of a slab
	counters int
}

// extent returns where the counters and the first slab begin, how far apart the slabs
// are, and how long the file is.
func (s slabsShape) extent() (counters, begin, stride, total int) {
	counters = (slabsHeader + 8*s.slabs + slabsCounter - 1) &^ (slabsCounter - 1)
	begin = (counters + slabsCounter*s.counters + slabsAlign - 1) &^ (slabsAlign - 1)
	stride = (s.size + 63) &^ 63
	return counters, begin, stride, begin + s.slabs*stride
}

// label writes the file's header.
func (m *mapping) label(run runID, boot string) {
	copy(m.mem, slabsMagic)
	binary.BigEndian.PutUint16(m.mem[8:], slabsVersion)
	copy(m.mem[offRun:], run[:])
	copy(m.mem[offBoot:offBoot+bootSize], boot)
	binary.BigEndian.PutUint32(m.mem[offSlabs:], uint32(m.slabs))
	binary.BigEndian.PutUint32(m.mem[offSize:], uint32(m.size))
	binary.BigEndian.PutUint32(m.mem[offCounters:], uint32(m.counters))
}

// slab returns slab i, empty.
func (m *mapping) slab(i int) slab {
	_, begin, stride, _ := m.extent()
	at := begin + i*stride
	return slab{number: uint32(i), b: m.mem[at : at : at+m.size]}
}

func (m *mapping) word(at int) *uint64 { return (*uint64)(unsafe.Pointer(&m.mem[at])) }

// counter is one of those for events in slabs that are plain memory.
func (m *mapping) counter(i int) *uint64 {
	at, _, _, _ := m.extent()
	return m.word(at + slabsCounter*(i%m.counters))
}

// holds says that there are slabs in the file.
func (m *mapping) holds() bool { return m != nil && m.slabs > 0 }

// given notes that a slab is in use.
func (m *mapping) given(s *slab) {
	if m.holds() && s.number != plainSlab {
		atomic.StoreUint64(m.word(slabsHeader+8*int(s.number)), s.generation)
	}
}

// owe notes events that are in no slab, with the time of one: they have still to come
// into a frame, themselves or in a gap. One goroutine at a time may call it, and account.
func (m *mapping) owe(at int64, events uint64) {
	if m == nil {
		return
	}
	owed := atomic.LoadUint64(m.word(offOwed))
	if owed == atomic.LoadUint64(m.word(offAccounted)) || at < int64(atomic.LoadUint64(m.word(offFrom))) {
		atomic.StoreUint64(m.word(offFrom), uint64(at))
	}
	atomic.StoreUint64(m.word(offTo), uint64(at))
	atomic.StoreUint64(m.word(offOwed), owed+events)
}

// account notes that so many events that were in no slab have come into frames, and
// which number the record behind the last frame will have.
func (m *mapping) account(owed, next uint64) {
	if m != nil {
		atomic.StoreUint64(m.word(offAccounted), owed)
		atomic.StoreUint64(m.word(offNext), next)
	}
}

// exclude notes how many queries were excluded that no change has said yet, and since
// when. One goroutine at a time may call it.
func (m *mapping) exclude(n ExcludedCount, since int64) {
	if m == nil {
		return
	}
	atomic.StoreUint64(m.word(offSince), uint64(since))
	for i, v := range [...]uint64{n.Names, n.NamesBlocked, n.Clients, n.ClientsBlocked} {
		atomic.StoreUint64(m.word(offExcluded+8*i), v)
	}
}

// owed returns how many events were in no slab so far.
func (m *mapping) owed() uint64 {
	if m == nil {
		return 0
	}
	return atomic.LoadUint64(m.word(offOwed))
}

// publish makes the event whose length is put at the beginning of p, and which fills
// p, one that is read. Until then the octets there are 0, and after it those behind
// are: they are cleared before, if there is room for another event.
func publish(p, behind []byte) {
	if len(behind) >= 4 {
		clear(behind[:4])
	}
	var n [4]byte
	binary.LittleEndian.PutUint32(n[:], uint32(len(p)))
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&p[0])), *(*uint32)(unsafe.Pointer(&n)))
}

// retract makes a slab one that holds nothing.
func retract(b []byte) {
	if cap(b) >= 4 {
		atomic.StoreUint32((*uint32)(unsafe.Pointer(unsafe.SliceData(b))), 0)
	}
}

// leftSlabs is what a file of slabs held.
type leftSlabs struct {
	run       runID
	boot      string
	shape     slabsShape
	slabs     []slab // those that hold events
	given     uint64 // generation of the slab that was given out last
	plain     uint64 // events so far that were in plain memory
	owed      uint64 // so many events had to be counted, those too
	accounted uint64
	next      uint64 // number of the record behind the last frame, 0 if there was none
	from, to  int64

	excluded ExcludedCount
	since    int64 // when the first of those came
}

// readSlabs reads a file of slabs.
func readSlabs(b []byte) (out leftSlabs, err error) {
	be, ne := binary.BigEndian, binary.NativeEndian
	if len(b) < slabsHeader || string(b[:len(slabsMagic)]) != slabsMagic {
		return out, errors.New("it does not begin like a file of slabs")
	}
	if v := be.Uint16(b[8:]); v != slabsVersion {
		return out, fmt.Errorf("its format version is %d, this program reads %d", v, slabsVersion)
	}
	shape := slabsShape{int(be.Uint32(b[offSlabs:])), int(be.Uint32(b[offSize:])), int(be.Uint32(b[offCounters:]))}
	if shape.slabs > math.MaxInt32/slabsAlign || shape.size > math.MaxInt32/4 || shape.counters > math.MaxInt32/slabsAlign {
		return out, errors.New("its numbers are out of range")
	}
	counters, begin, stride, total := shape.extent()
	if total != len(b) {
		return out, fmt.Errorf("it has %d octets instead of %d", len(b), total)
	}
	out.run, out.boot, out.shape = runID(b[offRun:]), string(b[offBoot:offBoot+bootSize]), shape
	out.owed, out.accounted, out.next = ne.Uint64(b[offOwed:]), ne.Uint64(b[offAccounted:]), ne.Uint64(b[offNext:])
	out.from, out.to = int64(ne.Uint64(b[offFrom:])), int64(ne.Uint64(b[offTo:]))
	for i := range shape.counters {
		out.plain += ne.Uint64(b[counters+slabsCounter*i:])
	}
	out.owed += out.plain
	out.excluded = ExcludedCount{ne.Uint64(b[offExcluded:]), ne.Uint64(b[offExcluded+8:]), ne.Uint64(b[offExcluded+16:]), ne.Uint64(b[offExcluded+24:])}
	out.since = max(int64(ne.Uint64(b[offSince:])), 0)
	for i := range shape.slabs {
		at := begin + i*stride
		events := b[at : at+shape.size]
		generation := ne.Uint64(b[slabsHeader+8*i:])
		out.given = max(out.given, generation)
		if n := wholeEvents(events); n > 0 {
			out.slabs = append(out.slabs, slab{uint32(i), generation, events[:n]})
		}
	}
	return out, nil
}
