package resolver

import (
	"errors"
	"fmt"
	"io"
	"os"
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
		what, _ := parseError(err, "") // it stands alone, so its line is known
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

// ParseZoneFile reads a master file (RFC 1035 §5). $INCLUDE is refused. The
// error names file, line and column.
func ParseZoneFile(zone, path string) (Zone, error) {
	z := Zone{Name: dns.Fqdn(zone)}
	f, err := os.Open(path)
	if err != nil {
		return z, err
	}
	defer f.Close()
	return readZone(z, f, path)
}

func readZone(z Zone, in io.Reader, path string) (Zone, error) {
	p := dns.NewZoneParser(in, z.Name, path)
	p.SetDefaultTTL(defaultZoneTTL)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		z.Records = append(z.Records, rr)
	}
	if err := p.Err(); err != nil {
		what, place := parseError(err, path)
		return z, fmt.Errorf("zone %s: %s:%s: %s", z.Name, path, place, what)
	}
	if len(z.Records) == 0 {
		return z, fmt.Errorf("zone %s: %s holds no record", z.Name, path)
	}
	return z, nil
}

// parseError splits what the parser says into the mistake and its place,
// "line:column".
func parseError(err error, file string) (what, place string) {
	what = strings.TrimPrefix(err.Error(), file+": ")
	what = strings.TrimPrefix(what, "dns: ")
	const at = " at line: "
	if i := strings.LastIndex(what, at); i > 0 {
		what, place = what[:i], what[i+len(at):]
	}
	return what, place
}
