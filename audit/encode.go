package audit

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// An Encoder writes records in one format. Each Write makes one call of the
// writer below, so an unbuffered writer shows every record at once. It is not
// safe for concurrent use.
type Encoder interface {
	Write(r *Record) error
	Close() error // writes what the format still needs; the writer below stays open
}

// encodings are the formats that NewEncoder knows.
var encodings = map[string]func(io.Writer) Encoder{
	"csv":   newCSV,
	"jsonl": newJSONL,
}

// NewEncoder returns an encoder of that format: "jsonl" is one JSON object to a
// line, "csv" a table with a header line (RFC 4180).
func NewEncoder(format string, w io.Writer) (Encoder, error) {
	open, ok := encodings[format]
	if !ok {
		return nil, fmt.Errorf("unknown export format %q, known are %s", format,
			strings.Join(slices.Sorted(maps.Keys(encodings)), ", "))
	}
	return open(w), nil
}
