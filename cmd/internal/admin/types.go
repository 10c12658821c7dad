package admin

import (
	"context"
	"time"

	"weir/audit"
	"weir/resolver"
	"weir/resolver/upstream"
)

// Backend is the running server as the admin interface sees it. All methods
// are safe for concurrent use.
type Backend interface {
	Status() Status
	Lists() []List
	// Find says every entry of every list that covers a name; the error is
	// about the name.
	Find(name string) ([]Holding, error)
	// Explain tells what would happen to a question; the error is about the
	// arguments.
	Explain(q Question) (Explanation, error)
	// Reload reads the configuration and lists again, and puts them in force
	// if all of it is good. The error says what is not.
	Reload(ctx context.Context) (Reload, error)
	// ListAction does one of ListActions to the list called name; "" is every
	// list, and only for "refresh". It returns what was done, in a line or
	// more; the error says why nothing was.
	ListAction(ctx context.Context, action, name string) (string, error)
	// Exceptions returns those in force and those that ended, the newest first.
	Exceptions() []Exception
	// AddException, ExtendException and RemoveException return what has become
	// of the exception; the error says why nothing has.
	AddException(q ExceptionRequest) (Exception, error)
	ExtendException(q ExceptionRequest) (Exception, error)
	RemoveException(q ExceptionRequest) (Exception, error)
	// FlushCache makes the cache forget a name and all below it, or everything if
	// name is empty. It returns what was done; the error is about the name.
	FlushCache(name string) (string, error)
	Audit() *audit.Log
}

// ExceptionRequest is what an operator wants of an exception.
type ExceptionRequest struct {
	ID      uint64 `json:"id,omitempty"`     // of the one to extend or remove
	Name    string `json:"name,omitempty"`   // to add: "example.com", "=example.com" or "*.example.com"
	Client  string `json:"client,omitempty"` // to add: address or network; empty if it is for Group
	Group   string `json:"group,omitempty"`
	Seconds int64  `json:"seconds,omitempty"` // that it lasts, or lasts longer
	Reason  string `json:"reason,omitempty"`
	By      string `json:"by,omitempty"`
}

// Exception is one exception.
type Exception struct {
	ID        uint64    `json:"id"`
	Name      string    `json:"name"`
	Client    string    `json:"client,omitempty"`
	Group     string    `json:"group,omitempty"`
	Reason    string    `json:"reason"`
	By        string    `json:"by"`
	Created   time.Time `json:"created"`
	Until     time.Time `json:"until"`
	Extended  int       `json:"extended,omitempty"` // how often
	Ended     time.Time `json:"ended,omitzero"`     // zero while it is in force
	End       string    `json:"end,omitempty"`      // expired, removed, clock
	EndedBy   string    `json:"ended_by,omitempty"`
	EndReason string    `json:"end_reason,omitempty"`
}

// Status is how the server is doing.
type Status struct {
	Version    string         `json:"version"`
	PID        int            `json:"pid"`
	Config     string         `json:"config"`
	Revision   uint64         `json:"revision"`
	Digest     string         `json:"digest"` // of the configuration and all lists, hexadecimal
	Started    time.Time      `json:"started"`
	Loaded     time.Time      `json:"loaded"` // when the revision came into force
	Listen     []string       `json:"listen"`
	Names      int            `json:"names"`       // distinct listed names
	NameMemory int            `json:"name_memory"` // octets that the matcher takes
	NameMapped int            `json:"name_mapped"` // octets of it that are a mapped file, in memory as far as hits touch them
	Categories []Category     `json:"categories"`
	Policies   []string       `json:"policies"`
	Observing  []string       `json:"observing,omitempty"`  // policies that block nothing
	Attention  []string       `json:"attention,omitempty"`  // lists that are not what their origins have
	Exceptions int            `json:"exceptions"`           // in force
	Hosts      int            `json:"hosts"`                // known by lease or neighbour
	NextSwitch time.Time      `json:"next_switch,omitzero"` // when a schedule changes
	Resolver   resolver.Stats `json:"resolver"`
	Upstreams  []Upstream     `json:"upstreams"`
	Audit      audit.Stats    `json:"audit"`
	Process    Process        `json:"process"`
}

// Process is what the server holds of the machine. A number that grows from day
// to day is a leak.
type Process struct {
	Goroutines  int    `json:"goroutines"`
	Heap        uint64 `json:"heap"`        // octets that the last collection found in use
	Descriptors int    `json:"descriptors"` // open; 0 where that is not known
}

// Category is one category and how many distinct names it holds.
type Category struct {
	Name  string `json:"name"`
	Names int    `json:"names"`
	Lists int    `json:"lists"`
}

// Upstream is one group of servers.
type Upstream struct {
	Name    string                 `json:"name"`
	Servers []upstream.ServerStats `json:"servers"`
}

// ListActions is what can be asked for a list: to ask its origin now, to put
// what is held in force, to drop that for good, to go back to the version before.
var ListActions = []string{"refresh", "approve", "reject", "rollback"}

// Done is what an action did.
type Done struct {
	Done string `json:"done"`
}

// List is one list of a category: what of it is in force, and what is known of
// its origin.
type List struct {
	Name       string         `json:"name"`
	Category   string         `json:"category"`
	Format     string         `json:"format"`
	Entries    int            `json:"entries"`
	Networks   int            `json:"networks"` // of addresses in answers
	Added      int            `json:"added"`    // entries since the version before, and gone since then
	Removed    int            `json:"removed"`
	Ignored    map[string]int `json:"ignored,omitempty"` // lines that are nothing to enforce, by reason
	Unreadable int            `json:"unreadable"`
	Problems   []string       `json:"problems,omitempty"` // the first unreadable lines, with file:line:column
	Notes      map[string]int `json:"notes,omitempty"`    // what entries say that is not used
	Shared     int            `json:"shared"`             // entries that are on other lists too
	SharedWith *Overlap       `json:"shared_with,omitempty"`
	Hits24h    uint64         `json:"hits_24h"` // queries that it decided in the last day

	Origin string `json:"origin"` // "file", "url" or "transfer"
	// State is "ok", "refused", or "kept: ", "held: " or "missing: " with the
	// reason why what is in force is not the newest.
	State string `json:"state"`

	Digest   string    `json:"digest"`             // SHA-256 of the version in force, hexadecimal
	Previous string    `json:"previous,omitempty"` // of the version before
	Bytes    int64     `json:"bytes"`              // of it, packed as it is
	Packing  string    `json:"packing,omitempty"`  // "gzip", "zstd"; empty for plain text
	Modified time.Time `json:"modified,omitzero"`  // by its origin's word
	Taken    time.Time `json:"taken,omitzero"`     // when it came here

	Held    *Held     `json:"held,omitempty"`
	Checked time.Time `json:"checked,omitzero"`  // last answer of the origin
	Next    time.Time `json:"next,omitzero"`     // when it is asked again
	Failure string    `json:"failure,omitempty"` // why it was not reached, or gave nothing usable
}

// Dated is when the version in force is from.
func (l *List) Dated() time.Time {
	if l.Modified.IsZero() {
		return l.Taken
	}
	return l.Modified
}

// Overlap is the list that holds most of another's entries, and how many.
type Overlap struct {
	List    string `json:"list"`
	Entries int    `json:"entries"`
}

// Held is a version of a list that waits for approval.
type Held struct {
	Digest  string    `json:"digest"`
	Entries int       `json:"entries"`
	Since   time.Time `json:"since,omitzero"`
	Why     string    `json:"why"`
}

// Holding is one entry of a list that covers a name.
type Holding struct {
	Category string `json:"category"`
	List     string `json:"list"`
	Entry    string `json:"entry"` // with "@@" before it for an exception
	Where    string `json:"where"` // file:line
	Note     string `json:"note,omitempty"`
}

// Explanation is the account of one decision.
type Explanation struct {
	Verdict  string    `json:"verdict"` // allowed, blocked, refused
	Name     string    `json:"name"`
	Type     string    `json:"type"`
	Client   string    `json:"client"`
	Revision uint64    `json:"revision,omitempty"` // 0 when it was made from files
	Steps    []Step    `json:"steps"`
	Remedies []Step    `json:"remedies,omitempty"` // of a blocked question: what would allow it
	At       time.Time `json:"at,omitzero"`        // of a question that was asked
	Seq      uint64    `json:"seq,omitempty"`      // its record
}

// Step is one thing that the decision rests on, in the order of reading.
type Step struct {
	Kind    string `json:"kind"` // policy, exception, rule, canary, default, rebinding, mode, zone, safe search, answer, upstream; allow
	Subject string `json:"subject"`
	Detail  string `json:"detail"`
	Where   string `json:"where,omitempty"` // file:line
}

// Question is what is to be explained: one that might be asked, or one that was.
type Question struct {
	Name   string
	Type   string
	Client string    // address
	MAC    string    // hardware address, as a forwarder would tell it; empty for none
	At     time.Time // zero for now
	Seq    uint64    // of the record of one that was asked; then nothing else counts. 0 is none
}

// Reload says what a reload changed.
type Reload struct {
	Revision uint64   `json:"revision"`
	Changes  []string `json:"changes"` // empty: nothing differs
}
