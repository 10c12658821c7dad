package exceptions

import "time"

// A Clock tells the time in two ways. It must be safe for concurrent use.
type Clock interface {
	// Now is the wall clock, which somebody may set.
	Now() time.Time
	// Boot is the time since some moment of this boot. It never jumps, and goes on while the machine sleeps.
	Boot() time.Duration
	// BootID is another after each boot; "" if that is not known. Then Boot counts within this process only.
	BootID() string
}

// A reading is what a Clock said.
type reading struct {
	wall time.Time // between firstTime and lastTime
	boot time.Duration
}

// What can be written down; a clock beyond is wrong in any case.
var (
	firstTime = time.Unix(0, 0).UTC()
	lastTime  = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).Add(-1)
)

// read reads the clock.
func read(c Clock) reading {
	wall := c.Now().Round(0).UTC()
	switch {
	case wall.Before(firstTime):
		wall = firstTime
	case wall.After(lastTime):
		wall = lastTime
	}
	return reading{wall, c.Boot()}
}

// known says that the wall clock can be right.
func (r reading) known() bool { return r.wall.After(firstTime) && r.wall.Before(lastTime) }

// bootID returns the clock's, or "" if that is not what it should be.
func bootID(c Clock) string {
	id := c.BootID()
	if checkText("boot id", id, 1, maxBootID) != nil {
		return ""
	}
	return id
}
