package audit

import (
	"errors"
	"fmt"
)

// A Glob is a pattern of names, written like one: labels with dots between them,
// a final dot or none. In a label "?" stands for any one octet and "*" for any
// number of them, none too; neither stands for what parts labels. A label that is
// only "*" stands for one label or more. Letters match in either case. An octet is
// itself, or written \DDD, or behind a backslash, which also makes a "*", a "?" or
// a dot an octet like others. "." is the root.
//
//	*.example.com   all below example.com
//	ads?.*          two labels or more, the first ads and one octet
//	*track*.*       the same, with track in the first
//
// A Glob is safe for concurrent use.
type Glob struct{ labels [][]token }

// A token is an octet, or one of the two below.
type token uint16

const (
	anyOctet  token = 256 + iota // ?
	anyOctets                    // *
)

// NewGlob reads a pattern. An error says at which character it is none.
func NewGlob(text string) (*Glob, error) {
	g := &Glob{}
	if text == "." {
		return g, nil
	}
	if text == "" {
		return nil, errors.New("the pattern is empty")
	}
	wrong := func(i int, why string) error { return fmt.Errorf("pattern %q, character %d: %s", text, i+1, why) }
	var label []token
	end := func(i int) error {
		if len(label) == 0 {
			return wrong(i, "an empty label")
		}
		least := 0 // octets that it matches
		for _, t := range label {
			if t != anyOctets {
				least++
			}
		}
		if least > 63 {
			return wrong(i, "a label has at most 63 octets")
		}
		g.labels = append(g.labels, label)
		label = nil
		return nil
	}
	for i := 0; i < len(text); i++ {
		c := token(text[i])
		switch {
		case c == '.':
			if err := end(i); err != nil {
				return nil, err
			}
			if i == len(text)-1 {
				return g, nil
			}
			continue
		case c == '?':
			c = anyOctet
		case c == '*':
			if c = anyOctets; len(label) > 0 && label[len(label)-1] == c {
				continue
			}
		case c == '\\':
			n := 0
			if c, n = escaped(text[i+1:]); n == 0 {
				return nil, wrong(i, `a backslash stands before one character, or three digits up to 255`)
			}
			i += n
			c = token(lowerOctet(byte(c)))
		default:
			c = token(lowerOctet(byte(c)))
		}
		label = append(label, c)
	}
	if err := end(len(text)); err != nil {
		return nil, err
	}
	return g, nil
}

// escaped reads what stands behind a backslash; n is 0 if that is nothing.
func escaped(text string) (c token, n int) {
	digit := func(i int) bool { return i < len(text) && '0' <= text[i] && text[i] <= '9' }
	switch {
	case digit(0):
		if !digit(1) || !digit(2) {
			return 0, 0
		}
		if c = token(text[0]-'0')*100 + token(text[1]-'0')*10 + token(text[2]-'0'); c > 255 {
			return 0, 0
		}
		return c, 3
	case text != "":
		return token(text[0]), 1
	}
	return 0, 0
}

func lowerOctet(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// Match says whether the pattern covers the wire name. What is no wire name is
// not covered.
func (g *Glob) Match(wire []byte) bool { return g.matches(wire) }

// matches finds the way of a pattern with one step back: only the last "*" can be
// made longer. So it takes at most as many steps as there are labels in both,
// multiplied, and for each the same of octets.
func (g *Glob) matches(wire []byte) bool {
	var starts [128]uint8 // of labels
	n := 0
	for at := 0; ; n++ {
		if at >= len(wire) || wire[at] > 63 || n == len(starts) || at > 254 {
			return false
		}
		starts[n] = uint8(at)
		if wire[at] == 0 {
			if at != len(wire)-1 {
				return false
			}
			break
		}
		at += 1 + int(wire[at])
	}
	label := func(i int) []byte { return wire[starts[i]+1:][:wire[starts[i]]] }
	i, j := 0, 0         // name, pattern
	star, taken := -1, 0 // the last "*" and how far it reaches
	for i < n {
		switch {
		case j < len(g.labels) && len(g.labels[j]) == 1 && g.labels[j][0] == anyOctets:
			star, taken = j, i+1 // one label at least
			i, j = i+1, j+1
		case j < len(g.labels) && matchLabel(g.labels[j], label(i)):
			i, j = i+1, j+1
		case star >= 0:
			taken++
			i, j = taken, star+1
		default:
			return false
		}
	}
	return i == n && j == len(g.labels)
}

// matchLabel is matches for the octets of one label.
func matchLabel(pattern []token, label []byte) bool {
	i, j := 0, 0
	star, taken := -1, 0
	for i < len(label) {
		switch {
		case j < len(pattern) && pattern[j] == anyOctets:
			star, taken = j, i
			j++
		case j < len(pattern) && (pattern[j] == anyOctet || pattern[j] == token(lowerOctet(label[i]))):
			i, j = i+1, j+1
		case star >= 0:
			taken++
			i, j = taken, star+1
		default:
			return false
		}
	}
	for j < len(pattern) && pattern[j] == anyOctets {
		j++
	}
	return j == len(pattern)
}
