package audit

import (
	"io"
	"strconv"
	"time"
	"unicode/utf8"
)

// jsonLines writes one JSON object to a line.
type jsonLines struct {
	w      io.Writer
	append func(j *jsonText, r *Record) bool // false: the format has no place for r
	line   jsonText
}

// inLines opens the encoder of a format whose objects append makes.
func inLines(append func(*jsonText, *Record) bool) func(io.Writer) Encoder {
	return func(w io.Writer) Encoder { return &jsonLines{w: w, append: append} }
}

func (l *jsonLines) Write(r *Record) error {
	l.line = l.line[:0]
	if !l.append(&l.line, r) {
		return ErrLeftOut
	}
	l.line = append(l.line, '\n')
	_, err := l.w.Write(l.line)
	return err
}

func (l *jsonLines) Close() error { return nil }

// A jsonText is JSON that is being written, octet for octet what encoding/json makes of
// a struct with these fields, without its allocations. What is called like a kind of
// value is always written; what has "some" in front only if it is not empty.
type jsonText []byte

// next begins what comes next in an object or an array.
func (j *jsonText) next() {
	if b := *j; len(b) > 0 && b[len(b)-1] != '{' && b[len(b)-1] != '[' {
		*j = append(b, ',')
	}
}

func (j *jsonText) key(name string) {
	j.next()
	b := append(*j, '"')
	b = append(b, name...)
	*j = append(b, '"', ':')
}

// fields appends fields as they are.
func (j *jsonText) fields(text string) {
	j.next()
	*j = append(*j, text...)
}

// object begins an object, which end ends.
func (j *jsonText) object(name string) {
	j.key(name)
	*j = append(*j, '{')
}

func (j *jsonText) end() { *j = append(*j, '}') }

// list begins an array, which endList ends with what list has returned.
func (j *jsonText) list(name string) (from int) {
	from = len(*j)
	j.key(name)
	*j = append(*j, '[')
	return from
}

// endList takes the array away if nothing is in it.
func (j *jsonText) endList(from int) {
	if b := *j; b[len(b)-1] == '[' {
		*j = b[:from]
		return
	}
	*j = append(*j, ']')
}

// item appends a text to an array.
func (j *jsonText) item(v string) {
	j.next()
	*j = appendQuoted(*j, v)
}

func (j *jsonText) text(name, v string) {
	j.key(name)
	*j = appendQuoted(*j, v)
}

func (j *jsonText) someText(name, v string) {
	if v != "" {
		j.text(name, v)
	}
}

func (j *jsonText) someTexts(name string, all []string) {
	from := j.list(name)
	for _, v := range all {
		j.item(v)
	}
	j.endList(from)
}

func (j *jsonText) number(name string, v int64) {
	j.key(name)
	*j = strconv.AppendInt(*j, v, 10)
}

func (j *jsonText) someNumber(name string, v int64) {
	if v != 0 {
		j.number(name, v)
	}
}

func (j *jsonText) count(name string, v uint64) {
	j.key(name)
	*j = strconv.AppendUint(*j, v, 10)
}

func (j *jsonText) someCount(name string, v uint64) {
	if v != 0 {
		j.count(name, v)
	}
}

// someFlag appends true, or nothing.
func (j *jsonText) someFlag(name string, v bool) {
	if v {
		j.key(name)
		*j = append(*j, "true"...)
	}
}

// time appends a time of a Record, which is between 1970 and 2262.
func (j *jsonText) time(name string, v time.Time) {
	j.key(name)
	b := append(*j, '"')
	b = v.AppendFormat(b, time.RFC3339Nano)
	*j = append(b, '"')
}

func (j *jsonText) someTime(name string, v time.Time) {
	if !v.IsZero() {
		j.time(name, v)
	}
}

func (j *jsonText) client(name string, v Client) {
	var room [64]byte
	j.key(name)
	*j = appendQuoted(*j, v.appendTo(room[:0]))
}

func (j *jsonText) someClient(name string, v Client) {
	if v.IsValid() {
		j.client(name, v)
	}
}

// appendQuoted appends a text in quotes. What is no UTF-8 becomes U+FFFD, and escaped is
// what ends a line or steers something in JSON, JavaScript or HTML.
func appendQuoted[T string | []byte](b []byte, text T) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0 // of what is not appended yet
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
			i++
			continue
		}
		size := 1
		var r rune
		if c >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(string(text[i:min(i+utf8.UTFMax, len(text))]))
			if r != '\u2028' && r != '\u2029' && (r != utf8.RuneError || size > 1) {
				i += size
				continue
			}
		}
		b = append(b, text[from:i]...)
		i += size
		from = i
		switch {
		case r != 0:
			b = append(b, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	b = append(b, text[from:]...)
	return append(b, '"')
}
