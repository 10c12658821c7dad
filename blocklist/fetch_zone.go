package blocklist

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// The copy of a zone is a zone file (RFC 1035 §5.1) in one form, so that one version has one digest, in whatever order
// it came: the SOA record first, then a record a line, each once, in the order of their octets. Owners are
// absolute and lower-case, and there are no directives. Since it is in order, a new version is a merge of the old one
// with what has changed.

const (
	maxTextFactor = 4        // the text of a zone may be so much longer than max_size: names are compressed on the wire
	maxIncrements = 64 << 20 // octets of the text of increments; all of the zone takes less memory than more
)

// zoneText makes a zone of the records of a transfer.
type zoneText struct {
	apex   string
	since  *Copy  // the version that increments begin at; nil when all of the zone was asked for
	serial uint32 // of since
	limit  int64  // octets

	soa  *dns.SOA // of the version that comes
	same bool     // it is since

	records int
	size    int64
	lines   lineSorter // of all of the zone

	increments map[string]increment // by line; nil when all of the zone comes
	adding     bool
	to         uint32 // the version that the increment at hand leads to, or, before adding, begins at
}

// increment is what becomes of one line: the first that is said of it must fit the version before, the last is what
// holds.
type increment struct{ first, last bool } // true when it is added, false when it is deleted

// take takes the next record. It is done with the last.
func (z *zoneText) take(rr dns.RR) (done bool, err error) {
	soa, err := z.check(rr)
	if err != nil {
		return false, err
	}
	z.records++
	switch {
	case z.records == 1:
		return z.begin(soa)
	case z.records == 2 && z.since != nil && soa != nil && soa.Serial == z.serial:
		if z.since.File == "" || z.since.Packed {
			return false, &otherWayError{errors.New("there is no version to apply increments to")}
		}
		z.increments, z.to = map[string]increment{}, soa.Serial
		return false, nil
	case z.records == 2 && z.since != nil && soa != nil && soa.Serial != z.soa.Serial:
		return false, &otherWayError{fmt.Errorf("increments begin at serial %d, and the copy has %d", soa.Serial, z.serial)}
	case z.increments != nil && soa != nil:
		return z.turn(soa)
	case soa != nil && soa.Serial != z.soa.Serial:
		return false, fmt.Errorf("has changed from serial %d to %d while it was transferred; it is asked for again later", z.soa.Serial, soa.Serial)
	case soa != nil:
		return true, nil
	}
	line, err := zoneLine(rr)
	if err != nil {
		return false, err
	}
	if z.size += int64(len(line)) + 1; z.size > z.limit {
		return false, fmt.Errorf("is a zone whose text is longer than %d octets, %d times max_size", z.limit, maxTextFactor)
	}
	if z.increments == nil {
		return false, z.lines.add(line)
	}
	if z.size > maxIncrements {
		return false, &otherWayError{fmt.Errorf("increments are longer than %d octets", maxIncrements)}
	}
	inc, again := z.increments[line]
	if !again {
		inc.first = z.adding
	}
	inc.last = z.adding
	z.increments[line] = inc
	return false, nil
}

// check says whether a record belongs to the zone. soa is not nil for a SOA record.
func (z *zoneText) check(rr dns.RR) (soa *dns.SOA, err error) {
	h := rr.Header()
	h.Name = dns.CanonicalName(h.Name)
	switch {
	case !dns.IsSubDomain(z.apex, h.Name):
		return nil, fmt.Errorf("is sent a record of %s, which is not in the zone; it is not used", h.Name)
	case h.Class != dns.ClassINET:
		return nil, fmt.Errorf("is sent a record of class %s at %s; it is not used", dns.Class(h.Class), h.Name)
	case h.Rrtype == dns.TypeOPT || 128 <= h.Rrtype && h.Rrtype <= 255: // RFC 6895 §3.1
		return nil, fmt.Errorf("is sent a record of type %s at %s, which no zone has; it is not used", dns.Type(h.Rrtype), h.Name)
	case h.Rdlength == 0 && slices.Contains(zoneTypes, h.Rrtype): // as in updates (RFC 2136)
		return nil, fmt.Errorf("is sent a record of type %s at %s that has no data; it is not used", dns.Type(h.Rrtype), h.Name)
	}
	soa, _ = rr.(*dns.SOA)
	if soa != nil && h.Name != z.apex {
		return nil, fmt.Errorf("is sent a SOA record of %s, which is another zone; it is not used", h.Name)
	}
	return soa, nil
}

// begin takes the first record, which says which version comes.
func (z *zoneText) begin(soa *dns.SOA) (done bool, err error) {
	if soa == nil {
		return false, errors.New("does not begin with its SOA record; it is not used")
	}
	z.soa = soa
	if z.since == nil {
		return false, nil
	}
	z.same = soa.Serial == z.serial
	if !z.same && !newer(soa.Serial, z.serial) {
		return false, fmt.Errorf("has serial %d, which is before the %d of the copy; raise it at the primary", soa.Serial, z.serial)
	}
	return z.same, nil
}

// newer says whether serial a comes after b (RFC 1982 §3.2).
func newer(a, b uint32) bool { return int32(a-b) > 0 }

// turn takes a SOA record within increments: each of them is the version from which, what is deleted, the version to
// which, what is added, and the next begins there (RFC 1995 §4).
func (z *zoneText) turn(soa *dns.SOA) (done bool, err error) {
	switch {
	case !z.adding && newer(soa.Serial, z.to):
		z.adding, z.to = true, soa.Serial
		return false, nil
	case z.adding && z.to == z.soa.Serial && soa.Serial == z.to:
		return true, nil
	case z.adding && soa.Serial == z.to:
		z.adding = false
		return false, nil
	}
	return false, &otherWayError{fmt.Errorf("increments do not follow each other: serial %d after %d", soa.Serial, z.to)}
}

// write writes the zone.
func (z *zoneText) write(ctx context.Context, file io.Writer) (digest [32]byte, size int64, err error) {
	hash := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(file, hash), sampleSize)
	put := func(line []byte) error {
		size += int64(len(line)) + 1
		if _, err := out.Write(line); err != nil {
			return err
		}
		return out.WriteByte('\n')
	}
	soa, err := zoneLine(z.soa)
	if err != nil {
		return digest, 0, err
	}
	if err := put([]byte(soa)); err != nil {
		return digest, 0, err
	}
	if z.increments != nil {
		err = z.merge(ctx, put)
	} else {
		err = z.lines.each(ctx, put)
	}
	if err == nil {
		err = out.Flush()
	}
	return [32]byte(hash.Sum(nil)), size, err
}

// merge gives the lines of since, as the increments change them, to put.
func (z *zoneText) merge(ctx context.Context, put func(line []byte) error) error {
	other := func(format string, args ...any) error { return &otherWayError{fmt.Errorf(format, args...)} }
	file, err := os.Open(z.since.File)
	if err != nil {
		return &otherWayError{err}
	}
	defer file.Close()
	hash := sha256.New()
	old := lineReader{in: bufio.NewReaderSize(io.TeeReader(file, hash), sampleSize)}
	if _, err := old.next(); err != nil { // the SOA record, which is not in order
		return err
	}
	changed := slices.Sorted(maps.Keys(z.increments))
	for n := 1; ; n++ {
		if n&0xfff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		ok, err := old.next()
		for err == nil && len(changed) > 0 && (!ok || changed[0] <= string(old.line)) {
			line, inc := changed[0], z.increments[changed[0]]
			changed = changed[1:]
			present := ok && line == string(old.line)
			if inc.first == present {
				return other("an increment does not fit the copy: %s", plain(line))
			}
			if inc.last {
				err = put([]byte(line))
			}
			if err == nil && present {
				ok, err = old.next()
			}
		}
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := put(old.line); err != nil {
			return err
		}
	}
	if [32]byte(hash.Sum(nil)) != z.since.Digest {
		return other("the copy %s is damaged", z.since.File)
	}
	return nil
}

// zoneTypes are the types whose data is written in their own form, all others as RFC 3597 §5 has it. Their data is one
// field, so if it is not empty it is whole; of most others miekg/dns takes a beginning for all of it.
var zoneTypes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypeDNAME, dns.TypeNS, dns.TypePTR, dns.TypeTXT}

// provenTypes are written likewise, if what is read from that is the same record: the reader of lists knows some of
// them by name alone.
var provenTypes = []uint16{
	dns.TypeSOA, dns.TypeMX, dns.TypeSRV,
	dns.TypeDS, dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeZONEMD,
}

// zoneLine returns a record as a line of a zone file, without its end.
func zoneLine(rr dns.RR) (string, error) {
	line := ""
	if kind := rr.Header().Rrtype; slices.Contains(zoneTypes, kind) {
		line = rr.String()
	} else if slices.Contains(provenTypes, kind) {
		line = rr.String()
		if again, err := dns.NewRR(line); err != nil || again == nil || !sameWire(rr, again) {
			line = ""
		}
	}
	if line == "" && rr.Header().Rrtype == dns.TypeSOA {
		return "", errors.New("is sent a SOA record that is damaged; it is not used")
	}
	if line == "" || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c > '~' }) {
		generic := new(dns.RFC3597)
		if err := generic.ToRFC3597(rr); err != nil {
			return "", fmt.Errorf("is sent a record of %s that cannot be written: %w", rr.Header().Name, err)
		}
		line = generic.String()
	}
	if strings.HasPrefix(line, "$") { // else it is a directive
		line = `\036` + line[1:]
	}
	return line, nil
}

func sameWire(a, b dns.RR) bool {
	one, two := make([]byte, dns.Len(a)+1), make([]byte, dns.Len(a)+1)
	n, errA := dns.PackRR(a, one, 0, nil, false)
	m, errB := dns.PackRR(b, two, 0, nil, false)
	return errA == nil && errB == nil && bytes.Equal(one[:n], two[:m])
}

// lineReader reads lines, of whatever length.
type lineReader struct {
	in   *bufio.Reader
	line []byte // the last, without its end; good until the next
}

// next reads a line. It is false at the end.
func (l *lineReader) next() (bool, error) {
	l.line = l.line[:0]
	for {
		part, err := l.in.ReadSlice('\n')
		l.line = append(l.line, part...)
		switch err {
		case nil:
			l.line = bytes.TrimSuffix(l.line, newline)
			return true, nil
		case bufio.ErrBufferFull:
		case io.EOF:
			return len(l.line) > 0, nil
		default:
			return false, err
		}
	}
}
