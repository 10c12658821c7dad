package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"sync/atomic"
)

// # Run of the index
//
// A run says of the records of a range of sequence numbers where keys occur: names
// asked for, aliases, addresses in answers, and clients. It is never changed once it
// is written, and refers to records by sequence numbers alone, so it stays true
// whatever segments they are in. Numbers in it are big-endian or, where nothing is
// said, unsigned varints; a signed one is zigzag. Times are nanoseconds since 1970.
//
//	blocks     one behind the other, each a zstd frame
//	directory
//	trailer    96 octets
//
// The trailer:
//
//	offset size
//	     0    8  "WEIRINDX"
//	     8    2  version of the format, 1
//	    10    2  flags, 0
//	    12    4  sequence numbers in a step
//	    16    8  sequence number of the first record
//	    24    8  that of the last; a run holds all records between
//	    32    8  earliest time of a record
//	    40    8  latest
//	    48    8  time of the first record
//	    56    8  time of the last: with that of the first it tells whether the run is of a store
//	    64    4  how often runs have been merged into it
//	    68    4  0
//	    72    8  octets of the directory
//	    80    4  CRC-32C of the directory
//	    84    8  0
//	    92    4  CRC-32C of the trailer before
//
// A step is the records whose sequence numbers are equal when divided by how many are in
// a step and rounded down. Steps of a run are numbered from 0, which is that of its first record.
//
// The directory has how many categories there are and of each the length and octets;
// for each step the time of its earliest record, signed, less that of the step before
// or, of step 0, the run's earliest; how many blocks there are and of each its section
// (1 octet), its entries, its octets in the file, its octets when decompressed, its
// CRC-32C as it is in the file (4 octets), and the length and octets of its first key.
//
// A block is of one section, of which the keys are distinct and in order, and has the
// octets of all its keys, the keys and the values. A key is how many octets it
// shares with the one before in the block, how many more it has, and these. Sections
// are in the order of their numbers; their values:
//
//	1 clients    the address, its length (0, 4, 16) before it
//	             steps; first and last; how many hours, and of each its number since 1970, signed,
//	             less the one before; how many cells, and of each twice its category, counted from
//	             one, 0 being none, and 1 if blocked; its queries
//	2 names      the labels of a name asked for from the last to the first, each behind its length;
//	             octets that are no wire name stand behind 255
//	             twice the queries, and 1 if any was blocked, then how many were; steps; first and last;
//	             clients: how many, then each less the one before less 1; and which of them, from 0, was first
//	3 aliases    the name, as above: steps
//	4 addresses  the address, as above: steps
//
// A client is its place in section 1, from 0. Steps are how many, and of each how many
// lie between it and the one before. First and last are times, signed: the first
// less the time of the first step, the last less that of the last step. Of a name
// with one query there is no number of steps and of clients, nor the last, nor which
// was first.
const (
	runMagic     = "WEIRINDX"
	runVersion   = 1
	runTrailer   = 96
	maxRunSteps  = 1 << 18
	maxRunBlock  = 32 << 20 // octets of a block when decompressed
	maxRunKey    = 1 << 10
	maxDirectory = 512 << 20
)

// The sections of a run.
const (
	byClient uint8 = iota + 1
	byAsked
	byAlias
	byAddress
)

// A run is what is known of one of the index's files without reading its blocks.
type run struct {
	path string
	size int64
	runHead

	categories []string
	stepTimes  []int64
	blocks     []runBlock
	sections   [byAddress + 2]int // where the blocks of a section begin; those of the next are behind them

	bad atomic.Bool // a block could not be read
}

// A runHead is a run's trailer.
type runHead struct {
	step                uint64 // sequence numbers in one
	first, last         uint64
	min, max            int64
	firstTime, lastTime int64
	merges              uint32
}

type runBlock struct {
	section  uint8
	entries  uint32
	at       int64
	octets   uint32
	unpacked uint32
	sum      uint32
	key      []byte // the first
}

// records returns how many records the run is about.
func (h *runHead) records() uint64 { return h.last - h.first + 1 }

// base is the run's step 0, counted from sequence number 0.
func (h *runHead) base() uint64 { return h.first / h.step }

// steps returns how many steps there are.
func (h *runHead) steps() int { return int(h.last/h.step-h.base()) + 1 }

// append lays out the trailer of a run with that directory.
func (h *runHead) append(b, directory []byte) []byte {
	be, start := binary.BigEndian, len(b)
	b = append(b, runMagic...)
	b = be.AppendUint16(b, runVersion)
	b = be.AppendUint16(b, 0)
	b = be.AppendUint32(b, uint32(h.step))
	b = be.AppendUint64(b, h.first)
	b = be.AppendUint64(b, h.last)
	for _, at := range []int64{h.min, h.max, h.firstTime, h.lastTime} {
		b = be.AppendUint64(b, uint64(at))
	}
	b = be.AppendUint32(b, h.merges)
	b = be.AppendUint32(b, 0)
	b = be.AppendUint64(b, uint64(len(directory)))
	b = be.AppendUint32(b, crc32.Checksum(directory, castagnoli))
	b = be.AppendUint64(b, 0)
	return be.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// readRunHead reads a trailer, and how many octets the directory before it has and
// their checksum.
func readRunHead(b []byte) (h runHead, octets uint64, sum uint32, err error) {
	be := binary.BigEndian
	switch {
	case len(b) != runTrailer || string(b[:8]) != runMagic:
		return h, 0, 0, errors.New("it does not end like a run of the index")
	case be.Uint16(b[8:]) != runVersion || be.Uint16(b[10:]) != 0:
		return h, 0, 0, fmt.Errorf("its format version is %d with flags %#x, this program reads version %d", be.Uint16(b[8:]), be.Uint16(b[10:]), runVersion)
	case crc32.Checksum(b[:runTrailer-4], castagnoli) != be.Uint32(b[runTrailer-4:]):
		return h, 0, 0, errors.New("its checksum does not match its end")
	}
	at := func(i int) int64 { return int64(be.Uint64(b[i:])) }
	h = runHead{uint64(be.Uint32(b[12:])), be.Uint64(b[16:]), be.Uint64(b[24:]), at(32), at(40), at(48), at(56), be.Uint32(b[64:])}
	if h.step == 0 || h.first == 0 || h.last < h.first || h.last == math.MaxUint64 || h.last/h.step-h.base() >= maxRunSteps || h.min > h.max {
		return h, 0, 0, errors.New("its numbers are out of range")
	}
	return h, be.Uint64(b[72:]), be.Uint32(b[80:]), nil
}

// openRun reads the end of the file at path.
func openRun(path string) (*run, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r := &run{path: path, size: info.Size()}
	trailer := make([]byte, runTrailer)
	if _, err := f.ReadAt(trailer, max(r.size-runTrailer, 0)); err != nil {
		return nil, errors.New("it is too short for a run of the index")
	}
	h, octets, sum, err := readRunHead(trailer)
	if err != nil {
		return nil, err
	}
	r.runHead = h
	if octets > uint64(r.size-runTrailer) || octets > maxDirectory {
		return nil, fmt.Errorf("it claims a directory of %d octets", octets)
	}
	directory := make([]byte, octets)
	if _, err := f.ReadAt(directory, r.size-runTrailer-int64(octets)); err != nil {
		return nil, err
	}
	if crc32.Checksum(directory, castagnoli) != sum {
		return nil, errors.New("its checksum does not match its directory")
	}
	return r, r.read(directory)
}

// read reads the directory.
func (r *run) read(directory []byte) error {
	c := cursor{b: directory}
	for range c.count() {
		r.categories = append(r.categories, string(c.bytes()))
	}
	if r.steps() > len(c.b) {
		return errors.New("its directory is cut short")
	}
	at := r.min
	r.stepTimes = make([]int64, r.steps())
	for i := range r.stepTimes {
		at += unzigzag(c.next())
		r.stepTimes[i] = at
	}
	blocks := c.count()
	end := r.size - runTrailer - int64(len(directory))
	var place int64
	for range blocks {
		b := runBlock{at: place}
		if s := c.take(1); s != nil {
			b.section = s[0]
		}
		b.entries, b.octets, b.unpacked = uint32(c.upTo(maxRunBlock)), uint32(c.upTo(uint64(end-place))), uint32(c.upTo(maxRunBlock))
		if s := c.take(4); s != nil {
			b.sum = binary.BigEndian.Uint32(s)
		}
		b.key = c.bytes()
		place += int64(b.octets)
		n := len(r.blocks)
		if c.failed || b.section < byClient || b.section > byAddress || b.entries == 0 || n > 0 && b.section < r.blocks[n-1].section {
			return errors.New("its directory does not fit its blocks")
		}
		r.blocks = append(r.blocks, b)
	}
	if c.failed || len(c.b) != 0 || place != end {
		return errors.New("its directory is cut short or overlong")
	}
	at2 := 0
	for s := range r.sections {
		for at2 < len(r.blocks) && int(r.blocks[at2].section) < s {
			at2++
		}
		r.sections[s] = at2
	}
	return nil
}

// appendReversed appends the key of a name in sections 2 and 3.
func appendReversed(dst, name []byte) []byte {
	var starts [maxName]uint8
	n, at := 0, 0
	for at < len(name) && name[at] != 0 {
		if name[at] > 63 || at >= maxName || n == maxName {
			return append(append(dst, noName), name...)
		}
		starts[n] = uint8(at)
		n++
		at += 1 + int(name[at])
	}
	if at != len(name)-1 {
		return append(append(dst, noName), name...)
	}
	for n--; n >= 0; n-- {
		dst = append(dst, name[starts[n]:at]...)
		at = int(starts[n])
	}
	return dst
}

const noName = 255 // begins the key of what is no wire name

// appendForward appends the name whose key this is.
func appendForward(dst, key []byte) []byte {
	if len(key) > 0 && key[0] == noName {
		return append(dst, key[1:]...)
	}
	var starts [maxName]uint16
	n, at := 0, 0
	for at < len(key) && n < maxName {
		starts[n] = uint16(at)
		n++
		at += 1 + int(key[at])
	}
	end := len(key)
	for n--; n >= 0; n-- {
		dst = append(dst, key[starts[n]:end]...)
		end = int(starts[n])
	}
	return append(dst, 0)
}
