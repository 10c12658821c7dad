package main

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// humbly runs work on a thread of its own that has the least right to a core:
// one core at most, and that only while no query wants it. The thread ends with
// the work, since a right that was given up is not had back.
//
// Go's own scheduler lets work that does not pause run for 10 ms at a time, the
// collector's workers too. So that the kernel decides instead, there is one
// processor more for each while the work lasts.
func humbly(work func()) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2))
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()                                     // and not unlocked
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19) // else it is work like any other
		work()
	}()
	<-done
}
