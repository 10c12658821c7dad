package exceptions

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// The values of the file; doc.go has their layout.
const (
	recordMagic = "WEXC"
	stateMagic  = "WEXS"
	version     = 1

	headSize  = 4 + 2 // magic and version
	sumSize   = 4
	maxValue  = 128 << 10 // octets; the longest exception has less
	maxBootID = 64
)

const (
	flagGroup = 1 << iota
	flagEnded
	flagUntold
	flagsKnown = flagGroup | flagEnded | flagUntold
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// A state is what holds for all exceptions of the file.
type state struct {
	next   uint64 // ID
	count  uint64
	sum    uint64 // of the checksums of all exceptions
	seen   reading
	bootID string
}

func begin(magic string) []byte {
	return binary.BigEndian.AppendUint16([]byte(magic), version)
}

func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crcTable))
}

// checksum returns that of a value.
func checksum(value []byte) uint32 { return binary.BigEndian.Uint32(value[len(value)-sumSize:]) }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixNano()))
}

func (r *record) encode() []byte {
	var flags byte
	who := r.Client
	if r.Group != "" {
		flags, who = flagGroup, r.Group
	}
	if !r.InForce() {
		flags |= flagEnded
	}
	if r.untold {
		flags |= flagUntold
	}
	b := binary.BigEndian.AppendUint64(begin(recordMagic), r.ID)
	b = appendTime(appendTime(b, r.Created), r.Until)
	b = append(binary.BigEndian.AppendUint64(b, uint64(r.deadline)), flags)
	for _, text := range [...]string{r.Name, who, r.Reason, r.By} {
		b = appendText(b, text)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Extended)))
	for _, x := range r.Extended {
		b = appendTime(appendTime(b, x.At), x.Until)
		b = appendText(appendText(b, x.By), x.Reason)
	}
	if !r.InForce() {
		b = appendTime(b, r.Ended)
		b = appendText(appendText(appendText(b, r.End), r.EndedBy), r.EndReason)
	}
	return seal(b)
}

// decodeRecord reads an exception. It accepts what encode makes and nothing else.
func decodeRecord(value []byte) (*record, error) {
	c, err := open(value, recordMagic)
	if err != nil {
		return nil, err
	}
	r := &record{Exception: Exception{ID: c.number(), Created: c.time(), Until: c.time()}, deadline: time.Duration(c.number())}
	flags := c.octet()
	r.Name = c.text(1, maxName)
	who := c.text(1, maxWho)
	r.Reason, r.By = c.text(1, maxReason), c.text(1, maxBy)
	if flags&flagGroup != 0 {
		r.Group = who
	} else {
		r.Client = who
	}
	n := c.uvarint()
	if n > maxExtensions {
		return nil, fmt.Errorf("%d extensions", n)
	}
	for range n {
		r.Extended = append(r.Extended, Extension{At: c.time(), Until: c.time(), By: c.text(1, maxBy), Reason: c.text(1, maxReason)})
	}
	if flags&flagEnded != 0 {
		r.Ended = c.time()
		r.End, r.EndedBy, r.EndReason = c.text(1, maxBy), c.text(0, maxBy), c.text(0, maxReason)
	}
	r.untold = flags&flagUntold != 0
	switch {
	case c.failed || len(c.b) != 0:
		return nil, errors.New("a text or a time out of its bounds")
	case r.ID == 0 || r.ID == ^uint64(0):
		return nil, fmt.Errorf("no exception has the ID %d", r.ID)
	case flags&^flagsKnown != 0 || r.untold && r.InForce() || r.deadline != 0 && !r.InForce():
		return nil, errors.New("flags that cannot be")
	}
	return r, nil
}

func (s *state) encode() []byte {
	b := begin(stateMagic)
	for _, n := range [...]uint64{s.next, s.count, s.sum, uint64(s.seen.wall.UnixNano()), uint64(s.seen.boot)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return seal(appendText(b, s.bootID))
}

// decodeState reads the state. It accepts what encode makes and nothing else.
func decodeState(value []byte) (s state, err error) {
	c, err := open(value, stateMagic)
	if err != nil {
		return s, err
	}
	s = state{
		next: c.number(), count: c.number(), sum: c.number(),
		seen: reading{c.time(), time.Duration(c.number())}, bootID: c.text(0, maxBootID),
	}
	if c.failed || len(c.b) != 0 || s.next == 0 {
		return s, errors.New("a number, a text or a time out of its bounds")
	}
	return s, nil
}

// open proves a value and returns a cursor on what is in it.
func open(value []byte, magic string) (c cursor, err error) {
	if len(value) < headSize+sumSize || len(value) > maxValue {
		return c, fmt.Errorf("a value of %d octets cannot be one of this file", len(value))
	}
	body := value[:len(value)-sumSize]
	switch {
	case crc32.Checksum(body, crcTable) != checksum(value):
		return c, errors.New("its checksum does not match")
	case string(body[:4]) != magic:
		return c, fmt.Errorf("it begins with %q, not with %q", body[:4], magic)
	}
	if v := binary.BigEndian.Uint16(body[4:]); v != version {
		return c, fmt.Errorf("its format version is %d, this program reads %d", v, version)
	}
	return cursor{b: body[headSize:]}, nil
}

// A cursor reads a value from its beginning. After the first thing that is not
// there or not as encode makes it, failed is set and all that is read is zero.
type cursor struct {
	b      []byte
	failed bool
}

func (c *cursor) take(n uint64) []byte {
	if c.failed || n > uint64(len(c.b)) {
		c.failed = true
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) octet() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) number() uint64 {
	if b := c.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if c.failed || n <= 0 || n > 1 && c.b[n-1] == 0 { // longer than it must be
		c.failed = true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) time() time.Time {
	n := c.number()
	if n > uint64(lastTime.UnixNano()) {
		c.failed = true
	}
	if c.failed {
		return firstTime
	}
	return time.Unix(0, int64(n)).UTC()
}

func (c *cursor) text(least, most int) string {
	s := string(c.take(c.uvarint()))
	if c.failed || checkText("", s, least, most) != nil {
		c.failed = true
		return ""
	}
	return s
}
