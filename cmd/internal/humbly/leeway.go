package humbly

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// leeway is how much garbage may lie, in octets, while somebody works. A collection takes
// cores from those who answer queries, and work makes garbage faster than they do. Where
// more memory than that is in use, as much garbage may lie as there is of it, as ever.
const leeway = 64 << 20

// collector is what Go's collector of garbage was told. There is one for the whole process.
var collector struct {
	sync.Mutex
	working int  // how many have leeway
	usual   int  // percent of what is in use that may lie as garbage while nobody works
	percent int  // as it is now
	watched bool // its next collection is waited for
}

// allow gives leeway to one more, or takes it from one.
func allow(n int) {
	c := &collector
	c.Lock()
	defer c.Unlock()
	if c.working == 0 {
		if c.usual = percent(); c.usual < 0 {
			return // there are no collections
		}
		c.percent = c.usual
	}
	if c.working += n; c.working == 0 {
		debug.SetGCPercent(c.usual)
		return
	}
	measure()
}

func percent() int {
	now := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(now)
	return int(now[0].Value.Uint64())
}

// measure says how much garbage may lie, by what is in use, and does so again after each
// collection as long as somebody works. The collector is locked.
func measure() {
	c := &collector
	used := []metrics.Sample{{Name: "/gc/heap/live:bytes"}} // 0 before the first
	metrics.Read(used)
	const least = 4 << 20 // of which the runtime takes percent, where less is in use
	if n := max(c.usual, int(100*leeway/max(used[0].Value.Uint64(), least))); n != c.percent {
		debug.SetGCPercent(n) // which stops everybody for a moment
		c.percent = n
	}
	if c.watched {
		return
	}
	c.watched = true
	runtime.SetFinalizer(&struct{ of *int }{&c.working}, func(any) { // nobody has it, so the next collection finds it
		c.Lock()
		defer c.Unlock()
		if c.watched = false; c.working > 0 {
			measure()
		}
	})
}
