package blocklist

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// A saying is what one list says of one name: the bits of what it lists, and of what it takes out of itself.
type saying struct {
	list uint32
	what uint8 // scope, and the scope of exceptions two bits higher
}

func newSaying(list int, scope Scope, exception bool) saying {
	s := saying{uint32(list), uint8(scope)}
	if exception {
		s.what <<= 2
	}
	return s
}

// sorter brings what lists say in the order of names' hashes, however much it is: what exceeds its memory goes, sorted,
// to a temporary file as one more run, and all runs are read side by side afterwards.
type sorter struct {
	dir   string // of the temporary file; empty keeps all in memory
	limit int    // octets of names after which a run is written
	// ahead takes twice the memory, and goes on taking while a run is sorted and written by another goroutine.
	ahead bool

	now, last *batch     // last is the one that is written, or was
	writing   chan error // the end of writing last; nil when nothing is
	failed    error      // why there is no file: all stays in memory from then on

	file *os.File // what follows belongs to the writing
	size int64
	runs []runAt
}

// batch is as much as is sorted in memory. An entry is its list and what it says, as a uvarint, then its wire name; in
// the file its hash comes first.
type batch struct {
	arena []byte
	order []sortKey
	spare []sortKey
}

type sortKey struct {
	hash     uint64
	from, to uint32 // in arena
}

type runAt struct{ from, to int64 }

// runMemory is the arena of a batch; its keys, and room to sort them, take one and a half times as much.
const runMemory = 5 << 20

func (s *sorter) add(hash uint64, said saying, name []byte) {
	if s.now == nil {
		s.now = &batch{}
		if s.dir != "" { // then it need not grow, and leaves no garbage
			s.now.arena, s.now.order = make([]byte, 0, s.limit), make([]sortKey, 0, s.limit/20)
		}
	}
	b := s.now
	if s.dir != "" && s.failed == nil && (len(b.arena)+2*maxName > s.limit || len(b.order) == cap(b.order)) {
		s.spill()
		b = s.now
	}
	from := uint32(len(b.arena))
	b.arena = binary.AppendUvarint(b.arena, uint64(said.list)<<4|uint64(said.what))
	b.arena = append(b.arena, name...)
	b.order = append(b.order, sortKey{hash, from, uint32(len(b.arena))})
}

// full says whether the arena is at the end of what an offset can say.
func (s *sorter) full() bool { return s.now != nil && uint64(len(s.now.arena)) > 1<<32-1<<16 }

// spill has what is in memory written as a run.
func (s *sorter) spill() {
	if s.wait(); s.failed != nil {
		return
	}
	if !s.ahead {
		s.failed = s.write(s.now)
		return
	}
	if s.last == nil {
		s.last = &batch{arena: make([]byte, 0, s.limit), order: make([]sortKey, 0, s.limit/20)}
	}
	s.now, s.last = s.last, s.now
	writing := make(chan error, 1)
	go func(b *batch) { writing <- s.write(b) }(s.last) // wait waits for it
	s.writing = writing
}

// wait waits for the end of writing.
func (s *sorter) wait() {
	if s.writing != nil {
		s.failed = <-s.writing
		s.writing = nil
	}
}

// write writes a batch as a run, and leaves it empty.
func (s *sorter) write(b *batch) error {
	if s.file == nil {
		file, err := temporary(s.dir)
		if err != nil {
			return err
		}
		s.file = file
	}
	b.sort()
	out := bufio.NewWriterSize(io.NewOffsetWriter(s.file, s.size), 256<<10)
	from := s.size
	var hash [8]byte
	for _, k := range b.order {
		binary.LittleEndian.PutUint64(hash[:], k.hash)
		_, _ = out.Write(hash[:])
		_, _ = out.Write(b.arena[k.from:k.to])
		s.size += int64(8 + k.to - k.from)
	}
	if err := out.Flush(); err != nil {
		s.size = from
		return fmt.Errorf("temporary file: %w", err)
	}
	s.runs = append(s.runs, runAt{from, s.size})
	b.arena, b.order = b.arena[:0], b.order[:0]
	return nil
}

// nameLen returns the octets of the wire name that data begins with, or 0 when it does not hold a whole one.
func nameLen(data []byte) int {
	at := 0
	for at < len(data) && data[at] != 0 {
		at += 1 + int(data[at])
	}
	if at >= len(data) {
		return 0
	}
	return at + 1
}

// readRecord returns what the buffer of in begins with: a hash, a number and a wire name, and the octets that they take,
// 0 at the end. They are good until the next read.
func readRecord(in *bufio.Reader) (hash uint64, number uint32, name []byte, size int, err error) {
	begin, err := in.Peek(8 + 5 + maxName)
	if len(begin) == 0 && err == io.EOF {
		return 0, 0, nil, 0, nil
	}
	if err != nil && err != io.EOF {
		return 0, 0, nil, 0, fmt.Errorf("temporary file: %w", err)
	}
	if len(begin) > 8 {
		v, n := binary.Uvarint(begin[8:])
		if n > 0 {
			name = begin[8+n:]
			if size := nameLen(name); size > 0 {
				return binary.LittleEndian.Uint64(begin), uint32(v), name[:size], 8 + n + size, nil
			}
		}
	}
	return 0, 0, nil, 0, fmt.Errorf("temporary file: %w", io.ErrUnexpectedEOF)
}

// sort orders the keys by their hashes: by their highest bits in three rounds, then, for the few that agree in those, one
// by one.
func (b *batch) sort() {
	n := len(b.order)
	if cap(b.spare) < n {
		b.spare = make([]sortKey, cap(b.order))
	}
	from, to := b.order, b.spare[:n]
	const digit = 11
	for shift := 64 - 3*digit; shift < 64; shift += digit {
		var starts [1 << digit]uint32
		for i := range from {
			starts[from[i].hash>>shift&(1<<digit-1)]++
		}
		sum := uint32(0)
		for i, c := range starts {
			starts[i] = sum
			sum += c
		}
		for i := range from {
			d := from[i].hash >> shift & (1<<digit - 1)
			to[starts[d]] = from[i]
			starts[d]++
		}
		from, to = to, from
	}
	b.order, b.spare = from, to
	for i := 1; i < n; i++ {
		for j := i; j > 0 && from[j].hash < from[j-1].hash; j-- {
			from[j], from[j-1] = from[j-1], from[j]
		}
	}
}

// cursors returns all that was added, as sequences in order. Nothing may be added any more.
func (s *sorter) cursors() []*cursor {
	s.wait()
	var all []*cursor
	for _, b := range []*batch{s.now, s.last} {
		if b != nil && len(b.order) > 0 {
			b.sort()
			all = append(all, &cursor{memory: b})
		}
	}
	for _, run := range s.runs {
		in := io.NewSectionReader(s.file, run.from, run.to-run.from)
		all = append(all, &cursor{in: bufio.NewReaderSize(in, 64<<10)})
	}
	return all
}

// close gives up the temporary file.
func (s *sorter) close() {
	s.wait()
	if s.file != nil {
		_ = s.file.Close() // it has no name
	}
}

// temporary returns a file in dir that nobody else sees and that goes with its closing.
func temporary(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, ".sort-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// cursor walks one ordered sequence of names and what is said of each: a run of a sorter, or a matcher. It stands
// before the first until next is called.
type cursor struct {
	hash uint64
	name []byte   // good until next
	says []saying // likewise

	memory *batch // of a run in memory
	at     int
	in     *bufio.Reader // of a run in a file
	nodes  *nodeReader   // of a matcher
	said   [1]saying
	room   [maxName]byte
}

// next goes on to the next name. It is false at the end.
func (c *cursor) next() (bool, error) {
	switch {
	case c.nodes != nil:
		return c.nodes.next(c)
	case c.memory != nil:
		if c.at == len(c.memory.order) {
			return false, nil
		}
		k := c.memory.order[c.at]
		c.at++
		entry := c.memory.arena[k.from:k.to]
		said, n := binary.Uvarint(entry)
		c.hash, c.name = k.hash, entry[n:]
		c.said[0] = saying{uint32(said >> 4), uint8(said & 15)}
		c.says = c.said[:]
		return true, nil
	}
	hash, said, name, size, err := readRecord(c.in)
	if size == 0 {
		return false, err
	}
	c.hash, c.name = hash, c.room[:copy(c.room[:], name)]
	c.said[0] = saying{said >> 4, uint8(said & 15)}
	c.says = c.said[:]
	_, err = c.in.Discard(size)
	return true, err
}
