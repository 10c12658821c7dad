package resolver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"
)

// zoneFiles are the files of one zone while it is read: the parser opens through
// it what is included, and it knows at which line the parser is. As the parser
// takes octet by octet, that is the line on which the last record ended.
type zoneFiles struct {
	path   string   // of the first, as it stands in messages
	folder *os.Root // nil: nothing can be included

	now    *zoneFile // read from last
	opened []*zoneFile
	read   []string // paths
	octets int64
}

func newZoneFiles(path string, folder *os.Root) *zoneFiles {
	return &zoneFiles{path: path, folder: folder}
}

// first is the reader of the zone's own file.
func (z *zoneFiles) first(in io.Reader) io.Reader {
	z.now = &zoneFile{files: z, name: z.path, in: bufio.NewReader(in)}
	z.read = append(z.read, z.path)
	return z.now
}

// place is where the parser is, as "FILE:LINE".
func (z *zoneFiles) place() string { return fmt.Sprintf("%s:%d", z.now.name, z.now.line+1) }

// An includeError says why a file cannot be included, in full.
type includeError struct{ what, hint string }

func (e *includeError) Error() string { return e.what }

const includeHint = "$INCLUDE takes files of the zone file's folder and below it, by a path from the file that includes"

// Open implements fs.FS for the parser.
func (z *zoneFiles) Open(name string) (fs.File, error) {
	written := z.now.argument()
	if strings.HasPrefix(written, "/") || !fs.ValidPath(name) {
		return nil, &includeError{fmt.Sprintf("%q is outside of the zone file's folder", written), includeHint}
	}
	if len(z.opened) == maxZoneIncludes {
		return nil, &includeError{fmt.Sprintf("more than %d files are included", maxZoneIncludes), ""}
	}
	info, err := z.folder.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &includeError{fmt.Sprintf("there is no file %q to include", filepath.Join(filepath.Dir(z.path), name)), includeHint}
	case err != nil:
		return nil, &includeError{fmt.Sprintf("%q is outside of the zone file's folder, or cannot be read: %v", written, err), includeHint}
	case !info.Mode().IsRegular():
		return nil, &includeError{fmt.Sprintf("%q is no ordinary file", written), ""}
	}
	f, err := z.folder.Open(name)
	if err != nil {
		return nil, &includeError{err.Error(), ""}
	}
	file := &zoneFile{files: z, ttl: z.now.ttl, name: filepath.Join(filepath.Dir(z.path), filepath.FromSlash(name)), File: f, in: bufio.NewReader(f)}
	z.opened = append(z.opened, file)
	z.read = append(z.read, file.name)
	return file, nil
}

// close closes what the parser has left open.
func (z *zoneFiles) close() {
	for _, f := range z.opened {
		_ = f.Close()
	}
}

// explain makes what the parser says an error with its place.
func (z *zoneFiles) explain(zone string, err error) error {
	var include *includeError
	if errors.As(err, &include) {
		return &ZoneError{Zone: zone, Place: z.place(), What: include.what, Hint: include.hint}
	}
	text := err.Error()
	name := z.path
	for _, file := range append([]string{z.path}, z.read...) {
		rel, err := filepath.Rel(filepath.Dir(z.path), file)
		if err != nil {
			continue
		}
		if rest, ok := strings.CutPrefix(text, filepath.ToSlash(rel)+": "); ok {
			text, name = rest, file
		}
	}
	what, place := parseError(text)
	return &ZoneError{Zone: zone, Place: strings.TrimSuffix(name+":"+place, ":"), What: what, Hint: parseHint(what)}
}

// parseHint says what to do about a mistake that many make.
func parseHint(what string) string {
	switch {
	case strings.HasPrefix(what, "$INCLUDE"):
		return includeHint
	case strings.HasPrefix(what, "too deeply nested"):
		return "does a file include itself?"
	case strings.Contains(what, "unbalanced brace"):
		return `a "(" without its ")", or the other way round`
	case strings.HasPrefix(what, "bad range in $GENERATE"):
		return "from a number to one that is not lower, in 65536 steps at most"
	case strings.HasPrefix(what, "expecting RR type"), strings.HasPrefix(what, "syntax error at beginning"):
		return "a record is NAME TTL TYPE DATA; a line that begins with a blank has the name of the one before"
	}
	return ""
}

// A zoneFile is one file of a zone, of which the parser takes one octet at a time.
type zoneFile struct {
	fs.File // nil for the first
	files   *zoneFiles
	name    string
	in      *bufio.Reader
	line    int    // from 0
	ended   bool   // the last octet ended the line
	text    []byte // of the line so far, as far as it matters
	ttl     string // of the last $TTL; empty for none
}

var errZoneSize = errors.New("the files of the zone are too large")

// ReadByte implements io.ByteReader.
func (f *zoneFile) ReadByte() (byte, error) {
	f.files.now = f
	c, err := f.in.ReadByte()
	if err != nil {
		return c, err
	}
	if f.files.octets++; f.files.octets > maxZoneFile {
		return 0, errZoneSize
	}
	if f.ended {
		f.line++
		f.text = f.text[:0]
	}
	if f.ended = c == '\n'; !f.ended && len(f.text) < 1<<10 {
		f.text = append(f.text, c)
	}
	if f.ended && len(f.text) > 4 && bytes.EqualFold(f.text[:4], []byte("$TTL")) {
		f.ttl = f.argument()
	}
	return c, nil
}

// Read implements io.Reader, which the parser asks for and does not use.
func (f *zoneFile) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c, err := f.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = c
	return 1, nil
}

// Close implements fs.File.
func (f *zoneFile) Close() error {
	if f.File == nil {
		return nil
	}
	return f.File.Close()
}

// generated gives rr, which the parser has just returned, the TTL of the last
// $TTL if it is of a $GENERATE line that has none: the parser forgets it there.
func (f *zoneFile) generated(rr dns.RR) {
	fields := strings.Fields(string(f.text))
	if f.ttl == "" || len(fields) < 4 || !strings.EqualFold(fields[0], "$GENERATE") {
		return
	}
	for _, word := range fields[3:] { // after the range and the name: TTL and class in any order, then the type
		if _, is := dns.StringToType[strings.ToUpper(word)]; is {
			break
		}
		if _, is := readTTL(word); is {
			return
		}
	}
	if ttl, is := readTTL(f.ttl); is {
		rr.Header().Ttl = ttl
	}
}

// readTTL reads a TTL as master files have it: "90", "1m30s".
func readTTL(word string) (uint32, bool) {
	rr, err := dns.NewRR(". " + word + " NS .")
	if err != nil || rr == nil || word == "" || word[0] < '0' || word[0] > '9' {
		return 0, false
	}
	return rr.Header().Ttl, true
}

// argument is what follows the directive on the line at hand.
func (f *zoneFile) argument() string {
	fields := bytes.Fields(f.text)
	if len(fields) < 2 {
		return ""
	}
	return path.Clean(string(fields[1]))
}
