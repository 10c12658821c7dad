package audit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// A Checkpoint is what the log states of itself: a tree of RFC 6962 over its segments,
// and the counts up to there. As a signed note (C2SP tlog-checkpoint) it begins with
// the log's name, the number of segments and the root in base64; the lines below them
// are our own:
//
//	weir-audit-1234abcd
//	4711
//	dGhlIHJvb3QgaGFzaCBvZiBhbGwgc2VnbWVudHMgISE=
//	before 0
//	sequence 1048576
//	received 1048700
//	recorded 1048576
//	lost 24
//	excluded 100
//	time 2026-03-02T12:00:00Z
//
//	— weir-audit-1234abcd EjRWeK...
type Checkpoint struct {
	Log      string // name of the log
	Segments uint64 // leaves of the tree
	Root     hash
	Before   uint64    // segments in the chain that are in no tree of this file: they were lost with it
	Sequence uint64    // of the last record
	Received uint64    // events since the server started: Recorded + Lost + Excluded
	Recorded uint64    // of them
	Lost     uint64    // of them
	Excluded uint64    // of them; 0 has no line
	Time     time.Time // when it was made
}

// last is the number of the last segment that it is about.
func (c *Checkpoint) last() uint64 { return c.Before + c.Segments }

func (c *Checkpoint) text() string {
	excluded := ""
	if c.Excluded > 0 {
		excluded = fmt.Sprintf("excluded %d\n", c.Excluded)
	}
	return fmt.Sprintf("%s\n%d\n%s\nbefore %d\nsequence %d\nreceived %d\nrecorded %d\nlost %d\n"+excluded+"time %s\n",
		c.Log, c.Segments, base64.StdEncoding.EncodeToString(c.Root[:]),
		c.Before, c.Sequence, c.Received, c.Recorded, c.Lost, c.Time.UTC().Format(time.RFC3339Nano))
}

// sign returns the checkpoint as a signed note.
func (c *Checkpoint) sign(key *signingKey) ([]byte, error) {
	return note.Sign(&note.Note{Text: c.text()}, key)
}

// OpenCheckpoint returns what a signed note states, if one of keys has signed it.
func OpenCheckpoint(signed []byte, keys ...*PublicKey) (*Checkpoint, error) {
	text, err := openNote(signed, keys)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return parseCheckpoint(text)
}

// openNote returns the text of a signed note, if one of keys has signed it.
func openNote(signed []byte, keys []*PublicKey) (string, error) {
	var verifiers []note.Verifier
	for _, key := range keys {
		verifiers = append(verifiers, key.verifier)
	}
	n, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return "", errors.New("no key of this log has signed it")
	}
	for _, s := range n.Sigs { // bits that mean nothing are to be as they were written too
		if b, err := base64.StdEncoding.DecodeString(s.Base64); err != nil || base64.StdEncoding.EncodeToString(b) != s.Base64 {
			return "", errors.New("its signature was changed")
		}
	}
	return n.Text, nil
}

func parseCheckpoint(text string) (*Checkpoint, error) {
	c := &Checkpoint{}
	bad := errors.New("checkpoint: it does not read like one")
	lines := strings.Split(text, "\n")
	if len(lines) == 11 { // with an excluded line
		number, ok := strings.CutPrefix(lines[8], "excluded ")
		n, err := strconv.ParseUint(number, 10, 63)
		if !ok || err != nil {
			return nil, bad
		}
		c.Excluded, lines = n, append(lines[:8:8], lines[9:]...)
	}
	if len(lines) != 10 {
		return nil, bad
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != len(c.Root) {
		return nil, bad
	}
	c.Log, c.Root = lines[0], hash(root)
	for i, field := range []struct {
		name string
		to   *uint64
	}{
		1: {"", &c.Segments}, 3: {"before ", &c.Before}, 4: {"sequence ", &c.Sequence}, 5: {"received ", &c.Received},
		6: {"recorded ", &c.Recorded}, 7: {"lost ", &c.Lost},
	} {
		if field.to == nil {
			continue
		}
		number, ok := strings.CutPrefix(lines[i], field.name)
		if *field.to, err = strconv.ParseUint(number, 10, 63); !ok || err != nil {
			return nil, bad
		}
	}
	at, ok := strings.CutPrefix(lines[8], "time ")
	if c.Time, err = time.Parse(time.RFC3339Nano, at); !ok || err != nil || c.text() != text {
		return nil, bad
	}
	return c, nil
}

// SplitCheckpoints returns the signed notes in the file of a witness or of a log, and
// what is left at its end.
func SplitCheckpoints(file []byte) (notes [][]byte, rest []byte) { return splitNotes(file) }

// splitNotes returns the signed notes in a file, one behind the other with an empty
// line after each, and what is left at its end: a note cut short by a crash.
func splitNotes(file []byte) (notes [][]byte, rest []byte) {
	for {
		at := bytes.Index(file, []byte("\n\n— "))
		if at < 0 {
			return notes, file
		}
		end := bytes.Index(file[at+2:], []byte("\n\n"))
		if end < 0 {
			return notes, file
		}
		end += at + 3
		notes = append(notes, file[:end])
		file = file[end+1:]
	}
}
