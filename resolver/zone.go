package resolver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"
)

const defaultZoneTTL = 3600 // seconds, of records that give none

// A RecordError says which record of a zone could not be read.
type RecordError struct {
	Record int // index into the records given
	Err    error
}

// Error returns the reason alone; the caller knows the place.
func (e *RecordError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *RecordError) Unwrap() error { return e.Err }

// ParseRecords reads a zone's records one by one, each a line of RFC 1035 §5.1
// relative to the zone: "www 300 A 192.0.2.10", "@ NS ns.lab.example.". The
// error joins a *RecordError for each that cannot be read.
func ParseRecords(zone string, lines []string) (Zone, error) {
	z := Zone{Name: dns.Fqdn(zone)}
	var errs []error
	for i, line := range lines {
		rr, err := parseRecord(z.Name, line)
		if err == nil {
			err = (&localZone{apex: mustWire(z.Name), nodes: map[string]*localNode{}}).add(rr)
		}
		if err != nil {
			errs = append(errs, &RecordError{i, err})
			continue
		}
		z.Records = append(z.Records, rr)
	}
	return z, errors.Join(errs...)
}

// mustWire is wireName for a zone name that was read before; one that is no
// name holds nothing.
func mustWire(name string) []byte {
	w, err := wireName(name)
	if err != nil {
		return []byte{0}
	}
	return w
}

func parseRecord(zone, line string) (dns.RR, error) {
	if strings.ContainsAny(line, "\n\r") {
		return nil, errors.New("one record a line")
	}
	p := dns.NewZoneParser(strings.NewReader(line+"\n"), zone, "")
	p.SetDefaultTTL(defaultZoneTTL)
	rr, ok := p.Next()
	if err := p.Err(); err != nil {
		what, _ := parseError(err.Error()) // it stands alone, so its line is known
		return nil, errors.New(what)
	}
	if !ok {
		return nil, errors.New("holds no record: write OWNER TTL TYPE DATA")
	}
	if _, more := p.Next(); more {
		return nil, errors.New("one record a line")
	}
	return rr, nil
}

// A ZoneError says what is wrong in a zone's file, and where.
type ZoneError struct {
	Zone  string
	Place string // "FILE:LINE" or "FILE:LINE:COLUMN"
	What  string
	Hint  string // empty for none
}

// Error is all but the hint.
func (e *ZoneError) Error() string { return fmt.Sprintf("zone %s: %s: %s", e.Zone, e.Place, e.What) }

// What a zone's files may hold, all together.
const (
	maxZoneRecords  = 1 << 18
	maxZoneFile     = 256 << 20 // octets
	maxZoneIncludes = 100
	maxZoneErrors   = 20
)

// ParseZoneFile reads a master file (RFC 1035 §5) and those that it includes, of
// its folder or below alone. The error joins a *ZoneError for each record that
// does not belong into the zone, up to the first place that cannot be read.
func ParseZoneFile(zone, path string) (Zone, error) {
	z := Zone{Name: dns.Fqdn(zone)}
	f, err := openOrdinary(path)
	if err != nil {
		return z, err
	}
	defer f.Close()
	folder, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return z, err
	}
	defer folder.Close()
	return readZone(z, f, path, folder)
}

// readZone reads a zone from in, which is called path. A nil folder has no files
// to include.
func readZone(z Zone, in io.Reader, path string, folder *os.Root) (Zone, error) {
	files := newZoneFiles(path, folder)
	defer files.close()
	p := dns.NewZoneParser(files.first(in), z.Name, filepath.Base(path))
	p.SetDefaultTTL(defaultZoneTTL)
	p.SetIncludeAllowed(folder != nil)
	p.SetIncludeFS(files)
	apex := mustWire(z.Name)
	var errs []error
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		place := files.place()
		files.now.generated(rr)
		// Alone in a zone, so that what does not fit beside it is told later.
		if err := (&localZone{apex: apex, nodes: map[string]*localNode{}}).add(rr); err != nil {
			e := &ZoneError{Zone: z.Name, Place: place, What: brief(rr) + ": " + err.Error()}
			if errors.Is(err, errOutside) {
				e.Hint = "a name without a dot at its end is relative to the zone, or to $ORIGIN"
			}
			if errs = append(errs, e); len(errs) == maxZoneErrors {
				break
			}
		}
		if len(z.Records) == maxZoneRecords {
			errs = append(errs, &ZoneError{Zone: z.Name, Place: place, What: fmt.Sprintf("more than %d records", maxZoneRecords)})
			break
		}
		z.Records, z.places = append(z.Records, rr), append(z.places, place)
	}
	z.Files = files.read
	if err := p.Err(); err != nil {
		errs = append(errs, files.explain(z.Name, err))
	}
	if len(errs) == 0 && len(z.Records) == 0 {
		errs = append(errs, fmt.Errorf("zone %s: %s holds no record", z.Name, path))
	}
	return z, errors.Join(errs...)
}

// parseError splits what the parser says into the mistake and its place,
// "line:column".
func parseError(text string) (what, place string) {
	what = strings.TrimPrefix(text, "dns: ")
	const at = " at line: "
	if i := strings.LastIndex(what, at); i > 0 {
		what, place = what[:i], what[i+len(at):]
	}
	return what, place
}
