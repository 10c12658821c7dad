package humbly

import (
	"runtime"
	"sync"
)

// mostProcessors is how many processors of Go's there are more at most; others share them.
const mostProcessors = 4

// brought is how many processors were to be brought along, since there is one number of
// processors for the whole process.
var brought struct {
	sync.Mutex
	processors int
}

// Do runs work on a thread of its own that has the least right to a core: one core at
// most, and that only while no query wants it. The thread ends with the work, since a
// right that was given up is not had back. Work that makes much garbage is not for it:
// while the collector's first step waits for a core, so does everybody.
func Do(work func()) {
	bring(2) // the other is for the collector's workers
	defer bring(-2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and not unlocked
		lower()
		work()
	}()
	<-done
}

// Beside runs work with its caller's right to a core, and leeway for its garbage. It is for
// work that gives way by itself, to the kernel too.
func Beside(work func()) {
	bring(1)
	defer bring(-1)
	allow(1)
	defer allow(-1)
	work()
}

func bring(n int) {
	brought.Lock()
	defer brought.Unlock()
	before := min(brought.processors, mostProcessors)
	brought.processors += n
	if more := min(brought.processors, mostProcessors) - before; more != 0 {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + more)
	}
}
