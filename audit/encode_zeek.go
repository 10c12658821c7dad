package audit

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// zeekColumns are the fields of Zeek's dns.log in its order, with their types as
// Zeek writes them; a cell of "" is unset. What the log does not know is never set.
var zeekColumns = []struct {
	name, typ string
	cell      func(*Record) string
}{
	{"ts", "time", func(r *Record) string { return zeekSeconds(r.Time.UnixMicro()) }},
	{"uid", "string", func(r *Record) string { return "C" + strconv.FormatUint(r.Seq, 10) }},
	{"id.orig_h", "addr", addressText},
	{"id.orig_p", "port", unknown},
	{"id.resp_h", "addr", unknown},
	{"id.resp_p", "port", unknown},
	{"proto", "enum", func(r *Record) string {
		if r.Transport == "udp" || r.Transport == "tcp" {
			return r.Transport
		}
		return "unknown_transport"
	}},
	{"trans_id", "count", unknown},
	{"rtt", "interval", func(r *Record) string {
		if r.Duration == 0 {
			return ""
		}
		return zeekSeconds(r.Duration)
	}},
	{"query", "string", func(r *Record) string { return zeekText(r.Name) }},
	{"qclass", "count", func(r *Record) string { return zeekNumber(classNumbers, r.Class, "CLASS") }},
	{"qclass_name", "string", func(r *Record) string { return zeekName(zeekClasses, r.Class, "CLASS", "qclass-") }},
	{"qtype", "count", func(r *Record) string { return zeekNumber(typeNumbers, r.Type, "TYPE") }},
	{"qtype_name", "string", func(r *Record) string { return zeekName(zeekTypes, r.Type, "TYPE", "query-") }},
	{"rcode", "count", func(r *Record) string {
		if r.Dropped {
			return ""
		}
		return zeekNumber(rcodeNumbers, r.Rcode, "RCODE")
	}},
	{"rcode_name", "string", func(r *Record) string {
		if r.Dropped {
			return ""
		}
		return zeekName(zeekRcodes, r.Rcode, "RCODE", "rcode-")
	}},
	{"AA", "bool", unknown},
	{"TC", "bool", unknown},
	{"RD", "bool", unknown},
	{"RA", "bool", unknown},
	{"Z", "count", unknown},
	{"answers", "vector[string]", func(r *Record) string { return zeekVector(r.sent()) }},
	{"TTLs", "vector[interval]", unknown},
	{"rejected", "bool", func(r *Record) string { // as Zeek has it: an error in answer to no question
		if !r.Dropped && r.Name == "" && r.Rcode != "NOERROR" {
			return "T"
		}
		return "F"
	}},
}

// What Zeek calls otherwise than the registries, which a Record follows.
var (
	zeekClasses = map[string]string{"IN": "C_INTERNET", "CLASS2": "C_CSNET", "CH": "C_CHAOS", "HS": "C_HESIOD", "NONE": "C_NONE", "ANY": "C_ANY"}
	zeekTypes   = map[string]string{"ANY": "*"}
	zeekRcodes  = map[string]string{"NXRRSET": "NXRRSet", "DSOTYPENI": "unassigned-11"}
)

func unknown(*Record) string { return "" }

type zeek struct {
	w    io.Writer
	last time.Time // of the last record; zero before the first
	buf  []byte
}

func newZeek(w io.Writer) Encoder { return &zeek{w: w} }

// Write writes a query. The time at which the log was opened is that of the
// first record.
func (z *zeek) Write(r *Record) error {
	if r.Kind != KindQuery.String() {
		return ErrLeftOut
	}
	z.buf = z.buf[:0]
	z.head(r.Time)
	z.last = r.Time
	for i, c := range zeekColumns {
		if i > 0 {
			z.buf = append(z.buf, '\t')
		}
		cell := c.cell(r)
		if cell == "" {
			cell = "-"
		}
		z.buf = append(z.buf, cell...)
	}
	z.buf = append(z.buf, '\n')
	_, err := z.w.Write(z.buf)
	return err
}

// Close writes the time at which the log was closed, that of the last record, or
// the header if there was none.
func (z *zeek) Close() error {
	z.buf = z.buf[:0]
	if z.last.IsZero() {
		z.head(z.last)
	} else {
		z.buf = fmt.Appendf(z.buf, "#close\t%s\n", z.last.Format(zeekDate))
	}
	_, err := z.w.Write(z.buf)
	return err
}

const zeekDate = "2006-01-02-15-04-05"

func (z *zeek) head(opened time.Time) {
	if !z.last.IsZero() {
		return
	}
	z.buf = append(z.buf, "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n"...)
	if !opened.IsZero() {
		z.buf = fmt.Appendf(z.buf, "#open\t%s\n", opened.Format(zeekDate))
	}
	names, types := "#fields", "#types"
	for _, c := range zeekColumns {
		names += "\t" + c.name
		types += "\t" + c.typ
	}
	z.buf = append(z.buf, names+"\n"+types+"\n"...)
}

// zeekSeconds is a number of microseconds as Zeek writes times and intervals.
func zeekSeconds(micro int64) string { return fmt.Sprintf("%d.%06d", micro/1e6, micro%1e6) }

func zeekNumber(numbers map[string]uint16, word, prefix string) string {
	n, ok := numberOf(numbers, word, prefix)
	if !ok {
		return ""
	}
	return strconv.Itoa(int(n))
}

// zeekName is Zeek's name for what a Record calls word: its own, or the registry's.
func zeekName(own map[string]string, word, prefix, zeekPrefix string) string {
	if name, ok := own[word]; ok {
		return name
	}
	if digits, ok := strings.CutPrefix(word, prefix); ok && digits != "" {
		return zeekPrefix + digits
	}
	return word
}

// zeekText escapes a text so that it is neither a separator nor one of the words
// for nothing, and none of its octets but printable ASCII. Zeek's readers take
// \xHH back and no other escape, so a backslash is one too.
func zeekText(text string) string {
	nothing := text == "-" || text == "(empty)"
	var b []byte
	for i, c := range []byte(text) {
		if c < ' ' || c > '~' || c == '\\' || nothing && i == 0 {
			b = fmt.Appendf(b, `\x%02x`, c)
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func zeekVector(texts []string) string {
	cells := make([]string, len(texts))
	for i, t := range texts {
		cells[i] = strings.ReplaceAll(zeekText(t), ",", `\x2c`)
	}
	return strings.Join(cells, ",")
}
