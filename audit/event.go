package audit

import (
	"net/netip"
	"strings"
)

// A Kind says what a record is about. The zero Kind, in a Query, means any.
type Kind uint8

// The kinds of records. Their numbers are part of the segment format.
const (
	KindQuery  Kind = 1 // one DNS query and what became of it
	KindChange Kind = 2 // start, stop, reload or any other change of the state in force
	KindGap    Kind = 3 // events that could not be taken
)

// String returns the word that a Record carries.
func (k Kind) String() string { return word(kinds[:], uint8(k)) }

// A Transport says over which transport a query came.
type Transport uint8

// The transports. Their numbers are part of the segment format.
const (
	TransportNone Transport = 0
	UDP           Transport = 1
	TCP           Transport = 2
)

// String returns the word that a Record carries.
func (t Transport) String() string { return word(transports[:], uint8(t)) }

// A Source says where an answer came from.
type Source uint8

// The sources. Their numbers are part of the segment format.
const (
	SourceNone     Source = 0
	SourceSinkhole Source = 1 // the policy blocked the name or the answer
	SourceLocal    Source = 2 // a local zone or a special name
	SourceCache    Source = 3
	SourceStale    Source = 4 // an expired cache entry, RFC 8767
	SourceUpstream Source = 5
	SourceError    Source = 6 // no answer could be had: SERVFAIL, FORMERR …
	SourceRefused  Source = 7 // the client or the question was turned away
	SourceIgnored  Source = 8 // the packet was no query: too short, or itself a response
)

// String returns the word that a Record carries.
func (s Source) String() string { return word(sources[:], uint8(s)) }

// A Cause says why events are missing, or may be.
type Cause uint8

// The causes of gaps. Their numbers are part of the segment format.
const (
	CauseNone     Cause = 0 // not known: a version before causes has written
	CauseOverload Cause = 1 // more events came than could be taken
	CauseDisk     Cause = 2 // the disk did not take what was there, and memory filled
	CauseCrash    Cause = 3 // a run did not end; how many events it had in hand is not known
	CauseClock    Cause = 4 // the clock was set: nothing is missing but an order of time
)

// String returns the word that a Record carries.
func (c Cause) String() string { return word(causes[:], uint8(c)) }

// What a verdict's entry was found on. The numbers are part of the segment format.
const (
	OnNothing uint8 = 0
	OnName    uint8 = 1
	OnAlias   uint8 = 2
	OnAddress uint8 = 3
)

// What a list entry covers, as bits: example.com is both, =example.com is
// ScopeSelf, *.example.com is ScopeBelow.
const (
	ScopeSelf  uint8 = 1
	ScopeBelow uint8 = 2
)

var (
	kinds      = [...]string{"", "query", "change", "gap"}
	transports = [...]string{"", "udp", "tcp"}
	sources    = [...]string{"", "sinkhole", "local", "cache", "stale", "upstream", "error", "refused", "ignored"}
	matches    = [...]string{"", "name", "alias", "address"}
	causes     = [...]string{"", "overload", "disk", "crash", "clock"}
)

// word returns words[i], or "?" for a number that this version does not know.
func word(words []string, i uint8) string {
	if int(i) < len(words) {
		return words[i]
	}
	return "?"
}

// A Reason names the part of the policy that decided. Log.Intern turns it into
// the number that an Event carries.
type Reason struct {
	Group    string `json:"group,omitempty"`
	Policy   string `json:"policy,omitempty"`
	Rule     string `json:"rule,omitempty"` // "2", counted from one, or "default"
	Category string `json:"category,omitempty"`
	List     string `json:"list,omitempty"` // path of the list as the operator wrote it
}

// String returns the parts that are set, for one cell of a table.
func (r Reason) String() string {
	var parts []string
	for _, p := range [...]struct{ name, value string }{
		{"policy", r.Policy}, {"rule", r.Rule}, {"category", r.Category}, {"list", r.List},
	} {
		if p.value != "" {
			parts = append(parts, p.name+" "+p.value)
		}
	}
	return strings.Join(parts, ", ")
}

// A Change is an event that is no query: something was done to the state in
// force, or by somebody to the server or its records.
type Change struct {
	Action string // what was done, for programs: ActionStart …; empty if it is none of those
	Actor  string // who did it: "uid 1000"; empty for the server itself
	Text   string // for people
}

// The actions of changes.
const (
	ActionStart           = "start"
	ActionStop            = "stop"
	ActionReload          = "reload"
	ActionReloadRefused   = "reload-refused"
	ActionList            = "list" // something new about a list, or done to it
	ActionCacheFlush      = "cache-flush"
	ActionExceptionAdd    = "exception-add"
	ActionExceptionExtend = "exception-extend"
	ActionExceptionRemove = "exception-remove"
	ActionExceptionEnd    = "exception-end"
	ActionExceptionsLost  = "exceptions-damaged"
	ActionReindex         = "index-rebuild"
	ActionReveal          = "reveal"   // of pseudonyms of clients
	ActionForget          = "forget"   // of clients' keys
	ActionExcluded        = "excluded" // how many queries were left out, as asked for
	ActionStore           = "store"    // the store's own: damage, a new beginning, records that are missing
	ActionWithheld        = "withheld" // answers that were not given, whatever their records say

	ActionRetention  = "retention"
	ActionHoldAdd    = "hold-add"
	ActionHoldRemove = "hold-remove"

	// Of those who read the records.
	ActionSearch  = "read-search"
	ActionExport  = "read-export"
	ActionTail    = "read-tail"
	ActionTop     = "read-top"
	ActionVerify  = "read-verify"
	ActionExplain = "read-explain"
	ActionProve   = "read-prove"
	ActionBackup  = "read-backup"
	ActionAsk     = "read-" // and the question's verb: read-first, read-hunt …
)

// MaxAnswers is how many aliases, and how many addresses, an event keeps. Those
// beyond are cut off.
const MaxAnswers = 16

// Bits are what the headers and options of query and answer say.
type Bits uint16

// The bits, in the order of how common they are. They are part of the segment format.
const (
	QueryRD Bits = 1 << iota
	QueryEDNS
	QueryDO
	QueryAD
	QueryCookie // of the client, alone or with one of ours
	QueryCD
	AnswerAA
	AnswerTC
	CookieValid // the query had a server cookie of ours
	QueryECS    // the query told a client's network (RFC 7871)

	bitsKnown = 1<<iota - 1
)

// An Event is what the query path hands to Log.Record, which copies all of it:
// the caller may reuse the event and every slice in it at once. Where Config.Privacy
// keeps addresses out, Record puts into Client what it keeps in its place, and 0 into
// Port and ID.
type Event struct {
	Time      int64      // when the query arrived, in nanoseconds since 1970 UTC; not before that
	Client    netip.Addr // zero if unknown; a zone is dropped
	Group     uint32     // the client's group, from Log.Label, in place of that of Reason and Observed; 0 is theirs
	Transport Transport
	Name      []byte // wire name, at most 255 octets; empty when the packet held none
	Type      uint16
	Class     uint16

	Blocked  bool   // the verdict
	Reason   uint32 // from Log.Intern; 0 is none
	Observed uint32 // what an observe rule would have blocked for, from Log.Intern; 0 is none

	On         uint8 // what the entry was found on: OnNothing, OnName, OnAlias, OnAddress
	EntryOff   uint8 // where the entry begins in the name or the alias, in octets; OnAddress: length of its prefix, in bits
	EntryScope uint8 // ScopeSelf, ScopeBelow or both; 0 when there is no entry
	EntryAlias uint8 // which of Aliases (OnAlias) or of Addrs (OnAddress)

	Source  Source
	Rcode   uint16
	EDE     int32 // info code of the Extended DNS Error, RFC 8914; -1 is none
	Dropped bool  // no answer was sent

	Stripped bool // addresses or hints were taken out of the answer before it was sent

	Port       uint16 // the client's
	ID         uint16 // of the query's header
	QuerySize  uint16 // octets of the packet; 0 if nothing is known of it, nor of ID, Port and Bits
	AnswerSize uint16 // octets of the answer; 0 if none was sent
	UDPSize    uint16 // that the client announced by EDNS
	Version    uint8  // of its EDNS
	Bits       Bits

	Aliases  [][]byte     // alias targets in the answer, wire names; MaxAnswers are kept
	Addrs    []netip.Addr // addresses in the answer; MaxAnswers are kept
	Upstream uint32       // from Log.Label; 0 is none
	Duration int64        // from arrival to answer, in nanoseconds; kept in microseconds, rounded up
	Revision uint64       // of the state in force
}
