package exceptions

import (
	"slices"
	"time"
)

// An Exception lets a client or a group ask for a name, whatever the rules say.
type Exception struct {
	ID     uint64 // from 1, never used again
	Name   string // as written: "shop.example" (and below), "=shop.example", "*.shop.example"
	Client string // address or prefix; empty if it is for a group
	Group  string // empty if it is for a client
	Reason string // any UTF-8: escape it before it is shown, like By
	By     string

	Created time.Time // wall clock, UTC, as all times here
	Until   time.Time

	Extended []Extension // oldest first

	Ended     time.Time // zero while it is in force
	End       string    // one of the End constants; empty while it is in force
	EndedBy   string    // of Remove, likewise EndReason
	EndReason string
}

// An Extension made an exception last longer.
type Extension struct {
	At     time.Time
	Until  time.Time // from then on
	By     string
	Reason string
}

// How an exception ended.
const (
	EndExpired = "expired" // its time was over
	EndRemoved = "removed" // by Remove
	EndClock   = "clock"   // the clock was behind after a reboot, so nobody knew whether its time was over
)

// InForce says whether the exception has not ended.
func (e *Exception) InForce() bool { return e.Ended.IsZero() }

// A Request is what Add needs: a name, one of client and group, how long, why and by whom.
type Request struct {
	Name   string // the caller has checked that it is a name
	Client string // address or prefix
	Group  string
	For    time.Duration // whole seconds
	Reason string        // 1 to 500 octets
	By     string        // 1 to 200 octets
}

// A RefusedError says why something cannot be done, and that nothing has changed.
// Errors that are none are the disk's.
type RefusedError struct {
	ID     uint64 // of the exception that this is about; 0 for none
	Reason string
	Hint   string // what to do; may be empty
}

func (e *RefusedError) Error() string {
	if e.Hint == "" {
		return e.Reason
	}
	return e.Reason + "; " + e.Hint
}

// A record is an exception and what only the store needs. It is never changed:
// what changes is a copy that takes its place.
type record struct {
	Exception
	deadline time.Duration // boot clock; 0 when it has ended
	untold   bool          // it has ended and the caller may not know yet
}

// copied returns the exception, sharing nothing with r that can be changed.
func (r *record) copied() Exception {
	e := r.Exception
	e.Extended = slices.Clone(e.Extended)
	return e
}
