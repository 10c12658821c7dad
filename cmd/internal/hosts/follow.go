package hosts

import (
	"context"
	"sync"
)

// A follower is the goroutine that is told of changes in the neighbour table.
type follower struct {
	w             *Watcher
	running       bool
	lost, changed chan struct{} // hold one at most
	ended         chan error    // gets one for each start
	done          sync.WaitGroup
}

func newFollower(w *Watcher) *follower {
	return &follower{w: w, lost: make(chan struct{}, 1), changed: make(chan struct{}, 1), ended: make(chan error, 1)}
}

// start has it begin, if it does not run.
func (f *follower) start(ctx context.Context) {
	if f.running {
		return
	}
	f.running = true
	tell := func(ch chan struct{}) func() {
		return func() {
			select {
			case ch <- struct{}{}:
			default: // it is told already
			}
		}
	}
	f.done.Go(func() {
		f.ended <- followNeighbours(ctx, f.w.table, f.w.c.Now, tell(f.lost), tell(f.changed))
	})
}
