package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// shownLines is text with every control character but the line feed escaped, so
// that no name in an error can act on a terminal.
func shownLines(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := range lines {
		lines[i] = shown(lines[i])
	}
	return strings.Join(lines, "\n")
}

// palette colours words, or does nothing.
type palette bool

// palette decides by the flag, by NO_COLOR and by what out is.
func (g *global) palette(out io.Writer) palette {
	switch g.color {
	case "always":
		return true
	case "never":
		return false
	}
	return palette(os.Getenv("NO_COLOR") == "" && isTerminal(out))
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// verdict colours a verdict, or what came of a test: green goes through, red does not, yellow would not.
func (p palette) verdict(word string) string {
	if !p {
		return word
	}
	code := "33"
	switch strings.TrimSpace(word) {
	case "allow", "allowed", "passed":
		code = "32"
	case "block", "blocked", "refused", "failed":
		code = "31"
	}
	return "\x1b[" + code + "m" + word + "\x1b[0m"
}

// table lays out rows in columns that are as wide as their widest cell. The
// last column is not padded.
func table(rows [][]string, indent string) string {
	var widths []int
	for _, r := range rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], cells(c))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		line := indent
		for i, c := range r {
			line += c
			if i < len(r)-1 {
				line += strings.Repeat(" ", widths[i]-cells(c)+2)
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// local is a time as an operator reads it, to the millisecond.
func local(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000") }

// parseType reads a type's name, or TYPE123 (RFC 3597 §5).
func parseType(text string) (uint16, error) {
	upper := strings.ToUpper(text)
	if t, ok := dns.StringToType[upper]; ok {
		return t, nil
	}
	if digits, ok := strings.CutPrefix(upper, "TYPE"); ok {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
			return uint16(n), nil
		}
	}
	return 0, fmt.Errorf("type %q is not known; write a name like AAAA, or TYPE65 for a number", text)
}

// typeText is a type's name, or TYPE123 (RFC 3597 §5).
func typeText(t uint16) string { return dns.Type(t).String() }
