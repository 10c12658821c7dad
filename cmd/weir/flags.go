package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// A timespan is how long something lasts, as operators write it: 30m, 2h, 7d.
type timespan time.Duration

func (s *timespan) Set(text string) (err error) {
	*s, err = parseSpan(text)
	return err
}

func (s *timespan) String() string { return time.Duration(*s).String() }

// Type is how a help text calls a flag's value that has no name of its own.
func (*timespan) Type() string { return "time" }

func parseSpan(text string) (timespan, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return timespan(time.Duration(n) * 24 * time.Hour), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, errors.New("write a span like 30m, 2h or 7d")
	}
	return timespan(d), nil
}

// flagError says what is wrong with a flag in words for people.
func flagError(err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	why := errors.Unwrap(bad)
	switch {
	case errors.Is(why, strconv.ErrRange):
		why = errors.New("too large a number")
	case errors.Is(why, strconv.ErrSyntax) && bad.GetFlag().Value.Type() == "bool":
		why = errors.New("write true or false")
	case errors.Is(why, strconv.ErrSyntax):
		why = errors.New("no number")
	}
	return fmt.Errorf("--%s %q: %w", bad.GetFlag().Name, bad.GetValue(), why)
}
