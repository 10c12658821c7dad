package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// Reply is all of a response that does not depend on who asked. It is never
// changed after it was made, so any number of goroutines may append it.
type Reply struct {
	Rcode   uint8  // of the header; extended codes are not kept
	AA      bool   // authoritative answer
	AD      bool   // authentic data, as the source of the reply said
	An      uint16 // records in each section, OPT not counted
	Ns      uint16
	Ar      uint16
	Tail    []byte   // the records as they follow the question
	TTLs    []uint16 // where in Tail each TTL stands
	MinTTL  uint32   // smallest TTL in seconds, 0 without records
	Partial bool     // the source had to cut it; never kept
	set     addresses
}

// addresses says where in Tail a set of address records stands whose order can be
// changed by moving octets: one behind the other, of one size, with the same
// owner, into which no other name of the message points.
type addresses struct{ off, size, n uint16 }

// add takes the record of an answer section at tail[off:end] into the set, if it
// is of it, or the first of another that may be one. Its owner has so many octets.
func (a *addresses) add(tail []byte, off, end, owner int) {
	if typ := binary.BigEndian.Uint16(tail[off+owner:]); typ != TypeA && typ != TypeAAAA {
		return
	}
	head := owner + 2 + 2 // with type and class
	switch {
	case a.n > 0 && off == int(a.off)+int(a.n)*int(a.size) && end-off == int(a.size) && string(tail[off:off+head]) == string(tail[a.off:][:head]):
		a.n++
	case a.n < 2:
		*a = addresses{uint16(off), uint16(end - off), 1}
	}
}

// Finish is what an asker adds to a [Reply].
type Finish struct {
	Age    uint32 // seconds that every TTL has counted down
	Limit  int    // largest reply in octets
	Turn   uint32 // by how many places the addresses in an answer are moved on, the last ones to the front
	Cookie []byte // one encoded COOKIE option, or nil; see Cookie.Append
	Alive  []byte // one encoded keepalive option, or nil; see AppendKeepalive
	EDE    []byte // one encoded Extended DNS Error option, or nil, left out where there is no room; see AppendEDE
	Rcode  uint16 // used instead of the reply's own when not zero, up to 12 bits
}

// Append writes the whole response to the query q, which was parsed from msg,
// and returns the extended dst. It has a question if and only if the query had. A response that would exceed f.Limit is cut to
// header, question and OPT with TC set (RFC 2181 §9), never to half an RRset.
// An OPT record is there if and only if the query had one (RFC 6891 §7).
func (r *Reply) Append(dst, msg []byte, q *Query, f Finish) []byte {
	start := len(dst)
	rcode := f.Rcode
	if rcode == 0 {
		rcode = uint16(r.Rcode)
	}
	var flags [2]byte
	flags[0] = 0x80 | msg[2]&0x79 // QR, opcode and RD copied
	if r.AA {
		flags[0] |= 0x04
	}
	flags[1] = 0x80 | msg[3]&0x10 | byte(rcode&0x0f) // RA, CD copied
	if r.AD && (q.AD || q.DO) {
		flags[1] |= 0x20
	}
	opt := 0
	if q.EDNS {
		opt = optSize + len(f.Cookie) + len(f.Alive)
	}
	size := q.end + len(r.Tail) + opt
	ede := f.EDE
	if opt == 0 || size+len(ede) > f.Limit {
		ede = nil
	}
	an, ns, ar, tail := r.An, r.Ns, r.Ar, r.Tail
	if size > f.Limit || r.Partial {
		an, ns, ar, tail = 0, 0, 0, nil
		flags[0] |= 0x02
	}
	if opt > 0 {
		ar++
	}
	dst = append(dst, msg[0], msg[1], flags[0], flags[1], 0, byte(min(q.end-headerSize, 1)),
		byte(an>>8), byte(an), byte(ns>>8), byte(ns), byte(ar>>8), byte(ar))
	dst = append(dst, q.Question(msg)...)
	at := len(dst)
	dst = r.appendTail(dst, tail, f.Turn)
	if tail != nil && f.Age > 0 {
		for _, off := range r.TTLs {
			ttl := dst[at+int(off):]
			left := binary.BigEndian.Uint32(ttl)
			binary.BigEndian.PutUint32(ttl, left-min(left, f.Age))
		}
	}
	if opt > 0 {
		dst = appendOPT(dst, rcode, q.DO, f.Cookie, f.Alive, ede)
	}
	if len(dst)-start > f.Limit { // a limit too small for anything
		return dst[:start]
	}
	return dst
}

// appendTail writes the records, of which those of the set begin with another one.
func (r *Reply) appendTail(dst, tail []byte, turn uint32) []byte {
	if turn == 0 || r.set.n < 2 || tail == nil {
		return append(dst, tail...)
	}
	first := int(r.set.off)
	end := first + int(r.set.n)*int(r.set.size)
	cut := end - int(turn%uint32(r.set.n))*int(r.set.size)
	dst = append(append(dst, tail[:first]...), tail[cut:end]...)
	return append(append(dst, tail[first:cut]...), tail[end:]...)
}

const optSize = 11

func appendOPT(dst []byte, rcode uint16, do bool, cookie, alive, ede []byte) []byte {
	z := byte(0)
	if do {
		z = 0x80
	}
	dst = append(dst, 0, 0, TypeOPT, MaxUDP>>8, MaxUDP&0xff,
		byte(rcode>>4), 0, z, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(cookie)+len(alive)+len(ede)))
	return append(append(append(dst, cookie...), alive...), ede...)
}

// AppendKeepalive encodes the option that tells a client for how long its
// connection may be idle.
func AppendKeepalive(dst []byte, idle time.Duration) []byte {
	const unit = 100 * time.Millisecond
	dst = append(dst, 0, OptionKeepalive, 0, 2)
	return binary.BigEndian.AppendUint16(dst, uint16(min(idle/unit, math.MaxUint16)))
}

// AppendError writes a response to a packet whose question could not be read:
// the header alone, with the identifier, opcode and RD of msg, which has at
// least twelve octets (RFC 8906 §3).
func AppendError(dst, msg []byte, rcode uint8) []byte {
	return append(dst, msg[0], msg[1], 0x80|msg[2]&0x79, 0x80|rcode,
		0, 0, 0, 0, 0, 0, 0, 0)
}

// AppendEDE encodes an Extended DNS Error option (RFC 8914 §2): code and text,
// which is cut to at most 200 octets of whole characters.
func AppendEDE(dst []byte, code uint16, text string) []byte {
	const option, most = 15, 200
	if len(text) > most {
		end := most
		for !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end]
	}
	dst = binary.BigEndian.AppendUint16(dst, option)
	dst = binary.BigEndian.AppendUint16(dst, uint16(2+len(text)))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, text...)
}

// SelfPointer is the owner of a record that belongs to the name asked for: a
// compression pointer to the question. Records with this owner and otherwise
// uncompressed names fit under a question of any length.
var SelfPointer = []byte{0xc0, headerSize}

// AddRR appends one record of the Internet class to a reply under construction
// and counts it in section, which is one of the reply's own counters.
func (r *Reply) AddRR(section *uint16, owner []byte, typ uint16, ttl uint32, rdata []byte) {
	off := len(r.Tail)
	r.Tail = append(r.Tail, owner...)
	r.Tail = binary.BigEndian.AppendUint16(r.Tail, typ)
	r.Tail = binary.BigEndian.AppendUint16(r.Tail, ClassINET)
	if len(r.TTLs) == 0 || ttl < r.MinTTL {
		r.MinTTL = ttl
	}
	r.TTLs = append(r.TTLs, uint16(len(r.Tail)))
	r.Tail = binary.BigEndian.AppendUint32(r.Tail, ttl)
	r.Tail = binary.BigEndian.AppendUint16(r.Tail, uint16(len(rdata)))
	r.Tail = append(r.Tail, rdata...)
	*section++
	if section == &r.An {
		r.set.add(r.Tail, off, len(r.Tail), len(owner)) // nothing that is built here points to another record
	}
}

var errPacked = errors.New("packed message does not parse")

// Freeze turns a packed response with exactly one question and no OPT record
// into a Reply that fits under every question of the same name length. The
// message's compression pointers stay valid because the question stays where
// it is. The Reply keeps its own copy.
func Freeze(msg []byte) (Reply, error) {
	if len(msg) < headerSize || len(msg) > MaxTCP || binary.BigEndian.Uint16(msg[4:]) != 1 {
		return Reply{}, errPacked
	}
	off, ok := skipName(msg, headerSize)
	if !ok || off+4 > len(msg) {
		return Reply{}, errPacked
	}
	off += 4
	r := Reply{
		Rcode:   msg[3] & 0x0f,
		AA:      msg[2]&0x04 != 0,
		Partial: msg[2]&0x02 != 0,
		AD:      msg[3]&0x20 != 0,
		An:      binary.BigEndian.Uint16(msg[6:]),
		Ns:      binary.BigEndian.Uint16(msg[8:]),
		Ar:      binary.BigEndian.Uint16(msg[10:]),
		Tail:    append([]byte(nil), msg[off:]...),
	}
	body := off
	if n := int(r.An) + int(r.Ns) + int(r.Ar); n > 0 {
		r.TTLs = make([]uint16, 0, min(n, len(msg)/11))
		for i := range n {
			start := off
			if off, ok = skipName(msg, off); !ok || off+10 > len(msg) {
				return Reply{}, fmt.Errorf("record %d: %w", i, errPacked)
			}
			ttl := binary.BigEndian.Uint32(msg[off+4:])
			if i == 0 || ttl < r.MinTTL {
				r.MinTTL = ttl
			}
			r.TTLs = append(r.TTLs, uint16(off+4-body))
			off += 10 + int(binary.BigEndian.Uint16(msg[off+8:]))
			if off > len(msg) {
				return Reply{}, fmt.Errorf("record %d: %w", i, errPacked)
			}
			if i < int(r.An) && msg[start] >= 0xc0 {
				r.set.add(r.Tail, start-body, off-body, len(SelfPointer))
			}
		}
	}
	if off != len(msg) {
		return Reply{}, errPacked
	}
	return r, nil
}

// skipName returns the offset after the possibly compressed name at off.
func skipName(msg []byte, off int) (int, bool) {
	for off < len(msg) {
		switch c := int(msg[off]); {
		case c == 0:
			return off + 1, true
		case c >= 0xc0:
			return off + 2, off+2 <= len(msg)
		case c > 63:
			return 0, false
		default:
			off += 1 + c
		}
	}
	return 0, false
}
