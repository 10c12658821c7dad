//go:build !linux

package hosts

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// canSeeNeighbours returns why this system's neighbour table cannot be read.
func canSeeNeighbours() error {
	return fmt.Errorf("the neighbour table can be read on Linux only, not on %s; clients are known from lease files", runtime.GOOS)
}

// followNeighbours is for Linux.
func followNeighbours(context.Context, *neighbours, func() time.Time, func(), func()) error {
	return canSeeNeighbours()
}

// dumpNeighbours is for Linux.
func dumpNeighbours() (map[link]MAC, error) { return nil, canSeeNeighbours() }
