package audit

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"sort"
)

// A runReader reads a run's blocks. It is for one goroutine.
type runReader struct {
	*run
	file *os.File
	u    *unpacker
	in   []byte
	raw  []byte

	next   int // block after the one that is read
	stop   int // block at which the section ends
	left   uint32
	keys   cursor
	key    []byte
	shared int // octets of it that are those of the key before in the block
	vals   cursor
	ahead  int // values before that of key that have not been read
	err    error
}

func (r *run) reader(u *unpacker) (*runReader, error) {
	f, err := os.Open(r.path)
	if err != nil {
		return nil, err
	}
	return &runReader{run: r, file: f, u: u}, nil
}

func (r *runReader) close() { r.file.Close() }

// begin makes next go through a section, from the first key that is not less than
// from; nil is all.
func (r *runReader) begin(section uint8, from []byte) {
	first, end := r.sections[section], r.sections[section+1]
	if from != nil { // the block before the first that begins behind from
		n := sort.Search(end-first, func(i int) bool { return bytes.Compare(r.blocks[first+i].key, from) > 0 })
		first += max(n-1, 0)
	}
	r.next, r.stop, r.left, r.ahead, r.err = first, end, 0, 0, nil
	r.key = r.key[:0]
}

// only makes next go through block n.
func (r *runReader) only(n int) {
	r.next, r.stop, r.left, r.ahead, r.err = n, n+1, 0, 0, nil
}

// step moves to the next key, which is r.key until the next call. At the end, or
// at damage, which is then r.err, it is false.
func (r *runReader) step(section uint8) bool {
	if r.err != nil {
		return false
	}
	for r.left == 0 {
		if r.next >= r.stop {
			return false
		}
		if r.err = r.block(r.next); r.err != nil {
			return false
		}
		r.next++
	}
	r.left--
	shared, more := r.keys.next(), r.keys.next()
	if shared > uint64(len(r.key)) || more > maxRunKey-shared {
		r.keys.failed = true
	}
	rest := r.keys.take(more)
	if r.keys.failed {
		r.err = r.damage("its keys do not fit")
		return false
	}
	r.key, r.shared = append(r.key[:shared], rest...), int(shared)
	if r.left == 0 && len(r.keys.b) != 0 {
		r.err = r.damage("its keys do not fit")
		return false
	}
	r.ahead++
	return true
}

func (r *runReader) damage(reason string) error {
	return fmt.Errorf("block %d: %s", r.next-1, reason)
}

// block reads block n.
func (r *runReader) block(n int) error {
	b := &r.blocks[n]
	r.in = sized(r.in, int(b.octets))
	if _, err := r.file.ReadAt(r.in, b.at); err != nil {
		return err
	}
	if crc32.Checksum(r.in, castagnoli) != b.sum {
		return fmt.Errorf("block %d: its checksum does not match its content", n)
	}
	if cap(r.raw) < int(b.unpacked)+unpackSlack {
		r.raw = make([]byte, 0, int(b.unpacked)+unpackSlack)
	}
	raw, err := r.u.z.DecodeAll(r.in, r.raw[:0:int(b.unpacked)+unpackSlack])
	if err != nil || len(raw) != int(b.unpacked) {
		return errors.Join(fmt.Errorf("block %d: it does not have the %d octets that it claims", n, b.unpacked), err)
	}
	c := cursor{b: raw}
	r.keys = cursor{b: c.bytes()}
	if c.failed {
		return fmt.Errorf("block %d: its keys do not fit", n)
	}
	r.vals, r.left, r.ahead, r.key = c, b.entries, 0, r.key[:0]
	return nil
}

// A runValue is the value of any key. Its slices are used again by the next one.
type runValue struct {
	steps       []uint32
	span        // not of aliases and addresses; missed is not used
	clients     []uint32
	firstClient uint32 // in clients, as a number of a client
	cells       []cell // of a client, in order
}

// A cell counts the queries of an hour with one verdict in one category.
type cell struct {
	hour    int64
	kind    uint32 // twice the category, counted from one, and 1 if blocked
	queries uint64
}

// value reads what the key that step moved to stands for. k's fields that the section
// does not have are left as they are.
func (r *runReader) value(section uint8, k *runValue) error {
	for ; r.ahead > 0 && r.err == nil; r.ahead-- {
		r.read(section, k)
		if r.vals.failed {
			r.err = r.damage("its values do not fit")
		}
	}
	return r.err
}

func (r *runReader) read(section uint8, k *runValue) {
	c := &r.vals
	single := false
	k.span = span{}
	if section == byAsked {
		n := c.next()
		if k.count = n >> 1; n&1 != 0 {
			k.blocked = c.next()
		}
		single = k.count == 1
	}
	n := uint64(1)
	if !single {
		n = c.next()
	}
	steps := uint64(r.steps())
	k.steps = gaps32(c, k.steps[:0], n, steps)
	if c.failed || len(k.steps) == 0 || section > byAsked {
		c.failed = c.failed || len(k.steps) == 0
		return
	}
	k.first = r.stepTimes[k.steps[0]] + unzigzag(c.next())
	k.last = k.first
	if !single {
		k.last = r.stepTimes[k.steps[len(k.steps)-1]] + unzigzag(c.next())
	}
	if section == byClient {
		r.cells(k)
		return
	}
	if n = 1; !single {
		n = c.next()
	}
	k.clients = gaps32(c, k.clients[:0], n, 1<<32)
	place := uint64(0)
	if !single {
		place = c.next()
	}
	if place >= uint64(len(k.clients)) || k.blocked > k.count {
		c.failed = true
		return
	}
	k.firstClient = k.clients[place]
}

// gaps32 reads n growing numbers, each less than limit.
func gaps32(c *cursor, dst []uint32, n, limit uint64) []uint32 {
	if n > uint64(len(c.b)) || n > limit {
		c.failed = true
		return dst
	}
	dst = slices.Grow(dst, int(n))
	at := uint64(0)
	for range n {
		at += c.next()
		if at >= limit {
			c.failed = true
			return dst
		}
		dst = append(dst, uint32(at))
		at++
	}
	return dst
}

func appendGaps(b []byte, numbers []uint32) []byte {
	at := uint32(0)
	for _, n := range numbers {
		b = appendUvarint(b, uint64(n-at))
		at = n + 1
	}
	return b
}

// cells reads a client's hours and counts its queries.
func (r *runReader) cells(k *runValue) {
	c := &r.vals
	k.cells = k.cells[:0]
	hour := int64(0)
	kinds := uint64(2*len(r.categories) + 2)
	for range c.count() {
		hour += unzigzag(c.next())
		for range c.count() {
			x := cell{hour, uint32(c.next()), c.next()}
			if uint64(x.kind) >= kinds {
				c.failed = true
			}
			if k.count += x.queries; x.kind&1 != 0 {
				k.blocked += x.queries
			}
			k.cells = append(k.cells, x)
		}
		if c.failed {
			return
		}
	}
}
