package blocklist

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// maxName is the longest wire name in octets, the root's included (RFC 1035 §2.3.4).
const maxName = 255

// Reasons why a text is no name. They are counted and shown, so each is one fixed sentence.
const (
	reasonEmpty      = "empty name"
	reasonEmptyLabel = "empty label"
	reasonLongLabel  = "label longer than 63 octets"
	reasonLongName   = "name longer than 255 octets"
	reasonEscape     = `bad escape (write \DDD with DDD up to 255, or \ and one character)`
	reasonCharacter  = "character that no listed name has"
	reasonControl    = "control character or blank in a name"
	reasonWildcard   = "wildcard that does not stand for all names below (only a leading *. does)"
	reasonRoot       = "the root (a rule without domains matches every name)"
)

// loose maps each octet that may stand unescaped in a name to its lower case, all others to 0; strict holds what
// names in lists are made of: letters, digits, hyphen and underscore.
var loose, strict = octetTables()

func octetTables() (loose, strict [256]byte) {
	for c := byte('!'); c <= '~'; c++ {
		l := c
		if 'A' <= c && c <= 'Z' {
			l += 'a' - 'A'
		}
		if c != '.' && c != '\\' {
			loose[c] = l
		}
		if 'a' <= l && l <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
			strict[c] = l
		}
	}
	return loose, strict
}

// AppendWireName appends the wire name that text presents (RFC 1035 §5.1) to dst: letters in lower case, a final dot
// or none, \DDD and \X escapes read, Unicode labels turned into A-labels. "." is the root.
// On error dst is returned as it was.
func AppendWireName(dst []byte, text string) ([]byte, error) {
	if text == "." {
		return append(dst, 0), nil
	}
	out, at, reason := appendName(dst, []byte(text), &loose)
	if reason != "" {
		return dst, fmt.Errorf("name %q, character %d: %s", text, at+1, reason)
	}
	return out, nil
}

// appendName is AppendWireName with a choice of the octets that may stand unescaped. When reason is not empty, text
// is no name, at is the offset in text to blame, and out is dst.
func appendName(dst, text []byte, allowed *[256]byte) (out []byte, at int, reason string) {
	if len(text) == 0 {
		return dst, 0, reasonEmpty
	}
	out = append(dst, 0)
	start, label := len(dst), len(dst) // of the name, and of its last label's length octet
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case allowed[c] != 0:
			c = allowed[c]
		case c == '.':
			if len(out)-label == 1 {
				return dst, i, emptyOrRoot(text)
			}
			if i+1 < len(text) {
				label = len(out)
				out = append(out, 0)
			}
			continue
		case c == '\\':
			used := 0
			if c, used = unescape(text[i+1:]); used == 0 {
				return dst, i, reasonEscape
			}
			i += used
		case c >= 0x80:
			ascii, reason := asciiForm(text)
			if reason != "" {
				return dst, i, reason
			}
			out, _, reason = appendName(dst, ascii, allowed)
			return out, i, reason
		case c == '*':
			return dst, i, reasonWildcard
		case c <= ' ' || c == 0x7f:
			return dst, i, reasonControl
		default:
			return dst, i, reasonCharacter
		}
		out = append(out, c)
		if len(out)-label > 64 {
			return dst, i, reasonLongLabel
		}
		if len(out)-start >= maxName {
			return dst, i, reasonLongName
		}
		out[label]++
	}
	return append(out, 0), 0, ""
}

// plainName writes the wire name that text presents to buf and returns its length, if text is as plain as most names of
// lists: two labels or more of letters, digits, hyphens and underscores, with a final dot or without. Else it returns 0,
// and appendName knows more.
func plainName(buf *[maxName]byte, text []byte) int {
	if n := len(text); n > 0 && text[n-1] == '.' {
		text = text[:n-1]
	}
	if len(text) > maxName-2 {
		return 0
	}
	label, i := 0, 0 // where in buf the last label's length octet is; how far text is read
	for ; i+8 <= len(text); i += 8 {
		w := binary.LittleEndian.Uint64(text[i:])
		if w&(0x80*each) != 0 {
			return 0
		}
		w |= within(w, 'A', 'Z') >> 2 // which is the bit between upper and lower case
		dots := within(w, '.', '.')
		if dots|within(w, 'a', 'z')|within(w, '0', '9')|within(w, '-', '-')|within(w, '_', '_') != 0x80*each {
			return 0
		}
		binary.LittleEndian.PutUint64(buf[i+1:], w)
		for ; dots != 0; dots &= dots - 1 {
			dot := i + bits.TrailingZeros64(dots)>>3
			if n := dot - label; n < 1 || n > 63 {
				return 0
			}
			buf[label] = byte(dot - label)
			label = dot + 1
		}
	}
	for ; i < len(text); i++ {
		if c := strict[text[i]]; c != 0 {
			buf[i+1] = c
			continue
		}
		if n := i - label; text[i] != '.' || n < 1 || n > 63 {
			return 0
		}
		buf[label] = byte(i - label)
		label = i + 1
	}
	if n := len(text) - label; label == 0 || n < 1 || n > 63 {
		return 0
	}
	buf[label] = byte(len(text) - label)
	buf[len(text)+1] = 0
	return len(text) + 2
}

// each has a one in every octet of a word.
const each = 0x0101010101010101

// within sets the high bit of each octet of w that is lo to hi, and no other bit. No octet may have its high bit set.
func within(w uint64, lo, hi byte) uint64 {
	return (w + uint64(0x80-lo)*each) & (uint64(0x80+hi)*each - w) & (0x80 * each)
}

func emptyOrRoot(text []byte) string {
	if len(text) == 1 {
		return reasonRoot
	}
	return reasonEmptyLabel
}

// unescape reads what follows a backslash: three digits or one printable character. used is 0 for anything else.
func unescape(rest []byte) (c byte, used int) {
	if len(rest) == 0 {
		return 0, 0
	}
	if !digit(rest[0]) {
		if rest[0] <= ' ' || rest[0] >= 0x7f {
			return 0, 0
		}
		return lower(rest[0]), 1
	}
	if len(rest) < 3 || !digit(rest[1]) || !digit(rest[2]) {
		return 0, 0
	}
	n := int(rest[0]-'0')*100 + int(rest[1]-'0')*10 + int(rest[2]-'0')
	if n > 255 {
		return 0, 0
	}
	return lower(byte(n)), 3
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// NameString returns the presentation form of a wire name, without the final dot; "." is the root. Dots and
// backslashes inside a label, and all octets outside 0x21 to 0x7e, are written as \DDD (RFC 4343 §2.1), so the text
// can go to a terminal as it is. A malformed name is shown as far as it can be read.
func NameString(wire []byte) string {
	if len(wire) == 0 || wire[0] == 0 {
		return "."
	}
	text := make([]byte, 0, len(wire)+8)
	for off := 0; off < len(wire) && wire[off] != 0; {
		end := min(off+1+int(wire[off]), len(wire))
		if off > 0 {
			text = append(text, '.')
		}
		for _, c := range wire[off+1 : end] {
			if c < 0x21 || c > 0x7e || c == '.' || c == '\\' {
				text = append(text, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			} else {
				text = append(text, c)
			}
		}
		off = end
	}
	return string(text)
}

// Entry returns the entry name[off:] with scope s as lists and rules write it: "track.example", "=track.example" or
// "*.track.example". It is "" when s is 0 or off is not within name.
func Entry(name []byte, off uint8, s Scope) string {
	if s == 0 || int(off) >= len(name) {
		return ""
	}
	return s.prefix() + NameString(name[off:])
}

func (s Scope) prefix() string {
	switch s {
	case Self:
		return "="
	case Below:
		return "*."
	}
	return ""
}

// appendEntry reads an entry as rules and domain lists write it: "example.com" or ".example.com" covers the name and
// what is below, "=example.com" the name, "*.example.com" what is below.
func appendEntry(dst, text []byte) (out []byte, scope Scope, at int, reason string) {
	scope, skip := entryScope(text)
	out, at, reason = appendName(dst, text[skip:], &strict)
	return out, scope, at + skip, reason
}

// EntryName returns the wire name of an entry as rules and exceptions have it: "example.com", "=example.com" or
// "*.example.com".
func EntryName(text string) ([]byte, error) {
	name, _, at, reason := appendEntry(nil, []byte(text))
	if reason != "" {
		return nil, fmt.Errorf("domain %q, character %d: %s; %s", text, at+1, reason, domainHint)
	}
	return name, nil
}

// entryScope returns the scope of an entry, and how many octets before its name say so.
func entryScope(text []byte) (scope Scope, skip int) {
	switch {
	case len(text) > 1 && text[0] == '=':
		return Self, 1
	case len(text) > 2 && text[0] == '*' && text[1] == '.':
		return Below, 2
	case len(text) > 1 && text[0] == '.':
		return Self | Below, 1
	}
	return Self | Below, 0
}

// labels writes the offset of each label of name, and last of all that of the root, to offs. It returns the number of
// labels without the root, or -1 when name is no wire name.
func labels(name []byte, offs *[128]uint8) int {
	if len(name) > maxName {
		return -1
	}
	n := 0
	for i := 0; i < len(name); n++ {
		c := int(name[i])
		offs[n&127] = uint8(i)
		if c == 0 {
			if i+1 != len(name) {
				return -1
			}
			return n
		}
		if c > 63 {
			return -1
		}
		i += 1 + c
	}
	return -1
}
