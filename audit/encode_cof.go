package audit

import "io"

// cofRoom bounds what is counted in memory, in octets: above it all that was
// counted is written, and counting begins anew.
const cofRoom = 16 << 20

// cofOverhead is about what one counted record takes beside its text.
const cofOverhead = 256

type cof struct {
	w    io.Writer
	line jsonText
	rows []*cofRow // in the order of their first appearance
	seen map[link]*cofRow
	size int
	room int
}

// A cofRow is one record that DNS gave, and how often. Its times are seconds since 1970.
type cofRow struct {
	name, typ, data string
	first, last     int64
	count           uint64
}

func newCOF(w io.Writer) Encoder { return newCOFWithin(w, cofRoom) }

func newCOFWithin(w io.Writer, room int) *cof {
	return &cof{w: w, seen: map[link]*cofRow{}, room: room}
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
			row = &cofRow{name: l.owner, typ: l.typ, data: l.data, first: at, last: at}
			c.seen[l] = row
			c.rows = append(c.rows, row)
			c.size += len(l.owner) + len(l.data) + cofOverhead
		}
		row.first, row.last = min(row.first, at), max(row.last, at)
		row.count++
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
		j := &c.line
		*j = append((*j)[:0], '{')
		j.text("rrname", row.name)
		j.text("rrtype", row.typ)
		j.text("rdata", row.data)
		j.number("time_first", row.first)
		j.number("time_last", row.last)
		j.count("count", row.count)
		*j = append(*j, "}\n"...)
		if _, err := c.w.Write(*j); err != nil {
			return err
		}
	}
	clear(c.seen)
	clear(c.rows)
	c.rows, c.size = c.rows[:0], 0
	return nil
}
