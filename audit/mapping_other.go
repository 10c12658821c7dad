//go:build !linux

package audit

import (
	"errors"
	"os"
)

// bootID is not known.
func bootID() string { return "" }

// mapSlabs is for Linux only: elsewhere slabs are plain memory.
func mapSlabs(string, runID, slabsShape, bool) (*mapping, error) { return nil, errors.ErrUnsupported }

func mapAgain(string, slabsShape) (*mapping, error) { return nil, errors.ErrUnsupported }

func (m *mapping) close() error { return nil }

func memoryFolder(string) bool { return false }

func readOwn(_, path string) ([]byte, error) { return os.ReadFile(path) }
