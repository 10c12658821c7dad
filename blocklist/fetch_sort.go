package blocklist

import (
	"bufio"
	"bytes"
	"container/heap"
	"context"
	"io"
	"slices"
)

// lineSorter puts lines in order, each once, and holds no more than some of them in memory: when those are too many
// they go to a file as a run, in order among themselves, and in the end the runs are merged.
type lineSorter struct {
	open func() (*draft, error) // for the file of runs

	text  []byte
	spans []span
	file  *draft // nil without runs
	runs  []int64
	most  int // octets in memory; 0 is sortMemory
}

const sortMemory = 16 << 20

// span is a line in lineSorter.text.
type span struct{ from, to int }

// add takes a line.
func (s *lineSorter) add(line string) error {
	most := sortMemory
	if s.most > 0 {
		most = s.most
	}
	if len(s.text)+len(line) > most && len(s.spans) > 0 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	from := len(s.text)
	s.text = append(s.text, line...)
	s.spans = append(s.spans, span{from, len(s.text)})
	return nil
}

// held gives the lines in memory in order, each once.
func (s *lineSorter) held(put func(line []byte) error) error {
	at := func(p span) []byte { return s.text[p.from:p.to] }
	slices.SortFunc(s.spans, func(a, b span) int { return bytes.Compare(at(a), at(b)) })
	for i, p := range s.spans {
		if i > 0 && bytes.Equal(at(p), at(s.spans[i-1])) {
			continue
		}
		if err := put(at(p)); err != nil {
			return err
		}
	}
	return nil
}

// spill makes a run of the lines in memory.
func (s *lineSorter) spill() error {
	if s.file == nil {
		file, err := s.open()
		if err != nil {
			return err
		}
		s.file = file
	}
	out := bufio.NewWriterSize(s.file, sampleSize)
	err := s.held(func(line []byte) error {
		if _, err := out.Write(line); err != nil {
			return err
		}
		return out.WriteByte('\n')
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return effect(err)
	}
	end, err := s.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	s.runs = append(s.runs, end)
	s.text, s.spans = s.text[:0], s.spans[:0]
	return nil
}

// each gives all lines in order, each once, to put.
func (s *lineSorter) each(ctx context.Context, put func(line []byte) error) error {
	n := 0
	checked := func(line []byte) error {
		if n++; n&0xfff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		return put(line)
	}
	if s.file == nil {
		return s.held(checked)
	}
	if err := s.spill(); err != nil {
		return err
	}
	var heads runHeap
	begin := int64(0)
	room := max(4<<10, sortMemory/2/len(s.runs))
	for _, end := range s.runs {
		head := &lineReader{in: bufio.NewReaderSize(io.NewSectionReader(s.file, begin, end-begin), room)}
		begin = end
		if ok, err := head.next(); err != nil {
			return err
		} else if ok {
			heads = append(heads, head)
		}
	}
	heap.Init(&heads)
	var last []byte
	for len(heads) > 0 {
		head := heads[0]
		if last == nil || !bytes.Equal(last, head.line) {
			if err := checked(head.line); err != nil {
				return err
			}
			last = append(last[:0], head.line...)
		}
		ok, err := head.next()
		if err != nil {
			return err
		}
		if ok {
			heap.Fix(&heads, 0)
		} else {
			heap.Pop(&heads)
		}
	}
	return nil
}

// discard removes the file of runs.
func (s *lineSorter) discard() { s.file.discard() }

// runHeap holds runs by their first lines.
type runHeap []*lineReader

func (h runHeap) Len() int           { return len(h) }
func (h runHeap) Less(i, j int) bool { return bytes.Compare(h[i].line, h[j].line) < 0 }
func (h runHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)        { *h = append(*h, x.(*lineReader)) }

// Pop implements heap.Interface.
func (h *runHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
