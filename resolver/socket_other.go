//go:build !linux

package resolver

import (
	"errors"
	"net/netip"
)

// Elsewhere than on Linux there is one UDP socket for each address, and a
// wildcard address leaves the choice of the reply's source to the system.
const (
	canShare = false
	oobSize  = 64
)

func sharePort(int) error { return errors.ErrUnsupported }

func setUDPOptions(int, bool, bool) error { return nil }

func appendOOB(dst []byte, _ netip.Addr, _ uint32) []byte { return dst }
