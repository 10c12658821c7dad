package blocklist

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
)

// format is one way of writing lists. A line of which sure is true decides that the file is of this format. claims says
// whether a line is typical of it; the first format in the table that claims a line has its vote, and the format with
// most votes of a file's beginning reads all of it, the first in the table where two have as many. A format that has to
// be alone gives its votes to the last one, which takes anything, if it does not have nine of ten. read takes one line,
// without its end and the blanks around it, and hands each thing on it to exactly one of the reader's methods.
type format struct {
	name   string
	sure   func(line []byte) bool // nil is never
	claims func(line []byte) bool
	alone  bool
	read   func(r *reader, line []byte)

	ahead  func(r *reader, line []byte) error // sees every line with mark before read sees the first; nil for formats that need not
	mark   byte
	finish func(r *reader) // is called after the last line; nil likewise
}

var formats = [...]format{
	{name: "adblock", sure: isAdblock, claims: claimsAdblock, read: readAdblock, ahead: lookAheadAdblock, mark: '$', finish: finishAdblock},
	{name: "dnsmasq", claims: claimsDnsmasq, read: readDnsmasq},
	{name: "unbound", claims: claimsUnbound, read: readUnbound},
	{name: "cidr", claims: claimsCIDR, read: readCIDR, alone: true},
	{name: "hosts", claims: claimsHosts, read: readHosts},
	{name: "rpz", sure: isZoneFile, claims: claimsRPZ, read: readRPZ, finish: finishRPZ},
	{name: "domains", claims: claimsDomains, read: readDomains},
}

// formatUT1 reads the domains file of a UT1 directory.
var formatUT1 = format{name: "ut1", claims: claimsDomains, read: readDomains}

const (
	sampleSize  = 64 << 10 // octets of a file that detect sees
	sampleLines = 200      // lines with content that vote
	maxLine     = 128 << 10
)

// detect picks the format of the file that begins with sample; whole says that the sample is all of the file.
func detect(sample []byte, whole bool) (format, error) {
	if err := refuse(sample); err != nil {
		return format{}, err
	}
	sample = bytes.TrimPrefix(sample, bom)
	var votes [len(formats)]int
	seen := 0
	for len(sample) > 0 && seen < sampleLines {
		line, rest, ended := bytes.Cut(sample, newline)
		if !ended && !whole {
			break
		}
		sample = rest
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		for i := range formats {
			if sure := formats[i].sure; sure != nil && sure(line) {
				return formats[i], nil
			}
		}
		if bytes.HasPrefix(line, []byte("//")) { // a comment, or nothing
			continue
		}
		for i := range formats {
			if formats[i].claims(line) {
				votes[i]++
				seen++
				break
			}
		}
	}
	best := len(formats) - 1
	for i, f := range formats {
		if f.alone && 10*votes[i] < 9*seen {
			votes[best] += votes[i]
			votes[i] = 0
		}
	}
	for i := best; i >= 0; i-- {
		if votes[i] > 0 && votes[i] >= votes[best] {
			best = i
		}
	}
	return formats[best], nil
}

var (
	bom     = []byte("\xef\xbb\xbf")
	newline = []byte("\n")
)

// refuse returns why a file that begins with sample is no list at all.
func refuse(sample []byte) error {
	for _, magic := range []struct{ begin, what, hint string }{
		{"\xff\xfe", "UTF-16 text", "save it as UTF-8"},
		{"\xfe\xff", "UTF-16 text", "save it as UTF-8"},
		{"\x1f\x8b", "gzip data inside compressed data", "unpack it once"},
		{"\x28\xb5\x2f\xfd", "zstd data inside compressed data", "unpack it once"},
		{"PK\x03\x04", "a zip archive", "unpack it first"},
		{"\xfd7zXZ", "xz data inside compressed data", "unpack it once"},
		{"BZh", "bzip2 data", "unpack it first"},
	} {
		if bytes.HasPrefix(sample, []byte(magic.begin)) {
			return fmt.Errorf("is %s and no list; %s", magic.what, magic.hint)
		}
	}
	if len(sample) >= 512 && string(sample[257:262]) == "ustar" {
		return errors.New("is a tar archive and no list; unpack it first")
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(sample, bom), " \t\r\n\v\f")
	if len(text) > 0 && text[0] == '<' {
		return errors.New("is a web page and no list; download the list itself")
	}
	if len(text) > 0 && text[0] == '{' {
		return errors.New("is JSON and no list; download the list in another format")
	}
	return nil
}

// reader takes the lines of one file to entries and counts. A file's lines come in order.
type reader struct {
	list     *List
	emit     emitFunc
	network  networkFunc   // nil when networks are of no use
	problem  func(Problem) // gets every problem; nil when those that list keeps are enough
	err      error         // the first of emit
	number   int           // of the line
	networks int           // that were understood
	line     []byte
	ignored  counts
	notes    counts
	buf      [maxName]byte

	partOf   map[string]uint16 // numbers of the list's parts
	ahead    *adblockAhead     // of adblock lists with such rules
	rule     *adblockRule      // that makes the entry to come; nil when that is for every type and not important
	room     adblockRule       // for rule
	lastHost []byte            // the last address of a hosts file, as text
	lastAddr netip.Addr
	zone     zone // of zone files
	fixed    int  // column of the text at hand when it is not of line; else 0
}

func newReader(l *List, emit emitFunc) *reader {
	return &reader{list: l, emit: emit}
}

// Caps on what a List keeps of its unreadable lines.
const (
	maxProblems    = 20
	maxProblemText = 80
)

// entry takes a name that the list holds, or, with exception, does not hold.
func (r *reader) entry(name []byte, scope Scope, exception bool) {
	if r.ahead != nil || r.rule != nil {
		r.ruleEntry(name, scope, exception)
		return
	}
	r.give(0, name, scope, exception)
}

// give emits an entry.
func (r *reader) give(part uint16, name []byte, scope Scope, exception bool) {
	r.list.Entries++
	if err := r.emit(r.number, part, name, scope, exception); err != nil && r.err == nil {
		r.err = err
	}
}

// counts counts texts, mostly the one that it counted last.
type counts struct {
	of   map[string]*int
	last string
	n    *int // of last
}

func (c *counts) add(text string) {
	if c.n == nil || text != c.last {
		c.last, c.n = text, c.of[text]
	}
	if c.n == nil {
		if c.of == nil {
			c.of = map[string]*int{}
		}
		c.n = new(int)
		c.of[text] = c.n
	}
	*c.n++
}

// ignore counts something understood that DNS cannot enforce or that is no listed name.
func (r *reader) ignore(reason string) { r.ignored.add(reason) }

// note counts an entry of which the list says more than is used.
func (r *reader) note(text string) { r.notes.add(text) }

// comment counts a line without content of its own.
func (r *reader) comment() { r.list.Comments++ }

// unreadable counts text, a part of the current line, that is wrong at offset at.
func (r *reader) unreadable(text []byte, at int, reason string) {
	r.list.Unreadable++
	if len(r.list.Problems) >= maxProblems && r.problem == nil {
		return
	}
	p := Problem{
		File:   r.list.File,
		Line:   r.number,
		Column: r.column(text) + at,
		Text:   printable(text),
		Reason: reason,
	}
	if len(r.list.Problems) < maxProblems {
		r.list.Problems = append(r.list.Problems, p)
	}
	if r.problem != nil {
		r.problem(p)
	}
}

// column returns the 1-based column at which text, a part of the current line, begins. Both end in the same array,
// so their capacities tell.
func (r *reader) column(text []byte) int {
	if r.fixed > 0 {
		return r.fixed
	}
	if at := cap(r.line) - cap(text); 0 <= at && at <= len(r.line) {
		return at + 1
	}
	return 1
}

// printable returns text cut short, with everything but printable ASCII escaped.
func printable(text []byte) string {
	text = bytes.TrimSpace(text)
	cut := len(text) > maxProblemText
	if cut {
		text = text[:maxProblemText]
	}
	quoted := fmt.Sprintf("%+q", text)
	quoted = quoted[1 : len(quoted)-1]
	if cut {
		quoted += "..."
	}
	return quoted
}

// Reasons for which names and lines of several formats are left out.
const (
	ignoredAddress  = "IP address: DNS names only"
	ignoredURL      = "page address: DNS sees no paths"
	ignoredTopLevel = "top-level name (list it as a domain of a rule)"
	ignoredRegexp   = "regular expression: not enforceable in DNS"
	ignoredOption   = "setting that lists no name"
	ignoredReal     = "name with a real address: answers are for local zones"
	ignoredForward  = "forwarding of a name"
)

// name takes one name of a list, as text is written, with the scope that its format gives it.
func (r *reader) name(text []byte, scope Scope, exception bool) {
	if n := r.plain(text); n > 0 {
		r.entry(r.buf[:n], scope, exception)
		return
	}
	name, at, reason := appendName(r.buf[:0], text, &strict)
	r.named(name, text, at, reason, scope, exception)
}

// plain is plainName for what cannot be an address.
func (r *reader) plain(text []byte) int {
	if len(text) == 0 || digit(text[len(text)-1]) {
		return 0
	}
	return plainName(&r.buf, text)
}

// named finishes name and its kin: it sorts out what appendName or appendEntry made of text.
func (r *reader) named(name, text []byte, at int, reason string, scope Scope, exception bool) {
	switch {
	case address(text):
		r.ignore(ignoredAddress)
	case reason == reasonCharacter && bytes.IndexByte(text, '/') > 0:
		r.ignore(ignoredURL)
	case reason != "":
		r.unreadable(text, at, reason)
	case int(name[0])+2 == len(name):
		r.ignore(ignoredTopLevel)
	default:
		r.entry(name, scope, exception)
	}
}

// cutComment cuts off a comment that begins with one of marks after a blank.
func cutComment(line []byte, marks string) []byte {
	for i := range len(marks) {
		for at := 0; ; at++ {
			next := bytes.IndexByte(line[at:], marks[i])
			if next < 0 {
				break
			}
			if at += next; at > 0 && (line[at-1] == ' ' || line[at-1] == '\t') {
				line = bytes.TrimRight(line[:at], " \t")
				break
			}
		}
	}
	return line
}

// cutField cuts the first field off a line of fields with blanks between.
func cutField(line []byte) (field, rest []byte) {
	i := 0
	for i < len(line) && line[i] != ' ' && line[i] != '\t' {
		i++
	}
	return line[:i], trimBlanks(line[i:])
}

// trimBlanks cuts off blanks at the beginning.
func trimBlanks(text []byte) []byte {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t') {
		text = text[1:]
	}
	return text
}
