package resolver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
)

// A HostsFile is what a file in the format of hosts(5) says: on each line an
// address and the names that it has, the first of which is its own; "#" begins
// a comment.
type HostsFile struct {
	Path     string
	Entries  []HostsEntry
	Problems []HostsProblem // the first ones
	Bad      int            // lines with a problem, those left out and those used in part
}

// A HostsEntry is one line.
type HostsEntry struct {
	Line  int        // from 1
	Addr  netip.Addr // IPv4 in IPv4 form, without a zone
	Names []string   // in lower case, without a dot at their end
}

// A HostsProblem is something on a line that could not be used; all else on it is.
type HostsProblem struct {
	Line int
	What string
}

// What a hosts file may hold. More is a list of names to block, and belongs into
// a category.
const (
	maxHostsFile     = 16 << 20 // octets
	maxHostsNames    = 100_000
	maxHostsLine     = 64 << 10 // octets
	maxHostsProblems = 20
)

var errHostsSize = fmt.Errorf("is larger than %d MiB or has more than %d names: a list of names to block belongs into the sources of a category", maxHostsFile>>20, maxHostsNames)

// ReadHostsFile reads the hosts file at path.
func ReadHostsFile(path string) (*HostsFile, error) {
	f, err := openOrdinary(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseHosts(f, path)
}

// ParseHosts reads a hosts file. The error is for one that cannot be read or is
// larger than any such file should be.
func ParseHosts(in io.Reader, path string) (*HostsFile, error) {
	h := &HostsFile{Path: path}
	r := bufio.NewReaderSize(in, maxHostsLine)
	if mark, _ := r.Peek(3); string(mark) == "\xef\xbb\xbf" {
		_, _ = r.Discard(3)
	}
	size, names := 0, 0
	for number := 1; ; number++ {
		line, err := r.ReadSlice('\n')
		size += len(line)
		if err == bufio.ErrBufferFull {
			h.problem(number, fmt.Sprintf("is longer than %d octets", maxHostsLine))
			for err == bufio.ErrBufferFull {
				line, err = r.ReadSlice('\n')
				size += len(line)
			}
			line = nil
		}
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		names += h.line(number, line)
		if size > maxHostsFile || names > maxHostsNames {
			return nil, fmt.Errorf("%s %w", path, errHostsSize)
		}
		if err == io.EOF {
			return h, nil
		}
	}
}

// line takes one line and returns how many names it has.
func (h *HostsFile) line(number int, line []byte) int {
	line, _, _ = bytes.Cut(line, []byte("#"))
	fields := bytes.Fields(line)
	if len(fields) == 0 {
		return 0
	}
	var bad []string
	e := HostsEntry{Line: number}
	addr, err := netip.ParseAddr(string(fields[0]))
	if err != nil {
		h.problem(number, fmt.Sprintf("%.80q is no address", fields[0]))
		return 0
	}
	if addr.Zone() != "" {
		bad = append(bad, fmt.Sprintf("the zone of %.80q means nothing to others and is left out", fields[0]))
	}
	e.Addr = addr.WithZone("").Unmap()
	for _, f := range fields[1:] {
		name, err := hostsName(f)
		if err != nil {
			bad = append(bad, fmt.Sprintf("%.80q %v", f, err))
			continue
		}
		e.Names = append(e.Names, name)
	}
	if len(fields) == 1 {
		bad = append(bad, "no name behind the address")
	}
	if len(bad) > 0 {
		h.problem(number, strings.Join(bad[:min(len(bad), 3)], "; "))
	}
	if len(e.Names) > 0 {
		h.Entries = append(h.Entries, e)
	}
	return len(e.Names)
}

func (h *HostsFile) problem(line int, what string) {
	h.Bad++
	if len(h.Problems) < maxHostsProblems {
		h.Problems = append(h.Problems, HostsProblem{line, what})
	}
}

var (
	errHostName   = errors.New(`is no host name: labels of letters, digits, "-" and "_" with a dot between`)
	errHostLength = errors.New("is no host name: 253 characters at most, 63 to a label")
	errHostIDN    = errors.New(`is not ASCII: write the form that begins with "xn--"`)
)

// hostsName reads the name of a host.
func hostsName(text []byte) (string, error) {
	name := bytes.TrimSuffix(text, []byte("."))
	label := 0
	for _, c := range name {
		switch {
		case c == '.' && label > 0:
			label = -1
		case c >= 0x80:
			return "", errHostIDN
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return "", errHostName
		}
		if label++; label > 63 {
			return "", errHostLength
		}
	}
	switch {
	case label == 0:
		return "", errHostName
	case len(name) > 253:
		return "", errHostLength
	}
	return strings.ToLower(string(name)), nil
}

// openOrdinary opens a file, and nothing that a reader could wait for.
func openOrdinary(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no ordinary file", path)
	}
	return os.Open(path)
}
