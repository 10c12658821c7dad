package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"weir/blocklist"
)

// faults gathers mistakes that show when a configuration is built.
type faults struct {
	cfg    *Config
	report *report
}

func newFaults(cfg *Config) *faults {
	r := newReport(cfg.File, cfg.text)
	r.hidden = cfg.hidden
	return &faults{cfg: cfg, report: r}
}

// at adds a mistake at a field of the configuration.
func (f *faults) at(field any, message string, notes ...string) {
	f.place(f.cfg.At(field), message, notes)
}

// add adds the mistakes joined in err; those that name a place keep it.
func (f *faults) add(err error) {
	for _, err := range split(err) {
		var ce *blocklist.ConfigError
		if !errors.As(err, &ce) {
			f.place(Pos{}, err.Error(), nil)
			continue
		}
		var at Pos
		if _, line, ok := strings.Cut(strings.TrimPrefix(ce.Pos, f.cfg.File), ":"); ok {
			if n, err := strconv.Atoi(line); err == nil && n > 0 && n <= len(f.report.lines) {
				text := f.report.line(n)
				indent := len(text) - len(strings.TrimLeft(text, " \t"))
				at = Pos{Line: n, Column: indent + 1, Width: max(1, len([]rune(text))-indent)}
			}
		}
		f.place(at, ce.What, []string{ce.Hint})
	}
}

func (f *faults) place(at Pos, message string, notes []string) {
	if at.Line > len(f.report.lines) {
		at = Pos{}
	}
	f.report.add(SeverityError, at, message, "", notes)
}

// configError is a configuration that cannot be used.
type configError struct{ problems []Problem }

// Error is what keeps it from being used, one problem a line.
func (e *configError) Error() string { return strings.Join(e.lines(), "\n") }

// lines are those of Error. Of many the first are there, and how many more there are.
func (e *configError) lines() []string {
	var lines []string
	for _, p := range firstProblems(e.problems) {
		if p.Severity == SeverityError {
			lines = append(lines, p.Error())
		}
	}
	if more := countErrors(e.problems) - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %s more", plural(more, "problem")))
	}
	return lines
}

// told tells the problems of a configuration that could not be built, if err is
// about one, and returns err.
func told(err error, talk io.Writer, outcome string) error {
	var c *configError
	if errors.As(err, &c) {
		fmt.Fprint(talk, renderProblems(c.problems, outcome))
	}
	return err
}

// split takes joined errors apart.
func split(err error) []error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, split(e)...)
		}
		return out
	}
	return []error{err}
}
