package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Severity says whether a file with a problem may be used.
type Severity uint8

// SeverityError keeps a file from being used; SeverityWarning is only told.
const (
	SeverityError Severity = iota
	SeverityWarning
)

func (s Severity) String() string {
	if s == SeverityWarning {
		return "warning"
	}
	return "error"
}

// Pos is a place in the file. Line and Column count from 1, Column and Width in characters; a byte that
// is not UTF-8 counts as one. Width ends with the line. The zero Pos is no place.
type Pos struct{ Line, Column, Width int }

// A Mark is a place that a problem points at.
type Mark struct {
	Pos   Pos
	Label string // what stands beside the carets
	line  string // the whole line of the file, without its end
}

// A Problem is one thing that is wrong with a configuration, or with a file of tests for it.
type Problem struct {
	Severity Severity
	About    string // what is wrong: "config", "test"
	File     string // as in Config.File
	Message  string // one line
	// Marks are the places, that of the problem first and those it conflicts with after it. A problem of the file as a
	// whole, such as a missing table, has none.
	Marks []Mark
	Notes []string // what to do, one line each
}

// Pos is where the problem is; zero for one of the file as a whole.
func (p Problem) Pos() Pos {
	if len(p.Marks) == 0 {
		return Pos{}
	}
	return p.Marks[0].Pos
}

// Error is the problem in one line, for a log: "config.toml:12:1: unknown key "upstrem"".
func (p Problem) Error() string {
	if at := p.Pos(); at.Line > 0 {
		return fmt.Sprintf("%s:%d:%d: %s", shown(p.File), at.Line, at.Column, shown(p.Message))
	}
	return fmt.Sprintf("%s: %s", shown(p.File), shown(p.Message))
}

// String is the problem in several lines, with the text it is about:
//
//	error[config]: unknown key "upstrem"
//	  --> config.toml:12:1
//	12 | upstrem = ["192.0.2.53"]
//	   | ^^^^^^^ not a setting of [resolver]
//	   = did you mean "upstream"?
//
// What comes from the file is written so that no control character reaches a terminal.
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v[%s]: %s\n", p.Severity, p.About, shown(p.Message))
	gutter := 1
	for _, m := range p.Marks {
		gutter = max(gutter, len(fmt.Sprint(m.Pos.Line)))
	}
	if len(p.Marks) == 0 {
		fmt.Fprintf(&b, "%*s--> %s\n", gutter, "", shown(p.File))
	}
	for i, m := range p.Marks {
		arrow, under := "-->", "^"
		if i > 0 {
			arrow, under = ":::", "-"
		}
		text, before, width := m.quote()
		line := fmt.Sprintf("%*s | %s%s", gutter, "", strings.Repeat(" ", before), strings.Repeat(under, width))
		fmt.Fprintf(&b, "%*s%s %s:%d:%d\n", gutter, "", arrow, shown(p.File), m.Pos.Line, m.Pos.Column)
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(fmt.Sprintf("%*d | %s", gutter, m.Pos.Line, text), " "))
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(line+" "+shown(m.Label), " "))
	}
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "%*s = %s\n", gutter, "", shown(note))
	}
	return b.String()
}

// renderProblems is all of problems, one after the other, and where there is more than one a last line that counts
// them and says what came of it: "3 problems in config.toml; nothing was started".
//
// Of many the first mostProblems are written out.
func renderProblems(problems []Problem, outcome string) string {
	var b strings.Builder
	written := firstProblems(problems)
	for i, p := range written {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	if len(problems) < 2 {
		return b.String()
	}
	if more := len(problems) - len(written); more > 0 {
		fmt.Fprintf(&b, "\nand %d more\n", more)
	}
	var counts []string
	errors := countErrors(problems)
	if errors > 0 {
		counts = append(counts, plural(errors, "problem"))
	}
	if warnings := len(problems) - errors; warnings > 0 {
		counts = append(counts, plural(warnings, "warning"))
	}
	fmt.Fprintf(&b, "\n%s in %s; %s\n", strings.Join(counts, " and "), shown(problems[0].File), outcome)
	return b.String()
}

// mostProblems is how many problems of a file are written out: what has more is no configuration, or has one mistake many times.
const mostProblems = 100

// firstProblems returns those of problems that are written out, in their order. Warnings give way to errors.
func firstProblems(problems []Problem) []Problem {
	if len(problems) <= mostProblems {
		return problems
	}
	warnings := max(0, mostProblems-countErrors(problems))
	var first []Problem
	for _, p := range problems {
		if p.Severity == SeverityWarning {
			if warnings--; warnings < 0 {
				continue
			}
		}
		if first = append(first, p); len(first) == mostProblems {
			break
		}
	}
	return first
}

func countErrors(problems []Problem) int {
	n := 0
	for _, p := range problems {
		if p.Severity == SeverityError {
			n++
		}
	}
	return n
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// quoteCells is how much of a long line is quoted, in terminal cells, and quoteLead how much of it before the mark.
const (
	quoteCells = 120
	quoteLead  = 40
)

// quote returns the mark's line as it can be shown, with the cells before the mark and those under it.
// Of a line that is too long only the surroundings of the mark are kept.
func (m Mark) quote() (text string, before, width int) {
	var left, marked, right strings.Builder
	column := 0
	for i := 0; i < len(m.line); {
		r, size := utf8.DecodeRuneInString(m.line[i:])
		part := &marked
		if column++; column < m.Pos.Column {
			part = &left
		} else if column >= m.Pos.Column+m.Pos.Width {
			part = &right
		}
		if r == '\t' {
			part.WriteString("    ")
		} else {
			part.WriteString(shown(m.line[i : i+size]))
		}
		i += size
	}
	l, c, r := left.String(), marked.String(), right.String()
	if cells(l)+cells(c)+cells(r) > quoteCells {
		if cells(l) > quoteLead {
			l = "…" + keepEnd(l, quoteLead)
		}
		if room := quoteCells - quoteLead; cells(c) > room {
			c, r = keepStart(c, room)+"…", ""
		} else if room -= cells(c); cells(r) > room {
			r = keepStart(r, room) + "…"
		}
	}
	return strings.TrimRight(l+c+r, " "), cells(l), max(1, cells(c))
}

func keepStart(s string, room int) string {
	for i, r := range s {
		if room -= runeCells(r); room < 0 {
			return s[:i]
		}
	}
	return s
}

func keepEnd(s string, room int) string {
	i := len(s)
	for i > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:i])
		if room -= runeCells(r); room < 0 {
			break
		}
		i -= size
	}
	return s[i:]
}

// shown returns text with every control, format and otherwise unprintable character, and every byte that is not UTF-8,
// as an escape: \x1b, \u202e. A letter that turns the line around or hides is one of them.
func shown[T string | []byte](text T) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(string(text[i:min(len(text), i+utf8.UTFMax)]))
		switch {
		case r == utf8.RuneError && size == 1, r < 0x20, r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += size
	}
	return b.String()
}

// A report gathers the problems of one file.
type report struct {
	about    string // as in Problem.About
	file     string
	data     []byte // the file's text, and the same as a string
	text     string
	lines    []int // offset of each line's first byte
	problems []*Problem
	hidden   []Pos // secrets

	counted cursor
}

// A cursor is where pos stopped counting: the column of the character at an offset. Places are asked for mostly in the
// file's order, so that a long line is not counted from its start for each of its values.
type cursor struct{ line, offset, column int }

func newReport(file string, data []byte) *report {
	// Some editors begin a file with a byte order mark. It is no part of the text (RFC 3629 §6).
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	r := &report{about: "config", file: file, data: data, text: string(data), lines: []int{0}}
	for i, c := range r.data {
		if c == '\n' {
			r.lines = append(r.lines, i+1)
		}
	}
	return r
}

// line returns the text of a line that counts from 1, without its end.
func (r *report) line(n int) string {
	if n < len(r.lines) {
		return strings.TrimRight(r.text[r.lines[n-1]:r.lines[n]], "\r\n")
	}
	return strings.TrimRight(r.text[r.lines[n-1]:], "\r")
}

// pos returns the place of s; what follows its first line is left out. A character of which s holds only a part counts.
func (r *report) pos(s span) Pos {
	n, found := slices.BinarySearch(r.lines, s.from)
	if found {
		n++
	}
	at := &r.counted
	if n != at.line || s.from < at.offset {
		*at = cursor{n, r.lines[n-1], 1}
	}
	end := r.lines[n-1] + len(r.line(n))
	next := func(i int) int {
		_, size := utf8.DecodeRuneInString(r.text[i:end])
		return i + size
	}
	for at.offset < end && next(at.offset) <= s.from {
		at.offset, at.column = next(at.offset), at.column+1
	}
	width := 0
	for i := at.offset; i < end && i < s.to; i = next(i) {
		width++
	}
	return Pos{Line: n, Column: at.column, Width: max(1, width)}
}

// errorAt adds a problem that keeps the configuration from being used.
func (r *report) errorAt(at Pos, message, label string, notes ...string) *Problem {
	return r.add(SeverityError, at, message, label, notes)
}

// warnAt adds a problem that is only told.
func (r *report) warnAt(at Pos, message, label string, notes ...string) *Problem {
	return r.add(SeverityWarning, at, message, label, notes)
}

func (r *report) add(s Severity, at Pos, message, label string, notes []string) *Problem {
	notes = slices.DeleteFunc(notes, func(note string) bool { return note == "" })
	p := &Problem{Severity: s, About: r.about, File: r.file, Message: message, Notes: notes}
	r.problems = append(r.problems, p)
	return r.mark(p, at, label)
}

func (r *report) mark(p *Problem, at Pos, label string) *Problem {
	if at.Line > 0 {
		p.Marks = append(p.Marks, Mark{Pos: at, Label: label})
	}
	return p
}

// hide keeps what stands at a place, a secret, from being quoted in any problem of its line.
func (r *report) hide(at Pos) { r.hidden = append(r.hidden, at) }

// quoted is a line of the file with asterisks for each character of a secret.
func (r *report) quoted(n int) string {
	text := r.line(n)
	for _, h := range r.hidden {
		if h.Line != n {
			continue
		}
		var b strings.Builder
		for column := 1; text != ""; column++ {
			_, size := utf8.DecodeRuneInString(text)
			if column >= h.Column && column < h.Column+h.Width {
				b.WriteByte('*')
			} else {
				b.WriteString(text[:size])
			}
			text = text[size:]
		}
		text = b.String()
	}
	return text
}

// sorted returns all problems in the order of the file, those of the file as a whole last.
func (r *report) sorted() []Problem {
	var problems []Problem
	lines := make(map[int]string)
	for _, p := range r.problems {
		for i := range p.Marks {
			m := &p.Marks[i]
			if _, known := lines[m.Pos.Line]; !known {
				lines[m.Pos.Line] = r.quoted(m.Pos.Line)
			}
			m.line = lines[m.Pos.Line]
		}
		problems = append(problems, *p)
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		x, y := a.Pos(), b.Pos()
		if x.Line == 0 || y.Line == 0 {
			return cmp.Compare(y.Line, x.Line)
		}
		return cmp.Or(cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
	})
	return problems
}
