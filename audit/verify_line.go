package audit

import "sync"

// An exam is a segment on its way through Verify: what it says by itself, which any
// goroutine can find out, and then what the one before it makes of that.
type exam struct {
	key, value []byte
	ready      chan struct{} // holds a token when it has been examined

	header header
	digest [digestSize]byte
	err    error // why it cannot be read or believed; the rest is empty then
	astray error // its place in the log's tree is another's
	signed bool
	pack   *packExam // of a pack, in place of these
	begins *file     // whose first segment it is; nil for others

	buf   []byte // room for its payload
	block block
	rows  rowMaker
}

// A line has segments examined by several goroutines and follows them in order. As many
// as may be in it are all the memory that it takes.
type line struct {
	verifier *verifier
	followed func()     // is called after each
	queue    chan *exam // nil when there are no others
	waiting  []*exam    // handed on, in order
	free     []*exam
	work     sync.WaitGroup
}

// newLine starts so many goroutines, which end with close. With none a segment is
// examined when it is its turn.
func newLine(v *verifier, examiners int, followed func()) *line {
	l := &line{verifier: v, followed: followed}
	for range examiners + 2 {
		l.free = append(l.free, &exam{ready: make(chan struct{}, 1)})
	}
	if examiners > 0 {
		l.queue = make(chan *exam, len(l.free))
	}
	for range examiners {
		l.work.Go(func() {
			for x := range l.queue {
				v.examine(x)
				x.ready <- struct{}{}
			}
		})
	}
	return l
}

// next returns room for a segment.
func (l *line) next() *exam {
	if len(l.free) == 0 {
		l.follow()
	}
	n := len(l.free) - 1
	x := l.free[n]
	l.free = l.free[:n]
	return x
}

// push hands on what next has returned.
func (l *line) push(x *exam) {
	l.waiting = append(l.waiting, x)
	if l.queue != nil {
		l.queue <- x // which has room for all there are
	}
}

// drop gives back what next has returned.
func (l *line) drop(x *exam) { l.free = append(l.free, x) }

// follow follows the one that has waited longest.
func (l *line) follow() {
	x := l.waiting[0]
	l.waiting = l.waiting[1:]
	if l.queue != nil {
		<-x.ready
	} else {
		giveWay()
		l.verifier.examine(x)
	}
	l.verifier.follow(x)
	l.followed()
	l.free = append(l.free, x)
}

// drain follows all that were handed on.
func (l *line) drain() {
	for len(l.waiting) > 0 {
		l.follow()
	}
}

// close lets go of those that were handed on and ends the goroutines.
func (l *line) close() {
	if l.queue != nil {
		close(l.queue)
	}
	l.work.Wait()
}
