package audit

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// A nameDict numbers the distinct names of one segment, as a dict does octet strings. It
// holds them as they are laid out; what a look-up reads beside them is one word.
type nameDict struct {
	seed   maphash.Seed
	laid   []byte // the entries, each with its length in front
	count  uint64
	octets int // of all names, without their lengths

	// For each entry its number plus one, where in laid it begins, and the highest bits of its
	// hash; 0 is a free slot. A power of two of them, at most half in use.
	slots []uint64
}

// A segment has fewer names than 2^19 (17 a record, of 2^14), and closes before they take 2^24 octets.
const (
	nameBits  = 19
	placeBits = 24
)

func newNameDict() nameDict { return nameDict{seed: maphash.MakeSeed(), slots: make([]uint64, 64)} }

func (d *nameDict) reset() {
	d.laid, d.count, d.octets = d.laid[:0], 0, 0
	clear(d.slots)
}

// ref returns how a column refers to v, as dict.ref does.
func (d *nameDict) ref(v []byte) uint64 {
	h := maphash.Bytes(d.seed, v)
	mask := uint64(len(d.slots) - 1)
	at := h & mask
	for ; d.slots[at] != 0; at = (at + 1) & mask {
		s := d.slots[at]
		if (s^h)>>(nameBits+placeBits) == 0 {
			if had, _ := d.at(int(s >> nameBits & (1<<placeBits - 1))); bytes.Equal(had, v) {
				return s & (1<<nameBits - 1)
			}
		}
	}
	d.count++
	d.slots[at] = h&^(1<<(nameBits+placeBits)-1) | uint64(len(d.laid))<<nameBits | d.count
	d.laid = append(binary.AppendUvarint(d.laid, uint64(len(v))), v...)
	d.octets += len(v)
	if 2*d.count > uint64(len(d.slots)) {
		d.grow()
	}
	return 0
}

// at returns the entry that begins there in laid, and where it ends.
func (d *nameDict) at(place int) (v []byte, end int) {
	n := int(d.laid[place])
	place++
	if n >= 0x80 { // a name has at most 255 octets
		n = n&0x7f | int(d.laid[place])<<7
		place++
	}
	return d.laid[place : place+n], place + n
}

// grow doubles the slots.
func (d *nameDict) grow() {
	d.slots = make([]uint64, 2*len(d.slots))
	mask := uint64(len(d.slots) - 1)
	place := 0
	for number := uint64(1); number <= d.count; number++ {
		v, end := d.at(place)
		h := maphash.Bytes(d.seed, v)
		at := h & mask
		for d.slots[at] != 0 {
			at = (at + 1) & mask
		}
		d.slots[at] = h&^(1<<(nameBits+placeBits)-1) | uint64(place)<<nameBits | number
		place = end
	}
}

// append appends the dictionary as dict.append does.
func (d *nameDict) append(b []byte) []byte {
	return append(binary.AppendUvarint(b, d.count), d.laid...)
}
