package audit

import (
	"strconv"
	"strings"
)

// The registries by name, to have the numbers back that a Record's words stand for.
var (
	typeNumbers  = byName(types)
	classNumbers = byName(classes)
	rcodeNumbers = byName(rcodes)
)

func byName(names map[uint16]string) map[string]uint16 {
	out := make(map[string]uint16, len(names))
	for n, name := range names {
		out[name] = n
	}
	return out
}

// numberOf is the number that registered gave this word for.
func numberOf(numbers map[string]uint16, word, prefix string) (n uint16, ok bool) {
	if n, ok := numbers[word]; ok {
		return n, true
	}
	digits, ok := strings.CutPrefix(word, prefix)
	v, err := strconv.ParseUint(digits, 10, 16)
	return uint16(v), ok && err == nil
}

// appendName appends the wire name that text is the presentation form of, as
// nameString writes it. ok is false, and nothing is appended, when it is no name.
func appendName(b []byte, text string) (_ []byte, ok bool) {
	const maxLabel = 63
	start := len(b)
	for text != "." && text != "" {
		label := len(b)
		b = append(b, 0)
		for text != "" && text[0] != '.' {
			c := text[0]
			text = text[1:]
			if c == '\\' {
				if len(text) < 3 {
					return b[:start], false
				}
				n, err := strconv.ParseUint(text[:3], 10, 8)
				if err != nil {
					return b[:start], false
				}
				c, text = byte(n), text[3:]
			}
			b = append(b, c)
		}
		n := len(b) - label - 1
		if n == 0 || n > maxLabel {
			return b[:start], false
		}
		b[label] = byte(n)
		if text != "" {
			if text = text[1:]; text == "" { // a final dot is not written
				return b[:start], false
			}
		}
	}
	if b = append(b, 0); len(b)-start > maxName {
		return b[:start], false
	}
	return b, true
}
