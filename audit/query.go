package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Query says which records are wanted: those for which every field that is set
// holds. The zero Query wants all. Fields that only queries have (all but Kind
// and those below it) leave out changes and gaps.
type Query struct {
	Client    netip.Prefix // the client lies in it, or may: its own network, where that is kept in place of it, is here too; or it is Client.Filter
	Reveal    bool         // Client means also the pseudonyms of these clients, as far as their keys are held
	Name      []byte       // wire name: this name and all below it
	ExactName bool         // Name itself only
	Glob      string       // a pattern of names; see Glob
	Type      uint16
	Verdict   string // allow or block
	Group     string
	Policy    string
	Rule      string // "2", counted from one, or "default"
	Category  string
	List      string
	Observed  bool // an observe rule would have blocked it

	Answer    netip.Prefix // an address in the answer lies in it
	Alias     []byte       // wire name: an alias in the answer is this name or below it
	Rcode     string       // as in a Record: NOERROR, NXDOMAIN …
	Source    string       // as in a Record: cache, upstream …
	Transport string       // as in a Record: udp, tcp
	Upstream  string       // as in a Record

	Kind  Kind
	Since time.Time // at this time or later
	Until time.Time // before this time

	SeqFrom uint64 // with this sequence number or above; they begin at 1
	SeqTo   uint64 // with this one or below; 0 is no limit. Only segments that hold some are read

	Limit  int  // end after so many; 0 is no limit
	Oldest bool // oldest first; else newest first
}

// Check says which field of q can be true of no record because its word is not
// one that records have.
func (q *Query) Check() error {
	if q.Glob != "" {
		if _, err := NewGlob(q.Glob); err != nil {
			return fmt.Errorf("name: %w", err)
		}
	}
	switch q.Verdict {
	case "", "allow", "block":
	default:
		return fmt.Errorf("verdict %q: write allow or block", q.Verdict)
	}
	if q.Rcode != "" {
		if _, ok := rcodeNumber(q.Rcode); !ok {
			return fmt.Errorf("rcode %q is not known: write a name like NXDOMAIN, or RCODE24 for a number", q.Rcode)
		}
	}
	for _, w := range []struct {
		what, word string
		known      []string
	}{{"source", q.Source, sources[1:]}, {"transport", q.Transport, transports[1:]}} {
		if w.word != "" && !slices.Contains(w.known, w.word) {
			return fmt.Errorf("%s %q: write one of %s", w.what, w.word, strings.Join(w.known, ", "))
		}
	}
	return nil
}

// wantsQueries says that a field is set which only queries have.
func (q *Query) wantsQueries() bool {
	return len(q.Name) > 0 || q.Glob != "" || q.Client.IsValid() || q.Type != 0 || q.Verdict != "" || q.Observed ||
		q.Answer.IsValid() || len(q.Alias) > 0 || q.Rcode != "" || q.Source != "" || q.Transport != "" || q.Upstream != "" || q.wantsReason()
}

func (q *Query) wantsReason() bool {
	return q.Group != "" || q.Policy != "" || q.Rule != "" || q.Category != "" || q.List != ""
}
