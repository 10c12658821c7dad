package audit

import (
	"encoding/binary"
	"net/netip"
)

// A slab holds events one behind the other in a form that Record can write in
// one pass without allocating; doc.go has their layout. A write-ahead file holds
// them in the same form.
type slab struct {
	number     uint32 // of the slab among those of its run
	generation uint64 // how often slabs have been given out in its run, this time included
	b          []byte // what is used of it
}

// slabFixed is how many octets of an event come before its name.
const slabFixed = 96

// maxName is the longest wire name, RFC 1035 §3.1.
const maxName = 255

// maxEvent is the most that one event takes in a slab, a multiple of four.
const maxEvent = (slabFixed + maxName + MaxAnswers*(1+maxName) + MaxAnswers*(1+16) + 3) &^ 3

const (
	flagBlocked = 1 << iota
	flagDropped
	flagStripped

	flagsKnown = flagBlocked | flagDropped | flagStripped
)

// flags returns what the flags column has for e.
func (e *Event) flags() (f uint8) {
	if e.Blocked {
		f |= flagBlocked
	}
	if e.Dropped {
		f |= flagDropped
	}
	if e.Stripped {
		f |= flagStripped
	}
	return f
}

// slabSize returns how many octets appendEvent will append for e.
func slabSize(e *Event) int {
	n := slabFixed + min(len(e.Name), maxName)
	for _, a := range e.Aliases[:min(len(e.Aliases), MaxAnswers)] {
		n += 1 + min(len(a), maxName)
	}
	for _, a := range e.Addrs[:min(len(e.Addrs), MaxAnswers)] {
		n += 1 + a.BitLen()/8
	}
	return (n + 3) &^ 3
}

// appendEvent copies e behind b, which must have slabSize(e) octets of room.
func appendEvent(b []byte, e *Event) []byte {
	start := len(b)
	b = b[:start+slabFixed]
	p := b[start:]
	le := binary.LittleEndian
	p[92], p[93], p[94], p[95] = uint8(e.Transport), e.flags(), 0, 0
	p[4], p[5], p[6], p[7] = e.On, e.EntryOff, e.EntryScope, e.EntryAlias
	le.PutUint64(p[8:], uint64(max(e.Time, 0)))
	le.PutUint16(p[16:], e.Type)
	le.PutUint16(p[18:], e.Class)
	le.PutUint16(p[20:], e.Rcode)
	p[22], p[23] = uint8(e.Source), uint8(e.Client.BitLen()/8)
	le.PutUint32(p[24:], uint32(e.EDE))
	le.PutUint32(p[28:], e.Reason)
	le.PutUint32(p[32:], e.Observed)
	le.PutUint32(p[36:], e.Upstream)
	le.PutUint64(p[40:], uint64(e.Duration))
	le.PutUint64(p[48:], e.Revision)
	client := e.Client.As16()
	copy(p[56:], client[:])
	le.PutUint32(p[72:], e.Group)
	le.PutUint16(p[79:], e.Port)
	le.PutUint16(p[81:], e.ID)
	le.PutUint16(p[83:], e.QuerySize)
	le.PutUint16(p[85:], e.AnswerSize)
	le.PutUint16(p[87:], e.UDPSize)
	le.PutUint16(p[89:], uint16(e.Bits))
	p[91] = e.Version

	name := e.Name[:min(len(e.Name), maxName)]
	aliases := e.Aliases[:min(len(e.Aliases), MaxAnswers)]
	addrs := e.Addrs[:min(len(e.Addrs), MaxAnswers)]
	p[76], p[77], p[78] = uint8(len(name)), uint8(len(aliases)), uint8(len(addrs))
	b = append(b, name...)
	for _, a := range aliases {
		a = a[:min(len(a), maxName)]
		b = append(b, uint8(len(a)))
		b = append(b, a...)
	}
	for _, a := range addrs {
		b = appendAddr(b, a)
	}
	for len(b)&3 != 0 { // b begins at a multiple of four
		b = append(b, 0)
	}
	publish(b[start:], b[len(b):cap(b)])
	return b
}

// What an event in a slab is.
const (
	eventQuery  = 0
	eventChange = 1
)

// changeSize returns how many octets slabChange will append for c.
func changeSize(c *Change) int {
	return (slabFixed + 6 + len(c.Action) + len(c.Actor) + len(c.Text) + 3) &^ 3
}

// slabChange is appendEvent for a change of that time: behind the fixed part,
// which is 0 but for the time, come the lengths of action, actor and text and then these.
func slabChange(b []byte, at int64, c *Change) []byte {
	start := len(b)
	b = b[:start+slabFixed]
	p := b[start:]
	clear(p[4:])
	le := binary.LittleEndian
	le.PutUint64(p[8:], uint64(max(at, 0)))
	p[94] = eventChange
	for _, s := range [...]string{c.Action, c.Actor, c.Text} {
		b = le.AppendUint16(b, uint16(len(s)))
	}
	b = append(append(append(b, c.Action...), c.Actor...), c.Text...)
	for len(b)&3 != 0 {
		b = append(b, 0)
	}
	publish(b[start:], b[len(b):cap(b)])
	return b
}

// readChange reads what slabChange has written.
func readChange(p []byte) (c Change) {
	le, rest := binary.LittleEndian, p[slabFixed+6:]
	for i, s := range [...]*string{&c.Action, &c.Actor, &c.Text} {
		n := int(le.Uint16(p[slabFixed+2*i:]))
		*s, rest = string(rest[:n]), rest[n:]
	}
	return c
}

// slabAddr returns the octets of a client's address, which has so many of the 16 that it takes in
// a slab; none for any other size.
func slabAddr(kept []byte, size uint8) []byte {
	switch size {
	case 4:
		return kept[12:16]
	case 16:
		return kept[:16]
	}
	return nil
}

// eventReasons returns what decided the first event in b, a query, and what was observed.
func eventReasons(b []byte) (reason, observed uint32) {
	return binary.LittleEndian.Uint32(b[28:]), binary.LittleEndian.Uint32(b[32:])
}

// eventTime returns the time of the first event in b and how many octets it takes.
func eventTime(b []byte) (at int64, size int) {
	return int64(binary.LittleEndian.Uint64(b[8:])), int(binary.LittleEndian.Uint32(b))
}

// wholeEvents returns how many octets at the beginning of b are events that
// readEvent can read. What a file holds is not to be believed.
func wholeEvents(b []byte) int {
	at := 0
	for len(b)-at >= slabFixed {
		n := binary.LittleEndian.Uint32(b[at:])
		if n < slabFixed || n > maxEvent || n&3 != 0 || int(n) > len(b)-at || !wholeEvent(b[at:at+int(n)]) {
			break
		}
		at += int(n)
	}
	return at
}

// wholeEvent says whether the parts of p, one event, are where they should be.
func wholeEvent(p []byte) bool {
	le := binary.LittleEndian
	if p[94] == eventChange {
		n := slabFixed + 6
		if len(p) < n {
			return false
		}
		for i := range 3 {
			n += int(le.Uint16(p[slabFixed+2*i:]))
		}
		return int64(le.Uint64(p[8:])) >= 0 && n <= len(p) && len(p)-n < 4
	}
	if p[94] != eventQuery || int64(le.Uint64(p[8:])) < 0 || p[77] > MaxAnswers || p[78] > MaxAnswers {
		return false
	}
	at := slabFixed + int(p[76])
	for i := range int(p[77]) + int(p[78]) {
		if at >= len(p) {
			return false
		}
		n := int(p[at])
		if i >= int(p[77]) && n != 0 && n != 4 && n != 16 {
			return false
		}
		at += 1 + n
	}
	return at <= len(p) && len(p)-at < 4
}

// appendAddr appends a as one octet of length (0, 4 or 16) and its octets.
func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case !a.IsValid():
		return append(b, 0)
	case a.Is4():
		v := a.As4()
		return append(append(b, 4), v[:]...)
	default:
		v := a.As16()
		return append(append(b, 16), v[:]...)
	}
}
