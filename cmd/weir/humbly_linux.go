package main

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// humbly runs work on a thread of its own that has the least right to a core:
// one core at most, and that only while no query wants it. The thread ends with
// the work, since a right that was given up is not had back.
func humbly(work func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()                                     // and not unlocked
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19) // else it is work like any other
		work()
	}()
	<-done
}
