package wire

import "encoding/binary"

// AppendRefusal writes to dst the response that takes the place of reply, which is whole:
// the same identifier, question and EDNS options, but rcode, no records, and the Extended
// DNS Error ede instead of another. Where reply is not well formed it is a header alone.
// dst may be reply[:0] if it has room for both.
func AppendRefusal(dst, reply []byte, rcode uint8, ede []byte) []byte {
	start := len(dst)
	asked := binary.BigEndian.Uint16(reply[4:]) == 1
	off, ok := skipName(reply, headerSize)
	asked = asked && ok && off+4 <= len(reply)
	cd := reply[3] & 0x10
	var opt []byte
	if asked {
		off += 4
		opt = optOf(reply, off)
	}
	out := AppendError(dst, reply, rcode)
	out[start+3] |= cd
	if !asked {
		return out
	}
	out = append(out, reply[headerSize:off]...)
	out[start+5] = 1
	if opt == nil {
		return out
	}
	out[start+11] = 1
	end := len(out)
	out = append(out, opt[:optSize]...)
	out[end+5] = 0 // the upper octet of the response code
	for rest := opt[optSize:]; len(rest) >= 4; {
		n := 4 + int(binary.BigEndian.Uint16(rest[2:]))
		if n > len(rest) {
			break
		}
		if binary.BigEndian.Uint16(rest) != optionEDE {
			out = append(out, rest[:n]...)
		}
		rest = rest[n:]
	}
	out = append(out, ede...)
	binary.BigEndian.PutUint16(out[end+9:], uint16(len(out)-end-optSize))
	return out
}

const optionEDE = 15 // RFC 8914 §2

// optOf returns a copy of the OPT record of a message whose records begin at off, nil if
// it has none.
func optOf(msg []byte, off int) []byte {
	count := func(at int) int { return int(binary.BigEndian.Uint16(msg[at:])) }
	before := count(6) + count(8)
	for i := range before + count(10) {
		name := off
		next, ok := skipName(msg, off)
		if !ok || next+10 > len(msg) {
			return nil
		}
		off = next + 10 + int(binary.BigEndian.Uint16(msg[next+8:]))
		if off > len(msg) {
			return nil
		}
		if i >= before && next == name+1 && binary.BigEndian.Uint16(msg[next:]) == TypeOPT {
			return append([]byte(nil), msg[name:off]...)
		}
	}
	return nil
}
