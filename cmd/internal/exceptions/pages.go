package exceptions

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
)

// The pages of a bbolt file, as its internal/common and internal/freelist lay
// them out. Numbers are in the machine's own order.
const (
	pageHead = 16 // id (8), flags (2), count (2), overflow (4)
	element  = 16 // leaf: flags, position, key, value (4 each); branch: position, key (4 each), page (8)
	metaSize = 64 // magic, version, page size, flags (4 each), root, sequence, freelist, high, transaction, checksum (8 each)

	branchPage = 0x01
	leafPage   = 0x02
	freePage   = 0x10

	bucketElement = 0x01
	bucketHead    = 16 // root (8), sequence (8)

	boltMagic   = 0xED0CDAED
	boltVersion = 2

	minPage  = 1 << 10
	maxPage  = 1 << 16
	maxFile  = 1 << 30
	maxDepth = 32
)

var order = binary.NativeEndian

// pages are those of one file.
type pages struct {
	file  io.ReaderAt
	size  uint64 // octets of a page
	high  uint64 // all pages have numbers below
	taken []bool // by number
}

// A meta is a meta page.
type meta struct{ size, root, free, high, tx uint64 }

// checkPages proves that bbolt can read a file of so many octets and write to it:
// that it finds the bucket and nothing beside it, and goes nowhere else and no way twice.
// What it allocates is no more than the file is long.
func checkPages(file io.ReaderAt, length int64) error {
	if length > maxFile {
		return fmt.Errorf("its length is %d octets, the most is %d", length, maxFile)
	}
	first, err := readMeta(file, 0)
	if err != nil {
		return fmt.Errorf("page 0: %w", err)
	}
	second, err := readMeta(file, int64(first.size))
	if err != nil {
		return fmt.Errorf("page 1: %w", err)
	}
	if second.tx > first.tx {
		first, second = second, first
	}
	m := first
	switch {
	case first.tx != second.tx+1 || first.size != second.size:
		return fmt.Errorf("pages 0 and 1: they are of transactions %d and %d", first.tx, second.tx)
	case m.high < 4 || m.high > uint64(length)/m.size:
		return fmt.Errorf("it ends within its %d pages", m.high)
	}
	p := &pages{file, m.size, m.high, make([]bool, m.high)}
	p.taken[0], p.taken[1] = true, true
	return p.check(m)
}

func readMeta(file io.ReaderAt, at int64) (m meta, err error) {
	var b [pageHead + metaSize]byte
	if _, err := file.ReadAt(b[:], at); err != nil {
		return m, fmt.Errorf("read it: %w", err)
	}
	body := b[pageHead:]
	sum := fnv.New64a()
	sum.Write(body[:metaSize-8])
	switch {
	case order.Uint32(body) != boltMagic || order.Uint32(body[4:]) != boltVersion:
		return m, fmt.Errorf("it does not begin like one of bbolt")
	case order.Uint64(body[metaSize-8:]) != sum.Sum64():
		return m, fmt.Errorf("its checksum does not match")
	}
	m = meta{
		size: uint64(order.Uint32(body[8:])), root: order.Uint64(body[16:]),
		free: order.Uint64(body[32:]), high: order.Uint64(body[40:]), tx: order.Uint64(body[48:]),
	}
	if m.size < minPage || m.size > maxPage || m.size&(m.size-1) != 0 {
		return m, fmt.Errorf("pages of %d octets", m.size)
	}
	return m, nil
}

// check walks all pages of that meta page.
func (p *pages) check(m meta) error {
	root, err := p.page(m.root)
	if err != nil {
		return err
	}
	if root.flags != leafPage || root.count != 1 {
		return fmt.Errorf("page %d: it does not hold one bucket", m.root)
	}
	flags, key, value, err := root.leaf(0)
	switch {
	case err != nil:
		return err
	case flags != bucketElement || string(key) != bucketName:
		return fmt.Errorf("page %d: it does not hold the bucket %q", m.root, bucketName)
	case len(value) < bucketHead:
		return fmt.Errorf("page %d: its bucket has no head", m.root)
	}
	if at := order.Uint64(value); at != 0 {
		err = p.tree(at, nil, nil, 0)
	} else if len(value) < bucketHead+pageHead {
		err = fmt.Errorf("page %d: its bucket has no page", m.root)
	} else { // a small bucket lies where its number would be
		err = newPage(m.root, value[bucketHead:]).leaves(nil, nil)
	}
	if err != nil {
		return err
	}
	return p.free(m.free)
}

// tree walks the page and all below. Their keys are at least from and below to, if there is a to.
func (p *pages) tree(id uint64, from, to []byte, depth int) error {
	g, err := p.page(id)
	if err != nil {
		return err
	}
	switch {
	case g.flags == leafPage:
		return g.leaves(from, to)
	case g.flags != branchPage || g.count == 0 || depth == maxDepth:
		return fmt.Errorf("page %d: no page of its kind can be here", id)
	}
	key, child, err := g.branch(0)
	if err != nil {
		return err
	}
	if bytes.Compare(key, from) < 0 {
		return g.disorder(0)
	}
	for i := range g.count {
		next, after := to, uint64(0)
		if i+1 < g.count {
			if next, after, err = g.branch(i + 1); err != nil {
				return err
			}
		}
		if next != nil && bytes.Compare(key, next) >= 0 {
			return g.disorder(i)
		}
		if err := p.tree(child, key, next, depth+1); err != nil {
			return err
		}
		key, child = next, after
	}
	return nil
}

// free proves the list of free pages.
func (p *pages) free(id uint64) error {
	g, err := p.page(id)
	if err != nil {
		return err
	}
	count, list := uint64(g.count), g.octets[pageHead:]
	if g.count == 0xffff { // then the first entry says how many
		count, list = order.Uint64(list), list[8:]
	}
	if g.flags != freePage || count > uint64(len(list))/8 {
		return fmt.Errorf("page %d: it is no list of free pages", id)
	}
	var before uint64
	for i := range count {
		n := order.Uint64(list[8*i:])
		if n <= before || n >= p.high || p.taken[n] {
			return fmt.Errorf("page %d: it says that page %d is free", id, n)
		}
		before = n
	}
	return nil
}

// page takes a page with all that belongs to it.
func (p *pages) page(id uint64) (*page, error) {
	if id >= p.high || p.taken[id] {
		return nil, fmt.Errorf("page %d: it cannot be where it is looked for", id)
	}
	var head [pageHead]byte
	at := int64(id * p.size)
	if _, err := p.file.ReadAt(head[:], at); err != nil {
		return nil, fmt.Errorf("page %d: read it: %w", id, err)
	}
	more := uint64(order.Uint32(head[12:]))
	if order.Uint64(head[:]) != id || more >= p.high-id {
		return nil, fmt.Errorf("page %d: it says that it is page %d, with %d more", id, order.Uint64(head[:]), more)
	}
	for n := id; n <= id+more; n++ {
		if p.taken[n] {
			return nil, fmt.Errorf("page %d: it is part of another", n)
		}
		p.taken[n] = true
	}
	octets := make([]byte, (more+1)*p.size)
	if _, err := p.file.ReadAt(octets, at); err != nil {
		return nil, fmt.Errorf("page %d: read it: %w", id, err)
	}
	return newPage(id, octets), nil
}

// A page is one with its head and all that belongs to it.
type page struct {
	id     uint64
	flags  uint16
	count  int
	octets []byte
}

func newPage(id uint64, octets []byte) *page {
	return &page{id, order.Uint16(octets[8:]), int(order.Uint16(octets[10:])), octets}
}

// element returns entry i of the page's table, and all that its position can point to.
func (g *page) element(i int) (entry, rest []byte, err error) {
	at := pageHead + i*element
	if at+element > len(g.octets) {
		return nil, nil, g.outside(i)
	}
	return g.octets[at : at+element], g.octets[at:], nil
}

func (g *page) leaf(i int) (flags uint32, key, value []byte, err error) {
	e, rest, err := g.element(i)
	if err != nil {
		return 0, nil, nil, err
	}
	at, k, v := uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
	if at+k+v > uint64(len(rest)) {
		return 0, nil, nil, g.outside(i)
	}
	return order.Uint32(e), rest[at : at+k], rest[at+k : at+k+v], nil
}

func (g *page) branch(i int) (key []byte, child uint64, err error) {
	e, rest, err := g.element(i)
	if err != nil {
		return nil, 0, err
	}
	at, k := uint64(order.Uint32(e)), uint64(order.Uint32(e[4:]))
	if at+k > uint64(len(rest)) {
		return nil, 0, g.outside(i)
	}
	return rest[at : at+k], order.Uint64(e[8:]), nil
}

// leaves proves the exceptions of a page. Their keys are at least from and below to, if there is a to.
func (g *page) leaves(from, to []byte) error {
	if g.flags != leafPage {
		return fmt.Errorf("page %d: no page of its kind can be here", g.id)
	}
	before := from
	for i := range g.count {
		flags, key, _, err := g.leaf(i)
		if err != nil {
			return err
		}
		c := bytes.Compare(before, key)
		if flags != 0 || c > 0 || c == 0 && i > 0 || len(key) == 0 || to != nil && bytes.Compare(key, to) >= 0 {
			return g.disorder(i)
		}
		before = key
	}
	return nil
}

func (g *page) outside(i int) error {
	return fmt.Errorf("page %d: its entry %d points out of it", g.id, i)
}

func (g *page) disorder(i int) error {
	return fmt.Errorf("page %d: its entry %d cannot be there", g.id, i)
}
