package blocklist

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
)

// oldMark distinguishes, in the numbers of sayings, what the version in force of a list says.
const oldMark = 1 << 27

// unchanged says whether the lists in force are just those that are wanted.
func (l *loader) unchanged() bool {
	if l.Old == nil || len(l.Old.lists) != len(l.intakes) || len(l.Old.categories) != len(l.all) {
		return false
	}
	for i, in := range l.intakes {
		if in.use != fromOld || in.old != l.Old.lists[i] {
			return false
		}
	}
	for i := range l.all {
		if l.all[i].Name != l.Old.categories[i].Name {
			return false
		}
	}
	return true
}

// same returns the lists in force with what is new to tell of them.
func (l *loader) same() *Lists {
	x := &Lists{matcher: l.Old.matcher, nets: l.Old.nets, networks: l.Old.networks, pending: l.pending("")}
	now := map[*List]*List{}
	for i, in := range l.intakes {
		x.lists = append(x.lists, in.list)
		now[l.Old.lists[i]] = in.list
	}
	for _, h := range l.Old.holders {
		x.holders = append(x.holders, holder{now[h.list], h.part})
	}
	x.categories = l.categories()
	for i := range x.categories {
		x.categories[i].Names = l.Old.categories[i].Names
	}
	x.Compiled = "mapped"
	if x.matcher.keep == nil {
		x.Compiled = "in memory"
	}
	return x
}

// categories returns the categories with their lists as they are now.
func (l *loader) categories() []Category {
	all := l.all
	for i := range all {
		all[i].Lists = nil
		for _, in := range l.intakes {
			if in.category.Name == all[i].Name {
				all[i].Lists = append(all[i].Lists, in.list)
				all[i].BlockAll = all[i].BlockAll || in.list.Missing && in.category.OnError == BlockAll
			}
		}
	}
	return all
}

// build merges what was read with what stays, lets the change guard judge the difference, and lays out the matcher.
func (l *loader) build(ctx context.Context, trouble string) (*Lists, error) {
	for {
		x, err := l.compose(ctx, trouble)
		if err != nil || !l.guardPolicies(x) {
			return x, err
		}
		x.Discard() // a list is held for what policies make of it
	}
}

func (l *loader) compose(ctx context.Context, trouble string) (*Lists, error) {
	var m *merge
	for {
		m = &merge{interner: newInterner(), dir: l.scratch(), each: l.each}
		for _, in := range l.intakes {
			in.changes = changes{}
		}
		err := l.mergeInto(ctx, m)
		if err != nil {
			m.close()
		}
		if err != nil && m.dir != "" && ctx.Err() == nil && !errors.Is(err, errDamaged) {
			l.cramped, trouble = true, err.Error() // then in memory
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("load lists: %w", err)
		}
		if !l.guard() {
			break
		}
		m.close()
	}
	defer m.close()
	lists := make([]*List, 0, len(l.intakes))
	for _, in := range l.intakes {
		if in.use == fromFile && in.old != nil {
			in.list.Added, in.list.Removed = in.changes.added, in.changes.removed
		}
		lists = append(lists, in.list)
	}
	if dir := l.scratch(); dir != "" {
		x, err := l.compile(m, lists)
		if err == nil {
			x.Compiled, x.Trouble = "built", trouble
			return x, nil
		}
		trouble = err.Error()
	}
	matcher, err := layOut(m, l.seed, nil)
	if err != nil {
		return nil, fmt.Errorf("load lists: %w", err)
	}
	x := newLists(matcher, l.holders, lists, l.categories())
	if err := x.addNetworks(l.networks()); err != nil {
		return nil, fmt.Errorf("load lists: %w", err)
	}
	x.pending, x.Compiled, x.Trouble = l.pending(""), "in memory", trouble
	return x, nil
}

// mergeInto merges what was read and the lists in force. Those may be mapped from a file that somebody has cut short.
func (l *loader) mergeInto(ctx context.Context, m *merge) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // see debug.SetPanicOnFault
			err = fmt.Errorf("%w: no memory at %#x, as if the file was cut short", errDamaged, r.Addr())
		default:
			panic(r)
		}
	}()
	return m.run(ctx, l.cursors())
}

// compile is compose's way to a matcher that is mapped from a file.
func (l *loader) compile(m *merge, lists []*List) (x *Lists, err error) {
	if err := os.MkdirAll(l.State, 0o700); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(l.State, "names.new-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
		_ = file.Close() // what was mapped stays so
	}()
	w := &compiledWriter{file: file}
	matcher, err := layOut(m, l.seed, w)
	if err != nil {
		return nil, err
	}
	x = newLists(matcher, l.holders, lists, l.categories())
	if err := x.addNetworks(l.networks()); err != nil {
		return nil, err
	}
	if err := w.finish(x); err != nil {
		return nil, err
	}
	x.pending = l.pending(file.Name())
	return x, nil
}

// networks returns the networks of the lists that count.
func (l *loader) networks() []network {
	var all []network
	for _, n := range l.nets {
		if in := l.takers[n.list]; in.use == fromFile && l.holders[n.list].list == in.list {
			all = append(all, n)
		}
	}
	if l.Old != nil {
		for _, n := range l.Old.nets {
			for _, in := range l.intakes {
				if in.use == fromOld && in.old == l.Old.holders[n.list].list {
					all = append(all, network{in.number, n.prefix, n.exception})
				}
			}
		}
	}
	return all
}

// cursors returns the sequences to merge: what was read, and the lists in force.
func (l *loader) cursors() []*cursor {
	var all []*cursor
	for _, s := range l.sorters {
		all = append(all, s.cursors()...)
	}
	if l.Old == nil {
		return all
	}
	numbers := make([][]uint32, len(l.Old.holders))
	any := false
	for old, h := range l.Old.holders {
		for _, in := range l.intakes {
			if in.old == h.list && in.use != fromNowhere {
				n := in.number
				if !h.part.every() {
					n = l.partNumber(in, h.part)
				}
				numbers[old] = append(numbers[old], uint32(n)|oldMark)
				any = true
			}
		}
	}
	if any {
		all = append(all, &cursor{nodes: &nodeReader{m: l.Old.matcher, says: l.Old.matcher.sayings(numbers)}})
	}
	return all
}

// sayings returns for each value what it says, with other numbers for lists: none, one or several.
func (m *Matcher) sayings(numbers [][]uint32) [][]saying {
	all := make([][]saying, len(m.values))
	for v, value := range m.values {
		add := func(list uint32, what uint8) {
			for i := range all[v] {
				if all[v][i].list == list {
					all[v][i].what |= what
					return
				}
			}
			all[v] = append(all[v], saying{list, what})
		}
		for scope, set := range map[Scope]uint32{Self: value.self, Below: value.below} {
			for _, member := range m.sets.of(set) {
				what := uint8(scope)
				if member.exception() {
					what <<= 2
				}
				for _, n := range numbers[member.list()] {
					add(n, what)
				}
			}
		}
	}
	return all
}

// changes is how a new version of a list differs from the one in force.
type changes struct {
	fresh, old     int // names that each has
	added, removed int
	suffixes       []string // public suffixes among the added ones
	allowed        [][]byte // added names that have to do with names that policies allow
}

// What was said of a name, by an intake's file and by its version in force.
const (
	saidFresh uint8 = 1 << iota
	saidOld
)

// each is shown each name by the merge, and returns what counts: of a list that is read, what its file says; of one that
// stays, what its version in force says.
func (l *loader) each(name []byte, says []saying) []saying {
	kept, compared := l.kept[:0], l.compared[:0]
	for _, s := range says {
		n := s.list &^ oldMark
		in := l.takers[n]
		if l.holders[n].list != in.list {
			continue // of a file that could not be read to its end
		}
		said := saidFresh
		if s.list != n {
			said = saidOld
		}
		if in.use == fromFile == (said == saidFresh) {
			kept = append(kept, saying{n, s.what})
		}
		if in.use == fromFile && in.old != nil {
			if in.said == 0 {
				compared = append(compared, in)
			}
			in.said |= said
		}
	}
	for _, in := range compared {
		switch in.said {
		case saidFresh:
			in.changes.added++
			in.changes.fresh++
			l.judge(in, name)
		case saidOld:
			in.changes.removed++
			in.changes.old++
		default:
			in.changes.fresh++
			in.changes.old++
		}
		in.said = 0
	}
	l.kept, l.compared = kept, compared
	return kept
}
