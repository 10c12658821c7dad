package audit

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// walkBlocks is how many blocks of a run one goroutine goes through before it takes the next part.
const walkBlocks = 16

// A walk is a hunt's way through the index, on several goroutines.
type walk struct {
	trail    *trail
	unpacker *unpacker
	polite   bool // gives way before each block
	parts    []walkPart
	next     atomic.Int64
}

// A walkPart is some blocks of one section of a run.
type walkPart struct {
	*sighted
	section uint8
	blocks  []int
}

// A sighted is what a walk has found in a run.
type sighted struct {
	run  *run
	mu   sync.Mutex
	set  stepSet // of what is not told
	told []toldName
}

// A toldName is a name of one client, by its number, and the indicators that cover it.
type toldName struct {
	name       []byte
	indicators []uint32
	client     uint32
	span       span
}

// look goes through the runs that w asks, on so many goroutines beside the caller's or on that alone.
func (t *trail) look(ctx context.Context, w *where, others int) error {
	if w == nil {
		return nil
	}
	all := walk{trail: t, unpacker: w.unpacker, polite: others == 0}
	for _, r := range w.runs {
		if w.mayBeIn(r) {
			t.sighted[r] = &sighted{run: r, set: newSteps(r)}
			all.add(t.sighted[r])
		}
	}
	var wg sync.WaitGroup
	for range others {
		wg.Go(func() { all.run(ctx) })
	}
	if others == 0 {
		all.run(ctx)
	}
	wg.Wait()
	for r, s := range t.sighted {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !r.bad.Load() && t.believe(s, w.unpacker) != nil {
			r.bad.Store(true)
		}
	}
	return nil
}

// add adds what there may be in a run.
func (w *walk) add(s *sighted) {
	h := w.trail.hunter
	for _, of := range []struct {
		section uint8
		blocks  []int
	}{
		{byAsked, h.ladder.blocks(s.run, byAsked)},
		{byAlias, h.ladder.blocks(s.run, byAlias)},
		{byAddress, h.ranges.blocks(s.run)},
	} {
		for blocks := range slices.Chunk(of.blocks, walkBlocks) {
			w.parts = append(w.parts, walkPart{s, of.section, blocks})
		}
	}
}

// run takes one part after the other.
func (w *walk) run(ctx context.Context) {
	var (
		in  *runReader
		err error
	)
	for i := w.next.Add(1) - 1; i < int64(len(w.parts)) && ctx.Err() == nil; i = w.next.Add(1) - 1 {
		p := &w.parts[i]
		if p.run.bad.Load() {
			continue
		}
		if in == nil || in.run != p.run {
			if in != nil {
				in.close()
			}
			if in, err = p.run.reader(w.unpacker); err != nil {
				p.run.bad.Store(true)
				in = nil
				continue
			}
		}
		see := w.names
		if p.section == byAddress {
			see = w.addresses
		}
		if err := see(in, p); err != nil {
			p.run.bad.Store(true) // the keeper makes it again
		}
	}
	if in != nil {
		in.close()
	}
}

// names goes through blocks of names.
func (w *walk) names(r *runReader, p *walkPart) error {
	var (
		h     = w.trail.hunter
		c     = h.ladder.climb()
		k     runValue
		name  []byte
		found []uint32
	)
	for _, n := range p.blocks {
		w.giveWay()
		r.only(n)
		for fresh := true; r.step(p.section); fresh = false {
			if len(r.key) > 0 && r.key[0] == noName { // so are all behind it
				break
			}
			if fresh {
				c.to(r.key)
			} else {
				c.next(r.key, r.shared)
			}
			if found = c.covering(found[:0], h.scope, r.key); len(found) == 0 {
				continue
			}
			if err := r.value(p.section, &k); err != nil {
				return err
			}
			name = appendForward(name[:0], r.key)
			w.trail.know(name, found)
			if p.section == byAsked && len(k.clients) == 1 && w.trail.tells[r.run] && w.trail.room(len(found)) {
				p.tell(toldName{slices.Clone(name), slices.Clone(found), k.clients[0], k.span})
			} else {
				p.add(k.steps)
			}
		}
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

// addresses goes through blocks of addresses.
func (w *walk) addresses(r *runReader, p *walkPart) error {
	var (
		k     runValue
		found []uint32
	)
	for _, n := range p.blocks {
		w.giveWay()
		for r.only(n); r.step(p.section); {
			a := addressOf(r.key)
			if found = w.trail.hunter.holding(found[:0], a); len(found) == 0 {
				continue
			}
			if err := r.value(p.section, &k); err != nil {
				return err
			}
			w.trail.knowAddr(a, found)
			p.add(k.steps)
		}
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

func (w *walk) giveWay() {
	if w.polite {
		giveWay()
	}
}

func (s *sighted) add(steps []uint32) {
	s.mu.Lock()
	s.set.add(steps)
	s.mu.Unlock()
}

func (s *sighted) tell(n toldName) {
	s.mu.Lock()
	s.told = append(s.told, n)
	s.mu.Unlock()
}
