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
//
// In memory and in runs an entry is its list and what it says, as a uvarint, then its wire name; the file has its hash
// before it.
type sorter struct {
	dir    string // of the temporary file; empty keeps all in memory
	limit  int    // octets of arena after which a run is written
	arena  []byte
	order  []sortKey
	spare  []sortKey
	file   *os.File
	size   int64
	runs   []runAt // in the file
	failed error   // why there is no file: all stays in memory from then on
}

type sortKey struct {
	hash uint64
	at   uint32 // in arena
}

type runAt struct{ from, to int64 }

// runMemory is the arena of a sorter; its keys, and room to sort them, take one and a half times as much.
const runMemory = 5 << 20

func (s *sorter) add(hash uint64, said saying, name []byte) {
	if s.arena == nil && s.dir != "" { // then it need not grow, and leaves no garbage
		s.arena = make([]byte, 0, s.limit)
		s.order = make([]sortKey, 0, s.limit/20)
	}
	if (len(s.arena)+2*maxName > s.limit || len(s.order) == cap(s.order)) && s.dir != "" && s.failed == nil {
		s.failed = s.spill()
	}
	s.order = append(s.order, sortKey{hash, uint32(len(s.arena))})
	s.arena = binary.AppendUvarint(s.arena, uint64(said.list)<<4|uint64(said.what))
	s.arena = append(s.arena, name...)
}

// full says whether the arena is at the end of what an offset can say.
func (s *sorter) full() bool { return uint64(len(s.arena)) > 1<<32-1<<16 }

// spill writes what is in memory as a run.
func (s *sorter) spill() error {
	if s.file == nil {
		file, err := temporary(s.dir)
		if err != nil {
			return err
		}
		s.file = file
	}
	s.sort()
	out := bufio.NewWriterSize(io.NewOffsetWriter(s.file, s.size), 256<<10)
	from := s.size
	var buf [8]byte
	for i := range s.order {
		k := &s.order[i]
		end := s.entryEnd(k.at)
		binary.LittleEndian.PutUint64(buf[:], k.hash)
		_, _ = out.Write(buf[:])
		_, _ = out.Write(s.arena[k.at:end])
		s.size += int64(8 + end - int(k.at))
	}
	if err := out.Flush(); err != nil {
		s.size = from
		return fmt.Errorf("temporary file: %w", err)
	}
	s.runs = append(s.runs, runAt{from, s.size})
	s.arena, s.order = s.arena[:0], s.order[:0]
	return nil
}

// entryEnd returns where the entry of the arena ends.
func (s *sorter) entryEnd(at uint32) int {
	_, n := binary.Uvarint(s.arena[at:])
	return int(at) + n + nameLen(s.arena[int(at)+n:])
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
func (s *sorter) sort() {
	n := len(s.order)
	if cap(s.spare) < n {
		s.spare = make([]sortKey, cap(s.order))
	}
	from, to := s.order, s.spare[:n]
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
	s.order, s.spare = from, to
	for i := 1; i < n; i++ {
		for j := i; j > 0 && from[j].hash < from[j-1].hash; j-- {
			from[j], from[j-1] = from[j-1], from[j]
		}
	}
}

// cursors returns all that was added, as sequences in order. The sorter must not be used any more.
func (s *sorter) cursors() []*cursor {
	var all []*cursor
	if len(s.order) > 0 {
		s.sort()
		all = append(all, &cursor{memory: s})
	}
	for _, run := range s.runs {
		in := io.NewSectionReader(s.file, run.from, run.to-run.from)
		all = append(all, &cursor{in: bufio.NewReaderSize(in, 64<<10)})
	}
	return all
}

// close gives up the temporary file.
func (s *sorter) close() {
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

	memory *sorter // of a run in memory
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
		said, n := binary.Uvarint(c.memory.arena[k.at:])
		name := c.memory.arena[int(k.at)+n:]
		c.hash, c.name = k.hash, name[:nameLen(name)]
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
