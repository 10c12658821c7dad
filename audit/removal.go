package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// removalFile tells of the store's files that the log itself has taken away, so that
// they can be told from those that somebody else has: signed notes, as in the file of
// checkpoints, each with an empty line behind it. A note is on disk before its file is
// removed. Its text is
//
//	weir-audit-1234abcd removed
//	file audit-0000000000000001-20260301.db
//	why age
//	records 1 to 52001
//	segments 1 to 310
//	last dGhlIFNIQS0yNTYgb2YgdGhlIGxhc3Qgc2VnbWVudCE=
//	from 2026-03-01T00:00:00.000000001Z
//	to 2026-03-01T23:59:59.999999999Z
//	octets 16777216
//	time 2027-04-05T00:00:12.5Z
//
// The last segment's digest is what the segment behind it has in its link. Notes of
// files that are still there say nothing.
const removalFile = "audit.removed"

// Why a file is not in the store any more.
const (
	RemovedByAge  = "age"    // Config.Keep
	RemovedBySize = "size"   // Config.KeepSize
	SetAside      = "damage" // moved aside, see OnError
	Astray        = "astray" // somebody else removed it, or put another in its place, while the log wrote to it
	BeforeFiles   = "former" // it was not there when the version that began to keep account did so
)

// A Removal says which records a file held that is not in the store any more.
type Removal struct {
	File     string
	Why      string
	Records  [2]uint64 // sequence numbers, first and last
	Segments [2]uint64
	Last     [digestSize]byte // digest of the last segment
	From, To time.Time        // of its records
	Octets   int64
	Time     time.Time // when it was removed
}

const removalLines = 10

func (r *Removal) text(log string) string {
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	return fmt.Sprintf("%s removed\nfile %s\nwhy %s\nrecords %d to %d\nsegments %d to %d\nlast %s\nfrom %s\nto %s\noctets %d\ntime %s\n",
		log, r.File, r.Why, r.Records[0], r.Records[1], r.Segments[0], r.Segments[1],
		base64.StdEncoding.EncodeToString(r.Last[:]), at(r.From), at(r.To), r.Octets, at(r.Time))
}

// openRemoval returns what a signed note says, if one of keys has signed it.
func openRemoval(signed []byte, keys []*PublicKey) (r Removal, err error) {
	text, err := openNote(signed, keys)
	if err != nil {
		return r, err
	}
	return parseRemoval(text)
}

func parseRemoval(text string) (r Removal, err error) {
	bad := errors.New("it does not read like a removal")
	lines := strings.Split(text, "\n")
	if len(lines) != removalLines+1 {
		return r, bad
	}
	log, ok := strings.CutSuffix(lines[0], " removed")
	if !ok {
		return r, bad
	}
	var errs []error
	value := func(line int, name string) string {
		v, ok := strings.CutPrefix(lines[line], name+" ")
		if !ok {
			errs = append(errs, bad)
		}
		return v
	}
	number := func(text string) uint64 {
		n, err := strconv.ParseUint(text, 10, 63)
		errs = append(errs, err)
		return n
	}
	span := func(text string) [2]uint64 {
		a, b, _ := strings.Cut(text, " to ")
		return [2]uint64{number(a), number(b)}
	}
	moment := func(text string) time.Time {
		t, err := time.Parse(time.RFC3339Nano, text)
		errs = append(errs, err)
		return t
	}
	r = Removal{
		File: value(1, "file"), Why: value(2, "why"), Records: span(value(3, "records")), Segments: span(value(4, "segments")),
		From: moment(value(6, "from")), To: moment(value(7, "to")), Octets: int64(number(value(8, "octets"))), Time: moment(value(9, "time")),
	}
	last, err := base64.StdEncoding.DecodeString(value(5, "last"))
	if err != nil || len(last) != digestSize || errors.Join(errs...) != nil {
		return r, bad
	}
	r.Last = [digestSize]byte(last)
	if r.text(log) != text {
		return r, bad
	}
	return r, nil
}

// readRemovals returns what the notes in dir say that one of keys has signed, in order of
// the records, and what is wrong with others.
func readRemovals(dir string, keys []*PublicKey, problem func(string, ...any)) ([]Removal, error) {
	file, err := os.ReadFile(filepath.Join(dir, removalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read removals from the audit store: %w", err)
	}
	notes, rest := splitNotes(file)
	if len(rest) > 0 {
		problem("%s: what stands behind note %d is none", removalFile, len(notes))
	}
	var all []Removal
	for i, signed := range notes {
		r, err := openRemoval(signed, keys)
		if err != nil {
			problem("%s, note %d: %v", removalFile, i+1, err)
			continue
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b Removal) int {
		switch {
		case a.Records[0] < b.Records[0]:
			return -1
		case a.Records[0] > b.Records[0]:
			return 1
		}
		return 0
	})
	return all, nil
}

// tell signs a removal and brings it to disk.
func (n *notary) tell(r Removal) error {
	n.telling.Lock()
	defer n.telling.Unlock()
	signed, err := note.Sign(&note.Note{Text: r.text(n.key.Name())}, n.key)
	if err != nil {
		return err
	}
	file, err := n.log.removals.read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write what is removed from the audit store: %w", err)
	}
	_, rest := splitNotes(file) // what a crash has cut short goes
	whole := file[:len(file)-len(rest)]
	if err := n.log.removals.write(append(append(slices.Clip(whole), signed...), '\n')); err != nil {
		return fmt.Errorf("write what is removed from the audit store: %w", err)
	}
	return nil
}
