package audit

import (
	"encoding/json"
	"io"
)

// cofRoom bounds what is counted in memory, in octets: above it all that was
// counted is written, and counting begins anew.
const cofRoom = 16 << 20

// cofOverhead is about what one counted record takes beside its text.
const cofOverhead = 256

type cof struct {
	e    *json.Encoder
	rows []*cofRow // in the order of their first appearance
	seen map[link]*cofRow
	size int
	room int
}

// A cofRow is one record that DNS gave, and how often. Its times are seconds since 1970.
type cofRow struct {
	Name  string `json:"rrname"`
	Type  string `json:"rrtype"`
	Data  string `json:"rdata"`
	First int64  `json:"time_first"`
	Last  int64  `json:"time_last"`
	Count uint64 `json:"count"`
}

func newCOF(w io.Writer) Encoder { return newCOFWithin(w, cofRoom) }

func newCOFWithin(w io.Writer, room int) *cof {
	return &cof{e: json.NewEncoder(w), seen: map[link]*cofRow{}, room: room}
}

// Write counts the records of the answer, whether the client got it or not.
func (c *cof) Write(r *Record) error {
	links := r.links()
	if len(links) == 0 {
		return ErrLeftOut
	}
	at := r.Time.Unix()
	for _, l := range links {
		row := c.seen[l]
		if row == nil {
			row = &cofRow{Name: l.owner, Type: l.typ, Data: l.data, First: at, Last: at}
			c.seen[l] = row
			c.rows = append(c.rows, row)
			c.size += len(l.owner) + len(l.data) + cofOverhead
		}
		row.First, row.Last = min(row.First, at), max(row.Last, at)
		row.Count++
	}
	if c.size > c.room {
		return c.flush()
	}
	return nil
}

// Close writes what was counted.
func (c *cof) Close() error { return c.flush() }

func (c *cof) flush() error {
	for _, row := range c.rows {
		if err := c.e.Encode(row); err != nil {
			return err
		}
	}
	clear(c.seen)
	clear(c.rows)
	c.rows, c.size = c.rows[:0], 0
	return nil
}
