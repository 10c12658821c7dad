package audit

import (
	"bytes"
	"context"
	"math/bits"
	"net/netip"
	"sync"
	"sync/atomic"
)

// A where says of sequence numbers whether a question may find something there. A
// run is asked when the question comes to its records, so one that ends soon costs
// little; what no run is about may hold anything.
type where struct {
	runs     []*run
	filter   *filter
	unpacker *unpacker
	more     func(*runReader, stepSet) error // besides the filter's conditions; nil is none
	sets     map[*run]stepSet
}

// A stepSet has a bit for each step of a run. nil is all.
type stepSet []uint64

func newSteps(r *run) stepSet { return make(stepSet, (r.steps()+63)/64) }

func (s stepSet) add(steps []uint32) {
	for _, n := range steps {
		s[n/64] |= 1 << (n % 64)
	}
}

func (s stepSet) and(more stepSet) (any bool) {
	for i := range s {
		s[i] &= more[i]
		any = any || s[i] != 0
	}
	return any
}

// atMost returns the greatest member up to n, and -1 if there is none.
func (s stepSet) atMost(n int) int {
	for i := n / 64; i >= 0; i-- {
		w := s[i]
		if i == n/64 {
			w &= ^uint64(0) >> (63 - n%64)
		}
		if w != 0 {
			return i*64 + bits.Len64(w) - 1
		}
	}
	return -1
}

// atLeast returns the smallest member from n on, and -1 if there is none.
func (s stepSet) atLeast(n int) int {
	for i := n / 64; i < len(s); i++ {
		w := s[i]
		if i == n/64 {
			w &= ^uint64(0) << (n % 64)
		}
		if w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// where returns what the index knows of f's conditions, and of more; nil if that is nothing.
func (r *Reader) where(f *filter, more func(*runReader, stepSet) error) *where {
	q := &f.query
	if f.name == nil && f.alias == nil && !q.Client.IsValid() && !q.Answer.IsValid() && more == nil {
		return nil
	}
	runs := r.runs()
	if len(runs) == 0 {
		return nil
	}
	return &where{runs: runs, filter: f, unpacker: r.unpacker, more: more, sets: make(map[*run]stepSet)}
}

// before returns the highest sequence number, up to before, such that nothing is
// between the two.
func (w *where) before(before uint64) uint64 {
	if w == nil {
		return before
	}
	for i := len(w.runs) - 1; i >= 0 && before > 1; i-- {
		r := w.runs[i]
		switch {
		case r.first >= before:
			continue
		case r.last < before-1: // records that are in no run
			return before
		}
		set := w.set(r)
		if set == nil {
			return before
		}
		n := set.atMost(int((before-1)/r.step - r.base()))
		if n < 0 {
			before = r.first
			continue
		}
		return min(before, (r.base()+uint64(n)+1)*r.step)
	}
	return before
}

// from returns the lowest sequence number, from from on, such that nothing is between the two.
func (w *where) from(from uint64) uint64 {
	if w == nil {
		return from
	}
	for _, r := range w.runs {
		switch {
		case r.last < from:
			continue
		case r.first > from:
			return from
		}
		set := w.set(r)
		if set == nil {
			return from
		}
		n := set.atLeast(int(from/r.step - r.base()))
		if n < 0 {
			from = r.last + 1
			continue
		}
		return max(from, (r.base()+uint64(n))*r.step)
	}
	return from
}

// all asks every run before the first segment is read, on so many goroutines beside the caller's.
func (w *where) all(ctx context.Context, others int) {
	if w == nil {
		return
	}
	if others == 0 {
		for _, r := range w.runs {
			if ctx.Err() == nil {
				giveWay()
				w.set(r)
			}
		}
		return
	}
	var (
		wg   sync.WaitGroup
		next atomic.Int64
		sets = make([]stepSet, len(w.runs))
	)
	for range others {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := int(next.Add(1)) - 1; i < len(w.runs) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				sets[i] = w.look(w.runs[i])
			}
		}()
	}
	wg.Wait()
	for i, r := range w.runs {
		w.sets[r] = sets[i]
	}
}

// set returns the steps of a run in which something may be.
func (w *where) set(r *run) stepSet {
	if set, ok := w.sets[r]; ok {
		return set
	}
	w.sets[r] = w.look(r)
	return w.sets[r]
}

func (w *where) look(r *run) stepSet {
	set, err := w.find(r)
	if err != nil {
		r.bad.Store(true) // the keeper makes it again
		return nil
	}
	return set
}

// mayBeIn says that a run may have records of the time that is asked for.
func (w *where) mayBeIn(r *run) bool { return r.max >= w.filter.since && r.min < w.filter.until }

func (w *where) find(r *run) (stepSet, error) {
	f := w.filter
	set := newSteps(r)
	switch {
	case r.bad.Load():
		return nil, nil
	case !w.mayBeIn(r):
		return set, nil
	}
	in, err := r.reader(w.unpacker)
	if err != nil {
		return nil, err
	}
	defer in.close()
	first := true
	narrow := func(find func(stepSet) error) (more bool, err error) {
		if first {
			first = false
			return true, find(set)
		}
		other := newSteps(r)
		if err := find(other); err != nil {
			return false, err
		}
		return set.and(other), nil
	}
	var finds []func(stepSet) error
	add := func(section uint8, low, high []byte, exact bool) {
		finds = append(finds, func(s stepSet) error { return in.collect(s, section, low, high, exact) })
	}
	if f.name != nil {
		key := appendReversed(nil, f.name)
		add(byAsked, key, key, f.query.ExactName)
	}
	if f.alias != nil {
		key := appendReversed(nil, f.alias)
		add(byAlias, key, key, false)
	}
	if f.query.Client.IsValid() {
		finds = append(finds, func(s stepSet) error { return in.collectClients(s, f) })
	}
	if f.query.Answer.IsValid() {
		low, high := addressRange(f.query.Answer)
		add(byAddress, low, high, false)
	}
	if w.more != nil {
		finds = append(finds, func(s stepSet) error { return w.more(in, s) })
	}
	for _, find := range finds {
		if any, err := narrow(find); err != nil || !any {
			return set, err
		}
	}
	return set, nil
}

// collect adds the steps of the keys from low to high, and of those that begin with
// high; exact is low alone.
func (r *runReader) collect(set stepSet, section uint8, low, high []byte, exact bool) error {
	var k runValue
	for r.begin(section, low); r.step(section); {
		if bytes.Compare(r.key, low) < 0 {
			continue
		}
		if exact && !bytes.Equal(r.key, low) || bytes.Compare(r.key, high) > 0 && !bytes.HasPrefix(r.key, high) {
			break
		}
		if err := r.value(section, &k); err != nil {
			return err
		}
		set.add(k.steps)
	}
	return r.err
}

// Keys of all clients that are not known by an address begin between these.
var keptFirst, keptLast = []byte{16, 0xff, keptPseudonym}, []byte{16, 0xff, keptNetwork6}

// collectClients adds the steps of the clients that f asks for.
func (r *runReader) collectClients(set stepSet, f *filter) error {
	low, high := addressRange(f.query.Client)
	if err := r.collect(set, byClient, low, high, false); err != nil {
		return err
	}
	var k runValue
	for r.begin(byClient, keptFirst); r.step(byClient); {
		if bytes.Compare(r.key, keptLast) > 0 && !bytes.HasPrefix(r.key, keptLast) {
			break
		}
		if !f.asks(addressOf(r.key)) {
			continue
		}
		if err := r.value(byClient, &k); err != nil {
			return err
		}
		set.add(k.steps)
	}
	return r.err
}

// addressRange returns the keys of a network's first and last address.
func addressRange(p netip.Prefix) (low, high []byte) {
	low = appendAddr(nil, p.Masked().Addr())
	high = append(high, low...)
	for bit := p.Bits(); bit < p.Addr().BitLen(); bit++ {
		high[1+bit/8] |= 0x80 >> (bit % 8)
	}
	return low, high
}
