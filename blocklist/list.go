package blocklist

import (
	"fmt"
	"time"
)

// CategoryConfig is one category as the operator wrote it: a named union of lists.
type CategoryConfig struct {
	Name      string
	Sources   []SourceConfig
	OnError   OnError
	MaxShrink float64 // an update with less than this share of a list's names is held; 0 is no limit
	MaxGrowth float64 // likewise with more

	NeverExcept bool   // no exception lets a name pass that one of its lists holds
	Pos         string // "config.toml:12", for messages
}

// List is one list file as it was read: what it holds, and what of it could not be used.
type List struct {
	Name     string    // the path as the operator wrote it, for display: "lists/ads.txt", "lists/ut1/vpn"
	Category string    // the category that it was loaded for
	Format   string    // one of Formats
	Usage    string    // UT1's word on what the category is for: "black", "white" or "black white"; else empty
	File     string    // the file that was read; empty for a UT1 directory without domains
	Packing  string    // how File is compressed: "gzip", "zstd" or "xz"; empty when it is not
	Bytes    int64     // of File as it lies on disk
	Modified time.Time // of File
	Digest   [32]byte  // SHA-256 of File as it lies on disk

	Lines      int       // of the text that File holds
	Comments   int       // lines without content of their own
	Entries    int       // distinct names, exceptions among them
	Mentions   int       // of names, each time
	Duplicates int       // further mentions of the same names
	Networks   int       // networks of addresses in answers
	Ignored    []Ignored // what was understood but is nothing that this package can enforce; most frequent first
	Notes      []Note    // what entries say beside their names that is not used; most frequent first
	Unreadable int       // lines or names that could not be understood
	Problems   []Problem // the first of the unreadable ones

	Origin     Origin
	Since      time.Time // when this version came into force
	Added      int       // names that it has and the version before had not
	Removed    int       // names that it has not and the version before had
	Shared     int       // names that other lists have too
	SharedWith string    // the list that shares most of them; empty for none
	SharedMost int       // how many
	Kept       string    // why this is not what the origin has now; empty when it is, as far as is known
	Missing    bool      // there is no version at all; Kept says why
	Held       *Held     // the version that the change guard did not let into force; nil for none

	from   string // the source that led to it
	forced string // the format that its source named
	print  string // tells whether its files are the same: their sizes, times and numbers; empty when that is not sure
	parts  []part // what its entries for some types only are for
}

// Origin is where a list comes from.
type Origin string

// The origins of lists.
const (
	OriginFile     Origin = "file"
	OriginURL      Origin = "url"
	OriginTransfer Origin = "transfer"
)

// Held is a version of a list that is not in force.
type Held struct {
	Digest  [32]byte // SHA-256 of its file
	Entries int      // names that it holds; 0 when it was not read
	Why     string
	Since   time.Time
}

// Ignored counts the lines of a list that were left out for one reason.
type Ignored struct {
	Reason string
	Count  int
}

// Note counts the entries of a list of which the list says more than this package uses.
type Note struct {
	Text  string // what it says, and what becomes of it
	Count int    // of mentions, further ones of the same name included
}

// Problem is one place of a list that could not be read.
type Problem struct {
	File   string
	Line   int    // 1-based
	Column int    // 1-based, in octets
	Text   string // what stands there, capped, and escaped to printable ASCII
	Reason string
}

// String returns "file:line:column: reason: text".
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s", p.File, p.Line, p.Column, p.Reason, p.Text)
}

// Category is what the lists of one category hold together.
type Category struct {
	Name     string
	Names    int // distinct names that at least one of its lists lists, not counting exceptions
	Lists    []*List
	BlockAll bool // a list is missing, and until it comes rules that block or observe the category match every name

	NeverExcept bool // no exception lets a name pass that one of its lists holds
}

// Holding is one entry of one list that covers a name.
type Holding struct {
	List      *List
	Entry     string // "track.example", "=track.example", "*.track.example"; with "@@" before it for an exception
	Off       int    // the entry is name[Off:]
	Scope     Scope
	Exception bool
	Types     string // the types of question that it is for, "A AAAA" or "not A"; empty for all
	Effective bool   // the most specific entry of its list for the name: it alone counts there

	part part
}
