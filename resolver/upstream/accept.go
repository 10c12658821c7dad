package upstream

import (
	"bytes"
	"encoding/binary"
	"runtime/debug"
	"strings"

	"github.com/miekg/dns"
)

// A finding is what accept makes of a packet that came where a reply was due.
type finding uint8

const (
	foreign  finding = iota // no reply to this query: count it and read on
	deadly                  // the same, and to read it panicked
	doubtful                // a reply in letters of other case, or too much came that was none: ask by TCP
	cut                     // a truncated reply: ask again by TCP
	noEDNS                  // the server refuses EDNS: ask again without
	replied                 // a reply
)

// accept holds a packet against the query it should answer. The packet is
// hostile until it matches in ID, QR, opcode and question, letter case aside
// (RFC 5452 §9.1, RFC 4343), and until every record that its header promises has
// been decoded. A packet longer than limit octets counts as truncated.
// The message is not nil with replied alone, and shares no memory with packet, in
// which the asker's spelling of the question takes the place of a mixed one.
// A panic is kept in q.fault, and the packet is no reply.
func accept(q *query, packet []byte, limit int) (m *dns.Msg, found finding) {
	defer func() {
		if v := recover(); v != nil {
			q.fault = &fault{v, debug.Stack()}
			m, found = nil, deadly
		}
	}()
	const qr, opcode, tc, rcode = 0x80, 0x78, 0x02, 0x0f
	sent := q.packet()
	if len(packet) < headerLen || packet[0] != sent[0] || packet[1] != sent[1] ||
		packet[2]&qr == 0 || packet[2]&opcode != 0 {
		return nil, foreign
	}
	code := int(packet[3] & rcode)
	refused := q.edns && (code == dns.RcodeFormatError || code == dns.RcodeNotImplemented)

	if refused && len(packet) == headerLen && binary.BigEndian.Uint64(packet[4:]) == 0 {
		// Servers older than EDNS may answer it with a bare header: no reply, but
		// reason enough to ask again (RFC 6891 §7).
		return nil, noEDNS
	}
	if binary.BigEndian.Uint16(packet[4:]) != 1 || !sameQuestion(q.question(), packet[headerLen:]) {
		return nil, foreign
	}
	if q.exact && !bytes.HasPrefix(packet[headerLen:], q.question()) {
		return nil, doubtful
	}
	if packet[2]&tc != 0 || len(packet) > limit {
		return nil, cut // what it holds is not used (RFC 2181 §9)
	}
	if refused {
		return nil, noEDNS
	}
	if q.mixed {
		name := packet[headerLen : q.qend-4] // names that point to it change with it
		copy(name, q.question())
		q.flip(name)
	}
	m = new(dns.Msg)
	if m.Unpack(packet) != nil || !complete(m, packet) {
		return nil, foreign
	}
	if q.mixed {
		respell(m)
	}
	return m, replied
}

// respell gives records of the name asked its spelling in the question.
func respell(m *dns.Msg) {
	name := m.Question[0].Name
	for _, rr := range m.Answer {
		if h := rr.Header(); len(h.Name) == len(name) && strings.EqualFold(h.Name, name) {
			h.Name = name
		}
	}
}

// sameQuestion reports whether b begins with the question, ASCII letters
// compared without case. The question holds an uncompressed name, type and
// class; nothing stands before the first name that it could be compressed
// against.
func sameQuestion(question, b []byte) bool {
	if len(b) < len(question) {
		return false
	}
	name := len(question) - 4
	for i, c := range question {
		d := b[i]
		if i < name { // length octets are below 64 and so never letters
			c, d = lower(c), lower(d)
		}
		if c != d {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// complete reports whether m is all that packet promised. The decoder lets
// three things pass: fewer records than the header counts, if the packet ends
// between two; more than one OPT (RFC 6891 §6.1.1); and records without the data
// that their type must have.
func complete(m *dns.Msg, packet []byte) bool {
	opts := 0
	for i, section := range [...][]dns.RR{m.Answer, m.Ns, m.Extra} {
		if len(section) != int(binary.BigEndian.Uint16(packet[6+2*i:])) {
			return false
		}
		for _, rr := range section {
			h := rr.Header()
			if h.Rrtype == dns.TypeOPT {
				opts++
			}
			if h.Rdlength == 0 && !mayBeEmpty(rr) {
				return false
			}
		}
	}
	return len(m.Question) == 1 && opts <= 1
}

// mayBeEmpty reports whether a record of rr's type may have no data at all.
// An empty TXT is against RFC 1035 §3.3.14, but common and harmless.
func mayBeEmpty(rr dns.RR) bool {
	switch rr.(type) {
	case *dns.OPT, *dns.NULL, *dns.APL, *dns.TXT, *dns.RFC3597:
		return true
	}
	return false
}

// A fault is a panic while a packet was read, kept from ending the program.
type fault struct {
	value any
	stack []byte
}
