package blocklist

import (
	"context"
	"errors"
	"fmt"
)

// Builder collects the entries of lists and lays them out as a Matcher in memory. The order of Add does not matter, and
// an entry that is added twice counts once. A Builder is for one goroutine; it must come from NewBuilder.
type Builder struct {
	seed   seed
	sorter *sorter
}

// maxLists bounds the numbers that Add takes as a list, so that a member and its flags fit in 32 bits, and a saying too.
const maxLists = 1 << 28

var (
	errSpent = errors.New("builder has built its matcher, or does not come from NewBuilder")
	errFull  = errors.New("names take more than 4 GiB; leave out lists")
)

// NewBuilder returns an empty Builder with a random seed.
func NewBuilder() *Builder { return newBuilder(randomSeed()) }

func newBuilder(s seed) *Builder { return &Builder{seed: s, sorter: &sorter{}} }

// Add says that list holds an entry for the wire name with that scope, or, with exception, that the name is taken out
// of the list. An exception wins over an entry of its own list with the same name and scope. name is copied.
func (b *Builder) Add(list int, name []byte, scope Scope, exception bool) error {
	var offs [128]uint8
	n := labels(name, &offs)
	switch {
	case b.sorter == nil:
		return errSpent
	case n <= 0:
		return fmt.Errorf("entry %s: not a wire name, or the root", NameString(name))
	case scope == 0 || scope > Self|Below:
		return fmt.Errorf("entry %s: no scope %d", NameString(name), scope)
	case list < 0 || list >= maxLists:
		return fmt.Errorf("entry %s: no list %d", NameString(name), list)
	case b.sorter.full():
		return errFull
	}
	b.sorter.add(b.seed.name(name, &offs, n), newSaying(list, scope, exception), name)
	return nil
}

// Build returns the Matcher of all that was added. Add then refuses more.
func (b *Builder) Build() *Matcher {
	m := &merge{interner: newInterner()}
	err := m.run(context.Background(), b.sorter.cursors())
	b.sorter = nil
	if err == nil {
		var x *Matcher
		if x, err = layOut(m, b.seed, nil); err == nil {
			return x
		}
	}
	panic("blocklist: memory does not fail: " + err.Error())
}
