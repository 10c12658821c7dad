package audit

import (
	"encoding/binary"
	"net/netip"
)

// Numbers of DNS messages (RFC 1035 §4, RFC 6891 §6.1, RFC 8914 §2).
const (
	bitQR      = 0x8000
	typeOPT    = 41
	optionEDE  = 15
	leastSize  = 512 // of a UDP payload
	classIN    = 1
	packetHead = 12 // octets of a message's header
)

// appendQuestion appends the query of r as a DNS message: its question, and
// nothing of what the log does not know, as the transaction's number and flags.
func appendQuestion(b []byte, r *Record) []byte {
	start := len(b)
	b = append(b, make([]byte, packetHead)...)
	typ, _ := numberOf(typeNumbers, r.Type, "TYPE")
	class, _ := numberOf(classNumbers, r.Class, "CLASS")
	if r.Name == "" {
		return b
	}
	b, ok := appendName(b, r.Name)
	if !ok { // octets that were no name
		return b
	}
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, class)
	binary.BigEndian.PutUint16(b[start+4:], 1)
	return b
}

// appendResponse appends the answer of r as a DNS message: its question, response
// code, Extended DNS Error, and the records that the client got as far as they can
// be told, with a TTL of 0.
func appendResponse(b []byte, r *Record) []byte {
	start := len(b)
	b = appendQuestion(b, r)
	answers := uint16(0)
	if r.sent() != nil {
		for _, l := range r.links() {
			if next, ok := appendLink(b, l); ok {
				b, answers = next, answers+1
			}
		}
	}
	rcode, _ := numberOf(rcodeNumbers, r.Rcode, "RCODE")
	extras := uint16(0)
	if ede := r.EDE; rcode > 0xf || ede != nil {
		b = append(b, 0)
		b = binary.BigEndian.AppendUint16(b, typeOPT)
		b = binary.BigEndian.AppendUint16(b, leastSize)
		b = append(b, byte(rcode>>4), 0, 0, 0)
		if ede != nil {
			b = append(b, 0, 6, 0, optionEDE, 0, 2)
			b = binary.BigEndian.AppendUint16(b, uint16(*ede))
		} else {
			b = append(b, 0, 0)
		}
		extras++
	}
	binary.BigEndian.PutUint16(b[start+2:], bitQR|rcode&0xf)
	binary.BigEndian.PutUint16(b[start+6:], answers)
	binary.BigEndian.PutUint16(b[start+10:], extras)
	return b
}

// appendLink appends one record, or nothing if a name in it is none.
func appendLink(b []byte, l link) (_ []byte, ok bool) {
	start := len(b)
	if b, ok = appendName(b, l.owner); !ok {
		return b, false
	}
	b = binary.BigEndian.AppendUint16(b, typeNumbers[l.typ])
	b = binary.BigEndian.AppendUint16(b, classIN)
	b = append(b, 0, 0, 0, 0, 0, 0) // TTL, length
	data := len(b)
	if l.typ == "CNAME" {
		if b, ok = appendName(b, l.data); !ok {
			return b[:start], false
		}
	} else {
		addr, err := netip.ParseAddr(l.data)
		if err != nil {
			return b[:start], false
		}
		b = append(b, addr.AsSlice()...)
	}
	binary.BigEndian.PutUint16(b[data-2:], uint16(len(b)-data))
	return b, true
}
