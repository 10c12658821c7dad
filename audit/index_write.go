package audit

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// runBlockOctets is for how many octets a block is closed: a look-up unpacks one.
const runBlockOctets = 32 << 10

// A runWriter writes one run. Entries must come in the order of the format. After
// an error it writes nothing more, and finish returns it.
type runWriter struct {
	head       runHead
	categories []string
	stepTimes  []int64

	file *os.File
	buf  *bufio.Writer
	z    *zstd.Encoder
	err  error
	turn func() error // called after each block

	section uint8
	entries uint32
	keys    []byte
	vals    []byte
	first   []byte // key of the block
	last    []byte // key before
	raw     []byte
	packed  []byte
	blocks  []byte // of the directory
	count   int
}

// newRunWriter begins a run in a file of its own, which finish gives its name.
func newRunWriter(dir string, head runHead, categories []string, stepTimes []int64, level zstd.EncoderLevel, turn func() error) (*runWriter, error) {
	f, err := os.CreateTemp(dir, "*"+newSuffix)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithEncoderLevel(level), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return &runWriter{head: head, categories: categories, stepTimes: stepTimes, file: f, buf: bufio.NewWriterSize(f, 1<<18), z: z, turn: turn}, nil
}

// add appends an entry.
func (w *runWriter) add(section uint8, key []byte, k *runValue) {
	if w.err != nil {
		return
	}
	if section != w.section || len(w.keys)+len(w.vals) >= runBlockOctets {
		w.flush()
		w.section = section
	}
	if w.entries == 0 {
		w.first, w.last = append(w.first[:0], key...), w.last[:0]
	}
	shared := 0
	for shared < len(key) && shared < len(w.last) && key[shared] == w.last[shared] {
		shared++
	}
	w.keys = appendUvarint(w.keys, uint64(shared))
	w.keys = appendUvarint(w.keys, uint64(len(key)-shared))
	w.keys = append(w.keys, key[shared:]...)
	w.last = append(w.last[:0], key...)
	w.entries++
	w.vals = w.value(w.vals, section, k)
}

func (w *runWriter) value(b []byte, section uint8, k *runValue) []byte {
	single := section == byAsked && k.count == 1
	if section == byAsked {
		if k.blocked == 0 {
			b = appendUvarint(b, k.count<<1)
		} else {
			b = appendUvarint(appendUvarint(b, k.count<<1|1), k.blocked)
		}
	}
	if !single {
		b = appendUvarint(b, uint64(len(k.steps)))
	}
	b = appendGaps(b, k.steps)
	if section > byAsked {
		return b
	}
	b = appendUvarint(b, zigzag(k.first-w.stepTimes[k.steps[0]]))
	if !single {
		b = appendUvarint(b, zigzag(k.last-w.stepTimes[k.steps[len(k.steps)-1]]))
	}
	if section == byClient {
		return appendCells(b, k.cells)
	}
	if !single {
		b = appendUvarint(b, uint64(len(k.clients)))
	}
	b = appendGaps(b, k.clients)
	if !single {
		place := 0
		for k.clients[place] != k.firstClient {
			place++
		}
		b = appendUvarint(b, uint64(place))
	}
	return b
}

// appendCells appends cells that are in order.
func appendCells(b []byte, cells []cell) []byte {
	hours := 0
	for i := range cells {
		if i == 0 || cells[i].hour != cells[i-1].hour {
			hours++
		}
	}
	b = appendUvarint(b, uint64(hours))
	before := int64(0)
	for len(cells) > 0 {
		n := 1
		for n < len(cells) && cells[n].hour == cells[0].hour {
			n++
		}
		b = appendUvarint(b, zigzag(cells[0].hour-before))
		before = cells[0].hour
		b = appendUvarint(b, uint64(n))
		for _, c := range cells[:n] {
			b = appendUvarint(appendUvarint(b, uint64(c.kind)), c.queries)
		}
		cells = cells[n:]
	}
	return b
}

// flush ends a block.
func (w *runWriter) flush() {
	if w.entries == 0 || w.err != nil {
		return
	}
	w.raw = append(appendUvarint(w.raw[:0], uint64(len(w.keys))), w.keys...)
	w.raw = append(w.raw, w.vals...)
	if len(w.raw) > maxRunBlock {
		w.err = fmt.Errorf("a block of %d octets is too large", len(w.raw))
		return
	}
	w.packed = w.z.EncodeAll(w.raw, w.packed[:0])
	w.describe(w.packed, len(w.raw))
	if _, w.err = w.buf.Write(w.packed); w.err == nil && w.turn != nil {
		w.err = w.turn()
	}
}

// describe adds a block to the directory.
func (w *runWriter) describe(packed []byte, unpacked int) {
	w.blocks = append(w.blocks, w.section)
	w.blocks = appendUvarint(w.blocks, uint64(w.entries))
	w.blocks = appendUvarint(w.blocks, uint64(len(packed)))
	w.blocks = appendUvarint(w.blocks, uint64(unpacked))
	w.blocks = binary.BigEndian.AppendUint32(w.blocks, crc32.Checksum(packed, castagnoli))
	w.blocks = append(appendUvarint(w.blocks, uint64(len(w.first))), w.first...)
	w.count++
	w.entries, w.keys, w.vals = 0, w.keys[:0], w.vals[:0]
}

func (w *runWriter) directory() []byte {
	b := appendUvarint(nil, uint64(len(w.categories)))
	for _, s := range w.categories {
		b = append(appendUvarint(b, uint64(len(s))), s...)
	}
	before := w.head.min
	for _, at := range w.stepTimes {
		b = appendUvarint(b, zigzag(at-before))
		before = at
	}
	return append(appendUvarint(b, uint64(w.count)), w.blocks...)
}

// finish ends the run and returns it, whole on disk under its name.
func (w *runWriter) finish() (*run, error) {
	w.flush()
	directory := w.directory()
	name := w.file.Name()
	if w.err == nil {
		_, w.err = w.buf.Write(w.head.append(directory, directory))
	}
	if w.err == nil {
		w.err = w.buf.Flush()
	}
	if w.err == nil {
		w.err = w.file.Sync()
	}
	w.err = errors.Join(w.err, w.file.Close(), w.z.Close())
	dir := filepath.Dir(name)
	path := filepath.Join(dir, runName(&w.head))
	if w.err == nil {
		w.err = os.Rename(name, path)
	}
	if w.err != nil {
		os.Remove(name)
		return nil, w.err
	}
	if err := syncDir(dir); err != nil {
		return nil, err
	}
	return openRun(path)
}

// abandon ends a run that is not to be.
func (w *runWriter) abandon() {
	w.file.Close()
	w.z.Close()
	os.Remove(w.file.Name())
}

const runSuffix = ".run"

// runName is in the order of sequence numbers, and another for each range and number of merges.
func runName(h *runHead) string {
	return fmt.Sprintf("%020d-%020d-%d%s", h.first, h.last, h.merges, runSuffix)
}

func appendUvarint(b []byte, v uint64) []byte {
	if v < 0x80 {
		return append(b, byte(v))
	}
	return binary.AppendUvarint(b, v)
}
