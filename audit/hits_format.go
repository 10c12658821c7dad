package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"
)

// The values of the roll-up; doc.go has their layout.
const (
	hitsMagic   = "HITS"
	hitsVersion = 1
	hitsHeader  = len(hitsMagic) + 2 + 8
	hitsSum     = 4

	maxHour = 64 << 10 // octets of an hour's value

	// room is what lists may take of it: the rest is for how many they are and
	// for the entry of those that find no room.
	room = maxHour - hitsHeader - hitsSum - binary.MaxVarintLen64 - (2 + 2*binary.MaxVarintLen64)
)

// daysKept is how far back, and after the clock was set also forth, hours are kept.
const daysKept = 8

// hourHits are the hits of one UTC hour, by list, in order of their names.
type hourHits struct {
	hour  int64 // since 1970
	lists []listHits
}

type listHits struct {
	ref  ListRef
	hits Hits
}

// hourOf returns the hour of a time in nanoseconds since 1970.
func hourOf(at int64) int64 { return at / int64(time.Hour) }

// lastHour is the last that a time can be in.
const lastHour = math.MaxInt64 / int64(time.Hour)

// A window says which hours are kept, both ends included.
type window struct{ from, to int64 }

// around returns the window of hours to keep in that hour.
func around(hour int64) window { return window{max(hour-24*daysKept, 0), hour + 24*daysKept} }

func (w window) has(hour int64) bool { return w.from <= hour && hour <= w.to }

// counted says which records are in the roll-up: those up to last, but for those
// before left. 0 as left says that none are missing.
type counted struct{ left, last uint64 }

// countedKey is the key of a counted; those of hours have 8 octets.
const countedKey = "counted"

func hourKey(hour int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(hour)) }

// size is the most that the list can ever take of an hour's value.
func (l *listHits) size() int {
	return 2*binary.MaxVarintLen32 + len(l.ref.Category) + len(l.ref.List) + 2*binary.MaxVarintLen64
}

// merge returns the sum of both, which it leaves as they are. Lists of more that
// are not in have and find no room beside it are counted together.
func merge(have, more []listHits) []listHits {
	free := room
	for i := range have {
		free -= have[i].size()
	}
	out := make([]listHits, 0, len(have)+len(more)+1)
	var others Hits
	for _, l := range more {
		for len(have) > 0 && have[0].ref.compare(l.ref) < 0 {
			out, have = append(out, have[0]), have[1:]
		}
		switch {
		case len(have) > 0 && have[0].ref == l.ref:
			out, have = append(out, listHits{l.ref, l.hits.plus(have[0].hits)}), have[1:]
		case l.size() <= free:
			free -= l.size()
			out = append(out, l)
		default:
			others = others.plus(l.hits)
		}
	}
	out = append(out, have...)
	if others == (Hits{}) {
		return out
	}
	if len(out) == 0 || out[0].ref != (ListRef{}) {
		out = slices.Insert(out, 0, listHits{})
	}
	out[0].hits = out[0].hits.plus(others)
	return out
}

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// beginHits appends what all values of the roll-up begin with, sealHits what they end with.
func beginHits(b []byte, v uint64) []byte {
	b = append(b, hitsMagic...)
	b = binary.BigEndian.AppendUint16(b, hitsVersion)
	return binary.BigEndian.AppendUint64(b, v)
}

func sealHits(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crcTable))
}

// openHits proves a value and returns its first number and what follows.
func openHits(b []byte) (first uint64, rest []byte, err error) {
	switch {
	case len(b) < hitsHeader+hitsSum || len(b) > maxHour:
		return 0, nil, fmt.Errorf("a value of %d octets cannot be one of hits", len(b))
	case string(b[:4]) != hitsMagic:
		return 0, nil, errors.New("a value does not begin like one of hits")
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != hitsVersion {
		return 0, nil, fmt.Errorf("its format version is %d, this program reads %d", v, hitsVersion)
	}
	body, sum := b[:len(b)-hitsSum], b[len(b)-hitsSum:]
	if crc32.Checksum(body, crcTable) != binary.BigEndian.Uint32(sum) {
		return 0, nil, errors.New("a checksum does not match its value")
	}
	return binary.BigEndian.Uint64(b[6:]), body[hitsHeader:], nil
}

func (h *hourHits) append(b []byte) []byte {
	b = beginHits(b, uint64(h.hour))
	b = binary.AppendUvarint(b, uint64(len(h.lists)))
	for i := range h.lists {
		l := &h.lists[i]
		for _, s := range [...]string{l.ref.Category, l.ref.List} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
		b = binary.AppendUvarint(b, l.hits.Decided)
		b = binary.AppendUvarint(b, l.hits.Observed)
	}
	return sealHits(b)
}

// readHour reads the value of the hour's key.
func readHour(hour int64, value []byte) (h hourHits, err error) {
	is, rest, err := openHits(value)
	if err != nil {
		return h, err
	}
	if is != uint64(hour) {
		return h, fmt.Errorf("the value of hour %d is that of hour %d", hour, is)
	}
	c := cursor{b: rest}
	n := c.count()
	h = hourHits{hour, make([]listHits, 0, min(n, len(rest)/4))}
	for i := range n {
		l := listHits{ListRef{string(c.bytes()), string(c.bytes())}, Hits{c.next(), c.next()}}
		switch {
		case c.failed:
			return h, errors.New("a value of hits is cut short")
		case i > 0 && h.lists[i-1].ref.compare(l.ref) >= 0:
			return h, errors.New("lists are not in order")
		case printable([]byte(l.ref.Category)) != l.ref.Category || printable([]byte(l.ref.List)) != l.ref.List:
			return h, errors.New("the name of a list is not printable")
		}
		h.lists = append(h.lists, l)
	}
	if c.failed || len(c.b) != 0 {
		return h, errors.New("a value of hits is cut short or overlong")
	}
	return h, nil
}

func (c counted) append(b []byte) []byte {
	return sealHits(binary.BigEndian.AppendUint64(beginHits(b, c.left), c.last))
}

func readCounted(value []byte) (c counted, err error) {
	left, rest, err := openHits(value)
	if err != nil {
		return c, err
	}
	if len(rest) != 8 {
		return c, errors.New("what was counted is of the wrong length")
	}
	return counted{left, binary.BigEndian.Uint64(rest)}, nil
}
