package audit

import (
	"time"
)

// A Record is one decoded entry of the log. It holds text only, shares nothing
// with the store and may be kept. Its JSON names are public.
//
// Names stand in presentation form without the final dot ("." is the root), with
// every octet outside 0x21..0x7e and every dot and backslash inside a label
// written as \DDD (RFC 4343 §2.1), so that no record can steer a terminal.
type Record struct {
	Seq  uint64    `json:"seq"`
	Kind string    `json:"kind"` // query, change, gap
	Time time.Time `json:"time"` // UTC; of a gap, when the last event was lost

	Client    Client `json:"client,omitzero"`
	Group     string `json:"group,omitempty"`
	Transport string `json:"transport,omitempty"` // udp, tcp
	Name      string `json:"name,omitempty"`      // empty, as type and class, when the packet held no question
	Type      string `json:"type,omitempty"`      // A, AAAA …, or TYPE65280 (RFC 3597 §5)
	Class     string `json:"class,omitempty"`     // IN …, or CLASS32 (RFC 3597 §5)

	Verdict   string  `json:"verdict,omitempty"`  // allow, block
	Observed  *Reason `json:"observed,omitempty"` // what an observe rule would have blocked for
	Policy    string  `json:"policy,omitempty"`
	Rule      string  `json:"rule,omitempty"`
	Category  string  `json:"category,omitempty"`
	List      string  `json:"list,omitempty"`
	Entry     string  `json:"entry,omitempty"`      // track.example, =track.example, *.track.example, 192.0.2.1 or 192.0.2.0/24
	MatchedOn string  `json:"matched_on,omitempty"` // name, alias, address

	Source   string   `json:"source,omitempty"` // sinkhole, local, cache, stale, upstream, error, refused, ignored
	Rcode    string   `json:"rcode,omitempty"`  // NOERROR, NXDOMAIN …, or RCODE24
	EDE      *int32   `json:"ede,omitempty"`    // info code, RFC 8914
	Dropped  bool     `json:"dropped,omitempty"`
	Stripped bool     `json:"stripped,omitempty"` // addresses or hints were taken out of the answer
	Answers  []string `json:"answers,omitempty"`  // aliases, then addresses
	Upstream string   `json:"upstream,omitempty"`
	Duration int64    `json:"duration_us,omitempty"` // microseconds from arrival to answer, rounded up
	Revision uint64   `json:"revision,omitempty"`

	Packet *Packet `json:"packet,omitempty"` // of a query; nil if a version before it has written

	Action string `json:"action,omitempty"` // of a change: start, stop, reload, read-search …
	Actor  string `json:"actor,omitempty"`  // of a change: who did it, "uid 1000"; empty for the server itself
	Text   string `json:"text,omitempty"`   // of a change; hostile octets are escaped as in names

	Cause string    `json:"cause,omitempty"` // of a gap: overload, disk, crash, clock
	Lost  uint64    `json:"lost,omitempty"`  // of a gap: how many events were lost; of cause crash 0, which says that it is not known
	From  time.Time `json:"from,omitzero"`   // of a gap: when the first of them came; of cause clock, what the clock was set from
	To    time.Time `json:"to,omitzero"`     // of a gap: when the last of them came; of cause clock, what it was set to
}

// A Packet is what is known of a query's packets beside the question.
type Packet struct {
	Port       uint16 `json:"port"` // the client's; 0, as ID, where addresses of clients are not kept
	ID         uint16 `json:"id"`
	QuerySize  uint16 `json:"query_octets"`
	AnswerSize uint16 `json:"answer_octets,omitempty"` // 0: there was none

	RD bool `json:"rd,omitempty"` // flags of the query
	AD bool `json:"ad,omitempty"`
	CD bool `json:"cd,omitempty"`
	AA bool `json:"aa,omitempty"` // flags of the answer
	TC bool `json:"tc,omitempty"`

	EDNS *EDNS `json:"edns,omitempty"` // of the query
}

// EDNS is what a query's OPT record says.
type EDNS struct {
	Version uint8  `json:"version,omitempty"`
	UDPSize uint16 `json:"udp_size"`
	DO      bool   `json:"do,omitempty"`
	Cookie  string `json:"cookie,omitempty"` // valid: with a server cookie of ours; else client
	ECS     bool   `json:"ecs,omitempty"`    // it told a client's network (RFC 7871)
}
