package hosts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A format is one way of writing leases. claims says whether a line is typical of it: the first line that a format claims
// decides. read takes all lines.
type format struct {
	name   string
	claims func(line []byte) bool
	read   func(r *reader) error
}

var formats = [...]format{
	{"dnsmasq", claimsDnsmasq, readDnsmasq},
	{"kea", claimsKea, readKea},
	{"isc", claimsISC, readISC},
}

// Formats returns the names that a File's format may have, besides none.
func Formats() []string {
	var names []string
	for _, f := range formats {
		names = append(names, f.name)
	}
	return names
}

// A Problem is something in a lease file that could not be used.
type Problem struct {
	Line int // from 1
	What string
}

// String is the problem with its line.
func (p Problem) String() string { return fmt.Sprintf("line %d: %s", p.Line, p.What) }

// What a lease file may hold. More is not the work of a DHCP server at a network's edge.
const (
	maxFile     = 64 << 20 // octets
	maxHosts    = 1 << 20
	maxLine     = 64 << 10
	maxProblems = 20
	maxQuote    = 80           // octets of a line in a problem
	maxTime     = 253402300799 // the last second of the year 9999
)

// Parse reads a lease file in one of Formats, or in the one that its content shows if format is empty. It returns a host
// for each address that has a lease, by address, with those that ended but are not said to have; and the first problems,
// the last of which counts the others.
func Parse(in io.Reader, format string) ([]Host, []Problem, error) {
	r := newReader()
	if _, err := r.file(in, format); err != nil {
		return nil, r.list(), err
	}
	return r.sorted(), r.list(), nil
}

// A reader gathers the hosts of a lease file, or of several that continue each other.
type reader struct {
	hosts map[netip.Addr]Host
	most  int // hosts

	in       *bufio.Reader // what follows is of the file at hand
	read     int           // octets
	number   int           // of the line
	err      error         // that ended it
	problems []Problem
	more     int // problems, besides
	last     int // line of the last of them
}

func newReader() *reader { return &reader{hosts: make(map[netip.Addr]Host), most: maxHosts} }

// file reads one file and returns its format, empty if none shows yet.
func (r *reader) file(in io.Reader, name string) (string, error) {
	r.in = bufio.NewReaderSize(in, maxLine)
	r.read, r.number, r.err, r.problems, r.more = 0, 0, nil, nil, 0
	if sample, _ := r.in.Peek(3); string(sample) == "\xef\xbb\xbf" {
		_, _ = r.in.Discard(3)
	}
	f, err := r.pick(name)
	if err != nil || f == nil {
		return "", err
	}
	if err := f.read(r); err != nil {
		return "", err
	}
	return f.name, r.err
}

// pick returns the format of that name, or that the file's beginning shows; nil if that is no whole line yet.
func (r *reader) pick(name string) (*format, error) {
	if name != "" {
		for i := range formats {
			if formats[i].name == name {
				return &formats[i], nil
			}
		}
		return nil, unknownFormat(name)
	}
	sample, err := r.in.Peek(maxLine)
	if err != nil && err != io.EOF {
		return nil, err
	}
	first := ""
	for len(sample) > 0 {
		line, rest, whole := bytes.Cut(sample, []byte("\n"))
		if !whole && len(line) < maxLine {
			break
		}
		sample = rest
		line = bytes.TrimSpace(line)
		for i := range formats {
			if formats[i].claims(line) {
				return &formats[i], nil
			}
		}
		if first == "" && len(line) > 0 && line[0] != '#' {
			first = quote(line)
		}
	}
	if first == "" {
		return nil, nil
	}
	return nil, fmt.Errorf("is no lease file of %s: it begins with %s; name the format if it is one", oneOf(Formats(), "or"), first)
}

func unknownFormat(name string) error {
	return fmt.Errorf("no format %q; there are %s", name, oneOf(Formats(), "and"))
}

func oneOf(names []string, last string) string {
	n := len(names) - 1
	return strings.Join(names[:n], ", ") + " " + last + " " + names[n]
}

// next returns the next whole line without its end, until the call after.
func (r *reader) next() (line []byte, ok bool) {
	for {
		line, err := r.in.ReadSlice('\n')
		r.read += len(line)
		r.number++
		for long := err == bufio.ErrBufferFull; long; long = err == bufio.ErrBufferFull {
			line, err = r.in.ReadSlice('\n')
			if r.read += len(line); err == nil {
				r.problem("is longer than %d octets", maxLine)
				line = nil
			}
		}
		switch {
		case r.read > maxFile:
			r.err = errTooLarge
			return nil, false
		case len(r.hosts) > r.most:
			r.err = fmt.Errorf("holds leases of more than %d addresses", r.most)
			return nil, false
		case err == io.EOF:
			return nil, false
		case err != nil:
			r.err = err
			return nil, false
		case line == nil:
			continue
		}
		return bytes.TrimRight(line, "\r\n"), true
	}
}

var errTooLarge = fmt.Errorf("is larger than %d MiB, as no lease file should be; is the server's cleanup running?", maxFile>>20)

// take has a host replace what was known of its address.
func (r *reader) take(h Host) { r.hosts[h.Addr] = h }

// drop forgets an address.
func (r *reader) drop(addr netip.Addr) { delete(r.hosts, addr) }

func (r *reader) problem(format string, args ...any) { r.problemAt(r.number, format, args...) }

func (r *reader) problemAt(line int, format string, args ...any) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, Problem{line, fmt.Sprintf(format, args...)})
		return
	}
	r.more++
	r.last = line
}

// list returns the problems of the file at hand.
func (r *reader) list() []Problem {
	if r.more == 0 {
		return r.problems
	}
	return append(slices.Clip(r.problems), Problem{r.last, fmt.Sprintf("the last of %d problems more", r.more)})
}

// sorted returns all hosts by address.
func (r *reader) sorted() []Host {
	hosts := make([]Host, 0, len(r.hosts))
	for _, h := range r.hosts {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, compareHosts)
	return hosts
}

// addr reads the address of a lease.
func (r *reader) addr(text []byte) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(string(text))
	if err != nil {
		r.problem("%s is no address", quote(text))
		return addr, false
	}
	client, ok := clientAddr(addr)
	if !ok || addr.Zone() != "" {
		r.problem("%s is no address of a client", quote(text))
		return addr, false
	}
	return client, true
}

// name reads what a client calls itself.
func (r *reader) name(text []byte) string {
	name, ok := hostName(text)
	if !ok {
		r.problem("host name %s: wants letters, digits, \"-\" and \"_\", %d at most", quote(text), maxName)
	}
	return name
}

// mac reads the address of an interface. Interfaces other than Ethernet have none that counts.
func (r *reader) mac(text []byte) MAC {
	octets, err := net.ParseMAC(string(text))
	if err != nil {
		r.problem("%s is no hardware address", quote(text))
		return MAC{}
	}
	if len(octets) != len(MAC{}) || !MAC(octets).single() {
		return MAC{}
	}
	return MAC(octets)
}

// seconds reads a time since 1970, in UTC.
func seconds(text []byte) (time.Time, error) {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || n > maxTime {
		return time.Time{}, errors.New("no time in seconds since 1970")
	}
	return time.Unix(int64(n), 0).UTC(), nil
}

// quote makes octets of a client fit to be read.
func quote(text []byte) string {
	if len(text) > maxQuote {
		return strconv.Quote(string(text[:maxQuote])) + "…"
	}
	return strconv.Quote(string(text))
}
