package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"weir/audit"
	"weir/blocklist"
)

// indicatorLine is the longest line that a list of indicators may have, in octets.
const indicatorLine = 4096

// indicators are what a list of them says, as far as it can be read.
type indicators struct {
	list     []audit.Indicator
	text     []string // of each, as it was written
	line     []int    // of each, from 1
	bad      int      // lines that are none
	problems []string // of the first of these, with file:line:column
}

// maxIndicators is how large a list of indicators may be, in octets: as many as one hunt takes, all of the longest names and
// with a comment each. More is no list, or a device that never ends.
const maxIndicators = 64 << 20

// maxProblems is of how many lines it is told why they are no indicators.
const maxProblems = 10

// readIndicators reads a list of indicators, one on a line:
//
//	example.com      the name and all below it
//	=example.com     the name itself
//	*.example.com    all below it
//	192.0.2.1        an address in an answer
//	192.0.2.0/24     a network of these
//
// "#" and ";" at the beginning of a line, and " #" behind an indicator, begin a
// comment. "[.]" stands for a dot, as those write who want no link made of a name.
// The error is one of reading, or that there is too much.
func readIndicators(in io.Reader, file string) (*indicators, error) {
	found := &indicators{}
	whole := &io.LimitedReader{R: in, N: maxIndicators + 1}
	lines := bufio.NewReaderSize(whole, indicatorLine)
	for n := 1; ; n++ {
		line, long, err := lines.ReadLine()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return found, nil
			}
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if n == 1 {
			line = []byte(strings.TrimPrefix(string(line), "\ufeff"))
		}
		text, cut := string(line), long
		for long && err == nil { // pass over the rest
			_, long, err = lines.ReadLine()
		}
		if whole.N == 0 {
			return nil, fmt.Errorf("%s is larger than %v, which no list of indicators is: split the file", file, Size(maxIndicators))
		}
		if cut {
			found.wrong(file, n, indicatorLine, "the line is longer than a name can be")
			continue
		}
		word := text
		if i := strings.IndexAny(word, "#;"); i == 0 || i > 0 && (word[i-1] == ' ' || word[i-1] == '\t') {
			word = word[:i]
		}
		column := 1 + len(word) - len(strings.TrimLeft(word, " \t\r"))
		if word = strings.Trim(word, " \t\r"); word == "" {
			continue
		}
		i, err := parseIndicator(word)
		if err != nil {
			found.wrong(file, n, column, err.Error())
			continue
		}
		if len(found.list) == audit.MaxIndicators {
			return nil, fmt.Errorf("%s:%d: there are more than %d indicators: split the file", file, n, audit.MaxIndicators)
		}
		found.list, found.text, found.line = append(found.list, i), append(found.text, word), append(found.line, n)
	}
}

func (f *indicators) wrong(file string, line, column int, why string) {
	if f.bad++; len(f.problems) < maxProblems {
		f.problems = append(f.problems, fmt.Sprintf("%s:%d:%d: %s", file, line, column, why))
	}
}

func parseIndicator(word string) (i audit.Indicator, err error) {
	word = strings.ReplaceAll(word, "[.]", ".")
	if p, err := netip.ParsePrefix(word); err == nil {
		if i.Network = p.Masked(); p.Addr().Is4In6() && p.Bits() >= 96 {
			i.Network = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
		}
		return i, nil
	}
	if a, err := netip.ParseAddr(word); err == nil {
		a = a.Unmap().WithZone("")
		i.Network = netip.PrefixFrom(a, a.BitLen())
		return i, nil
	}
	name := word
	switch {
	case strings.HasPrefix(word, "="):
		i.Scope, name = audit.ScopeSelf, word[1:]
	case strings.HasPrefix(word, "*."):
		i.Scope, name = audit.ScopeBelow, word[2:]
	default:
		i.Scope = audit.ScopeSelf | audit.ScopeBelow
	}
	if strings.Contains(name, "/") {
		return i, fmt.Errorf("%q is neither a name nor a network; of a URL write the name", word)
	}
	if isPattern(name) {
		return i, fmt.Errorf("%q is a pattern: write a name, or one behind \"*.\"", word)
	}
	i.Name, err = blocklist.AppendWireName(nil, name)
	return i, err
}
