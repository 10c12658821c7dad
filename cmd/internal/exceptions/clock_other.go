//go:build !linux

package exceptions

import "time"

// SystemClock returns the clock of this machine: its wall clock and Go's
// monotonic clock, which counts from now on.
func SystemClock() Clock { return systemClock{time.Now()} }

type systemClock struct{ start time.Time }

func (systemClock) Now() time.Time        { return time.Now() }
func (c systemClock) Boot() time.Duration { return time.Since(c.start) }
func (systemClock) BootID() string        { return "" }
