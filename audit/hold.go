package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// holdFile keeps the holds, as text: a line "weir audit holds 1", which is the version;
// a line with the number that the next hold gets, in decimal; a line of JSON for each
// hold, which has the names of Hold; and a line with the SHA-256 of all that, in
// hexadecimal. It is written as a whole under another name. One that is damaged holds
// everything: nothing is removed until somebody has looked at it.
const (
	holdFile  = "audit.holds"
	holdMagic = "weir audit holds 1"
)

// A Hold keeps records from being removed, whatever Config.Keep and KeepSize say: every
// file with one of them stays.
type Hold struct {
	ID      uint64    `json:"id"`
	From    time.Time `json:"from,omitzero"`     // records of this time on; both zero if it is by number
	To      time.Time `json:"to,omitzero"`       // and before this; zero is no end
	SeqFrom uint64    `json:"seq_from,omitzero"` // records with these numbers; both 0 if it is by time
	SeqTo   uint64    `json:"seq_to,omitzero"`
	Reason  string    `json:"reason"`
	By      string    `json:"by"`              // who answers for it
	Actor   string    `json:"actor,omitempty"` // who did it, as the system knows it
	Created time.Time `json:"created"`
}

func (h *Hold) check() error {
	switch {
	case h.Reason == "" || h.By == "":
		return errors.New("a hold needs a reason and who answers for it")
	case len(h.Reason)+len(h.By) > maxLabel:
		return fmt.Errorf("the reason of a hold has at most %d octets", maxLabel)
	case h.From.IsZero() == (h.SeqFrom == 0):
		return errors.New("a hold is of a time or of sequence numbers")
	case h.SeqFrom == 0 && (!h.To.IsZero() && !h.From.Before(h.To) || h.SeqTo != 0):
		return errors.New("the time of a hold ends before it begins")
	case h.SeqFrom != 0 && (h.SeqTo < h.SeqFrom || !h.To.IsZero()):
		return errors.New("the sequence numbers of a hold end before they begin")
	}
	return nil
}

// String says what is held.
func (h *Hold) String() string {
	if h.SeqFrom != 0 {
		return fmt.Sprintf("records %d to %d", h.SeqFrom, h.SeqTo)
	}
	text := "records from " + h.From.UTC().Format(time.RFC3339)
	if !h.To.IsZero() {
		text += " to " + h.To.UTC().Format(time.RFC3339)
	}
	return text
}

// covers says that a file with these records has one of those that are held.
func (h *Hold) covers(f *facts) bool {
	if h.SeqFrom != 0 {
		return h.SeqFrom <= f.records[1] && f.records[0] <= h.SeqTo
	}
	return h.From.UnixNano() <= f.to && (h.To.IsZero() || f.from < h.To.UnixNano())
}

// ReadHolds returns the holds on the store in dir. A damaged file gives a *DamageError.
func ReadHolds(dir string) ([]Hold, error) {
	holds, _, err := readHolds(&remembered{path: filepath.Join(dir, holdFile)})
	return holds, err
}

// readHolds returns the holds, and the number of the next.
func readHolds(file *remembered) ([]Hold, uint64, error) {
	content, err := file.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 1, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read audit holds: %w", err)
	}
	return parseHolds(file.path, content)
}

func parseHolds(path string, content []byte) (holds []Hold, next uint64, err error) {
	lines := bytes.Split(content, []byte("\n"))
	n := len(lines)
	if string(lines[0]) != holdMagic {
		return nil, 0, damaged(path, "line 1", fmt.Sprintf("it is not %q", holdMagic))
	}
	if n < 4 || len(lines[n-1]) != 0 || string(lines[n-2]) != holdSum(lines[:n-2]) {
		return nil, 0, damaged(path, fmt.Sprintf("line %d", n-1), "the checksum does not match the content")
	}
	if _, err := fmt.Sscanf(string(lines[1]), "%d", &next); err != nil {
		return nil, 0, damaged(path, "line 2", err)
	}
	for i, line := range lines[2 : n-2] {
		var h Hold
		in := json.NewDecoder(bytes.NewReader(line))
		in.DisallowUnknownFields()
		if err := errors.Join(in.Decode(&h), h.check()); err != nil {
			return nil, 0, damaged(path, fmt.Sprintf("line %d", i+3), err)
		}
		holds = append(holds, h)
	}
	return holds, next, nil
}

func holdSum(lines [][]byte) string {
	sum := sha256.Sum256(append(bytes.Join(lines, []byte("\n")), '\n'))
	return hex.EncodeToString(sum[:])
}

func writeHolds(file *remembered, holds []Hold, next uint64) error {
	lines := [][]byte{[]byte(holdMagic), fmt.Appendf(nil, "%d", next)}
	for i := range holds {
		line, err := json.Marshal(&holds[i])
		if err != nil {
			return fmt.Errorf("write audit holds: %w", err)
		}
		lines = append(lines, line)
	}
	lines = append(lines, []byte(holdSum(lines)), nil)
	if err := file.write(bytes.Join(lines, []byte("\n"))); err != nil {
		return fmt.Errorf("write audit holds: %w", err)
	}
	return nil
}

// Holds returns the holds on the store.
func (l *Log) Holds() ([]Hold, error) {
	l.retention.Lock()
	defer l.retention.Unlock()
	holds, _, err := readHolds(l.holds)
	return holds, err
}

// AddHold puts a hold in force, and on record. It returns it with its ID. What retention
// is just removing is waited for.
func (l *Log) AddHold(h Hold) (Hold, error) {
	l.retention.Lock()
	defer l.retention.Unlock()
	holds, next, err := readHolds(l.holds)
	if err != nil {
		return h, err
	}
	h.ID, h.Created = next, l.cfg.Now().UTC().Truncate(time.Second)
	if err := h.check(); err != nil {
		return h, err
	}
	if err := writeHolds(l.holds, append(holds, h), next+1); err != nil {
		return h, err
	}
	l.RecordChange(Change{Action: ActionHoldAdd, Actor: h.Actor, Text: fmt.Sprintf("hold %d: %s are kept, by %s: %s", h.ID, &h, h.By, h.Reason)})
	signal(l.retain)
	return h, nil
}

// RemoveHold ends a hold, which is on record, and returns it.
func (l *Log) RemoveHold(id uint64, by, reason, actor string) (Hold, error) {
	l.retention.Lock()
	defer l.retention.Unlock()
	holds, next, err := readHolds(l.holds)
	if err != nil {
		return Hold{}, err
	}
	if by == "" || reason == "" {
		return Hold{}, errors.New("the end of a hold needs a reason and who answers for it")
	}
	for i, h := range holds {
		if h.ID != id {
			continue
		}
		// On record first: what a hold kept may go as soon as it is gone.
		if !l.RecordChange(Change{Action: ActionHoldRemove, Actor: actor, Text: fmt.Sprintf("hold %d: %s are not kept any more, by %s: %s", id, &h, until(by, maxLabel), until(reason, maxLabel))}) {
			return h, errors.New("the log cannot take a record of it now")
		}
		err := writeHolds(l.holds, append(holds[:i:i], holds[i+1:]...), next)
		signal(l.retain)
		return h, err
	}
	return Hold{}, fmt.Errorf("there is no hold %d", id)
}

// Holds returns the holds on the store that is read.
func (r *Reader) Holds(context.Context) ([]Hold, error) { return ReadHolds(r.dir) }
