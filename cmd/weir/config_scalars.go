package main

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"weir/blocklist"
)

// A fault says what is wrong with a text that should be a value.
type fault struct {
	label string // beside the carets
	note  string // what to do
}

func (f fault) Error() string { return f.label }

// A scalar is a type of value that holds no others.
type scalar struct {
	written []unstable.Kind // how the file may write it
	noun    string
	plural  string
	example string
	parse   func(text string) (any, error)
}

func scalarOf(t reflect.Type) scalar {
	if s, ok := scalars[t]; ok {
		return s
	}
	panic("no way to read a " + t.String() + " from a configuration") // a field of Config: met by every test
}

// isTable reports whether values of type t are written as tables.
func isTable(t reflect.Type) bool {
	_, ok := scalars[t]
	return t.Kind() == reflect.Struct && !ok
}

// correct says what to write instead of n, a value of another type.
func (s scalar) correct(n *node) string {
	if slices.Contains(s.written, unstable.String) && (n.kind == unstable.Integer || n.kind == unstable.Float || n.kind == unstable.Bool) {
		var f fault
		switch _, err := s.parse(n.text); {
		case err == nil:
			return fmt.Sprintf("write %q", n.text)
		case errors.As(err, &f) && f.note != "":
			return f.note
		}
	}
	if s.example == "" {
		return ""
	}
	return "for example " + s.example
}

// limit reads a min or max tag.
func (s scalar) limit(text string) int64 {
	v, _ := s.parse(text)
	return reflect.ValueOf(v).Int()
}

// How a file writes the values of a scalar.
var (
	stringKind  = []unstable.Kind{unstable.String}
	booleanKind = []unstable.Kind{unstable.Bool}
	integerKind = []unstable.Kind{unstable.Integer}
	ruleKind    = []unstable.Kind{unstable.Integer, unstable.String}
	momentKind  = []unstable.Kind{unstable.String, unstable.LocalDateTime, unstable.DateTime}
)

// scalars holds every type that a field or list element of Config, or of a file of tests, can have.
var scalars = map[reflect.Type]scalar{
	reflect.TypeFor[string]():         {stringKind, "a string", "strings", "", as(parseString)},
	reflect.TypeFor[bool]():           {booleanKind, "a boolean", "booleans", "true", as(strconv.ParseBool)},
	reflect.TypeFor[int]():            {integerKind, "an integer", "integers", "", as(parseInteger)},
	reflect.TypeFor[uint16]():         {stringKind, "a DNS type", "DNS types", `"AAAA"`, as(parseDNSType)},
	reflect.TypeFor[time.Duration]():  {stringKind, "a duration", "durations", `"1.5s"`, as(parseDuration)},
	reflect.TypeFor[Age]():            {stringKind, "an age", "ages", `"400d"`, as(parseAge)},
	reflect.TypeFor[Size]():           {stringKind, "a size", "sizes", `"64MiB"`, as(parseSize)},
	reflect.TypeFor[Percent]():        {stringKind, "a percentage", "percentages", `"50%"`, as(parsePercent)},
	reflect.TypeFor[netip.Addr]():     {stringKind, "an address", "addresses", `"192.0.2.1"`, as(parseAddr)},
	reflect.TypeFor[netip.AddrPort](): {stringKind, "an address with port", "addresses with port", `"127.0.0.1:53"`, as(parseAddrPort)},
	reflect.TypeFor[netip.Prefix]():   {stringKind, "a network", "networks", `"10.0.0.0/8"`, as(parsePrefix)},
	reflect.TypeFor[Client]():         {stringKind, "a client", `clients or ["any"]`, `"10.0.0.0/8"`, as(parseClient)},

	reflect.TypeFor[ruleName]():      {ruleKind, "the number of a rule or a word", "rules", `2 or "default"`, as(parseRuleName)},
	reflect.TypeFor[blocklist.MAC](): {stringKind, "a hardware address", "hardware addresses", `"02:00:5e:10:00:01"`, as(parseMAC)},
	reflect.TypeFor[answerAddr]():    {stringKind, "an address", "addresses", `"192.0.2.1"`, as(parseAnswerAddr)},
	reflect.TypeFor[time.Time]():     {momentKind, "a date and time", "dates", `"2026-12-24 22:00"`, as(parseMoment)},
}

func as[T any](parse func(string) (T, error)) func(string) (any, error) {
	return func(text string) (any, error) { return parse(text) }
}
