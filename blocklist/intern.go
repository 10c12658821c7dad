package blocklist

import (
	"encoding/binary"
	"slices"
)

// interner numbers what lists say of names: few distinct combinations exist, however many names.
type interner struct {
	values  []value
	valueOf map[value]uint32
	members [][]member // per set
	setOf   map[string]uint32
	moves   map[move]uint32
	last    lastMove
}

// move is one saying that is added to a value.
type move struct {
	from uint32
	said saying
}

// lastMove spares the memo for runs of names that one list alone has.
type lastMove struct {
	move
	to uint32
}

func newInterner() *interner {
	return &interner{
		values:  make([]value, 1),
		valueOf: map[value]uint32{{}: 0},
		members: make([][]member, 1),
		setOf:   map[string]uint32{"": 0},
		moves:   map[move]uint32{},
	}
}

// with returns the value that says besides what v says. An exception wins over an entry of its own list for the same
// names, in whatever order they come.
func (t *interner) with(v uint32, said saying) uint32 {
	m := move{v, said}
	if m == t.last.move {
		return t.last.to
	}
	to, ok := t.moves[m]
	if !ok {
		val := t.values[v]
		for scope, set := range map[Scope]*uint32{Self: &val.self, Below: &val.below} {
			if said.what&uint8(scope) != 0 {
				*set = t.including(*set, int(said.list), false)
			}
			if said.what>>2&uint8(scope) != 0 {
				*set = t.including(*set, int(said.list), true)
			}
		}
		if to, ok = t.valueOf[val]; !ok {
			to = uint32(len(t.values))
			t.values = append(t.values, val)
			t.valueOf[val] = to
		}
		t.moves[m] = to
	}
	t.last = lastMove{m, to}
	return to
}

// including returns the number of the set that has list besides what set has.
func (t *interner) including(set uint32, list int, exception bool) uint32 {
	old := t.members[set&^exceptional]
	at, found := slices.BinarySearchFunc(old, list, func(m member, list int) int { return m.list() - list })
	next := slices.Clone(old)
	switch {
	case !found:
		next = slices.Insert(next, at, newMember(list, exception))
	case exception:
		next[at] = newMember(list, true)
	}
	key := make([]byte, 0, 4*len(next))
	flag := uint32(0)
	for _, m := range next {
		key = binary.LittleEndian.AppendUint32(key, uint32(m))
		if m.exception() {
			flag = exceptional
		}
	}
	number, ok := t.setOf[string(key)]
	if !ok {
		number = uint32(len(t.members)) | flag
		t.members = append(t.members, next)
		t.setOf[string(key)] = number
	}
	return number
}

// sets returns all sets, laid out.
func (t *interner) sets() sets {
	s := sets{start: make([]uint32, 1, len(t.members)+1)}
	for _, set := range t.members {
		s.members = append(s.members, set...)
		s.start = append(s.start, uint32(len(s.members)))
	}
	s.members = slices.Clip(s.members)
	return s
}
