package blocklist

import (
	"math"
	"math/bits"
)

// fuseMap is a binary fuse filter (Graf, Lemire: Binary Fuse Filters, 2022), 3-wise, whose cells hold a fingerprint
// of a suffix's hash and the number of the block in which its name would stand. A name that is not in it gives a
// random fingerprint, and if that fits, a random block: sortedNames then says no.
// Fingerprints lie apart from the block numbers, so that a miss touches little.
type fuseMap struct {
	seed   seed
	depth  depths
	shape  fuseShape
	bytes  []uint8  // fingerprints of 8 bits,
	words  []uint16 // or of 16
	blocks packed
	names  *sortedNames
}

func buildFuse(wide bool) func(names [][]byte, value func(i int) uint32, s seed) layout {
	return func(names [][]byte, value func(i int) uint32, s seed) layout {
		l := &fuseMap{names: writeSorted(names, value)}
		hashes := make([]uint64, len(names))
		var order []fuseStep
		// Until no two names have one hash, and the filter can be solved: mostly at once.
		for ; ; s = (seed{s.root + 1, s.key + 0x9e3779b97f4a7c16}) {
			var offs [128]uint8
			for i := range hashes {
				name := names[l.names.order[i]]
				n := labels(name, &offs)
				l.depth.add(n)
				hashes[i] = s.name(name, &offs, n)
			}
			l.seed, l.shape = s, newFuseShape(len(names))
			var ok bool
			if order, ok = l.shape.peel(hashes); ok {
				break
			}
		}
		l.names.order = nil
		l.blocks = newPacked(l.shape.cells, bits.Len(uint(l.names.blocks())))
		if wide {
			l.words = make([]uint16, l.shape.cells)
		} else {
			l.bytes = make([]uint8, l.shape.cells)
		}
		for k := len(order) - 1; k >= 0; k-- {
			step := order[k]
			cells := l.shape.cellsOf(hashes[step.key])
			block := uint64(step.key) / sortedBlock
			print := fingerprint(hashes[step.key])
			for _, c := range cells {
				if c == step.cell {
					continue
				}
				block ^= l.blocks.at(c)
				if wide {
					print ^= l.words[c]
				} else {
					print ^= uint16(l.bytes[c])
				}
			}
			l.blocks.set(step.cell, block)
			if wide {
				l.words[step.cell] = print
			} else {
				l.bytes[step.cell] = uint8(print)
			}
		}
		return l
	}
}

func fingerprint(h uint64) uint16 { return uint16(h ^ h>>32) }

func (l *fuseMap) find(h uint64, suffix []byte) uint32 {
	cells := l.shape.cellsOf(h)
	if l.words != nil {
		if l.words[cells[0]]^l.words[cells[1]]^l.words[cells[2]] != fingerprint(h) {
			return 0
		}
	} else if l.bytes[cells[0]]^l.bytes[cells[1]]^l.bytes[cells[2]] != uint8(fingerprint(h)) {
		return 0
	}
	return l.names.find(l.blocks.at(cells[0])^l.blocks.at(cells[1])^l.blocks.at(cells[2]), suffix)
}

func (l *fuseMap) cover(name []byte) (v uint32) {
	var offs [128]uint8
	n := labels(name, &offs)
	h := l.seed.root
	for d := 1; d <= min(n, l.depth.max); d++ {
		off := int(offs[n-d])
		h = l.seed.label(h, name, off, int(offs[n-d+1]))
		if d < l.depth.min {
			continue
		}
		if found := l.find(h, name[off:]); found != 0 {
			v = found
		}
	}
	return v
}

func (l *fuseMap) hashSeed() seed { return l.seed }

func (l *fuseMap) size() (memory, mapped int) {
	return cap(l.bytes) + 2*cap(l.words) + 8*cap(l.blocks.words), len(l.names.file)
}

func (l *fuseMap) close() { l.names.close() }

// fuseShape is where the three cells of a key may be: in three consecutive segments.
type fuseShape struct {
	cells   int
	segment uint32 // length, a power of two
	starts  uint64 // cells in which the first of three may be
}

func newFuseShape(n int) fuseShape {
	size := float64(max(n, 2))
	segment := 1 << min(18, int(math.Floor(math.Log(size)/math.Log(3.33)+2.25)))
	factor := max(1.125, 0.875+0.25*math.Log(1e6)/math.Log(size))
	segments := max(1, (int(size*factor)+segment-1)/segment-2)
	return fuseShape{cells: (segments + 2) * segment, segment: uint32(segment), starts: uint64(segments * segment)}
}

func (f *fuseShape) cellsOf(h uint64) [3]uint32 {
	high, _ := bits.Mul64(h, f.starts)
	first := uint32(high)
	mask := f.segment - 1
	return [3]uint32{first, (first + f.segment) ^ uint32(h>>18)&mask, (first + 2*f.segment) ^ uint32(h)&mask}
}

// fuseStep says that key is the only one of those after it that has cell.
type fuseStep struct{ key, cell uint32 }

// peel takes away a key that alone has one of its cells, again and again, and returns the keys in that order. It is
// false when that does not reach all keys, which another seed mends.
func (f *fuseShape) peel(hashes []uint64) (order []fuseStep, ok bool) {
	count := make([]uint8, f.cells)
	keys := make([]uint32, f.cells) // combined by exclusive or
	for key, h := range hashes {
		for _, c := range f.cellsOf(h) {
			if count[c]++; count[c] == 0 {
				return nil, false
			}
			keys[c] ^= uint32(key)
		}
	}
	order = make([]fuseStep, 0, len(hashes))
	var alone []uint32
	for c := range count {
		for alone = append(alone[:0], uint32(c)); len(alone) > 0; {
			c := alone[len(alone)-1]
			alone = alone[:len(alone)-1]
			if count[c] != 1 {
				continue
			}
			key := keys[c]
			order = append(order, fuseStep{key, c})
			for _, other := range f.cellsOf(hashes[key]) {
				keys[other] ^= key
				if count[other]--; count[other] == 1 {
					alone = append(alone, other)
				}
			}
		}
	}
	return order, len(order) == len(hashes)
}

// packed is an array of numbers of few bits.
type packed struct {
	words []uint64
	width int
}

func newPacked(n, width int) packed { return packed{make([]uint64, n*width/64+2), width} }

func (p packed) at(i uint32) uint64 {
	bit := int(i) * p.width
	w, shift := bit>>6, bit&63
	return (p.words[w]>>shift | p.words[w+1]<<1<<(63-shift)) & (1<<p.width - 1)
}

// set writes a number where there is 0.
func (p packed) set(i uint32, v uint64) {
	bit := int(i) * p.width
	w, shift := bit>>6, bit&63
	p.words[w] |= v << shift
	p.words[w+1] |= v >> 1 >> (63 - shift)
}
