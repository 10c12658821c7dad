package audit

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// A merger makes one run of several that follow each other. It reads them side by
// side, a block of each, so it takes little memory whatever their size: besides
// the blocks, a number for each of their clients.
type merger struct {
	in    []*runReader
	out   *runWriter
	shift []uint32   // by run: its step 0 among those of the result
	kinds [][]uint32 // by run and category counted from one: that in the result
	place [][]uint32 // by run and client: that in the result
	sum   runValue
	one   runValue
	spare []uint32
}

// mergeRuns writes the run that runs make together, which stay as they are. turn is
// called now and then, and ends it by an error.
func mergeRuns(dir string, u *unpacker, runs []*run, turn func() error) (_ *run, err error) {
	m := &merger{}
	defer func() {
		for _, r := range m.in {
			r.close()
		}
	}()
	head := runs[0].runHead
	var (
		categories []string
		times      []int64
		numbers    = make(map[string]uint32)
	)
	for i, r := range runs {
		if r.step != head.step || i > 0 && r.first != head.last+1 {
			return nil, errors.New("the runs do not follow each other")
		}
		in, err := r.reader(u)
		if err != nil {
			return nil, err
		}
		m.in = append(m.in, in)
		head.last, head.lastTime = r.last, r.lastTime
		head.min, head.max, head.merges = min(head.min, r.min), max(head.max, r.max), max(head.merges, r.merges)
		shift := int(r.base() - head.base())
		m.shift = append(m.shift, uint32(shift))
		if shift < len(times) {
			times[shift] = min(times[shift], r.stepTimes[0])
			times = append(times, r.stepTimes[1:]...)
		} else {
			times = append(times, r.stepTimes...)
		}
		kinds := make([]uint32, len(r.categories)+1)
		for j, text := range r.categories {
			n, ok := numbers[text]
			if !ok {
				categories = append(categories, text)
				n = uint32(len(categories))
				numbers[text] = n
			}
			kinds[j+1] = n
		}
		m.kinds = append(m.kinds, kinds)
	}
	if head.merges++; head.last/head.step-head.base() >= maxRunSteps {
		return nil, errors.New("the runs are too long to be one")
	}
	if m.out, err = newRunWriter(dir, head, categories, times, zstd.SpeedDefault, turn); err != nil {
		return nil, err
	}
	m.place = make([][]uint32, len(runs))
	for _, section := range []uint8{byClient, byAsked, byAlias, byAddress} {
		if err := m.section(section); err != nil {
			m.out.abandon()
			return nil, err
		}
	}
	return m.out.finish()
}

// section merges one section.
func (m *merger) section(section uint8) error {
	var alive []int // runs with keys left, in order
	for i, r := range m.in {
		r.begin(section, nil)
		if r.step(section) {
			alive = append(alive, i)
		}
	}
	var (
		key    []byte
		places uint32
	)
	for ; len(alive) > 0; places++ {
		least := m.in[alive[0]].key
		for _, i := range alive[1:] {
			if bytes.Compare(m.in[i].key, least) < 0 {
				least = m.in[i].key
			}
		}
		key = append(key[:0], least...)
		m.sum.steps, m.sum.clients, m.sum.cells = m.sum.steps[:0], m.sum.clients[:0], m.sum.cells[:0]
		kept, fresh := alive[:0], true
		for _, i := range alive {
			r := m.in[i]
			if !bytes.Equal(r.key, key) {
				kept = append(kept, i)
				continue
			}
			if err := r.value(section, &m.one); err != nil {
				return runDamage(r.run, err)
			}
			if err := m.add(section, i, fresh); err != nil {
				return runDamage(r.run, err)
			}
			fresh = false
			if section == byClient {
				m.place[i] = append(m.place[i], places)
			}
			if r.step(section) {
				if bytes.Compare(r.key, key) <= 0 {
					return runDamage(r.run, errors.New("its keys are not in order"))
				}
				kept = append(kept, i)
			} else if r.err != nil {
				return runDamage(r.run, r.err)
			}
		}
		alive = kept
		if section == byClient {
			m.sum.cells = tidy(m.sum.cells)
		}
		m.out.add(section, key, &m.sum)
		if m.out.err != nil {
			return m.out.err
		}
	}
	for _, r := range m.in {
		if r.err != nil {
			return runDamage(r.run, r.err)
		}
	}
	return nil
}

// add adds what run i has of a key, which fresh says is the first to have it.
func (m *merger) add(section uint8, i int, fresh bool) error {
	for _, s := range m.one.steps {
		if s += m.shift[i]; len(m.sum.steps) == 0 || s != m.sum.steps[len(m.sum.steps)-1] {
			m.sum.steps = append(m.sum.steps, s)
		}
	}
	switch section {
	case byClient:
		for _, c := range m.one.cells {
			c.kind = m.kinds[i][c.kind>>1]<<1 | c.kind&1
			m.sum.cells = append(m.sum.cells, c)
		}
	case byAsked:
		first := uint32(0)
		for j, c := range m.one.clients {
			if int(c) >= len(m.place[i]) {
				return errNoClient
			}
			if m.one.clients[j] = m.place[i][c]; c == m.one.firstClient {
				first = m.one.clients[j]
			}
		}
		if fresh || m.one.first < m.sum.first {
			m.sum.firstClient = first
		}
		m.sum.clients, m.spare = union(m.spare[:0], m.sum.clients, m.one.clients), m.sum.clients
	default:
		return nil
	}
	if fresh {
		m.sum.span = m.one.span
	} else {
		m.sum.add(m.one.span)
	}
	return nil
}

// union appends what is in a or b, which are in order.
func union(dst, a, b []uint32) []uint32 {
	for len(a) > 0 && len(b) > 0 {
		x, y := a[0], b[0]
		if dst = append(dst, min(x, y)); x <= y {
			a = a[1:]
		}
		if y <= x {
			b = b[1:]
		}
	}
	return append(append(dst, a...), b...)
}

// tidy puts the cells of a client in order, each once.
func tidy(cells []cell) []cell {
	slices.SortFunc(cells, func(a, b cell) int { return cmp.Or(cmp.Compare(a.hour, b.hour), cmp.Compare(a.kind, b.kind)) })
	kept := cells[:0]
	for _, c := range cells {
		if n := len(kept) - 1; n >= 0 && kept[n].hour == c.hour && kept[n].kind == c.kind {
			kept[n].queries += c.queries
		} else {
			kept = append(kept, c)
		}
	}
	return kept
}

// runDamage says that a run is to be made again.
func runDamage(r *run, err error) error { return &runError{r, err} }

// A runError is what is wrong with one run.
type runError struct {
	run *run
	err error
}

func (e *runError) Error() string { return fmt.Sprintf("index run %s: %v", e.run.path, e.err) }
func (e *runError) Unwrap() error { return e.err }
