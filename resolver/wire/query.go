package wire

import (
	"encoding/binary"
	"errors"
)

const (
	headerSize = 12
	maxName    = 255
	maxOptions = 32
	// MaxUDP is the largest reply sent over UDP and the payload size announced
	// in every OPT record, in octets. It avoids fragmentation (RFC 9715 §3).
	MaxUDP = 1232
	// MaxTCP is the largest message that TCP framing carries (RFC 1035 §4.2.2).
	MaxTCP = 65535
)

// Types and classes that the query path tells apart.
const (
	TypeA     = 1
	TypeSOA   = 6
	TypePTR   = 12
	TypeHINFO = 13
	TypeAAAA  = 28
	TypeOPT   = 41
	TypeSVCB  = 64
	TypeHTTPS = 65
	TypeANY   = 255
	ClassINET = 1
	ClassANY  = 255
)

// Response codes (RFC 1035 §4.1.1, RFC 6891 §9, RFC 7873 §8).
const (
	RcodeSuccess   = 0
	RcodeFormErr   = 1
	RcodeServFail  = 2
	RcodeNXDomain  = 3
	RcodeNotImp    = 4
	RcodeRefused   = 5
	RcodeBadVers   = 16
	RcodeBadCookie = 23
)

// ErrOdd says that a query is outside the grammar that [Query.Parse] reads. It
// may still be valid: decode it in full.
var ErrOdd = errors.New("not a plain query")

// Admission is what the header of a packet allows.
type Admission uint8

const (
	// Accept: a query with one question; parse on.
	Accept Admission = iota
	// Ignore: no query at all (too short, or itself a response); say nothing,
	// for an answer could start a loop.
	Ignore
	// Malformed: answer FORMERR (RFC 9619: QDCOUNT is at most one in a query).
	Malformed
	// Unsupported: an opcode other than QUERY and NOTIFY; answer NOTIMP
	// (RFC 8906 §3.1.4).
	Unsupported
	// Notify: a primary tells of a change to the zone in the one question
	// (RFC 1996); decode it in full.
	Notify
	// Bare: a query without a question, by which a client asks for a cookie
	// (RFC 7873 §5.4); see [Query.ParseBare].
	Bare
)

const opcodeNotify = 4 << 3 // as it stands in the third octet of a header

// Admit judges a packet by its first twelve octets, before anything in it is
// unpacked: counts in a header cost nothing to forge.
func Admit(msg []byte) Admission {
	if len(msg) < headerSize || msg[2]&0x80 != 0 {
		return Ignore
	}
	counts := binary.BigEndian.Uint64(msg[4:])
	switch msg[2] & 0x78 {
	case 0:
		if counts == 1 { // AR=1, all else 0
			return Bare
		}
		if counts>>16 != 1<<32 || counts&0xffff > 2 { // QD=1, AN=NS=0, AR<=2
			return Malformed
		}
		return Accept
	case opcodeNotify:
		// One answer may be there, the new SOA record (RFC 1996 §3.7).
		if counts>>16&^(1<<16) != 1<<32 || counts&0xffff > 2 {
			return Malformed
		}
		return Notify
	}
	return Unsupported
}

// Query is one parsed query. It holds its own copy of the name, so it outlives
// the packet; it must not be copied while [Query.Name] is in use.
type Query struct {
	ID      uint16
	Type    uint16
	Class   uint16
	UDPSize uint16 // payload size that the client announced, 0 without EDNS
	Version uint8  // EDNS version
	EDNS    bool
	DO      bool // DNSSEC OK (RFC 3225)
	RD      bool
	AD      bool
	CD      bool
	ECS     bool    // the client's network was told (RFC 7871)
	MAC     [6]byte // the client's hardware address, as a forwarder told it; zero when none did
	Cookie  Cookie

	Keepalive bool // the client asks how long it may keep its connection (RFC 7828)

	end int // offset just after the question
	n   int // length of the name
	buf [maxName + KeyExtra + 8]byte
}

// KeyExtra is how many octets of a key follow the name: type, class, flags and the
// number of a translation, the numbers in network order.
const KeyExtra = 7

const keyFlags = 4 // where the flags are in them

// Name is the wire name asked for. It is valid until the next Parse.
func (q *Query) Name() []byte { return q.buf[:q.n] }

// OptionMAC is the EDNS option by which dnsmasq (--add-mac) and others tell a
// client's hardware address, six octets. Its number is of those for local use
// (RFC 6891 §9).
const OptionMAC = 65001

// OptionECS is the EDNS option by which a client's network is told (RFC 7871 §6).
const OptionECS = 8

// OptionKeepalive is the EDNS option that is empty in a query, and in a reply says
// for how many tenths of a second a connection may be idle (RFC 7828 §3.1).
const OptionKeepalive = 11

// Key identifies all that an answer from elsewhere depends on: name, type,
// class, DO and CD, and what was made of it. It is valid until the next Parse.
func (q *Query) Key() []byte { return q.buf[:q.n+KeyExtra] }

// Question is the question section as it came, spelling included. A query
// keeps only offsets, so msg must be the packet that was parsed.
func (q *Query) Question(msg []byte) []byte { return msg[headerSize:q.end] }

// Parse reads a packet that [Admit] accepted. It returns ErrOdd for anything
// but one uncompressed question followed by nothing or by one OPT record with
// well-formed options; q is then undefined.
func (q *Query) Parse(msg []byte) error {
	if len(msg) < headerSize+5 {
		return ErrOdd
	}
	off := headerSize
	for {
		if off >= len(msg) {
			return ErrOdd
		}
		c := int(msg[off])
		if c == 0 {
			break
		}
		if c > 63 {
			return ErrOdd // compressed or reserved
		}
		off += 1 + c
	}
	off++
	n := off - headerSize
	if n > maxName || off+4 > len(msg) {
		return ErrOdd
	}
	q.n, q.end = n, off+4
	lower(q.buf[:], msg[headerSize:], n)
	q.reset(msg)
	q.Type = binary.BigEndian.Uint16(msg[off:])
	q.Class = binary.BigEndian.Uint16(msg[off+2:])
	switch rest := msg[q.end:]; binary.BigEndian.Uint16(msg[10:]) {
	case 0:
		if len(rest) != 0 {
			return ErrOdd
		}
	case 1:
		if !q.parseOPT(rest) {
			return ErrOdd
		}
	default:
		return ErrOdd
	}
	q.seal()
	return nil
}

// ParseBare reads a packet that [Admit] found to be bare. It is false unless the
// rest is one OPT record with a COOKIE option; q then has the root's name and no
// type, and its Question is empty.
func (q *Query) ParseBare(msg []byte) bool {
	q.reset(msg)
	q.n, q.end, q.buf[0] = 1, headerSize, 0
	q.Type, q.Class = 0, 0
	ok := q.parseOPT(msg[headerSize:]) && q.Cookie.Kind != NoCookie
	q.seal()
	return ok
}

// reset takes over what the header says, and forgets the OPT record of before.
func (q *Query) reset(msg []byte) {
	q.ID = binary.BigEndian.Uint16(msg)
	q.RD = msg[2]&0x01 != 0
	q.AD = msg[3]&0x20 != 0
	q.CD = msg[3]&0x10 != 0
	q.EDNS, q.DO, q.UDPSize, q.Version, q.ECS, q.MAC, q.Cookie = false, false, 0, 0, false, [6]byte{}, Cookie{}
	q.Keepalive = false
}

// Set fills q from values decoded elsewhere: the way in for packets that are
// odd but valid. name is a wire name of at most 255 octets, end the offset
// just after the question in the packet.
func (q *Query) Set(name []byte, end int) {
	q.n, q.end = copy(q.buf[:maxName], name), end
	lower(q.buf[:], q.buf[:], q.n)
	q.seal()
}

// Rewritten makes Key that of an answer in which another name, with this number
// from 1 to 63, stands in for the one asked for.
func (q *Query) Rewritten(number uint8) { q.buf[q.n+keyFlags] |= number << 2 }

// Rewrite is that number of a key, 0 for none.
func Rewrite(key []byte) uint8 { return key[len(key)-KeyExtra+keyFlags] >> 2 }

// Translated makes Key that of an answer that was translated in the way with this
// number, from 1.
func (q *Query) Translated(number uint16) { binary.BigEndian.PutUint16(q.buf[q.n+keyFlags+1:], number) }

// Translation is that number of a key, 0 for none.
func Translation(key []byte) uint16 {
	return binary.BigEndian.Uint16(key[len(key)-KeyExtra+keyFlags+1:])
}

// seal writes the part of the key that follows the name.
func (q *Query) seal() {
	k := q.buf[q.n:]
	binary.BigEndian.PutUint16(k, q.Type)
	binary.BigEndian.PutUint16(k[2:], q.Class)
	clear(k[keyFlags:KeyExtra])
	if q.DO {
		k[keyFlags] |= 1
	}
	if q.CD {
		k[keyFlags] |= 2
	}
}

// parseOPT reads an OPT record that must fill rest exactly (RFC 6891 §6.1.2).
// Options are walked, bounded and, but for those that this package names, ignored.
// Of several cookies the first counts (RFC 7873 §5.2); any other of these may be
// there once.
func (q *Query) parseOPT(rest []byte) bool {
	if len(rest) < 11 || rest[0] != 0 || binary.BigEndian.Uint16(rest[1:]) != TypeOPT {
		return false
	}
	if int(binary.BigEndian.Uint16(rest[9:])) != len(rest)-11 {
		return false
	}
	q.EDNS = true
	q.UDPSize = binary.BigEndian.Uint16(rest[3:])
	q.Version = rest[6]
	q.DO = rest[7]&0x80 != 0
	opts, told, asked := rest[11:], false, false
	for n := 0; len(opts) > 0; n++ {
		if len(opts) < 4 || n == maxOptions {
			return false
		}
		l := 4 + int(binary.BigEndian.Uint16(opts[2:]))
		if l > len(opts) {
			return false
		}
		switch binary.BigEndian.Uint16(opts) {
		case OptionKeepalive:
			if asked {
				return false
			}
			asked, q.Keepalive = true, l == 4
		case OptionCookie:
			q.Cookie.Read(opts[4:l])
		case OptionECS:
			q.ECS = true
		case OptionMAC:
			if told {
				return false
			}
			if told = true; l == 4+len(q.MAC) {
				q.MAC = [6]byte(opts[4:])
			}
		}
		opts = opts[l:]
	}
	return true
}

// Limit is the most octets that a UDP reply to q may have: 512 without EDNS,
// what the client announced up to MaxUDP with it (RFC 6891 §6.2.3).
func (q *Query) Limit() int {
	return int(min(max(q.UDPSize, 512), MaxUDP))
}

// lower copies n octets of a wire name from src to dst, which has room for
// eight more, turning A to Z into a to z and leaving all else (RFC 4343).
// Length octets are below 64 and so below 'A'.
func lower(dst, src []byte, n int) {
	i := 0
	for ; i < n && i+8 <= len(src); i += 8 {
		binary.LittleEndian.PutUint64(dst[i:], lower8(binary.LittleEndian.Uint64(src[i:])))
	}
	for ; i < n; i++ {
		c := src[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst[i] = c
	}
}

// lower8 lower-cases eight ASCII octets at once; octets from 0x80 stay.
func lower8(v uint64) uint64 {
	const ones = 0x0101010101010101
	low := v & (0x7f * ones)
	from := low + (0x80-'A')*ones   // top bit: at least 'A'
	past := low + (0x80-'Z'-1)*ones // top bit: beyond 'Z'
	return v | (from&^past&^v)&(0x80*ones)>>2
}
