package audit

import "runtime"

// Readers share the cores with the query path, and their work is never urgent. They do not
// have a lower priority for it: the collector's pauses and the locks that both use would
// then wait for a thread that waits for a core. They give way after each small piece of
// work instead, so that a packet waits for no more than that.
const (
	politeRecords = 1 << 4 // some 0.05 ms of handing out
	politeRows    = 1 << 9
	politeSmall   = 1 << 11 // names, or rows of one column
)

// giveWay lets others go first: goroutines, and threads, which the kernel would keep
// waiting for some milliseconds.
func giveWay() {
	runtime.Gosched()
	yieldThread()
}
