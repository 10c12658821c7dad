package upstream

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/miekg/dns"
)

// udpSize is the largest reply, in octets, that we ask for by UDP: it crosses
// every common path in one piece, and a reply in pieces can be forged from its
// second piece on (RFC 9715 §3.1 and appendix A).
const udpSize = 1232

const (
	headerLen   = 12
	maxName     = 255
	questionEnd = headerLen + maxName + 4 // at most
	optLen      = 11
	optionLen   = 4   // of an EDNS option without its data
	padBlock    = 128 // encrypted queries are a multiple of it long, RFC 8467 §4.1
	maxPacket   = (questionEnd + optLen + 2*optionLen + padBlock - 1) / padBlock * padBlock
	prefixLen   = 2 // of a TCP message, RFC 1035 §4.2.2
)

// errQuery marks an error that is the caller's and no server's.
var errQuery = errors.New("query cannot be sent")

// A query is one packet on its way out, and what its reply is held against.
// Its bytes follow a two-octet length so that one write serves TCP.
type query struct {
	buf  [prefixLen + maxPacket]byte
	qend int  // where the question ends in packet()
	end  int  // length of packet()
	edns bool // the packet carries an OPT record

	lasting   bool     // it asks how long its connection may be idle, if it carries one
	padded    bool     // it is to be padded, if it carries one
	authentic bool     // it asks for AD (RFC 6840 §5.7)
	mixed     bool     // its letters are to be of random case
	exact     bool     // a reply must have the same letters
	flips     [32]byte // a bit for each octet of the name whose case was changed

	fault *fault // of the last packet that was deadly
}

func (q *query) packet() []byte   { return q.buf[prefixLen : prefixLen+q.end] }
func (q *query) question() []byte { return q.buf[prefixLen+headerLen : prefixLen+q.qend] }

// id returns the ID in the packet.
func (q *query) id() uint16 { return binary.BigEndian.Uint16(q.packet()) }

// framed returns the packet behind its length, as TCP wants it.
func (q *query) framed() []byte { return q.buf[:prefixLen+q.end] }

// pack writes the question of m with a new random ID. Of m's flags CD, AD and DO
// are kept, and AD is set for a server whose word on it counts; RD is always set, since a referral would be no answer to anybody.
func (q *query) pack(m *dns.Msg, edns bool) error {
	if len(m.Question) != 1 || m.Opcode != dns.OpcodeQuery {
		return fmt.Errorf("%w: %d questions, opcode %d", errQuery, len(m.Question), m.Opcode)
	}
	ask := &m.Question[0]
	msg := q.buf[prefixLen:]
	end, err := dns.PackDomainName(ask.Name, msg[:headerLen+maxName], headerLen, nil, false)
	if err != nil || end == headerLen {
		return fmt.Errorf("%w: %q is not a domain name", errQuery, ask.Name)
	}
	q.mix(msg[headerLen:end])
	binary.BigEndian.PutUint16(msg[end:], ask.Qtype)
	binary.BigEndian.PutUint16(msg[end+2:], ask.Qclass)
	end += 4

	clear(msg[:headerLen])
	rand.Read(msg[:2]) // never fails
	msg[2] = 0x01      // RD
	if m.AuthenticatedData || q.authentic {
		msg[3] |= 0x20
	}
	if m.CheckingDisabled {
		msg[3] |= 0x10
	}
	msg[5] = 1 // QDCOUNT
	q.qend, q.end, q.edns = end, end, edns
	if edns {
		msg[11] = 1 // ARCOUNT
		opt := msg[end : end+optLen]
		clear(opt)
		opt[2] = byte(dns.TypeOPT)
		binary.BigEndian.PutUint16(opt[3:], udpSize)
		if o := m.IsEdns0(); o != nil && o.Do() {
			opt[7] = 0x80
		}
		q.end += optLen
		if q.lasting {
			q.option(opt, dns.EDNS0TCPKEEPALIVE, 0) // RFC 7828 §3.2.1
		}
		if q.padded { // RFC 7830 §3
			whole := (q.end + optionLen + padBlock - 1) / padBlock * padBlock
			q.option(opt, dns.EDNS0PADDING, whole-q.end-optionLen)
		}
	}
	binary.BigEndian.PutUint16(q.buf[:], uint16(q.end))
	return nil
}

// option adds one of n octets, all 0, to the OPT record that ends the packet.
func (q *query) option(opt []byte, code uint16, n int) {
	option := q.buf[prefixLen+q.end : prefixLen+q.end+optionLen+n]
	clear(option)
	binary.BigEndian.PutUint16(option, code)
	binary.BigEndian.PutUint16(option[2:], uint16(n))
	all := opt[optLen-2:]
	binary.BigEndian.PutUint16(all, binary.BigEndian.Uint16(all)+uint16(len(option)))
	q.end += len(option)
}

// mix changes the case of letters of the name at random, half of them, if that is
// wanted: a forger has to guess it with ID and port.
func (q *query) mix(name []byte) {
	q.exact = q.mixed
	if !q.mixed {
		return
	}
	rand.Read(q.flips[:]) // never fails
	for i, c := range name {
		if c := lower(c); c < 'a' || c > 'z' { // length octets are below 64
			q.flips[i/8] &^= 1 << (i % 8)
		}
	}
	q.flip(name)
}

// flip changes the name from the asker's spelling to that of the packet, and back.
func (q *query) flip(name []byte) {
	for i := range name {
		name[i] ^= q.flips[i/8] >> (i % 8) & 1 << 5
	}
}
