package blocklist

import (
	"net/netip"
	"time"
)

// RuleConfig is one rule as the operator wrote it. It matches a lookup when all its conditions hold: the schedule is in
// force, the type is one of Types (empty is no condition), and the name is in one of Categories or covered by one of
// Domains, or an address in the answer is in one of their networks or of Networks. These are alternatives to each other;
// where all three are empty, or with All, every name matches.
type RuleConfig struct {
	Action     Action
	All        bool // every name
	Categories []string
	Domains    []string       // "example.com", "=example.com" or "*.example.com"; IDNs in Unicode or as A-labels
	Networks   []netip.Prefix // of addresses in answers
	Types      []uint16       // RR types (RFC 1035 §3.2.2)
	Targets    []uint16       // of TargetTypes: the names that records of these types lead to are judged too
	Schedule   *Schedule      // nil is always
	Answer     Answer         // only with ActionBlock and ActionObserve
	Pos        string         // "config.toml:41", for messages
}

// PolicyConfig is one policy as the operator wrote it: the clients it is for, its rules, and what holds when no rule
// decides. Exactly one policy of a configuration has Any.
type PolicyConfig struct {
	Name         string
	Clients      Members
	Groups       []*Group
	Any          bool // the policy of every client that is none of Clients and Groups
	Default      Verdict
	Observe      bool           // mode = "observe": what would be blocked is only recorded, and answers go out as they are
	TrustAllowed bool           // cname = "trust-allowed": an explicit allow of the asked name covers its aliases too
	Strip        bool           // on_address = "strip": offending addresses are taken out of the answer; it is blocked if none is left
	Rebinding    bool           // addresses of private networks in answers to public names are blocked
	NotPublic    []string       // domains whose names may have such addresses
	Harmless     []netip.Prefix // addresses that are never rebinding
	StripECH     bool           // "ech" is taken out of SVCB and HTTPS records (RFC 9848)
	StripHints   bool           // likewise ipv4hint and ipv6hint (RFC 9460 §7.3)
	SafeSearch   SafeSearch
	Canaries     bool // names by which applications look for a way around this resolver do not exist
	Rules        []RuleConfig
	Pos          string // of the policy
	ClientsPos   string // of its clients; empty means Pos
	DefaultPos   string // of its default; empty means Pos
	ModePos      string // of its mode; empty means Pos
	RebindingPos string // of what it says of rebinding; empty means Pos
	CanariesPos  string // of the setting; empty means Pos
}

// By says what a verdict goes back to.
type By uint8

// What decides. ByMode goes with what a policy that only observes lets pass.
const (
	ByDefault By = iota
	ByRule
	ByException
	ByRebinding
	ByCanary
	ByMode
)

var byNames = [...]string{"default", "rule", "exception", "rebinding", "canary", "observe"}

// String returns "default", "rule", "exception", "rebinding", "canary" or "observe".
func (b By) String() string { return byNames[b] }

// Outcome is everything about a verdict that does not depend on the lookup, so that a Decision names it by number.
type Outcome struct {
	Verdict   Verdict // of an observe rule Block, which it would have been
	Action    Action
	Policy    string
	By        By
	Rule      int    // ByRule: 1-based within the policy; else 0
	Exception uint64 // ByException: its ID
	Category  string // empty for a domain of the rule, a rule of types alone, and where By is not ByRule
	List      string // the list's Name; empty where Category is
	Answer    Answer
	Pos       string // of the rule, the default, or what else decides
	ClientPos string // of the policy's clients
}

// Lookup is one question: what is asked, by whom and when.
type Lookup struct {
	Name   []byte // wire name
	Type   uint16
	Client Client
	At     int64 // wall clock, nanoseconds since 1970 UTC: exceptions end by it
}

// Decision is the verdict on one lookup. It holds no pointer.
type Decision struct {
	Outcome  uint32 // index into Policy.Outcomes
	Observed uint32 // the outcome that an observe rule or mode would have given; 0 is none

	PolicyIndex uint16 // which of the policies was read, in the order of Compile's cfg
	Group       uint16 // the client's group: its index in Policy.Groups plus one; 0 is none
	Verdict     Verdict
	On          MatchedOn
	Off         uint8  // the entry that matched is name[Off:], or alias[Off:], with Scope; with OnAddress its bits
	Scope       Scope  // 0 when no entry matched
	Alias       uint16 // with OnAlias and OnAddress: index of the alias or address

	ObservedOn    MatchedOn // the same five for Observed
	ObservedOff   uint8
	ObservedScope Scope
	ObservedAlias uint16

	Rewrite uint8 // the safe search host to answer with, see SafeHost; 0 is none
	Remove  Remove
}

// Remove is what of an allowed answer must not reach the client: bits.
type Remove uint8

// The bits of a Remove. With RemoveAddresses, the decision's Outcome and entry are those of the first such address.
const (
	RemoveAddresses Remove = 1 << iota // those that Policy.Offends
	RemoveECH
	RemoveHints
)

// Policy is every client's policy, compiled against the lists for a moment. It is immutable and safe for concurrent use.
type Policy struct {
	*tables
	known      Known
	clients    clients
	exceptions *exceptions // nil when there are none
	outcomes   []Outcome   // those of tables, then one for each exception
}

// tables are the part of a Policy that does not depend on what is known of clients.
type tables struct {
	lists     *Lists
	inline    *Matcher  // one pseudo-list per rule that has domains, of all policies
	deep      int       // the greatest number of labels of a name of lists or of these
	endings   endings   // of these domains
	addresses *networks // one pseudo-list per rule that has networks; a set of it is a set of rules
	blocks    blocks    // in which either of these networks has an address, or a private one lies
	never     []bool    // per holder: its category is never excepted
	configs   []PolicyConfig
	policies  []policy // one per config, then those that targets are read by
	compiled  []Outcome
	listOf    []uint32 // per outcome the list that leads to it, in the matcher that it comes from
	until     time.Time
	none      *sight // that facts are given of which all this knows nothing
	some      *sight // and those of which it does
}

// Outcomes returns the outcomes that a Decision's numbers refer to. Outcome 0 is "no policy" and no decision's own.
// The caller must not change the slice.
func (p *Policy) Outcomes() []Outcome { return p.outcomes }

// Until returns the moment at which a schedule changes, so that the policy has to be compiled anew; zero for none.
func (p *Policy) Until() time.Time { return p.until }

// clientsPos is where the policy says whom it is for.
func (c *PolicyConfig) clientsPos() string { return or(c.ClientsPos, c.Pos) }
