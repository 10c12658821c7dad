package audit

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// An Encoder writes records in one format. The writer below gets whole lines or
// frames in each call, so that what it was given until now can be read, and those
// of a record in one call; but "cof" keeps records, to count them together. It is
// not safe for concurrent use.
type Encoder interface {
	// Write writes r. It returns ErrLeftOut, having written nothing, when the
	// format has no place for such a record.
	Write(r *Record) error
	// Close writes what the format still needs; the writer below stays open.
	Close() error
}

// ErrLeftOut says that the format has no place for a record; the next one may have.
var ErrLeftOut = errors.New("the format has no place for this record")

// An encoding is one format of records.
type encoding struct {
	open   func(io.Writer) Encoder
	binary bool // it is no text
}

// encodings are the formats that NewEncoder knows.
var encodings = map[string]encoding{
	"cof":    {open: newCOF},
	"csv":    {open: newCSV},
	"dnstap": {open: newDnstap, binary: true},
	"ecs":    {open: inLines((*jsonText).ecs)},
	"jsonl":  {open: inLines((*jsonText).record)},
	"ocsf":   {open: inLines((*jsonText).ocsf)},
	"zeek":   {open: newZeek},
}

// Formats returns the names of the formats that NewEncoder knows, in order.
func Formats() []string { return slices.Sorted(maps.Keys(encodings)) }

// Binary says that a format is not made for a terminal.
func Binary(format string) bool { return encodings[format].binary }

// NewEncoder returns an encoder of that format, which is one of Formats:
//
//	cof     Passive DNS, one JSON object to a line (draft-dulaunoy-dnsop-passive-dns-cof)
//	csv     a table with a header line (RFC 4180)
//	dnstap  a Frame Streams file of dnstap messages, made from the records
//	ecs     Elastic Common Schema, one JSON object to a line
//	jsonl   the record itself, one JSON object to a line
//	ocsf    OCSF DNS Activity, one JSON object to a line
//	zeek    Zeek's dns.log
//
// What is in a Record cannot act on whoever reads any of them, and comes back
// from those that have a place for it; docs/exports.md says which.
func NewEncoder(format string, w io.Writer) (Encoder, error) {
	e, ok := encodings[format]
	if !ok {
		return nil, fmt.Errorf("unknown export format %q, known are %s", format, strings.Join(Formats(), ", "))
	}
	return e.open(w), nil
}

// answered is when the answer was ready.
func (r *Record) answered() time.Time {
	return r.Time.Add(time.Duration(min(r.Duration, math.MaxInt64/1000)) * time.Microsecond)
}
