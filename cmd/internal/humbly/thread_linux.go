package humbly

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const least = 19 // nice

// lower lowers the priority of the thread. Where that fails it is a thread like any other.
func lower() { _ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), least) }

// Become lowers the priority of the whole process, for good.
func Become() {
	done := map[string]bool{}
	for more := true; more; { // a thread that begins meanwhile may have the priority of before
		more = false
		threads, _ := os.ReadDir("/proc/self/task") // else it is a process like any other
		for _, t := range threads {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || done[t.Name()] {
				continue
			}
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, least)
			done[t.Name()], more = true, true
		}
	}
}
