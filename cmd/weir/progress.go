package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"weir/audit"
)

// progress tells on a terminal how far an export is: records, rate, and where in
// the time asked for the last one lies. A nil one tells nothing.
type progress struct {
	out      io.Writer
	now      func() time.Time
	from, to time.Time // zero: not known (yet)

	began, told time.Time
	records     int
	width       int // of the line that stands there
}

// progressPause is the least time between two lines.
const progressPause = 200 * time.Millisecond

// newProgress begins to tell about the search for q. The time asked for begins
// with q's, or the first record, and ends with q's, or the newest record.
func newProgress(ctx context.Context, r records, q audit.Query, out io.Writer, now func() time.Time) *progress {
	p := &progress{out: out, now: now, from: q.Since, to: q.Until, began: now(), told: now()}
	newest := audit.Query{Since: q.Since, Until: q.Until, SeqFrom: q.SeqFrom, SeqTo: q.SeqTo, Limit: 1}
	_ = r.Search(ctx, newest, func(rec *audit.Record) error { // what is damaged the export itself tells
		p.to = rec.Time
		return nil
	})
	return p
}

// record counts a record of that time.
func (p *progress) record(at time.Time) {
	if p == nil {
		return
	}
	p.records++
	if p.from.IsZero() {
		p.from = at
	}
	now := p.now()
	if now.Sub(p.told) < progressPause {
		return
	}
	p.told = now
	line := fmt.Sprintf("%s, %.0f a second", plural(p.records, "record"), float64(p.records)/now.Sub(p.began).Seconds())
	if span := p.to.Sub(p.from); span > 0 {
		share := float64(at.Sub(p.from)) / float64(span)
		line += fmt.Sprintf(", %.0f %% of the time", 100*min(max(share, 0), 1))
	}
	p.show(line)
}

// end takes the line away.
func (p *progress) end() {
	if p != nil && p.width > 0 {
		p.show("")
		fmt.Fprint(p.out, "\r")
	}
}

// show puts line in the place of the one that stands there.
func (p *progress) show(line string) {
	pad := max(p.width-len(line), 0)
	fmt.Fprint(p.out, "\r", line, strings.Repeat(" ", pad))
	p.width = len(line)
}
