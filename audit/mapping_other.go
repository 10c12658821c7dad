//go:build !linux

package audit

import "errors"

// bootID is not known.
func bootID() string { return "" }

// mapSlabs is for Linux only: elsewhere slabs are plain memory.
func mapSlabs(string, runID, int, int) (*mapping, error) { return nil, errors.ErrUnsupported }

func (m *mapping) close() error { return nil }
