package audit

// A batch is what the writer took from the log in one go.
type batch struct {
	slabs   [][]byte
	changes []change
	gap     gap
}

// A sealed segment waits for its commit.
type sealed struct {
	header header
	digest [digestSize]byte
	bytes  []byte
	hits   []hourHits // of the lists that its records name
}

// A sealer puts a batch in order, gives it sequence numbers and makes segments
// of it, each with the digest of the one before.
type sealer struct {
	appender *appender
	builder  *builder
	tally    *tally
	order    []place
	spare    []place // what byTime works in
	event    Event
	payload  []byte
	counts   counts // which others read

	last   header // of the newest segment, sealed or in the store
	digest [digestSize]byte
	next   uint64 // sequence number of the next record
}

// A place says where in a batch a record is.
type place struct {
	time int64
	slab int32 // or one of those below
	off  int32
}

const (
	inChanges = -1
	inGap     = -2
)

func newSealer() (*sealer, error) {
	a, err := newAppender()
	if err != nil {
		return nil, err
	}
	return &sealer{appender: a, builder: newBuilder(), tally: newTally(), next: 1}, nil
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

// seal returns the batch as segments, none if it is empty. Records are in order
// of their time; those of one time are in the order gap, changes, slabs.
func (s *sealer) seal(b batch, reasons []Reason, labels []string) []sealed {
	s.order = s.order[:0]
	if b.gap.lost > 0 {
		s.order = append(s.order, place{b.gap.to, inGap, 0})
	}
	for i, c := range b.changes {
		s.order = append(s.order, place{c.at, inChanges, int32(i)})
	}
	for i, slab := range b.slabs {
		for off := 0; off < len(slab); {
			at, size := eventTime(slab[off:])
			s.order = append(s.order, place{at, int32(i), int32(off)})
			off += size
		}
	}
	s.order, s.spare = byTime(s.order, s.spare)
	for _, r := range reasons[s.tally.reasons():] {
		s.tally.learn(r.Category, r.List)
	}

	var out []sealed
	s.builder.reset()
	for _, p := range s.order {
		if s.builder.full() {
			out = append(out, s.finish())
		}
		switch p.slab {
		case inChanges:
			s.builder.change(p.time, b.changes[p.off].text)
		case inGap:
			s.builder.gap(b.gap)
		default:
			readEvent(&s.event, b.slabs[p.slab][p.off:])
			s.builder.query(&s.event, reasons, labels)
			s.tally.add(p.time, s.event.Reason, s.event.Observed)
			s.counts.add(&s.event)
		}
	}
	if s.builder.rows > 0 {
		out = append(out, s.finish())
	}
	return out
}

// finish closes the segment that the builder holds.
func (s *sealer) finish() sealed {
	h := header{
		number: s.last.number + 1,
		first:  s.next,
		count:  s.builder.rows,
		lost:   s.builder.lost,
		min:    s.builder.min,
		max:    s.builder.max,
		high:   max(s.builder.max, s.last.high),
		prev:   s.digest,
	}
	s.payload = s.builder.payload(s.payload[:0])
	s.builder.reset()
	segment, digest := s.appender.append(&h, s.payload)
	s.last, s.digest, s.next = h, digest, h.last()+1
	return sealed{h, digest, segment, s.tally.take()}
}
