package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Most is how many revisions are kept.
const Most = 4096

// maxSize bounds a revision in octets, of its JSON: more than any configuration takes.
const maxSize = 64 << 20

// Revision is what was in force from Since on.
type Revision struct {
	Number uint64    `json:"revision"`
	Digest string    `json:"digest"` // of the configuration and all lists, hexadecimal
	Since  time.Time `json:"since"`
	File   string    `json:"file"` // of the configuration, as it stands in messages
	Text   string    `json:"text"` // of the configuration, secrets blanked
	Lists  []List    `json:"lists"`
}

// List is one list of a revision.
type List struct {
	Category string `json:"category"`
	Name     string `json:"name"`
	Digest   string `json:"digest"` // SHA-256 of its file, hexadecimal
	Entries  int    `json:"entries"`
}

// History is the folder of revisions. It is not safe for concurrent use.
type History struct {
	dir     string
	numbers []uint64 // of the revisions that are there, in order
}

// ErrUnknown says that a revision is not kept.
var ErrUnknown = errors.New("is not kept")

const suffix = ".json.zst"

// Open looks at the folder, which need not be there yet.
func Open(dir string) (*History, error) {
	h := &History{dir: dir}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("revisions: %w", err)
	}
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), suffix)
		if n, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && n > 0 {
			h.numbers = append(h.numbers, n)
		}
	}
	slices.Sort(h.numbers)
	return h, nil
}

// Number returns the number of the revision with that digest, if it is put in force now: that of the newest one if it
// is the same, else the next.
func (h *History) Number(digest string) uint64 {
	if len(h.numbers) == 0 {
		return 1
	}
	newest := h.numbers[len(h.numbers)-1]
	if r, err := h.Get(newest); err == nil && r.Digest == digest {
		return newest
	}
	return newest + 1
}

// Put keeps r, unless a revision with its number is there, and lets go of those that are too many.
func (h *History) Put(r *Revision) error {
	if slices.Contains(h.numbers, r.Number) {
		return nil
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return fmt.Errorf("revision %d: %w", r.Number, err)
	}
	if err := h.write(r); err != nil {
		return fmt.Errorf("revision %d: %w", r.Number, err)
	}
	h.numbers = append(h.numbers, r.Number)
	slices.Sort(h.numbers)
	for len(h.numbers) > Most {
		if err := os.Remove(h.path(h.numbers[0])); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("revision %d: %w", h.numbers[0], err)
		}
		h.numbers = h.numbers[1:]
	}
	return nil
}

func (h *History) write(r *Revision) (err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		return err
	}
	defer enc.Close()
	f, err := os.CreateTemp(h.dir, "new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(enc.EncodeAll(text, nil)); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), h.path(r.Number))
}

// Get returns the revision with that number; the error has ErrUnknown in it if it is not kept.
func (h *History) Get(number uint64) (*Revision, error) {
	f, err := os.Open(h.path(number))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("revision %d %w", number, ErrUnknown)
	}
	if err != nil {
		return nil, fmt.Errorf("revision %d: %w", number, err)
	}
	defer f.Close()
	dec, err := zstd.NewReader(f, zstd.WithDecoderMaxMemory(maxSize), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("revision %d: %w", number, err)
	}
	defer dec.Close()
	text, err := io.ReadAll(io.LimitReader(dec, maxSize))
	if err != nil {
		return nil, fmt.Errorf("revision %d in %s: %w", number, f.Name(), err)
	}
	r := new(Revision)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("revision %d in %s: %w", number, f.Name(), err)
	}
	if r.Number != number {
		return nil, fmt.Errorf("revision %d in %s: it says that it is %d", number, f.Name(), r.Number)
	}
	return r, nil
}

func (h *History) path(number uint64) string {
	return filepath.Join(h.dir, strconv.FormatUint(number, 10)+suffix)
}
