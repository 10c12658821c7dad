package blocklist

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// layOut makes the matcher of all that m has kept. Its nodes go to out as they come, or, when that is nil, to memory. With
// an out the matcher is not whole before it is mapped.
func layOut(m *merge, seed seed, out io.Writer) (*Matcher, error) {
	x := &Matcher{
		seed: seed, code: m.sample.code(),
		values: m.values, named: m.named, sets: m.interner.sets(),
		names: m.names, groups: uint64(m.names)*100/(8*slotsFilled) + 1,
		depths: m.depths, deep: m.deep,
	}
	for len(x.named) < len(x.values) {
		x.named = append(x.named, 0)
	}
	x.newTags(2 * int(x.groups))
	x.places = make([]byte, 0, placeSize*(x.groups+2))

	l := &layer{m: x}
	if out != nil {
		l.out = bufio.NewWriterSize(out, 256<<10)
	}
	err := m.records(l.node)
	if err == nil {
		err = l.end()
	}
	if err == nil && out == nil {
		x.whole()
	}
	return x, err
}

// layer lays nodes out, in the order of their hashes.
type layer struct {
	m     *Matcher
	out   *bufio.Writer // nil keeps nodes in memory
	w     bitWriter
	begun int // groups that have a place
	next  int // the slot for the next node

	place   int64 // of the last group begun
	written int64 // octets that are not in w any more
}

func (l *layer) node(hash uint64, v uint32, name []byte) error {
	m := l.m
	group := int(home(hash, m.groups))
	slot := max(l.next, 8*group)
	l.next = slot + 1
	if err := l.begin(slot / 8); err != nil {
		return err
	}
	for ; group < slot/8-1; group++ {
		m.tags[2*group] |= spills
	}
	if slot%8 == 4 {
		if half := l.octets() - l.place; half < 256 {
			m.places[len(m.places)-1] = byte(half)
		}
	}
	m.tags[slot/4] |= tagOf(hash) << (16 * (slot % 4))
	begin := len(l.w.out)
	l.w.put(0, 8)
	l.w.number(v - 1)
	l.w.name(m.code, name)
	l.w.align()
	l.w.out[begin] = byte(min(len(l.w.out)-begin-1, longNode))
	return nil
}

// octets returns how many whole octets of nodes there are.
func (l *layer) octets() int64 { return l.written + int64(len(l.w.out)) }

// begin gives all groups up to g their places.
func (l *layer) begin(g int) error {
	if g < l.begun {
		return nil
	}
	if l.out != nil {
		l.written += int64(len(l.w.out))
		if _, err := l.out.Write(l.w.out); err != nil {
			return err
		}
		l.w.out = l.w.out[:0]
	}
	if l.place = l.octets(); l.place > 1<<32-1 {
		return errFull
	}
	for ; l.begun <= g; l.begun++ {
		l.m.places = binary.LittleEndian.AppendUint32(l.m.places, uint32(l.place))
		l.m.places = append(l.m.places, 0)
		if 2*l.begun >= len(l.m.tags) {
			l.m.tags = append(l.m.tags, 0, 0)
		}
	}
	return nil
}

// end closes the layout: behind the last group stand two empty ones, so that each search ends.
func (l *layer) end() error {
	groups := max(int(l.m.groups), (l.next+7)/8)
	if err := l.begin(groups + 1); err != nil {
		return err
	}
	l.w.out = append(l.w.out, make([]byte, codePad)...)
	if l.out == nil {
		l.m.nodes = l.w.out
		return nil
	}
	if _, err := l.out.Write(l.w.out); err != nil {
		return err
	}
	if err := l.out.Flush(); err != nil {
		return fmt.Errorf("compiled names: %w", err)
	}
	return nil
}

// longNode is what the first octet of a node says that has so many more octets, or more than that.
const longNode = 255

// node begins with the node at which the reader stands, and returns the octet at which the next one begins.
func (r *bitReader) node(c *code) (next uint64) {
	at := r.pos / 8
	if at >= uint64(len(r.in)) {
		return at
	}
	r.pos += 8
	if n := uint64(r.in[at]); n < longNode {
		return at + 1 + n
	}
	long := *r
	long.number()
	long.skip(c)
	long.align()
	return long.pos / 8
}

// nodeReader walks the nodes of a matcher in the order of their hashes.
type nodeReader struct {
	m    *Matcher
	says [][]saying // by value; nodes of which nothing is said are passed over
	slot int        // behind the last node
	at   uint64     // the octet of nodes at which the next one begins, if it is of the same group
}

func (n *nodeReader) next(c *cursor) (bool, error) {
	for {
		v, name, err := n.node(c.room[:0])
		if v == 0 {
			return false, err
		}
		if len(n.says[v]) == 0 {
			continue
		}
		var offs [128]uint8
		c.name, c.says, c.hash = name, n.says[v], n.m.seed.name(name, &offs, labels(name, &offs))
		return true, nil
	}
}

// node returns the next node's value and its name, which is appended to dst; 0 behind the last one.
func (n *nodeReader) node(dst []byte) (value uint32, name []byte, err error) {
	m := n.m
	for ; n.slot < 4*len(m.tags); n.slot++ {
		if m.tags[n.slot/4]>>(16*(n.slot%4))&0x7fff == 0 {
			continue
		}
		if n.slot%8 == 0 {
			n.at, _ = m.place(uint64(n.slot / 8))
			if n.slot&0x3ffff == 0 && m.keep != nil {
				forgetPages(m.keep.data) // who walks through all of a file need not keep it in memory
			}
		}
		r := bitReader{in: m.nodes, pos: n.at * 8}
		n.at = r.node(m.code)
		v := r.number() + 1
		name, ok := r.appendName(m.code, dst)
		var offs [128]uint8
		if !ok || labels(name, &offs) < 1 || int(v) >= len(m.values) || v == 0 {
			return 0, nil, errDamaged
		}
		n.slot++
		return v, name, nil
	}
	return 0, nil, nil
}
