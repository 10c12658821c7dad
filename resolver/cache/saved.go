package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"weir/resolver/wire"
)

// The format is described in doc.go.
const (
	savedMagic   = "weircach"
	savedVersion = 1
	savedHeader  = len(savedMagic) + 4 + 8 + 4
	savedFixed   = 8 + 8 + 1 // of a record, behind its length
	savedTrailer = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Saved is an entry as a file keeps it. Facts are not kept, so that they are
// always what the running version reads from the message.
type Saved struct {
	Stored  int64  // nanoseconds since 1970 UTC
	Expires int64  // nanoseconds since 1970 UTC
	Flags   byte   // of the key
	Group   string // at most 255 octets, like Server
	Server  string
	Message []byte // a packed response with the question
}

// Saved returns what is worth keeping over a restart, what was used least
// recently first. now is both the monotonic time and nanoseconds since 1970 UTC;
// server names the server with a label.
func (c *Cache) Saved(mono, wall int64, server func(label uint32) string) []Saved {
	var out []Saved
	for i := range c.shard {
		s := &c.shard[i]
		s.mu.Lock()
		entries := append(s.main.lru.Values(), s.window.lru.Values()...)
		s.mu.Unlock()
		for _, e := range entries {
			if e.Failed || len(e.Group) > 255 || e.Rewrite() != 0 || e.Translation() != 0 { // another run may number these otherwise
				continue
			}
			out = append(out, Saved{
				Stored: wall - (mono - e.Stored), Expires: wall - (mono - e.Expires), Flags: e.Key[len(e.Question())],
				Group: e.Group, Server: cut(server(e.Upstream)), Message: e.message(),
			})
		}
	}
	return out
}

func cut(s string) string { return s[:min(len(s), 255)] }

// message is e as a response.
func (e *Entry) message() []byte {
	r := &e.Reply
	m := make([]byte, 12, 12+len(e.Key)+len(r.Tail))
	m[2], m[3], m[5] = 0x80, r.Rcode, 1
	if r.AA {
		m[2] |= 0x04
	}
	if r.AD {
		m[3] |= 0x20
	}
	binary.BigEndian.PutUint16(m[6:], r.An)
	binary.BigEndian.PutUint16(m[8:], r.Ns)
	binary.BigEndian.PutUint16(m[10:], r.Ar)
	return append(append(m, e.Question()...), r.Tail...)
}

// Key is the key of the entry, nil if the message has no question.
func (s *Saved) Key() []byte {
	const header, rest = 12, 4
	end := header
	for end < len(s.Message) && s.Message[end] != 0 && s.Message[end] <= 63 {
		end += 1 + int(s.Message[end])
	}
	if end += 1 + rest; end > len(s.Message) || end-header > 255+rest || s.Message[end-rest-1] != 0 {
		return nil
	}
	key := append(make([]byte, 0, end-header-rest+wire.KeyExtra), s.Message[header:end]...)
	return append(key, s.Flags, 0, 0)
}

// Encode writes entries in the format, as of saved, nanoseconds since 1970 UTC.
func Encode(saved int64, entries []Saved) []byte {
	out := append([]byte(nil), savedMagic...)
	out = binary.BigEndian.AppendUint32(out, savedVersion)
	out = binary.BigEndian.AppendUint64(out, uint64(saved))
	out = binary.BigEndian.AppendUint32(out, uint32(len(entries)))
	for i := range entries {
		e := &entries[i]
		out = binary.BigEndian.AppendUint32(out, uint32(savedFixed+1+len(e.Group)+1+len(e.Server)+len(e.Message)))
		out = binary.BigEndian.AppendUint64(out, uint64(e.Stored))
		out = binary.BigEndian.AppendUint64(out, uint64(e.Expires))
		out = append(out, e.Flags, byte(len(e.Group)))
		out = append(append(out, e.Group...), byte(len(e.Server)))
		out = append(append(out, e.Server...), e.Message...)
	}
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
}

// Decode reads what Encode wrote: all of it, or nothing and what is wrong. The
// messages are parts of data.
func Decode(data []byte) (saved int64, entries []Saved, err error) {
	if len(data) < savedHeader+savedTrailer || string(data[:len(savedMagic)]) != savedMagic {
		return 0, nil, errors.New("not a saved cache")
	}
	at := len(savedMagic)
	if v := binary.BigEndian.Uint32(data[at:]); v != savedVersion {
		return 0, nil, fmt.Errorf("version %d of the format, this program reads version %d", v, savedVersion)
	}
	body := data[:len(data)-savedTrailer]
	if want, got := binary.BigEndian.Uint32(data[len(body):]), crc32.Checksum(body, castagnoli); got != want {
		return 0, nil, fmt.Errorf("damaged: checksum %08x, written was %08x", got, want)
	}
	saved = int64(binary.BigEndian.Uint64(data[at+4:]))
	n := binary.BigEndian.Uint32(data[at+12:])
	rest := body[savedHeader:]
	for i := range n {
		var e Saved
		var ok bool
		if e, rest, ok = decodeRecord(rest); !ok {
			return 0, nil, fmt.Errorf("damaged: record %d of %d, octet %d", i+1, n, len(body)-len(rest))
		}
		if e.Stored < 0 || e.Stored > saved || e.Expires < e.Stored {
			return 0, nil, fmt.Errorf("damaged: record %d of %d has impossible times", i+1, n)
		}
		entries = append(entries, e)
	}
	if len(rest) > 0 {
		return 0, nil, fmt.Errorf("damaged: %d octets behind the last record", len(rest))
	}
	return saved, entries, nil
}

// decodeRecord returns the record that b begins with and what follows it.
func decodeRecord(b []byte) (e Saved, rest []byte, ok bool) {
	if len(b) < 4 {
		return e, b, false
	}
	size := binary.BigEndian.Uint32(b)
	if uint64(size) > uint64(len(b)-4) || size < savedFixed+2 || size > savedFixed+2*256+wire.MaxTCP {
		return e, b, false
	}
	r, rest := b[4:4+size], b[4+size:]
	e.Stored, e.Expires = int64(binary.BigEndian.Uint64(r)), int64(binary.BigEndian.Uint64(r[8:]))
	e.Flags = r[16]
	if e.Group, r, ok = short(r[savedFixed:]); ok {
		e.Server, e.Message, ok = short(r)
	}
	if !ok || e.Flags > 3 || e.Key() == nil {
		return e, b, false
	}
	return e, rest, true
}

// short returns the string behind its length that b begins with, and what follows.
func short(b []byte) (string, []byte, bool) {
	if len(b) < 1 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}
