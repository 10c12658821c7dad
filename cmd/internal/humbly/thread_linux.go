package humbly

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	least  = 19      // nice
	prompt = 100_000 // ns of a core in a row, the least that Linux takes
)

// lower lowers the priority of the thread. Where that fails it is a thread like any other.
func lower() { _ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), least) }

// Become lowers the priority of the whole process, for good.
func Become() {
	everyThread(func(tid int) { _ = unix.Setpriority(unix.PRIO_PROCESS, tid, least) })
}

// Prompt asks for cores for a short time in a row, for all of the process and for good: one that
// wakes up then gets a core before who would have it for longer, and no more of it in all.
// Linux before 6.12 does nothing of the kind.
func Prompt() {
	everyThread(func(tid int) {
		if attr, err := unix.SchedGetAttr(tid, 0); err == nil && attr.Policy == unix.SCHED_NORMAL {
			attr.Runtime = prompt
			_ = unix.SchedSetAttr(tid, attr, 0)
		}
	})
}

// everyThread calls do for each thread. Those that one of them begins later are as it is.
func everyThread(do func(tid int)) {
	done := map[string]bool{}
	for more := true; more; { // a thread that begins meanwhile may be as those were before
		more = false
		threads, _ := os.ReadDir("/proc/self/task") // else it is a process like any other
		for _, t := range threads {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || done[t.Name()] {
				continue
			}
			do(tid)
			done[t.Name()], more = true, true
		}
	}
}
