package audit

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// A nameDict numbers the distinct names of one segment, as a dict does octet strings. It
// holds them as they are laid out, and what one step of a look-up needs lies together.
type nameDict struct {
	seed   maphash.Seed
	laid   []byte // the entries, each with its length in front
	places []namePlace
	slots  []slot // a power of two of them, at most half in use
	octets int    // of all names, without their lengths
}

// A namePlace is where in laid an entry's octets are.
type namePlace struct{ from, to uint32 }

func newNameDict() nameDict { return nameDict{seed: maphash.MakeSeed(), slots: make([]slot, 64)} }

func (d *nameDict) reset() {
	d.laid, d.places, d.octets = d.laid[:0], d.places[:0], 0
	clear(d.slots)
}

// ref returns how a column refers to v, as dict.ref does.
func (d *nameDict) ref(v []byte) uint64 {
	h := uint32(maphash.Bytes(d.seed, v))
	mask := uint32(len(d.slots) - 1)
	at := h & mask
	for ; d.slots[at].number != 0; at = (at + 1) & mask {
		if s := d.slots[at]; s.hash == h {
			if p := d.places[s.number-1]; bytes.Equal(d.laid[p.from:p.to], v) {
				return uint64(s.number)
			}
		}
	}
	d.laid = binary.AppendUvarint(d.laid, uint64(len(v)))
	from := len(d.laid)
	d.laid = append(d.laid, v...)
	d.places = append(d.places, namePlace{uint32(from), uint32(len(d.laid))})
	d.slots[at] = slot{h, uint32(len(d.places))}
	d.octets += len(v)
	if 2*len(d.places) > len(d.slots) {
		d.slots = twice(d.slots, itself)
	}
	return 0
}

// append appends the dictionary as dict.append does.
func (d *nameDict) append(b []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(d.places))), d.laid...)
}

// A slot is an entry's hash and its number plus one; 0 is a free slot.
type slot struct{ hash, number uint32 }

// itself is where entries stand whose hash says that.
func itself(hash uint32) uint32 { return hash }

// twice returns a table of twice as many slots that holds what all holds. place says where an
// entry with a hash belongs, but for the bits that are too many.
func twice(all []slot, place func(hash uint32) uint32) []slot {
	more := make([]slot, 2*len(all))
	mask := uint32(len(more) - 1)
	for _, s := range all {
		if s.number == 0 {
			continue
		}
		at := place(s.hash) & mask
		for more[at].number != 0 {
			at = (at + 1) & mask
		}
		more[at] = s
	}
	return more
}
