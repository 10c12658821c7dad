package audit

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// A dict numbers distinct octet strings of one segment in the order in which
// they first come. The entries lie in one arena; the slots are an open-addressed
// table of number+1.
type dict struct {
	seed   maphash.Seed
	arena  []byte
	ends   []uint32 // where entry i ends in the arena
	hashes []uint32
	slots  []uint32 // a power of two of them, at most half in use
}

func newDict() dict { return dict{seed: maphash.MakeSeed(), slots: make([]uint32, 64)} }

func (d *dict) reset() {
	d.arena, d.ends, d.hashes = d.arena[:0], d.ends[:0], d.hashes[:0]
	clear(d.slots)
}

func (d *dict) entry(i uint32) []byte {
	var start uint32
	if i > 0 {
		start = d.ends[i-1]
	}
	return d.arena[start:d.ends[i]]
}

// number returns the number of v, and whether v is new.
func (d *dict) number(v []byte) (i uint32, fresh bool) {
	h := uint32(maphash.Bytes(d.seed, v))
	mask := uint32(len(d.slots) - 1)
	at := h & mask
	for ; d.slots[at] != 0; at = (at + 1) & mask {
		i := d.slots[at] - 1
		if d.hashes[i] == h && bytes.Equal(d.entry(i), v) {
			return i, false
		}
	}
	i = uint32(len(d.ends))
	d.arena = append(d.arena, v...)
	d.ends = append(d.ends, uint32(len(d.arena)))
	d.hashes = append(d.hashes, h)
	d.slots[at] = i + 1
	if 2*len(d.ends) > len(d.slots) {
		d.grow()
	}
	return i, true
}

func (d *dict) grow() {
	d.slots = make([]uint32, 2*len(d.slots))
	d.fill()
}

// fill puts every entry in the slots, which are empty.
func (d *dict) fill() {
	mask := uint32(len(d.slots) - 1)
	for i, h := range d.hashes {
		at := h & mask
		for d.slots[at] != 0 {
			at = (at + 1) & mask
		}
		d.slots[at] = uint32(i) + 1
	}
}

// keep drops the entries that wanted turns down. Those that stay are numbered anew,
// in the same order.
func (d *dict) keep(wanted func(i uint32) bool) {
	var n, end, start uint32
	for i, stop := range d.ends {
		if wanted(uint32(i)) {
			end += uint32(copy(d.arena[end:], d.arena[start:stop]))
			d.ends[n], d.hashes[n] = end, d.hashes[i]
			n++
		}
		start = stop
	}
	d.arena, d.ends, d.hashes = d.arena[:end], d.ends[:n], d.hashes[:n]
	clear(d.slots)
	d.fill()
}

// ref returns how a column refers to v: 0 for an entry that has not been seen
// yet, else its number plus one. Names that come once are then all zeros, which
// cost nothing once compressed.
func (d *dict) ref(v []byte) uint64 {
	i, fresh := d.number(v)
	if fresh {
		return 0
	}
	return uint64(i) + 1
}

// append appends the dictionary: how many entries, then each with its length in front.
func (d *dict) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(d.ends)))
	for i := range d.ends {
		v := d.entry(uint32(i))
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	return b
}
