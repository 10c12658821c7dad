package audit

import (
	"encoding/binary"
	"net/netip"
)

// readEvent fills e from the first event in b, whose names it shares, and
// returns how many octets that event takes. e's own slices are reused.
func readEvent(e *Event, b []byte) int {
	le := binary.LittleEndian
	n := int(le.Uint32(b))
	p := b[:n]
	e.Time, e.Duration = int64(le.Uint64(p[8:])), int64(le.Uint64(p[40:]))
	e.Transport, e.Source = Transport(p[92]), Source(p[22])
	e.Blocked, e.Dropped, e.Stripped = p[93]&flagBlocked != 0, p[93]&flagDropped != 0, p[93]&flagStripped != 0
	e.On, e.EntryOff, e.EntryScope, e.EntryAlias = p[4], p[5], p[6], p[7]
	e.Type, e.Class, e.Rcode = le.Uint16(p[16:]), le.Uint16(p[18:]), le.Uint16(p[20:])
	e.EDE = int32(le.Uint32(p[24:]))
	e.Reason, e.Observed, e.Upstream = le.Uint32(p[28:]), le.Uint32(p[32:]), le.Uint32(p[36:])
	e.Revision, e.Group = le.Uint64(p[48:]), le.Uint32(p[72:])
	e.Port, e.ID, e.QuerySize, e.AnswerSize = le.Uint16(p[79:]), le.Uint16(p[81:]), le.Uint16(p[83:]), le.Uint16(p[85:])
	e.UDPSize, e.Bits, e.Version = le.Uint16(p[87:]), Bits(le.Uint16(p[89:])), p[91]
	e.Client, _ = netip.AddrFromSlice(slabAddr(p[56:72], p[23]))
	e.Aliases, e.Addrs = e.Aliases[:0], e.Addrs[:0]
	rest := p[slabFixed:]
	e.Name, rest = rest[:p[76]], rest[p[76]:]
	for range p[77] {
		end := 1 + int(rest[0])
		e.Aliases = append(e.Aliases, rest[1:end])
		rest = rest[end:]
	}
	for range p[78] {
		end := 1 + int(rest[0])
		a, _ := netip.AddrFromSlice(rest[1:end])
		e.Addrs = append(e.Addrs, a)
		rest = rest[end:]
	}
	return n
}

// inSlab returns e in the form that it has in a slab.
func inSlab(e *Event) []byte { return appendEvent(make([]byte, 0, slabSize(e)), e) }
