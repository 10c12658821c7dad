package blocklist

import "slices"

// plainNames are the names of a small matcher once more, as they are: a hit compares octets where it would decode them.
type plainNames struct {
	slots []plainSlot // as those of tags
	names []byte      // wire names in a row
}

type plainSlot struct {
	at    uint32 // where in names its name begins
	value uint32 // 0 in an empty slot
}

// plainSlots is how many slots a matcher has at most whose names are kept plain: some 50,000 names, which take 32
// octets each.
const plainSlots = 1 << 16

// newPlain returns the names of m, if it is small and can be read to its end.
func newPlain(m *Matcher) *plainNames {
	if 4*len(m.tags) > plainSlots {
		return nil
	}
	p := &plainNames{slots: make([]plainSlot, 4*len(m.tags))}
	n := nodeReader{m: m}
	var room [maxName]byte
	for {
		v, name, err := n.node(room[:0])
		if err != nil {
			return nil // confirm bears with what is damaged
		}
		if v == 0 {
			p.names = slices.Clip(p.names)
			return p
		}
		p.slots[n.slot-1] = plainSlot{uint32(len(p.names)), v}
		p.names = append(p.names, name...)
	}
}

// confirm returns the value of the name among the marked slots of group g and the next one, else 0. A wire name never
// begins with another one, so as many octets as name has are enough.
func (p *plainNames) confirm(g uint64, marked marks, name []byte) uint32 {
	slots := p.slots[8*g : 8*g+16]
	for ; marked != 0; marked &= marked - 1 {
		if s := slots[marked.slot()]; len(name) <= len(p.names)-int(s.at) && string(p.names[s.at:][:len(name)]) == string(name) {
			return s.value
		}
	}
	return 0
}

func (p *plainNames) bytes() int {
	if p == nil {
		return 0
	}
	return 8*cap(p.slots) + cap(p.names)
}
