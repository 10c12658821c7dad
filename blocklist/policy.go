package blocklist

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// RuleConfig is one rule as the operator wrote it. It matches a lookup when all its conditions hold: the name is in
// one of Categories or covered by one of Domains (alternatives to each other; both empty is no condition), and the
// type is one of Types (empty is no condition).
type RuleConfig struct {
	Action     Action
	Categories []string
	Domains    []string // "example.com", "=example.com" or "*.example.com"; IDNs in Unicode or as A-labels
	Types      []uint16 // RR types (RFC 1035 §3.2.2)
	Answer     Answer   // only with ActionBlock and ActionObserve
	Pos        string   // "config.toml:41", for messages
}

// PolicyConfig is one policy as the operator wrote it: the clients it is for, its rules, and what holds when no rule
// decides. Exactly one policy of a configuration has Any.
type PolicyConfig struct {
	Name         string
	Clients      []netip.Prefix
	Any          bool // the policy of every client that no prefix covers
	Default      Verdict
	TrustAllowed bool // cname = "trust-allowed": an explicit allow of the asked name covers its aliases too
	Rules        []RuleConfig
	Pos          string // of the policy
	ClientsPos   string // of its clients; empty means Pos
	DefaultPos   string // of its default; empty means Pos
}

// Outcome is everything about a verdict that does not depend on the lookup, so that a Decision names it by number.
type Outcome struct {
	Verdict   Verdict // of an observe rule Block, which it would have been
	Action    Action
	Policy    string
	Rule      int    // 1-based within the policy; 0 is the default
	Category  string // empty for a domain of the rule, a rule of types alone, and the default
	List      string // the list's Name; empty where Category is
	Answer    Answer
	Pos       string // of the rule or of the default
	ClientPos string // of the policy's clients
}

// Decision is the verdict on one lookup. It holds no pointer.
type Decision struct {
	Outcome  uint32 // index into Policy.Outcomes
	Observed uint32 // the outcome that an observe rule would have given; 0 is none

	PolicyIndex uint16 // which of the policies was read, in the order of Compile's cfg
	Verdict     Verdict
	On          MatchedOn
	Off         uint8  // the entry that matched is name[Off:], or alias[Off:], with Scope; with OnAddress its bits
	Scope       Scope  // 0 when no entry matched
	Alias       uint16 // with OnAlias and OnAddress: index of the alias or address

	ObservedOn    MatchedOn // the same five for Observed
	ObservedOff   uint8
	ObservedScope Scope
	ObservedAlias uint16
}

// Policy is every client's policy, compiled against the lists. It is immutable and safe for concurrent use.
type Policy struct {
	lists    *Lists
	inline   *Matcher // one pseudo-list per rule that has domains, of all policies
	clients  bart.Table[uint16]
	fallback uint16 // the policy of clients that no prefix covers
	policies []policy
	outcomes []Outcome
	listOf   []uint32 // per outcome the list that leads to it, in the matcher that it comes from
}

// Outcomes returns the outcomes that a Decision's numbers refer to. Outcome 0 is "no policy" and no decision's own.
// The caller must not change the slice.
func (p *Policy) Outcomes() []Outcome { return p.outcomes }
