package blocklist

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// merge reads sequences of names side by side and makes them one, in which each name stands once with all that is said
// of it. The names go to a temporary file, or to memory where there is none, until it is known how many they are.
type merge struct {
	*interner
	dir    string
	names  int
	named  []int // nodes per value
	depths [2]uint64
	deep   int
	sample codeSample

	file   *os.File
	out    *bufio.Writer
	memory []byte
	size   int64
	record []byte

	// each, if it is set, is shown every name with all that was said of it, in no order, before it is kept. It returns
	// what of that counts.
	each func(name []byte, says []saying) []saying
}

// run merges all of the sequences.
func (m *merge) run(ctx context.Context, from []*cursor) error {
	heap := make([]*cursor, 0, len(from))
	for _, c := range from {
		if err := advance(&heap, c); err != nil {
			return err
		}
	}
	for i := len(heap)/2 - 1; i >= 0; i-- {
		sink(heap, i)
	}
	var name []byte
	var says []saying
	for steps := 0; len(heap) > 0; steps++ {
		if steps&0xffff == 0xffff && ctx.Err() != nil {
			return ctx.Err()
		}
		hash := heap[0].hash
		name, says = append(name[:0], heap[0].name...), says[:0]
		for len(heap) > 0 && heap[0].hash == hash && bytes.Equal(heap[0].name, name) {
			c := heap[0]
			says = append(says, c.says...)
			more, err := c.next()
			if err != nil {
				return err
			}
			if !more {
				heap[0] = heap[len(heap)-1]
				heap = heap[:len(heap)-1]
			}
			if len(heap) > 0 {
				sink(heap, 0)
			}
		}
		count := says
		if m.each != nil {
			count = m.each(name, says)
		}
		v := uint32(0)
		for _, said := range count {
			v = m.with(v, said)
		}
		if v == 0 {
			continue
		}
		if err := m.keep(hash, v, name); err != nil {
			return err
		}
	}
	if m.out != nil {
		if err := m.out.Flush(); err != nil {
			return fmt.Errorf("temporary file: %w", err)
		}
	}
	return nil
}

// advance adds c to the heap if it has a name left.
func advance(heap *[]*cursor, c *cursor) error {
	more, err := c.next()
	if more {
		*heap = append(*heap, c)
	}
	return err
}

// sink lets the cursor at i down to its place.
func sink(heap []*cursor, i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(heap); child++ {
			if before(heap[child], heap[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		heap[i], heap[least] = heap[least], heap[i]
		i = least
	}
}

func before(a, b *cursor) bool {
	if a.hash != b.hash {
		return a.hash < b.hash
	}
	return bytes.Compare(a.name, b.name) < 0
}

// keep takes one name.
func (m *merge) keep(hash uint64, v uint32, name []byte) error {
	m.names++
	for int(v) >= len(m.named) {
		m.named = append(m.named, 0)
	}
	m.named[v]++
	d := 0
	for at := 0; name[at] != 0; at += 1 + int(name[at]) {
		d++
	}
	m.depths[d>>6] |= 1 << (d & 63)
	m.deep = max(m.deep, d)
	m.sample.see(name)

	m.record = binary.LittleEndian.AppendUint64(m.record[:0], hash)
	m.record = binary.AppendUvarint(m.record, uint64(v))
	m.record = append(m.record, name...)
	m.size += int64(len(m.record))
	if m.dir == "" || m.out == nil && len(m.memory)+len(m.record) < mergeMemory {
		m.memory = append(m.memory, m.record...)
		return nil
	}
	if m.out == nil {
		file, err := temporary(m.dir)
		if err != nil {
			return err
		}
		m.file, m.out = file, bufio.NewWriterSize(file, 256<<10)
	}
	_, err := m.out.Write(m.record)
	return err
}

// mergeMemory is how many octets of names a merge keeps in memory before it makes a file.
const mergeMemory = 4 << 20

// records reads what was kept, in order.
func (m *merge) records(do func(hash uint64, v uint32, name []byte) error) error {
	var in io.Reader = bytes.NewReader(m.memory)
	if m.file != nil {
		if _, err := m.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		in = io.MultiReader(in, m.file)
	}
	r := bufio.NewReaderSize(in, 256<<10)
	for {
		hash, v, name, size, err := readRecord(r)
		if size == 0 {
			return err
		}
		if err := do(hash, v, name); err != nil {
			return err
		}
		if _, err := r.Discard(size); err != nil {
			return err
		}
	}
}

// close gives up what was kept.
func (m *merge) close() {
	if m.file != nil {
		_ = m.file.Close() // it has no name
	}
	m.memory = nil
}
