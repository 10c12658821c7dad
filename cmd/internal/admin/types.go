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
	Explain(name, qtype, client string) (Explanation, error)
	// Reload reads the configuration and lists again, and puts them in force
	// if all of it is good. The error says what is not.
	Reload(ctx context.Context) (Reload, error)
	Audit() *audit.Log
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
	Categories []Category     `json:"categories"`
	Policies   []string       `json:"policies"`
	Resolver   resolver.Stats `json:"resolver"`
	Upstreams  []Upstream     `json:"upstreams"`
	Audit      audit.Stats    `json:"audit"`
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

// List is one list as it was loaded.
type List struct {
	Name       string         `json:"name"`
	Category   string         `json:"category"`
	Format     string         `json:"format"`
	Entries    int            `json:"entries"`
	Ignored    map[string]int `json:"ignored,omitempty"` // lines that are nothing to enforce, by reason
	Unreadable int            `json:"unreadable"`
	Problems   []string       `json:"problems,omitempty"` // the first unreadable lines, with file:line:column
	Notes      map[string]int `json:"notes,omitempty"`    // what entries say that is not used
	Modified   time.Time      `json:"modified"`
	Digest     string         `json:"digest"` // SHA-256, hexadecimal
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
	Verdict  string `json:"verdict"` // allowed, blocked, refused
	Name     string `json:"name"`
	Type     string `json:"type"`
	Client   string `json:"client"`
	Revision uint64 `json:"revision,omitempty"` // 0 when it was made from files
	Steps    []Step `json:"steps"`
}

// Step is one thing that the decision rests on, in the order of reading.
type Step struct {
	Kind    string `json:"kind"` // policy, rule, default, zone, answer, upstream
	Subject string `json:"subject"`
	Detail  string `json:"detail"`
	Where   string `json:"where,omitempty"` // file:line
}

// Reload says what a reload changed.
type Reload struct {
	Revision uint64   `json:"revision"`
	Changes  []string `json:"changes"` // empty: nothing differs
}
