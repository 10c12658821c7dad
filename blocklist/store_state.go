package blocklist

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Copy is one version of a list's text.
type Copy struct {
	Digest   [32]byte  // SHA-256 of the text as it came from the origin
	File     string    // absolute path in the Store; empty when no file of it is kept
	Packed   bool      // the Store compressed File (zstd), so Digest and Bytes are not those of its octets
	Bytes    int64     // of the text as it came from the origin
	Modified time.Time // the origin's word: Last-Modified, mtime; zero when it says nothing
	Taken    time.Time // when we got it
	Entries  int       // names it holds, once it was loaded

	size int64 // octets of File; 0 without a file
}

// Kept is what a Store knows of one list.
type Kept struct {
	Name     string
	InForce  *Copy     // what the matcher holds; nil for nothing
	Previous *Copy     // what was in force before
	Latest   *Copy     // what the origin gave last; remote lists only
	Held     *Copy     // what may not come in force without approval
	Why      string    // Held is held
	Approved [32]byte  // digest of what was held and may come in force; zero is none
	Refused  [32]byte  // digest of what an operator rejected or rolled back; zero is none
	Checked  time.Time // last answer of the origin
	Failure  string    // the last attempt to ask the origin; empty when it succeeded
	Failures int       // attempts that failed since the last that succeeded
	Next     time.Time // when the origin is to be asked again
}

// listState is Kept and what only the Store and the Fetcher need.
type listState struct {
	Kept
	origin  originState
	unnamed time.Time // since when the configuration has not named the list; zero when it does
}

// originState is what the origin said of Latest, so that it can be asked whether there is something newer.
type originState struct {
	asked    string        // hash of what was asked for, and of how it had to be signed
	etag     string        // HTTP
	modified string        // HTTP, as written
	serial   uint32        // SOA (RFC 1035 §3.3.13); likewise the next two
	refresh  time.Duration // zero for HTTP
	retry    time.Duration
}

// none is the digest that stands for no version.
var none [32]byte

// copies returns the versions that the state names. A version can be there more than once.
func (st *listState) copies() []**Copy {
	var all []**Copy
	for _, c := range [...]**Copy{&st.InForce, &st.Previous, &st.Latest, &st.Held} {
		if *c != nil {
			all = append(all, c)
		}
	}
	return all
}

// clone returns a state that shares nothing with st.
func (st *listState) clone() *listState {
	next := *st
	for _, c := range next.copies() {
		other := **c
		*c = &other
	}
	return &next
}

// find returns the version with that digest, one with a file if there is one, or nil.
func (st *listState) find(digest [32]byte) *Copy {
	var found *Copy
	for _, c := range st.copies() {
		if (*c).Digest == digest && (found == nil || found.File == "") {
			found = *c
		}
	}
	return found
}

// share gives all mentions of one version its file, and the count of its names where only that in force or held has it.
func (st *listState) share() {
	for _, c := range st.copies() {
		for _, same := range st.copies() {
			if (*same).Digest != (*c).Digest {
				continue
			}
			if (*same).File == "" {
				(*same).File, (*same).Packed, (*same).size = (*c).File, (*c).Packed, (*c).size
			}
			(*same).Entries = cmp.Or((*same).Entries, (*c).Entries)
		}
	}
}

// drop takes the file from every mention of the version, so that it goes.
func (st *listState) drop(digest [32]byte) {
	for _, c := range st.copies() {
		if (*c).Digest == digest {
			(*c).File, (*c).Packed, (*c).size = "", false, 0
		}
	}
}

// The state of a list is a file of JSON, so that an operator can read it. Its fields are those of Kept; "size" of
// a version is that of its file, and missing when there is none.

const (
	stateVersion = 1
	maxState     = 1 << 20 // octets
	maxFailure   = 500     // octets of Kept.Failure
)

type stateText struct {
	Version  int        `json:"version"`
	Name     string     `json:"name"`
	Odd      []byte     `json:"name_octets,omitempty"` // the name, if it is not UTF-8
	InForce  *copyText  `json:"in_force,omitempty"`
	Previous *copyText  `json:"previous,omitempty"`
	Latest   *copyText  `json:"latest,omitempty"`
	Held     *copyText  `json:"held,omitempty"`
	Why      string     `json:"why,omitempty"`
	Approved digestText `json:"approved,omitzero"`
	Refused  digestText `json:"refused,omitzero"`
	Checked  time.Time  `json:"checked,omitzero"`
	Failure  string     `json:"failure,omitempty"`
	Failures int        `json:"failures,omitempty"`
	Next     time.Time  `json:"next,omitzero"`
	Origin   originText `json:"origin,omitzero"`
	Unnamed  time.Time  `json:"unnamed,omitzero"`
}

type copyText struct {
	Digest   digestText `json:"digest"`
	Size     int64      `json:"size,omitempty"`
	Packed   bool       `json:"packed,omitempty"`
	Bytes    int64      `json:"bytes"`
	Modified time.Time  `json:"modified,omitzero"`
	Taken    time.Time  `json:"taken,omitzero"`
	Entries  int        `json:"entries"`
}

type originText struct {
	Asked    string `json:"asked,omitempty"`
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"last_modified,omitempty"`
	Serial   uint32 `json:"serial,omitempty"`
	Refresh  int64  `json:"refresh,omitempty"` // seconds
	Retry    int64  `json:"retry,omitempty"`
}

type digestText [32]byte

func (d digestText) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

func (d *digestText) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("digest of %d digits", len(text))
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// encode returns the text of the state.
func (st *listState) encode() ([]byte, error) {
	t := stateText{
		Version: stateVersion, Name: st.Name,
		InForce: st.InForce.text(), Previous: st.Previous.text(), Latest: st.Latest.text(), Held: st.Held.text(),
		Why: st.Why, Approved: st.Approved, Refused: st.Refused,
		Checked: st.Checked.UTC(), Failure: st.Failure, Failures: st.Failures, Next: st.Next.UTC(),
		Origin: originText{
			Asked: st.origin.asked, ETag: st.origin.etag, Modified: st.origin.modified, Serial: st.origin.serial,
			Refresh: int64(st.origin.refresh / time.Second), Retry: int64(st.origin.retry / time.Second),
		},
		Unnamed: st.unnamed.UTC(),
	}
	if !utf8.ValidString(st.Name) {
		t.Name, t.Odd = "", []byte(st.Name)
	}
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil { // a time beyond the year 9999
		return nil, fmt.Errorf("write down its state: %w", err)
	}
	return append(text, '\n'), nil
}

func (c *Copy) text() *copyText {
	if c == nil {
		return nil
	}
	return &copyText{c.Digest, c.size, c.Packed, c.Bytes, c.Modified.UTC(), c.Taken.UTC(), c.Entries}
}

// decodeState reads the state of the list whose folder is dir.
func decodeState(text []byte, dir string) (*listState, error) {
	var t stateText
	if err := json.Unmarshal(text, &t); err != nil {
		return nil, err
	}
	if t.Version != stateVersion {
		return nil, fmt.Errorf("version %d; this program reads version %d", t.Version, stateVersion)
	}
	st := &listState{
		Kept: Kept{
			Name: t.Name, Why: t.Why, Approved: t.Approved, Refused: t.Refused,
			Checked: t.Checked, Failure: t.Failure, Failures: t.Failures, Next: t.Next,
		},
		origin: originState{
			asked: t.Origin.Asked, etag: t.Origin.ETag, modified: t.Origin.Modified, serial: t.Origin.Serial,
			refresh: time.Duration(t.Origin.Refresh) * time.Second, retry: time.Duration(t.Origin.Retry) * time.Second,
		},
		unnamed: t.Unnamed,
	}
	if st.Name == "" {
		st.Name = string(t.Odd)
	}
	switch {
	case st.Name == "" || folderOf(st.Name) != filepath.Base(dir):
		return nil, errors.New("is that of another list")
	case t.Failures < 0 || t.Origin.Refresh < 0 || t.Origin.Retry < 0 ||
		t.Origin.Refresh > maxSeconds || t.Origin.Retry > maxSeconds:
		return nil, errors.New("number out of its range")
	case odd(t.Checked) || odd(t.Next) || odd(t.Unnamed):
		return nil, errors.New("time out of its range")
	}
	for _, version := range [...]struct {
		text *copyText
		to   **Copy
	}{{t.InForce, &st.InForce}, {t.Previous, &st.Previous}, {t.Latest, &st.Latest}, {t.Held, &st.Held}} {
		c, err := version.text.copy(dir)
		if err != nil {
			return nil, err
		}
		*version.to = c
	}
	return st, nil
}

// odd says whether a time is one that could not be written down again.
func odd(t time.Time) bool {
	year := t.UTC().Year()
	return year < 1 || year > 9999
}

// maxSeconds bounds times in seconds, which are of 32 bits in a SOA record.
const maxSeconds = 1<<32 - 1

func (t *copyText) copy(dir string) (*Copy, error) {
	if t == nil {
		return nil, nil
	}
	if t.Size < 0 || t.Bytes < 0 || t.Entries < 0 || t.Digest == none || odd(t.Modified) || odd(t.Taken) {
		return nil, errors.New("version with a number or a time out of its range")
	}
	c := &Copy{
		Digest: t.Digest, Packed: t.Packed && t.Size > 0, Bytes: t.Bytes, Modified: t.Modified, Taken: t.Taken,
		Entries: t.Entries, size: t.Size,
	}
	if c.size > 0 {
		c.File = fileOf(dir, c.Digest)
	}
	return c, nil
}

// folderOf returns the name of a list's folder. It holds nothing of the list's name, which therefore leads nowhere.
func folderOf(name string) string {
	hash := sha256.Sum256([]byte(name))
	return hex.EncodeToString(hash[:8])
}

// fileOf returns the path of the version with that digest, of the list whose folder is dir.
func fileOf(dir string, digest [32]byte) string {
	return filepath.Join(dir, hex.EncodeToString(digest[:8])+listSuffix)
}

// plain returns text as one line of bounded length, with everything escaped that does not print.
func plain(text string) string {
	var b strings.Builder
	for _, c := range text {
		if b.Len() >= maxFailure {
			b.WriteString("...")
			break
		}
		if strconv.IsPrint(c) {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}
