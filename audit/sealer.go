package audit

import (
	"slices"
	"sync"
)

// A batch is what the writer took from the log in one go.
type batch struct {
	slabs   []slab
	changes []change
	gaps    []gap
	owed    uint64 // events of the run that were in no slab until then
}

func (b *batch) empty() bool { return len(b.slabs)+len(b.changes)+len(b.gaps) == 0 }

// A sealed segment waits for its commit.
type sealed struct {
	header header
	digest [digestSize]byte
	leaf   hash // in the log's tree
	bytes  []byte
	hits   []hourHits // of the lists that its records name
}

// A sealer puts batches in order, gives their records sequence numbers, gathers
// them in an open block and makes segments of blocks, each with the digest of the
// one before. It has one user, but for views.
type sealer struct {
	appender *appender
	tally    *tally
	order    []place
	spare    []place // what byTime works in
	payload  []byte
	key      *signingKey
	counts   counts // which others read

	last   header // of the newest segment, sealed or in the store
	digest [digestSize]byte
	next   uint64 // sequence number of the open block's first record

	mu      sync.Mutex // guards what readers see: the rest of this, and last, digest and next when they change
	builder *builder   // the open block
	closed  []sealed   // blocks before it that are not in the store yet
	shown   *view      // the open block as it is; nil when nobody has asked for it
}

// A view is a segment that is not in the store. It never changes.
type view struct {
	header  header
	payload []byte // of an open block
	segment []byte // of a closed one
}

// A place says where in a batch a record is.
type place struct {
	time int64
	slab int32 // or one of those below
	off  int32
}

const (
	inChanges = -1
	inGaps    = -2
)

func newSealer(key *signingKey) (*sealer, error) {
	a, err := newAppender()
	if err != nil {
		return nil, err
	}
	return &sealer{appender: a, builder: newBuilder(), tally: newTally(), next: 1, key: key}, nil
}

// follow makes the sealer go on behind a store's newest segment, which may be
// none, and never gives out a number that the head file has seen.
func (s *sealer) follow(last header, digest [digestSize]byte, h head) {
	s.last, s.digest, s.next = last, digest, h.seq+1
	if last.number == 0 { // the chain goes on in a new store
		s.last.number, s.digest = h.number, h.digest
	} else {
		s.next = max(s.next, last.last()+1)
	}
}

// upcoming returns the sequence number of the next record.
func (s *sealer) upcoming() uint64 { return s.next + uint64(s.builder.rows) }

// sort puts the places of a batch's records in s.order: by time, those of one time
// in the order gaps, changes, slabs.
func (s *sealer) sort(b *batch) {
	most := len(b.gaps) + len(b.changes)
	for i := range b.slabs {
		most += len(b.slabs[i].b) / slabFixed
	}
	s.order = slices.Grow(s.order[:0], most) // at once, not by and by
	for i, g := range b.gaps {
		s.order = append(s.order, place{g.to, inGaps, int32(i)})
	}
	for i, c := range b.changes {
		s.order = append(s.order, place{c.at, inChanges, int32(i)})
	}
	for i := range b.slabs {
		slab := b.slabs[i].b
		for off := 0; off < len(slab); {
			at, size := eventTime(slab[off:])
			s.order = append(s.order, place{at, int32(i), int32(off)})
			off += size
		}
	}
	s.order, s.spare = byTime(s.order, s.spare)
}

// add puts the records of a batch that sort has seen into the open block, but for
// the first ones of it, and closes blocks that are full.
func (s *sealer) add(b *batch, skip int, reasons []Reason, labels []string) {
	for _, r := range reasons[s.tally.reasons():] {
		s.tally.learn(r.Category, r.List)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = nil
	var counted count
	for _, p := range s.order[skip:] {
		if s.builder.full() {
			s.finish()
		}
		switch p.slab {
		case inChanges:
			s.builder.change(p.time, b.changes[p.off].Change)
		case inGaps:
			s.builder.gap(b.gaps[p.off])
		default:
			e := b.slabs[p.slab].b[p.off:]
			if e[94] == eventChange {
				s.builder.change(p.time, readChange(e))
				continue
			}
			s.builder.query(e, reasons, labels)
			reason, observed := eventReasons(e)
			s.tally.add(p.time, reason, observed)
			counted.add(e)
		}
	}
	s.counts.add(&counted)
}

// header returns that of the open block.
func (s *sealer) header() header {
	return header{
		version: segmentVersion,
		number:  s.last.number + 1,
		first:   s.next,
		count:   s.builder.rows,
		lost:    s.builder.lost,
		min:     s.builder.min,
		max:     s.builder.max,
		high:    max(s.builder.max, s.last.high),
		prev:    s.digest,
		masked:  s.builder.masked,
	}
}

// close closes the open block if it holds anything.
func (s *sealer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.builder.rows > 0 {
		s.finish()
	}
}

// finish closes the open block, with s.mu held.
func (s *sealer) finish() {
	h := s.header()
	s.payload = s.builder.payload(s.payload[:0])
	root := s.builder.rowTree.root()
	s.builder.reset()
	s.shown = nil
	segment, digest, leaf := s.appender.append(&h, s.payload, root, s.key)
	s.last, s.digest, s.next = h, digest, h.last()+1
	s.closed = append(s.closed, sealed{h, digest, leaf, segment, s.tally.take()})
}

// continues makes s go on behind another, with the segments that it has closed.
func (s *sealer) continues(before *sealer, closed []sealed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.digest, s.next, s.closed = before.last, before.digest, before.next, closed
}

// committed forgets the closed blocks, which are in the store now.
func (s *sealer) committed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = nil
}

// views returns all that is not in the store yet, the oldest first. It may be
// called from any goroutine.
func (s *sealer) views() (out []view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.closed {
		out = append(out, view{header: s.closed[i].header, segment: s.closed[i].bytes})
	}
	if s.builder.rows == 0 {
		return out
	}
	if s.shown == nil {
		v := view{header: s.header(), payload: s.builder.payload(nil)}
		v.header.size = uint32(len(v.payload))
		s.shown = &v
	}
	return append(out, *s.shown)
}
