package audit

import (
	"encoding/json"
	"io"
)

// ocsfVersion is the version of the Open Cybersecurity Schema Framework
// (schema.ocsf.io) whose class DNS Activity [4003] is written, with the profile
// "security_control".
const ocsfVersion = "1.9.0"

// An ocsfEvent has the attributes of the class that a record can fill.
type ocsfEvent struct {
	CategoryUID int          `json:"category_uid"`
	ClassUID    int          `json:"class_uid"`
	ActivityID  int          `json:"activity_id"`
	TypeUID     int          `json:"type_uid"`
	SeverityID  int          `json:"severity_id"`
	Time        int64        `json:"time"` // this and all times are milliseconds since 1970
	Metadata    ocsfMetadata `json:"metadata"`

	Source     *ocsfEndpoint   `json:"src_endpoint,omitempty"`
	Server     ocsfEndpoint    `json:"dst_endpoint"`
	Connection *ocsfConnection `json:"connection_info,omitempty"`

	Query        *ocsfQuery   `json:"query,omitempty"`
	QueryTime    int64        `json:"query_time"`
	ResponseTime int64        `json:"response_time,omitempty"`
	RcodeID      *int         `json:"rcode_id,omitempty"`
	Rcode        string       `json:"rcode,omitempty"`
	Answers      []ocsfAnswer `json:"answers,omitempty"`

	ActionID      int         `json:"action_id,omitempty"`
	DispositionID int         `json:"disposition_id,omitempty"`
	Policy        *ocsfPolicy `json:"policy,omitempty"`
	Rule          *ocsfRule   `json:"firewall_rule,omitempty"`

	Unmapped unplaced `json:"unmapped"`
}

type ocsfMetadata struct {
	Version      string      `json:"version"`
	Product      ocsfProduct `json:"product"`
	Profiles     []string    `json:"profiles"`
	Sequence     uint64      `json:"sequence"`
	OriginalTime string      `json:"original_time"` // with its nanoseconds
}

type ocsfProduct struct {
	Name   string `json:"name"`
	Vendor string `json:"vendor_name"`
}

type ocsfEndpoint struct {
	IP      string `json:"ip,omitempty"`
	UID     string `json:"uid,omitempty"`
	Service string `json:"svc_name,omitempty"`
}

type ocsfConnection struct {
	Direction int    `json:"direction_id"`
	Protocol  string `json:"protocol_name"`
	Number    int    `json:"protocol_num"`
}

type ocsfQuery struct {
	Hostname string `json:"hostname"`
	Type     string `json:"type,omitempty"`
	Class    string `json:"class,omitempty"`
}

type ocsfAnswer struct {
	Rdata string `json:"rdata"`
}

type ocsfPolicy struct {
	Name string `json:"name"`
}

type ocsfRule struct {
	Name      string `json:"name"`
	Category  string `json:"category,omitempty"`
	Condition string `json:"condition,omitempty"`
}

// Numbers of the schema.
const (
	ocsfNetworkActivity = 4
	ocsfDNSActivity     = 4003
	ocsfQueryOnly       = 1 // activity_id
	ocsfTraffic         = 6 // activity_id: a query and its response
	ocsfInformational   = 1 // severity_id
	ocsfInbound         = 1 // direction_id
	ocsfAllowed         = 1 // action_id and disposition_id
	ocsfDenied          = 2 // action_id
	ocsfBlocked         = 2 // disposition_id
	ocsfDropped         = 6 // disposition_id
	ocsfUnassigned      = 24
	ocsfReserved        = 25
)

// ocsfProtocols are the transports that the schema has a number for: that of IP.
var ocsfProtocols = map[string]int{"tcp": 6, "udp": 17}

// ocsfRcodes are the captions of rcode_id, from 0 on; "" is unassigned.
var ocsfRcodes = [...]string{
	"NoError", "FormError", "ServError", "NXDomain", "NotImp", "Refused", "YXDomain", "YXRRSet", "NXRRSet", "NotAuth",
	"NotZone", "DSOTYPENI", "", "", "", "", "BADVERS", "BADKEY", "BADTIME", "BADMODE", "BADNAME", "BADALG", "BADTRUNC", "BADCOOKIE",
}

type ocsf struct{ e *json.Encoder }

func newOCSF(w io.Writer) Encoder { return ocsf{json.NewEncoder(w)} }

func (o ocsf) Close() error { return nil }

// Write writes a query. What the class has no attribute for is in unmapped, under
// its name in Record.
func (o ocsf) Write(r *Record) error {
	if r.Kind != KindQuery.String() {
		return ErrLeftOut
	}
	at := r.Time.UnixMilli()
	e := ocsfEvent{
		CategoryUID: ocsfNetworkActivity, ClassUID: ocsfDNSActivity, ActivityID: ocsfTraffic, SeverityID: ocsfInformational,
		Time: at, QueryTime: at, Unmapped: unplaced{Record: *r},
		Metadata: ocsfMetadata{
			Version: ocsfVersion, Product: ocsfProduct{"Weir", "Weir"}, Profiles: []string{"security_control"},
			Sequence: r.Seq, OriginalTime: clock(r.Time),
		},
		Server: ocsfEndpoint{Service: "weir"},
	}
	rest := &e.Unmapped
	if a, ok := r.Client.Addr(); ok {
		e.Source, rest.Client = &ocsfEndpoint{IP: a.String()}, Client{}
	} else if r.Client.IsPseudonym() {
		e.Source, rest.Client = &ocsfEndpoint{UID: r.Client.String()}, Client{}
	} // a network is no endpoint, and stays unmapped
	if n := ocsfProtocols[r.Transport]; n != 0 {
		e.Connection, rest.Transport = &ocsfConnection{ocsfInbound, r.Transport, n}, ""
	}
	if r.Name != "" {
		e.Query, rest.Name, rest.Type, rest.Class = &ocsfQuery{r.Name, r.Type, r.Class}, "", "", ""
	}
	if r.Dropped {
		e.ActivityID, rest.Dropped = ocsfQueryOnly, false
	} else {
		e.ResponseTime = r.answered().UnixMilli()
	}
	e.TypeUID = 100*e.ClassUID + e.ActivityID
	e.rcode(r)
	if sent := r.sent(); sent != nil {
		for _, a := range sent {
			e.Answers = append(e.Answers, ocsfAnswer{a})
		}
		rest.Answers = nil
	}
	switch r.Verdict {
	case "allow":
		e.ActionID, e.DispositionID, rest.Verdict = ocsfAllowed, ocsfAllowed, ""
	case "block":
		e.ActionID, e.DispositionID, rest.Verdict = ocsfDenied, ocsfBlocked, ""
	}
	if r.Dropped {
		e.DispositionID = ocsfDropped
	}
	if r.Policy != "" {
		e.Policy, rest.Policy = &ocsfPolicy{r.Policy}, ""
	}
	if r.Rule != "" { // a rule without a name is none to the schema
		e.Rule, rest.Rule, rest.Category, rest.Entry = &ocsfRule{r.Rule, r.Category, r.Entry}, "", "", ""
	}
	return o.e.Encode(&e)
}

// rcode fills in the response code. A number that the schema has no name for
// stays in unmapped too.
func (e *ocsfEvent) rcode(r *Record) {
	n, ok := numberOf(rcodeNumbers, r.Rcode, "RCODE")
	if !ok {
		return
	}
	id := ocsfUnassigned
	switch {
	case int(n) < len(ocsfRcodes) && ocsfRcodes[n] != "":
		id, e.Rcode, e.Unmapped.Rcode = int(n), ocsfRcodes[n], ""
	case n >= 3841 && n <= 4095 || n == 65535:
		id, e.Rcode = ocsfReserved, "Reserved"
	default:
		e.Rcode = "Unassigned"
	}
	e.RcodeID = &id
}
