package humbly

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

var garbage []byte // where the compiler cannot see that nobody wants it

// TestLeeway holds that while somebody works little is collected, that what is in use
// counts, and that all is as before when nobody works any more.
func TestLeeway(t *testing.T) {
	before := percent()
	collections := func(do func()) uint32 {
		var from, to runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&from)
		do()
		runtime.ReadMemStats(&to)
		return to.NumGC - from.NumGC
	}
	waste := func() {
		for range leeway >> 20 * 3 / 4 {
			garbage = make([]byte, 1<<20)
		}
	}
	usually := collections(waste)
	for range 3 { // whoever had leeway before
		if n := collections(func() { Beside(waste) }); usually < 5 || n > 1 {
			t.Errorf("%d collections with leeway, %d without", n, usually)
		}
	}
	Beside(func() {
		Beside(func() {})
		used := make([]byte, 2*leeway)
		for limit := time.Now().Add(time.Minute); percent() != before; runtime.GC() {
			if time.Now().After(limit) {
				t.Fatalf("%d percent beside %d octets in use", percent(), len(used))
			}
		}
		runtime.KeepAlive(used)
	})
	if n := percent(); n != before {
		t.Errorf("%d percent when nobody works any more, %d before", n, before)
	}
	debug.SetGCPercent(-1)
	defer debug.SetGCPercent(before)
	Beside(func() {
		if n := percent(); n >= 0 {
			t.Errorf("%d percent where nothing is to be collected", n)
		}
	})
}
